// Package providers is the contract between the operator and the meshes that
// move traffic for it. Each mesh has a folder of its own that imports this
// package; only the factory imports the meshes.
package providers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Traffic is how requests are shared out.
type Traffic struct {
	// Primary and Canary are shares in percent that sum to 100.
	Primary, Canary int32
	// Matched says that the shares are of the requests that spec.analysis.match
	// names, and that all other requests go to the primary.
	Matched bool
	// Mirror is the percentage of the primary's requests of which the canary gets a
	// copy whose answer nobody reads, 0 to 100.
	Mirror int32
	// Sessions keeps users on the version that they were sent to. Its zero value
	// does not.
	Sessions Sessions
}

// Sessions are the cookies by which users stay on a version. Names and
// attributes of the cookies are in spec.analysis.sessionAffinity; the values
// differ from release to release, so that cookies of an earlier one have no effect.
type Sessions struct {
	// Canary is the value that marks users of the canary, who stay there. Empty: there is
	// no session affinity now.
	Canary string
	// Primary is the value that marks users who were sent to the primary at this
	// step. They stay there until the next.
	Primary string
	// Raised is by how many percent of all users the canary's share was raised at
	// this step. Of the users who were sent to the primary at an earlier step,
	// Raised in Raised+Traffic.Primary go to the canary now. That, and not the share of
	// new users, brings the canary's share of all users to Traffic.Canary.
	Raised int32
	// Ended is the value of an earlier release, whose cookies browsers are told
	// to drop. Empty: there is none.
	Ended string
}

// Validate says whether both shares are 0 to 100 and sum to 100, and the mirrored
// one is 0 to 100.
func (t Traffic) Validate() error {
	if t.Primary < 0 || t.Canary < 0 || t.Primary+t.Canary != 100 {
		return fmt.Errorf("traffic primary %d%%, canary %d%%: shares must be 0 to 100 and sum to 100", t.Primary, t.Canary)
	}
	if t.Mirror < 0 || t.Mirror > 100 {
		return fmt.Errorf("traffic mirrored to the canary %d%%: must be 0 to 100", t.Mirror)
	}
	return nil
}

// Route is all that a router needs to know.
type Route struct {
	// Canary is only read. The names of the Services come from its ServiceNames.
	Canary *v1beta1.Canary
	// Traffic is what the mesh is to do. Release ignores it.
	Traffic Traffic
	// Gone are names of Canaries of its namespace that do not exist any more. What was
	// made for them, and has a name that this one needs, is this one's.
	Gone []string
	// PodAnnotations are those of the target's pod template, which is where some
	// meshes are told what a pod is. They are only read; nil where there is no target.
	PodAnnotations map[string]string
	// Ports are those of the primary's and the canary's Services. They are only read; nil
	// where they are not known.
	Ports []corev1.ServicePort
	// Port is the Canary's port of the apex Service, with the name and the appProtocol that clients
	// find there: what the Canary leaves open is that of a Service which was there before it. It is
	// zero where that is not known.
	Port corev1.ServicePort
	// ClusterIPs are the addresses of the Services that clients call by their names.
	ClusterIPs ClusterIPs
	// Again says, of Release, that it is called again until it is not set. A router that keeps what a user's object was before
	// it was taken over keeps it until then: a tool that had read the object with what we wrote may write that once more.
	Again bool
}

// ClusterIPs are the addresses of Services, each empty where it is not known, or "None".
type ClusterIPs struct{ Apex, Canary string }

// Owner is the Canary as the owner of objects in its own cluster.
func (r Route) Owner() ownership.Owner { return ownership.For(r.Canary, r.Gone...) }

// State is what a mesh has for a Canary.
type State struct {
	// Exists says that the mesh has a route for this Canary at all.
	Exists bool
	// Traffic is what the mesh routes now; zero unless Exists.
	Traffic Traffic
	// InSync says that the mesh has exactly what Apply of the same route would
	// write, and that our last write was observed.
	InSync bool
	// Detail says what InSync is waiting for, where the mesh tells; empty otherwise.
	Detail string
	// Refused says that the mesh has looked at what Apply wrote last and will not do it, so
	// that it is no use to wait. Detail says why.
	Refused bool
	// Uncovered is what in the mesh names the application and does not hold for its released
	// pods, which have another name there, with the reason; empty for nothing. Nothing waits for it.
	Uncovered string
	// Ignored is what of spec.service has no effect by what there is in the cluster, beside what
	// the router never acts on; empty for nothing.
	Ignored string
}

// Router moves the traffic of Canaries through one mesh. It is called for many
// Canaries at once, for each of them by one goroutine at a time.
//
// Errors are told apart by [IsInvalid] (the user's mistake), [IsUnsupported]
// (the spec needs what this router cannot do), [IsNotInstalled], [IsConflict],
// [IsUnreachable] and [WaitOf]. Any other error is transient.
type Router interface {
	// Observe reads what the mesh has. It is called at every reconcile, reads from
	// informer caches only and never writes. For a Canary that is being deleted
	// it only says what exists. State is valid as far as it goes beside an error.
	Observe(ctx context.Context, r Route) (State, error)
	// Apply makes the mesh express r.Traffic exactly. It is idempotent and sends
	// no request when nothing differs. What others own stays as it is.
	Apply(ctx context.Context, r Route) error
	// Release is called when the Canary is being deleted, once the apex Service
	// selects the target again. It removes what Sluice made, so that requests go
	// to the apex Service as they did before. It is idempotent, and called once more, without
	// r.Again, when nobody is on his way to what goes next.
	Release(ctx context.Context, r Route) error
	// Capabilities says what the router can do; always the same.
	Capabilities() Capabilities
}

// Watcher is a Router whose mesh is not seen through informers: it tells itself
// when what it has observed of a Canary has changed.
type Watcher interface {
	Router
	// Start watches until ctx ends. Without it Observe knows nothing.
	Start(ctx context.Context) error
	// Changed gives an event for each Canary whose route is to be looked at again;
	// of its object the namespace and the name are set. Always the same channel,
	// never closed, and it must be read.
	Changed() <-chan event.GenericEvent
}

// RouteFirster is a Router of a mesh where pods are found by what the apex
// Service selects. Its route must lead to the primary before the apex Service does.
type RouteFirster interface {
	// RouteFirst says whether it is one; always the same.
	RouteFirst() bool
}

// Acknowledger is a Router whose route is in sync as soon as Apply has returned: it
// is what the API server has, and nobody has to accept it first.
type Acknowledger interface {
	// Acknowledged says whether it is one; always the same.
	Acknowledged() bool
}

// ByIngresser is a Router whose requests come by the Ingress that spec.ingressRef names.
type ByIngresser interface {
	// ByIngress says whether it is one; always the same.
	ByIngress() bool
}

// ByRouteRefer is a Router whose requests come by the route that spec.routeRef names.
type ByRouteRefer interface {
	// ByRouteRef says whether it is one; always the same.
	ByRouteRef() bool
}

// ByRouteRef tells whether requests come to a router by the route that spec.routeRef names.
func ByRouteRef(r Router) bool {
	by, ok := r.(ByRouteRefer)
	return ok && by.ByRouteRef()
}

// ByIngress tells whether requests come to a router by the Ingress that spec.ingressRef names.
func ByIngress(r Router) bool {
	by, ok := r.(ByIngresser)
	return ok && by.ByIngress()
}
