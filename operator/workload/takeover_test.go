package workload_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/operator/workload"
)

func apart(from string) *corev1.Affinity {
	return &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
		TopologyKey: "zone", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": from}},
	}}}}
}

// Pain 7: what Flagger made of a target that nobody touched is its copy, and stays
// what it is: no release begins and no pod is replaced.
func TestKeepTemplate(t *testing.T) {
	for name, tc := range map[string]struct {
		target  func(*appsv1.Deployment)
		primary func(*appsv1.Deployment)
		want    bool
	}{
		"as Flagger copies it": {want: true},
		"selectors that name the label's value, which is not the target's name": {
			target:  func(d *appsv1.Deployment) { d.Name, d.Spec.Template.Spec.Affinity = "shop", apart("podinfo") },
			primary: func(d *appsv1.Deployment) { d.Spec.Template.Spec.Affinity = apart("podinfo") },
			want:    true,
		},
		"selectors that name the target": {
			target:  func(d *appsv1.Deployment) { d.Name, d.Spec.Template.Spec.Affinity = "shop", apart("shop") },
			primary: func(d *appsv1.Deployment) { d.Spec.Template.Spec.Affinity = apart("shop-primary") },
			want:    true,
		},
		"another image": {primary: func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "podinfo:0" }},
		"selectors that name another app": {
			target:  func(d *appsv1.Deployment) { d.Spec.Template.Spec.Affinity = apart("cache") },
			primary: func(d *appsv1.Deployment) { d.Spec.Template.Spec.Affinity = apart("queue") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			target := newDeployment()
			if tc.target != nil {
				target.with(tc.target)
			}
			revision := revisionOf(t, target)
			live := target.DeepCopy()
			live.Name = target.Name + "-primary"
			live.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "podinfo-primary"}}
			live.Spec.Template.Labels["app"] = "podinfo-primary"
			live.Spec.Template.Annotations["flagger-id"] = "2f3e1bd4"
			if tc.primary != nil {
				tc.primary(live)
			}
			c := newCanary()
			c.Spec.TargetRef.Name = target.Name
			carried := workload.PrimaryRevision(c.Canary, target.Deployment, live, revision, defaults) == revision
			if carried != tc.want {
				t.Errorf("it is a copy: %t", carried)
			}
			next := primaryOf(t, target, live, defaults)
			kept, err := workload.KeepTemplate(next, live, target.Name, defaults)
			if err != nil || kept != tc.want {
				t.Fatalf("kept %t, %v", kept, err)
			}
			if diff := cmp.Diff(live.Spec.Template, next.Spec.Template); kept && diff != "" {
				t.Errorf("-live +next\n%s", diff)
			}
		})
	}
}
