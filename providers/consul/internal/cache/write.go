package cache

import (
	"context"
	"fmt"

	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
)

// Put writes an entry if its index is still the given one, 0 for none there. It returns false if
// it is not.
func (c *Cache) Put(ctx context.Context, in entries.Scope, e entries.Entry, index uint64) (bool, error) {
	done, err := c.backend.Put(ctx, in, e, index)
	if err != nil {
		return false, fmt.Errorf("write %s %s: %w", e.Kind, e.Name, err)
	}
	if done {
		e.Index = max(index, 1) // whatever it is, it is there
		c.wrote(in, e.Key, e, index)
	}
	return done, nil
}

// Remove deletes an entry on the condition that it is still this one.
func (c *Cache) Remove(ctx context.Context, in entries.Scope, live entries.Entry) (bool, error) {
	done, err := c.backend.Remove(ctx, in, live.Key, live.Index)
	if err != nil {
		return false, fmt.Errorf("remove %s %s: %w", live.Kind, live.Name, err)
	}
	if done {
		c.wrote(in, live.Key, entries.Entry{Key: live.Key}, live.Index)
	}
	return done, nil
}

// wrote notes a write of ours; of a removal, now has the index 0.
func (c *Cache) wrote(in entries.Scope, k entries.Key, now entries.Entry, was uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.of(in)
	if w.kinds[k.Kind].entries[k].Index == was { // else the watch was faster
		w.pending[k] = pending{now: now, was: was}
	}
}
