package canary

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/autoscaling"
)

func registerScaledObjects(scheme *runtime.Scheme) {
	kind := autoscaling.ScaledObjectKind
	scheme.AddKnownTypeWithName(kind, &unstructured.Unstructured{})
	scheme.AddKnownTypeWithName(kind.GroupVersion().WithKind(kind.Kind+"List"), &unstructured.UnstructuredList{})
}

// newScaledObject is one of Deployment podinfo between 1 and 4 pods.
func newScaledObject(name string) *unstructured.Unstructured {
	so := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"scaleTargetRef":  map[string]any{"name": "podinfo"},
		"minReplicaCount": int64(1),
		"maxReplicaCount": int64(4),
		"triggers": []any{map[string]any{
			"type": "prometheus", "name": "requests", "metadata": map[string]any{"query": `rate(requests{app="podinfo"}[1m])`, "threshold": "5"},
		}},
	}}}
	so.SetGroupVersionKind(autoscaling.ScaledObjectKind)
	so.SetNamespace("test")
	so.SetName(name)
	so.SetUID("uid-of-scaled-object")
	return so
}

// newHPA is one of Deployment podinfo between 1 and 4 pods.
func newHPA(name string) *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name, UID: "uid-of-hpa"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
			MinReplicas:    new(int32(1)),
			MaxReplicas:    4,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: new(int32(80))},
			}}},
		},
	}
}

func refersTo(kind, name string) func(*v1beta1.CanarySpec) {
	return func(spec *v1beta1.CanarySpec) {
		spec.AutoscalerRef = &v1beta1.AutoscalerReference{Kind: kind, Name: name}
	}
}

// newScaled is a scene whose Canary has an autoscaler and is Initialized.
func newScaled(t *testing.T, kind string, autoscaler client.Object) *scene {
	t.Helper()
	s := newScene(t, newCanary("podinfo").with(refersTo(kind, autoscaler.GetName())).Canary, newTarget(), autoscaler)
	s.serveKEDA()
	s.rollOut()
	s.settleFully()
	if phase := s.now().Status.Phase; phase != v1beta1.PhaseInitialized {
		t.Fatalf("phase %s: %s", phase, s.condition(v1beta1.ConditionStalled))
	}
	s.sent()
	s.writes = nil
	return s
}

func (s *scene) hpa(name string) *autoscalingv2.HorizontalPodAutoscaler {
	s.t.Helper()
	hpa := &autoscalingv2.HorizontalPodAutoscaler{}
	if err := s.api.Get(s.t.Context(), client.ObjectKey{Namespace: "test", Name: name}, hpa); err != nil {
		s.t.Fatal(err)
	}
	return hpa
}

func (s *scene) scaledObject(name string) *unstructured.Unstructured {
	s.t.Helper()
	so := newScaledObject(name)
	if err := s.api.Get(s.t.Context(), client.ObjectKeyFromObject(so), so); err != nil {
		s.t.Fatal(err)
	}
	return so
}

func (s *scene) exists(o client.Object, name string) bool {
	s.t.Helper()
	err := s.api.Get(s.t.Context(), client.ObjectKey{Namespace: "test", Name: name}, o)
	if client.IgnoreNotFound(err) != nil {
		s.t.Fatal(err)
	}
	return err == nil
}

// pausedAt is the number of pods that a ScaledObject is paused at, and by whom.
func (s *scene) pausedAt(name string) string {
	s.t.Helper()
	annotations := s.scaledObject(name).GetAnnotations()
	return strings.TrimSpace(annotations[autoscaling.PausedReplicasAnnotation] + " " + annotations[autoscaling.PausedByAnnotation])
}

func (s *scene) minReplicas(name string) int32 {
	s.t.Helper()
	return *s.hpa(name + "-primary").Spec.MinReplicas
}

func TestPrimaryGetsAnHPA(t *testing.T) {
	s := newScaled(t, autoscaling.KindHPA, newHPA("web"))
	got := s.hpa("web-primary")
	if got.Spec.ScaleTargetRef.Name != "podinfo-primary" || *got.Spec.MinReplicas != 1 || got.Spec.MaxReplicas != 4 {
		t.Errorf("%+v", got.Spec)
	}
	if !ownership.For(s.now()).Owns(got) || len(got.GetOwnerReferences()) > 0 {
		t.Error("it does not go with the Canary")
	}

	// Between releases, and in the middle of one: an edit is no release, and the
	// primary has it at once.
	edit(s, s.hpa("web"), func(hpa *autoscalingv2.HorizontalPodAutoscaler) { hpa.Spec.MaxReplicas = 9 })
	s.settleFully()
	if n := s.hpa("web-primary").Spec.MaxReplicas; n != 9 {
		t.Errorf("maximum %d after an edit", n)
	}
	if phase := s.now().Status.Phase; phase != v1beta1.PhaseInitialized {
		t.Errorf("phase %s", phase)
	}
	s.writes = nil
	s.settleFully()
	if len(s.writes) != 0 {
		t.Errorf("writes at rest: %v", s.writes)
	}
	s.release("podinfo:2")
	s.settle()
	edit(s, s.hpa("web"), func(hpa *autoscalingv2.HorizontalPodAutoscaler) { hpa.Spec.MaxReplicas = 8 })
	s.settle()
	if n := s.hpa("web-primary").Spec.MaxReplicas; n != 8 {
		t.Errorf("maximum %d after an edit in mid-analysis", n)
	}
}

// Pain 2: the primary's autoscaler must not take its pods away before the
// traffic comes back.
func TestFloorOfThePrimary(t *testing.T) {
	s := newScaled(t, autoscaling.KindHPA, newHPA("web"))
	if n := s.minReplicas("web"); n != 1 {
		t.Fatalf("minimum %d at rest", n)
	}
	s.release("podinfo:2")
	s.mustTurn()
	if n := s.minReplicas("web"); n != 2 {
		t.Errorf("minimum %d while the primary has 2 pods and a release runs", n)
	}
	s.rollOut()
	scaleTo(s, "podinfo", 3) // what the target's autoscaler does under load
	floors := map[v1beta1.CanaryPhase][]int32{}
	look := func() v1beta1.CanaryPhase {
		phase := s.now().Status.Phase
		if n := s.minReplicas("web"); !slices.Contains(floors[phase], n) {
			floors[phase] = append(floors[phase], n)
		}
		return phase
	}
	for range 100 {
		result := s.mustTurn()
		if look() == v1beta1.PhaseSucceeded && *s.deployment("podinfo").Spec.Replicas == 0 && result.RequeueAfter == 0 {
			break
		}
		if !s.awaitChecks() && !s.rollOut() && result.RequeueAfter > 0 {
			s.wait(result)
		}
	}
	s.settleFully()
	look()
	want := map[v1beta1.CanaryPhase][]int32{
		v1beta1.PhaseProgressing: {2}, v1beta1.PhasePromoting: {3}, v1beta1.PhaseFinalising: {3}, v1beta1.PhaseSucceeded: {3, 1},
	}
	if diff := cmp.Diff(want, floors); diff != "" {
		t.Errorf("minimum by phase: -want +got\n%s", diff)
	}
	if n := *s.deployment("podinfo-primary").Spec.Replicas; n != 3 {
		t.Errorf("the primary has %d pods, the canary had 3", n)
	}
}

// What the primary's autoscaler does not allow is not asked for: it would only
// be taken away again.
func TestFloorStaysBelowTheMaximum(t *testing.T) {
	s := newScaled(t, autoscaling.KindHPA, newHPA("web"))
	c := s.now()
	edit(s, c, func(c *v1beta1.Canary) {
		c.Spec.AutoscalerRef.PrimaryScalerReplicas = &v1beta1.ScalerReplicas{MaxReplicas: new(int32(3))}
	})
	s.release("podinfo:2")
	s.mustTurn()
	s.rollOut()
	scaleTo(s, "podinfo", 7)
	s.phases()
	if n := *s.deployment("podinfo-primary").Spec.Replicas; n != 3 {
		t.Errorf("the primary has %d pods, its autoscaler allows 3", n)
	}
	if n := s.hpa("web-primary").Spec.MaxReplicas; n != 3 {
		t.Errorf("maximum %d", n)
	}
}

func scaleTo(s *scene, name string, pods int32) {
	s.t.Helper()
	d := s.deployment(name)
	d.Spec.Replicas = &pods
	d.Generation++
	if err := s.api.Update(s.t.Context(), d); err != nil {
		s.t.Fatal(err)
	}
}

// Pain 12: paused while the target is at zero and at no other time, and the
// primary's copy never.
func TestScaledObjectIsPausedAndResumed(t *testing.T) {
	s := newScaled(t, autoscaling.KindScaledObject, newScaledObject("web"))
	if got := s.pausedAt("web"); got != "0 podinfo" {
		t.Errorf("Initialized: paused at %q", got)
	}
	for _, value := range []float64{100, 0} { // a promotion and a rollback
		s.provider.value(value)
		s.release(fmt.Sprintf("podinfo:%v", value+2))
		s.writes = nil
		for range 200 {
			result := s.mustTurn()
			phase, pods := s.now().Status.Phase, *s.deployment("podinfo").Spec.Replicas
			want := ""
			switch {
			case pods == 0:
				want = "0 podinfo"
			case phase == v1beta1.PhaseSucceeded || phase == v1beta1.PhaseFailed: // until nobody is on his way to them
				want = fmt.Sprintf("%d podinfo", pods)
			}
			if got := s.pausedAt("web"); got != want {
				t.Fatalf("%s with %d pods: paused at %q, want %q", phase, pods, got, want)
			}
			if got := s.pausedAt("web-primary"); got != "" {
				t.Fatalf("%s: the primary is paused at %q", phase, got)
			}
			if resting := phase == v1beta1.PhaseSucceeded || phase == v1beta1.PhaseFailed; resting && pods == 0 && result.RequeueAfter == 0 {
				break
			}
			if !s.awaitChecks() && !s.rollOut() && result.RequeueAfter > 0 {
				s.wait(result)
			}
		}
		s.settleFully()
		if got := s.pausedAt("web"); got != "0 podinfo" {
			t.Errorf("%s: paused at %q", s.now().Status.Phase, got)
		}
		resume, wake := slices.Index(s.writes, "patch web"), slices.Index(s.writes, "apply Deployment podinfo")
		if resume < 0 || wake < 0 || resume > wake {
			t.Errorf("it is to be resumed before the target is woken: %v", s.writes)
		}
		lastPause, lastScale := lastIndex(s.writes, "apply ScaledObject web"), lastIndex(s.writes, "apply Deployment podinfo")
		if lastPause < 0 || lastPause > lastScale {
			t.Errorf("it is to be paused before the target goes to zero: %v", s.writes)
		}
	}
}

func lastIndex(all []string, one string) int {
	for i := range slices.Backward(all) {
		if all[i] == one {
			return i
		}
	}
	return -1
}

// Pain 12: an operator that stops between two writes leaves nothing paused for
// good; the next turn of another one does what is left.
func TestScaledObjectAfterACrash(t *testing.T) {
	for _, kind := range []string{"Deployment", "ScaledObject"} {
		t.Run("before a write of "+kind, func(t *testing.T) {
			s := newScaled(t, autoscaling.KindScaledObject, newScaledObject("web"))
			s.applyError = func(k string) error {
				if k == kind {
					return apierrors.NewServiceUnavailable("down")
				}
				return nil
			}
			s.release("podinfo:2")
			for range 3 {
				if _, err := s.turn(); err == nil {
					t.Fatal("no error")
				}
				if got := s.pausedAt("web-primary"); got != "" {
					t.Errorf("the primary is paused at %q", got)
				}
			}
			s.applyError = nil
			s.mustTurn()
			if got, pods := s.pausedAt("web"), *s.deployment("podinfo").Spec.Replicas; got != "" || pods != 2 {
				t.Errorf("paused at %q with %d pods", got, pods)
			}
		})
	}
}

// Pain 12: what Flagger has copied with the annotation is resumed, and its
// pause of the target is taken over.
func TestScaledObjectsOfFlagger(t *testing.T) {
	c := newCanary("podinfo").with(refersTo(autoscaling.KindScaledObject, "web"))
	users, primary := newScaledObject("web"), newScaledObject("web-primary")
	paused := map[string]string{autoscaling.PausedReplicasAnnotation: "0"}
	users.SetAnnotations(paused)
	primary.SetAnnotations(paused)
	primary.SetOwnerReferences([]metav1.OwnerReference{formerOwner(c.Canary)})
	s := newScene(t, c.Canary, newTarget(), users, primary)
	s.serveKEDA()
	s.rollOut()
	s.settleFully()
	if got := s.pausedAt("web-primary"); got != "" {
		t.Errorf("the primary is paused at %q", got)
	}
	if got := s.pausedAt("web"); got != "0 podinfo" {
		t.Errorf("the target is paused at %q", got)
	}
	if name, _, _ := unstructured.NestedString(s.scaledObject("web-primary").Object, "spec", "scaleTargetRef", "name"); name != "podinfo-primary" {
		t.Errorf("it scales %s", name)
	}
}

// Pain 12: the deletion gives back what the user had.
func TestDeletionResumesTheScaledObject(t *testing.T) {
	for name, change := range map[string]func(*v1beta1.CanarySpec){
		"as it is":             func(*v1beta1.CanarySpec) {},
		"with another mistake": func(spec *v1beta1.CanarySpec) { spec.Provider = "nobody's" },
		"without a reference":  func(spec *v1beta1.CanarySpec) { spec.AutoscalerRef = nil },
		"with a wrong one":     refersTo(autoscaling.KindScaledObject, "nothing"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newScaled(t, autoscaling.KindScaledObject, newScaledObject("web"))
			edit(s, s.now(), func(c *v1beta1.Canary) { change(&c.Spec) })
			s.delete()
			s.mustTurn()
			s.mustTurn()
			if got, pods := s.pausedAt("web"), *s.deployment("podinfo").Spec.Replicas; got != "" || pods != 2 {
				t.Errorf("paused at %q with %d pods", got, pods)
			}
			s.settleFully()
			if !s.gone() {
				t.Error("it is still there")
			}
		})
	}
}

// A Canary that takes nothing over resumes nothing.
func TestDeletionOfCanaryThatNeverPaused(t *testing.T) {
	so := newScaledObject("web")
	so.SetAnnotations(map[string]string{autoscaling.PausedReplicasAnnotation: "0"})
	s := newScene(t, newCanary("podinfo").with(refersTo(autoscaling.KindScaledObject, "web")).with(func(spec *v1beta1.CanarySpec) { spec.Suspend = true }).Canary, newTarget(), so)
	s.serveKEDA()
	s.rollOut()
	s.settle()
	s.delete()
	s.settleFully()
	if got := s.pausedAt("web"); !s.gone() || got != "0" {
		t.Errorf("gone: %t, paused at %q", s.gone(), got)
	}
}

// The HPA of the user stays as it is, whatever happens.
func TestUsersHPAIsNotTouched(t *testing.T) {
	s := newScaled(t, autoscaling.KindHPA, newHPA("web"))
	before := s.hpa("web")
	s.release("podinfo:2")
	s.phases()
	s.delete()
	s.settleFully()
	if diff := cmp.Diff(before, s.hpa("web")); diff != "" || !s.gone() {
		t.Errorf("-before +after\n%s", diff)
	}
}

// A copy that is asked for no longer goes, and what was paused for the Canary is
// resumed.
func TestAnotherAutoscaler(t *testing.T) {
	for name, change := range map[string]func(*v1beta1.CanarySpec){
		"none":         func(spec *v1beta1.CanarySpec) { spec.AutoscalerRef = nil },
		"another name": refersTo(autoscaling.KindScaledObject, "other"),
		"another kind": refersTo(autoscaling.KindHPA, "web"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newScaled(t, autoscaling.KindScaledObject, newScaledObject("web"))
			other := newScaledObject("other")
			for _, o := range []client.Object{other, newHPA("web")} {
				if err := s.api.Create(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
			edit(s, s.now(), func(c *v1beta1.Canary) { change(&c.Spec) })
			s.settleFully()
			if s.exists(newScaledObject(""), "web-primary") {
				t.Error("the old copy is still there")
			}
			if got := s.pausedAt("web"); got != "" {
				t.Errorf("it is left paused at %q", got)
			}
			ref := s.now().Spec.AutoscalerRef
			if want := ref != nil && ref.Kind == autoscaling.KindHPA; s.exists(&autoscalingv2.HorizontalPodAutoscaler{}, "web-primary") != want {
				t.Errorf("copy of the HPA: want %t", want)
			}
			if want := ref != nil && ref.Name == "other"; s.exists(newScaledObject(""), "other-primary") != want {
				t.Errorf("copy of the other: want %t", want)
			}
		})
	}
}

func TestAutoscalerMistakes(t *testing.T) {
	foreignCopy := newHPA("web-primary")
	for name, tc := range map[string]struct {
		ref     v1beta1.AutoscalerReference
		objects []client.Object
		notMade bool // KEDA's kinds are not served
		want    string
		parts   []string
		mend    func(*scene)
	}{
		"missing": {
			ref: v1beta1.AutoscalerReference{Kind: "HorizontalPodAutoscaler", Name: "web"}, want: "True AutoscalerMissing",
			parts: []string{"spec.autoscalerRef", "HorizontalPodAutoscaler web"},
			mend:  func(s *scene) { s.create(newHPA("web")) },
		},
		"the name of the copy is taken": {
			ref: v1beta1.AutoscalerReference{Kind: "HorizontalPodAutoscaler", Name: "web"}, objects: []client.Object{newHPA("web"), foreignCopy}, want: "True ObjectConflict",
			parts: []string{"web-primary"},
			mend: func(s *scene) {
				if err := s.api.Delete(s.t.Context(), s.hpa("web-primary")); err != nil {
					s.t.Fatal(err)
				}
			},
		},
		"KEDA is not installed": {
			ref: v1beta1.AutoscalerReference{Kind: "ScaledObject", Name: "web"}, objects: []client.Object{newScaledObject("web")}, notMade: true, want: "True KEDANotInstalled",
			parts: []string{"spec.autoscalerRef.kind", "ScaledObject"},
		},
		"bounds that cross": {
			ref:     v1beta1.AutoscalerReference{Kind: "HorizontalPodAutoscaler", Name: "web", PrimaryScalerReplicas: &v1beta1.ScalerReplicas{MinReplicas: new(int32(9))}},
			objects: []client.Object{newHPA("web")}, want: "True AutoscalerInvalid", parts: []string{"primaryScalerReplicas", "9", "4"},
			mend: func(s *scene) {
				edit(s, s.hpa("web"), func(hpa *autoscalingv2.HorizontalPodAutoscaler) { hpa.Spec.MaxReplicas = 10 })
			},
		},
		"another API": {
			ref: v1beta1.AutoscalerReference{APIVersion: "acme.io/v1", Kind: "HorizontalPodAutoscaler", Name: "web"}, want: "True InvalidSpec",
			parts: []string{"spec.autoscalerRef.apiVersion", "acme.io/v1", "autoscaling/v2"},
		},
		"another version of KEDA": {
			ref: v1beta1.AutoscalerReference{APIVersion: "keda.sh/v9", Kind: "ScaledObject", Name: "web"}, want: "True InvalidSpec",
			parts: []string{"spec.autoscalerRef.apiVersion", "keda.sh/v9", "keda.sh/v1alpha1"},
		},
		"another kind": {
			ref: v1beta1.AutoscalerReference{Kind: "Scaler", Name: "web"}, want: "True InvalidSpec",
			parts: []string{"spec.autoscalerRef.kind", "Scaler", "ScaledObject"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary("podinfo").with(func(spec *v1beta1.CanarySpec) { spec.AutoscalerRef = &tc.ref })
			s := newScene(t, append([]client.Object{c.Canary, newTarget()}, tc.objects...)...)
			if tc.notMade {
				s.reconciler.Client = interceptor.NewClient(s.api, interceptor.Funcs{Get: withoutKEDA})
				s.wire()
			}
			s.rollOut()
			s.mustTurn() // sets the finalizer
			s.settle()
			if got := s.condition(v1beta1.ConditionStalled); got != tc.want {
				t.Fatalf("Stalled is %q, want %q", got, tc.want)
			}
			status := s.now().Status
			message := status.GetCondition(v1beta1.ConditionStalled).Message
			for _, part := range tc.parts {
				if !strings.Contains(message, part) {
					t.Errorf("message %q lacks %q", message, part)
				}
			}
			if writes := s.worldWrites(); len(writes) != 0 {
				t.Errorf("writes: %v", writes)
			}
			if tc.mend == nil {
				return
			}
			tc.mend(s)
			s.settleFully()
			if phase := s.now().Status.Phase; phase != v1beta1.PhaseInitialized {
				t.Errorf("phase %s after it was mended: %s", phase, s.condition(v1beta1.ConditionStalled))
			}
		})
	}
}

func (s *scene) create(o client.Object) {
	s.t.Helper()
	if err := s.api.Create(s.t.Context(), o); err != nil {
		s.t.Fatal(err)
	}
}

func withoutKEDA(ctx context.Context, c client.WithWatch, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	if _, ok := into.(*unstructured.Unstructured); ok {
		return &meta.NoKindMatchError{GroupKind: autoscaling.ScaledObjectKind.GroupKind(), SearchedVersions: []string{"v1alpha1"}}
	}
	return c.Get(ctx, key, into, opts...)
}

func TestQueriesWithoutTrigger(t *testing.T) {
	s := newScaled(t, autoscaling.KindScaledObject, newScaledObject("web"))
	edit(s, s.now(), func(c *v1beta1.Canary) {
		c.Spec.AutoscalerRef.PrimaryScalerQueries = map[string]string{"requests": "up", "typo": "down"}
	})
	s.settleFully()
	status := s.now().Status
	if c := status.GetCondition(v1beta1.ConditionFieldsIgnored); c == nil || !strings.Contains(c.Message, "primaryScalerQueries.typo") || strings.Contains(c.Message, "requests") {
		t.Errorf("FieldsIgnored is %+v", c)
	}
}

func scaling(kind, name string) func(*autoscalingv2.HorizontalPodAutoscaler) {
	return func(hpa *autoscalingv2.HorizontalPodAutoscaler) {
		hpa.Spec.ScaleTargetRef.Kind, hpa.Spec.ScaleTargetRef.Name = kind, name
	}
}

// Flagger copies an autoscaler of another workload for the primary: its own reference repository has one. It is told.
func TestAutoscalerOfAnotherWorkload(t *testing.T) {
	for name, tc := range map[string]struct {
		kind   string
		scales func(*scene)
		copied bool
		says   []string
	}{
		"another Deployment": {
			autoscaling.KindHPA, func(s *scene) { edit(s, s.hpa("web"), scaling("Deployment", "frontend")) }, true,
			[]string{"scales Deployment frontend, not Deployment podinfo", "podinfo-primary gets a copy"},
		},
		"a StatefulSet": {
			autoscaling.KindHPA, func(s *scene) { edit(s, s.hpa("web"), scaling("StatefulSet", "podinfo")) }, true, []string{"scales StatefulSet podinfo, not Deployment podinfo"},
		},
		"the primary itself": {
			autoscaling.KindHPA, func(s *scene) { edit(s, s.hpa("web"), scaling("Deployment", "podinfo-primary")) }, false, []string{"scales podinfo-primary already"},
		},
		"another Deployment, by KEDA": {
			autoscaling.KindScaledObject, func(s *scene) {
				edit(s, s.scaledObject("web"), func(so *unstructured.Unstructured) {
					if err := unstructured.SetNestedField(so.Object, "frontend", "spec", "scaleTargetRef", "name"); err != nil {
						t.Fatal(err)
					}
				})
			}, true, []string{"scales Deployment frontend"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			autoscaler := client.Object(newHPA("web"))
			if tc.kind == autoscaling.KindScaledObject {
				autoscaler = newScaledObject("web")
			}
			s := newScaled(t, tc.kind, autoscaler)
			tc.scales(s)
			s.settleFully()
			status := s.now().Status
			ignored := status.GetCondition(v1beta1.ConditionFieldsIgnored)
			for _, want := range tc.says {
				if ignored == nil || !strings.Contains(ignored.Message, want) {
					t.Errorf("FieldsIgnored is %+v, want %q in it", ignored, want)
				}
			}
			if got := s.condition(v1beta1.ConditionStalled); strings.HasPrefix(got, "True") {
				t.Errorf("Stalled is %s", got)
			}
			if tc.kind == autoscaling.KindScaledObject {
				if got := s.pausedAt("web"); got != "" {
					t.Errorf("somebody else's workload is paused at %s", got)
				}
				return
			}
			if got := s.exists(&autoscalingv2.HorizontalPodAutoscaler{}, "web-primary"); got != tc.copied {
				t.Fatalf("the primary has a copy: %t", got)
			}
			if tc.copied {
				if to := s.hpa("web-primary").Spec.ScaleTargetRef; to.Kind != "Deployment" || to.Name != "podinfo-primary" {
					t.Errorf("the copy scales %+v", to)
				}
			}
			s.release("podinfo:2")
			s.phases()
			if phase := s.now().Status.Phase; phase != v1beta1.PhaseSucceeded {
				t.Errorf("a release ends %s", phase)
			}
		})
	}
}

// A DaemonSet has no number of pods: Flagger takes the reference and nothing comes of it.
func TestAutoscalerOfADaemonSet(t *testing.T) {
	c := newCanary("podinfo").with(refersTo(autoscaling.KindHPA, "web")).with(func(spec *v1beta1.CanarySpec) { spec.TargetRef.Kind = "DaemonSet" })
	served, ignored := autoscaling.Served(c.Canary)
	if served.Spec.AutoscalerRef != nil || len(ignored) != 1 || !strings.Contains(ignored[0], "spec.autoscalerRef has no effect: a DaemonSet") {
		t.Errorf("%+v, %v", served.Spec.AutoscalerRef, ignored)
	}
	if c.Spec.AutoscalerRef == nil {
		t.Error("the Canary itself was changed")
	}
	if invalid := autoscaling.Invalid(served); invalid != "" {
		t.Errorf("refused: %s", invalid)
	}
}

// A NAME-primary that the user made for the primary is taken over, as Flagger updates it, and stays as it was when the
// Canary goes or names another one.
func TestAutoscalerOfThePrimaryIsTakenOver(t *testing.T) {
	own := newHPA("web-primary")
	own.Labels = map[string]string{"team": "shop"}
	own.Spec.ScaleTargetRef.Name, own.Spec.MinReplicas, own.Spec.MaxReplicas = "podinfo-primary", new(int32(2)), 20
	own.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: new(int32(30))}}
	before := own.DeepCopy()
	for name, end := range map[string]func(*scene){
		"the Canary goes":             func(s *scene) { s.delete() },
		"no autoscaler is named more": func(s *scene) { edit(s, s.now(), func(c *v1beta1.Canary) { c.Spec.AutoscalerRef = nil }) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, newCanary("podinfo").with(refersTo(autoscaling.KindHPA, "web")).Canary, newTarget(), newHPA("web"), own.DeepCopy())
			s.rollOut()
			s.phases()
			if got := s.condition(v1beta1.ConditionStalled); strings.HasPrefix(got, "True") {
				t.Fatalf("Stalled is %s", got)
			}
			if got := s.hpa("web-primary").Spec; *got.MinReplicas != 1 || got.MaxReplicas != 4 {
				t.Errorf("it scales between %d and %d, as before", *got.MinReplicas, got.MaxReplicas)
			}
			s.restartProcess()
			edit(s, s.hpa("web"), func(hpa *autoscalingv2.HorizontalPodAutoscaler) { hpa.Spec.MaxReplicas = 9 })
			s.phases()
			if n := s.hpa("web-primary").Spec.MaxReplicas; n != 9 {
				t.Errorf("maximum %d after an edit", n)
			}
			end(s)
			s.phases()
			got := s.hpa("web-primary")
			if diff := cmp.Diff(before.Spec, got.Spec); diff != "" {
				t.Errorf("spec (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(before.Labels, got.Labels); diff != "" {
				t.Errorf("labels (-before +after):\n%s", diff)
			}
			if len(got.Annotations) > 0 {
				t.Errorf("annotations %v are left", got.Annotations)
			}
		})
	}
}

// KEDA's minReplicaCount: 0. While a release checks it the canary is not left without pods for want of work, the primary is
// started first, and afterwards both may go to zero again.
func TestScaleToZero(t *testing.T) {
	so := newScaledObject("web")
	if err := unstructured.SetNestedField(so.Object, int64(0), "spec", "minReplicaCount"); err != nil {
		t.Fatal(err)
	}
	s := newScaled(t, autoscaling.KindScaledObject, so)
	scaleTo(s, "podinfo-primary", 0) // as KEDA does
	s.rollOut()
	s.settleFully()
	if phase, weight := s.now().Status.Phase, s.now().Status.CanaryWeight; phase != v1beta1.PhaseInitialized || weight != 0 {
		t.Fatalf("with nothing to do: %s, %d%% for the canary", phase, weight)
	}
	if got := reasons(s.sent()); len(got) > 0 {
		t.Errorf("with nothing to do it is told: %v", got)
	}
	s.release("podinfo:2")
	for range 300 {
		result := s.mustTurn()
		status := s.now().Status
		primary, target := s.deployment("podinfo-primary"), s.deployment("podinfo")
		if status.CanaryWeight > 40 {
			t.Fatalf("%s: %d%% for a canary that nobody has checked", status.Phase, status.CanaryWeight)
		}
		if status.CanaryWeight > 0 && primary.Status.AvailableReplicas == 0 {
			t.Fatalf("%s: the canary gets requests, and the primary is not there", status.Phase)
		}
		switch status.Phase { //nolint:exhaustive // the others are short
		case v1beta1.PhaseProgressing, v1beta1.PhasePromoting:
			if got, want := s.pausedAt("web"), fmt.Sprintf("%d podinfo", max(*target.Spec.Replicas, 1)); got != want {
				t.Fatalf("%s with %d pods: paused at %q", status.Phase, *target.Spec.Replicas, got)
			}
			lower, _, _ := unstructured.NestedInt64(s.scaledObject("web-primary").Object, "spec", "minReplicaCount")
			if lower < 1 {
				t.Fatalf("%s: the primary may go to zero", status.Phase)
			}
			if int64(*primary.Spec.Replicas) < lower {
				scaleTo(s, "podinfo-primary", int32(lower)) // as KEDA does
			}
		}
		if status.Phase == v1beta1.PhaseSucceeded && *target.Spec.Replicas == 0 && result.RequeueAfter == 0 {
			break
		}
		if !s.awaitChecks() && !s.rollOut() && result.RequeueAfter > 0 {
			s.wait(result)
		}
	}
	s.settleFully()
	if phase := s.now().Status.Phase; phase != v1beta1.PhaseSucceeded {
		t.Errorf("it ends %s", phase)
	}
	if got := s.pausedAt("web"); got != "0 podinfo" {
		t.Errorf("afterwards: paused at %q", got)
	}
	if lower, _, _ := unstructured.NestedInt64(s.scaledObject("web-primary").Object, "spec", "minReplicaCount"); lower != 0 {
		t.Errorf("afterwards the primary keeps %d pods", lower)
	}
}
