package ssa

import (
	"context"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestMerge(t *testing.T) {
	theirs := deployment("podinfo:0")
	theirs.UID = "u1"
	theirs.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	w := newWorld(t, theirs)
	patches := 0
	counting := interceptor.NewClient(w.Client.(client.WithWatch), interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
			patches++
			return c.Patch(ctx, o, patch, opts...)
		},
	})
	applier := newApplier(counting, w.clock)
	merge := func(value any, live *appsv1.Deployment, wantPatches int) {
		t.Helper()
		selector := map[string]any{"asleep": value}
		patch := map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"nodeSelector": selector}}}}
		if err := applier.Merge(t.Context(), patch, live); err != nil {
			t.Fatal(err)
		}
		if patches != wantPatches {
			t.Errorf("%d patches, want %d", patches, wantPatches)
		}
	}
	old := w.live(t)
	merge("yes", old, 1)
	merge("yes", old, 1) // the cache is behind
	if applier.Observed(old) {
		t.Error("what is older than our write counts as observed")
	}
	if got := w.live(t).Spec.Template.Spec.NodeSelector; got["asleep"] != "yes" || got["disk"] != "ssd" {
		t.Errorf("node selector %v", got)
	}
	if len(old.Spec.Template.Spec.NodeSelector) != 1 {
		t.Error("the cached object was changed")
	}
	merge(nil, w.live(t), 2)
	if got := w.live(t).Spec.Template.Spec.NodeSelector; len(got) != 1 || got["disk"] != "ssd" {
		t.Errorf("node selector %v", got)
	}
	merge("yes", w.live(t), 3)
	if w.live(t).Annotations[AppliedAnnotation] != "" {
		t.Error("the annotation was left on an object that is not ours")
	}

	gone := old.DeepCopy()
	gone.Name = "gone"
	if err := applier.Merge(t.Context(), map[string]any{}, gone); !apierrors.IsNotFound(err) {
		t.Errorf("error %v for an object that is gone", err)
	}
}
