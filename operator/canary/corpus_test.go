package canary

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/operator/autoscaling"
	"github.com/sluice-delivery/sluice/operator/checks"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/sources"
	"github.com/sluice-delivery/sluice/operator/telemetry"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/factory"
)

var writeCorpus = flag.Bool("corpus.write", false, "write the results of the corpus into docs/compatibility.md")

const (
	corpusBegin = "<!-- corpus:begin -->\n"
	corpusEnd   = "<!-- corpus:end -->\n"
	corpusDocs  = "../../docs/compatibility.md"
)

// The Canaries of Flagger's documentation, examples and tests, with the fields and values that they have there, are
// initialized and released, or it is said why not. What becomes of each is in the documentation. That they pass the
// schema is tested there.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("../../api/v1beta1/testdata/corpus/*.yaml")
	if err != nil || len(files) < 130 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var rows strings.Builder
	rows.WriteString("| manifest | provider | result |\n| --- | --- | --- |\n")
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			c, provider := corpusCanary(t, file)
			fmt.Fprintf(&rows, "| %s | `%s` | %s |\n", name, provider, corpusResult(t, c, provider))
		})
	}
	old, err := os.ReadFile(corpusDocs)
	if err != nil {
		t.Fatal(err)
	}
	before, remaining, begins := strings.Cut(string(old), corpusBegin)
	_, after, ends := strings.Cut(remaining, corpusEnd)
	if !begins || !ends {
		t.Fatalf("%s has no place for the results", corpusDocs)
	}
	page := []byte(before + corpusBegin + rows.String() + corpusEnd + after)
	switch {
	case bytes.Equal(old, page):
	case *writeCorpus:
		if err := os.WriteFile(corpusDocs, page, 0o644); err != nil { //nolint:gosec // a page for everybody
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is out of date; run: go test ./operator/canary -run TestCorpus -corpus.write", corpusDocs)
	}
}

// corpusCanary reads a Canary, and the provider that it is for: its own, or that of the operator's command line, which the
// first line has then.
func corpusCanary(t *testing.T, file string) (c *v1beta1.Canary, provider string) {
	t.Helper()
	raw, err := os.ReadFile(file) //nolint:gosec // of the corpus
	if err != nil {
		t.Fatal(err)
	}
	c = &v1beta1.Canary{}
	if err := yaml.UnmarshalStrict(raw, c); err != nil {
		t.Fatal(err)
	}
	c.Namespace, c.UID, c.Generation = "test", "uid-of-corpus", 1
	first, _, _ := strings.Cut(string(raw), "\n")
	provider = c.GetProvider(strings.TrimPrefix(first, "# -mesh-provider="))
	if strings.ContainsAny(provider, " #") || provider == "" {
		t.Fatalf("it has no provider, and its first line is %q", first)
	}
	return c, provider
}

// corpusResult is what becomes of a Canary.
func corpusResult(t *testing.T, c *v1beta1.Canary, provider string) string {
	t.Helper()
	if provider == v1beta1.ProviderKnative {
		return corpusOfKnative(t, c)
	}
	target := newTarget()
	target.Name = c.Spec.TargetRef.Name
	target.Spec.Template.Spec.Containers[0].Ports = nil
	objects := []client.Object{c, target}
	if ref := c.Spec.AutoscalerRef; ref != nil {
		objects = append(objects, corpusAutoscaler(t, ref, target.Name))
	}
	if c.Spec.TargetRef.Kind != "Deployment" {
		// The scene has a controller of Deployments only; what differs for other kinds is tested elsewhere.
		c.Spec.TargetRef.Kind = "Deployment"
	}
	s := newScene(t, objects...)
	s.serveKEDA()
	serveCorpus(s, provider)
	s.rollOut()
	s.phases()
	status := s.now().Status
	if stalled := status.GetCondition(v1beta1.ConditionStalled); stalled != nil && stalled.Status == "True" {
		if stalled.Reason == reasonUnknownProvider {
			return "refused: the provider is not served"
		}
		return "refused, `" + stalled.Reason + "`: " + oneLine(stalled.Message)
	}
	if status.Phase != v1beta1.PhaseInitialized {
		t.Fatalf("phase %s: %+v", status.Phase, status.Conditions)
	}
	edit(s, s.deployment(target.Name), func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "podinfo:2" })
	for range 3 { // a hook that is asked all the time ends a turn before there is an answer
		s.phases()
		if status = s.now().Status; status.Phase == v1beta1.PhaseSucceeded {
			break
		}
	}
	if status.Phase != v1beta1.PhaseSucceeded {
		t.Fatalf("the release ends %s: %+v", status.Phase, status.Conditions)
	}
	return released(status)
}

// corpusOfKnative is corpusResult of a Canary whose target is a Service of Knative.
func corpusOfKnative(t *testing.T, c *v1beta1.Canary) string {
	t.Helper()
	s := newKnativeScene(t, func(spec *v1beta1.CanarySpec) { *spec = c.Spec })
	passChecks(s.scene, v1beta1.ProviderKnative)
	s.phases()
	s.edit("podinfo:2")
	if phases := s.phases(); len(phases) == 0 || !strings.HasPrefix(phases[len(phases)-1], string(v1beta1.PhaseSucceeded)) {
		t.Fatalf("the release goes %v: %+v", phases, s.now().Status.Conditions)
	}
	return released(s.now().Status)
}

// released says how a release that has succeeded was served.
func released(status v1beta1.CanaryStatus) string {
	if ignored := status.GetCondition(v1beta1.ConditionFieldsIgnored); ignored != nil {
		return "released; " + oneLine(ignored.Message)
	}
	return "released"
}

func oneLine(message string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(message)
}

// corpusAutoscaler is the one that a Canary refers to; it scales the target and has the triggers that the Canary names.
func corpusAutoscaler(t *testing.T, ref *v1beta1.AutoscalerReference, target string) client.Object {
	t.Helper()
	if ref.Kind != autoscaling.KindScaledObject {
		hpa := newHPA(ref.Name)
		hpa.Spec.ScaleTargetRef.Name = target
		return hpa
	}
	so := newScaledObject(ref.Name)
	triggers := []any{}
	for name := range ref.PrimaryScalerQueries {
		triggers = append(triggers, map[string]any{"type": "prometheus", "name": name, "metadata": map[string]any{"query": "vector(1)"}})
	}
	if err := errors.Join(unstructured.SetNestedField(so.Object, target, "spec", "scaleTargetRef", "name"), unstructured.SetNestedSlice(so.Object, triggers, "spec", "triggers")); err != nil {
		t.Fatal(err)
	}
	return so
}

// serveCorpus has the scene know every provider, with what it can do.
func serveCorpus(s *scene, provider string) {
	r := s.reconciler
	r.Provider = provider
	r.Router = func(name string) (providers.Router, error) {
		router, err := factory.New(name, factory.Deps{Client: r.Client, Applier: r.Applier})
		if err != nil {
			return nil, err
		}
		s.router.Can = router.Capabilities()
		return &corpusRouter{Router: s.router, of: router}, nil
	}
	passChecks(s, provider)
	r.Autoscalers.ScaledObjectsServed()
}

// passChecks has the scene know every MetricTemplate; each check passes, and each hook but those that would roll back says yes.
func passChecks(s *scene, provider string) {
	r, all := s.reconciler, passing{s}
	r.Checker = &promptChecker{t: s.t, Checker: checks.New(checks.Config{
		Sources: all, MeshProvider: provider, Concurrency: 4, Clock: s.clock,
		Telemetry: telemetry.NewRollouts(prometheus.NewRegistry(), s.clock, "test", provider),
		Hooks: func(_ context.Context, _ *v1beta1.Canary, h v1beta1.CanaryWebhook, _ release.CheckID) (string, error) {
			if h.GetType() == v1beta1.RollbackHook {
				return "403", errors.New("nobody asks for it")
			}
			return "200", nil
		},
	})}
	r.Metrics = &checks.Needs{Sources: all, Reader: r.Client}
}

// promptChecker is a Checker whose runs are over when they have begun.
type promptChecker struct {
	*checks.Checker

	t *testing.T
}

// Run runs checks or calls hooks.
func (k *promptChecker) Run(ctx context.Context, c *v1beta1.Canary, id release.CheckID, seen *release.CheckRun) {
	last, hooks := k.Results(c)
	if id.Hooks != "" {
		last = hooks[id.Hooks]
	}
	k.Checker.Run(ctx, c, id, seen)
	if last == nil || last == seen || last.ID != id { // else it was over before
		awaitFinished(k.t, k.Checker)
	}
}

// RunPromptly runs a round.
func (k *promptChecker) RunPromptly(ctx context.Context, c *v1beta1.Canary, id release.CheckID, seen *release.CheckRun) *release.CheckRun {
	k.Run(ctx, c, id, seen)
	round, _ := k.Results(c)
	return round
}

// corpusRouter moves traffic in memory, and is otherwise what the router of a provider is.
type corpusRouter struct {
	providers.Router

	of providers.Router
}

// Ignores implements providers.Ignorer.
func (r *corpusRouter) Ignores() map[string]string {
	if of, ok := r.of.(providers.Ignorer); ok {
		return of.Ignores()
	}
	return nil
}

// ByIngress implements providers.ByIngresser.
func (r *corpusRouter) ByIngress() bool { return providers.ByIngress(r.of) }

// ByRouteRef implements providers.ByRouteRefer.
func (r *corpusRouter) ByRouteRef() bool { return providers.ByRouteRef(r.of) }

// passing are metrics servers whose every answer is in the range that is asked for.
type passing struct{ s *scene }

func (p passing) Server(_ context.Context, c *v1beta1.Canary) (metrics.Provider, error) {
	out := &fakeProvider{}
	out.answer = func(_ context.Context, q metrics.Query) (metrics.Sample, error) {
		for _, m := range c.GetAnalysis().Metrics {
			if inline, err := sources.Inline(c, m); m.Query != "" && err == nil && inline.Expr == q.Expr {
				return metrics.Sample{Value: inRange(m)}, nil
			}
		}
		return metrics.Sample{Value: 100}, nil // percent, or milliseconds
	}
	return out, nil
}

func (p passing) Template(_ context.Context, _ *v1beta1.Canary, m v1beta1.CanaryMetric) (metrics.Provider, metrics.Query, error) {
	out := &fakeProvider{}
	out.value(inRange(m))
	return out, metrics.Query{Expr: m.Name}, nil
}

func (p passing) Count(context.Context, *v1beta1.Canary, v1beta1.CanaryMetric, string, bool, string) (metrics.Provider, metrics.Query, error) {
	return nil, metrics.Query{}, errors.New("there are no templates here")
}

func (p passing) Place(context.Context, *v1beta1.Canary, v1beta1.CanaryMetric) string {
	return "http://prometheus"
}

// inRange is a value in the range of a metric.
func inRange(m v1beta1.CanaryMetric) float64 {
	if limits := m.ThresholdRange; limits != nil && limits.Max != nil {
		return *limits.Max
	}
	if !m.IsBuiltIn() && m.Threshold != nil {
		return *m.Threshold // of a query it is the highest value
	}
	return 100
}
