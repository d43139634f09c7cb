package canary

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// editStatus changes the status of an object.
func editStatus[T client.Object](s *scene, o T, change func(T)) {
	s.t.Helper()
	change(o)
	if err := s.api.Status().Update(s.t.Context(), o); err != nil {
		s.t.Fatal(err)
	}
}

// The intents for Services are built once for each state of what they are made
// from, and compared with what is there once for each state of that.
func TestServicesAreBuiltAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		change    func(s *scene)
		wantAgain bool
		wantDrift bool
	}{
		"nothing": {change: func(*scene) {}},
		"the target's status": {change: func(s *scene) {
			edit(s, s.deployment("podinfo"), func(d *appsv1.Deployment) { d.Status.ReadyReplicas++; d.Generation-- })
		}},
		"the target's spec": {wantAgain: true, change: func(s *scene) {
			edit(s, s.deployment("podinfo"), func(d *appsv1.Deployment) { d.Spec.Paused = true })
		}},
		"the primary's spec": {wantAgain: true, change: func(s *scene) {
			edit(s, s.deployment("podinfo-primary"), func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Ports = nil })
		}},
		"the target's labels": {wantAgain: true, change: func(s *scene) {
			edit(s, s.deployment("podinfo"), func(d *appsv1.Deployment) { d.Labels = map[string]string{"a": "b"}; d.Generation-- })
		}},
		"the primary's pods are replaced": {change: func(s *scene) {
			editStatus(s, s.deployment("podinfo-primary"), func(d *appsv1.Deployment) { d.Status.Replicas++ })
		}},
		"the target begins to serve": {wantAgain: true, change: func(s *scene) {
			editStatus(s, s.now(), func(c *v1beta1.Canary) { c.Status.CanaryWeight = 10 })
		}},
		"the Canary's status": {change: func(s *scene) {
			edit(s, s.now(), func(c *v1beta1.Canary) { c.Status.Iterations++; c.Generation-- })
		}},
		"the Canary's spec": {wantAgain: true, change: func(s *scene) {
			edit(s, s.now(), func(c *v1beta1.Canary) { c.Spec.Service.Timeout = "3s" })
		}},
		"a Service": {wantAgain: true, wantDrift: true, change: func(s *scene) {
			edit(s, s.service("podinfo-canary"), func(o *corev1.Service) { o.Spec.Selector = map[string]string{"app": "other"} })
		}},
		"a Service is gone": {wantAgain: true, wantDrift: true, change: func(s *scene) { s.remove(s.service("podinfo-primary")) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newInitialized(t)
			edit(s, s.deployment("podinfo"), func(d *appsv1.Deployment) { d.Generation = 5 })
			edit(s, s.now(), func(c *v1beta1.Canary) { c.Generation = 5 })
			s.rest()
			look := func() (*world, bool) {
				t.Helper()
				w := &world{target: s.deployment("podinfo"), primary: s.deployment("podinfo-primary")}
				w.Canary = s.now()
				if err := s.reconciler.observeServices(t.Context(), w); err != nil {
					t.Fatal(err)
				}
				same, err := s.reconciler.servicesInSync(t.Context(), w)
				if err != nil {
					t.Fatal(err)
				}
				return w, same
			}
			before, same := look()
			if !same || before.servicesKnown == nil || !before.servicesKnown.inSync {
				t.Fatal("at rest they are not known to be in sync")
			}
			tc.change(s)
			after, same := look()
			if again := after.services.Apex != before.services.Apex; again != tc.wantAgain || same == tc.wantDrift {
				t.Errorf("built again %t, in sync %t", again, same)
			}
			if once, _ := look(); once.services.Apex != after.services.Apex {
				t.Error("and then once more")
			}
		})
	}
	t.Run("another Canary of its name", func(t *testing.T) {
		c, target := newCanary("podinfo").Canary, newTarget()
		m := &memory{}
		from := func() servicesOf {
			w := &world{target: target}
			w.Canary = c
			return w.servicesOf()
		}
		m.learn(c, &knownServices{madeFrom: from()})
		if _, ok := m.services(c, from()); !ok {
			t.Fatal("not known")
		}
		c.UID = "other"
		if _, ok := m.services(c, from()); ok {
			t.Error("it has those of the first")
		}
	})
}
