// Package traefik moves traffic with a TraefikService, to which the user's IngressRoutes lead
// instead of to a Service of Kubernetes. It has the name of the apex Service.
package traefik

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Router is the providers.Router for Traefik.
type Router struct {
	reader  client.Reader
	applier *ssa.Applier
}

var _ providers.Router = (*Router)(nil)

// New returns a router that reads through reader, an informer cache whose scheme needs what
// AddToScheme registers, and writes by a.
func New(reader client.Reader, a *ssa.Applier) *Router { return &Router{reader: reader, applier: a} }

// Capabilities implements providers.Router: a TraefikService shares out all requests alike. By
// what is in them requests are told apart in IngressRoutes, which are the user's.
func (*Router) Capabilities() providers.Capabilities {
	return providers.Capabilities{Weighted: true, TLS: true}
}

// Acknowledged implements providers.Acknowledger: a TraefikService does not say whether Traefik
// has taken it.
func (*Router) Acknowledged() bool { return true }

// Ignores implements providers.Ignorer.
func (*Router) Ignores() map[string]string {
	return providers.IgnoresAll("with Traefik that is what IngressRoutes and Middlewares say")
}

// Observe implements providers.Router.
func (r *Router) Observe(ctx context.Context, route providers.Route) (providers.State, error) {
	c := route.Canary
	if c.DeletionTimestamp.IsZero() {
		if err := r.Capabilities().Check(v1beta1.ProviderTraefik, c); err != nil {
			return providers.State{}, err
		}
	}
	live, err := r.get(ctx, c)
	switch {
	case providers.IsNotInstalled(err) && !c.DeletionTimestamp.IsZero():
		return providers.State{}, nil
	case err != nil || live == nil:
		return providers.State{}, err
	}
	if whose := route.Owner().Of(live); whose != ownership.Ours {
		if c.DeletionTimestamp.IsZero() {
			err = refuseUsers(c, live, whose)
		}
		return providers.State{}, err
	}
	state := providers.State{Exists: true, Traffic: trafficOf(c, live)}
	if !c.DeletionTimestamp.IsZero() && onlyToApex(c, live.Spec) {
		return providers.State{}, nil // it is given back, and ours until the end only so that it can be given back once more
	}
	if !c.DeletionTimestamp.IsZero() || !served(route.Traffic) {
		return state, nil // the spec asks for no such traffic, so Traefik can't have it
	}
	if state.InSync, err = r.applier.InSync(ctx, desired(route), ssa.ProtoJSON); state.InSync {
		state.Traffic = route.Traffic // which is newer than live may be
	}
	return state, err
}

// Apply implements providers.Router.
func (r *Router) Apply(ctx context.Context, route providers.Route) error {
	if err := route.Traffic.Validate(); err != nil {
		return err
	}
	if err := r.Capabilities().Check(v1beta1.ProviderTraefik, route.Canary); err != nil {
		return err
	}
	if err := refuse(route.Traffic); err != nil {
		return err
	}
	live, err := r.get(ctx, route.Canary)
	if err != nil {
		return err
	}
	if live != nil {
		if err := refuseUsers(route.Canary, live, route.Owner().Of(live)); err != nil {
			return err
		}
	}
	return explain(r.applier.Apply(ctx, desired(route), ssa.ProtoJSON))
}

// Release implements providers.Router. IngressRoutes may still lead to the TraefikService, so it
// stays, leads to the apex Service as a whole, and is nobody's in the end. Until then it is ours: a tool that had read it
// in the release may write that once more.
func (r *Router) Release(ctx context.Context, route providers.Route) error {
	live, err := r.get(ctx, route.Canary)
	if err != nil || live == nil || !route.Owner().Owns(live) {
		return err
	}
	back := released(route.Canary)
	if route.Again {
		route.Owner().Mark(back)
	}
	return explain(r.applier.Apply(ctx, back, ssa.ProtoJSON))
}

// refuseUsers leaves somebody else's object alone. One that only leads to the apex Service, at the Canary's port and with
// nothing said beside it, may be taken: requests go where they went, and do so again when it is given back.
func refuseUsers(c *v1beta1.Canary, live *TraefikService, whose ownership.Ownership) error {
	if whose == ownership.Ours {
		return nil
	}
	if whose == ownership.Users && onlyToApex(c, live.Spec) {
		return nil
	}
	return providers.Conflict("TraefikService", live)
}

func onlyToApex(c *v1beta1.Canary, spec Spec) bool {
	w := spec.Weighted
	if w == nil || spec.More || w.More || len(w.Services) != 1 {
		return false
	}
	apex, _, _ := c.ServiceNames()
	s := w.Services[0]
	return s.Name == apex && s.Kind != "TraefikService" && !s.More && (s.Namespace == "" || s.Namespace == c.Namespace) &&
		s.Port != nil && *s.Port == intstr.FromInt32(c.Spec.Service.Port)
}

// served tells whether a TraefikService can do all of the traffic.
func served(t providers.Traffic) bool { return refuse(t) == nil }

// refuse says what of the traffic a TraefikService that shares requests out can't do.
func refuse(t providers.Traffic) error {
	unsupported := func(field, why string) error {
		return &providers.UnsupportedError{Router: v1beta1.ProviderTraefik, Field: field, Why: why}
	}
	switch {
	case t.Matched:
		return unsupported("spec.analysis.match", "it cannot route by headers")
	case t.Mirror > 0:
		return unsupported("spec.analysis.mirror", "it cannot mirror requests")
	case t.Sessions != (providers.Sessions{}):
		return unsupported("spec.analysis.sessionAffinity", "it cannot keep a user on a version")
	default:
		return nil
	}
}

// desired is the TraefikService for the traffic of a route. It names only Services that get
// requests: Traefik drops all of one that names a Service without endpoints.
func desired(route providers.Route) *TraefikService {
	c := route.Canary
	apex, primary, canary := c.ServiceNames()
	out := &TraefikService{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: apex}, Spec: Spec{Weighted: &Weighted{}}}
	if of := c.Spec.Service.Apex; of != nil {
		out.Labels, out.Annotations = of.Labels, of.Annotations
	}
	for _, side := range []struct {
		name   string
		weight int32
	}{{primary, route.Traffic.Primary}, {canary, route.Traffic.Canary}} {
		if side.weight > 0 {
			out.Spec.Weighted.Services = append(out.Spec.Weighted.Services, Service{
				Name: side.name, Namespace: c.Namespace, Port: new(intstr.FromInt32(c.Spec.Service.Port)), Weight: new(side.weight),
			})
		}
	}
	route.Owner().Mark(out)
	return out
}

// released is a TraefikService that leads to the apex Service.
func released(c *v1beta1.Canary) *TraefikService {
	apex, _, _ := c.ServiceNames()
	return &TraefikService{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: apex},
		Spec:       Spec{Weighted: &Weighted{Services: []Service{{Name: apex, Namespace: c.Namespace, Port: new(intstr.FromInt32(c.Spec.Service.Port)), Weight: new(int32(100))}}}},
	}
}

// trafficOf is what a TraefikService has Traefik do.
func trafficOf(c *v1beta1.Canary, live *TraefikService) providers.Traffic {
	_, _, canary := c.ServiceNames()
	var sum, of int32
	if live.Spec.Weighted != nil {
		for _, s := range live.Spec.Weighted.Services {
			weight := int32(1)
			if s.Weight != nil {
				weight = *s.Weight
			}
			sum += weight
			if s.Name == canary {
				of += weight
			}
		}
	}
	if sum <= 0 {
		return providers.Traffic{Primary: 100}
	}
	share := int32(int64(of) * 100 / int64(sum))
	return providers.Traffic{Primary: 100 - share, Canary: share}
}

// get reads from the cache, nil where there is no such object.
func (r *Router) get(ctx context.Context, c *v1beta1.Canary) (*TraefikService, error) {
	apex, _, _ := c.ServiceNames()
	out := &TraefikService{}
	err := r.reader.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: apex}, out)
	switch {
	case err == nil:
		return out, nil
	case apierrors.IsNotFound(err):
		return nil, nil
	default:
		return nil, explain(fmt.Errorf("read TraefikService %s/%s: %w", c.Namespace, apex, err))
	}
}

// explain says that Traefik is not installed where its kind is not served.
func explain(err error) error {
	if meta.IsNoMatchError(err) {
		return fmt.Errorf("%w: %s is not served by this cluster: %w", providers.ErrNotInstalled, groupVersion, err)
	}
	return err
}
