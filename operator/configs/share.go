package configs

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
)

// Share is what the pods of a Canary's target read, as it is in a turn.
type Share struct {
	part  *Tracker
	world *world.World
	// tracked is false for a target of which nothing is tracked.
	tracked bool
	list    []tracked
	// names are those of the primary's copies by what they are copies of, once they are there.
	names map[Ref]string
	// hashes are as they go into status.trackedConfigs.
	hashes map[string]string
	// missing are configs without which no pod starts.
	missing []string
	// contents of what was read in this turn.
	contents map[Ref]client.Object
	// unknown is true where they could not be read.
	unknown bool
}

// tracked is a config of which the primary has a copy.
type tracked struct {
	Reference
	// gone is true when there is no such object now.
	gone bool
	// Hash and data are of its contents, see Hash.
	hash, data string
	// names are those that its copy may have, in order.
	names []string
}

// ReasonUnreadable says that ConfigMaps or Secrets that the target uses could not be read; the message says which. It goes away by
// itself where the API server only could not answer.
const ReasonUnreadable = "ConfigsUnreadable"

// Record puts the hashes of what is released into the status.
func (s *Share) Record(status *v1beta1.CanaryStatus) {
	if s.unknown || !s.tracked || status.LastAppliedSpec != s.world.Target.Revision {
		return
	}
	if status.TrackedConfigs = nil; len(s.hashes) > 0 {
		status.TrackedConfigs = &s.hashes
	}
}

// Observe finds what the target's pods read beside their template and makes it part of
// the target's revision. A deletion does not depend on it. It is a mistake where they can't
// be read: without them it is not known which revision the target is at.
func (t *Tracker) Observe(ctx context.Context, w *world.World) (*Share, error) {
	s := &Share{part: t, world: w}
	w.Copies = s
	if t.Off || w.TargetObject == nil || workload.Template(w.TargetObject) == nil || !w.Canary.DeletionTimestamp.IsZero() {
		return s, nil // a target of kind Service has no pods of its own
	}
	if err := s.observe(ctx, workload.Template(w.TargetObject)); err != nil {
		s.unknown = true
		w.Target.Revision, w.Target.Ready, w.Target.Message = w.Canary.Status.LastAppliedSpec, false, err.Error()
		return s, world.Mistake(ReasonUnreadable, "ConfigMaps and Secrets of %s: %v", w.Canary.Spec.TargetRef.Name, err)
	}
	w.ChangedConfigs = Changed(w.Target.Revision, s.hashes, &w.Canary.Status)
	w.Target.Revision, w.Target.Configs = Revision(w.Target.Revision, s.hashes), HashOfAll(s.hashes)
	if len(s.missing) > 0 {
		w.Target.Ready, w.Target.Message = false, s.missingMessage()
	}
	return s, nil
}

func (s *Share) missingMessage() string {
	return "its pods can't start without " + strings.Join(s.missing, ", ") + ", which does not exist"
}

// observe looks at every config that the pods of a template use, and at the
// copies of them that the Canary has.
func (s *Share) observe(ctx context.Context, template *corev1.PodTemplateSpec) error {
	c, t := s.world.Canary, s.part
	references := References(template)
	used := make([]Ref, len(references))
	for i := range references {
		used[i] = references[i].Ref
	}
	s.tracked, s.hashes, s.contents = true, map[string]string{}, map[Ref]client.Object{}
	if len(references) == 0 {
		t.Forget(client.ObjectKeyFromObject(c))
		return nil
	}
	all := slices.Clone(used)
	names := make([][]string, len(used))
	for i, ref := range used {
		for _, name := range copyNames(ref.Name, c.Spec.TargetRef.Name) {
			// A name that the target itself uses is its user's.
			if other := (Ref{Kind: ref.Kind, Name: name}); !slices.Contains(used, other) {
				names[i] = append(names[i], name)
				all = append(all, other)
			}
		}
	}
	t.facts.drop(c.Namespace, t.index.set(client.ObjectKeyFromObject(c), all)...)
	seen, err := t.look(ctx, c.Namespace, all, s.contents, func(ref Ref, o *metav1.PartialObjectMetadata) bool {
		return slices.Contains(used, ref) && !TrackingDisabled(o.Annotations) || s.world.Owner.Owns(o)
	})
	if err != nil {
		return err
	}
	for i, ref := range references {
		s.add(tracked{Reference: ref, names: names[i]}, seen)
	}
	return nil
}

// add decides whether and as what one config is tracked.
func (s *Share) add(one tracked, seen map[Ref]existing) {
	now, exists := seen[one.Ref]
	switch {
	case exists && now.shared, !exists && one.PullOnly:
		return
	case exists:
		one.hash, one.data = now.hash, now.data
	case one.Optional:
		one.gone, one.hash = true, Absent
	default:
		// Pods that run go on without it; only new ones can't start. So that is no
		// other revision, and the config may just be replaced.
		one.gone, one.hash = true, lastHash(s.world.Canary, s.world.Owner, one, seen)
		s.missing = append(s.missing, one.Title())
	}
	s.hashes[one.String()] = one.hash
	s.list = append(s.list, one)
}

// lastHash is that of a config that is missing, as far as it is known.
func lastHash(c *v1beta1.Canary, owner ownership.Owner, one tracked, seen map[Ref]existing) string {
	if tracked := c.Status.TrackedConfigs; tracked != nil {
		if hash := (*tracked)[one.String()]; KnownHash(hash) {
			return hash
		}
	}
	for _, name := range one.names {
		if copied := seen[Ref{Kind: one.Kind, Name: name}]; copied.isOf(owner) && copied.hash != "" {
			return copied.hash
		}
	}
	return Missing
}

// Sourced is the primary with references to copies that are like their sources
// put back to the sources: where it is then a copy of the target, it carries
// the target's revision. Only a primary that another operator left is compared
// like that.
func (s *Share) Sourced(ctx context.Context, primary client.Object) (client.Object, error) {
	if _, ours := primary.GetAnnotations()[workload.RevisionAnnotation]; ours || len(s.list) == 0 {
		return primary, nil
	}
	var copies []Ref
	for _, one := range s.list {
		for _, name := range one.names {
			copies = append(copies, Ref{Kind: one.Kind, Name: name})
		}
	}
	// Flagger lets the Canaries that use one config share its copy, so another
	// Canary's will do.
	seen, err := s.part.look(ctx, s.world.Canary.Namespace, copies, s.contents, func(_ Ref, copied *metav1.PartialObjectMetadata) bool {
		return ownership.Key(copied) != ""
	})
	if err != nil {
		return nil, err
	}
	sources := map[Ref]string{}
	for _, one := range s.list {
		for _, name := range one.names {
			copied := Ref{Kind: one.Kind, Name: name}
			now, exists := seen[copied]
			if one.gone || exists && now.marks != nil && ownership.Key(now.marks.meta()) != "" && (now.hash == one.hash || now.hash == one.data) {
				sources[copied] = one.Name
			}
		}
	}
	out := primary.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy of one
	*workload.Template(out) = *Rename(workload.Template(primary), sources)
	return out, nil
}
