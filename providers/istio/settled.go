package istio

import (
	"context"
	"sync"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/providers"
)

// settled remembers which versions of a Canary's objects were found to be in
// sync, so that looking again at what has not changed costs next to nothing.
type settled struct {
	mu       sync.Mutex
	byCanary map[types.NamespacedName]versions
}

// versions are all that the answer of Observe depends on: the intents come from
// the Canary and the traffic, and what is there from the objects.
type versions struct {
	uid        types.UID
	generation int64
	traffic    providers.Traffic
	ports      string    // what of the ports it depends on
	policy     string    // the user's traffic policy that holds, "" for none
	hosts      string    // other VirtualServices for the same hosts
	objects    [4]string // resource versions, "" for one that is missing
}

func (s *settled) is(key types.NamespacedName, v versions) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.byCanary[key]
	return ok && known == v
}

func (s *settled) remember(key types.NamespacedName, v versions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byCanary == nil {
		s.byCanary = map[types.NamespacedName]versions{}
	}
	s.byCanary[key] = v
}

func (s *settled) forget(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byCanary, key)
}

// versionsOf reads what Observe of a route depends on. It is false while the
// cache is older than a write of ours.
func (r *Router) versionsOf(ctx context.Context, route providers.Route, vs *networkingv1.VirtualService) (versions, bool, error) {
	c := route.Canary
	v := versions{uid: c.UID, generation: c.Generation, traffic: route.Traffic, ports: portsKey(route)}
	v.objects[0] = vs.ResourceVersion
	rule, err := r.usersRule(ctx, c)
	if err != nil {
		return versions{}, false, err
	}
	if rule != nil {
		v.policy = string(rule.UID) + " " + rule.ResourceVersion
	}
	if v.hosts, err = r.sharing(ctx, c, vs); err != nil {
		return versions{}, false, err
	}
	observed := r.applier.Observed(vs)
	apex, primary, canary := c.ServiceNames()
	for i, o := range []client.Object{named(&networkingv1.DestinationRule{}, primary), named(&networkingv1.DestinationRule{}, canary), named(&networkingv1.VirtualService{}, apex+meshSuffix)} {
		found, err := r.get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: o.GetName()}, o)
		if err != nil {
			return versions{}, false, err
		}
		if found {
			v.objects[1+i] = o.GetResourceVersion()
			observed = observed && r.applier.Observed(o)
		}
	}
	return v, observed, nil
}

func named(o client.Object, name string) client.Object {
	o.SetName(name)
	return o
}
