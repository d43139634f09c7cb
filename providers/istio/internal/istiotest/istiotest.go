// Package istiotest has what the tests of the packages for Istio have in common: a Canary, and
// objects of Istio from YAML.
package istiotest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// Canary is that of podinfo, with changes to its spec.service.
func Canary(change ...func(*v1beta1.CanaryService)) *v1beta1.Canary {
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: "test", UID: "c1"},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
			Service:   v1beta1.CanaryService{Port: 9898},
			Analysis:  &v1beta1.CanaryAnalysis{StepWeight: 10},
		},
	}
	for _, f := range change {
		f(&c.Spec.Service)
	}
	return c
}

// WithPolicy needs the two DestinationRules.
func WithPolicy(s *v1beta1.CanaryService) { s.TrafficPolicy = Raw(`{"tls":{"mode":"ISTIO_MUTUAL"}}`) }

// Route leads a share of the traffic to the canary.
func Route(c *v1beta1.Canary, weight int32) providers.Route {
	return providers.Route{Canary: c, Traffic: providers.Traffic{Primary: 100 - weight, Canary: weight}}
}

// Raw is a piece of Istio's API in JSON.
func Raw(s string) *v1beta1.RawObject { return &v1beta1.RawObject{Raw: json.RawMessage(s)} }

// DecodeYAML reads an object.
func DecodeYAML(t *testing.T, s string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := yaml.Unmarshal([]byte(s), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// Spec is that of an object that was sent.
func Spec(t *testing.T, body string) map[string]any {
	t.Helper()
	spec, _ := DecodeYAML(t, body)["spec"].(map[string]any)
	return spec
}

// Normal is a list as JSON has it.
func Normal(t *testing.T, v any) []any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out []any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// List reads a list in YAML, as JSON has it.
func List(t *testing.T, s string) []any {
	t.Helper()
	var out []any
	if err := yaml.Unmarshal([]byte(s), &out); err != nil {
		t.Fatal(err)
	}
	return Normal(t, out)
}

// Expand writes destinations the short way: "90:10" is the primary's and the
// canary's weight, "P" and "C" is one of them alone.
func Expand(s string) string {
	to := func(host string, weight any) string {
		return fmt.Sprintf("{destination: {host: podinfo-%s}, weight: %v}", host, weight)
	}
	for _, weights := range [][2]int{{100, 0}, {0, 100}, {50, 50}, {90, 10}} {
		s = strings.ReplaceAll(s, fmt.Sprintf("<%d:%d>", weights[0], weights[1]),
			"route: ["+to("primary", weights[0])+", "+to("canary", weights[1])+"]")
	}
	s = strings.ReplaceAll(s, "<P>", "route: ["+to("primary", 100)+"]")
	return strings.ReplaceAll(s, "<C>", "route: ["+to("canary", 100)+"]")
}

// object is one of Istio's kinds from the YAML of its spec.
func object(t *testing.T, o client.Object, namespace, name, spec string) client.Object {
	t.Helper()
	b, err := json.Marshal(map[string]any{"metadata": map[string]any{"namespace": namespace, "name": name, "uid": name}, "spec": DecodeYAML(t, spec)})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, o); err != nil {
		t.Fatal(err)
	}
	return o
}

// VirtualService is one of the tests' namespace from the YAML of its spec.
func VirtualService(t *testing.T, name, spec string) *networkingv1.VirtualService {
	t.Helper()
	return object(t, &networkingv1.VirtualService{}, "test", name, spec).(*networkingv1.VirtualService)
}

// Rule is a DestinationRule from the YAML of its spec.
func Rule(t *testing.T, namespace, name, spec string) *networkingv1.DestinationRule {
	t.Helper()
	return object(t, &networkingv1.DestinationRule{}, namespace, name, spec).(*networkingv1.DestinationRule)
}
