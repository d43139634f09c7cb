// Package release is what the decision core and the parts of the operator have in common: what is
// observed of a release, and what is decided about it. It has no rules.
package release

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics/compare"
)

// Observation is everything that a decision depends on.
type Observation struct {
	// Now is the time of the observation.
	Now time.Time
	// Canary is the object with its spec and its last persisted status. Decide
	// never changes it.
	Canary *v1beta1.Canary
	// Target is the workload that the Canary names; while a release runs, its
	// pods are the canary.
	Target Workload
	// ChangedConfigs are the ConfigMaps and Secrets of the target that differ from what the last release was made of, where
	// nothing else of it does; as in status.trackedConfigs, and sorted.
	ChangedConfigs []string
	// Primary is the copy of the target that serves between releases.
	Primary Workload
	// HasServices is true when the Service that leads to the primary is there and was made for
	// the Canary. It is made after a status that says so was written.
	HasServices bool
	// ApexMisses is true while a Canary is deleted whose apex Service, as it is given back to its
	// user, does not find the target's pods.
	ApexMisses bool
	// Route is the traffic as the mesh has it.
	Route Route
	// Checks is the last finished run of the analysis' checks, or nil. It
	// counts only where its ID is the one that the status has come to.
	Checks *CheckRun
	// Hooks are the last finished calls of the hooks outside the rounds of checks,
	// by their type. One counts only where its ID is what the status has come to.
	Hooks map[v1beta1.HookType]*CheckRun
	// Actions are what people ask for, the oldest first.
	Actions []Action
	// Turn is how the release stands with the release policies that select the Canary; nil where none does.
	Turn *Turn
	// Mistake is what the user must mend before anything may move, or nil.
	Mistake *Mistake
	// Outage is why nothing is known of the route, which is no fault of the user's.
	// Empty where it is known.
	Outage string
	// Ignored are the fields of the spec that have no effect beside others, each
	// with its reason.
	Ignored []string
	// Coverage is how far what selects the target's pods by label covers the
	// primary's; nil where that is not looked at.
	Coverage *Coverage
	// Identity names what the Canary is about, as its primary was made; it goes into
	// the status. Nil where that is not known.
	Identity *v1beta1.IdentityStatus
	// Failures are the parts of the desired state that could not be applied the last
	// time, sorted; empty when all could.
	Failures []Failure
	// Absence is the last time in which no operator was there. Deadlines stand still
	// in it.
	Absence Absence
}

// Action is what a person asks of a release.
type Action struct {
	// Name identifies the request, which is acted on once.
	Name string
	// Type is what is asked for.
	Type v1beta1.ActionType
	// By is who asks, and Reason why, for people to read.
	By, Reason string
	// Revision, where it is set, is the only revision that is meant.
	Revision string
	// Created is when it was asked for, in seconds of the API server's clock; zero where nobody knows.
	Created time.Time
	// To, for a rollback, is the revision that the primary is to have again.
	To string
	// Unavailable, for a rollback, says why the primary's template of To can't be had. Empty where it can.
	Unavailable string
}

// Failure is a part of the desired state that could not be applied.
type Failure struct {
	// Object names what was to be written, as "Service podinfo-primary".
	Object string
	// Message says why it was not.
	Message string
	// Invalid is true for what the API server will never take as it is.
	Invalid bool
}

// AnyInvalid tells whether a person has to change something before all can be applied.
func AnyInvalid(all []Failure) bool {
	return slices.ContainsFunc(all, func(f Failure) bool { return f.Invalid })
}

// Absence is a time in which no operator was there. Both ends are zero where
// there was none.
type Absence struct {
	From, To time.Time
}

// Elapsed is how long ago a moment was, without the time in which there was no operator.
func (a Absence) Elapsed(now, since time.Time) time.Duration {
	gone := now.Sub(since)
	from, to := a.From, a.To
	if since.After(from) {
		from = since
	}
	if to.After(now) {
		to = now
	}
	if absent := to.Sub(from); absent > 0 {
		gone -= absent
	}
	return gone
}

// startup is how long an operator may take to look at everything once.
const startup = 10 * time.Minute

// HasJustEnded is true where what is seen now may have come while there was no operator: there is one again for no longer than a start
// takes, and the release, which moved last at a moment, has not since.
func (a Absence) HasJustEnded(now, moved time.Time) bool {
	return !now.After(a.To.Add(startup)) && !moved.After(a.To)
}

// Workload is the state of the target or of the primary.
type Workload struct {
	// Exists is false while there is no such workload.
	Exists bool
	// UID and Generation name the object as its user left it: while both stay the
	// same, so does what the user means.
	UID        types.UID
	Generation int64
	// Revision identifies what a user can mean by a change of the workload. For
	// the primary it is the revision that was copied to it.
	Revision string
	// Configs is the part of the target's Revision that the ConfigMaps and Secrets are which its pods read, empty where none is tracked.
	Configs string
	// Images are the images of its containers, for people to read.
	Images string
	// Replicas is how many pods are asked for.
	Replicas int32
	// Ready is true when the workload controller has acted on the last change,
	// all pods are of the present revision, and as many of them are available
	// as the ready threshold asks, at least one.
	Ready bool
	// Available is how many pods, of whatever revision, can serve now.
	Available int32
	// Empty is true where no pod is asked for and its controller has none left.
	Empty bool
	// Unconfirmed is true while nothing is known of the endpoints of its Service, so that it is not sure that
	// those pods can be reached.
	Unconfirmed bool
	// Interrupted is true for a primary that is without a pod for a moment when it
	// gets the target's revision.
	Interrupted bool
	// ScalesToZero is true where its autoscaler leaves it without pods as long as it has
	// nothing to do. That is no outage.
	ScalesToZero bool
	// MaxReplicas is how many pods its autoscaler may give it, 0 where none that the Canary
	// names scales it.
	MaxReplicas int32
	// Unobserved is true where we have changed it since: it may be another revision by now.
	Unobserved bool
	// Message says what Ready is waiting for.
	Message string
}

// Carries tells whether the workload is there and was made of a revision.
func (w *Workload) Carries(revision string) bool { return w.Exists && w.Revision == revision }

// Coverage is how far the objects that select the target's pods by label cover
// those of the primary, which have another value of that label.
type Coverage struct {
	// Uncovered are those that do not, each with what it selects, sorted.
	Uncovered []string
	// Copied are those of which the primary has a copy, sorted.
	Copied []string
}

// Route is the traffic as the mesh has it.
type Route struct {
	// InSync is true when the mesh has exactly what the persisted status asks,
	// which on deletion is no route of ours at all.
	InSync bool
	// Detail says what InSync is waiting for, where the mesh tells; empty otherwise.
	Detail string
	// Refused says that the mesh will not do what it was asked for, so that it is no use to
	// wait. Detail says why.
	Refused bool
	// Has is what the mesh does with requests, without sessions; nil where it has
	// no route of the Canary's.
	Has *Traffic
	// Since is when this process first saw that it is in sync; zero while it does
	// not know.
	Since time.Time
	// Seen is since when this process has seen it in sync; it may have been so before. What
	// is to be sure that nobody is on his way any more counts from then.
	Seen time.Time
	// GivenBack is since when, on deletion, the Services were seen to lead where they did before;
	// zero as long as they don't.
	GivenBack time.Time
	// Contested is true while somebody else writes over the route or the Services again and again.
	Contested bool
	// Unreachable is true where the mesh can be neither asked nor told anything.
	Unreachable bool
	// Fixed is true where no mesh moves traffic: the route always leads to the primary,
	// and the canary is checked without users.
	Fixed bool
}

// Unshown says why the route does not count yet.
func (r *Route) Unshown() string {
	const why = "the mesh does not show the route yet"
	if r.Detail == "" {
		return why
	}
	return why + ": " + r.Detail
}

// CheckID names one round of checks, or one call of the hooks of a type. It is
// the idempotency key of everything that is done in it. All of it is in the status,
// so that another process, whatever its clock says, has the same name for the same.
type CheckID struct {
	// Hooks is the type of the hooks that are called. Empty: it is a round, with
	// the metrics and the rollout hooks.
	Hooks v1beta1.HookType
	// Revision is the revision under analysis.
	Revision string
	// Attempt tells releases of the same revision apart: when it began, in
	// microseconds of Unix time.
	Attempt int64
	// Step is the step under analysis, from 1.
	Step int32
	// Window is when the time began that it is about, in microseconds of Unix time.
	Window int64
	// Round tells rounds about the same time apart, as one that is run again for want of
	// an answer.
	Round int32
	// Look is until when requests were counted, in microseconds of Unix time, where they are only counted on: no metric is
	// checked and no hook called. 0: it is a whole round.
	Look int64
}

// CheckRun is a finished round of checks, or a finished call of hooks.
type CheckRun struct {
	// ID is what was asked for.
	ID CheckID
	// At is when it was finished.
	At time.Time
	// Results has one entry for each metric of the analysis and then one for each
	// rollout hook, in the order of the spec; for other hooks, one for each of
	// their type.
	Results []v1beta1.CheckStatus
	// Counted are the requests of both versions, of an analysis that compares them; nil where they are not known.
	Counted *Counted
}

// Counted is what was counted of the requests of both versions in a time.
type Counted struct {
	// Since is where the time begins and At where it ends.
	Since, At time.Time
	// Readings are those of the metrics with a comparison, in the order of the spec.
	Readings []Reading
}

// Reading is what was counted for one metric.
type Reading struct {
	// Metric is its name, and Source who counted, of a built-in one.
	Metric, Source string
	// Blocks are the counts for each edge of its evidence; one where failed requests are counted.
	Blocks []compare.Block
	// History is the primary's before the release, nil where the evidence has it already.
	History *compare.History
}

// Mistake is something in a Canary, or in what it refers to, that only its
// user can mend.
type Mistake struct {
	// Reason is a PascalCase word for conditions and events.
	Reason string
	// Message names the field, its value and what is allowed.
	Message string
	// Foreign is true when the objects of the Canary belong to somebody else, so
	// that even its deletion must not touch them.
	Foreign bool
	// Missing is true when nothing is wrong but that an object which the Canary names is not there.
	Missing bool
}

// Decision is what follows from an Observation.
type Decision struct {
	// Status is the complete next status. It is persisted before anything of
	// Desired is done.
	Status v1beta1.CanaryStatus
	// Desired is the complete state of the world that Status asks for. The same
	// status and world always give the same one, so it can be applied again
	// after a crash.
	Desired Desired
	// RunChecks asks for a run of the checks, or is nil. The run goes on beside
	// the reconciler; its end brings the next observation.
	RunChecks *CheckID
	// CallHooks asks for calls of hooks in the same way.
	CallHooks []CheckID
	// Events tell people what was decided. They belong to the change of status
	// and are sent only when that was persisted.
	Events []Event
	// PrimaryImages and TargetImages are what the two ran when it was decided, for
	// people to read.
	PrimaryImages, TargetImages string
	// RequeueAfter is when to look again if nothing happens before. Zero: only
	// when something happens.
	RequeueAfter time.Duration
}

// Desired is the state of the world that a status asks for.
type Desired struct {
	// Hold is true when nothing at all may be touched, as the objects belong to
	// somebody else or nothing was made yet.
	Hold bool
	// PrimaryRevision is the revision of the target that the primary must be a
	// copy of. Empty: the primary stays what it is.
	PrimaryRevision string
	// StoredRevision is a revision that the primary had before and must have again, from what is stored of it, whatever
	// the target is. Empty: none.
	StoredRevision string
	// Routed is true when the apex service must lead to the primary and the
	// mesh must have Traffic. False: both stay what they are.
	Routed bool
	// Traffic is what the mesh must do with requests, when Routed.
	Traffic Traffic
	// TargetReplicas is how many pods the target must have. Nil: it keeps what
	// it has.
	TargetReplicas *int32
	// TargetPaused is how many pods the target's autoscaler must leave it at. Nil: it must
	// not be kept from scaling.
	TargetPaused *int32
	// PrimaryFloor is how many pods the primary must have at least, whatever its
	// autoscaler thinks. Zero: no such bound.
	PrimaryFloor int32
	// PrimaryReplicas is how many pods the primary must have where no autoscaler
	// scales it. Nil: it keeps what it has; one that is made gets the target's number.
	PrimaryReplicas *int32
	// KeepPrimary is true when, on deletion, the primary and the Services that lead to
	// it stay when the Canary goes, as nothing else can serve.
	KeepPrimary bool
	// LeadToPrimary is true when, on deletion, the apex service must lead to the primary
	// still, or again, as the target can't serve.
	LeadToPrimary bool
	// Released is true when, on deletion, the apex service must lead to the
	// target again and the mesh must have no route of ours.
	Released bool
	// KeepRoute is true when, on deletion, the mesh must not give up the route yet, as the apex
	// service has led to nobody until now.
	KeepRoute bool
	// Finished is true when, on deletion, nothing is left to do.
	Finished bool
}

// Event is something that people should hear of.
type Event struct {
	// Warning is true for what may need a person.
	Warning bool
	// Reason is a PascalCase word that tells kinds of events apart.
	Reason string
	// Message is a sentence.
	Message string
	// Muted is true for an event of which no alert is wanted.
	Muted bool
}
