package rollout

import (
	"reflect"
	"time"

	"github.com/sluice-delivery/sluice/operator/release"
)

// Settled tells when to look again once the status of d, a decision on o, has been
// written and all that it desires has been done, if nothing else happens. Zero: only
// when something happens. ok is false where there is more to decide, so that it must
// be looked at again at once. Time and route of o are those of now.
func Settled(o release.Observation, d release.Decision) (after time.Duration, ok bool) {
	if d.Desired.Hold || len(o.Failures) > 0 || len(o.Actions) > 0 {
		return 0, false
	}
	written := *o.Canary
	written.Status = d.Status
	o.Canary = &written
	next := Decide(o)
	if next.RunChecks != nil || len(next.CallHooks) > 0 || len(next.Events) > 0 ||
		!reflect.DeepEqual(next.Desired, d.Desired) || !reflect.DeepEqual(next.Status, d.Status) {
		return 0, false
	}
	return next.RequeueAfter, true
}
