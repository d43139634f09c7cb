package consulspec

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// Refuse names the fields of a spec that Consul has nothing for, and that would
// decide over who gets what.
func Refuse(c *v1beta1.Canary) error {
	s := &c.Spec.Service
	for _, field := range []struct {
		is        bool
		name, why string
	}{
		{s.Delegation, "delegation", "it has no routes that delegate"},
		{len(s.Hosts) > 0, "hosts", "its gateways have the hosts; lead one of them to the service"},
		{len(s.Gateways) > 0, "gateways", "its gateways lead to services; name the service there"},
		{len(s.GatewayRefs) > 0, "gatewayRefs", "its gateways lead to services; name the service there"},
		{s.TrafficPolicy != nil, "trafficPolicy", "connections are configured in service-resolver and service-defaults, of which the primary gets what the service has"},
		{s.CorsPolicy != nil, "corsPolicy", "its routes have no cross-origin policy"},
		{s.BackendTimeout != "", "backendTimeout", "it has no timeout for one try; use timeout"},
		{len(s.Mirror) > 0, "mirror", "it cannot mirror requests"},
	} {
		if field.is {
			return unsupported("spec.service."+field.name, field.why)
		}
	}
	return nil
}

// Settings are what a spec sets for all requests, nil for nothing.
func Settings(c *v1beta1.Canary) (*api.ServiceRouteDestination, error) {
	s := &c.Spec.Service
	out := &api.ServiceRouteDestination{}
	if s.Timeout != "" {
		d, err := time.ParseDuration(s.Timeout)
		if err != nil || d < 0 {
			return nil, Invalid("spec.service.timeout", s.Timeout, "a duration such as 500ms, 15s or 1m30s")
		}
		out.RequestTimeout = d
	}
	for _, convert := range []func(*v1beta1.CanaryService, *api.ServiceRouteDestination) error{retries, rewrite, headers} {
		if err := convert(s, out); err != nil {
			return nil, err
		}
	}
	if s.Timeout == "" && s.Retries == nil && s.Rewrite == nil && s.Headers == nil {
		return nil, nil //nolint:nilnil // the spec sets nothing
	}
	return out, nil
}

// retryConditions are those by name that Consul accepts.
var retryConditions = []string{
	"5xx", "gateway-error", "reset", "connect-failure", "envoy-ratelimited", "retriable-4xx", "refused-stream",
	"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
}

// retries reads Istio's HTTPRetry.
func retries(s *v1beta1.CanaryService, into *api.ServiceRouteDestination) error {
	const field = "spec.service.retries"
	if s.Retries == nil {
		return nil
	}
	r := struct {
		Attempts              uint32 `json:"attempts"`
		PerTryTimeout         string `json:"perTryTimeout"`
		RetryOn               string `json:"retryOn"`
		RetryRemoteLocalities *bool  `json:"retryRemoteLocalities"`
		RetryIgnorePrevious   *bool  `json:"retryIgnorePreviousHosts"`
		Backoff               string `json:"backoff"`
	}{}
	if err := s.Retries.Decode(&r); err != nil {
		return Invalid(field, string(s.Retries.Raw), err.Error())
	}
	for _, f := range []struct {
		is   bool
		name string
	}{
		{r.PerTryTimeout != "", "perTryTimeout"}, {r.RetryRemoteLocalities != nil, "retryRemoteLocalities"},
		{r.RetryIgnorePrevious != nil, "retryIgnorePreviousHosts"}, {r.Backoff != "", "backoff"},
	} {
		if f.is {
			return unsupported(field+"."+f.name, "its routes have attempts and retryOn only")
		}
	}
	into.NumRetries = r.Attempts
	for on := range strings.SplitSeq(r.RetryOn, ",") {
		on = strings.TrimSpace(on)
		status, err := strconv.ParseUint(on, 10, 16)
		switch {
		case on == "", on == "retriable-status-codes": // the codes follow
		case err == nil && status >= 100 && status <= 599:
			into.RetryOnStatusCodes = append(into.RetryOnStatusCodes, uint32(status))
		case slices.Contains(retryConditions, on):
			into.RetryOn = append(into.RetryOn, on)
		default:
			return Invalid(field+".retryOn", on, "it must be a status from 100 to 599 or one of "+strings.Join(retryConditions, ", "))
		}
	}
	return nil
}

// rewrite reads Istio's HTTPRewrite.
func rewrite(s *v1beta1.CanaryService, into *api.ServiceRouteDestination) error {
	const field = "spec.service.rewrite"
	if s.Rewrite == nil {
		return nil
	}
	r := map[string]any{}
	if err := s.Rewrite.Decode(&r); err != nil {
		return Invalid(field, string(s.Rewrite.Raw), err.Error())
	}
	for name := range r {
		if name != "uri" {
			return unsupported(field+"."+name, "its routes rewrite the beginning of the path only, by uri")
		}
	}
	into.PrefixRewrite, _ = r["uri"].(string)
	if !strings.HasPrefix(into.PrefixRewrite, "/") {
		return Invalid(field+".uri", into.PrefixRewrite, "it must begin with /")
	}
	return nil
}

// headers reads Istio's Headers.
func headers(s *v1beta1.CanaryService, into *api.ServiceRouteDestination) error {
	if s.Headers == nil {
		return nil
	}
	type operations struct {
		Add    map[string]string `json:"add"`
		Set    map[string]string `json:"set"`
		Remove []string          `json:"remove"`
	}
	h := struct {
		Request  *operations `json:"request"`
		Response *operations `json:"response"`
	}{}
	if err := s.Headers.Decode(&h); err != nil {
		return Invalid("spec.service.headers", string(s.Headers.Raw), err.Error())
	}
	if h.Request != nil {
		into.RequestHeaders = &api.HTTPHeaderModifiers{Add: h.Request.Add, Set: h.Request.Set, Remove: h.Request.Remove}
	}
	if h.Response != nil {
		into.ResponseHeaders = &api.HTTPHeaderModifiers{Add: h.Response.Add, Set: h.Response.Set, Remove: h.Response.Remove}
	}
	return nil
}

// Merge returns the user's destination with what the spec sets.
func Merge(users, spec *api.ServiceRouteDestination) *api.ServiceRouteDestination {
	if users == nil || spec == nil {
		return cmp.Or(spec, users)
	}
	out := *users
	out.RequestTimeout = cmp.Or(spec.RequestTimeout, out.RequestTimeout)
	out.PrefixRewrite = cmp.Or(spec.PrefixRewrite, out.PrefixRewrite)
	out.RequestHeaders = cmp.Or(spec.RequestHeaders, out.RequestHeaders)
	out.ResponseHeaders = cmp.Or(spec.ResponseHeaders, out.ResponseHeaders)
	if spec.NumRetries > 0 || len(spec.RetryOn)+len(spec.RetryOnStatusCodes) > 0 {
		out.NumRetries, out.RetryOn, out.RetryOnStatusCodes = spec.NumRetries, spec.RetryOn, spec.RetryOnStatusCodes
		out.RetryOnConnectFailure = false
	}
	return &out
}

// ProtocolOf is Consul's protocol for a spec that nothing in Consul says it for.
func ProtocolOf(c *v1beta1.Canary) string {
	switch strings.ToLower(c.Spec.Service.AppProtocol) {
	case "grpc", "grpcs", "kubernetes.io/grpc":
		return "grpc"
	case "http2", "h2c", "kubernetes.io/h2c":
		return "http2"
	default:
		return "http"
	}
}

// Protocols are those by which requests can be told apart.
var Protocols = []string{"http", "http2", "grpc"}

// ProtocolError says that something in Consul makes requests of a service indivisible.
func ProtocolError(where, value string) error {
	return &providers.InvalidError{
		Field: "Consul's " + where, Value: value,
		Allowed: "it must be " + strings.Join(Protocols, ", ") + ": connections of another protocol cannot be shared out",
	}
}
