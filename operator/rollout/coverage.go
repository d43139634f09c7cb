package rollout

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// failuresLength bounds what is said of failures, in bytes.
const failuresLength = 900

// Bounds of a list of objects in a message, and of one of them, in bytes: the
// API server refuses events with more than 1024.
const (
	coverageLength = 600
	nameLength     = 400
)

// describeCoverage says which objects cover the target's pods and not those that
// serve everyone. Nothing waits for that to be mended, so no other condition
// speaks of it.
func describeCoverage(d *decider) {
	if d.Coverage == nil {
		d.st.RemoveCondition(v1beta1.ConditionCovered)
		return
	}
	status, reason := corev1.ConditionTrue, release.ReasonCovered
	message := "What selects the pods of " + d.target() + " by label covers those of " + d.Canary.PrimaryName()
	if len(d.Coverage.Copied) > 0 {
		message += "; copies are kept of " + listed(d.Coverage.Copied, coverageLength)
	}
	if len(d.Coverage.Uncovered) > 0 {
		status, reason = corev1.ConditionFalse, release.ReasonNotCovered
		message = "The pods of " + d.Canary.PrimaryName() + " are not covered by what selects those of " + d.target() + " by label: " +
			listed(d.Coverage.Uncovered, coverageLength)
	}
	was := d.st.GetCondition(v1beta1.ConditionCovered)
	isNews := was != nil && !was.Says(message) || was == nil && len(d.Coverage.Uncovered)+len(d.Coverage.Copied) > 0
	if isNews {
		d.event(status == corev1.ConditionFalse, reason, message)
	}
	d.set(v1beta1.ConditionCovered, status, reason, message)
}

// listed joins names, as many as fit in so many bytes and one at least.
func listed(names []string, length int) string {
	out := strings.Builder{}
	for i, name := range names {
		if i > 0 && out.Len()+len(name) > length {
			fmt.Fprintf(&out, ", and %d more", len(names)-i)
			break
		}
		if i > 0 {
			out.WriteString(", ")
		}
		if len(name) > nameLength {
			name = name[:nameLength] + "..."
		}
		out.WriteString(name)
	}
	return out.String()
}
