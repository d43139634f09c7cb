package canary

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Reasons of mistakes with autoscalers.
const (
	reasonAutoscalerMissing = "AutoscalerMissing"
	reasonAutoscalerInvalid = "AutoscalerInvalid"
	reasonKEDAMissing       = "KEDANotInstalled"
)

// Indexes of the cache for autoscalers.
const (
	// autoscalerIndex finds Canaries by the names of their autoscalers.
	autoscalerIndex = "autoscaler"
	// madeForIndex finds autoscalers by the Canary that they were made for, or
	// that has paused them.
	madeForIndex = "madeFor"
)

// autoscaler is what there is of the autoscalers of a Canary.
type autoscaler struct {
	// users is the one that the Canary refers to, nil if there is none that
	// scales the target.
	users client.Object
	// primary is the present copy for the primary, or nil.
	primary client.Object
	// scaled is the target as the autoscaler must name it.
	scaled workload.Scaled
	// former are copies for the primary that nothing asks for any more.
	former []client.Object
	// paused are ScaledObjects that were paused for the Canary and are not
	// users, or not any more.
	paused []*unstructured.Unstructured
}

// observeAutoscaler reads the autoscaler that the Canary refers to and what was
// made from it. Where it can't be copied, that is a mistake.
func (r *Reconciler) observeAutoscaler(ctx context.Context, w *world) error {
	// First, so that a deletion gives back what was paused whatever is wrong.
	if err := r.observeFormerAutoscalers(ctx, w); err != nil {
		return err
	}
	return r.observeUsersAutoscaler(ctx, w)
}

func (r *Reconciler) observeUsersAutoscaler(ctx context.Context, w *world) error {
	c, ref := w.Canary, w.Canary.Spec.AutoscalerRef
	if ref == nil || !scalable(c) {
		return nil
	}
	users, err := workload.NewAutoscaler(ref)
	if err != nil {
		return nil //nolint:nilerr // the spec's own mistake, which observeSpec tells
	}
	if found, err := r.readAutoscaler(ctx, c, ref.Name, users); err != nil {
		return err
	} else if !found {
		return mistake(reasonAutoscalerMissing, "spec.autoscalerRef: there is no %s %s in namespace %s", ref.Kind, ref.Name, c.Namespace)
	}
	w.autoscaler.scaled = workload.Scaled{Kind: c.Spec.TargetRef.Kind, Name: c.Spec.TargetRef.Name}
	if w.target != nil {
		// A target without such a label is refused elsewhere.
		if key, value, err := workload.SelectorLabel(w.target, r.Options); err == nil {
			w.autoscaler.scaled.LabelKey, w.autoscaler.scaled.LabelValue = key, value
		}
	}
	so, isScaledObject := users.(*unstructured.Unstructured)
	if _, err := workload.PrimaryAutoscaler(c, w.autoscaler.scaled, users, 0, r.Options); err != nil {
		if isScaledObject && so.GetAnnotations()[workload.PausedByAnnotation] == c.Name {
			w.autoscaler.paused = append(w.autoscaler.paused, so) // it was the target's before somebody changed it
		}
		return mistake(reasonAutoscalerInvalid, "%v", err)
	}
	w.autoscaler.users = users
	if isScaledObject {
		for _, name := range workload.UnknownTriggers(ref, so) {
			w.Ignored = append(w.Ignored, fmt.Sprintf("spec.autoscalerRef.primaryScalerQueries.%s has no effect: ScaledObject %s has no trigger of that name", name, ref.Name))
		}
	}
	return r.observePrimaryAutoscaler(ctx, w, ref)
}

func (r *Reconciler) observePrimaryAutoscaler(ctx context.Context, w *world, ref *v1beta1.AutoscalerReference) error {
	primary, err := workload.NewAutoscaler(ref)
	if err != nil {
		return fmt.Errorf("copy of the autoscaler: %w", err)
	}
	found, err := r.readAutoscaler(ctx, w.Canary, workload.PrimaryAutoscalerName(ref.Name), primary)
	if err != nil || !found {
		return err
	}
	// What serves goes on, and a deletion gives back what was taken: this is no
	// reason to take the Canary's other objects for somebody else's.
	if !metav1.IsControlledBy(primary, w.Canary) {
		return mistake(reasonConflict, "spec.autoscalerRef: %s %s is needed for the primary's autoscaler and was not made for this Canary; delete it or rename %s",
			ref.Kind, primary.GetName(), ref.Name)
	}
	w.autoscaler.primary = primary
	return nil
}

// readAutoscaler reads into an empty object and returns whether it was there. A
// kind that the cluster does not serve is the user's mistake.
func (r *Reconciler) readAutoscaler(ctx context.Context, c *v1beta1.Canary, name string, into client.Object) (found bool, err error) {
	err = r.Client.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, into)
	kind := c.Spec.AutoscalerRef.Kind
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err):
		return false, nil
	case meta.IsNoMatchError(err):
		return false, mistake(reasonKEDAMissing, "spec.autoscalerRef.kind: %s %s is not served by this cluster; is KEDA installed?", kind, name)
	default:
		return false, fmt.Errorf("read %s %s/%s: %w", kind, c.Namespace, name, err)
	}
}

// observeFormerAutoscalers finds what was made or paused for the Canary by an
// earlier spec.autoscalerRef.
func (r *Reconciler) observeFormerAutoscalers(ctx context.Context, w *world) error {
	of := []client.ListOption{client.InNamespace(w.Canary.Namespace), client.MatchingFields{madeForIndex: w.Canary.Name}, client.UnsafeDisableDeepCopy}
	var hpas autoscalingv2.HorizontalPodAutoscalerList
	if err := r.Client.List(ctx, &hpas, of...); err != nil {
		return fmt.Errorf("list HorizontalPodAutoscalers: %w", err)
	}
	for i := range hpas.Items {
		w.noteFormer(workload.KindHPA, &hpas.Items[i])
	}
	if !r.scaledObjects.Load() {
		return nil
	}
	var list unstructured.UnstructuredList
	list.SetGroupVersionKind(workload.ScaledObjectKind)
	if err := r.Client.List(ctx, &list, of...); err != nil {
		return fmt.Errorf("list ScaledObjects: %w", err)
	}
	for i := range list.Items {
		so := &list.Items[i]
		w.noteFormer(workload.KindScaledObject, so)
		if so.GetAnnotations()[workload.PausedByAnnotation] == w.Canary.Name && !w.refersTo(workload.KindScaledObject, so.GetName()) {
			w.autoscaler.paused = append(w.autoscaler.paused, so)
		}
	}
	return nil
}

// noteFormer notes a copy that the Canary does not ask for any more.
func (w *world) noteFormer(kind string, o client.Object) {
	name, isCopy := strings.CutSuffix(o.GetName(), workload.PrimaryAutoscalerName(""))
	if metav1.IsControlledBy(o, w.Canary) && o.GetDeletionTimestamp().IsZero() && !(isCopy && w.refersTo(kind, name)) {
		w.autoscaler.former = append(w.autoscaler.former, o)
	}
}

func (w *world) refersTo(kind, name string) bool {
	ref := w.Canary.Spec.AutoscalerRef
	return ref != nil && ref.Kind == kind && ref.Name == name
}

// scale brings autoscalers and the target's number of pods to what is wanted,
// in the order in which neither works against the other: an autoscaler is
// paused before its target goes to zero and resumed before it is woken.
func (r *Reconciler) scale(ctx context.Context, w *world, want rollout.Desired) error {
	if err := r.applyAutoscaler(ctx, w, want); err != nil {
		return err
	}
	return r.scaleTarget(ctx, w.target, want.TargetReplicas)
}

func (r *Reconciler) applyAutoscaler(ctx context.Context, w *world, want rollout.Desired) error {
	for _, o := range w.autoscaler.former {
		if err := r.Applier.Delete(ctx, o); err != nil {
			return fmt.Errorf("delete a copy for the primary that is not asked for any more: %w", err)
		}
	}
	if err := r.applyPrimaryAutoscaler(ctx, w, want); err != nil {
		return err
	}
	if so, ok := w.autoscaler.users.(*unstructured.Unstructured); ok && want.TargetPaused {
		if err := r.pause(ctx, w.Canary, so); err != nil {
			return err
		}
	}
	return r.resumeAutoscalers(ctx, w, want.TargetPaused)
}

// applyPrimaryAutoscaler makes the primary's copy as soon as there is a
// primary, and takes over every edit of the user's autoscaler at once: the
// primary serves, so it is what a new bound or metric is meant for.
func (r *Reconciler) applyPrimaryAutoscaler(ctx context.Context, w *world, want rollout.Desired) error {
	if w.autoscaler.users == nil || w.primary == nil {
		return nil
	}
	copied, err := workload.PrimaryAutoscaler(w.Canary, w.autoscaler.scaled, w.autoscaler.users, want.PrimaryFloor, r.Options)
	if err != nil {
		return fmt.Errorf("build the primary's autoscaler: %w", err)
	}
	var opts []ssa.Option
	if _, ok := copied.(*unstructured.Unstructured); ok {
		opts = append(opts, ssa.ProtoJSON) // KEDA's lists are atomic
	}
	// A copy that Flagger left may have been paused with its original.
	if live, ok := w.autoscaler.primary.(*unstructured.Unstructured); ok && live.GetAnnotations()[ssa.AppliedAnnotation] == "" {
		if err := r.resume(ctx, live); err != nil {
			return err
		}
	}
	if err := r.Applier.Apply(ctx, copied, opts...); err != nil {
		return fmt.Errorf("apply the primary's autoscaler: %w", err)
	}
	return nil
}

// primaryReplicas is how many pods the primary gets where n are asked for: no
// fewer than floor and no more than its autoscaler allows, which would only
// take them away again.
func (w *world) primaryReplicas(n, floor int32) (int32, error) {
	n = max(n, floor)
	if w.autoscaler.users == nil {
		return n, nil
	}
	copied, err := workload.PrimaryAutoscaler(w.Canary, w.autoscaler.scaled, w.autoscaler.users, floor, workload.Options{})
	if err != nil {
		return 0, fmt.Errorf("bounds of the primary's autoscaler: %w", err)
	}
	upper, err := workload.MaxReplicas(copied)
	if err != nil {
		return 0, fmt.Errorf("bounds of the primary's autoscaler: %w", err)
	}
	if w.primary != nil {
		upper = max(upper, w.Primary.Replicas)
	}
	return min(n, upper), nil
}

// pause has KEDA leave the target at zero pods. The note of who did so is what
// resumes it when the Canary refers to it no longer.
func (r *Reconciler) pause(ctx context.Context, c *v1beta1.Canary, so *unstructured.Unstructured) error {
	intent := &unstructured.Unstructured{}
	intent.SetGroupVersionKind(workload.ScaledObjectKind)
	intent.SetNamespace(so.GetNamespace())
	intent.SetName(so.GetName())
	intent.SetUID(so.GetUID()) // one that was deleted is not created again
	intent.SetAnnotations(map[string]string{workload.PausedReplicasAnnotation: "0", workload.PausedByAnnotation: c.Name})
	if err := r.Applier.ApplyPartial(ctx, intent, so); err != nil {
		return fmt.Errorf("pause ScaledObject %s: %w", so.GetName(), err)
	}
	return nil
}

// resumeAutoscalers has the target's autoscaler act again unless it must stay
// paused, and in any case what the Canary refers to no longer.
func (r *Reconciler) resumeAutoscalers(ctx context.Context, w *world, stayPaused bool) error {
	paused := w.autoscaler.paused
	if so, ok := w.autoscaler.users.(*unstructured.Unstructured); ok && !stayPaused {
		paused = append(paused, so)
	}
	for _, so := range paused {
		if err := r.resume(ctx, so); err != nil {
			return err
		}
	}
	return nil
}

// giveBackAutoscalers has the target's autoscaler act again before the target is
// woken for a deletion. The primary's copy goes with the Canary.
func (r *Reconciler) giveBackAutoscalers(ctx context.Context, w *world, want rollout.Desired) error {
	if untouched := want.Finished && !want.Released; untouched {
		return nil // nothing of the world was made for this Canary, nor paused
	}
	return r.resumeAutoscalers(ctx, w, false)
}

// resume takes away that a ScaledObject is paused at zero, whoever did it:
// Flagger does it too, and what must have pods can't be kept from it.
func (r *Reconciler) resume(ctx context.Context, so *unstructured.Unstructured) error {
	annotations := so.GetAnnotations()
	gone := map[string]any{}
	if _, ok := annotations[workload.PausedByAnnotation]; ok {
		gone[workload.PausedByAnnotation] = nil
	}
	if annotations[workload.PausedReplicasAnnotation] == "0" {
		gone[workload.PausedReplicasAnnotation] = nil
	}
	if len(gone) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": so.GetUID(), "annotations": gone}})
	if err != nil {
		return fmt.Errorf("resume ScaledObject %s: %w", so.GetName(), err)
	}
	err = r.Client.Patch(ctx, so.DeepCopy(), client.RawPatch(types.MergePatchType, patch))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("resume ScaledObject %s: %w", so.GetName(), err)
	}
	return nil
}

// scalable tells whether the kind of the target has a number of pods at all.
func scalable(c *v1beta1.Canary) bool {
	return c.Spec.TargetRef.Kind == "Deployment" || c.Spec.TargetRef.Kind == "StatefulSet"
}

// invalidAutoscaler says what in spec.autoscalerRef can't be carried out, empty
// if all can.
func invalidAutoscaler(c *v1beta1.Canary) string {
	ref := c.Spec.AutoscalerRef
	if ref == nil {
		return ""
	}
	if !scalable(c) {
		return fmt.Sprintf("spec.autoscalerRef: a %s has no number of pods that an autoscaler could set", c.Spec.TargetRef.Kind)
	}
	if _, err := workload.NewAutoscaler(ref); err != nil {
		return "spec.autoscalerRef." + err.Error()
	}
	return ""
}

// hasQueriesForHPA tells whether there are queries that only a ScaledObject has.
func hasQueriesForHPA(c *v1beta1.Canary) bool {
	ref := c.Spec.AutoscalerRef
	return ref != nil && ref.Kind == workload.KindHPA && len(ref.PrimaryScalerQueries) > 0
}

// autoscalerNames are the values of autoscalerIndex for a Canary.
func autoscalerNames(o client.Object) []string {
	ref := o.(*v1beta1.Canary).Spec.AutoscalerRef
	if ref == nil {
		return nil
	}
	return []string{ref.Name, workload.PrimaryAutoscalerName(ref.Name)}
}

// madeFor are the values of madeForIndex for an autoscaler.
func madeFor(o client.Object) []string {
	var out []string
	if owner := metav1.GetControllerOf(o); owner != nil && owner.Kind == "Canary" {
		out = append(out, owner.Name)
	}
	if by := o.GetAnnotations()[workload.PausedByAnnotation]; by != "" {
		out = append(out, by)
	}
	return out
}

// kedaKinds are ScaledObjects, which are watched when KEDA is there: at the start or, where a
// Canary refers to one, as soon as it is installed.
func (r *Reconciler) kedaKinds(mgr ctrl.Manager) wake.Kinds {
	so := &unstructured.Unstructured{}
	so.SetGroupVersionKind(workload.ScaledObjectKind)
	return wake.Kinds{
		Cluster: mgr, Kinds: [][]client.Object{{so}}, Events: handler.EnqueueRequestsFromMapFunc(r.Canaries.ByName(autoscalerIndex)),
		Predicates: []predicate.Predicate{autoscalerEdited()},
		Awaited:    true,
		Wanted:     wantsKEDA,
		Prepare: func(ctx context.Context, so client.Object) error {
			err := mgr.GetFieldIndexer().IndexField(ctx, so, madeForIndex, madeFor)
			r.scaledObjects.Store(err == nil)
			return err
		},
	}
}

func wantsKEDA(c *v1beta1.Canary) bool {
	return c.Spec.AutoscalerRef != nil && c.Spec.AutoscalerRef.Kind == workload.KindScaledObject
}

// autoscalerEdited passes what people change of autoscalers. Their status, which
// changes every few seconds, asks for nothing.
func autoscalerEdited() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld, e.ObjectNew
		return !equality.Semantic.DeepEqual(autoscalerSpec(before), autoscalerSpec(after)) ||
			!equality.Semantic.DeepEqual(before.GetLabels(), after.GetLabels()) ||
			!equality.Semantic.DeepEqual(before.GetAnnotations(), after.GetAnnotations()) ||
			!equality.Semantic.DeepEqual(before.GetOwnerReferences(), after.GetOwnerReferences()) ||
			!before.GetDeletionTimestamp().Equal(after.GetDeletionTimestamp())
	}}
}

// autoscalerSpec is the spec of an autoscaler: the API server counts no
// generation for HorizontalPodAutoscalers.
func autoscalerSpec(o client.Object) any {
	switch a := o.(type) {
	case *autoscalingv2.HorizontalPodAutoscaler:
		return a.Spec
	case *unstructured.Unstructured:
		return a.Object["spec"]
	default:
		return nil
	}
}
