package coverage_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-delivery/sluice/operator/coverage"
)

const tls = "validation: {hostname: a}"

// A policy that names the apex Service does not reach those that requests go to.
func TestAttachedPolicies(t *testing.T) {
	const apex = "targetRefs: [{group: '', kind: Service, name: podinfo-web, sectionName: http}]\n" + tls
	const missing = "BackendTLSPolicy tls (for Service podinfo-web, not podinfo-web-primary and podinfo-web-canary) | "
	for name, tc := range map[string]struct {
		objects map[string]string
		whole   bool // requests for the apex Service stay there
		want    []string
	}{
		"one": {objects: map[string]string{"BackendTLSPolicy tls": apex}, want: []string{missing +
			"tls-primary targetRefs: - group: \"\" kind: Service name: podinfo-web-primary sectionName: http - group: \"\" kind: Service name: podinfo-web-canary sectionName: http validation: hostname: a"}},
		"where nothing is split":  {objects: map[string]string{"BackendTLSPolicy tls": apex}, whole: true},
		"of another Service":      {objects: map[string]string{"BackendTLSPolicy tls": "targetRefs: [{group: '', kind: Service, name: billing}]"}},
		"of another kind of name": {objects: map[string]string{"BackendTLSPolicy tls": "targetRefs: [{group: example.com, kind: Backend, name: podinfo-web}]"}},
		"in another namespace":    {objects: map[string]string{"BackendTLSPolicy other/tls": apex}},
		"for all three": {objects: map[string]string{"BackendTLSPolicy tls": `
targetRefs: [{group: '', kind: Service, name: podinfo-web}, {group: '', kind: Service, name: podinfo-web-primary}, {group: '', kind: Service, name: podinfo-web-canary}]`}},
		"made good": {objects: map[string]string{
			"BackendTLSPolicy tls":  apex,
			"BackendTLSPolicy more": "targetRefs: [{group: '', kind: Service, name: podinfo-web-primary}, {group: '', kind: Service, name: podinfo-web-canary}]\n" + tls,
		}},
		"made good for one": {objects: map[string]string{
			"BackendTLSPolicy tls":  apex,
			"BackendTLSPolicy more": "targetRefs: [{group: '', kind: Service, name: podinfo-web-canary}]\n" + tls,
		}, want: []string{"BackendTLSPolicy tls (for Service podinfo-web, not podinfo-web-primary) | " +
			"tls-primary targetRefs: - group: \"\" kind: Service name: podinfo-web-primary sectionName: http validation: hostname: a"}},
		"another says something else": {objects: map[string]string{
			"BackendTLSPolicy tls":  apex,
			"BackendTLSPolicy more": "targetRefs: [{group: '', kind: Service, name: podinfo-web-primary}, {group: '', kind: Service, name: podinfo-web-canary}]\nvalidation: {hostname: b}",
		}, want: []string{missing +
			"tls-primary targetRefs: - group: \"\" kind: Service name: podinfo-web-primary sectionName: http - group: \"\" kind: Service name: podinfo-web-canary sectionName: http validation: hostname: a"}},
		"for one Service each": {objects: map[string]string{"HealthCheckPolicy health": "targetRef: {group: '', kind: Service, name: podinfo-web}"},
			want: []string{"HealthCheckPolicy health (for Service podinfo-web, not podinfo-web-primary and podinfo-web-canary) | no copy: it is for one Service; write one for each of the others"}},
		"Istio's": {objects: map[string]string{"AuthorizationPolicy allow": "{action: ALLOW, targetRefs: [{kind: Service, name: podinfo-web}]}"},
			want: []string{"AuthorizationPolicy allow (for Service podinfo-web, not podinfo-web-primary and podinfo-web-canary) | " +
				"allow-primary action: ALLOW targetRefs: - kind: Service name: podinfo-web-primary - kind: Service name: podinfo-web-canary"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := subject()
			s.Split = !tc.whole
			var objects []*unstructured.Unstructured
			for what, spec := range tc.objects {
				o := object(t, what, spec)
				objects = append(objects, o)
				if len(tc.want) > 0 && !coverage.Concerns(s, o) {
					t.Errorf("%s wakes nobody", what)
				}
			}
			if d := cmp.Diff(tc.want, lines(t, coverage.Assess(s, objects))); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// A policy for one rule of a route does not reach the rules for what is taken from it.
func TestPoliciesOfRules(t *testing.T) {
	const rule = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: podinfo-web, sectionName: api}"
	const gap = "for rule api of HTTPRoute podinfo-web, not for what spec.analysis.match takes from it) | no copy: the rules for that have no name; have it be for the whole route"
	for name, tc := range map[string]struct {
		what, spec string
		whole      bool // no requests are taken from a rule
		want       []string
	}{
		"a rule":                     {"SecurityPolicy s", "targetRefs: [" + rule + "]", false, []string{"SecurityPolicy s (" + gap}},
		"in the older field":         {"SecurityPolicy s", "targetRef: " + rule, false, []string{"SecurityPolicy s (" + gap}},
		"one each":                   {"AuthPolicy a", "targetRef: " + rule, false, []string{"AuthPolicy a (" + gap}},
		"two rules, and the route":   {"SecurityPolicy s", "targetRefs: [" + rule + ", " + strings.Replace(rule, "api", "web", 1) + ", {group: gateway.networking.k8s.io, kind: HTTPRoute, name: podinfo-web}]", false, []string{"SecurityPolicy s (" + gap, "SecurityPolicy s (" + strings.Replace(gap, "api", "web", 1)}},
		"nothing is taken from it":   {"SecurityPolicy s", "targetRefs: [" + rule + "]", true, nil},
		"the whole route":            {"SecurityPolicy s", "targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: podinfo-web}]", false, nil},
		"of another route":           {"SecurityPolicy s", "targetRefs: [" + strings.Replace(rule, "podinfo-web", "billing", 1) + "]", false, nil},
		"of a Gateway":               {"SecurityPolicy s", "targetRefs: [" + strings.Replace(rule, "HTTPRoute", "Gateway", 1) + "]", false, nil},
		"of a kind of another group": {"SecurityPolicy s", "targetRefs: [" + strings.Replace(rule, "gateway.networking", "gateway", 1) + "]", false, nil},
		"in another namespace":       {"SecurityPolicy other/s", "targetRefs: [" + rule + "]", false, nil},
		"a kind that knows no rules": {"BackendTLSPolicy tls", "targetRefs: [" + rule + "]", false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := subject()
			if !tc.whole {
				s.Narrowed = "spec.analysis.match"
			}
			o := object(t, tc.what, tc.spec)
			if got := coverage.Concerns(s, o); got != (tc.want != nil) {
				t.Errorf("it wakes somebody: %t", got)
			}
			if d := cmp.Diff(tc.want, lines(t, coverage.Assess(s, []*unstructured.Unstructured{o}))); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// Kinds of Istio, Cilium and Calico that select pods in ways of their own.
func TestOtherSelectors(t *testing.T) {
	for name, tc := range map[string]struct {
		what, spec string
		want       []string
	}{
		"DestinationRule": {
			"DestinationRule r", "{host: billing, workloadSelector: {matchLabels: {app: podinfo}}}",
			[]string{"DestinationRule r (app=podinfo) | r-primary host: billing workloadSelector: matchLabels: app: podinfo-primary"},
		},
		"DestinationRule for all": {"DestinationRule r", "{host: billing}", nil},
		"ServiceEntry": {
			"ServiceEntry e", "{hosts: [a.example.com], workloadSelector: {labels: {app: podinfo}}}",
			[]string{"ServiceEntry e (app=podinfo) | no copy: of two for the same hosts one would be passed over"},
		},
		"ServiceEntry without pods": {"ServiceEntry e", "{hosts: [a.example.com]}", nil},
		"ProxyConfig": {
			"ProxyConfig c", "{concurrency: 2, selector: {matchLabels: {app: podinfo}}}",
			[]string{"ProxyConfig c (app=podinfo) | c-primary concurrency: 2 selector: matchLabels: app: podinfo-primary"},
		},
		"WasmPlugin of the root namespace": {
			"WasmPlugin istio-system/w", "{url: a, selector: {matchLabels: {app: podinfo}}}",
			[]string{"WasmPlugin istio-system/w (app=podinfo) | no copy: it is in another namespace"},
		},
		"Cilium": {
			"CiliumNetworkPolicy p", "{endpointSelector: {matchLabels: {'k8s:app': podinfo}}}",
			[]string{"CiliumNetworkPolicy p (app=podinfo) | p-primary endpointSelector: matchLabels: k8s:app: podinfo-primary"},
		},
		"Cilium, of another": {"CiliumNetworkPolicy p", "{endpointSelector: {matchLabels: {'any:app': billing}}}", nil},
		"Cilium's peers": {
			"CiliumNetworkPolicy p", "{endpointSelector: {matchLabels: {app: db}}, ingress: [{fromEndpoints: [{matchLabels: {'any:app': podinfo}}]}]}",
			[]string{"CiliumNetworkPolicy p (ingress peer app=podinfo) | no copy: its rules name them as peers"},
		},
		"Cilium's peers in another namespace": {
			"CiliumNetworkPolicy p", "{endpointSelector: {matchLabels: {app: db}}, egress: [{toEndpoints: [{matchLabels: {app: podinfo, 'k8s:io.kubernetes.pod.namespace': other}}]}]}", nil,
		},
		"Cilium's peers, both": {
			"CiliumNetworkPolicy p", "{endpointSelector: {matchLabels: {app: db}}, ingress: [{fromEndpoints: [{matchLabels: {app: podinfo}}, {matchLabels: {app: podinfo-primary}}]}]}", nil,
		},
		"Calico": {
			"CalicoPolicy p", `{selector: "app == 'podinfo' && version != \"v9\"", types: [Ingress]}`,
			[]string{"NetworkPolicy p (app == 'podinfo' && version != 'v9') | p-primary selector: app == 'podinfo-primary' && version != 'v9' types: - Ingress"},
		},
		"Calico, a set": {
			"CalicoPolicy p", `{selector: "app in {'podinfo', 'billing'}"}`,
			[]string{"NetworkPolicy p (app in {'podinfo', 'billing'}) | p-primary selector: app in {'podinfo-primary'}"},
		},
		"Calico, all":              {"CalicoPolicy p", `{selector: all()}`, nil},
		"Calico, none said":        {"CalicoPolicy p", `{types: [Ingress]}`, nil},
		"Calico, both":             {"CalicoPolicy p", `{selector: "app starts with 'podinfo' || has(other)"}`, nil},
		"Calico, neither":          {"CalicoPolicy p", `{selector: "!(app starts with 'podinfo')"}`, nil},
		"Calico, not understood":   {"CalicoPolicy p", `{selector: "app = 'podinfo'"}`, nil},
		"Calico, primary left out": {"CalicoPolicy p", `{selector: "app != 'podinfo-primary'"}`, []string{"NetworkPolicy p (app != 'podinfo-primary') | no copy: its selector can't be turned to the primary"}},
		"Calico's peers": {
			"CalicoPolicy p", `{selector: "app == 'db'", ingress: [{action: Allow, source: {selector: "app == 'podinfo'"}}]}`,
			[]string{"NetworkPolicy p (ingress peer app == 'podinfo') | no copy: its rules name them as peers"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := object(t, tc.what, tc.spec)
			if d := cmp.Diff(tc.want, lines(t, coverage.Assess(subject(), []*unstructured.Unstructured{o}))); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}
