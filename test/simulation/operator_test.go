package simulation

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/builtin"
	"github.com/sluice-delivery/sluice/operator/actions"
	"github.com/sluice-delivery/sluice/operator/autoscaling"
	"github.com/sluice-delivery/sluice/operator/canary"
	"github.com/sluice-delivery/sluice/operator/checks"
	"github.com/sluice-delivery/sluice/operator/configs"
	"github.com/sluice-delivery/sluice/operator/coverage"
	"github.com/sluice-delivery/sluice/operator/primaries"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/routes"
	"github.com/sluice-delivery/sluice/operator/services"
	"github.com/sluice-delivery/sluice/operator/sources"
	"github.com/sluice-delivery/sluice/operator/targets"
	"github.com/sluice-delivery/sluice/operator/telemetry"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/kubernetes"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// process is one life of the operator. All that depends on how the operator is put together is in this file.
type process struct {
	reconciler *canary.Reconciler
	checker    *checks.Checker
	views      *views
	dead       bool
	writesLeft int // until it stops; negative: it goes on
	wakeAt     time.Time
	failures   int
	// lost is what comes of the write that is under way although it is done.
	lost error
	// suspended is until when the process does not run.
	suspended time.Time
	clock     skewed
	readsAt   time.Time // when it reads the release policies; zero once it has
}

// skewed is a clock that is off.
type skewed struct{ offset time.Duration }

func (s skewed) Now() time.Time                  { return time.Now().Add(s.offset) }
func (s skewed) Since(t time.Time) time.Duration { return s.Now().Sub(t) }

// start begins a life of the operator with empty memory, whose clock is off by offset.
func (w *world) start(offset time.Duration) {
	clock := skewed{offset}
	p := &process{writesLeft: -1, wakeAt: time.Now(), clock: clock}
	absence := release.Absence{}
	if now := clock.Now(); !w.endedAt.IsZero() && w.endedAt.Before(now) {
		absence = release.Absence{From: w.endedAt, To: now} // as a lease tells: both by the clock of who wrote them
	}
	p.views = &views{store: w.store, kinds: map[string]*view{}, lag: w.cacheLag}
	direct := &live{store: w.store, write: func(verb string, of id) error { return w.guard(p, verb, of) }}
	through := answering{&cached{live: direct, views: p.views}, p}
	numbers := telemetry.NewRollouts(prometheus.NewRegistry(), clock, "test", "one")
	p.checker = checks.New(checks.Config{
		Hooks: func(ctx context.Context, c *v1beta1.Canary, hook v1beta1.CanaryWebhook, id release.CheckID) (string, error) {
			return w.hook(ctx, p, c, hook, fmt.Sprintf("%+v", id), id.Revision)
		},
		Sources: asked{w}, MeshProvider: "one", Concurrency: 4, Clock: clock, Telemetry: numbers,
	})
	none := kubernetes.New(through)
	applier := ssa.New(through)
	p.views.deleted = applier.Deleted
	options := workload.Options{SelectorLabels: []string{"app"}, MeshProvider: "one"}
	workloads := &targets.Targets{Client: through, Live: direct, Applier: applier}
	p.reconciler = &canary.Reconciler{
		Client: through, Applier: applier, RouteApplier: ssa.New(through), Absence: func() release.Absence { return absence },
		Router: func(name string) (providers.Router, error) {
			if m := w.meshes[name]; m != nil {
				return bound{m, p, w}, nil
			}
			if name == v1beta1.ProviderKubernetes {
				return none, nil
			}
			return nil, &providers.UnknownRouterError{Name: name, Known: []string{"one", "two", v1beta1.ProviderKubernetes}}
		},
		Checker: p.checker, Metrics: &checks.Needs{Sources: asked{w}, Reader: through},
		Canaries: wake.NewCanaries(through), Signals: wake.NewSignals(),
		Recorder: recorder{w}, Telemetry: numbers, Clock: clock, Options: options, Provider: "one",
		Targets:     workloads,
		Primaries:   &primaries.Primaries{Client: through, Live: direct, Applier: applier, Options: options, Workloads: workloads},
		Services:    &services.Services{Client: through, Applier: applier, Options: options},
		Routes:      &routes.Routes{Client: through, Provider: "one"},
		Actions:     &actions.Actions{Client: through, Live: direct, Clock: clock, Checks: p.checker},
		Autoscalers: &autoscaling.Autoscalers{Client: through, Applier: applier, Options: options},
		Configs:     configs.New(configs.Config{Client: through, Live: direct, Applier: applier, Options: options, Clock: clock, Off: !w.plan.Configs}),
		Coverage: &coverage.Keeper{
			Client: through, Reader: through, Applier: applier, Options: options,
			Reports: w.plan.Coverage, Copies: w.plan.Coverage,
		},
	}
	p.reconciler.Coverage.Watched(served["PodDisruptionBudget"], func() bool { return true })
	p.reconciler.Actions.Served()
	w.rule(p, through, clock)
	w.operator = p
}

// stop ends a life of the operator, at once.
func (w *world) stop() {
	for _, p := range w.processes() {
		w.endedAt = p.clock.Now()
		w.end(p)
	}
	w.operator, w.former = nil, nil
}

func (w *world) end(p *process) {
	p.dead = true
	p.checker.Forget(w.key)
}

// finished tells whether checks have come to an end since the last time.
func (p *process) finished() (some bool) {
	for {
		select {
		case <-p.checker.Finished():
			some = true
		default:
			return some
		}
	}
}

// reconcile is one turn of an operator.
func (w *world) reconcile(p *process) {
	p.wakeAt = time.Time{}
	defer func() {
		if crash := recover(); crash != nil {
			w.trace("%s", debug.Stack())
			w.oracle.fail("a turn crashes: %v", crash)
		}
	}()
	result, err := p.reconciler.Reconcile(w.context, ctrl.Request{NamespacedName: w.key})
	w.turns++
	if p.dead {
		return
	}
	switch {
	case err != nil:
		w.trace("turn failed: %v", err)
		p.wake(min(50*time.Millisecond<<min(p.failures, 12), 15*time.Second))
		p.failures++
	default:
		p.failures = 0
		if result.RequeueAfter > 0 {
			p.wake(result.RequeueAfter)
		}
	}
}

// wake has a turn be taken after a while, unless there is one before.
func (p *process) wake(after time.Duration) {
	if at := time.Now().Add(after); p.wakeAt.IsZero() || at.Before(p.wakeAt) {
		p.wakeAt = at
	}
}

// guard is called before each write of a process. It stops the process after the write at which it is to stop: that
// write happens, and the process hears nothing of it any more.
func (w *world) guard(p *process, verb string, of id) error {
	if p.dead {
		return errDead
	}
	if err := w.refused(verb, of); err != nil {
		return err
	}
	if err := w.disturb(p, verb, of); err != nil {
		return err
	}
	w.writes++
	w.trace("operator: %s %s %s", verb, of.kind, of.name)
	if p.writesLeft > 0 {
		if p.writesLeft--; p.writesLeft == 0 {
			p.dead = true
		}
	}
	return nil
}

// bound is a mesh as one process reaches it.
type bound struct {
	*mesh
	process *process
	world   *world
}

// Apply implements providers.Router.
func (b bound) Apply(ctx context.Context, r providers.Route) error {
	if b.process.dead {
		return errDead
	}
	b.gate = func(verb string) error { return b.world.guard(b.process, verb, id{"Route", b.name}) }
	b.world.asking = b.process
	return b.process.answer(b.mesh.Apply(ctx, r))
}

// Release implements providers.Router.
func (b bound) Release(ctx context.Context, r providers.Route) error {
	if b.process.dead {
		return errDead
	}
	b.gate = func(verb string) error { return b.world.guard(b.process, verb, id{"Route", b.name}) }
	return b.process.answer(b.mesh.Release(ctx, r))
}

// asked answers for the metrics of Canaries.
type asked struct{ w *world }

// Server implements checks.Sources.
func (a asked) Server(context.Context, *v1beta1.Canary) (metrics.Provider, error) {
	return a.w.metrics, nil
}

// Template implements checks.Sources.
func (a asked) Template(_ context.Context, _ *v1beta1.Canary, m v1beta1.CanaryMetric) (metrics.Provider, metrics.Query, error) {
	if a.w.objects[id{"MetricTemplate", m.TemplateRef.Name}] == nil {
		return nil, metrics.Query{}, &sources.Problem{Reason: "TemplateMissing", Message: "there is no MetricTemplate " + m.TemplateRef.Name}
	}
	return a.w.metrics, metrics.Query{Expr: m.Name}, nil
}

// Count implements checks.Sources.
func (a asked) Count(_ context.Context, _ *v1beta1.Canary, m v1beta1.CanaryMetric, version string, bad bool, _ string) (metrics.Provider, metrics.Query, error) {
	if m.TemplateRef == nil || a.w.objects[id{"MetricTemplate", m.TemplateRef.Name}] == nil {
		return nil, metrics.Query{}, &sources.Problem{Reason: "TemplateMissing", Message: "there is no MetricTemplate"}
	}
	return counts{a.w, version == string(builtin.Canary), bad}, metrics.Query{Expr: m.Name}, nil
}

// Place implements checks.Sources.
func (a asked) Place(context.Context, *v1beta1.Canary, v1beta1.CanaryMetric) string { return "metrics" }

// recorder keeps the operator's events.
type recorder struct{ w *world }

var _ events.EventRecorder = recorder{}

// Eventf implements events.EventRecorder.
func (r recorder) Eventf(_ runtime.Object, _ runtime.Object, kind, reason, _, note string, args ...any) {
	r.w.trace("event: %s %s: %s", kind, reason, fmt.Sprintf(note, args...))
}

// indexes are those of the operator's caches: what an object has in each, by kind and name of the index.
var indexes = func() map[id]func(client.Object) []string {
	out := map[id]func(client.Object) []string{
		{"PodDisruptionBudget", "reach"}: func(client.Object) []string { return []string{namespace} },
		{"EndpointSlice", "service"}:     func(o client.Object) []string { return []string{o.GetLabels()[discoveryv1.LabelServiceName]} },
	}
	for _, x := range slices.Concat(wake.Indexes(), checks.Indexes(), autoscaling.Indexes(), actions.Indexes(), configs.Indexes(), coverage.Indexes()) {
		if kind := x.Of.GetObjectKind().GroupVersionKind().Kind; kind != "" {
			out[id{kind, x.Name}] = x.Values
			continue
		}
		kinds, _, err := scheme.ObjectKinds(x.Of)
		if err != nil {
			continue // a kind that is not served
		}
		out[id{kinds[0].Kind, x.Name}] = x.Values
	}
	return out
}()

// canaryKey is the only Canary's.
var canaryKey = client.ObjectKey{Namespace: namespace, Name: "podinfo"}
