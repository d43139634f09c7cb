package rollout

import (
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Rest tells when to look again once the status of d, a decision on o, has been
// written and all that it desires has been done, if nothing else happens. Zero: only
// when something happens. ok is false where there is more to decide, so that it must
// be looked at again at once. Time and route of o are those of now.
func Rest(o Observation, d Decision) (after time.Duration, ok bool) {
	if d.Desired.Hold || o.Trouble != "" || len(o.Actions) > 0 {
		return 0, false
	}
	written := *o.Canary
	written.Status = d.Status
	o.Canary = &written
	next := Decide(o)
	if next.RunChecks != nil || len(next.CallHooks) > 0 || len(next.Events) > 0 ||
		!reflect.DeepEqual(next.Desired, d.Desired) || !SameStatus(&next.Status, &d.Status) {
		return 0, false
	}
	return next.RequeueAfter, true
}

// SameStatus tells whether two statuses say the same.
func SameStatus(a, b *v1beta1.CanaryStatus) bool {
	// The first is much the cheaper, but takes one time in two time zones for two.
	return reflect.DeepEqual(a, b) || equality.Semantic.DeepEqual(a, b)
}
