// Package canary reconciles Canaries: it observes, lets package rollout
// decide, persists the status and then brings the world to what it asks.
package canary

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/actions"
	"github.com/sluice-delivery/sluice/operator/alerting"
	"github.com/sluice-delivery/sluice/operator/autoscaling"
	"github.com/sluice-delivery/sluice/operator/checks"
	"github.com/sluice-delivery/sluice/operator/configs"
	"github.com/sluice-delivery/sluice/operator/coverage"
	"github.com/sluice-delivery/sluice/operator/memory"
	"github.com/sluice-delivery/sluice/operator/policies"
	"github.com/sluice-delivery/sluice/operator/primaries"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/operator/routes"
	"github.com/sluice-delivery/sluice/operator/services"
	"github.com/sluice-delivery/sluice/operator/shards"
	"github.com/sluice-delivery/sluice/operator/targets"
	"github.com/sluice-delivery/sluice/operator/telemetry"
	"github.com/sluice-delivery/sluice/operator/tracing"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/operator/workload"
	ground "github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Reconciler brings Canaries from what is to what their specs ask.
type Reconciler struct {
	// Client reads from the informer cache and writes to the API server.
	Client client.Client
	// Applier writes the objects that are made for a Canary.
	Applier *ssa.Applier
	// Router gives the router of a mesh provider by its name. An unknown name
	// is an error that lists the known ones.
	Router func(provider string) (providers.Router, error)
	// Checker runs the checks of an analysis.
	Checker Checker
	// Metrics is what the metrics of an analysis need.
	Metrics *checks.Needs
	// NoCrossNamespace refuses references to objects of other namespaces.
	NoCrossNamespace bool
	// Hooks calls the hooks that want events; nil calls none.
	Hooks *checks.Hooks
	// Canaries finds the Canaries that refer to a name.
	Canaries *wake.Canaries
	// Signals brings Canaries for reasons that are no event of an object.
	Signals *wake.Signals
	// Recorder sends events.
	Recorder events.EventRecorder
	// Alerts tells people in chats; nil tells nobody.
	Alerts *alerting.Alerts
	// Telemetry is told of every persisted status.
	Telemetry *telemetry.Rollouts
	// Traces is told the same; nil for nobody.
	Traces *tracing.Traces
	// Queues makes the queue of the Canaries.
	Queues *telemetry.Queues
	// Watchdog notices turns that hang; nil for nobody.
	Watchdog *wake.Watchdog
	// Clock tells the time.
	Clock clock.PassiveClock
	// Leads is nil while this operator may act, and else says why it may not. It may be nil itself, for at any time.
	Leads func() error
	// Absence is the time before this operator in which none was there, zero where
	// nothing is known of one. It may be nil for that.
	Absence func() release.Absence
	// Shard is which Canaries are served.
	Shard *shards.Shard
	// Options are the settings for generated objects.
	Options workload.Options
	// Provider is the mesh provider of a Canary that names none.
	Provider string

	// Actions are what people ask of a release.
	Actions *actions.Actions
	// Policies say when releases may begin; nil for at any time.
	Policies *policies.Policies
	// Targets are the workloads that Canaries name.
	Targets *targets.Targets
	// Configs tracks ConfigMaps and Secrets.
	Configs *configs.Tracker
	// Primaries keeps the copies of targets that serve.
	Primaries *primaries.Primaries
	// Autoscalers has the autoscalers of targets and primaries fit what is released.
	Autoscalers *autoscaling.Autoscalers
	// Services keeps the Services of Canaries.
	Services *services.Services
	// Coverage keeps primaries covered by what selects pods by label.
	Coverage *coverage.Keeper
	// Routes has meshes divide the traffic.
	Routes *routes.Routes
	// RouteApplier writes the objects of the mesh.
	RouteApplier *ssa.Applier

	failures memory.Memory[trouble]
	turns    wake.Turns
}

// trouble is what could not be applied in the last turn of a Canary.
type trouble struct {
	failures []release.Failure
	times    int // how many turns in a row had some
}

// Checker runs rounds of checks and calls of hooks beside the reconciler:
// *checks.Checker, which says more.
type Checker interface {
	// Results gives the last finished round of a Canary's checks and the last calls of its
	// other hooks.
	Results(c *v1beta1.Canary) (round *release.CheckRun, hooks map[v1beta1.HookType]*release.CheckRun)
	// Run starts a round of checks, or calls of hooks; seen is the last one that is known of.
	Run(ctx context.Context, c *v1beta1.Canary, id release.CheckID, seen *release.CheckRun)
	// RunPromptly starts a round and gives its results if they come at once.
	RunPromptly(ctx context.Context, c *v1beta1.Canary, id release.CheckID, seen *release.CheckRun) *release.CheckRun
	// Forget calls off what runs for a Canary and drops its results.
	Forget(key types.NamespacedName)
	// Finished gives the Canaries whose checks have come to an end.
	Finished() <-chan event.GenericEvent
}

// How long a turn that failed waits for the next try. What is to be tried again
// may be a rollback, so the wait does not grow for ever.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 15 * time.Second
)

// SetUp registers the reconciler and its watches with a manager. workers is how
// many Canaries are reconciled at once.
func (r *Reconciler) SetUp(ctx context.Context, mgr ctrl.Manager, workers int) error {
	r.Canaries.Watched()
	news := &wake.Events{Canaries: r.Canaries, Turns: &r.turns, Applier: r.Applier, Routes: r.RouteApplier}
	b := builder.ControllerManagedBy(mgr).
		Named("canary").
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			NewQueue: func(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
				return wake.Shared(r.Queues.New(name, limiter), workers)
			},
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		}).
		For(&v1beta1.Canary{}, builder.WithPredicates(wake.BeyondStatus())).
		Watches(&v1beta1.Canary{}, news.OfStatus()).
		Watches(&v1beta1.Canary{}, handler.EnqueueRequestsFromMapFunc(r.Canaries.Siblings), builder.WithPredicates(wake.ComesOrGoes())).
		WatchesRawSource(source.Channel(r.Checker.Finished(), wake.OfChecks(r.takesBack))).
		WatchesRawSource(source.Channel(r.Signals.Events(), &handler.EnqueueRequestForObject{}))
	watches := &wake.Watches{Manager: mgr, Builder: b, Canaries: r.Canaries, Events: news, Signals: r.Signals}
	if err := watches.Index(ctx, wake.Indexes()...); err != nil {
		return err
	}
	for _, part := range []wake.Waker{r.Targets, r.Services, r.Metrics, r.Configs, r.Autoscalers, r.Coverage, r.Actions, r.Policies, r.Routes} {
		if err := part.SetUp(ctx, watches); err != nil {
			return err
		}
	}
	c, err := b.Build(r.Watchdog.Watch(r))
	if err != nil {
		return fmt.Errorf("canary controller: %w", err)
	}
	return watches.Begin(c)
}

// takesBack tells whether the last checks of a Canary may take its release back: one has failed, or somebody asks for it.
func (r *Reconciler) takesBack(c *v1beta1.Canary) bool {
	failed := func(of v1beta1.CheckStatus) bool { return of.Verdict == v1beta1.CheckFailed }
	round, hooks := r.Checker.Results(c)
	if round != nil && slices.ContainsFunc(round.Results, failed) {
		return true
	}
	asked := hooks[v1beta1.RollbackHook]
	return asked != nil && !slices.ContainsFunc(asked.Results, failed)
}

// Caches are the settings of the manager's cache for the kinds of which it must
// not have everything.
func Caches() map[client.Object]cache.ByObject {
	out := configs.Caches()
	maps.Copy(out, services.Caches())
	return out
}

// Reconcile is one turn: observe, decide, write the status once, apply the
// desired state, tell people, and say when to look again.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if err := mayAct(r); err != nil {
		return ctrl.Result{}, err // what it knows may be what was before another one came to lead
	}
	c := &v1beta1.Canary{}
	if err := r.Client.Get(ctx, req.NamespacedName, c); err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.forget(req.NamespacedName)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("read Canary: %w", err)
	}
	c = c.DeepCopy() // the cache hands out its own objects
	if r.turns.WasReleased(c) {
		return ctrl.Result{}, nil // what was made for it would be made again, and nobody would remove it
	}
	if r.turns.Stale(c) {
		return next(true, 0), nil // our own last write is not in the cache yet
	}
	if wait := r.turns.Outdated(c, r.Clock.Now()); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil // somebody else's is not, and ours would be refused
	}
	if mine, result, err := mine(ctx, r, c); !mine {
		return result, err
	}
	if done, err := r.ensureFinalizer(ctx, c); done || err != nil {
		return ctrl.Result{}, err
	}
	var last wake.Outcome
	r.turns.Begin(c)
	defer func() { r.turns.End(c, last) }()
	ctx, pending := ssa.WithPending(ctx)
	world, err := r.observe(ctx, c)
	if err != nil {
		return ctrl.Result{}, err
	}
	last.Reached = world.services.Reached()
	actionsErr := errors.Join(r.Actions.Observe(ctx, world.World), world.primary.ObserveStored(ctx), r.Policies.Observe(ctx, world.World))
	t := turn{}
	defer func() { r.Policies.Settle(ctx, t.left(world.Canary)) }()
	if err := r.carryOut(ctx, world, &t); err != nil {
		return later(err)
	}
	if !t.wrote && r.checked(ctx, world, &t.decision) {
		if err := r.carryOut(ctx, world, &t); err != nil {
			return later(err)
		}
	}
	// Whatever could not be written, the checks and hooks of a release go on.
	r.runChecks(ctx, world, t.decision)
	result, complete := r.ended(ctx, world, &t)
	last.Complete = complete
	return atLatest(result, pending.After()), actionsErr
}

// mayAct is nil while the operator of a reconciler leads.
func mayAct(r *Reconciler) error {
	if r.Leads == nil {
		return nil
	}
	return r.Leads()
}

// turn is what a turn has decided and done.
type turn struct {
	decision release.Decision
	wrote    bool // the status
	attempts *attempts
}

// left is a Canary as the turn has left it.
func (t *turn) left(c *v1beta1.Canary) *v1beta1.Canary {
	if !t.wrote {
		return c
	}
	out := *c
	out.Status = t.decision.Status
	return &out
}

// ended tells when to look again after a turn, and whether all that it has to do was
// done. What failed is tried again after a while that grows; what is due before that is
// looked at in time.
func (r *Reconciler) ended(ctx context.Context, w *world, t *turn) (result ctrl.Result, complete bool) {
	times, mended := r.failed(w.Canary, t.attempts.failures)
	after := t.decision.RequeueAfter
	sooner := func(d time.Duration) {
		if after == 0 || d < after {
			after = d
		}
	}
	for _, err := range t.attempts.waits {
		if wait := providers.WaitOf(err); wait != nil {
			log.FromContext(ctx).V(1).Info("Waiting", "for", wait.For)
			sooner(wait.After)
			continue
		}
		sooner(wake.EchoDelay) // the newer object is on its way
	}
	switch {
	case times > 0:
		if times == 1 || !slices.Equal(t.attempts.failures, w.Failures) {
			log.FromContext(ctx).Error(errors.Join(t.attempts.errs...), "Not everything could be applied")
		}
		sooner(min(firstRetry<<min(times-1, 16), lastRetry))
	case mended:
		sooner(time.Millisecond) // so that the status stops telling of it
	case t.wrote && len(t.attempts.waits) == 0:
		if after, complete := r.complete(w, t.decision); complete {
			return ctrl.Result{RequeueAfter: after}, true
		}
	}
	return next(t.wrote, after), false
}

// failed notes what could not be applied, nil where everything could. It returns how
// often in a row that has been so, and whether it mends what failed before.
func (r *Reconciler) failed(c *v1beta1.Canary, failures []release.Failure) (times int, mended bool) {
	r.failures.Update(c, func(last *trouble) {
		mended = len(failures) == 0 && len(last.failures) > 0
		last.failures = failures
		if last.times++; len(failures) == 0 {
			last.times = 0
		}
		times = last.times
	})
	return times, mended
}

// runChecks begins what a decision calls for.
func (r *Reconciler) runChecks(ctx context.Context, w *world, d release.Decision) {
	if d.RunChecks != nil {
		r.Checker.Run(ctx, w.Canary, *d.RunChecks, w.Checks)
	}
	for _, id := range d.CallHooks {
		r.Checker.Run(ctx, w.Canary, id, w.Hooks[id.Hooks])
	}
}

// carryOut decides on an observation, writes the status and then does what is desired.
func (r *Reconciler) carryOut(ctx context.Context, w *world, t *turn) (err error) {
	t.decision = rollout.Decide(w.Observation)
	if !t.decision.Desired.Hold {
		w.configs.Record(&t.decision.Status)
	}
	if t.wrote, err = r.writeStatus(ctx, w.Canary, t.decision); err != nil {
		return err
	}
	t.attempts = r.apply(ctx, w, t.decision.Desired)
	return nil
}

// checked runs the checks that a decision asks for. If their results are there at
// once it adds them to the observation, which is as young as one that would be
// made for them, so that it can be decided again.
func (r *Reconciler) checked(ctx context.Context, w *world, decision *release.Decision) bool {
	if decision.RunChecks == nil {
		return false
	}
	run := r.Checker.RunPromptly(ctx, w.Canary, *decision.RunChecks, w.Checks)
	decision.RunChecks = nil
	if run != nil {
		w.Checks, w.Now = run, r.Clock.Now()
	}
	return run != nil
}

// complete tells when to look again after a turn that wrote the status and did what it
// desires. ok is false where it must be seen first what came of that.
func (r *Reconciler) complete(w *world, d release.Decision) (after time.Duration, ok bool) {
	if !w.Canary.DeletionTimestamp.IsZero() || !d.Desired.Routed {
		return 0, false
	}
	o := w.Observation
	o.Now = r.Clock.Now()
	if !w.route.Settled(d.Desired) {
		since, seen, acknowledged := w.route.Acknowledged(d.Status.CanaryWeight, o.Now)
		if !acknowledged {
			return 0, false
		}
		o.Route.InSync, o.Route.Since, o.Route.Seen = true, since, seen
	}
	return rollout.Settled(o, d)
}

// next is when to look again after a turn. One that wrote the status is
// followed by another that sees it.
func next(wrote bool, after time.Duration) ctrl.Result {
	if wrote && (after == 0 || after > wake.EchoDelay) {
		after = wake.EchoDelay
	}
	return ctrl.Result{RequeueAfter: after}
}

// atLatest is a result by which it is looked again after a while, 0 for none, if not sooner.
func atLatest(result ctrl.Result, after time.Duration) ctrl.Result {
	if after > 0 && (result.RequeueAfter == 0 || after < result.RequeueAfter) {
		result.RequeueAfter = after
	}
	return result
}

// later is the end of a turn that could not write the status, so that it did nothing.
func later(err error) (ctrl.Result, error) {
	if errors.Is(err, ground.ErrChanged) {
		return next(true, 0), nil // the newer object is on its way
	}
	return ctrl.Result{}, err
}

// forget drops what is remembered of a Canary that is gone.
func (r *Reconciler) forget(key types.NamespacedName) {
	for _, part := range []interface{ Forget(types.NamespacedName) }{
		&r.failures, &r.turns, r.Shard, r.Targets, r.Services, r.Routes, r.Coverage, r.Checker, r.Configs, r.Telemetry, r.Traces,
	} {
		part.Forget(key)
	}
}
