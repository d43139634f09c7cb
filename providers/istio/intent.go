package istio

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// intent is one object as it must be.
type intent struct {
	object client.Object
	edit   func(map[string]any)
	routes bool // it depends on the traffic
	absent bool // there must be none that we made
}

func (i intent) options() []ssa.Option {
	return []ssa.Option{ssa.ProtoJSON, ssa.Edited(i.edit)}
}

// keyed are the options for an intent of route, which is all that the intent
// depends on, with whose the live object is and what the user has.
func (i intent) keyed(route providers.Route, have belongings) []ssa.Option {
	c := route.Canary
	key := fmt.Sprintf("%s %d %t %q %s", c.UID, c.Generation, ownership.Marked(i.object), have.key(), portsKey(route))
	if i.routes {
		key += fmt.Sprintf(" %#v", route.Traffic)
	}
	return append(i.options(), ssa.Keyed(key))
}

// portsKey is what a route depends on of the ports.
func portsKey(route providers.Route) string {
	key := fmt.Sprint(protocolOf(route), several(route))
	for _, p := range route.Ports {
		key += fmt.Sprint(" ", p.Port)
	}
	return key
}

// intentsOf returns the objects for route in the order in which to write them.
func intentsOf(route providers.Route, have belongings) ([]intent, error) {
	_, primary, canary := route.Canary.ServiceNames()
	var intents []intent
	for _, host := range []string{primary, canary} {
		rule, err := destinationRule(route.Canary, host, have)
		if err != nil {
			return nil, err
		}
		intents = append(intents, intent{object: rule, edit: spellOutRule, absent: rule.Spec.TrafficPolicy == nil})
	}
	services, err := virtualServices(route, have.original.base())
	if err != nil {
		return nil, err
	}
	if have.original != nil {
		services[0].object.GetAnnotations()[originalAnnotation] = have.original.encoded
	}
	return append(intents, services...), nil
}

// virtualServices are that of the apex Service's name, built on the user's if there is one, and
// that for requests inside the mesh, which is absent unless the user's is for other hosts.
func virtualServices(route providers.Route, users *original) ([]intent, error) {
	c := route.Canary
	delegation := c.Spec.Service.Delegation
	if delegation && len(c.Spec.Service.Hosts)+len(c.Spec.Service.Gateways) > 0 {
		return nil, &providers.InvalidError{
			Field: "spec.service.delegation", Value: "true",
			Allowed: "a VirtualService that is delegated to has no hosts and gateways: remove spec.service.hosts and spec.service.gateways",
		}
	}
	if delegation && protocolOf(route) == speaksTCP {
		return nil, &providers.InvalidError{Field: "spec.service.delegation", Value: "true", Allowed: "Istio delegates no connections, only HTTP"}
	}
	vs := &networkingv1.VirtualService{ObjectMeta: virtualServiceMeta(c)}
	if !delegation {
		vs.Spec.Hosts, vs.Spec.Gateways = hostsOf(c, users), gatewaysOf(c, users)
	}
	all := []*networkingv1.VirtualService{vs}
	mesh := &networkingv1.VirtualService{ObjectMeta: virtualServiceMeta(c)}
	mesh.Name += meshSuffix
	inside := needsMesh(route, users)
	if inside {
		mesh.Spec.Hosts, mesh.Spec.Gateways = []string{apexKey(c).Name}, []string{meshGateway}
		all = append(all, mesh)
	}
	if err := fill(route, users, all); err != nil {
		return nil, err
	}
	return []intent{
		{object: vs, edit: spellOut, routes: true},
		{object: mesh, edit: spellOut, routes: true, absent: !inside},
	}, nil
}

// fill gives VirtualServices, the first of which is built on the user's, their routes.
func fill(route providers.Route, users *original, all []*networkingv1.VirtualService) error {
	requests, reached := false, false
	for _, vs := range all {
		b, err := newBuilder(route, users, vs.Spec.Gateways)
		if err != nil {
			return err
		}
		users = nil
		if err := b.fill(&vs.Spec, protocolOf(route)); err != nil {
			return err
		}
		requests = requests || len(vs.Spec.Http) > 0
		reached = reached || b.reachesCanary(vs.Spec.Http)
	}
	if !requests {
		return needsRequests(route.Canary, route.Traffic)
	}
	if route.Traffic.Matched && !reached {
		return &providers.InvalidError{Field: "spec.analysis.match", Value: "", Allowed: "it must match some of the requests that the route is for"}
	}
	return nil
}

func (b *builder) fill(spec *networking.VirtualService, speaks protocol) (err error) {
	connects := b.users != nil && (b.users.sharesTCP(b.canary) || b.users.sharesTLS(b.canary))
	inside := slices.Contains(spec.Gateways, meshGateway) && !forOthers(b.canary, spec.Hosts)
	spec.Tls = b.tlsRoutes()
	if spec.Tcp, err = b.tcpRoutes(speaks == speaksTCP); err != nil {
		return err
	}
	// A user's VirtualService by which a gateway leads connections to the application is not
	// to serve requests as well.
	spec.Http, err = b.httpRoutes(speaks == speaksHTTP && (!connects || inside))
	return err
}

func virtualServiceMeta(c *v1beta1.Canary) metav1.ObjectMeta {
	key := apexKey(c)
	m := metav1.ObjectMeta{Name: key.Name, Namespace: key.Namespace, Labels: map[string]string{}, Annotations: map[string]string{}}
	if apex := c.Spec.Service.Apex; apex != nil {
		for k, v := range apex.Labels {
			m.Labels[k] = v
		}
		for k, v := range apex.Annotations {
			m.Annotations[k] = v
		}
	}
	// A VirtualService that Flux installed would be put back by it at every
	// reconciliation, in the middle of a release. These tell it not to.
	m.Annotations["kustomize.toolkit.fluxcd.io/reconcile"] = "disabled"
	m.Annotations["helm.toolkit.fluxcd.io/driftDetection"] = "disabled"
	return m
}

// spellOut writes what protobuf's JSON leaves out: people and tools read weight
// 0, and a delegate must lose the hosts and gateways it had.
func spellOut(object map[string]any) {
	spec, _ := object["spec"].(map[string]any)
	for _, list := range []string{"hosts", "gateways"} {
		if _, ok := spec[list]; !ok {
			spec[list] = []any{}
		}
	}
	for _, protocol := range []string{"http", "tcp", "tls"} {
		routes, _ := spec[protocol].([]any)
		for _, r := range routes {
			spellOutWeights(r)
		}
	}
	numbers((&networking.VirtualService{}).ProtoReflect().Descriptor(), spec)
}

func spellOutWeights(route any) {
	r, _ := route.(map[string]any)
	destinations, _ := r["route"].([]any)
	for _, d := range destinations {
		if d, ok := d.(map[string]any); ok && d["weight"] == nil {
			d["weight"] = int64(0)
		}
	}
}

// spellOutRule writes how to encrypt also where that is not at all, which is the zero value.
func spellOutRule(object map[string]any) {
	spec, _ := object["spec"].(map[string]any)
	policy, _ := spec["trafficPolicy"].(map[string]any)
	policies := []any{policy}
	if ports, ok := policy["portLevelSettings"].([]any); ok {
		policies = append(policies, ports...)
	}
	for _, p := range policies {
		p, _ := p.(map[string]any)
		if tls, ok := p["tls"].(map[string]any); ok && tls["mode"] == nil {
			tls["mode"] = networking.ClientTLSSettings_DISABLE.String()
		}
	}
	numbers((&networking.DestinationRule{}).ProtoReflect().Descriptor(), spec)
}
