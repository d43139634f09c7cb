package istio

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio/internal/hosts"
	"github.com/sluice-delivery/sluice/providers/istio/internal/istiotest"
	"github.com/sluice-delivery/sluice/providers/istio/internal/original"
	"github.com/sluice-delivery/sluice/providers/istio/internal/settings"
	"github.com/sluice-delivery/sluice/providers/routertest"
)

// TestUsersObjects has what a request comes to, whatever a user's VirtualService is, be what it
// was before it was taken over, but for what led to the apex Service: that is shared out. Then
// it is given back as it was. It does not look at how routes are written, but at what
// Istio does with requests by them.
func TestUsersObjects(t *testing.T) {
	routertest.FixSeed(t)
	tried, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		for range 10 {
			u := someUser(t)
			if overwrites(&u.spec) {
				continue // it counts as another operator's
			}
			tried++
			if !u.check(t) {
				refused++
			}
		}
	})
	if refused*2 > tried {
		t.Errorf("%d of %d were refused", refused, tried)
	}
}

// usersObjects are a VirtualService, policies, and what a Canary then does.
type usersObjects struct {
	spec    networking.VirtualService
	rules   []*networkingv1.DestinationRule
	ports   []corev1.ServicePort
	canary  *v1beta1.Canary
	traffic []providers.Traffic
}

func someUser(t *rapid.T) *usersObjects {
	u := &usersObjects{canary: istiotest.Canary()}
	some := func(name string, from []string, least int) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(from), least, len(from), rapid.ID[string]).Draw(t, name)
	}
	u.spec.Hosts = some("hosts", []string{"podinfo", "app.example.com", "shop.example.com"}, 1)
	u.spec.Gateways = some("gateways", []string{"mesh", "infra/public", "infra/private"}, 0)
	for _, port := range []int32{9898, 9090, 80}[:rapid.IntRange(1, 3).Draw(t, "ports")] {
		u.ports = append(u.ports, corev1.ServicePort{Name: fmt.Sprintf("http-%d", port), Port: port})
	}
	for range rapid.IntRange(0, 5).Draw(t, "routes") {
		u.spec.Http = append(u.spec.Http, u.someRoute(t))
	}
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "connections") {
		route := &networking.TCPRoute{Match: []*networking.L4MatchAttributes{{Port: rapid.SampledFrom([]uint32{1, 2}).Draw(t, "port")}}}
		for _, d := range u.someDestinations(t) {
			route.Route = append(route.Route, &networking.RouteDestination{Destination: d.Destination, Weight: d.Weight})
		}
		u.spec.Tcp = append(u.spec.Tcp, route)
	}
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "names of servers") {
		u.spec.Tls = append(u.spec.Tls, u.someTLSRoute(t))
	}
	u.rules = somePolicies(t)
	weight := rapid.Int32Range(0, 100).Draw(t, "weight")
	u.traffic = []providers.Traffic{{Primary: 100}, {Primary: 100 - weight, Canary: weight}}
	switch rapid.IntRange(0, 3).Draw(t, "strategy") {
	case 0:
		u.canary.Spec.Analysis = &v1beta1.CanaryAnalysis{Iterations: 3, Match: []v1beta1.RawObject{*istiotest.Raw(`{"headers":{"x-insider":{"exact":"yes"}}}`)}}
		u.traffic[1].Matched = true
	case 1:
		u.traffic[1] = providers.Traffic{Primary: 100, Mirror: 40}
	}
	return u
}

func (u *usersObjects) someTLSRoute(t *rapid.T) *networking.TLSRoute {
	m := &networking.TLSMatchAttributes{SniHosts: rapid.SliceOfNDistinct(rapid.SampledFrom(u.spec.Hosts), 1, len(u.spec.Hosts), rapid.ID[string]).Draw(t, "servers")}
	if rapid.IntRange(0, 4).Draw(t, "of a port") == 0 {
		m.Port = 443
	}
	if rapid.IntRange(0, 4).Draw(t, "of gateways") == 0 {
		m.Gateways = []string{rapid.SampledFrom([]string{"mesh", "infra/public"}).Draw(t, "gateway")}
	}
	route := &networking.TLSRoute{Match: []*networking.TLSMatchAttributes{m}}
	for _, d := range u.someDestinations(t) {
		route.Route = append(route.Route, &networking.RouteDestination{Destination: d.Destination, Weight: d.Weight})
	}
	return route
}

// somePolicies are rules for the application, for others, and for all.
func somePolicies(t *rapid.T) (out []*networkingv1.DestinationRule) {
	for i, host := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
		"podinfo", "podinfo.test.svc.cluster.local", "*.test.svc.cluster.local", "billing", "podinfo-canary.test", "podinfo.other.svc.cluster.local",
	}), 0, 3, rapid.ID[string]).Draw(t, "policies") {
		rule := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: fmt.Sprintf("policy-%d", i), UID: types.UID(fmt.Sprint("policy", i))}}
		rule.CreationTimestamp = metav1.Unix(int64(rapid.IntRange(1, 3).Draw(t, "made")), 0)
		rule.Spec.Host = host
		rule.Spec.Subsets = []*networking.Subset{{Name: "v1", Labels: map[string]string{"version": "v1"}}}
		if rapid.IntRange(0, 3).Draw(t, "with a policy") > 0 {
			rule.Spec.TrafficPolicy = &networking.TrafficPolicy{ConnectionPool: &networking.ConnectionPoolSettings{Tcp: &networking.ConnectionPoolSettings_TCPSettings{MaxConnections: int32(10 + i)}}}
		}
		if rapid.IntRange(0, 3).Draw(t, "exported") == 0 {
			rule.Spec.ExportTo = []string{"."}
		}
		out = append(out, rule)
	}
	return out
}

func (u *usersObjects) someRoute(t *rapid.T) *networking.HTTPRoute {
	route := &networking.HTTPRoute{}
	for range rapid.IntRange(0, 2).Draw(t, "alternatives") {
		route.Match = append(route.Match, u.someMatch(t))
	}
	if rapid.IntRange(0, 5).Draw(t, "redirect") == 0 {
		route.Redirect = &networking.HTTPRedirect{Uri: "/elsewhere"}
		return route
	}
	route.Route = u.someDestinations(t)
	if rapid.IntRange(0, 3).Draw(t, "mirror") == 0 {
		route.Mirror = &networking.Destination{Host: "shadow"}
		route.MirrorPercent = wrapperspb.UInt32(5) //nolint:staticcheck // users have it
	}
	return route
}

func (u *usersObjects) someMatch(t *rapid.T) *networking.HTTPMatchRequest {
	m := &networking.HTTPMatchRequest{}
	if prefix := rapid.SampledFrom([]string{"", "/", "/a", "/b"}).Draw(t, "prefix"); prefix != "" {
		m.Uri = &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: prefix}}
	}
	for _, header := range []string{"x-tester", "x-insider"} {
		if rapid.IntRange(0, 4).Draw(t, header) == 0 {
			if m.Headers == nil {
				m.Headers = map[string]*networking.StringMatch{}
			}
			m.Headers[header] = &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: "yes"}}
		}
	}
	if rapid.IntRange(0, 4).Draw(t, "of gateways") == 0 {
		m.Gateways = []string{rapid.SampledFrom([]string{"mesh", "infra/public"}).Draw(t, "gateway")}
	}
	if rapid.IntRange(0, 4).Draw(t, "of a source") == 0 {
		m.SourceLabels = map[string]string{"app": "web"}
	}
	if rapid.IntRange(0, 4).Draw(t, "of a port") == 0 {
		m.Port = uint32(rapid.SampledFrom(u.ports).Draw(t, "port").Port)
	}
	return m
}

func (u *usersObjects) someDestinations(t *rapid.T) (out []*networking.HTTPRouteDestination) {
	hosts := []string{"podinfo", "podinfo", "podinfo.test.svc.cluster.local", "podinfo-canary", "podinfo-primary", "billing"}
	n := rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(t, "destinations")
	for range n {
		d := &networking.HTTPRouteDestination{Destination: &networking.Destination{Host: rapid.SampledFrom(hosts).Draw(t, "host")}}
		if rapid.Bool().Draw(t, "with a port") {
			d.Destination.Port = &networking.PortSelector{Number: uint32(rapid.SampledFrom(u.ports).Draw(t, "port").Port)}
		}
		if n > 1 {
			d.Weight = rapid.Int32Range(1, 60).Draw(t, "share")
		}
		out = append(out, d)
	}
	return out
}

// check is false when the VirtualService is refused, which leaves it as it is.
func (u *usersObjects) check(t *rapid.T) bool {
	live := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: types.UID("u")}}
	u.spec.DeepCopyInto(&live.Spec)
	w := newWorld(t, live)
	for _, rule := range u.rules {
		if err := w.Create(t.Context(), rule.DeepCopy()); err != nil {
			t.Fatal(err)
		}
	}
	before := w.spec(t, "VirtualService", "podinfo")
	for _, traffic := range u.traffic {
		r := providers.Route{Canary: u.canary, Traffic: traffic, Ports: u.ports}
		if err := w.router.Apply(t.Context(), r); err != nil {
			if !providers.IsInvalid(err) {
				t.Fatal(err)
			}
			u.released(t, w, before)
			return false
		}
		if state, err := w.router.Observe(t.Context(), r); err != nil || !state.InSync {
			t.Fatalf("observed %+v, %v", state, err)
		}
		all := &networkingv1.VirtualServiceList{}
		if err := w.List(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		u.compare(t, traffic, all.Items)
		u.protected(t, w)
	}
	u.released(t, w, before)
	return true
}

// protected has the limits of connections that held for the apex Service hold for the primary and the canary, and
// users' rules be as they were.
func (u *usersObjects) protected(t *rapid.T, w *world) {
	all := &networkingv1.DestinationRuleList{}
	if err := w.List(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	ours := 0
	for _, rule := range all.Items {
		i := slices.IndexFunc(u.rules, func(users *networkingv1.DestinationRule) bool { return users.Name == rule.Name })
		if i >= 0 {
			if was, is := encoded(t, &u.rules[i].Spec), encoded(t, &rule.Spec); was != is {
				t.Fatalf("policy %s is\n%s\nwas\n%s", rule.Name, is, was)
			}
			continue
		}
		ours++
		if rule.Spec.TrafficPolicy == nil {
			t.Fatalf("rule %s of no effect hides what there is for a wildcard", rule.Name)
		}
	}
	limit, found := u.limit("podinfo")
	for _, host := range []string{"podinfo-primary", "podinfo-canary"} {
		i := slices.IndexFunc(all.Items, func(rule *networkingv1.DestinationRule) bool { return rule.Name == host })
		switch {
		case i < 0 && found:
			t.Fatalf("%s has not the policy of the apex Service", host)
		case i >= 0 && all.Items[i].Spec.TrafficPolicy.ConnectionPool.Tcp.MaxConnections != limit:
			t.Fatalf("%s has another policy than the apex Service: %s, not %d", host, encoded(t, &all.Items[i].Spec), limit)
		}
	}
	if want := map[bool]int{true: 2}[found]; ours != want {
		t.Fatalf("%d rules were made, not %d", ours, want)
	}
}

// limit is that of the rule for a host that is no wildcard: Istio goes by the oldest.
func (u *usersObjects) limit(host string) (limit int32, found bool) {
	var by *networkingv1.DestinationRule
	for _, rule := range u.rules {
		its := rule.Spec.Host == host || rule.Spec.Host == host+".test.svc.cluster.local"
		if its && rule.Spec.TrafficPolicy != nil && (by == nil || rule.CreationTimestamp.Before(&by.CreationTimestamp) ||
			rule.CreationTimestamp.Equal(&by.CreationTimestamp) && rule.Name < by.Name) {
			by = rule
		}
	}
	if by == nil {
		return 0, false
	}
	return by.Spec.TrafficPolicy.ConnectionPool.Tcp.MaxConnections, true
}

func (u *usersObjects) released(t *rapid.T, w *world, before map[string]any) {
	c := u.canary.DeepCopy()
	c.DeletionTimestamp = new(metav1.Now())
	if err := w.router.Release(t.Context(), istiotest.Route(c, 0)); err != nil {
		t.Fatal(err)
	}
	if was, is := encoded(t, before), encoded(t, w.spec(t, "VirtualService", "podinfo")); was != is {
		t.Fatalf("given back\n%s\nwas\n%s", is, was)
	}
	all := &networkingv1.VirtualServiceList{}
	if err := w.List(t.Context(), all); err != nil || len(all.Items) != 1 {
		t.Fatalf("%d VirtualServices are left, %v", len(all.Items), err)
	}
	rules := &networkingv1.DestinationRuleList{}
	if err := w.List(t.Context(), rules); err != nil || len(rules.Items) != len(u.rules) {
		t.Fatalf("%d DestinationRules are left, %v", len(rules.Items), err)
	}
}

// compare looks at every kind of request.
func (u *usersObjects) compare(t *rapid.T, traffic providers.Traffic, now []*networkingv1.VirtualService) {
	adds := !slices.ContainsFunc(u.spec.Http, func(r *networking.HTTPRoute) bool {
		return slices.ContainsFunc(r.Route, func(d *networking.HTTPRouteDestination) bool { return settings.IsApex(u.canary, d.Destination) })
	})
	was := []*networkingv1.VirtualService{{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"}}}
	u.spec.DeepCopyInto(&was[0].Spec)
	for _, r := range u.requests() {
		before, after := u.routed(was, r), u.routed(now, r)
		want := u.split(before, r, traffic)
		if before.outcome == "none" && adds {
			continue // a VirtualService that has no route to the apex Service gets one
		}
		if want.String() != after.String() {
			t.Fatalf("%+v\ncame to %s\nmust come to %s\ncomes to %s\nby %s", r, before, want, after, encoded(t, now))
		}
	}
	share := providers.Traffic{Primary: traffic.Primary, Canary: traffic.Canary}
	if traffic.Matched {
		share = providers.Traffic{Primary: 100}
	}
	for _, c := range u.connections() {
		before, after := u.connected(was, c), u.connected(now, c)
		if want := u.split(before, request{}, share); before.outcome != "none" && want.String() != after.String() {
			t.Fatalf("%+v came to %s, must come to %s, comes to %s\nby %s", c, before, want, after, encoded(t, now))
		}
	}
}

// connection is what a proxy looks at that sees no requests.
type connection struct {
	gateway, server string
	port            uint32
}

func (u *usersObjects) connections() (out []connection) {
	for _, gateway := range []string{"mesh", "infra/public", "infra/private"} {
		for _, port := range []uint32{1, 2} {
			out = append(out, connection{gateway: gateway, port: port})
		}
		for _, server := range []string{"podinfo", "app.example.com", "shop.example.com"} {
			out = append(out, connection{gateway, server, 443}, connection{gateway, server, 8443})
		}
	}
	return out
}

// overwrites tells whether it counts as another operator's.
func overwrites(spec *networking.VirtualService) bool {
	vs := &networkingv1.VirtualService{}
	spec.DeepCopyInto(&vs.Spec)
	return len(spec.Http)+len(spec.Tcp)+len(spec.Tls) > 0 && original.TakenOverBefore(vs, istiotest.Canary())
}

// request is what a proxy looks at.
type request struct {
	gateway, host, path string
	port                uint32
	headers, source     map[string]string
}

func (u *usersObjects) requests() (out []request) {
	headers := []map[string]string{nil, {"x-tester": "yes"}, {"x-insider": "yes"}, {"x-tester": "yes", "x-insider": "yes"}}
	for _, gateway := range []string{"mesh", "infra/public", "infra/private"} {
		for _, host := range []string{"podinfo", "app.example.com", "shop.example.com"} {
			for _, path := range []string{"/", "/a/x", "/b"} {
				for _, port := range u.ports {
					for _, h := range headers {
						r := request{gateway: gateway, host: host, path: path, port: uint32(port.Port), headers: h}
						out = append(out, r)
						if gateway == hosts.Mesh {
							r.source = map[string]string{"app": "web"}
							out = append(out, r)
						}
					}
				}
			}
		}
	}
	return out
}

// result is what a request comes to: shares by SERVICE:PORT, and copies.
type result struct {
	outcome string // none, redirect or routed
	shares  map[string]float64
	copies  map[string]float64
}

func (r result) String() string {
	var parts []string
	for _, m := range []map[string]float64{r.shares, r.copies} {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if m[k] > 0 {
				parts = append(parts, fmt.Sprintf("%s %.5f", k, m[k]+1e-9))
			}
		}
		parts = append(parts, "|")
	}
	return r.outcome + " " + strings.Join(parts, " ")
}

// split is what must come of a result: the share of the apex Service divided.
func (u *usersObjects) split(before result, r request, traffic providers.Traffic) result {
	out := result{outcome: before.outcome, shares: map[string]float64{}, copies: maps.Clone(before.copies)}
	canary := float64(traffic.Canary) / 100
	if traffic.Matched && r.headers["x-insider"] != "yes" {
		canary = 0
	}
	for to, share := range before.shares {
		service, port, _ := strings.Cut(to, ":")
		if service != "podinfo" {
			out.shares[to] += share
			continue
		}
		out.shares["podinfo-primary:"+port] += share * (1 - canary)
		out.shares["podinfo-canary:"+port] += share * canary
		if traffic.Mirror > 0 {
			if out.copies == nil {
				out.copies = map[string]float64{}
			}
			out.copies["podinfo-canary"] = float64(traffic.Mirror)
		}
	}
	return out
}

// routed is what Istio does with a request.
func (u *usersObjects) routed(all []*networkingv1.VirtualService, r request) result {
	for _, vs := range all {
		gateways := hosts.Gateways(vs.Spec.Gateways, "test")
		if !slices.Contains(vs.Spec.Hosts, r.host) || !slices.Contains(gateways, r.gateway) {
			continue
		}
		seen := false
		for _, route := range vs.Spec.Http {
			if len(route.Match) == 0 || slices.ContainsFunc(route.Match, r.fits) {
				return u.byRoute(route, r)
			}
			seen = seen || slices.ContainsFunc(route.Match, r.sees)
		}
		if seen {
			return result{outcome: "none"}
		}
	}
	if r.gateway == hosts.Mesh && r.host == "podinfo" { // a Service without routes
		return result{outcome: "routed", shares: map[string]float64{fmt.Sprintf("podinfo:%d", r.port): 1}}
	}
	return result{outcome: "none"}
}

func (u *usersObjects) byRoute(route *networking.HTTPRoute, r request) result {
	if route.Redirect != nil {
		return result{outcome: "redirect"}
	}
	var all []*networking.RouteDestination
	for _, d := range route.Route {
		all = append(all, &networking.RouteDestination{Destination: d.Destination, Weight: d.Weight})
	}
	out := u.divided(all, r.port)
	out.copies = map[string]float64{}
	if route.Mirror != nil {
		out.copies[route.Mirror.Host] = 100
		switch {
		case route.MirrorPercentage != nil:
			out.copies[route.Mirror.Host] = route.MirrorPercentage.Value
		case route.MirrorPercent != nil: //nolint:staticcheck // users have it
			out.copies[route.Mirror.Host] = float64(route.MirrorPercent.Value) //nolint:staticcheck // users have it
		}
	}
	for _, m := range route.Mirrors {
		out.copies[m.Destination.Host] = 100
		if m.Percentage != nil {
			out.copies[m.Destination.Host] = m.Percentage.Value
		}
	}
	return out
}

// divided has destinations without a port lead to the only one, else to the request's.
func (u *usersObjects) divided(all []*networking.RouteDestination, port uint32) result {
	out, total := result{outcome: "routed", shares: map[string]float64{}}, float64(0)
	for _, d := range all {
		total += float64(d.Weight)
	}
	for _, d := range all {
		share := float64(1)
		if len(all) > 1 {
			share = float64(d.Weight) / total
		}
		to := port
		switch {
		case d.Destination.Port != nil:
			to = d.Destination.Port.Number
		case len(u.ports) == 1:
			to = uint32(u.ports[0].Port)
		}
		service, _, _ := strings.Cut(d.Destination.Host, ".")
		out.shares[fmt.Sprintf("%s:%d", service, to)] += share
	}
	return out
}

func (u *usersObjects) connected(all []*networkingv1.VirtualService, c connection) result {
	at := func(vs *networkingv1.VirtualService, gateways []string) bool {
		return len(gateways) == 0 || slices.Contains(hosts.Gateways(gateways, vs.Namespace), c.gateway)
	}
	for _, vs := range all {
		if !slices.Contains(hosts.Gateways(vs.Spec.Gateways, vs.Namespace), c.gateway) {
			continue
		}
		for _, route := range vs.Spec.Tls {
			if slices.ContainsFunc(route.Match, func(m *networking.TLSMatchAttributes) bool {
				return slices.Contains(m.SniHosts, c.server) && (m.Port == 0 || m.Port == c.port) && at(vs, m.Gateways)
			}) {
				return u.divided(route.Route, c.port)
			}
		}
		for _, route := range vs.Spec.Tcp {
			if c.server == "" && slices.ContainsFunc(route.Match, func(m *networking.L4MatchAttributes) bool { return m.Port == c.port && at(vs, m.Gateways) }) {
				return u.divided(route.Route, c.port)
			}
		}
	}
	return result{outcome: "none"}
}

// sees tells whether Istio gives a route with the match to the proxy of the request's sender.
// Proxies that get no route at all of a Service have the one that a Service without
// routes has.
func (r request) sees(m *networking.HTTPMatchRequest) bool {
	switch {
	case len(m.Gateways) > 0:
		if !slices.Contains(m.Gateways, r.gateway) {
			return false
		}
	case len(m.SourceLabels) > 0 && r.source["app"] != m.SourceLabels["app"]:
		return false
	}
	return m.Port == 0 || m.Port == r.port
}

// fits tells whether the request takes a route with the match.
func (r request) fits(m *networking.HTTPMatchRequest) bool {
	if !r.sees(m) || !strings.HasPrefix(r.path, m.Uri.GetPrefix()) {
		return false
	}
	for name, value := range m.Headers {
		if r.headers[strings.ToLower(name)] != value.GetExact() {
			return false
		}
	}
	return true
}
