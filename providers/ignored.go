package providers

import "github.com/sluice-delivery/sluice/api/v1beta1"

// Ignorer is what a Router is beside, if there are fields of spec.service that it does not
// act on and accepts, because Flagger does.
type Ignorer interface {
	// Ignores returns the fields' names, each with the reason.
	Ignores() map[string]string
}

// serviceField is a field of spec.service that is about how requests are routed.
type serviceField struct {
	name string
	set  func(*v1beta1.CanaryService) bool
}

// serviceFields are all of them, in the order of the spec.
func serviceFields() []serviceField {
	return []serviceField{
		{"timeout", func(s *v1beta1.CanaryService) bool { return s.Timeout != "" }},
		{"backendTimeout", func(s *v1beta1.CanaryService) bool { return s.BackendTimeout != "" }},
		{"gateways", func(s *v1beta1.CanaryService) bool { return len(s.Gateways) > 0 }},
		{"gatewayRefs", func(s *v1beta1.CanaryService) bool { return len(s.GatewayRefs) > 0 }},
		{"hosts", func(s *v1beta1.CanaryService) bool { return len(s.Hosts) > 0 }},
		{"delegation", func(s *v1beta1.CanaryService) bool { return s.Delegation }},
		{"trafficPolicy", func(s *v1beta1.CanaryService) bool { return s.TrafficPolicy != nil }},
		{"match", func(s *v1beta1.CanaryService) bool { return len(s.Match) > 0 }},
		{"rewrite", func(s *v1beta1.CanaryService) bool { return s.Rewrite != nil }},
		{"retries", func(s *v1beta1.CanaryService) bool { return s.Retries != nil }},
		{"headers", func(s *v1beta1.CanaryService) bool { return s.Headers != nil }},
		{"corsPolicy", func(s *v1beta1.CanaryService) bool { return s.CorsPolicy != nil }},
		{"mirror", func(s *v1beta1.CanaryService) bool { return len(s.Mirror) > 0 }},
	}
}

// IgnoresAll is what a Router ignores that acts on none of the fields about how requests are
// routed, for one reason.
func IgnoresAll(reason string) map[string]string {
	out := map[string]string{}
	for _, field := range serviceFields() {
		out[field.name] = reason
	}
	return out
}

// Ignored returns the fields of spec.service that are set and that the router does not
// act on, each as "spec.service.FIELD has no effect: REASON", in the order of the spec.
func Ignored(r Router, c *v1beta1.Canary) []string {
	ignorer, ok := r.(Ignorer)
	if !ok {
		return nil
	}
	return IgnoredFor(ignorer.Ignores(), c)
}

// IgnoredFor is Ignored for fields with their reasons.
func IgnoredFor(reasons map[string]string, c *v1beta1.Canary) (out []string) {
	for _, field := range serviceFields() {
		if reason := reasons[field.name]; reason != "" && field.set(&c.Spec.Service) {
			out = append(out, "spec.service."+field.name+" has no effect: "+reason)
		}
	}
	return out
}
