// Package gateway moves traffic with routes of the Gateway API. Routers whose mesh
// takes such routes are made from it.
//
// The route has the name of the apex Service. A rule that shares requests out
// always holds both backends, the primary's first, with weights that sum to 100.
// What was asked for counts once the mesh has accepted it, which is what the
// route's status says.
//
// A route that was there before the Canary stays its user's: rules that lead
// elsewhere and settings that the spec does not have hold on, and what it was is
// kept in an annotation until it is given back.
package gateway

import (
	"context"
	"fmt"
	"maps"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/gateway/rules"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Mesh is what tells one mesh from another.
type Mesh struct {
	// Name is the router's, as in spec.provider.
	Name string
	// Can is what the mesh does with routes.
	Can providers.Capabilities
	// HTTP are the kinds of routes for HTTP, the best first. One of them has to be served.
	HTTP []Kind
	// GRPC are the kinds of routes for gRPC, used where one is served and the service
	// speaks gRPC.
	GRPC []Kind
	// Ignored are fields of spec.service that the mesh does not act on, with the reasons.
	Ignored map[string]string
	// HTTPOnly has gRPC go by routes for HTTP too, as the mesh takes no others where the ports of
	// a Service say what they speak. Those for gRPC that were made once are removed.
	HTTPOnly bool
	// Attached tells whether a user's route with these parents is for the requests that the
	// mesh moves; nil for always. Where it is not, it stays as it is, and ours is beside it,
	// with the suffix .mesh.
	Attached func(c *v1beta1.Canary, users []gatewayv1.ParentReference) bool
	// Live reads what is not cached: Gateways and their classes; nil where neither matters.
	Live client.Reader
	// Parents are what the route is attached to. users are those that a user's route has
	// already. The error is a *providers.InvalidError where there are none.
	Parents func(c *v1beta1.Canary, users []gatewayv1.ParentReference) ([]gatewayv1.ParentReference, error)
	// Hostnames tells whether the route has those of the spec.
	Hostnames bool
	// Check refuses a spec, and traffic, that this kind can't express; nil for nothing.
	Check func(k Kind, route providers.Route) error
	// Annotations are those by which the mesh is told more than routes can say; nil for none.
	Annotations func(c *v1beta1.Canary) (map[string]string, error)
}

// Router is the providers.Router for one mesh.
type Router struct {
	client  client.Client
	applier *ssa.Applier
	mesh    Mesh
	http    *kinds
	grpc    *kinds
	classes classes
	rivalry rivalry
}

var _ providers.Router = (*Router)(nil)

// New returns a router that reads through c, an informer cache, and writes by
// a. The scheme of c needs the kinds of the mesh.
func New(c client.Client, a *ssa.Applier, mesh Mesh) *Router {
	mapper := func() meta.RESTMapper { return c.RESTMapper() }
	http, grpc := &kinds{mapper: mapper, choices: mesh.HTTP}, &kinds{mapper: mapper, choices: mesh.GRPC}
	return &Router{
		client: c, applier: a, mesh: mesh, http: http, grpc: grpc,
		classes: classes{live: mesh.Live, router: mesh.Name}, rivalry: rivalry{client: c, http: http, grpc: grpc, httpOnly: mesh.HTTPOnly},
	}
}

// Served returns the kind of routes for HTTP that the cluster serves, and
// providers.ErrNotInstalled where it serves none.
func (r *Router) Served() (Kind, error) {
	k, err := r.http.served()
	if err != nil {
		return Kind{}, err
	}
	return *k, nil
}

// Capabilities implements providers.Router.
func (r *Router) Capabilities() providers.Capabilities { return r.mesh.Can }

// Ignores implements providers.Ignorer.
func (r *Router) Ignores() map[string]string { return r.mesh.Ignored }

// Observe implements providers.Router. Traffic that is not in sync is what the
// route says, without its sessions; InSync needs the word of the mesh too.
func (r *Router) Observe(ctx context.Context, route providers.Route) (providers.State, error) {
	has, err := r.look(ctx, route)
	if err != nil {
		return providers.State{}, err
	}
	state, err := has.state(route)
	if err != nil {
		return state, err
	}
	if !route.Canary.DeletionTimestamp.IsZero() {
		return state, nil
	}
	want, err := r.plan(ctx, route, has)
	if err != nil {
		return state, err
	}
	same, err := r.applier.InSync(ctx, want.object, want.options()...)
	switch {
	case err != nil:
		return state, r.explain(err)
	case !same, has.live == nil, !r.applier.Knows(has.live): // what is in sync may be newer than live
		return state, nil
	case has.other.isOurs(route.Owner()):
		state.Detail = fmt.Sprintf("%s %s is to be removed", has.other.kind.GVK.Kind, has.other.key)
		return state, nil
	case want.outdone != "":
		state.Detail = want.outdone
		return state, nil
	}
	_, status := has.kind.Read(has.live)
	if said := verdictOf(route.Canary, status, want.parents, has.live.GetGeneration()); said != (verdict{}) {
		state.Detail, state.Refused = said.against, said.final
		return state, nil
	}
	return providers.State{Exists: true, Traffic: route.Traffic, InSync: true}, nil
}

// Apply implements providers.Router.
func (r *Router) Apply(ctx context.Context, route providers.Route) error {
	has, err := r.look(ctx, route)
	if err != nil {
		return err
	}
	want, err := r.plan(ctx, route, has)
	if err != nil {
		return err
	}
	if err := r.applier.Apply(ctx, want.object, want.options()...); err != nil {
		return r.explain(err)
	}
	if err := r.giveBack(ctx, has.beside, route); err != nil {
		return err
	}
	return r.removeOurs(ctx, has.other, route.Owner())
}

// Release implements providers.Router. A route that we made is deleted. A user's
// becomes what it was before we took it over, without our annotations.
func (r *Router) Release(ctx context.Context, route providers.Route) error {
	has, err := r.look(ctx, route)
	if err != nil {
		return err
	}
	if err := r.removeOurs(ctx, has.other, route.Owner()); err != nil {
		return err
	}
	if err := r.removeOurs(ctx, has.found, route.Owner()); err != nil {
		return err
	}
	if err := r.giveBack(ctx, has.beside, route); err != nil {
		return err
	}
	return r.giveBack(ctx, has.found, route)
}

// giveBack restores a user's object that was taken over, and leaves any other as it is.
func (r *Router) giveBack(ctx context.Context, f found, route providers.Route) error {
	if f.live == nil || route.Owner().Of(f.live) != ownership.Users || f.live.GetAnnotations()[ssa.AppliedAnnotation] == "" {
		return nil // ours, somebody else's, never adopted, or given back
	}
	return r.restore(ctx, f, route)
}

// found is a live object, nil where there is none, its kind and its name.
type found struct {
	kind *Kind
	key  client.ObjectKey
	live client.Object
}

func (f found) isOurs(owner ownership.Owner) bool {
	return f.live != nil && owner.Owns(f.live)
}

// present is what the cluster has for a Canary: the route in the kind that is
// used, and that in the other one, which is used no longer if it is ours.
type present struct {
	found

	other found
	// beside is a user's route of the name that ours would have, which is for other requests.
	beside found
}

// look reads what there is. A service that speaks gRPC has a GRPCRoute where those are
// served, unless it has an HTTPRoute already: two routes for the same hosts exclude each other.
func (r *Router) look(ctx context.Context, route providers.Route) (present, error) {
	c, owner := route.Canary, route.Owner()
	http, err := r.http.served()
	if err != nil {
		return present{}, err
	}
	out := present{}
	if err := r.lookAside(ctx, route, http, &out); err != nil {
		return present{}, err
	}
	grpc, err := r.grpc.served()
	if providers.IsNotInstalled(err) {
		return out, nil
	}
	if err != nil {
		return present{}, err
	}
	if out.other, err = r.get(ctx, grpc, apexKey(c)); err != nil {
		return present{}, err
	}
	has := out.live != nil && owner.Of(out.live) != ownership.Others
	if isGRPC(c) && !r.mesh.HTTPOnly && (!has || out.other.isOurs(owner)) {
		out.found, out.other = out.other, out.found
	}
	return out, nil
}

// besideSuffix is that of the name of our route where its user needs that of the apex Service
// for another one.
const besideSuffix = ".mesh"

// lookAside finds the route, which has the name of the apex Service, or one beside it: where
// that is a user's route for requests that are not ours to move.
func (r *Router) lookAside(ctx context.Context, route providers.Route, k *Kind, out *present) (err error) {
	c := route.Canary
	if out.found, err = r.get(ctx, k, apexKey(c)); err != nil || r.mesh.Attached == nil {
		return err
	}
	key := apexKey(c)
	key.Name += besideSuffix
	ours, err := r.get(ctx, k, key)
	if err != nil {
		return err
	}
	if !ours.isOurs(route.Owner()) {
		if out.live == nil || route.Owner().Of(out.live) != ownership.Users {
			return nil
		}
		if attached, err := r.attached(out.found, c); attached || err != nil {
			return err
		}
	}
	out.found, out.beside = ours, out.found
	return nil
}

// attached tells whether a user's route is, or was before it was taken over, for the requests
// that the mesh moves.
func (r *Router) attached(f found, c *v1beta1.Canary) (bool, error) {
	spec, _ := f.kind.Read(f.live)
	if encoded := f.live.GetAnnotations()[originalAnnotation]; encoded != "" {
		before, err := parse(f.kind, encoded, c)
		if err != nil {
			return false, err
		}
		spec = before.spec
	}
	return r.mesh.Attached(c, spec.ParentRefs), nil
}

// get reads from the cache, nil where there is no such object.
func (r *Router) get(ctx context.Context, k *Kind, key client.ObjectKey) (found, error) {
	out := found{kind: k, key: key}
	o := k.New()
	err := r.client.Get(ctx, key, o)
	switch {
	case err == nil:
		out.live = o
		return out, nil
	case apierrors.IsNotFound(err):
		return out, nil
	default:
		return out, r.explain(fmt.Errorf("read %s %s: %w", k.GVK.Kind, key, err))
	}
}

// state is what the mesh was asked to do last.
func (p present) state(route providers.Route) (providers.State, error) {
	for _, f := range []found{p.found, p.other} {
		if f.live == nil {
			continue
		}
		var users *gatewayv1.HTTPRouteSpec
		switch route.Owner().Of(f.live) {
		case ownership.Others:
			continue
		case ownership.Users:
			var taken bool
			var err error
			switch users, taken, err = usersOf(f, route.Canary); {
			case err != nil && route.Canary.DeletionTimestamp.IsZero():
				return providers.State{}, err
			case err == nil && (!taken || users != nil && !route.Canary.DeletionTimestamp.IsZero() && f.has(users)):
				continue // it is the user's, or is again
			}
		case ownership.Ours:
		}
		spec, _ := f.kind.Read(f.live)
		if traffic, exists := rules.TrafficOf(spec.Rules, route.Canary, users); exists {
			return providers.State{Exists: true, Traffic: traffic}, nil
		}
	}
	return providers.State{}, nil
}

// wanted is the route as it must be.
type wanted struct {
	object  client.Object
	parents []gatewayv1.ParentReference
	key     string
	edit    func(map[string]any) // adds what our Go types do not know, nil for nothing
	outdone string               // names a route that takes the requests which this one is for
}

func (w wanted) options() []ssa.Option {
	out := []ssa.Option{ssa.ProtoJSON, ssa.Keyed(w.key)}
	if w.edit != nil {
		out = append(out, ssa.Edited(w.edit))
	}
	return out
}

// plan returns the route that expresses what is asked for.
func (r *Router) plan(ctx context.Context, route providers.Route, has present) (wanted, error) {
	c := route.Canary
	if err := r.check(route, has); err != nil {
		return wanted{}, err
	}
	m, err := r.metadata(has.found, c)
	if err != nil {
		return wanted{}, err
	}
	owner, before, err := r.claim(ctx, has.found, route, m.Annotations)
	if err != nil {
		return wanted{}, err
	}
	if owner == ownership.Ours {
		route.Owner().Mark(&m)
	}
	if before != nil {
		m.Annotations[originalAnnotation] = before.encoded
	}
	spec, planned, err := r.spec(route, before)
	if err != nil {
		return wanted{}, err
	}
	if err := addressed(r.mesh, c, spec.ParentRefs); err != nil {
		return wanted{}, err
	}
	outdone, err := r.beside(ctx, route, has, before, spec)
	if err != nil {
		return wanted{}, err
	}
	object, err := has.kind.Make(m, spec)
	if err != nil {
		return wanted{}, err
	}
	key := fmt.Sprintf("%s %d %#v %t", c.UID, c.Generation, route.Traffic, owner == ownership.Ours)
	if before != nil {
		key += " " + before.encoded
	}
	return wanted{object: object, parents: spec.ParentRefs, key: key, edit: unknownFields(before, planned), outdone: outdone}, nil
}

// beside looks at what else decides over the requests that the route is for: other routes, of
// which it returns one that takes them all, and what the Gateways can do. What the release
// will need is asked for before it begins.
func (r *Router) beside(ctx context.Context, route providers.Route, has present, before *original, spec gatewayv1.HTTPRouteSpec) (outdone string, err error) {
	c := route.Canary
	if err := r.classes.check(ctx, c, spec.ParentRefs); err != nil {
		return "", err
	}
	planned, err := rules.Plan(c, narrowest(c, route.Traffic), before.specOf())
	if err != nil {
		return "", err
	}
	ours := attachedRoute{key: has.key, parents: spec.ParentRefs, hostnames: spec.Hostnames, rules: planned}
	if has.live != nil {
		ours.created = has.live.GetCreationTimestamp()
	}
	rivals, err := r.rivalry.of(ctx, route, has, spec.ParentRefs)
	err = r.explain(err)
	if err != nil {
		return "", err
	}
	if err := ours.trespasses(rivals); err != nil {
		return "", err
	}
	return ours.outdone(rivals), nil
}

// narrowest is the traffic of a release at which the rules of its route have the most
// conditions.
func narrowest(c *v1beta1.Canary, now providers.Traffic) providers.Traffic {
	a := c.GetAnalysis()
	switch {
	case len(a.Match) > 0:
		return providers.Traffic{Canary: 100, Matched: true}
	case a.SessionAffinity != nil && a.Strategy() == v1beta1.StrategyWeighted:
		return providers.Traffic{Primary: 50, Canary: 50, Sessions: providers.Sessions{Canary: "canary", Primary: "primary", Raised: 50}}
	default:
		return now
	}
}

// check refuses what is asked of a mesh that can't do it.
func (r *Router) check(route providers.Route, has present) error {
	if err := route.Traffic.Validate(); err != nil {
		return err
	}
	if err := r.mesh.Can.Check(r.mesh.Name, route.Canary); err != nil || r.mesh.Check == nil {
		return err
	}
	return r.mesh.Check(*has.kind, route)
}

// addressed refuses a Service without an address as a parent. What Gateways send there goes by the route.
func addressed(mesh Mesh, c *v1beta1.Canary, parents []gatewayv1.ParentReference) error {
	for _, p := range parents {
		if p.Kind != nil && *p.Kind == "Service" {
			can := mesh.Can
			can.ByAddress = true
			return can.Check(mesh.Name, c)
		}
	}
	return nil
}

// spec is that of the route; before is what a user had there, or nil.
func (r *Router) spec(route providers.Route, before *original) (spec gatewayv1.HTTPRouteSpec, planned []rules.Planned, err error) {
	c := route.Canary
	if before != nil {
		spec.ParentRefs, spec.Hostnames = before.spec.ParentRefs, before.spec.Hostnames
	}
	if spec.ParentRefs, err = r.mesh.Parents(c, spec.ParentRefs); err != nil {
		return spec, nil, err
	}
	if r.mesh.Hostnames && len(c.Spec.Service.Hosts) > 0 {
		spec.Hostnames = rules.StringsAs[gatewayv1.Hostname](c.Spec.Service.Hosts)
	}
	if planned, err = rules.Plan(c, route.Traffic, before.specOf()); err != nil {
		return spec, nil, err
	}
	spec.Rules = rules.Written(planned)
	return spec, planned, nil
}

// claim says whose the live object is, and what it was when it is a user's.
func (r *Router) claim(ctx context.Context, f found, route providers.Route, annotations map[string]string) (ownership.Ownership, *original, error) {
	c := route.Canary
	if f.live == nil {
		return ownership.Ours, nil, nil
	}
	owner := route.Owner().Of(f.live)
	switch owner {
	case ownership.Ours:
	case ownership.Users:
		if f.kind.Lossy {
			return owner, nil, rules.Invalid(fmt.Sprintf("%s %s", f.kind.GVK.Kind, f.key), "",
				"it was not made for a Canary, and is not taken over; rename or delete it")
		}
		before, err := originalOf(f.kind, f.live, c, annotations, func() (*unstructured.Unstructured, error) {
			u := &unstructured.Unstructured{}
			u.SetGroupVersionKind(f.kind.GVK)
			if err := r.client.Get(ctx, f.key, u); err != nil {
				return nil, r.explain(fmt.Errorf("read %s %s: %w", f.kind.GVK.Kind, f.key, err))
			}
			return u, nil
		})
		return owner, before, err
	case ownership.Others:
		return owner, nil, providers.Conflict(f.kind.GVK.Kind, f.live)
	}
	return owner, nil, nil
}

func (r *Router) metadata(f found, c *v1beta1.Canary) (metav1.ObjectMeta, error) {
	m := metav1.ObjectMeta{Name: f.key.Name, Namespace: f.key.Namespace, Labels: map[string]string{}, Annotations: map[string]string{}}
	if apex := c.Spec.Service.Apex; apex != nil {
		maps.Copy(m.Labels, apex.Labels)
		maps.Copy(m.Annotations, apex.Annotations)
	}
	// A route that Flux installed would be put back by it at every reconciliation, in
	// the middle of a release. These tell it not to.
	m.Annotations["kustomize.toolkit.fluxcd.io/reconcile"] = "disabled"
	m.Annotations["helm.toolkit.fluxcd.io/driftDetection"] = "disabled"
	if r.mesh.Annotations == nil {
		return m, nil
	}
	more, err := r.mesh.Annotations(c)
	maps.Copy(m.Annotations, more)
	return m, err
}

// restore writes the original. As it is all that we own then, what else we
// had set goes. Until the last call it is still known what the original was: a GitOps tool that
// ignores the rules writes them as it has read them, which may have been before they were given back.
func (r *Router) restore(ctx context.Context, has found, route providers.Route) error {
	before, err := originalOf(has.kind, has.live, route.Canary, nil, nil)
	if err != nil {
		return err
	}
	// It is said outright, as what somebody else has written too does not go by our no longer asking for it.
	if !has.has(&before.spec) {
		spec := map[string]any{}
		for _, field := range takenOver {
			spec[field] = before.Spec[field] // null takes away what was not there
		}
		if err := r.applier.Merge(ctx, map[string]any{"spec": spec}, has.live); err != nil {
			return r.explain(err)
		}
	}
	if route.Again {
		return nil
	}
	spec := before.Spec
	if len(spec) == 0 {
		spec = map[string]any{"rules": []any{}} // a spec of which nothing is left is null, which the server refuses
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(has.kind.GVK)
	u.SetNamespace(has.live.GetNamespace())
	u.SetName(has.live.GetName())
	u.SetLabels(before.Labels)
	u.SetAnnotations(before.Annotations)
	return r.explain(r.applier.ApplyPartial(ctx, u, has.live, ssa.ProtoJSON))
}

// removeOurs deletes the very object that was read, if we made it.
func (r *Router) removeOurs(ctx context.Context, f found, owner ownership.Owner) error {
	if !f.isOurs(owner) || !f.live.GetDeletionTimestamp().IsZero() {
		return nil
	}
	return r.explain(r.applier.Delete(ctx, f.live))
}

// isGRPC tells whether the service says that it speaks gRPC and nothing else.
func isGRPC(c *v1beta1.Canary) bool { return strings.EqualFold(c.Spec.Service.AppProtocol, "grpc") }

func apexKey(c *v1beta1.Canary) client.ObjectKey {
	apex, _, _ := c.ServiceNames()
	return client.ObjectKey{Namespace: c.Namespace, Name: apex}
}

// explain marks errors that mean that the routes are not served, or that the API server
// will never take one.
func (r *Router) explain(err error) error {
	switch {
	case meta.IsNoMatchError(err):
		r.http.forget()
		r.grpc.forget()
		return fmt.Errorf("%w: %w", providers.ErrNotInstalled, err)
	case apierrors.IsInvalid(err):
		return fmt.Errorf("%w: %w", rules.Invalid("the route", "", "what the API server's schema of it allows"), err)
	default:
		return err
	}
}
