package checks

import (
	"context"
	"sync"
	"testing"
)

// A server that never answers has its half of the places; others get through.
func TestOneServerLeavesPlaces(t *testing.T) {
	p := newPool(4)
	ctx, cancel := context.WithCancel(t.Context())
	var hanging sync.WaitGroup
	began := make(chan struct{}, 8)
	for range 8 {
		hanging.Go(func() {
			p.do(ctx, "a", "slow", func() { began <- struct{}{}; <-ctx.Done() })
		})
	}
	<-began
	<-began
	for range 4 {
		ran := false
		p.do(t.Context(), "b", "quick", func() { ran = true })
		if !ran {
			t.Error("the quick server got no place")
		}
	}
	select {
	case <-began:
		t.Error("the slow server got more than its half")
	default:
	}
	cancel()
	hanging.Wait()
	if len(p.sharers) != 0 {
		t.Errorf("%d servers are remembered that nobody uses", len(p.sharers))
	}
	p.do(ctx, "a", "late", func() { t.Error("something ran after its context had ended") })
}
