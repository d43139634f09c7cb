package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/tracing/tracingtest"
)

var tracingIncidents = []incident{
	{"a release traced over a restart", testTraced},
}

// testTraced has an operator end in mid-release: what it and the next one send is one trace.
func testTraced(s *site) {
	to := tracingtest.NewReceiver(s.t)
	again := func() {
		s.stop()
		s.operate("-otlp-endpoint", to.URL)
	}
	again()
	s.begin(nil, func(c *v1beta1.Canary) {
		c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight, c.Spec.Analysis.StepWeights = 0, 0, []int32{20, 40}
		c.Spec.Analysis.Webhooks = []v1beta1.CanaryWebhook{
			{Name: "acceptance", Type: v1beta1.PreRolloutHook, URL: s.metrics.URL},
			{Name: "load", Type: v1beta1.RolloutHook, URL: s.metrics.URL},
			{Name: "report", Type: v1beta1.PostRolloutHook, URL: s.metrics.URL},
		}
	})
	s.release(newImage)
	s.awaitStep(2)
	again()
	s.awaitSettled(v1beta1.PhaseSucceeded)
	const release = "release "
	root := release + s.namespace + "/" + app
	want := []string{
		root,
		root + " > canary becomes ready",
		root + " > canary becomes ready > hook acceptance",
		root + " > hook report",
		root + " > promotion",
		root + " > step 1",
		root + " > step 1 > check health",
		root + " > step 1 > hook load",
		root + " > step 2",
		root + " > step 2 > check health",
		root + " > step 2 > hook load",
	}
	s.await("the whole trace", func(context.Context) error {
		got, err := to.Trace()
		if err != nil {
			return fmt.Errorf("%w: %v", err, got.Names())
		}
		if diff := cmp.Diff(want, got.Names()); diff != "" {
			return fmt.Errorf("spans (-want +got)\n%s", diff)
		}
		if is := tracingtest.Attribute(got.Span(release), "sluice.outcome"); is != "promoted" {
			return fmt.Errorf("the release is %q", is)
		}
		return nil
	})
	s.stop()
	if got, err := to.Trace(); err != nil || !slices.Equal(got.Names(), want) {
		s.t.Errorf("at the end: %v %v", got.Names(), err)
	}
}
