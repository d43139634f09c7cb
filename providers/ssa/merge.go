package ssa

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Merge changes a few fields of an object that is not ours by a JSON merge
// patch, in which null removes a field, whoever set it: that is what
// ApplyPartial can't. It is for a patch that live, the object as the cache has
// it, still lacks; it is sent unless the cache has yet to show that we sent it
// before. The patch gets the UID of live, which can't be changed, so that the
// server refuses it as invalid for an object that was made anew. Don't use
// ApplyPartial on the same object.
func (a *Applier) Merge(ctx context.Context, patch map[string]any, live client.Object) error {
	gvk, err := a.client.GroupVersionKindFor(live)
	if err != nil {
		return fmt.Errorf("merge into %T: %w", live, err)
	}
	key := keyOf(gvk, live)
	whole := maps.Clone(patch)
	metadata, _ := patch["metadata"].(map[string]any)
	metadata = maps.Clone(metadata)
	if metadata == nil {
		metadata = map[string]any{}
	}
	metadata["uid"] = live.GetUID()
	whole["metadata"] = metadata
	raw, err := json.Marshal(whole)
	if err != nil {
		return fmt.Errorf("merge into %s: encode: %w", key, err)
	}
	fp, err := options{key: "merge " + string(raw)}.identify(live)
	if err != nil {
		return fmt.Errorf("merge into %s: %w", key, err)
	}
	if a.memory.recall(key, fp, live.GetResourceVersion()) == pending {
		return nil
	}
	written := live.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
	if err := a.client.Patch(ctx, written, client.RawPatch(types.MergePatchType, raw), client.FieldOwner(FieldOwner)); err != nil {
		return fmt.Errorf("merge into %s: %w", key, err)
	}
	a.memory.wrote(key, fp, written.GetResourceVersion())
	return nil
}
