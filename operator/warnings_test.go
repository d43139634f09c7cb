package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// warned keeps what the API server warns of.
type warned struct {
	mu  sync.Mutex
	all []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (w *warned) HandleWarningHeader(_ int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, text)
}

// take gives what was warned of since it was called last.
func (w *warned) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := strings.Join(w.all, "; ")
	w.all = nil
	return out
}

// testWarnings applies what is served otherwise than it reads, under the chart's policies.
func testWarnings(t *testing.T, c *cluster.Cluster) {
	installPart(t, c, "templates/warnings.yaml")
	seen := &warned{}
	config := rest.CopyConfig(c.Config())
	config.WarningHandler = seen
	scheme, err := rig.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	canary := func(metrics ...v1beta1.CanaryMetric) client.Object {
		out := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "warned"}}
		out.Spec.TargetRef = v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "warned"}
		out.Spec.Service.Port = 80
		out.Spec.Analysis = &v1beta1.CanaryAnalysis{Interval: "1m", Threshold: 1, StepWeight: 50, Metrics: metrics}
		return out
	}
	template := func(kind, query string) client.Object {
		return &v1beta1.MetricTemplate{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "warned"},
			Spec:       v1beta1.MetricTemplateSpec{Provider: v1beta1.MetricTemplateProvider{Type: kind, Address: "http://p"}, Query: query},
		}
	}
	never := canary(v1beta1.CanaryMetric{Name: "request-duration"}, v1beta1.CanaryMetric{Name: "cpu-usage"}, v1beta1.CanaryMetric{Name: "errors"})
	err = rig.Await(t.Context(), "the policies", limit, func(ctx context.Context) error {
		for _, o := range []client.Object{never, template("prometheus", "up")} {
			if err := api.Create(ctx, o.DeepCopyObject().(client.Object), client.DryRunAll); err != nil {
				return err
			}
			if seen.take() == "" {
				return errors.New("they are not in force")
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		object client.Object
		want   string // part of the only warning; empty for none
	}{
		"never checked": {never, "never checked, as they have neither templateRef nor query and are not built in: cpu-usage, errors"},
		"the name of a built-in check": {
			canary(v1beta1.CanaryMetric{Name: "request-success-rate", TemplateRef: &v1beta1.CrossNamespaceObjectReference{Name: "x"}}, v1beta1.CanaryMetric{Name: "x", Query: "up"}),
			"not the built-in check of that name: request-success-rate",
		},
		"nothing to warn of":             {canary(v1beta1.CanaryMetric{Name: "request-duration"}, v1beta1.CanaryMetric{Name: "x", Query: "up"}), ""},
		"no metrics":                     {canary(), ""},
		"a query without aggregate":      {template("prometheus", `rate(x{app="{{ target }}"}[{{ interval }}])`), "it aggregates nothing"},
		"a query with one":               {template("prometheus", `100 - sum by (le) (rate(x{app="{{ target }}"}[{{ interval }}]))`), ""},
		"a word that is part of another": {template("prometheus", "max_over_time(x[5m])"), "it aggregates nothing"},
		"another provider":               {template("graphite", "target=x"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if err := api.Create(t.Context(), tc.object.DeepCopyObject().(client.Object), client.DryRunAll); err != nil {
				t.Fatal(err)
			}
			if got := seen.take(); !strings.Contains(got, tc.want) || (got == "") != (tc.want == "") {
				t.Errorf("warned: %s", got)
			}
		})
	}
}
