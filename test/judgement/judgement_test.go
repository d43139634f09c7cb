package judgement

import (
	"encoding/csv"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// How much is simulated: 0 is what is enough for a change, in seconds.
var (
	releasesFlag = flag.Int("judgement.releases", 0, "releases a cell, four times as many without a regression; 0: a few, of a few cells")
	seedFlag     = flag.Uint64("judgement.seed", 1, "seed of the simulation")
	resultsFlag  = flag.String("judgement.results", "", "folder for releases.csv and samples.csv, of which make judgement draws the plots; empty for none")
)

// results writes a table for other programs, if one was asked for.
func results(t *testing.T, name string, rows [][]any) {
	t.Helper()
	if *resultsFlag == "" {
		return
	}
	var table strings.Builder
	for _, row := range rows {
		var fields []string
		for _, field := range row {
			fields = append(fields, fmt.Sprint(field))
		}
		w := csv.NewWriter(&table)
		if err := w.Write(fields); err != nil {
			t.Fatal(err)
		}
		w.Flush()
	}
	if err := os.MkdirAll(*resultsFlag, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*resultsFlag, name), []byte(table.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRandom: the simulation's numbers have the means and variances that they should have.
func TestRandom(t *testing.T) {
	const draws = 20000
	r := source(5)
	for name, tc := range map[string]struct {
		draw           func() float64
		mean, variance float64
	}{
		"few bad requests":       {func() float64 { return binomial(r, 30, 0.1) }, 3, 2.7},
		"most requests bad":      {func() float64 { return binomial(r, 30, 0.9) }, 27, 2.7},
		"many bad requests":      {func() float64 { return binomial(r, 5000, 0.3) }, 1500, 1050},
		"no bad requests nearly": {func() float64 { return binomial(r, 100, 1e-5) }, 1e-3, 1e-3},
		"few requests":           {func() float64 { return poisson(r, 1.5) }, 1.5, 1.5},
		"many requests":          {func() float64 { return poisson(r, 15000) }, 15000, 15000},
		"a small shape":          {func() float64 { return gamma(r, 0.1) }, 0.1, 0.1},
		"a large shape":          {func() float64 { return gamma(r, 50) }, 50, 50},
		"correlated":             {func() float64 { return correlated(r, 0.01, 0.05) }, 0.01, 0.05 * 0.01 * 0.99},
	} {
		t.Run(name, func(t *testing.T) {
			sum, squares := 0.0, 0.0
			for range draws {
				x := tc.draw()
				sum += x
				squares += (x - tc.mean) * (x - tc.mean)
			}
			mean, variance := sum/draws, squares/draws
			if d := math.Abs(mean - tc.mean); d > 5*math.Sqrt(tc.variance/draws) {
				t.Errorf("the mean is %g, want %g", mean, tc.mean)
			}
			if math.Abs(variance/tc.variance-1) > 0.1 && tc.mean > 0.01 {
				t.Errorf("the variance is %g, want %g", variance, tc.variance)
			}
		})
	}
}

// TestSampleSize: the comparison needs at most half as many requests again as Wald's test of the same hypotheses, where
// history is not wrong.
func TestSampleSize(t *testing.T) {
	repeats := 150
	if *releasesFlag > 0 {
		repeats = 2000
	}
	t.Logf("%-6s %-6s %-6s %-11s %-7s %-4s | %7s %7s  ratio", "base", "worse", "weight", "tolerated", "history", "off", "Wald", "own")
	rows := [][]any{{"base", "worse", "weight", "ratio", "points", "history", "off", "wald", "own"}}
	for _, s := range samples() {
		r := source(*seedFlag, math.Float64bits(s.base), math.Float64bits(s.regression))
		wald := s.wald(r, max(400, repeats/2))
		own := s.own(r, wald, repeats)
		ratio := own / wald
		rows = append(rows, []any{s.base, s.regression, s.weight, s.ratio, s.points, s.history, s.off, wald, own})
		t.Logf("%-6g %-6g %-6g %4g+%-6g %-7g %-4g | %7.0f %7.0f  %.2f", s.base, s.regression, s.weight, s.ratio, s.points, s.history, s.off, wald, own, ratio)
		most := 1.5
		if s.history < 100 || s.off != 1 {
			most = 1.75
		}
		if ratio > most+3*1.2/math.Sqrt(float64(repeats)) && repeats < 2000 || ratio > most+0.03 && repeats >= 2000 {
			t.Errorf("%+v needs %.2f times as many requests as Wald's test", s, ratio)
		}
	}
	results(t, "samples.csv", rows)
}

// isOwn tells the operator's rule, in all its settings, from those of others.
func isOwn(rule string) bool { return strings.HasPrefix(rule, "comparison") }

// bound is a most that a share of a number of releases may be seen at where it is at most p: three standard errors.
func bound(p float64, releases int) float64 {
	return p + 3*math.Sqrt(p*(1-p)/float64(releases))
}

// TestReleases: whole releases by all rules. The comparison rolls back next to no good release and hurts few requests.
func TestReleases(t *testing.T) {
	releases, scenarios, rules := *releasesFlag, cells(), contenders()
	if releases == 0 {
		releases, scenarios = 12, fewCells()
	}
	t.Logf("%-28s %6s %6s %6s %5s %4s %4s | rolled back  after s  promoted  after s    hurt", "rule", "req/s", "base", "worse", "corr.", "out", "from")
	type at struct {
		rule string
		s    scenario
	}
	seen := map[at]summary{}
	rows := [][]any{{"rule", "requests", "base", "worse", "correlation", "outage", "from", "releases", "rolledBack", "rollbackSeconds", "promoted", "promotionSeconds", "hurt"}}
	good, wrong := 0, 0.0
	for _, s := range scenarios {
		for _, c := range rules {
			n := releases
			if s.regression == 0 {
				n *= 4
			}
			got := run(c, s, n, *seedFlag)
			seen[at{c.name, s}] = got
			rows = append(rows, []any{c.name, s.perSecond, s.base, s.regression, s.correlation, s.outage, s.from, n, got.rolledBack, got.secondsToRollback, got.promoted, got.secondsToPromote, got.hurt})
			t.Logf("%-28s %6g %6g %6g %5g %4g %4g | %9.3f %10.0f %9.3f %8.0f %9.4g", c.name, s.perSecond, s.base, s.regression, s.correlation, s.outage, s.from,
				got.rolledBack, got.secondsToRollback, got.promoted, got.secondsToPromote, got.hurt)
			if s.regression == 0 && isOwn(c.name) && got.rolledBack > bound(0.005, n) {
				t.Errorf("%s: %.2f %% of %d good releases were rolled back in %+v", c.name, got.rolledBack*100, n, s)
			}
			if s.regression == 0 && c.name == "comparison" {
				good, wrong = good+n, wrong+got.rolledBack*float64(n)
			}
		}
	}
	results(t, "releases.csv", rows)
	t.Logf("the comparison rolled back %.0f of %d good releases", wrong, good)
	if wrong > bound(0.001, good)*float64(good) {
		t.Errorf("%.0f of %d good releases were rolled back", wrong, good)
	}
	hurt := func(rule string, s scenario) (hurt, seconds, n float64) {
		for _, base := range bases {
			s.base = base
			if got, ok := seen[at{rule, s}]; ok {
				hurt, seconds, n = hurt+got.hurt, seconds+got.secondsToRollback, n+1
			}
		}
		return hurt / n, seconds / n, n
	}
	for _, tc := range []struct {
		s             scenario
		hurt, seconds float64
	}{
		{scenario{perSecond: 100, regression: 0.05}, 20, 45},
		{scenario{perSecond: 100, regression: 0.01}, 70, 300},
		{scenario{perSecond: 1000, regression: 0.5}, 800, 20},
	} {
		got, seconds, n := hurt("comparison", tc.s)
		if n < 1 || got > tc.hurt || seconds > tc.seconds {
			t.Errorf("%+v: %.1f requests hurt in %.0f s, want at most %g in %g", tc.s, got, seconds, tc.hurt, tc.seconds)
		}
	}
	// Users hurt, where the other rule rolls back at most 1 % of good releases itself.
	compared, lost := 0, 0
	for key, other := range seen {
		if key.s.regression == 0 || key.rule == "kayenta" || isOwn(key.rule) {
			continue
		}
		same := key.s
		same.regression, same.from = 0, 0
		if null, ok := seen[at{key.rule, same}]; !ok || null.rolledBack > 0.01 {
			continue
		}
		compared++
		own := seen[at{"comparison", key.s}]
		if own.hurt > other.hurt*1.05 && own.hurt > other.hurt+1 {
			lost++
			t.Logf("%s hurts fewer, %.4g against %.4g: %+v", key.rule, other.hurt, own.hurt, key.s)
		}
	}
	t.Logf("of %d cells the comparison hurts more in %d", compared, lost)
	if float64(lost) > math.Max(3, bound(0.01, compared)*float64(compared)) {
		t.Errorf("of %d cells the comparison hurts more in %d", compared, lost)
	}
}

// TestSettled: a regression that is to be ruled out even where evidence is scarce is promoted in one release of twenty at
// the most.
func TestSettled(t *testing.T) {
	releases := *releasesFlag
	if releases == 0 {
		releases = 20
	}
	for _, s := range cells() {
		if s.regression != 0.05 || s.outage > 0 || s.from > 0 || *releasesFlag == 0 && (s.perSecond > 1 || s.base != 0.01) {
			continue
		}
		s.regression = 0.1
		got := run(own("comparison", 1), s, releases, *seedFlag)
		t.Logf("%5g %6g corr. %-5g | rolled back %.3f, promoted %.3f", s.perSecond, s.base, s.correlation, got.rolledBack, got.promoted)
		if got.promoted > bound(0.05, releases) {
			t.Errorf("%.1f %% of releases 10 points worse were promoted in %+v", got.promoted*100, s)
		}
	}
}

func fewCells() []scenario {
	var out []scenario
	for _, s := range cells() {
		few := s.base == 0.001 || s.base == 0.01
		some := s.perSecond == 100 && (s.regression == 0 || s.regression == 0.01 || s.regression == 0.05) ||
			s.perSecond == 1 && (s.regression == 0 || s.regression == 0.5) ||
			s.perSecond == 1000 && s.regression == 0.5
		if few && some && s.correlation != 0.001 {
			out = append(out, s)
		}
	}
	return out
}

// TestNoTraffic: without any request of the canary a release is neither promoted nor rolled back.
func TestNoTraffic(t *testing.T) {
	got := run(own("comparison", 1), scenario{perSecond: 0, base: 0.01}, 5, *seedFlag)
	if got.promoted > 0 || got.rolledBack > 0 {
		t.Errorf("without traffic %+v", got)
	}
}

// TestAdversities: good releases in conditions that no rule is made for.
func TestAdversities(t *testing.T) {
	releases := *releasesFlag
	if releases == 0 {
		releases = 20
	}
	for i, s := range adversities() {
		if *releasesFlag == 0 && i%5 != 0 {
			continue
		}
		got := run(own("comparison", 1), s, releases, 7)
		t.Logf("%-40s %5g %6g | rolled back %.4f, held %.3f, promoted after %.0f s", s.name, s.perSecond, s.base, got.rolledBack, 1-got.promoted-got.rolledBack, got.secondsToPromote)
		most := 0.01
		if s.history > 0 && s.history < 60 {
			most = 0.015
		}
		if got.rolledBack > bound(most, releases) {
			t.Errorf("%.1f %% of good releases were rolled back in %+v", got.rolledBack*100, s)
		}
	}
}

// TestLatency: releases of slower canaries, by the share of slow requests.
func TestLatency(t *testing.T) {
	releases, rules := *releasesFlag/4, latencyContenders()
	if *releasesFlag == 0 {
		releases = 4
	}
	for _, s := range slowScenarios() {
		n := releases
		if s.good {
			n *= 4
		}
		if *releasesFlag == 0 && (s.perSecond != 100 || s.noise == 0.05) {
			continue
		}
		for _, c := range rules {
			got := runLatency(c, s, n, 3)
			t.Logf("%-12s %-30s %5g noise %-4g both %g | rolled back %.3f after %.0f s, promoted %.3f after %.0f s", c.name, s.name, s.perSecond, s.noise, s.both,
				got.rolledBack, got.secondsToRollback, got.promoted, got.secondsToPromote)
			if c.name != "comparison" {
				continue
			}
			if s.good && got.rolledBack > bound(0.01, n) {
				t.Errorf("%.1f %% of good releases were rolled back in %+v", got.rolledBack*100, s)
			}
			if s.name == "all twice as slow" && s.perSecond == 100 && s.noise == 0 && (got.rolledBack < 1 || got.secondsToRollback > 30) {
				t.Errorf("twice as slow is found in %.0f s, in %.0f %%", got.secondsToRollback, got.rolledBack*100)
			}
		}
	}
}

// TestKayenta: the rank test as it is used on series with ties.
func TestKayenta(t *testing.T) {
	steady := []float64{.01, .01, .02, .01, .01, .01, .02, .01, .01, .01}
	worse := []float64{.03, .02, .03, .02, .03, .04, .03, .03, .02, .03}
	for name, tc := range map[string]struct {
		canary, baseline []float64
		want             bool
	}{
		"the same":         {steady, steady, false},
		"higher":           {worse, steady, true},
		"lower":            {steady, worse, false},
		"all equal":        {make([]float64, 10), make([]float64, 10), false},
		"nothing is known": {nil, steady, false},
	} {
		if got := isHigh(tc.canary, tc.baseline); got != tc.want {
			t.Errorf("%s: high is %t", name, got)
		}
	}
}
