package routes

import (
	"encoding/json"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/services"
)

// TrafficOf reads what Consul does with the requests of a Canary, without its
// sessions. It is false where it has no route of this Canary's.
func TrafficOf(c *v1beta1.Canary, n services.Names, have entries.Set) (providers.Traffic, bool, error) {
	live := have[entries.Key{Kind: api.ServiceSplitter, Name: n.Apex}]
	if !live.IsOurs(c) {
		return providers.Traffic{}, false, nil
	}
	whole, err := canaryShare(n, live)
	if err != nil || whole > 0 {
		return shares(whole), err == nil, err
	}
	router := have[entries.Key{Kind: api.ServiceRouter, Name: n.Apex}]
	if !router.IsOurs(c) {
		return shares(0), true, nil
	}
	own, err := ownRoutes(c, n, have)
	if err != nil {
		return providers.Traffic{}, false, err
	}
	led, err := ledBy(router, own)
	if err != nil {
		return providers.Traffic{}, false, err
	}
	for _, route := range led {
		switch route.Destination.Service {
		case n.Canary:
			t := shares(100)
			t.Matched = true
			return t, true, nil
		case n.Split:
			some, err := canaryShare(n, have[entries.Key{Kind: api.ServiceSplitter, Name: n.Split}])
			t := shares(some)
			t.Matched = true
			return t, err == nil, err
		}
	}
	return shares(0), true, nil
}

// canaryShare is the canary's in a splitter, in percent.
func canaryShare(n services.Names, splitter entries.Entry) (float32, error) {
	of := api.ServiceSplitterConfigEntry{}
	if err := splitter.Into(&of); err != nil {
		return 0, err
	}
	share := float32(0)
	for _, s := range of.Splits {
		if s.Service == n.Canary {
			share += s.Weight
		}
	}
	return share, nil
}

func shares(canary float32) providers.Traffic {
	percent := int32(canary + 0.5)
	return providers.Traffic{Primary: 100 - percent, Canary: percent}
}

// ownRoutes are those that the user has himself to one of the halves by name, as they are compared: they say nothing of
// how requests are shared out.
func ownRoutes(c *v1beta1.Canary, n services.Names, have entries.Set) (map[string]bool, error) {
	users, theirs, err := have[entries.Key{Kind: api.ServiceRouter, Name: n.Apex}].Users(c)
	if err != nil || !theirs {
		return nil, err
	}
	of := api.ServiceRouterConfigEntry{}
	if err := users.Into(&of); err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, route := range of.Routes {
		if leadsToApex(n, route.Destination) {
			continue
		}
		encoded, err := json.Marshal(route)
		if err != nil {
			return nil, fmt.Errorf("encode a route of service-router %s: %w", n.Apex, err)
		}
		out[string(encoded)] = true
	}
	return out, nil
}

// ledBy are the routes of a router that lead somewhere and are not the user's own.
func ledBy(router entries.Entry, own map[string]bool) (out []api.ServiceRoute, err error) {
	of := api.ServiceRouterConfigEntry{}
	if err := router.Into(&of); err != nil {
		return nil, err
	}
	for _, route := range of.Routes {
		encoded, err := json.Marshal(route)
		if err != nil {
			return nil, fmt.Errorf("encode a route of service-router %s: %w", router.Name, err)
		}
		if route.Destination != nil && !own[string(encoded)] {
			out = append(out, route)
		}
	}
	return out, nil
}

// Served tells which halves get requests by entries, of which there are some now.
func Served(c *v1beta1.Canary, n services.Names, by, have entries.Set) (primary, canary bool, err error) {
	for _, name := range []string{n.Apex, n.Split} {
		of := api.ServiceSplitterConfigEntry{}
		if err := by[entries.Key{Kind: api.ServiceSplitter, Name: name}].Into(&of); err != nil {
			return false, false, err
		}
		for _, s := range of.Splits {
			primary = primary || s.Service == n.Primary && s.Weight > 0
			canary = canary || s.Service == n.Canary && s.Weight > 0
		}
	}
	own, err := ownRoutes(c, n, have)
	if err != nil {
		return false, false, err
	}
	led, err := ledBy(by[entries.Key{Kind: api.ServiceRouter, Name: n.Apex}], own)
	if err != nil {
		return false, false, err
	}
	for _, route := range led {
		primary = primary || route.Destination.Service == n.Primary
		canary = canary || route.Destination.Service == n.Canary
	}
	return primary, canary, nil
}
