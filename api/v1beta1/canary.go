package v1beta1

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Defaults of fields that are not set.
const (
	DefaultInterval         = time.Minute
	DefaultMetricInterval   = "1m"
	DefaultProgressDeadline = 10 * time.Minute
	DefaultDrainDelay       = 10 * time.Second
	DefaultReadyThreshold   = int32(100)
	DefaultThreshold        = int32(1)
	DefaultMaxWeight        = int32(100)
)

const (
	primarySuffix = "-primary"
	canarySuffix  = "-canary"

	registrationSuffix = "-consul"
)

// ServiceNames returns the names of the three Services: the one clients call, the primary's and the canary's.
func (c *Canary) ServiceNames() (apex, primary, canary string) {
	apex = c.Spec.Service.Name
	if apex == "" {
		apex = c.Spec.TargetRef.Name
	}
	return apex, apex + primarySuffix, apex + canarySuffix
}

// RegistrationName returns the name of the Service for which consul-k8s registers the target's pods
// while there is a Canary.
func (c *Canary) RegistrationName() string {
	apex, _, _ := c.ServiceNames()
	return apex + registrationSuffix
}

// PrimaryName returns the name of the primary workload.
func (c *Canary) PrimaryName() string { return c.Spec.TargetRef.Name + primarySuffix }

// TargetName returns kind and name of the workload that the Canary releases, as in Deployment/podinfo.
func (c *Canary) TargetName() string { return c.Spec.TargetRef.Kind + "/" + c.Spec.TargetRef.Name }

// GetAnalysis returns spec.analysis, else the deprecated spec.canaryAnalysis, else an empty one; never nil.
func (c *Canary) GetAnalysis() *CanaryAnalysis {
	switch {
	case c.Spec.Analysis != nil:
		return c.Spec.Analysis
	case c.Spec.CanaryAnalysis != nil:
		return c.Spec.CanaryAnalysis
	default:
		return &CanaryAnalysis{}
	}
}

// GetProvider returns the name of the router, fallback if the Canary names none.
func (c *Canary) GetProvider(fallback string) string { return cmp.Or(c.Spec.Provider, fallback) }

// GetProgressDeadline returns how long workloads may take to become ready.
func (c *Canary) GetProgressDeadline() time.Duration {
	return secondsOr(c.Spec.ProgressDeadlineSeconds, DefaultProgressDeadline)
}

// GetDrainDelay returns how long canary pods stay after the route was seen with weight 0.
func (c *Canary) GetDrainDelay() time.Duration {
	return secondsOr(c.Spec.DrainDelaySeconds, DefaultDrainDelay)
}

// GetCoverageMode returns what happens to objects that select the target's pods and not the primary's.
func (c *Canary) GetCoverageMode() CoverageMode {
	if c.Spec.Coverage == nil || c.Spec.Coverage.Mode == "" {
		return CoverageReport
	}
	return c.Spec.Coverage.Mode
}

// MinInterval is the shortest time between two rounds of checks: each is written and told of.
const MinInterval = time.Second

// GetInterval returns the time between two rounds of checks, DefaultInterval if there is none, and MinInterval at the
// least. The error says that interval is not a duration above 0.
func (a *CanaryAnalysis) GetInterval() (time.Duration, error) {
	if a.Interval == "" {
		return DefaultInterval, nil
	}
	d, err := positive("interval", a.Interval)
	if err != nil {
		return 0, err
	}
	return max(d, MinInterval), nil
}

// GetInterval returns the time span that the check looks back, as it goes into the query. It is a duration in the
// language of the metric provider: 1m for Prometheus, but 1min for Graphite.
func (m *CanaryMetric) GetInterval() string { return cmp.Or(m.Interval, DefaultMetricInterval) }

// GetWarmUp returns how long after the first step began the metric is only reported. The error says that warmUp is
// not a duration of 0 or more.
func (m *CanaryMetric) GetWarmUp() (time.Duration, error) {
	if m.WarmUp == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(m.WarmUp)
	if err != nil {
		return 0, fmt.Errorf("warmUp: %w", err)
	}
	if d < 0 {
		return 0, fmt.Errorf("warmUp: %q is below 0", m.WarmUp)
	}
	return d, nil
}

// IsBuiltIn reports whether the metric is one of the built-in checks, which its name says.
func (m *CanaryMetric) IsBuiltIn() bool { return m.Query == "" && m.TemplateRef == nil }

// GetThreshold returns how many failed rounds of checks end the release, at least 1.
func (a *CanaryAnalysis) GetThreshold() int32 { return max(a.Threshold, DefaultThreshold) }

// GetPrimaryReadyThreshold returns the percentage of the primary's pods that must be ready.
func (a *CanaryAnalysis) GetPrimaryReadyThreshold() int32 {
	return valueOr(a.PrimaryReadyThreshold, DefaultReadyThreshold)
}

// GetCanaryReadyThreshold returns the percentage of the canary's pods that must be ready.
func (a *CanaryAnalysis) GetCanaryReadyThreshold() int32 {
	return valueOr(a.CanaryReadyThreshold, DefaultReadyThreshold)
}

// Defaults of a judgement.
const (
	defaultConfidence  = 99
	defaultMaxDuration = 30 * time.Minute
)

// Compares reports whether any metric compares canary and primary.
func (a *CanaryAnalysis) Compares() bool {
	return slices.ContainsFunc(a.Metrics, func(m CanaryMetric) bool { return m.Comparison != nil })
}

// Comparable reports whether the canary's requests are a fair share of those that the primary has: not those that match
// chooses, nor those of a load test. Otherwise a comparison has its limit alone.
func (a *CanaryAnalysis) Comparable() bool {
	return len(a.Match) == 0 && (a.Strategy() == StrategyWeighted || a.Mirror)
}

// GetConfidence returns the confidence of a rollback by comparison, in percent.
func (a *CanaryAnalysis) GetConfidence() float64 {
	if a.Judgement == nil || a.Judgement.Confidence == nil {
		return defaultConfidence
	}
	return *a.Judgement.Confidence
}

// GetMaxDuration returns how long a release waits for evidence. The error says that maxDuration is no duration above 0.
func (a *CanaryAnalysis) GetMaxDuration() (time.Duration, error) {
	if a.Judgement == nil || a.Judgement.MaxDuration == "" {
		return defaultMaxDuration, nil
	}
	return positive("judgement.maxDuration", a.Judgement.MaxDuration)
}

// GetOnNoEvidence returns what becomes of a release that has too little evidence.
func (a *CanaryAnalysis) GetOnNoEvidence() NoEvidenceAction {
	if a.Judgement == nil || a.Judgement.OnNoEvidence == "" {
		return NoEvidenceWait
	}
	return a.Judgement.OnNoEvidence
}

// Steps returns the weight of each step, growing, 1 to 100: stepWeights as they are, or stepWeight added up to
// maxWeight, where the last step is maxWeight itself. It is empty if neither is set.
func (a *CanaryAnalysis) Steps() []int32 {
	if len(a.StepWeights) > 0 {
		steps := slices.Clone(a.StepWeights)
		for i, w := range steps { // the schema has these bounds, and those of before may have been stored without
			steps[i] = min(max(w, 1), DefaultMaxWeight)
		}
		return steps
	}
	if a.StepWeight <= 0 {
		return nil
	}
	last := a.MaxWeight
	if last <= 0 || last > DefaultMaxWeight {
		last = DefaultMaxWeight
	}
	var steps []int32
	for w := a.StepWeight; w < last; w += a.StepWeight {
		steps = append(steps, w)
	}
	return append(steps, last)
}

// Strategy is the way in which an analysis brings in a new version.
type Strategy string

// Strategies.
const (
	// StrategyWeighted raises the canary's share of requests step by step.
	StrategyWeighted Strategy = "Canary"
	// StrategyABTesting sends the requests that match names to the canary, for a number of iterations.
	StrategyABTesting Strategy = "A/B testing"
	// StrategyBlueGreen checks the canary without users' requests for a number of iterations, and then gives it all of them.
	StrategyBlueGreen Strategy = "Blue/green"
)

// Strategy returns the way in which the analysis brings in a new version: iterations make it A/B testing where match is
// set and blue/green where it is not.
func (a *CanaryAnalysis) Strategy() Strategy {
	switch {
	case a.Iterations <= 0:
		return StrategyWeighted
	case len(a.Match) > 0:
		return StrategyABTesting
	default:
		return StrategyBlueGreen
	}
}

// GetPrimaryCookieName returns the name of the cookie that marks users of the primary: without it their choice could not
// be remembered, and the canary's share of users would grow with each of their requests.
func (s *SessionAffinity) GetPrimaryCookieName() string {
	return cmp.Or(s.PrimaryCookieName, s.CookieName+primarySuffix)
}

// GetMirrorWeight returns the percentage of requests that mirroring copies, 0 where there is no mirroring.
func (a *CanaryAnalysis) GetMirrorWeight() int32 {
	switch {
	case !a.Mirror:
		return 0
	case a.MirrorWeight == 0:
		return DefaultMaxWeight
	default:
		return min(max(a.MirrorWeight, 0), DefaultMaxWeight) // as of those that were stored before the schema had bounds
	}
}

// GetCondition returns the condition of that type, or nil.
func (s *CanaryStatus) GetCondition(t CanaryConditionType) *CanaryCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

// SetCondition puts the condition in place of the one of the same type, or appends it, and says whether anything
// changed. It sets both times itself: lastUpdateTime to now if anything changed, lastTransitionTime to now only if
// the status did. The message is made one line of 4096 bytes at the most.
func (s *CanaryStatus) SetCondition(c CanaryCondition, now time.Time) bool {
	t := metav1.NewTime(now)
	c.Message = OneLine(c.Message, MaxConditionMessage)
	old := s.GetCondition(c.Type)
	if old == nil {
		c.LastUpdateTime, c.LastTransitionTime = t, t
		s.Conditions = append(s.Conditions, c)
		return true
	}
	c.LastUpdateTime, c.LastTransitionTime = old.LastUpdateTime, old.LastTransitionTime
	if c == *old {
		return false
	}
	c.LastUpdateTime = t
	if c.Status != old.Status {
		c.LastTransitionTime = t
	}
	*old = c
	return true
}

// RemoveCondition removes the condition of that type and says whether there was one.
func (s *CanaryStatus) RemoveCondition(t CanaryConditionType) bool {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			s.Conditions = slices.Delete(s.Conditions, i, i+1)
			return true
		}
	}
	return false
}

// GetCondition returns the condition of that type, nil if there is none.
func (s *ObjectStatus) GetCondition(t CanaryConditionType) *CanaryCondition {
	return (&CanaryStatus{Conditions: s.Conditions}).GetCondition(t)
}

// SetCondition is [CanaryStatus.SetCondition] for an object that Canaries refer to.
func (s *ObjectStatus) SetCondition(c CanaryCondition, now time.Time) bool {
	all := CanaryStatus{Conditions: s.Conditions}
	changed := all.SetCondition(c, now)
	s.Conditions = all.Conditions
	return changed
}

func secondsOr(s *int32, fallback time.Duration) time.Duration {
	if s == nil {
		return fallback
	}
	return time.Duration(*s) * time.Second
}

func valueOr(v *int32, fallback int32) int32 {
	if v == nil {
		return fallback
	}
	return *v
}
