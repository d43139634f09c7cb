package rules

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

func TestGRPC(t *testing.T) {
	for name, tc := range map[string]struct {
		change    func(*v1beta1.Canary)
		traffic   providers.Traffic
		want      string
		wantField string
	}{
		"weighted": {
			traffic: providers.Traffic{Primary: 90, Canary: 10},
			want:    `[{backendRefs: [{P: 90}, {C: 10}]}]`,
		},
		"A/B": {
			change: func(c *v1beta1.Canary) {
				c.Spec.Service.Match = raws(`{"uri":{"prefix":"/podinfo.Info/"}}`, `{"uri":{"exact":"/podinfo.Env/Get"}}`)
				c.Spec.Analysis.Match = raws(`{"headers":{"x":{"regex":"y.*"}},"method":{"exact":"POST"}}`)
			},
			traffic: providers.Traffic{Canary: 100, Matched: true},
			want: `[
				{matches: [
					{method: {type: Exact, service: podinfo.Info}, headers: [{type: RegularExpression, name: x, value: y.*}]},
					{method: {type: Exact, service: podinfo.Env, method: Get}, headers: [{type: RegularExpression, name: x, value: y.*}]}],
				 backendRefs: [{P: 0}, {C: 100}]},
				{matches: [{method: {type: Exact, service: podinfo.Info}}, {method: {type: Exact, service: podinfo.Env, method: Get}}], backendRefs: [{P: 100}]}]`,
		},
		"headers and copies": {
			change:  service(func(s *v1beta1.CanaryService) { s.Headers = raw(`{"request":{"set":{"x":"y"}}}`) }),
			traffic: providers.Traffic{Primary: 100, Mirror: 10},
			want: `[{filters: [
					{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x, value: "y"}]}},
					{type: RequestMirror, requestMirror: {percent: 10, backendRef: {group: "", kind: Service, name: podinfo-canary, port: 80}}}],
				backendRefs: [{P: 100}, {C: 0}]}]`,
		},
		"any among others": {
			change:  service(func(s *v1beta1.CanaryService) { s.Match = raws(`{"uri":{"prefix":"/a"}}`, `{}`) }),
			traffic: providers.Traffic{Primary: 100},
			want:    `[{backendRefs: [{P: 100}, {C: 0}]}]`,
		},
		"timeout":   {change: service(func(s *v1beta1.CanaryService) { s.Timeout = "1s" }), wantField: "spec.service.timeout"},
		"rewrite":   {change: service(func(s *v1beta1.CanaryService) { s.Rewrite = raw(`{"uri":"/"}`) }), wantField: "spec.service.rewrite"},
		"cors":      {change: service(func(s *v1beta1.CanaryService) { s.CorsPolicy = raw(`{}`) }), wantField: "spec.service.corsPolicy"},
		"parameter": {change: service(func(s *v1beta1.CanaryService) { s.Match = raws(`{"queryParams":{"a":{"exact":"b"}}}`) }), wantField: "match.queryParams"},
		"method":    {change: service(func(s *v1beta1.CanaryService) { s.Match = raws(`{"method":{"exact":"GET"}}`) }), wantField: "match.method"},
		"path":      {change: service(func(s *v1beta1.CanaryService) { s.Match = raws(`{"uri":{"regex":"/a.*"}}`) }), wantField: "match.uri"},
		"deep path": {change: service(func(s *v1beta1.CanaryService) { s.Match = raws(`{"uri":{"prefix":"/a/b/c"}}`) }), wantField: "match.uri"},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary()
			if tc.change != nil {
				tc.change(c)
			}
			if tc.traffic == (providers.Traffic{}) {
				tc.traffic.Primary = 100
			}
			rules, err := rulesOf(c, tc.traffic, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := MakeGRPC(metav1.ObjectMeta{}, gatewayv1.HTTPRouteSpec{Rules: rules})
			if tc.wantField != "" {
				if !providers.IsInvalid(err) || !strings.HasPrefix(err.Error(), tc.wantField+": ") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var want []gatewayv1.GRPCRouteRule
			text := strings.NewReplacer("P:", `group: "", kind: Service, name: podinfo-primary, port: 80, weight:`, "C:", `group: "", kind: Service, name: podinfo-canary, port: 80, weight:`).Replace(tc.want)
			if err := yaml.UnmarshalStrict([]byte(text), &want); err != nil {
				t.Fatal(err)
			}
			route := got
			if d := cmp.Diff(want, route.Spec.Rules); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if read, ok := TrafficOf(ReadGRPC(route.Spec).Rules, c, nil); !ok || read != tc.traffic {
				t.Errorf("read back as %+v", read)
			}
		})
	}
}
