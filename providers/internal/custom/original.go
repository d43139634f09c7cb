package custom

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/originals"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

const (
	// originalAnnotation holds what a user's object was before it was taken over.
	originalAnnotation = "sluice.dev/original"
	// originalLimit is the most that it may hold, in bytes.
	originalLimit = 96 << 10
)

// Original is what a user's object was before it was taken over, as far as we write to it.
type Original struct {
	// Spec has the fields that we take over and that were there.
	Spec map[string]any `json:"spec"`
	// Labels and Annotations are those that ours replace.
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`

	encoded string
}

// Taking says how the objects of a kind are taken over.
type Taking struct {
	// GVK is the kind.
	GVK schema.GroupVersionKind
	// Fields are those of the spec that we write.
	Fields []string
}

// Original is what live, a user's object, was before; ours is what we set of its metadata. fallback is its spec where that is
// not known, because another operator has taken it over before, which led tells.
func (t Taking) Original(live *Resource, ours metav1.ObjectMeta, led func(spec map[string]any) bool, fallback func() map[string]any) (*Original, error) {
	if Taken(live) {
		return t.noted(live)
	}
	o := &Original{Spec: map[string]any{}}
	if live.Annotations[ssa.AppliedAnnotation] != "" || led(live.Spec) {
		o.Spec = fallback()
	} else {
		o.Annotations, o.Labels = originals.Replaced(live.Annotations, ours.Annotations), originals.Replaced(live.Labels, ours.Labels)
		for _, field := range t.Fields {
			if v, ok := live.Spec[field]; ok {
				o.Spec[field] = runtime.DeepCopyJSONValue(v)
			}
		}
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode the original of %s %s/%s: %w", t.GVK.Kind, live.Namespace, live.Name, err)
	}
	if len(raw) > originalLimit {
		return nil, &providers.InvalidError{
			Field: t.GVK.Kind + " " + live.Name, Value: fmt.Sprintf("%d bytes", len(raw)),
			Allowed: fmt.Sprintf("it is kept in an annotation while it is taken over, which may have %d bytes", originalLimit),
		}
	}
	o.encoded = string(raw)
	return o, nil
}

// noted is what live was before, as it says itself.
func (t Taking) noted(live *Resource) (*Original, error) {
	o := &Original{encoded: live.Annotations[originalAnnotation]}
	if err := utiljson.Unmarshal([]byte(o.encoded), o); err != nil {
		return nil, &providers.InvalidError{
			Field:   fmt.Sprintf("%s %s: metadata.annotations[%s]", t.GVK.Kind, live.Name, originalAnnotation),
			Allowed: "what the operator has written there; if it is lost, remove the annotation: " + err.Error(),
		}
	}
	return o, nil
}

// Note adds the original to the metadata of what takes its place.
func (o *Original) Note(m *metav1.ObjectMeta) { m.Annotations[originalAnnotation] = o.encoded }

// Taken tells whether a user's object has been taken over and not been given back.
func Taken(live *Resource) bool { return live.Annotations[originalAnnotation] != "" }

// Back is the JSON merge patch by which what we take over of a user's object leads where it led, and nil where it does. What
// was noted of it stays, so that this can be done once more.
func (t Taking) Back(live *Resource, o *Original) map[string]any {
	if patch := t.replaced(live.Spec, o.Spec); len(patch) > 0 {
		return map[string]any{"spec": patch}
	}
	return nil
}

// IsBack tells whether a user's object that was taken over leads where it led, whatever is noted of it.
func (t Taking) IsBack(live *Resource, c *v1beta1.Canary) bool {
	if c.DeletionTimestamp.IsZero() || !Taken(live) {
		return false
	}
	o, err := t.noted(live)
	return err == nil && t.Back(live, o) == nil
}

// GivenBack is all that we own of a user's object once it is as it was.
func (t Taking) GivenBack(live *Resource, o *Original) *unstructured.Unstructured {
	spec := o.Spec
	if len(spec) == 0 && len(live.Spec) <= len(t.Fields) {
		spec = map[string]any{t.Fields[0]: []any{}} // a spec of which nothing is left is null, which the server refuses
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(t.GVK)
	u.SetNamespace(live.Namespace)
	u.SetName(live.Name)
	u.SetLabels(o.Labels)
	u.SetAnnotations(o.Annotations)
	return u
}

// TakenOver is the JSON merge patch by which a user's object is what is wanted of it, and nil where it is. Server-side apply
// would leave what the user has in maps of which we write other fields.
func (t Taking) TakenOver(live, want *Resource) map[string]any {
	metadata := map[string]any{}
	for field, of := range map[string][2]map[string]string{
		"labels": {live.Labels, want.Labels}, "annotations": {live.Annotations, want.Annotations},
	} {
		if changed := missing(of[0], of[1]); len(changed) > 0 {
			metadata[field] = changed
		}
	}
	spec := t.replaced(live.Spec, want.Spec)
	out := map[string]any{}
	if len(metadata) > 0 {
		out["metadata"] = metadata
	}
	if len(spec) > 0 {
		out["spec"] = spec
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// Restored is the JSON merge patch by which a user's object is what it was; ours is what we set of its metadata.
func (t Taking) Restored(live *Resource, o *Original, ours metav1.ObjectMeta) map[string]any {
	annotations, labels := map[string]any{originalAnnotation: nil}, map[string]any{}
	for _, of := range []struct {
		ours, had map[string]string
		into      map[string]any
	}{{ours.Annotations, o.Annotations, annotations}, {ours.Labels, o.Labels, labels}} {
		for key := range of.ours {
			of.into[key] = nil
		}
		for key, value := range of.had {
			of.into[key] = value
		}
	}
	return map[string]any{"metadata": map[string]any{"annotations": annotations, "labels": labels}, "spec": t.replaced(live.Spec, o.Spec)}
}

// replaced is the JSON merge patch by which the fields that we take over are as in want.
func (t Taking) replaced(live, want map[string]any) map[string]any {
	a, b := map[string]any{}, map[string]any{}
	for _, field := range t.Fields {
		if v, ok := live[field]; ok {
			a[field] = v
		}
		if v, ok := want[field]; ok {
			b[field] = v
		}
	}
	return mergePatch(a, b)
}

// mergePatch makes b of a.
func mergePatch(a, b map[string]any) map[string]any {
	out := map[string]any{}
	for key := range a {
		if _, ok := b[key]; !ok {
			out[key] = nil
		}
	}
	for key, wanted := range b {
		below, isMap := wanted.(map[string]any)
		had, wasMap := a[key].(map[string]any)
		switch {
		case isMap && wasMap:
			if more := mergePatch(had, below); len(more) > 0 {
				out[key] = more
			}
		case !equality.Semantic.DeepEqual(a[key], wanted):
			out[key] = wanted
		}
	}
	return out
}

// missing are the pairs of want that had lacks or has with another value.
func missing(had, want map[string]string) map[string]any {
	out := map[string]any{}
	for key, value := range want {
		if is, ok := had[key]; !ok || is != value {
			out[key] = value
		}
	}
	return out
}
