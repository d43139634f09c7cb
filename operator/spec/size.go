package spec

import (
	"fmt"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// maxTexts is how many bytes of text the analysis and the description of requests may have in all. etcd stores no object above
// 1.5 MB, and a Canary whose status can't be stored any more would keep a bad canary for good.
const maxTexts = 512 << 10

// InvalidSize says that a Canary has more text than leaves room for its status, empty if it has not.
func InvalidSize(c *v1beta1.Canary) string {
	n := 0
	pairs := func(texts map[string]string) {
		for key, value := range texts {
			n += len(key) + len(value)
		}
	}
	a := c.GetAnalysis()
	for i := range a.Metrics {
		n += len(a.Metrics[i].Query)
		pairs(a.Metrics[i].TemplateVariables)
	}
	for i := range a.Webhooks {
		n += len(a.Webhooks[i].URL)
		pairs(a.Webhooks[i].Metadata)
		pairs(a.Webhooks[i].Headers)
	}
	for _, match := range [][]v1beta1.RawObject{a.Match, c.Spec.Service.Match} {
		for i := range match {
			n += len(match[i].Raw)
		}
	}
	if n <= maxTexts {
		return ""
	}
	return fmt.Sprintf("spec: queries, variables, hooks and matches have %d bytes of text in all; allowed: %d, so that there is room for the status", n, maxTexts)
}
