package wake

import (
	"context"
	"fmt"

	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-delivery/sluice/operator/kube"
)

// Index is an index of the cache.
type Index struct {
	// Of is an empty object of the kind.
	Of client.Object
	// Name is what the index is looked up by.
	Name string
	// Values are those of an object.
	Values client.IndexerFunc
	// InNamespace says that it is looked up in one namespace alone, for which half as many entries do.
	InNamespace bool
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
		keep := w.Manager.GetFieldIndexer().IndexField
		if x.InNamespace {
			keep = func(ctx context.Context, of client.Object, name string, values client.IndexerFunc) error {
				return kube.IndexInNamespace(ctx, w.Manager.GetFieldIndexer(), of, name, values)
			}
		}
		if err := keep(ctx, x.Of, x.Name, x.Values); err != nil {
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
	begun := newBeginning()
	if err := c.Watch(begun); err != nil {
		return fmt.Errorf("watch the beginning of the controller: %w", err)
	}
	for _, kinds := range w.kinds {
		if err := w.Manager.Add(&kindsWatch{Kinds: kinds, controller: c, begun: begun, canaries: w.Canaries, signals: w.Signals}); err != nil {
			return fmt.Errorf("watch of kinds that may not be served: %w", err)
		}
	}
	return nil
}

// beginning is a source of a controller without events, by which it is seen that the controller
// begins.
type beginning struct{ seen chan struct{} }

func newBeginning() *beginning { return &beginning{seen: make(chan struct{})} }

// String names it in the log.
func (*beginning) String() string { return "the beginning" }

// Start is called once, while the controller begins.
func (b *beginning) Start(context.Context, workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	close(b.seen)
	return nil
}

// Waker is a part that is woken by events of its own.
type Waker interface {
	// SetUp says what wakes the part, and has the cache keep the indexes that it needs.
	SetUp(ctx context.Context, w *Watches) error
}
