package simulation

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// hands are what people ask of a release by CanaryActions: for all of it, at gates, and of its steps.
var hands = map[string]func(*world, *rand.Rand){
	"pause and resume later": func(w *world, _ *rand.Rand) {
		w.action(v1beta1.ActionPause)
		w.resumeAt(time.Now().Add(20 * time.Minute))
	},
	"pause":            func(w *world, _ *rand.Rand) { w.action(v1beta1.ActionPause) },
	"pause and resume": func(w *world, r *rand.Rand) { w.action(v1beta1.ActionPause); w.resumeAt(until(r)) },
	"resume":           func(w *world, _ *rand.Rand) { w.action(v1beta1.ActionResume) },
	"abort":            func(w *world, _ *rand.Rand) { w.action(v1beta1.ActionAbort) },
	"promote": func(w *world, _ *rand.Rand) {
		w.oracle.exempt("somebody promotes it")
		w.action(v1beta1.ActionPromote)
	},
	"retry":   func(w *world, _ *rand.Rand) { w.action(v1beta1.ActionRetry) },
	"approve": func(w *world, _ *rand.Rand) { w.action(v1beta1.ActionApprove) },
	"check":   func(w *world, _ *rand.Rand) { w.action(v1beta1.ActionCheck) },
	"set the primary back": func(w *world, r *rand.Rand) {
		all := w.oracle.promoted
		if len(all) < 2 {
			w.back("s2-none")
			return
		}
		w.back(all[max(len(all)-2-r.IntN(2), 0)])
	},
	"advance": func(w *world, _ *rand.Rand) {
		w.oracle.exempt("somebody ends its steps")
		w.action(v1beta1.ActionAdvance)
	},
	"advance again and again": func(w *world, r *rand.Rand) {
		w.oracle.exempt("somebody ends its steps")
		for i := range 2 + r.IntN(4) {
			w.later(time.Now().Add(time.Duration(i*r.IntN(12000))*time.Millisecond), "another step is ended", func() {
				w.oracle.exempt("somebody ends its steps")
				w.action(v1beta1.ActionAdvance)
			})
		}
	},
	"abort and retry later": func(w *world, r *rand.Rand) {
		w.action(v1beta1.ActionAbort)
		w.later(until(r), "somebody tries again", func() { w.action(v1beta1.ActionRetry) })
	},
	"gates are closed, and opened by hand": func(w *world, r *rand.Rand) {
		w.gatesClosed = time.Now().Add(10 * time.Minute)
		for range 4 {
			w.later(until(r), "a gate is opened by hand", func() { w.action(v1beta1.ActionApprove) })
		}
	},
}

// TestHands has people open gates and end steps while other things go wrong. The oracle watches that weights go up by a step
// at a time, that nobody is sent to where no pod is, and that each world comes to an end.
func TestHands(t *testing.T) {
	begin := act{When: "Initialized", What: "release a good one"}
	bad := act{When: "Initialized", What: "release a bad one"}
	at := func(when, what string) act { return act{When: when, What: what} }
	and := func(what string) act { return act{What: what} }
	after := func(d time.Duration, what string) act { return act{After: d, What: what} }
	promote, increase, confirm := "confirm-promotion", "confirm-traffic-increase", "confirm-rollout"
	for _, tc := range []struct {
		name      string
		plan      plan
		wantPhase string
	}{
		{"advance a step", plan{Acts: []act{begin, at("weight", "advance")}}, "Succeeded"},
		{"advance the last step", plan{Acts: []act{begin, at("most", "advance")}}, "Succeeded"},
		{"advance again and again", plan{Acts: []act{begin, at("weight", "advance"), and("advance"), after(time.Second, "advance"), after(time.Second, "advance")}}, "Succeeded"},
		{"advance with a mesh that is slow", plan{MeshLag: 4 * time.Second, Acts: []act{begin, at("weight", "advance"), after(time.Second, "advance"), after(5*time.Second, "advance")}}, "Succeeded"},
		{"advance with caches that lag", plan{CacheLag: 2 * time.Second, Acts: []act{begin, at("weight", "advance"), after(time.Second, "advance")}}, "Succeeded"},
		{"advance a canary that crashes", plan{Acts: []act{begin, at("weight", "all pods of the canary crash"), and("advance")}}, ""},
		{"advance, and the canary crashes", plan{Acts: []act{begin, at("weight", "advance"), and("all pods of the canary crash")}}, ""},
		{"advance, and the primary is lost", plan{Acts: []act{begin, at("weight", "advance"), and("no pod of the primary is left")}}, ""},
		{"advance a bad one", plan{Acts: []act{bad, at("weight", "advance")}}, ""},
		{"advance while it is paused", plan{Acts: []act{begin, at("weight", "pause and resume later"), after(time.Second, "advance")}}, "Succeeded"},
		{"advance blue/green", plan{Analysis: "blue/green", Acts: []act{begin, at("Progressing", "advance"), after(12*time.Second, "advance")}}, "Succeeded"},
		{"advance before a gate", plan{Hooks: []string{increase}, Acts: []act{begin, at("weight", "advance")}}, ""},
		{"approve where there is no gate", plan{Acts: []act{begin, at("weight", "approve")}}, "Succeeded"},
		{"approve each gate", plan{Hooks: []string{confirm, increase, promote}, Acts: []act{begin, after(time.Second, "approve"), at("weight", "approve"), after(12*time.Second, "approve"), at("most", "approve"), after(12*time.Second, "approve")}}, ""},
		{"approve, and the operator crashes", plan{Hooks: []string{promote}, Acts: []act{begin, at("most", "approve"), and("the operator stops after a write")}}, ""},
		{"approve, and the canary crashes", plan{Hooks: []string{promote}, Acts: []act{begin, at("most", "approve"), and("all pods of the canary crash")}}, ""},
		{"approve with a canary of one pod", plan{Pods: 4, Strategy: "recreate", Hooks: []string{promote}, Acts: []act{begin, at("Progressing", "scale the target to one"), at("most", "approve")}}, ""},
		{"approve a bad one", plan{Hooks: []string{promote}, Acts: []act{bad, at("weight", "approve"), after(15*time.Second, "approve")}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.plan.Pods == 0 {
				tc.plan.Pods = 2
			}
			tc.plan.Seed = 1
			out := try(t, tc.plan, true)
			if out.violation == "" && tc.wantPhase != "" && out.phase != tc.wantPhase {
				out.violation = "it ends in phase " + out.phase + ", not " + tc.wantPhase
			}
			if out.violation != "" {
				report(t, tc.plan, out)
			}
		})
	}
}
