package kube

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

func TestGet(t *testing.T) {
	api := fake.NewClientBuilder().WithObjects(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"}}).Build()
	if got, err := Get[corev1.Service](t.Context(), api, "test", "podinfo"); err != nil || got == nil || got.Name != "podinfo" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := Get[corev1.Service](t.Context(), api, "test", "other"); err != nil || got != nil {
		t.Errorf("one that is not there: %+v, %v", got, err)
	}
}

func TestIgnoreChanged(t *testing.T) {
	canaries := schema.GroupResource{Group: "flagger.app", Resource: "canaries"}
	for name, tc := range map[string]struct {
		err     error
		wantErr bool
	}{
		"changed":     {err: apierrors.NewConflict(canaries, "podinfo", errors.New("changed"))},
		"deleted":     {err: apierrors.NewNotFound(canaries, "podinfo")},
		"not allowed": {err: apierrors.NewForbidden(canaries, "podinfo", errors.New("no")), wantErr: true},
	} {
		t.Run(name, func(t *testing.T) {
			if err := IgnoreChanged(tc.err); (err != nil) != tc.wantErr {
				t.Errorf("error %v", err)
			}
		})
	}
}
