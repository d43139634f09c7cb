package rollout

import (
	"fmt"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// split is how requests are divided between canary and primary.
type split struct {
	// weight is the canary's share in percent, of all requests or, where matched, of
	// those that match.
	weight  int32
	matched bool
	// mirror is the percentage of the primary's requests that are copied.
	mirror int32
	reason v1beta1.TrafficReason
}

// serving is all that it depends on who serves.
type serving struct {
	// planned is what the release stands at, before what the mesh was asked for last.
	planned, before split
	primary, canary Workload
	// fixed is true where no mesh moves traffic.
	fixed bool
	// condemned is true for a canary that was found bad: it serves only while nobody else
	// can.
	condemned bool
	// changing is true while the primary gets another revision: pods of which it has
	// enough may be about to go.
	changing bool
	// scaledToZero is true for a primary that has no pods as it has nothing to do.
	scaledToZero bool
	// matches is true when the spec says which requests match.
	matches bool
}

// effective decides who serves now: what is planned, as far as those who are to do it
// can. It is asked last in every decision, whatever state the Canary is in, and
// nothing else decides it.
//
//   - A side without pods that can be reached gets nothing while the other has some.
//   - While neither has any, nothing moves.
//   - A primary that its autoscaler leaves without pods is not stood in for.
//   - A canary that stands in for the primary does so until that is well again.
//   - The primary gets no more than its pods can carry, as long as it needs not take
//     from a canary that was found bad.
func (s serving) effective() split {
	planned := s.planned
	planned.reason = v1beta1.TrafficPlanned
	if planned.matched && !s.matches {
		planned.weight, planned.matched = 0, false // there is no such share any more
	}
	switch {
	case s.fixed, s.canary.Available == 0 && !s.nobody() && planned.weight+planned.mirror == 0:
		return split{reason: v1beta1.TrafficPlanned}
	case s.nobody():
		return s.unchanged()
	case s.canary.Available == 0:
		return split{reason: v1beta1.TrafficCanaryUnavailable}
	case s.scaledToZero:
		return planned
	case s.primary.Available == 0:
		return split{weight: 100, reason: v1beta1.TrafficPrimaryUnavailable}
	case s.condemned:
		return planned
	case s.before.reason == v1beta1.TrafficPrimaryUnavailable && (!enough(s.primary) || s.changing && !s.primary.Ready):
		return split{weight: 100, reason: v1beta1.TrafficPrimaryUnavailable}
	case !enough(s.primary):
		return s.withinPrimary(planned)
	default:
		return planned
	}
}

// nobody is true where neither side can serve, or nothing is known of who could.
func (s serving) nobody() bool {
	return s.canary.Available == 0 && s.primary.Available == 0 && (s.canary.Exists || !s.primary.Exists)
}

// unchanged is what the mesh has, of which nothing better is known.
func (s serving) unchanged() split {
	out := s.before
	if out.matched && !s.matches {
		out.weight, out.matched = 0, false
	}
	return out
}

// withinPrimary leaves the canary what it had, as far as the primary has too few pods
// for it.
func (s serving) withinPrimary(planned split) split {
	if planned.matched != s.before.matched && planned.weight > 0 || planned.weight >= s.before.weight {
		return planned
	}
	if s.before.matched {
		if !s.matches {
			return planned
		}
		return split{weight: s.before.weight, matched: true, reason: v1beta1.TrafficPrimaryTooSmall}
	}
	// Of all requests it carries as many as it has pods of those that it needs.
	kept := min(s.before.weight, 100-100*s.primary.Available/max(s.primary.Replicas, 1))
	if kept <= planned.weight {
		return planned
	}
	return split{weight: kept, reason: v1beta1.TrafficPrimaryTooSmall}
}

// enough is true for a workload that can carry all that it was asked for.
func enough(w Workload) bool { return w.Ready || w.Replicas > 0 && w.Available >= w.Replicas }

// standsIn is true while the canary serves everything because the primary can't.
func standsIn(st *v1beta1.CanaryStatus) bool {
	return st.Traffic != nil && st.Traffic.Reason == v1beta1.TrafficPrimaryUnavailable
}

// canaryHasAll is true when every request goes to the canary.
func canaryHasAll(st *v1beta1.CanaryStatus) bool {
	return st.CanaryWeight == 100 && (st.Traffic == nil || !st.Traffic.Matched)
}

// plannedSplit is what a status plans. Only an analysis and a promotion plan
// anything for the canary.
func plannedSplit(st *v1beta1.CanaryStatus) split {
	at := st.Step
	if at == nil || !analyses(st.Phase) && st.Phase != v1beta1.PhasePromoting {
		return split{}
	}
	switch at.Share {
	case v1beta1.ShareMatching:
		return split{weight: at.Weight, matched: at.Weight > 0}
	case v1beta1.ShareMirror:
		if analyses(st.Phase) {
			return split{mirror: at.Weight}
		}
		return split{}
	case v1beta1.ShareAll:
		return split{weight: at.Weight}
	default:
		return split{weight: at.Weight}
	}
}

func splitOf(st *v1beta1.CanaryStatus) split {
	out := split{weight: st.CanaryWeight, reason: v1beta1.TrafficPlanned}
	if st.Traffic != nil {
		out.matched, out.mirror, out.reason = st.Traffic.Matched, st.Traffic.Mirror, st.Traffic.Reason
	}
	return out
}

// serve writes into the status who serves now, and tells when that is not as planned.
func serve(d *decider) {
	was := splitOf(d.st)
	if d.st.LastPromotedSpec == "" && d.Route.Has == nil {
		d.st.Traffic = &v1beta1.TrafficStatus{Reason: v1beta1.TrafficPlanned} // there is no route yet
		return
	}
	is := serving{
		planned: plannedSplit(d.st), before: was, primary: d.Primary, canary: d.Target, fixed: d.Route.Fixed,
		condemned: d.st.Phase == v1beta1.PhaseFailed, changing: d.st.Phase == v1beta1.PhasePromoting, scaledToZero: scaledToZero(d), matches: len(d.Canary.GetAnalysis().Match) > 0,
	}.effective()
	d.st.CanaryWeight = is.weight
	d.st.Traffic = &v1beta1.TrafficStatus{Matched: is.matched, Mirror: is.mirror, Reason: is.reason}
	if was.reason != is.reason {
		describeServing(d, was, is)
	}
}

func describeServing(d *decider, was, is split) {
	primary := d.Canary.PrimaryName()
	switch is.reason {
	case v1beta1.TrafficPrimaryUnavailable:
		d.event(true, ReasonPrimaryUnavailable, "No pod of "+primary+" is available; the canary takes all traffic")
	case v1beta1.TrafficCanaryUnavailable:
		d.event(true, ReasonCanaryUnavailable, "No pod of the canary is available; "+primary+" takes all traffic until it is back")
	case v1beta1.TrafficPrimaryTooSmall:
		d.event(true, ReasonPrimaryUnavailable, fmt.Sprintf("%s has %d of %d pods; the canary keeps %s of the traffic until there are more",
			primary, d.Primary.Available, d.Primary.Replicas, percent(is.weight)))
	case v1beta1.TrafficPlanned:
		if was.reason != v1beta1.TrafficPrimaryUnavailable || d.Primary.Available == 0 || is.weight == was.weight && is.matched == was.matched {
			return
		}
		back := percent(100-is.weight) + " of the traffic goes"
		switch {
		case is.matched:
			back = "requests that do not match go"
		case is.weight == 0:
			back = "all traffic goes"
		}
		d.event(false, ReasonPrimaryRecovered, primary+" serves again; "+back+" back to it")
	}
}
