package istio

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// TestWildcardRules has a user's rule for a wildcard hold for the primary and the canary, as for
// any other Service: Istio goes by the rule with the most specific host alone.
func TestWildcardRules(t *testing.T) {
	const limits = `{connectionPool: {tcp: {maxConnections: 77}}, portLevelSettings: [{port: {number: 9898}, connectionPool: {tcp: {maxConnections: 7}}}]}`
	rule := func(namespace, name, host, policy string) *networkingv1.DestinationRule {
		return ruleOf(t, namespace, name, "{host: '"+host+"', trafficPolicy: "+policy+"}")
	}
	private := rule("istio-system", "private", "*.local", `{tls: {mode: SIMPLE}}`)
	private.Spec.ExportTo = []string{"."}
	for name, tc := range map[string]struct {
		rules []client.Object
		spec  string
		want  string // trafficPolicy of ours, empty for no rule
	}{
		"nothing":                  {},
		"of the namespace":         {rules: []client.Object{rule("test", "default", "*.test.svc.cluster.local", limits)}},
		"of the whole mesh":        {rules: []client.Object{rule("istio-system", "default", "*.local", limits)}},
		"beside one for the apex":  {rules: []client.Object{rule("test", "default", "*.local", limits), rule("test", "web", "podinfo", `{tls: {mode: ISTIO_MUTUAL}}`)}, want: `{tls: {mode: ISTIO_MUTUAL}}`},
		"for a name that is none":  {rules: []client.Object{rule("test", "web", "podinfo.test", limits)}},
		"the spec alone":           {spec: `{"tls":{"mode":"DISABLE"}}`, want: `{tls: {mode: DISABLE}}`},
		"the spec over one":        {rules: []client.Object{rule("test", "default", "*.test.svc.cluster.local", limits)}, spec: `{"tls":{"mode":"DISABLE"}}`, want: `{connectionPool: {tcp: {maxConnections: 77}}, tls: {mode: DISABLE}, portLevelSettings: [{port: {number: 9898}, connectionPool: {tcp: {maxConnections: 7}}, tls: {mode: DISABLE}}]}`},
		"the spec wins":            {rules: []client.Object{rule("istio-system", "default", "*.local", limits)}, spec: `{"connectionPool":{"tcp":{"maxConnections":5}}}`, want: `{connectionPool: {tcp: {maxConnections: 5}}, portLevelSettings: [{port: {number: 9898}, connectionPool: {tcp: {maxConnections: 5}}}]}`},
		"the nearest":              {rules: []client.Object{rule("istio-system", "default", "*.svc.cluster.local", limits), rule("test", "default", "*.local", `{tls: {mode: SIMPLE}}`)}, spec: `{"loadBalancer":{"simple":"RANDOM"}}`, want: `{loadBalancer: {simple: RANDOM}, tls: {mode: SIMPLE}}`},
		"the most specific":        {rules: []client.Object{rule("test", "a", "*.local", limits), rule("test", "b", "*.svc.cluster.local", `{tls: {mode: SIMPLE}}`)}, spec: `{"loadBalancer":{"simple":"RANDOM"}}`, want: `{loadBalancer: {simple: RANDOM}, tls: {mode: SIMPLE}}`},
		"that others do not see":   {rules: []client.Object{private}, spec: `{"loadBalancer":{"simple":"RANDOM"}}`, want: `{loadBalancer: {simple: RANDOM}}`},
		"of another namespace":     {rules: []client.Object{rule("other", "a", "*.local", limits)}, spec: `{"loadBalancer":{"simple":"RANDOM"}}`, want: `{loadBalancer: {simple: RANDOM}}`},
		"for other Services alone": {rules: []client.Object{rule("test", "a", "*.other.svc.cluster.local", limits)}, spec: `{"loadBalancer":{"simple":"RANDOM"}}`, want: `{loadBalancer: {simple: RANDOM}}`},
		"64-bit numbers":           {spec: `{"loadBalancer":{"consistentHash":{"useSourceIp":true,"minimumRingSize":1024}}}`, want: `{loadBalancer: {consistentHash: {useSourceIp: true, minimumRingSize: 1024}}}`},
		"64-bit numbers, nested":   {spec: `{"portLevelSettings":[{"port":{"number":9898},"loadBalancer":{"consistentHash":{"useSourceIp":true,"maglev":{"tableSize":65537}}}}]}`, want: `{portLevelSettings: [{port: {number: 9898}, loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 65537}}}}]}`},
		"64-bit numbers of a user": {rules: []client.Object{rule("test", "web", "podinfo", `{loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 9}}}}`)}, want: `{loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 9}}}}`},
		"no encryption for a port": {spec: `{"portLevelSettings":[{"port":{"number":9898},"tls":{"mode":"DISABLE"}}]}`, want: `{portLevelSettings: [{port: {number: 9898}, tls: {mode: DISABLE}}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.rules...)
			c := canary()
			if tc.spec != "" {
				c.Spec.Service.TrafficPolicy = raw(tc.spec)
			}
			w.apply(t, route(c, 10))
			for _, host := range []string{"podinfo-primary", "podinfo-canary"} {
				sent := w.sent["DestinationRule "+host]
				if (sent != "") != (tc.want != "") {
					t.Errorf("of %s was sent %q", host, sent)
				}
				if d := cmp.Diff(decodeYAML(t, tc.want), specOf(t, sent)["trafficPolicy"]); tc.want != "" && d != "" {
					t.Errorf("%s (-want +sent)\n%s", host, d)
				}
			}
		})
	}
}

// TestNoRuleOfOurs takes away a rule that says nothing any more, and leaves a user's.
func TestNoRuleOfOurs(t *testing.T) {
	w := newWorld(t, ruleOf(t, "test", "podinfo-canary", `{host: podinfo-canary, subsets: [{name: v1}]}`))
	w.apply(t, route(canary(), 10))
	if w.sent["DestinationRule podinfo-canary"] != "" {
		t.Error("a user's rule was written without need")
	}
	says := canary(withPolicy)
	says.Generation = 2
	w.apply(t, route(says, 10))
	if w.spec(t, "DestinationRule", "podinfo-primary") == nil {
		t.Fatal("no rule for the policy")
	}
	nothing := canary()
	nothing.Generation = 3
	if state, err := w.router.Observe(t.Context(), route(nothing, 10)); err != nil || state.InSync {
		t.Errorf("observed %+v, %v with a rule that is not wanted", state, err)
	}
	w.apply(t, route(nothing, 10))
	if left := w.spec(t, "DestinationRule", "podinfo-primary"); left != nil {
		t.Errorf("left is %v", left)
	}
	if w.spec(t, "DestinationRule", "podinfo-canary") == nil {
		t.Error("a user's rule was deleted")
	}
}

// TestNumbers has each 64-bit field that Istio's kinds have be a number.
func TestNumbers(t *testing.T) {
	found := 0
	for _, message := range []protoreflect.ProtoMessage{&networking.DestinationRule{}, &networking.VirtualService{}} {
		var walk func(protoreflect.MessageDescriptor, func(map[string]any) map[string]any, []protoreflect.FullName)
		walk = func(of protoreflect.MessageDescriptor, within func(map[string]any) map[string]any, seen []protoreflect.FullName) {
			if slices.Contains(seen, of.FullName()) {
				return
			}
			for i := range of.Fields().Len() {
				f := of.Fields().Get(i)
				name := f.JSONName()
				holds := func(v any) map[string]any {
					if f.IsList() {
						v = []any{v}
					}
					return within(map[string]any{name: v})
				}
				switch {
				case f.IsMap():
				case f.Kind() == protoreflect.Int64Kind, f.Kind() == protoreflect.Uint64Kind:
					found++
					got := holds("9007199254740993")
					numbers(message.ProtoReflect().Descriptor(), got)
					if d := cmp.Diff(holds(int64(9007199254740993)), got); d != "" {
						t.Errorf("%s: %s", f.FullName(), d)
					}
				case f.Kind() == protoreflect.MessageKind && f.Message().ParentFile().Package() != "google.protobuf":
					walk(f.Message(), func(m map[string]any) map[string]any { return holds(m) }, append(slices.Clone(seen), of.FullName()))
				}
			}
		}
		walk(message.ProtoReflect().Descriptor(), func(m map[string]any) map[string]any { return m }, nil)
	}
	if found < 6 {
		t.Errorf("%d fields were tried", found)
	}
}

// TestRivals does not count a route that Istio does not go by.
func TestRivals(t *testing.T) {
	const toApex = `http: [{route: [{destination: {host: podinfo}}]}]`
	before, after := metav1.NewTime(time.Unix(100, 0)), metav1.NewTime(time.Unix(300, 0))
	public := func(s *v1beta1.CanaryService) {
		s.Hosts, s.Gateways = []string{"app.example.com"}, []string{"infra/public"}
	}
	for name, tc := range map[string]struct {
		change    func(*v1beta1.CanaryService)
		spec      string
		namespace string
		created   metav1.Time
		prevails  bool
	}{
		"an older one":                          {spec: `{hosts: [podinfo], ` + toApex + `}`, created: before, prevails: true},
		"a younger one":                         {spec: `{hosts: [podinfo], ` + toApex + `}`, created: after},
		"an older one, in full":                 {spec: `{hosts: [podinfo.test.svc.cluster.local], ` + toApex + `}`, created: before, prevails: true},
		"an older one of another name":          {spec: `{hosts: [podinfo.test], ` + toApex + `}`, created: before},
		"an older one of another namespace":     {namespace: "other", spec: `{hosts: [podinfo.test.svc.cluster.local], ` + toApex + `}`, created: before, prevails: true},
		"another namespace's own":               {namespace: "other", spec: `{hosts: [podinfo.test.svc.cluster.local], exportTo: ["."], ` + toApex + `}`, created: before},
		"another Service":                       {namespace: "other", spec: `{hosts: [podinfo], ` + toApex + `}`, created: before},
		"a younger one for the namespace alone": {spec: `{hosts: [podinfo], exportTo: ["."], ` + toApex + `}`, created: after, prevails: true},
		"an older one for a wildcard":           {spec: `{hosts: ["*.test.svc.cluster.local"], ` + toApex + `}`, created: before},
		"an older one for gateways":             {spec: `{hosts: [podinfo], gateways: [infra/public], ` + toApex + `}`, created: before},
		"an older one for another port":         {spec: `{hosts: [podinfo], http: [{match: [{port: 9797}], route: [{destination: {host: podinfo}}]}]}`, created: before},
		"an older one for connections":          {spec: `{hosts: [podinfo], tcp: [{route: [{destination: {host: podinfo}}]}]}`, created: before},
		"a gateway's, older":                    {change: public, spec: `{hosts: [app.example.com], gateways: [infra/public], ` + toApex + `}`, created: before, prevails: true},
		"a gateway's, younger":                  {change: public, spec: `{hosts: [app.example.com], gateways: [infra/public], ` + toApex + `}`, created: after},
		"a gateway's, older, of other paths":    {change: public, spec: `{hosts: [app.example.com], gateways: [infra/public], http: [{match: [{uri: {prefix: /x}}], route: [{destination: {host: x}}]}]}`, created: before},
		"another gateway's, older":              {change: public, spec: `{hosts: [app.example.com], gateways: [infra/private], ` + toApex + `}`, created: before},
		"delegated to": {
			change: func(s *v1beta1.CanaryService) { s.Delegation = true }, created: before,
			spec: `{hosts: [podinfo], http: [{delegate: {name: podinfo}}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			other := virtualServiceOf(t, "podinfo-routes", tc.spec)
			other.CreationTimestamp = tc.created
			if tc.namespace != "" {
				other.Namespace = tc.namespace
			}
			ours := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", CreationTimestamp: metav1.Unix(200, 0)}}
			r := route(canary(), 50)
			if tc.change != nil {
				tc.change(&r.Canary.Spec.Service)
			}
			(&Router{}).owner(r).Mark(ours)
			w := newWorld(t, other, ours)
			if err := w.router.Apply(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				state, err := w.router.Observe(t.Context(), r)
				if err != nil || state.InSync == tc.prevails || (state.Detail != "") != tc.prevails || state.Traffic != r.Traffic {
					t.Errorf("observed %+v, %v", state, err)
				}
			}
			if err := w.live.Delete(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			if state, err := w.router.Observe(t.Context(), r); err != nil || !state.InSync {
				t.Errorf("observed %+v, %v without it", state, err)
			}
		})
	}
}

// TestAbout finds the Services by whose Canaries an object of any name is looked at.
func TestAbout(t *testing.T) {
	vs := virtualServiceOf(t, "routes", `{hosts: [podinfo, podinfo.other.svc.cluster.local, app.example.com, "*.local", "*"]}`)
	want := []types.NamespacedName{{Namespace: "test", Name: "podinfo"}, {Namespace: "other", Name: "podinfo"}}
	if d := cmp.Diff(want, About(vs)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want[:1], About(ruleOf(t, "test", "default", `{host: podinfo.test.svc.cluster.local}`))); d != "" {
		t.Error(d)
	}
	for _, host := range []string{"podinfo", "podinfo.test.svc", "podinfo.test.svc.cluster.local"} {
		if keys := hostsIndexed(ruleOf(t, "test", "a", `{host: `+host+`}`)); !slices.Equal(keys, []string{"podinfo.test"}) {
			t.Errorf("%s is found by %v", host, keys)
		}
	}
	if keys := hostsIndexed(ruleOf(t, "test", "a", `{host: "*.local"}`)); !slices.Equal(keys, []string{"*"}) {
		t.Errorf("a wildcard is found by %v", keys)
	}
}
