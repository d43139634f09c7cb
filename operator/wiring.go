package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	kubeevents "k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/config"
	telemetryserver "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/assembly"
	"github.com/sluice-delivery/sluice/operator/canary"
	"github.com/sluice-delivery/sluice/operator/checks"
	"github.com/sluice-delivery/sluice/operator/coverage"
	"github.com/sluice-delivery/sluice/operator/events"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/leadership"
	"github.com/sluice-delivery/sluice/operator/policies"
	"github.com/sluice-delivery/sluice/operator/routes"
	"github.com/sluice-delivery/sluice/operator/shards"
	"github.com/sluice-delivery/sluice/operator/telemetry"
	"github.com/sluice-delivery/sluice/operator/tracing"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/factory"
	"github.com/sluice-delivery/sluice/providers/ssa"
	"github.com/sluice-delivery/sluice/webhooks"
)

// wiring is what a test replaces. But for the log, the zero value is what runs in production.
type wiring struct {
	// wrap gives the client that all reads and writes go through, from the one
	// that production uses.
	wrap func(client.WithWatch) client.Client
	// registry is where the operator's telemetry goes.
	registry prometheus.Registerer
	// log is where the operator logs. The zero value is the log of the process, which is
	// that of whoever set it first.
	log logr.Logger
	// oneOfMany allows several operators in one process, which production has
	// no use for: their controllers have the same name.
	oneOfMany bool

	// lock is by what the replicas elect their leader; nil where they elect none.
	lock *leadership.Lock
}

// newClient implements client.NewClientFunc.
func (w wiring) newClient(config *rest.Config, o client.Options) (client.Client, error) {
	if w.lock != nil {
		own, err := fenced(config, o.HTTPClient, w.lock)
		if err != nil {
			return nil, err
		}
		o.HTTPClient = own
	}
	c, err := kube.NewClient(config, o)
	if err != nil || w.wrap == nil {
		return c, err
	}
	return w.wrap(c), nil
}

// fenced is a client like that of a configuration, nil for one that is not made yet, that sends what changes something only while
// this replica leads.
func fenced(config *rest.Config, like *http.Client, lock *leadership.Lock) (*http.Client, error) {
	if like == nil {
		made, err := rest.HTTPClientFor(config)
		if err != nil {
			return nil, fmt.Errorf("transport: %w", err)
		}
		like = made
	}
	out := *like
	inner := out.Transport
	if inner == nil {
		inner = http.DefaultTransport
	}
	out.Transport = lock.Fence(inner)
	return &out, nil
}

// newScheme has all kinds that are read and written.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme, v1alpha1.AddToScheme, factory.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("scheme: %w", err)
		}
	}
	return scheme, nil
}

// newManager wires the operator. The manager is ready to be started.
func newManager(ctx context.Context, config *rest.Config, o options, w wiring) (ctrl.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	ready, alive := &readiness{}, wake.NewWatchdog(clock.RealClock{})
	if w.lock, err = o.leader.lock(ctx, config, scheme, o.scope.lease()); err != nil {
		return nil, err
	}
	settings := managerOptions(scheme, o, w, alive, ready)
	o.elect(&settings, w.lock)
	mgr, err := ctrl.NewManager(config, settings)
	if err != nil {
		return nil, fmt.Errorf("manager: %w", err)
	}
	if err := mgr.Add(ready); err != nil {
		return nil, fmt.Errorf("manager: %w", err)
	}
	if w.registry == nil {
		w.registry = telemetryserver.Registry
	}
	mesh, err := newMeshCluster(mgr, scheme, o, w)
	if err != nil {
		return nil, err
	}
	recorder, err := events.NewRecorder(ctx, config, scheme)
	if err != nil {
		return nil, err
	}
	reconciler, err := newReconciler(ctx, mgr, mesh, recorder, o, w.registry)
	if err != nil {
		return nil, err
	}
	reconciler.Watchdog = alive
	if err := heed(mgr, reconciler, w.lock); err != nil {
		return nil, err
	}
	if reconciler.Shard, err = shards.New(o.scope.selector); err != nil {
		return nil, fmt.Errorf("-watch-label-selector: %w", err)
	}
	if err := reconciler.SetUp(ctx, mgr, o.workers); err != nil {
		return nil, err
	}
	if err := addDashboard(ctx, mgr, o); err != nil {
		return nil, err
	}
	return mgr, nil
}

// newReconciler makes the reconciler of Canaries and its parts.
func newReconciler(ctx context.Context, mgr ctrl.Manager, mesh cluster.Cluster, recorder kubeevents.EventRecorder, o options, registry prometheus.Registerer) (*canary.Reconciler, error) {
	rollouts := telemetry.NewRollouts(registry, clock.RealClock{}, version, o.meshProvider)
	to, err := newOutbound(ctx, mgr.GetConfig(), mgr.GetClient(), mgr.GetAPIReader(), o)
	if err != nil {
		return nil, err
	}
	hooks, err := newHooks(mgr, o, to, rollouts)
	if err != nil {
		return nil, err
	}
	queues, timed := telemetry.NewQueues(registry), telemetry.NewAnswers(registry, clock.RealClock{})
	answers, err := newSources(ctx, mgr, o, to, recorder, queues, timed)
	if err != nil {
		return nil, err
	}
	traces, err := newTraces(ctx, mgr, o, registry)
	if err != nil {
		return nil, err
	}
	checker := checks.New(checks.Config{
		Hooks: hooks.Call, Sources: answers, MeshProvider: o.meshProvider, Concurrency: o.checksConcurrency,
		Clock: clock.RealClock{}, Telemetry: rollouts, Answers: timed, Traces: traces,
	})
	alerts, err := newAlerts(ctx, mgr, o, to, registry, recorder, queues)
	if err != nil {
		return nil, err
	}
	applier := ssa.New(mgr.GetClient())
	signals, served := wake.NewSignals(), kube.NewServed(mesh.GetClient())
	deps := routerDeps(mesh, served, o, applier)
	o.objects.MeshProvider = o.meshProvider
	r := &canary.Reconciler{
		Client:           mgr.GetClient(),
		Applier:          applier,
		Router:           assembly.Memoize(func(name string) (providers.Router, error) { return newRouter(mgr, signals, name, o.scope, deps) }),
		Checker:          checker,
		Metrics:          &checks.Needs{Sources: answers, Reader: mgr.GetClient(), Strict: o.metrics.strict},
		Canaries:         wake.NewCanaries(mgr.GetClient()),
		Signals:          signals,
		Hooks:            hooks,
		Recorder:         recorder,
		Alerts:           alerts,
		Telemetry:        rollouts,
		Traces:           traces,
		Queues:           queues,
		Clock:            clock.RealClock{},
		Options:          o.objects,
		Provider:         o.meshProvider,
		NoCrossNamespace: o.alerts.noCrossNamespaceRefs,
		RouteApplier:     deps.Applier,
	}
	assembly.AddParts(r, mgr.GetAPIReader(), partsOf(o))
	r.Actions.Checks = checker
	r.Policies = policies.New(policies.Config{
		Client: r.Client, Clock: r.Clock, Wake: signals.Wake, Recorder: recorder, Queues: queues, Namespaces: o.namespaces,
		MostPerConfig: o.releasesPerConfig, Telemetry: telemetry.NewPolicies(registry),
	})
	r.Routes = &routes.Routes{Client: r.Client, Mesh: mesh, Kinds: o.scope.watches(), Served: served, Provider: o.meshProvider}
	return r, nil
}

// partsOf is what the command line says of the parts of a release.
func partsOf(o options) assembly.Options {
	return assembly.Options{
		Objects: o.objects, NoConfigTracking: !o.configTracking, ReportCoverage: o.coverage != coverageNone, CopyCoverage: o.coverage == coverageCopy,
		IstioRootNamespace: o.istioRootNamespace,
	}
}

// newTraces makes what sends traces, which runs with the manager; nil where nobody wants them.
func newTraces(ctx context.Context, mgr ctrl.Manager, o options, registry prometheus.Registerer) (*tracing.Traces, error) {
	traces, err := tracing.New(ctx, tracing.Config{Options: o.tracing, Version: version, Getenv: os.Getenv, Log: mgr.GetLogger(), Registry: registry})
	if err != nil || traces == nil {
		return nil, err
	}
	if err := mgr.Add(traces); err != nil {
		return nil, fmt.Errorf("sender of traces: %w", err)
	}
	return traces, nil
}

// newHooks makes what calls hooks; the queue of their events runs with the manager.
func newHooks(mgr ctrl.Manager, o options, to *outbound, rollouts *telemetry.Rollouts) (*checks.Hooks, error) {
	options := o.hooks.proxy()
	options.Clock, options.Guard, options.UserAgent = clock.RealClock{}, to.hooks, userAgent()
	calls := webhooks.NewClient(options)
	events := webhooks.NewEvents(calls, webhooks.EventsOptions{Lost: rollouts.EventLost})
	if err := mgr.Add(events); err != nil {
		return nil, fmt.Errorf("queue of event hooks: %w", err)
	}
	operators, err := operatorsEvents(mgr, o.hooks, rollouts)
	if err != nil {
		return nil, err
	}
	return &checks.Hooks{
		Guard: to.hooks, Client: calls, Events: events, Operators: operators, Secrets: to.secrets, Clock: clock.RealClock{},
	}, nil
}

// newRouter makes a router. One that watches its mesh by itself begins to.
func newRouter(mgr ctrl.Manager, signals *wake.Signals, name string, scope scopeOptions, deps factory.Deps) (providers.Router, error) {
	router, err := scope.router(name, deps)
	if err != nil {
		return nil, err
	}
	if watcher, ok := router.(providers.Watcher); ok {
		if err := signals.Follow(mgr, watcher); err != nil {
			return nil, fmt.Errorf("watch of the mesh %s: %w", name, err)
		}
	}
	return router, nil
}

// readWithin is how long a start may take to read the cluster. One that gives up begins anew, at the same load.
const readWithin = 10 * time.Minute

func managerOptions(scheme *runtime.Scheme, o options, w wiring, alive, ready http.Handler) ctrl.Options {
	address := "0" // none
	if o.port != 0 {
		address = ":" + strconv.Itoa(o.port)
	}
	out := ctrl.Options{
		Scheme: scheme,
		Logger: w.log,
		Cache: cache.Options{
			// Managed fields are half of what an object weighs, and nobody reads them. Of the rest of a
			// workload it is the template.
			DefaultTransform: kube.Pack(kube.Share(coverage.Slim(cache.TransformStripManagedFields()))),
			// What is read is only compared; the Canary, which is changed, is copied
			// by its reconciler.
			DefaultUnsafeDisableDeepCopy: new(true),
			ByObject:                     o.scope.caches(),
		},
		// What has no Go type here is read from the cache too.
		Client:                  client.Options{Cache: &client.CacheOptions{Unstructured: true}},
		NewClient:               w.newClient,
		NewCache:                kube.NewCache(v1beta1.GroupVersion.Group),
		Controller:              config.Controller{SkipNameValidation: &w.oneOfMany, CacheSyncTimeout: readWithin},
		Metrics:                 o.server.options(address, map[string]http.Handler{"/healthz": alive, "/readyz": ready}),
		PprofBindAddress:        o.pprofAddress,
		GracefulShutdownTimeout: new(20 * time.Second),
	}
	if len(o.namespaces) > 0 {
		out.Cache.DefaultNamespaces = cachesOf(o.namespaces)
	}
	return out
}

// readiness answers /readyz: an operator is ready when it has read the cluster
// once, whether or not it is the leader.
type readiness struct{ cached atomic.Bool }

// NeedLeaderElection makes it start with the caches.
func (r *readiness) NeedLeaderElection() bool { return false }

// Start is called by the manager once the caches are filled.
func (r *readiness) Start(ctx context.Context) error {
	r.cached.Store(true)
	<-ctx.Done()
	return nil
}

func (r *readiness) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if !r.cached.Load() {
		http.Error(w, "the caches are not filled yet", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
