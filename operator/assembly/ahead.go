package assembly

import (
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/alerting"
	"github.com/sluice-delivery/sluice/operator/autoscaling"
	"github.com/sluice-delivery/sluice/operator/canary"
	"github.com/sluice-delivery/sluice/operator/checks"
	"github.com/sluice-delivery/sluice/operator/configs"
	"github.com/sluice-delivery/sluice/operator/coverage"
	"github.com/sluice-delivery/sluice/operator/preflight"
	"github.com/sluice-delivery/sluice/operator/references"
	"github.com/sluice-delivery/sluice/operator/routes"
	"github.com/sluice-delivery/sluice/operator/secrets"
	"github.com/sluice-delivery/sluice/operator/services"
	"github.com/sluice-delivery/sluice/operator/sources"
	"github.com/sluice-delivery/sluice/operator/telemetry"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/factory"
	"github.com/sluice-delivery/sluice/providers/ssa"
	"github.com/sluice-delivery/sluice/webhooks"
)

// Ahead is what somebody looks ahead with.
type Ahead struct {
	Options

	// View is what there is.
	View *preflight.View
	// Provider is the mesh provider of Canaries that name none.
	Provider string
	// Router makes a router, with Routers, whose clients are the View.
	Router  func(name string, deps factory.Deps) (providers.Router, error)
	Routers factory.Deps
	// Kinds are those by which routers move traffic; nil means all.
	Kinds []providers.Watch
	// Sources answer checks, and Alerts are who is told.
	Sources *sources.Sources
	Alerts  *alerting.Alerts
	// Hooks says where hooks may go, and Secrets what they may carry.
	Hooks   *webhooks.Guard
	Secrets *secrets.Reader
	// StrictMetrics refuses metrics that are never checked.
	StrictMetrics bool
	// NoCrossNamespace refuses references to other namespaces.
	NoCrossNamespace bool
	// Clock tells the time.
	Clock clock.WithTicker
	// Version is that of the program.
	Version string
}

// Judge wires what decides in the operator with a view of what there is.
func (a Ahead) Judge(ctx context.Context) (*preflight.Operator, error) {
	if err := index(ctx, a.View); err != nil {
		return nil, err
	}
	rollouts := telemetry.NewRollouts(prometheus.NewRegistry(), a.Clock, a.Version, a.Provider)
	a.Objects.MeshProvider = a.Provider
	applier := ssa.New(a.View)
	deps := a.Routers
	deps.Client, deps.Live, deps.Applier, deps.Clock = a.View, a.View, applier, a.Clock
	r := &canary.Reconciler{
		Client:           a.View,
		Applier:          applier,
		Router:           Memoize(func(name string) (providers.Router, error) { return a.Router(name, deps) }),
		Checker:          checks.New(checks.Config{Sources: a.Sources, MeshProvider: a.Provider, Concurrency: 1, Clock: a.Clock, Telemetry: rollouts}),
		Metrics:          &checks.Needs{Sources: a.Sources, Reader: a.View, Strict: a.StrictMetrics},
		Canaries:         wake.NewCanaries(a.View),
		Hooks:            &checks.Hooks{Guard: a.Hooks, Secrets: a.Secrets, Clock: a.Clock},
		Clock:            a.Clock,
		Options:          a.Objects,
		Provider:         a.Provider,
		NoCrossNamespace: a.NoCrossNamespace,
		RouteApplier:     applier,
	}
	AddParts(r, a.View, a.Options)
	kinds := a.Kinds
	if kinds == nil {
		kinds = factory.Watches()
	}
	r.Routes = &routes.Routes{Client: a.View, Kinds: kinds, Provider: a.Provider}
	if serves(a.View.RESTMapper(), autoscaling.ScaledObjectKind) {
		r.Autoscalers.ScaledObjectsServed()
	}
	return &preflight.Operator{
		Preview: func(ctx context.Context, c *v1beta1.Canary) canary.Preview { return canary.LookAhead(ctx, r, c) },
		View:    a.View, Provider: a.Provider,
		CheckTemplate: a.Sources.Check, Warn: references.SeveralSeries, CheckAlertProvider: a.Alerts.Check,
	}, nil
}

// index gives a view the indexes that the operator's cache has.
func index(ctx context.Context, view *preflight.View) error {
	for _, indexes := range [][]wake.Index{wake.Indexes(), services.Indexes(), checks.Indexes(), configs.Indexes(), autoscaling.Indexes(), coverage.Indexes()} {
		for _, x := range indexes {
			if err := view.IndexField(ctx, x.Of, x.Name, x.Values); err != nil {
				return err
			}
		}
	}
	for _, mesh := range factory.Watches() {
		for _, forms := range mesh.Kinds {
			for _, kind := range forms {
				if mesh.Index == nil {
					continue
				}
				if err := mesh.Index(ctx, view, kind); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// EveryKind is for no cluster: all kinds of a scheme are taken for served.
func EveryKind(scheme *runtime.Scheme) meta.RESTMapper {
	out := meta.NewDefaultRESTMapper(nil)
	for gvk := range scheme.AllKnownTypes() {
		out.Add(gvk, meta.RESTScopeNamespace)
	}
	out.Add(autoscaling.ScaledObjectKind, meta.RESTScopeNamespace)
	return out
}

// serves tells whether a kind is served, as far as that is known.
func serves(mapper meta.RESTMapper, gvk schema.GroupVersionKind) bool {
	_, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	return err == nil
}

// Memoize keeps what a constructor gave for a name. Errors are not kept.
func Memoize[T any](construct func(string) (T, error)) func(string) (T, error) {
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
