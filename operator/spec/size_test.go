package spec_test

import (
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/spec"
)

func TestInvalidSize(t *testing.T) {
	const half = 256 << 10
	text := func(n int) map[string]string { return map[string]string{"k": strings.Repeat("x", n-1)} }
	raw := func(n int) v1beta1.RawObject { return v1beta1.RawObject{Raw: []byte(strings.Repeat("x", n))} }
	// Each of them adds half of what is allowed.
	halves := map[string]func(*v1beta1.Canary){
		"queries": func(c *v1beta1.Canary) {
			for range 4 {
				c.Spec.Analysis.Metrics = append(c.Spec.Analysis.Metrics, v1beta1.CanaryMetric{Query: strings.Repeat("x", half/4)})
			}
		},
		"variables": func(c *v1beta1.Canary) {
			c.Spec.Analysis.Metrics = append(c.Spec.Analysis.Metrics, v1beta1.CanaryMetric{TemplateVariables: text(half)})
		},
		"payloads": func(c *v1beta1.Canary) {
			c.Spec.Analysis.Webhooks = append(c.Spec.Analysis.Webhooks, v1beta1.CanaryWebhook{Metadata: text(half)})
		},
		"headers": func(c *v1beta1.Canary) {
			c.Spec.Analysis.Webhooks = append(c.Spec.Analysis.Webhooks, v1beta1.CanaryWebhook{Headers: text(half)})
		},
		"addresses": func(c *v1beta1.Canary) {
			c.Spec.Analysis.Webhooks = append(c.Spec.Analysis.Webhooks, v1beta1.CanaryWebhook{URL: strings.Repeat("x", half)})
		},
		"matches of the analysis": func(c *v1beta1.Canary) { c.Spec.Analysis.Match = []v1beta1.RawObject{raw(half)} },
		"matches of the service":  func(c *v1beta1.Canary) { c.Spec.Service.Match = []v1beta1.RawObject{raw(half / 2), raw(half / 2)} },
	}
	for name, add := range halves {
		t.Run(name, func(t *testing.T) {
			c := &v1beta1.Canary{Spec: v1beta1.CanarySpec{Analysis: &v1beta1.CanaryAnalysis{Metrics: []v1beta1.CanaryMetric{{Query: strings.Repeat("x", half)}}}}}
			add(c)
			if got := spec.InvalidSize(c); got != "" {
				t.Errorf("what is allowed is refused: %s", got)
			}
			c.Spec.Analysis.Metrics[0].Query += "x"
			if got, want := spec.InvalidSize(c), "have 524289 bytes of text in all; allowed: 524288"; !strings.Contains(got, want) {
				t.Errorf("%q, want %q in it", got, want)
			}
		})
	}
}
