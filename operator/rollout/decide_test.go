package rollout_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/operator/rollout/hands"
)

const (
	revA = "s1-a"
	revB = "s1-b"
	revC = "s1-c"
)

var t0 = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// scene builds an observation: by default a Canary that is Initialized at
// revision A, with its primary ready, its target at zero and its route in sync.
type scene struct{ release.Observation }

func newScene() *scene {
	c := &v1beta1.Canary{}
	c.Namespace, c.Name, c.Generation = "test", "podinfo", 1
	c.Spec.TargetRef = v1beta1.TargetReference{Kind: "Deployment", Name: "podinfo"}
	c.Spec.Analysis = &v1beta1.CanaryAnalysis{
		Interval: "10s", Threshold: 3, StepWeight: 20, MaxWeight: 60,
		Metrics: []v1beta1.CanaryMetric{{Name: "request-success-rate"}},
	}
	c.Status = v1beta1.CanaryStatus{
		Phase: v1beta1.PhaseInitialized, LastAppliedSpec: revA, LastPromotedSpec: revA,
		LastTransitionTime: metav1.NewTime(t0.Add(-time.Hour)),
	}
	return &scene{release.Observation{
		Now:     t0,
		Canary:  c,
		Target:  release.Workload{Exists: true, Revision: revA, Images: "podinfo:" + revA, Message: "it is scaled to zero"},
		Primary: release.Workload{Exists: true, Revision: revA, Images: "podinfo:" + revA, Replicas: 2, Available: 2, Ready: true},
		Route:   release.Route{InSync: true},
	}}
}

func (s *scene) phase(p v1beta1.CanaryPhase) *scene { s.Canary.Status.Phase = p; return s }

// step puts the status at a step of the analysis of revision B that began so
// long ago.
func (s *scene) step(index, weight int32, ago time.Duration) *scene {
	s.Canary.Status.Phase = v1beta1.PhaseProgressing
	s.Canary.Status.LastAppliedSpec = revB
	s.Canary.Status.CanaryWeight = weight
	s.Canary.Status.Step = &v1beta1.StepStatus{Index: index, Since: metav1.NewMicroTime(t0.Add(-ago))}
	return s.targetAt(revB, 2)
}

func (s *scene) promoting(weight int32, ago time.Duration) *scene {
	return s.step(0, weight, ago).phase(v1beta1.PhasePromoting)
}

// targetAt gives the target a revision and so many pods, all available.
func (s *scene) targetAt(revision string, pods int32) *scene {
	s.Target = release.Workload{
		Exists: true, Revision: revision, Images: "podinfo:" + revision, Replicas: pods, Available: pods, Ready: pods > 0,
	}
	return s
}

func (s *scene) targetAvailable(pods int32) *scene {
	s.Target.Available, s.Target.Ready, s.Target.Message = pods, false, "pods are not available"
	return s
}

func (s *scene) primaryAt(revision string) *scene {
	s.Primary.Revision, s.Primary.Images = revision, "podinfo:"+revision
	return s
}

func (s *scene) primaryAvailable(pods int32) *scene {
	s.Primary.Available, s.Primary.Ready, s.Primary.Message = pods, false, "pods are not available"
	return s
}

func (s *scene) iterations(n int32, match bool) *scene {
	a := s.Canary.Spec.Analysis
	a.StepWeight, a.MaxWeight, a.Iterations = 0, 0, n
	if match {
		a.Match = []v1beta1.RawObject{{}}
	}
	return s
}

func (s *scene) mirror(weight int32) *scene {
	s.Canary.Spec.Analysis.Mirror, s.Canary.Spec.Analysis.MirrorWeight = true, weight
	return s
}

func (s *scene) takeover() *scene { s.Canary.Status.Step.Takeover = true; return s }

// unwell has the deadline run for so long.
func (s *scene) unwell(ago time.Duration) *scene {
	s.Canary.Status.Unwell = &v1beta1.UnwellStatus{Since: metav1.NewMicroTime(t0.Add(-ago)), Reason: "it was not ready"}
	return s
}

func (s *scene) paused() *scene { s.Canary.Status.Paused = true; return s }

func (s *scene) asked(a v1beta1.ActionType) *scene {
	s.Actions = append(s.Actions, release.Action{Name: "x", Type: a, By: "alice", Reason: "for a test"})
	return s
}

func (s *scene) askedAt(a v1beta1.ActionType, revision string, at time.Time) *scene {
	s.Actions = append(s.Actions, release.Action{Name: "x", Type: a, Revision: revision, Created: at})
	return s
}

// started has the release begin at a time.
func (s *scene) started(at time.Time) *scene {
	s.Canary.Status.StartedAt = new(metav1.NewMicroTime(at))
	return s
}

func (s *scene) outOfSync() *scene { s.Route = release.Route{}; return s }

func (s *scene) failed(checks int32) *scene { s.Canary.Status.FailedChecks = checks; return s }

// checked adds a finished run of the present step's checks.
func (s *scene) checked(verdict v1beta1.CheckVerdict, ago time.Duration) *scene {
	s.Checks = &release.CheckRun{
		ID: release.CheckID{Revision: revB, Step: s.Canary.Status.Step.Index, Window: s.Canary.Status.Step.Since.UnixMicro()},
		At: t0.Add(-ago), Results: []v1beta1.CheckStatus{{Name: "request-success-rate", Verdict: verdict, Message: "because"}},
	}
	return s
}

func (s *scene) with(change func(*release.Observation)) *scene { change(&s.Observation); return s }

// outcome is what the cases compare: everything that moves something.
type outcome struct {
	Phase    v1beta1.CanaryPhase
	Weight   int32
	Step     int32 // -1: none
	Failed   int32
	Primary  string // revision that the primary must have
	Routed   bool
	Replicas int32 // -1: kept
	Hold     bool
	Released bool
	Finished bool
	Checks   int32 // number of the run that is asked for
	Requeue  time.Duration
	Events   []string

	Matched    bool
	Mirror     int32
	Iterations int32
}

func outcomeOf(d release.Decision) outcome {
	o := outcome{
		Phase: d.Status.Phase, Weight: d.Status.CanaryWeight, Step: -1, Failed: d.Status.FailedChecks,
		Primary: d.Desired.PrimaryRevision, Routed: d.Desired.Routed, Replicas: -1, Hold: d.Desired.Hold,
		Released: d.Desired.Released, Finished: d.Desired.Finished, Requeue: d.RequeueAfter,
	}
	o.Matched, o.Mirror, o.Iterations = d.Desired.Traffic.Matched, d.Desired.Traffic.Mirror, d.Status.Iterations
	if d.Status.Step != nil {
		o.Step = d.Status.Step.Index
	}
	if d.Desired.TargetReplicas != nil {
		o.Replicas = *d.Desired.TargetReplicas
	}
	if d.RunChecks != nil {
		o.Checks = d.Status.Step.Checks + 1
	}
	for _, e := range d.Events {
		o.Events = append(o.Events, e.Reason)
	}
	return o
}

func TestDecide(t *testing.T) {
	const deadline, drain = 10 * time.Minute, 10 * time.Second
	at := func(phase v1beta1.CanaryPhase, weight, step int32) outcome {
		return outcome{Phase: phase, Weight: weight, Step: step, Routed: true, Replicas: -1}
	}
	with := func(o outcome, change func(*outcome)) outcome { change(&o); return o }
	fresh := func() *scene {
		s := newScene().targetAt(revA, 2)
		s.Canary.Status, s.Primary = v1beta1.CanaryStatus{}, release.Workload{}
		return s.outOfSync()
	}
	initializing := func() *scene {
		s := fresh().phase(v1beta1.PhaseInitializing)
		s.Canary.Status.LastAppliedSpec = revA
		s.Canary.Status.LastTransitionTime = metav1.NewTime(t0)
		s.Primary = release.Workload{Exists: true, Revision: revA, Replicas: 2, Available: 2, Ready: true}
		return s
	}
	started := with(at(v1beta1.PhaseProgressing, 0, 0), func(o *outcome) { o.Replicas, o.Events = 2, []string{release.ReasonNewRevision} })
	rolledBack := func(reason string) outcome {
		return with(at(v1beta1.PhaseFailed, 0, -1), func(o *outcome) { o.Events, o.Requeue = []string{reason}, drain })
	}
	// The drain counts from when the mesh is asked for the weight 0.
	undrained := func(reason string) outcome { return with(rolledBack(reason), func(o *outcome) { o.Requeue = 0 }) }

	for name, tc := range map[string]struct {
		scene *scene
		want  outcome
	}{
		// Initializing
		"a new Canary makes the primary and does not touch traffic": {
			fresh(),
			outcome{Phase: v1beta1.PhaseInitializing, Step: -1, Primary: revA, Replicas: -1, Events: []string{release.ReasonInitializing}, Requeue: 15 * time.Second},
		},
		"a primary that is not ready gets no traffic": {
			initializing().primaryAvailable(1),
			outcome{Phase: v1beta1.PhaseInitializing, Step: -1, Primary: revA, Replicas: -1, Requeue: 15 * time.Second},
		},
		"a first revision that is replaced before it was ready is followed": {
			initializing().primaryAvailable(0).targetAt(revB, 2),
			outcome{Phase: v1beta1.PhaseInitializing, Step: -1, Primary: revB, Replicas: -1, Requeue: 15 * time.Second},
		},
		"a ready primary is routed to": {
			initializing(),
			outcome{Phase: v1beta1.PhaseInitializing, Step: -1, Primary: revA, Routed: true, Replicas: -1, Requeue: 15 * time.Second},
		},
		"initialized when the mesh shows it; the target stays for the drain delay": {
			initializing().with(func(o *release.Observation) { o.Route = release.Route{InSync: true, Since: t0} }),
			with(at(v1beta1.PhaseInitialized, 0, -1), func(o *outcome) {
				o.Primary, o.Requeue, o.Events = revA, drain, []string{release.ReasonInitialized}
			}),
		},
		// Between releases
		"an idle Canary wants nothing and no look": {
			newScene(), with(at(v1beta1.PhaseInitialized, 0, -1), func(o *outcome) { o.Primary = revA }),
		},
		"a target that was scaled up by hand is scaled down": {
			newScene().targetAt(revA, 2), with(at(v1beta1.PhaseInitialized, 0, -1), func(o *outcome) { o.Primary, o.Replicas = revA, 0 }),
		},
		"a target is not drained while the mesh does not show weight 0": {
			newScene().targetAt(revA, 2).outOfSync(), with(at(v1beta1.PhaseInitialized, 0, -1), func(o *outcome) { o.Primary = revA }),
		},
		"a target that is not drained yet stands in for a primary without a pod": {
			newScene().targetAt(revA, 2).primaryAvailable(0), with(at(v1beta1.PhaseInitialized, 100, -1), func(o *outcome) {
				o.Primary, o.Events = revA, []string{release.ReasonPrimaryUnavailable}
			}),
		},
		"a primary that was deleted is made again and traffic stays": {
			newScene().with(func(o *release.Observation) { o.Primary = release.Workload{} }),
			outcome{Phase: v1beta1.PhaseInitializing, Step: -1, Primary: revA, Routed: true, Replicas: -1, Events: []string{release.ReasonPrimaryMissing}},
		},
		// Beginning
		"a new revision begins an analysis": {newScene().targetAt(revB, 0), started},
		"a new revision begins an analysis after a success": {
			newScene().phase(v1beta1.PhaseSucceeded).targetAt(revB, 0), started,
		},
		"a new revision begins an analysis after a failure, with no failed checks": {
			newScene().phase(v1beta1.PhaseFailed).failed(3).targetAt(revB, 0), started,
		},
		"a failed revision is not tried again by itself": {
			newScene().step(0, 0, 0).phase(v1beta1.PhaseFailed).targetAt(revB, 0).with(func(o *release.Observation) { o.Canary.Status.Step = nil }),
			at(v1beta1.PhaseFailed, 0, -1),
		},
		"a failed target that is set back to what the primary runs needs no analysis": {
			newScene().step(0, 0, 0).phase(v1beta1.PhaseFailed).targetAt(revA, 0),
			with(at(v1beta1.PhaseFinalising, 0, -1), func(o *outcome) { o.Primary, o.Events = revA, []string{release.ReasonReverted} }),
		},
		"a revision in a format of Flagger's is adopted when the primary has it": {
			newScene().with(func(o *release.Observation) { o.Canary.Status.LastAppliedSpec = "5454669676" }),
			with(at(v1beta1.PhaseInitialized, 0, -1), func(o *outcome) { o.Primary = revA }),
		},
		"a revision in another format that failed stays failed": {
			newScene().targetAt(revB, 0).phase(v1beta1.PhaseFailed).with(func(o *release.Observation) { o.Canary.Status.LastAppliedSpec = "5454669676" }),
			at(v1beta1.PhaseFailed, 0, -1),
		},
		// Waiting for the canary
		"a canary that is not ready gets no weight": {
			newScene().step(0, 0, time.Second).targetAvailable(1),
			with(at(v1beta1.PhaseProgressing, 0, 0), func(o *outcome) { o.Requeue = 14 * time.Second }),
		},
		"a canary that is not ready in time is rolled back": {
			newScene().step(0, 0, deadline).unwell(deadline).targetAvailable(1), rolledBack(release.ReasonDeadlineExceeded),
		},
		"a ready canary gets the first weight at once": {
			newScene().step(0, 0, time.Second),
			with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) { o.Requeue, o.Events = 10*time.Second, []string{release.ReasonWeightRaised} }),
		},
		"no weight while the mesh still shows another route": {
			newScene().step(0, 0, time.Second).outOfSync(),
			with(at(v1beta1.PhaseProgressing, 0, 0), func(o *outcome) { o.Requeue = 14 * time.Second }),
		},
		// F639, F1578: the release may be what mends the primary.
		"pain 6: a primary that is not ready does not hold the release up": {
			newScene().step(0, 0, time.Second).primaryAvailable(1),
			with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) { o.Requeue, o.Events = 10*time.Second, []string{release.ReasonWeightRaised} }),
		},
		"pain 6: the canary serves for a primary without a pod": {
			newScene().step(0, 0, time.Second).primaryAvailable(0),
			with(at(v1beta1.PhaseProgressing, 100, 1), func(o *outcome) {
				o.Requeue, o.Events = 10*time.Second, []string{release.ReasonWeightRaised, release.ReasonPrimaryUnavailable}
			}),
		},
		"the analysis goes on while the canary serves for the primary": {
			newScene().step(1, 100, 10*time.Second).takeover().primaryAvailable(0).checked(v1beta1.CheckPassed, 0),
			with(at(v1beta1.PhaseProgressing, 100, 2), func(o *outcome) { o.Requeue, o.Events = 10*time.Second, []string{release.ReasonWeightRaised} }),
		},
		"a primary that recovers gets back what the step leaves it": {
			newScene().step(2, 100, time.Second).takeover(),
			with(at(v1beta1.PhaseProgressing, 40, 2), func(o *outcome) { o.Requeue, o.Events = 9*time.Second, []string{release.ReasonPrimaryRecovered} }),
		},
		"a failed release goes on serving for a primary without a pod": {
			newScene().step(1, 100, 10*time.Second).takeover().primaryAvailable(0).failed(2).checked(v1beta1.CheckFailed, 0),
			with(at(v1beta1.PhaseFailed, 100, -1), func(o *outcome) { o.Failed, o.Events = 3, []string{release.ReasonAnalysisFailed} }),
		},
		"a primary that recovers after a failed release gets everything": {
			newScene().step(0, 100, time.Second).phase(v1beta1.PhaseFailed).with(func(o *release.Observation) { o.Canary.Status.Step = nil }),
			with(at(v1beta1.PhaseFailed, 0, -1), func(o *outcome) { o.Events = []string{release.ReasonPrimaryRecovered} }),
		},
		"another revision while the canary serves for the primary keeps it serving": {
			newScene().promoting(100, time.Second).takeover().primaryAt(revB).primaryAvailable(1).targetAt(revC, 2),
			with(at(v1beta1.PhaseProgressing, 100, 0), func(o *outcome) { o.Events = []string{release.ReasonNewRevision} }),
		},
		"another revision after a promotion that failed leaves the traffic to old pods that suffice": {
			newScene().promoting(100, time.Second).takeover().primaryAt(revB).primaryAvailable(2).targetAt(revC, 2),
			with(at(v1beta1.PhaseProgressing, 0, 0), func(o *outcome) {
				o.Events = []string{release.ReasonNewRevision, release.ReasonPrimaryRecovered}
			}),
		},
		"a mesh that does not show the route in time rolls back": {
			newScene().step(1, 20, deadline+10*time.Second).unwell(deadline).outOfSync(),
			with(at(v1beta1.PhaseFailed, 0, -1), func(o *outcome) { o.Events = []string{release.ReasonDeadlineExceeded} }),
		},
		"skipAnalysis promotes a ready canary": {
			newScene().step(0, 0, time.Second).with(func(o *release.Observation) { o.Canary.Spec.SkipAnalysis = true }),
			with(at(v1beta1.PhasePromoting, 0, 0), func(o *outcome) { o.Primary, o.Events = revB, []string{release.ReasonPromoting} }),
		},
		// A step
		"a step lasts its interval": {
			newScene().step(1, 20, 4*time.Second),
			with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) { o.Requeue = 6 * time.Second }),
		},
		"a step begins when the mesh is seen to have the route": {
			newScene().step(1, 20, 10*time.Second).with(func(o *release.Observation) { o.Route.Since = t0.Add(-3 * time.Second) }),
			with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) { o.Requeue = 7 * time.Second }),
		},
		"a round that ended while the mesh had another route is asked for anew, by another name": {
			newScene().step(1, 20, 40*time.Second).checked(v1beta1.CheckPassed, 30*time.Second).with(func(o *release.Observation) { o.Route.Since = t0.Add(-5 * time.Second) }),
			with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) { o.Requeue = 10 * time.Second }),
		},
		"no checks while the mesh does not have the route": {
			newScene().step(1, 20, 10*time.Second).outOfSync(),
			with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) { o.Requeue = 5 * time.Second }),
		},
		"the checks run when the interval is over": {
			newScene().step(1, 20, 10*time.Second), with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) { o.Checks = 1 }),
		},
		"results of another step do not count": {
			newScene().step(2, 40, 10*time.Second).checked(v1beta1.CheckPassed, 0).with(func(o *release.Observation) { o.Checks.ID.Step = 1 }),
			with(at(v1beta1.PhaseProgressing, 40, 2), func(o *outcome) { o.Checks = 1 }),
		},
		"results of another revision do not count": {
			newScene().step(1, 20, 10*time.Second).checked(v1beta1.CheckPassed, 0).with(func(o *release.Observation) { o.Checks.ID.Revision = revA }),
			with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) { o.Checks = 1 }),
		},
		"passed checks raise the weight by one step": {
			newScene().step(1, 20, 10*time.Second).checked(v1beta1.CheckPassed, 0),
			with(at(v1beta1.PhaseProgressing, 40, 2), func(o *outcome) { o.Requeue, o.Events = 10*time.Second, []string{release.ReasonWeightRaised} }),
		},
		"an analysis without metrics goes by the interval": {
			newScene().step(1, 20, 10*time.Second).with(func(o *release.Observation) { o.Canary.Spec.Analysis.Metrics = nil }),
			with(at(v1beta1.PhaseProgressing, 40, 2), func(o *outcome) { o.Requeue, o.Events = 10*time.Second, []string{release.ReasonWeightRaised} }),
		},
		"stepWeights may be uneven": {
			newScene().step(1, 1, 10*time.Second).checked(v1beta1.CheckPassed, 0).with(func(o *release.Observation) { o.Canary.Spec.Analysis.StepWeights = []int32{1, 50} }),
			with(at(v1beta1.PhaseProgressing, 50, 2), func(o *outcome) { o.Requeue, o.Events = 10*time.Second, []string{release.ReasonWeightRaised} }),
		},
		"passed checks of the last step begin the promotion at the same weight": {
			newScene().step(3, 60, 10*time.Second).checked(v1beta1.CheckPassed, 0),
			with(at(v1beta1.PhasePromoting, 60, 0), func(o *outcome) { o.Primary, o.Events = revB, []string{release.ReasonPromoting} }),
		},
		"a failed check is counted and the weight stays": {
			newScene().step(1, 20, 10*time.Second).checked(v1beta1.CheckFailed, 0),
			with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) {
				o.Failed, o.Requeue, o.Events = 1, 10*time.Second, []string{release.ReasonCheckFailed}
			}),
		},
		"no data is a failed check": {
			newScene().step(1, 20, 10*time.Second).checked(v1beta1.CheckNoData, 0),
			with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) {
				o.Failed, o.Requeue, o.Events = 1, 10*time.Second, []string{release.ReasonCheckFailed}
			}),
		},
		"the last failed check rolls back at once": {
			newScene().step(2, 40, 10*time.Second).failed(2).checked(v1beta1.CheckFailed, 0),
			with(undrained(release.ReasonAnalysisFailed), func(o *outcome) { o.Failed = 3 }),
		},
		"checks that can't be answered neither count nor advance": {
			newScene().step(1, 20, 10*time.Second).failed(2).checked(v1beta1.CheckUnavailable, time.Second),
			with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) {
				o.Failed, o.Requeue, o.Events = 2, 9*time.Second, []string{release.ReasonChecksUnavailable}
			}),
		},
		"checks that could not be answered are run again": {
			newScene().step(1, 20, 20*time.Second).checked(v1beta1.CheckUnavailable, 10*time.Second).with(func(o *release.Observation) {
				o.Canary.Status.Checks = o.Checks.Results
			}),
			with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) { o.Checks, o.Requeue = 1, deadline }),
		},
		"checks that can't be answered for the progress deadline roll back": {
			newScene().step(1, 20, deadline+10*time.Second).unwell(deadline).checked(v1beta1.CheckUnavailable, 0), undrained(release.ReasonChecksUnavailable),
		},
		"a canary without a pod loses its weight and begins again": {
			newScene().step(2, 40, time.Second).targetAvailable(0),
			with(at(v1beta1.PhaseProgressing, 0, 0), func(o *outcome) { o.Failed, o.Events = 1, []string{release.ReasonCanaryUnavailable} }),
		},
		"a canary that keeps losing its pods is rolled back": {
			newScene().step(2, 40, time.Second).targetAvailable(0).failed(2),
			with(undrained(release.ReasonAnalysisFailed), func(o *outcome) { o.Failed = 3 }),
		},
		"a canary with some pods keeps its weight and is waited for": {
			newScene().step(1, 20, 10*time.Second).targetAvailable(1).checked(v1beta1.CheckPassed, 0),
			with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) { o.Requeue = 5 * time.Second }),
		},
		// Changes under way
		"another revision in mid-analysis starts anew at weight 0": {
			newScene().step(2, 40, time.Second).targetAt(revC, 2).failed(2),
			with(started, func(o *outcome) { o.Replicas = -1 }),
		},
		"another revision while promoting starts anew": {
			newScene().promoting(60, time.Second).targetAt(revC, 2), with(started, func(o *outcome) { o.Replicas = -1 }),
		},
		"another revision while finalising starts anew": {
			newScene().promoting(0, time.Second).phase(v1beta1.PhaseFinalising).primaryAt(revB).targetAt(revC, 2),
			with(started, func(o *outcome) { o.Replicas = -1 }),
		},
		"a target set back in mid-analysis ends it": {
			newScene().step(2, 40, time.Second).targetAt(revA, 2),
			with(at(v1beta1.PhaseFinalising, 0, -1), func(o *outcome) { o.Primary, o.Events = revA, []string{release.ReasonReverted} }),
		},
		"suspend holds the analysis": {
			newScene().step(1, 20, time.Hour).checked(v1beta1.CheckFailed, 0).with(func(o *release.Observation) { o.Canary.Spec.Suspend = true }),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Replicas: -1, Routed: true, Events: []string{release.ReasonSuspended}},
		},
		"an outage of the mesh holds the analysis": {
			newScene().step(1, 20, time.Hour).checked(v1beta1.CheckPassed, 0).with(func(o *release.Observation) { o.Outage = "Consul cannot be asked" }),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Replicas: -1, Requeue: 15 * time.Second, Events: []string{release.ReasonMeshUnreachable}},
		},
		"what can't be told to the mesh is not in the status": {
			newScene().step(1, 20, time.Second).primaryAvailable(0).with(func(o *release.Observation) {
				o.Outage, o.Route.Unreachable = "Consul cannot be asked", true
			}),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Replicas: -1, Requeue: 15 * time.Second, Events: []string{release.ReasonMeshUnreachable}},
		},
		"a mistake holds the analysis, and its deadline runs": {
			newScene().step(1, 20, time.Hour).with(func(o *release.Observation) {
				o.Mistake = &release.Mistake{Reason: "TargetMissing", Message: "no target"}
			}),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Replicas: -1, Routed: true, Requeue: deadline, Events: []string{"TargetMissing"}},
		},
		// Promotion
		"promotion waits for the primary and the canary keeps its weight": {
			newScene().promoting(60, time.Second).primaryAt(revB).primaryAvailable(1),
			with(at(v1beta1.PhasePromoting, 60, 0), func(o *outcome) { o.Primary, o.Requeue = revB, 14*time.Second }),
		},
		"the canary takes all when the primary has nothing to serve with": {
			newScene().promoting(60, time.Second).primaryAt(revB).primaryAvailable(0),
			with(at(v1beta1.PhasePromoting, 100, 0), func(o *outcome) {
				o.Primary, o.Requeue, o.Events = revB, 14*time.Second, []string{release.ReasonPrimaryUnavailable}
			}),
		},
		"the primary takes all when the canary has nothing to serve with": {
			newScene().promoting(60, time.Second).primaryAt(revB).primaryAvailable(1).targetAvailable(0),
			with(at(v1beta1.PhasePromoting, 0, 0), func(o *outcome) {
				o.Primary, o.Requeue, o.Events = revB, 14*time.Second, []string{release.ReasonCanaryUnavailable}
			}),
		},
		"pain 3: all traffic goes to the canary before a primary that restarts is touched": {
			newScene().step(3, 60, 10*time.Second).checked(v1beta1.CheckPassed, 0).with(restarts),
			with(at(v1beta1.PhasePromoting, 100, 0), func(o *outcome) { o.Events = []string{release.ReasonPromoting} }),
		},
		"pain 3: the pods of a primary that restarts stay for the drain delay": {
			newScene().promoting(100, time.Second).takeover().with(restarts).with(func(o *release.Observation) {
				o.Route.Seen = t0.Add(-time.Second)
			}),
			with(at(v1beta1.PhasePromoting, 100, 0), func(o *outcome) { o.Requeue = 9 * time.Second }),
		},
		"pain 3: a primary that restarts gets the new revision after the drain delay": {
			newScene().promoting(100, time.Minute).takeover().with(restarts).with(func(o *release.Observation) {
				o.Route.Seen = t0.Add(-10 * time.Second)
			}),
			with(at(v1beta1.PhasePromoting, 100, 0), func(o *outcome) { o.Primary, o.Requeue = revB, deadline }),
		},
		"a primary that restarts is not touched while only it can serve": {
			newScene().promoting(0, time.Minute).targetAvailable(0).with(restarts),
			with(at(v1beta1.PhasePromoting, 0, 0), func(o *outcome) { o.Requeue = deadline }),
		},
		// F1898, F1932: the healthy canary is never scaled down for a broken primary.
		"pain 1: a promotion that does not get ready halts and the healthy canary goes on serving": {
			newScene().promoting(60, deadline).unwell(deadline).primaryAt(revB).primaryAvailable(1),
			with(at(v1beta1.PhasePromoting, 60, 0), func(o *outcome) {
				o.Primary, o.Events = revB, []string{release.ReasonPromotionHalted}
			}),
		},
		"pain 1: a primary that loses its pods after the promotion leaves the traffic to the canary": {
			newScene().promoting(0, time.Second).phase(v1beta1.PhaseSucceeded).primaryAt(revB).primaryAvailable(0).with(func(o *release.Observation) {
				o.Canary.Status.LastPromotedSpec, o.Canary.Status.Step = revB, nil
			}),
			with(at(v1beta1.PhaseSucceeded, 100, -1), func(o *outcome) { o.Primary, o.Events = revB, []string{release.ReasonPrimaryUnavailable} }),
		},
		"pain 2: traffic waits until the primary has as many pods as served as canary": {
			newScene().promoting(60, time.Second).targetAt(revB, 5).primaryAt(revB).with(func(o *release.Observation) { o.Primary.Replicas = 5 }),
			with(at(v1beta1.PhasePromoting, 60, 0), func(o *outcome) { o.Primary, o.Requeue = revB, 14*time.Second }),
		},
		"a primary that may not have more pods gets the traffic": {
			newScene().promoting(60, time.Second).targetAt(revB, 5).primaryAt(revB),
			with(at(v1beta1.PhaseFinalising, 0, -1), func(o *outcome) { o.Primary = revB }),
		},
		"a primary that is interrupted by its promotion serves nobody meanwhile": {
			newScene().step(3, 60, 10*time.Second).checked(v1beta1.CheckPassed, 0).with(func(o *release.Observation) { o.Primary.Interrupted = true }),
			with(at(v1beta1.PhasePromoting, 100, 0), func(o *outcome) { o.Events = []string{release.ReasonPromoting} }),
		},
		"a primary that is interrupted is promoted when its users are at the canary": {
			newScene().promoting(100, time.Second).takeover().with(func(o *release.Observation) { o.Primary.Interrupted = true }),
			with(at(v1beta1.PhasePromoting, 100, 0), func(o *outcome) { o.Primary, o.Requeue = revB, 14*time.Second }),
		},
		// A/B testing
		"A/B testing sends requests that match to the ready canary": {
			newScene().iterations(3, true).step(0, 0, time.Second),
			with(at(v1beta1.PhaseProgressing, 100, 1), func(o *outcome) {
				o.Matched, o.Requeue, o.Events = true, 10*time.Second, []string{release.ReasonStepStarted}
			}),
		},
		"A/B testing counts its iterations": {
			newScene().iterations(3, true).step(2, 100, 10*time.Second).checked(v1beta1.CheckPassed, 0),
			with(at(v1beta1.PhaseProgressing, 100, 3), func(o *outcome) {
				o.Matched, o.Iterations, o.Requeue, o.Events = true, 2, 10*time.Second, []string{release.ReasonStepStarted}
			}),
		},
		"A/B testing keeps its requests at the canary during the promotion": {
			newScene().iterations(3, true).step(3, 100, 10*time.Second).checked(v1beta1.CheckPassed, 0),
			with(at(v1beta1.PhasePromoting, 100, 0), func(o *outcome) {
				o.Matched, o.Iterations, o.Primary, o.Events = true, 3, revB, []string{release.ReasonPromoting}
			}),
		},
		"A/B testing gives all requests back at once": {
			newScene().iterations(3, true).promoting(100, time.Second).primaryAt(revB).with(func(o *release.Observation) { o.Canary.Spec.Analysis.StepWeightPromotion = 25 }),
			with(at(v1beta1.PhaseFinalising, 0, -1), func(o *outcome) { o.Primary = revB }),
		},
		"A/B testing leaves all requests to the canary when the promotion fails": {
			newScene().iterations(3, true).promoting(100, time.Second).primaryAt(revB).primaryAvailable(0),
			with(at(v1beta1.PhasePromoting, 100, 0), func(o *outcome) {
				o.Primary, o.Requeue, o.Events = revB, 14*time.Second, []string{release.ReasonPrimaryUnavailable}
			}),
		},
		// Blue/green
		"blue/green checks a canary without traffic": {
			newScene().iterations(2, false).step(0, 0, time.Second),
			with(at(v1beta1.PhaseProgressing, 0, 1), func(o *outcome) { o.Requeue, o.Events = 10*time.Second, []string{release.ReasonStepStarted} }),
		},
		"blue/green may send copies of requests": {
			newScene().iterations(2, false).mirror(30).step(0, 0, time.Second),
			with(at(v1beta1.PhaseProgressing, 0, 1), func(o *outcome) {
				o.Mirror, o.Requeue, o.Events = 30, 10*time.Second, []string{release.ReasonStepStarted}
			}),
		},
		"blue/green gives everything to the canary before the primary is touched": {
			newScene().iterations(2, false).step(2, 0, 10*time.Second).checked(v1beta1.CheckPassed, 0),
			with(at(v1beta1.PhasePromoting, 100, 0), func(o *outcome) { o.Iterations, o.Events = 2, []string{release.ReasonPromoting} }),
		},
		"blue/green does not touch the primary before the mesh shows the switch": {
			newScene().iterations(2, false).promoting(100, time.Second).outOfSync().with(func(o *release.Observation) { o.Primary.Ready = false }),
			with(at(v1beta1.PhasePromoting, 100, 0), func(o *outcome) { o.Requeue = 14 * time.Second }),
		},
		"blue/green touches the primary when its users are at the canary": {
			newScene().iterations(2, false).promoting(100, time.Second),
			with(at(v1beta1.PhasePromoting, 100, 0), func(o *outcome) { o.Primary, o.Requeue = revB, 14*time.Second }),
		},
		"blue/green rolls back without having moved a user": {
			newScene().iterations(2, false).step(2, 0, 10*time.Second).failed(2).checked(v1beta1.CheckFailed, 0),
			with(rolledBack(release.ReasonAnalysisFailed), func(o *outcome) { o.Failed = 3 }),
		},
		// Mirroring before weights
		"copies come before users": {
			newScene().mirror(0).step(0, 0, time.Second),
			with(at(v1beta1.PhaseProgressing, 0, 1), func(o *outcome) {
				o.Mirror, o.Requeue, o.Events = 100, 10*time.Second, []string{release.ReasonStepStarted}
			}),
		},
		"users come after copies": {
			newScene().mirror(0).step(1, 0, 10*time.Second).checked(v1beta1.CheckPassed, 0),
			with(at(v1beta1.PhaseProgressing, 20, 2), func(o *outcome) { o.Requeue, o.Events = 10*time.Second, []string{release.ReasonWeightRaised} }),
		},
		// What people ask for
		"a paused release stays at its step": {
			newScene().step(1, 20, time.Hour).checked(v1beta1.CheckPassed, 0).paused(), at(v1beta1.PhaseProgressing, 20, 1),
		},
		"a paused canary without a pod loses its weight": {
			newScene().step(2, 40, time.Second).targetAvailable(0).paused(),
			with(at(v1beta1.PhaseProgressing, 0, 0), func(o *outcome) { o.Failed, o.Events = 1, []string{release.ReasonCanaryUnavailable} }),
		},
		"pause": {
			newScene().step(1, 20, 10*time.Second).checked(v1beta1.CheckPassed, 0).asked(v1beta1.ActionPause),
			with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) { o.Events = []string{release.ReasonPaused} }),
		},
		"resume": {
			newScene().step(1, 20, time.Second).paused().asked(v1beta1.ActionResume),
			with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) { o.Requeue, o.Events = 10*time.Second, []string{release.ReasonResumed} }),
		},
		"promote now": {
			newScene().step(1, 20, time.Second).paused().asked(v1beta1.ActionPromote),
			with(at(v1beta1.PhasePromoting, 20, 0), func(o *outcome) { o.Primary, o.Events = revB, []string{release.ReasonPromoting} }),
		},
		"promote now, asked for in the second in which the release began": {
			newScene().step(1, 20, time.Second).started(t0.Add(300*time.Millisecond)).askedAt(v1beta1.ActionPromote, "", t0),
			with(at(v1beta1.PhasePromoting, 20, 0), func(o *outcome) { o.Primary, o.Events = revB, []string{release.ReasonPromoting} }),
		},
		"promote now is refused where another release may be meant": {
			newScene().step(1, 20, time.Second).started(t0.Add(time.Second)).askedAt(v1beta1.ActionPromote, "", t0),
			with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) { o.Requeue, o.Events = 9*time.Second, []string{release.ReasonActionRefused} }),
		},
		"promote now, asked for of this revision before its release began": {
			newScene().step(1, 20, time.Second).started(t0.Add(time.Second)).askedAt(v1beta1.ActionPromote, revB, t0),
			with(at(v1beta1.PhasePromoting, 20, 0), func(o *outcome) { o.Primary, o.Events = revB, []string{release.ReasonPromoting} }),
		},
		"promote now is refused for a canary that is not ready": {
			newScene().step(0, 0, time.Second).targetAvailable(1).asked(v1beta1.ActionPromote),
			with(at(v1beta1.PhaseProgressing, 0, 0), func(o *outcome) { o.Requeue, o.Events = 14*time.Second, []string{release.ReasonActionRefused} }),
		},
		"abort": {
			newScene().step(1, 20, time.Second).asked(v1beta1.ActionAbort), undrained(release.ReasonAborted),
		},
		"abort is refused when the primary is getting the revision": {
			newScene().promoting(60, time.Second).primaryAt(revB).primaryAvailable(1).asked(v1beta1.ActionAbort),
			with(at(v1beta1.PhasePromoting, 60, 0), func(o *outcome) {
				o.Primary, o.Requeue, o.Events = revB, 14*time.Second, []string{release.ReasonActionRefused}
			}),
		},
		"an action for another revision is refused": {
			newScene().step(1, 20, time.Second).asked(v1beta1.ActionAbort).with(func(o *release.Observation) { o.Actions[0].Revision = revC }),
			with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) { o.Requeue, o.Events = 9*time.Second, []string{release.ReasonActionRefused} }),
		},
		"pain 9: retry": {
			newScene().step(0, 0, 0).phase(v1beta1.PhaseFailed).failed(3).targetAt(revB, 0).asked(v1beta1.ActionRetry),
			with(started, func(o *outcome) { o.Events = []string{release.ReasonRetried} }),
		},
		"pain 9: retry by annotation": {
			newScene().step(0, 0, 0).phase(v1beta1.PhaseFailed).failed(3).targetAt(revB, 0).with(func(o *release.Observation) {
				o.Canary.Annotations = map[string]string{hands.RetryAnnotation: "2"}
			}),
			with(started, func(o *outcome) { o.Events = []string{release.ReasonRetried} }),
		},
		"a retry that was seen is none": {
			newScene().step(0, 0, 0).phase(v1beta1.PhaseFailed).targetAt(revB, 0).with(func(o *release.Observation) {
				o.Canary.Annotations = map[string]string{hands.RetryAnnotation: "2"}
				o.Canary.Status.Retry, o.Canary.Status.Step = "2", nil
			}),
			at(v1beta1.PhaseFailed, 0, -1),
		},
		"an action that was taken is not taken again": {
			newScene().step(1, 20, time.Second).asked(v1beta1.ActionAbort).with(func(o *release.Observation) {
				o.Canary.Status.LastAction = &v1beta1.ActionStatus{Name: o.Actions[0].Name}
			}),
			with(at(v1beta1.PhaseProgressing, 20, 1), func(o *outcome) { o.Requeue = 9 * time.Second }),
		},
		// Taking over from Flagger, whose statuses have no step
		"a weight without a step is gone through once more": {
			newScene().step(0, 40, 0).with(func(o *release.Observation) { o.Canary.Status.Step = nil }),
			with(at(v1beta1.PhaseProgressing, 40, 2), func(o *outcome) { o.Requeue = 10 * time.Second }),
		},
		"iterations without a step go on": {
			newScene().iterations(5, true).step(0, 100, 0).with(func(o *release.Observation) {
				o.Canary.Status.Step, o.Canary.Status.Iterations = nil, 3
			}),
			with(at(v1beta1.PhaseProgressing, 100, 3), func(o *outcome) { o.Matched, o.Iterations, o.Requeue = true, 3, 10*time.Second }),
		},
		"a primary that recovers after the deadline is promoted": {
			newScene().promoting(60, 2*deadline).primaryAt(revB),
			with(at(v1beta1.PhaseFinalising, 0, -1), func(o *outcome) { o.Primary = revB }),
		},
		"a ready primary gets all traffic at once": {
			newScene().promoting(60, time.Second).primaryAt(revB),
			with(at(v1beta1.PhaseFinalising, 0, -1), func(o *outcome) { o.Primary = revB }),
		},
		"stepWeightPromotion gives traffic back by steps": {
			newScene().promoting(60, time.Second).primaryAt(revB).with(func(o *release.Observation) { o.Canary.Spec.Analysis.StepWeightPromotion = 25 }),
			with(at(v1beta1.PhasePromoting, 35, 0), func(o *outcome) {
				o.Primary, o.Requeue, o.Events = revB, 10*time.Second, []string{release.ReasonWeightLowered}
			}),
		},
		"stepWeightPromotion paces its steps by the interval": {
			newScene().promoting(35, 4*time.Second).primaryAt(revB).with(func(o *release.Observation) {
				o.Canary.Spec.Analysis.StepWeightPromotion = 25
				o.Canary.Status.Step.Checks = 1
			}),
			with(at(v1beta1.PhasePromoting, 35, 0), func(o *outcome) { o.Primary, o.Requeue = revB, 6*time.Second }),
		},
		"stepWeightPromotion ends with everything at the primary": {
			newScene().promoting(10, 10*time.Second).primaryAt(revB).with(func(o *release.Observation) {
				o.Canary.Spec.Analysis.StepWeightPromotion = 25
				o.Canary.Status.Step.Checks = 2
			}),
			with(at(v1beta1.PhaseFinalising, 0, -1), func(o *outcome) { o.Primary = revB }),
		},
		"finalising waits for the mesh": {
			newScene().promoting(0, time.Second).phase(v1beta1.PhaseFinalising).primaryAt(revB).outOfSync().with(func(o *release.Observation) {
				o.Canary.Status.LastPromotedSpec, o.Canary.Status.Step = revB, nil
			}),
			with(at(v1beta1.PhaseFinalising, 0, -1), func(o *outcome) { o.Primary, o.Requeue = revB, deadline }),
		},
		"promoted when the mesh shows it; the canary stays for the drain delay": {
			newScene().promoting(0, time.Second).phase(v1beta1.PhaseFinalising).primaryAt(revB).with(func(o *release.Observation) {
				o.Canary.Status.LastPromotedSpec, o.Canary.Status.Step = revB, nil
			}),
			with(at(v1beta1.PhaseSucceeded, 0, -1), func(o *outcome) { o.Primary, o.Requeue, o.Events = revB, drain, []string{release.ReasonPromoted} }),
		},
		"pain 3: the canary's pods go when the drain delay has passed": {
			newScene().phase(v1beta1.PhaseFailed).targetAt(revA, 2).with(func(o *release.Observation) { o.Route.Seen = t0.Add(-drain) }),
			with(at(v1beta1.PhaseFailed, 0, -1), func(o *outcome) { o.Replicas = 0 }),
		},
		// Deletion
		"pain 5: a deleted Canary wakes its target and takes no traffic from the primary": {
			newScene().with(deleted),
			outcome{Phase: v1beta1.PhaseTerminating, Step: 0, Replicas: 2, Routed: true, Events: []string{release.ReasonTerminating}, Requeue: 15 * time.Second},
		},
		"a deleted Canary gives the traffic back to a ready target": {
			newScene().step(0, 0, time.Second).phase(v1beta1.PhaseTerminating).outOfSync().with(deleted),
			outcome{Phase: v1beta1.PhaseTerminating, Step: 0, Replicas: -1, Released: true, Requeue: 14 * time.Second},
		},
		"a deleted Canary stays for the drain delay": {
			newScene().step(0, 0, time.Minute).phase(v1beta1.PhaseTerminating).with(deleted).with(func(o *release.Observation) { o.Route.Seen = t0.Add(-4 * time.Second) }),
			outcome{Phase: v1beta1.PhaseTerminating, Step: 0, Replicas: -1, Released: true, Requeue: 6 * time.Second},
		},
		"a deleted Canary goes when the primary is drained": {
			newScene().step(0, 0, time.Minute).phase(v1beta1.PhaseTerminating).with(deleted),
			outcome{Phase: v1beta1.PhaseTerminating, Step: 0, Replicas: -1, Released: true, Finished: true},
		},
		"a deleted Canary does not wait for ever for its target": {
			newScene().step(0, 0, deadline).phase(v1beta1.PhaseTerminating).targetAvailable(0).with(deleted),
			outcome{Phase: v1beta1.PhaseTerminating, Step: 0, Replicas: -1, Released: true, Finished: true, Events: []string{release.ReasonLeftBehind}},
		},
		"a deleted Canary that was never acted on leaves the world alone": {
			fresh().with(deleted), outcome{Finished: true, Step: 0, Replicas: -1, Phase: v1beta1.PhaseTerminating, Events: []string{release.ReasonTerminating}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := tc.scene.Canary.DeepCopy()
			got := rollout.Decide(tc.scene.Observation)
			if diff := cmp.Diff(tc.want, outcomeOf(got)); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, tc.scene.Canary); diff != "" {
				t.Errorf("the observed Canary was changed:\n%s", diff)
			}
			again := rollout.Decide(tc.scene.Observation)
			if diff := cmp.Diff(got, again); diff != "" {
				t.Errorf("invariant 4: the same observation gave another decision:\n%s", diff)
			}
		})
	}
}

func restarts(o *release.Observation) { o.Primary.Interrupted = true }

func deleted(o *release.Observation) {
	now := metav1.NewTime(t0)
	o.Canary.DeletionTimestamp = &now
}

func TestConditions(t *testing.T) {
	for name, tc := range map[string]struct {
		scene *scene
		want  string // type=status/reason, sorted
	}{
		"idle":      {newScene(), "Promoted=True/Initialized Ready=True/Initialized"},
		"analysing": {newScene().step(1, 20, time.Second), "Promoted=Unknown/Progressing Ready=Unknown/Progressing Reconciling=True/Progressing"},
		"failed": {
			newScene().phase(v1beta1.PhaseFailed), "Promoted=False/Failed Ready=False/Failed Stalled=True/Failed",
		},
		"halted": {
			newScene().promoting(60, time.Hour).unwell(time.Hour).primaryAt(revB).primaryAvailable(1),
			"Promoted=False/PromotionHalted Ready=False/PromotionHalted Stalled=True/PromotionHalted",
		},
		"mistake": {
			newScene().with(func(o *release.Observation) { o.Mistake = &release.Mistake{Reason: "TargetMissing"} }),
			"Promoted=Unknown/TargetMissing Ready=False/TargetMissing Stalled=True/TargetMissing",
		},
		"mended": {
			newScene().with(func(o *release.Observation) {
				o.Canary.Status.Conditions = []v1beta1.CanaryCondition{{Type: v1beta1.ConditionStalled, Status: corev1.ConditionTrue, Reason: "TargetMissing"}}
			}),
			"Promoted=True/Initialized Ready=True/Initialized",
		},
		"trouble": {
			newScene().with(func(o *release.Observation) {
				o.Failures = []release.Failure{{Object: "VirtualService podinfo", Message: "the mesh said no"}}
			}),
			"Applied=False/ApplyFailed Promoted=True/Initialized Ready=False/ApplyFailed Reconciling=True/ApplyFailed",
		},
		"trouble that stays": {
			newScene().with(func(o *release.Observation) {
				o.Failures = []release.Failure{{Object: "Service podinfo", Message: "spec.ports: duplicate", Invalid: true}}
			}),
			"Applied=False/ApplyFailed Promoted=True/Initialized Ready=False/ApplyFailed Stalled=True/ApplyFailed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, c := range rollout.Decide(tc.scene.Observation).Status.Conditions {
				got = append(got, string(c.Type)+"="+string(c.Status)+"/"+c.Reason)
			}
			slices.Sort(got)
			if got := strings.Join(got, " "); got != tc.want {
				t.Errorf("conditions:\n got %s\nwant %s", got, tc.want)
			}
		})
	}
}

// A status that is written again and again is API requests for nothing.
func TestDecideSettles(t *testing.T) {
	for name, s := range map[string]*scene{
		"idle":                  newScene(),
		"waiting for pods":      newScene().step(0, 0, time.Second).targetAvailable(0),
		"in a step":             newScene().step(1, 20, time.Second),
		"checks not answerable": newScene().step(1, 20, 10*time.Second).checked(v1beta1.CheckUnavailable, 0),
		"promoting":             newScene().promoting(60, time.Second).primaryAt(revB).primaryAvailable(1),
		"halted":                newScene().promoting(60, time.Hour).unwell(time.Hour).primaryAt(revB).primaryAvailable(1),
		"mistake":               newScene().with(func(o *release.Observation) { o.Mistake = &release.Mistake{Reason: "TargetMissing"} }),
		"mistake of two lines": newScene().with(func(o *release.Observation) {
			o.Mistake = &release.Mistake{Reason: "UnknownProvider", Message: "a\nb" + strings.Repeat("c", 5000)}
		}),
		"trouble of two lines": newScene().with(func(o *release.Observation) {
			o.Failures = []release.Failure{{Object: "Service podinfo", Message: "a\nb\u202e"}}
		}),
		"failed": newScene().step(0, 0, 0).phase(v1beta1.PhaseFailed).targetAt(revB, 0),
	} {
		t.Run(name, func(t *testing.T) {
			first := rollout.Decide(s.Observation)
			s.Canary.Status = first.Status
			s.Now = s.Now.Add(time.Millisecond)
			second := rollout.Decide(s.Observation)
			if diff := cmp.Diff(first.Status, second.Status); diff != "" {
				t.Errorf("the status changed again:\n%s", diff)
			}
			if len(second.Events) > 0 {
				t.Errorf("events were sent again: %v", second.Events)
			}
		})
	}
}
