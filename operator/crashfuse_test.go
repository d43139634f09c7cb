package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// errDisturbed is what the operator gets for the write that was disturbed,
// errStopped for everything that it still tries after its end.
var (
	errDisturbed = errors.New("no answer")
	errStopped   = errors.New("the operator has been stopped")
)

// fuse counts the writes of a trial's operators and disturbs one of them.
type fuse struct {
	how      disturbance
	at       int      // which write, from 1
	expected []string // what the undisturbed operator wrote
	each     int      // how many writes an operator does that is stopped at each; 0 is 1

	mu     sync.Mutex
	writes []string
	blown  bool
	lives  int
}

// life gives how many writes an operator does, and whether it is stopped right after the last of them, or before the next.
func (f *fuse) life() (writes int, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lives++
	return max(f.each, 1), (f.lives%2 == 0) == (f.how == stoppedInTurn)
}

func (f *fuse) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.writes)
}

// next counts a write and tells whether it is the one to disturb.
func (f *fuse) next(what string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes = append(f.writes, what)
	if f.how == undisturbed || len(f.writes) != f.at {
		return false
	}
	f.blown = true
	return true
}

// client gives an operator a client that ends it when the fuse blows: from
// then on it reaches nothing.
func (f *fuse) client(end func()) func(client.WithWatch) client.Client {
	return func(direct client.WithWatch) client.Client {
		if f.how == stoppedAtEach || f.how == stoppedInTurn {
			return interceptor.NewClient(direct, intercept(f.shortLife(end)))
		}
		var mu sync.Mutex
		dead := false
		call := func(what string, send func() error) error {
			if f.how == undisturbed { // as many at once as the operator makes
				if what != "" {
					f.next(what)
				}
				return send()
			}
			mu.Lock()
			defer mu.Unlock()
			if dead {
				return errStopped
			}
			if what == "" || !f.next(what) {
				return send()
			}
			var err error
			if f.how != stoppedBefore {
				err = send()
			}
			if f.how != unanswered {
				dead = true
				end()
			}
			return errors.Join(err, errDisturbed)
		}
		return interceptor.NewClient(direct, intercept(call))
	}
}

// shortLife ends an operator at the last of its writes, or before the next.
func (f *fuse) shortLife(end func()) func(what string, send func() error) error {
	most, after := f.life()
	var mu sync.Mutex
	done, dead := 0, false
	return func(what string, send func() error) error {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case dead:
			return errStopped
		case what == "":
			return send()
		case done == most:
			dead = true
			end()
			return errStopped
		}
		done++
		f.next(what)
		err := send()
		if after && done == most {
			dead = true
			end()
			return errors.Join(err, errStopped)
		}
		return err
	}
}

// intercept has every read and write go through call. A read has no name.
func intercept(call func(what string, send func() error) error) interceptor.Funcs {
	name := func(verb string, o client.Object) string { return fmt.Sprintf("%s %T %s", verb, o, o.GetName()) }
	return interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			return call("", func() error { return c.Get(ctx, key, o, opts...) })
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			return call("", func() error { return c.List(ctx, list, opts...) })
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return call(name("create", o), func() error { return c.Create(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return call(name("delete", o), func() error { return c.Delete(ctx, o, opts...) })
		},
		DeleteAllOf: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteAllOfOption) error {
			return call(name("delete all", o), func() error { return c.DeleteAllOf(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return call(name("update", o), func() error { return c.Update(ctx, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return call(name("patch", o), func() error { return c.Patch(ctx, o, patch, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return call("apply "+applied(o), func() error { return c.Apply(ctx, o, opts...) })
		},
		SubResourceCreate: func(ctx context.Context, c client.Client, sub string, o, body client.Object, opts ...client.SubResourceCreateOption) error {
			return call(name("create "+sub+" of", o), func() error { return c.SubResource(sub).Create(ctx, o, body, opts...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			what := name("update "+sub+" of", o)
			if canary, ok := o.(*v1beta1.Canary); ok {
				what += ": " + status(canary)
			}
			return call(what, func() error { return c.SubResource(sub).Update(ctx, o, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			return call(name("patch "+sub+" of", o), func() error { return c.SubResource(sub).Patch(ctx, o, patch, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return call("apply "+sub+" of "+applied(o), func() error { return c.SubResource(sub).Apply(ctx, o, opts...) })
		},
	}
}

func applied(o runtime.ApplyConfiguration) string {
	named, ok := o.(interface {
		GetKind() string
		GetName() string
	})
	if !ok {
		return fmt.Sprintf("%T", o)
	}
	return named.GetKind() + " " + named.GetName()
}
