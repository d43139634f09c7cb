package world

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/providers"
)

// World is what is known of a Canary in one turn: the observation that is decided on, to
// which every part adds what it knows, and the objects that more than one part needs. A
// part changes none of the objects: they are the cache's own.
type World struct {
	release.Observation
	Objects

	// Owner is the Canary as the owner of what is made for it.
	Owner ownership.Owner
	// Gone are Canaries that do not exist any more and left what this one needs.
	Gone []string
	// Router moves the traffic, nil where the provider is unknown.
	Router providers.Router
	// Ports are those of the Services of primary and canary, to which routes may lead. They are only
	// read, and empty until they are known.
	Ports []corev1.ServicePort
	// Port is the Canary's port of the apex Service, as far as that is made or adopted; zero
	// until it is known.
	Port corev1.ServicePort
	// ClusterIPs are the addresses of the Services that people call by their names, each empty
	// until it is known.
	ClusterIPs providers.ClusterIPs
	// ServicesInSync says that the Services are as they must be.
	ServicesInSync bool
	// Copies are those of what the target's pods read, for the primary's. They are nil
	// until they are observed.
	Copies Copies
	// Bounds limit how many pods the primary gets. They are nil until they are observed.
	Bounds Bounds
}

// New is what is known of a Canary before any part has observed anything.
func New(of release.Observation) *World {
	return &World{Observation: of, Owner: ownership.For(of.Canary)}
}

// Copies are the primary's copies of the ConfigMaps and Secrets that the target's pods read.
type Copies interface {
	// Sourced is the primary as it would be with what the copies were made from in their place.
	Sourced(ctx context.Context, primary client.Object) (client.Object, error)
	// Use has the pod template of the primary, which is to carry a revision, refer to the
	// copies. It returns what the result depends on.
	Use(template *corev1.PodTemplateSpec, revision string) (version string)
}

// Bounds are those of the primary's autoscaler.
type Bounds interface {
	// PrimaryReplicas is how many pods the primary gets where n are asked for and floor are
	// needed.
	PrimaryReplicas(n, floor int32) (int32, error)
}

// Promotes tells whether a turn writes the primary: what is wanted is a revision, and the
// target was observed to be at it.
func (w *World) Promotes(want release.Desired) bool {
	return want.PrimaryRevision != "" && want.PrimaryRevision == w.Target.Revision
}

// Inherit has the Canary own what was made for another, empty for none, of which it needs
// something, unless that one exists.
func (w *World) Inherit(ctx context.Context, canaries client.Reader, name string) error {
	if name == "" || name == w.Canary.Name || slices.Contains(w.Gone, name) {
		return nil
	}
	err := canaries.Get(ctx, client.ObjectKey{Namespace: w.Canary.Namespace, Name: name}, &v1beta1.Canary{})
	switch {
	case apierrors.IsNotFound(err):
		w.Gone = append(w.Gone, name)
		w.Owner = ownership.For(w.Canary, w.Gone...)
		return nil
	case err != nil:
		return fmt.Errorf("read Canary %s/%s: %w", w.Canary.Namespace, name, err)
	default:
		return nil
	}
}

// Conflict refuses an object of a kind that was made for another Canary or has a controller.
func (w *World) Conflict(o client.Object, kind string) error {
	if w.Owner.Of(o) == ownership.Others {
		return Foreign(ReasonConflict, "%s %s belongs to %s; delete it or choose another name for spec.service.name or the target", kind, o.GetName(), ownership.Name(o))
	}
	return nil
}

// Unobserved says of a workload that the cache has it older than our last write of it.
func Unobserved(w *release.Workload) {
	w.Ready, w.Empty, w.Unobserved, w.Message = false, false, true, "its last change is not observed yet"
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
