package simulation

import (
	"strings"
	"testing"
	"time"
)

// TestNamed has worlds that each show one thing that once went wrong, or could. The oracle watches each of them; beside
// that, a row may say how its release ends.
func TestNamed(t *testing.T) {
	begin := act{When: "Initialized", What: "release a good one"}
	bad := act{When: "Initialized", What: "release a bad one"}
	at := func(when, what string) act { return act{When: when, What: what} }
	and := func(what string) act { return act{What: what} }
	after := func(d time.Duration, what string) act { return act{After: d, What: what} }
	for _, tc := range []struct {
		name string
		plan plan
		// wantPhase is where the Canary is at the end, "" for anywhere that the oracle accepts.
		wantPhase string
		// wantPods is how many pods the primary asks for at the end, 0 for any number.
		wantPods int32
	}{
		{"a good release", plan{Acts: []act{begin}}, "Succeeded", 2},
		{"a bad release", plan{Acts: []act{bad}}, "Failed", 2},
		{"deletion in the foreground at rest", plan{Acts: []act{at("Initialized", "delete the Canary in the foreground")}}, "", 0},
		{"deletion in the foreground after a release", plan{Acts: []act{begin, at("end", "delete the Canary in the foreground")}}, "", 0},
		{"deletion in the foreground in mid-release", plan{Acts: []act{begin, at("most", "delete the Canary in the foreground")}}, "", 0},
		{"a finalizer is taken by hand", plan{Acts: []act{begin, at("most", "take all of the Canary away")}}, "", 0},
		{"drained target created anew with one more label", plan{Acts: []act{begin, at("end", "recreate the target with one more label")}}, "Succeeded", 2},
		{"drained target created anew with another label", plan{Acts: []act{begin, at("end", "recreate the target with another label")}}, "", 0},
		{"target deleted at half", plan{Acts: []act{begin, at("most", "delete the target with its pods")}}, "", 0},
		{"template deleted, canary crashes", plan{Acts: []act{begin, at("most", "delete the MetricTemplate"), and("all pods of the canary crash")}}, "", 0},
		{"suspended, template deleted, canary crashes", plan{Acts: []act{begin, at("most", "edit: suspend"), and("delete the MetricTemplate"), after(5*time.Second, "all pods of the canary crash")}}, "", 0},
		{"autoscaler deleted, canary crashes", plan{HPA: true, Acts: []act{begin, at("most", "delete the autoscaler"), and("all pods of the canary crash")}}, "", 0},
		{"blue/green with one pod", plan{Pods: 10, Analysis: "blue/green", Acts: []act{begin, {When: "Progressing", After: 12 * time.Second, What: "scale the target to one"}}}, "", 0},
		{"promotion with one pod missing", plan{Pods: 10, Acts: []act{at("Initialized", "release a limping one")}}, "", 0},
		{"new revision while the primary has one pod", plan{Pods: 10, Acts: []act{begin, at("Promoting", "one pod of the primary is left"), after(10*time.Second, "release a good one")}}, "", 0},
		{"primary deleted at 20", plan{Acts: []act{begin, at("weight", "delete the primary with its pods")}}, "Succeeded", 2},
		{"primary of ten pods deleted at rest", plan{Pods: 10, Acts: []act{begin, at("end", "delete the primary with its pods")}}, "", 10},
		{"primary deleted after a rollback", plan{Acts: []act{bad, at("Failed", "delete the primary with its pods")}}, "", 2},
		{"one pod without surge", plan{Pods: 1, Strategy: "no surge", Acts: []act{begin}}, "Succeeded", 1},
		{"headless in mid-release", plan{Acts: []act{bad, at("weight", "edit: headless")}}, "", 0},
		{"Services refused, bad canary", plan{Acts: []act{bad, at("weight", "writes of Services are refused"), {What: "edit: port", Rand: 1}}}, "Failed", 2},
		{"autoscalers refused, bad canary", plan{HPA: true, Acts: []act{bad, at("weight", "writes of autoscalers are refused"), and("change the autoscaler")}}, "Failed", 0},
		{"match removed", plan{Analysis: "a/b", Acts: []act{begin, {When: "Progressing", After: 8 * time.Second, What: "edit: match"}}}, "", 0},
		{"weights edited", plan{Acts: []act{begin, {When: "weight", What: "edit: weights", Rand: 1}}}, "Succeeded", 2},
		{"blue/green edited to weights", plan{Analysis: "blue/green", Acts: []act{begin, {When: "Progressing", After: 15 * time.Second, What: "edit: weights", Rand: 2}}}, "Succeeded", 2},
		{"provider edited in mid-release", plan{Acts: []act{begin, {When: "most", What: "edit: provider", Rand: 1}}}, "Succeeded", 2},
		{"service.name edited in mid-release", plan{Acts: []act{begin, {When: "most", What: "edit: service's name", Rand: 2}}}, "Succeeded", 2},
		{"targetRef.name edited in mid-release", plan{Acts: []act{begin, {When: "most", What: "edit: target's name", Rand: 1}}}, "", 2},
		{"paused for long, resumed with a pod that is not ready", plan{Acts: []act{begin, at("weight", "pause and resume later"), after(20*time.Minute-10*time.Second, "one of the canary's pods is not ready")}}, "Succeeded", 2},
		{"a long round, canary lost and back", plan{Hooks: []string{"rollout"}, Acts: []act{at("Initialized", "hooks take long"), and("release a good one"), {When: "weight", After: 12 * time.Second, What: "all pods of the canary crash"}}}, "", 0},
		{"huge iterations", plan{Acts: []act{begin, at("weight", "edit: huge iterations")}}, "", 0},
		{"Canary deleted without its mesh", plan{Acts: []act{begin, at("most", "the mesh is gone for long"), and("delete the Canary in the foreground")}}, "", 0},
		{"Canary deleted without Consul", plan{Acts: []act{begin, at("most", "Consul is away for long"), and("delete the Canary in the foreground")}}, "", 0},
		{"status lost", plan{Acts: []act{begin, at("end", "release a bad one"), after(time.Second, "lose the status")}}, "", 0},
		{"status lost with one pod of the primary", plan{Acts: []act{begin, at("end", "one pod of the primary is left"), and("release a bad one"), and("lose the status")}}, "", 0},
		{"an edit of image and replicas at once", plan{Acts: []act{begin, at("end", "release and scale to zero")}}, "", 0},
		{"Service deleted, the target is gone", plan{Acts: []act{at("Initialized", "delete the target with its pods"), after(15*time.Second, "delete the primary's Service")}}, "", 2},
		{"primary deleted and status lost", plan{Acts: []act{bad, and("delete the primary with its pods"), and("lose the status")}}, "", 2},
		{"Canary deleted, Services refused, no primary", plan{Acts: []act{bad, and("delete the primary with its pods"), at("Failed", "writes of Services are refused"), and("delete the Canary in the foreground")}}, "", 0},
		{"headless while the primary is made", plan{Acts: []act{{When: "Initializing", After: time.Second, What: "edit: headless"}}}, "Initialized", 2},
		{"halted promotion, the target's pods orphaned", plan{Strategy: "recreate", Acts: []act{at("Initialized", "release a broken one"), {When: "Promoting", After: 70 * time.Second, What: "leave the target's pods to nobody"}}}, "", 0},
		{"status lost in a promotion with all traffic at the canary", plan{Strategy: "recreate", CacheLag: 2 * time.Second, Acts: []act{begin, {When: "Promoting", After: 11 * time.Second, What: "lose the status"}}}, "", 2},
		{"primary and Canary deleted", plan{Acts: []act{bad, at("weight", "delete the primary with its pods"), after(10*time.Second, "delete the Canary in the foreground")}}, "", 0},
		{"mesh back after the status was lost without a pod of the primary", plan{Acts: []act{at("Initialized", "release a broken one"), {When: "Promoting", After: 10 * time.Second, What: "the mesh is gone for long"}, and("lose the status"), and("one pod of the primary is left"), after(30*time.Second, "no pod of the primary is left")}}, "", 0},
		{"Services refused for long at rest", plan{Acts: []act{at("Initialized", "writes of Services are refused"), {What: "edit: port", Rand: 1}}}, "", 2},
		{"primary lost beside an autoscaler", plan{Pods: 10, HPA: true, Acts: []act{at("end", "scale the target to one"), and("no pod of the primary is left")}}, "", 0},
		{"pods of the primary crash while the mesh is away", plan{Pods: 10, Acts: []act{begin, {When: "weight", What: "crash the primary's pods", Rand: 9542551608825492685}, {What: "the mesh is away", Rand: 116208385515839172}}}, "", 10},
		{"another revision while the template is missing", plan{Analysis: "blue/green", Acts: []act{begin, at("Promoting", "release a bad one"), and("delete the MetricTemplate"), at("Succeeded", "resume"), at("Initialized", "resume")}}, "", 2},
		{"a step of all traffic with one pod", plan{Pods: 4, Acts: []act{begin, at("Progressing", "scale the target to one"), {What: "edit: weights", Rand: 4832538082905352074}}}, "", 0},
		{"primary's Service deleted while the canary stands in, Services refused", plan{Acts: []act{begin, {When: "Succeeded", What: "no pod of the primary is left"}, after(8*time.Second, "writes of Services are refused"), and("delete the primary's Service")}}, "", 2},
		{"primary deleted while suspended", plan{Acts: []act{{When: "Initialized", After: 20 * time.Second, What: "edit: suspend"}, after(5*time.Second, "delete the primary with its pods")}}, "", 2},
		{"primary deleted while a metric is missing", plan{Pods: 4, Acts: []act{{When: "Initialized", After: 20 * time.Second, What: "edit: missing metric"}, after(5*time.Second, "delete the primary with its pods")}}, "", 4},
		{"target with another label, primary and Canary deleted", plan{OwnApex: true, Acts: []act{{After: 8 * time.Second, What: "recreate the target with another label"}, and("delete the primary with its pods"), at("weight", "delete the Canary in the foreground")}}, "", 0},
		{"target with one more label, primary and status lost", plan{Acts: []act{at("Initialized", "recreate the target with one more label"), after(3*time.Second, "delete the primary with its pods"), after(time.Second, "lose the status")}}, "Succeeded", 2},
		{"another leader in a promotion that has failed", plan{Hooks: []string{"post-rollout"}, Acts: []act{at("Initialized", "release a broken one"), {When: "Succeeded", After: 12 * time.Second, What: "two operators lead", Rand: 771358552555178629}}}, "", 0},
		{"two leaders by different clocks in a promotion that waits", plan{Acts: []act{at("Initialized", "release a broken one"), {When: "Promoting", After: 12985 * time.Millisecond, What: "two operators lead", Rand: 3201297996516279412}}}, "", 0},
		{"status lost in a promotion that is not to end, and a bad one", plan{Pods: 4, Acts: []act{at("Initialized", "release a limping one"), at("Promoting", "release a bad one"), and("lose the status")}}, "", 0},
		{"a primary as target", plan{Acts: []act{{When: "Initializing", What: "edit: target's name", Rand: 1}}}, "", 2},
		{"config that pods read when they start edited in mid-release", plan{Configs: true, ReadAtStart: true, Acts: []act{begin, {When: "most", What: "edit a config", Rand: 14555252095171107569}}}, "", 2},
		{"bad config that pods read when they start, in mid-release", plan{Configs: true, ReadAtStart: true, Acts: []act{begin, {When: "most", What: "edit a config", Rand: 7}}}, "", 2},
		{"config and image edited", plan{Configs: true, Acts: []act{at("Initialized", "edit a config and the image")}}, "Succeeded", 2},
		{"config edited while all pods of the primary are replaced", plan{Strategy: "recreate", Analysis: "blue/green", CacheLag: 2 * time.Second, Configs: true, Acts: []act{begin, {When: "most", After: 11394 * time.Millisecond, What: "edit a config", Rand: 14555252095171107569}}}, "", 2},
		{"image edited without an operator, and a config for a moment", plan{Configs: true, ReadAtStart: true, Analysis: "kubernetes", Acts: []act{begin, {When: "Promoting", After: 14878 * time.Millisecond, What: "the operator is down", Rand: 5388298936425601177}, {When: "end", After: 9965 * time.Millisecond, What: "edit a config and the image", Rand: 1531914254121649744}, {After: 1559 * time.Millisecond, What: "set a config back", Rand: 7387517119453437040}}}, "", 0},
		{"image edited while the mesh is away, and a config for a moment", plan{Pods: 4, Configs: true, ReadAtStart: true, Acts: []act{begin, {When: "most", What: "the mesh is away", Rand: 12469488121352821422}, {What: "edit a config and the image", Rand: 4715581610083542904}, {After: 30 * time.Second, What: "set a config back", Rand: 8658946418116911512}}}, "", 0},
		{"config deleted, and a release", plan{Configs: true, Acts: []act{at("Initialized", "delete a config"), and("release a good one")}}, "", 2},
		{"primary's copy deleted after a rollback, and its pods", plan{Configs: true, Acts: []act{bad, at("end", "delete the primary's copy"), and("a node dies")}}, "Failed", 2},
		{"primary's copy deleted after a rollback and a change of its source, and its pods", plan{Configs: true, ReadAtStart: true, Acts: []act{bad, {When: "Failed", After: 20 * time.Second, What: "edit a config", Rand: 8}, at("Failed", "delete the primary's copy"), {What: "a node dies", Rand: 1}}}, "Failed", 2},
		{"copy of a budget refused from the start", plan{Coverage: true, Acts: []act{and("writes of budgets are refused"), begin}}, "Initialized", 2},
		{"copy of a budget refused, and a bad canary", plan{Coverage: true, Acts: []act{bad, at("weight", "writes of budgets are refused"), and("change the budget")}}, "Failed", 2},
		{"pods that flap", plan{Acts: []act{at("Initialized", "release a flapping one")}}, "", 2},
		{"a release that compares with a primary that has no pod since a promotion has halted", plan{Strategy: "recreate", Compare: "beside", Acts: []act{at("Initialized", "release a broken one"), {When: "Promoting", After: 70 * time.Second, What: "release a good one"}}}, "Succeeded", 2},
		{"a release that compares with a primary that is never whole", plan{Pods: 4, Compare: "beside", Acts: []act{bad, at("Failed", "delete the primary with its pods"), after(20*time.Second, "release a limping one"), {When: "Promoting", After: 70 * time.Second, What: "release a good one"}}}, "Succeeded", 4},
		{"a primary deleted without its pods and without a mesh, and a target with one more label", plan{Analysis: "kubernetes", Acts: []act{bad, {When: "Failed", After: 20 * time.Second, What: "delete the primary", Rand: 8600043918312337142}, {After: 15 * time.Second, What: "recreate the target with one more label", Rand: 11610830570136625069}}}, "Succeeded", 2},
		{"weights edited to A/B while the primary has one pod", plan{Pods: 4, Acts: []act{begin, at("most", "one pod of the primary is left"), {After: 9 * time.Second, What: "edit: a/b", Rand: 1}}}, "", 4},
		{"fewer pods in Git", plan{Pods: 6, Acts: []act{begin, at("end", "half as many in Git")}}, "Succeeded", 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.plan.Pods == 0 {
				tc.plan.Pods = 2
			}
			tc.plan.Seed = 1
			out := try(t, tc.plan, true)
			if *logFlag {
				t.Log(strings.Join(out.log, "\n"))
			}
			switch {
			case out.violation != "":
				report(t, tc.plan, out)
			case tc.wantPhase != "" && out.phase != tc.wantPhase:
				out.violation = "it ends in phase " + out.phase + ", not " + tc.wantPhase
				report(t, tc.plan, out)
			case tc.wantPods > 0 && out.pods != tc.wantPods:
				t.Errorf("at the end the primary asks for %d pods, not %d", out.pods, tc.wantPods)
			}
		})
	}
}
