package kube

import (
	"fmt"
	"maps"
	"runtime"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func isSame(a, b map[string]string) bool { return fmt.Sprintf("%p", a) == fmt.Sprintf("%p", b) }

// Objects with the same labels have one map of them, and say what they said.
func TestShare(t *testing.T) {
	labels := func() map[string]string { return map[string]string{"app": "web", "tier": "front"} }
	meta := func() metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: "web", Labels: labels(), Annotations: map[string]string{"a": "b"}}
	}
	share := Share(same)
	d := &appsv1.Deployment{ObjectMeta: meta(), Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels()}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels()}},
	}}
	s := &corev1.Service{ObjectMeta: meta(), Spec: corev1.ServiceSpec{Selector: labels()}}
	p := &metav1.PartialObjectMetadata{ObjectMeta: meta()}
	was := []any{d.DeepCopy(), s.DeepCopy(), p.DeepCopy()}
	for i, o := range []any{d, s, p} {
		got, err := share(o)
		if err != nil || !equality.Semantic.DeepEqual(got, was[i]) {
			t.Errorf("%T: %v, %+v", o, err, got)
		}
	}
	for name, m := range map[string]map[string]string{
		"the Deployment's selector": d.Spec.Selector.MatchLabels, "its pods": d.Spec.Template.Labels, "the Service": s.Labels, "its selector": s.Spec.Selector, "metadata": p.Labels,
	} {
		if !isSame(m, d.Labels) {
			t.Errorf("%s: it has a map of its own", name)
		}
	}
	if isSame(d.Labels, d.Annotations) {
		t.Error("what differs is shared")
	}
	other := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web\x00tier", "": "front"}}}
	if _, err := share(other); err != nil || isSame(other.Labels, d.Labels) {
		t.Error("what differs is shared")
	}
}

// Texts that many objects have are there once, and say what they said.
func TestShareTexts(t *testing.T) {
	const many, length = 1000, 1 << 10
	share := Share(same)
	all := make([]appsv1.Deployment, many)
	for i := range all {
		all[i].Status.Conditions = make([]appsv1.DeploymentCondition, 1)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	text := func(of string) string { return strings.Repeat(of, length) }
	before := heap()
	for i := range all {
		all[i].Namespace = text("n")
		all[i].Status.Conditions[0] = appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: text("r"), Message: text("m")}
		was := all[i].DeepCopy()
		if _, err := share(&all[i]); err != nil || !equality.Semantic.DeepEqual(&all[i], was) {
			t.Fatalf("%v, %+v", err, all[i])
		}
	}
	const most = many * length / 2 // less than one of the three by itself
	if grown := int64(heap()) - int64(before); grown > most {
		t.Errorf("%d objects that say the same weigh %d bytes, more than %d", many, grown, most)
	}
	runtime.KeepAlive(all)
}

// What says much is not looked at, as it is nobody else's.
func TestShareMany(t *testing.T) {
	many := map[string]string{}
	for i := range fewLabels + 1 {
		many[fmt.Sprint(i)] = ""
	}
	s := &Sharer{}
	if a, b := maps.Clone(many), maps.Clone(many); !isSame(s.Map(a), a) || !isSame(s.Map(b), b) {
		t.Error("it is")
	}
	if s.Map(map[string]string{}) != nil {
		t.Error("an empty map takes room")
	}
}

// The status of Services and autoscalers is read by nobody, and that of workloads by all.
func TestShareDropsStatus(t *testing.T) {
	s := &corev1.Service{Status: corev1.ServiceStatus{Conditions: []metav1.Condition{{Type: "a"}}}}
	h := &autoscalingv2.HorizontalPodAutoscaler{Status: autoscalingv2.HorizontalPodAutoscalerStatus{DesiredReplicas: 5}}
	d := &appsv1.Deployment{Status: appsv1.DeploymentStatus{Replicas: 5}}
	for _, o := range []any{s, h, d} {
		if _, err := Share(same)(o); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.Status.Conditions) > 0 || h.Status.DesiredReplicas > 0 || d.Status.Replicas != 5 {
		t.Errorf("%+v, %+v, %+v", s.Status, h.Status, d.Status)
	}
}
