package workload_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/workload"
)

func TestInterrupted(t *testing.T) {
	of := func(n int32) *int32 { return &n }
	number := func(n int32) *intstr.IntOrString { return new(intstr.FromInt32(n)) }
	percent := func(s string) *intstr.IntOrString { return new(intstr.FromString(s)) }
	rolling := func(pods int32, unavailable *intstr.IntOrString) client.Object {
		return &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: of(pods), Strategy: appsv1.DeploymentStrategy{
			Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: unavailable},
		}}}
	}
	daemon := func(nodes int32, surge, unavailable *intstr.IntOrString) client.Object {
		d := &appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
			RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxSurge: surge, MaxUnavailable: unavailable},
		}}}
		d.Status.DesiredNumberScheduled = nodes
		return d
	}
	stateful := func(pods int32, r *appsv1.RollingUpdateStatefulSetStrategy) client.Object {
		return &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Replicas: of(pods), UpdateStrategy: appsv1.StatefulSetUpdateStrategy{RollingUpdate: r}}}
	}
	for name, tc := range map[string]struct {
		of   client.Object
		want bool
	}{
		"deployment":                           {of: &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: of(1)}}},
		"deployment that is recreated":         {of: &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: of(5), Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}}}, want: true},
		"rolling, a quarter of 3":              {of: rolling(3, percent("25%"))},
		"rolling, all at once":                 {of: rolling(3, percent("100%")), want: true},
		"rolling, one of one":                  {of: rolling(1, number(1)), want: true},
		"rolling, none of one":                 {of: rolling(1, number(0))},
		"daemon set of one node":               {of: daemon(1, number(0), number(1)), want: true},
		"daemon set of one node with a surge":  {of: daemon(1, number(1), number(0))},
		"daemon set of two nodes":              {of: daemon(2, nil, number(1))},
		"daemon set of two nodes, all at once": {of: daemon(2, nil, percent("100%")), want: true},
		"stateful set of one":                  {of: stateful(1, nil), want: true},
		"stateful set of two":                  {of: stateful(2, nil)},
		"stateful set of two, two at a time":   {of: stateful(2, &appsv1.RollingUpdateStatefulSetStrategy{MaxUnavailable: number(2)}), want: true},
		"stateful set of one, partition":       {of: stateful(1, &appsv1.RollingUpdateStatefulSetStrategy{}), want: true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := workload.Observe(tc.of, "", 100).Interrupted; got != tc.want {
				t.Errorf("got %t", got)
			}
		})
	}
}
