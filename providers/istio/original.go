package istio

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

const (
	// originalAnnotation holds what a user's VirtualService was before it was taken over.
	originalAnnotation = "sluice.dev/original"
	// originalLimit is the most that it may hold, in bytes. All annotations of an
	// object together may have 256 KiB, and kubectl's copy of it is as large.
	originalLimit = 96 << 10

	// Where Flagger keeps the same, the second being kubectl's own.
	flaggerAnnotation = "flagger.kubernetes.io/original-configuration"
	kubectlAnnotation = "kubectl.kubernetes.io/last-applied-configuration"
)

// saved is what the annotation holds: the fields of a user's object that we take over.
type saved struct {
	Spec        map[string]any    `json:"spec"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// Overwritten says that another operator had replaced all of it before us: it comes back, and
	// nothing of it holds until then.
	Overwritten bool `json:"overwritten,omitempty"`
}

// original is a user's VirtualService as it was.
type original struct {
	saved

	encoded         string // as in the annotation
	hosts, gateways []string
	http            []*networking.HTTPRoute
	tcp             []*networking.TCPRoute
	tls             []*networking.TLSRoute
}

// base is what of the user's holds while his VirtualService is taken over; nil for nothing.
func (o *original) base() *original {
	if o == nil || o.Overwritten {
		return nil
	}
	return o
}

// belongings are what a user has and we build on.
type belongings struct {
	original *original                     // nil: the VirtualService is ours
	rule     *networkingv1.DestinationRule // whose traffic policy holds for the apex Service; nil: he has none
}

func (b belongings) key() (key string) {
	if b.rule != nil {
		key = string(b.rule.UID) + " " + b.rule.ResourceVersion
	}
	if b.original != nil {
		key += " " + b.original.encoded
	}
	return key
}

// readOriginal finds the original of a user's VirtualService, of which the cache has live.
type readOriginal func(ctx context.Context, live *networkingv1.VirtualService, canary *v1beta1.Canary) (*original, error)

func (r *Router) belongings(ctx context.Context, route providers.Route, read readOriginal) (b belongings, err error) {
	canary := route.Canary
	if b.rule, err = r.usersRule(ctx, canary); err != nil {
		return b, err
	}
	vs := &networkingv1.VirtualService{}
	found, err := r.get(ctx, apexKey(canary), vs)
	if err != nil || !found || r.owner(route).Of(vs) != ownership.Users {
		return b, err
	}
	b.original, err = read(ctx, vs, canary)
	return b, err
}

// cachedOriginal costs no request. Before adoption it is what our Go types
// know of the object, which is enough to look at it.
func (r *Router) cachedOriginal(_ context.Context, live *networkingv1.VirtualService, canary *v1beta1.Canary) (*original, error) {
	if encoded := live.Annotations[originalAnnotation]; encoded != "" || live.Annotations[ssa.AppliedAnnotation] != "" {
		return adopted(encoded, canary)
	}
	raw, err := json.Marshal(&live.Spec)
	if err != nil {
		return nil, fmt.Errorf("encode VirtualService %s: %w", apexKey(canary), err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetLabels(live.Labels)
	u.SetAnnotations(live.Annotations)
	spec := map[string]any{}
	if err := utiljson.Unmarshal(raw, &spec); err != nil {
		return nil, fmt.Errorf("decode VirtualService %s: %w", apexKey(canary), err)
	}
	u.Object["spec"] = spec
	return adopt(u, canary)
}

// storedOriginal asks the API server for an object that is not adopted yet: what is
// given back must be all that was there, not what our Go types know of it.
func (r *Router) storedOriginal(ctx context.Context, live *networkingv1.VirtualService, canary *v1beta1.Canary) (*original, error) {
	if live.Annotations[originalAnnotation] != "" || live.Annotations[ssa.AppliedAnnotation] != "" {
		return r.cachedOriginal(ctx, live, canary)
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(networkingv1.SchemeGroupVersion.WithKind("VirtualService"))
	if err := r.live.Get(ctx, apexKey(canary), u); err != nil {
		return nil, explain(fmt.Errorf("read VirtualService %s: %w", apexKey(canary), err))
	}
	annotations := u.GetAnnotations()
	if encoded := annotations[originalAnnotation]; encoded != "" || annotations[ssa.AppliedAnnotation] != "" {
		return adopted(encoded, canary)
	}
	return adopt(u, canary)
}

// adopted is the original of an object that was taken over. When the annotation is
// lost, the object is given back leading to the apex Service.
func adopted(encoded string, canary *v1beta1.Canary) (*original, error) {
	if encoded == "" {
		return released(canary)
	}
	return parse(encoded, canary)
}

func parse(encoded string, canary *v1beta1.Canary) (*original, error) {
	o := &original{encoded: encoded}
	if err := utiljson.Unmarshal([]byte(encoded), &o.saved); err != nil {
		return nil, &providers.InvalidError{
			Field: "VirtualService " + apexKey(canary).String() + ": metadata.annotations[" + originalAnnotation + "]", Value: shorten(encoded),
			Allowed: "what the operator has written there; if it is lost, remove the annotation: " + err.Error(),
		}
	}
	return o, o.decode(canary)
}

func (o *original) decode(canary *v1beta1.Canary) error {
	raw, err := json.Marshal(o.Spec)
	if err != nil {
		return fmt.Errorf("encode the original of VirtualService %s: %w", apexKey(canary), err)
	}
	spec := &networking.VirtualService{}
	if err := json.Unmarshal(raw, spec); err != nil {
		return &providers.InvalidError{Field: "VirtualService " + apexKey(canary).String() + ": spec", Value: shorten(string(raw)), Allowed: err.Error()}
	}
	o.hosts, o.gateways, o.http, o.tcp, o.tls = spec.Hosts, spec.Gateways, spec.Http, spec.Tcp, spec.Tls
	return nil
}

// takenOver are the fields of the spec that we may write.
var takenOver = []string{"hosts", "gateways", "http", "tcp", "tls"}

// adopt makes the original of an object that we are about to take over.
func adopt(u *unstructured.Unstructured, canary *v1beta1.Canary) (*original, error) {
	now, _ := u.Object["spec"].(map[string]any)
	spec := fieldsOf(now)
	if !overwritten(spec, canary) {
		o, err := encode(u, saved{Spec: spec}, canary)
		if err != nil {
			return nil, err
		}
		return o, o.mirrorsSubset(canary)
	}
	annotations := u.GetAnnotations()
	for _, before := range []map[string]any{objectIn(annotations[flaggerAnnotation]), specIn(annotations[kubectlAnnotation])} {
		if len(fieldsOf(before)) > 0 && !overwritten(before, canary) {
			return encode(u, saved{Spec: before, Overwritten: true}, canary)
		}
	}
	o, err := released(canary)
	if err != nil {
		return nil, err
	}
	return encode(u, saved{Spec: o.Spec, Overwritten: true}, canary)
}

func encode(u *unstructured.Unstructured, s saved, canary *v1beta1.Canary) (*original, error) {
	ours := virtualServiceMeta(canary)
	s.Labels, s.Annotations = replaced(u.GetLabels(), ours.Labels), replaced(u.GetAnnotations(), ours.Annotations)
	o := &original{saved: s}
	raw, err := json.Marshal(o.saved)
	if err != nil {
		return nil, fmt.Errorf("encode the original of VirtualService %s: %w", apexKey(canary), err)
	}
	if len(raw) > originalLimit {
		return nil, &providers.InvalidError{
			Field: "VirtualService " + apexKey(canary).String(), Value: fmt.Sprintf("%d bytes", len(raw)),
			Allowed: fmt.Sprintf("it is kept in an annotation while it is taken over, which may have %d bytes", originalLimit),
		}
	}
	o.encoded = string(raw)
	return o, o.decode(canary)
}

// replaced are those of the user's pairs whose value ours replace.
func replaced(users, ours map[string]string) map[string]string {
	var out map[string]string
	for k := range ours {
		if had, ok := users[k]; ok {
			out = union(out, map[string]string{k: had})
		}
	}
	return out
}

func fieldsOf(spec map[string]any) map[string]any {
	out := map[string]any{}
	for _, field := range takenOver {
		if v, ok := spec[field]; ok {
			out[field] = v
		}
	}
	return out
}

// overwritten tells whether another operator has taken a VirtualService over: all that it has
// leads to the primary's and the canary's Service. A user has a route to one of them
// beside others.
func overwritten(spec map[string]any, c *v1beta1.Canary) bool {
	_, primary, canary := c.ServiceNames()
	toPrimary := false
	for _, protocol := range []string{"http", "tcp", "tls"} {
		routes, _ := spec[protocol].([]any)
		for _, r := range routes {
			hosts := hostsIn(r)
			toPrimary = toPrimary || slices.ContainsFunc(hosts, func(h string) bool { return isService(h, primary, c.Namespace) })
			if len(hosts) == 0 || slices.ContainsFunc(hosts, func(h string) bool {
				return !isService(h, primary, c.Namespace) && !isService(h, canary, c.Namespace)
			}) {
				return false
			}
		}
	}
	return toPrimary
}

// mirrorsSubset refuses what would come to nothing: the apex Service leads to the primary's
// pods alone, and a subset of it that got copies of requests has none any more.
func (o *original) mirrorsSubset(c *v1beta1.Canary) error {
	for i, http := range o.http {
		copies := []*networking.Destination{http.GetMirror()}
		for _, m := range http.GetMirrors() {
			copies = append(copies, m.GetDestination())
		}
		for _, d := range copies {
			if d.GetSubset() != "" && isApex(c, d) {
				return &providers.InvalidError{
					Field: fmt.Sprintf("VirtualService %s: http[%d].mirror.subset", apexKey(c), i), Value: d.GetSubset(),
					Allowed: "a mirror to a Service of its own: " + d.GetHost() + " is to lead to the primary's pods alone, and the subset would have none",
				}
			}
		}
	}
	return nil
}

func hostsIn(route any) (hosts []string) {
	r, _ := route.(map[string]any)
	destinations, _, _ := unstructured.NestedSlice(r, "route")
	for _, d := range destinations {
		if d, ok := d.(map[string]any); ok {
			host, _, _ := unstructured.NestedString(d, "destination", "host")
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func objectIn(encoded string) map[string]any {
	o := map[string]any{}
	if utiljson.Unmarshal([]byte(encoded), &o) != nil {
		return nil
	}
	return o
}

func specIn(encoded string) map[string]any {
	spec, _ := objectIn(encoded)["spec"].(map[string]any)
	return spec
}

// released is the original of an object of which none is known: it leads to the apex
// Service as the spec says.
func released(c *v1beta1.Canary) (*original, error) {
	apex, _, _ := c.ServiceNames()
	spec := &networking.VirtualService{}
	destination := &networking.Destination{Host: apex}
	if protocolOf(providers.Route{Canary: c}) == speaksTCP {
		spec.Tcp = []*networking.TCPRoute{{Match: tcpMatch(c), Route: []*networking.RouteDestination{{Destination: destination, Weight: 100}}}}
	} else {
		http, err := httpRoute(c)
		if err != nil {
			return nil, err
		}
		http.Route = []*networking.HTTPRouteDestination{{Destination: destination, Weight: 100}}
		spec.Http = []*networking.HTTPRoute{http}
	}
	if !c.Spec.Service.Delegation {
		spec.Hosts, spec.Gateways = hostsOf(c, nil), gatewaysOf(c, nil)
	}
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encode what VirtualService %s becomes: %w", apexKey(c), err)
	}
	return parse(`{"spec":`+string(raw)+`}`, c)
}
