package ssa

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// hashVersion changes when the normal form of an intent does: every object is
// then written once more, with the same content.
const hashVersion = "1-"

// fingerprint identifies an intent within this process. It is cheaper than the
// intent's hash because it needs no normal form.
type fingerprint [sha256.Size]byte

// intent is what we want to own, in its normal form and without the annotation.
type intent struct {
	object *unstructured.Unstructured
	hash   string
}

func fingerprintOf(desired client.Object, cmp comparison) (fingerprint, []byte, error) {
	raw, err := json.Marshal(desired)
	if err != nil {
		return fingerprint{}, nil, fmt.Errorf("encode: %w", err)
	}
	h := sha256.New()
	h.Write(raw)
	if cmp.proto {
		h.Write([]byte("proto"))
	}
	return fingerprint(h.Sum(nil)), raw, nil
}

// identify returns the fingerprint of desired, and its JSON where it took that
// to make it.
func (o options) identify(desired client.Object) (fingerprint, []byte, error) {
	if o.key != "" {
		return sha256.Sum256([]byte("key " + o.key)), nil, nil // JSON does not begin like that
	}
	return fingerprintOf(desired, o.comparison)
}

// intentOf makes the intent of desired from its JSON, nil if there is none yet.
func (o options) intentOf(gvk schema.GroupVersionKind, desired client.Object, raw []byte) (intent, error) {
	if raw == nil {
		var err error
		if raw, err = json.Marshal(desired); err != nil {
			return intent{}, fmt.Errorf("encode: %w", err)
		}
	}
	return intentOf(gvk, raw, o.edit)
}

func intentOf(gvk schema.GroupVersionKind, raw []byte, edit func(map[string]any)) (intent, error) {
	m, err := decode(raw)
	if err != nil {
		return intent{}, err
	}
	normalize(m)
	if edit != nil {
		edit(m)
	}
	u := &unstructured.Unstructured{Object: m}
	u.SetGroupVersionKind(gvk)
	canonical, err := json.Marshal(m)
	if err != nil {
		return intent{}, fmt.Errorf("encode intent: %w", err)
	}
	sum := sha256.Sum256(canonical)
	return intent{object: u, hash: hashVersion + hex.EncodeToString(sum[:16])}, nil
}

func annotate(u *unstructured.Unstructured, hash string) {
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[AppliedAnnotation] = hash
	u.SetAnnotations(annotations)
}

func toMap(obj client.Object) (map[string]any, error) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return u.Object, nil
	}
	raw, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encode live object: %w", err)
	}
	return decode(raw)
}

// decode keeps whole numbers as int64, which unstructured objects require.
func decode(raw []byte) (map[string]any, error) {
	m := map[string]any{}
	if err := utiljson.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
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
