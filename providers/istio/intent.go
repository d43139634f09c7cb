package istio

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

const meshGateway = "mesh"

// intent is one object as it must be.
type intent struct {
	object client.Object
	edit   func(map[string]any)
}

func (i intent) options() []ssa.Option {
	return []ssa.Option{ssa.ProtoJSON, ssa.Edited(i.edit)}
}

// keyed are the options for an intent of route, which is all that the intent
// depends on, and on whose the live object is.
func (i intent) keyed(route providers.Route) []ssa.Option {
	c := route.Canary
	key := fmt.Sprintf("%s %d %d %t", c.UID, c.Generation, route.Traffic.Canary, len(i.object.GetOwnerReferences()) > 0)
	return append(i.options(), ssa.Keyed(key))
}

// weighted is a Service and its share.
type weighted struct {
	host   string
	weight int32
}

// intentsOf returns the objects for route in the order in which to write them.
func intentsOf(route providers.Route) ([]intent, error) {
	_, primary, canary := route.Canary.ServiceNames()
	var intents []intent
	for _, host := range []string{primary, canary} {
		rule, err := destinationRule(route.Canary, host)
		if err != nil {
			return nil, err
		}
		intents = append(intents, intent{object: rule, edit: func(map[string]any) {}})
	}
	vs, err := virtualService(route.Canary, weighted{primary, route.Traffic.Primary}, weighted{canary, route.Traffic.Canary})
	if err != nil {
		return nil, err
	}
	return append(intents, vs), nil
}

// released is what a user's VirtualService becomes when its Canary goes.
func released(c *v1beta1.Canary) (intent, error) {
	apex, _, _ := c.ServiceNames()
	return virtualService(c, weighted{apex, 100})
}

func virtualService(c *v1beta1.Canary, destinations ...weighted) (intent, error) {
	if c.Spec.Service.Delegation && len(c.Spec.Service.Hosts)+len(c.Spec.Service.Gateways) > 0 {
		return intent{}, &providers.InvalidError{
			Field: "spec.service.delegation", Value: "true",
			Allowed: "a VirtualService that is delegated to has no hosts and gateways: remove spec.service.hosts and spec.service.gateways",
		}
	}
	http, err := httpRoute(c)
	if err != nil {
		return intent{}, err
	}
	for _, d := range destinations {
		http.Route = append(http.Route, &networking.HTTPRouteDestination{Destination: destination(c, d.host), Weight: d.weight})
	}
	vs := &networkingv1.VirtualService{ObjectMeta: virtualServiceMeta(c)}
	vs.Spec.Http = []*networking.HTTPRoute{http}
	if !c.Spec.Service.Delegation {
		vs.Spec.Hosts, vs.Spec.Gateways = hostsOf(c), gatewaysOf(c)
	}
	return intent{object: vs, edit: spellOut}, nil
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
	routes, _ := spec["http"].([]any)
	for _, r := range routes {
		route, _ := r.(map[string]any)
		destinations, _ := route["route"].([]any)
		for _, d := range destinations {
			if d, ok := d.(map[string]any); ok && d["weight"] == nil {
				d["weight"] = int64(0)
			}
		}
	}
}

// hostsOf is what the user lists and the apex Service, unless it is among them.
func hostsOf(c *v1beta1.Canary) []string {
	key := apexKey(c)
	hosts := slices.Clone(c.Spec.Service.Hosts)
	if slices.ContainsFunc(hosts, func(h string) bool { return h == "*" || isService(h, key.Name, key.Namespace) }) {
		return hosts
	}
	return append(hosts, key.Name)
}

func gatewaysOf(c *v1beta1.Canary) []string {
	if len(c.Spec.Service.Gateways) == 0 {
		return []string{meshGateway}
	}
	return slices.Clone(c.Spec.Service.Gateways)
}

// destination names the port only where Istio cannot know it: the Service has
// several, and the request comes through a gateway.
func destination(c *v1beta1.Canary, host string) *networking.Destination {
	d := &networking.Destination{Host: host}
	s := c.Spec.Service
	viaGateway := s.Delegation || len(s.Gateways) > 0 && s.Gateways[0] != meshGateway
	if s.PortDiscovery && viaGateway {
		d.Port = &networking.PortSelector{Number: uint32(s.Port)} //nolint:gosec // 1 to 65535 by the schema
	}
	return d
}

// isService reports whether host names the Service: as a short name, as
// NAME.NAMESPACE, or fully.
func isService(host, name, namespace string) bool {
	qualified := name + "." + namespace
	return host == name || host == qualified || host == qualified+".svc" || strings.HasPrefix(host, qualified+".svc.")
}
