package switching

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// stop is a phase in which an operator is stopped and the other one started.
type stop struct {
	// name tells it from another one in the same phase.
	name  string
	phase v1beta1.CanaryPhase
	// reach brings the application there. It begins to call it where what comes then is of interest, or is over soon.
	reach func(*site)
	// leave takes away what kept it there, once the other operator has it.
	leave func(*site)
	// rests: a Canary in this phase stays as it is until there is another revision.
	rests bool
	// share is what the canary has of the requests, and keeps until the primary is promoted.
	share int32
	// ends: it is this operator that brings it to its end, before Flagger may have it.
	ends bool
	// version is that of the primary in the end.
	version string
	// also judges the end.
	also func(*site)
}

var stops = []stop{
	{
		phase: v1beta1.PhaseInitializing, version: oldVersion,
		reach: func(s *site) {
			s.gate.ShutFor(podsOf(rig.Name + "-primary"))
			s.call()
			s.apply()
			s.awaitPhase(v1beta1.PhaseInitializing)
			s.await("the primary", func(ctx context.Context) error {
				return s.API.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: rig.Name + "-primary"}, &appsv1.Deployment{})
			})
		},
		leave: func(s *site) { s.gate.Open() },
	},
	{phase: v1beta1.PhaseInitialized, version: oldVersion, rests: true, reach: func(s *site) { s.begin() }},
	{
		phase: v1beta1.PhaseWaiting, version: newVersion,
		reach: func(s *site) { s.releaseUpTo(v1beta1.ConfirmRolloutHook, no, v1beta1.PhaseWaiting) },
		leave: func(s *site) { s.hooks.answer(v1beta1.ConfirmRolloutHook, yes) },
	},
	{
		phase: v1beta1.PhaseProgressing, version: newVersion, share: 25,
		reach: func(s *site) {
			s.releaseUpTo(v1beta1.ConfirmTrafficIncreaseHook, s.notBegun, v1beta1.PhaseProgressing)
			s.await("the first weight", func(ctx context.Context) error {
				c, err := s.Canary(ctx)
				if err == nil && c.Status.CanaryWeight != 25 {
					err = fmt.Errorf("it is %d", c.Status.CanaryWeight)
				}
				return err
			})
		},
		leave: func(s *site) { s.hooks.answer(v1beta1.ConfirmTrafficIncreaseHook, yes) },
	},
	{
		name: "scaled by KEDA", phase: v1beta1.PhaseWaitingPromotion, version: newVersion, share: 50,
		reach: func(s *site) {
			s.scaleByKEDA()
			s.releaseUpTo(v1beta1.ConfirmPromotionHook, no, v1beta1.PhaseWaitingPromotion, func(c *v1beta1.Canary) {
				c.Spec.AutoscalerRef = &v1beta1.AutoscalerReference{APIVersion: scaledObjects.GroupVersion().String(), Kind: scaledObjects.Kind, Name: rig.Name}
			})
			s.wantPaused(rig.Name, "")
		},
		leave: func(s *site) { s.hooks.answer(v1beta1.ConfirmPromotionHook, yes) },
		also: func(s *site) {
			s.wantPaused(rig.Name, "0")
			s.wantPaused(rig.Name+"-primary", "")
		},
	},
	{
		phase: v1beta1.PhaseWaitingPromotion, version: newVersion, share: 50,
		reach: func(s *site) { s.releaseUpTo(v1beta1.ConfirmPromotionHook, no, v1beta1.PhaseWaitingPromotion) },
		leave: func(s *site) { s.hooks.answer(v1beta1.ConfirmPromotionHook, yes) },
	},
	{
		phase: v1beta1.PhasePromoting, version: newVersion, share: 50, ends: true, reach: func(s *site) { s.promote() },
		leave: func(s *site) { s.gate.Open() },
	},
	{
		phase: v1beta1.PhaseFinalising, version: newVersion, ends: true,
		reach: func(s *site) {
			s.promote()
			if !s.byFlagger {
				s.route = s.keepRoute() // else it is over in a moment
			}
			s.gate.Open()
			s.awaitPhase(v1beta1.PhaseFinalising)
		},
		leave: func(s *site) {
			if s.route != nil {
				s.route()
			}
		},
	},
	{
		phase: v1beta1.PhaseSucceeded, version: newVersion, rests: true,
		reach: func(s *site) {
			s.begin()
			s.release()
			s.awaitRest(v1beta1.PhaseSucceeded)
		},
	},
	{
		phase: v1beta1.PhaseFailed, version: oldVersion, rests: true,
		reach: func(s *site) {
			s.releaseUpTo(v1beta1.RollbackHook, yes, v1beta1.PhaseFailed)
			s.awaitRest(v1beta1.PhaseFailed)
			s.hooks.answer(v1beta1.RollbackHook, no)
		},
	},
	{
		phase: v1beta1.PhaseTerminating,
		reach: func(s *site) {
			s.begin(func(c *v1beta1.Canary) { c.Spec.RevertOnDeletion = true })
			s.call()
			s.await("the finalizer", func(ctx context.Context) error {
				c, err := s.Canary(ctx)
				if err == nil && len(c.Finalizers) == 0 {
					err = errors.New("it has none")
				}
				return err
			})
			s.gate.ShutFor(podsOf(rig.Name))
			s.must(s.API.Delete(s.t.Context(), get[v1beta1.Canary](s, rig.Name)))
			s.awaitPhase(v1beta1.PhaseTerminating)
		},
		leave: func(s *site) { s.gate.Open() },
	},
}

// releaseUpTo releases the new version, whose gates of a type answer so, until a phase has come.
func (s *site) releaseUpTo(kind v1beta1.HookType, answer func() bool, phase v1beta1.CanaryPhase, edits ...func(*v1beta1.Canary)) {
	s.t.Helper()
	s.begin(edits...)
	s.hooks.answer(kind, answer)
	s.release()
	s.awaitPhase(phase)
}

// promote releases the new version until it is promoted and the primary's new pods are not ready.
func (s *site) promote(edits ...func(*v1beta1.Canary)) {
	s.t.Helper()
	s.begin(edits...)
	s.gate.ShutFor(rig.PodsOf(rig.Name+"-primary", newVersion))
	s.release()
	s.awaitPhase(v1beta1.PhasePromoting)
	s.call()
}

// notBegun lets the canary have its first requests and no more.
func (s *site) notBegun() bool {
	c, err := s.Canary(s.t.Context())
	return err == nil && c.Status.CanaryWeight == 0
}

// A team that changes its operator in the middle of anything notices nothing: no request fails, and no release begins by
// itself. What Flagger itself loses while it is at work is told, and is no failure.
func TestSwitch(t *testing.T) {
	r := startRig(t)
	if err := r.InstallCRDs(t.Context(), "../e2e/testdata/keda.yaml"); err != nil {
		t.Fatal(err)
	}
	t.Run("switches", func(t *testing.T) {
		for _, x := range stops {
			name := strings.TrimSuffix(string(x.phase)+" "+x.name, " ")
			namespace := strings.ToLower(strings.ReplaceAll(name, " ", "-"))
			t.Run(name+"/from Flagger", func(t *testing.T) {
				t.Parallel()
				x.fromFlagger(newSite(t, r, "from-flagger-"+namespace))
			})
			t.Run(name+"/to Flagger", func(t *testing.T) {
				t.Parallel()
				x.toFlagger(newSite(t, r, "to-flagger-"+namespace))
			})
		}
		t.Run("beside Flagger", func(t *testing.T) {
			t.Parallel()
			testBeside(newSite(t, r, "beside-flagger"))
		})
	})
}

// testBeside: this operator ends at once beside a Flagger that holds its lease, and works when Flagger has given it back.
func testBeside(s *site) {
	flagger := s.flagger("-enable-leader-election", "-leader-election-namespace", s.Namespace)
	s.apply()
	s.awaitRest(v1beta1.PhaseInitialized)
	sluice := s.sluice()
	s.await("the end of this operator", func(context.Context) error {
		if sluice.Err() == nil {
			return errors.New("it is at work")
		}
		return nil
	})
	log, err := os.ReadFile(sluice.Log())
	s.must(err)
	if !strings.Contains(string(log), "a Flagger is running") {
		s.t.Errorf("it says\n%s", log)
	}
	sluice.Stop(0)
	flagger.Stop(30 * time.Second)
	s.sluice()
	s.awaitTaken()
}

// fromFlagger has this operator take over from Flagger.
func (x stop) fromFlagger(s *site) {
	flagger := s.flagger()
	s.byFlagger = true
	x.reach(s)
	s.call()
	s.tellFlaggers()
	flagger.Stop(time.Second)
	before, seen := s.report(s.t.Context()), len(s.statuses())
	s.sluice()
	if x.leave != nil {
		s.awaitTaken()
		x.leave(s)
	}
	x.end(s, seen)
	s.awaitMore(rate)
	s.wantNoneLost("with this operator", before)
}

// toFlagger has Flagger take over from this operator, after it was handed what it needs.
func (x stop) toFlagger(s *site) {
	sluice := s.sluice()
	x.reach(s)
	s.call()
	s.wantNoneLost("with this operator", cluster.Report{})
	sluice.Stop(time.Second)
	s.handOver(!x.ends)
	before, seen := s.report(s.t.Context()), len(s.statuses())
	if x.ends {
		sluice = s.sluice()
		x.leave(s)
		s.awaitRest(v1beta1.PhaseSucceeded)
		sluice.Stop(time.Second)
		s.handOver(true)
	}
	s.flagger()
	if x.leave != nil && !x.ends {
		x.leave(s)
	}
	x.endWithFlagger(s, seen)
	s.awaitMore(rate)
	s.wantNoneLost("with Flagger", before)
}

// end waits for the end of what was under way, and judges how it came to it.
func (x stop) end(s *site, seen int) {
	s.t.Helper()
	switch {
	case x.phase == v1beta1.PhaseTerminating:
		s.awaitGivenBack()
		return
	case x.rests:
		s.awaitTaken()
		s.hold(3*time.Second, x.phase)
	case x.phase == v1beta1.PhaseInitializing:
		s.awaitRest(v1beta1.PhaseInitialized)
	default:
		s.awaitRest(v1beta1.PhaseSucceeded)
	}
	s.wantPrimary(x.version)
	if x.also != nil {
		x.also(s)
	}
	since := s.statuses()[seen:]
	for _, m := range since { // Flagger's own statuses have no generation
		if st := m.Status; st.ObservedGeneration > 0 && running(st.Phase) && st.Phase != v1beta1.PhaseFinalising && st.CanaryWeight < x.share {
			s.t.Errorf("%s: the canary's share falls from %d%% to %d%%", st.Phase, x.share, st.CanaryWeight)
			break
		}
	}
	s.wantNoReleaseByItself(x, since)
}

// endWithFlagger is end where Flagger brings it to its end.
func (x stop) endWithFlagger(s *site, seen int) {
	s.t.Helper()
	rests := x.rests || x.ends
	switch {
	case x.phase == v1beta1.PhaseTerminating:
		s.awaitGivenBack()
		return
	case rests, x.phase == v1beta1.PhaseInitializing:
		s.awaitRest(v1beta1.PhaseInitialized)
		s.hold(12*time.Second, v1beta1.PhaseInitialized) // in which Flagger has looked at it again
	default:
		s.awaitPhase(v1beta1.PhaseSucceeded)
	}
	s.wantPrimary(x.version)
	if x.also != nil {
		x.also(s)
	}
	if rests {
		s.wantNoReleaseByItself(x, s.statuses()[seen:])
	}
}

// wantNoReleaseByItself makes sure that a Canary that rests has not begun a release since, and that no other has begun a
// second one.
func (s *site) wantNoReleaseByItself(x stop, since []rig.Moment) {
	s.t.Helper()
	releases := 0
	phases := rig.Phases(since)
	for i, phase := range phases {
		if begins := phase == v1beta1.PhaseProgressing || phase == v1beta1.PhaseWaiting; begins && i > 0 && !running(phases[i-1]) {
			releases++
		}
	}
	if releases > 0 {
		s.t.Errorf("a release begins by itself: %v", phases)
	}
}

func running(phase v1beta1.CanaryPhase) bool {
	return slices.Contains([]v1beta1.CanaryPhase{
		v1beta1.PhaseWaiting, v1beta1.PhaseProgressing, v1beta1.PhaseWaitingPromotion, v1beta1.PhasePromoting, v1beta1.PhaseFinalising,
	}, phase)
}

// awaitTaken waits until this operator has looked at the Canary.
func (s *site) awaitTaken() {
	s.t.Helper()
	s.await("this operator to have it", func(ctx context.Context) error {
		c, err := s.Canary(ctx)
		if err == nil && c.Status.ObservedGeneration != c.Generation {
			err = fmt.Errorf("the status is of generation %d", c.Status.ObservedGeneration)
		}
		return err
	})
}

// hold makes sure that a phase stays for a while.
func (s *site) hold(during time.Duration, phase v1beta1.CanaryPhase) {
	s.t.Helper()
	end := time.Now().Add(during)
	s.await(fmt.Sprintf("%v of %s", during, phase), func(ctx context.Context) error {
		c, err := s.Canary(ctx)
		switch {
		case err != nil:
			return err
		case c.Status.Phase != phase:
			s.t.Fatalf("it is %s", c.Status.Phase)
		case time.Now().Before(end):
			return errors.New("not long enough yet")
		}
		return nil
	})
}

// awaitGivenBack waits for the end of the Canary: the target serves.
func (s *site) awaitGivenBack() {
	s.t.Helper()
	s.await("the end of the Canary", func(ctx context.Context) error {
		_, err := s.Canary(ctx)
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err == nil:
			return errors.New("it is still there")
		}
		return err
	})
	if apex := get[corev1.Service](s, rig.Name); apex.Spec.Selector["app"] != rig.Name {
		s.t.Errorf("the apex Service selects %v", apex.Spec.Selector)
	}
}

// wantNoneLost makes sure that no request has failed since then.
func (s *site) wantNoneLost(while string, since cluster.Report) {
	s.t.Helper()
	seen := s.report(s.t.Context()).Sub(since)
	s.t.Logf("%s: %d requests, %d failed", while, seen.Total, seen.Failed)
	if seen.Failed > 0 {
		s.t.Errorf("%s: %d of %d requests failed: %s", while, seen.Failed, seen.Total, strings.Join(seen.Errors, "; "))
	}
}

// tellFlaggers tells what was lost while Flagger was at work: that is no fault of a switch.
func (s *site) tellFlaggers() {
	s.t.Helper()
	seen := s.report(s.t.Context())
	s.t.Logf("with Flagger: %d requests, %d failed: %s", seen.Total, seen.Failed, strings.Join(seen.Errors, "; "))
}
