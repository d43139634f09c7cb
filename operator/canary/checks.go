package canary

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/builtin"
	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/operator/telemetry"
)

// defaultTimeout is the Timeout of a CheckerConfig that has none.
const defaultTimeout = 10 * time.Second

// CheckerConfig is what a Checker needs.
type CheckerConfig struct {
	// Provider gives the metric provider at an address.
	Provider func(address string) (metrics.Provider, error)
	// MetricsServer is the address for Canaries that name none.
	MetricsServer string
	// MeshProvider is the mesh provider of Canaries that name none; the built-in
	// queries depend on it.
	MeshProvider string
	// Concurrency is how many queries may be under way at once, at least 1.
	Concurrency int
	// Timeout bounds one query, so that a metrics server that hangs costs a place
	// in the pool for so long and no longer. 0 means 10 seconds.
	Timeout time.Duration
	// Clock tells the time.
	Clock clock.PassiveClock
	// Telemetry is told the values.
	Telemetry *telemetry.Rollouts
}

// Checker runs the checks of analyses beside the reconciler, so that a slow
// metrics server holds up nobody. The end of a run brings the Canary back to
// the reconciler, which asks for the Result.
type Checker struct {
	CheckerConfig
	slots    chan struct{}
	finished chan event.GenericEvent

	mu   sync.Mutex
	runs map[types.NamespacedName]*run
}

// run is the present and the last run of a Canary's checks.
type run struct {
	uid    types.UID
	id     rollout.CheckID
	cancel context.CancelFunc // nil when nothing is under way
	done   *rollout.CheckRun
}

// NewChecker gives a Checker that is ready to run.
func NewChecker(config CheckerConfig) *Checker {
	if config.Timeout == 0 {
		config.Timeout = defaultTimeout
	}
	return &Checker{
		CheckerConfig: config,
		slots:         make(chan struct{}, max(config.Concurrency, 1)),
		finished:      make(chan event.GenericEvent, 1024),
		runs:          map[types.NamespacedName]*run{},
	}
}

// Finished gives the Canaries whose checks have come to an end.
func (k *Checker) Finished() <-chan event.GenericEvent { return k.finished }

// Result is the last finished run of a Canary's checks, nil if there is none.
func (k *Checker) Result(c *v1beta1.Canary) *rollout.CheckRun {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.runs[client.ObjectKeyFromObject(c)]; r != nil && r.uid == c.UID {
		return r.done
	}
	return nil
}

// Run starts the checks of a Canary unless the same run is under way. A run
// for another id is called off.
func (k *Checker) Run(ctx context.Context, c *v1beta1.Canary, id rollout.CheckID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := client.ObjectKeyFromObject(c)
	r := k.runs[key]
	if r == nil || r.uid != c.UID {
		k.stop(r)
		r = &run{uid: c.UID}
		k.runs[key] = r
	}
	if r.cancel != nil && r.id == id {
		return
	}
	k.stop(r)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it outlives the turn that asks for it
	r.id, r.cancel = id, cancel
	go k.run(ctx, c.DeepCopy(), id)
}

// Forget calls off what runs for a Canary and drops its results.
func (k *Checker) Forget(key types.NamespacedName) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stop(k.runs[key])
	delete(k.runs, key)
}

func (k *Checker) stop(r *run) {
	if r != nil && r.cancel != nil {
		r.cancel()
		r.cancel = nil
	}
}

// run asks for all metrics at once, as far as there are slots.
func (k *Checker) run(ctx context.Context, c *v1beta1.Canary, id rollout.CheckID) {
	all := c.GetAnalysis().Metrics
	results := make([]v1beta1.CheckStatus, len(all))
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			select {
			case k.slots <- struct{}{}:
				defer func() { <-k.slots }()
				results[i] = k.check(ctx, c, all[i])
			case <-ctx.Done():
			}
		})
	}
	wg.Wait()

	k.mu.Lock()
	if ctx.Err() != nil { // called off: what is remembered now is another run
		k.mu.Unlock()
		return
	}
	r := k.runs[client.ObjectKeyFromObject(c)]
	k.stop(r)
	r.done = &rollout.CheckRun{ID: id, At: k.Clock.Now(), Results: results}
	k.mu.Unlock()
	k.finished <- event.GenericEvent{Object: c}
}

// check asks one metric and judges the answer.
func (k *Checker) check(ctx context.Context, c *v1beta1.Canary, metric v1beta1.CanaryMetric) v1beta1.CheckStatus {
	ctx, cancel := context.WithTimeout(ctx, k.Timeout)
	defer cancel()
	query, err := k.query(c, metric)
	var sample metrics.Sample
	if err == nil {
		sample, err = k.ask(ctx, c, query)
	}
	if err == nil {
		k.Telemetry.Check(c, metric, sample.Value)
	}
	return metrics.Evaluate(metric, query, sample, err, k.Clock.Now())
}

func (k *Checker) ask(ctx context.Context, c *v1beta1.Canary, query metrics.Query) (metrics.Sample, error) {
	address := k.MetricsServer
	if c.Spec.MetricsServer != "" {
		address = c.Spec.MetricsServer
	}
	provider, err := k.Provider(address)
	if err != nil {
		return metrics.Sample{}, err
	}
	return provider.Query(ctx, query)
}

// query is the expression of a metric: its own or a built-in one.
func (k *Checker) query(c *v1beta1.Canary, metric v1beta1.CanaryMetric) (metrics.Query, error) {
	if metric.Query != "" {
		return metrics.Query{Expr: metric.Query}, nil
	}
	apex, _, _ := c.ServiceNames()
	expr, err := builtin.Expr(c.GetProvider(k.MeshProvider), metric.Name, builtin.Vars{
		Name: c.Name, Namespace: c.Namespace, Target: c.Spec.TargetRef.Name, Kind: c.Spec.TargetRef.Kind, Service: apex, Interval: metric.GetInterval(),
	})
	return metrics.Query{Expr: expr}, err
}
