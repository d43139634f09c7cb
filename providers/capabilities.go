package providers

import (
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Capabilities are what a router can do. A spec that needs more is refused.
type Capabilities struct {
	// Weighted is sharing out HTTP requests by percentage.
	Weighted bool
	// HeaderMatch is sending requests to the canary by what is in them (A/B testing).
	HeaderMatch bool
	// WeightedMatch is sharing out by percentage the requests that match.
	WeightedMatch bool
	// Mirror is sending copies of requests to the canary.
	Mirror bool
	// SessionAffinity is keeping a user on the version that he was sent to.
	SessionAffinity bool
	// TCP is moving connections of a service that does not speak HTTP.
	TCP bool
	// TLS is moving what the application encrypts itself: connections as they are, or requests
	// that the mesh decrypts on the way.
	TLS bool
}

// Check returns an [UnsupportedError] for the first field of the spec that
// needs what c does not have. router is the name to put into it.
func (c Capabilities) Check(router string, canary *v1beta1.Canary) error {
	a := canary.GetAnalysis()
	weights := "spec.analysis.stepWeight"
	if len(a.StepWeights) > 0 {
		weights = "spec.analysis.stepWeights"
	}
	weighted := a.Strategy() == v1beta1.StrategyWeighted && len(a.Steps()) > 0 && !canary.Spec.SkipAnalysis
	for _, need := range []struct {
		needed, had bool
		field, why  string
	}{
		{weighted, c.Weighted, weights, "it cannot share out requests; set spec.analysis.iterations"},
		{len(a.Match) > 0, c.HeaderMatch, "spec.analysis.match", "it cannot route by headers"},
		{
			weighted && len(a.Match) > 0, c.WeightedMatch, "spec.analysis.match",
			"it cannot take a share of the requests that match; set spec.analysis.iterations",
		},
		{a.Mirror, c.Mirror, "spec.analysis.mirror", "it cannot mirror requests"},
		{a.SessionAffinity != nil, c.SessionAffinity, "spec.analysis.sessionAffinity", "it cannot keep a user on a version"},
	} {
		if need.needed && !need.had {
			return &UnsupportedError{Router: router, Field: need.field, Why: need.why}
		}
	}
	return c.CheckPort(router, "spec.service.appProtocol", canary.Spec.Service.AppProtocol)
}
