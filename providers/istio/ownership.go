package istio

import (
	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/providers"
)

// owner is the Canary as the owner of the objects that move its traffic.
func (r *Router) owner(route providers.Route) ownership.Owner {
	if r.remote {
		return ownership.Remote(route.Canary)
	}
	return route.Owner()
}
