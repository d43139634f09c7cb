package workload_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/workload"
)

func TestRestarts(t *testing.T) {
	deployment := func(maxUnavailable string) client.Object {
		value := intstr.Parse(maxUnavailable)
		return &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Strategy: appsv1.DeploymentStrategy{
			Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &value},
		}}}
	}
	fixed := func(maxUnavailable string) client.Object {
		d := deployment(maxUnavailable).(*appsv1.Deployment)
		d.Spec.Strategy.RollingUpdate.MaxSurge = new(intstr.FromInt32(0))
		return d
	}
	daemonSet := func(maxUnavailable, maxSurge string) client.Object {
		down, up := intstr.Parse(maxUnavailable), intstr.Parse(maxSurge)
		return &appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
			RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &down, MaxSurge: &up},
		}}}
	}
	for name, tc := range map[string]struct {
		of   client.Object
		pods int32
		want bool
	}{
		"a Deployment that recreates": {of: &appsv1.Deployment{Spec: appsv1.DeploymentSpec{
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
		}}, pods: 5, want: true},
		"a Deployment as it comes":                     {of: deployment("25%"), pods: 3},
		"a Deployment of one pod":                      {of: deployment("25%"), pods: 1},
		"a Deployment whose pods may all go":           {of: deployment("100%"), pods: 3, want: true},
		"a Deployment that may lose as many as it has": {of: deployment("1"), pods: 1, want: true},
		"a Deployment that may not surge":              {of: fixed("50%"), pods: 1, want: true},
		"a Deployment of pods that may not surge":      {of: fixed("25%"), pods: 3},
		"a Deployment without defaults":                {of: &appsv1.Deployment{}, pods: 1},
		"a DaemonSet on several nodes":                 {of: daemonSet("1", "0"), pods: 2},
		"a DaemonSet on one node":                      {of: daemonSet("1", "0"), pods: 1, want: true},
		"a DaemonSet that surges":                      {of: daemonSet("0", "1"), pods: 1},
		"a DaemonSet whose share is rounded up":        {of: daemonSet("60%", "0"), pods: 2, want: true},
		"a DaemonSet without defaults":                 {of: &appsv1.DaemonSet{}, pods: 1, want: true},
		"a StatefulSet of several pods":                {of: &appsv1.StatefulSet{}, pods: 2},
		"a StatefulSet of one pod":                     {of: &appsv1.StatefulSet{}, pods: 1, want: true},
		"no pods at all":                               {of: deployment("25%")},
		"nothing":                                      {pods: 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := workload.Restarts(tc.of, tc.pods); got != tc.want {
				t.Errorf("Restarts(%d pods) = %t, want %t", tc.pods, got, tc.want)
			}
		})
	}
}
