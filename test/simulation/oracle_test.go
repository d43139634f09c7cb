package simulation

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// oracle watches a world and knows what must never happen in it. It knows the invariants and not how the operator keeps
// them: it looks at pods, endpoints, routes and manifests, and at the status only for what people read there.
type oracle struct {
	w         *world
	violation string
	undone    bool // the last route was asked for by an operator that had lost its lease

	// excuse is for how long yet lost requests are the adversary's doing: he has taken pods, and the operator needs a
	// moment to see it. It does not run while the adversary keeps the operator from seeing or acting.
	excuse time.Duration
	served map[string]bool // the apex names that were once answered
	lost   float64         // the share that is lost now

	initialized  bool
	lostStatus   bool
	primaryImage string
	primaryHash  string
	promoted     []string             // the revisions that the primary has had, the latest last
	proven       map[string]bool      // the versions that the primary has had
	promotedHash string               // of the target's pods, when the primary got them
	target       *appsv1.Deployment   // as it was last
	primaryGone  bool                 // it was deleted, and is not there again
	releases     map[string]*released // by image
	specs        []dated              // of the Canary
	written      []time.Time          // when the Canary was written of late
	weighed      time.Time            // when its weight in the status changed last
	status       v1beta1.CanaryStatus

	carried  map[string][]sample // how many pods served, by Service, of late
	sufficed int                 // how many pods of a whole primary served everything last
	bad      time.Duration       // for how long users get a bad canary that could have been judged
	calls    map[string]*process // whom hooks have answered with success
	deleted  time.Time           // when the Canary was
	deleting time.Duration       // for how long the operator has been able to let it go
	had      int                 // pods that served when it was deleted
	gone     bool                // the Canary is
	left     bool                // and something was taken since
	crashed  []time.Time         // when pods of the target have crashed
}

// released is what is known of an image since the target has it.
type released struct {
	since  time.Time
	rounds []judged
	exempt string // why nothing needs to be judged
	edited bool   // the plan was edited since
}

// judged is one answer of the metrics.
type judged struct {
	at, since time.Time
	passed    bool
	traffic   providers.Traffic
}

type dated struct {
	at   time.Time
	spec v1beta1.CanarySpec
}

type sample struct {
	at     time.Time
	pods   int
	steady int
}

func newOracle(w *world) *oracle {
	return &oracle{
		w: w, served: map[string]bool{}, releases: map[string]*released{}, carried: map[string][]sample{}, calls: map[string]*process{}, proven: map[string]bool{},
	}
}

func (o *oracle) fail(format string, args ...any) {
	if o.violation == "" {
		o.violation = fmt.Sprintf(format, args...)
		o.w.trace("VIOLATION: %s", o.violation)
	}
}
