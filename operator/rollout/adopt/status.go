// Package adopt takes over statuses that an older version or Flagger wrote, so that a change of the
// operator moves no traffic and begins no release.
package adopt

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
)

// Status takes over a status that an older version or Flagger wrote, so that
// traffic stays where it is and the release goes on from there. From then on the
// status says all of it.
func Status(o *release.Observation, st *v1beta1.CanaryStatus) {
	if st.Traffic != nil {
		return
	}
	if st.LastAppliedSpec == "" {
		adoptRoute(o, st)
		return
	}
	if flaggers(st) && release.Running(st.Phase) && st.Phase != v1beta1.PhaseFinalising && o.Route.Has != nil {
		adoptFlaggers(o, st)
	} else {
		*st = *serving.WithTraffic(o.Canary, st)
		adoptStep(o, st)
	}
	adoptGate(st)
}

// Bound brings numbers that no operator has written, but somebody who may write a status, to what they can be: no mesh
// takes a weight of 101, and what can't be routed would hold up the release for ever. Times that are yet to come are those
// of a clock that has been put back since, or of a leader whose clock was ahead: what is counted from them begins anew.
func Bound(st *v1beta1.CanaryStatus, now time.Time) {
	percent := func(n *int32) { *n = min(max(*n, 0), 100) }
	count := func(n *int32) { *n = max(*n, 0) }
	percent(&st.CanaryWeight)
	count(&st.FailedChecks)
	count(&st.Iterations)
	count(&st.PrimaryReplicas)
	if st.Traffic != nil {
		percent(&st.Traffic.Mirror)
	}
	if at := st.Step; at != nil {
		percent(&at.Weight)
		percent(&at.From)
		count(&at.Index)
		count(&at.Checks)
		count(&at.Pods)
		boundTime(&at.Since, now)
		boundTime(at.PreRolloutSince, now)
		boundTime(at.Began, now)
	}
	boundTime(st.StartedAt, now)
	if st.Unwell != nil {
		boundTime(&st.Unwell.Since, now)
	}
	if st.Gate != nil {
		boundTime(&st.Gate.Since, now)
	}
	if st.LastTransitionTime.After(now.Add(skew)) {
		st.LastTransitionTime = metav1.NewTime(now)
	}
}

// skew is how far the clocks of two leaders may be apart.
const skew = 30 * time.Second

func boundTime(t *metav1.MicroTime, now time.Time) {
	if t != nil && t.After(now.Add(skew)) {
		*t = metav1.NewMicroTime(now)
	}
}

// adoptRoute begins from what the mesh has where the status was lost: who serves is decided from
// that, and a canary that has everything may have it because the primary is about to be without a pod.
func adoptRoute(o *release.Observation, st *v1beta1.CanaryStatus) {
	has := o.Route.Has
	if has == nil || has.Canary == 0 {
		return
	}
	st.CanaryWeight = has.Canary
	st.Traffic = &v1beta1.TrafficStatus{Matched: has.Matched, Reason: v1beta1.TrafficPlanned}
	if has.Canary == 100 && !has.Matched {
		st.Traffic.Reason = v1beta1.TrafficPrimaryUnavailable
	}
}

// adoptStep completes the step of an older version, which did not say what it plans.
func adoptStep(o *release.Observation, st *v1beta1.CanaryStatus) {
	at := st.Step
	if at == nil || at.Plan != "" {
		return
	}
	p := plan.Of(o.Canary.GetAnalysis())
	planned := p.At(at.Index)
	at.Plan, at.Weight, at.Share = p.Hash(), planned.Weight, planned.Share
	switch {
	case at.Takeover:
	case st.Traffic.Matched:
		at.Weight, at.Share = st.CanaryWeight, v1beta1.ShareMatching
	case at.Share != v1beta1.ShareMirror:
		at.Weight, at.Share = st.CanaryWeight, v1beta1.ShareAll
	}
	if st.Phase == v1beta1.PhasePromoting && at.Takeover {
		at.Weight, at.Share = 100, v1beta1.ShareAll
	}
	if st.Phase == v1beta1.PhasePromoting {
		at.Lowered, at.Checks = at.Checks, 0
	}
	at.Takeover = false
}

// adoptGate tells apart what an older version had in one field.
func adoptGate(st *v1beta1.CanaryStatus) {
	if st.Gate == nil {
		return
	}
	since := st.Gate.Since
	switch st.Gate.Type { //nolint:exhaustive // the others are gates still
	case v1beta1.PostRolloutHook:
		st.PostRollout, st.Gate = &since, nil
	case v1beta1.PreRolloutHook:
		if st.Step != nil {
			st.Step.PreRolloutSince, st.Step.PreRolloutFailures = &since, max(st.Step.Checks, 1)
		}
		st.Gate = nil
	}
}

// adoptFlaggers takes over a status that Flagger wrote in the middle of a release.
//
// Such a status does not say what traffic does: its weight is 0 in A/B testing,
// and in every phase after the analysis while the canary still has its share. What
// the mesh has is what counts.
func adoptFlaggers(o *release.Observation, st *v1beta1.CanaryStatus) {
	has, p, was := o.Route.Has, plan.Of(o.Canary.GetAnalysis()), st.Phase
	st.CanaryWeight = has.Canary
	st.Traffic = &v1beta1.TrafficStatus{Matched: has.Matched, Mirror: has.Mirror, Reason: v1beta1.TrafficPlanned}
	switch was { //nolint:exhaustive // the others have no step of the analysis
	case v1beta1.PhaseProgressing, v1beta1.PhaseWaiting:
		if p.Strategy == v1beta1.StrategyBlueGreen && has.Canary == 100 {
			st.Phase = v1beta1.PhasePromoting // its users have been moved
		}
	case v1beta1.PhaseWaitingPromotion:
		// The analysis is done and the promotion was not allowed yet: the last step
		// is gone through once more, after which it is asked for again.
		st.Phase = v1beta1.PhaseProgressing
	}
	at := &v1beta1.StepStatus{Since: metav1.NewMicroTime(o.Now), Plan: p.Hash(), Weight: has.Canary, Share: v1beta1.ShareAll, From: has.Canary}
	if release.Analysing(st.Phase) {
		at.Index = Step(o.Canary, st)
	}
	switch {
	case !release.Analysing(st.Phase):
	case was == v1beta1.PhaseWaitingPromotion:
		at.Index = p.Len()
	case has.Mirror > 0 && at.Index == 0 && p.Len() > 0:
		at.Index = 1
	}
	switch {
	case has.Matched:
		at.Share = v1beta1.ShareMatching
	case has.Mirror > 0 && has.Canary == 0:
		at.Weight, at.Share = has.Mirror, v1beta1.ShareMirror
	}
	st.Step = at
	serving.KeepSessions(o.Canary, st, o.Now)
}

// flaggers is true for a status that Flagger wrote and nobody has taken over:
// its hashes have no format.
func flaggers(st *v1beta1.CanaryStatus) bool {
	return format(st.LastAppliedSpec) == "" && st.Step == nil
}

// Step finds the step that a status without one is at, as another operator
// has written it: the step whose traffic it has is gone through once more. Its
// iterations count those that were begun.
func Step(c *v1beta1.Canary, st *v1beta1.CanaryStatus) int32 {
	p := plan.Of(c.GetAnalysis())
	if p.Strategy != v1beta1.StrategyWeighted {
		if st.CanaryWeight == 0 && st.Iterations == 0 {
			return 0
		}
		return min(max(st.Iterations, 1), p.Len())
	}
	if st.CanaryWeight == 0 {
		return 0
	}
	return max(p.FirstAbove(st.CanaryWeight)-1, 1)
}
