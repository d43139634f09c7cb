package canary

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics/builtin"
	"github.com/sluice-delivery/sluice/operator/autoscaling"
	"github.com/sluice-delivery/sluice/operator/spec"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/webhooks"
)

// invalid says what in a spec can't be carried out, nothing if all can. What the
// CRD's schema refuses does not come here, unless it is older than the schema.
//
// A field that would decide over a release, or protect it, and that can't be
// acted on is refused rather than passed over: a release without the gate that
// its manifest asks for is worse than none.
func invalid(c *v1beta1.Canary, provider string, can providers.Capabilities) []string {
	a := c.GetAnalysis()
	var out []string
	add := func(field, message string) {
		if message != "" {
			out = append(out, field+message)
		}
	}
	problem := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	_, err := a.GetInterval()
	add("spec.analysis.interval: ", problem(err))
	switch isKnative := strings.HasPrefix(c.Spec.TargetRef.APIVersion, "serving.knative.dev/"); {
	case isKnative && !knative.Is(c):
		add("spec.targetRef.kind: ", fmt.Sprintf("%q of Knative can't be released; allowed is Service", c.Spec.TargetRef.Kind))
	case isKnative && provider != v1beta1.ProviderKnative:
		add("spec.provider: ", fmt.Sprintf("%q doesn't divide the requests of a Service of Knative; allowed is knative", provider))
	}
	if a.Strategy() == v1beta1.StrategyWeighted && len(a.Steps()) == 0 && !c.Spec.SkipAnalysis {
		add("spec.analysis: ", "there is no step: set stepWeight, stepWeights or iterations")
	}
	add("", problem(can.Check(provider, c)))
	add("", autoscaling.Invalid(c))
	add("", invalidHooks(a))
	add("", spec.InvalidSize(c))
	add("", spec.InvalidRequests(c, provider))
	if s := a.SessionAffinity; s != nil && s.CookieName != "" && s.CookieName == s.PrimaryCookieName {
		add("spec.analysis.sessionAffinity.primaryCookieName: ", fmt.Sprintf("%q is the cookie of the canary's users, the primary's need another", s.PrimaryCookieName))
	}
	add("", invalidMetrics(a))
	add("", spec.InvalidComparison(a))
	add("", problem(providers.Uncounted(a, provider, c.Spec.Service.AppProtocol)))
	return out
}

func invalidHooks(a *v1beta1.CanaryAnalysis) string {
	for i := range a.Webhooks {
		hook := &a.Webhooks[i]
		_, err := hook.GetDeadline()
		if err == nil {
			_, err = webhooks.NewCall(hook, webhooks.Payload{}, webhooks.Credentials{}, "")
		}
		if err != nil {
			return fmt.Sprintf("spec.analysis.webhooks[%d], %s: %v", i, hook.Name, err)
		}
	}
	return ""
}

func invalidMetrics(a *v1beta1.CanaryAnalysis) string {
	for i, m := range a.Metrics {
		field := fmt.Sprintf("spec.analysis.metrics[%d]", i)
		switch {
		case m.TemplateRef != nil && m.TemplateRef.Name == "":
			return field + ".templateRef.name: a MetricTemplate is needed"
		}
		if m.IsBuiltIn() && builtin.Known(m.Name) {
			if err := builtin.CheckInterval(m.GetInterval()); err != nil {
				return field + ".interval: " + err.Error()
			}
		}
		if _, err := m.GetWarmUp(); err != nil {
			return field + "." + err.Error()
		}
	}
	return ""
}

// ignored names the fields that have no effect, each with its reason. Flagger
// accepts them, so manifests have them.
func ignored(c *v1beta1.Canary, router providers.Router) []string {
	a, s := c.GetAnalysis(), &c.Spec.Service
	out := []ignoredField{
		{c.Spec.Analysis != nil && c.Spec.CanaryAnalysis != nil, "spec.canaryAnalysis", "analysis is set"},
		{autoscaling.HasQueriesForHPA(c), "spec.autoscalerRef.primaryScalerQueries", "a HorizontalPodAutoscaler has no queries"},
		{c.Spec.IngressRef != nil && !providers.ByIngress(router), "spec.ingressRef", "only providers nginx and skipper go by an Ingress"},
		{c.Spec.RouteRef != nil && !providers.ByRouteRef(router), "spec.routeRef", "only provider apisix goes by an ApisixRoute"},
		{c.Spec.UpstreamRef != nil, "spec.upstreamRef", "Gloo is not served"},
		{s.MeshName != "", "spec.service.meshName", "App Mesh is not served"},
		{len(s.Backends) > 0, "spec.service.backends", "App Mesh is not served"},
	}
	all := append(effectless(append(out, ignoredOfAnalysis(a)...)), bounded(a)...)
	return append(all, providers.Ignored(router, c)...)
}

// ignoredField is a field that has no effect where it is set so.
type ignoredField struct {
	is   bool
	name string
	why  string
}

// effectless are the messages of those that are set.
func effectless(fields []ignoredField) []string {
	var out []string
	for _, field := range fields {
		if field.is {
			out = append(out, field.name+" has no effect: "+field.why)
		}
	}
	return out
}

func ignoredOfAnalysis(a *v1beta1.CanaryAnalysis) []ignoredField {
	strategy := a.Strategy()
	iterates := strategy != v1beta1.StrategyWeighted
	return []ignoredField{
		{len(a.StepWeights) > 0 && a.StepWeight > 0, "spec.analysis.stepWeight", "stepWeights is set"},
		{len(a.StepWeights) > 0 && a.MaxWeight > 0, "spec.analysis.maxWeight", "stepWeights is set"},
		{iterates && a.StepWeight > 0, "spec.analysis.stepWeight", "iterations is set"},
		{iterates && len(a.StepWeights) > 0, "spec.analysis.stepWeights", "iterations is set"},
		{iterates && a.MaxWeight > 0, "spec.analysis.maxWeight", "iterations is set"},
		{iterates && a.SessionAffinity != nil, "spec.analysis.sessionAffinity", "iterations is set"},
		{!iterates && len(a.Match) > 0 && a.SessionAffinity != nil, "spec.analysis.sessionAffinity", "match is set"},
		{strategy == v1beta1.StrategyABTesting && a.Mirror, "spec.analysis.mirror", "match is set"},
		{strategy == v1beta1.StrategyABTesting && a.StepWeightPromotion > 0, "spec.analysis.stepWeightPromotion", "match is set"},
		{a.MirrorWeight > 0 && !a.Mirror, "spec.analysis.mirrorWeight", "mirror is not set"},
	}
}

// bounded names the fields of an analysis that say more than is done.
func bounded(a *v1beta1.CanaryAnalysis) []string {
	var out []string
	if d, err := time.ParseDuration(a.Interval); err == nil && d < v1beta1.MinInterval {
		out = append(out, fmt.Sprintf("spec.analysis.interval counts as %s, which is the least", v1beta1.MinInterval))
	}
	for i := range a.Webhooks {
		hook, field := &a.Webhooks[i], fmt.Sprintf("spec.analysis.webhooks[%d]", i)
		if d, err := time.ParseDuration(hook.Timeout); err == nil && d > v1beta1.MaxHookTimeout {
			out = append(out, fmt.Sprintf("%s.timeout counts as %s, which is the most", field, v1beta1.MaxHookTimeout))
		}
		if hook.Retries > v1beta1.MaxHookRetries {
			out = append(out, fmt.Sprintf("%s.retries counts as %d, which is the most", field, v1beta1.MaxHookRetries))
		}
	}
	return out
}
