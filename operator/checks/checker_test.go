package checks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/telemetry"
)

// gates is a provider whose queries wait for their gate, and that knows how
// many wait.
type gates struct {
	mu      sync.Mutex
	waiting int
	most    int
	began   chan string // the query that has begun to wait
	open    chan float64
	ended   chan error // why a query ended without answer
}

func newGates() *gates {
	return &gates{began: make(chan string, 100), open: make(chan float64), ended: make(chan error, 100)}
}

func (g *gates) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	g.mu.Lock()
	g.waiting++
	g.most = max(g.most, g.waiting)
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.waiting--
		g.mu.Unlock()
	}()
	g.began <- q.Expr
	select {
	case v := <-g.open:
		return metrics.Sample{Value: v}, nil
	case <-ctx.Done():
		g.ended <- ctx.Err()
		return metrics.Sample{}, &metrics.UnavailableError{Provider: "gates", Err: ctx.Err()}
	}
}

func (g *gates) mostAtOnce() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.most
}

// receive waits for what comes next on a channel.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("no %T comes", *new(T))
		panic("unreachable")
	}
}

func newTestChecker(provider metrics.Provider, change ...func(*Config)) *Checker {
	clk := clocktesting.NewFakePassiveClock(start)
	config := Config{
		Sources:      servers(func(string) (metrics.Provider, error) { return provider, nil }),
		MeshProvider: "istio",
		Concurrency:  10,
		Clock:        clk,
		Telemetry:    telemetry.NewRollouts(prometheus.NewRegistry(), clk, "test", "istio"),
	}
	for _, c := range change {
		c(&config)
	}
	return New(config)
}

// servers are metrics servers by their addresses. They have no templates.
type servers func(address string) (metrics.Provider, error)

func (s servers) Server(ctx context.Context, c *v1beta1.Canary) (metrics.Provider, error) {
	return s(s.Place(ctx, c, v1beta1.CanaryMetric{}))
}

func (s servers) Template(context.Context, *v1beta1.Canary, v1beta1.CanaryMetric) (metrics.Provider, metrics.Query, error) {
	return nil, metrics.Query{}, errors.New("there are no templates here")
}

func (s servers) Count(context.Context, *v1beta1.Canary, v1beta1.CanaryMetric, string, bool, string) (metrics.Provider, metrics.Query, error) {
	return nil, metrics.Query{}, errors.New("there are no templates here")
}

func (s servers) Place(_ context.Context, c *v1beta1.Canary, _ v1beta1.CanaryMetric) string {
	if c.Spec.MetricsServer != "" {
		return c.Spec.MetricsServer
	}
	return "http://default:9090"
}

// metrics gives the Canary so many checks: m0, m1, ... of the same query.
func (c canaryOf) metrics(n int) canaryOf {
	c.Spec.Analysis.Metrics = nil
	for i := range n {
		name := fmt.Sprintf("m%d", i)
		c.Spec.Analysis.Metrics = append(c.Spec.Analysis.Metrics, v1beta1.CanaryMetric{
			Name: name, Query: "query of " + name, ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(99.0)},
		})
	}
	return c
}

func (c canaryOf) uid(uid string) canaryOf {
	c.UID = newCanary(uid).UID
	return c
}

func id(number int32) release.CheckID {
	return release.CheckID{Revision: "s1-a", Step: 1, Window: int64(number)}
}

// Pain 24: one Prometheus that is slow, asked by all Canaries at once, must not
// get more than its half of the pool.
func TestPoolIsBounded(t *testing.T) {
	g := newGates()
	k := newTestChecker(g, func(c *Config) { c.Concurrency = 4 })
	for i := range 3 {
		k.Run(t.Context(), newCanary(fmt.Sprintf("c%d", i)).metrics(3).Canary, id(1), nil)
	}
	receive(t, g.began)
	receive(t, g.began)
	for range 7 { // one more may begin for each that ends
		g.open <- 100
		receive(t, g.began)
	}
	g.open <- 100
	g.open <- 100
	for range 3 {
		awaitFinished(t, k)
	}
	if most := g.mostAtOnce(); most != 2 {
		t.Errorf("%d queries at once, want 2", most)
	}
}

func TestResult(t *testing.T) {
	// The queries end in another order than they are listed.
	provider := &fakeProvider{}
	third := make(chan struct{})
	provider.answer = func(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
		switch q.Expr {
		case "query of m0":
			<-third
			return metrics.Sample{Value: 99.5}, nil
		case "query of m1":
			return metrics.Sample{}, metrics.ErrNoData
		default:
			close(third)
			return metrics.Sample{Value: 1}, nil
		}
	}
	k := newTestChecker(provider)
	c := newCanary("podinfo").metrics(3).Canary
	if got := round(k, c); got != nil {
		t.Fatalf("result before a run: %+v", got)
	}
	k.Run(t.Context(), c, id(1), nil)
	if got := awaitFinished(t, k); client.ObjectKeyFromObject(got) != client.ObjectKeyFromObject(c) {
		t.Errorf("%s is brought back", got.GetName())
	}
	got := round(k, c)
	if got == nil || got.ID != id(1) || !got.At.Equal(start) {
		t.Fatalf("result %+v", got)
	}
	type result struct {
		Name, Value string
		Verdict     v1beta1.CheckVerdict
	}
	var results []result
	for _, r := range got.Results {
		results = append(results, result{r.Name, r.Value, r.Verdict})
	}
	want := []result{{"m0", "99.5", v1beta1.CheckPassed}, {"m1", "", v1beta1.CheckNoData}, {"m2", "1", v1beta1.CheckFailed}}
	if diff := cmp.Diff(want, results); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got := round(k, newCanary("podinfo").uid("made-anew").Canary); got != nil {
		t.Errorf("another Canary of that name has the result %+v", got)
	}
	if got := round(k, newCanary("other").Canary); got != nil {
		t.Errorf("another Canary has the result %+v", got)
	}
}

func TestSameRunIsNotBegunTwice(t *testing.T) {
	g := newGates()
	k := newTestChecker(g)
	c := newCanary("podinfo").metrics(1).Canary
	k.Run(t.Context(), c, id(1), nil)
	receive(t, g.began)
	for range 5 {
		k.Run(t.Context(), c, id(1), nil)
	}
	g.open <- 100
	awaitFinished(t, k)
	if again, cut := len(g.began), len(g.ended); again != 0 || cut != 0 {
		t.Errorf("%d queries were sent again, %d were cut off", again, cut)
	}

	// Who looked before it was over asks for what has been done.
	k.Run(t.Context(), c, id(1), nil)
	if prompt := k.RunPromptly(t.Context(), c, id(1), nil); prompt != nil || len(g.began) > 0 {
		t.Errorf("it is begun again for who has not seen its end: %+v", prompt)
	}

	// Who has seen its end may ask for it again, as when it could not be answered.
	k.Run(t.Context(), c, id(1), round(k, c))
	receive(t, g.began)
	if got := round(k, c); got == nil || got.Results[0].Verdict != v1beta1.CheckPassed {
		t.Errorf("meanwhile the result is %+v", got)
	}
	g.open <- 1
	awaitFinished(t, k)
	if got := round(k, c); got.Results[0].Verdict != v1beta1.CheckFailed {
		t.Errorf("result %+v", got)
	}
}

// A run that is no longer asked for ends at once and is never a result.
func TestRunIsCalledOff(t *testing.T) {
	for name, callOff := range map[string]func(t *testing.T, k *Checker){
		"by a newer run": func(t *testing.T, k *Checker) { k.Run(t.Context(), newCanary("podinfo").metrics(1).Canary, id(2), nil) },
		"by another Canary that is so named": func(t *testing.T, k *Checker) {
			k.Run(t.Context(), newCanary("podinfo").metrics(1).uid("b").Canary, id(1), nil)
		},
		"as the Canary is gone": func(_ *testing.T, k *Checker) {
			k.Forget(client.ObjectKeyFromObject(newCanary("podinfo").Canary))
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGates()
			k := newTestChecker(g)
			old := newCanary("podinfo").metrics(1).Canary
			k.Run(t.Context(), old, id(1), nil)
			receive(t, g.began)
			callOff(t, k)
			if err := receive(t, g.ended); !errors.Is(err, context.Canceled) {
				t.Errorf("the query ended with %v", err)
			}
			if k.state(client.ObjectKeyFromObject(old)).cancel != nil {
				receive(t, g.began)
				g.open <- 100
				awaitFinished(t, k)
			}
			if got := round(k, old); got != nil && got.ID == id(1) {
				t.Errorf("result %+v", got)
			}
			if extra := len(k.Finished()); extra != 0 {
				t.Errorf("%d Canaries are brought back for nothing", extra)
			}
		})
	}
}

// Who asks for a round has its results if they come at once, else they are told of.
func TestRunPromptly(t *testing.T) {
	hook := func(c *v1beta1.Canary) {
		c.Spec.Analysis.Webhooks = []v1beta1.CanaryWebhook{{Name: "load", URL: "http://load"}}
	}
	for name, tc := range map[string]struct {
		change func(c *v1beta1.Canary)
		others int // who wait
		slow   bool
		want   bool
	}{
		"at once":          {want: true},
		"slow":             {slow: true},
		"with a hook":      {change: hook},
		"many wait":        {others: waiters},
		"one more may":     {others: waiters - 1, want: true},
		"slow, many wait":  {slow: true, others: waiters},
		"slow with a hook": {slow: true, change: hook},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGates()
			k := newTestChecker(g, func(config *Config) {
				config.Hooks = func(context.Context, *v1beta1.Canary, v1beta1.CanaryWebhook, release.CheckID) (string, error) {
					return "", nil
				}
			})
			for range tc.others {
				k.waiting <- struct{}{}
			}
			c := newCanary("podinfo").metrics(1).Canary
			if tc.change != nil {
				tc.change(c)
			}
			if !tc.slow {
				go func() { g.open <- 100 }()
			}
			got := k.RunPromptly(t.Context(), c, id(1), nil)
			if (got != nil) != tc.want {
				t.Fatalf("results %+v", got)
			}
			if tc.want {
				if got.ID != id(1) || got.Results[0].Verdict != v1beta1.CheckPassed || len(k.Finished()) > 0 {
					t.Errorf("results %+v, and %d are told of", got, len(k.Finished()))
				}
				return
			}
			if tc.slow {
				g.open <- 100
			}
			awaitFinished(t, k)
			if got := round(k, c); got == nil || got.ID != id(1) {
				t.Errorf("results %+v", got)
			}
		})
	}
}

// A run goes on when the turn that began it is over.
func TestRunOutlivesTheTurn(t *testing.T) {
	g := newGates()
	k := newTestChecker(g)
	c := newCanary("podinfo").metrics(1).Canary
	ctx, cancel := context.WithCancel(t.Context())
	k.Run(ctx, c, id(1), nil)
	receive(t, g.began)
	cancel()
	g.open <- 100
	awaitFinished(t, k)
	if got := round(k, c); got.Results[0].Verdict != v1beta1.CheckPassed {
		t.Errorf("result %+v", got)
	}
}

func TestHangingProviderIsCut(t *testing.T) {
	g := newGates()
	k := newTestChecker(g, func(c *Config) { c.Timeout = 10 * time.Millisecond })
	c := newCanary("podinfo").metrics(1).Canary
	k.Run(t.Context(), c, id(1), nil)
	if err := receive(t, g.ended); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the query ended with %v", err)
	}
	awaitFinished(t, k)
	if got := round(k, c).Results[0]; got.Verdict != v1beta1.CheckUnavailable || got.Message == "" {
		t.Errorf("result %+v", got)
	}
	if k := newTestChecker(g); k.Timeout != 10*time.Second {
		t.Errorf("timeout %s if there is none", k.Timeout)
	}
}

// What is asked, and whom.
func TestQueries(t *testing.T) {
	for name, tc := range map[string]struct {
		change      func(*v1beta1.CanarySpec)
		wantAddress string
		wantVerdict v1beta1.CheckVerdict
	}{
		"own query": {
			change:      func(s *v1beta1.CanarySpec) {},
			wantAddress: "http://default:9090", wantVerdict: v1beta1.CheckPassed,
		},
		"own server": {
			change:      func(s *v1beta1.CanarySpec) { s.MetricsServer = "http://own:9090" },
			wantAddress: "http://own:9090", wantVerdict: v1beta1.CheckPassed,
		},
		"built-in query of the operator's mesh": {
			change: func(s *v1beta1.CanarySpec) {
				s.Analysis.Metrics = []v1beta1.CanaryMetric{{Name: "request-success-rate", Threshold: new(99.0)}}
			},
			wantAddress: "http://default:9090", wantVerdict: v1beta1.CheckPassed,
		},
		"built-in query of a mesh that has none": {
			change: func(s *v1beta1.CanarySpec) {
				s.Provider = "gloo"
				s.Analysis.Metrics = []v1beta1.CanaryMetric{{Name: "request-success-rate"}}
			},
			wantVerdict: v1beta1.CheckFailed,
		},
		"address that is none": {
			change:      func(s *v1beta1.CanarySpec) { s.MetricsServer = "nonsense" },
			wantAddress: "nonsense", wantVerdict: v1beta1.CheckUnavailable,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var asked string
			k := newTestChecker(nil, func(c *Config) {
				c.Sources = servers(func(address string) (metrics.Provider, error) {
					asked = address
					if address == "nonsense" {
						return nil, fmt.Errorf("%q is no URL", address)
					}
					return &fakeProvider{}, nil
				})
			})
			c := newCanary("podinfo").with(tc.change).Canary
			k.Run(t.Context(), c, id(1), nil)
			awaitFinished(t, k)
			got := round(k, c).Results[0]
			if got.Verdict != tc.wantVerdict || asked != tc.wantAddress {
				t.Errorf("%s asked, result %+v", asked, got)
			}
		})
	}
}

// Many Canaries begin, end and go at the same time; go test -race looks on.
func TestCheckerUnderLoad(t *testing.T) {
	k := newTestChecker(&fakeProvider{})
	var wg sync.WaitGroup
	for i := range 20 {
		c := newCanary(fmt.Sprintf("c%d", i)).metrics(3).Canary
		wg.Go(func() {
			for n := range int32(20) {
				k.Run(t.Context(), c, id(n), nil)
				round(k, c)
				if n%7 == 0 {
					k.Forget(client.ObjectKeyFromObject(c))
				}
			}
		})
	}
	wg.Wait()
	for i := range 20 {
		c := newCanary(fmt.Sprintf("c%d", i)).Canary
		for round(k, c) == nil || round(k, c).ID != id(19) {
			awaitFinished(t, k)
		}
	}
}

func round(k *Checker, c *v1beta1.Canary) *release.CheckRun {
	run, _ := k.Results(c)
	return run
}
