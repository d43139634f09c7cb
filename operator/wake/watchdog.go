package wake

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// hungAfter is how long a turn may take before it counts as one that never ends. A turn waits for nobody but the API
// server, and a request to that which gets no answer ends long before.
const hungAfter = 5 * time.Minute

// Watchdog knows which turns are under way, and tells of a process whose workers hang that it is not alive: started anew it
// goes on from the status of each Canary. It is safe for concurrent use.
type Watchdog struct {
	clock clock.PassiveClock

	mu    sync.Mutex
	turns map[types.NamespacedName]time.Time // when they began
}

// NewWatchdog gives a Watchdog that knows of no turn.
func NewWatchdog(c clock.PassiveClock) *Watchdog {
	return &Watchdog{clock: c, turns: map[types.NamespacedName]time.Time{}}
}

// Watch has the turns of a reconciler watched. A nil Watchdog watches nothing.
func (w *Watchdog) Watch(r reconcile.Reconciler) reconcile.Reconciler {
	if w == nil {
		return r
	}
	return reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		w.begin(request.NamespacedName)
		defer w.end(request.NamespacedName)
		return r.Reconcile(ctx, request)
	})
}

func (w *Watchdog) begin(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turns[key] = w.clock.Now()
}

func (w *Watchdog) end(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.turns, key)
}

// Check returns an error that names a turn that hangs, nil if there is none.
func (w *Watchdog) Check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, began := range w.turns {
		if since := w.clock.Since(began); since > hungAfter {
			return fmt.Errorf("the turn of Canary %s has been under way for %s", key, since.Round(time.Second))
		}
	}
	return nil
}

// ServeHTTP answers the question whether this process is alive.
func (w *Watchdog) ServeHTTP(out http.ResponseWriter, _ *http.Request) {
	if err := w.Check(); err != nil {
		http.Error(out, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(out, "ok")
}
