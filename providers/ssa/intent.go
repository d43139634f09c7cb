package ssa

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// hashVersion changes when the normal form of an intent does: every object is
// then written once more, with the same content.
const hashVersion = "1-"

// fingerprint identifies an intent within this process. It is cheaper than the
// intent's hash because it needs no normal form.
type fingerprint [16]byte

// intent is what we want to own, in its normal form and without the annotation.
type intent struct {
	object   *unstructured.Unstructured
	compared map[string]any // what of it the live object must have
	hash     string
	version  string // of the live object that it was made from, empty where that does not matter
}

func fingerprintOf(desired client.Object, cmp comparison) (fingerprint, error) {
	raw, err := json.Marshal(desired)
	if err != nil {
		return fingerprint{}, fmt.Errorf("encode: %w", err)
	}
	h := sha256.New()
	h.Write(raw)
	if cmp.proto {
		h.Write([]byte("proto"))
	}
	return fingerprint(h.Sum(nil)[:16]), nil
}

// identify returns the fingerprint of desired.
func (o options) identify(desired client.Object) (fingerprint, error) {
	if o.key != "" {
		sum := sha256.Sum256([]byte("key " + o.key)) // JSON does not begin like that
		return fingerprint(sum[:16]), nil
	}
	return fingerprintOf(desired, o.comparison)
}

func (o options) intentOf(gvk schema.GroupVersionKind, desired client.Object) (intent, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(desired)
	if err != nil {
		return intent{}, fmt.Errorf("encode: %w", err)
	}
	normalize(m)
	if o.edit != nil {
		o.edit(m)
	}
	u := &unstructured.Unstructured{Object: m}
	u.SetGroupVersionKind(gvk)
	own := without(m, o.sharedField)
	canonical, err := json.Marshal(own)
	if err != nil {
		return intent{}, fmt.Errorf("encode intent: %w", err)
	}
	sum := sha256.Sum256(canonical)
	out := intent{object: u, compared: m, hash: hashVersion + hex.EncodeToString(sum[:16]), version: o.version}
	if o.version != "" {
		out.compared = own
	}
	return out, nil
}

// without is m without the field at path; what is on the way there is copied, the rest shared.
func without(m map[string]any, path []string) map[string]any {
	if len(path) == 0 {
		return m
	}
	out := maps.Clone(m)
	if len(path) == 1 {
		delete(out, path[0])
		return out
	}
	if below, ok := m[path[0]].(map[string]any); ok {
		out[path[0]] = without(below, path[1:])
	}
	return out
}

func annotate(u *unstructured.Unstructured, hash string) {
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[AppliedAnnotation] = hash
	u.SetAnnotations(annotations)
}

// toMap gives the JSON form of an object, that of an unstructured one itself.
func toMap(obj client.Object) (map[string]any, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return m, nil
}

// ownedMetadata are the metadata fields that an intent may hold.
var ownedMetadata = map[string]bool{
	"name": true, "namespace": true, "labels": true, "annotations": true, "ownerReferences": true, "finalizers": true,
}

// emptyStructs are fields that Go's types write as {} although nobody set
// them. Other empty objects have a meaning (emptyDir: {}) and stay.
var emptyStructs = map[string]bool{
	"resources": true, "strategy": true, "updateStrategy": true,
}

// normalize removes from m, in place, what is not intent.
func normalize(m map[string]any) {
	delete(m, "status")
	if meta, ok := m["metadata"].(map[string]any); ok {
		for k := range meta {
			if !ownedMetadata[k] {
				delete(meta, k)
			}
		}
		if annotations, ok := meta["annotations"].(map[string]any); ok {
			delete(annotations, AppliedAnnotation)
		}
	}
	prune(m)
}

func prune(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if m, ok := e.(map[string]any); e == nil || ok && len(m) == 0 && emptyStructs[k] {
				delete(v, k)
				continue
			}
			prune(e)
		}
	case []any:
		for _, e := range v {
			prune(e)
		}
	}
}

// withoutType returns a shallow copy of m without apiVersion and kind, which
// typed objects read from a cache do not carry.
func withoutType(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		if k != "apiVersion" && k != "kind" {
			out[k] = v
		}
	}
	return out
}
