package configs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// ErrChanged says that an object is not any more what was decided on. Its
// change is an event, which brings the next turn.
var ErrChanged = errors.New("changed since it was looked at")

// Apply brings the primary's copies to what the objects of the target are. It comes
// Before the primary itself: no pod is to be started whose configs are not there. With
// ErrChanged the primary must be left as it is for now, which the next turn mends. Where no revision is wanted, copies
// are healed all the same as long as their sources are what they were made from.
func (s *Share) Apply(ctx context.Context, want release.Desired) error {
	if len(s.list) == 0 {
		return nil
	}
	if !s.world.Promotes(want) {
		promoted, err := s.promoted(ctx)
		if err != nil || len(promoted) == 0 {
			return err
		}
		s.list = promoted
	}
	copies, err := s.copies(ctx)
	if err != nil {
		return err
	}
	if err := s.readChanged(ctx, copies); err != nil {
		return err
	}
	names := make(map[Ref]string, len(s.list))
	for _, one := range s.list {
		if names[one.Ref], err = s.apply(ctx, one, copies); err != nil {
			return err
		}
	}
	s.names = names
	return nil
}

// promoted are the configs of which the primary's pods read copies, as far as these are known to be what their sources are now:
// new pods of the primary need them, whatever else the target is by now. The primary has one hash of all the contents that it was
// promoted with. It is that of the sources, or that of the copies, with the sources of those copies that are gone and perhaps
// of one more, which somebody has edited.
func (s *Share) promoted(ctx context.Context) ([]tracked, error) {
	w := s.world
	if w.PrimaryObject == nil || w.Mistake != nil && w.Mistake.Foreign {
		return nil, nil
	}
	template := workload.Template(w.PrimaryObject)
	if template == nil {
		return nil, nil
	}
	was, used := template.Annotations[Annotation], s.usedByPrimary()
	if was == HashOfAll(s.hashes) {
		return used, nil
	}
	copies, err := s.copies(ctx)
	if err != nil {
		return nil, err
	}
	hashes, gone, others := maps.Clone(s.hashes), []tracked(nil), []tracked(nil)
	for _, one := range used {
		switch name, now := own(w.Owner, one, copies); {
		case name == "":
			gone = append(gone, one)
		case now.hash != one.hash:
			hashes[one.String()] = now.hash
			others = append(others, one)
		}
	}
	if was == HashOfAll(hashes) {
		return gone, nil
	}
	for _, edited := range others {
		with := maps.Clone(hashes)
		with[edited.String()] = edited.hash
		if was == HashOfAll(with) {
			return append(gone, edited), nil
		}
	}
	return nil, nil
}

// usedByPrimary are the tracked configs of which the pods of the primary that is there read copies, with the names that they
// have for them.
func (s *Share) usedByPrimary() []tracked {
	var used []Ref
	for _, ref := range References(workload.Template(s.world.PrimaryObject)) {
		used = append(used, ref.Ref)
	}
	var out []tracked
	for _, one := range s.list {
		one.names = slices.DeleteFunc(slices.Clone(one.names), func(name string) bool { return !slices.Contains(used, Ref{Kind: one.Kind, Name: name}) })
		if len(one.names) > 0 {
			out = append(out, one)
		}
	}
	return out
}

// GiveBack does nothing: copies go with the Canary that owns them.
func (s *Share) GiveBack(context.Context, release.Desired) error { return nil }

// copies are what there is under all names that copies may have.
func (s *Share) copies(ctx context.Context) (map[Ref]existing, error) {
	var refs []Ref
	for _, one := range s.list {
		for _, name := range one.names {
			refs = append(refs, Ref{Kind: one.Kind, Name: name})
		}
	}
	return s.part.look(ctx, s.world.Canary.Namespace, refs, s.contents, func(_ Ref, live *metav1.PartialObjectMetadata) bool {
		return s.world.Owner.Owns(live)
	})
}

// readChanged reads the contents that are to be copied, unless this turn has
// read them already.
func (s *Share) readChanged(ctx context.Context, copies map[Ref]existing) error {
	var refs []Ref
	for _, one := range s.list {
		_, now := own(s.world.Owner, one, copies)
		if !one.gone && now.hash != one.hash && s.contents[one.Ref] == nil {
			refs = append(refs, one.Ref)
		}
	}
	read, err := s.part.read(ctx, s.world.Canary.Namespace, refs)
	if err != nil {
		return err
	}
	for ref, content := range read {
		if _, err := s.part.note(ref, content); err != nil {
			return err
		}
		s.contents[ref] = content
	}
	return nil
}

// own finds the copy of a config that a Canary has.
func own(owner ownership.Owner, one tracked, copies map[Ref]existing) (name string, now existing) {
	for _, name := range one.names {
		if now, ok := copies[Ref{Kind: one.Kind, Name: name}]; ok && now.isOf(owner) {
			return name, now
		}
	}
	return "", existing{}
}

// apply brings one copy to what its source is and returns its name.
func (s *Share) apply(ctx context.Context, one tracked, copies map[Ref]existing) (string, error) {
	name, now := own(s.world.Owner, one, copies)
	switch {
	case name != "" && now.hash == one.hash:
		return name, nil
	case one.gone && one.Optional:
		return s.withoutCopy(ctx, one, name, now, copies)
	case one.gone:
		return "", fmt.Errorf("the primary's copy of %s can't be made: %s", one.Title(), s.missingMessage())
	}
	source := s.contents[one.Ref]
	if source == nil {
		return "", fmt.Errorf("%s: %w", one.Title(), ErrChanged)
	}
	if hash, _, err := Hash(source); err != nil || hash != one.hash {
		return "", errors.Join(err, fmt.Errorf("%s: %w", one.Title(), ErrChanged))
	}
	if name != "" {
		return name, s.updateCopy(ctx, source, Ref{Kind: one.Kind, Name: name}, now)
	}
	for _, name := range one.names {
		ref := Ref{Kind: one.Kind, Name: name}
		if _, taken := copies[ref]; taken {
			continue
		}
		if made, err := s.createCopy(ctx, source, ref); made || err != nil {
			return name, err
		}
	}
	return "", fmt.Errorf("no copy of %s can be made for the primary: every name that it may have is somebody else's: %v", one.Title(), one.names)
}

// withoutCopy has the primary go without an optional config, as the target
// does: the name that its pods refer to exists as little as the source.
func (s *Share) withoutCopy(ctx context.Context, one tracked, name string, now existing, copies map[Ref]existing) (string, error) {
	if name != "" {
		return name, s.deleteCopy(ctx, Ref{Kind: one.Kind, Name: name}, now.uid)
	}
	for _, name := range one.names {
		if _, taken := copies[Ref{Kind: one.Kind, Name: name}]; !taken {
			return name, nil
		}
	}
	return one.Name, nil
}

// createCopy makes a copy under a name that was seen to be free. It returns
// false where somebody else has taken the name meanwhile.
func (s *Share) createCopy(ctx context.Context, source client.Object, ref Ref) (made bool, err error) {
	o, err := Copy(s.world.Canary, source, ref.Name, s.part.Options)
	if err != nil {
		return false, err
	}
	// Not by server-side apply: of two Canaries that want the name, one must
	// lose.
	err = s.part.Client.Create(ctx, o, client.FieldOwner(ssa.FieldOwner))
	switch {
	case apierrors.IsAlreadyExists(err):
		return s.takenCopy(ctx, source, ref)
	case err != nil:
		return false, fmt.Errorf("create %s: %w", ref.Title(), err)
	}
	log.FromContext(ctx).V(1).Info("Copied a config", "copy", ref.String())
	_, err = s.part.note(ref, o)
	return true, err
}

// takenCopy looks at what has the name that a copy was to get: our own copy
// that the cache does not show yet, or somebody else's object.
func (s *Share) takenCopy(ctx context.Context, source client.Object, ref Ref) (ours bool, err error) {
	live := newObject(ref.Kind)
	if err := s.part.Live.Get(ctx, client.ObjectKey{Namespace: s.world.Canary.Namespace, Name: ref.Name}, live); err != nil {
		return false, fmt.Errorf("read %s: %w", ref.Title(), err)
	}
	fact, err := s.part.note(ref, live)
	if err != nil || !ownership.For(s.world.Canary).Owns(live) {
		return false, err
	}
	if hash, _, err := Hash(source); err != nil || hash == fact.hash {
		return true, err
	}
	return true, s.updateCopy(ctx, source, ref, fact.summary())
}

// updateCopy gives a copy the contents of its source, exactly: server-side
// apply would leave keys in it that an earlier writer owns.
func (s *Share) updateCopy(ctx context.Context, source client.Object, ref Ref, now existing) error {
	patch, err := Patch(source, string(now.uid), now.version)
	if err != nil {
		return err
	}
	o := newObject(ref.Kind)
	o.SetNamespace(s.world.Canary.Namespace)
	o.SetName(ref.Name)
	err = s.part.Client.Patch(ctx, o, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(ssa.FieldOwner))
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return fmt.Errorf("%s: %w", ref.Title(), ErrChanged)
	case apierrors.IsInvalid(err):
		// It was made immutable, or its source has become a Secret of another
		// type: only a new object can hold the contents.
		if err := s.deleteCopy(ctx, ref, now.uid); err != nil {
			return err
		}
		made, err := s.createCopy(ctx, source, ref)
		if err == nil && !made {
			err = fmt.Errorf("%s: %w", ref.Title(), ErrChanged)
		}
		return err
	case err != nil:
		return fmt.Errorf("update %s: %w", ref.Title(), err)
	}
	log.FromContext(ctx).V(1).Info("Updated the copy of a config", "copy", ref.String())
	_, err = s.part.note(ref, o)
	return err
}

func (s *Share) deleteCopy(ctx context.Context, ref Ref, uid types.UID) error {
	o := newMetadata(ref.Kind)
	o.Namespace, o.Name, o.UID = s.world.Canary.Namespace, ref.Name, uid
	if err := s.part.Applier.Delete(ctx, o); err != nil {
		return fmt.Errorf("delete %s: %w", ref.Title(), err)
	}
	s.part.facts.drop(s.world.Canary.Namespace, digestOf(ref))
	return nil
}

// Use has the pod template of the primary, which is to carry a revision, refer to the copies.
// It returns what the result depends on.
func (s *Share) Use(template *corev1.PodTemplateSpec, revision string) (version string) {
	if len(s.hashes) == 0 {
		return ""
	}
	var live *corev1.PodTemplateSpec
	if o := s.world.PrimaryObject; o != nil {
		live = workload.Template(o)
		version = strconv.FormatInt(o.GetGeneration(), 10)
	}
	*template = *UseCopies(template, live, s.names, HashOfAll(s.hashes), s.world.Primary.Revision == revision)
	if hash := template.Annotations[Annotation]; hash != "" {
		version = hash // and not on the live one
	}
	return fmt.Sprintf("%s %v", version, s.names)
}

// Collect deletes copies that the primary, once it carries the wanted revision, does not use
// any more. It waits until no pod of an older primary is left.
func (s *Share) Collect(ctx context.Context, want release.Desired) error {
	w := s.world
	if !w.Promotes(want) || !s.tracked || w.PrimaryObject == nil || !w.Primary.Ready || w.Primary.Revision != want.PrimaryRevision {
		return nil
	}
	var used []Ref
	for _, ref := range References(workload.Template(w.PrimaryObject)) {
		used = append(used, ref.Ref)
	}
	for source, name := range s.names {
		used = append(used, Ref{Kind: source.Kind, Name: name})
	}
	all, err := s.part.owned(ctx, w.Canary)
	errs := []error{err}
	for _, copied := range all {
		ref := Ref{Kind: kindOf(copied), Name: copied.Name}
		if !slices.Contains(used, ref) {
			errs = append(errs, s.deleteCopy(ctx, ref, copied.UID))
		}
	}
	return errors.Join(errs...)
}

// Owned are all copies that were made for a Canary.
func (t *Tracker) Owned(ctx context.Context, w *world.World) ([]client.Object, error) {
	all, err := t.owned(ctx, w.Canary)
	out := make([]client.Object, len(all))
	for i := range all {
		out[i] = all[i]
	}
	return out, err
}

// owned are all copies that were made for a Canary, or for Canaries that are gone and
// whose names are given.
func (t *Tracker) owned(ctx context.Context, c *v1beta1.Canary, gone ...string) ([]*metav1.PartialObjectMetadata, error) {
	if t.Off {
		return nil, nil
	}
	var out []*metav1.PartialObjectMetadata
	owner := ownership.For(c, gone...)
	for _, name := range append([]string{c.Name}, gone...) {
		for _, kind := range kinds {
			list := newMetadataList(kind)
			err := t.Client.List(ctx, list, client.InNamespace(c.Namespace),
				client.MatchingFields{ownerIndex: ownership.LabelValue(name)}, client.UnsafeDisableDeepCopy)
			if err != nil {
				return nil, fmt.Errorf("list copies: %w", err)
			}
			for i := range list.Items {
				if !owner.Owns(&list.Items[i]) {
					continue
				}
				o := newMetadata(kind) // those of a list do not say their kind
				o.ObjectMeta = list.Items[i].ObjectMeta
				out = append(out, o)
			}
		}
	}
	return out, nil
}

// Claim gives the mark to copies that were made for the Canary by a version that did not
// mark, or lost it, or that a Canary has left that is gone, and takes owner references away.
func (s *Share) Claim(ctx context.Context) error {
	c, t := s.world.Canary, s.part
	if len(s.list) == 0 {
		return nil
	}
	all, err := t.owned(ctx, c, s.world.Gone...)
	errs := []error{err}
	for _, copied := range all {
		if metadata := ownership.For(c).Claim(copied); metadata != nil {
			errs = append(errs, t.changeCopy(ctx, copied, metadata))
		}
	}
	return errors.Join(errs...)
}

// changeCopy writes metadata of a copy, which is there in the version that was read or
// not at all.
func (t *Tracker) changeCopy(ctx context.Context, now *metav1.PartialObjectMetadata, metadata map[string]any) error {
	ref := Ref{Kind: kindOf(now), Name: now.Name}
	metadata["uid"], metadata["resourceVersion"] = now.UID, now.ResourceVersion
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return fmt.Errorf("mark %s: %w", ref.Title(), err)
	}
	o := newObject(ref.Kind)
	o.SetNamespace(now.Namespace)
	o.SetName(now.Name)
	if err := t.Client.Patch(ctx, o, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(ssa.FieldOwner)); err != nil {
		return kube.IgnoreChanged(fmt.Errorf("mark %s: %w", ref.Title(), err))
	}
	_, err = t.note(ref, o) // so that it need not be read again
	return err
}

func kindOf(o *metav1.PartialObjectMetadata) Kind {
	if o.Kind == "Secret" {
		return Secret
	}
	return ConfigMap
}
