package canary

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

func (r *Reconciler) observeTarget(ctx context.Context, w *world) error {
	ref := w.Canary.Spec.TargetRef
	target, err := r.workload(ctx, w.Canary, ref.Name)
	if err != nil {
		return err
	}
	if target == nil {
		return mistake(reasonTargetMissing, "spec.targetRef: there is no %s %s in namespace %s", ref.Kind, ref.Name, w.Canary.Namespace)
	}
	revision, err := r.memory.revision(w.Canary, target)
	if err != nil {
		return err
	}
	w.target = target
	w.Target = workload.Observe(target, revision, w.Canary.GetAnalysis().GetCanaryReadyThreshold())
	r.awaitWritten(target, &w.Target)
	return nil
}

func (r *Reconciler) observePrimary(ctx context.Context, w *world) error {
	primary, err := r.workload(ctx, w.Canary, w.Canary.PrimaryName())
	if err != nil {
		return err
	}
	if primary != nil {
		w.primary = primary
		revision := primary.GetAnnotations()[workload.RevisionAnnotation]
		if w.target != nil {
			sourced, err := r.sourced(ctx, w, primary)
			if err != nil {
				return err
			}
			revision = workload.PrimaryRevision(w.Canary, w.target, sourced, w.Target.Revision, r.Options)
		}
		w.Primary = workload.Observe(primary, revision, w.Canary.GetAnalysis().GetPrimaryReadyThreshold())
		r.awaitWritten(primary, &w.Primary)
		if err := foreignPrimary(w, primary); err != nil {
			return err
		}
	}
	if w.target == nil {
		return nil
	}
	w.Primary.Interrupted = workload.Restarts(w.target, w.Primary.Replicas)
	var unsupported *workload.UnsupportedTargetError
	if err := workload.Check(w.Canary, w.target, w.primary); errors.As(err, &unsupported) {
		return mistake(reasonTargetUnsupported, "spec.targetRef: %v", unsupported)
	}
	return nil
}

// awaitWritten says that a workload as the cache has it is older than our last write
// of it.
func (r *Reconciler) awaitWritten(o client.Object, w *release.Workload) {
	if !r.Applier.Observed(o) {
		w.Ready, w.Message = false, "its last change is not observed yet"
	}
}

// workload reads a workload of the kind of the Canary's target, nil if there
// is none.
func (r *Reconciler) workload(ctx context.Context, c *v1beta1.Canary, name string) (client.Object, error) {
	kind := c.Spec.TargetRef.Kind
	o := workload.New(kind)
	if o == nil {
		return nil, mistake(reasonInvalidSpec, "spec.targetRef.kind: %q is none of %s", kind, strings.Join(workload.Kinds(), ", "))
	}
	if err := r.kinds.watch(o); err != nil {
		return nil, fmt.Errorf("watch %ss: %w", kind, err)
	}
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, o); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("read %s %s/%s: %w", kind, c.Namespace, name, err)
	}
	return o, nil
}

// foreignPrimary refuses to take over what has the primary's name and is
// somebody's own. A primary belongs to its Canary; one that lost its mark, or the owner
// that it had before, is known by what Sluice or Flagger wrote on it.
func foreignPrimary(w *world, primary client.Object) error {
	kind := workload.Kind(primary)
	if w.owner().Of(primary) != ownership.Users {
		return conflict(w, primary, kind)
	}
	if _, ours := primary.GetAnnotations()[workload.RevisionAnnotation]; ours || workload.MadeByFlagger(primary) {
		return nil
	}
	return foreign(reasonConflict, "%s %s was not made for a Canary and would be overwritten by the primary of %s; rename or delete it", kind, primary.GetName(), w.Canary.Spec.TargetRef.Name)
}

func (r *Reconciler) applyPrimary(ctx context.Context, w *world, want release.Desired) error {
	if want.PrimaryRevision == "" || want.PrimaryRevision != w.Target.Revision {
		return nil
	}
	if !r.applyConfigs(ctx, w, want) {
		return nil
	}
	primary, err := workload.Primary(w.Canary, w.target, w.primary, want.PrimaryRevision, r.Options)
	if err != nil {
		return fmt.Errorf("build the primary: %w", err)
	}
	configs := w.useCopies(workload.Template(primary), want.PrimaryRevision)
	if w.Primary.Revision == want.PrimaryRevision {
		kept, err := workload.KeepTemplate(primary, w.primary, w.target.GetName(), r.Options)
		if err != nil {
			return fmt.Errorf("compare the primary: %w", err)
		}
		if kept {
			configs = "kept " + workload.Version(w.primary)
		}
	}
	n := workload.Replicas(primary)
	if want.PrimaryReplicas != nil && (w.Canary.Spec.AutoscalerRef == nil || w.primary == nil) {
		n = *want.PrimaryReplicas
	}
	replicas, err := w.autoscaler.PrimaryReplicas(n, want.PrimaryFloor)
	if err != nil {
		return err
	}
	workload.SetReplicas(primary, replicas)
	err = r.Applier.Apply(ctx, primary, w.primaryOptions(primary, configs, r.Options)...)
	if apierrors.IsConflict(err) {
		return fmt.Errorf("%w: %s %s", errConflict, workload.Kind(primary), primary.GetName())
	}
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", workload.Kind(primary), primary.GetName(), err)
	}
	r.collectConfigs(ctx, w, want)
	return nil
}

// primaryOptions say how the intent for the primary is compared with what is there. configs
// stands for the copies that its pods use. A number of replicas that is that of the live
// Primary is whoever's who scales it: it is no reason to write, and never overwrites another.
func (w *world) primaryOptions(primary client.Object, configs string, o workload.Options) []ssa.Option {
	live, replicas := "", fmt.Sprint(workload.Replicas(primary))
	number := ssa.Sets("spec", "replicas")
	if w.primary != nil {
		live = string(w.primary.GetUID()) // what can't be changed is taken from it
		if workload.Replicas(primary) == workload.Replicas(w.primary) {
			number, replicas = ssa.Repeats(w.primary.GetResourceVersion(), "spec", "replicas"), "repeated"
		}
	}
	// All that the intent depends on.
	return []ssa.Option{number, ssa.Keyed(fmt.Sprintf("%s %d %v %+v %s %s %s %v %v %s", w.Canary.UID, w.Canary.Generation, w.Canary.Annotations, o,
		workload.Version(w.target), live, replicas, primary.GetLabels(), primary.GetAnnotations(), configs))}
}

// scaleTarget writes what scales the target and nothing else of it.
func (r *Reconciler) scaleTarget(ctx context.Context, target client.Object, replicas *int32) error {
	if replicas == nil {
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
		err = r.Applier.Merge(ctx, map[string]any{"metadata": metadata, "spec": spec}, target)
	} else {
		metadata["namespace"], metadata["name"] = target.GetNamespace(), target.GetName()
		metadata["uid"] = string(target.GetUID()) // one that was deleted is not created again
		err = r.Applier.ApplyPartial(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": workload.APIVersion(target), "kind": kind, "metadata": metadata, "spec": spec,
		}}, target)
	}
	if *replicas == 0 && apierrors.IsConflict(err) {
		return fmt.Errorf("%w: %s %s", errConflict, kind, target.GetName())
	}
	if err != nil {
		return fmt.Errorf("scale %s %s to %d: %w", kind, target.GetName(), *replicas, err)
	}
	return nil
}

// kindWatches watches the kinds of workloads that Canaries have, each from the
// first Canary on that has it: a cache of all DaemonSets of a cluster is for
// nothing where no Canary has one.
type kindWatches struct {
	mu      sync.Mutex
	begin   func(client.Object) error // nil in a process without watches
	watched map[string]bool
}

// newKindWatches watches what c does not watch from its start.
func (r *Reconciler) newKindWatches(mgr ctrl.Manager, c controller.Controller) *kindWatches {
	return &kindWatches{
		watched: map[string]bool{workload.KindDeployment: true, workload.KindService: true},
		begin: func(kind client.Object) error {
			return c.Watch(source.Kind(mgr.GetCache(), kind, r.events().OfWorkloads()))
		},
	}
}

// has tells whether a kind is watched, so that its objects are in the cache.
func (k *kindWatches) has(kind string) bool {
	if k == nil {
		return true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.watched[kind]
}

// watch begins to watch the kind of an empty object, unless it did before.
func (k *kindWatches) watch(o client.Object) error {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	kind := workload.Kind(o)
	if k.watched[kind] {
		return nil
	}
	if err := k.begin(workload.New(kind)); err != nil {
		return err
	}
	k.watched[kind] = true
	return nil
}
