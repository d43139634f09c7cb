package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// CanaryPhase is where a Canary is in its life.
type CanaryPhase string

// Phases of a Canary.
const (
	// PhaseInitializing: the primary, the Services and the route are being made.
	PhaseInitializing CanaryPhase = "Initializing"
	// PhaseInitialized: the primary serves; no release has happened yet.
	PhaseInitialized CanaryPhase = "Initialized"
	// PhaseWaiting: a new version waits for its gate to open.
	PhaseWaiting CanaryPhase = "Waiting"
	// PhaseProgressing: a new version is being analysed.
	PhaseProgressing CanaryPhase = "Progressing"
	// PhaseWaitingPromotion: the analysis is done and promotion waits for its gate to open.
	PhaseWaitingPromotion CanaryPhase = "WaitingPromotion"
	// PhasePromoting: the primary is getting the new version.
	PhasePromoting CanaryPhase = "Promoting"
	// PhaseFinalising: the primary has the new version and is being given all requests.
	PhaseFinalising CanaryPhase = "Finalising"
	// PhaseSucceeded: the last release was promoted.
	PhaseSucceeded CanaryPhase = "Succeeded"
	// PhaseFailed: the last release was rolled back.
	PhaseFailed CanaryPhase = "Failed"
	// PhaseTerminating: the Canary is being deleted and gives back what it took over.
	PhaseTerminating CanaryPhase = "Terminating"
	// PhaseTerminated: everything was given back.
	PhaseTerminated CanaryPhase = "Terminated"
)

// CanaryConditionType names a condition of a Canary.
type CanaryConditionType string

// Conditions of a Canary.
const (
	// ConditionPromoted says how the last release went: True promoted, False rolled back, Unknown under way.
	ConditionPromoted CanaryConditionType = "Promoted"
	// ConditionReady says whether the Canary has reached what its spec and target ask for.
	ConditionReady CanaryConditionType = "Ready"
	// ConditionReconciling says that something is under way.
	ConditionReconciling CanaryConditionType = "Reconciling"
	// ConditionStalled says that nothing will go on until a person changes something.
	ConditionStalled CanaryConditionType = "Stalled"
	// ConditionFieldsIgnored names the fields of the spec that have no effect; it is absent when there is none.
	ConditionFieldsIgnored CanaryConditionType = "FieldsIgnored"
	// ConditionCovered says whether everything that selects the target's pods by label covers the primary's too; it
	// is absent where that is not looked at.
	ConditionCovered CanaryConditionType = "Covered"
	// ConditionApplied names what could not be written and why; it is absent when everything could. The rest goes on.
	ConditionApplied CanaryConditionType = "Applied"
	// ConditionMeasured says whether the metrics server is known to measure the application that built-in checks are
	// about; it is absent where there are none, and until they have been run in a release.
	ConditionMeasured CanaryConditionType = "Measured"
	// ConditionTargetScaledUp says that somebody else gave the idle target pods again after they were removed; it is absent when nobody did.
	ConditionTargetScaledUp CanaryConditionType = "TargetScaledUp"
	// ConditionRouteContested says that somebody else, such as a GitOps tool, writes over the route or the Services again
	// and again; it is absent when nobody does.
	ConditionRouteContested CanaryConditionType = "RouteContested"
	// ConditionAdmitted says whether the release policies that select the Canary have let the present release begin, and
	// until when it waits at least; it is absent where the release did not have to ask.
	ConditionAdmitted CanaryConditionType = "Admitted"
)

// CanaryStatus is what the operator has seen and done. It is written before anything is moved, so that what
// it says is enough to go on from after a crash.
type CanaryStatus struct {
	// Phase is where the Canary is in its life.
	// +optional
	// +kubebuilder:validation:Enum="";Initializing;Initialized;Waiting;Progressing;WaitingPromotion;Promoting;Finalising;Succeeded;Failed;Terminating;Terminated
	Phase CanaryPhase `json:"phase"`

	// CanaryWeight is the percentage of requests that the mesh is asked to send to the canary now, 0 to 100: what
	// the step plans, as far as canary and primary can serve it. Traffic says of which requests it is a share.
	// It is never left out: health checks read it unguarded.
	// +optional
	CanaryWeight int32 `json:"canaryWeight"`

	// Traffic completes CanaryWeight: what else the mesh is asked for now, and why it is not what the step plans.
	// +optional
	Traffic *TrafficStatus `json:"traffic,omitempty"`

	// Identity names what this Canary made its primary from and where that serves. What it names can't be changed in the spec while the Canary lives.
	// +optional
	Identity *IdentityStatus `json:"identity,omitempty"`

	// Shard is the label selector of the operator that serves the Canary, where several share a fleet.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Shard string `json:"shard,omitempty"`

	// Unwell says what the deadline of the present phase is running for; absent while nothing is wrong, and while a person or a gate holds the release.
	// +optional
	Unwell *UnwellStatus `json:"unwell,omitempty"`

	// PrimaryReplicas is how many pods the primary was last seen to ask for. A primary that is lost comes back with as many.
	// +optional
	PrimaryReplicas int32 `json:"primaryReplicas,omitempty"`

	// ReleasedReplicas is how many pods the promoted target asked for, where the primary has another number that it
	// is still to be given; absent otherwise.
	// +optional
	ReleasedReplicas int32 `json:"releasedReplicas,omitempty"`

	// PostRollout is when the release ended, or its promotion failed, whose post-rollout hooks are still to be called; absent otherwise.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+[.][0-9]{6}Z$`
	PostRollout *metav1.MicroTime `json:"postRollout,omitempty"`

	// FailedChecks is how many rounds of checks have failed in this release.
	// +optional
	FailedChecks int32 `json:"failedChecks"`

	// Iterations is how many rounds of checks have passed in A/B testing and blue/green.
	// +optional
	Iterations int32 `json:"iterations"`

	// ObservedGeneration is the generation of the Canary that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Step is the step that the release is at; absent when there is none under way.
	// +optional
	Step *StepStatus `json:"step,omitempty"`

	// StartedAt is when the release that is under way, or the last one, began.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+[.][0-9]{6}Z$`
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`

	// ChangedConfigs are the ConfigMaps and Secrets whose change alone began the release that is under way, or the last one;
	// absent where the target was changed. Their names are those in TrackedConfigs.
	// +optional
	// +listType=atomic
	ChangedConfigs []string `json:"changedConfigs,omitempty"`

	// Admission is how the release stands with the release policies that select the Canary; absent where none did.
	// +optional
	Admission *AdmissionStatus `json:"admission,omitempty"`

	// Gate is the gate that the release waits at; absent otherwise.
	// +optional
	Gate *GateStatus `json:"gate,omitempty"`

	// Paused is true from a Pause until a Resume, a Promote or an Abort.
	// +optional
	Paused bool `json:"paused,omitempty"`

	// Rollback is set while the primary is to have an earlier revision again, as a person asked for by Rollback, and is not ready with it yet.
	// +optional
	Rollback *RollbackStatus `json:"rollback,omitempty"`

	// Retry is the last value of the annotation sluice.dev/retry that was seen.
	// +optional
	Retry string `json:"retry,omitempty"`

	// LastAction is the last action that a person asked for.
	// +optional
	LastAction *ActionStatus `json:"lastAction,omitempty"`

	// Checks has the last result of each check of this release: the metrics first, then the hooks of a round. Names need not be unique.
	// +optional
	// +listType=atomic
	Checks []CheckStatus `json:"checks,omitempty"`

	// Judgement is what the comparison of canary and primary knows of this release.
	// +optional
	Judgement *JudgementStatus `json:"judgement,omitempty"`

	// History has the last 20 rounds of checks of this release, the oldest first.
	// +optional
	// +listType=atomic
	History []RoundStatus `json:"history,omitempty"`

	// LastAppliedSpec is the hash of the target's pod template of the last release that was started.
	// +optional
	LastAppliedSpec string `json:"lastAppliedSpec,omitempty"`

	// AppliedTarget is the object that LastAppliedSpec was computed from. While it is the same and of the same
	// generation, there is no new release, however the hash is computed.
	// +optional
	AppliedTarget *AppliedTarget `json:"appliedTarget,omitempty"`

	// LastPromotedSpec is the hash of the target's pod template that the primary has.
	// +optional
	LastPromotedSpec string `json:"lastPromotedSpec,omitempty"`

	// LastTrackedRevision is written by other controllers of this API; it is kept and not used.
	// +optional
	LastTrackedRevision string `json:"lastTrackedRevision,omitempty"`

	// TrackedConfigs are the hashes of the ConfigMaps and Secrets that the target uses.
	// +optional
	TrackedConfigs *map[string]string `json:"trackedConfigs,omitempty"`

	// LastTransitionTime is when phase or weight changed last.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+Z$`
	LastTransitionTime metav1.Time `json:"lastTransitionTime,omitempty,omitzero"`

	// DrainedGeneration is the generation that the target had when the removal of its idle pods was asked for; absent
	// while that was not done since the last release. What changes the target twice after it was somebody else.
	// +optional
	DrainedGeneration int64 `json:"drainedGeneration,omitempty"`

	// SessionAffinityCookie is the cookie of users of the canary in this release.
	// +optional
	SessionAffinityCookie string `json:"sessionAffinityCookie,omitempty"`

	// PrimarySessionAffinityCookie is the cookie of users of the primary in this release.
	// +optional
	PrimarySessionAffinityCookie string `json:"primarySessionAffinityCookie,omitempty"`

	// PreviousSessionAffinityCookie is the cookie of the release before, to be removed from browsers.
	// +optional
	PreviousSessionAffinityCookie string `json:"previousSessionAffinityCookie,omitempty"`

	// Conditions of the Canary. The list is never left out: health checks read it unguarded.
	// +optional
	// +nullable
	// +listType=map
	// +listMapKey=type
	Conditions []CanaryCondition `json:"conditions"`
}

// AppliedTarget names a target as its user left it.
type AppliedTarget struct {
	// UID of the object.
	UID types.UID `json:"uid"`

	// Generation of the object.
	Generation int64 `json:"generation"`
}

// TrafficReason says what decided over the traffic.
//
// +kubebuilder:validation:Enum=Planned;CanaryUnavailable;PrimaryUnavailable;PrimaryTooSmall
type TrafficReason string

// Reasons of the traffic that the mesh is asked for.
const (
	// TrafficPlanned: it is what the step plans.
	TrafficPlanned TrafficReason = "Planned"
	// TrafficCanaryUnavailable: the canary has no pod to serve its share with, so the primary has all.
	TrafficCanaryUnavailable TrafficReason = "CanaryUnavailable"
	// TrafficPrimaryUnavailable: the primary can't serve, so the canary stands in for it with all.
	TrafficPrimaryUnavailable TrafficReason = "PrimaryUnavailable"
	// TrafficPrimaryTooSmall: the canary keeps the share that it had until the primary has enough pods for it.
	TrafficPrimaryTooSmall TrafficReason = "PrimaryTooSmall"
)

// TrafficStatus is what the mesh is asked for now beside the canary's weight.
type TrafficStatus struct {
	// Matched is true when the weight is a share of the requests that spec.analysis.match names, and false when it is one of all requests.
	// +optional
	Matched bool `json:"matched,omitempty"`

	// Mirror is the percentage of the primary's requests of which the canary gets a copy, 0 to 100.
	// +optional
	Mirror int32 `json:"mirror,omitempty"`

	// Reason says what decided.
	Reason TrafficReason `json:"reason"`
}

// IdentityStatus names what a Canary is about.
type IdentityStatus struct {
	// TargetKind and TargetName are those of spec.targetRef.
	TargetKind string `json:"targetKind"`
	// TargetName is the name of the target.
	TargetName string `json:"targetName"`
	// TargetUID is that of the target when it was last seen.
	// +optional
	TargetUID types.UID `json:"targetUID,omitempty"`
	// Apex is the name of the Service that clients call.
	Apex string `json:"apex"`
	// Provider is the name of the router that has the route, empty while spec.provider names none that there is.
	Provider string `json:"provider"`
	// Headless is spec.service.headless, which the API server lets nobody change in a Service.
	// +optional
	Headless bool `json:"headless,omitempty"`
	// SelectorLabel is the label by which the primary's pods are told from the target's.
	// +optional
	SelectorLabel string `json:"selectorLabel,omitempty"`
	// Selector are the labels by which the primary finds its pods, and the Services that lead to it do.
	// +optional
	Selector map[string]string `json:"selector,omitempty"`
}

// UnwellStatus is something that a deadline runs for.
type UnwellStatus struct {
	// Since is when it was first seen, or when a person or a gate last let the release go on.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+[.][0-9]{6}Z$`
	Since metav1.MicroTime `json:"since"`
	// Reason says what is wrong, for a person.
	// +optional
	Reason string `json:"reason,omitempty"`
}

// Share says what a planned weight is a share of.
//
// +kubebuilder:validation:Enum=All;Matching;Mirror
type Share string

// Shares of the traffic.
const (
	// ShareAll: of all requests.
	ShareAll Share = "All"
	// ShareMatching: of the requests that spec.analysis.match names.
	ShareMatching Share = "Matching"
	// ShareMirror: of the requests that are copied. Users get no answer of the canary.
	ShareMirror Share = "Mirror"
)

// StepStatus is where a release stands in its plan, whoever can serve now.
type StepStatus struct {
	// Index is the step: 0 while the canary becomes ready, then 1 for the first step.
	Index int32 `json:"index"`

	// Since is when the step began or its last round of checks ended.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+[.][0-9]{6}Z$`
	Since metav1.MicroTime `json:"since"`

	// Plan is the hash of the steps that Index counts in. When the spec has other ones, the release goes on from its
	// weight.
	// +optional
	Plan string `json:"plan,omitempty"`

	// Weight is what the step plans for the canary, in percent of Share, 0 to 100.
	// +optional
	Weight int32 `json:"weight,omitempty"`

	// Share says what Weight is a share of.
	// +optional
	Share Share `json:"share,omitempty"`

	// Checks is how many rounds of checks this step has had.
	Checks int32 `json:"checks"`

	// From is the weight of the step before, 0 to 100.
	// +optional
	From int32 `json:"from,omitempty"`

	// Pods is how many pods the canary must have before it is given all requests, or has again after they were replaced; 0 for
	// no such number.
	// +optional
	Pods int32 `json:"pods,omitempty"`

	// Replacing is true while the canary's pods are removed for others, as they may have read ConfigMaps and Secrets as these were before.
	// +optional
	Replacing bool `json:"replacing,omitempty"`

	// PreRolloutFailures is how often the pre-rollout hooks have failed.
	// +optional
	PreRolloutFailures int32 `json:"preRolloutFailures,omitempty"`

	// PreRolloutSince is when they first failed.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+[.][0-9]{6}Z$`
	PreRolloutSince *metav1.MicroTime `json:"preRolloutSince,omitempty"`

	// PreRolloutHook is the name of the one that failed since PreRolloutSince and stopped those after it; empty where all
	// are called at once.
	// +optional
	PreRolloutHook string `json:"preRolloutHook,omitempty"`

	// Approved is the type of the gate that a person has opened in this step, until a round of checks fails in it; empty
	// where nobody has.
	// +optional
	Approved HookType `json:"approved,omitempty"`

	// Early is true once the evidence has allowed the next step before the interval is over, with judgement.stepEarly.
	// +optional
	Early bool `json:"early,omitempty"`

	// Ended is true from when a person ends this step until a round of checks fails in it.
	// +optional
	Ended bool `json:"ended,omitempty"`

	// Lowered is in how many parts the traffic went back to the promoted primary so far.
	// +optional
	Lowered int32 `json:"lowered,omitempty"`

	// Takeover was true while the canary had all requests because the primary could not serve them.
	//
	// Deprecated: status.traffic.reason says so. Statuses that older versions wrote have it.
	// +optional
	Takeover bool `json:"takeover,omitempty"`

	// Began is when the first step began, from which on metrics warm up; absent while the canary becomes ready.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+[.][0-9]{6}Z$`
	Began *metav1.MicroTime `json:"began,omitempty"`
}

// RoundStatus is how one round of checks ended.
type RoundStatus struct {
	// Step that was checked, from 1.
	Step int32 `json:"step"`

	// Weight that the canary had, 0 to 100.
	Weight int32 `json:"weight"`

	// Verdict of the round.
	Verdict CheckVerdict `json:"verdict"`

	// Message says why, for a person: what the failed checks found, cut to 256 characters.
	// +optional
	Message string `json:"message,omitempty"`

	// Time at which the round ended.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+[.][0-9]{6}Z$`
	Time metav1.MicroTime `json:"time"`
}

// JudgementStatus is what the comparison of canary and primary knows of a release.
type JudgementStatus struct {
	// Counted is until when requests were counted. What came later is counted at the next look, once.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+[.][0-9]{6}Z$`
	Counted metav1.MicroTime `json:"counted"`

	// Step is the step at which they were counted.
	Step int32 `json:"step"`

	// CanaryShare is how many of the requests that were counted at the last look were the canary's, in percent, as a text in decimal
	// notation. Absent before the first look at a step, where nothing was counted, and where the canary is sent copies.
	// +optional
	CanaryShare string `json:"canaryShare,omitempty"`

	// State is the evidence, in a format of the operator's own.
	// +optional
	// +kubebuilder:validation:MaxLength=262144
	State string `json:"state,omitempty"`

	// Metrics are what is known of each metric with a comparison, in the order of the spec.
	// +optional
	// +listType=atomic
	Metrics []ComparisonStatus `json:"metrics,omitempty"`
}

// ComparisonStatus is what is known of one metric that compares canary and primary. Numbers are texts in decimal notation.
type ComparisonStatus struct {
	// Name of the metric.
	Name string `json:"name"`

	// SlowerThan is the duration in milliseconds beyond which requests count as bad, of a metric of latency.
	// +optional
	SlowerThan string `json:"slowerThan,omitempty"`

	// CanaryRequests and the following are how many requests were counted in this release, and how many of them were bad.
	CanaryRequests int64 `json:"canaryRequests"`
	// CanaryBad are those of the canary that were bad.
	CanaryBad int64 `json:"canaryBad"`
	// PrimaryRequests are those of the primary.
	// +optional
	PrimaryRequests int64 `json:"primaryRequests,omitempty"`
	// PrimaryBad are those of the primary that were bad.
	// +optional
	PrimaryBad int64 `json:"primaryBad,omitempty"`

	// Low and High are the ends of the confidence sequence of by how many points the canary is worse, at the confidence of
	// the judgement; absent where an end is not known.
	// +optional
	Low string `json:"low,omitempty"`
	// High is its upper end.
	// +optional
	High string `json:"high,omitempty"`

	// Missing is about how many more requests of the canary the next decision needs; 0 where none or no number is known.
	// +optional
	Missing int64 `json:"missing,omitempty"`
}

// GateStatus is a point of a release at which hooks are asked until they answer with success.
type GateStatus struct {
	// Type of the hooks.
	Type HookType `json:"type"`

	// Since is when the gate was first found closed, by the hook that Hook names where one is named.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+[.][0-9]{6}Z$`
	Since metav1.MicroTime `json:"since"`

	// Hook is the name of the one that holds it closed and stops those after it; empty where all are called at once.
	// +optional
	Hook string `json:"hook,omitempty"`

	// Message says which hooks hold it closed, and what they answered first.
	// +optional
	Message string `json:"message,omitempty"`
}

// AdmissionStatus is how a release stands with the release policies that select its Canary.
type AdmissionStatus struct {
	// Since is when it began to wait for its turn, by which several that wait are ordered.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+[.][0-9]{6}Z$`
	Since metav1.MicroTime `json:"since"`

	// Admitted is when it was let begin; absent while it waits. It holds a place from then until it has ended.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+[.][0-9]{6}Z$`
	Admitted *metav1.MicroTime `json:"admitted,omitempty"`

	// By is who let it begin whatever the policies say; empty where they did.
	// +optional
	By string `json:"by,omitempty"`

	// Reason says in one word why it waits, and Policy names the policy, as ReleasePolicy/NAME.
	// +optional
	Reason string `json:"reason,omitempty"`

	// Policy names the policy that it waits for.
	// +optional
	Policy string `json:"policy,omitempty"`

	// Place is which of so many (Waiting) that wait for a place it was, from 1, when it was last written, which is when it is a
	// quarter or less of what it says; absent where it waits for none.
	// +optional
	Place int32 `json:"place,omitempty"`

	// Waiting is how many waited then.
	// +optional
	Waiting int32 `json:"waiting,omitempty"`

	// Until is when the policy allows it at the earliest; absent where that depends on other releases or on people.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+Z$`
	Until *metav1.Time `json:"until,omitempty"`
}

// ActionType is what a person can ask of a release that is under way.
//
// +kubebuilder:validation:Enum=Pause;Resume;Promote;Abort;Retry;Approve;Advance;Rollback;Check
type ActionType string

// Actions.
const (
	// ActionPause holds releases at the step where they are until Resume. A canary that can't serve still loses its
	// traffic.
	ActionPause ActionType = "Pause"
	// ActionResume goes on with what was paused.
	ActionResume ActionType = "Resume"
	// ActionPromote ends the analysis and promotes the canary now.
	ActionPromote ActionType = "Promote"
	// ActionAbort rolls the release back now.
	ActionAbort ActionType = "Abort"
	// ActionRetry analyses the revision that failed once more.
	ActionRetry ActionType = "Retry"
	// ActionApprove opens the gate that the release waits at, whatever its hooks answer.
	ActionApprove ActionType = "Approve"
	// ActionAdvance ends the present step now, as if its checks had passed.
	ActionAdvance ActionType = "Advance"
	// ActionRollback gives the primary the pod template of a revision that it had before, at once. The target stays as it
	// is, and its revision counts as one that has failed.
	ActionRollback ActionType = "Rollback"
	// ActionCheck asks each metric of the analysis once, for whoever wants to know. It changes nothing of a release.
	ActionCheck ActionType = "Check"
)

// RollbackStatus is about a primary that is to have an earlier revision again, and is not ready with it yet.
type RollbackStatus struct {
	// Revision is the one that the primary gets.
	Revision string `json:"revision"`

	// Since is when that was asked for.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+[.][0-9]{6}Z$`
	Since metav1.MicroTime `json:"since"`
}

// ActionStatus is an action that a person asked for and what came of it.
type ActionStatus struct {
	// Name identifies the request.
	Name string `json:"name"`

	// Action that was asked for.
	Action ActionType `json:"action"`

	// By is who asked.
	// +optional
	By string `json:"by,omitempty"`

	// Done is false for an action that could not be taken.
	// +optional
	Done bool `json:"done"`

	// Message says what was done, or why nothing was.
	// +optional
	Message string `json:"message,omitempty"`

	// Revision is the one that the Canary was about then.
	// +optional
	Revision string `json:"revision,omitempty"`

	// Time at which it was decided.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+[.][0-9]{6}Z$`
	Time metav1.MicroTime `json:"time"`
}

// CheckVerdict is how a check went.
//
// +kubebuilder:validation:Enum=Passed;Failed;NoData;Unavailable;Waiting;Unmeasured;Skipped;Undecided
type CheckVerdict string

// Verdicts of a check.
const (
	// CheckPassed: the value was in its range, or the hook answered with success.
	CheckPassed CheckVerdict = "Passed"
	// CheckFailed: the value was out of its range, or the hook answered without success.
	CheckFailed CheckVerdict = "Failed"
	// CheckNoData: the metric provider answered and had no value.
	CheckNoData CheckVerdict = "NoData"
	// CheckUnavailable: there was no answer.
	CheckUnavailable CheckVerdict = "Unavailable"
	// CheckWaiting: there was no usable value, and the check's policy is to wait for one.
	CheckWaiting CheckVerdict = "Waiting"
	// CheckUnmeasured: there was no value, and the metrics server is not known to measure the application, so that nobody
	// can tell whether it has no requests.
	CheckUnmeasured CheckVerdict = "Unmeasured"
	// CheckSkipped: it was not asked, as a hook before it has failed.
	CheckSkipped CheckVerdict = "Skipped"
	// CheckUndecided: canary and primary were compared, and there is too little evidence for either verdict.
	CheckUndecided CheckVerdict = "Undecided"
)

// CheckStatus is the last result of one check.
type CheckStatus struct {
	// Name of the check.
	Name string `json:"name"`

	// Query that was asked.
	// +optional
	Query string `json:"query,omitempty"`

	// Source names who counts the requests that a built-in check is about, such as istio or traefik: of those that may,
	// one that the metrics server has.
	// +optional
	Source string `json:"source,omitempty"`

	// Value that came back.
	// +optional
	Value string `json:"value,omitempty"`

	// Range of accepted values, such as ">= 99".
	// +optional
	Range string `json:"range,omitempty"`

	// Window is the time span that the query looked back.
	// +optional
	Window string `json:"window,omitempty"`

	// Verdict on the value.
	Verdict CheckVerdict `json:"verdict"`

	// Failures is how many rounds of this release ended with this check failed.
	// +optional
	Failures int32 `json:"failures,omitempty"`

	// HadValue is true once the check has had a value in this release.
	// +optional
	HadValue bool `json:"hadValue,omitempty"`

	// DryRun is true for a check that decides nothing.
	// +optional
	DryRun bool `json:"dryRun,omitempty"`

	// WarmingUp is true for a check that does not decide yet.
	// +optional
	WarmingUp bool `json:"warmingUp,omitempty"`

	// Message says why, for a person.
	// +optional
	Message string `json:"message,omitempty"`

	// Time at which the check ended.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+[.][0-9]{6}Z$`
	Time metav1.MicroTime `json:"time"`
}

// CanaryCondition is one condition of a Canary.
type CanaryCondition struct {
	// Type of the condition.
	Type CanaryConditionType `json:"type"`

	// Status of the condition: True, False or Unknown.
	Status corev1.ConditionStatus `json:"status"`

	// ObservedGeneration is the generation of the Canary that the condition is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// LastUpdateTime is when anything of the condition changed last.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+Z$`
	LastUpdateTime metav1.Time `json:"lastUpdateTime,omitempty,omitzero"`

	// LastTransitionTime is when the condition's status changed last.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+Z$`
	LastTransitionTime metav1.Time `json:"lastTransitionTime,omitempty,omitzero"`

	// Reason is one word for machines.
	// +optional
	Reason string `json:"reason,omitempty"`

	// Message says the same to a person.
	// +optional
	Message string `json:"message,omitempty"`
}
