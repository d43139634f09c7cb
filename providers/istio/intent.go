package istio

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

const meshGateway = "mesh"

// intent is one object as it must be.
type intent struct {
	object client.Object
	edit   func(map[string]any)
	routes bool // it depends on the traffic
}

func (i intent) options() []ssa.Option {
	return []ssa.Option{ssa.ProtoJSON, ssa.Edited(i.edit)}
}

// keyed are the options for an intent of route, which is all that the intent
// depends on, with whose the live object is and what the user has.
func (i intent) keyed(route providers.Route, have belongings) []ssa.Option {
	c := route.Canary
	key := fmt.Sprintf("%s %d %t %q", c.UID, c.Generation, ownership.Marked(i.object), have.key())
	if i.routes {
		key += fmt.Sprintf(" %#v", route.Traffic)
	}
	return append(i.options(), ssa.Keyed(key))
}

// intentsOf returns the objects for route in the order in which to write them.
func intentsOf(route providers.Route, have belongings) ([]intent, error) {
	_, primary, canary := route.Canary.ServiceNames()
	var intents []intent
	for _, host := range []string{primary, canary} {
		rule, err := destinationRule(route.Canary, host, have.rule)
		if err != nil {
			return nil, err
		}
		intents = append(intents, intent{object: rule, edit: func(map[string]any) {}})
	}
	vs, err := virtualService(route.Canary, route.Traffic, have.original)
	if err != nil {
		return nil, err
	}
	return append(intents, vs), nil
}

func virtualService(c *v1beta1.Canary, traffic providers.Traffic, users *original) (intent, error) {
	if c.Spec.Service.Delegation && len(c.Spec.Service.Hosts)+len(c.Spec.Service.Gateways) > 0 {
		return intent{}, &providers.InvalidError{
			Field: "spec.service.delegation", Value: "true",
			Allowed: "a VirtualService that is delegated to has no hosts and gateways: remove spec.service.hosts and spec.service.gateways",
		}
	}
	vs := &networkingv1.VirtualService{ObjectMeta: virtualServiceMeta(c)}
	var err error
	if isTCP(c) {
		vs.Spec.Tcp, err = tcpRoutes(c, traffic, users)
	} else {
		vs.Spec.Http, err = httpRoutes(c, traffic, users)
	}
	if err != nil {
		return intent{}, err
	}
	if !c.Spec.Service.Delegation {
		vs.Spec.Hosts, vs.Spec.Gateways = hostsOf(c, users), gatewaysOf(c, users)
	}
	if users != nil {
		vs.Annotations[originalAnnotation] = users.encoded
	}
	return intent{object: vs, edit: spellOut, routes: true}, nil
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
	for _, protocol := range []string{"http", "tcp"} {
		routes, _ := spec[protocol].([]any)
		for _, r := range routes {
			spellOutWeights(r)
		}
	}
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

// hostsOf is what the spec lists, else the user, and the apex Service, unless it is
// among them.
func hostsOf(c *v1beta1.Canary, users *original) []string {
	key := apexKey(c)
	hosts := slices.Clone(c.Spec.Service.Hosts)
	if len(hosts) == 0 && users != nil {
		hosts = slices.Clone(users.hosts)
	}
	if slices.ContainsFunc(hosts, func(h string) bool { return h == "*" || isService(h, key.Name, key.Namespace) }) {
		return hosts
	}
	return append(hosts, key.Name)
}

func gatewaysOf(c *v1beta1.Canary, users *original) []string {
	switch {
	case len(c.Spec.Service.Gateways) > 0:
		return slices.Clone(c.Spec.Service.Gateways)
	case users != nil && len(users.gateways) > 0:
		return slices.Clone(users.gateways)
	default:
		return []string{meshGateway}
	}
}

// isService reports whether host names the Service: as a short name, as
// NAME.NAMESPACE, or fully.
func isService(host, name, namespace string) bool {
	qualified := name + "." + namespace
	return host == name || host == qualified || host == qualified+".svc" || strings.HasPrefix(host, qualified+".svc.")
}
