package telemetry_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/rounds"
	"github.com/sluice-delivery/sluice/operator/rollout/text"
	"github.com/sluice-delivery/sluice/operator/telemetry"
)

func TestDecisions(t *testing.T) {
	d := newDesk()
	d.Decided(nil)
	d.Decided([]release.Event{{Reason: release.ReasonGateOpened}, {Reason: release.ReasonStepEnded}})
	d.Decided([]release.Event{{Reason: release.ReasonGateOpened, Warning: true}})
	d.want(t, `
# TYPE sluice_decisions_total counter
sluice_decisions_total{reason="GateOpened"} 2
sluice_decisions_total{reason="StepEnded"} 1`, "sluice_decisions_total")
}

func TestStatusCut(t *testing.T) {
	long := strings.Repeat("a", 5000)
	said := func(message string) v1beta1.CanaryStatus {
		return v1beta1.CanaryStatus{Conditions: []v1beta1.CanaryCondition{{Type: v1beta1.ConditionApplied, Status: corev1.ConditionFalse, Message: message}}}
	}
	round := func(message string, at int64) v1beta1.CanaryStatus {
		return v1beta1.CanaryStatus{History: []v1beta1.RoundStatus{{Message: message, Time: metav1.NewMicroTime(time.Unix(at, 0))}}}
	}
	cutCondition, cutRound := said(v1beta1.OneLine(long, v1beta1.MaxConditionMessage)), round(text.Cut(long, rounds.MaxMessage), 1)
	for name, tc := range map[string]struct {
		before, after v1beta1.CanaryStatus
		want          string // what is counted, as part=n; empty for nothing
	}{
		"nothing to say":                   {},
		"a short message":                  {after: said("route: refused...")},
		"a long message":                   {after: cutCondition, want: `part="condition"} 1`},
		"a message of failures":            {after: said(text.Cut(long, 900)), want: `part="condition"} 1`},
		"a list with names left out":       {after: said(text.List([]string{long, "b", "c"}, 100)), want: `part="condition"} 1`},
		"what was said before":             {before: cutCondition, after: cutCondition},
		"something else that is long":      {before: cutCondition, after: said(v1beta1.OneLine("b"+long, v1beta1.MaxConditionMessage)), want: `part="condition"} 1`},
		"a round that says little":         {after: round("ok", 1)},
		"a round that says too much":       {after: cutRound, want: `part="round"} 1`},
		"the same round":                   {before: cutRound, after: cutRound},
		"another round that says too much": {before: cutRound, after: round(text.Cut(long, rounds.MaxMessage), 2), want: `part="round"} 1`},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk()
			c := newCanary()
			c.Status = tc.after
			d.Transition(c.Canary, &tc.before)
			got := strings.Join(d.scrape(t, "sluice_status_cut_total"), "\n")
			if !strings.HasSuffix(got, tc.want) || (got == "") != (tc.want == "") {
				t.Errorf("it counts %q, want %q", got, tc.want)
			}
		})
	}
	d := newDesk()
	d.Cut(telemetry.PartCheck, 0)
	d.Cut(telemetry.PartCheck, 3)
	d.want(t, `
# TYPE sluice_status_cut_total counter
sluice_status_cut_total{part="check"} 3`, "sluice_status_cut_total")
}
