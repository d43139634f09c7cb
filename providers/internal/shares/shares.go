// Package shares reads from the routes of a mesh how they divide the requests for an application.
package shares

import "github.com/sluice-delivery/sluice/providers"

// Read is what one route does with its requests.
type Read struct {
	// ToPrimary and ToCanary tell whether it leads there, with whatever weight.
	ToPrimary, ToCanary bool
	// Primary and Canary are their weights, in relation to Total, which is that of all its destinations.
	Primary, Canary, Total int64
	// Mirror is how many percent are copied to the canary.
	Mirror int32
}

// Traffic turns the weights into percent. Whatever does not go to the canary counts as the primary's.
func (r Read) Traffic() providers.Traffic {
	t := providers.Traffic{Primary: 100, Mirror: r.Mirror}
	if r.Total > 0 {
		t.Canary = int32((r.Canary*100 + r.Total/2) / r.Total) //nolint:gosec // 0 to 100
		t.Primary = 100 - t.Canary
	}
	return t
}

// Of is what routes do, of which each leads to the primary or the canary, in their order; false for none. It is
// that of the last one that leads to the canary, because those for cookies come before it. With another after it the
// shares are only of the requests that it matches. Sessions are not read: the cookies say nothing about shares.
func Of(routes []Read) (providers.Traffic, bool) {
	if len(routes) == 0 {
		return providers.Traffic{}, false
	}
	last := len(routes) - 1
	for i := last; i >= 0; i-- {
		if routes[i].ToCanary {
			t := routes[i].Traffic()
			t.Matched = i < last && t.Canary > 0
			return t, true
		}
	}
	return routes[last].Traffic(), true
}
