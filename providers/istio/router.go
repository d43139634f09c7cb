// Package istio moves traffic with Istio's VirtualService and DestinationRule.
//
// The VirtualService has the name of the apex Service. A route that shares
// requests out always holds both destinations, the primary's first, with weights
// that sum to 100. Two DestinationRules carry the traffic policy to the primary's
// and the canary's Service.
//
// A VirtualService that was there before the Canary stays its user's: routes that
// lead elsewhere and settings that the spec does not have hold on, and what it
// was is kept in an annotation until it is given back.
package istio

import (
	"context"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio/internal/objects"
	"github.com/sluice-delivery/sluice/providers/istio/internal/original"
	"github.com/sluice-delivery/sluice/providers/istio/internal/rivals"
	"github.com/sluice-delivery/sluice/providers/istio/internal/routes"
	"github.com/sluice-delivery/sluice/providers/istio/internal/rules"
	"github.com/sluice-delivery/sluice/providers/istio/internal/settings"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Router is the providers.Router for Istio.
type Router struct {
	objects   objects.Reader
	rules     rules.Finder
	rivals    rivals.Finder
	originals original.Reader
	applier   *ssa.Applier
	settled   settled
	remote    bool
}

var _ providers.Router = (*Router)(nil)

// Config is what a router works with. All of it is for the cluster that has the
// objects of the mesh.
type Config struct {
	// Client reads from informer caches. Its scheme needs networking.istio.io/v1.
	Client client.Client
	// Live reads from the API server, once for each object of a user's that is taken over.
	Live client.Reader
	// Applier writes.
	Applier *ssa.Applier
	// Remote says that the Canaries are in another cluster. An owner that is not in
	// an object's own cluster would have it collected as garbage, so what the router
	// makes is marked by an annotation then and removed by Release alone.
	Remote bool
}

// New returns a router.
func New(c Config) *Router {
	reader := objects.NewReader(c.Client)
	return &Router{
		objects: reader, rules: rules.NewFinder(reader), rivals: rivals.NewFinder(reader), originals: original.NewReader(c.Live),
		applier: c.Applier, remote: c.Remote,
	}
}

// Index is for providers.Watch: it has objects found by host. Without that, routers look
// through all that there are.
func Index(ctx context.Context, indexer client.FieldIndexer, kind client.Object) error {
	return objects.Index(ctx, indexer, kind)
}

// About is for providers.Watch: it tells which Canaries a VirtualService or a DestinationRule is about by
// its hosts, whatever its name is.
func About() *providers.About {
	return &providers.About{
		Services: func(ctx context.Context, cache client.Reader, o client.Object) []types.NamespacedName {
			return rivals.About(ctx, objects.NewReader(cache), o)
		},
		Alike: rivals.Alike,
	}
}

// Capabilities implements providers.Router.
func (*Router) Capabilities() providers.Capabilities {
	return providers.Capabilities{Weighted: true, HeaderMatch: true, WeightedMatch: true, Mirror: true, SessionAffinity: true, TCP: true, TLS: true, ByAddress: true}
}

// Acknowledged implements providers.Acknowledger: istiod tells nobody which route it
// has given to its proxies.
func (*Router) Acknowledged() bool { return true }

// Ignores implements providers.Ignorer.
func (*Router) Ignores() map[string]string {
	return map[string]string{
		"gatewayRefs":    "the istio provider goes by gateways",
		"backendTimeout": "the istio provider goes by timeout",
		"mirror":         "the istio provider does not have it",
	}
}

// Observe implements providers.Router. Traffic that is not in sync is what the
// VirtualService says, without its sessions; InSync needs the DestinationRules too, and that no
// other VirtualService has the host.
func (r *Router) Observe(ctx context.Context, route providers.Route) (providers.State, error) {
	vs := &networkingv1.VirtualService{}
	found, err := r.objects.Get(ctx, settings.Apex(route.Canary), vs)
	if err != nil {
		return providers.State{}, err
	}
	key := client.ObjectKeyFromObject(route.Canary)
	deleted := !route.Canary.DeletionTimestamp.IsZero()
	now, observed := versions{}, false
	if deleted {
		r.settled.forget(key)
	} else if now, observed, err = r.versionsOf(ctx, route, vs); observed && r.settled.is(key, now) {
		return providers.State{Exists: true, Traffic: route.Traffic, InSync: true}, nil
	}
	state := providers.State{}
	if found {
		state.Traffic, state.Exists = r.trafficOf(route, vs)
	}
	if deleted || err != nil {
		return state, err
	}
	intents, have, err := r.plan(ctx, route, original.Cached)
	if err != nil {
		return state, err
	}
	for _, i := range intents {
		same, err := r.inSync(ctx, route, i, have)
		if err != nil || !same {
			return state, err
		}
	}
	if state.Detail, err = r.rivals.Of(ctx, route.Canary, r.owner(route), virtualServicesOf(intents), vs); err != nil || state.Detail != "" {
		return state, err
	}
	if observed {
		r.settled.remember(key, now)
	}
	return providers.State{Exists: true, Traffic: route.Traffic, InSync: true}, nil
}

// Apply implements providers.Router. The DestinationRules come first, so that
// no request is routed before its policy is known.
func (r *Router) Apply(ctx context.Context, route providers.Route) error {
	intents, have, err := r.plan(ctx, route, r.originals.Stored)
	if err != nil {
		return err
	}
	for _, i := range intents {
		if i.absent {
			err = r.removeOurs(ctx, route, i.object)
		} else {
			err = objects.Explain(r.applier.Apply(ctx, i.object, i.keyed(route, have)...))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Router) inSync(ctx context.Context, route providers.Route, i intent, have belongings) (bool, error) {
	if i.absent {
		live := objects.EmptyLike(i.object)
		found, err := r.objects.Get(ctx, client.ObjectKeyFromObject(i.object), live)
		return !found || !r.owner(route).Owns(live), err
	}
	same, err := r.applier.InSync(ctx, i.object, i.keyed(route, have)...)
	return same, objects.Explain(err)
}

// plan returns what the mesh must hold for route, and what of the user's it is made with.
func (r *Router) plan(ctx context.Context, route providers.Route, read original.Read) ([]intent, belongings, error) {
	if err := route.Traffic.Validate(); err != nil {
		return nil, belongings{}, err
	}
	if err := r.Capabilities().Check(v1beta1.ProviderIstio, route.Canary); err != nil {
		return nil, belongings{}, err
	}
	have, err := r.belongings(ctx, route, read)
	if err != nil {
		return nil, belongings{}, err
	}
	if err := routes.Supported(route, have.original.Base()); err != nil {
		return nil, belongings{}, err
	}
	intents, err := intentsOf(route, have)
	if err != nil {
		return nil, belongings{}, err
	}
	for _, i := range intents {
		if i.absent {
			continue
		}
		if err := r.claim(ctx, i.object, r.owner(route)); err != nil {
			return nil, belongings{}, err
		}
	}
	return intents, have, nil
}

// claim completes the metadata of an intent by whose the live object is. An
// object that we make is marked as the Canary's and goes with it. One that a user
// made stays the user's: no mark, and no label that says otherwise.
func (r *Router) claim(ctx context.Context, object client.Object, owner ownership.Owner) error {
	live := objects.EmptyLike(object)
	found, err := r.objects.Get(ctx, client.ObjectKeyFromObject(object), live)
	if err != nil {
		return err
	}
	if !found {
		owner.Mark(object)
		return nil
	}
	switch owner.Of(live) {
	case ownership.Ours:
		owner.Mark(object)
	case ownership.Users:
	case ownership.Others:
		return providers.Conflict(objects.KindOf(object), live)
	}
	return nil
}

// trafficOf reads what the mesh does with the requests of this Canary. It is false
// when the object is not for it: another's, or a user's that is not adopted yet or was given
// back, whatever routes it has to the primary or the canary.
func (r *Router) trafficOf(route providers.Route, vs *networkingv1.VirtualService) (providers.Traffic, bool) {
	c := route.Canary
	var users *original.VirtualService
	switch r.owner(route).Of(vs) {
	case ownership.Others:
		return providers.Traffic{}, false
	case ownership.Users:
		if vs.Annotations[ssa.AppliedAnnotation] == "" && !original.TakenOverBefore(vs, c) {
			return providers.Traffic{}, false
		}
		if o, err := original.Parse(vs.Annotations[original.Annotation], c); err == nil {
			if !c.DeletionTimestamp.IsZero() && o.Is(vs) {
				return providers.Traffic{}, false
			}
			users = o.Base()
		}
	case ownership.Ours:
	}
	return routes.ReadTraffic(&vs.Spec, users, c)
}
