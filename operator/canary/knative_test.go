package canary

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/factory"
)

// knativeScene is a scene with a Service of Knative for its target.
type knativeScene struct {
	*scene

	// highest is the greatest share that the newest revision had.
	highest int64
}

func newKnativeScene(t *testing.T, changes ...func(*v1beta1.CanarySpec)) *knativeScene {
	t.Helper()
	c := newCanary("podinfo").with(func(s *v1beta1.CanarySpec) {
		s.Provider, s.Service, s.AutoscalerRef = v1beta1.ProviderKnative, v1beta1.CanaryService{}, nil
		s.TargetRef = v1beta1.TargetReference{APIVersion: "serving.knative.dev/v1", Kind: "Service", Name: "podinfo"}
		for _, change := range changes {
			change(s)
		}
	}).Canary
	target := &knative.Service{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: "podinfo", UID: "uid-of-service"}}
	target.Spec = knativeSpec("podinfo:1")
	s := &knativeScene{scene: newScene(t, c, target)}
	r := s.reconciler
	r.Router = func(name string) (providers.Router, error) {
		return factory.New(name, factory.Deps{Client: r.Client, Applier: r.Applier})
	}
	s.serve()
	return s
}

func knativeSpec(image string) map[string]any {
	return map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"image": image}}}}}
}

func (s *knativeScene) target() *knative.Service {
	s.t.Helper()
	out := &knative.Service{}
	if err := s.api.Get(s.t.Context(), client.ObjectKey{Namespace: s.canary.Namespace, Name: "podinfo"}, out); err != nil {
		s.t.Fatal(err)
	}
	return out
}

// edit changes the template, as a user does.
func (s *knativeScene) edit(image string) {
	s.t.Helper()
	live := s.target()
	live.Spec["template"] = knativeSpec(image)["template"]
	if err := s.api.Update(s.t.Context(), live); err != nil {
		s.t.Fatal(err)
	}
	s.highest = 0
	s.serve()
}

// serve plays Knative: a template is a revision of the number in its image, and "broken" never serves. Requests go where
// spec.traffic says if all that it names can serve. It returns whether anything changed.
func (s *knativeScene) serve() bool {
	s.t.Helper()
	live := s.target()
	image := live.Spec["template"].(map[string]any)["spec"].(map[string]any)["containers"].([]any)[0].(map[string]any)["image"].(string)
	_, number, _ := strings.Cut(strings.TrimSuffix(image, "-broken"), ":")
	was := live.Status
	s.keep("podinfo-0000"+number, image)
	now := knative.Status{LatestCreatedRevisionName: "podinfo-0000" + number, LatestReadyRevisionName: "podinfo-0000" + number, ObservedGeneration: live.Generation}
	configurations, routes := metav1.ConditionTrue, metav1.ConditionTrue
	if strings.HasSuffix(image, "-broken") {
		configurations, now.LatestReadyRevisionName = metav1.ConditionFalse, was.LatestReadyRevisionName
	}
	list, _ := live.Spec["traffic"].([]any)
	for _, one := range list {
		share := one.(map[string]any)
		name, percent := share["revisionName"].(string), share["percent"].(int64)
		if name == now.LatestCreatedRevisionName && name != live.Annotations[knative.PrimaryAnnotation] {
			s.highest = max(s.highest, percent)
		}
		if name == now.LatestCreatedRevisionName && configurations == metav1.ConditionFalse {
			routes = metav1.ConditionFalse
		}
		now.Traffic = append(now.Traffic, knative.Traffic{RevisionName: name, Percent: &percent})
	}
	if routes == metav1.ConditionFalse {
		now.Traffic = was.Traffic
	}
	now.Conditions = []knative.Condition{
		{Type: "ConfigurationsReady", Status: configurations, Reason: "RevisionFailed", Message: "it crashes"},
		{Type: "RoutesReady", Status: routes},
	}
	if equality.Semantic.DeepEqual(was, now) {
		return false
	}
	live.Status = now
	if err := s.api.Update(s.t.Context(), live); err != nil {
		s.t.Fatal(err)
	}
	return true
}

// keep has Knative keep a revision.
func (s *knativeScene) keep(name, image string) {
	s.t.Helper()
	r := &knative.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: s.canary.Namespace, Name: name}}
	r.Spec.Containers = []knative.Container{{Image: image}}
	if err := s.api.Create(s.t.Context(), r); err != nil && !apierrors.IsAlreadyExists(err) {
		s.t.Fatal(err)
	}
}

// rollBack has somebody have a revision serve again, and returns what comes of it.
func (s *knativeScene) rollBack(name, to string) string {
	s.t.Helper()
	a := newAction(name, v1beta1.ActionRollback)
	a.CreationTimestamp = metav1.NewTime(s.clock.Now())
	a.Spec.ToRevision = to
	s.request(a)
	s.phases()
	return s.outcomes()[name]
}

// phases drives the Canary until nothing happens any more.
func (s *knativeScene) phases() []string {
	s.t.Helper()
	var out []string
	for range 200 {
		before := len(s.writes)
		result := s.mustTurn()
		if s.gone() {
			return out
		}
		if now := s.now().Status; len(out) == 0 || out[len(out)-1] != format(now) {
			out = append(out, format(now))
		}
		if checked, changed := s.awaitChecks(), s.serve(); checked || changed || len(s.writes) != before {
			continue
		}
		if result.RequeueAfter == 0 {
			return out
		}
		s.wait(result)
	}
	s.t.Fatalf("no end: %v, %+v", out, s.now().Status.Conditions)
	return nil
}

// serving checks which revision has all requests, and is the primary.
func (s *knativeScene) serving(revision string) {
	s.t.Helper()
	live := s.target()
	want := []any{map[string]any{"revisionName": revision, "percent": int64(100)}}
	if diff := cmp.Diff(want, live.Spec["traffic"]); diff != "" || live.Annotations[knative.PrimaryAnnotation] != revision {
		s.t.Errorf("the primary is %q: %s", live.Annotations[knative.PrimaryAnnotation], diff)
	}
}

// A Service of Knative is released by shares of its revisions: the one that serves keeps the requests until another is
// judged, and nothing else is made.
func TestKnative(t *testing.T) {
	s := newKnativeScene(t)
	if diff := cmp.Diff([]string{" ", "Initializing ", "Initialized "}, s.phases()); diff != "" {
		t.Fatalf("initialization: -want +got\n%s", diff)
	}
	s.serving("podinfo-00001")

	s.edit("podinfo:2")
	s.serving("podinfo-00001")
	phases := s.phases()
	if last := phases[len(phases)-1]; last != "Succeeded " {
		t.Fatalf("the release ends %s: %v, %+v", last, phases, s.now().Status.Conditions)
	}
	if s.highest == 0 {
		t.Errorf("the canary had no requests: %v", phases)
	}
	s.serving("podinfo-00002")

	s.edit("podinfo:3-broken")
	phases = s.phases()
	if last := phases[len(phases)-1]; last != "Failed " || s.highest != 0 {
		t.Errorf("a revision that can't serve ends %s, with %d%% of the requests: %v", last, s.highest, phases)
	}
	s.serving("podinfo-00002")

	s.edit("podinfo:4")
	phases = s.phases()
	if last := phases[len(phases)-1]; last != "Succeeded " {
		t.Errorf("the next release ends %s: %v", last, phases)
	}
	s.serving("podinfo-00004")

	s.delete()
	s.phases()
	live := s.target()
	if diff := cmp.Diff(knativeSpec("podinfo:4"), live.Spec); diff != "" || !s.gone() || len(live.Annotations) > 0 {
		t.Errorf("it is gone: %t, with annotations %v: %s", s.gone(), live.Annotations, diff)
	}
	for _, write := range s.writes {
		if !strings.HasSuffix(write, " podinfo") {
			t.Errorf("beside the Canary and its target it wrote %s", write)
		}
	}
}

// A provider and a target that are not for each other are refused.
func TestKnativeSpec(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*v1beta1.CanarySpec)
		want   string
	}{
		"another provider": {func(s *v1beta1.CanarySpec) { s.Provider = v1beta1.ProviderIstio }, "spec.provider"},
		"another target": {func(s *v1beta1.CanarySpec) {
			s.TargetRef = v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"}
		}, "spec.targetRef"},
		"a Route of Knative": {func(s *v1beta1.CanarySpec) { s.TargetRef.Kind = "Route" }, "spec.targetRef.kind"},
		"no such Service":    {func(s *v1beta1.CanarySpec) { s.TargetRef.Name = "elsewhere" }, "spec.targetRef"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newKnativeScene(t, tc.change)
			s.phases()
			stalled := s.now().Status.GetCondition(v1beta1.ConditionStalled)
			if stalled == nil || stalled.Status != "True" || !strings.Contains(stalled.Message, tc.want) {
				t.Errorf("Stalled is %+v", stalled)
			}
			if live := s.target(); len(live.Annotations) > 0 || live.Spec["traffic"] != nil {
				t.Errorf("it was written: %v", fmt.Sprint(live.Annotations, live.Spec))
			}
		})
	}
}

// The primary goes back at once to a revision that was promoted and that Knative keeps, and to no other. What the template is
// counts as failed, and is left alone.
func TestKnativeRollback(t *testing.T) {
	s := newKnativeScene(t)
	s.phases()
	for _, image := range []string{"podinfo:2", "podinfo:3-broken", "podinfo:4"} {
		s.edit(image)
		s.phases()
	}
	s.serving("podinfo-00004")
	if got := s.target().Annotations[knative.PromotedAnnotation]; got != "podinfo-00004,podinfo-00002,podinfo-00001" {
		t.Errorf("promoted were %q", got)
	}
	gone := &knative.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: s.canary.Namespace, Name: "podinfo-00001"}}
	if err := s.api.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	for i, tc := range []struct{ to, want string }{
		{"kn-podinfo-00001", "Refused Knative does not keep revision podinfo-00001 any more"},
		{"kn-podinfo-00003", "Refused that revision of Service podinfo of Knative was not promoted, as far as is known; there are kn-podinfo-00002, kn-podinfo-00001"},
		{"s2-aaaa", "Refused that revision of Service podinfo of Knative was not promoted"},
		{"kn-podinfo-00004", "Refused podinfo-primary runs it already"},
		{"kn-podinfo-00002", "Done Rolled back to kn-podinfo-00002 by alice (for a test)"},
	} {
		if got := s.rollBack(fmt.Sprintf("back-%d", i), tc.to); !strings.HasPrefix(got, tc.want) {
			t.Errorf("to %s: %q, want %q", tc.to, got, tc.want)
		}
	}
	s.serving("podinfo-00002")
	live, st := s.target(), s.now().Status
	if diff := cmp.Diff(knativeSpec("podinfo:4")["template"], live.Spec["template"]); diff != "" {
		t.Errorf("the template is another one: %s", diff)
	}
	if st.Phase != v1beta1.PhaseFailed || st.LastPromotedSpec != "kn-podinfo-00002" || st.LastAppliedSpec != "kn-podinfo-00004" || st.Rollback != nil || st.CanaryWeight != 0 {
		t.Errorf("the status is %+v", st)
	}
	if got := live.Promoted(); !slices.Equal(got, []string{"podinfo-00002", "podinfo-00004", "podinfo-00001"}) {
		t.Errorf("promoted were %v", got)
	}
	s.edit("podinfo:5")
	if phases := s.phases(); phases[len(phases)-1] != "Succeeded " {
		t.Errorf("the next release: %v", phases)
	}
	s.serving("podinfo-00005")
}
