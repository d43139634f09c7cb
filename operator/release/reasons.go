package release

// Reasons of events and conditions.
const (
	// ReasonInitializing: the first primary is being made from the target.
	ReasonInitializing = "Initializing"
	// ReasonInitialized: the primary is ready and serves all traffic.
	ReasonInitialized = "Initialized"
	// ReasonPrimaryMissing: the primary was deleted. It is made again, or its target is analysed first; where neither can be, a person is needed.
	ReasonPrimaryMissing = "PrimaryMissing"
	// ReasonPrimaryUnavailable: the primary has no available pod, or too few; the canary takes the traffic that it can't serve.
	ReasonPrimaryUnavailable = "PrimaryUnavailable"
	// ReasonCanaryUnavailable: the canary has no available pod, or too few; the primary takes its traffic until it is back.
	ReasonCanaryUnavailable = "CanaryUnavailable"
	// ReasonNewRevision: the target has another revision; an analysis begins, or begins anew.
	ReasonNewRevision = "NewRevision"
	// ReasonReverted: the target was set back to what the primary runs; no analysis is needed.
	ReasonReverted = "Reverted"
	// ReasonPrimaryRecovered: the primary serves again and got its traffic back.
	ReasonPrimaryRecovered = "PrimaryRecovered"
	// ReasonStepStarted: a step of another kind than a weight has begun: an iteration, or the one that is mirrored.
	ReasonStepStarted = "StepStarted"
	// ReasonWeightRaised: the next step, with a greater weight, has begun.
	ReasonWeightRaised = "WeightRaised"
	// ReasonWeightLowered: a part of the traffic went back to the promoted primary.
	ReasonWeightLowered = "WeightLowered"
	// ReasonCheckFailed: a round of checks failed; the message has the name, the value, the limit, and how many of how many.
	ReasonCheckFailed = "CheckFailed"
	// ReasonChecksUnavailable: the checks gave no verdict, as nobody answered; nothing moves until they do, and after the progress deadline the release is rolled back.
	ReasonChecksUnavailable = "ChecksUnavailable"
	// ReasonNotMeasured: built-in checks have no value, and the metrics server is not known to measure the application; after the progress deadline the release is rolled back.
	ReasonNotMeasured = "NotMeasured"
	// ReasonMeasured: built-in checks have a source, which the message names.
	ReasonMeasured = "Measured"
	// ReasonAnalysisFailed: rolled back, as too many rounds of checks have failed.
	ReasonAnalysisFailed = "AnalysisFailed"
	// ReasonComparing: canary and primary are compared; the message says how long a verdict is expected to take.
	ReasonComparing = "Comparing"
	// ReasonCanaryWorse: rolled back, as the canary was shown to be worse than the primary.
	ReasonCanaryWorse = "CanaryWorse"
	// ReasonNoEvidence: there is too little evidence for a verdict. It is a Warning once judgement.maxDuration is over, and then says what onNoEvidence makes of it.
	ReasonNoEvidence = "NoEvidence"
	// ReasonDeadlineExceeded: progressDeadlineSeconds are over: the canary was not ready, or the mesh did not show the route, and the release is rolled back; in Initializing the first primary was not ready, and a person is needed.
	ReasonDeadlineExceeded = "ProgressDeadlineExceeded"
	// ReasonRouteRefused: rolled back, as a controller of the mesh said that it won't carry out the route of the step.
	ReasonRouteRefused = "RouteRefused"
	// ReasonPlanChanged: the strategy of the analysis was edited in mid-release; the analysis begins anew.
	ReasonPlanChanged = "PlanChanged"
	// ReasonPromoting: the checks have passed, and the primary gets the new revision.
	ReasonPromoting = "Promoting"
	// ReasonPromotionHalted: the primary did not become ready with the new revision in time. Nothing is undone, and the canary goes on serving.
	ReasonPromotionHalted = "PromotionHalted"
	// ReasonPromoted: the release is done: the primary runs the new revision and serves all traffic.
	ReasonPromoted = "Promoted"
	// ReasonApplyFailed: something could not be written to the API server. It is tried again, and nothing else waits for it.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonMeshUnreachable: the mesh can't be asked or told. Nothing moves and no check counts until it can.
	ReasonMeshUnreachable = "MeshUnreachable"
	// ReasonFieldsIgnored: some fields of the spec have no effect; the message names them and says why.
	ReasonFieldsIgnored = "FieldsIgnored"
	// ReasonTerminating: the Canary is being deleted, and traffic goes back to the target.
	ReasonTerminating = "Terminating"
	// ReasonLeftBehind: a deletion leaves something where it is, as nothing else could serve; the message names it.
	ReasonLeftBehind = "LeftBehind"
	// ReasonRemoved: a deletion removes the primary and its route, as the target is gone too and the Canary says that nothing is to stay then.
	ReasonRemoved = "Removed"
	// ReasonSuspended: spec.suspend is true, and nothing moves until it is false.
	ReasonSuspended = "Suspended"
	// ReasonPaused: a person has paused the release; the message says who and why.
	ReasonPaused = "Paused"
	// ReasonResumed: a person has resumed the release.
	ReasonResumed = "Resumed"
	// ReasonAborted: rolled back, as a person asked for it; the message says who and why.
	ReasonAborted = "Aborted"
	// ReasonRetried: a revision that failed is analysed once more.
	ReasonRetried = "Retried"
	// ReasonActionRefused: what a person asked for can't be done; the message says why.
	ReasonActionRefused = "ActionRefused"
	// ReasonNotCovered: an object selects the target's pods by label and not the primary's, which serve; the message names it.
	ReasonNotCovered = "NotCovered"
	// ReasonCovered: everything that selects the target's pods covers the primary's.
	ReasonCovered = "Covered"
	// ReasonTargetScaledUp: somebody gave the idle target pods again; they get no traffic and are left alone.
	ReasonTargetScaledUp = "TargetScaledUp"
	// ReasonRouteContested: somebody else writes over the route or the Services again and again, such as a GitOps tool that does not ignore them.
	ReasonRouteContested = "RouteContested"
	// ReasonStepEnded: a person has ended a step before its time.
	ReasonStepEnded = "StepEnded"
	// ReasonGateClosed: a gate is closed, and the release waits for it to open.
	ReasonGateClosed = "GateClosed"
	// ReasonGateOpened: a gate has opened, or a person has approved it.
	ReasonGateOpened = "GateOpened"
	// ReasonGateDeadline: rolled back, as a gate was not opened within its deadline.
	ReasonGateDeadline = "GateDeadlineExceeded"
	// ReasonHookFailed: a post-rollout hook did not answer with success; nothing depends on it.
	ReasonHookFailed = "HookFailed"
	// ReasonRollbackAsked: rolled back, as a rollback hook asked for it.
	ReasonRollbackAsked = "RollbackAsked"
	// ReasonAdmitted: the release policies let the release begin.
	ReasonAdmitted = "Admitted"
	// ReasonAdmissionRevoked: a release without traffic waits for its turn again, as more were let begin than the policy allows.
	ReasonAdmissionRevoked = "AdmissionRevoked"
	// ReasonApproved: a person lets the release begin, whatever the release policies say.
	ReasonApproved = "Approved"
	// ReasonFrozen: the release waits for the end of a freeze; the message says whose it is and why.
	ReasonFrozen = "Frozen"
	// ReasonWindowClosed: the release waits for the next window of a policy.
	ReasonWindowClosed = "WindowClosed"
	// ReasonMaximumReached: the release waits for a place, as a policy allows no more at once.
	ReasonMaximumReached = "MaximumReached"
	// ReasonPolicyInvalid: a policy is invalid, so that no release begins that it may be about.
	ReasonPolicyInvalid = "PolicyInvalid"
	// ReasonPoliciesUnread: the operator has not read all policies yet, which takes a moment after its start.
	ReasonPoliciesUnread = "PoliciesUnread"
	// ReasonRolledBack: a person has the primary set back to an earlier revision.
	ReasonRolledBack = "RolledBack"
	// ReasonRollbackHalted: the primary did not become ready with the revision to which it was set back; what is left of its pods serves.
	ReasonRollbackHalted = "RollbackHalted"
	// ReasonPrimaryRestored: the primary is ready with the revision to which it was set back.
	ReasonPrimaryRestored = "PrimaryRestored"
)
