package ssa

import (
	"context"
	"sync"
	"time"
)

// Pending collects, for one turn, whether something that was written is in nobody's cache: it is
// on its way, or was deleted before it was shown, and then no event may ever tell of it. It is safe for concurrent use.
type Pending struct {
	mu    sync.Mutex
	after time.Duration
}

type pendingKey struct{}

// WithPending returns a context in which Applier.Apply and Applier.InSync note what is pending.
func WithPending(ctx context.Context) (context.Context, *Pending) {
	u := &Pending{}
	return context.WithValue(ctx, pendingKey{}, u), u
}

// After is how long from now to look again, when what has not been seen by then counts as
// deleted and is written anew. Zero: nothing is pending.
func (u *Pending) After() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.after
}

func (u *Pending) note(after time.Duration) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.after = max(u.after, after)
}

// pendingOf is the collection of a context, nil where nobody asks.
func pendingOf(ctx context.Context) *Pending {
	u, _ := ctx.Value(pendingKey{}).(*Pending)
	return u
}
