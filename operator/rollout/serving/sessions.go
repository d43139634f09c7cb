package serving

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
)

// TrafficOf is the traffic that a status of a Canary asks for. It depends on the
// spec and the status alone, so that a new process asks for the same. Of the
// spec it takes how sessions are kept, and whether there still are requests that
// match.
func TrafficOf(c *v1beta1.Canary, st *v1beta1.CanaryStatus) release.Traffic {
	st = WithTraffic(c, st)
	is := Current(st)
	if is.Matched && len(c.GetAnalysis().Match) == 0 {
		is.Weight = 0
	}
	t := release.Traffic{Canary: is.Weight, Matched: is.Matched && is.Weight > 0, Mirror: is.Mirror}
	if is.Reason == v1beta1.TrafficPrimaryUnavailable {
		return t
	}
	// Once the primary has the new version nobody needs to be kept from it.
	promoting := st.Phase == v1beta1.PhasePromoting && st.LastPromotedSpec != st.LastAppliedSpec
	t.Sessions = sessionsOf(c.GetAnalysis(), st, release.Analysing(st.Phase) || promoting)
	return t
}

// WithTraffic is a status that says which traffic it asks for: one of an older version
// does so by its phase and step.
func WithTraffic(c *v1beta1.Canary, st *v1beta1.CanaryStatus) *v1beta1.CanaryStatus {
	if st.Traffic != nil {
		return st
	}
	out := *st
	a := c.GetAnalysis()
	stoodIn := st.Step != nil && st.Step.Takeover
	of := &v1beta1.TrafficStatus{Reason: v1beta1.TrafficPlanned}
	switch {
	case stoodIn, release.Idle(st.Phase) && st.CanaryWeight == 100:
		of.Reason = v1beta1.TrafficPrimaryUnavailable
	case release.Analysing(st.Phase) || st.Phase == v1beta1.PhasePromoting:
		of.Matched = len(a.Match) > 0 && st.CanaryWeight > 0
	}
	if s := st.Step; s != nil && !stoodIn && release.Analysing(st.Phase) {
		if at := plan.Of(a).At(s.Index); at.Share == v1beta1.ShareMirror {
			of.Mirror = at.Weight
		}
	}
	out.Traffic = of
	return &out
}

// sessionsOf are the cookies that hold in a release, when target and primary
// are of different versions, and those that end after it.
func sessionsOf(a *v1beta1.CanaryAnalysis, st *v1beta1.CanaryStatus, mixed bool) release.Sessions {
	switch {
	case !keepsSessions(a):
		return release.Sessions{}
	case !mixed || st.CanaryWeight == 0 || st.SessionAffinityCookie == "":
		return release.Sessions{Ended: cookieValue(st.PreviousSessionAffinityCookie)}
	}
	s := release.Sessions{Canary: cookieValue(st.SessionAffinityCookie), Primary: cookieValue(st.PrimarySessionAffinityCookie)}
	if st.Step != nil && st.Step.From < st.CanaryWeight {
		s.Raised = st.CanaryWeight - st.Step.From
	}
	return s
}

// keepsSessions is true where it depends on weights alone who goes to the canary.
func keepsSessions(a *v1beta1.CanaryAnalysis) bool {
	return a.SessionAffinity != nil && a.Strategy() == v1beta1.StrategyWeighted && len(a.Match) == 0
}

// cookieValue is what follows the name in NAME=VALUE, as statuses have it.
func cookieValue(cookie string) string {
	_, value, _ := strings.Cut(cookie, "=")
	return value
}

// KeepSessions gives users of the canary a cookie for as long as the release
// lasts, and users of the primary one for a step.
func KeepSessions(c *v1beta1.Canary, st *v1beta1.CanaryStatus, now time.Time) {
	a := c.GetAnalysis()
	if !keepsSessions(a) || Planned(st).Weight == 0 {
		return
	}
	affinity := a.SessionAffinity
	if st.SessionAffinityCookie == "" {
		// The time tells a second try of a revision from the first, whose users
		// would be drawn to the canary otherwise.
		st.SessionAffinityCookie = fmt.Sprintf("%s=%s-%x", affinity.CookieName, st.LastAppliedSpec, now.Unix())
	}
	st.PrimarySessionAffinityCookie = fmt.Sprintf("%s=%s-%d", affinity.GetPrimaryCookieName(), cookieValue(st.SessionAffinityCookie), st.Step.Index)
}

// EndSessions has browsers drop the cookies of a release that ends.
func EndSessions(st *v1beta1.CanaryStatus) {
	if st.SessionAffinityCookie != "" {
		st.PreviousSessionAffinityCookie = st.SessionAffinityCookie
	}
	st.SessionAffinityCookie, st.PrimarySessionAffinityCookie = "", ""
}
