// Package serving decides who serves: it is the only place that does, and has what follows from that
// for the mesh.
package serving

import (
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// Split is how requests are divided between canary and primary.
type Split struct {
	// Weight is the canary's share in percent, of all requests or, where matched, of
	// those that match.
	Weight int32
	// Matched is true when the weight is of the requests that match; the primary has all others.
	Matched bool
	// Mirror is the percentage of the primary's requests that are copied.
	Mirror int32
	// Reason says why it is so.
	Reason v1beta1.TrafficReason
}

// Situation is all that it depends on who serves.
type Situation struct {
	// Planned is what the release stands at, Before what the mesh was asked for last.
	Planned, Before Split
	// Primary and Canary are those who could serve.
	Primary, Canary release.Workload
	// Needed is how many pods the primary must have to carry everything, where those are more than it
	// is asked for now.
	Needed int32
	// Fixed is true where no mesh moves traffic, Unreachable where it can't be told anything: what was to be
	// meanwhile may be over once it can.
	Fixed, Unreachable bool
	// Condemned is true for a canary that was found bad: it serves only while nobody else
	// can.
	Condemned bool
	// Changing is true while the primary gets another revision: pods of which it has
	// enough may be about to go.
	Changing bool
	// ScaledToZero is true for a primary that has no pods as it has nothing to do.
	ScaledToZero bool
	// Matches is true when the spec says which requests match.
	Matches bool
}

// Effective decides who serves now: what is planned, as far as those who are to do it
// can. It is asked last in every decision, whatever state the Canary is in, and
// nothing else decides it.
//
//   - A side without pods that can be reached gets nothing while the other has some.
//   - While neither has any, nothing moves, and neither while the mesh can't be told.
//   - A primary that its autoscaler leaves without pods is not stood in for.
//   - A canary that stands in for the primary does so until that is well again.
//   - The primary gets no more than its pods can carry, and no more than it has before they
//     are known to be reached, or while they are all about to go, as long as it needs not take from a canary that was
//     found bad.
func (s Situation) Effective() Split {
	planned := s.Planned
	planned.Reason = v1beta1.TrafficPlanned
	if planned.Matched && !s.Matches {
		planned.Weight, planned.Matched = 0, false // there is no such share any more
	}
	switch {
	case s.Fixed:
		return Split{Reason: v1beta1.TrafficPlanned}
	case s.nobody(), s.Unreachable:
		return s.unchanged()
	case s.Canary.Available == 0 && planned.Weight+planned.Mirror == 0:
		return Split{Reason: v1beta1.TrafficPlanned}
	case s.Canary.Available == 0:
		return Split{Reason: v1beta1.TrafficCanaryUnavailable}
	case s.Primary.Available == 0 && !s.ScaledToZero:
		return Split{Weight: 100, Reason: v1beta1.TrafficPrimaryUnavailable}
	case s.ScaledToZero, s.Condemned:
		return planned
	case s.stillStandsIn():
		return Split{Weight: 100, Reason: v1beta1.TrafficPrimaryUnavailable}
	case !s.enough():
		return s.withinPrimary(planned)
	default:
		return planned
	}
}

// stillStandsIn is true where the canary stood in for a primary that is not well again.
func (s Situation) stillStandsIn() bool {
	return s.Before.Reason == v1beta1.TrafficPrimaryUnavailable && (!s.enough() || s.Changing && !s.Primary.Ready)
}

// nobody is true where neither side is known to serve. Pods may do so all the same that a deleted
// target has left.
func (s Situation) nobody() bool {
	return s.Canary.Available == 0 && s.Primary.Available == 0
}

// unchanged is what the mesh has, of which nothing better is known.
func (s Situation) unchanged() Split {
	out := s.Before
	if out.Matched && !s.Matches {
		out.Weight, out.Matched = 0, false
	}
	return out
}

// withinPrimary leaves the canary what it had, as far as the primary has too few pods
// for it.
func (s Situation) withinPrimary(planned Split) Split {
	if s.Before.Matched {
		// The primary has all other requests already, so that a share of all takes from it.
		if !s.Matches || planned.Weight >= s.Before.Weight || planned.Weight > 0 && !planned.Matched {
			return planned
		}
		return Split{Weight: s.Before.Weight, Matched: true, Reason: v1beta1.TrafficPrimaryTooSmall}
	}
	ofAll := planned.Weight
	if planned.Matched {
		ofAll = 0 // nobody may match
	}
	// It carries as many as it has pods of those that it needs.
	kept := min(s.Before.Weight, 100-100*s.Primary.Available/max(s.Primary.Replicas, s.Needed, 1))
	if s.Primary.Unconfirmed || Leaving(s.Primary) {
		kept = s.Before.Weight
	}
	if kept <= ofAll {
		return planned
	}
	return Split{Weight: kept, Reason: v1beta1.TrafficPrimaryTooSmall}
}

// enough is true for a primary that can carry everything.
func (s Situation) enough() bool {
	p := s.Primary
	return !p.Unconfirmed && !Leaving(p) && p.Replicas >= s.Needed && (p.Ready || p.Replicas > 0 && p.Available >= p.Replicas)
}

// Leaving is true for a primary whose pods are there still, and are all to go for those of its last change: at any
// moment it is without one.
func Leaving(primary release.Workload) bool {
	return primary.Interrupted && !primary.Ready && primary.Replicas > 0 && primary.Available >= primary.Replicas
}

// StandsIn is true while the canary serves everything because the primary can't.
func StandsIn(st *v1beta1.CanaryStatus) bool {
	return st.Traffic != nil && st.Traffic.Reason == v1beta1.TrafficPrimaryUnavailable
}

// Helps is true while the canary serves more than is planned because the primary can't: everything, or what
// that has too few pods for.
func Helps(st *v1beta1.CanaryStatus) bool {
	return StandsIn(st) || st.Traffic != nil && st.Traffic.Reason == v1beta1.TrafficPrimaryTooSmall
}

// CanaryHasAll is true when every request goes to the canary.
func CanaryHasAll(st *v1beta1.CanaryStatus) bool {
	return st.CanaryWeight == 100 && (st.Traffic == nil || !st.Traffic.Matched)
}

// Planned is what a status plans. Only an analysis and a promotion plan
// anything for the canary.
func Planned(st *v1beta1.CanaryStatus) Split {
	at := st.Step
	if at == nil || !release.Analysing(st.Phase) && st.Phase != v1beta1.PhasePromoting {
		return Split{}
	}
	switch at.Share {
	case v1beta1.ShareMatching:
		return Split{Weight: at.Weight, Matched: at.Weight > 0}
	case v1beta1.ShareMirror:
		if release.Analysing(st.Phase) {
			return Split{Mirror: at.Weight}
		}
		return Split{}
	case v1beta1.ShareAll:
		return Split{Weight: at.Weight}
	default:
		return Split{Weight: at.Weight}
	}
}

// Current is what the mesh was asked for last.
func Current(st *v1beta1.CanaryStatus) Split {
	out := Split{Weight: st.CanaryWeight, Reason: v1beta1.TrafficPlanned}
	if st.Traffic != nil {
		out.Matched, out.Mirror, out.Reason = st.Traffic.Matched, st.Traffic.Mirror, st.Traffic.Reason
	}
	return out
}

// Overloaded is true when what is left of the primary has far too few pods for its share. Where the canary keeps more than is planned, as the primary
// is too small, its share is the less.
func Overloaded(st *v1beta1.CanaryStatus, primary release.Workload) bool {
	planned, now := Planned(st), Current(st)
	share := 100 - max(planned.Weight, now.Weight)
	return !planned.Matched && FarTooFew(primary.Available*100, share*primary.Replicas)
}

// FarTooFew is true for less than three quarters of the pods that are needed.
func FarTooFew(pods, needed int32) bool { return pods*4 < needed*3 }
