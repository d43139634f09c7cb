// Package autoscaling keeps copies of users' autoscalers for primaries, and has a target's
// autoscaler let it have no pods while there is nothing to release.
package autoscaling

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Reasons of mistakes with autoscalers.
const (
	// ReasonAutoscalerMissing: there is no autoscaler of the name in spec.autoscalerRef.
	ReasonAutoscalerMissing = "AutoscalerMissing"
	// ReasonAutoscalerInvalid: the autoscaler of spec.autoscalerRef can't be copied for the primary; the message says why.
	ReasonAutoscalerInvalid = "AutoscalerInvalid"
	// ReasonKEDAMissing: spec.autoscalerRef names a ScaledObject, and the cluster does not serve KEDA's kinds.
	ReasonKEDAMissing = "KEDANotInstalled"
)

// Indexes of the cache for autoscalers.
const (
	// autoscalerIndex finds Canaries by the names of their autoscalers.
	autoscalerIndex = "autoscaler"
	// madeForIndex finds autoscalers by the Canary that they were made for, or
	// that has paused them.
	madeForIndex = "madeFor"
)

// Indexes are those of the cache for autoscalers, in a cluster with KEDA.
func Indexes() []wake.Index {
	return append(servedIndexes(), wake.Index{Of: newScaledObject(), Name: madeForIndex, Values: madeFor, InNamespace: true})
}

// servedIndexes are those of kinds that every cluster serves.
func servedIndexes() []wake.Index {
	return []wake.Index{
		{Of: &v1beta1.Canary{}, Name: autoscalerIndex, Values: autoscalerNames, InNamespace: true},
		{Of: &autoscalingv2.HorizontalPodAutoscaler{}, Name: madeForIndex, Values: madeFor, InNamespace: true},
	}
}

func newScaledObject() *unstructured.Unstructured {
	so := &unstructured.Unstructured{}
	so.SetGroupVersionKind(ScaledObjectKind)
	return so
}

// Autoscalers has the autoscalers of Canaries fit what is released.
type Autoscalers struct {
	// Client reads from a cache that has the Indexes, and resumes ScaledObjects.
	Client client.Client
	// Applier writes copies and pauses ScaledObjects.
	Applier *ssa.Applier
	// Options are the settings for generated objects.
	Options workload.Options

	scaledObjects atomic.Bool // they are watched
}

// ScaledObjectsServed says that the cache has KEDA's ScaledObjects.
func (a *Autoscalers) ScaledObjectsServed() { a.scaledObjects.Store(true) }

// Share is what there is of the autoscalers of a Canary in a turn.
type Share struct {
	part  *Autoscalers
	world *world.World

	// users is the one that the Canary refers to, nil if there is none of which the primary
	// gets a copy.
	users client.Object
	// elsewhere is true where users scales another workload than the target, which is then not
	// to be paused.
	elsewhere bool
	// primary is the present copy for the primary, or nil.
	primary client.Object
	// scaled is the target as the autoscaler must name it.
	scaled Scaled
	// former are copies for the primary that nothing asks for any more.
	former []client.Object
	// paused are ScaledObjects that were paused for the Canary and are not
	// users, or not any more.
	paused []*unstructured.Unstructured
}

var (
	_ world.Part[*Share] = (*Autoscalers)(nil)
	_ wake.Waker         = (*Autoscalers)(nil)
)

// Observe reads the autoscaler that a Canary refers to and what was made from it. It is a
// mistake where it can't be copied.
func (a *Autoscalers) Observe(ctx context.Context, w *world.World) (*Share, error) {
	s := &Share{part: a, world: w}
	w.Bounds = s
	// First, so that a deletion gives back what was paused whatever is wrong.
	if err := s.observeFormer(ctx); err != nil {
		return s, err
	}
	return s, s.observeUsers(ctx)
}

func (s *Share) observeUsers(ctx context.Context) error {
	c, target := s.world.Canary, s.world.TargetObject
	ref := c.Spec.AutoscalerRef
	if ref == nil {
		return nil
	}
	users, err := NewAutoscaler(ref)
	if err != nil {
		return nil //nolint:nilerr // the spec's own mistake, which Invalid tells
	}
	if found, err := s.part.read(ctx, c, ref.Name, users); err != nil {
		return err
	} else if !found {
		return world.Missing(ReasonAutoscalerMissing, "spec.autoscalerRef: there is no %s %s in namespace %s", ref.Kind, ref.Name, c.Namespace)
	}
	s.scaled = Scaled{Kind: c.Spec.TargetRef.Kind, Name: c.Spec.TargetRef.Name}
	if target != nil {
		// A target without such a label is refused elsewhere.
		if label, err := workload.SelectorLabel(target, s.world.PrimaryObject, s.part.Options); err == nil {
			s.scaled.Label = label
		}
	}
	return s.take(ctx, users)
}

// take has the share be about the user's autoscaler, where that can be copied for the primary.
func (s *Share) take(ctx context.Context, users client.Object) error {
	c, ref := s.world.Canary, s.world.Canary.Spec.AutoscalerRef
	so, isScaledObject := users.(*unstructured.Unstructured)
	kind, name := ScaleTarget(users)
	s.elsewhere = kind != s.scaled.Kind || name != s.scaled.Name
	copied, invalid := PrimaryAutoscaler(c, s.scaled, users, 0, s.part.Options)
	if (s.elsewhere || invalid != nil) && isScaledObject && so.GetAnnotations()[PausedByAnnotation] == c.Name {
		s.paused = append(s.paused, so) // it was the target's before somebody changed it
	}
	if invalid != nil {
		return world.Mistake(ReasonAutoscalerInvalid, "%v", invalid)
	}
	if s.elsewhere && kind == s.scaled.Kind && name == c.PrimaryName() {
		return s.passOver(ctx)
	}
	s.users = users
	s.world.Target.ScalesToZero = isScaledObject && !s.elsewhere && ScalesToZero(users, nil)
	s.world.Primary.ScalesToZero = ScalesToZero(users, ref.PrimaryScalerReplicas)
	upper, err := MaxReplicas(copied)
	if err != nil {
		return fmt.Errorf("bounds of the primary's autoscaler: %w", err)
	}
	s.world.Primary.MaxReplicas = upper
	s.noteIgnored(so)
	return s.observePrimary(ctx)
}

// noteIgnored says what has no effect of an autoscaler that scales another workload than the target, and of
// queries for triggers that a ScaledObject, nil for another kind, does not have.
func (s *Share) noteIgnored(so *unstructured.Unstructured) {
	c, ref := s.world.Canary, s.world.Canary.Spec.AutoscalerRef
	if s.elsewhere {
		kind, name := ScaleTarget(s.users)
		s.world.Ignored = append(s.world.Ignored, fmt.Sprintf("spec.autoscalerRef: %s %s scales %s %s, not %s %s, which spec.targetRef names: %s gets a copy of it, and nothing scales the target",
			ref.Kind, ref.Name, kind, name, s.scaled.Kind, s.scaled.Name, c.PrimaryName()))
	}
	if so == nil {
		return
	}
	for _, name := range UnknownTriggers(ref, so) {
		s.world.Ignored = append(s.world.Ignored, fmt.Sprintf("spec.autoscalerRef.primaryScalerQueries.%s has no effect: ScaledObject %s has no trigger of that name", name, ref.Name))
	}
}

// passOver leaves it to the user's autoscaler to scale the primary: of two that scale one
// workload none acts.
func (s *Share) passOver(ctx context.Context) error {
	c, ref := s.world.Canary, s.world.Canary.Spec.AutoscalerRef
	s.world.Ignored = append(s.world.Ignored, fmt.Sprintf("spec.autoscalerRef has no effect: %s %s scales %s already, and nothing scales the target", ref.Kind, ref.Name, c.PrimaryName()))
	copied, err := s.copy(ctx)
	if copied != nil && s.world.Owner.Owns(copied) && copied.GetDeletionTimestamp().IsZero() {
		s.former = append(s.former, copied)
	}
	return err
}

// copy reads the primary's copy of the autoscaler, nil where there is none.
func (s *Share) copy(ctx context.Context) (client.Object, error) {
	c, ref := s.world.Canary, s.world.Canary.Spec.AutoscalerRef
	primary, err := NewAutoscaler(ref)
	if err != nil {
		return nil, fmt.Errorf("copy of the autoscaler: %w", err)
	}
	if found, err := s.part.read(ctx, c, PrimaryAutoscalerName(ref.Name), primary); err != nil || !found {
		return nil, err
	}
	return primary, nil
}

// adoptable tells whether an autoscaler that somebody made is one of the primary. Any other
// one is needed where it is.
func (s *Share) adoptable(primary client.Object) bool {
	kind, name := ScaleTarget(primary)
	return s.world.Owner.Of(primary) == ownership.Users && kind == s.scaled.Kind && name == s.world.Canary.PrimaryName()
}

func (s *Share) observePrimary(ctx context.Context) error {
	ref := s.world.Canary.Spec.AutoscalerRef
	primary, err := s.copy(ctx)
	if err != nil || primary == nil {
		return err
	}
	// What serves goes on, and a deletion gives back what was taken: this is no
	// reason to take the Canary's other objects for somebody else's.
	if !s.world.Owner.Owns(primary) && !s.adoptable(primary) {
		return world.Mistake(world.ReasonConflict, "spec.autoscalerRef: %s %s is needed for the primary's autoscaler and was not made for this Canary; delete it or rename %s",
			ref.Kind, primary.GetName(), ref.Name)
	}
	s.primary = primary
	return nil
}

// read reads into an empty object and returns whether it was there. A
// Kind that the cluster does not serve is the user's mistake.
func (a *Autoscalers) read(ctx context.Context, c *v1beta1.Canary, name string, into client.Object) (found bool, err error) {
	err = a.Client.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, into)
	kind := c.Spec.AutoscalerRef.Kind
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err):
		return false, nil
	case meta.IsNoMatchError(err):
		return false, world.Mistake(ReasonKEDAMissing, "spec.autoscalerRef.kind: %s %s is not served by this cluster; is KEDA installed?", kind, name)
	default:
		return false, fmt.Errorf("read %s %s/%s: %w", kind, c.Namespace, name, err)
	}
}

// observeFormer finds what was made or paused for the Canary by an
// earlier spec.autoscalerRef.
func (s *Share) observeFormer(ctx context.Context) error {
	c := s.world.Canary
	of := []client.ListOption{client.InNamespace(c.Namespace), client.MatchingFields{madeForIndex: ownership.LabelValue(c.Name)}, client.UnsafeDisableDeepCopy}
	var hpas autoscalingv2.HorizontalPodAutoscalerList
	if err := s.part.Client.List(ctx, &hpas, of...); err != nil {
		return fmt.Errorf("list HorizontalPodAutoscalers: %w", err)
	}
	for i := range hpas.Items {
		s.noteFormer(KindHPA, &hpas.Items[i])
	}
	if !s.part.scaledObjects.Load() {
		return nil
	}
	var list unstructured.UnstructuredList
	list.SetGroupVersionKind(ScaledObjectKind)
	if err := s.part.Client.List(ctx, &list, of...); err != nil {
		return unlessNotNeeded(c, err)
	}
	for i := range list.Items {
		so := &list.Items[i]
		s.noteFormer(KindScaledObject, so)
		if so.GetAnnotations()[PausedByAnnotation] == c.Name && !refersTo(c, KindScaledObject, so.GetName()) {
			s.paused = append(s.paused, so)
		}
	}
	return nil
}

// noteFormer notes a copy that the Canary does not ask for any more.
func (s *Share) noteFormer(kind string, one client.Object) {
	c := s.world.Canary
	name, isCopy := strings.CutSuffix(one.GetName(), PrimaryAutoscalerName(""))
	if s.world.Owner.Owns(one) && one.GetDeletionTimestamp().IsZero() && !(isCopy && refersTo(c, kind, name)) {
		s.former = append(s.former, one)
	}
}

// Named is the HorizontalPodAutoscaler that there is by the name of the copy that a Canary
// asks for.
func (a *Autoscalers) Named(ctx context.Context, c *v1beta1.Canary) ([]client.Object, error) {
	ref := c.Spec.AutoscalerRef
	if ref == nil || ref.Kind != KindHPA {
		return nil, nil
	}
	copied, err := kube.Get[autoscalingv2.HorizontalPodAutoscaler](ctx, a.Client, c.Namespace, PrimaryAutoscalerName(ref.Name))
	if err != nil || copied == nil {
		return nil, err
	}
	return []client.Object{copied}, nil
}

// Owned are all copies that were made for a Canary, of former references too. They are
// the cache's own and must not be changed.
func (a *Autoscalers) Owned(ctx context.Context, w *world.World) ([]client.Object, error) {
	var hpas autoscalingv2.HorizontalPodAutoscalerList
	if err := a.Client.List(ctx, &hpas, client.InNamespace(w.Canary.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list HorizontalPodAutoscalers: %w", err)
	}
	var out []client.Object
	for i := range hpas.Items {
		if w.Owner.Owns(&hpas.Items[i]) {
			out = append(out, &hpas.Items[i])
		}
	}
	if !a.scaledObjects.Load() {
		return out, nil
	}
	var list unstructured.UnstructuredList
	list.SetGroupVersionKind(ScaledObjectKind)
	if err := a.Client.List(ctx, &list, client.InNamespace(w.Canary.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return out, unlessNotNeeded(w.Canary, err)
	}
	for i := range list.Items {
		if w.Owner.Owns(&list.Items[i]) {
			out = append(out, &list.Items[i])
		}
	}
	return out, nil
}

// unlessNotNeeded is the error of a list of ScaledObjects. Where those can't be read, as KEDA was taken from the cluster
// while the operator started, a Canary that names none has nothing of them.
func unlessNotNeeded(c *v1beta1.Canary, err error) error {
	if kube.IsNotRead(err) && !wantsKEDA(c) {
		return nil
	}
	return fmt.Errorf("list ScaledObjects: %w", err)
}

func refersTo(c *v1beta1.Canary, kind, name string) bool {
	ref := c.Spec.AutoscalerRef
	return ref != nil && ref.Kind == kind && ref.Name == name
}

// Apply brings the autoscalers to what is wanted. It comes before the target is scaled, so that neither works against the other: an
// autoscaler is paused before its target goes to zero and resumed before it is woken.
func (s *Share) Apply(ctx context.Context, want release.Desired) error {
	for _, one := range s.former {
		if err := s.part.Remove(ctx, one); err != nil {
			return fmt.Errorf("remove a copy for the primary that is not asked for any more: %w", err)
		}
	}
	if err := s.applyPrimary(ctx, want); err != nil {
		return err
	}
	return s.pauseOrResume(ctx, want.TargetPaused)
}

// pauseOrResume has the target's autoscaler leave it at so many pods, or act again where at is nil.
func (s *Share) pauseOrResume(ctx context.Context, at *int32) error {
	if so, ok := s.users.(*unstructured.Unstructured); ok && at != nil && !s.elsewhere {
		if err := s.part.pause(ctx, s.world.Canary, so, *at); err != nil {
			return err
		}
	}
	return s.resumeAll(ctx, at != nil)
}

// applyPrimary makes the primary's copy as soon as there is a
// primary, and takes over every edit of the user's autoscaler at once: the
// Primary serves, so it is what a new bound or metric is meant for.
func (s *Share) applyPrimary(ctx context.Context, want release.Desired) error {
	if s.users == nil || s.world.PrimaryObject == nil {
		return nil
	}
	copied, err := PrimaryAutoscaler(s.world.Canary, s.scaled, s.users, want.PrimaryFloor, s.part.Options)
	if err != nil {
		return fmt.Errorf("build the primary's autoscaler: %w", err)
	}
	if s.primary != nil {
		if err := AdoptAutoscaler(copied, s.primary, s.world.Owner); err != nil {
			return fmt.Errorf("take over the primary's autoscaler: %w", err)
		}
	}
	var opts []ssa.Option
	if _, ok := copied.(*unstructured.Unstructured); ok {
		opts = append(opts, ssa.ProtoJSON) // KEDA's lists are atomic
	}
	// A copy that Flagger left may have been paused with its original.
	if live, ok := s.primary.(*unstructured.Unstructured); ok && live.GetAnnotations()[ssa.AppliedAnnotation] == "" {
		if err := s.part.resume(ctx, live); err != nil {
			return err
		}
	}
	if err := s.part.Applier.Apply(ctx, copied, opts...); err != nil {
		return fmt.Errorf("apply the primary's autoscaler: %w", err)
	}
	return nil
}

// Remove takes a copy for a primary away: one that somebody made before becomes what it was.
func (a *Autoscalers) Remove(ctx context.Context, copied client.Object) error {
	if patch := GiveBackAutoscaler(copied, ssa.AppliedAnnotation); patch != nil {
		return a.Applier.Merge(ctx, patch, copied)
	}
	return a.Applier.Delete(ctx, copied)
}

// PrimaryReplicas is how many pods the primary gets where n are asked for: no
// fewer than floor and no more than its autoscaler allows, which would only
// take them away again, but for those that it has.
func (s *Share) PrimaryReplicas(n, floor int32) (int32, error) {
	n = max(n, floor)
	if s.users == nil {
		return n, nil
	}
	copied, err := PrimaryAutoscaler(s.world.Canary, s.scaled, s.users, floor, workload.Options{})
	if err != nil {
		return 0, fmt.Errorf("bounds of the primary's autoscaler: %w", err)
	}
	upper, err := MaxReplicas(copied)
	if err != nil {
		return 0, fmt.Errorf("bounds of the primary's autoscaler: %w", err)
	}
	return min(n, max(upper, s.world.Primary.Replicas)), nil
}

// pause has KEDA leave the target at a number of pods. The note of who did so is what
// resumes it when the Canary refers to it no longer.
func (a *Autoscalers) pause(ctx context.Context, c *v1beta1.Canary, so *unstructured.Unstructured, at int32) error {
	intent := &unstructured.Unstructured{}
	intent.SetGroupVersionKind(ScaledObjectKind)
	intent.SetNamespace(so.GetNamespace())
	intent.SetName(so.GetName())
	intent.SetUID(so.GetUID()) // one that was deleted is not created again
	intent.SetAnnotations(map[string]string{PausedReplicasAnnotation: strconv.Itoa(int(at)), PausedByAnnotation: c.Name})
	if err := a.Applier.ApplyPartial(ctx, intent, so); err != nil {
		return fmt.Errorf("pause ScaledObject %s: %w", so.GetName(), err)
	}
	return nil
}

// resumeAll has the target's autoscaler act again unless it must stay
// paused, and in any case what the Canary refers to no longer.
func (s *Share) resumeAll(ctx context.Context, stayPaused bool) error {
	paused := s.paused
	if so, ok := s.users.(*unstructured.Unstructured); ok && !stayPaused && !s.elsewhere {
		paused = append(paused, so)
	}
	for _, so := range paused {
		if err := s.part.resume(ctx, so); err != nil {
			return err
		}
	}
	return nil
}

// GiveBack has the target's autoscaler act again before the target is woken for a
// deletion, or when that serves where it would take all pods from it before. The primary's copy goes
// with the Canary.
func (s *Share) GiveBack(ctx context.Context, want release.Desired) error {
	if untouched := want.Finished && !want.Released; untouched {
		return nil // nothing of the world was made for this Canary, nor paused
	}
	return s.pauseOrResume(ctx, want.TargetPaused)
}

// resume takes away that a ScaledObject is paused for a Canary, or at zero, whoever did it:
// Flagger does it too, and what must have pods can't be kept from it.
func (a *Autoscalers) resume(ctx context.Context, so *unstructured.Unstructured) error {
	annotations := so.GetAnnotations()
	gone := map[string]any{}
	_, noted := annotations[PausedByAnnotation]
	if noted {
		gone[PausedByAnnotation] = nil
	}
	if at, paused := annotations[PausedReplicasAnnotation]; paused && (noted || at == "0") {
		gone[PausedReplicasAnnotation] = nil
	}
	if len(gone) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": so.GetUID(), "annotations": gone}})
	if err != nil {
		return fmt.Errorf("resume ScaledObject %s: %w", so.GetName(), err)
	}
	err = a.Client.Patch(ctx, so.DeepCopy(), client.RawPatch(types.MergePatchType, patch))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("resume ScaledObject %s: %w", so.GetName(), err)
	}
	return nil
}

// scalable tells whether the kind of the target has a number of pods at all.
func scalable(c *v1beta1.Canary) bool {
	return c.Spec.TargetRef.Kind == "Deployment" || c.Spec.TargetRef.Kind == "StatefulSet"
}

// Served gives a Canary without the autoscaler where its target has no number of pods; ignored says
// so. Otherwise it is the Canary itself. Flagger takes such a reference and nothing comes of it.
func Served(c *v1beta1.Canary) (served *v1beta1.Canary, ignored []string) {
	if c.Spec.AutoscalerRef == nil || scalable(c) {
		return c, nil
	}
	served = c.DeepCopy()
	served.Spec.AutoscalerRef = nil
	return served, []string{"spec.autoscalerRef has no effect: a " + c.Spec.TargetRef.Kind + " has no number of pods that an autoscaler could set"}
}

// Invalid says what in spec.autoscalerRef can't be carried out, empty
// if all can.
func Invalid(c *v1beta1.Canary) string {
	ref := c.Spec.AutoscalerRef
	if ref == nil {
		return ""
	}
	if _, err := NewAutoscaler(ref); err != nil {
		return "spec.autoscalerRef." + err.Error()
	}
	return ""
}

// HasQueriesForHPA tells whether there are queries that only a ScaledObject has.
func HasQueriesForHPA(c *v1beta1.Canary) bool {
	ref := c.Spec.AutoscalerRef
	return ref != nil && ref.Kind == KindHPA && len(ref.PrimaryScalerQueries) > 0
}

// autoscalerNames are the values of autoscalerIndex for a Canary.
func autoscalerNames(o client.Object) []string {
	ref := o.(*v1beta1.Canary).Spec.AutoscalerRef
	if ref == nil {
		return nil
	}
	return []string{ref.Name, PrimaryAutoscalerName(ref.Name)}
}

// madeFor are the values of madeForIndex for an autoscaler: names of Canaries as in
// ownership.LabelValue.
func madeFor(o client.Object) []string {
	var out []string
	if key := ownership.Key(o); key != "" {
		out = append(out, key)
	}
	if by := o.GetAnnotations()[PausedByAnnotation]; by != "" {
		out = append(out, ownership.LabelValue(by))
	}
	return out
}

// SetUp wakes the Canaries of an autoscaler that was edited. ScaledObjects are watched when
// KEDA is there: at the start or, where a Canary refers to one, as soon as it is installed.
func (a *Autoscalers) SetUp(ctx context.Context, w *wake.Watches) error {
	events := wake.Deleted(handler.EnqueueRequestsFromMapFunc(w.Canaries.ByName(autoscalerIndex)), a.Applier)
	w.Builder.Watches(&autoscalingv2.HorizontalPodAutoscaler{}, events, builder.WithPredicates(edited()))
	w.WhenServed(wake.Kinds{
		Cluster:    w.Manager,
		Kinds:      [][]client.Object{{newScaledObject()}},
		Events:     events,
		Predicates: []predicate.Predicate{edited()},
		Awaited:    true,
		Wanted:     wantsKEDA,
		Prepare: func(ctx context.Context, so client.Object) error {
			if err := w.Index(ctx, wake.Index{Of: so, Name: madeForIndex, Values: madeFor, InNamespace: true}); err != nil {
				return err
			}
			a.ScaledObjectsServed()
			return nil
		},
	})
	return w.Index(ctx, servedIndexes()...)
}

func wantsKEDA(c *v1beta1.Canary) bool {
	return c.Spec.AutoscalerRef != nil && c.Spec.AutoscalerRef.Kind == KindScaledObject
}

// edited passes what people change of autoscalers. Their status, which
// changes every few seconds, asks for nothing.
func edited() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld, e.ObjectNew
		return !equality.Semantic.DeepEqual(specOf(before), specOf(after)) ||
			!equality.Semantic.DeepEqual(before.GetLabels(), after.GetLabels()) ||
			!equality.Semantic.DeepEqual(before.GetAnnotations(), after.GetAnnotations()) ||
			!equality.Semantic.DeepEqual(before.GetOwnerReferences(), after.GetOwnerReferences()) ||
			!before.GetDeletionTimestamp().Equal(after.GetDeletionTimestamp())
	}}
}

// specOf is the spec of an autoscaler: the API server counts no
// generation for HorizontalPodAutoscalers.
func specOf(o client.Object) any {
	switch a := o.(type) {
	case *autoscalingv2.HorizontalPodAutoscaler:
		return a.Spec
	case *unstructured.Unstructured:
		return a.Object["spec"]
	default:
		return nil
	}
}
