package gateway

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/gateway/rules"
)

// attachedRoute is what a proxy knows of one of several routes for the same requests.
type attachedRoute struct {
	kind      string
	key       client.ObjectKey
	created   metav1.Time // zero for one that is not there yet
	parents   []gatewayv1.ParentReference
	hostnames []gatewayv1.Hostname
	rules     []rules.Planned
	all       bool // it takes all requests, whatever its rules say
}

// String names the route for people.
func (a attachedRoute) String() string { return a.kind + " " + a.key.String() }

// before tells whether of two rules that fit alike a proxy takes that of a: the older route
// has it, and of those as old the one whose name comes first.
func (a attachedRoute) before(b attachedRoute) bool {
	switch {
	case a.created.IsZero() || b.created.IsZero():
		return b.created.IsZero() && !a.created.IsZero()
	case !a.created.Equal(&b.created):
		return a.created.Before(&b.created)
	default:
		return a.key.String() < b.key.String()
	}
}

// shares tells whether both routes have rules for the same hosts. A proxy takes the route with
// the host that says more, whatever else its rules say.
func (a attachedRoute) shares(b attachedRoute) bool {
	if len(a.hostnames) == 0 || len(b.hostnames) == 0 {
		return len(a.hostnames) == len(b.hostnames)
	}
	return slices.ContainsFunc(a.hostnames, func(h gatewayv1.Hostname) bool { return slices.Contains(b.hostnames, h) })
}

// outdone names a route that takes all requests which the rules to the apex Service are for,
// so that nothing is shared out; empty where there is none.
func (a attachedRoute) outdone(rivals []attachedRoute) string {
	var origins []gatewayv1.HTTPRouteMatch
	for _, rule := range a.rules {
		if !rule.Verbatim {
			origins = append(origins, rule.Origins...)
		}
	}
	for _, rival := range rivals {
		if rival.all {
			return fmt.Sprintf("%s takes all requests: the mesh goes by it and not by routes for HTTP; delete it", rival)
		}
		if !a.shares(rival) {
			continue
		}
		taken := func(m gatewayv1.HTTPRouteMatch) bool {
			return slices.ContainsFunc(rival.rules, func(r rules.Planned) bool {
				return slices.ContainsFunc(r.Origins, func(other gatewayv1.HTTPRouteMatch) bool {
					order, known := rules.Compare(other, m)
					return known && (order < 0 || order == 0 && rival.before(a)) && rules.Covers(other, m)
				})
			})
		}
		if !slices.ContainsFunc(origins, func(m gatewayv1.HTTPRouteMatch) bool { return !taken(m) }) {
			return fmt.Sprintf("%s is for the same requests and comes first, as it is older or says more: no request gets to this route; delete it, or name the Canary's service like it", rival)
		}
	}
	return ""
}

// trespasses refuses rules for parts of requests that would take others from rivals.
func (a attachedRoute) trespasses(rivals []attachedRoute) error {
	for _, rule := range a.rules {
		for i, m := range rule.Matches {
			for _, rival := range rivals {
				if rule.Verbatim || !a.shares(rival) || !a.takes(m, rule.Origins[i], rival) {
					continue
				}
				return rules.Invalid("spec.analysis", "", fmt.Sprintf("A/B testing and session affinity need rules with more conditions, "+
					"which would take requests from %s; have that be for other hosts or paths, or set neither match nor sessionAffinity", rival))
			}
		}
	}
	return nil
}

// takes tells whether a rule's match, made from origin, takes requests from a rival that the
// rule that it was made from did not.
func (a attachedRoute) takes(m, origin gatewayv1.HTTPRouteMatch, rival attachedRoute) bool {
	for _, r := range rival.rules {
		for _, other := range r.Origins {
			if a.decidedAsBefore(other, m, origin, rival) {
				continue
			}
			if _, possible, err := rules.Intersect(other, m); possible || err != nil {
				return true
			}
		}
	}
	return false
}

// decidedAsBefore tells whether a match made from origin decides between this route and another match
// of a rival as origin did.
func (a attachedRoute) decidedAsBefore(other, m, origin gatewayv1.HTTPRouteMatch, rival attachedRoute) bool {
	was, knew := rules.Compare(other, origin)
	is, known := rules.Compare(other, m)
	switch {
	case (!knew || !known) && rules.SamePath(m.Path, origin.Path):
		return true // it is what it was
	case knew && (was > 0 || was == 0 && !rival.before(a)):
		return true // it was this route's already
	default:
		return known && knew && (is < 0 || is == 0 && rival.before(a)) // it still is the rival's
	}
}

// parentIndex finds routes by what they are attached to.
const parentIndex = "parent"

// Index is for providers.Watch: it has routes found by their parents. Without that,
// routers look through all of them.
func Index(ctx context.Context, indexer client.FieldIndexer, kind client.Object) error {
	if parentsOf(kind) == nil {
		return nil
	}
	err := indexer.IndexField(ctx, kind, parentIndex, func(o client.Object) (out []string) {
		for _, p := range *parentsOf(o) {
			out = append(out, indexed(p, o.GetNamespace()))
		}
		return out
	})
	if err != nil {
		return fmt.Errorf("index of routes: %w", err)
	}
	return nil
}

// Parented is a route of a kind that is not the Gateway API's.
type Parented interface {
	// Parents are what it is attached to.
	Parents() []gatewayv1.ParentReference
}

func parentsOf(o client.Object) *[]gatewayv1.ParentReference {
	switch r := o.(type) {
	case Parented:
		return new(r.Parents())
	default:
		for _, k := range []Kind{HTTPRoute(), HTTPRouteV1Beta1(), GRPCRoute()} {
			if fmt.Sprintf("%T", k.New()) == fmt.Sprintf("%T", o) {
				spec, _ := k.Read(o)
				return &spec.ParentRefs
			}
		}
		return nil
	}
}

func indexed(p gatewayv1.ParentReference, namespace string) string {
	return string(ptr.Deref(p.Kind, "Gateway")) + " " + string(ptr.Deref(p.Namespace, gatewayv1.Namespace(namespace))) + "/" + string(p.Name)
}

// rivalry finds routes that are for the same requests.
type rivalry struct {
	client     client.Client
	http, grpc *kinds
	httpOnly   bool // a route for gRPC takes all requests
}

// of are other routes of the same parents. Those that were refused by them are none.
func (r rivalry) of(ctx context.Context, route providers.Route, has present, parents []gatewayv1.ParentReference) ([]attachedRoute, error) {
	kinds, err := r.http.each()
	if err != nil {
		return nil, err
	}
	if r.httpOnly && route.Canary.Spec.Service.AppProtocol == "" {
		more, err := r.grpc.each()
		if err != nil {
			return nil, err
		}
		kinds = append(kinds, more...)
	}
	var out []attachedRoute
	for _, k := range kinds {
		for _, parent := range parents {
			all, err := routesOf(ctx, r.client, k, indexed(parent, route.Canary.Namespace))
			if err != nil {
				return nil, err
			}
			for _, o := range all {
				same := k.GVK == has.kind.GVK && client.ObjectKeyFromObject(o) == has.key
				if rival, ok := rivalFor(route.Canary, k, o, parent); ok && !same && !route.Owner().Owns(o) {
					out = append(out, rival)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b attachedRoute) int {
		if a.before(b) {
			return -1
		}
		return 1
	})
	return out, nil
}

// rivalFor is a route that is attached to a parent of a Canary's.
func rivalFor(c *v1beta1.Canary, k *Kind, o client.Object, parent gatewayv1.ParentReference) (attachedRoute, bool) {
	spec, status := k.Read(o)
	at := slices.IndexFunc(spec.ParentRefs, func(p gatewayv1.ParentReference) bool {
		return meets(inNamespace(p, o.GetNamespace()), inNamespace(parent, c.Namespace))
	})
	if at < 0 || refusedBy(status, inNamespace(spec.ParentRefs[at], o.GetNamespace()), o.GetNamespace()) {
		return attachedRoute{}, false
	}
	out := attachedRoute{
		kind: k.GVK.Kind, key: client.ObjectKeyFromObject(o), created: o.GetCreationTimestamp(),
		parents: spec.ParentRefs, hostnames: spec.Hostnames, all: k.Lossy,
	}
	if k.GVK.Group != gatewayv1.GroupName {
		out.kind += "." + k.GVK.Group
	}
	for i, rule := range spec.Rules {
		out.rules = append(out.rules, rules.AsWritten(rule, i))
	}
	return out, true
}

func inNamespace(p gatewayv1.ParentReference, namespace string) gatewayv1.ParentReference {
	p.Namespace = new(ptr.Deref(p.Namespace, gatewayv1.Namespace(namespace)))
	return p
}

// meets tells whether two references are to the same object and, where both say so, the same
// part of it.
func meets(a, b gatewayv1.ParentReference) bool {
	return a.Name == b.Name && *a.Namespace == *b.Namespace && groupOf(a) == groupOf(b) && ptr.Deref(a.Kind, "Gateway") == ptr.Deref(b.Kind, "Gateway") &&
		(a.SectionName == nil || b.SectionName == nil || *a.SectionName == *b.SectionName) &&
		(a.Port == nil || b.Port == nil || *a.Port == *b.Port)
}

// refusedBy tells whether the controllers of a parent have said that they do not take a route.
func refusedBy(status []gatewayv1.RouteParentStatus, parent gatewayv1.ParentReference, namespace string) bool {
	refused := false
	for _, said := range status {
		if !sameParent(said.ParentRef, parent, namespace) {
			continue
		}
		accepted := meta.FindStatusCondition(said.Conditions, string(gatewayv1.RouteConditionAccepted))
		if accepted == nil || accepted.Status != metav1.ConditionFalse {
			return false
		}
		refused = true
	}
	return refused
}

// routesOf are the routes of a kind with a parent, or more where they are not indexed.
func routesOf(ctx context.Context, reader client.Reader, k *Kind, parent string) (out []client.Object, err error) {
	list := k.NewList()
	err = reader.List(ctx, list, client.MatchingFields{parentIndex: parent}, client.UnsafeDisableDeepCopy)
	if err != nil && !meta.IsNoMatchError(err) {
		list = k.NewList()
		err = reader.List(ctx, list, client.UnsafeDisableDeepCopy)
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", k.GVK.Kind, err)
	}
	err = meta.EachListItem(list, func(o runtime.Object) error {
		if route, ok := o.(client.Object); ok {
			out = append(out, route)
		}
		return nil
	})
	return out, err
}
