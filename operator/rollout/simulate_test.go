package rollout_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
)

// world is a cluster reduced to what a rollout depends on, on a fake clock.
type world struct {
	now     time.Time
	canary  *v1beta1.Canary // with the persisted status
	target  release.Workload
	primary release.Workload

	mesh        release.Traffic // what the mesh does
	asked       release.Traffic // what was asked of it last
	fixed       bool            // whether there is no mesh that moves traffic
	interrupted bool            // whether the primary is without a pod while it changes
	emergency   bool            // the weight was raised as the primary could not serve
	routed      bool            // whether it has a route at all
	requests    int             // writes to the world and the status, for crashes
	crashAt     int             // the write after which the operator stops; 0: none
	actions     []release.Action
	history     []int32
	requeue     time.Duration

	// What an operator keeps in memory, and loses in a crash.
	since   time.Time
	seen    bool
	seenAt  release.Traffic
	checks  *release.CheckRun
	hooks   map[v1beta1.HookType]*release.CheckRun
	verdict func(weight int32) v1beta1.CheckVerdict
	// answer is how the hooks of a type answer.
	answer func(v1beta1.HookType) v1beta1.CheckVerdict
	// opened are the gates that have answered with success at the present step.
	opened map[release.CheckID]bool
	// passed are the steps of which the last round that was seen has passed.
	passed map[release.CheckID]bool
	// had are the revisions that the primary has had.
	had []string

	violation string
}

func newWorld() *world {
	s := newScene()
	s.Canary.Status = v1beta1.CanaryStatus{}
	return &world{
		now: t0, canary: s.Canary, target: ready(revA, 2), verdict: func(int32) v1beta1.CheckVerdict { return v1beta1.CheckPassed },
		answer: kind, hooks: map[v1beta1.HookType]*release.CheckRun{}, opened: map[release.CheckID]bool{}, passed: map[release.CheckID]bool{},
	}
}

// kind opens gates, and asks for no rollback.
func kind(of v1beta1.HookType) v1beta1.CheckVerdict {
	if of == v1beta1.RollbackHook {
		return v1beta1.CheckFailed
	}
	return v1beta1.CheckPassed
}

func ready(revision string, pods int32) release.Workload {
	return release.Workload{Exists: true, Revision: revision, Replicas: pods, Available: pods, Ready: pods > 0}
}

// crashed stops the operator right after a write, if that is the one.
func (w *world) crashed() bool {
	w.requests++
	if w.requests != w.crashAt {
		return false
	}
	w.restart()
	return true
}

func (w *world) restart() {
	w.since, w.seen, w.checks = time.Time{}, false, nil
	w.hooks = map[v1beta1.HookType]*release.CheckRun{}
}

func (w *world) fail(format string, args ...any) {
	if w.violation == "" {
		w.violation = fmt.Sprintf(format, args...)
	}
}

// observe is what the operator's observation would be.
func (w *world) observe() release.Observation {
	inSync := w.routed && w.mesh == serving.TrafficOf(w.canary, &w.canary.Status)
	if inSync && (!w.seen || w.seenAt != w.mesh) {
		w.since = w.now
	}
	w.seen, w.seenAt = inSync, w.mesh
	return release.Observation{
		Now: w.now, Canary: w.canary.DeepCopy(), Target: w.target, Primary: w.primary,
		Route: release.Route{InSync: inSync, Since: w.since, Seen: w.since, Fixed: w.fixed}, Checks: w.checks, Hooks: w.hooks, Actions: w.actions,
	}
}

// reconcile is one turn of the operator, cut short by a crash.
func (w *world) reconcile() {
	o := w.observe()
	d := rollout.Decide(o)
	w.requeue = d.RequeueAfter
	w.judge(o, d)
	if !reflect.DeepEqual(w.canary.Status, d.Status) {
		w.canary.Status = d.Status
		if w.crashed() {
			return
		}
	}
	if d.Desired.Hold {
		return
	}
	r := d.Desired.PrimaryRevision
	if back := d.Desired.StoredRevision; back != "" {
		if r != "" || !slices.Contains(w.had, back) {
			w.fail("the primary is to have %q again, and %q", back, r)
		}
		r = back
	}
	if r != "" && w.primary.Revision != r {
		w.had = append(w.had, r)
		if w.interrupted && w.primary.Exists {
			if !w.fixed && w.routed && w.mesh.Canary < 100 && w.primary.Ready && w.target.Available > 0 {
				w.fail("invariant 1: a primary that is interrupted still has users")
			}
			w.primary.Available = 0
		}
		w.primary = release.Workload{Exists: true, Revision: r, Replicas: 2, Available: w.primary.Available, Interrupted: w.interrupted}
		if w.crashed() {
			return
		}
	}
	if d.Desired.Routed && (!w.routed || w.asked != d.Desired.Traffic) {
		w.route(o, d.Desired.Traffic)
		if w.crashed() {
			return
		}
	}
	if n := d.Desired.TargetReplicas; n != nil && *n != w.target.Replicas {
		if *n == 0 && w.routed && w.mesh.Canary > 0 {
			w.fail("the canary is scaled to zero with weight %d", w.mesh.Canary)
		}
		w.target.Replicas, w.target.Ready = *n, false
		w.target.Available = min(w.target.Available, *n)
		if w.crashed() {
			return
		}
	}
	w.call(d.CallHooks)
	if d.RunChecks != nil {
		w.checks = &release.CheckRun{ID: *d.RunChecks, At: w.now, Results: []v1beta1.CheckStatus{{Name: "request-success-rate", Verdict: w.verdict(w.mesh.Canary)}}}
	}
}

// call has the hooks answer.
func (w *world) call(ids []release.CheckID) {
	for _, id := range ids {
		run := &release.CheckRun{ID: id, At: w.now}
		open := true
		for range w.canary.Spec.Analysis.HooksOf(id.Hooks) {
			verdict := w.answer(id.Hooks)
			open = open && verdict == v1beta1.CheckPassed
			run.Results = append(run.Results, v1beta1.CheckStatus{Name: "h", Verdict: verdict})
		}
		if open {
			w.opened[atStep(id)] = true
		}
		w.hooks[id.Hooks] = run
	}
}

// guarded tells whether a gate that nobody has opened was passed.
func (w *world) guarded(kind v1beta1.HookType, step int32) bool {
	return len(w.canary.Spec.Analysis.HooksOf(kind)) > 0 &&
		!w.opened[release.CheckID{Hooks: kind, Revision: w.canary.Status.LastAppliedSpec, Attempt: attempt(w.canary.Status), Step: step}]
}

// atStep is what rounds and calls of one step have in common.
func atStep(id release.CheckID) release.CheckID {
	id.Window, id.Round = 0, 0
	return id
}

func attempt(st v1beta1.CanaryStatus) int64 {
	if st.StartedAt == nil {
		return 0
	}
	return st.StartedAt.UnixMicro()
}

func StandsIn(st v1beta1.CanaryStatus) bool {
	return st.Traffic != nil && st.Traffic.Reason == v1beta1.TrafficPrimaryUnavailable
}

// passGates checks that no gate is passed before it was open.
func (w *world) passGates(before, after v1beta1.CanaryStatus) {
	if before.Step == nil || before.LastAppliedSpec != after.LastAppliedSpec || !reflect.DeepEqual(after.LastAction, before.LastAction) {
		return
	}
	if before.Step.Approved != "" {
		return // a person has opened it
	}
	raised := after.Phase == v1beta1.PhaseProgressing && before.Phase == after.Phase && after.Step.Index > before.Step.Index && after.CanaryWeight > 0
	weighted := w.canary.Spec.Analysis.Strategy() == v1beta1.StrategyWeighted && !StandsIn(after)
	switch {
	case before.Phase == v1beta1.PhaseWaiting && after.Phase == v1beta1.PhaseProgressing && w.guarded(v1beta1.ConfirmRolloutHook, before.Step.Index):
		w.fail("the release began behind a closed gate")
	case raised && weighted && w.guarded(v1beta1.ConfirmTrafficIncreaseHook, before.Step.Index):
		w.fail("traffic was raised behind a closed gate")
	case before.Phase != after.Phase && after.Phase == v1beta1.PhasePromoting && w.guarded(v1beta1.ConfirmPromotionHook, before.Step.Index):
		w.fail("a promotion began behind a closed gate")
	}
}

// judge checks what one decision makes of the status: invariants 2 and 3.
func (w *world) judge(o release.Observation, d release.Decision) {
	before, after := o.Canary.Status, d.Status
	if o.Checks != nil { // one that was lost in a crash nobody has seen
		w.passed[atStep(o.Checks.ID)] = o.Checks.Results[0].Verdict == v1beta1.CheckPassed
	}
	raised := after.CanaryWeight > before.CanaryWeight
	// The canary may take everything where the primary has nothing to serve with, is
	// about to have nothing, or did not get well by its promotion.
	emergency := after.CanaryWeight == 100 && (o.Primary.Available == 0 || o.Primary.Interrupted && after.Phase == v1beta1.PhasePromoting || before.Phase == v1beta1.PhasePromoting && !o.Primary.Ready)
	if takesOver := StandsIn(after) && !StandsIn(before) || after.CanaryWeight == 100 && d.Desired.Traffic.Matched != serving.TrafficOf(o.Canary, &before).Matched; raised || takesOver || after.Phase == v1beta1.PhaseFailed && after.CanaryWeight == 100 {
		w.emergency = emergency
	}
	// One that has everything and has lost more than a quarter of the pods for that is not.
	healthy := o.Target.Available > 0 && (before.CanaryWeight < 100 || o.Target.Available*4 >= o.Primary.Replicas*3)
	switch {
	case w.fixed && (after.CanaryWeight != 0 || d.Desired.Traffic.Canary != 0 || StandsIn(after)):
		w.fail("the canary gets %d (status %d), where no mesh can give it any", d.Desired.Traffic.Canary, after.CanaryWeight)
	case raised && !emergency && after.CanaryWeight-before.CanaryWeight > w.largestStep(after.Phase):
		w.fail("invariant 2: weight jumps from %d to %d", before.CanaryWeight, after.CanaryWeight)
	case raised && o.Target.Available == 0:
		w.fail("invariant 1: weight %d for a canary without an available pod", after.CanaryWeight)
	case after.CanaryWeight < before.CanaryWeight && o.Primary.Available == 0 && o.Target.Available > 0:
		w.fail("invariant 1: weight %d with a primary without an available pod, and the canary has some", after.CanaryWeight)
	case after.CanaryWeight < before.CanaryWeight && before.Phase == v1beta1.PhasePromoting &&
		after.LastAppliedSpec == before.LastAppliedSpec && !o.Primary.Ready && healthy:
		w.fail("invariant 3: traffic leaves a healthy canary for a primary that is not ready")
	}
	if before.Phase == v1beta1.PhaseProgressing && after.Phase == before.Phase && !emergency && before.Step.Index > 0 && after.Step.Index > before.Step.Index {
		id := release.CheckID{Revision: before.LastAppliedSpec, Attempt: attempt(before), Step: before.Step.Index}
		if !w.passed[id] && !before.Step.Ended && !handled(before, after, v1beta1.ActionAdvance) {
			w.fail("a step without passed checks for %v", id)
		}
	}
	w.passGates(before, after)
	if after.FailedChecks > before.FailedChecks+1 {
		w.fail("a failed check counted more than once")
	}
	if !reflect.DeepEqual(d, rollout.Decide(o)) {
		w.fail("invariant 4: another decision for the same observation")
	}
}

// handled tells whether a person's action was taken in between.
func handled(before, after v1beta1.CanaryStatus, a v1beta1.ActionType) bool {
	last := after.LastAction
	return last != nil && last.Done && last.Action == a && !reflect.DeepEqual(last, before.LastAction)
}

// largestStep is by how much a weight may be raised at once.
func (w *world) largestStep(phase v1beta1.CanaryPhase) int32 {
	switch a := w.canary.Spec.Analysis; a.Strategy() {
	case v1beta1.StrategyABTesting:
		return 100
	case v1beta1.StrategyBlueGreen:
		if phase == v1beta1.PhasePromoting {
			return 100
		}
		return 0
	case v1beta1.StrategyWeighted:
		return a.StepWeight
	default:
		return 0
	}
}

// route asks the mesh for traffic, which it shows later.
func (w *world) route(o release.Observation, t release.Traffic) {
	if t.Canary-w.asked.Canary > w.largestStep(w.canary.Status.Phase) && !w.emergency {
		w.fail("invariant 2: the mesh is asked for %d after %d", t.Canary, w.asked.Canary)
	}
	if t.Canary == 100 && w.asked.Matched && !t.Matched && !w.emergency {
		w.fail("invariant 2: the canary gets requests that do not match")
	}
	if !w.routed && o.Primary.Available == 0 {
		w.fail("invariant 1: the first route leads to a primary without an available pod")
	}
	w.routed, w.asked = true, t
	if n := len(w.history); n == 0 || w.history[n-1] != t.Canary {
		w.history = append(w.history, t.Canary)
	}
}

// act asks for an action, once.
func (w *world) act(a v1beta1.ActionType) {
	w.actions = append(w.actions, release.Action{Name: fmt.Sprint(len(w.actions)), Type: a})
}

// back asks for the primary to have a revision again.
func (w *world) back(to string) {
	w.act(v1beta1.ActionRollback)
	a := &w.actions[len(w.actions)-1]
	if a.To = to; !slices.Contains(w.had, to) {
		a.Unavailable = "the primary never had it"
	}
}

// settle lets pods and mesh do what was asked of them.
func (w *world) settle() {
	w.mesh = w.asked
	w.target = ready(w.target.Revision, w.target.Replicas)
	if w.primary.Exists {
		w.primary = settled(w.primary)
	}
}

// goOn is a turn in which everything acts as it should.
func (w *world) goOn() {
	w.settle()
	w.reconcile()
	w.now = w.now.Add(max(w.requeue, time.Second))
}

// TestSimulatedRollouts drives random rollouts: pods that come and go, a mesh
// that lags, checks with any verdict, new revisions, crashes between any two
// writes, and time. Invariants 1 to 4 hold at every decision, and whatever
// happened before, a rollout that is left alone ends.
func TestSimulatedRollouts(t *testing.T) {
	verdicts := []v1beta1.CheckVerdict{v1beta1.CheckPassed, v1beta1.CheckPassed, v1beta1.CheckFailed, v1beta1.CheckNoData, v1beta1.CheckUnavailable}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		a := w.canary.Spec.Analysis
		a.StepWeightPromotion = rapid.SampledFrom([]int32{0, 30}).Draw(t, "stepWeightPromotion")
		w.interrupted = rapid.Bool().Draw(t, "interrupted")
		a.Mirror = rapid.Bool().Draw(t, "mirror")
		switch rapid.SampledFrom([]v1beta1.Strategy{v1beta1.StrategyWeighted, v1beta1.StrategyABTesting, v1beta1.StrategyBlueGreen}).Draw(t, "strategy") {
		case v1beta1.StrategyABTesting:
			a.StepWeight, a.Iterations, a.Match, a.Mirror = 0, 3, []v1beta1.RawObject{{}}, false
		case v1beta1.StrategyBlueGreen:
			a.StepWeight, a.Iterations = 0, 3
			w.fixed = rapid.Bool().Draw(t, "fixed")
		case v1beta1.StrategyWeighted:
			if rapid.Bool().Draw(t, "sessions") {
				a.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "c"}
			}
		}
		for _, kind := range rapid.SliceOfDistinct(rapid.SampledFrom([]v1beta1.HookType{
			v1beta1.ConfirmRolloutHook, v1beta1.PreRolloutHook, v1beta1.ConfirmTrafficIncreaseHook,
			v1beta1.ConfirmPromotionHook, v1beta1.PostRolloutHook, v1beta1.RollbackHook,
		}), func(h v1beta1.HookType) v1beta1.HookType { return h }).Draw(t, "hooks") {
			a.Webhooks = append(a.Webhooks, v1beta1.CanaryWebhook{Type: kind, Name: string(kind)})
		}
		w.verdict = func(int32) v1beta1.CheckVerdict { return rapid.SampledFrom(verdicts).Draw(t, "verdict") }
		w.answer = func(of v1beta1.HookType) v1beta1.CheckVerdict {
			if rapid.IntRange(0, 3).Draw(t, "answer") > 0 {
				return kind(of)
			}
			return rapid.SampledFrom([]v1beta1.CheckVerdict{v1beta1.CheckPassed, v1beta1.CheckFailed}).Draw(t, "answer otherwise")
		}
		act := map[string]func(*rapid.T){
			"reconcile": func(*rapid.T) { w.reconcile() },
			"reconcile and crash": func(t *rapid.T) {
				w.crashAt = w.requests + rapid.IntRange(1, 3).Draw(t, "write")
				w.reconcile()
			},
			"restart": func(*rapid.T) { w.restart() },
			"time": func(t *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(0, 12000).Draw(t, "ms")) * time.Millisecond)
			},
			"requeue":         func(*rapid.T) { w.now = w.now.Add(w.requeue) },
			"the mesh acts":   func(*rapid.T) { w.mesh = w.asked },
			"target settles":  func(*rapid.T) { w.target = ready(w.target.Revision, w.target.Replicas) },
			"primary settles": func(*rapid.T) { w.primary = settled(w.primary) },
			"target pods fail": func(t *rapid.T) {
				w.target.Available, w.target.Ready = rapid.Int32Range(0, w.target.Replicas).Draw(t, "pods"), false
			},
			"primary pods fail": func(t *rapid.T) {
				w.primary.Available, w.primary.Ready = rapid.Int32Range(0, w.primary.Replicas).Draw(t, "pods"), false
			},
			"new revision": func(t *rapid.T) {
				w.target.Revision, w.target.Ready = rapid.SampledFrom([]string{revA, revB, revC}).Draw(t, "revision"), false
			},
			"somebody acts": func(t *rapid.T) {
				w.act(rapid.SampledFrom([]v1beta1.ActionType{
					v1beta1.ActionPause, v1beta1.ActionResume, v1beta1.ActionPromote, v1beta1.ActionAbort, v1beta1.ActionRetry,
					v1beta1.ActionApprove, v1beta1.ActionAdvance,
				}).Draw(t, "action"))
			},
			"somebody sets the primary back": func(t *rapid.T) {
				w.back(rapid.SampledFrom([]string{revA, revB, revC}).Draw(t, "back"))
			},
			// Most random actions are setbacks; these bring rollouts far enough for
			// setbacks in every phase.
			"goes on": func(*rapid.T) { w.goOn() },
			"goes on to the next phase": func(*rapid.T) {
				for phase, i := w.canary.Status.Phase, 0; i < 20 && w.canary.Status.Phase == phase; i++ {
					w.goOn()
				}
			},
			"": func(t *rapid.T) {
				if w.violation != "" {
					t.Fatal(w.violation)
				}
			},
		}
		t.Repeat(act)

		w.verdict, w.answer = func(int32) v1beta1.CheckVerdict { return v1beta1.CheckPassed }, kind
		w.act(v1beta1.ActionResume)
		for range 100 {
			w.goOn()
		}
		switch w.canary.Status.Phase { //nolint:exhaustive // only ends are right
		case v1beta1.PhaseInitialized, v1beta1.PhaseSucceeded, v1beta1.PhaseFailed:
		default:
			t.Fatalf("left alone, the rollout does not end: %s %+v", w.canary.Status.Phase, w.canary.Status.Step)
		}
		if w.mesh.Canary != 0 || w.mesh.Mirror != 0 || w.canary.Status.CanaryWeight != 0 || w.target.Replicas != 0 {
			t.Fatalf("at the end the canary has %+v (status %d) and %d pods", w.mesh, w.canary.Status.CanaryWeight, w.target.Replicas)
		}
		if w.violation != "" {
			t.Fatal(w.violation)
		}
	})
}

func settled(w release.Workload) release.Workload {
	if !w.Exists {
		return w
	}
	out := ready(w.Revision, w.Replicas)
	out.Interrupted = w.Interrupted
	return out
}

// TestCrashAfterAnyWrite stops the operator after each write of a release in
// turn. The next one goes on from what was persisted, so the mesh is asked for
// the same weights in the same order and the release ends the same.
func TestCrashAfterAnyWrite(t *testing.T) {
	for name, tc := range map[string]struct {
		verdict func(weight int32) v1beta1.CheckVerdict
		want    v1beta1.CanaryPhase
		weights []int32
		back    bool // whether the primary is set back after the release
	}{
		"release that is undone": {
			func(int32) v1beta1.CheckVerdict { return v1beta1.CheckPassed }, v1beta1.PhaseFailed, []int32{0, 20, 40, 60, 0}, true,
		},
		"good release": {
			func(int32) v1beta1.CheckVerdict { return v1beta1.CheckPassed }, v1beta1.PhaseSucceeded, []int32{0, 20, 40, 60, 0}, false,
		},
		"bad release": {
			func(weight int32) v1beta1.CheckVerdict {
				if weight >= 40 {
					return v1beta1.CheckFailed
				}
				return v1beta1.CheckPassed
			}, v1beta1.PhaseFailed, []int32{0, 20, 40, 0}, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			run := func(crashAt int) *world {
				w := newWorld()
				w.verdict, w.crashAt = tc.verdict, crashAt
				for range 60 {
					w.reconcile()
					w.settle()
					w.now = w.now.Add(min(max(w.requeue, time.Second), 10*time.Second))
					if w.canary.Status.Phase == v1beta1.PhaseInitialized && w.target.Replicas == 0 {
						w.target.Revision = revB
					}
					if tc.back && w.canary.Status.Phase == v1beta1.PhaseSucceeded && len(w.actions) == 0 {
						w.back(revA)
					}
				}
				return w
			}
			undisturbed := run(0)
			if got := undisturbed.history; !slices.Equal(got, tc.weights) {
				t.Fatalf("weights asked of the mesh: %v, want %v", got, tc.weights)
			}
			for crashAt := 1; crashAt <= undisturbed.requests; crashAt++ {
				w := run(crashAt)
				if w.violation != "" {
					t.Errorf("crash after write %d: %s", crashAt, w.violation)
				}
				if diff := cmp.Diff(tc.weights, w.history); diff != "" {
					t.Errorf("crash after write %d: weights (-want +got):\n%s", crashAt, diff)
				}
				if got := w.canary.Status.Phase; got != tc.want {
					t.Errorf("crash after write %d: ends %s, want %s", crashAt, got, tc.want)
				}
				if st := w.canary.Status; tc.back && (w.primary.Revision != revA || st.LastPromotedSpec != revA || st.LastAppliedSpec != revB || st.Rollback != nil) {
					t.Errorf("crash after write %d: the primary has %s, and the status is %+v", crashAt, w.primary.Revision, st)
				}
				if got, want := w.canary.Status.FailedChecks, undisturbed.canary.Status.FailedChecks; got != want {
					t.Errorf("crash after write %d: %d failed checks, want %d", crashAt, got, want)
				}
			}
		})
	}
}
