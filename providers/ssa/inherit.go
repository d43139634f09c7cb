package ssa

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// formerOperator is the field manager of Flagger's writes.
const formerOperator = "flagger"

// inherits tells whether live was made by another operator, as what desired
// makes it: something that we never wrote and that we claim with an owner.
func inherits(desired, live client.Object) bool {
	return metav1.GetControllerOfNoCopy(desired) != nil && live.GetUID() != "" && live.GetAnnotations()[AppliedAnnotation] == ""
}

// inherit makes the fields ours that the other operator wrote. Server-side apply
// would leave them in place for it, also when they go from the intent: a variable
// that a release removes would stay in the primary for ever.
func (a *Applier) inherit(ctx context.Context, live client.Object) error {
	// The cache has no managed fields, and a patch that changes nothing answers with
	// the object.
	now := live.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
	if err := a.client.Patch(ctx, now, client.RawPatch(types.MergePatchType, []byte("{}")), client.FieldOwner(FieldOwner)); err != nil {
		return fmt.Errorf("read the managed fields: %w", err)
	}
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(now, sets.New(formerOperator), FieldOwner)
	if err != nil {
		return fmt.Errorf("take over the managed fields: %w", err)
	}
	if patch == nil {
		return nil
	}
	if err := a.client.Patch(ctx, now, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(FieldOwner)); err != nil {
		return fmt.Errorf("take over the managed fields: %w", err)
	}
	return nil
}
