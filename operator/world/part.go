package world

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/operator/release"
)

// World is what is known of a Canary in one turn: the observation that is decided on, to
// which every part adds what it knows, and the objects that more than one part needs. A
// part changes none of the objects: they are the cache's own.
type World struct {
	release.Observation
	Objects

	// Owner is the Canary as the owner of what is made for it.
	Owner ownership.Owner
}

// Objects are those that a release is about.
type Objects struct {
	// TargetObject is the workload that the Canary names, nil where there is none.
	TargetObject client.Object
	// PrimaryObject is the copy of it that serves, nil where there is none.
	PrimaryObject client.Object
}

// Part is one of the things that a release is made of, like the target, the autoscalers or
// the route. A part knows neither the reconciler nor, but for what it is given when it is
// made, another part. The reconciler names the order: a part sees in the World what those
// Before it have observed.
//
// A part that is woken by events of its own has a method SetUp as well, see wake.Waker, and
// one that remembers Canaries has a method Forget.
type Part[S Share] interface {
	// Observe adds to the World what the part knows, and gives the part's share of this
	// turn, which is never nil. What the user must mend is a MistakeError, with which the
	// Share does what it can all the same: a mistake holds progress and never safety.
	Observe(ctx context.Context, w *World) (S, error)
}

// Observer is a part that owns nothing, and so has no share of a turn.
type Observer interface {
	// Observe adds to the World what the part knows, like that of a Part.
	Observe(ctx context.Context, w *World) error
}

// Share is what a part has to do with what was decided in a turn. Each of its methods sends
// only what differs, and is called again after an error, a crash or a conflict.
type Share interface {
	// Apply brings what the part owns to the desired state.
	Apply(ctx context.Context, want release.Desired) error
	// GiveBack brings it to what it was before the Canary, as far as the desired state of a
	// Canary that is deleted says so.
	GiveBack(ctx context.Context, want release.Desired) error
}
