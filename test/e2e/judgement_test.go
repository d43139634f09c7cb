package e2e

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// How much is released: 0 is what is enough for a change, in about a minute.
var judgedFlag = flag.Int("judgement.releases", 0, "releases of each kind that are judged, in multiples of 6; 0: a few")

const (
	// judgedRate are requests a second, and judgedBase is the percentage of them that fails as ever.
	judgedRate = 200
	judgedBase = 0.1
	// judgedApps are released side by side.
	judgedApps = 6
	// judgedLimit is how long a release may take.
	judgedLimit = 8 * time.Minute
)

// judgedKind is a kind of release, with the environment that makes it what it is.
type judgedKind struct {
	name string
	env  map[string]float64
	// bad is true of one that has to be rolled back.
	bad bool
}

// judgedApp is an application whose releases are judged by one metric, one after another.
type judgedApp struct {
	metric   string
	releases []judgedKind
}

var (
	goodRelease = judgedKind{name: "good", env: map[string]float64{"SLUICE_ERROR_PERCENT": judgedBase}}
	// A point worse.
	worseRelease = judgedKind{name: "a point worse", env: map[string]float64{"SLUICE_ERROR_PERCENT": judgedBase + 1}, bad: true}
	// As fast.
	fastRelease = judgedKind{name: "as fast", env: goodRelease.env}
	// 20 ms more in 5 % of the requests.
	slowRelease = judgedKind{name: "20 ms slower", env: map[string]float64{
		"SLUICE_ERROR_PERCENT": judgedBase, "SLUICE_DELAY_MS": 20, "SLUICE_DELAY_PERCENT": 5,
	}, bad: true}
)

// judgedOnes are the applications.
func judgedOnes() []judgedApp {
	n := *judgedFlag
	if n == 0 {
		return []judgedApp{
			{v1beta1.MetricRequestSuccessRate, []judgedKind{worseRelease, goodRelease}},
			{v1beta1.MetricRequestSuccessRate, []judgedKind{goodRelease, worseRelease}},
			{v1beta1.MetricRequestSuccessRate, []judgedKind{worseRelease, goodRelease}},
			{v1beta1.MetricRequestDuration, []judgedKind{slowRelease}},
		}
	}
	var out []judgedApp
	for range judgedApps {
		errors, durations := judgedApp{metric: v1beta1.MetricRequestSuccessRate}, judgedApp{metric: v1beta1.MetricRequestDuration}
		for range (n + judgedApps - 1) / judgedApps {
			errors.releases = append(errors.releases, goodRelease, worseRelease)
			durations.releases = append(durations.releases, fastRelease, slowRelease)
		}
		out = append(out, errors, durations)
	}
	return out
}

// judged are the ends of all releases of a kind.
type judged struct {
	mu  sync.Mutex
	all map[string]ends
}

type ends struct {
	bad                            bool
	releases, promoted, rolledBack int
	seconds, longest               float64
	// requests of the canary, and those of them that failed.
	requests, failed int64
}

func (j *judged) add(kind judgedKind, phase v1beta1.CanaryPhase, took time.Duration, canary cluster.Counts) {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := j.all[kind.name]
	n.releases, n.bad = n.releases+1, kind.bad
	switch phase {
	case v1beta1.PhaseSucceeded:
		n.promoted++
	case v1beta1.PhaseFailed:
		n.rolledBack++
	default: // the evidence does not suffice yet
	}
	n.seconds, n.longest = n.seconds+took.Seconds(), max(n.longest, took.Seconds())
	n.requests, n.failed = n.requests+canary.Requests, n.failed+canary.Failed
	j.all[kind.name] = n
}

// TestJudgement has real requests judged: releases that are as good as their primary are promoted, and those are rolled back
// that are a point worse, or 20 ms slower in 5 % of the requests. One of thirty may be missed, and no good one rolled back.
func TestJudgement(t *testing.T) {
	t.Parallel()
	count := &judged{all: map[string]ends{}}
	t.Run("releases", func(t *testing.T) {
		for i, app := range judgedOnes() {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				judgeReleases(t, fmt.Sprintf("judgement-%d", i), uint64(i), app, count)
			})
		}
	})
	for kind, n := range count.all {
		each := float64(n.releases)
		t.Logf("%-14s %d releases: %d promoted, %d rolled back, in %.0f s, the longest %.0f s; of %.0f requests of the canary %.1f failed, each on average",
			kind, n.releases, n.promoted, n.rolledBack, n.seconds/each, n.longest, float64(n.requests)/each, float64(n.failed)/each)
		right, wrong := n.promoted, n.rolledBack
		if n.bad {
			right, wrong = n.rolledBack, n.promoted
		}
		if n.releases-right > n.releases/30 || !n.bad && wrong > 0 {
			t.Errorf("%s: %d of %d releases ended the wrong way, and %d have not ended", kind, wrong, n.releases, n.releases-right-wrong)
		}
	}
}

// judgeReleases has one application released again and again.
func judgeReleases(t *testing.T, namespace string, seed uint64, app judgedApp, count *judged) {
	a := newApp(t, namespace)
	a.deployAs(func(d *appsv1.Deployment) {
		d.Spec.Replicas = new(int32(1))
		d.Spec.Template.Spec.Containers[0].Env = goodRelease.variables()
	})
	caller := a.call(judgedRate)
	a.must(a.RememberPast(t.Context(), rig.Past{Rate: judgedRate, Failed: judgedBase / 100, Seed: seed}))
	a.apply(func(c *v1beta1.Canary) {
		analysis := c.Spec.Analysis
		analysis.StepWeight, analysis.MaxWeight, analysis.StepWeights = 0, 0, []int32{20, 50}
		analysis.Metrics = []v1beta1.CanaryMetric{{Name: app.metric, Comparison: &v1beta1.MetricComparison{}}}
		if app.metric == v1beta1.MetricRequestDuration {
			analysis.Metrics[0].WarmUp = "8s" // a process is slow at first; what is counted in the first interval is passed over
		}
	})
	a.awaitPhase(v1beta1.PhaseInitialized)
	for i, kind := range app.releases {
		before, began, known := caller.report(), time.Now(), a.canary().Status.LastAppliedSpec
		a.release(fmt.Sprintf("6.1.%d", i), kind.variables()...)
		end, waited := a.awaitEnd(known)
		seen, took := caller.report().Sub(before), time.Since(began)
		of := seen.ByWorkload[rig.Name]
		t.Logf("%-14s %s after %.0f s; the canary answered %d requests of %d, and failed %d: %s (before: %s)", kind.name, end.Phase, took.Seconds(),
			of.Requests, seen.Total, of.Failed, end.GetCondition(v1beta1.ConditionPromoted).Message, waited)
		count.add(kind, end.Phase, took, of)
		if end.Phase == v1beta1.PhaseFailed && !strings.Contains(end.GetCondition(v1beta1.ConditionPromoted).Message, "worse than tolerated") {
			t.Errorf("a release was rolled back for something else: %s", end.GetCondition(v1beta1.ConditionPromoted).Message)
		}
		a.awaitDrained()
	}
}

// variables are the environment of a kind of release.
func (k judgedKind) variables() []corev1.EnvVar {
	var out []corev1.EnvVar
	for name, value := range k.env {
		out = append(out, corev1.EnvVar{Name: name, Value: strconv.FormatFloat(value, 'f', -1, 64)})
	}
	slices.SortFunc(out, func(a, b corev1.EnvVar) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// awaitEnd waits for the end of the release of another revision than the one that was known, and gives the status then,
// and what it has waited for.
func (a *app) awaitEnd(known string) (end v1beta1.CanaryStatus, waited []string) {
	a.t.Helper()
	err := rig.Await(a.t.Context(), "the end of the release", judgedLimit, func(ctx context.Context) error {
		c, err := a.Canary(ctx)
		if err != nil {
			return err
		}
		end = c.Status
		if end.LastAppliedSpec == known || end.Phase != v1beta1.PhaseSucceeded && end.Phase != v1beta1.PhaseFailed {
			if _, why, ok := strings.Cut(end.GetCondition(v1beta1.ConditionPromoted).Message, "waiting for evidence"); ok && !slices.Contains(waited, why) {
				waited = append(waited, why)
			}
			return fmt.Errorf("it is %s with weight %d: %s", end.Phase, end.CanaryWeight, end.GetCondition(v1beta1.ConditionPromoted).Message)
		}
		return nil
	})
	if err != nil {
		a.t.Log(err)
	}
	return end, waited
}
