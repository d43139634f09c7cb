package canary

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/routes"
	"github.com/sluice-delivery/sluice/operator/services"
	"github.com/sluice-delivery/sluice/operator/targets"
	ground "github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers"
)

// ownedBySomebody is what another controller takes care of.
func ownedBySomebody(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "test", Name: name, UID: "uid-of-theirs", OwnerReferences: []metav1.OwnerReference{{
		APIVersion: "acme.io/v1", Kind: "Shop", Name: "theirs", UID: "uid-of-shop", Controller: new(true),
	}}}
}

// Whatever only the user can mend is told, harms nothing, and is over once
// it is mended.
func TestMistakes(t *testing.T) {
	remove := func(o client.Object) func(*scene) {
		return func(s *scene) {
			if err := s.api.Delete(s.t.Context(), o); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	change := func(change func(*v1beta1.CanarySpec)) func(*scene) {
		return func(s *scene) { edit(s, s.now(), func(c *v1beta1.Canary) { change(&c.Spec) }) }
	}
	with := func(change func(*v1beta1.CanarySpec)) client.Object { return newCanary("podinfo").with(change).Canary }
	unlabelled := newTarget()
	unlabelled.Spec.Selector.MatchLabels = map[string]string{"component": "podinfo"}

	for name, tc := range map[string]struct {
		objects []client.Object
		broken  func(*scene)
		reason  string
		sent    []string // in the message
		mend    func(*scene)
	}{
		"the target is missing": {
			objects: []client.Object{newCanary("podinfo").Canary},
			reason:  targets.ReasonTargetMissing, sent: []string{"spec.targetRef", "Deployment podinfo", "namespace test"},
			mend: func(s *scene) {
				if err := s.api.Create(s.t.Context(), newTarget()); err != nil {
					s.t.Fatal(err)
				}
			},
		},
		"the target has another Canary": {
			objects: []client.Object{newCanary("podinfo").bornAfter(time.Minute).with(func(spec *v1beta1.CanarySpec) { spec.Service.Name = "own" }).Canary, newCanary("older").Canary, newTarget()},
			reason:  reasonTargetShared, sent: []string{"target Deployment/podinfo", "Canary older"},
			mend: remove(newCanary("older").Canary),
		},
		"the service has another Canary": {
			objects: []client.Object{
				newCanary("podinfo").bornAfter(time.Minute).with(func(spec *v1beta1.CanarySpec) { spec.Service.Name = "shop" }).Canary,
				newCanary("older").with(func(spec *v1beta1.CanarySpec) { spec.TargetRef.Name, spec.Service.Name = "other", "shop" }).Canary, newTarget(),
			},
			reason: reasonTargetShared, sent: []string{"service shop", "Canary older"},
			mend: remove(newCanary("older").Canary),
		},
		"the primary would be the target of another Canary": {
			objects: []client.Object{
				newCanary("podinfo").bornAfter(time.Minute).Canary,
				newCanary("older").with(func(spec *v1beta1.CanarySpec) { spec.TargetRef.Name, spec.Service.Name = "podinfo-primary", "shop" }).Canary, newTarget(),
			},
			reason: reasonTargetShared, sent: []string{"name podinfo-primary", "Canary older"},
			mend: remove(newCanary("older").Canary),
		},
		"of the same age, the first by name has it": {
			objects: []client.Object{newCanary("podinfo").Canary, newCanary("aaa").Canary, newTarget()},
			reason:  reasonTargetShared, sent: []string{"Canary aaa"},
			mend: remove(newCanary("aaa").Canary),
		},
		"unknown provider": {
			objects: []client.Object{with(func(spec *v1beta1.CanarySpec) { spec.Provider = "appmesh" }), newTarget()},
			reason:  reasonUnknownProvider, sent: []string{"spec.provider", `"appmesh"`, "known are fake"},
			mend: change(func(spec *v1beta1.CanarySpec) { spec.Provider = "" }),
		},
		"no selector label": {
			objects: []client.Object{newCanary("podinfo").Canary, unlabelled},
			reason:  services.ReasonNoSelectorLabel, sent: []string{"spec.targetRef", "Deployment/podinfo", "app"},
			mend: func(s *scene) {
				edit(s, s.deployment("podinfo"), func(d *appsv1.Deployment) { d.Spec.Selector.MatchLabels["app"] = "podinfo" })
			},
		},
		"the primary is another controller's": {
			objects: []client.Object{newCanary("podinfo").Canary, newTarget(), &appsv1.Deployment{ObjectMeta: ownedBySomebody("podinfo-primary")}},
			reason:  ground.ReasonConflict, sent: []string{"Deployment podinfo-primary", "Shop theirs"},
			mend: remove(&appsv1.Deployment{ObjectMeta: ownedBySomebody("podinfo-primary")}),
		},
		"a service is another controller's": {
			objects: []client.Object{newCanary("podinfo").Canary, newTarget(), &corev1.Service{ObjectMeta: ownedBySomebody("podinfo-canary")}},
			reason:  ground.ReasonConflict, sent: []string{"Service podinfo-canary", "Shop theirs"},
			mend: remove(&corev1.Service{ObjectMeta: ownedBySomebody("podinfo-canary")}),
		},
		"the mesh is not installed": {
			objects: []client.Object{newCanary("podinfo").Canary, newTarget()},
			broken:  func(s *scene) { s.router.Fail(providers.ErrNotInstalled) },
			reason:  routes.ReasonMeshMissing, sent: []string{"spec.provider", "not installed"},
			mend: func(s *scene) { s.router.Fail(nil) },
		},
		"the router refuses a value": {
			objects: []client.Object{newCanary("podinfo").Canary, newTarget()},
			broken: func(s *scene) {
				s.router.Fail(&providers.InvalidError{Field: "spec.service.timeout", Value: "x", Allowed: "a duration"})
			},
			reason: ground.ReasonInvalidSpec, sent: []string{"spec.service.timeout", `"x"`, "a duration"},
			mend: func(s *scene) { s.router.Fail(nil) },
		},
		"an object of the mesh is another's": {
			objects: []client.Object{newCanary("podinfo").Canary, newTarget()},
			broken: func(s *scene) {
				s.router.Fail(&providers.ConflictError{Kind: "VirtualService", Namespace: "test", Name: "podinfo", Owner: "Shop theirs"})
			},
			reason: ground.ReasonConflict, sent: []string{"VirtualService test/podinfo", "Shop theirs"},
			mend: func(s *scene) { s.router.Fail(nil) },
		},
		"a field that is not served": {
			objects: []client.Object{with(func(spec *v1beta1.CanarySpec) { spec.TargetRef.APIVersion = "serving.knative.dev/v1" }), newTarget()},
			reason:  ground.ReasonInvalidSpec, sent: []string{"spec.targetRef.kind", "Knative"},
			mend: change(func(spec *v1beta1.CanarySpec) { spec.TargetRef.APIVersion = "apps/v1" }),
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, tc.objects...)
			s.rollOut()
			if tc.broken != nil {
				tc.broken(s)
			}
			for range 5 {
				s.settle() // the same each time: two reasons must not take turns
			}
			if writes := s.worldWrites(); len(writes) != 0 || s.router.Writes() != 0 {
				t.Errorf("writes: %v, %d of routes", writes, s.router.Writes())
			}
			if got, want := s.condition(v1beta1.ConditionStalled), "True "+tc.reason; got != want {
				t.Errorf("Stalled is %q, want %q", got, want)
			}
			if got, want := s.condition(v1beta1.ConditionReady), "False "+tc.reason; got != want {
				t.Errorf("Ready is %q, want %q", got, want)
			}
			sent := s.sent()
			if got := reasons(sent); !slices.Equal(got, []string{"Warning " + tc.reason}) {
				t.Fatalf("events: %v", sent)
			}
			for _, want := range tc.sent {
				if !strings.Contains(sent[0], want) {
					t.Errorf("event %q lacks %q", sent[0], want)
				}
			}

			tc.mend(s)
			s.rollOut()
			s.settleFully()
			if phase := s.now().Status.Phase; phase != v1beta1.PhaseInitialized {
				t.Errorf("phase %s once it is mended: %v", phase, s.sent())
			}
			if got := s.condition(v1beta1.ConditionStalled); got != "" {
				t.Errorf("Stalled is %s once it is mended", got)
			}
		})
	}
}

// The older of two Canaries goes on as if it were alone.
func TestOlderCanaryGoesOn(t *testing.T) {
	s := newScene(t, newCanary("older").Canary, newCanary("younger").bornAfter(time.Minute).Canary, newTarget())
	s.rollOut()
	s.settleFully()
	if phase := s.now().Status.Phase; phase != v1beta1.PhaseInitialized {
		t.Errorf("phase %s: %v", phase, s.sent())
	}
}

// A mistake that comes in mid-analysis leaves everything as it is.
func TestMistakeInMidAnalysis(t *testing.T) {
	s := newInitialized(t)
	s.release("podinfo:2")
	s.settle()
	before := format(s.now().Status)
	edit(s, s.now(), func(c *v1beta1.Canary) { c.Spec.Provider = "nobody's" })
	s.writes = nil
	s.clock.SetTime(s.clock.Now().Add(time.Minute))
	s.settle()
	if got := format(s.now().Status); got != before || before != "Progressing #" {
		t.Errorf("%s, was %s", got, before)
	}
	if writes := s.worldWrites(); len(writes) != 0 {
		t.Errorf("writes: %v", writes)
	}
	edit(s, s.now(), func(c *v1beta1.Canary) { c.Spec.Provider = "" })
	if got := s.phases(); got[len(got)-1] != "Succeeded " {
		t.Errorf("once it is mended: %v", got)
	}
}

// A Service that was there before the Canary stays when the Canary goes.
func TestServiceOfTheUserIsNotOwned(t *testing.T) {
	own := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "podinfo"}, Ports: []corev1.ServicePort{{Name: "http", Port: 9898, Protocol: corev1.ProtocolTCP}},
	}}
	s := newScene(t, newCanary("podinfo").Canary, newTarget(), own)
	s.rollOut()
	s.settleFully()
	apex := s.service("podinfo")
	if len(apex.OwnerReferences) != 0 {
		t.Errorf("it would go with %v", apex.OwnerReferences)
	}
	if got := apex.Spec.Selector["app"]; got != "podinfo-primary" {
		t.Errorf("it leads to %s", got)
	}
}
