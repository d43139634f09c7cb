package ssa

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
)

// formerOperator is the field manager of Flagger's writes.
const formerOperator = "flagger"

// inherits tells whether live was made by another operator, as what desired
// makes it: something that we never wrote and that we claim with our mark.
func inherits(desired, live client.Object) bool {
	return ownership.Marked(desired) && live.GetUID() != "" && live.GetAnnotations()[AppliedAnnotation] == ""
}

// inherit makes the fields ours that the other operator wrote. Server-side apply
// would leave them in place for it, also when they go from the intent: a variable
// that a release removes would stay in the primary for ever. It returns the version
// that the object has then. Where version is not empty it is the one that it must have had.
func (a *Applier) inherit(ctx context.Context, live client.Object, version string) (string, error) {
	// The cache has no managed fields, and a patch that changes nothing answers with
	// the object.
	now := live.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
	same := "{}"
	if version != "" {
		same = fmt.Sprintf(`{"metadata":{"resourceVersion":%q}}`, version)
	}
	if err := a.client.Patch(ctx, now, client.RawPatch(types.MergePatchType, []byte(same)), client.FieldOwner(FieldOwner)); err != nil {
		return "", fmt.Errorf("read the managed fields: %w", err)
	}
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(now, sets.New(formerOperator), FieldOwner)
	if err != nil {
		return "", fmt.Errorf("take over the managed fields: %w", err)
	}
	if patch == nil {
		return now.GetResourceVersion(), nil
	}
	if err := a.client.Patch(ctx, now, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(FieldOwner)); err != nil {
		return "", fmt.Errorf("take over the managed fields: %w", err)
	}
	return now.GetResourceVersion(), nil
}

// dereference takes the references to Canaries away that live, which was made for one,
// has from an earlier version or from Flagger: the garbage collector goes by them.
// Server-side apply would leave those of other field managers.
func (a *Applier) dereference(ctx context.Context, key objectKey, fp fingerprint, live client.Object) error {
	patch, err := ownership.Dereference(live)
	if err != nil || patch == nil {
		return err
	}
	written := live.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
	if err := a.client.Patch(ctx, written, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(FieldOwner)); err != nil {
		return fmt.Errorf("take the owner references of %s away: %w", key, err)
	}
	a.memory.wrote(key, fp, written.GetResourceVersion())
	return nil
}
