package wake

import (
	"context"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
)

// Index is an index of the cache.
type Index struct {
	// Of is an empty object of the kind.
	Of client.Object
	// Name is what the index is looked up by.
	Name string
	// Values are those of an object.
	Values client.IndexerFunc
}

// Watches is where each part of a controller says what wakes it.
type Watches struct {
	// Manager runs the watches.
	Manager ctrl.Manager
	// Builder takes those of kinds that are always served.
	Builder *builder.Builder
	// Canaries finds those whom an event concerns.
	Canaries *Canaries
	// Events wake those for whom an event is news.
	Events *Events
	// Signals brings those who waited for a kind.
	Signals *Signals

	kinds []Kinds
	built []func(controller.Controller)
}

// Index has the cache keep indexes.
func (w *Watches) Index(ctx context.Context, all ...Index) error {
	for _, x := range all {
		if err := w.Manager.GetFieldIndexer().IndexField(ctx, x.Of, x.Name, x.Values); err != nil {
			return fmt.Errorf("index of %T by %s: %w", x.Of, x.Name, err)
		}
	}
	return nil
}

// WhenServed watches kinds as soon as they are served.
func (w *Watches) WhenServed(kinds Kinds) { w.kinds = append(w.kinds, kinds) }

// OnceBuilt has a function called with the controller before that runs, for watches that
// begin later.
func (w *Watches) OnceBuilt(call func(controller.Controller)) { w.built = append(w.built, call) }

// Begin begins to look for the kinds that are watched when they are served, on behalf of
// the controller that was built.
func (w *Watches) Begin(c controller.Controller) error {
	for _, call := range w.built {
		call(c)
	}
	for _, kinds := range w.kinds {
		if err := w.Manager.Add(&kindsWatch{Kinds: kinds, controller: c, canaries: w.Canaries, signals: w.Signals}); err != nil {
			return fmt.Errorf("watch of kinds that may not be served: %w", err)
		}
	}
	return nil
}

// Waker is a part that is woken by events of its own.
type Waker interface {
	// SetUp says what wakes the part, and has the cache keep the indexes that it needs.
	SetUp(ctx context.Context, w *Watches) error
}
