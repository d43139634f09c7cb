package checks

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/operator/world"
)

func TestCanariesOfATemplate(t *testing.T) {
	elsewhere := newCanary("elsewhere")
	elsewhere.Namespace = "other"
	elsewhere.Spec.Analysis.Metrics = []v1beta1.CanaryMetric{{TemplateRef: &v1beta1.CrossNamespaceObjectReference{Name: "errors", Namespace: "test"}}}
	here := newCanary("podinfo")
	here.Spec.Analysis.Metrics = []v1beta1.CanaryMetric{{TemplateRef: &v1beta1.CrossNamespaceObjectReference{Name: "errors"}}}
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	b := fake.NewClientBuilder().WithScheme(scheme).WithObjects(here.Canary, newCanary("without").Canary, elsewhere.Canary)
	for _, x := range Indexes() {
		b.WithIndex(x.Of, x.Name, x.Values)
	}
	needs := &Needs{Reader: b.Build()}
	var got []string
	for _, req := range needs.byTemplate(t.Context(), &v1beta1.MetricTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "errors"}}) {
		got = append(got, req.String())
	}
	slices.Sort(got)
	if d := cmp.Diff([]string{"other/elsewhere", "test/podinfo"}, got); d != "" {
		t.Error(d)
	}
}

// What a metric has without effect is told, and what can't be asked is a mistake.
func TestNeeds(t *testing.T) {
	with := func(all ...v1beta1.CanaryMetric) []v1beta1.CanaryMetric { return all }
	template := &v1beta1.CrossNamespaceObjectReference{Name: "errors"}
	for name, tc := range map[string]struct {
		metrics     []v1beta1.CanaryMetric
		strict      bool
		wantIgnored string // parts, each of one that is told
		wantMistake string
	}{
		"built in":      {metrics: with(v1beta1.CanaryMetric{Name: "request-duration"})},
		"a query":       {metrics: with(v1beta1.CanaryMetric{Name: "x", Query: `x{ns="{{ namespace }}"}`})},
		"never checked": {metrics: with(v1beta1.CanaryMetric{Name: "request-duration"}, v1beta1.CanaryMetric{Name: "cpu-usage"}), wantIgnored: `spec.analysis.metrics[1]: "cpu-usage" is never checked`},
		"never checked, strict": {
			metrics: with(v1beta1.CanaryMetric{Name: "cpu-usage"}), strict: true, wantIgnored: "never checked",
			wantMistake: `spec.analysis.metrics[0]: "cpu-usage" is never checked: it has neither templateRef nor query, and is not built in; built in are request-duration, request-success-rate; the operator has -strict-metrics`,
		},
		"strict, and nothing is wrong": {metrics: with(v1beta1.CanaryMetric{Name: "request-duration"}), strict: true},
		"the name of a built-in check beside a query": {
			metrics:     with(v1beta1.CanaryMetric{Name: "request-success-rate", Query: "up"}),
			wantIgnored: "spec.analysis.metrics[0].name has no effect: query is set, so the built-in check request-success-rate is not run",
		},
		"the name of a built-in check beside a template": {
			metrics:     with(v1beta1.CanaryMetric{Name: "request-duration", TemplateRef: template}),
			wantIgnored: "spec.analysis.metrics[0].name has no effect: templateRef is set, so the built-in check request-duration is not run",
		},
		"a query with a mistake": {
			metrics: with(v1beta1.CanaryMetric{Name: "x", Query: "{{ .Target }}"}), wantMistake: "spec.analysis.metrics[0].query: {{ .Target }}: write {{ target }}, without the dot",
		},
		"a query without the variable that it needs": {
			metrics: with(v1beta1.CanaryMetric{Name: "x", Query: "{{ variables.route }}"}), wantMistake: "spec.analysis.metrics[0].query: templateVariables has no value for route",
		},
		"a template and a query": {
			metrics:     with(v1beta1.CanaryMetric{Name: "x", Query: "up", TemplateRef: template}),
			wantIgnored: "spec.analysis.metrics[0].query has no effect: templateRef is set",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world.World{}
			w.Canary = newCanary("podinfo").with(func(s *v1beta1.CanarySpec) { s.Analysis.Metrics = tc.metrics }).Canary
			needs := &Needs{Strict: tc.strict, Sources: servers(func(string) (metrics.Provider, error) { return &fakeProvider{}, nil })}
			err := needs.Observe(t.Context(), w)
			message := ""
			if mistake := world.AsMistake(err); mistake != nil {
				message = mistake.Message
			} else if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(message, tc.wantMistake) || tc.wantMistake == "" && message != "" {
				t.Errorf("mistake %q", message)
			}
			if got := strings.Join(w.Ignored, "; "); !strings.Contains(got, tc.wantIgnored) || tc.wantIgnored == "" && got != "" {
				t.Errorf("told: %q", got)
			}
		})
	}
}
