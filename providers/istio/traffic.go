package istio

import (
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// trafficOf reads the shares from the first route that leads to the canary, or
// else to the primary. It is false when none leads to either: then the object is
// a user's, not adopted yet or given back.
func trafficOf(vs *networkingv1.VirtualService, c *v1beta1.Canary) (providers.Traffic, bool) {
	_, primary, canary := c.ServiceNames()
	for _, wanted := range []string{canary, primary} {
		for _, http := range vs.Spec.Http {
			if _, ok := weightOf(http, wanted, c.Namespace); !ok {
				continue
			}
			p, _ := weightOf(http, primary, c.Namespace)
			n, _ := weightOf(http, canary, c.Namespace)
			return shares(p, n, totalOf(http)), true
		}
	}
	return providers.Traffic{}, false
}

// shares turns weights, which Istio takes in relation to their sum, into
// percent. Whatever does not go to the canary counts as the primary's.
func shares(primary, canary, total int64) providers.Traffic {
	if total <= 0 {
		// The only destination of a route needs no weight.
		if primary == 0 && canary == 0 {
			return providers.Traffic{Primary: 100}
		}
		total = primary + canary
	}
	percent := int32((canary*100 + total/2) / total) //nolint:gosec // 0 to 100
	return providers.Traffic{Primary: 100 - percent, Canary: percent}
}

func weightOf(http *networking.HTTPRoute, service, namespace string) (weight int64, found bool) {
	for _, d := range http.GetRoute() {
		if isService(d.GetDestination().GetHost(), service, namespace) {
			weight, found = weight+int64(d.GetWeight()), true
		}
	}
	if found && weight == 0 && len(http.GetRoute()) == 1 {
		weight = 100
	}
	return weight, found
}

func totalOf(http *networking.HTTPRoute) int64 {
	total := int64(0)
	for _, d := range http.GetRoute() {
		total += int64(d.GetWeight())
	}
	return total
}
