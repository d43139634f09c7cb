package simulation

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestSetBack has people set the primary back to what it had before, in each phase, while other things go wrong.
func TestSetBack(t *testing.T) {
	const back = "set the primary back"
	good := act{When: "Initialized", What: "release a good one"}
	again := act{When: "Succeeded", What: "release a good one"}
	at := func(when, what string) act { return act{When: when, What: what} }
	and := func(what string) act { return act{What: what} }
	for _, tc := range []struct {
		name      string
		plan      plan
		wantPhase string
		wantBack  bool // whether the primary is to run the first revision at the end
	}{
		{"after a release", plan{Acts: []act{good, at("Succeeded", back)}}, "Failed", true},
		{"before any release", plan{Acts: []act{at("Initialized", back)}}, "Initialized", true},
		{"in an analysis", plan{Acts: []act{good, again, at("weight", back)}}, "Failed", true},
		{"in a promotion", plan{Acts: []act{good, at("Promoting", back)}}, "Succeeded", false},
		{"after a failure", plan{Acts: []act{good, at("Succeeded", "release a bad one"), at("Failed", back)}}, "Failed", true},
		{"with caches that lag", plan{CacheLag: 2 * time.Second, Acts: []act{good, at("Succeeded", back)}}, "Failed", true},
		{"with a mesh that is slow", plan{MeshLag: 4 * time.Second, Acts: []act{good, again, at("weight", back)}}, "Failed", true},
		{"without a mesh", plan{Analysis: "kubernetes", Acts: []act{good, at("Succeeded", back)}}, "Failed", true},
		{"all pods at once", plan{Strategy: "recreate", Acts: []act{good, at("Succeeded", back)}}, "Succeeded", false},
		{"an operator that stops", plan{Acts: []act{good, at("Succeeded", "the operator stops after a write"), and(back)}}, "Failed", true},
		{"and its pods crash", plan{Acts: []act{good, at("Succeeded", back), {After: 2 * time.Second, What: "crash the primary's pods"}}}, "Failed", true},
		{"and a release comes", plan{Acts: []act{good, at("Succeeded", back), and("release a good one")}}, "Succeeded", false},
		{"and it is tried again", plan{Acts: []act{good, at("Succeeded", back), {After: time.Minute, What: "retry"}}}, "Succeeded", false},
		{"and Git follows", plan{Acts: []act{good, at("Succeeded", back), {After: time.Minute, What: "roll back in Git"}}}, "Succeeded", true},
		{"with ConfigMaps", plan{Configs: true, Acts: []act{good, at("Succeeded", back)}}, "Failed", true},
		{"with other ConfigMaps by now", plan{Configs: true, Acts: []act{good, at("Succeeded", "edit a config"), {After: 5 * time.Minute, What: back}}}, "Succeeded", false},
		{"and the Canary is deleted", plan{Acts: []act{good, at("Succeeded", back), and("delete the Canary")}}, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.plan.Seed, tc.plan.Pods = 1, 2
			out := try(t, tc.plan, true)
			switch {
			case out.violation != "":
			case out.phase != tc.wantPhase:
				out.violation = "it ends in phase " + out.phase + ", not " + tc.wantPhase
			case tc.wantPhase != "" && out.first != tc.wantBack:
				out.violation = "the primary ends with another version"
			}
			if out.violation != "" {
				report(t, tc.plan, out)
			}
		})
	}
}

// TestRandomSetBack has hundreds of worlds go by in which somebody sets the primary back at any moment.
func TestRandomSetBack(t *testing.T) {
	for i := range rollouts() / 4 {
		p := planOf(*firstFlag + uint64(i)) //nolint:gosec // it is no less than 0
		r := rand.New(rand.NewPCG(p.Seed, 3))
		back := act{whens[r.IntN(len(whens))], time.Duration(r.IntN(15000)) * time.Millisecond, "set the primary back", r.Uint64()}
		before := []act{{When: "Initialized", What: "release a good one"}, {When: "Succeeded", What: "release a good one"}}
		at := r.IntN(len(p.Acts) + 1)
		p.Acts = append(before, append(append(p.Acts[:at:at], back), p.Acts[at:]...)...)
		if out := try(t, p, false); out.violation != "" {
			fail(t, p)
			return
		}
	}
}
