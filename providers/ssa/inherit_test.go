package ssa

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestInherits(t *testing.T) {
	owned := []metav1.OwnerReference{{Kind: "Canary", Name: "podinfo", UID: "c1", Controller: new(true)}}
	for name, tc := range map[string]struct {
		desired, live metav1.ObjectMeta
		want          bool
	}{
		"another operator made it":    {metav1.ObjectMeta{OwnerReferences: owned}, metav1.ObjectMeta{UID: "d1", OwnerReferences: owned}, true},
		"and it lost its owner":       {metav1.ObjectMeta{OwnerReferences: owned}, metav1.ObjectMeta{UID: "d1"}, true},
		"we wrote it before":          {metav1.ObjectMeta{OwnerReferences: owned}, metav1.ObjectMeta{UID: "d1", Annotations: map[string]string{AppliedAnnotation: "1-x"}}, false},
		"it is not there":             {metav1.ObjectMeta{OwnerReferences: owned}, metav1.ObjectMeta{}, false},
		"it is a user's and stays so": {metav1.ObjectMeta{}, metav1.ObjectMeta{UID: "d1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := inherits(&appsv1.Deployment{ObjectMeta: tc.desired}, &appsv1.Deployment{ObjectMeta: tc.live}); got != tc.want {
				t.Errorf("got %t", got)
			}
		})
	}
}
