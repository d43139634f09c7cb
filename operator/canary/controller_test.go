package canary

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/providers"
)

// newInitialized is a scene whose Canary is Initialized and at rest.
func newInitialized(t *testing.T) *scene {
	t.Helper()
	s := newScene(t, newCanary("podinfo").Canary, newTarget())
	s.rollOut()
	s.settleFully()
	if phase := s.now().Status.Phase; phase != v1beta1.PhaseInitialized {
		t.Fatalf("phase %s", phase)
	}
	s.sent()
	s.writes = nil
	return s
}

// settleFully settles the scene and lets time pass until nothing is waited for.
func (s *scene) settleFully() {
	s.t.Helper()
	for range 50 {
		result := s.settle()
		if result.RequeueAfter == 0 {
			return
		}
		s.wait(result)
	}
	s.t.Fatalf("the Canary does not come to rest in phase %s", s.now().Status.Phase)
}

// phases settles the scene step by step and returns the statuses on the way:
// phase and weight.
func (s *scene) phases() []string {
	s.t.Helper()
	var out []string
	for range 100 {
		before := len(s.writes) + s.router.Writes()
		result := s.mustTurn()
		if now := s.now().Status; len(out) == 0 || out[len(out)-1] != format(now) {
			out = append(out, format(now))
		}
		checked, changed := s.awaitChecks(), s.rollOut()
		if checked || changed || len(s.writes)+s.router.Writes() != before {
			continue
		}
		if result.RequeueAfter == 0 {
			return out
		}
		s.wait(result)
	}
	s.t.Fatalf("no end: %v", out)
	return nil
}

func format(st v1beta1.CanaryStatus) string {
	return string(st.Phase) + " " + strings.Repeat("#", int(st.CanaryWeight/20))
}

// TestGoodRollout drives a Canary from its creation through a release.
func TestGoodRollout(t *testing.T) {
	s := newScene(t, newCanary("podinfo").Canary, newTarget())
	s.rollOut()
	if diff := cmp.Diff([]string{" ", "Initializing ", "Initialized "}, s.phases()); diff != "" {
		t.Fatalf("initialization: -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Normal Initializing", "Normal Initialized"}, reasons(s.sent())); diff != "" {
		t.Errorf("events: -want +got\n%s", diff)
	}
	if got := s.service("podinfo").Spec.Selector["app"]; got != "podinfo-primary" {
		t.Errorf("the apex service leads to %s", got)
	}
	if n := *s.deployment("podinfo").Spec.Replicas; n != 0 {
		t.Errorf("the target has %d pods", n)
	}

	s.release("podinfo:2")
	if diff := cmp.Diff([]string{
		"Progressing ", "Progressing #", "Progressing ##", "Promoting ##", "Finalising ", "Succeeded ",
	}, s.phases()); diff != "" {
		t.Fatalf("release: -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"Normal NewRevision", "Normal WeightRaised", "Normal WeightRaised", "Normal Promoting", "Normal Promoted",
	}, reasons(s.sent())); diff != "" {
		t.Errorf("events: -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]providers.Traffic{
		{Primary: 100}, {Primary: 80, Canary: 20}, {Primary: 60, Canary: 40}, {Primary: 100},
	}, s.router.Applied()); diff != "" {
		t.Errorf("routes: -want +got\n%s", diff)
	}
	primary := s.deployment("podinfo-primary")
	if image := primary.Spec.Template.Spec.Containers[0].Image; image != "podinfo:2" {
		t.Errorf("the primary runs %s", image)
	}
	if n := *primary.Spec.Replicas; n != 2 {
		t.Errorf("the primary has %d pods", n)
	}
	if n := *s.deployment("podinfo").Spec.Replicas; n != 0 {
		t.Errorf("the target has %d pods", n)
	}
	if got, want := s.condition(v1beta1.ConditionPromoted), "True Succeeded"; got != want {
		t.Errorf("Promoted is %s", got)
	}
	if elapsed := s.clock.Since(start); elapsed < 40*time.Second || elapsed > 50*time.Second {
		t.Errorf("it took %s: two steps of 10s and two drain delays of 10s are 40s", elapsed)
	}

	writes := len(s.writes)
	for range 5 {
		if result := s.mustTurn(); result.RequeueAfter != 0 {
			t.Errorf("at rest it looks again after %s", result.RequeueAfter)
		}
	}
	if extra := s.writes[writes:]; len(extra) != 0 {
		t.Errorf("at rest it writes %v", extra)
	}
}

func TestBadRollout(t *testing.T) {
	s := newInitialized(t)
	s.provider.value(50)
	s.release("podinfo:2")
	if diff := cmp.Diff([]string{"Progressing ", "Progressing #", "Failed "}, s.phases()); diff != "" {
		t.Fatalf("-want +got\n%s", diff)
	}
	if image := s.deployment("podinfo-primary").Spec.Template.Spec.Containers[0].Image; image != "podinfo:1" {
		t.Errorf("the primary runs %s", image)
	}
	if n := *s.deployment("podinfo").Spec.Replicas; n != 0 {
		t.Errorf("the target has %d pods", n)
	}
	sent := s.sent()
	if diff := cmp.Diff([]string{
		"Normal NewRevision", "Normal WeightRaised", "Warning CheckFailed", "Warning AnalysisFailed",
	}, reasons(sent)); diff != "" {
		t.Errorf("events: -want +got\n%s", diff)
	}
	// Pain 14: whoever looks must find the value and the limit.
	checks := s.now().Status.Checks
	if len(checks) != 1 || checks[0].Value != "50" || checks[0].Verdict != v1beta1.CheckFailed || checks[0].Query != "health" {
		t.Errorf("checks in the status: %+v", checks)
	}
	if last := sent[len(sent)-1]; !strings.Contains(last, "50") || !strings.Contains(last, "99") {
		t.Errorf("event %q", last)
	}
}

// A step begins when the mesh shows its weight, not when it was asked for.
func TestStepWaitsForTheMesh(t *testing.T) {
	s := newInitialized(t)
	s.router.SetLag(1000)
	s.release("podinfo:2")
	s.settle()
	for range 20 {
		s.clock.SetTime(s.clock.Now().Add(10 * time.Second))
		s.settle()
	}
	if got := format(s.now().Status); got != "Progressing #" {
		t.Errorf("%s with a mesh that lags", got)
	}
	if n := s.provider.calls(); n != 0 {
		t.Errorf("%d queries before the mesh has the route", n)
	}
}

// A Deployment says that its pods are available before their Service leads to
// them. Traffic that came in between would fail (pain 3).
func TestStepWaitsForTheEndpoints(t *testing.T) {
	s := newInitialized(t)
	s.endpointsLag = true
	s.release("podinfo:2")
	s.settle()
	if got := format(s.now().Status); got != "Progressing " {
		t.Errorf("%s without endpoints of the canary", got)
	}
	s.clock.SetTime(s.clock.Now().Add(time.Minute))
	s.settle()
	if got := s.now().Status.GetCondition(v1beta1.ConditionReady).Message; !strings.Contains(got, "0 of 2 pods are endpoints of Service podinfo-canary") {
		t.Errorf("it says %q", got)
	}
	s.endpointsLag = false
	if got := s.phases(); got[len(got)-1] != "Succeeded " {
		t.Errorf("afterwards: %v", got)
	}
}

// What is not known of endpoints takes no traffic away: another version of the
// operator, or Flagger, may have made the Services.
func TestUnknownEndpointsTakeNothingAway(t *testing.T) {
	s := newInitialized(t)
	s.release("podinfo:2")
	s.settle()
	if got := format(s.now().Status); got != "Progressing #" {
		t.Fatalf("%s", got)
	}
	canarySlice := &discoveryv1.EndpointSlice{}
	if err := s.api.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: "podinfo-canary"}, canarySlice); err != nil {
		t.Fatal(err)
	}
	s.endpointsLag = true
	if err := s.api.Delete(t.Context(), canarySlice); err != nil {
		t.Fatal(err)
	}
	s.clock.SetTime(s.clock.Now().Add(time.Minute))
	s.settle()
	if got := format(s.now().Status); got != "Progressing #" {
		t.Errorf("%s", got)
	}
}

// Pain 26: of two writers one loses, and what it had decided must not happen.
func TestConflictOfStatusMovesNothing(t *testing.T) {
	canaries := schema.GroupResource{Group: "flagger.app", Resource: "canaries"}
	for name, tc := range map[string]struct {
		err       error
		wantAgain time.Duration
		wantErr   bool
	}{
		"changed meanwhile": {err: apierrors.NewConflict(canaries, "podinfo", errors.New("changed")), wantAgain: wake.EchoDelay},
		"deleted meanwhile": {err: apierrors.NewNotFound(canaries, "podinfo"), wantAgain: wake.EchoDelay},
		"server is down":    {err: apierrors.NewServiceUnavailable("down"), wantErr: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newInitialized(t)
			s.release("podinfo:2")
			s.statusError = tc.err
			routes := s.router.Writes()
			result, err := s.turn()
			if (err != nil) != tc.wantErr || result.RequeueAfter != tc.wantAgain {
				t.Errorf("result %+v, error %v", result, err)
			}
			if diff := cmp.Diff([]string{"status podinfo"}, s.writes); diff != "" {
				t.Errorf("writes: -want +got\n%s", diff)
			}
			if s.router.Writes() != routes {
				t.Error("the route was moved")
			}
			if sent := s.sent(); len(sent) != 0 {
				t.Errorf("events: %v", sent)
			}

			s.statusError = nil
			if got := s.phases(); got[len(got)-1] != "Succeeded " {
				t.Errorf("afterwards: %v", got)
			}
		})
	}
}

// Pain 26: a cache that does not show our last write yet must not be decided on.
func TestStaleCacheMovesNothing(t *testing.T) {
	s := newInitialized(t)
	s.release("podinfo:2")
	s.cached = s.now()
	s.mustTurn()
	s.writes = nil
	s.sent()
	routes := s.router.Writes()
	s.clock.SetTime(s.clock.Now().Add(5 * time.Minute))
	for range 3 {
		if result := s.mustTurn(); result.RequeueAfter != wake.EchoDelay {
			t.Errorf("it looks again after %s; nothing else sees to that", result.RequeueAfter)
		}
	}
	if len(s.writes) != 0 || s.router.Writes() != routes || len(s.sent()) != 0 {
		t.Errorf("writes %v, %d of routes", s.writes, s.router.Writes()-routes)
	}

	s.cached = nil
	if got := s.phases(); got[len(got)-1] != "Succeeded " {
		t.Errorf("afterwards: %v", got)
	}
}

// While the cache does not show what somebody else has written, each write of the status would be refused. They are not
// tried again and again, and the newer version is acted on as soon as it is read.
func TestWritesBesideAStaleCacheAreFew(t *testing.T) {
	const lag = 2 * time.Minute
	s := newInitialized(t)
	s.cached = s.now()
	edit(s, s.now(), func(c *v1beta1.Canary) { c.Spec.Analysis.Threshold++ })
	s.release("podinfo:2")
	s.writes = nil
	routes, turns := s.router.Writes(), 0
	for until := s.clock.Now().Add(lag); s.clock.Now().Before(until); turns++ {
		result := s.mustTurn()
		if result.RequeueAfter <= 0 || result.RequeueAfter > 15*time.Second {
			t.Fatalf("it looks again after %s; nothing else may see to that", result.RequeueAfter)
		}
		s.clock.SetTime(s.clock.Now().Add(result.RequeueAfter))
	}
	if tries := len(s.writes); tries < 2 || tries > 16 || turns > 2*tries || s.router.Writes() != routes {
		t.Errorf("in %s %d writes were tried in %d turns: %v", lag, tries, turns, s.writes)
	}

	s.cached, s.writes = nil, nil
	if s.mustTurn(); len(s.writes) == 0 {
		t.Error("the newer version is not acted on at once")
	}
	if got := s.phases(); got[len(got)-1] != "Succeeded " {
		t.Errorf("afterwards: %v", got)
	}
}

func TestApplyFailure(t *testing.T) {
	s := newInitialized(t)
	denied := errors.New("denied by an admission webhook")
	s.applyError = func(kind string) error {
		if kind == "Deployment" {
			return denied
		}
		return nil
	}
	s.release("podinfo:2")
	for range 4 { // the target can't be woken; that is tried again each turn
		if _, err := s.turn(); err == nil || !strings.Contains(err.Error(), denied.Error()) {
			t.Fatalf("error %v", err)
		}
	}
	if got, want := s.condition(v1beta1.ConditionReady), "False "+release.ReasonApplyFailed; got != want {
		t.Errorf("Ready is %s, want %s", got, want)
	}
	if got := s.condition(v1beta1.ConditionStalled); got != "" {
		t.Errorf("Stalled is %s, though it is tried again", got)
	}
	sent := s.sent()
	if diff := cmp.Diff([]string{"Normal NewRevision", "Warning ApplyFailed"}, reasons(sent)); diff != "" {
		t.Errorf("events: -want +got\n%s", diff)
	}
	if last := sent[len(sent)-1]; !strings.Contains(last, denied.Error()) || !strings.Contains(last, "podinfo") {
		t.Errorf("event %q", last)
	}
	if applies := len(s.worldWrites()); applies != 4 {
		t.Errorf("%d tries in 4 turns", applies)
	}

	s.applyError = nil
	if result := s.mustTurn(); result.RequeueAfter <= 0 || result.RequeueAfter > time.Second {
		t.Errorf("what is mended is told after %s", result.RequeueAfter)
	}
	s.mustTurn()
	if got := s.condition(v1beta1.ConditionReady); strings.Contains(got, release.ReasonApplyFailed) {
		t.Errorf("Ready is %s after it was mended", got)
	}
	if got := s.phases(); got[len(got)-1] != "Succeeded " {
		t.Errorf("afterwards: %v", got)
	}
}

// Somebody else's change of what Sluice made is undone.
func TestDriftIsHealed(t *testing.T) {
	for name, drift := range map[string]func(s *scene){
		"route": func(s *scene) { s.router.Drift(s.canary, providers.Traffic{Primary: 10, Canary: 90}) },
		"service": func(s *scene) {
			apex := s.service("podinfo")
			apex.Spec.Selector = map[string]string{"app": "podinfo"}
			if err := s.api.Update(s.t.Context(), apex); err != nil {
				s.t.Fatal(err)
			}
		},
		"primary": func(s *scene) {
			edit(s, s.deployment("podinfo-primary"), func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "theirs" })
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newInitialized(t)
			drift(s)
			s.settleFully()
			if last := s.router.Applied(); last[len(last)-1] != (providers.Traffic{Primary: 100}) {
				t.Errorf("route %v", last)
			}
			if got := s.service("podinfo").Spec.Selector["app"]; got != "podinfo-primary" {
				t.Errorf("the apex service leads to %s", got)
			}
			if image := s.deployment("podinfo-primary").Spec.Template.Spec.Containers[0].Image; image != "podinfo:1" {
				t.Errorf("the primary runs %s", image)
			}
			if phase := s.now().Status.Phase; phase != v1beta1.PhaseInitialized {
				t.Errorf("phase %s", phase)
			}
		})
	}
}

// A Canary that is gone leaves nothing in memory. Pain 25.
func TestGoneCanaryIsForgotten(t *testing.T) {
	s := newInitialized(t)
	s.release("podinfo:2")
	s.phases()
	canary := s.now()
	if run, _ := s.checker.Results(canary); run == nil {
		t.Fatal("the checker has no results")
	}
	s.delete()
	s.phases()
	s.mustTurn()
	if !s.gone() {
		t.Fatal("it is still there")
	}
	for name, of := range map[string]interface{ Size() int }{
		"failures": &s.reconciler.failures, "turns": &s.reconciler.turns,
		"targets": s.reconciler.Targets, "Services": s.reconciler.Services, "routes": s.reconciler.Routes,
	} {
		if n := of.Size(); n != 0 {
			t.Errorf("%s of %d Canaries are remembered", name, n)
		}
	}
	if run, _ := s.checker.Results(canary); run != nil {
		t.Errorf("the checker has %+v", run)
	}
}
