package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/rig"
)

// TestMetricTemplate has the release judged by a query of its user's own: a broken
// template is told when it is applied and keeps the Canary from beginning, and
// once it is mended the analysis asks the real Prometheus with what it renders.
func TestMetricTemplate(t *testing.T) {
	t.Parallel()
	a := newApp(t, "template")
	a.deploy()
	requests := a.call(50)
	template := &v1beta1.MetricTemplate{Spec: v1beta1.MetricTemplateSpec{
		Provider: v1beta1.MetricTemplateProvider{Type: "prometheus", Address: a.PrometheusURL()},
		Query:    `count(up{namespace="{{ .Namespace }}"})`,
	}}
	template.Namespace, template.Name = a.Namespace, "errors"
	a.must(a.API.Create(t.Context(), template))
	a.await("the verdict on the template", func(ctx context.Context) error {
		var m v1beta1.MetricTemplate
		if err := a.API.Get(ctx, a.key("errors"), &m); err != nil {
			return err
		}
		for _, c := range m.Status.Conditions {
			if c.Type == "Ready" && c.Status == corev1.ConditionFalse && containsAll(c.Message, []string{"spec.query", "{{ .Namespace }}", "{{ namespace }}"}) {
				return nil
			}
		}
		return fmt.Errorf("conditions %+v", m.Status.Conditions)
	})
	a.apply(func(c *v1beta1.Canary) {
		quick(c)
		c.Spec.Analysis.Interval, c.Spec.Analysis.StepWeight, c.Spec.Analysis.Threshold = "3s", 50, 1
		c.Spec.Analysis.Metrics = []v1beta1.CanaryMetric{{
			Name: "errors", Interval: "5s", ThresholdRange: &v1beta1.CanaryThresholdRange{Max: new(1.0)},
			TemplateRef:       &v1beta1.CrossNamespaceObjectReference{Name: "errors"},
			TemplateVariables: map[string]string{"code": "0"},
		}}
	})
	a.awaitCondition(rig.Name, v1beta1.ConditionStalled, corev1.ConditionTrue, "TemplateInvalid", "{{ .Namespace }}")

	broken := template.DeepCopy()
	template.Spec.Query = `100 * (sum(rate(istio_requests_total{destination_workload_namespace="{{ namespace }}",destination_workload="{{ target }}",` +
		`grpc_response_status!~"{{ variables.code }}"}[{{ interval }}])) or vector(0)) / sum(rate(istio_requests_total{` +
		`destination_workload_namespace="{{ namespace }}",destination_workload="{{ target }}"}[{{ interval }}]))`
	a.must(a.API.Patch(t.Context(), template, client.MergeFrom(broken)))
	a.awaitPhase(v1beta1.PhaseInitialized)
	a.awaitDrained()
	requests.awaitMore(50)

	a.release("6.0.1")
	a.awaitPhase(v1beta1.PhaseSucceeded)
	a.wantPrimary("6.0.1")

	a.release("6.0.2", corev1.EnvVar{Name: "SLUICE_ERROR_PERCENT", Value: "50"})
	a.awaitPhase(v1beta1.PhaseFailed)
	a.awaitEvent(rig.Name, "AnalysisFailed", "errors is ", "above the maximum 1")
	checks := a.canary().Status.Checks
	if len(checks) != 1 || !containsAll(checks[0].Query, []string{`destination_workload_namespace="template"`, `destination_workload="podinfo"`, `grpc_response_status!~"0"`, "[5s]"}) {
		t.Errorf("status does not show the query as it was asked (pain 14): %+v", checks)
	}
	if history := a.canary().Status.History; len(history) == 0 || history[len(history)-1].Verdict != v1beta1.CheckFailed {
		t.Errorf("status does not show the rounds: %+v", history)
	}
}
