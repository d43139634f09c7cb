// Package canary reconciles Canaries: it observes, lets package rollout
// decide, persists the status and then brings the world to what it asks.
package canary

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/alerting"
	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/operator/telemetry"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Reconciler brings Canaries from what is to what their specs ask.
type Reconciler struct {
	// Client reads from the informer cache and writes to the API server.
	Client client.Client
	// Live reads from the API server, where a cache may be too far behind.
	Live client.Reader
	// Applier writes the objects that are made for a Canary.
	Applier *ssa.Applier
	// Router gives the router of a mesh provider by its name. An unknown name
	// is an error that lists the known ones.
	Router func(provider string) (providers.Router, error)
	// Checker runs the checks of an analysis.
	Checker *Checker
	// Hooks tells events to the hooks that want them; nil tells nobody.
	Hooks *Hooks
	// Recorder sends events.
	Recorder events.EventRecorder
	// Alerts tells people in chats; nil tells nobody.
	Alerts *alerting.Alerts
	// Telemetry is told of every persisted status.
	Telemetry *telemetry.Rollouts
	// Queues makes the queue of the Canaries.
	Queues *telemetry.Queues
	// Clock tells the time.
	Clock clock.PassiveClock
	// Options are the settings for generated objects.
	Options workload.Options
	// Coverage watches what selects pods by label; nil leaves it alone.
	Coverage *Coverage
	// Configs tracks ConfigMaps and Secrets; nil where that is turned off.
	Configs *ConfigTracker
	// Provider is the mesh provider of a Canary that names none.
	Provider string
	// Mesh is the cluster that has the objects of the mesh.
	Mesh cluster.Cluster
	// Routes writes them.
	Routes *ssa.Applier

	memory    memory
	referrers referrers
	kinds     *kindWatches
	// scaledObjects is set once KEDA's ScaledObjects are watched.
	scaledObjects atomic.Bool
	// actions is set once CanaryActions are watched.
	actions atomic.Bool
}

// How long a turn that failed waits for the next try. What is to be tried again
// may be a rollback, so the wait does not grow for ever.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 15 * time.Second
)

// Indexes of the cache, by which a Canary is found from what it refers to.
const (
	targetIndex = "target"
	apexIndex   = "apex"
)

// serviceIndex is the index of EndpointSlices by their Service.
const serviceIndex = "service"

// SetUp registers the reconciler and its watches with a manager. workers is how
// many Canaries are reconciled at once; meshes are the kinds by which routers move traffic.
func (r *Reconciler) SetUp(ctx context.Context, mgr ctrl.Manager, workers int, meshes []providers.Watch) error {
	index := mgr.GetFieldIndexer()
	for name, values := range map[string]client.IndexerFunc{
		targetIndex: workloadNames, apexIndex: serviceNames, autoscalerIndex: autoscalerNames,
		templateIndex: templateNames, metricsSecretIndex: metricsSecretNames,
	} {
		if err := index.IndexField(ctx, &v1beta1.Canary{}, name, values); err != nil {
			return fmt.Errorf("index of Canaries by %s: %w", name, err)
		}
	}
	if err := index.IndexField(ctx, &discoveryv1.EndpointSlice{}, serviceIndex, serviceOf); err != nil {
		return fmt.Errorf("index of endpoints: %w", err)
	}
	if err := index.IndexField(ctx, &autoscalingv2.HorizontalPodAutoscaler{}, madeForIndex, madeFor); err != nil {
		return fmt.Errorf("index of copied autoscalers: %w", err)
	}
	r.referrers.watch()
	b := builder.ControllerManagedBy(mgr).
		Named("canary").
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			NewQueue:                r.Queues.New,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		}).
		For(&v1beta1.Canary{}, builder.WithPredicates(beyondStatus())).
		Watches(&v1beta1.Canary{}, r.statusEvents()).
		Watches(&v1beta1.Canary{}, handler.EnqueueRequestsFromMapFunc(r.siblings), builder.WithPredicates(comesOrGoes())).
		Watches(&appsv1.Deployment{}, r.workloadEvents()).
		Watches(&autoscalingv2.HorizontalPodAutoscaler{}, handler.EnqueueRequestsFromMapFunc(r.byName(autoscalerIndex)), builder.WithPredicates(autoscalerEdited())).
		Watches(&corev1.Service{}, handler.EnqueueRequestsFromMapFunc(r.byName(apexIndex))).
		Watches(&discoveryv1.EndpointSlice{}, r.endpointEvents()).
		WatchesRawSource(source.Channel(r.Checker.Finished(), &handler.EnqueueRequestForObject{}))
	r.watchMetrics(b)
	if r.Coverage != nil {
		selectors, err := newCoverageSource(r, mgr)
		if err != nil {
			return err
		}
		b = b.WatchesRawSource(selectors)
	}
	if r.Configs != nil {
		if err := r.Configs.setUp(ctx, mgr, b); err != nil {
			return err
		}
	}
	c, err := b.Build(r)
	if err != nil {
		return fmt.Errorf("canary controller: %w", err)
	}
	r.kinds = r.newKindWatches(mgr, c)
	for _, mesh := range meshes {
		if err := mgr.Add(r.routerWatch(c, mesh)); err != nil {
			return fmt.Errorf("watch of a mesh: %w", err)
		}
	}
	if err := mgr.Add(r.kedaWatch(mgr, c)); err != nil {
		return fmt.Errorf("watch of KEDA: %w", err)
	}
	if err := mgr.Add(r.actionWatch(mgr, c)); err != nil {
		return fmt.Errorf("watch of actions: %w", err)
	}
	return nil
}

// Caches are the settings of the manager's cache for the kinds of which it must
// not have everything.
func Caches() map[client.Object]cache.ByObject {
	out := configCaches()
	out[&discoveryv1.EndpointSlice{}] = endpointsCache()
	return out
}

// workloadNames are the values of targetIndex for a Canary.
func workloadNames(o client.Object) []string {
	c := o.(*v1beta1.Canary)
	return []string{c.Spec.TargetRef.Name, c.PrimaryName()}
}

// serviceNames are the values of apexIndex for a Canary.
func serviceNames(o client.Object) []string {
	apex, primary, canary := o.(*v1beta1.Canary).ServiceNames()
	return []string{apex, primary, canary}
}

// byName finds the Canaries to which an object of a certain name belongs.
func (r *Reconciler) byName(index string) handler.MapFunc {
	return func(ctx context.Context, o client.Object) []reconcile.Request {
		return r.requests(ctx, index, o.GetNamespace(), o.GetName())
	}
}

// siblings finds the Canaries that name the same target or services as one
// that came or went: what was a conflict may be none now.
func (r *Reconciler) siblings(ctx context.Context, o client.Object) []reconcile.Request {
	r.referrers.changed()
	c := o.(*v1beta1.Canary)
	apex, _, _ := c.ServiceNames()
	return append(r.requests(ctx, targetIndex, c.Namespace, c.Spec.TargetRef.Name), r.requests(ctx, apexIndex, c.Namespace, apex)...)
}

func (r *Reconciler) requests(ctx context.Context, index, namespace, name string) []reconcile.Request {
	found, err := r.referrersOf(ctx, index, namespace, name)
	if err != nil {
		log.FromContext(ctx).Error(err, "Finding the Canaries of an object", "index", index, "namespace", namespace, "name", name)
		return nil
	}
	out := make([]reconcile.Request, len(found))
	for i := range found {
		out[i].NamespacedName = types.NamespacedName{Namespace: namespace, Name: found[i].name}
	}
	return out
}

// comesOrGoes passes the creation, the deletion and a change of the spec. One that
// was deleted and created again may look like a change.
func comesOrGoes() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() || e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration()
	}}
}

// Reconcile is one turn: observe, decide, write the status once, apply the
// desired state, tell people, and say when to look again.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	c := &v1beta1.Canary{}
	if err := r.Client.Get(ctx, req.NamespacedName, c); err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.forget(req.NamespacedName)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("read Canary: %w", err)
	}
	c = c.DeepCopy() // the cache hands out its own objects
	if r.memory.stale(c) {
		return next(true, 0), nil // our own last write is not in the cache yet
	}
	if done, err := r.ensureFinalizer(ctx, c); done || err != nil {
		return ctrl.Result{}, err
	}
	var last outcome
	r.memory.turn(c)
	defer func() { r.memory.ended(c, last) }()
	world, err := r.observe(ctx, c)
	if err != nil {
		return ctrl.Result{}, err
	}
	last.reached = world.reached
	actionsErr := r.observeActions(ctx, world)
	decision, wrote, err := r.carryOut(ctx, world)
	if err != nil {
		return later(ctx, err)
	}
	if r.memory.trouble(c, nil) {
		return ctrl.Result{RequeueAfter: time.Millisecond}, nil // so that the status stops telling of it
	}
	if !wrote && r.checked(ctx, world, &decision) {
		if decision, wrote, err = r.carryOut(ctx, world); err != nil {
			return later(ctx, err)
		}
	}
	r.ask(ctx, c, decision)
	if actionsErr != nil {
		return ctrl.Result{}, actionsErr
	}
	if wrote {
		var after time.Duration
		if after, last.rests = r.rest(world, decision); last.rests {
			return ctrl.Result{RequeueAfter: after}, nil
		}
	}
	return next(wrote, decision.RequeueAfter), nil
}

// ask begins what a decision asks for.
func (r *Reconciler) ask(ctx context.Context, c *v1beta1.Canary, d rollout.Decision) {
	if d.RunChecks != nil {
		r.Checker.Run(ctx, c, *d.RunChecks)
	}
	for _, id := range d.CallHooks {
		r.Checker.Run(ctx, c, id)
	}
}

// carryOut decides on an observation, writes the status and then does what is desired.
func (r *Reconciler) carryOut(ctx context.Context, w *world) (decision rollout.Decision, wrote bool, err error) {
	decision = rollout.Decide(w.Observation)
	w.recordConfigs(&decision)
	if wrote, err = r.writeStatus(ctx, w.Canary, decision); err != nil {
		return decision, false, err
	}
	err = r.apply(ctx, w, decision.Desired)
	if err != nil && providers.WaitOf(err) == nil && !errors.Is(err, errConflict) {
		r.memory.trouble(w.Canary, err)
	}
	return decision, wrote, err
}

// checked runs the checks that a decision asks for. If their results are there at
// once it adds them to the observation, which is as young as one that would be
// made for them, so that it can be decided again.
func (r *Reconciler) checked(ctx context.Context, w *world, decision *rollout.Decision) bool {
	if decision.RunChecks == nil {
		return false
	}
	run := r.Checker.RunPromptly(ctx, w.Canary, *decision.RunChecks)
	decision.RunChecks = nil
	if run != nil {
		w.Checks, w.Now = run, r.Clock.Now()
	}
	return run != nil
}

// later is the end of a turn that could not do everything.
func later(ctx context.Context, err error) (ctrl.Result, error) {
	if errors.Is(err, errConflict) {
		return next(true, 0), nil // the newer object is on its way
	}
	if wait := providers.WaitOf(err); wait != nil {
		log.FromContext(ctx).V(1).Info("Waiting", "for", wait.For)
		return ctrl.Result{RequeueAfter: wait.After}, nil //nolint:nilerr // nothing is wrong
	}
	return ctrl.Result{}, err
}

// forget drops what is remembered of a Canary that is gone.
func (r *Reconciler) forget(key types.NamespacedName) {
	r.memory.forget(key)
	r.Checker.Forget(key)
	if r.Configs != nil {
		r.Configs.forget(key)
	}
	r.Telemetry.Forget(key)
}
