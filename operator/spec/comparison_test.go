package spec_test

import (
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/spec"
)

func TestInvalidComparison(t *testing.T) {
	compared := func(name string) v1beta1.CanaryMetric {
		return v1beta1.CanaryMetric{Name: name, Comparison: &v1beta1.MetricComparison{}}
	}
	limited := func(name string) v1beta1.CanaryMetric {
		return v1beta1.CanaryMetric{Name: name, Comparison: &v1beta1.MetricComparison{Limit: new(2.0)}}
	}
	slow := limited(v1beta1.MetricRequestDuration)
	slow.ThresholdRange = &v1beta1.CanaryThresholdRange{Max: new(500.0)}
	query, template := compared("errors"), compared("errors")
	query.Query, template.TemplateRef = "sum(errors)", &v1beta1.CrossNamespaceObjectReference{Name: "errors"}
	match := []v1beta1.RawObject{{Raw: []byte(`{"headers":{"x-beta":{"exact":"yes"}}}`)}}
	var many []v1beta1.CanaryMetric
	for i := range 21 {
		m := template
		m.Name = string(rune('a' + i))
		many = append(many, m)
	}
	for name, tc := range map[string]struct {
		analysis v1beta1.CanaryAnalysis
		want     string
	}{
		"no comparison":        {v1beta1.CanaryAnalysis{StepWeight: 10, Metrics: []v1beta1.CanaryMetric{{Name: "request-success-rate"}}}, ""},
		"weights":              {v1beta1.CanaryAnalysis{StepWeight: 10, Metrics: []v1beta1.CanaryMetric{compared("request-success-rate"), compared("request-duration")}}, ""},
		"a template":           {v1beta1.CanaryAnalysis{StepWeight: 10, Metrics: []v1beta1.CanaryMetric{template}}, ""},
		"a query":              {v1beta1.CanaryAnalysis{StepWeight: 10, Metrics: []v1beta1.CanaryMetric{query}}, "spec.analysis.metrics[0].comparison: it needs counts"},
		"not built in":         {v1beta1.CanaryAnalysis{StepWeight: 10, Metrics: []v1beta1.CanaryMetric{compared("latency")}}, `metrics[0].comparison: "latency" is not built in`},
		"twice":                {v1beta1.CanaryAnalysis{StepWeight: 10, Metrics: []v1beta1.CanaryMetric{template, template}}, `metrics[1].name: "errors" is the name of another`},
		"A/B testing":          {v1beta1.CanaryAnalysis{Iterations: 5, Match: match, Metrics: []v1beta1.CanaryMetric{compared("request-success-rate")}}, "those that analysis.match chooses"},
		"A/B testing, a limit": {v1beta1.CanaryAnalysis{Iterations: 5, Match: match, Metrics: []v1beta1.CanaryMetric{limited("request-success-rate")}}, ""},
		"weights of a match":   {v1beta1.CanaryAnalysis{StepWeight: 10, Match: match, Metrics: []v1beta1.CanaryMetric{compared("request-success-rate")}}, "those that analysis.match chooses"},
		"blue/green":           {v1beta1.CanaryAnalysis{Iterations: 5, Metrics: []v1beta1.CanaryMetric{compared("request-success-rate")}}, "without mirror, those of a load test"},
		"blue/green, mirrored": {v1beta1.CanaryAnalysis{Iterations: 5, Mirror: true, Metrics: []v1beta1.CanaryMetric{compared("request-success-rate")}}, ""},
		"a limit of slow requests without what is slow": {v1beta1.CanaryAnalysis{StepWeight: 10, Metrics: []v1beta1.CanaryMetric{limited("request-duration")}}, "comparison.limit: it is a share of slow requests"},
		"a limit of slow requests":                      {v1beta1.CanaryAnalysis{StepWeight: 10, Metrics: []v1beta1.CanaryMetric{slow}}, ""},
		"too many":                                      {v1beta1.CanaryAnalysis{StepWeight: 10, Metrics: many}, "21 have a comparison; allowed: 20"},
		"a judgement of nothing":                        {v1beta1.CanaryAnalysis{StepWeight: 10, Judgement: &v1beta1.CanaryJudgement{}}, "spec.analysis.judgement: "},
		"steps end early":                               {v1beta1.CanaryAnalysis{StepWeight: 10, Metrics: []v1beta1.CanaryMetric{template}, Judgement: &v1beta1.CanaryJudgement{StepEarly: true}}, ""},
		"iterations end early":                          {v1beta1.CanaryAnalysis{Iterations: 5, Mirror: true, Metrics: []v1beta1.CanaryMetric{template}, Judgement: &v1beta1.CanaryJudgement{StepEarly: true}}, "spec.analysis.judgement.stepEarly: it is about steps of weights, and with 5 iterations there are none; allowed: false"},
		"no duration":                                   {v1beta1.CanaryAnalysis{StepWeight: 10, Judgement: &v1beta1.CanaryJudgement{MaxDuration: "soon"}}, "spec.analysis.judgement.maxDuration: "},
	} {
		t.Run(name, func(t *testing.T) {
			got := spec.InvalidComparison(&tc.analysis)
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
