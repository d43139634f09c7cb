package canary

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// errConfigChanged says that a config is not any more what was decided on. Its
// change is an event, which brings the next turn.
var errConfigChanged = errors.New("changed since it was looked at")

// applyConfigs brings the primary's copies to what the configs of the target
// are, and returns the name of each copy. It comes before the primary itself:
// no pod is asked for whose configs are not there. It returns false where the
// primary must be left as it is for now.
func (r *Reconciler) applyConfigs(ctx context.Context, w *world) (names map[workload.ConfigRef]string, ok bool) {
	if w.configs == nil || len(w.configs.list) == 0 {
		return nil, true
	}
	names, err := r.applyAllConfigs(ctx, w)
	if errors.Is(err, errConfigChanged) {
		log.FromContext(ctx).V(1).Info("The primary is left as it is for now", "reason", err.Error())
		return nil, false
	}
	w.configTrouble = err
	return names, err == nil
}

func (r *Reconciler) applyAllConfigs(ctx context.Context, w *world) (map[workload.ConfigRef]string, error) {
	copies, err := r.Configs.copies(ctx, w)
	if err != nil {
		return nil, err
	}
	if err := r.Configs.readChanged(ctx, w, copies); err != nil {
		return nil, err
	}
	names := make(map[workload.ConfigRef]string, len(w.configs.list))
	for _, one := range w.configs.list {
		if names[one.ConfigRef], err = r.applyConfig(ctx, w, one, copies); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// copies are what there is under all names that copies may have.
func (t *ConfigTracker) copies(ctx context.Context, w *world) (map[workload.ConfigRef]seenConfig, error) {
	var refs []workload.ConfigRef
	for _, one := range w.configs.list {
		for _, name := range one.names {
			refs = append(refs, workload.ConfigRef{Kind: one.Kind, Name: name})
		}
	}
	return t.look(ctx, w.Canary.Namespace, refs, w.configs.contents, func(_ workload.ConfigRef, o *metav1.PartialObjectMetadata) bool {
		return metav1.IsControlledBy(o, w.Canary)
	})
}

// readChanged reads the contents that are to be copied, unless this turn has
// read them already.
func (t *ConfigTracker) readChanged(ctx context.Context, w *world, copies map[workload.ConfigRef]seenConfig) error {
	var refs []workload.ConfigRef
	for _, one := range w.configs.list {
		_, now := own(w.Canary.UID, one, copies)
		if !one.gone && now.hash != one.hash && w.configs.contents[one.ConfigRef] == nil {
			refs = append(refs, one.ConfigRef)
		}
	}
	read, err := t.read(ctx, w.Canary.Namespace, refs)
	if err != nil {
		return err
	}
	for ref, o := range read {
		if _, err := t.note(ref, o); err != nil {
			return err
		}
		w.configs.contents[ref] = o
	}
	return nil
}

// own finds the copy of a config that a Canary has.
func own(canary types.UID, one trackedConfig, copies map[workload.ConfigRef]seenConfig) (name string, now seenConfig) {
	for _, name := range one.names {
		if now, ok := copies[workload.ConfigRef{Kind: one.Kind, Name: name}]; ok && now.owner.UID == canary {
			return name, now
		}
	}
	return "", seenConfig{}
}

// applyConfig brings one copy to what its source is and returns its name.
func (r *Reconciler) applyConfig(ctx context.Context, w *world, one trackedConfig, copies map[workload.ConfigRef]seenConfig) (string, error) {
	name, now := own(w.Canary.UID, one, copies)
	switch {
	case name != "" && now.hash == one.hash:
		return name, nil
	case one.gone && one.Optional:
		return r.withoutCopy(ctx, w, one, name, now, copies)
	case one.gone:
		return "", fmt.Errorf("the primary's copy of %s can't be made: %s", one.Title(), w.configs.missingMessage())
	}
	source := w.configs.contents[one.ConfigRef]
	if source == nil {
		return "", fmt.Errorf("%s: %w", one.Title(), errConfigChanged)
	}
	if hash, _, err := workload.ConfigHash(source); err != nil || hash != one.hash {
		return "", errors.Join(err, fmt.Errorf("%s: %w", one.Title(), errConfigChanged))
	}
	if name != "" {
		return name, r.updateCopy(ctx, w, source, workload.ConfigRef{Kind: one.Kind, Name: name}, now)
	}
	for _, name := range one.names {
		ref := workload.ConfigRef{Kind: one.Kind, Name: name}
		if _, taken := copies[ref]; taken {
			continue
		}
		if made, err := r.createCopy(ctx, w, source, ref); made || err != nil {
			return name, err
		}
	}
	return "", fmt.Errorf("no copy of %s can be made for the primary: every name that it may have is somebody else's: %v", one.Title(), one.names)
}

// withoutCopy has the primary go without an optional config, as the target
// does: the name that its pods refer to exists as little as the source.
func (r *Reconciler) withoutCopy(ctx context.Context, w *world, one trackedConfig, name string, now seenConfig, copies map[workload.ConfigRef]seenConfig) (string, error) {
	if name != "" {
		return name, r.deleteCopy(ctx, w, workload.ConfigRef{Kind: one.Kind, Name: name}, now.uid)
	}
	for _, name := range one.names {
		if _, taken := copies[workload.ConfigRef{Kind: one.Kind, Name: name}]; !taken {
			return name, nil
		}
	}
	return one.Name, nil
}

// createCopy makes a copy under a name that was seen to be free. It returns
// false where somebody else has taken the name meanwhile.
func (r *Reconciler) createCopy(ctx context.Context, w *world, source client.Object, ref workload.ConfigRef) (made bool, err error) {
	o, err := workload.ConfigCopy(w.Canary, source, ref.Name, r.Options)
	if err != nil {
		return false, err
	}
	// Not by server-side apply: of two Canaries that want the name, one must
	// lose.
	err = r.Client.Create(ctx, o, client.FieldOwner(ssa.FieldOwner))
	switch {
	case apierrors.IsAlreadyExists(err):
		return r.takenCopy(ctx, w, source, ref)
	case err != nil:
		return false, fmt.Errorf("create %s: %w", ref.Title(), err)
	}
	log.FromContext(ctx).V(1).Info("Copied a config", "copy", ref.String())
	_, err = r.Configs.note(ref, o)
	return true, err
}

// takenCopy looks at what has the name that a copy was to get: our own copy
// that the cache does not show yet, or somebody else's object.
func (r *Reconciler) takenCopy(ctx context.Context, w *world, source client.Object, ref workload.ConfigRef) (ours bool, err error) {
	live := newConfig(ref.Kind)
	if err := r.Configs.live.Get(ctx, client.ObjectKey{Namespace: w.Canary.Namespace, Name: ref.Name}, live); err != nil {
		return false, fmt.Errorf("read %s: %w", ref.Title(), err)
	}
	fact, err := r.Configs.note(ref, live)
	if err != nil || !metav1.IsControlledBy(live, w.Canary) {
		return false, err
	}
	if hash, _, err := workload.ConfigHash(source); err != nil || hash == fact.hash {
		return true, err
	}
	return true, r.updateCopy(ctx, w, source, ref, fact.summary())
}

// updateCopy gives a copy the contents of its source, exactly: server-side
// apply would leave keys in it that an earlier writer owns.
func (r *Reconciler) updateCopy(ctx context.Context, w *world, source client.Object, ref workload.ConfigRef, now seenConfig) error {
	patch, err := workload.ConfigPatch(source, string(now.uid), now.version)
	if err != nil {
		return err
	}
	o := newConfig(ref.Kind)
	o.SetNamespace(w.Canary.Namespace)
	o.SetName(ref.Name)
	err = r.Client.Patch(ctx, o, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(ssa.FieldOwner))
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return fmt.Errorf("%s: %w", ref.Title(), errConfigChanged)
	case apierrors.IsInvalid(err):
		// It was made immutable, or its source has become a Secret of another
		// type: only a new object can hold the contents.
		if err := r.deleteCopy(ctx, w, ref, now.uid); err != nil {
			return err
		}
		made, err := r.createCopy(ctx, w, source, ref)
		if err == nil && !made {
			err = fmt.Errorf("%s: %w", ref.Title(), errConfigChanged)
		}
		return err
	case err != nil:
		return fmt.Errorf("update %s: %w", ref.Title(), err)
	}
	log.FromContext(ctx).V(1).Info("Updated the copy of a config", "copy", ref.String())
	_, err = r.Configs.note(ref, o)
	return err
}

func (r *Reconciler) deleteCopy(ctx context.Context, w *world, ref workload.ConfigRef, uid types.UID) error {
	o := newConfigMetadata(ref.Kind)
	o.Namespace, o.Name, o.UID = w.Canary.Namespace, ref.Name, uid
	if err := r.Applier.Delete(ctx, o); err != nil {
		return fmt.Errorf("delete %s: %w", ref.Title(), err)
	}
	r.Configs.facts.drop([]configKey{{w.Canary.Namespace, ref}})
	return nil
}

// useCopies has the pod template of the primary, which carries a revision or is
// to, refer to the copies. It returns what the result depends on.
func (w *world) useCopies(template *corev1.PodTemplateSpec, revision string, names map[workload.ConfigRef]string) (version string) {
	if w.configs == nil || len(w.configs.hashes) == 0 {
		return ""
	}
	var live *corev1.PodTemplateSpec
	if w.primary != nil {
		live = workload.Template(w.primary)
		version = fmt.Sprintf("%d", w.primary.GetGeneration())
	}
	*template = *workload.UseCopies(template, live, names, workload.ConfigsHash(w.configs.hashes), w.Primary.Revision == revision)
	if hash := template.Annotations[workload.ConfigsAnnotation]; hash != "" {
		version = hash // and not on the live one
	}
	return fmt.Sprintf("%s %v", version, names)
}

// collectConfigs deletes copies that the primary does not use any more. It
// waits until no pod of an older primary is left.
func (r *Reconciler) collectConfigs(ctx context.Context, w *world, want rollout.Desired, names map[workload.ConfigRef]string) {
	if w.configs == nil || w.primary == nil || !w.Primary.Ready || w.Primary.Revision != want.PrimaryRevision {
		return
	}
	var used []workload.ConfigRef
	for _, ref := range workload.References(workload.Template(w.primary)) {
		used = append(used, ref.ConfigRef)
	}
	for source, name := range names {
		used = append(used, workload.ConfigRef{Kind: source.Kind, Name: name})
	}
	for _, kind := range configKinds {
		w.configTrouble = errors.Join(w.configTrouble, r.collectKind(ctx, w, kind, used))
	}
}

func (r *Reconciler) collectKind(ctx context.Context, w *world, kind workload.ConfigKind, used []workload.ConfigRef) error {
	list := newConfigList(kind)
	err := r.Client.List(ctx, list, client.InNamespace(w.Canary.Namespace),
		client.MatchingFields{configOwnerIndex: string(w.Canary.UID)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return fmt.Errorf("list copies: %w", err)
	}
	for i := range list.Items {
		ref := workload.ConfigRef{Kind: kind, Name: list.Items[i].Name}
		if slices.Contains(used, ref) {
			continue
		}
		if err := r.deleteCopy(ctx, w, ref, list.Items[i].UID); err != nil {
			return err
		}
	}
	return nil
}
