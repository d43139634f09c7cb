package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// flaggerIncidents have Flagger itself, the newest that there is as a Go module, at work before this operator and after it.
var flaggerIncidents = []incident{
	{"Flagger before and after, weights", func(s *site) { testFlaggerAndBack(s, 25, nil) }},
	{"Flagger before and after, A/B testing", func(s *site) {
		testFlaggerAndBack(s, 100, func(a *v1beta1.CanaryAnalysis) {
			a.StepWeight, a.MaxWeight, a.Iterations = 0, 0, 3
			a.Match = []v1beta1.RawObject{{Raw: []byte(`{"headers": {"x-canary": {"exact": "insider"}}}`)}}
		})
	}},
}

// flaggersInterval is the shortest that Flagger has.
const flaggersInterval = "10s"

// testFlaggerAndBack has Flagger make the primary and begin a release; this operator takes over in the middle of it, brings
// it to its end and begins another, in the middle of which Flagger takes over. What Flagger has brought to an end is at
// rest with this operator. No request is lost, and no release begins by itself. at is the canary's share in the middle.
func testFlaggerAndBack(s *site, at int32, analysis func(*v1beta1.CanaryAnalysis)) {
	s.stop()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[0,"1"]}]}}`)
	}))
	s.t.Cleanup(server.Close)
	flagger := s.flagger(server.URL)
	s.create(s.deployment(oldImage))
	s.create(s.newCanary(func(c *v1beta1.Canary) {
		c.Spec.MetricsServer = server.URL
		c.Spec.Analysis.Interval = flaggersInterval
		c.Spec.Analysis.Metrics = []v1beta1.CanaryMetric{{Name: v1beta1.MetricRequestDuration, Interval: "1m", ThresholdRange: &v1beta1.CanaryThresholdRange{Max: new(5000.0)}}}
		c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight = 25, 50
		if analysis != nil {
			analysis(c.Spec.Analysis)
		}
	}))
	s.awaitPhase(v1beta1.PhaseInitialized)
	s.awaitDrained()
	p := s.probe(app)

	s.release(newImage)
	s.awaitShare(at)
	flagger.Stop(10 * time.Second)
	taken := s.probe(app)
	s.operate()
	s.awaitEnd()
	taken.stop(0).wantNever(s.t, "the canary's share falls before the promotion", func(m moment) bool {
		return m.phase == v1beta1.PhaseProgressing && max(m.canary, m.matched) < at
	})
	s.wantImage(newImage)

	s.release(oldImage)
	s.awaitShare(at)
	s.stop()
	flagger = s.flagger(server.URL)
	s.await("Flagger to have it", func(ctx context.Context) error {
		st, err := s.status(ctx)
		if err == nil && strings.Contains(st.LastAppliedSpec, "-") {
			err = errNotYet // it is a revision of this operator
		}
		return err
	})
	s.awaitEnd()
	s.wantImage(oldImage)
	flagger.Stop(10 * time.Second)

	remaining := s.probe(app)
	s.operate()
	s.await("this operator to have it", func(ctx context.Context) error {
		st, err := s.status(ctx)
		if err == nil && st.Identity == nil {
			err = errNotYet
		}
		return err
	})
	s.awaitSettled(v1beta1.PhaseSucceeded)
	remaining.stop(0).wantNever(s.t, "a release begins by itself", func(m moment) bool { return m.phase != v1beta1.PhaseSucceeded })
	p.stop(0)
}

// flagger starts Flagger for the namespace.
func (s *site) flagger(metricsServer string) *cluster.Program {
	s.t.Helper()
	binary, err := cluster.Binary("flagger")
	if err != nil {
		s.t.Fatal(err)
	}
	program, err := s.cluster.StartProgram("flagger-"+s.namespace, nil, binary, "-kubeconfig", s.cluster.Kubeconfig(), "-namespace", s.namespace,
		"-mesh-provider", "istio", "-metrics-server", metricsServer, "-control-loop-interval", "2s", "-port", "0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		program.Stop(0)
		if log, err := os.ReadFile(program.Log()); s.t.Failed() && err == nil {
			s.t.Logf("Flagger says:\n%s", log)
		}
	})
	return program
}

// awaitEnd waits until the release has succeeded and the target has no pods; Flagger's steps take 10 s each.
func (s *site) awaitEnd() {
	s.t.Helper()
	err := rig.Await(s.t.Context(), "the end of the release", 3*time.Minute, func(ctx context.Context) error {
		st, err := s.status(ctx)
		if err == nil && st.Phase != v1beta1.PhaseSucceeded {
			err = fmt.Errorf("it is %+v", st)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.awaitDrained()
}

// awaitShare waits until the canary has this share of the requests without condition, or of those that match.
func (s *site) awaitShare(share int32) {
	s.t.Helper()
	s.await(fmt.Sprintf("a share of %d%%", share), func(ctx context.Context) error {
		from, err := s.records.now(ctx, s.namespace)
		if err != nil {
			return err
		}
		story := (&probe{site: s, apex: app, from: from}).tell(ctx)
		if end := story[len(story)-1]; max(end.canary, end.matched) != share {
			st, err := s.status(ctx)
			return errors.Join(fmt.Errorf("it is %v; the status is %+v", end, st), err)
		}
		return nil
	})
}

func (s *site) wantImage(image string) {
	s.t.Helper()
	if got := s.primaryImage(); got != image {
		s.t.Errorf("the primary runs %s, want %s", got, image)
	}
}
