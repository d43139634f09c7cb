package canary

import (
	"context"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// Preview is what becomes of a Canary in the first turns of an operator that has never seen it.
type Preview struct {
	// Mistakes are what its user must mend, all that could be found.
	Mistakes []release.Mistake
	// Unobserved are the parts that could not be looked at, each with its reason.
	Unobserved []release.Failure
	// Observation is what was seen.
	Observation release.Observation
	// Decision is what was decided at last. It is the zero value where something could not be looked at without
	// which nothing is decided.
	Decision release.Decision
}

// turnsOfPreview is how many turns are looked ahead. The first of a new Canary only writes its status, and the next
// does what that says.
const turnsOfPreview = 2

// LookAhead tells what a Canary would come to, by all that a turn goes by. It writes no status and begins no
// checks. What the last turn would write goes to the Reconciler's Client and Appliers: they are to be some that write
// nothing. The Canary is changed.
func LookAhead(ctx context.Context, r *Reconciler, c *v1beta1.Canary) Preview {
	var out Preview
	for turn := range turnsOfPreview {
		w, err := r.observe(ctx, c)
		out = Preview{Mistakes: w.mistakes, Unobserved: w.unobserved, Observation: w.Observation}
		if err != nil {
			out.Unobserved = append(out.Unobserved, release.Failure{Object: "Canary " + c.Name, Message: err.Error()})
			return out
		}
		out.Decision = rollout.Decide(w.Observation)
		if len(w.mistakes) > 0 {
			return out // nothing moves before that is mended
		}
		if turn < turnsOfPreview-1 {
			c.Status = out.Decision.Status
			continue
		}
		out.Unobserved = append(out.Unobserved, r.apply(ctx, w, out.Decision.Desired).failures...)
	}
	return out
}
