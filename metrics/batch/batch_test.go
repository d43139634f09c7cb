package batch

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-delivery/sluice/metrics"
)

// server is a Prometheus that knows what each query gives, and counts what it is asked.
type server struct {
	metrics.SeriesProvider

	mu       sync.Mutex
	gives    func(expr string) ([]float64, error)
	takes    time.Duration
	requests int
	simple   bool // it gives the same for everything, as a proxy or a test's server may
}

func (s *server) send(ctx context.Context, expr string) ([]float64, error) {
	s.mu.Lock()
	s.requests++
	s.mu.Unlock()
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return nil, &metrics.UnavailableError{Provider: "prometheus", Err: ctx.Err()}
	}
	return s.gives(expr)
}

func (s *server) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	values, err := s.send(ctx, q.Expr)
	switch {
	case err != nil:
		return metrics.Sample{}, err
	case len(values) == 0:
		return metrics.Sample{}, metrics.ErrNoData
	case len(values) > 1:
		return metrics.Sample{}, &metrics.QueryError{Expr: q.Expr, Message: "it gives several series"}
	}
	return metrics.Sample{Value: values[0]}, nil
}

var part = regexp.MustCompile(`(?s)^label_replace\((.*), "sluice_query", "(\d+|all)", "", ""\)$`)

func (s *server) QuerySeries(ctx context.Context, q metrics.Query) ([]metrics.Series, error) {
	var out []metrics.Series
	if _, err := s.send(ctx, ""); err != nil {
		return nil, err
	}
	if s.simple {
		return []metrics.Series{{Value: 1}}, nil
	}
	for text := range strings.SplitSeq(q.Expr, "\nor\n") {
		m := part.FindStringSubmatch(text)
		if m == nil { // a query by itself
			m = []string{"", text, ""}
		}
		values, err := s.gives(m[1])
		if err != nil {
			return nil, err
		}
		for _, v := range values {
			one := metrics.Series{Labels: map[string]string{}, Value: v}
			if m[2] != "" {
				one.Labels[label] = m[2]
			}
			out = append(out, one)
		}
	}
	return out, nil
}

// canaries is what the server gives for queries of them: a value of each one's own, but some give none, several or an error.
func canaries(expr string) ([]float64, error) {
	if expr == "vector(1)" {
		return []float64{1}, nil
	}
	var i int
	if _, err := fmt.Sscanf(expr, "canary%d", &i); err != nil {
		return nil, nil //nolint:nilerr // that of a request's own
	}
	switch i % 50 {
	case 47:
		return nil, nil
	case 48:
		return []float64{1, 2}, nil
	default:
		return []float64{float64(i)}, nil
	}
}

// TestRequests has 500 releases ask for two metrics each in an interval of 10 s, all at once and spread over it. Each gets
// what its query gives by itself, and the server gets a tenth of the requests.
func TestRequests(t *testing.T) {
	const releases, rounds, interval = 500, 6, 10 * time.Second
	for name, spread := range map[string]time.Duration{"at once": 0, "spread": interval} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{gives: canaries, takes: 20 * time.Millisecond}
				p := New(s, nil)
				var longest time.Duration
				var mu sync.Mutex
				var wg sync.WaitGroup
				for i := range 2 * releases {
					wg.Go(func() {
						time.Sleep(spread * time.Duration(i) / (2 * releases)) //nolint:forbidigo // in a bubble, where it is the time that passes
						for range rounds {
							began := time.Now()
							expr := fmt.Sprintf("canary%d", i)
							got, err := p.QueryTogether(t.Context(), metrics.Query{Expr: expr})
							mu.Lock()
							longest = max(longest, time.Since(began))
							mu.Unlock()
							want, wantErr := s.Query(t.Context(), metrics.Query{Expr: expr})
							if got != want || fmt.Sprint(err) != fmt.Sprint(wantErr) {
								t.Errorf("%s: %v, %v, want %v, %v", expr, got, err, want, wantErr)
							}
							time.Sleep(interval - time.Since(began)) //nolint:forbidigo // in a bubble
						}
					})
				}
				wg.Wait()
				queries := 2 * releases * rounds
				requests := s.requests - queries // those that the test makes itself
				t.Logf("%d queries by %d requests, the longest took %s", queries, requests, longest)
				if requests*10 > queries {
					t.Errorf("%d queries are %d requests", queries, requests)
				}
				if longest > time.Second {
					t.Errorf("one waits for %s", longest)
				}
			})
		})
	}
}

// TestSeries has many releases ask for all results of their queries at once: each gets what its query gives by itself, none
// and several too, and nothing of it tells of the others.
func TestSeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{gives: canaries, takes: 20 * time.Millisecond}
		p := New(s, nil)
		const queries = 300
		var wg sync.WaitGroup
		for i := range queries {
			wg.Go(func() {
				if i%3 == 0 { // others want a number at the same time
					_, _ = p.QueryTogether(t.Context(), metrics.Query{Expr: fmt.Sprintf("canary%d", i)})
					return
				}
				expr := fmt.Sprintf("canary%d", i)
				got, err := p.QuerySeriesTogether(t.Context(), metrics.Query{Expr: expr})
				want, _ := canaries(expr)
				if err != nil || len(got) != len(want) {
					t.Errorf("%s: %v, %v, want %v", expr, got, err, want)
					return
				}
				for k, x := range got {
					if x.Value != want[k] || len(x.Labels) > 0 {
						t.Errorf("%s: %v, want %v", expr, x, want[k])
					}
				}
			})
		}
		wg.Wait()
		if s.requests*8 > queries { // the first ones do not wait, and a number of several is asked for again
			t.Errorf("%d queries are %d requests", queries, s.requests)
		}
	})
}

// TestSeriesAlone: what is about a moment of its own, and what has its own limit, is asked for by itself, and so is everything of
// a server that understands no more than one query.
func TestSeriesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{simple: true, gives: canaries}
		p := New(s, nil)
		for _, q := range []metrics.Query{{Expr: "canary1", At: time.Now()}, {Expr: "canary1", Timeout: time.Second}} {
			if got, err := p.QuerySeriesTogether(t.Context(), q); err != nil || len(got) != 1 || s.requests != 1 {
				t.Errorf("%+v gives %v, %v by %d requests", q, got, err, s.requests)
			}
			s.requests = 0
		}
		var wg sync.WaitGroup
		for range 2 * full {
			wg.Go(func() {
				if got, err := p.QuerySeriesTogether(t.Context(), metrics.Query{Expr: "canary1"}); err != nil || len(got) != 1 || got[0].Value != 1 {
					t.Errorf("it is %v, %v", got, err)
				}
			})
		}
		wg.Wait()
	})
}

// A server that does not understand several queries is asked for one at a time, and each query gets its answer.
func TestSimpleServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{gives: canaries, simple: true}
		p := New(s, nil)
		const queries = 200
		for range 2 {
			var wg sync.WaitGroup
			for i := range queries {
				wg.Go(func() {
					got, err := p.QueryTogether(t.Context(), metrics.Query{Expr: "canary7"})
					if err != nil || got.Value != 7 {
						t.Errorf("%d: %v, %v", i, got, err)
					}
				})
			}
			wg.Wait()
		}
		if most := 2*queries + queries/full; s.requests > most {
			t.Errorf("%d requests for %d queries", s.requests, 2*queries)
		}
	})
}

// A few do not wait.
func TestFewDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{gives: canaries}
		p := New(s, nil)
		for round := range 30 {
			began := time.Now()
			if got, err := p.QueryTogether(t.Context(), metrics.Query{Expr: "canary7"}); err != nil || got.Value != 7 || time.Since(began) > 0 {
				t.Errorf("round %d: %v, %v after %s", round, got, err, time.Since(began))
			}
			time.Sleep(time.Second) //nolint:forbidigo // in a bubble
		}
	})
}

// What makes a request fail is one query's fault, and all others get their answers.
func TestOneIsWrong(t *testing.T) {
	wrong := &metrics.QueryError{Message: "parse error"}
	synctest.Test(t, func(t *testing.T) {
		s := &server{gives: func(expr string) ([]float64, error) {
			if expr == "canary3" {
				return nil, wrong
			}
			return canaries(expr)
		}}
		p := New(s, nil)
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				got, err := p.QueryTogether(t.Context(), metrics.Query{Expr: fmt.Sprintf("canary%d", i)})
				if i == 3 && !errors.Is(err, wrong) || i != 3 && (err != nil || got.Value != float64(i)) {
					t.Errorf("%d: %v, %v", i, got, err)
				}
			})
		}
		wg.Wait()
	})
}

// Who does not wait any longer is told so, and the others get their answers.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{gives: canaries, takes: 5 * time.Second}
		p := New(s, nil)
		var wg sync.WaitGroup
		for i := range 30 {
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if i%3 == 0 {
				ctx, cancel = context.WithTimeout(ctx, time.Second)
			}
			wg.Go(func() {
				defer cancel()
				got, err := p.QueryTogether(ctx, metrics.Query{Expr: fmt.Sprintf("canary%d", i)})
				if i%3 == 0 && !metrics.IsUnavailable(err) || i%3 != 0 && (err != nil || got.Value != float64(i)) {
					t.Errorf("%d: %v, %v", i, got, err)
				}
			})
		}
		wg.Wait()
		if s.requests > 12 { // ten at once, and the others together
			t.Errorf("%d requests, as one who was first has given up", s.requests)
		}
	})
}
