package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
)

// CanaryAnalysis says how traffic moves to a new version and what is checked at each step. With iterations it
// is A/B testing (if match is set) or blue/green; otherwise the weight goes up step by step.
//
// +kubebuilder:validation:XValidation:rule="(has(self.iterations) && self.iterations > 0) || (has(self.stepWeight) && self.stepWeight > 0) || (has(self.stepWeights) && size(self.stepWeights) > 0)",message="one of stepWeight, stepWeights and iterations must be set and above 0"
// +kubebuilder:validation:XValidation:rule="(has(self.iterations) && self.iterations > 0) || !has(self.stepWeights) || self.stepWeights.all(w, self.stepWeights.exists_one(v, v == w)) && self.stepWeights.isSorted()",message="stepWeights must grow from each step to the next"
// +kubebuilder:validation:XValidation:rule="!has(self.metrics) || !((has(self.match) && size(self.match) > 0) || (has(self.iterations) && self.iterations > 0 && !(has(self.mirror) && self.mirror))) || self.metrics.all(m, !has(m.comparison) || has(m.comparison.limit))",message="with match, and with iterations without mirror, a comparison needs a limit: the canary's requests are others than the primary's, those that match chooses or those of a load test, so that the two can't be compared"
// +kubebuilder:validation:XValidation:rule="!has(self.judgement) || (has(self.metrics) && self.metrics.exists(m, has(m.comparison)))",message="judgement is about metrics with a comparison, and there is none"
// +kubebuilder:validation:XValidation:rule="!has(self.judgement) || !has(self.judgement.stepEarly) || !self.judgement.stepEarly || !has(self.iterations) || self.iterations == 0",message="judgement.stepEarly is about steps of weights, and with iterations there are none"
type CanaryAnalysis struct {
	// Interval is the time between two rounds of checks, such as 30s or 1m. Less than 1s counts as 1s.
	// +required
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('100ms')",message="interval must be a duration above 0 such as 30s, 1m or 1m30s, and 100ms at the least"
	Interval string `json:"interval"`

	// Iterations is how many rounds of checks A/B testing and blue/green take before promotion.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0",message="iterations must be 0 or more"
	Iterations int32 `json:"iterations,omitempty"`

	// Mirror sends copies of requests to the canary instead of requests, in blue/green and before the first step.
	// +optional
	Mirror bool `json:"mirror,omitempty"`

	// MirrorWeight is the percentage of requests that is copied, 0 to 100. 0 means all.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 100",message="mirrorWeight must be 0 to 100"
	MirrorWeight int32 `json:"mirrorWeight,omitempty"`

	// MaxWeight is the percentage of requests at which the steps end, 0 to 100. 0 means 100.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 100",message="maxWeight must be 0 to 100"
	MaxWeight int32 `json:"maxWeight,omitempty"`

	// StepWeight is the percentage of requests added at each step, 0 to 100.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 100",message="stepWeight must be 0 to 100"
	StepWeight int32 `json:"stepWeight,omitempty"`

	// StepWeights are the percentages of requests of each step, 1 to 100, each above the one before. They win over
	// stepWeight.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:XValidation:rule="self.all(w, w >= 1 && w <= 100)",message="each of stepWeights must be 1 to 100"
	StepWeights []int32 `json:"stepWeights,omitempty"`

	// StepWeightPromotion is the percentage of requests given back to the promoted primary at each step, 0 to 100.
	// 0 means all at once.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 100",message="stepWeightPromotion must be 0 to 100"
	StepWeightPromotion int32 `json:"stepWeightPromotion,omitempty"`

	// Threshold is how many failed rounds of checks end the release in a rollback. 0 means 1.
	// +required
	// +kubebuilder:validation:XValidation:rule="self >= 0",message="threshold must be 0 or more"
	Threshold int32 `json:"threshold"`

	// PrimaryReadyThreshold is the percentage of the primary's pods that must be ready, 0 to 100. Unset means 100.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 100",message="primaryReadyThreshold must be 0 to 100"
	PrimaryReadyThreshold *int32 `json:"primaryReadyThreshold,omitempty"`

	// CanaryReadyThreshold is the percentage of the canary's pods that must be ready, 0 to 100. Unset means 100.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 100",message="canaryReadyThreshold must be 0 to 100"
	CanaryReadyThreshold *int32 `json:"canaryReadyThreshold,omitempty"`

	// Alerts say who is told about this Canary's releases.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Alerts []CanaryAlert `json:"alerts,omitempty"`

	// Metrics are the metric checks of each round.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Metrics []CanaryMetric `json:"metrics,omitempty"`

	// Judgement says how sure the comparison of canary and primary must be that metrics[].comparison asks for.
	// +optional
	Judgement *CanaryJudgement `json:"judgement,omitempty"`

	// Webhooks are the hooks and gates of a release.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	Webhooks []CanaryWebhook `json:"webhooks,omitempty"`

	// WebhookOrder says how the webhooks of one type are called. Empty means Sequential.
	// +optional
	// +kubebuilder:validation:Enum="";Sequential;Parallel
	WebhookOrder WebhookOrder `json:"webhookOrder,omitempty"`

	// Match says which requests go to the canary in A/B testing: Istio's HTTPMatchRequest.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Match []RawObject `json:"match,omitempty"`

	// SessionAffinity keeps a user who was sent to the canary there.
	// +optional
	SessionAffinity *SessionAffinity `json:"sessionAffinity,omitempty"`
}

// WebhookOrder says how the webhooks of one type are called.
type WebhookOrder string

// Orders of webhooks. Empty means Sequential.
const (
	// WebhooksSequential calls one after the other in the order of the spec. The first that does not answer with success
	// stops those after it, and in a round of checks the metrics, which come after the rollout hooks.
	WebhooksSequential WebhookOrder = "Sequential"
	// WebhooksParallel calls all at once, beside the metrics.
	WebhooksParallel WebhookOrder = "Parallel"
)

// SessionAffinity is the cookie that keeps users on one version during a release.
type SessionAffinity struct {
	// CookieName is the name of the cookie that marks users of the canary.
	// +required
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="cookieName must not be empty"
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-!#$%&'*+.^_|~0-9A-Za-z]*$`
	CookieName string `json:"cookieName"`

	// PrimaryCookieName is the name of the cookie that marks users of the primary. Empty means cookieName with -primary
	// appended.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-!#$%&'*+.^_|~0-9A-Za-z]*$`
	PrimaryCookieName string `json:"primaryCookieName,omitempty"`

	// Domain attribute of the cookie.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-A-Za-z0-9.]*$`
	Domain string `json:"domain,omitempty"`

	// HTTPOnly keeps the cookie from scripts.
	// +optional
	HTTPOnly bool `json:"httpOnly,omitempty"`

	// MaxAge is how long the cookie lives, in seconds.
	// +optional
	// +kubebuilder:default=86400
	// +kubebuilder:validation:XValidation:rule="self >= 0",message="maxAge must be 0 or more"
	MaxAge int32 `json:"maxAge,omitempty"`

	// Partitioned keeps the cookie in partitioned storage.
	// +optional
	Partitioned bool `json:"partitioned,omitempty"`

	// Path attribute of the cookie. Empty means /.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[!-:<-~]*$`
	Path string `json:"path,omitempty"`

	// SameSite attribute of the cookie.
	// +optional
	// +kubebuilder:validation:Enum=Strict;Lax;None
	SameSite string `json:"sameSite,omitempty"`

	// Secure sends the cookie over https only.
	// +optional
	Secure bool `json:"secure,omitempty"`
}

// Built-in metric checks, by the name that asks for them.
const (
	MetricRequestSuccessRate = "request-success-rate"
	MetricRequestDuration    = "request-duration"
)

// MetricAction says what a round of checks makes of a metric without a usable value.
//
// +kubebuilder:validation:Enum="";Fail;Pass;Wait
type MetricAction string

// Actions on a metric without a usable value. Empty means the default of the case.
const (
	// MetricFail fails the round.
	MetricFail MetricAction = "Fail"
	// MetricPass takes the metric for good.
	MetricPass MetricAction = "Pass"
	// MetricWait holds the release where it is and asks again, until the progress deadline.
	MetricWait MetricAction = "Wait"
)

// SeveralSeries says what a round of checks makes of a query that selects several series where one is needed.
//
// +kubebuilder:validation:Enum="";Fail;Sum;Max;Worst
type SeveralSeries string

// What is made of several series. Empty means Fail.
const (
	// SeriesFail fails the round.
	SeriesFail SeveralSeries = "Fail"
	// SeriesSum takes the sum of their values.
	SeriesSum SeveralSeries = "Sum"
	// SeriesMax takes the highest value.
	SeriesMax SeveralSeries = "Max"
	// SeriesWorst takes the value that is farthest out of the accepted range or, where none is, the nearest to its ends.
	SeriesWorst SeveralSeries = "Worst"
)

// MetricPolicy says what a round of checks makes of answers that are no usable value.
type MetricPolicy struct {
	// NoData is for an answer without a value. Empty means Fail for templates and queries; a built-in check passes while
	// neither version has had requests in this release, and fails when the canary gets none although the primary does, or
	// does no longer. Where the metrics server is not known to measure the application, it holds the release.
	// +optional
	NoData MetricAction `json:"noData,omitempty"`

	// NotANumber is for the value NaN. Empty means what is done without data.
	// +optional
	NotANumber MetricAction `json:"notANumber,omitempty"`

	// Infinite is for an infinite value. Empty means Fail.
	// +optional
	Infinite MetricAction `json:"infinite,omitempty"`

	// Unavailable is for a metric provider that gives no answer. Empty means Wait.
	// +optional
	Unavailable MetricAction `json:"unavailable,omitempty"`

	// SeveralSeries is for a query of Prometheus that selects several series. Empty means Fail.
	// +optional
	SeveralSeries SeveralSeries `json:"severalSeries,omitempty"`
}

// NoEvidenceAction says what becomes of a release that has taken its longest and has too little evidence.
//
// +kubebuilder:validation:Enum="";Wait;Rollback;Promote
type NoEvidenceAction string

// Actions without evidence. Empty means Wait.
const (
	// NoEvidenceWait holds the release where it is, and says what it waits for.
	NoEvidenceWait NoEvidenceAction = "Wait"
	// NoEvidenceRollback rolls the release back.
	NoEvidenceRollback NoEvidenceAction = "Rollback"
	// NoEvidencePromote goes on, as if the evidence were there.
	NoEvidencePromote NoEvidenceAction = "Promote"
)

// CanaryJudgement says how sure the comparison of canary and primary must be. It holds for the whole release and all its
// metrics together.
type CanaryJudgement struct {
	// Confidence of a rollback in percent, 50 to 99.99: of good releases, no more than the rest are rolled back, over all
	// metrics and however often they are looked at. Unset means 99.
	// +optional
	// +kubebuilder:validation:XValidation:rule="double(self) >= 50.0 && double(self) <= 99.99",message="confidence must be 50 to 99.99"
	Confidence *float64 `json:"confidence,omitempty"`

	// MaxDuration is how long after the first step began the release waits for evidence against the regression that
	// matters. Then evidence against the lesser one is enough, metrics[].comparison.settle, if what there is leans to the
	// canary; and without that onNoEvidence decides. Empty means 30m.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1m') && duration(self) <= duration('168h')",message="maxDuration must be a duration such as 30m or 1h30m, 1m to 168h"
	MaxDuration string `json:"maxDuration,omitempty"`

	// OnNoEvidence says what becomes of a release that has too little evidence after maxDuration: Wait, Rollback or
	// Promote. Empty means Wait. A release with evidence against its canary waits whatever this says.
	// +optional
	OnNoEvidence NoEvidenceAction `json:"onNoEvidence,omitempty"`

	// StepEarly ends a step before its interval is over, as soon as the evidence allows the next one: all checks are run
	// then, and the weight is raised where they pass. The last step lasts its interval in any case.
	// +optional
	StepEarly bool `json:"stepEarly,omitempty"`
}

// MetricComparison compares the canary's share of bad requests with the primary's: those that failed for
// request-success-rate, those that were slow for request-duration, those of counts.bad of a MetricTemplate. All
// numbers are in points, percent of the requests.
//
// +kubebuilder:validation:XValidation:rule="!has(self.settle) || double(self.settle) >= (has(self.detect) ? double(self.detect) : 1.0)",message="comparison.settle must not be below comparison.detect"
type MetricComparison struct {
	// Detect is the regression that matters, above 0 to 50 points: found fast, and ruled out before promotion. Unset means 1.
	// +optional
	// +kubebuilder:validation:XValidation:rule="double(self) >= 0.01 && double(self) <= 50.0",message="comparison.detect must be 0.01 to 50 points"
	Detect *float64 `json:"detect,omitempty"`

	// Settle is the regression that is ruled out before promotion once judgement.maxDuration is over. Unset means 10 points,
	// or detect if that is more.
	// +optional
	// +kubebuilder:validation:XValidation:rule="double(self) >= 0.01 && double(self) <= 50.0",message="comparison.settle must be 0.01 to 50 points"
	Settle *float64 `json:"settle,omitempty"`

	// Tolerate is how much worse than the primary the canary may be.
	// +optional
	Tolerate *MetricTolerance `json:"tolerate,omitempty"`

	// Limit is the highest accepted share of bad requests of the canary, whatever the primary has. Where both are beyond it,
	// the release waits. In A/B testing and blue/green it is all there is.
	// +optional
	// +kubebuilder:validation:XValidation:rule="double(self) >= 0.001 && double(self) <= 99.0",message="comparison.limit must be 0.001 to 99 percent"
	Limit *float64 `json:"limit,omitempty"`
}

// MetricTolerance is how much worse than the primary a canary may be: the primary's share of bad requests, percent of it
// more, and points more.
type MetricTolerance struct {
	// Points that are tolerated, 0 to 50. Unset means 0.1, and 0.5 for request-duration.
	// +optional
	// +kubebuilder:validation:XValidation:rule="double(self) >= 0.0 && double(self) <= 50.0",message="comparison.tolerate.points must be 0 to 50"
	Points *float64 `json:"points,omitempty"`

	// Percent of the primary's share that are tolerated, 0 to 1000. Unset means 10.
	// +optional
	// +kubebuilder:validation:XValidation:rule="double(self) >= 0.0 && double(self) <= 1000.0",message="comparison.tolerate.percent must be 0 to 1000"
	Percent *float64 `json:"percent,omitempty"`
}

// CanaryMetric is one metric check: a built-in one by its name, a MetricTemplate, or a query.
//
// +kubebuilder:validation:XValidation:rule="!has(self.comparison) || !has(self.query) || size(self.query) == 0 || has(self.templateRef)",message="comparison needs counts of requests, and a query gives none: write a MetricTemplate with spec.counts"
// +kubebuilder:validation:XValidation:rule="!has(self.minRequests) || self.minRequests == 0 || (!has(self.templateRef) && (!has(self.query) || size(self.query) == 0))",message="minRequests is for built-in checks: nobody knows the requests that a templateRef or a query is about"
type CanaryMetric struct {
	// Name of the check. Without templateRef and query it names a built-in check.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Interval is the time span that the query looks back, as the metric provider writes it, such as 1m. Empty means 1m.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,9}([.][0-9]+)?(ms|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?|w|weeks?))+$') && !self.matches('^[0.]+[a-z]+$')",message="interval must be a duration above 0 such as 30s, 1m or 1m30s"
	Interval string `json:"interval,omitempty"`

	// Threshold is the lowest accepted request-success-rate, or the highest accepted value of any other check.
	//
	// Deprecated: write thresholdRange.
	// +optional
	Threshold *float64 `json:"threshold,omitempty"`

	// ThresholdRange is the range of accepted values. It wins over threshold.
	// +optional
	ThresholdRange *CanaryThresholdRange `json:"thresholdRange,omitempty"`

	// Query is a Prometheus query with the variables of a MetricTemplate's, such as {{ target }} and {{ interval }}.
	//
	// Deprecated: write a MetricTemplate and templateRef.
	// +optional
	// +kubebuilder:validation:MaxLength=65536
	Query string `json:"query,omitempty"`

	// TemplateRef names a MetricTemplate.
	// +optional
	TemplateRef *CrossNamespaceObjectReference `json:"templateRef,omitempty"`

	// TemplateVariables are values for the template's query.
	// +optional
	// +kubebuilder:validation:MaxProperties=100
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 253 && size(self[k]) <= 4096)",message="templateVariables must have names up to 253 and values up to 4096 characters"
	TemplateVariables map[string]string `json:"templateVariables,omitempty"`

	// Policy says what is made of answers that are no usable value.
	// +optional
	Policy *MetricPolicy `json:"policy,omitempty"`

	// DryRun asks and reports the metric, and lets it decide nothing.
	// +optional
	DryRun bool `json:"dryRun,omitempty"`

	// WarmUp is how long after the first step began the metric is only reported, such as 5m. The weight stays where it is
	// for so long. Empty means 0.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) <= duration('168h')",message="warmUp must be a duration such as 30s, 1m or 1m30s, and 168h at the most"
	WarmUp string `json:"warmUp,omitempty"`

	// FailureLimit is how many rounds may end with this metric failed before the release is rolled back, whatever
	// analysis.threshold allows. 0 means that only analysis.threshold counts.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0",message="failureLimit must be 0 or more"
	FailureLimit int32 `json:"failureLimit,omitempty"`

	// MinRequests is how many requests the canary must have had in the interval for a verdict of a built-in check. With
	// fewer, but some, policy.noData decides; empty means Wait there.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0",message="minRequests must be 0 or more"
	MinRequests int32 `json:"minRequests,omitempty"`

	// Comparison judges the canary by the primary: a sequential test on counts of requests. An empty one has all defaults.
	// thresholdRange is checked beside it where it is set, and nothing else where it is not.
	// +optional
	Comparison *MetricComparison `json:"comparison,omitempty"`
}

// CanaryThresholdRange is a range of accepted values, both ends included; an unset end is open.
//
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.max) || self.min <= self.max",message="thresholdRange: min must not be above max"
type CanaryThresholdRange struct {
	// Min is the lowest accepted value.
	// +optional
	Min *float64 `json:"min,omitempty"`

	// Max is the highest accepted value.
	// +optional
	Max *float64 `json:"max,omitempty"`
}

// AlertSeverity is how bad something must be to be told.
type AlertSeverity string

// Severities, from all alerts to failures only. Empty means info.
const (
	SeverityInfo  AlertSeverity = "info"
	SeverityWarn  AlertSeverity = "warn"
	SeverityError AlertSeverity = "error"
)

// CanaryAlert says who is told what about a Canary's releases.
type CanaryAlert struct {
	// Name of the alert.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Severity from which on alerts are sent. Empty means info: all of them.
	// +optional
	// +kubebuilder:validation:Enum="";info;warn;error
	Severity AlertSeverity `json:"severity,omitempty"`

	// ProviderRef names an AlertProvider.
	// +required
	ProviderRef CrossNamespaceObjectReference `json:"providerRef"`
}

// HookType says when a hook is called and what its answer means.
type HookType string

// Types of hooks. Empty means rollout.
const (
	// RolloutHook is a check of each round: anything but success fails the round.
	RolloutHook HookType = "rollout"
	// PreRolloutHook is called before the first request goes to the canary: a failure holds the release there and counts.
	PreRolloutHook HookType = "pre-rollout"
	// PostRolloutHook is called when a release has ended, well or not.
	PostRolloutHook HookType = "post-rollout"
	// ConfirmRolloutHook is a gate before the release starts.
	ConfirmRolloutHook HookType = "confirm-rollout"
	// ConfirmPromotionHook is a gate before the promotion.
	ConfirmPromotionHook HookType = "confirm-promotion"
	// ConfirmTrafficIncreaseHook is a gate before each step.
	ConfirmTrafficIncreaseHook HookType = "confirm-traffic-increase"
	// RollbackHook rolls back when it answers with success.
	RollbackHook HookType = "rollback"
	// EventHook is told every event of the Canary.
	EventHook HookType = "event"
)

// DeadlineAction says what happens when a hook holds a release for longer than its deadline.
type DeadlineAction string

// Actions at the deadline of a hook. Empty means Rollback.
const (
	// DeadlineRollback takes the release back.
	DeadlineRollback DeadlineAction = "Rollback"
	// DeadlineContinue goes on as if the hook had answered with success.
	DeadlineContinue DeadlineAction = "Continue"
)

// CanaryWebhook is a hook or a gate: an HTTP endpoint that is called at a point of the release.
//
// +kubebuilder:validation:XValidation:rule="!has(self.deadline) || (has(self.type) && self.type in ['confirm-rollout', 'pre-rollout', 'confirm-traffic-increase', 'confirm-promotion'])",message="deadline is for hooks that hold a release: confirm-rollout, pre-rollout, confirm-traffic-increase and confirm-promotion"
// +kubebuilder:validation:XValidation:rule="!has(self.onDeadline) || has(self.deadline)",message="onDeadline needs a deadline"
type CanaryWebhook struct {
	// Type says when the hook is called. Empty means rollout.
	// +optional
	// +kubebuilder:validation:Enum="";confirm-rollout;pre-rollout;rollout;confirm-promotion;post-rollout;event;rollback;confirm-traffic-increase
	Type HookType `json:"type,omitempty"`

	// Name of the hook.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// URL to which the payload is posted.
	// +required
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="url must not be empty"
	// +kubebuilder:validation:MaxLength=4096
	URL string `json:"url"`

	// MuteAlert sends no alert about this hook.
	// +optional
	MuteAlert bool `json:"muteAlert,omitempty"`

	// Timeout of one call, such as 15s. Empty means 10s.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) > duration('0s')",message="timeout must be a duration above 0 such as 500ms, 30s or 1m"
	Timeout string `json:"timeout,omitempty"`

	// Retries is how often a failed call is repeated before it counts as failed.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0",message="retries must be 0 or more"
	Retries int32 `json:"retries,omitempty"`

	// DisableTLS accepts any certificate of an https endpoint.
	// +optional
	DisableTLS bool `json:"disableTLS,omitempty"`

	// Metadata is sent with the payload.
	// +optional
	// +kubebuilder:validation:MaxProperties=100
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 253 && size(self[k]) <= 16384)",message="metadata must have names up to 253 and values up to 16384 characters"
	Metadata map[string]string `json:"metadata,omitempty"`

	// Headers are sent with each call. Host, Content-Length, Content-Type, our own and those of the connection are not
	// for them; what is secret belongs into secretRef.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) <= 256 && k.matches('^[A-Za-z0-9!#$%&*+.^_|~-]+$'))",message="names of headers must be made of letters, digits and - _ . and the like, up to 256 characters"
	// +kubebuilder:validation:XValidation:rule="!self.exists(k, k.matches('^(?i:host|content-length|content-type|connection|transfer-encoding|te|trailer|upgrade|keep-alive|proxy-connection|idempotency-key|sluice-signature)$'))",message="headers must not hold Host, Content-Length, Content-Type, Idempotency-Key, Sluice-Signature or headers of the connection"
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(self[k]) <= 4096)",message="values of headers must be up to 4096 characters"
	Headers map[string]string `json:"headers,omitempty"`

	// SecretRef names a Secret in the Canary's namespace. Its keys, all optional: hmac-key signs each call, authorization is
	// the value of the Authorization header, ca.crt is whose certificates are accepted, tls.crt and tls.key are shown to
	// the endpoint.
	// +optional
	// +kubebuilder:validation:XValidation:rule="has(self.name) && size(self.name) > 0 && size(self.name) <= 253",message="secretRef must have a name"
	SecretRef *corev1.LocalObjectReference `json:"secretRef,omitempty"`

	// Deadline is how long the hook may hold the release, such as 24h. It is for confirm-rollout, pre-rollout,
	// confirm-traffic-increase and confirm-promotion. Empty means for ever.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) > duration('0s')",message="deadline must be a duration above 0 such as 30m or 24h"
	Deadline string `json:"deadline,omitempty"`

	// OnDeadline is what happens when the deadline has passed. Empty means Rollback.
	// +optional
	// +kubebuilder:validation:Enum="";Rollback;Continue
	OnDeadline DeadlineAction `json:"onDeadline,omitempty"`
}
