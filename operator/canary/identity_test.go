package canary

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// A Canary whose target becomes one of another kind keeps the primary that
// serves, touches nothing, and goes on when the kind is set back.
func TestKindOfTargetChanges(t *testing.T) {
	for name, other := range map[string]client.Object{
		"DaemonSet":   &appsv1.DaemonSet{ObjectMeta: newTarget().ObjectMeta, Spec: appsv1.DaemonSetSpec{Selector: newTarget().Spec.Selector, Template: newTarget().Spec.Template}},
		"StatefulSet": &appsv1.StatefulSet{ObjectMeta: newTarget().ObjectMeta, Spec: appsv1.StatefulSetSpec{Selector: newTarget().Spec.Selector, Template: newTarget().Spec.Template}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newInitialized(t)
			if err := s.api.Create(t.Context(), other.DeepCopyObject().(client.Object)); err != nil {
				t.Fatal(err)
			}
			s.told()
			writes := len(s.worldWrites())
			s.setKind(name)
			s.settle()
			if got, want := s.condition(v1beta1.ConditionStalled), "True "+reasonImmutable; got != want {
				t.Errorf("Stalled is %q, want %q", got, want)
			}
			told := strings.Join(s.told(), "\n")
			for _, want := range []string{"spec.targetRef.kind", `"Deployment" can't be changed to "` + name + `"`} {
				if !strings.Contains(told, want) {
					t.Errorf("%q lacks %q", told, want)
				}
			}
			if extra := s.worldWrites()[writes:]; len(extra) > 0 {
				t.Errorf("writes: %v", extra)
			}
			s.setKind("Deployment")
			s.settle()
			if got := s.now().Status.Phase; got != v1beta1.PhaseInitialized {
				t.Errorf("set back it is %s", got)
			}
		})
	}
}

func (s *scene) setKind(kind string) {
	s.t.Helper()
	c := s.now()
	c.Spec.TargetRef.Kind = kind
	c.Generation++
	if err := s.api.Update(s.t.Context(), c); err != nil {
		s.t.Fatal(err)
	}
}

// What is not this Canary's is no primary of it.
func TestKindOfAnotherPrimary(t *testing.T) {
	for name, change := range map[string]func(*appsv1.StatefulSet){
		"somebody's own": func(*appsv1.StatefulSet) {},
		"of another": func(o *appsv1.StatefulSet) {
			o.OwnerReferences = []metav1.OwnerReference{{APIVersion: "a/v1", Kind: "Other", Name: "x", UID: "x", Controller: new(true)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo-primary"}}
			change(o)
			s := newScene(t, newCanary("podinfo").Canary, newTarget(), o)
			s.rollOut()
			s.rest()
			if got := s.now().Status.Phase; got != v1beta1.PhaseInitialized {
				t.Errorf("it is %s: %v", got, s.told())
			}
		})
	}
}
