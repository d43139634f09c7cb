// Package targets has to do with the workloads that Canaries name: users' own, of which it
// sets how many pods they have and nothing else.
package targets

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/memory"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// ReasonTargetMissing says that there is no workload of the kind and name in spec.targetRef.
const ReasonTargetMissing = "TargetMissing"

// Targets are the workloads that Canaries name. It is safe for concurrent use.
type Targets struct {
	// Client reads from the informer cache.
	Client client.Reader
	// Live reads from the API server itself.
	Live client.Reader
	// Applier scales targets.
	Applier *ssa.Applier

	revisions memory.Memory[revision]
	kinds     *kindWatches // nil in a process without watches
}

// revision is that of a target in a state of its spec.
type revision struct{ version, hash string }

// Share is the target of a Canary in a turn.
type Share struct {
	part  *Targets
	world *world.World
}

var (
	_ world.Part[*Share] = (*Targets)(nil)
	_ wake.Waker         = (*Targets)(nil)
)

// SetUp wakes the Canaries of a workload that changed. Deployments are watched from the
// start on.
func (t *Targets) SetUp(_ context.Context, w *wake.Watches) error {
	w.Builder.Watches(&appsv1.Deployment{}, w.Events.OfWorkloads())
	w.OnceBuilt(func(c controller.Controller) { t.kinds = newKindWatches(w, c) })
	return nil
}

// Observe reads the target. One that is not there is a mistake.
func (t *Targets) Observe(ctx context.Context, w *world.World) (*Share, error) {
	s := &Share{part: t, world: w}
	if knative.Is(w.Canary) {
		return s, t.observeKnative(ctx, w)
	}
	ref := w.Canary.Spec.TargetRef
	target, err := t.Read(ctx, w.Canary, ref.Name)
	if err != nil {
		return s, err
	}
	if target == nil {
		return s, world.Missing(ReasonTargetMissing, "spec.targetRef: there is no %s %s in namespace %s", ref.Kind, ref.Name, w.Canary.Namespace)
	}
	if of := ownership.CanaryOf(target); of != "" && workload.Template(target) != nil {
		return s, world.Mistake(world.ReasonInvalidSpec,
			"spec.targetRef.name: %s %s was made for Canary %s and can't be the target of one; name a workload that you deploy yourself", ref.Kind, ref.Name, of)
	}
	revision, err := t.revision(w.Canary, target)
	if err != nil {
		return s, err
	}
	w.TargetObject = target
	w.Target = workload.Observe(target, revision, w.Canary.GetAnalysis().GetCanaryReadyThreshold())
	if !t.Applier.Observed(target) {
		world.Unobserved(&w.Target)
	}
	return s, nil
}

// revision is the target's, computed once for each state of its spec.
func (t *Targets) revision(c *v1beta1.Canary, target client.Object) (string, error) {
	version := workload.Version(target)
	if known, ok := t.revisions.Get(c); ok && known.version == version {
		return known.hash, nil
	}
	hash, err := workload.Revision(target)
	if err != nil {
		return "", err
	}
	t.revisions.Set(c, revision{version: version, hash: hash})
	return hash, nil
}

// Read reads a workload of the kind of a Canary's target, nil if there is none.
func (t *Targets) Read(ctx context.Context, c *v1beta1.Canary, name string) (client.Object, error) {
	kind := c.Spec.TargetRef.Kind
	o := workload.New(kind)
	if o == nil {
		return nil, world.Mistake(world.ReasonInvalidSpec, "spec.targetRef.kind: %q is none of %s", kind, strings.Join(workload.Kinds(), ", "))
	}
	if err := t.kinds.watch(o); err != nil {
		return nil, fmt.Errorf("watch %ss: %w", kind, err)
	}
	if err := t.Client.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, o); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("read %s %s/%s: %w", kind, c.Namespace, name, err)
	}
	return o, nil
}

// Unchanged tells whether a target that was read from the cache has, on the API server, the pods still that it had
// there. A Service has none of its own.
func (t *Targets) Unchanged(ctx context.Context, target client.Object) (bool, error) {
	if workload.Kind(target) == workload.KindService {
		return true, nil
	}
	live := workload.New(workload.Kind(target))
	if err := t.Live.Get(ctx, client.ObjectKeyFromObject(target), live); err != nil {
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return false, fmt.Errorf("read %s %s/%s: %w", workload.Kind(target), target.GetNamespace(), target.GetName(), err)
	}
	if live.GetUID() != target.GetUID() {
		return false, nil
	}
	is, err := workload.Revision(live)
	if err != nil {
		return false, err
	}
	was, err := workload.Revision(target)
	return is == was, err
}

// Watched tells whether the workloads of a kind are in the cache.
func (t *Targets) Watched(kind string) bool { return t.kinds.has(kind) }

// Forget drops what is known of a Canary that is gone.
func (t *Targets) Forget(key types.NamespacedName) { t.revisions.Forget(key) }

// Size is how many Canaries something is known of.
func (t *Targets) Size() int { return t.revisions.Size() }

// Apply writes what scales the target and nothing else of it.
func (s *Share) Apply(ctx context.Context, want release.Desired) error {
	return s.scale(ctx, s.world.TargetObject, want.TargetReplicas)
}

// GiveBack gives the target the pods that it serves with.
func (s *Share) GiveBack(ctx context.Context, want release.Desired) error {
	return s.scale(ctx, s.world.TargetObject, want.TargetReplicas)
}

func (s *Share) scale(ctx context.Context, target client.Object, replicas *int32) error {
	if target == nil || replicas == nil || knative.Is(s.world.Canary) {
		return nil
	}
	spec := workload.Scale(target, *replicas)
	if spec == nil {
		return nil
	}
	kind := workload.Kind(target)
	metadata := map[string]any{}
	if *replicas == 0 {
		// A release that has begun meanwhile must not lose its pods to the drain
		// of the one before.
		metadata["resourceVersion"] = target.GetResourceVersion()
	}
	var err error
	if _, ok := target.(*appsv1.DaemonSet); ok {
		err = s.part.Applier.Merge(ctx, map[string]any{"metadata": metadata, "spec": spec}, target)
	} else {
		metadata["namespace"], metadata["name"] = target.GetNamespace(), target.GetName()
		metadata["uid"] = string(target.GetUID()) // one that was deleted is not created again
		err = s.part.Applier.ApplyPartial(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": workload.APIVersion(target), "kind": kind, "metadata": metadata, "spec": spec,
		}}, target)
	}
	if *replicas == 0 && apierrors.IsConflict(err) {
		return fmt.Errorf("%w: %s %s", world.ErrChanged, kind, target.GetName())
	}
	if err != nil {
		return fmt.Errorf("scale %s %s to %d: %w", kind, target.GetName(), *replicas, err)
	}
	return nil
}
