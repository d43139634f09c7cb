package rollout

import (
	"reflect"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/rollout/adopt"
)

// rememberTarget notes which object LastAppliedSpec was computed from. A new
// generation of the same target is only noted along with something else: scaling
// and annotations give it one after the other, and each would be a write.
func rememberTarget(d *decider) {
	of, known := d.Target, d.st.AppliedTarget
	if is := d.st.LastAppliedSpec; is != of.Revision && is != d.Canary.Status.LastAppliedSpec {
		d.st.AppliedTarget = nil // it is about a primary that serves already, and not about this target
		return
	}
	if !of.Exists || of.UID == "" || d.st.LastAppliedSpec != of.Revision || adopt.SameTarget(d.Target, d.st) {
		return
	}
	if known != nil && known.UID == of.UID && reflect.DeepEqual(*d.st, d.Canary.Status) {
		return
	}
	d.st.AppliedTarget = &v1beta1.AppliedTarget{UID: of.UID, Generation: of.Generation}
}
