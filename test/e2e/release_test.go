package e2e

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// TestRelease is the main job: an application that serves is taken over, a good
// release is promoted, and bad ones are rolled back, while 200 requests a second
// go through the mesh.
func TestRelease(t *testing.T) {
	s := &releaseStory{app: newApp(t, "release")}
	s.deploy()
	s.caller = s.call(200)
	for _, chapter := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"the running application is taken over", s.initialization},
		{"a good release is promoted", s.good},
		{"a release that fails requests is rolled back", s.failing},
		{"a release that is slow is rolled back", s.slow},
		{"all of it reads as a story", s.seen},
	} {
		if !t.Run(chapter.name, chapter.run) {
			return // the rest would make no sense
		}
	}
}

const drainDelay = 3 * time.Second

type releaseStory struct {
	*app
	caller *caller
}

func (s *releaseStory) initialization(t *testing.T) {
	s.app.t, s.caller.t = t, t
	before := s.caller.report()
	h, err := s.Watch(t.Context())
	s.must(err)
	s.apply(func(c *v1beta1.Canary) {
		c.Spec.Analysis.Interval = "4s"
		c.Spec.DrainDelaySeconds = new(int32(drainDelay / time.Second))
		for i := range c.Spec.Analysis.Metrics {
			c.Spec.Analysis.Metrics[i].Interval = "4s"
		}
	})
	s.awaitPhase(v1beta1.PhaseInitialized)
	s.awaitDrained()
	s.caller.awaitMore(200)
	s.caller.wantNoFailure("initialization", before)
	wantPhases(t, h, v1beta1.PhaseInitializing, v1beta1.PhaseInitialized)
	wantConditions(t, h)
	s.wantTelemetry(1, 0)
}

func (s *releaseStory) good(t *testing.T) {
	s.app.t, s.caller.t = t, t
	before := s.caller.report()
	h, err := s.Watch(t.Context())
	s.must(err)
	m := measure(t.Context(), s.caller)
	s.release("6.0.1")

	s.awaitPhase(v1beta1.PhaseProgressing)
	waited := make(chan error, 1)
	go func() {
		_, err := s.Kubectl(t.Context(), "wait", "canary/podinfo", "--for=condition=promoted", "--timeout=2m")
		waited <- err
	}()
	s.awaitWeight(20)
	s.wantTelemetry(0, 20)

	s.awaitPhase(v1beta1.PhaseSucceeded)
	if err := <-waited; err != nil {
		t.Error(err)
	}
	s.wantDrainDelay(h)
	s.awaitDrained()
	s.caller.awaitMore(200)
	m.stop()
	s.caller.wantNoFailure("the good release", before)
	wantShares(t, h, m)
	wantWeights(t, h, 0, 10, 20, 30, 40, 50, 0)
	wantPhases(t, h, v1beta1.PhaseInitialized, v1beta1.PhaseProgressing, v1beta1.PhasePromoting, v1beta1.PhaseFinalising, v1beta1.PhaseSucceeded)
	wantConditions(t, h)
	if got := image(get[appsv1.Deployment](s.app, primaryName)); got != "6.0.1" {
		t.Errorf("the primary runs %s, want 6.0.1", got)
	}
	s.wantTelemetry(1, 0)
	s.wantSeries(`flagger_canary_successes_total{analysis_status="completed",deployment_strategy="canary",name="podinfo",namespace="release"} 1`)
}

// wantDrainDelay makes sure that the canary's pods stay for the drain delay
// after their weight has become 0.
func (s *releaseStory) wantDrainDelay(h *rig.History) {
	s.app.t.Helper()
	s.await("the target to be scaled to zero", func(ctx context.Context) error {
		var d appsv1.Deployment
		err := s.API.Get(ctx, s.key(rig.Name), &d)
		if err == nil && replicas(&d) > 0 {
			err = fmt.Errorf("it has %d pods", replicas(&d))
		}
		return err
	})
	seen := spans(moments(s.app.t, h))
	stayed := time.Since(seen[len(seen)-1].to)
	if stayed < drainDelay-closing {
		s.app.t.Errorf("the canary's pods were taken away %v after their weight became 0, want %v", stayed, drainDelay)
	}
}

func (s *releaseStory) failing(t *testing.T) {
	s.app.t, s.caller.t = t, t
	s.bad("6.0.2", corev1.EnvVar{Name: "SLUICE_ERROR_PERCENT", Value: "50"}, "request-success-rate is ")
}

func (s *releaseStory) slow(t *testing.T) {
	s.app.t, s.caller.t = t, t
	seen := s.bad("6.0.3", corev1.EnvVar{Name: "SLUICE_DELAY_MS", Value: "800"}, "request-duration is ")
	if seen.Failed > 0 {
		t.Errorf("%d requests failed, want all of them answered, if late: %s", seen.Failed, strings.Join(seen.Errors, "; "))
	}
	s.wantSeries(`flagger_canary_failures_total{analysis_status="completed",deployment_strategy="canary",name="podinfo",namespace="release"} 2`)
}

// bad makes a release that must be rolled back for the reason why, and returns
// what the client saw of it.
func (s *releaseStory) bad(version string, fault corev1.EnvVar, why string) cluster.Report {
	t := s.app.t
	t.Helper()
	s.caller.awaitMore(100) // what the release before was asked last is counted by then
	before, primary := s.caller.report(), get[appsv1.Deployment](s.app, primaryName)
	h, err := s.Watch(t.Context())
	s.must(err)
	m := measure(t.Context(), s.caller)
	s.release(version, fault)
	s.awaitPhase(v1beta1.PhaseProgressing)
	s.awaitPhase(v1beta1.PhaseFailed)
	s.awaitDrained()
	m.stop()
	wantShares(t, h, m)
	wantConditions(t, h)
	wantWeights(t, h, 0, 10, 0)

	seen := s.caller.report().Sub(before)
	canary := seen.ByWorkload[rig.Name]
	t.Logf("%d requests, %d by the canary, of which %d failed", seen.Total, canary.Requests, canary.Failed)
	if seen.Failed != canary.Failed {
		t.Errorf("%d requests failed that the canary did not answer: %s", seen.Failed-canary.Failed, strings.Join(seen.Errors, "; "))
	}
	if share := seen.Share(rig.Name); share > 0.10 {
		t.Errorf("the canary answered %.1f%% of the requests, want no more than its weight of 10%%", 100*share)
	}
	c := s.canary()
	if c.Status.FailedChecks != c.Spec.Analysis.Threshold {
		t.Errorf("%d failed checks, want the threshold of %d", c.Status.FailedChecks, c.Spec.Analysis.Threshold)
	}
	if now := get[appsv1.Deployment](s.app, primaryName); now.Generation != primary.Generation {
		t.Errorf("the primary was touched:\n%s", cmp.Diff(primary.Spec, now.Spec))
	}
	s.awaitEvent(rig.Name, "AnalysisFailed", "podinfo:"+version, "failed check 3 of 3", why, "podinfo-primary serves all traffic")
	s.wantTelemetry(2, 0)
	return seen
}

// seen makes sure that a person can follow what happened with kubectl alone.
func (s *releaseStory) seen(t *testing.T) {
	s.app.t, s.caller.t = t, t
	for _, tc := range []struct {
		args []string
		want []string // regular expressions, in the order in which they match
	}{
		{
			args: []string{"get", "canaries"},
			want: []string{`^NAME +STATUS +WEIGHT +LASTTRANSITIONTIME\n`, `podinfo +Failed +0 +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n$`},
		},
		{
			args: []string{"get", "canaries", "-o", "wide"},
			want: []string{
				`^NAME +STATUS +WEIGHT +SUSPENDED +FAILEDCHECKS +INTERVAL +MIRROR +STEPWEIGHT +STEPWEIGHTS +MAXWEIGHT +LASTTRANSITIONTIME\n`,
				`podinfo +Failed +0 +3 +4s +10 +50 +\d{4}-`,
			},
		},
		{
			args: []string{"describe", "canary", "podinfo"},
			want: []string{
				`Name: +podinfo\n`, `Status:\n`, `Message: +failed check 3 of 3: request-duration is .*ms, above the maximum 500ms\n`,
				`Events:\n`,
				inOneSecond(`Initializing .*Creating podinfo-primary as a copy of Deployment/podinfo \(podinfo:6\.0\.0\)\n`, `Initialized .*podinfo-primary is ready and serves all traffic\n`),
				`Normal +NewRevision .*New revision of Deployment/podinfo \(podinfo:6\.0\.0 -> podinfo:6\.0\.1\)`,
				// Of what is said of each release in the same words there is one event, with a count.
				`Normal +WeightRaised .*All checks passed; step 2 of 5: 20% of the traffic goes to the canary\n`,
				`Normal +WeightRaised .*All checks passed; step 5 of 5: 50% of the traffic goes to the canary\n`,
				inOneSecond(`Promoting .*copying Deployment/podinfo \(podinfo:6\.0\.1\) to podinfo-primary\n`, `Promoted .*Promoted: podinfo-primary runs podinfo:6\.0\.1 and serves all traffic\n`),
				`Normal +NewRevision .*podinfo:6\.0\.1 -> podinfo:6\.0\.2`,
				`Warning +CheckFailed .*Failed check 1 of 3: request-success-rate is .*%, below the minimum 99%; the weight stays at 10%\n`,
				`Warning +AnalysisFailed .*Rolled back podinfo:6\.0\.2: failed check 3 of 3: request-success-rate`,
				`Normal +WeightRaised .*step 1 of 5: 10% of the traffic goes to the canary\n`,
				`Warning +AnalysisFailed .*Rolled back podinfo:6\.0\.3: failed check 3 of 3: request-duration`,
			},
		},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			s.app.t = t
			out, err := s.Kubectl(t.Context(), tc.args...)
			s.must(err)
			t.Log("\n" + out)
			remaining := out
			for _, want := range tc.want {
				at := regexp.MustCompile(want).FindStringIndex(remaining)
				if at == nil {
					t.Fatalf("%q is not in, or not in this place of\n%s", want, out)
				}
				remaining = remaining[at[1]:]
			}
		})
	}
}

// inOneSecond is two normal events of which either may be listed first: an event's time is in whole seconds.
func inOneSecond(one, other string) string {
	return "Normal +(" + one + " *Normal +" + other + "|" + other + " *Normal +" + one + ")"
}

// wantTelemetry waits until the operator publishes how the Canary stands.
func (s *releaseStory) wantTelemetry(status, weight int) {
	s.app.t.Helper()
	s.wantSeries(
		fmt.Sprintf(`flagger_canary_status{name="podinfo",namespace="release"} %d`, status),
		fmt.Sprintf(`flagger_canary_weight{namespace="release",workload="podinfo"} %d`, weight),
		fmt.Sprintf(`flagger_canary_weight{namespace="release",workload="podinfo-primary"} %d`, 100-weight),
		`flagger_canary_total{namespace="release"} 1`,
	)
}

func (s *releaseStory) wantSeries(series ...string) {
	s.app.t.Helper()
	s.await("telemetry", func(ctx context.Context) error {
		all, err := s.app.Telemetry(ctx)
		if err != nil {
			return err
		}
		lines := strings.Split(all, "\n")
		for _, want := range series {
			if !slices.Contains(lines, want) {
				err = errors.Join(err, fmt.Errorf("there is no %s", want))
			}
		}
		if err != nil {
			lines = slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "flagger_") })
			return fmt.Errorf("%w among\n%s", err, strings.Join(lines, "\n"))
		}
		return nil
	})
}

// wantConditions makes sure that at every moment the conditions said what the
// phase says, so that whoever waits for one of them is right.
func wantConditions(t *testing.T, h *rig.History) {
	t.Helper()
	type conditions struct{ Promoted, Ready, Reconciling, Stalled corev1.ConditionStatus }
	const absent = corev1.ConditionStatus("")
	underway := conditions{Promoted: corev1.ConditionUnknown, Ready: corev1.ConditionUnknown, Reconciling: corev1.ConditionTrue, Stalled: absent}
	done := conditions{Promoted: corev1.ConditionTrue, Ready: corev1.ConditionTrue, Reconciling: absent, Stalled: absent}
	failed := conditions{Promoted: corev1.ConditionFalse, Ready: corev1.ConditionFalse, Reconciling: absent, Stalled: corev1.ConditionTrue}
	table := map[v1beta1.CanaryPhase]conditions{
		v1beta1.PhaseInitializing: underway,
		v1beta1.PhaseInitialized:  done,
		v1beta1.PhaseProgressing:  underway,
		v1beta1.PhasePromoting:    underway,
		v1beta1.PhaseFinalising:   underway,
		v1beta1.PhaseSucceeded:    done,
		v1beta1.PhaseFailed:       failed,
	}
	for _, m := range moments(t, h) {
		if m.Status.Phase == "" {
			continue // not looked at by the operator yet
		}
		var got conditions
		for kind, into := range map[v1beta1.CanaryConditionType]*corev1.ConditionStatus{
			v1beta1.ConditionPromoted: &got.Promoted, v1beta1.ConditionReady: &got.Ready,
			v1beta1.ConditionReconciling: &got.Reconciling, v1beta1.ConditionStalled: &got.Stalled,
		} {
			c := m.Status.GetCondition(kind)
			if c == nil {
				continue
			}
			*into = c.Status
			if c.Reason == "" || c.Message == "" {
				t.Errorf("phase %s: condition %s has no reason or message: %+v", m.Status.Phase, kind, *c)
			}
		}
		want, known := table[m.Status.Phase]
		if diff := cmp.Diff(want, got); diff != "" || !known {
			t.Errorf("conditions of phase %s at %s (-want +got):\n%s", m.Status.Phase, m.At.Format(time.TimeOnly), diff)
		}
	}
}
