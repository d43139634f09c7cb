package canary

import (
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/factory"
	"github.com/sluice-delivery/sluice/providers/istio"
)

func TestInvalid(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*v1beta1.CanarySpec)
		can    providers.Capabilities
		want   []string // nil: nothing is wrong
	}{
		"weights":                  {change: func(*v1beta1.CanarySpec) {}},
		"weights by stepWeight":    {change: func(s *v1beta1.CanarySpec) { s.Analysis.StepWeights, s.Analysis.StepWeight = nil, 10 }},
		"no analysis when skipped": {change: func(s *v1beta1.CanarySpec) { s.Analysis, s.SkipAnalysis = nil, true }},
		"under the old name":       {change: func(s *v1beta1.CanarySpec) { s.Analysis, s.CanaryAnalysis = nil, s.Analysis }},
		"built-in metric": {change: func(s *v1beta1.CanarySpec) {
			s.Analysis.Metrics = []v1beta1.CanaryMetric{{Name: "request-success-rate"}}
		}},
		"no step":     {change: func(s *v1beta1.CanarySpec) { s.Analysis.StepWeights = nil }, want: []string{"spec.analysis:", "stepWeight"}},
		"no analysis": {change: func(s *v1beta1.CanarySpec) { s.Analysis = nil }, want: []string{"spec.analysis:"}},
		"interval":    {change: func(s *v1beta1.CanarySpec) { s.Analysis.Interval = "soon" }, want: []string{"spec.analysis.interval", `"soon"`}},
		"Knative": {change: func(s *v1beta1.CanarySpec) {
			s.TargetRef.APIVersion, s.TargetRef.Kind = "serving.knative.dev/v1", "Service"
		}, want: []string{"spec.provider", "allowed is knative"}},
		"autoscaler":                          {change: func(s *v1beta1.CanarySpec) { s.AutoscalerRef = &v1beta1.AutoscalerReference{} }, want: []string{"spec.autoscalerRef"}},
		"A/B testing":                         {change: func(s *v1beta1.CanarySpec) { s.Analysis.Match = make([]v1beta1.RawObject, 1) }, want: []string{"spec.analysis.match"}},
		"blue/green":                          {change: func(s *v1beta1.CanarySpec) { s.Analysis.StepWeights, s.Analysis.Iterations = nil, 1 }, can: providers.Capabilities{HeaderMatch: true}},
		"mirroring":                           {change: func(s *v1beta1.CanarySpec) { s.Analysis.Mirror = true }, want: []string{"spec.analysis.mirror"}},
		"session affinity":                    {change: func(s *v1beta1.CanarySpec) { s.Analysis.SessionAffinity = &v1beta1.SessionAffinity{} }, want: []string{"spec.analysis.sessionAffinity"}},
		"any kind of target":                  {change: func(s *v1beta1.CanarySpec) { s.TargetRef.Kind = "DaemonSet" }},
		"hook":                                {change: hook(v1beta1.CanaryWebhook{URL: "http://tester.test/gate/check", Timeout: "5s", Deadline: "1h"})},
		"hook without an address":             {change: hook(v1beta1.CanaryWebhook{URL: "tester.test/gate"}), want: []string{"spec.analysis.webhooks[0]", "url must begin with http:// or https://"}},
		"hook with a password in its address": {change: hook(v1beta1.CanaryWebhook{URL: "ftp://me:secret@tester.test"}), want: []string{"spec.analysis.webhooks[0]", "url must begin with http:// or https://"}},
		"hook with a timeout of words":        {change: hook(v1beta1.CanaryWebhook{URL: "http://a", Timeout: "soon"}), want: []string{"spec.analysis.webhooks[0]", "timeout", `"soon"`}},
		"gate with a deadline of words":       {change: hook(v1beta1.CanaryWebhook{URL: "http://a", Deadline: "late"}), want: []string{"spec.analysis.webhooks[0]", "deadline", `"late"`}},
		"metric template": {
			change: func(s *v1beta1.CanarySpec) {
				s.Analysis.Metrics = []v1beta1.CanaryMetric{{Name: "a", Query: "a"}, {Name: "b", TemplateRef: &v1beta1.CrossNamespaceObjectReference{}}}
			},
			want: []string{"spec.analysis.metrics[1].templateRef.name"},
		},
		"metric template with a name": {
			change: func(s *v1beta1.CanarySpec) {
				s.Analysis.Metrics = []v1beta1.CanaryMetric{{Name: "b", TemplateRef: &v1beta1.CrossNamespaceObjectReference{Name: "t"}, WarmUp: "1m"}}
			},
		},
		"warm-up of words": {
			change: func(s *v1beta1.CanarySpec) {
				s.Analysis.Metrics = []v1beta1.CanaryMetric{{Name: "b", Query: "q", WarmUp: "soon"}}
			},
			want: []string{"spec.analysis.metrics[0].warmUp", `"soon"`},
		},
		"router without TCP": {change: func(s *v1beta1.CanarySpec) { s.Service.AppProtocol = "tcp" }, want: []string{"spec.service.appProtocol", `router "istio"`}},
		"built-in metric of connections": {
			change: func(s *v1beta1.CanarySpec) {
				s.Service.AppProtocol, s.Analysis.Metrics = "mysql", []v1beta1.CanaryMetric{{Name: "q", Query: "q"}, {Name: "request-success-rate"}}
			},
			can:  providers.Capabilities{Weighted: true, TCP: true},
			want: []string{"spec.analysis.metrics[1].name", `"request-success-rate"`, "mysql"},
		},
		"query about connections": {
			change: func(s *v1beta1.CanarySpec) {
				s.Service.AppProtocol, s.Analysis.Metrics = "mysql", []v1beta1.CanaryMetric{{Name: "q", Query: "q"}}
			},
			can: providers.Capabilities{Weighted: true, TCP: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.can == (providers.Capabilities{}) {
				tc.can = providers.Capabilities{Weighted: true}
			}
			got := strings.Join(invalid(newCanary("podinfo").with(tc.change).Canary, "istio", tc.can), "; ")
			if (got != "") != (tc.want != nil) {
				t.Fatalf("message %q", got)
			}
			for _, want := range tc.want {
				if !strings.Contains(got, want) {
					t.Errorf("message %q lacks %q", got, want)
				}
			}
		})
	}
}

// Fields that Flagger accepts without acting on them are accepted, but told.
func TestIgnored(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*v1beta1.CanarySpec)
		want   string
	}{
		"nothing":                   {change: func(*v1beta1.CanarySpec) {}},
		"canaryAnalysis":            {change: func(s *v1beta1.CanarySpec) { s.CanaryAnalysis = s.Analysis }, want: "spec.canaryAnalysis "},
		"ingressRef":                {change: func(s *v1beta1.CanarySpec) { s.IngressRef = &v1beta1.LocalObjectReference{} }, want: "spec.ingressRef "},
		"routeRef":                  {change: func(s *v1beta1.CanarySpec) { s.RouteRef = &v1beta1.LocalObjectReference{} }, want: "spec.routeRef "},
		"upstreamRef":               {change: func(s *v1beta1.CanarySpec) { s.UpstreamRef = &v1beta1.CrossNamespaceObjectReference{} }, want: "spec.upstreamRef "},
		"meshName":                  {change: func(s *v1beta1.CanarySpec) { s.Service.MeshName = "x" }, want: "spec.service.meshName "},
		"backends":                  {change: func(s *v1beta1.CanarySpec) { s.Service.Backends = []string{"x"} }, want: "spec.service.backends "},
		"gatewayRefs":               {change: func(s *v1beta1.CanarySpec) { s.Service.GatewayRefs = make([]v1beta1.ParentReference, 1) }, want: "spec.service.gatewayRefs "},
		"backendTimeout":            {change: func(s *v1beta1.CanarySpec) { s.Service.BackendTimeout = "1s" }, want: "spec.service.backendTimeout "},
		"mirror":                    {change: func(s *v1beta1.CanarySpec) { s.Service.Mirror = make([]v1beta1.RawObject, 1) }, want: "spec.service.mirror "},
		"stepWeight":                {change: func(s *v1beta1.CanarySpec) { s.Analysis.StepWeight = 5 }, want: "spec.analysis.stepWeight "},
		"maxWeight":                 {change: func(s *v1beta1.CanarySpec) { s.Analysis.MaxWeight = 5 }, want: "spec.analysis.maxWeight "},
		"mirrorWeight":              {change: func(s *v1beta1.CanarySpec) { s.Analysis.MirrorWeight = 5 }, want: "spec.analysis.mirrorWeight "},
		"weights beside iterations": {change: func(s *v1beta1.CanarySpec) { s.Analysis.Iterations = 5 }, want: "spec.analysis.stepWeights "},
		"sessions beside iterations": {change: func(s *v1beta1.CanarySpec) {
			s.Analysis.StepWeights, s.Analysis.Iterations, s.Analysis.SessionAffinity = nil, 5, &v1beta1.SessionAffinity{}
		}, want: "spec.analysis.sessionAffinity "},
		"mirroring beside match": {change: func(s *v1beta1.CanarySpec) {
			s.Analysis.StepWeights, s.Analysis.Iterations, s.Analysis.Match, s.Analysis.Mirror = nil, 5, make([]v1beta1.RawObject, 1), true
		}, want: "spec.analysis.mirror "},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary("podinfo").with(tc.change).Canary
			got := strings.Join(ignored(c, istio.New(istio.Config{})), "; ")
			if tc.want == "" && got != "" || !strings.HasPrefix(got, tc.want) || strings.Contains(got, ";") {
				t.Errorf("%q, want %q", got, tc.want)
			}
			all := providers.Capabilities{Weighted: true, HeaderMatch: true, Mirror: true, SessionAffinity: true}
			if message := invalid(c, "istio", all); len(message) > 0 {
				t.Errorf("refused: %s", message)
			}
		})
	}
}

// Pain 21 and others: what has no effect is told once, where people look.
// An Ingress is of no effect with a mesh alone.
func TestIngressIsNotIgnored(t *testing.T) {
	c := newCanary("podinfo").with(func(s *v1beta1.CanarySpec) { s.IngressRef = &v1beta1.LocalObjectReference{Name: "web"} }).Canary
	byRoute := newCanary("podinfo").with(func(s *v1beta1.CanarySpec) { s.RouteRef = &v1beta1.LocalObjectReference{Name: "edge"} }).Canary
	for provider, c := range map[string]*v1beta1.Canary{v1beta1.ProviderNGINX: c, v1beta1.ProviderSkipper: c, v1beta1.ProviderAPISIX: byRoute} {
		router, err := factory.New(provider, factory.Deps{})
		if err != nil {
			t.Fatal(err)
		}
		if got := ignored(c, router); len(got) > 0 {
			t.Errorf("with %s ignored are %v", provider, got)
		}
	}
}

func TestIgnoredFieldsAreTold(t *testing.T) {
	s := newScene(t, newCanary("podinfo").with(func(spec *v1beta1.CanarySpec) { spec.Analysis.StepWeight = 5 }).Canary, newTarget())
	s.rollOut()
	s.settleFully()
	if got, want := s.condition(v1beta1.ConditionFieldsIgnored), "True FieldsIgnored"; got != want {
		t.Errorf("FieldsIgnored is %q", got)
	}
	n := 0
	for _, reason := range reasons(s.sent()) {
		if reason == "Warning FieldsIgnored" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("told %d times", n)
	}
}

func hook(h v1beta1.CanaryWebhook) func(*v1beta1.CanarySpec) {
	return func(s *v1beta1.CanarySpec) { s.Analysis.Webhooks = []v1beta1.CanaryWebhook{h} }
}

// A manifest with weights on provider kubernetes is released, as with Flagger: in ten iterations, without a user on the
// canary, and what has no effect is told.
func TestWeightsWithoutMesh(t *testing.T) {
	s := newScene(t, newCanary("podinfo").with(func(spec *v1beta1.CanarySpec) {
		spec.Analysis.StepWeights, spec.Analysis.StepWeight, spec.Analysis.MaxWeight = nil, 10, 50
	}).Canary, newTarget())
	s.router.Can = providers.Capabilities{TCP: true}
	s.rollOut()
	s.phases()
	s.release("podinfo:2")
	s.phases()
	if image := s.deployment("podinfo-primary").Spec.Template.Spec.Containers[0].Image; image != "podinfo:2" {
		t.Fatalf("the primary runs %s, %s", image, s.condition(v1beta1.ConditionStalled))
	}
	for _, traffic := range s.router.Applied() {
		if traffic != (providers.Traffic{Primary: 100}) {
			t.Errorf("the router was asked for %+v", traffic)
		}
	}
	if rounds := len(s.now().Status.History); rounds != 10 {
		t.Errorf("%d rounds, want 10", rounds)
	}
	ignored := s.now().Status.GetCondition(v1beta1.ConditionFieldsIgnored)
	if ignored == nil || !strings.Contains(ignored.Message, "spec.analysis.stepWeight has no effect") || !strings.Contains(ignored.Message, "10 iterations") {
		t.Errorf("FieldsIgnored is %+v", ignored)
	}
}
