// Package primaries keeps the copies of targets that serve: a primary gets a revision of its
// target when that is promoted.
package primaries

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// ReasonTargetUnsupported says that of the target no primary can be made; the message says why.
const ReasonTargetUnsupported = "TargetUnsupported"

// Workloads are those of a cluster, by the kinds that targets have.
type Workloads interface {
	// Read reads a workload of the kind of a Canary's target, nil if there is none.
	Read(ctx context.Context, c *v1beta1.Canary, name string) (client.Object, error)
	// Watched tells whether the workloads of a kind are in the cache.
	Watched(kind string) bool
	// Unchanged tells whether a target that was read from the cache has the same pods on the API server.
	Unchanged(ctx context.Context, target client.Object) (bool, error)
}

// Primaries keeps the primaries of Canaries.
type Primaries struct {
	// Client reads from the informer cache.
	Client client.Reader
	// Live reads from the API server what is stored of primaries.
	Live client.Reader
	// Applier writes primaries.
	Applier *ssa.Applier
	// Options are the settings for generated objects.
	Options workload.Options
	// Workloads reads primaries.
	Workloads Workloads
}

// Share is the primary of a Canary in a turn.
type Share struct {
	part  *Primaries
	world *world.World
}

var _ world.Part[*Share] = (*Primaries)(nil)

// Observe reads the primary. What has its name and is somebody's own is a mistake, and so
// is a target that can have none. The target and what its pods read are observed by then.
func (p *Primaries) Observe(ctx context.Context, w *world.World) (*Share, error) {
	s := &Share{part: p, world: w}
	if knative.Is(w.Canary) {
		return s, nil // it is a revision of the target, and was observed with that
	}
	primary, err := p.Workloads.Read(ctx, w.Canary, w.Canary.PrimaryName())
	if err != nil {
		return s, err
	}
	if primary != nil {
		if err := s.observe(ctx, primary); err != nil {
			return s, err
		}
	}
	if w.TargetObject == nil {
		return s, nil
	}
	w.Primary.Interrupted = workload.Restarts(w.TargetObject, w.Primary.Replicas)
	var unsupported *workload.UnsupportedTargetError
	if err := workload.Check(w.Canary, w.TargetObject, w.PrimaryObject); errors.As(err, &unsupported) {
		return s, world.Mistake(ReasonTargetUnsupported, "spec.targetRef: %v", unsupported)
	}
	return s, nil
}

func (s *Share) observe(ctx context.Context, primary client.Object) error {
	p, w := s.part, s.world
	w.PrimaryObject = primary
	revision := primary.GetAnnotations()[workload.RevisionAnnotation]
	if w.TargetObject != nil {
		sourced, err := w.Copies.Sourced(ctx, primary)
		if err != nil {
			return err
		}
		revision = workload.PrimaryRevision(w.Canary, w.TargetObject, sourced, w.Target.Revision, p.Options)
	}
	w.Primary = workload.Observe(primary, revision, w.Canary.GetAnalysis().GetPrimaryReadyThreshold())
	if !p.Applier.Observed(primary) {
		world.Unobserved(&w.Primary)
	}
	return s.foreign(primary)
}

// foreign refuses to take over what has the primary's name and is
// somebody's own. A primary belongs to its Canary; one that lost its mark, or the owner
// that it had before, is known by what Sluice or Flagger wrote on it.
func (s *Share) foreign(primary client.Object) error {
	kind := workload.Kind(primary)
	if s.world.Owner.Of(primary) != ownership.Users {
		return s.world.Conflict(primary, kind)
	}
	if _, ours := primary.GetAnnotations()[workload.RevisionAnnotation]; ours || workload.MadeByFlagger(primary) {
		return nil
	}
	return world.Foreign(world.ReasonConflict, "%s %s was not made for a Canary and would be overwritten by the primary of %s; rename or delete it",
		kind, primary.GetName(), s.world.Canary.Spec.TargetRef.Name)
}

// Apply has the primary carry the revision that is wanted, with the copies of what its pods
// read, which come before it.
func (s *Share) Apply(ctx context.Context, want release.Desired) error {
	p, w := s.part, s.world
	if want.StoredRevision != "" {
		return s.restore(ctx, want)
	}
	if !w.Promotes(want) {
		return nil
	}
	if live, ok := w.TargetObject.(*knative.Service); ok {
		return p.promoteKnative(ctx, live, want.PrimaryRevision)
	}
	primary, err := workload.Primary(w.Canary, w.TargetObject, w.PrimaryObject, want.PrimaryRevision, p.Options)
	if err != nil {
		return fmt.Errorf("build the primary: %w", err)
	}
	configs := w.Copies.Use(workload.Template(primary), want.PrimaryRevision)
	if w.Primary.Revision == want.PrimaryRevision {
		kept, err := workload.KeepTemplate(primary, w.PrimaryObject, w.TargetObject.GetName(), p.Options)
		if err != nil {
			return fmt.Errorf("compare the primary: %w", err)
		}
		if kept {
			configs = "kept " + workload.Version(w.PrimaryObject)
		}
	}
	n := workload.Replicas(primary)
	if want.PrimaryReplicas != nil && (w.Canary.Spec.AutoscalerRef == nil || w.PrimaryObject == nil) {
		n = *want.PrimaryReplicas
	}
	replicas, err := w.Bounds.PrimaryReplicas(n, want.PrimaryFloor)
	if err != nil {
		return err
	}
	workload.SetReplicas(primary, replicas)
	options := s.options(primary, configs)
	if w.PrimaryObject != nil && w.Primary.Revision != want.PrimaryRevision {
		options = append(options, ssa.Before(s.judged))
	}
	return s.write(ctx, primary, options)
}

// write applies the intent for the primary.
func (s *Share) write(ctx context.Context, primary client.Object, options []ssa.Option) error {
	err := s.part.Applier.Apply(ctx, primary, options...)
	if apierrors.IsConflict(err) {
		return fmt.Errorf("%w: %s %s", world.ErrChanged, workload.Kind(primary), primary.GetName())
	}
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", workload.Kind(primary), primary.GetName(), err)
	}
	return nil
}

// judged refuses to give the primary another revision while the target is yet another one that the cache does not show:
// the pods that were found good may have been that one's.
func (s *Share) judged(ctx context.Context) error {
	target := s.world.TargetObject
	same, err := s.part.Workloads.Unchanged(ctx, target)
	if err == nil && !same {
		return fmt.Errorf("%w: %s %s", world.ErrChanged, workload.Kind(target), target.GetName())
	}
	return err
}

// options say how the intent for the primary is compared with what is there. configs
// stands for the copies that its pods use. A number of replicas that is that of the live
// Primary is whoever's who scales it: it is no reason to write, and never overwrites another.
func (s *Share) options(primary client.Object, configs string) []ssa.Option {
	w := s.world
	live, replicas := "", fmt.Sprint(workload.Replicas(primary))
	number := ssa.Sets("spec", "replicas")
	if w.PrimaryObject != nil {
		live = string(w.PrimaryObject.GetUID()) // what can't be changed is taken from it
		if workload.Replicas(primary) == workload.Replicas(w.PrimaryObject) {
			number, replicas = ssa.Repeats(w.PrimaryObject.GetResourceVersion(), "spec", "replicas"), "repeated"
		}
	}
	// All that the intent depends on.
	return []ssa.Option{number, ssa.Keyed(fmt.Sprintf("%s %d %v %+v %s %s %s %v %v %s", w.Canary.UID, w.Canary.Generation, w.Canary.Annotations, s.part.Options,
		workload.Version(w.TargetObject), live, replicas, primary.GetLabels(), primary.GetAnnotations(), configs))}
}

// GiveBack does nothing: a primary goes with the Canary that owns it, or stays where it
// serves.
func (s *Share) GiveBack(context.Context, release.Desired) error { return nil }

// Claim gives the mark to a primary that was made for the Canary by a version that did not
// mark, or lost it, or that a Canary has left that is gone, and takes owner references away.
func (s *Share) Claim(ctx context.Context) error {
	primary := s.world.PrimaryObject
	if primary == nil || !s.world.Owner.Owns(primary) || !s.part.Applier.Observed(primary) {
		return nil
	}
	metadata := ownership.For(s.world.Canary).Claim(primary)
	if metadata == nil {
		return nil
	}
	return s.part.Applier.Merge(ctx, map[string]any{"metadata": metadata}, primary)
}

// Named is what there is by the name that a Canary's primary has.
func (p *Primaries) Named(ctx context.Context, c *v1beta1.Canary) ([]client.Object, error) {
	primary, err := p.Workloads.Read(ctx, c, c.PrimaryName())
	if err != nil || primary == nil {
		return nil, err
	}
	return []client.Object{primary}, nil
}

// Owned are all workloads that were made for a Canary, of former targets too. They are the
// cache's own and must not be changed.
func (p *Primaries) Owned(ctx context.Context, w *world.World) ([]client.Object, error) {
	var out []client.Object
	for _, kind := range []string{workload.KindDeployment, workload.KindDaemonSet, workload.KindStatefulSet} {
		if !p.Workloads.Watched(kind) {
			continue
		}
		list := workload.NewList(kind)
		if err := p.Client.List(ctx, list, client.InNamespace(w.Canary.Namespace), client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list %ss: %w", kind, err)
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			if o, ok := item.(client.Object); ok && w.Owner.Owns(o) {
				out = append(out, o)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list %ss: %w", kind, err)
		}
	}
	return out, nil
}
