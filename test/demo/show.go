package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

const (
	header   = "  time  phase         asked  measured                        success     p99"
	barWidth = 20
)

// row shows one second: the weight that the Canary asks for, and the share of
// requests that the canary's pods really answered.
func row(out io.Writer, at time.Duration, c *v1beta1.Canary, seen cluster.Report) {
	share := canaryShare(c, seen)
	fmt.Fprintf(out, "%5.0fs  %-12s  %4d%%  %s %5.1f%%  %6.2f%%  %4.0f ms\n",
		at.Seconds(), c.Status.Phase, c.Status.CanaryWeight, bar(share), 100*share, successRate(seen), seen.P99)
}

// canaryShare is the part of the requests that the target's pods answered.
// Before the Canary is initialized those are not a canary.
func canaryShare(c *v1beta1.Canary, seen cluster.Report) float64 {
	if c.Status.Phase == "" || c.Status.Phase == v1beta1.PhaseInitializing {
		return 0
	}
	return seen.Share(rig.Name)
}

func bar(share float64) string {
	full := min(int(share*barWidth+0.5), barWidth)
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", barWidth-full) + "]"
}

func successRate(r cluster.Report) float64 {
	if r.Total == 0 {
		return 100
	}
	return 100 * float64(r.Total-r.Failed) / float64(r.Total)
}

// result is what came of a stage.
type result struct {
	began     time.Time
	took      time.Duration
	maxWeight int32
	phase     v1beta1.CanaryPhase
	requests  cluster.Report
}

// see notes the state of a moment.
func (g *result) see(c *v1beta1.Canary) {
	g.maxWeight = max(g.maxWeight, c.Status.CanaryWeight)
	g.phase = c.Status.Phase
	g.took = time.Since(g.began)
}

// judge says what is wrong with the requests of a stage: users may only be hurt
// by the canary of a bad release, and only its share of them.
func (g *result) judge(s stage) error {
	failed := g.requests.Failed
	switch {
	case s.allFail:
		failed = 0
	case s.mayFail:
		failed -= g.requests.ByWorkload[rig.Name].Failed
	}
	if failed > 0 {
		return fmt.Errorf("%d requests failed that should not have: %s", failed, strings.Join(g.requests.Errors, "; "))
	}
	if g.requests.Total == 0 {
		return fmt.Errorf("no requests were seen")
	}
	if s.mayFail && g.requests.Share(rig.Name) > float64(g.maxWeight)/100 {
		return fmt.Errorf("the canary got %.1f%% of the requests, more than its highest weight of %d%%", 100*g.requests.Share(rig.Name), g.maxWeight)
	}
	return nil
}

// print says what came of a stage for users, which nobody but the demo's client knows.
func (g *result) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s after %.0f s, highest weight %d%%: %d requests, %d failed for users (%.2f%%)\n",
		g.phase, g.took.Seconds(), g.maxWeight, g.requests.Total, g.requests.Failed, 100-successRate(g.requests))
}

// compareRules says what two releases that were as bad have cost users, one judged by a threshold, one by comparison.
func compareRules(out io.Writer, threshold, comparison result) {
	fmt.Fprintf(out, "\nBoth failed %d%% of their requests, a point more than their primary.\n"+
		"  The threshold let it pass:      %4d requests failed in %.0f s, and %d a second did from then on, for all users.\n"+
		"  The comparison rolled it back:  %4d requests failed in %.0f s, and none from then on.\n",
		slightly, threshold.requests.Failed, threshold.took.Seconds(), rate*slightly/100, comparison.requests.Failed, comparison.took.Seconds())
}
