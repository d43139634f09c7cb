package workload_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
)

func TestObserve(t *testing.T) {
	for name, tc := range map[string]struct {
		of        deployment
		threshold int32
		wantReady bool
		want      []string // in the message
	}{
		"complete":         {of: newDeployment(), threshold: 100, wantReady: true},
		"replicas not set": {of: newDeployment().pods(1).with(func(d *appsv1.Deployment) { d.Spec.Replicas = nil }), threshold: 100, wantReady: true},
		"last change not acted on yet": {
			of: newDeployment().with(func(d *appsv1.Deployment) { d.Status.ObservedGeneration-- }), threshold: 100,
			want: []string{"not acted on"},
		},
		"scaled to zero":            {of: newDeployment().pods(0), threshold: 0, want: []string{"scaled to zero"}},
		"pods are missing":          {of: newDeployment().pods(4).status(3, 3, 3), threshold: 50, want: []string{"3 of 4 pods are of the present revision"}},
		"an old pod is left":        {of: newDeployment().status(3, 2, 2), threshold: 100, want: []string{"1 are of older ones"}},
		"all below the threshold":   {of: newDeployment().pods(4).status(4, 4, 3), threshold: 100, want: []string{"3 of 4 pods are available"}},
		"exactly at the threshold":  {of: newDeployment().pods(4).status(4, 4, 3), threshold: 75, wantReady: true},
		"just below the threshold":  {of: newDeployment().pods(4).status(4, 4, 3), threshold: 76, want: []string{"3 of 4 pods are available"}},
		"threshold 0 needs one pod": {of: newDeployment().status(2, 2, 0), threshold: 0, want: []string{"0 of 2 pods are available"}},
		"threshold 0 with one pod":  {of: newDeployment().status(2, 2, 1), threshold: 0, wantReady: true},
		"pods can't be created": {
			of:        newDeployment().status(0, 0, 0).condition(appsv1.DeploymentReplicaFailure, corev1.ConditionTrue),
			threshold: 100, want: []string{"0 of 2 pods", "(Because: of this)"},
		},
		"rollout is stuck": {
			of:        newDeployment().status(2, 2, 0).condition(appsv1.DeploymentProgressing, corev1.ConditionFalse),
			threshold: 100, want: []string{"0 of 2 pods", "(Because: of this)"},
		},
		"rollout goes on": {
			of:        newDeployment().status(2, 2, 0).condition(appsv1.DeploymentProgressing, corev1.ConditionTrue),
			threshold: 100, want: []string{"0 of 2 pods are available"},
		},
		"complete in spite of an old complaint": {
			of:        newDeployment().condition(appsv1.DeploymentReplicaFailure, corev1.ConditionTrue),
			threshold: 100, wantReady: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := workload.Observe(tc.of.Deployment, "s1-a", tc.threshold)
			if got.Ready != tc.wantReady || got.Ready != (got.Message == "") {
				t.Errorf("ready %v, message %q; want ready %v", got.Ready, got.Message, tc.wantReady)
			}
			for _, want := range tc.want {
				if !strings.Contains(got.Message, want) {
					t.Errorf("message %q lacks %q", got.Message, want)
				}
			}
			if complaint := strings.Contains(got.Message, "Because"); complaint != strings.Contains(strings.Join(tc.want, " "), "Because") {
				t.Errorf("message %q", got.Message)
			}
		})
	}
}

func TestObserveFields(t *testing.T) {
	got := workload.Observe(newDeployment().pods(3).status(3, 3, 2).Deployment, "s1-a", 50)
	want := release.Workload{Exists: true, UID: "t1", Generation: 3, Revision: "s1-a", Images: "podinfo:1", Replicas: 3, Available: 2, Ready: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got := workload.Observe(nil, "", 100); got != (release.Workload{}) {
		t.Errorf("no Deployment: %+v", got)
	}
}
