// Package batch has a Prometheus answer many queries by one request. What comes while few ask is sent at once and by
// itself; what comes while many do waits a moment for others. Each query gets what it would have got by itself: nothing of
// it is changed, and the server evaluates all of them at one moment.
package batch

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/metrics"
)

const (
	// most is how many queries one request may have: a server parses and bounds each request as a whole.
	most = 50
	// full is from how many on that wait they are sent without waiting for more.
	full = 16
	// atOnce requests may come in a burst, and perSecond go on.
	atOnce    = 10
	perSecond = 1.5
	// label tells the answers of one request apart.
	label = "sluice_query"
	// sentinel is what each request of several queries asks beside them: a server that does not answer it does not do what
	// Prometheus does, and that it says nothing else means nothing.
	sentinel = "all"
)

// Provider is a metrics.SeriesProvider that can also answer queries together. It is safe for concurrent use.
type Provider struct {
	metrics.SeriesProvider

	clock clock.PassiveClock
	pace  *rate.Limiter

	mu      sync.Mutex
	waiting []*waiter
	timed   bool // a request is on its way for those who wait
	unable  bool // the server does not answer several queries
}

// New gives a Provider that asks another one, which must be a Prometheus. A nil clock is the real one.
func New(of metrics.SeriesProvider, now clock.PassiveClock) *Provider {
	if now == nil {
		now = clock.RealClock{}
	}
	return &Provider{SeriesProvider: of, clock: now, pace: rate.NewLimiter(perSecond, atOnce)}
}

var (
	_ metrics.Together       = (*Provider)(nil)
	_ metrics.SeriesTogether = (*Provider)(nil)
)

// waiter is a query that waits for its answer.
type waiter struct {
	ctx    context.Context //nolint:containedctx // it is that of a call, which waits
	query  metrics.Query
	many   bool        // all results are asked for, not one number
	answer chan answer // has room for one
}

type answer struct {
	sample metrics.Sample
	series []metrics.Series
	err    error
}

// QueryTogether implements metrics.Together.
func (p *Provider) QueryTogether(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	if q.Timeout != 0 || !q.At.IsZero() || p.isUnable() {
		return p.Query(ctx, q)
	}
	got := p.wait(&waiter{ctx: ctx, query: q, answer: make(chan answer, 1)})
	return got.sample, got.err
}

// QuerySeriesTogether implements metrics.SeriesTogether.
func (p *Provider) QuerySeriesTogether(ctx context.Context, q metrics.Query) ([]metrics.Series, error) {
	if q.Timeout != 0 || !q.At.IsZero() || p.isUnable() {
		return p.QuerySeries(ctx, q)
	}
	got := p.wait(&waiter{ctx: ctx, query: q, many: true, answer: make(chan answer, 1)})
	return got.series, got.err
}

// wait has a query wait for its answer.
func (p *Provider) wait(w *waiter) answer {
	if now := p.enter(w); len(now) > 0 { //nolint:contextcheck // each query has its own
		go p.send(now) //nolint:contextcheck // each query has its own
	}
	select {
	case got := <-w.answer:
		return got
	case <-w.ctx.Done():
		return answer{err: &metrics.UnavailableError{Provider: "prometheus", Err: context.Cause(w.ctx)}}
	}
}

// enter has a query wait, and gives those that are to be sent now.
func (p *Provider) enter(w *waiter) []*waiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, w)
	if len(p.waiting) >= full {
		return p.take()
	}
	if p.timed {
		return nil
	}
	now := p.clock.Now()
	wait := p.pace.ReserveN(now, 1).DelayFrom(now)
	if wait <= 0 {
		return p.take()
	}
	p.timed = true
	time.AfterFunc(wait, func() {
		p.mu.Lock()
		p.timed = false
		all := p.take()
		p.mu.Unlock()
		p.send(all)
	})
	return nil
}

func (p *Provider) take() []*waiter {
	all := p.waiting
	p.waiting = nil
	return all
}

// send asks for queries, as many at a time as one request may have.
func (p *Provider) send(all []*waiter) {
	for len(all) > 0 {
		n := min(len(all), most)
		p.request(all[:n])
		all = all[n:]
	}
}

// request asks for queries by one request. Those whose answers can't be told from it, as one of them is wrong or the
// server takes them all for too much, are asked for one by one.
func (p *Provider) request(all []*waiter) {
	if len(all) == 1 {
		p.alone(all[0])
		return
	}
	texts := []string{labelled("vector(1)", sentinel)}
	for i, w := range all {
		texts = append(texts, labelled(w.query.Expr, strconv.Itoa(i)))
	}
	// It ends by the provider's own limit; one who is gone takes the answer from nobody else.
	series, err := p.QuerySeries(context.WithoutCancel(all[0].ctx), metrics.Query{Expr: strings.Join(texts, "\nor\n")})
	results, understood := sorted(series, len(all))
	if err == nil && !understood {
		p.mu.Lock()
		p.unable = true
		p.mu.Unlock()
	}
	var wg sync.WaitGroup
	for i, w := range all {
		switch {
		case err != nil || !understood || len(results[i]) > 1 && !w.many:
			wg.Go(func() { p.alone(w) })
		case w.many:
			w.answer <- answer{series: results[i]}
		case len(results[i]) == 0:
			w.answer <- answer{err: metrics.ErrNoData}
		default:
			w.answer <- answer{sample: metrics.Sample{Value: results[i][0].Value}}
		}
	}
	wg.Wait()
}

// labelled is a query whose answer is told from those of others.
func labelled(expr, as string) string {
	return fmt.Sprintf(`label_replace(%s, %q, %q, "", "")`, expr, label, as)
}

// sorted are the results of each of n queries. understood is false for the answer of a server that does not do what
// Prometheus does.
func sorted(series []metrics.Series, n int) (results [][]metrics.Series, understood bool) {
	results = make([][]metrics.Series, n)
	for _, s := range series {
		if s.Labels[label] == sentinel {
			understood = true
			continue
		}
		if i, err := strconv.Atoi(s.Labels[label]); err == nil && i >= 0 && i < n {
			delete(s.Labels, label) // it is none of the query's own
			results[i] = append(results[i], s)
		}
	}
	return results, understood
}

// isUnable tells whether the server was seen not to answer several queries.
func (p *Provider) isUnable() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unable
}

// alone asks for one query.
func (p *Provider) alone(w *waiter) {
	var got answer
	if w.many {
		got.series, got.err = p.QuerySeries(w.ctx, w.query)
	} else {
		got.sample, got.err = p.Query(w.ctx, w.query)
	}
	w.answer <- got
}
