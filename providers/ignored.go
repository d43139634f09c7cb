package providers

import "github.com/sluice-delivery/sluice/api/v1beta1"

// Ignorer is what a Router is beside, if there are fields of spec.service that it does not
// act on and accepts, because Flagger does.
type Ignorer interface {
	// Ignores returns the fields' names, each with the reason.
	Ignores() map[string]string
}

// Ignored returns the fields of spec.service that are set and that the router does not
// act on, each as "spec.service.FIELD has no effect: REASON", in the order of the spec.
func Ignored(r Router, c *v1beta1.Canary) (out []string) {
	ignorer, ok := r.(Ignorer)
	if !ok {
		return nil
	}
	reasons := ignorer.Ignores()
	s := &c.Spec.Service
	for _, field := range []struct {
		set  bool
		name string
	}{
		{s.Timeout != "", "timeout"},
		{s.BackendTimeout != "", "backendTimeout"},
		{len(s.Gateways) > 0, "gateways"},
		{len(s.GatewayRefs) > 0, "gatewayRefs"},
		{len(s.Hosts) > 0, "hosts"},
		{s.Delegation, "delegation"},
		{s.TrafficPolicy != nil, "trafficPolicy"},
		{len(s.Match) > 0, "match"},
		{s.Rewrite != nil, "rewrite"},
		{s.Retries != nil, "retries"},
		{s.Headers != nil, "headers"},
		{s.CorsPolicy != nil, "corsPolicy"},
		{len(s.Mirror) > 0, "mirror"},
	} {
		if reason := reasons[field.name]; field.set && reason != "" {
			out = append(out, "spec.service."+field.name+" has no effect: "+reason)
		}
	}
	return out
}
