package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	telemetryserver "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	metricfactory "github.com/sluice-delivery/sluice/metrics/factory"
	"github.com/sluice-delivery/sluice/operator/canary"
	"github.com/sluice-delivery/sluice/operator/telemetry"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/factory"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// wiring is what a test replaces; the zero value is what runs in production.
type wiring struct {
	// newClient makes the client that all writes go through.
	newClient client.NewClientFunc
	// registry is where the operator's telemetry goes.
	registry prometheus.Registerer
}

// newManager wires the operator. The manager is ready to be started.
func newManager(ctx context.Context, config *rest.Config, o options, w wiring) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme, istionetworking.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("scheme: %w", err)
		}
	}
	mgr, err := ctrl.NewManager(config, managerOptions(scheme, o, w))
	if err != nil {
		return nil, fmt.Errorf("manager: %w", err)
	}
	if w.registry == nil {
		w.registry = telemetryserver.Registry
	}
	rollouts := telemetry.NewRollouts(w.registry, clock.RealClock{}, version, o.meshProvider)
	checker := canary.NewChecker(canary.CheckerConfig{
		Provider: memoize(func(address string) (metrics.Provider, error) {
			return metricfactory.New(metricfactory.Prometheus, address)
		}),
		MetricsServer: o.metricsServer,
		MeshProvider:  o.meshProvider,
		Concurrency:   o.checksConcurrency,
		Clock:         clock.RealClock{},
		Telemetry:     rollouts,
	})
	applier := ssa.New(mgr.GetClient())
	deps := factory.Deps{Client: mgr.GetClient(), Applier: applier}
	reconciler := &canary.Reconciler{
		Client:    mgr.GetClient(),
		Applier:   applier,
		Router:    memoize(func(name string) (providers.Router, error) { return factory.New(name, deps) }),
		Checker:   checker,
		Recorder:  mgr.GetEventRecorder("sluice"),
		Telemetry: rollouts,
		Clock:     clock.RealClock{},
		Options:   o.objects,
		Provider:  o.meshProvider,
	}
	meshKinds := []client.Object{&istionetworking.VirtualService{}, &istionetworking.DestinationRule{}}
	if err := reconciler.SetUp(ctx, mgr, o.workers, meshKinds); err != nil {
		return nil, err
	}
	return mgr, nil
}

func managerOptions(scheme *runtime.Scheme, o options, w wiring) ctrl.Options {
	address := "0" // none
	if o.port != 0 {
		address = ":" + strconv.Itoa(o.port)
	}
	alive := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	out := ctrl.Options{
		Scheme: scheme,
		Cache: cache.Options{
			// Managed fields are half of what an object weighs, and nobody reads them.
			DefaultTransform: cache.TransformStripManagedFields(),
		},
		NewClient: w.newClient,
		Metrics: metricsserver.Options{
			BindAddress:   address,
			ExtraHandlers: map[string]http.Handler{"/healthz": alive, "/readyz": alive},
		},
		PprofBindAddress:              o.pprofAddress,
		LeaderElection:                o.leaderElection,
		LeaderElectionID:              "sluice-leader-election",
		LeaderElectionNamespace:       o.leaderElectionSpace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       new(20 * time.Second),
	}
	if o.namespace != "" {
		out.Cache.DefaultNamespaces = map[string]cache.Config{o.namespace: {}}
	}
	return out
}

// memoize keeps what a constructor gave for a name. Errors are not kept.
func memoize[T any](construct func(string) (T, error)) func(string) (T, error) {
	var mu sync.Mutex
	known := map[string]T{}
	return func(name string) (T, error) {
		mu.Lock()
		defer mu.Unlock()
		if v, ok := known[name]; ok {
			return v, nil
		}
		v, err := construct(name)
		if err == nil {
			known[name] = v
		}
		return v, err
	}
}
