package rollout

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Traffic is what the mesh does with the requests of a Canary.
type Traffic struct {
	// Canary is the canary's share in percent; the primary has the rest.
	Canary int32
	// Matched says that the share is of the requests that spec.analysis.match
	// names; all others go to the primary.
	Matched bool
	// Mirror is the percentage of the primary's requests of which the canary gets
	// a copy.
	Mirror int32
	// Sessions keeps users on the version that they were sent to.
	Sessions Sessions
}

// Sessions are the values of the cookies by which users stay on a version.
// All are empty without session affinity.
type Sessions struct {
	// Canary marks the users of the canary in this release.
	Canary string
	// Primary marks the users of the primary at this step.
	Primary string
	// Raised is by how many percent of all users this step raised the share.
	Raised int32
	// Ended marked the users of an earlier release; their cookies are dropped.
	Ended string
}

// TrafficOf is the traffic that a status of a Canary asks for. It depends on the
// spec and the status alone, so that a new process asks for the same. Of the
// spec it takes how sessions are kept, and whether there still are requests that
// match.
func TrafficOf(c *v1beta1.Canary, st *v1beta1.CanaryStatus) Traffic {
	st = withTraffic(c, st)
	is := splitOf(st)
	if is.matched && len(c.GetAnalysis().Match) == 0 {
		is.weight = 0
	}
	t := Traffic{Canary: is.weight, Matched: is.matched && is.weight > 0, Mirror: is.mirror}
	if is.reason == v1beta1.TrafficPrimaryUnavailable {
		return t
	}
	// Once the primary has the new version nobody needs to be kept from it.
	promoting := st.Phase == v1beta1.PhasePromoting && st.LastPromotedSpec != st.LastAppliedSpec
	t.Sessions = sessionsOf(c.GetAnalysis(), st, analyses(st.Phase) || promoting)
	return t
}

// analyses tells whether a phase is one of the analysis, gates included.
func analyses(phase v1beta1.CanaryPhase) bool {
	return phase == v1beta1.PhaseProgressing || phase == v1beta1.PhaseWaiting || phase == v1beta1.PhaseWaitingPromotion
}

// sessionsOf are the cookies that hold in a release, when target and primary
// are of different versions, and those that end after it.
func sessionsOf(a *v1beta1.CanaryAnalysis, st *v1beta1.CanaryStatus, mixed bool) Sessions {
	switch {
	case !keepsSessions(a):
		return Sessions{}
	case !mixed || st.CanaryWeight == 0 || st.SessionAffinityCookie == "":
		return Sessions{Ended: cookieValue(st.PreviousSessionAffinityCookie)}
	}
	s := Sessions{Canary: cookieValue(st.SessionAffinityCookie), Primary: cookieValue(st.PrimarySessionAffinityCookie)}
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

// enterStep begins a step of the plan: 0 waits for the canary.
func enterStep(d *decider, index int32) {
	p := d.plan()
	s := p.at(index)
	next := &v1beta1.StepStatus{
		Index: index, Since: metav1.NewMicroTime(d.Now), Plan: p.hash(), Weight: s.weight, Share: s.share, From: plannedSplit(d.st).weight,
	}
	switch {
	case index == 0: // nothing warms up before it is ready
	case d.st.Step != nil && d.st.Step.Began != nil:
		next.Began = d.st.Step.Began
	default:
		next.Began = microTime(d.Now)
	}
	d.st.Step = next
	d.st.Gate = nil
	if p.strategy != v1beta1.StrategyWeighted {
		d.st.Iterations = max(index-1, 0)
	}
	keepSessions(d)
}

// keepSessions gives users of the canary a cookie for as long as the release
// lasts, and users of the primary one for a step.
func keepSessions(d *decider) {
	a := d.Canary.GetAnalysis()
	if !keepsSessions(a) || plannedSplit(d.st).weight == 0 {
		return
	}
	affinity := a.SessionAffinity
	if d.st.SessionAffinityCookie == "" {
		// The time tells a second try of a revision from the first, whose users
		// would be drawn to the canary otherwise.
		d.st.SessionAffinityCookie = fmt.Sprintf("%s=%s-%x", affinity.CookieName, d.st.LastAppliedSpec, d.Now.Unix())
	}
	d.st.PrimarySessionAffinityCookie = fmt.Sprintf("%s=%s-%d", affinity.GetPrimaryCookieName(), cookieValue(d.st.SessionAffinityCookie), d.st.Step.Index)
}

// endSessions has browsers drop the cookies of a release that ends.
func endSessions(d *decider) {
	if d.st.SessionAffinityCookie != "" {
		d.st.PreviousSessionAffinityCookie = d.st.SessionAffinityCookie
	}
	d.st.SessionAffinityCookie, d.st.PrimarySessionAffinityCookie = "", ""
}
