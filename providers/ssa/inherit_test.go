package ssa

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func TestInherits(t *testing.T) {
	owned := []metav1.OwnerReference{{Kind: "Canary", Name: "podinfo", UID: "c1", Controller: new(true)}}
	marked := map[string]string{ownership.Annotation: "podinfo"}
	for name, tc := range map[string]struct {
		desired, live metav1.ObjectMeta
		want          bool
	}{
		"another operator made it":    {metav1.ObjectMeta{Annotations: marked}, metav1.ObjectMeta{UID: "d1", OwnerReferences: owned}, true},
		"and it lost its owner":       {metav1.ObjectMeta{Annotations: marked}, metav1.ObjectMeta{UID: "d1"}, true},
		"we wrote it before":          {metav1.ObjectMeta{Annotations: marked}, metav1.ObjectMeta{UID: "d1", Annotations: map[string]string{AppliedAnnotation: "1-x"}}, false},
		"it is not there":             {metav1.ObjectMeta{Annotations: marked}, metav1.ObjectMeta{}, false},
		"it is a user's and stays so": {metav1.ObjectMeta{}, metav1.ObjectMeta{UID: "d1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := inherits(&appsv1.Deployment{ObjectMeta: tc.desired}, &appsv1.Deployment{ObjectMeta: tc.live}); got != tc.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

// What was made for a Canary loses the owner references to it, whoever wrote them and
// also when nothing else differs; a user's object keeps its own.
func TestReferencesAreTakenAway(t *testing.T) {
	canary := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "c1"}}
	others := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "theirs", UID: "t1"}
	references := []metav1.OwnerReference{others, *metav1.NewControllerRef(canary, v1beta1.GroupVersion.WithKind(v1beta1.CanaryKind))}
	desired := func() *corev1.ConfigMap {
		c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "a"}, Data: map[string]string{"k": "v"}}
		ownership.For(canary).Mark(c)
		return c
	}
	refer := func(t *testing.T, w *world) {
		t.Helper()
		live := &corev1.ConfigMap{}
		if err := w.Get(t.Context(), client.ObjectKeyFromObject(desired()), live); err != nil {
			t.Fatal(err)
		}
		live.OwnerReferences = references
		if err := w.Update(t.Context(), live); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		before func(t *testing.T, w *world, apply func(*corev1.ConfigMap))
		intent *corev1.ConfigMap
		want   []metav1.OwnerReference
	}{
		"nothing else differs": {
			before: func(t *testing.T, w *world, apply func(*corev1.ConfigMap)) { apply(desired()); refer(t, w) },
			intent: desired(), want: references[:1],
		},
		"the intent differs too": {
			before: func(t *testing.T, w *world, apply func(*corev1.ConfigMap)) {
				older := desired()
				older.Data = nil
				apply(older)
				refer(t, w)
			},
			intent: desired(), want: references[:1],
		},
		"a user's": {
			before: func(t *testing.T, w *world, apply func(*corev1.ConfigMap)) {
				apply(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "a"}})
				refer(t, w)
			},
			intent: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "a"}}, want: references,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			apply := func(intent *corev1.ConfigMap) {
				t.Helper()
				if err := w.applier.Apply(t.Context(), intent); err != nil {
					t.Fatal(err)
				}
			}
			tc.before(t, w, apply)
			apply(tc.intent.DeepCopy())
			live := &corev1.ConfigMap{}
			if err := w.Get(t.Context(), client.ObjectKeyFromObject(desired()), live); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, live.OwnerReferences); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if same, err := w.applier.InSync(t.Context(), tc.intent.DeepCopy()); err != nil || !same {
				t.Errorf("in sync: %t, %v", same, err)
			}
			apply(tc.intent.DeepCopy())
			again := &corev1.ConfigMap{}
			if err := w.Get(t.Context(), client.ObjectKeyFromObject(desired()), again); err != nil || again.ResourceVersion != live.ResourceVersion {
				t.Errorf("it was written once more: %v", err)
			}
		})
	}
	t.Run("is a difference", func(t *testing.T) {
		w := newWorld(t)
		if err := w.applier.Apply(t.Context(), desired()); err != nil {
			t.Fatal(err)
		}
		refer(t, w)
		if same, err := w.applier.InSync(t.Context(), desired()); err != nil || same {
			t.Errorf("in sync: %t, %v", same, err)
		}
	})
}
