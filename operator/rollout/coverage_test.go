package rollout_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

func TestCoverage(t *testing.T) {
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprintf("NetworkPolicy policy-%03d (app=podinfo)", i)
	}
	gaps := func(names ...string) *release.Coverage { return &release.Coverage{Uncovered: names} }
	for name, tc := range map[string]struct {
		before, now *release.Coverage
		want        string // of the condition
		wantMessage string
		wantEvents  []string
	}{
		"not looked at":          {},
		"not looked at any more": {before: gaps("a")},
		"nothing selects them":   {now: &release.Coverage{}, want: "True Covered", wantMessage: "What selects the pods of Deployment/podinfo by label covers those of podinfo-primary"},
		"a gap": {
			now: gaps("a", "b"), want: "False NotCovered",
			wantMessage: "The pods of podinfo-primary are not covered by what selects those of Deployment/podinfo by label: a, b",
			wantEvents:  []string{"NotCovered"},
		},
		"the same gap":  {before: gaps("a"), now: gaps("a"), want: "False NotCovered"},
		"another gap":   {before: gaps("a"), now: gaps("a", "b"), want: "False NotCovered", wantEvents: []string{"NotCovered"}},
		"a gap closed":  {before: gaps("a"), now: &release.Coverage{}, want: "True Covered", wantEvents: []string{"Covered"}},
		"a copy":        {now: &release.Coverage{Copied: []string{"a"}}, want: "True Covered", wantMessage: "; copies are kept of a", wantEvents: []string{"Covered"}},
		"a copy beside": {now: &release.Coverage{Copied: []string{"a"}, Uncovered: []string{"b"}}, want: "False NotCovered", wantMessage: ": b", wantEvents: []string{"NotCovered"}},
		"a long gap":    {now: gaps(strings.Repeat("a", 2000)), want: "False NotCovered", wantMessage: "aaa...", wantEvents: []string{"NotCovered"}},
		"many gaps":     {now: gaps(many...), want: "False NotCovered", wantMessage: ", and 85 more", wantEvents: []string{"NotCovered"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			if tc.before != nil {
				s.Coverage = tc.before
				s.Canary.Status = rollout.Decide(s.Observation).Status
			}
			s.Coverage = tc.now
			d := rollout.Decide(s.Observation)
			got, message := "", ""
			if c := d.Status.GetCondition(v1beta1.ConditionCovered); c != nil {
				got, message = string(c.Status)+" "+c.Reason, c.Message
			}
			if got != tc.want || !strings.Contains(message, tc.wantMessage) {
				t.Errorf("condition %s: %s", got, message)
			}
			if len(message) > 1000 {
				t.Errorf("the message has %d bytes, more than an event may have", len(message))
			}
			if diff := cmp.Diff(tc.wantEvents, outcomeOf(d).Events); diff != "" {
				t.Errorf("events (-want +got)\n%s", diff)
			}
			for kind, want := range map[v1beta1.CanaryConditionType]string{"Ready": "True", "Stalled": "", "Reconciling": ""} {
				status := ""
				if c := d.Status.GetCondition(kind); c != nil {
					status = string(c.Status)
				}
				if status != want {
					t.Errorf("%s is %q", kind, status)
				}
			}
		})
	}
}
