package istio

import (
	"fmt"
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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio/internal/hosts"
	"github.com/sluice-delivery/sluice/providers/istio/internal/istiotest"
	"github.com/sluice-delivery/sluice/providers/istio/internal/original"
	"github.com/sluice-delivery/sluice/providers/routertest"
)

// TestUsersObjects draws a VirtualService, policies and ports of a user's. What becomes of requests is
// what Istio does with them by these objects.
func TestUsersObjects(t *testing.T) {
	outer := t
	routertest.UsersObjects(t, func(t *rapid.T) *routertest.Users {
		u := someUser(t)
		if overwrites(&u.spec) {
			return nil // it counts as another operator's
		}
		return u.world(outer)
	})
}

// usersObjects are a VirtualService, policies, and the ports of the application.
type usersObjects struct {
	spec   networking.VirtualService
	rules  []*networkingv1.DestinationRule
	ports  []corev1.ServicePort
	canary *v1beta1.Canary
	live   *world
}

// world is a cluster that has the objects.
func (u *usersObjects) world(t *testing.T) *routertest.Users {
	live := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: types.UID("u")}}
	u.spec.DeepCopyInto(&live.Spec)
	u.live = newWorld(t, live)
	for _, rule := range u.rules {
		if err := u.live.Create(t.Context(), rule.DeepCopy()); err != nil {
			t.Fatal(err)
		}
	}
	closed, mixed := u.leads()
	return &routertest.Users{
		Router: u.live.router, Route: providers.Route{Canary: u.canary, Ports: u.ports},
		Serve: func() []routertest.Outcome { return u.outcomes(t) }, Stored: func() any { return u.stored(t) }, Check: u.protected,
		Closed: closed, Mixed: mixed, Replay: func() func() { return u.replay(t) },
	}
}

// replay keeps the VirtualService as it is, and writes its spec.
func (u *usersObjects) replay(t *testing.T) func() {
	read := func() *networkingv1.VirtualService {
		live := &networkingv1.VirtualService{}
		if err := u.live.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: "podinfo"}, live); err != nil {
			t.Fatal(err)
		}
		return live
	}
	was := read()
	return func() {
		live := read()
		was.Spec.DeepCopyInto(&live.Spec)
		if err := u.live.Update(t.Context(), live); err != nil {
			t.Fatal(err)
		}
	}
}

// leads tells whether a route for requests leads to the apex Service, and whether any route leads to it and to the canary.
func (u *usersObjects) leads() (requests, mixed bool) {
	look := func(all []*networking.RouteDestination) bool {
		var names []string
		for _, d := range all {
			name, _, _ := strings.Cut(d.Destination.Host, ".")
			names = append(names, name)
		}
		toApex := slices.Contains(names, "podinfo")
		mixed = mixed || toApex && slices.Contains(names, "podinfo-canary")
		return toApex
	}
	for _, r := range u.spec.Http {
		requests = look(connectionsOf(r)) || requests
	}
	for _, r := range u.spec.Tcp {
		look(r.Route)
	}
	for _, r := range u.spec.Tls {
		look(r.Route)
	}
	return requests, mixed
}

// connectionsOf are the destinations of a route without what only requests have.
func connectionsOf(route *networking.HTTPRoute) (out []*networking.RouteDestination) {
	for _, d := range route.Route {
		out = append(out, &networking.RouteDestination{Destination: d.Destination, Weight: d.Weight})
	}
	return out
}

// stored are all objects by their kinds and names.
func (u *usersObjects) stored(t *testing.T) map[string]any {
	t.Helper()
	out := map[string]any{}
	services, rules := &networkingv1.VirtualServiceList{}, &networkingv1.DestinationRuleList{}
	for _, list := range []client.ObjectList{services, rules} {
		if err := u.live.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
	}
	for _, vs := range services.Items {
		out["VirtualService "+vs.Name] = u.live.spec(t, "VirtualService", vs.Name)
		out["annotations of "+vs.Name] = vs.Annotations
	}
	for _, rule := range rules.Items {
		out["DestinationRule "+rule.Name] = encoded(t, &rule.Spec)
	}
	return out
}

// outcomes are those of every kind of request and connection.
func (u *usersObjects) outcomes(t *testing.T) (out []routertest.Outcome) {
	t.Helper()
	all := &networkingv1.VirtualServiceList{}
	if err := u.live.List(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	for _, r := range u.requests() {
		o := u.routed(all.Items, r)
		o.Request, o.Matches = r, r.headers[routertest.InsidersHeader] == "yes"
		o.Cookie = r.headers["cookie"]
		out = append(out, o)
	}
	for _, c := range u.connections() {
		o := u.connected(all.Items, c)
		o.Request, o.Connection = c, true
		out = append(out, o)
	}
	return out
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

// protected has the limits of connections that held for the apex Service hold for the primary and the canary, and
// users' rules be as they were.
func (u *usersObjects) protected(t *rapid.T) {
	all := &networkingv1.DestinationRuleList{}
	if err := u.live.List(t.Context(), all); err != nil {
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
	headers := []map[string]string{nil, {"x-tester": "yes"}, {"x-insider": "yes"}, {"x-tester": "yes", "x-insider": "yes"}, {"cookie": routertest.CanaryCookie}}
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

// routed is what Istio does with a request.
func (u *usersObjects) routed(all []*networkingv1.VirtualService, r request) routertest.Outcome {
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
			return routertest.Outcome{}
		}
	}
	if r.gateway == hosts.Mesh && r.host == "podinfo" { // a Service without routes
		return routertest.Outcome{Shares: map[string]float64{fmt.Sprintf("podinfo:%d", r.port): 100}}
	}
	return routertest.Outcome{}
}

func (u *usersObjects) byRoute(route *networking.HTTPRoute, r request) routertest.Outcome {
	if route.Redirect != nil {
		return routertest.Outcome{Treatment: "redirected"}
	}
	out := u.divided(connectionsOf(route), r.port)
	out.Copies = map[string]float64{}
	if route.Mirror != nil {
		out.Copies[route.Mirror.Host] = 100
		switch {
		case route.MirrorPercentage != nil:
			out.Copies[route.Mirror.Host] = route.MirrorPercentage.Value
		case route.MirrorPercent != nil: //nolint:staticcheck // users have it
			out.Copies[route.Mirror.Host] = float64(route.MirrorPercent.Value) //nolint:staticcheck // users have it
		}
	}
	for _, m := range route.Mirrors {
		out.Copies[m.Destination.Host] = 100
		if m.Percentage != nil {
			out.Copies[m.Destination.Host] = m.Percentage.Value
		}
	}
	return out
}

// divided has destinations without a port lead to the only one, else to the request's.
func (u *usersObjects) divided(all []*networking.RouteDestination, port uint32) routertest.Outcome {
	out, total := routertest.Outcome{Shares: map[string]float64{}}, float64(0)
	for _, d := range all {
		total += float64(d.Weight)
	}
	for _, d := range all {
		share := float64(100)
		if len(all) > 1 {
			share = 100 * float64(d.Weight) / total
		}
		to := port
		switch {
		case d.Destination.Port != nil:
			to = d.Destination.Port.Number
		case len(u.ports) == 1:
			to = uint32(u.ports[0].Port)
		}
		service, _, _ := strings.Cut(d.Destination.Host, ".")
		out.Shares[fmt.Sprintf("%s:%d", service, to)] += share
	}
	return out
}

func (u *usersObjects) connected(all []*networkingv1.VirtualService, c connection) routertest.Outcome {
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
	return routertest.Outcome{}
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
		got, has := r.headers[strings.ToLower(name)]
		if regex := value.GetRegex(); !has || regex == "" && got != value.GetExact() || regex != "" && !routertest.FitsExpression(regex, got) {
			return false
		}
	}
	return true
}
