// Package restore knows what a primary is healed from, and how far one has come that is set back to what it was promoted with before.
package restore

import (
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// Goes is true until the primary was seen to be of the revision that it is to have again.
func Goes(o *release.Observation, st *v1beta1.CanaryStatus) bool {
	return st.Rollback != nil && !o.Primary.Carries(st.Rollback.Revision)
}

// Note records how far the primary has come with the revision that it is to have again, and returns the event when it has it. What it
// was promoted with is that one from the moment at which it is a copy of it. With the primary goes what was stored of it.
func Note(o *release.Observation, st *v1beta1.CanaryStatus) []release.Event {
	r := st.Rollback
	switch {
	case r == nil || o.Primary.Unobserved:
	case !o.Primary.Exists:
		st.Rollback = nil
	case o.Primary.Carries(r.Revision):
		st.LastPromotedSpec = r.Revision
		if !o.Primary.Ready {
			return nil
		}
		st.Rollback = nil
		return []release.Event{{
			Reason: release.ReasonPrimaryRestored, Message: o.Canary.PrimaryName() + " runs revision " + r.Revision + " again (" + o.Primary.Images + ")",
		}}
	}
	return nil
}

// Revision is the one that the primary must get from what is stored of it, empty for none. As with every change of
// the primary the mesh must show the present route before; same says that it is what is asked of it next.
func Revision(o *release.Observation, st *v1beta1.CanaryStatus, same bool) string {
	if !Goes(o, st) || !release.Analysing(st.Phase) && st.Phase != v1beta1.PhaseFailed || !o.Route.InSync || !same {
		return ""
	}
	return st.Rollback.Revision
}

// FromTarget is the revision that heals the primary: the promoted one,
// as long as the target still is its source; empty for none.
func FromTarget(o *release.Observation, st *v1beta1.CanaryStatus) string {
	if o.Target.Revision == st.LastPromotedSpec {
		return o.Target.Revision
	}
	return ""
}
