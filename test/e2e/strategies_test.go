package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// life is an application's life with one strategy: it is adopted, gets a good
// release and a bad one, and loses its Canary, under 200 requests a second.
type life struct {
	name     string // and that of the namespace
	analysis func(*v1beta1.CanaryAnalysis)
	// tested says that a load test calls the canary's own Service, as checks need
	// it where a canary without users is analysed.
	tested bool
	// good and bad are what the mesh is asked to do in the two releases.
	good, bad []turn
	// harmed says whose requests the bad release may fail.
	harmed victims
}

// victims are those whose requests a bad release gets.
type victims int

const (
	nobody  victims = iota
	byShare         // as many as the weight of the first step says
	matching
)

// rate of requests a second in each life.
const rate = 200

// A share of the requests matches where a strategy goes by matches.
const (
	insiders     = "x-insider"
	insiderShare = 0.2
)

func lives() [][]life {
	weighted := func(a *v1beta1.CanaryAnalysis) { a.StepWeight, a.MaxWeight = 25, 50 }
	iterations := func(a *v1beta1.CanaryAnalysis) { a.StepWeight, a.MaxWeight, a.Iterations = 0, 0, 2 }
	mirror := func(a *v1beta1.CanaryAnalysis) { a.Mirror, a.MirrorWeight = true, 30 }
	// Two groups: the machine has little to share out.
	return [][]life{
		{
			{
				name: "weighted", analysis: weighted, harmed: byShare,
				good: []turn{{}, {Weight: 25}, {Weight: 50}, {}},
				bad:  []turn{{}, {Weight: 25}, {}},
			},
			{
				name: "weighted-mirror", tested: true, harmed: nobody,
				analysis: func(a *v1beta1.CanaryAnalysis) { weighted(a); mirror(a) },
				good:     []turn{{}, {Mirror: 30}, {Weight: 25}, {Weight: 50}, {}},
				bad:      []turn{{}, {Mirror: 30}, {}},
			},
			{
				name: "weighted-sessions", harmed: byShare,
				analysis: func(a *v1beta1.CanaryAnalysis) {
					weighted(a)
					a.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "version"}
				},
				good: []turn{{}, {Weight: 25}, {Weight: 50}, {}},
				bad:  []turn{{}, {Weight: 25}, {}},
			},
		},
		{
			{
				name: "ab", harmed: matching,
				analysis: func(a *v1beta1.CanaryAnalysis) {
					iterations(a)
					a.Match = []v1beta1.RawObject{{Raw: []byte(`{"headers":{"` + insiders + `":{"exact":"yes"}}}`)}}
				},
				good: []turn{{}, {Weight: 100}, {}},
				bad:  []turn{{}, {Weight: 100}, {}},
			},
			{
				name: "bluegreen", analysis: iterations, tested: true, harmed: nobody,
				good: []turn{{}, {Weight: 100}, {}},
				bad:  []turn{{}},
			},
			{
				name: "bluegreen-mirror", tested: true, harmed: nobody,
				analysis: func(a *v1beta1.CanaryAnalysis) { iterations(a); mirror(a) },
				good:     []turn{{}, {Mirror: 30}, {Weight: 100}, {}},
				bad:      []turn{{}, {Mirror: 30}, {}},
			},
		},
	}
}

// TestStrategies is the whole life of an application with each strategy. No
// request fails or is refused that is not the bad canary's own.
func TestStrategies(t *testing.T) {
	t.Parallel()
	setUp(t)
	began := time.Now()
	for i, group := range lives() {
		t.Run(fmt.Sprintf("group %d", i+1), func(t *testing.T) {
			for _, l := range group {
				t.Run(l.name, func(t *testing.T) {
					t.Parallel()
					newStory(t, l).run()
				})
			}
		})
	}
	t.Logf("all strategies took %v", time.Since(began).Round(time.Second))
}

// story is one life while it is told.
type story struct {
	life
	*app
	caller *caller
	routes *recording[*istionetworking.VirtualService]
	parts  []part
}

// part is what the client saw in one part of a life.
type part struct {
	name string
	took time.Duration
	cluster.Report
}

func newStory(t *testing.T, l life) *story {
	return &story{life: l, app: newApp(t, "strategy-"+l.name)}
}

func (s *story) run() {
	// The pods take their time, so that there is some to look at where everybody
	// is sent to them at once.
	s.deployAs(func(d *appsv1.Deployment) { d.Spec.MinReadySeconds = 2 })
	s.routes = record[*istionetworking.VirtualService](s.app, &istionetworking.VirtualServiceList{})
	s.caller = s.call(rate, func(o *cluster.ClientOptions) {
		if s.harmed == matching {
			o.Marks, o.MarkedShare = map[string]string{insiders: "yes"}, insiderShare
		}
	})
	defer s.tell()
	s.part("adoption", s.adoption)
	s.part("good release", s.goodRelease)
	s.part("bad release", s.badRelease)
	s.part("set back", s.setBack)
	s.part("deletion", s.deletion)
}

// part plays one part and judges its requests: only the bad release may fail
// any.
func (s *story) part(name string, play func()) {
	s.app.t.Helper()
	before, began := s.caller.report(), time.Now()
	play()
	s.caller.awaitMore(rate)
	seen := part{name, time.Since(began), s.caller.report().Sub(before)}
	s.parts = append(s.parts, seen)
	excused := int64(0)
	if name == "bad release" && s.harmed != nobody {
		excused = seen.ByWorkload[rig.Name].Failed
	}
	// Some less than 200 a second: a machine may stand still for a moment.
	if least := int64(0.8 * rate * seen.took.Seconds()); seen.Total < least {
		s.app.t.Errorf("%s: %d requests in %v, want at least %d", name, seen.Total, seen.took, least)
	}
	if seen.Failed != excused {
		s.app.t.Errorf("%s: %d of %d requests failed, of which %d were the bad canary's own: %s",
			name, seen.Failed, seen.Total, excused, strings.Join(seen.Errors, "; "))
	}
}

// tell prints the counts of each part.
func (s *story) tell() {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "part\ttook\trequests\tfailed\tby the target's pods\tof which failed\tthat match\tof which failed\t")
	for _, p := range s.parts {
		target := p.ByWorkload[rig.Name]
		fmt.Fprintf(w, "%s\t%v\t%d\t%d\t%d\t%d\t%d\t%d\t\n", p.name, p.took.Round(100*time.Millisecond), p.Total, p.Failed,
			target.Requests, target.Failed, p.Marked.Total, p.Marked.Failed)
	}
	if err := w.Flush(); err != nil {
		s.app.t.Error(err)
	}
	s.app.t.Logf("%s, %d requests a second\n%s", s.name, rate, out.String())
}

func (s *story) adoption() {
	tester := make(chan error, 1)
	if s.tested {
		go func() {
			c, err := s.Test(s.app.t.Context(), 50)
			if err == nil {
				s.app.t.Cleanup(c.Stop)
			}
			tester <- err
		}()
	} else {
		tester <- nil
	}
	s.apply(func(c *v1beta1.Canary) {
		c.Spec.DrainDelaySeconds = new(int32(drainDelay / time.Second)) // the load test finds the target's pods meanwhile
		a := c.Spec.Analysis
		a.Interval, a.Threshold = "3s", 2
		for i := range a.Metrics {
			a.Metrics[i].Interval = "4s"
		}
		s.analysis(a)
	})
	s.awaitPhase(v1beta1.PhaseInitialized)
	s.must(<-tester)
	s.awaitDrained()
}

func (s *story) goodRelease() {
	t, began := s.app.t, time.Now()
	h, err := s.Watch(t.Context())
	s.must(err)
	m := measure(t.Context(), s.caller)
	defer m.stop()
	s.release("6.0.1")
	s.awaitOutcome(v1beta1.PhaseSucceeded)
	s.awaitDrained()
	s.wantPrimary("6.0.1")
	s.wantTurns(began, s.good)
	wantConditions(t, h)
	wantPhases(t, h, v1beta1.PhaseInitialized, v1beta1.PhaseProgressing, v1beta1.PhasePromoting, v1beta1.PhaseFinalising, v1beta1.PhaseSucceeded)
	s.wantShares(h, m)
}

func (s *story) badRelease() {
	t, began := s.app.t, time.Now()
	before, primary := s.caller.report(), get[appsv1.Deployment](s.app, primaryName)
	h, err := s.Watch(t.Context())
	s.must(err)
	m := measure(t.Context(), s.caller)
	defer m.stop()
	s.release("6.0.2", corev1.EnvVar{Name: "SLUICE_ERROR_PERCENT", Value: "50"})
	s.awaitOutcome(v1beta1.PhaseFailed)
	s.awaitDrained()
	s.awaitEvent(rig.Name, "AnalysisFailed", "podinfo:6.0.2", "request-success-rate is ", "podinfo-primary serves all traffic")
	s.wantTurns(began, s.bad)
	wantConditions(t, h)
	s.wantShares(h, m)
	if now := get[appsv1.Deployment](s.app, primaryName); now.Generation != primary.Generation {
		t.Errorf("the primary was touched:\n%s", cmp.Diff(primary.Spec, now.Spec))
	}
	seen := s.caller.report().Sub(before)
	canary, others := seen.ByWorkload[rig.Name], seen.Unmarked()
	switch {
	case s.harmed == nobody && canary.Requests > 0:
		t.Errorf("the bad canary answered %d requests of users, want none", canary.Requests)
	case s.harmed == matching && (others.Failed > 0 || others.ByWorkload[rig.Name].Requests > 0):
		t.Errorf("the bad canary answered %d requests that do not match and failed %d, want none",
			others.ByWorkload[rig.Name].Requests, others.Failed)
	case s.harmed != nobody && canary.Failed == 0:
		t.Error("the bad canary failed no request, so this proves nothing")
	}
}

// setBack undoes the bad release: the target that a deletion gives traffic to is
// the one that its user wants.
func (s *story) setBack() {
	began := time.Now()
	s.release("6.0.1")
	s.awaitEvent(rig.Name, "Reverted", "no analysis is needed")
	s.awaitPhase(v1beta1.PhaseSucceeded)
	s.wantTurns(began, []turn{{}})
}

func (s *story) deletion() {
	s.must(s.API.Delete(s.app.t.Context(), s.canary()))
	s.await("the end of the Canary and of what was made for it", func(ctx context.Context) error {
		return errors.Join(
			s.gone(ctx, &v1beta1.Canary{}, rig.Name),
			s.gone(ctx, &istionetworking.VirtualService{}, rig.Name),
			s.gone(ctx, &appsv1.Deployment{}, primaryName),
			s.gone(ctx, &corev1.Service{}, primaryName),
			s.noPods(ctx, primaryName),
		)
	})
	s.must(available(s.app, rig.Name, 2)(s.app.t.Context()))
}

// awaitOutcome waits until a release has begun and ended.
func (a *app) awaitOutcome(want v1beta1.CanaryPhase) {
	a.t.Helper()
	a.awaitPhase(v1beta1.PhaseProgressing)
	a.must(rig.Await(a.t.Context(), "the end of the release", 2*limit, func(ctx context.Context) error {
		c, err := a.Canary(ctx)
		switch {
		case err != nil:
			return err
		case c.Status.Phase == want:
			return nil
		case c.Status.Phase == v1beta1.PhaseSucceeded || c.Status.Phase == v1beta1.PhaseFailed:
			a.t.Fatalf("the release is %s, want %s: %+v", c.Status.Phase, want, c.Status.Conditions)
		}
		return fmt.Errorf("it is %s with weight %d", c.Status.Phase, c.Status.CanaryWeight)
	}))
}

func (s *story) wantTurns(since time.Time, want []turn) {
	s.app.t.Helper()
	got := turns(s.routes, since)
	if want[0] == (turn{}) && (len(got) == 0 || got[0] != want[0]) {
		got = slices.Insert(got, 0, turn{}) // a route that did not change is not seen
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.app.t.Errorf("what the mesh was asked to do (-want +got):\n%s", diff)
	}
}

// wantShares makes sure that the canary's share of the requests was, at every
// moment, what the strategy says.
func (s *story) wantShares(h *rig.History, m *measurement) {
	t := s.app.t
	t.Helper()
	if slices.Contains(s.good, turn{Weight: 25}) {
		wantShares(t, h, m)
	}
	was := v1beta1.CanaryStatus{}
	from := time.Time{}
	for _, moment := range append(moments(t, h), rig.Moment{At: time.Now()}) {
		if now := moment.Status; now.Phase == was.Phase && now.CanaryWeight == was.CanaryWeight {
			continue
		}
		if !from.IsZero() {
			s.wantShare(was, m, from, moment.At)
		}
		was, from = moment.Status, moment.At
	}
}

// exactSettling is longer than settling: where a share is 0 or 100 %, one late
// request is one too many.
const exactSettling = 2 * time.Second

// wantShare makes sure that everybody who is meant, and nobody else, was at the
// canary from one moment to another.
func (s *story) wantShare(is v1beta1.CanaryStatus, m *measurement, from, to time.Time) {
	t := s.app.t
	t.Helper()
	if is.CanaryWeight > 0 && is.CanaryWeight < 100 {
		return
	}
	seen, ok := m.between(from.Add(exactSettling), to.Add(-closing))
	if !ok || seen.Total == 0 {
		return // shorter than a route takes to become known
	}
	meant, others := seen.Tally, cluster.Tally{}
	if s.harmed == matching {
		meant, others = seen.Marked, seen.Unmarked()
	}
	want := int64(0)
	if is.CanaryWeight == 100 {
		want = meant.Total
	}
	t.Logf("%s with weight %d: the canary answered %d of %d requests that are meant, %d of %d others",
		is.Phase, is.CanaryWeight, meant.ByWorkload[rig.Name].Requests, meant.Total, others.ByWorkload[rig.Name].Requests, others.Total)
	if got := meant.ByWorkload[rig.Name].Requests; got != want {
		t.Errorf("%s with weight %d: the canary answered %d of %d requests, want %d", is.Phase, is.CanaryWeight, got, meant.Total, want)
	}
	if got := others.ByWorkload[rig.Name].Requests; got != 0 {
		t.Errorf("%s with weight %d: the canary answered %d of %d requests that are not meant", is.Phase, is.CanaryWeight, got, others.Total)
	}
}
