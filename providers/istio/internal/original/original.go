// Package original knows what a user's VirtualService was before it was taken over: it keeps it in
// an annotation, builds on it, and gives it back.
package original

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/originals"
	"github.com/sluice-delivery/sluice/providers/istio/internal/hosts"
	"github.com/sluice-delivery/sluice/providers/istio/internal/objects"
	"github.com/sluice-delivery/sluice/providers/istio/internal/settings"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

const (
	// Annotation holds what a user's VirtualService was before it was taken over.
	Annotation = "sluice.dev/original"
	// limit is the most that it may hold, in bytes. All annotations of an
	// object together may have 256 KiB, and kubectl's copy of it is as large.
	limit = 96 << 10

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

// VirtualService is a user's VirtualService as it was.
type VirtualService struct {
	saved

	// Encoded is as in the annotation.
	Encoded string
	// Hosts, Gateways and the routes by their protocol are those of its spec.
	Hosts, Gateways []string
	HTTP            []*networking.HTTPRoute
	TCP             []*networking.TCPRoute
	TLS             []*networking.TLSRoute
}

// Base is what of the user's holds while his VirtualService is taken over; nil for nothing.
func (o *VirtualService) Base() *VirtualService {
	if o == nil || o.Overwritten {
		return nil
	}
	return o
}

// Read finds the original of a user's VirtualService, of which the cache has live.
type Read func(ctx context.Context, live *networkingv1.VirtualService, canary *v1beta1.Canary) (*VirtualService, error)

// Cached costs no request. Before adoption it is what our Go types
// know of the object, which is enough to look at it.
func Cached(_ context.Context, live *networkingv1.VirtualService, canary *v1beta1.Canary) (*VirtualService, error) {
	if encoded := live.Annotations[Annotation]; encoded != "" || live.Annotations[ssa.AppliedAnnotation] != "" {
		return adopted(encoded, canary)
	}
	raw, err := json.Marshal(&live.Spec)
	if err != nil {
		return nil, fmt.Errorf("encode VirtualService %s: %w", settings.Apex(canary), err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetLabels(live.Labels)
	u.SetAnnotations(live.Annotations)
	spec := map[string]any{}
	if err := utiljson.Unmarshal(raw, &spec); err != nil {
		return nil, fmt.Errorf("decode VirtualService %s: %w", settings.Apex(canary), err)
	}
	u.Object["spec"] = spec
	return adopt(u, canary)
}

// Reader reads from the API server.
type Reader struct{ live client.Reader }

// NewReader returns a reader of an API server.
func NewReader(live client.Reader) Reader { return Reader{live: live} }

// Stored asks the API server for an object that is not adopted yet: what is
// given back must be all that was there, not what our Go types know of it.
func (r Reader) Stored(ctx context.Context, live *networkingv1.VirtualService, canary *v1beta1.Canary) (*VirtualService, error) {
	if live.Annotations[Annotation] != "" || live.Annotations[ssa.AppliedAnnotation] != "" {
		return Cached(ctx, live, canary)
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(networkingv1.SchemeGroupVersion.WithKind("VirtualService"))
	if err := r.live.Get(ctx, settings.Apex(canary), u); err != nil {
		return nil, objects.Explain(fmt.Errorf("read VirtualService %s: %w", settings.Apex(canary), err))
	}
	annotations := u.GetAnnotations()
	if encoded := annotations[Annotation]; encoded != "" || annotations[ssa.AppliedAnnotation] != "" {
		return adopted(encoded, canary)
	}
	return adopt(u, canary)
}

// adopted is the original of an object that was taken over. When the annotation is
// lost, the object is given back leading to the apex Service.
func adopted(encoded string, canary *v1beta1.Canary) (*VirtualService, error) {
	if encoded == "" {
		return released(canary)
	}
	return Parse(encoded, canary)
}

// Parse reads the annotation.
func Parse(encoded string, canary *v1beta1.Canary) (*VirtualService, error) {
	o := &VirtualService{Encoded: encoded}
	if err := utiljson.Unmarshal([]byte(encoded), &o.saved); err != nil {
		return nil, &providers.InvalidError{
			Field: "VirtualService " + settings.Apex(canary).String() + ": metadata.annotations[" + Annotation + "]", Value: settings.Shorten(encoded),
			Allowed: "what the operator has written there; if it is lost, remove the annotation: " + err.Error(),
		}
	}
	return o, o.decode(canary)
}

func (o *VirtualService) decode(canary *v1beta1.Canary) error {
	raw, err := json.Marshal(o.Spec)
	if err != nil {
		return fmt.Errorf("encode the original of VirtualService %s: %w", settings.Apex(canary), err)
	}
	spec := &networking.VirtualService{}
	if err := json.Unmarshal(raw, spec); err != nil {
		return &providers.InvalidError{Field: "VirtualService " + settings.Apex(canary).String() + ": spec", Value: settings.Shorten(string(raw)), Allowed: err.Error()}
	}
	o.Hosts, o.Gateways, o.HTTP, o.TCP, o.TLS = spec.Hosts, spec.Gateways, spec.Http, spec.Tcp, spec.Tls
	return nil
}

// takenOver are the fields of the spec that we may write.
var takenOver = []string{"hosts", "gateways", "http", "tcp", "tls"}

// adopt makes the original of an object that we are about to take over.
func adopt(u *unstructured.Unstructured, canary *v1beta1.Canary) (*VirtualService, error) {
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

func encode(u *unstructured.Unstructured, s saved, canary *v1beta1.Canary) (*VirtualService, error) {
	ours := settings.Metadata(canary)
	s.Labels, s.Annotations = originals.Replaced(u.GetLabels(), ours.Labels), originals.Replaced(u.GetAnnotations(), ours.Annotations)
	o := &VirtualService{saved: s}
	raw, err := json.Marshal(o.saved)
	if err != nil {
		return nil, fmt.Errorf("encode the original of VirtualService %s: %w", settings.Apex(canary), err)
	}
	if len(raw) > limit {
		return nil, &providers.InvalidError{
			Field: "VirtualService " + settings.Apex(canary).String(), Value: fmt.Sprintf("%d bytes", len(raw)),
			Allowed: fmt.Sprintf("it is kept in an annotation while it is taken over, which may have %d bytes", limit),
		}
	}
	o.Encoded = string(raw)
	return o, o.decode(canary)
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
			names := hostsIn(r)
			toPrimary = toPrimary || slices.ContainsFunc(names, func(h string) bool { return hosts.IsService(h, primary, c.Namespace) })
			if len(names) == 0 || slices.ContainsFunc(names, func(h string) bool {
				return !hosts.IsService(h, primary, c.Namespace) && !hosts.IsService(h, canary, c.Namespace)
			}) {
				return false
			}
		}
	}
	return toPrimary
}

// mirrorsSubset refuses what would come to nothing: the apex Service leads to the primary's
// pods alone, and a subset of it that got copies of requests has none any more.
func (o *VirtualService) mirrorsSubset(c *v1beta1.Canary) error {
	for i, http := range o.HTTP {
		copies := []*networking.Destination{http.GetMirror()}
		for _, m := range http.GetMirrors() {
			copies = append(copies, m.GetDestination())
		}
		for _, d := range copies {
			if d.GetSubset() != "" && settings.IsApex(c, d) {
				return &providers.InvalidError{
					Field: fmt.Sprintf("VirtualService %s: http[%d].mirror.subset", settings.Apex(c), i), Value: d.GetSubset(),
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
func released(c *v1beta1.Canary) (*VirtualService, error) {
	apex, _, _ := c.ServiceNames()
	spec := &networking.VirtualService{}
	destination := &networking.Destination{Host: apex}
	if settings.ProtocolOf(providers.Route{Canary: c}) == settings.TCP {
		spec.Tcp = []*networking.TCPRoute{{Match: settings.ConnectionMatch(c), Route: []*networking.RouteDestination{{Destination: destination, Weight: 100}}}}
	} else {
		http, err := settings.HTTPRoute(c)
		if err != nil {
			return nil, err
		}
		http.Route = []*networking.HTTPRouteDestination{{Destination: destination, Weight: 100}}
		spec.Http = []*networking.HTTPRoute{http}
	}
	if !c.Spec.Service.Delegation {
		spec.Hosts, spec.Gateways = settings.Hosts(c, nil), settings.Gateways(c, nil)
	}
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encode what VirtualService %s becomes: %w", settings.Apex(c), err)
	}
	return Parse(`{"spec":`+string(raw)+`}`, c)
}

// GiveBack is the merge patch by which the VirtualService becomes what it was, which takes away
// what else we have set, also where somebody else has set the same, as the operator before us has.
func (o *VirtualService) GiveBack(canary *v1beta1.Canary) map[string]any {
	ours := settings.Metadata(canary)
	ours.Annotations[Annotation], ours.Annotations[ssa.AppliedAnnotation] = "", ""
	return map[string]any{
		"spec":     o.GiveBackRoutes()["spec"],
		"metadata": map[string]any{"labels": restored(ours.Labels, o.Labels), "annotations": restored(ours.Annotations, o.Annotations)},
	}
}

// GiveBackRoutes is the part of GiveBack after which it is still known what the VirtualService was.
func (o *VirtualService) GiveBackRoutes() map[string]any {
	spec := map[string]any{}
	for _, field := range takenOver {
		spec[field] = nil
	}
	maps.Copy(spec, o.Spec)
	if !slices.ContainsFunc(slices.Collect(maps.Values(o.Spec)), func(v any) bool { return v != nil }) {
		spec["hosts"] = []any{} // a spec of which nothing is left is null, which the server refuses
	}
	return map[string]any{"spec": spec}
}

// Is tells whether a VirtualService has the routes that it was given back with.
func (o *VirtualService) Is(live *networkingv1.VirtualService) bool {
	was := &networking.VirtualService{Hosts: o.Hosts, Gateways: o.Gateways, Http: o.HTTP, Tcp: o.TCP, Tls: o.TLS}
	is := &networking.VirtualService{Hosts: live.Spec.Hosts, Gateways: live.Spec.Gateways, Http: live.Spec.Http, Tcp: live.Spec.Tcp, Tls: live.Spec.Tls}
	return proto.Equal(was, is)
}

// restored are the user's pairs, and null for the others of ours.
func restored(ours, users map[string]string) map[string]any {
	out := map[string]any{}
	for k := range ours {
		out[k] = nil
	}
	for k, v := range users {
		out[k] = v
	}
	return out
}
