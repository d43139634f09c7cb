package adopt

import (
	"reflect"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// RememberTarget notes which object LastAppliedSpec was computed from. A new
// generation of the same target is only noted along with something else: scaling
// and annotations give it one after the other, and each would be a write.
func RememberTarget(of release.Workload, before, st *v1beta1.CanaryStatus) {
	known := st.AppliedTarget
	if is := st.LastAppliedSpec; is != of.Revision && is != before.LastAppliedSpec {
		st.AppliedTarget = nil // it is about a primary that serves already, and not about this target
		return
	}
	if !of.Exists || of.UID == "" || st.LastAppliedSpec != of.Revision || SameTarget(of, st) {
		return
	}
	if known != nil && known.UID == of.UID && reflect.DeepEqual(st, before) {
		return
	}
	st.AppliedTarget = &v1beta1.AppliedTarget{UID: of.UID, Generation: of.Generation}
}
