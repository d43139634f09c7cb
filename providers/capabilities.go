package providers

import (
	"fmt"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Capabilities are what a router can do. A spec that needs more is refused, or served without
// it where the router shares out no requests at all.
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
	// ByAddress says that it tells Services apart by their addresses, so that nothing is shared out of what is for one
	// without (spec.service.headless): that goes to the pod which the caller has looked up.
	ByAddress bool
}

// withoutAddress is why what is for a headless Service is not shared out.
const withoutAddress = "proxies send what is for a Service without an address to the pod that the caller has looked up, whatever the route says"

// iterationsWithoutWeights are those of an analysis that has none, as Flagger has them, where
// the router shares out no requests.
const iterationsWithoutWeights = 10

// Served returns the Canary as a router that shares out no requests carries it out: in
// blue/green, whatever its analysis says of weights and requests. Flagger serves such manifests
// too, so they are not refused; ignored names each field that has no effect, with the reason.
// For any other router, and where nothing differs, it is the Canary itself.
func (c Capabilities) Served(router string, canary *v1beta1.Canary) (served *v1beta1.Canary, ignored []string) {
	if c.Weighted || canary.Spec.Analysis == nil && canary.Spec.CanaryAnalysis == nil {
		return canary, nil
	}
	served = canary.DeepCopy()
	a := served.GetAnalysis()
	why := "provider " + router + " cannot share out requests"
	instead := why
	if a.Iterations < 1 {
		instead += fmt.Sprintf("; the release is checked in %d iterations of blue/green", iterationsWithoutWeights)
	}
	for _, field := range []struct {
		set  bool
		name string
		why  string
	}{
		{a.Iterations < 1 && a.StepWeight > 0, "stepWeight", instead},
		{a.Iterations < 1 && len(a.StepWeights) > 0, "stepWeights", instead},
		{a.Iterations < 1 && a.MaxWeight > 0, "maxWeight", why},
		{a.StepWeightPromotion > 0, "stepWeightPromotion", why},
		{len(a.Match) > 0, "match", instead},
		{a.Mirror, "mirror", why},
		{a.MirrorWeight > 0, "mirrorWeight", why},
		{a.SessionAffinity != nil, "sessionAffinity", why},
	} {
		if field.set {
			ignored = append(ignored, "spec.analysis."+field.name+" has no effect: "+field.why)
		}
	}
	if a.Iterations < 1 {
		a.Iterations, a.StepWeight, a.StepWeights, a.MaxWeight = iterationsWithoutWeights, 0, nil, 0
	}
	a.StepWeightPromotion, a.Match, a.Mirror, a.MirrorWeight, a.SessionAffinity = 0, nil, false, 0, nil
	return served, ignored
}

// Check returns an [UnsupportedError] for the first field of the spec that
// needs what c does not have. router is the name to put into it. The Canary is the one that
// Served gives.
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
		{canary.Spec.Service.Headless && !canary.Spec.SkipAnalysis, !c.ByAddress, "spec.service.headless", withoutAddress},
	} {
		if need.needed && !need.had {
			return &UnsupportedError{Router: router, Field: need.field, Why: need.why}
		}
	}
	return c.CheckPort(router, "spec.service.appProtocol", canary.Spec.Service.AppProtocol)
}
