package canary

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

var budgets = policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget")

// newBudget is one for the pods with a value of the label app.
func newBudget(name, app string) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name, Labels: map[string]string{"team": "shop", "app.kubernetes.io/instance": "shop"}},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: new(intstr.FromInt32(1)),
			Selector:     &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}},
		},
	}
}

// covering has the scene look at budgets.
func (s *scene) covering(copies bool) *scene {
	s.reports, s.copies = true, copies
	s.cover()
	s.reconciler.Coverage.Watched(budgets, func() bool { return true })
	return s
}

func copying(c canaryOf) *v1beta1.Canary {
	return c.with(func(s *v1beta1.CanarySpec) { s.Coverage = &v1beta1.CoverageSpec{Mode: v1beta1.CoverageCopy} }).Canary
}

// budget is name and selected app of each budget.
func (s *scene) budgets() []string {
	s.t.Helper()
	var list policyv1.PodDisruptionBudgetList
	if err := s.api.List(s.t.Context(), &list); err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, b := range list.Items {
		out = append(out, b.Name+" "+b.Spec.Selector.MatchLabels["app"]+" "+b.Spec.MinAvailable.String())
	}
	return out
}

func (s *scene) budget(name string) *policyv1.PodDisruptionBudget {
	s.t.Helper()
	b := &policyv1.PodDisruptionBudget{}
	if err := s.api.Get(s.t.Context(), client.ObjectKey{Namespace: "test", Name: name}, b); err != nil {
		s.t.Fatal(err)
	}
	return b
}

// What was made and is not in the cache may be gone by now, and no event may come: it is looked at again.
func TestUncachedCopy(t *testing.T) {
	s := newScene(t, copying(newCanary("podinfo")), newTarget(), newBudget("web", "podinfo")).covering(true)
	s.rollOut()
	s.settleFully()
	if err := s.api.Delete(t.Context(), s.budget("web-primary")); err != nil {
		t.Fatal(err)
	}
	s.mustTurn()
	s.budget("web-primary")
	s.uncached = "web-primary"
	if result := s.settle(); result.RequeueAfter == 0 || result.RequeueAfter > 15*time.Second {
		t.Errorf("it is looked at again after %s", result.RequeueAfter)
	}
	s.uncached = ""
	if result := s.settle(); result.RequeueAfter != 0 {
		t.Errorf("once it has been seen, it is looked at again after %s", result.RequeueAfter)
	}
}

func TestCoverageIsReported(t *testing.T) {
	s := newScene(t, newCanary("podinfo").Canary, newTarget(), newBudget("web", "podinfo")).covering(false)
	s.rollOut()
	s.settleFully()
	if got, want := s.condition(v1beta1.ConditionCovered), "False NotCovered"; got != want {
		t.Errorf("Covered is %s, want %s", got, want)
	}
	sent := s.sent()
	if !slices.ContainsFunc(sent, func(e string) bool {
		return strings.HasPrefix(e, "Warning NotCovered ") && strings.HasSuffix(e, ": PodDisruptionBudget web (app=podinfo)")
	}) {
		t.Errorf("no event names the budget: %q", sent)
	}
	if diff := cmp.Diff([]string{"web podinfo 1"}, s.budgets()); diff != "" {
		t.Errorf("budgets (-want +got)\n%s", diff)
	}
	s.writes = nil
	for range 5 {
		s.mustTurn()
	}
	if len(s.writes) > 0 || len(s.sent()) > 0 {
		t.Errorf("at rest it writes %v", s.writes)
	}

	edit(s, s.budget("web"), func(b *policyv1.PodDisruptionBudget) { b.Spec.Selector.MatchLabels = map[string]string{} })
	s.settleFully()
	if got, want := s.condition(v1beta1.ConditionCovered), "True Covered"; got != want {
		t.Errorf("after the mending Covered is %s, want %s", got, want)
	}
	if diff := cmp.Diff([]string{"Normal Covered"}, reasons(s.sent())); diff != "" {
		t.Errorf("events (-want +got)\n%s", diff)
	}
}

func TestCoverageCopies(t *testing.T) {
	s := newScene(t, copying(newCanary("podinfo")), newTarget(), newBudget("web", "podinfo")).covering(true)
	s.rollOut()
	s.settleFully()
	if diff := cmp.Diff([]string{"web podinfo 1", "web-primary podinfo-primary 1"}, s.budgets()); diff != "" {
		t.Fatalf("budgets (-want +got)\n%s", diff)
	}
	worldWrites := s.worldWrites()
	if worldWrites[0] != "apply PodDisruptionBudget web-primary" {
		t.Errorf("the copy was not written before all else: %v", worldWrites)
	}
	if got, want := s.condition(v1beta1.ConditionCovered), "True Covered"; got != want {
		t.Errorf("Covered is %s, want %s", got, want)
	}
	b := s.budget("web-primary")
	if !ownership.For(s.now()).Owns(b) || len(b.OwnerReferences) > 0 || b.Labels["team"] != "shop" || b.Labels["app.kubernetes.io/instance"] != "" {
		t.Errorf("the copy has %+v", b.ObjectMeta)
	}
	s.writes = nil
	for range 5 {
		s.mustTurn()
	}
	if len(s.writes) > 0 {
		t.Errorf("at rest it writes %v", s.writes)
	}

	edit(s, s.budget("web"), func(b *policyv1.PodDisruptionBudget) { b.Spec.MinAvailable = new(intstr.FromInt32(2)) })
	s.settleFully()
	if diff := cmp.Diff([]string{"web podinfo 2", "web-primary podinfo-primary 2"}, s.budgets()); diff != "" {
		t.Errorf("after an edit of the original (-want +got)\n%s", diff)
	}
	edit(s, s.budget("web-primary"), func(b *policyv1.PodDisruptionBudget) { b.Spec.MinAvailable = new(intstr.FromInt32(9)) })
	s.settleFully()
	if diff := cmp.Diff([]string{"web podinfo 2", "web-primary podinfo-primary 2"}, s.budgets()); diff != "" {
		t.Errorf("after an edit of the copy (-want +got)\n%s", diff)
	}
	edit(s, s.now(), func(c *v1beta1.Canary) { c.Spec.Coverage.Mode = v1beta1.CoverageReport })
	s.settleFully()
	if diff := cmp.Diff([]string{"web podinfo 2"}, s.budgets()); diff != "" {
		t.Errorf("after the mode was set back (-want +got)\n%s", diff)
	}
	edit(s, s.now(), func(c *v1beta1.Canary) { c.Spec.Coverage.Mode = v1beta1.CoverageCopy })
	s.settleFully()
	if err := s.api.Delete(t.Context(), s.budget("web")); err != nil {
		t.Fatal(err)
	}
	s.settleFully()
	if got := s.budgets(); got != nil {
		t.Errorf("after the original was deleted: %v", got)
	}
}

// TestCoverageKeepsOthers has a budget of somebody else's in the place of the
// copy.
func TestCoverageKeepsOthers(t *testing.T) {
	foreign := newBudget("web-primary", "podinfo-primary")
	foreign.Spec.MinAvailable = new(intstr.FromInt32(7))
	s := newScene(t, copying(newCanary("podinfo")), newTarget(), newBudget("web", "podinfo"), foreign).covering(true)
	s.rollOut()
	s.settleFully()
	if diff := cmp.Diff([]string{"web podinfo 1", "web-primary podinfo-primary 7"}, s.budgets()); diff != "" {
		t.Errorf("budgets (-want +got)\n%s", diff)
	}
	status := s.now().Status
	c := status.GetCondition(v1beta1.ConditionCovered)
	if c == nil || c.Status != corev1.ConditionFalse || !strings.Contains(c.Message, "web-primary is somebody else's") {
		t.Errorf("Covered is %+v", c)
	}
}

func TestCoverageIsNotAllowed(t *testing.T) {
	for name, set := range map[string]func(*scene){
		"off":    func(*scene) {},
		"report": func(s *scene) { s.covering(false) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, copying(newCanary("podinfo")), newTarget(), newBudget("web", "podinfo"))
			set(s)
			s.mustTurn()
			s.mustTurn()
			if got, want := s.condition(v1beta1.ConditionStalled), "True InvalidSpec"; got != want {
				t.Errorf("Stalled is %s, want %s", got, want)
			}
			if got := s.worldWrites(); len(got) > 0 {
				t.Errorf("it wrote %v", got)
			}
		})
	}
}

// TestCoverageBeforeTraffic: a primary gets no traffic while its copies can't
// be written or what they are copies of is not read; one that serves goes on.
func TestCoverageBeforeTraffic(t *testing.T) {
	forbid := func(kind string) error {
		if kind != "PodDisruptionBudget" {
			return nil
		}
		return apierrors.NewForbidden(schema.GroupResource{Resource: "poddisruptionbudgets"}, "web-primary", errors.New("no right"))
	}
	s := newScene(t, copying(newCanary("podinfo")), newTarget(), newBudget("web", "podinfo")).covering(true)
	s.rollOut()
	s.applyError = forbid
	for range 5 {
		_, err := s.turn()
		s.rollOut()
		if len(s.writes) > 3 && (err == nil || !strings.Contains(err.Error(), "forbidden")) {
			t.Errorf("got error %v", err)
		}
	}
	if got := s.router.Applied(); len(got) > 0 {
		t.Errorf("traffic went to a primary that is not covered: %v", got)
	}
	if got, want := s.condition(v1beta1.ConditionReady), "False ApplyFailed"; got != want {
		t.Errorf("Ready is %s, want %s", got, want)
	}

	s.applyError = nil
	s.reconciler.Coverage.Watched(schema.GroupVersionKind{Group: "security.istio.io", Version: "v1", Kind: "PeerAuthentication"}, func() bool { return false })
	if _, err := s.turn(); err == nil {
		t.Error("what selects pods is not read, and nobody is told")
	}
	if got := s.router.Applied(); len(got) > 0 {
		t.Errorf("traffic went to a primary of which it is not known what covers it: %v", got)
	}
	s.covering(true)
	s.settleFully()
	if phase := s.now().Status.Phase; phase != v1beta1.PhaseInitialized {
		t.Fatalf("phase %s", phase)
	}

	s.applyError = forbid
	edit(s, s.budget("web"), func(b *policyv1.PodDisruptionBudget) { b.Spec.MinAvailable = new(intstr.FromInt32(2)) })
	s.release("podinfo:2")
	for range 5 {
		if _, err := s.turn(); err != nil && !strings.Contains(err.Error(), "forbidden") {
			t.Fatal(err)
		}
		s.rollOut()
	}
	if got := s.now().Status.CanaryWeight; got != 20 {
		t.Errorf("a copy that can't be written holds up the release at %d%%", got)
	}
}
