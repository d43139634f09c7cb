package istio

import (
	"fmt"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio/internal/encode"
	"github.com/sluice-delivery/sluice/providers/istio/internal/original"
	"github.com/sluice-delivery/sluice/providers/istio/internal/routes"
	"github.com/sluice-delivery/sluice/providers/istio/internal/rules"
	"github.com/sluice-delivery/sluice/providers/istio/internal/settings"
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
	key := fmt.Sprint(settings.ProtocolOf(route), settings.Several(route))
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
		rule, err := rules.DestinationRule(route.Canary, host, have.rule)
		if err != nil {
			return nil, err
		}
		intents = append(intents, intent{object: rule, edit: encode.DestinationRule, absent: rule.Spec.TrafficPolicy == nil})
	}
	apex, mesh, err := routes.VirtualServices(route, have.original.Base())
	if err != nil {
		return nil, err
	}
	if have.original != nil {
		apex.GetAnnotations()[original.Annotation] = have.original.Encoded
	}
	intents = append(intents, intent{object: apex, edit: encode.VirtualService, routes: true})
	if mesh == nil {
		return append(intents, intent{object: meshService(route.Canary), absent: true}), nil
	}
	return append(intents, intent{object: mesh, edit: encode.VirtualService, routes: true}), nil
}

// meshService is the name of the VirtualService for requests inside the mesh.
func meshService(c *v1beta1.Canary) *networkingv1.VirtualService {
	key := settings.MeshKey(c)
	return &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
}

// virtualServicesOf are those that there must be.
func virtualServicesOf(intents []intent) (out []*networkingv1.VirtualService) {
	for _, i := range intents {
		if vs, ok := i.object.(*networkingv1.VirtualService); ok && !i.absent {
			out = append(out, vs)
		}
	}
	return out
}
