package canary

import (
	"maps"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// reaches tells whether a Service selects the pods of a Deployment.
func (s *scene) reaches(service, deployment string) bool {
	s.t.Helper()
	return labels.SelectorFromSet(s.service(service).Spec.Selector).Matches(labels.Set(s.deployment(deployment).Spec.Template.Labels))
}

// wantReached checks whom clients and the mesh reach.
func (s *scene) wantReached() {
	s.t.Helper()
	for _, service := range []string{"podinfo", "podinfo-primary"} {
		if !s.reaches(service, "podinfo-primary") {
			s.t.Fatalf("%s: Service %s selects %v, the primary's pods have %v", format(s.now().Status), service,
				s.service(service).Spec.Selector, s.deployment("podinfo-primary").Spec.Template.Labels)
		}
	}
	if s.reaches("podinfo-canary", "podinfo-primary") {
		s.t.Fatalf("%s: the canary Service selects %v, which the primary's pods have", format(s.now().Status), s.service("podinfo-canary").Spec.Selector)
	}
}

// A selector can't be changed, so a target with another one is deleted and created again: the
// primary serves on, and what is new is released.
func TestTargetIsCreatedWithAnotherSelector(t *testing.T) {
	for name, tc := range map[string]struct {
		next map[string]string
		keys []string
	}{
		"one label more": {next: map[string]string{"app": "podinfo", "tier": "web"}, keys: []string{"app"}},
		"another value":  {next: map[string]string{"app": "web"}, keys: []string{"app"}},
		"another key":    {next: map[string]string{"name": "podinfo"}, keys: []string{"app", "name"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newInitialized(t)
			s.reconciler.Options.SelectorLabels = tc.keys
			selector := s.deployment("podinfo-primary").Spec.Selector.MatchLabels
			s.remove(s.deployment("podinfo"))
			s.mustTurn()
			if writes := s.worldWrites(); len(writes) > 0 {
				t.Errorf("without a target: %v", writes)
			}
			s.wantReached()
			target := newTarget()
			target.UID = "uid-of-another-target"
			target.Spec.Selector.MatchLabels, target.Spec.Template.Labels = maps.Clone(tc.next), tc.next
			target.Spec.Template.Spec.Containers[0].Image = "podinfo:2"
			if err := s.api.Create(t.Context(), target); err != nil {
				t.Fatal(err)
			}
			// The fake server counts versions from 1 again, as no real one does.
			s.reconciler.Applier = ssa.New(s.reconciler.Client)
			s.restartProcess()
			for range 3 {
				s.mustTurn()
				s.wantReached()
			}
			if phases := s.phases(); phases[len(phases)-1] != "Succeeded " {
				t.Fatalf("phases %q, events %q", phases, s.sent())
			}
			s.wantReached()
			primary := s.deployment("podinfo-primary")
			if image := primary.Spec.Template.Spec.Containers[0].Image; image != "podinfo:2" {
				t.Errorf("the primary has %s", image)
			}
			if !maps.Equal(selector, primary.Spec.Selector.MatchLabels) {
				t.Errorf("the primary's selector was %v and is %v", selector, primary.Spec.Selector.MatchLabels)
			}
			if !s.reaches("podinfo-canary", "podinfo") {
				t.Errorf("the canary Service selects %v", s.service("podinfo-canary").Spec.Selector)
			}
		})
	}
}

// Another setting holds for Canaries that are made from then on.
func TestSelectorLabelsAreSetAnew(t *testing.T) {
	for name, tc := range map[string]struct {
		begin func(s *scene)
		keys  []string
	}{
		"at rest":                          {begin: func(*scene) {}, keys: []string{"deploy", "app"}},
		"in a release":                     {begin: func(s *scene) { s.release("podinfo:2"); s.settle() }, keys: []string{"deploy", "app"}},
		"to a label that no selector has":  {begin: func(*scene) {}, keys: []string{"component"}},
		"to labels without the one before": {begin: func(s *scene) { s.release("podinfo:2"); s.settle() }, keys: []string{"deploy"}},
	} {
		t.Run(name, func(t *testing.T) {
			target := newTarget()
			both := map[string]string{"app": "podinfo", "deploy": "podinfo"}
			target.Spec.Selector.MatchLabels, target.Spec.Template.Labels = both, maps.Clone(both)
			s := newScene(t, newCanary("podinfo").Canary, target)
			s.rollOut()
			s.settleFully()
			tc.begin(s)
			s.reconciler.Options.SelectorLabels = tc.keys
			s.restartProcess()
			for range 3 {
				s.mustTurn()
				s.wantReached()
			}
			if got := s.condition(v1beta1.ConditionStalled); strings.HasPrefix(got, "True") {
				t.Errorf("Stalled is %s", got)
			}
		})
	}
}

// What a new version lists no more, the primary's pods serve until they are replaced, and may serve after
// that: the port stays. What it lists first is offered when somebody serves it.
func TestPortsOfTheVersionBefore(t *testing.T) {
	target := newTarget()
	target.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 9898}, {Name: "admin", ContainerPort: 9090}}
	s := newScene(t, newCanary("podinfo").with(func(s *v1beta1.CanarySpec) { s.Service.PortDiscovery = true }).Canary, target)
	s.rollOut()
	s.settleFully()
	has := func(name string, port int32) bool {
		for _, p := range s.service(name).Spec.Ports {
			if p.Port == port {
				return true
			}
		}
		return false
	}
	edit(s, s.deployment("podinfo"), func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Image = "podinfo:2"
		d.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 9898}, {Name: "metrics", ContainerPort: 7070}}
	})
	before := true // pods of the version before are among the primary's
	for range 400 {
		result := s.mustTurn()
		primary := s.deployment("podinfo-primary")
		before = primary.Spec.Template.Spec.Containers[0].Image == "podinfo:1" || primary.Status.ObservedGeneration < primary.Generation
		for _, name := range []string{"podinfo", "podinfo-primary"} {
			if before && !has(name, 9090) {
				t.Fatalf("%s: Service %s has lost a port that the primary serves", format(s.now().Status), name)
			}
		}
		if s.now().Status.CanaryWeight == 0 && before && has("podinfo", 7070) && s.now().Status.Phase != v1beta1.PhasePromoting {
			t.Fatalf("%s: clients are offered a port that nobody serves yet", format(s.now().Status))
		}
		checked, changed := s.awaitChecks(), s.rollOut()
		if s.now().Status.Phase == v1beta1.PhaseSucceeded && !checked && !changed {
			break
		}
		s.clock.SetTime(s.clock.Now().Add(result.RequeueAfter))
	}
	s.settleFully()
	for _, name := range []string{"podinfo", "podinfo-primary", "podinfo-canary"} {
		if before || !has(name, 9090) || !has(name, 7070) {
			t.Errorf("%s: ports of Service %s: %v", format(s.now().Status), name, s.service(name).Spec.Ports)
		}
	}
}
