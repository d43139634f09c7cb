package canary

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/secrets"
	"github.com/sluice-delivery/sluice/operator/sources"
)

// withSources gives the scene the real sources, over its own provider.
func (s *scene) withSources() *sources.Sources {
	answers := &sources.Sources{
		Reader:  s.reconciler.Client,
		Secrets: secrets.New(s.reconciler.Client, s.api, true),
		New: func(c metrics.Config) (metrics.Provider, error) {
			if c.Address == "" {
				return nil, &metrics.ConfigError{Field: "address", Message: "a URL is needed"}
			}
			return s.provider, nil
		},
		Operator: sources.Operator{Address: "http://default:9090"},
	}
	s.reconciler.Metrics.Sources, s.checker.Sources = answers, answers
	return answers
}

func newMetricTemplate(query, address string) *v1beta1.MetricTemplate {
	return &v1beta1.MetricTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "errors"},
		Spec:       v1beta1.MetricTemplateSpec{Query: query, Provider: v1beta1.MetricTemplateProvider{Type: "graphite", Address: address}},
	}
}

func withTemplate(c canaryOf) canaryOf {
	c.Spec.Analysis.Metrics = []v1beta1.CanaryMetric{{
		Name: "errors", TemplateRef: &v1beta1.CrossNamespaceObjectReference{Name: "errors"}, ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(99.0)},
	}}
	return c
}

// A template that is missing or broken stalls its Canaries at once, and they go
// on by themselves when it is mended.
func TestTemplatesAreMended(t *testing.T) {
	good := newMetricTemplate("errors of {{ target }}", "http://graphite")
	for name, tc := range map[string]struct {
		objects []client.Object
		change  func(*v1beta1.CanarySpec)
		reason  string
		sent    string
		mend    func(*scene) error
	}{
		"missing": {
			reason: sources.ReasonTemplateMissing, sent: "spec.analysis.metrics[0].templateRef: there is no MetricTemplate errors in the namespace test",
			mend: func(s *scene) error { return s.api.Create(t.Context(), good.DeepCopy()) },
		},
		"a mistake in it": {
			objects: []client.Object{newMetricTemplate("{{ .Target }}", "http://graphite")},
			reason:  sources.ReasonTemplateInvalid, sent: "write {{ target }}, without the dot",
			mend: func(s *scene) error { return replace(t, s, good) },
		},
		"no address": {
			objects: []client.Object{newMetricTemplate("q", "")},
			reason:  sources.ReasonProviderInvalid, sent: "spec.provider.address: a URL is needed",
			mend: func(s *scene) error { return replace(t, s, good) },
		},
		"credentials of a server of its own": {
			objects: []client.Object{good.DeepCopy()},
			change: func(s *v1beta1.CanarySpec) {
				s.MetricsServerSecretRef = &corev1.LocalObjectReference{Name: "prom"}
				s.Analysis.Metrics[0] = v1beta1.CanaryMetric{Name: "q", Query: "q", ThresholdRange: &v1beta1.CanaryThresholdRange{}}
			},
			reason: sources.ReasonSecretMissing, sent: "spec.metricsServerSecretRef: there is no Secret prom in the namespace test",
			mend: func(s *scene) error {
				return s.api.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "prom"}})
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := withTemplate(newCanary("podinfo"))
			if tc.change != nil {
				c = c.with(tc.change)
			}
			s := newScene(t, append(slices.Clone(tc.objects), c.Canary, newTarget())...)
			s.withSources()
			s.settle()
			stalled := s.now().Status.GetCondition(v1beta1.ConditionStalled)
			if stalled == nil || stalled.Reason != tc.reason || !strings.Contains(stalled.Message, tc.sent) {
				t.Fatalf("stalled: %+v", stalled)
			}
			if err := tc.mend(s); err != nil {
				t.Fatal(err)
			}
			s.settle()
			if got := s.now().Status; got.GetCondition(v1beta1.ConditionStalled) != nil || got.Phase != v1beta1.PhaseInitialized {
				t.Errorf("mended: %s %+v", got.Phase, got.Conditions)
			}
		})
	}
}

func replace(t *testing.T, s *scene, template *v1beta1.MetricTemplate) error {
	t.Helper()
	now := &v1beta1.MetricTemplate{}
	if err := s.api.Get(t.Context(), client.ObjectKeyFromObject(template), now); err != nil {
		return err
	}
	now.Spec = template.Spec
	return s.api.Update(t.Context(), now)
}

func TestTemplateIsAsked(t *testing.T) {
	s := newScene(t, withTemplate(newCanary("podinfo")).Canary, newTarget(), newMetricTemplate("errors of {{ target }} in {{ namespace }}", "http://graphite"))
	s.withSources()
	var asked []string
	s.provider.answer = func(_ context.Context, q metrics.Query) (metrics.Sample, error) {
		asked = append(asked, q.Expr)
		return metrics.Sample{Value: 99.5}, nil
	}
	c := s.now()
	k := s.reconciler.Checker
	k.Run(t.Context(), c, release.CheckID{Revision: "s1-a", Step: 1, Window: 1}, nil)
	awaitFinished(t, k)
	round, _ := k.Results(c)
	got := round.Results[0]
	if d := cmp.Diff([]string{"errors of podinfo in test"}, asked); d != "" || got.Verdict != v1beta1.CheckPassed || got.Query != asked[0] {
		t.Errorf("asked %v, result %+v", asked, got)
	}
}

// What can't be looked at for the moment holds up nothing.
func TestTemplateThatCantBeRead(t *testing.T) {
	s := newScene(t, withTemplate(newCanary("podinfo")).Canary, newTarget())
	s.reconciler.Metrics.Sources = servers(func(string) (metrics.Provider, error) { return nil, errors.New("away") })
	s.settle()
	if got := s.now().Status; got.Phase != v1beta1.PhaseInitialized {
		t.Errorf("%s %+v", got.Phase, got.Conditions)
	}
}
