package ssa

import (
	"context"
	"sync"
	"time"
)

// Unseen collects, for one turn, whether something that was written is in nobody's cache: it is
// on its way, or was deleted before it was shown, and then no event may ever tell of it. It is safe for concurrent use.
type Unseen struct {
	mu    sync.Mutex
	after time.Duration
}

type unseenKey struct{}

// WithUnseen returns a context in which Applier.Apply and Applier.InSync note what is unseen.
func WithUnseen(ctx context.Context) (context.Context, *Unseen) {
	u := &Unseen{}
	return context.WithValue(ctx, unseenKey{}, u), u
}

// After is how long from now to look again, when what has not been seen by then counts as
// deleted and is written anew. Zero: nothing is unseen.
func (u *Unseen) After() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.after
}

func (u *Unseen) note(after time.Duration) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.after = max(u.after, after)
}

// unseenOf is the collection of a context, nil where nobody asks.
func unseenOf(ctx context.Context) *Unseen {
	u, _ := ctx.Value(unseenKey{}).(*Unseen)
	return u
}
