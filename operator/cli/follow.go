package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// retryAfter is how long after an API server could not be reached it is asked again.
const retryAfter = time.Second

// follower watches objects of a kind.
type follower[T client.Object] struct {
	client client.WithWatch
	clock  clock.Clock
	// list is an empty list of the kind.
	list func() client.ObjectList
	// options choose the objects.
	options []client.ListOption
	// each is called for an object as it is now, or as it was when it was deleted. It returns whether that was all.
	each func(o T, deleted bool) (done bool, err error)
	// listed is called when each was called for all that there are, if it is set.
	listed func(names map[client.ObjectKey]bool) (done bool, err error)
	// trouble is told why the API server can't be asked for now, if it is set.
	trouble func(error)
}

// run goes on until each says that it is done, or ctx ends: then it returns the error of that. Where a watch ends it
// begins anew.
func (f *follower[T]) run(ctx context.Context) error {
	for first := true; ; first = false {
		done, err := f.once(ctx)
		var own *ownError
		switch {
		case done:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &own):
			return own.err
		case err != nil && (first || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)):
			return err
		case err != nil && f.trouble != nil:
			f.trouble(err)
		}
		// A watch that ends in order is begun anew after as long: where it ends at once that is no storm.
		select {
		case <-f.clock.After(retryAfter):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ownError is one of the callback, after which nothing is tried again.
type ownError struct{ err error }

func (e *ownError) Error() string { return e.err.Error() }

// once lists and then watches until the watch ends.
func (f *follower[T]) once(ctx context.Context) (done bool, err error) {
	list := f.list()
	if err := f.client.List(ctx, list, f.options...); err != nil {
		return false, fmt.Errorf("list: %w", err)
	}
	names := map[client.ObjectKey]bool{}
	err = meta.EachListItem(list, func(o runtime.Object) error {
		item, ok := o.(T)
		if !ok || done {
			return nil
		}
		names[client.ObjectKeyFromObject(item)] = true
		d, err := f.each(item, false)
		done = d
		return own(err)
	})
	if done || err != nil {
		return done, err
	}
	if f.listed != nil {
		if done, err := f.listed(names); done || err != nil {
			return done, own(err)
		}
	}
	return f.watch(ctx, list.GetResourceVersion())
}

// watch goes on from a version until the watch ends.
func (f *follower[T]) watch(ctx context.Context, from string) (done bool, err error) {
	w, err := f.client.Watch(ctx, f.list(), append(slices.Clone(f.options), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: from}})...)
	if err != nil {
		return false, fmt.Errorf("watch: %w", err)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case e, open := <-w.ResultChan():
			if !open {
				return false, nil
			}
			if e.Type == watch.Error {
				return false, nil // the version is too old: all is listed anew
			}
			item, ok := e.Object.(T)
			if !ok {
				continue
			}
			if done, err := f.each(item, e.Type == watch.Deleted); done || err != nil {
				return done, own(err)
			}
		}
	}
}

func own(err error) error {
	if err == nil {
		return nil
	}
	return &ownError{err}
}
