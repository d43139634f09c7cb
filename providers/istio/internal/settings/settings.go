// Package settings has what a Canary says of its route, in Istio's terms.
package settings

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio/internal/match"
)

// HTTPRoute is the part of the route that the spec gives: all but destinations.
func HTTPRoute(c *v1beta1.Canary) (*networking.HTTPRoute, error) {
	s := &c.Spec.Service
	route := &networking.HTTPRoute{}
	for i := range s.Match {
		match := &networking.HTTPMatchRequest{}
		if err := decode(fmt.Sprintf("spec.service.match[%d]", i), &s.Match[i], match); err != nil {
			return nil, err
		}
		route.Match = append(route.Match, match)
	}
	timeout, err := timeoutOf(s.Timeout)
	if err != nil {
		return nil, err
	}
	route.Timeout = timeout
	if route.Rewrite, err = decodeIfSet[networking.HTTPRewrite]("rewrite", s.Rewrite); err != nil {
		return nil, err
	}
	if route.Retries, err = decodeIfSet[networking.HTTPRetry]("retries", s.Retries); err != nil {
		return nil, err
	}
	if route.Headers, err = decodeIfSet[networking.Headers]("headers", s.Headers); err != nil {
		return nil, err
	}
	if route.CorsPolicy, err = decodeIfSet[networking.CorsPolicy]("corsPolicy", s.CorsPolicy); err != nil {
		return nil, err
	}
	return route, nil
}

func timeoutOf(s string) (*durationpb.Duration, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // no timeout
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return nil, &providers.InvalidError{Field: "spec.service.timeout", Value: s, Allowed: "a duration such as 500ms, 15s or 1m30s"}
	}
	if d == 0 {
		return nil, nil //nolint:nilnil // for Istio a request without a timeout may take for ever, and 0s is no duration
	}
	return durationpb.New(d), nil
}

func decodeIfSet[T any](field string, raw *v1beta1.RawObject) (*T, error) {
	if raw == nil {
		return nil, nil //nolint:nilnil // the field is not set
	}
	into := new(T)
	return into, decode("spec.service."+field, raw, into)
}

// decode reads a piece of Istio's API. Fields that this version of Istio's
// types does not have are passed over, as by the API server.
func decode(field string, raw *v1beta1.RawObject, into any) error {
	if err := raw.Decode(into); err != nil {
		return &providers.InvalidError{Field: field, Value: Shorten(string(raw.Raw)), Allowed: err.Error()}
	}
	return nil
}

// Shorten cuts a value for a message.
func Shorten(s string) string {
	const limit = 80
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}

// TrafficPolicy is that of the spec, nil for none.
func TrafficPolicy(c *v1beta1.Canary) (*networking.TrafficPolicy, error) {
	return decodeIfSet[networking.TrafficPolicy]("trafficPolicy", c.Spec.Service.TrafficPolicy)
}

// AnalysisMatch is spec.analysis.match for a VirtualService that is for the gateways, nil where
// a VirtualService that delegates to it says them.
func AnalysisMatch(c *v1beta1.Canary, gateways []string) (out match.Alternatives, err error) {
	for i := range c.GetAnalysis().Match {
		m := &networking.HTTPMatchRequest{}
		if err := decode(fmt.Sprintf("spec.analysis.match[%d]", i), &c.GetAnalysis().Match[i], m); err != nil {
			return nil, err
		}
		if err := match.CountSource(i, m, gateways); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	if len(out) == 0 {
		return nil, &providers.InvalidError{Field: "spec.analysis.match", Value: "", Allowed: "A/B testing needs at least one match"}
	}
	return out, nil
}

// ConnectionMatch is what of spec.service.match connections have.
func ConnectionMatch(c *v1beta1.Canary) (out []*networking.L4MatchAttributes) {
	for i := range c.Spec.Service.Match {
		match := &networking.HTTPMatchRequest{}
		if decode("", &c.Spec.Service.Match[i], match) != nil || match.Port == 0 {
			continue
		}
		out = append(out, &networking.L4MatchAttributes{
			Port: match.Port, SourceLabels: match.SourceLabels, SourceNamespace: match.SourceNamespace, Gateways: match.Gateways,
		})
	}
	return out
}
