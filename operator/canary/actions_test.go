package canary

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// actionOf builds a CanaryAction for Canary podinfo, by alice for a test.
type actionOf struct{ *v1alpha1.CanaryAction }

func newAction(name string, a v1beta1.ActionType) actionOf {
	return actionOf{&v1alpha1.CanaryAction{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name, UID: types.UID("uid-of-" + name), CreationTimestamp: metav1.NewTime(start)},
		Spec:       v1alpha1.CanaryActionSpec{Canary: "podinfo", Action: a, Reason: "for a test", RequestedBy: "alice"},
	}}
}

func (a actionOf) after(d time.Duration) actionOf {
	a.CreationTimestamp = metav1.NewTime(start.Add(d))
	return a
}

func (a actionOf) phase(p v1alpha1.CanaryActionPhase) actionOf {
	a.Status.Phase = p
	return a
}

func (a actionOf) generated() actionOf {
	a.GenerateName = "podinfo-"
	return a
}

// request creates actions.
func (s *scene) request(actions ...actionOf) {
	s.t.Helper()
	for _, a := range actions {
		if err := s.api.Create(s.t.Context(), a.DeepCopy()); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *scene) actions() map[string]v1alpha1.CanaryAction {
	s.t.Helper()
	var list v1alpha1.CanaryActionList
	if err := s.api.List(s.t.Context(), &list); err != nil {
		s.t.Fatal(err)
	}
	out := map[string]v1alpha1.CanaryAction{}
	for i := range list.Items {
		out[list.Items[i].Name] = list.Items[i]
	}
	return out
}

// outcomes are phase and message of each action by name.
func (s *scene) outcomes() map[string]string {
	s.t.Helper()
	out := map[string]string{}
	for name, a := range s.actions() {
		out[name] = strings.TrimSpace(string(a.Status.Phase) + " " + a.Status.Message)
	}
	return out
}

// atFirstStep is a scene whose release has come to weight 20.
func atFirstStep(t *testing.T) *scene {
	t.Helper()
	s := newInitialized(t)
	s.release("podinfo:2")
	s.settle()
	if got := format(s.now().Status); got != "Progressing #" {
		t.Fatalf("it is %s", got)
	}
	s.sent()
	return s
}

// failed is a scene whose release was rolled back.
func failed(t *testing.T) *scene {
	t.Helper()
	s := newInitialized(t)
	s.provider.value(50)
	s.release("podinfo:2")
	s.phases()
	s.provider.value(100)
	s.sent()
	return s
}

func TestActions(t *testing.T) {
	for name, tc := range map[string]struct {
		scene   func(*testing.T) *scene
		request v1beta1.ActionType
		want    string // phase and weight then
		phase   v1alpha1.CanaryActionPhase
		says    string // the message of the action
		event   string
		paused  bool
	}{
		"pause a step": {
			scene: atFirstStep, request: v1beta1.ActionPause, want: "Progressing #", paused: true, phase: v1alpha1.ActionDone,
			says: "Paused by alice (for a test)", event: "Normal Paused Paused by alice (for a test); the weight stays at 20%",
		},
		"pause between releases": {
			scene: newInitialized, request: v1beta1.ActionPause, want: "Initialized ", paused: true, phase: v1alpha1.ActionDone,
			says: "Paused by alice (for a test)", event: "Normal Paused Paused by alice (for a test); the weight stays at 0%",
		},
		"resume what is not paused": {
			scene: atFirstStep, request: v1beta1.ActionResume, want: "Progressing #", phase: v1alpha1.ActionRefused,
			says: "it is not paused", event: "Warning ActionRefused Resume by alice (for a test) is refused: it is not paused",
		},
		"promote": {
			scene: atFirstStep, request: v1beta1.ActionPromote, want: "Succeeded ", phase: v1alpha1.ActionDone,
			says: "Promoted early by alice (for a test)", event: "Normal Promoting Promoted early by alice (for a test)",
		},
		"abort": {
			scene: atFirstStep, request: v1beta1.ActionAbort, want: "Failed ", phase: v1alpha1.ActionDone,
			says: "Aborted by alice (for a test)", event: "Warning Aborted Rolled back podinfo:2: aborted by alice (for a test)",
		},
		"abort without a release": {
			scene: newInitialized, request: v1beta1.ActionAbort, want: "Initialized ", phase: v1alpha1.ActionRefused,
			says: "there is no release under way", event: "Warning ActionRefused Abort by alice (for a test) is refused",
		},
		"retry": {
			scene: failed, request: v1beta1.ActionRetry, want: "Progressing #", phase: v1alpha1.ActionDone,
			says: "Tried again by alice (for a test)", event: "Normal Retried Tried again by alice (for a test)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := tc.scene(t)
			s.request(newAction("x", tc.request).after(s.clock.Now().Sub(start)))
			for range 5 {
				result := s.settle()
				if result.RequeueAfter == 0 || tc.want == format(s.now().Status) {
					break
				}
				s.wait(result)
			}
			now := s.now()
			if got := format(now.Status); got != tc.want || now.Status.Paused != tc.paused {
				t.Errorf("it is %q, paused %t", got, now.Status.Paused)
			}
			if sent := s.sent(); !slices.ContainsFunc(sent, func(e string) bool { return strings.HasPrefix(e, tc.event) }) {
				t.Errorf("no event %q in %q", tc.event, sent)
			}
			a := s.actions()["x"]
			if a.Status.Phase != tc.phase || a.Status.Message != tc.says || a.Status.Time == nil || a.Status.Revision != now.Status.LastAppliedSpec {
				t.Errorf("status of the action: %+v", a.Status)
			}
			if len(a.OwnerReferences) != 1 || a.OwnerReferences[0].UID != now.UID || a.OwnerReferences[0].Controller != nil {
				t.Errorf("owners of the action: %+v", a.OwnerReferences)
			}
			writes := len(s.writes)
			s.mustTurn()
			if extra := s.writes[writes:]; len(extra) != 0 {
				t.Errorf("afterwards it writes %v", extra)
			}
		})
	}
}

// TestCheck answers who wants to know what the metrics say, whatever holds the release, and changes nothing of that.
func TestCheck(t *testing.T) {
	for name, change := range map[string]func(*v1beta1.Canary){
		"in a step": func(*v1beta1.Canary) {}, "suspended": func(c *v1beta1.Canary) { c.Spec.Suspend = true },
	} {
		t.Run(name, func(t *testing.T) {
			s := atFirstStep(t)
			edit(s, s.now(), change)
			s.settle()
			s.sent()
			before := s.now().Status
			s.provider.value(50)
			other := newAction("y", v1beta1.ActionCheck).after(time.Second)
			other.Spec.Revision = "another"
			s.request(newAction("x", v1beta1.ActionCheck), other)
			s.mustTurn()
			awaitFinished(t, s.checker)
			s.settle()
			for name, want := range map[string]string{
				"x": "Done 0 of 1 metrics pass; health is 50, below the minimum 99",
				"y": "Refused it is for revision another, and the present one is " + before.LastAppliedSpec,
			} {
				if got := s.outcomes()[name]; got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			a := s.actions()["x"]
			if len(a.Status.Checks) != 1 || a.Status.Checks[0].Value != "50" || a.Status.Checks[0].Query == "" || a.Status.Time == nil || len(a.OwnerReferences) != 1 {
				t.Errorf("the action: %+v", a.Status)
			}
			if diff := cmp.Diff(before, s.now().Status); diff != "" {
				t.Errorf("the release is another: -want +got\n%s", diff)
			}
			if sent := s.sent(); len(sent) != 0 {
				t.Errorf("events: %q", sent)
			}
		})
	}
}

// Whose pause was refused has not paused it.
func TestWhoPaused(t *testing.T) {
	s := atFirstStep(t)
	says := func() string {
		st := s.now().Status
		return st.GetCondition(v1beta1.ConditionReady).Message
	}
	s.request(newAction("x", v1beta1.ActionPause))
	s.settle()
	if got := says(); !strings.HasPrefix(got, "Paused by alice: nothing moves until it is resumed") {
		t.Errorf("it says %q", got)
	}
	again := newAction("y", v1beta1.ActionPause)
	again.Spec.RequestedBy = "bob"
	s.request(again)
	s.settle()
	if got := says(); !strings.HasPrefix(got, "Paused: nothing moves") {
		t.Errorf("it says %q", got)
	}
}

// Of several actions each is acted on, once, the oldest first, and those of
// other Canaries and namespaces are left alone.
func TestActionsInOrder(t *testing.T) {
	s := atFirstStep(t)
	other := newAction("of-another", v1beta1.ActionAbort)
	other.Spec.Canary = "another"
	elsewhere := newAction("elsewhere", v1beta1.ActionAbort)
	elsewhere.Namespace = "elsewhere"
	s.request(
		newAction("a", v1beta1.ActionResume).after(time.Second), newAction("b", v1beta1.ActionPause),
		newAction("c", v1beta1.ActionPause), newAction("d", v1beta1.ActionAbort).after(time.Minute), other, elsewhere,
	)
	s.settle()
	if diff := cmp.Diff(map[string]string{
		"b": "Done Paused by alice (for a test)", "c": "Refused it is paused already", "a": "Done Resumed by alice (for a test)",
		"d": "Done Aborted by alice (for a test)", "of-another": "", "elsewhere": "",
	}, s.outcomes()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	want := []string{"Normal Paused", "Warning ActionRefused", "Normal Resumed", "Warning Aborted"}
	if diff := cmp.Diff(want, reasons(s.sent())); diff != "" {
		t.Errorf("events: -want +got\n%s", diff)
	}
}

// What was asked of a Canary that is gone is not done to another of its name.
func TestActionsOfAnEarlierCanary(t *testing.T) {
	s := atFirstStep(t)
	age := -s.clock.Since(s.now().CreationTimestamp.Time) - time.Minute
	s.request(newAction("old", v1beta1.ActionAbort).after(age), newAction("new", v1beta1.ActionPause))
	s.settle()
	if diff := cmp.Diff(map[string]string{
		"old": "Refused it is older than this Canary, so it was meant for an earlier one of this name",
		"new": "Done Paused by alice (for a test)",
	}, s.outcomes()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if a := s.actions()["old"]; a.Status.Time == nil || len(a.OwnerReferences) != 1 {
		t.Errorf("the old action: %+v", a)
	}
	if diff := cmp.Diff([]string{"Normal Paused"}, reasons(s.sent())); diff != "" {
		t.Errorf("events: -want +got\n%s", diff)
	}
}

// An operator that ends at any point leaves what the next one completes, and
// nothing is done twice.
func TestActionsAreTakenOnce(t *testing.T) {
	t.Run("not marked yet", func(t *testing.T) {
		s := atFirstStep(t)
		s.request(newAction("x", v1beta1.ActionPause))
		s.mustTurn() // the decision; the next turn would mark it
		if got := s.outcomes()["x"]; got != "" || !s.now().Status.Paused {
			t.Fatalf("the action is %q", got)
		}
		s.request(newAction("y", v1beta1.ActionResume).after(time.Second))
		s.restartProcess()
		s.settle()
		want := map[string]string{"x": "Done Paused by alice (for a test)", "y": "Done Resumed by alice (for a test)"}
		if diff := cmp.Diff(want, s.outcomes()); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		if diff := cmp.Diff([]string{"Normal Paused", "Normal Resumed"}, reasons(s.sent())); diff != "" {
			t.Errorf("events: -want +got\n%s", diff)
		}
	})
	t.Run("a mark that fails", func(t *testing.T) {
		s := atFirstStep(t)
		s.request(newAction("x", v1beta1.ActionPause), newAction("y", v1beta1.ActionResume).after(time.Second))
		s.mustTurn()
		s.patchError = errors.New("no answer")
		if _, err := s.turn(); !errors.Is(err, s.patchError) {
			t.Fatalf("got error %v", err)
		}
		if !s.now().Status.Paused {
			t.Error("the next action was taken before the last was marked")
		}
		s.patchError = nil
		s.settle()
		if s.now().Status.Paused {
			t.Error("the next action was not taken")
		}
	})
	t.Run("a failing mark holds up nothing", func(t *testing.T) {
		s := atFirstStep(t)
		s.request(newAction("x", v1beta1.ActionResume))
		s.mustTurn()
		s.patchError = errors.New("no answer")
		s.release("podinfo:3")
		if _, err := s.turn(); !errors.Is(err, s.patchError) {
			t.Fatalf("got error %v", err)
		}
		if got := s.now().Status; got.CanaryWeight != 0 {
			t.Errorf("another revision has weight %d", got.CanaryWeight)
		}
	})
	t.Run("a cache that is behind", func(t *testing.T) {
		s := atFirstStep(t)
		s.request(newAction("x", v1beta1.ActionPause))
		stale := s.actions()["x"]
		s.settle()
		s.request(newAction("y", v1beta1.ActionResume).after(time.Second))
		s.settle()
		s.staleActions = []v1alpha1.CanaryAction{stale}
		s.settle()
		if s.now().Status.Paused {
			t.Error("an action was taken twice")
		}
	})
	t.Run("a cache that does not show the last one", func(t *testing.T) {
		s := atFirstStep(t)
		s.request(newAction("x", v1beta1.ActionPause))
		s.mustTurn()
		s.request(newAction("y", v1beta1.ActionResume).after(time.Second))
		s.staleActions = []v1alpha1.CanaryAction{s.actions()["y"]}
		s.settle()
		s.staleActions = nil
		s.settle()
		if s.now().Status.Paused {
			t.Error("an action was taken twice")
		}
	})
	t.Run("another of the same name", func(t *testing.T) {
		s := atFirstStep(t)
		s.request(newAction("x", v1beta1.ActionPause))
		s.settle()
		if err := s.api.Delete(t.Context(), newAction("x", v1beta1.ActionPause).CanaryAction); err != nil {
			t.Fatal(err)
		}
		again := newAction("x", v1beta1.ActionAbort)
		again.UID = "another"
		s.request(again)
		s.settle()
		if got := s.now().Status.Phase; got != v1beta1.PhaseFailed {
			t.Errorf("it is %s", got)
		}
	})
	t.Run("deleted before its turn", func(t *testing.T) {
		s := atFirstStep(t)
		s.staleActions = []v1alpha1.CanaryAction{*newAction("x", v1beta1.ActionPause).CanaryAction}
		s.settle()
		if s.now().Status.Paused {
			t.Error("it was taken")
		}
	})
}

// What may not move at all takes no action, and takes it when it moves again.
func TestActionsWait(t *testing.T) {
	for name, change := range map[string]func(c *v1beta1.Canary, back bool){
		"suspended": func(c *v1beta1.Canary, back bool) { c.Spec.Suspend = !back },
		"a mistake": func(c *v1beta1.Canary, back bool) {
			c.Spec.Provider = map[bool]string{false: "abacus", true: ""}[back]
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := atFirstStep(t)
			edit(s, s.now(), func(c *v1beta1.Canary) { change(c, false) })
			s.request(newAction("x", v1beta1.ActionPause))
			s.reconciler.Actions.Live = nil // there is nothing to ask the API server for yet
			s.settle()
			if got := s.outcomes()["x"]; got != "" {
				t.Fatalf("the action is %q", got)
			}
			s.reconciler.Actions.Live = s.api
			edit(s, s.now(), func(c *v1beta1.Canary) { change(c, true) })
			s.settle()
			if got, want := s.outcomes()["x"], "Done Paused by alice (for a test)"; got != want {
				t.Errorf("the action is %q, want %q", got, want)
			}
		})
		// What holds a rollout holds no rollback.
		t.Run(name+", aborted", func(t *testing.T) {
			s := atFirstStep(t)
			edit(s, s.now(), func(c *v1beta1.Canary) { change(c, false) })
			s.request(newAction("x", v1beta1.ActionAbort))
			s.settle()
			if got, want := s.outcomes()["x"], "Done Aborted by alice (for a test)"; got != want {
				t.Errorf("the action is %q, want %q", got, want)
			}
			if st := s.now().Status; st.Phase != v1beta1.PhaseFailed || st.CanaryWeight != 0 {
				t.Errorf("phase %s, weight %d", st.Phase, st.CanaryWeight)
			}
		})
	}
}

// The newest finished actions with generated names are kept; those that
// somebody named may be in Git, and would come back.
func TestFinishedActionsAreRemoved(t *testing.T) {
	s := newInitialized(t)
	var want []string
	for i := range 15 {
		at := time.Duration(i) * time.Minute
		generated := newAction(fmt.Sprintf("generated-%02d", i), v1beta1.ActionPause).after(at).generated().phase(v1alpha1.ActionRefused)
		named := newAction(fmt.Sprintf("named-%02d", i), v1beta1.ActionPause).after(at).phase(v1alpha1.ActionDone)
		for _, a := range []actionOf{generated, named} {
			status := a.Status
			s.request(a)
			o := s.actions()[a.Name]
			o.Status = status
			if err := s.api.Status().Update(t.Context(), &o); err != nil {
				t.Fatal(err)
			}
		}
		if i >= 5 {
			want = append(want, generated.Name)
		}
		want = append(want, named.Name)
	}
	s.settle()
	var got []string
	for name := range s.actions() {
		got = append(got, name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// The annotation asks for another try once for each of its values.
func TestRetryAnnotation(t *testing.T) {
	s := failed(t)
	annotate := func(value string) {
		c := s.now()
		c.Annotations = map[string]string{"sluice.dev/retry": value}
		if err := s.api.Update(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	annotate("1")
	s.provider.value(50)
	if diff := cmp.Diff([]string{"Progressing ", "Progressing #", "Failed "}, s.phases()); diff != "" {
		t.Errorf("the first try: -want +got\n%s", diff)
	}
	annotate("1")
	if diff := cmp.Diff([]string{"Failed "}, s.phases()); diff != "" {
		t.Errorf("the same value: -want +got\n%s", diff)
	}
	annotate("2")
	s.provider.value(100)
	if got := s.phases(); got[len(got)-1] != "Succeeded " {
		t.Errorf("the second try: %v", got)
	}
}
