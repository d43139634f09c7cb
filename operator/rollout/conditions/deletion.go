package conditions

import (
	"fmt"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// LeftBehind says why a primary outlives its Canary, and how people find what stays of it.
func LeftBehind(o *release.Observation) string {
	target := o.Canary.TargetName()
	why := target + " can't serve"
	switch {
	case !o.Target.Exists:
		why = target + " is gone"
	case o.ApexMisses:
		why = "the apex Service, as its user made it, does not select the pods of " + target
	case o.Target.Available > 0:
		why = fmt.Sprintf("%s has %d pods that are available, and it has %d", target, o.Target.Available, o.Primary.Available)
	}
	return o.Canary.PrimaryName() + " stays when the Canary goes, as " + why + "; once nobody needs it, remove what has the label " +
		ownership.Label + "=" + ownership.LabelValue(o.Canary.Name)
}

// Removed says why a primary does not.
func Removed(c *v1beta1.Canary) string {
	return "Removing what was made for this Canary, as " + c.TargetName() + " is gone too, and the Canary's annotation says that nothing is to stay then"
}
