package consul

import (
	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// trafficOf reads what Consul does with the requests of a Canary, without its
// sessions. It is false where it has no route of this Canary's.
func trafficOf(c *v1beta1.Canary, n names, have entries) (providers.Traffic, bool, error) {
	live := have[key{api.ServiceSplitter, n.apex}]
	if !live.isOurs(c) {
		return providers.Traffic{}, false, nil
	}
	whole, err := canaryShare(n, live)
	if err != nil || whole > 0 {
		return shares(whole), err == nil, err
	}
	router := have[key{api.ServiceRouter, n.apex}]
	if !router.isOurs(c) {
		return shares(0), true, nil
	}
	of := api.ServiceRouterConfigEntry{}
	if err := router.into(&of); err != nil {
		return providers.Traffic{}, false, err
	}
	for _, route := range of.Routes {
		if route.Destination == nil {
			continue
		}
		switch route.Destination.Service {
		case n.canary:
			t := shares(100)
			t.Matched = true
			return t, true, nil
		case n.split:
			some, err := canaryShare(n, have[key{api.ServiceSplitter, n.split}])
			t := shares(some)
			t.Matched = true
			return t, err == nil, err
		}
	}
	return shares(0), true, nil
}

// canaryShare is the canary's in a splitter, in percent.
func canaryShare(n names, splitter entry) (float32, error) {
	of := api.ServiceSplitterConfigEntry{}
	if err := splitter.into(&of); err != nil {
		return 0, err
	}
	share := float32(0)
	for _, s := range of.Splits {
		if s.Service == n.canary {
			share += s.Weight
		}
	}
	return share, nil
}

func shares(canary float32) providers.Traffic {
	percent := int32(canary + 0.5)
	return providers.Traffic{Primary: 100 - percent, Canary: percent}
}

// served tells which halves get requests by the entries.
func served(n names, have entries) (primary, canary bool, err error) {
	for _, name := range []string{n.apex, n.split} {
		of := api.ServiceSplitterConfigEntry{}
		if err := have[key{api.ServiceSplitter, name}].into(&of); err != nil {
			return false, false, err
		}
		for _, s := range of.Splits {
			primary = primary || s.Service == n.primary && s.Weight > 0
			canary = canary || s.Service == n.canary && s.Weight > 0
		}
	}
	of := api.ServiceRouterConfigEntry{}
	if err := have[key{api.ServiceRouter, n.apex}].into(&of); err != nil {
		return false, false, err
	}
	for _, route := range of.Routes {
		if route.Destination != nil {
			primary = primary || route.Destination.Service == n.primary
			canary = canary || route.Destination.Service == n.canary
		}
	}
	return primary, canary, nil
}
