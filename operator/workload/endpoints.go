package workload

import (
	"fmt"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/sluice-delivery/sluice/operator/release"
)

// ReadyEndpoints is how many pods a Service leads to, from its EndpointSlices.
// A pod with addresses of two families is in a slice of each and counts once.
func ReadyEndpoints(slices []discoveryv1.EndpointSlice) int32 {
	byFamily := map[discoveryv1.AddressType]int32{}
	most := int32(0)
	for i := range slices {
		family := slices[i].AddressType
		for _, e := range slices[i].Endpoints {
			if ready := e.Conditions.Ready; ready == nil || *ready { // the API says that unknown is ready
				byFamily[family]++
			}
		}
		most = max(most, byFamily[family])
	}
	return most
}

// Reachable is w as its Service shows it to the mesh. Pods that are ready and
// not yet among the endpoints get no request, so that they are not available
// to anybody: the endpoints may be seconds behind the workload's own status, and a
// route to a Service without endpoints fails every request. threshold is as
// for Observe.
func Reachable(w release.Workload, endpoints, threshold int32, service string) release.Workload {
	if endpoints >= w.Available {
		return w
	}
	w.Available = endpoints
	if w.Ready && tooFew(endpoints, w.Replicas, threshold) {
		w.Ready = false
		w.Message = fmt.Sprintf("%d of %d pods are endpoints of Service %s", endpoints, w.Replicas, service)
	}
	return w
}
