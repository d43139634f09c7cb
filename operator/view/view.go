// Package view turns a Canary, what people asked of it, its events and its pods into what people see of a release. It is
// pure: the command line, a dashboard and tests share it, and none of them has a rule of its own about what a release is
// waiting for.
package view

import (
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/policy"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
)

// Input is what a view is made of. Only Canary and Now are needed; what is missing is not shown.
type Input struct {
	// Canary is the object as the API server has it.
	Canary *v1beta1.Canary
	// Actions are CanaryActions of its namespace; those for other Canaries are passed over.
	Actions []v1alpha1.CanaryAction
	// Events are events of the Canary, in any order.
	Events []corev1.Event
	// Primary and Target are the two workloads.
	Primary, Target Workload
	// Place is where the release stands among those that wait for a place of the same policy; that of the status where it is not known.
	Place policy.Place
	// Samples are values of checks that were seen before.
	Samples Samples
	// Now is the time for which it is made.
	Now time.Time
}

// Workload is one of the two workloads of a Canary.
type Workload struct {
	// Exists is true where it was found.
	Exists bool
	// Name is its name where that is not the one that the Canary gives it.
	Name string
	// Images are those of its containers, without their registries.
	Images string
	// Replicas is how many pods are asked for.
	Replicas int32
	// Pods are its pods.
	Pods []corev1.Pod
	// Unread says why it could not be looked at; empty where it could.
	Unread string
}

// Release is what people see of a Canary and its release. Its JSON is stable: fields are added, and never renamed or
// taken away.
type Release struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Target is kind and name of the workload, as Deployment/podinfo.
	Target string `json:"target"`
	// Provider is the mesh provider; empty while the Canary names none and has no primary.
	Provider string `json:"provider,omitempty"`
	// Strategy is how new versions are brought in.
	Strategy v1beta1.Strategy `json:"strategy"`
	// Phase is status.phase.
	Phase v1beta1.CanaryPhase `json:"phase"`
	// State sums up phase, conditions and what people asked for.
	State State `json:"state"`
	// NeedsPerson is true where nothing goes on until a person does something.
	NeedsPerson bool `json:"needsPerson"`
	// Reason is the reason of the condition that Message is from.
	Reason string `json:"reason,omitempty"`
	// Message says where it stands, in a sentence.
	Message string `json:"message,omitempty"`
	// Revision is the one that the status is about, and Promoted the one that the primary has.
	Revision string `json:"revision,omitempty"`
	Promoted string `json:"promotedRevision,omitempty"`
	// Traffic is who serves.
	Traffic Traffic `json:"traffic"`
	// Step is where a release stands in its plan; absent where none is under way.
	Step *Step `json:"step,omitempty"`
	// FailedChecks of Threshold are the rounds of checks that have failed.
	FailedChecks int32 `json:"failedChecks"`
	Threshold    int32 `json:"threshold"`
	// Started is when the release that is under way, or the last one, began.
	Started *metav1.Time `json:"started,omitempty"`
	// Changed is when phase or weight changed last.
	Changed *metav1.Time `json:"changed,omitempty"`
	// Primary and Canary are the two sides. The canary's pods are those of the target.
	Primary Side `json:"primary"`
	Canary  Side `json:"canary"`
	// Checks have the last result of each check, and Rounds the last rounds, the oldest first.
	Checks []Check `json:"checks,omitempty"`
	Rounds []Round `json:"rounds,omitempty"`
	// Gate is the gate that the release waits at; absent otherwise.
	Gate *Gate `json:"gate,omitempty"`
	// Turn is what the release waits for before it begins; absent otherwise.
	Turn *Turn `json:"turn,omitempty"`
	// Actions are what people asked for, the newest first.
	Actions []Action `json:"actions,omitempty"`
	// Events are what has happened, the oldest first.
	Events []Event `json:"events,omitempty"`
	// Warnings are conditions that say of something that it is not as it should be, though the release goes on.
	Warnings []string `json:"warnings,omitempty"`
	// Possible are the actions that would not be refused now.
	Possible []v1beta1.ActionType `json:"possibleActions,omitempty"`
	// Advice is what a person can do about it.
	Advice []Advice `json:"advice,omitempty"`
}

// Traffic is who serves, as the mesh is asked for it now.
type Traffic struct {
	// Primary and Canary are shares in percent: of the requests that match where Matched is true, else of all.
	Primary int32 `json:"primary"`
	Canary  int32 `json:"canary"`
	Matched bool  `json:"matched,omitempty"`
	// Mirror is the percentage of requests of which the canary gets a copy.
	Mirror int32 `json:"mirror,omitempty"`
	// Measured is the canary's share of the requests that were counted last, in percent; absent where nobody counts.
	Measured *float64 `json:"measuredCanary,omitempty"`
	// Reason says what decided.
	Reason v1beta1.TrafficReason `json:"reason,omitempty"`
}

// Step is a step of the plan.
type Step struct {
	// Index is the step, from 1, or 0 while the canary becomes ready; Of is how many there are.
	Index int32 `json:"index"`
	Of    int32 `json:"of"`
	// Weight is what it plans for the canary in percent of Share.
	Weight int32         `json:"weight"`
	Share  v1beta1.Share `json:"share,omitempty"`
	// Weights are those of all steps, where they are weights and not iterations.
	Weights []int32 `json:"weights,omitempty"`
	// Description says what traffic does in it.
	Description string `json:"description"`
	// Since is when it began, or its last round of checks ended. Due is when its checks are run next, absent where they
	// are not.
	Since *metav1.Time `json:"since,omitempty"`
	Due   *metav1.Time `json:"due,omitempty"`
	// Interval is how long it lasts at the least, in seconds.
	Interval int64 `json:"intervalSeconds,omitempty"`
}

// Side is the primary or the canary.
type Side struct {
	Name string `json:"name"`
	// Exists is false where there is no such workload, or nothing is known of it.
	Exists bool   `json:"exists"`
	Images string `json:"images,omitempty"`
	// Ready of Wanted pods are ready.
	Ready    int32 `json:"readyPods"`
	Wanted   int32 `json:"wantedPods"`
	Restarts int32 `json:"restarts"`
	// Trouble names pods that don't get on, each with the reason.
	Trouble []string `json:"trouble,omitempty"`
	// Unread says why nothing is known of it.
	Unread string `json:"unread,omitempty"`
}

// Check is the last result of a check.
type Check struct {
	Name    string               `json:"name"`
	Value   string               `json:"value,omitempty"`
	Limit   string               `json:"limit,omitempty"`
	Window  string               `json:"window,omitempty"`
	Query   string               `json:"query,omitempty"`
	Source  string               `json:"source,omitempty"`
	Verdict v1beta1.CheckVerdict `json:"verdict"`
	// Decides is false for a check that is only reported.
	Decides bool `json:"decides"`
	// Failures is how many rounds of this release ended with it failed.
	Failures int32        `json:"failures,omitempty"`
	Message  string       `json:"message,omitempty"`
	Time     *metav1.Time `json:"time,omitempty"`
	// Trend are its last values, as far as whoever watches has seen them; the oldest first.
	Trend []float64 `json:"trend,omitempty"`
}

// Speaks tells whether a check would speak against a release, or leave it without a verdict.
func (c Check) Speaks() bool {
	return c.Decides && c.Verdict != v1beta1.CheckPassed && c.Verdict != v1beta1.CheckSkipped
}

// Round is how a round of checks ended.
type Round struct {
	Step    int32                `json:"step"`
	Weight  int32                `json:"weight"`
	Verdict v1beta1.CheckVerdict `json:"verdict"`
	Message string               `json:"message,omitempty"`
	Time    metav1.Time          `json:"time"`
}

// Gate is a gate that is closed.
type Gate struct {
	Type    v1beta1.HookType `json:"type"`
	Since   metav1.Time      `json:"since"`
	Hook    string           `json:"hook,omitempty"`
	URLs    []string         `json:"urls,omitempty"`
	Message string           `json:"message,omitempty"`
}

// Turn is a release policy that does not let a release begin yet.
type Turn struct {
	// Policy is its kind and name, and Reason one word for why. Both are empty for a moment.
	Policy string `json:"policy,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Since is when the release began to wait, and Until when it may begin at the earliest; absent where that depends on
	// other releases or on people.
	Since metav1.Time  `json:"since"`
	Until *metav1.Time `json:"until,omitempty"`
	// Place is which of Waiting releases that wait for a place of the policy it is, from 1; absent where it waits for none.
	Place   int32 `json:"place,omitempty"`
	Waiting int32 `json:"waiting,omitempty"`
}

// Action is what a person asked for, and what came of it.
type Action struct {
	Name    string                     `json:"name"`
	Action  v1beta1.ActionType         `json:"action"`
	By      string                     `json:"by,omitempty"`
	Reason  string                     `json:"reason,omitempty"`
	State   v1alpha1.CanaryActionPhase `json:"state"`
	Message string                     `json:"message,omitempty"`
	Time    metav1.Time                `json:"time"`
}

// Event is something that has happened.
type Event struct {
	Time    metav1.Time `json:"time"`
	Warning bool        `json:"warning,omitempty"`
	Reason  string      `json:"reason"`
	Message string      `json:"message"`
	Count   int32       `json:"count,omitempty"`
}

// Advice is what a person can do.
type Advice struct {
	// Text says it.
	Text string `json:"text"`
	// Command is the command line that does it; empty where there is none.
	Command string `json:"command,omitempty"`
}

// Of makes the view of a Canary.
func Of(in Input) Release {
	c := in.Canary
	analysis := c.GetAnalysis()
	r := Release{
		Namespace: c.Namespace, Name: c.Name, Target: c.TargetName(), Provider: c.Spec.Provider,
		Strategy: analysis.Strategy(), Phase: c.Status.Phase,
		Revision: c.Status.LastAppliedSpec, Promoted: c.Status.LastPromotedSpec,
		FailedChecks: c.Status.FailedChecks, Threshold: analysis.GetThreshold(),
		Started: seconds(c.Status.StartedAt),
		Traffic: trafficOf(&c.Status),
		Primary: sideOf(c.PrimaryName(), in.Primary), Canary: sideOf(c.Spec.TargetRef.Name, in.Target),
		Checks: checksOf(c, in.Samples), Rounds: roundsOf(&c.Status),
		Gate: gateOf(c), Turn: turnOf(c), Actions: actionsOf(c, in.Actions), Events: eventsOf(c, in.Events), Warnings: warningsOf(&c.Status),
	}
	if r.Provider == "" && c.Status.Identity != nil {
		r.Provider = c.Status.Identity.Provider
	}
	if t := c.Status.LastTransitionTime; !t.IsZero() {
		r.Changed = &t
	}
	r.State = stateOf(c)
	r.NeedsPerson = r.State.NeedsPerson()
	r.Reason, r.Message = messageOf(c, r.State)
	r.stands(in.Place)
	r.Step = stepOf(c, r.State)
	r.Possible = Possible(c)
	r.Advice = adviceOf(c, &r)
	return r
}

func trafficOf(st *v1beta1.CanaryStatus) Traffic {
	t := Traffic{Primary: 100 - st.CanaryWeight, Canary: st.CanaryWeight}
	if st.Traffic != nil {
		t.Matched, t.Mirror, t.Reason = st.Traffic.Matched, st.Traffic.Mirror, st.Traffic.Reason
	}
	t.Measured = measuredOf(st)
	return t
}

// measuredOf is the share that was counted while the mesh had the present weight, nil where none was.
func measuredOf(st *v1beta1.CanaryStatus) *float64 {
	j := st.Judgement
	if j == nil || st.Step == nil || j.Step != st.Step.Index || st.CanaryWeight == 0 || st.CanaryWeight != st.Step.Weight {
		return nil
	}
	share, err := strconv.ParseFloat(j.CanaryShare, 64)
	if err != nil || !(share >= 0 && share <= 100) {
		return nil
	}
	return &share
}

// stepOf is the step of a release that is under way.
func stepOf(c *v1beta1.Canary, s State) *Step {
	at := c.Status.Step
	if at == nil || s == AtPolicy {
		return nil
	}
	p := plan.Of(c.GetAnalysis())
	since := metav1.NewTime(at.Since.Time)
	out := &Step{Index: at.Index, Of: p.Len(), Weight: at.Weight, Share: at.Share, Since: &since, Description: "waiting for the canary to be ready"}
	if at.Index > 0 {
		out.Description = p.Describe(at.Index)
	}
	if p.Strategy == v1beta1.StrategyWeighted {
		for i := int32(1); i <= p.Len(); i++ {
			out.Weights = append(out.Weights, p.At(i).Weight)
		}
	}
	interval, err := c.GetAnalysis().GetInterval()
	if err != nil {
		return out
	}
	out.Interval = int64(interval / time.Second)
	if s == Progressing && at.Index > 0 {
		due := metav1.NewTime(at.Since.Add(interval))
		out.Due = &due
	}
	return out
}

func gateOf(c *v1beta1.Canary) *Gate {
	g := c.Status.Gate
	if g == nil {
		return nil
	}
	out := &Gate{Type: g.Type, Since: metav1.NewTime(g.Since.Time), Hook: g.Hook, Message: g.Message}
	for _, hook := range c.GetAnalysis().HooksOf(g.Type) {
		if g.Hook == "" || g.Hook == hook.Name {
			out.URLs = append(out.URLs, hook.URL)
		}
	}
	return out
}

// turnOf is what a release waits for before it begins, nil where it does not.
func turnOf(c *v1beta1.Canary) *Turn {
	a := c.Status.Admission
	if c.Status.Phase != v1beta1.PhaseWaiting || c.Status.Gate != nil || a == nil || a.Admitted != nil {
		return nil
	}
	return &Turn{Policy: a.Policy, Reason: a.Reason, Since: metav1.NewTime(a.Since.Time), Until: a.Until, Place: a.Place, Waiting: a.Waiting}
}

// stands says where the release stands among those that wait, which the status says as it was a while ago.
func (r *Release) stands(now policy.Place) {
	if r.Turn == nil || r.Turn.Place == 0 || now.Number == 0 {
		return
	}
	was := release.InQueue(r.Turn.Place, r.Turn.Waiting)
	r.Turn.Place, r.Turn.Waiting = int32(now.Number), int32(now.Of) //nolint:gosec // there are not as many Canaries
	r.Message = strings.Replace(r.Message, was, release.InQueue(r.Turn.Place, r.Turn.Waiting), 1)
}

// seconds is a time in the resolution that people read.
func seconds(t *metav1.MicroTime) *metav1.Time {
	if t == nil {
		return nil
	}
	out := metav1.NewTime(t.Time)
	return &out
}
