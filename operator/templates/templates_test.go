package templates

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
)

var labels = map[string]string{"app": "podinfo-primary"}

func meta(name string, annotations map[string]string, owner client.Object) metav1.ObjectMeta {
	out := metav1.ObjectMeta{Namespace: "test", Name: name, Labels: labels, Annotations: annotations}
	if owner != nil {
		out.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "x", Name: owner.GetName(), UID: owner.GetUID(), Controller: new(true)}}
	}
	return out
}

func pods(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "podinfo-primary"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "podinfod", Image: image}}},
	}
}

// TestOf reads what is kept of each kind of workload, the latest first, and nothing of another's.
func TestOf(t *testing.T) {
	selector := &metav1.LabelSelector{MatchLabels: labels}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo-primary", UID: "d"}, Spec: appsv1.DeploymentSpec{Selector: selector, Template: pods("podinfo:2")}}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo-primary", UID: "s"}, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: pods("podinfo:2")}}
	daemons := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo-primary", UID: "n"}, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: pods("podinfo:2")}}
	replicaSet := func(name, number, revision, image string, owner client.Object) client.Object {
		s := &appsv1.ReplicaSet{ObjectMeta: meta(name, map[string]string{numberAnnotation: number, "sluice.dev/revision": revision}, owner)}
		s.Spec.Template = pods(image)
		s.Spec.Template.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = "5d9c7b"
		return s
	}
	revision := func(name string, number int64, revision, image string, owner client.Object) client.Object {
		return &appsv1.ControllerRevision{
			ObjectMeta: meta(name, map[string]string{"sluice.dev/revision": revision}, owner), Revision: number,
			Data: runtime.RawExtension{Raw: []byte(`{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"podinfo-primary"}},"spec":{"containers":[{"name":"podinfod","image":"` + image + `"}]}}}}`)},
		}
	}
	c := fakeclient.NewClientBuilder().WithObjects(
		replicaSet("a", "9", "s2-a", "podinfo:1", d), replicaSet("b", "10", "s2-b", "podinfo:2", d), replicaSet("c", "8", "s2-a", "podinfo:0", d),
		replicaSet("d", "7", "", "podinfo:by-hand", d), replicaSet("e", "11", "s2-e", "podinfo:of-another", set), replicaSet("f", "12", "s2-f", "podinfo:of-nobody", nil),
		revision("g", 1, "s2-a", "podinfo:1", set), revision("h", 2, "s2-b", "podinfo:2", set), revision("i", 3, "s2-i", "podinfo:of-another", daemons),
	).Build()
	for name, tc := range map[string]struct {
		of        client.Object
		images    []string
		revisions []string
	}{
		"Deployment":  {d, []string{"podinfo:2", "podinfo:1", "podinfo:0", "podinfo:by-hand"}, []string{"s2-b", "s2-a"}},
		"StatefulSet": {set, []string{"podinfo:2", "podinfo:1"}, []string{"s2-b", "s2-a"}},
		"DaemonSet":   {daemons, []string{"podinfo:of-another"}, []string{"s2-i"}},
		"Service":     {&corev1.Service{}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := Of(t.Context(), c, tc.of)
			if err != nil {
				t.Fatal(err)
			}
			var images []string
			for i := range all {
				images = append(images, all[i].Pods.Spec.Containers[0].Image)
				if diff := cmp.Diff(labels, all[i].Pods.Labels); diff != "" {
					t.Errorf("labels of %s: -want +got\n%s", all[i].Name, diff)
				}
				if got := all[i].With(tc.of); got.GetUID() != tc.of.GetUID() || cmp.Diff(&all[i].Pods, podsOf(got)) != "" {
					t.Errorf("%s as a workload: %+v", all[i].Name, got)
				}
			}
			if diff := cmp.Diff(tc.images, images); diff != "" {
				t.Errorf("images: -want +got\n%s", diff)
			}
			if diff := cmp.Diff(tc.revisions, Revisions(all)); diff != "" {
				t.Errorf("revisions: -want +got\n%s", diff)
			}
			if Find(all, "") != nil || Find(all, "s2-none") != nil {
				t.Error("it finds what there is not")
			}
		})
	}
	all, err := Of(t.Context(), c, d)
	if found := Find(all, "s2-a"); err != nil || found == nil || found.Name != "a" {
		t.Errorf("of two templates of a revision it finds %+v, error %v", found, err)
	}
}

func podsOf(o client.Object) *corev1.PodTemplateSpec {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Template
	case *appsv1.StatefulSet:
		return &o.Spec.Template
	case *appsv1.DaemonSet:
		return &o.Spec.Template
	default:
		return nil
	}
}
