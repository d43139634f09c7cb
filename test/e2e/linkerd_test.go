package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/rig"
)

// TestLinkerd is the life of an application with the linkerd provider: an HTTPRoute
// whose parent is the apex Service moves its requests, and Linkerd's metrics judge
// its releases. Routes of that form are obeyed here by what istiod tells a mesh client;
// nothing of Istio's own is written.
func TestLinkerd(t *testing.T) {
	t.Parallel()
	s := &linkerdStory{app: newApp(t, "linkerd")}
	s.deploy()
	s.routes = record[*gatewayv1.HTTPRoute](s.app, &gatewayv1.HTTPRouteList{})
	s.caller = s.call(rate)
	s.adoption()
	s.good()
	s.bad()
	s.deletion()
}

type linkerdStory struct {
	*app
	caller *caller
	routes *recording[*gatewayv1.HTTPRoute]
}

func (s *linkerdStory) adoption() {
	before := s.caller.report()
	s.apply(func(c *v1beta1.Canary) {
		c.Spec.Provider = v1beta1.ProviderLinkerd
		c.Spec.DrainDelaySeconds = new(int32(drainDelay / time.Second))
		a := c.Spec.Analysis
		a.Interval, a.Threshold, a.StepWeight, a.MaxWeight = "4s", 2, 25, 50
		for i := range a.Metrics {
			a.Metrics[i].Interval = "4s"
		}
	})
	s.awaitPhase(v1beta1.PhaseInitialized)
	s.awaitDrained()
	s.caller.awaitMore(rate)
	s.caller.wantNoFailure("adoption", before)
	s.wantParent()
}

// wantParent makes sure that the route is for the apex Service, as Linkerd takes it, and
// that the mesh has said that it accepts it, which the operator waits for.
func (s *linkerdStory) wantParent() {
	t := s.app.t
	t.Helper()
	want := []gatewayv1.ParentReference{{
		Group: new(gatewayv1.Group("")), Kind: new(gatewayv1.Kind("Service")), Name: rig.Name, Port: new(gatewayv1.PortNumber(9999)),
	}}
	r := get[gatewayv1.HTTPRoute](s.app, rig.Name)
	if diff := cmp.Diff(want, r.Spec.ParentRefs); diff != "" {
		t.Errorf("parents of the route (-want +got):\n%s", diff)
	}
	if p := r.Status.Parents; len(p) != 1 || !meta.IsStatusConditionTrue(p[0].Conditions, string(gatewayv1.RouteConditionAccepted)) {
		t.Errorf("the route counts although the mesh says %+v", p)
	}
	var list istionetworking.VirtualServiceList
	s.must(s.API.List(t.Context(), &list, client.InNamespace(s.Namespace)))
	if n := len(list.Items); n > 0 {
		t.Errorf("there are %d VirtualServices, want none", n)
	}
}

func (s *linkerdStory) good() {
	t, began, before := s.app.t, time.Now(), s.caller.report()
	h, err := s.Watch(t.Context())
	s.must(err)
	m := measure(t.Context(), s.caller)
	defer m.stop()
	s.release("6.0.1")
	s.awaitOutcome(v1beta1.PhaseSucceeded)
	s.awaitDrained()
	s.caller.awaitMore(rate)
	s.caller.wantNoFailure("good release", before)
	s.wantPrimary("6.0.1")
	s.wantWeightsOf(began, 0, 25, 50, 0)
	wantWeights(t, h, 0, 25, 50, 0)
	wantPhases(t, h, v1beta1.PhaseInitialized, v1beta1.PhaseProgressing, v1beta1.PhasePromoting, v1beta1.PhaseFinalising, v1beta1.PhaseSucceeded)
	wantConditions(t, h)
	wantShares(t, h, m)
	s.wantMeasured("request-success-rate", "request-duration")
}

// wantMeasured makes sure that the checks of the last step had values to judge.
func (s *linkerdStory) wantMeasured(names ...string) {
	t := s.app.t
	t.Helper()
	var got []string
	for _, c := range s.canary().Status.Checks {
		t.Logf("%s: %s", c.Name, c.Message)
		if c.Verdict == v1beta1.CheckPassed && c.Value != "" {
			got = append(got, c.Name)
		}
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Errorf("checks that passed with a value (-want +got):\n%s", diff)
	}
}

func (s *linkerdStory) bad() {
	t, began, before := s.app.t, time.Now(), s.caller.report()
	primary := get[appsv1.Deployment](s.app, primaryName)
	h, err := s.Watch(t.Context())
	s.must(err)
	m := measure(t.Context(), s.caller)
	defer m.stop()
	s.release("6.0.2", corev1.EnvVar{Name: "SLUICE_ERROR_PERCENT", Value: "50"})
	s.awaitOutcome(v1beta1.PhaseFailed)
	s.awaitDrained()
	s.awaitEvent(rig.Name, "AnalysisFailed", "podinfo:6.0.2", "request-success-rate is ", "podinfo-primary serves all traffic")
	s.wantWeightsOf(began, 0, 25, 0)
	wantConditions(t, h)
	wantShares(t, h, m)
	if now := get[appsv1.Deployment](s.app, primaryName); now.Generation != primary.Generation {
		t.Errorf("the primary was touched:\n%s", cmp.Diff(primary.Spec, now.Spec))
	}
	switch seen := s.caller.report().Sub(before); {
	case seen.ByWorkload[rig.Name].Failed == 0:
		t.Error("the bad canary failed no request, so this proves nothing")
	case seen.Failed != seen.ByWorkload[rig.Name].Failed:
		t.Errorf("%d requests failed, of which only %d were the bad canary's own: %v", seen.Failed, seen.ByWorkload[rig.Name].Failed, seen.Errors)
	}
}

func (s *linkerdStory) deletion() {
	s.release("6.0.1")
	s.awaitPhase(v1beta1.PhaseSucceeded)
	before := s.caller.report()
	s.must(s.API.Delete(s.app.t.Context(), s.canary()))
	s.await("the end of the Canary and of what was made for it", func(ctx context.Context) error {
		return errors.Join(
			s.gone(ctx, &v1beta1.Canary{}, rig.Name),
			s.gone(ctx, &gatewayv1.HTTPRoute{}, rig.Name),
			s.gone(ctx, &appsv1.Deployment{}, primaryName),
			s.noPods(ctx, primaryName),
		)
	})
	s.caller.awaitMore(rate)
	s.caller.wantNoFailure("deletion", before)
}

// wantWeightsOf compares what the mesh was asked to do one after the other: the canary's
// share, in percent.
func (s *linkerdStory) wantWeightsOf(since time.Time, want ...int32) {
	t := s.app.t
	t.Helper()
	got := []int32{0} // what the release began with, which may not be written anew
	for _, v := range s.routes.since(since) {
		weight, err := canaryBackend(v.object)
		if err != nil {
			t.Error(err)
		}
		got = append(got, weight)
	}
	if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
		t.Errorf("weights of the route (-want +got):\n%s", diff)
	}
}

// canaryBackend is the canary's share of a route that has one rule with both backends,
// whose weights sum to 100.
func canaryBackend(r *gatewayv1.HTTPRoute) (int32, error) {
	if len(r.Spec.Rules) != 1 {
		return 0, fmt.Errorf("the route has %d rules, want one", len(r.Spec.Rules))
	}
	weights := map[string]int32{}
	for _, b := range r.Spec.Rules[0].BackendRefs {
		weights[string(b.Name)] = *b.Weight
	}
	if len(weights) != 2 || weights[primaryName]+weights[canaryName] != 100 {
		return 0, fmt.Errorf("the route shares requests out as %v", weights)
	}
	return weights[canaryName], nil
}
