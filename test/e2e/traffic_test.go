package e2e

import (
	"context"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// Margins of a step that are left out of its measurement: its route needs a
// moment to reach the clients, and so does the news of the next step to reach
// the test.
const (
	settling = time.Second
	closing  = 200 * time.Millisecond
)

// measurement is the client's report, taken again and again.
type measurement struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	samples []sample
}

type sample struct {
	at     time.Time
	report cluster.Report
}

// measure samples the client's report until the measurement is stopped.
func measure(ctx context.Context, c *caller) *measurement {
	ctx, cancel := context.WithCancel(ctx)
	m := &measurement{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			at := time.Now()
			if r, err := c.Report(ctx); err == nil {
				m.mu.Lock()
				m.samples = append(m.samples, sample{at, r})
				m.mu.Unlock()
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	return m
}

func (m *measurement) stop() {
	m.cancel()
	<-m.done
}

// between is what the client saw from one moment to another, and is false where
// there are no two samples in between.
func (m *measurement) between(from, to time.Time) (cluster.Report, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var first, last *sample
	for i := range m.samples {
		s := &m.samples[i]
		if s.at.Before(from) || s.at.After(to) {
			continue
		}
		if first == nil {
			first = s
		}
		last = s
	}
	if first == last {
		return cluster.Report{}, false
	}
	return last.report.Sub(first.report), true
}

// span is the time that a Canary had one weight.
type span struct {
	weight   int32
	from, to time.Time
}

// spans are the times of the weights above 0.
func spans(moments []rig.Moment) []span {
	var out []span
	for _, m := range moments {
		weight := m.Status.CanaryWeight
		if n := len(out); n > 0 {
			if out[n-1].weight == weight {
				continue
			}
			out[n-1].to = m.At
		}
		out = append(out, span{weight: weight, from: m.At, to: time.Now()})
	}
	var above []span
	for _, s := range out {
		if s.weight > 0 {
			above = append(above, s)
		}
	}
	return above
}

// wantShares makes sure that in each step the canary really got the share that
// its weight says, as far as chance allows: five standard deviations, which by
// chance alone is missed once in two million.
func wantShares(t *testing.T, h *rig.History, m *measurement) {
	t.Helper()
	for _, s := range spans(moments(t, h)) {
		seen, ok := m.between(s.from.Add(settling), s.to.Add(-closing))
		if !ok || seen.Total == 0 {
			t.Errorf("weight %d: nothing was measured in %v", s.weight, s.to.Sub(s.from))
			continue
		}
		p := float64(s.weight) / 100
		tolerance := 5 * math.Sqrt(p*(1-p)/float64(seen.Total))
		share := seen.Share(rig.Name)
		t.Logf("weight %d: the canary answered %d of %d requests, %.1f%% (allowed: %.1f%% to %.1f%%)",
			s.weight, seen.ByWorkload[rig.Name].Requests, seen.Total, 100*share, 100*(p-tolerance), 100*(p+tolerance))
		if math.Abs(share-p) > tolerance {
			t.Errorf("weight %d: the canary's share of %d requests was %.1f%%", s.weight, seen.Total, 100*share)
		}
	}
}
