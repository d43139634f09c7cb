package canary

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Pain 5: the target serves again before anything that serves now goes.
func TestDeletion(t *testing.T) {
	s := newInitialized(t)
	s.delete()

	s.mustTurn() // asks for the target's pods
	s.mustTurn()
	if n := *s.deployment("podinfo").Spec.Replicas; n != 2 {
		t.Errorf("the target has %d pods, the primary had 2", n)
	}
	if got := s.service("podinfo").Spec.Selector["app"]; got != "podinfo-primary" {
		t.Errorf("the apex service leads to %s before the target has pods", got)
	}
	if released := s.router.Released(); len(released) != 0 {
		t.Error("the route was released before the target has pods")
	}

	s.rollOut()
	result := s.settle()
	apex := s.service("podinfo")
	if got := apex.Spec.Selector["app"]; got != "podinfo" {
		t.Errorf("the apex service leads to %s", got)
	}
	if len(apex.OwnerReferences) != 0 {
		t.Errorf("the apex service goes with %v", apex.OwnerReferences)
	}
	if len(s.router.Released()) != 1 {
		t.Error("the route was not released")
	}
	if s.gone() {
		t.Error("the Canary, and with it the primary, went before the drain delay")
	}

	s.wait(result)
	s.mustTurn()
	if !s.gone() {
		t.Errorf("the Canary is still there: %v", s.now().Finalizers)
	}
	if diff := cmp.Diff([]string{"Normal Terminating"}, reasons(s.sent())); diff != "" {
		t.Errorf("events: -want +got\n%s", diff)
	}
}

// What goes with the Canary and what stays: the owner references decide.
func TestOwnedObjects(t *testing.T) {
	s := newInitialized(t)
	for _, o := range []metav1.Object{s.deployment("podinfo-primary"), s.service("podinfo"), s.service("podinfo-primary"), s.service("podinfo-canary")} {
		if !ownership.For(s.now()).Owns(o) || len(o.GetOwnerReferences()) > 0 {
			t.Errorf("%s does not go with the Canary", o.GetName())
		}
	}
	if owners := s.deployment("podinfo").OwnerReferences; len(owners) != 0 {
		t.Errorf("the target goes with %v", owners)
	}
}

// A Canary that never began has taken over nothing, so it gives back nothing.
func TestDeletionOfCanaryThatNeverBegan(t *testing.T) {
	for name, c := range map[string]canaryOf{
		"with a mistake": newCanary("podinfo").with(func(spec *v1beta1.CanarySpec) { spec.Provider = "nobody's" }),
		"suspended":      newCanary("podinfo").with(func(spec *v1beta1.CanarySpec) { spec.Suspend = true }),
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, c.Canary, newTarget())
			s.rollOut()
			s.settle()
			s.delete()
			s.mustTurn()
			if !s.gone() {
				t.Error("it is still there after a turn")
			}
			if writes := s.worldWrites(); len(writes) != 0 || s.router.Writes() != 0 {
				t.Errorf("writes: %v, %d of routes", writes, s.router.Writes())
			}
			if n := *s.deployment("podinfo").Spec.Replicas; n != 2 {
				t.Errorf("the target has %d pods", n)
			}
			if sent := reasons(s.sent()); slices.Contains(sent, "Warning ApplyFailed") {
				t.Errorf("events: %v", sent)
			}
		})
	}
}

// A Canary whose objects are another one's must not touch them when it goes.
func TestDeletionOfCanaryWithoutItsTarget(t *testing.T) {
	older := newCanary("older")
	s := newScene(t, newCanary("younger").bornAfter(time.Minute).Canary, older.Canary, newTarget())
	s.rollOut()
	s.settle()
	s.delete()
	s.settle()
	if !s.gone() {
		t.Error("it is still there")
	}
	if writes := s.worldWrites(); len(writes) != 0 || s.router.Writes() != 0 {
		t.Errorf("writes: %v, %d of routes", writes, s.router.Writes())
	}
}

// A mesh that is gone must not hold up a deletion, and clients must reach the
// target all the same.
func TestDeletionWithoutMesh(t *testing.T) {
	s := newInitialized(t)
	s.router.Fail(providers.ErrNotInstalled)
	s.delete()
	s.settleFully()
	if !s.gone() {
		t.Error("it is still there")
	}
	if got := s.service("podinfo").Spec.Selector["app"]; got != "podinfo" {
		t.Errorf("the apex service leads to %s", got)
	}
}

// Nor must a target that is gone.
func TestDeletionWithoutTarget(t *testing.T) {
	s := newInitialized(t)
	if err := s.api.Delete(t.Context(), s.deployment("podinfo")); err != nil {
		t.Fatal(err)
	}
	s.delete()
	s.settleFully()
	if !s.gone() {
		t.Error("it is still there")
	}
}

// While the target of a deleted Canary comes back the route goes on, and what it divides traffic between follows a
// target that was created anew with another label.
func TestBackendsOfDeletedCanary(t *testing.T) {
	for name, users := range map[string]bool{"made for it": false, "a user's": true} {
		t.Run(name, func(t *testing.T) {
			s := newInitialized(t)
			if users {
				own := s.service("podinfo-canary")
				own.Labels, own.Annotations = nil, nil
				if err := s.api.Update(t.Context(), own); err != nil {
					t.Fatal(err)
				}
			}
			s.remove(s.deployment("podinfo"))
			target := newTarget()
			target.UID = "uid-of-another-target"
			target.Spec.Selector.MatchLabels, target.Spec.Template.Labels = map[string]string{"app": "web"}, map[string]string{"app": "web"}
			if err := s.api.Create(t.Context(), target); err != nil {
				t.Fatal(err)
			}
			// The fake server counts versions from 1 again, as no real one does.
			s.reconciler.Applier = ssa.New(s.reconciler.Client)
			s.restartProcess()
			s.delete()
			s.mustTurn()
			if got := s.reaches("podinfo-canary", "podinfo"); got == users {
				t.Errorf("the canary Service selects %v", s.service("podinfo-canary").Spec.Selector)
			}
			if !s.reaches("podinfo", "podinfo-primary") {
				t.Errorf("the apex Service selects %v", s.service("podinfo").Spec.Selector)
			}
		})
	}
}

// What can't be removed is waited for no longer than that while there is an operator.
func TestLongDeleted(t *testing.T) {
	s := newInitialized(t)
	c := s.now()
	c.DeletionTimestamp = new(metav1.NewTime(s.clock.Now().Add(-31 * time.Minute)))
	if !longDeleted(absence(s.reconciler), s.clock.Now(), c) {
		t.Error("after 31 minutes, of a deadline of 10 minutes, it is waited for still")
	}
	s.reconciler.Absence = func() release.Absence {
		return release.Absence{From: s.clock.Now().Add(-20 * time.Minute), To: s.clock.Now()}
	}
	if longDeleted(absence(s.reconciler), s.clock.Now(), c) {
		t.Error("the time without an operator counts")
	}
}

// A cache shows a Canary for a while that was let go. What was made for it would be made again, and stay.
func TestNothingIsMadeForACanaryThatIsGone(t *testing.T) {
	s := newInitialized(t)
	s.delete()
	s.mustTurn()
	s.mustTurn()
	s.rollOut()
	s.wait(s.settle())
	s.cached = s.now()
	s.mustTurn()
	if !s.gone() {
		t.Fatal("it does not go")
	}
	s.writes = nil
	// Somebody takes pods of the target meanwhile, which serves alone by now.
	edit(s, s.deployment("podinfo"), func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(1)) })
	if result := s.mustTurn(); result.RequeueAfter != 0 || len(s.worldWrites()) > 0 {
		t.Errorf("it looks again after %s, and writes %v", result.RequeueAfter, s.worldWrites())
	}
}
