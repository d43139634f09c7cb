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
// spec and the status alone, so that a new process asks for the same.
func TrafficOf(c *v1beta1.Canary, st *v1beta1.CanaryStatus) Traffic {
	a := c.GetAnalysis()
	t := Traffic{Canary: st.CanaryWeight}
	takeover := st.Step != nil && st.Step.Takeover
	analysing := analyses(st.Phase)
	promoting := st.Phase == v1beta1.PhasePromoting
	t.Matched = len(a.Match) > 0 && t.Canary > 0 && (analysing || promoting) && !takeover
	if takeover {
		return t
	}
	if analysing {
		t.Mirror = mirrorOf(a, st.Step)
	}
	// Once the primary has the new version nobody needs to be kept from it.
	t.Sessions = sessionsOf(a, st, analysing || promoting && st.LastPromotedSpec != st.LastAppliedSpec)
	return t
}

// analyses tells whether a phase is one of the analysis, gates included.
func analyses(phase v1beta1.CanaryPhase) bool {
	return phase == v1beta1.PhaseProgressing || phase == v1beta1.PhaseWaiting || phase == v1beta1.PhaseWaitingPromotion
}

// mirrorOf is what a step of the analysis mirrors.
func mirrorOf(a *v1beta1.CanaryAnalysis, at *v1beta1.StepStatus) int32 {
	steps := plan(a)
	if at == nil || at.Index < 1 || int(at.Index) > len(steps) {
		return 0
	}
	return steps[at.Index-1].mirror
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

// enterStep begins a step: 0 waits for the canary, 1 and more have weight. A
// canary that serves everything in the primary's place goes on doing so.
func (d *decider) enterStep(index, weight int32) {
	next := &v1beta1.StepStatus{Index: index, Since: metav1.NewMicroTime(d.Now), From: d.st.CanaryWeight}
	if was := d.st.Step; was != nil && was.Takeover {
		next.Takeover, weight = true, 100
	}
	switch {
	case index == 0: // nothing warms up before it is ready
	case d.st.Step != nil && d.st.Step.Began != nil:
		next.Began = d.st.Step.Began
	default:
		next.Began = &metav1.MicroTime{Time: d.Now}
	}
	d.st.Step = next
	d.st.Gate = nil
	d.st.CanaryWeight = weight
	if d.strategy() != v1beta1.StrategyWeighted {
		d.st.Iterations = max(index-1, 0)
	}
	d.keepSessions()
}

// keepSessions gives users of the canary a cookie for as long as the release
// lasts, and users of the primary one for a step.
func (d *decider) keepSessions() {
	a := d.Canary.GetAnalysis()
	if !keepsSessions(a) || d.st.CanaryWeight == 0 {
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
func (d *decider) endSessions() {
	if d.st.SessionAffinityCookie != "" {
		d.st.PreviousSessionAffinityCookie = d.st.SessionAffinityCookie
	}
	d.st.SessionAffinityCookie, d.st.PrimarySessionAffinityCookie = "", ""
}

// takeOver gives all traffic to a canary that can serve it, because the primary
// can't.
func (d *decider) takeOver(why string) {
	d.needStep()
	d.st.Step.Takeover = true
	d.st.CanaryWeight = 100
	d.event(true, ReasonPrimaryUnavailable, sentence(why)+"; the canary takes all traffic")
}

// handOver ends a takeover as far as the primary is well again.
func (d *decider) handOver(weight int32) {
	d.st.Step.Takeover = false
	d.st.CanaryWeight = weight
	back := percent(100-weight) + " of the traffic goes"
	if TrafficOf(d.Canary, d.st).Matched {
		back = "requests that do not match go"
	}
	d.event(false, ReasonPrimaryRecovered, d.Canary.PrimaryName()+" serves again; "+back+" back to it")
}
