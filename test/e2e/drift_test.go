package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	istioapi "istio.io/api/networking/v1"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/rig"
)

// TestDrift has people edit by hand what the operator takes care of. It is put
// right at once, between releases and in the middle of one.
func TestDrift(t *testing.T) {
	t.Parallel()
	a, _ := begin(t, "drift", func(c *v1beta1.Canary) {
		c.Spec.Analysis.Interval = "1h"
		c.Spec.Analysis.StepWeight = 30
	})
	for _, state := range []struct {
		name   string
		weight int32
		enter  func()
	}{
		{"between releases", 0, func() {}},
		{"in mid-analysis", 30, func() {
			a.release("6.0.1")
			a.awaitWeight(30)
		}},
	} {
		state.enter()
		for _, drift := range []struct {
			name  string
			make  func(*app)
			wants func(context.Context, *app, int32) error
		}{
			{"weights of the VirtualService", otherWeights, routed},
			{"another destination in the VirtualService", otherDestination, routed},
			{"VirtualService deleted", deleteRoute, routed},
			{"selector of the primary Service", otherSelector(primaryName), selects(primaryName, primaryName)},
			{"selector of the canary Service", otherSelector(canaryName), selects(canaryName, rig.Name)},
			{"selector of the apex Service", otherSelector(rig.Name), selects(rig.Name, primaryName)},
		} {
			t.Run(state.name+"/"+drift.name, func(t *testing.T) {
				here := *a
				here.t = t
				here.await("the state before", func(ctx context.Context) error { return drift.wants(ctx, &here, state.weight) })
				drift.make(&here)
				here.await("the drift to be healed", func(ctx context.Context) error { return drift.wants(ctx, &here, state.weight) })
			})
		}
	}
	if got := replicas(get[appsv1.Deployment](a, primaryName)); got != 2 {
		t.Errorf("the primary has %d replicas, want 2", got)
	}
}

func (a *app) editRoute(change func(*istioapi.HTTPRoute)) {
	a.t.Helper()
	vs := get[istionetworking.VirtualService](a, rig.Name)
	change(vs.Spec.Http[0])
	a.must(a.API.Update(a.t.Context(), vs))
}

func otherWeights(a *app) {
	a.editRoute(func(r *istioapi.HTTPRoute) { r.Route[0].Weight, r.Route[1].Weight = 60, 40 })
}

func otherDestination(a *app) {
	a.editRoute(func(r *istioapi.HTTPRoute) { r.Route[0].Destination.Host = "elsewhere" })
}

func deleteRoute(a *app) {
	a.must(a.API.Delete(a.t.Context(), get[istionetworking.VirtualService](a, rig.Name)))
}

func routed(ctx context.Context, a *app, weight int32) error {
	var vs istionetworking.VirtualService
	if err := a.API.Get(ctx, a.key(rig.Name), &vs); err != nil {
		return err
	}
	if diff := cmp.Diff(map[string]int32{primaryName: 100 - weight, canaryName: weight}, route(&vs)); diff != "" {
		return fmt.Errorf("route (-want +got):\n%s", diff)
	}
	return nil
}

func otherSelector(service string) func(*app) {
	return func(a *app) {
		s := get[corev1.Service](a, service)
		edited := s.DeepCopy()
		edited.Spec.Selector = map[string]string{"app": "somebody-else"}
		a.must(a.API.Patch(a.t.Context(), edited, client.MergeFrom(s)))
	}
}

func selects(service, pods string) func(context.Context, *app, int32) error {
	return func(ctx context.Context, a *app, _ int32) error {
		var s corev1.Service
		if err := a.API.Get(ctx, a.key(service), &s); err != nil {
			return err
		}
		if diff := cmp.Diff(map[string]string{"app": pods}, s.Spec.Selector); diff != "" {
			return fmt.Errorf("selector (-want +got):\n%s", diff)
		}
		return nil
	}
}
