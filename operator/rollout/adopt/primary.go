package adopt

import (
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// MayRelease is true where a primary that was there before serves, though not as it should, and the target is another
// revision than it has. That may mend it, and whatever share it has been left with meanwhile, somebody has to judge it.
func MayRelease(o *release.Observation, st *v1beta1.CanaryStatus, first string) bool {
	return first != o.Target.Revision && first == st.LastPromotedSpec && o.Primary.Available > 0
}

// ServedBefore is true where a primary is gone that was initialized once, and nobody knows that
// the target is what it ran: the status was lost, or the target is another revision. Everybody
// is about to get the target, so somebody must find it good. Where the status was lost, and without a mesh, the
// target can't stand in meanwhile, and nothing better is known: to serve is worth more.
func ServedBefore(o *release.Observation, st *v1beta1.CanaryStatus) bool {
	if o.Primary.Exists {
		return false
	}
	if st.LastAppliedSpec == "" {
		return o.HasServices && !o.Route.Fixed
	}
	return st.LastPromotedSpec != "" && st.LastPromotedSpec != o.Target.Revision
}
