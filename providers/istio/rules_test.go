package istio

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers/istio/internal/istiotest"
)

// TestWildcardRules has a user's rule for a wildcard hold for the primary and the canary, as for
// any other Service: Istio goes by the rule with the most specific host alone.
func TestWildcardRules(t *testing.T) {
	const limits = `{connectionPool: {tcp: {maxConnections: 77}}, portLevelSettings: [{port: {number: 9898}, connectionPool: {tcp: {maxConnections: 7}}}]}`
	rule := func(namespace, name, host, policy string) *networkingv1.DestinationRule {
		return istiotest.Rule(t, namespace, name, "{host: '"+host+"', trafficPolicy: "+policy+"}")
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
			c := istiotest.Canary()
			if tc.spec != "" {
				c.Spec.Service.TrafficPolicy = istiotest.Raw(tc.spec)
			}
			w.apply(t, istiotest.Route(c, 10))
			for _, host := range []string{"podinfo-primary", "podinfo-canary"} {
				sent := w.sent["DestinationRule "+host]
				if (sent != "") != (tc.want != "") {
					t.Errorf("of %s was sent %q", host, sent)
				}
				if d := cmp.Diff(istiotest.DecodeYAML(t, tc.want), istiotest.Spec(t, sent)["trafficPolicy"]); tc.want != "" && d != "" {
					t.Errorf("%s (-want +sent)\n%s", host, d)
				}
			}
		})
	}
}

// TestNoRuleOfOurs takes away a rule that says nothing any more, and leaves a user's.
func TestNoRuleOfOurs(t *testing.T) {
	w := newWorld(t, istiotest.Rule(t, "test", "podinfo-canary", `{host: podinfo-canary, subsets: [{name: v1}]}`))
	w.apply(t, istiotest.Route(istiotest.Canary(), 10))
	if w.sent["DestinationRule podinfo-canary"] != "" {
		t.Error("a user's rule was written without need")
	}
	says := istiotest.Canary(istiotest.WithPolicy)
	says.Generation = 2
	w.apply(t, istiotest.Route(says, 10))
	if w.spec(t, "DestinationRule", "podinfo-primary") == nil {
		t.Fatal("no rule for the policy")
	}
	nothing := istiotest.Canary()
	nothing.Generation = 3
	if state, err := w.router.Observe(t.Context(), istiotest.Route(nothing, 10)); err != nil || state.InSync {
		t.Errorf("observed %+v, %v with a rule that is not wanted", state, err)
	}
	w.apply(t, istiotest.Route(nothing, 10))
	if left := w.spec(t, "DestinationRule", "podinfo-primary"); left != nil {
		t.Errorf("left is %v", left)
	}
	if w.spec(t, "DestinationRule", "podinfo-canary") == nil {
		t.Error("a user's rule was deleted")
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
			other := istiotest.VirtualService(t, "podinfo-routes", tc.spec)
			other.CreationTimestamp = tc.created
			if tc.namespace != "" {
				other.Namespace = tc.namespace
			}
			ours := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", CreationTimestamp: metav1.Unix(200, 0)}}
			r := istiotest.Route(istiotest.Canary(), 50)
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
			concerned := About().Services(t.Context(), w.Client, other)
			if tc.prevails && !slices.Contains(concerned, types.NamespacedName{Namespace: "test", Name: "podinfo"}) {
				t.Errorf("when it goes %v are looked at", concerned)
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

// TestAbout has those looked at again whom a change of another's object concerns, and nobody
// when it only leads requests elsewhere.
func TestAbout(t *testing.T) {
	w := newWorld(t,
		istiotest.VirtualService(t, "podinfo", `{hosts: [app.example.com], gateways: [infra/public], http: [{route: [{destination: {host: podinfo}}]}]}`),
		istiotest.Rule(t, "test", "podinfo-primary", `{host: podinfo-primary, trafficPolicy: {tls: {mode: DISABLE}}}`),
		istiotest.Rule(t, "other", "shop-primary", `{host: shop-primary, trafficPolicy: {tls: {mode: DISABLE}}}`),
	)
	const other = `{hosts: [app.example.com], gateways: [infra/public], http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: a}}]}]}`
	for name, tc := range map[string]struct {
		object client.Object
		want   []string
	}{
		"of the same host":              {istiotest.VirtualService(t, "other", other), []string{"test/podinfo"}},
		"of another host":               {istiotest.VirtualService(t, "other", `{hosts: [www.example.com], gateways: [infra/public]}`), nil},
		"of its Service":                {istiotest.VirtualService(t, "other", `{hosts: [podinfo.test.svc.cluster.local]}`), []string{"test/podinfo"}},
		"a policy for a wildcard":       {istiotest.Rule(t, "test", "all", `{host: "*.test.svc.cluster.local"}`), []string{"test/podinfo-primary"}},
		"a policy for all":              {istiotest.Rule(t, "istio-system", "all", `{host: "*.local"}`), []string{"other/shop-primary", "test/podinfo-primary"}},
		"a policy for another wildcard": {istiotest.Rule(t, "test", "all", `{host: "*.a.svc.cluster.local"}`), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, found := range About().Services(t.Context(), w.Client, tc.object) {
				got = append(got, found.String())
			}
			slices.Sort(got)
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
	for name, tc := range map[string]struct {
		now   string
		alike bool
	}{
		"the same":       {other, true},
		"led elsewhere":  {`{hosts: [app.example.com], gateways: [infra/public], http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: b}}]}]}`, true},
		"other requests": {`{hosts: [app.example.com], gateways: [infra/public], http: [{match: [{uri: {prefix: /b}}], route: [{destination: {host: a}}]}]}`, false},
		"no requests":    {`{hosts: [app.example.com], gateways: [infra/public]}`, false},
		"another host":   {`{hosts: [www.example.com], gateways: [infra/public], http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: a}}]}]}`, false},
		"inside":         {`{hosts: [app.example.com], http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: a}}]}]}`, false},
		"for some":       {`{hosts: [app.example.com], exportTo: ["."], gateways: [infra/public], http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: a}}]}]}`, false},
		"connections":    {`{hosts: [app.example.com], gateways: [infra/public], http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: a}}]}], tcp: [{route: [{destination: {host: a}}]}]}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := About().Alike(istiotest.VirtualService(t, "other", other), istiotest.VirtualService(t, "other", tc.now)); got != tc.alike {
				t.Errorf("alike: %t", got)
			}
		})
	}
	policy := istiotest.Rule(t, "test", "all", `{host: "*.test.svc.cluster.local"}`)
	changed := policy.DeepCopy()
	changed.Generation++
	if !About().Alike(policy, policy) || About().Alike(policy, changed) {
		t.Error("the change of a policy is not seen")
	}
}
