package gateway

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers/internal/gateway/rules"
	"github.com/sluice-delivery/sluice/providers/internal/originals"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

const (
	// originalAnnotation holds what a user's route was before it was taken over.
	originalAnnotation = "sluice.dev/original"
	// originalLimit is the most that it may hold, in bytes. All annotations of an
	// object together may have 256 KiB, and kubectl's copy of it is as large.
	originalLimit = 96 << 10
)

// saved is what the annotation holds: the fields of a user's object that we take over.
type saved struct {
	Spec        map[string]any    `json:"spec"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// original is a user's route as it was.
type original struct {
	saved

	encoded string                  // as in the annotation
	spec    gatewayv1.HTTPRouteSpec // what our Go types know of it
}

// specOf is what our Go types know of a route, nil where there was none.
func (o *original) specOf() *gatewayv1.HTTPRouteSpec {
	if o == nil {
		return nil
	}
	return &o.spec
}

// has tells whether a route has the parts that we write as they are in a spec.
func (f found) has(was *gatewayv1.HTTPRouteSpec) bool {
	now, _ := f.kind.Read(f.live)
	return equality.Semantic.DeepEqual(was.ParentRefs, now.ParentRefs) && equality.Semantic.DeepEqual(was.Hostnames, now.Hostnames) &&
		equality.Semantic.DeepEqual(was.Rules, now.Rules)
}

// usersOf is what the user of a live object has had there, as far as it says nothing of the Canary's traffic: nil where
// all is ours. It is false where nothing was taken over yet.
func usersOf(f found, c *v1beta1.Canary) (users *gatewayv1.HTTPRouteSpec, taken bool, err error) {
	annotations := f.live.GetAnnotations()
	if encoded := annotations[originalAnnotation]; encoded != "" {
		before, err := parse(f.kind, encoded, c)
		return before.specOf(), true, err
	}
	spec, _ := f.kind.Read(f.live)
	return nil, annotations[ssa.AppliedAnnotation] != "" || rules.Overwritten(spec.Rules, c), nil
}

// takenOver are the fields of the spec that we may write.
var takenOver = []string{"parentRefs", "hostnames", "rules"}

// originalOf is the original of live, a user's object. Before it is taken over
// whole is asked for all of it, not what our Go types know.
func originalOf(k *Kind, live client.Object, c *v1beta1.Canary, ours map[string]string, whole func() (*unstructured.Unstructured, error)) (*original, error) {
	annotations := live.GetAnnotations()
	if encoded := annotations[originalAnnotation]; encoded != "" {
		return parse(k, encoded, c)
	}
	if annotations[ssa.AppliedAnnotation] != "" {
		return released(k, c)
	}
	if spec, _ := k.Read(live); rules.Overwritten(spec.Rules, c) {
		return released(k, c) // another operator has taken it over before us
	}
	u, err := whole()
	if err != nil {
		return nil, err
	}
	now, _ := u.Object["spec"].(map[string]any)
	o := saved{Spec: map[string]any{}, Annotations: originals.Replaced(u.GetAnnotations(), ours)}
	if apex := c.Spec.Service.Apex; apex != nil {
		o.Labels = originals.Replaced(u.GetLabels(), apex.Labels)
	}
	for _, field := range takenOver {
		if v, ok := now[field]; ok {
			o.Spec[field] = v
		}
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode the original of %s %s: %w", k.GVK.Kind, apexKey(c), err)
	}
	if len(raw) > originalLimit {
		return nil, rules.Invalid(fmt.Sprintf("%s %s", k.GVK.Kind, apexKey(c)), fmt.Sprintf("%d bytes", len(raw)),
			fmt.Sprintf("it is kept in an annotation while it is taken over, which may have %d bytes", originalLimit))
	}
	return parse(k, string(raw), c)
}

func parse(k *Kind, encoded string, c *v1beta1.Canary) (*original, error) {
	o := &original{encoded: encoded}
	field := fmt.Sprintf("%s %s: metadata.annotations[%s]", k.GVK.Kind, apexKey(c), originalAnnotation)
	if err := utiljson.Unmarshal([]byte(encoded), &o.saved); err != nil {
		return nil, rules.Invalid(field, encoded, "what the operator has written there; if it is lost, remove the annotation: "+err.Error())
	}
	raw, err := json.Marshal(o.Spec)
	if err != nil {
		return nil, fmt.Errorf("encode the original of %s %s: %w", k.GVK.Kind, apexKey(c), err)
	}
	if err := json.Unmarshal(raw, &o.spec); err != nil {
		return nil, rules.Invalid(field, encoded, err.Error())
	}
	return o, nil
}

// released is the original of an object of which none is known: it leads to the apex
// Service as the spec says.
func released(k *Kind, c *v1beta1.Canary) (*original, error) {
	rule, err := rules.ToApex(c)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(gatewayv1.HTTPRouteSpec{Rules: []gatewayv1.HTTPRouteRule{rule}})
	if err != nil {
		return nil, fmt.Errorf("encode what %s %s becomes: %w", k.GVK.Kind, apexKey(c), err)
	}
	return parse(k, `{"spec":`+string(raw)+`}`, c)
}
