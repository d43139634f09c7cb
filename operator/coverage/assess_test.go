package coverage_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/coverage"
)

// subject is podinfo in namespace test, with Service podinfo-web.
func subject() coverage.Subject {
	return coverage.Subject{
		Namespace: "test",
		Owner:     ownership.For(&v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "canary"}}),
		Label:     "app", Target: "podinfo", Primary: "podinfo-primary",
		Pods:       []map[string]string{{"app": "podinfo", "version": "v2"}, {"app": "podinfo-primary", "version": "v1"}},
		Apex:       "podinfo-web",
		ApexLabels: map[string]string{"app": "podinfo-web", "team": "shop"},
		Services:   []string{"podinfo-web", "podinfo-web-primary", "podinfo-web-canary"},
		Split:      true,

		RootNamespace: "istio-system",
	}
}

// versions are those that the kinds are written in below.
var versions = map[string]string{
	"Service": "v1", "PodDisruptionBudget": "policy/v1", "NetworkPolicy": "networking.k8s.io/v1",
	"AuthorizationPolicy": "security.istio.io/v1", "PeerAuthentication": "security.istio.io/v1", "RequestAuthentication": "security.istio.io/v1",
	"EnvoyFilter": "networking.istio.io/v1alpha3", "Sidecar": "networking.istio.io/v1", "Telemetry": "telemetry.istio.io/v1",
	"Server": "policy.linkerd.io/v1beta3", "ServiceMonitor": "monitoring.coreos.com/v1", "PodMonitor": "monitoring.coreos.com/v1",
	"ConfigMap": "v1", "DestinationRule": "networking.istio.io/v1", "ServiceEntry": "networking.istio.io/v1", "ProxyConfig": "networking.istio.io/v1beta1",
	"WasmPlugin": "extensions.istio.io/v1alpha1", "CiliumNetworkPolicy": "cilium.io/v2", "CalicoPolicy": "projectcalico.org/v3",
	"BackendTLSPolicy": "gateway.networking.k8s.io/v1", "HealthCheckPolicy": "networking.gke.io/v1",
	"SecurityPolicy": "gateway.envoyproxy.io/v1alpha1", "AuthPolicy": "kuadrant.io/v1",
}

// object makes one from "Kind [namespace/]name" and its spec in YAML.
func object(t *testing.T, what, spec string) *unstructured.Unstructured {
	t.Helper()
	kind, name, _ := strings.Cut(what, " ")
	namespace := "test"
	if before, after, found := strings.Cut(name, "/"); found {
		namespace, name = before, after
	}
	if versions[kind] == "" {
		t.Fatalf("no kind %s", kind)
	}
	var fields map[string]any
	if err := yaml.Unmarshal([]byte(spec), &fields); err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": versions[kind], "kind": kind, "spec": fields}}
	if kind == "CalicoPolicy" { // Calico calls it as Kubernetes does its own
		u.SetKind("NetworkPolicy")
	}
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

// lines are the gaps: what and, where there is a copy, its spec, else why not.
func lines(t *testing.T, a coverage.Assessment) []string {
	t.Helper()
	var out []string
	for _, g := range a.Gaps {
		line := g.What + " | "
		if g.Copy == nil {
			out = append(out, line+"no copy: "+g.Why)
			continue
		}
		spec, err := yaml.Marshal(g.Copy.Object["spec"])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, line+g.Copy.GetName()+" "+strings.Join(strings.Fields(string(spec)), " "))
	}
	return out
}

func TestAssess(t *testing.T) {
	for name, tc := range map[string]struct {
		object, spec string
		want         []string
	}{
		"budget": {
			"PodDisruptionBudget web", "{minAvailable: 1, selector: {matchLabels: {app: podinfo}}}",
			[]string{"PodDisruptionBudget web (app=podinfo) | web-primary minAvailable: 1 selector: matchLabels: app: podinfo-primary"},
		},
		"budget of another application":        {"PodDisruptionBudget web", "{selector: {matchLabels: {app: other}}}", nil},
		"budget of the primary":                {"PodDisruptionBudget web", "{selector: {matchLabels: {app: podinfo-primary}}}", nil},
		"budget of everything":                 {"PodDisruptionBudget web", "{selector: {}}", nil},
		"budget without selector":              {"PodDisruptionBudget web", "{minAvailable: 1}", nil},
		"budget in another namespace":          {"PodDisruptionBudget shop/web", "{selector: {matchLabels: {app: podinfo}}}", nil},
		"budget by another label":              {"PodDisruptionBudget web", "{selector: {matchLabels: {version: v1}}}", nil},
		"budget by a selector without meaning": {"PodDisruptionBudget web", "{selector: {matchExpressions: [{key: app, operator: Near, values: [podinfo]}]}}", nil},
		"budget by two labels": {
			"PodDisruptionBudget web", "{selector: {matchLabels: {app: podinfo, version: v2}}}",
			[]string{"PodDisruptionBudget web (app=podinfo,version=v2) | web-primary selector: matchLabels: app: podinfo-primary version: v2"},
		},
		"budget of what the primary still is": {
			"PodDisruptionBudget web", "{selector: {matchLabels: {app: podinfo, version: v1}}}",
			[]string{"PodDisruptionBudget web (app=podinfo,version=v1) | web-primary selector: matchLabels: app: podinfo-primary version: v1"},
		},
		"budget by expression": {
			"PodDisruptionBudget web", "{selector: {matchExpressions: [{key: app, operator: In, values: [podinfo, other]}, {key: version, operator: Exists}]}}",
			[]string{"PodDisruptionBudget web (app in (other,podinfo),version) | web-primary selector: matchExpressions: - key: app operator: In values: - podinfo-primary - key: version operator: Exists"},
		},
		"budget by expression for both": {"PodDisruptionBudget web", "{selector: {matchExpressions: [{key: app, operator: In, values: [podinfo, podinfo-primary]}]}}", nil},
		"budget by existence":           {"PodDisruptionBudget web", "{selector: {matchExpressions: [{key: app, operator: Exists}]}}", nil},
		"budget that leaves out the primary": {
			"PodDisruptionBudget web", "{selector: {matchExpressions: [{key: app, operator: NotIn, values: [podinfo-primary]}]}}",
			[]string{"PodDisruptionBudget web (app notin (podinfo-primary)) | no copy: its selector can't be turned to the primary"},
		},
		"budget with a long name": {
			"PodDisruptionBudget " + strings.Repeat("a", 250), "{selector: {matchLabels: {app: podinfo}}}",
			[]string{"PodDisruptionBudget " + strings.Repeat("a", 250) + " (app=podinfo) | no copy: its name is too long for a copy"},
		},

		"network policy": {
			"NetworkPolicy web", "{podSelector: {matchLabels: {app: podinfo}}, policyTypes: [Ingress]}",
			[]string{"NetworkPolicy web (app=podinfo) | web-primary podSelector: matchLabels: app: podinfo-primary policyTypes: - Ingress"},
		},
		"network policy of everything":       {"NetworkPolicy web", "{podSelector: {}}", nil},
		"network policy without selector":    {"NetworkPolicy web", "{policyTypes: [Ingress]}", nil},
		"network policy with addresses":      {"NetworkPolicy db", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}, {namespaceSelector: {}}]}]}", nil},
		"network policy with any peer":       {"NetworkPolicy db", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}", nil},
		"network policy with other peers":    {"NetworkPolicy db", "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: other}}}]}]}", nil},
		"network policy of elsewhere, peers": {"NetworkPolicy shop/db", "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: podinfo}}}]}]}", nil},
		"network policy with source": {
			"NetworkPolicy db", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: podinfo}}}]}]}",
			[]string{"NetworkPolicy db (ingress peer app=podinfo) | no copy: its rules name them as peers"},
		},
		"network policy with destination": {
			"NetworkPolicy web", "{podSelector: {matchLabels: {app: web}}, egress: [{to: [{podSelector: {matchLabels: {app: podinfo}}}]}]}",
			[]string{"NetworkPolicy web (egress peer app=podinfo) | no copy: its rules name them as peers"},
		},
		"network policy with both as source": {
			"NetworkPolicy db",
			"{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: podinfo}}}, {podSelector: {matchLabels: {app: podinfo-primary}}}]}]}", nil,
		},
		"network policy with a rule for each": {
			"NetworkPolicy db",
			"{podSelector: {}, ingress: [{ports: [{port: 1}], from: [{podSelector: {matchLabels: {app: podinfo}}}]}, {ports: [{port: 1}], from: [{podSelector: {matchLabels: {app: podinfo-primary}}}]}]}", nil,
		},
		"network policy with a rule for each, other ports": {
			"NetworkPolicy db",
			"{podSelector: {}, ingress: [{ports: [{port: 1}], from: [{podSelector: {matchLabels: {app: podinfo}}}]}, {ports: [{port: 2}], from: [{podSelector: {matchLabels: {app: podinfo-primary}}}]}]}",
			[]string{"NetworkPolicy db (ingress peer app=podinfo) | no copy: its rules name them as peers"},
		},
		"network policy with a rule for each, other directions": {
			"NetworkPolicy db",
			"{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: podinfo}}}]}], egress: [{to: [{podSelector: {matchLabels: {app: podinfo-primary}}}]}]}",
			[]string{"NetworkPolicy db (ingress peer app=podinfo) | no copy: its rules name them as peers"},
		},
		"network policy of elsewhere with source in this namespace": {
			"NetworkPolicy db/db",
			"{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: test}}, podSelector: {matchLabels: {app: podinfo}}}]}]}",
			[]string{"NetworkPolicy db/db (ingress peer app=podinfo) | no copy: its rules name them as peers"},
		},
		"network policy of elsewhere with source in namespaces of some kind": {
			"NetworkPolicy db/db",
			"{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {env: prod}}, podSelector: {matchLabels: {app: podinfo}}}]}]}",
			[]string{"NetworkPolicy db/db (ingress peer app=podinfo) | no copy: its rules name them as peers"},
		},
		"network policy of elsewhere with source in another namespace": {
			"NetworkPolicy db/db",
			"{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [shop]}]}, podSelector: {matchLabels: {app: podinfo}}}]}]}", nil,
		},
		"network policy with itself as source": {
			"NetworkPolicy web", "{podSelector: {matchLabels: {app: podinfo}}, ingress: [{from: [{podSelector: {matchLabels: {app: podinfo}}}]}]}",
			[]string{
				"NetworkPolicy web (app=podinfo) | web-primary ingress: - from: - podSelector: matchLabels: app: podinfo podSelector: matchLabels: app: podinfo-primary",
				"NetworkPolicy web (ingress peer app=podinfo) | no copy: its rules name them as peers",
			},
		},

		"authorization": {
			"AuthorizationPolicy web", "{selector: {matchLabels: {app: podinfo}}, action: DENY}",
			[]string{"AuthorizationPolicy web (app=podinfo) | web-primary action: DENY selector: matchLabels: app: podinfo-primary"},
		},
		"authorization of everything":        {"AuthorizationPolicy web", "{action: DENY}", nil},
		"authorization by an empty selector": {"AuthorizationPolicy web", "{selector: {}}", nil},
		"authorization of another service":   {"AuthorizationPolicy web", "{targetRefs: [{kind: Service, group: '', name: web}]}", nil},
		"authorization in the root namespace": {
			"AuthorizationPolicy istio-system/web", "{selector: {matchLabels: {app: podinfo}}}",
			[]string{"AuthorizationPolicy istio-system/web (app=podinfo) | no copy: it is in another namespace"},
		},
		"strict mTLS": {
			"PeerAuthentication web", "{selector: {matchLabels: {app: podinfo}}, mtls: {mode: STRICT}}",
			[]string{"PeerAuthentication web (app=podinfo) | web-primary mtls: mode: STRICT selector: matchLabels: app: podinfo-primary"},
		},
		"request authentication": {
			"RequestAuthentication web", "{selector: {matchLabels: {app: podinfo}}, jwtRules: [{issuer: me}]}",
			[]string{"RequestAuthentication web (app=podinfo) | web-primary jwtRules: - issuer: me selector: matchLabels: app: podinfo-primary"},
		},
		"filter": {
			"EnvoyFilter web", "{workloadSelector: {labels: {app: podinfo}}, priority: 3}",
			[]string{"EnvoyFilter web (app=podinfo) | web-primary priority: 3 workloadSelector: labels: app: podinfo-primary"},
		},
		"filter of everything": {"EnvoyFilter web", "{priority: 3}", nil},
		"sidecar": {
			"Sidecar web", "{workloadSelector: {labels: {app: podinfo}}}",
			[]string{"Sidecar web (app=podinfo) | web-primary workloadSelector: labels: app: podinfo-primary"},
		},
		"sidecar in the root namespace": {"Sidecar istio-system/web", "{workloadSelector: {labels: {app: podinfo}}}", nil},
		"telemetry": {
			"Telemetry web", "{selector: {matchLabels: {app: podinfo}}}",
			[]string{"Telemetry web (app=podinfo) | web-primary selector: matchLabels: app: podinfo-primary"},
		},
		"server": {
			"Server web", "{port: http, podSelector: {matchLabels: {app: podinfo}}}",
			[]string{"Server web (app=podinfo) | no copy: a copy without the authorizations that refer to it would let nobody in"},
		},
		"server of external workloads": {"Server web", "{externalWorkloadSelector: {matchLabels: {app: podinfo}}}", nil},
		"pod monitor": {
			"PodMonitor web", "{selector: {matchLabels: {app: podinfo}}}",
			[]string{"PodMonitor web (app=podinfo) | web-primary selector: matchLabels: app: podinfo-primary"},
		},
		"pod monitor of elsewhere": {
			"PodMonitor mon/web", "{namespaceSelector: {matchNames: [test]}, selector: {matchLabels: {app: podinfo}}}",
			[]string{"PodMonitor mon/web (app=podinfo) | no copy: it is in another namespace"},
		},
		"pod monitor of anywhere": {
			"PodMonitor mon/web", "{namespaceSelector: {any: true}, selector: {matchLabels: {app: podinfo}}}",
			[]string{"PodMonitor mon/web (app=podinfo) | no copy: it is in another namespace"},
		},
		"pod monitor of its own namespace":   {"PodMonitor mon/web", "{selector: {matchLabels: {app: podinfo}}}", nil},
		"pod monitor here for another place": {"PodMonitor web", "{namespaceSelector: {matchNames: [shop]}, selector: {matchLabels: {app: podinfo}}}", nil},
		"service monitor by the target's name": {
			"ServiceMonitor web", "{endpoints: [{port: http}], selector: {matchLabels: {app: podinfo}}}",
			[]string{"ServiceMonitor web (app=podinfo) | web-primary endpoints: - port: http selector: matchLabels: app: podinfo-web"},
		},
		"service monitor by the service's name": {"ServiceMonitor web", "{selector: {matchLabels: {app: podinfo-web}}}", nil},
		"service monitor by another label":      {"ServiceMonitor web", "{selector: {matchLabels: {team: shop}}}", nil},
		"service monitor of the canary alone":   {"ServiceMonitor web", "{selector: {matchLabels: {app: podinfo-web-canary}}}", nil},

		"service": {
			"Service admin", "{selector: {app: podinfo}}",
			[]string{"Service admin (app=podinfo) | no copy: its clients call it by its name"},
		},
		"service without selector": {"Service admin", "{}", nil},
		"service of the Canary":    {"Service podinfo-web-canary", "{selector: {app: podinfo}}", nil},
		"another kind":             {"ConfigMap web", "{selector: {app: podinfo}}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := object(t, tc.object, tc.spec)
			before := o.DeepCopy()
			if diff := cmp.Diff(tc.want, lines(t, coverage.Assess(subject(), []*unstructured.Unstructured{o}))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(before, o); diff != "" {
				t.Errorf("the object was changed (-before +after)\n%s", diff)
			}
			if len(tc.want) > 0 && !coverage.Concerns(subject(), o) {
				t.Error("it is no concern of the Canary")
			}
			o.SetAnnotations(map[string]string{coverage.Annotation: coverage.Disabled})
			if got := lines(t, coverage.Assess(subject(), []*unstructured.Unstructured{o})); got != nil {
				t.Errorf("although it is left out: %v", got)
			}
		})
	}
}

// TestAssessTogether is about objects that another one stands in for.
func TestAssessTogether(t *testing.T) {
	const one, other = "{minAvailable: 1, selector: {matchLabels: {app: podinfo}}}", "{minAvailable: 1, selector: {matchLabels: {app: podinfo-primary}}}"
	ours := func(u *unstructured.Unstructured) *unstructured.Unstructured {
		subject().Owner.Mark(u)
		u.SetAnnotations(map[string]string{coverage.CopyOfAnnotation: "web"})
		return u
	}
	gap := "PodDisruptionBudget web (app=podinfo) | "
	copied := gap + "web-primary minAvailable: 1 selector: matchLabels: app: podinfo-primary"
	for name, tc := range map[string]struct {
		objects    []*unstructured.Unstructured
		want       []string
		wantCopies int
	}{
		"none": {},
		"sorted by kind and name": {
			objects: []*unstructured.Unstructured{
				object(t, "Service b", "{selector: {app: podinfo}}"), object(t, "Service a", "{selector: {app: podinfo}}"), object(t, "PodDisruptionBudget web", one),
			},
			want: []string{
				copied, "Service a (app=podinfo) | no copy: its clients call it by its name",
				"Service b (app=podinfo) | no copy: its clients call it by its name",
			},
		},
		"a Service beside those of the Canary": {
			objects: []*unstructured.Unstructured{
				object(t, "Service podinfo-web", "{selector: {app: podinfo-primary}}"), object(t, "Service a", "{selector: {app: podinfo}}"),
			},
			want: []string{"Service a (app=podinfo) | no copy: its clients call it by its name"},
		},
		"with our copy": {
			objects: []*unstructured.Unstructured{object(t, "PodDisruptionBudget web", one), ours(object(t, "PodDisruptionBudget web-primary", other))},
			want:    []string{copied}, wantCopies: 1,
		},
		"our copy alone": {
			objects:    []*unstructured.Unstructured{ours(object(t, "PodDisruptionBudget web-primary", other))},
			wantCopies: 1,
		},
		"with one by hand": {
			objects: []*unstructured.Unstructured{object(t, "PodDisruptionBudget web", one), object(t, "PodDisruptionBudget mine", other)},
		},
		"with one by hand for all": {
			objects: []*unstructured.Unstructured{object(t, "PodDisruptionBudget web", one), object(t, "PodDisruptionBudget mine", "{minAvailable: 1, selector: {}}")},
		},
		"with one by hand that says something else": {
			objects: []*unstructured.Unstructured{
				object(t, "PodDisruptionBudget web", one), object(t, "PodDisruptionBudget mine", "{minAvailable: 2, selector: {matchLabels: {app: podinfo-primary}}}"),
			},
			want: []string{copied},
		},
		"with one by hand in the place of the copy": {
			objects: []*unstructured.Unstructured{
				object(t, "PodDisruptionBudget web", one), object(t, "PodDisruptionBudget web-primary", "{minAvailable: 2, selector: {matchLabels: {app: podinfo-primary}}}"),
			},
			want: []string{gap + "no copy: web-primary is somebody else's and says something else"},
		},
		"with one by hand elsewhere": {
			objects: []*unstructured.Unstructured{object(t, "PodDisruptionBudget web", one), object(t, "PodDisruptionBudget shop/mine", other)},
			want:    []string{copied},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := coverage.Assess(subject(), tc.objects)
			if diff := cmp.Diff(tc.want, lines(t, got)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if len(got.Copies) != tc.wantCopies {
				t.Errorf("%d copies, want %d", len(got.Copies), tc.wantCopies)
			}
		})
	}
}

// TestCopyMetadata is pain 11: a copy is not taken for another tool's.
func TestCopyMetadata(t *testing.T) {
	o := object(t, "ServiceMonitor web", "{selector: {matchLabels: {app: podinfo}}}")
	o.SetLabels(map[string]string{
		"release": "prometheus", "app.kubernetes.io/instance": "shop", "app.kubernetes.io/managed-by": "Helm",
		"kustomize.toolkit.fluxcd.io/name": "shop", "applyset.kubernetes.io/part-of": "shop", "kapp.k14s.io/app": "shop",
	})
	o.SetAnnotations(map[string]string{
		"team": "shop", "argocd.argoproj.io/tracking-id": "shop:a/b:c/d", "kubectl.kubernetes.io/last-applied-configuration": "{}",
		"config.k8s.io/owning-inventory": "shop", "sluice.dev/applied": "1-a", "sluice.dev/canary": "another",
	})
	o.SetUID("original")
	o.SetResourceVersion("5")
	got := coverage.Assess(subject(), []*unstructured.Unstructured{o}).Gaps[0].Copy
	want := map[string]any{
		"namespace": "test", "name": "web-primary",
		"labels":      map[string]any{"release": "prometheus", "app.kubernetes.io/managed-by": "sluice", "sluice.dev/canary": "podinfo"},
		"annotations": map[string]any{"team": "shop", "sluice.dev/copy-of": "web", "sluice.dev/canary": "podinfo"},
	}
	if diff := cmp.Diff(want, got.Object["metadata"]); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestReach(t *testing.T) {
	for name, tc := range map[string]struct {
		object, spec string
		want         []string
	}{
		"pods of its namespace":    {"PodDisruptionBudget web", "{}", []string{"test"}},
		"root namespace":           {"PeerAuthentication istio-system/web", "{}", []string{"istio-system", "*"}},
		"not for all of its kinds": {"Telemetry istio-system/web", "{}", []string{"istio-system"}},
		"monitor of any":           {"PodMonitor web", "{namespaceSelector: {any: true}}", []string{"test", "*"}},
		"monitor of some":          {"ServiceMonitor web", "{namespaceSelector: {matchNames: [b, a, b]}}", []string{"test", "a", "b"}},
		"peers": {
			"NetworkPolicy db/db",
			"{ingress: [{from: [{podSelector: {}}, {podSelector: {}, namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: a}}}]}], egress: [{to: [{podSelector: {}, namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [b, c]}]}}]}]}",
			[]string{"db", "a", "b", "c"},
		},
		"peers anywhere": {"NetworkPolicy db/db", "{ingress: [{from: [{podSelector: {}, namespaceSelector: {}}]}]}", []string{"db", "*"}},
		"another kind":   {"ConfigMap web", "{}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, coverage.Reach(object(t, tc.object, tc.spec), "istio-system")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestConcerns(t *testing.T) {
	for name, tc := range map[string]struct {
		object, spec string
		want         bool
	}{
		"the target":              {"PodDisruptionBudget web", "{selector: {matchLabels: {app: podinfo}}}", true},
		"the primary":             {"PodDisruptionBudget web", "{selector: {matchLabels: {app: podinfo-primary}}}", true},
		"everything":              {"PodDisruptionBudget web", "{selector: {}}", true},
		"others":                  {"PodDisruptionBudget web", "{selector: {matchLabels: {app: other}}}", false},
		"elsewhere":               {"PodDisruptionBudget shop/web", "{selector: {matchLabels: {app: podinfo}}}", false},
		"peers":                   {"NetworkPolicy db", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: podinfo}}}]}]}", true},
		"what it names":           {"AuthorizationPolicy web", "{targetRefs: [{kind: Service, group: '', name: other}]}", false},
		"a Service of the Canary": {"Service podinfo-web", "{selector: {app: podinfo-primary}}", false},
		"another kind":            {"ConfigMap web", "{selector: {app: podinfo}}", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := coverage.Concerns(subject(), object(t, tc.object, tc.spec)); got != tc.want {
				t.Errorf("%t, want %t", got, tc.want)
			}
		})
	}
}

func TestSlim(t *testing.T) {
	transform := coverage.Slim(func(o any) (any, error) { return o, nil })
	for kind, want := range map[string]bool{"PodDisruptionBudget": true, "ConfigMap": false} {
		o := object(t, kind+" web", "{selector: {}}")
		o.Object["status"] = map[string]any{"a": "b"}
		o.SetAnnotations(map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"})
		if _, err := transform(o); err != nil {
			t.Fatal(err)
		}
		_, hasStatus := o.Object["status"]
		if slim := !hasStatus && len(o.GetAnnotations()) == 1; slim != want || o.Object["spec"] == nil {
			t.Errorf("%s: %v", kind, o.Object)
		}
	}
}

func TestLeads(t *testing.T) {
	s := coverage.Subject{Label: "app", Target: "podinfo", Primary: "podinfo-primary", Pods: []map[string]string{
		{"app": "podinfo", "tier": "web"}, {"app": "podinfo-primary", "tier": "old"},
	}}
	for name, tc := range map[string]struct {
		selector map[string]string
		want     bool
	}{
		"the target":             {map[string]string{"app": "podinfo"}, true},
		"other labels too":       {map[string]string{"app": "podinfo", "tier": "web"}, true},
		"pods of before":         {map[string]string{"app": "podinfo", "tier": "old"}, true},
		"the primary":            {map[string]string{"app": "podinfo-primary"}, false},
		"whatever the version":   {map[string]string{"tier": "web"}, true},
		"no such value":          {map[string]string{"app": "podinfo", "tier": "db"}, false},
		"no such label":          {map[string]string{"app": "podinfo", "zone": ""}, false},
		"without selector: none": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := s.Leads(tc.selector); got != tc.want {
				t.Errorf("%t", got)
			}
		})
	}
}
