package consul

import (
	"context"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers/consul/internal/cache"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/plan"
)

// writer has Consul hold what a plan says. Its methods return false where an entry was not
// what it was taken for.
type writer struct{ to *cache.Cache }

// write brings Consul from what it has to the plan.
func (w writer) write(ctx context.Context, c *v1beta1.Canary, in entries.Scope, p plan.Plan, have entries.Set) (bool, error) {
	for _, e := range p.Wanted {
		live := have[e.Key]
		if live.Index > 0 && entries.Same(e, live) {
			continue
		}
		if current, err := w.to.Put(ctx, in, e, live.Index); err != nil || !current {
			return false, err
		}
	}
	for _, k := range p.Unwanted {
		if current, err := w.giveBack(ctx, c, in, have[k]); err != nil || !current {
			return false, err
		}
	}
	return true, nil
}

// giveBack makes an entry of ours what it was before, or removes it.
func (w writer) giveBack(ctx context.Context, c *v1beta1.Canary, in entries.Scope, live entries.Entry) (bool, error) {
	if !live.IsOurs(c) {
		return true, nil
	}
	users, theirs, err := live.Users(c)
	if err != nil {
		return false, err
	}
	if theirs {
		return w.to.Put(ctx, in, users, live.Index)
	}
	return w.to.Remove(ctx, in, live)
}
