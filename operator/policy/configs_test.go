package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

const sharedConfig = "configmap/shared"

// newLimitedFleet has some releases at once of those that one config begins.
func newLimitedFleet(t *testing.T, most int) *fleet {
	f := newFleet(t)
	f.index = NewIndex(most)
	return f
}

// changed has a Canary look at configs that have changed, as a turn does, and begin its release or wait. It tells whether it has begun.
func (f *fleet) changedConfigs(name string, configs ...string) bool {
	turn, _ := f.index.TurnOf(f.all[name], configs, f.now)
	c := f.changed(name, func(c *v1beta1.Canary) {
		c.Status.ChangedConfigs = configs
		c.Status.Phase = v1beta1.PhaseProgressing
		c.Status.Step = &v1beta1.StepStatus{}
		if turn != nil {
			waits(int(f.now.Sub(start) / time.Second))(c)
		}
	})
	f.index.Settle(c, f.now)
	return turn == nil
}

func at1(phase v1beta1.CanaryPhase) func(*v1beta1.Canary) {
	return func(c *v1beta1.Canary) { c.Status.Phase, c.Status.Admission = phase, nil }
}

// Of the releases that one config begins so many go at once, and the others follow in the order in which they began to wait.
func TestConfigBegins(t *testing.T) {
	f := newLimitedFleet(t, 2)
	for _, name := range []string{"a/1", "a/2", "a/3", "a/4", "b/1"} {
		f.set(name, at1(v1beta1.PhaseSucceeded))
	}
	began := map[string]bool{}
	for _, name := range []string{"a/1", "a/2", "a/3", "a/4", "b/1"} {
		began[name] = f.changedConfigs(name, sharedConfig)
		f.now = f.now.Add(time.Second)
	}
	if want := map[string]bool{"a/1": true, "a/2": true, "a/3": false, "a/4": false, "b/1": true}; fmt.Sprint(began) != fmt.Sprint(want) {
		t.Fatalf("began: %v, want %v", began, want)
	}
	turn, _ := f.turn("a/4", true)
	if turn == nil || turn.Reason != release.ReasonMaximumReached || turn.Policy != "ConfigMap/shared" || turn.Place != 2 || turn.Waiting != 2 ||
		turn.Message != "of the releases that a change of ConfigMap/shared begins 2 go at once" {
		t.Errorf("%+v", turn)
	}
	f.wantWoken("a promotion", f.set("a/1", in(v1beta1.PhasePromoting)))
	f.wantWoken("an end", f.set("a/1", at1(v1beta1.PhaseSucceeded)), "a/3")
	f.expect("a/4 MaximumReached", "a/3")
	f.wantWoken("a rollback", f.set("a/2", at1(v1beta1.PhaseFailed)), "a/4")
	f.expect("a/4")
	for _, name := range []string{"a/3", "a/4", "b/1"} {
		f.set(name, at1(v1beta1.PhaseSucceeded))
	}
	for name := range f.all {
		f.set(name, func(c *v1beta1.Canary) { c.Status.ChangedConfigs = nil })
	}
	if n := len(f.index.byConfig); n > 0 {
		t.Errorf("%d limits are kept that nobody stands at", n)
	}
}

// What the config does not begin does not wait for it: another config, an image, what was begun otherwise and changes again.
func TestOthersDoNotWaitForAConfig(t *testing.T) {
	full := func(most int) *fleet {
		f := newLimitedFleet(t, most)
		f.set("a/1", at1(v1beta1.PhaseSucceeded))
		f.set("a/2", at1(v1beta1.PhaseSucceeded))
		f.changedConfigs("a/1", sharedConfig)
		return f
	}
	for name, tc := range map[string]struct {
		before  func(*v1beta1.Canary)
		configs []string
		most    int
		want    bool // it begins at once
	}{
		"the same config":        {at1(v1beta1.PhaseSucceeded), []string{sharedConfig}, 1, false},
		"the same and its own":   {at1(v1beta1.PhaseSucceeded), []string{"configmap/own", sharedConfig}, 1, false},
		"its own config":         {at1(v1beta1.PhaseSucceeded), []string{"configmap/own"}, 1, true},
		"a Secret of that name":  {at1(v1beta1.PhaseSucceeded), []string{"secret/shared"}, 1, true},
		"an image":               {at1(v1beta1.PhaseSucceeded), nil, 1, true},
		"more may":               {at1(v1beta1.PhaseSucceeded), []string{sharedConfig}, 2, true},
		"there is no limit":      {at1(v1beta1.PhaseSucceeded), []string{sharedConfig}, 0, true},
		"it is under way by now": {at1(v1beta1.PhaseProgressing), []string{sharedConfig}, 1, true},
		"it failed before":       {at1(v1beta1.PhaseFailed), []string{sharedConfig}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := full(tc.most)
			f.set("a/2", tc.before)
			if got := f.changedConfigs("a/2", tc.configs...); got != tc.want {
				t.Errorf("it begins at once: %t", got)
			}
		})
	}
}

// Who is held by people, by a gate or by a mistake is not waited for, goes on when they have done with it, and is never sent back.
func TestWhoIsHeldGivesItsPlace(t *testing.T) {
	for name, hold := range map[string]func(*v1beta1.Canary){
		"paused":    func(c *v1beta1.Canary) { c.Status.Paused = true },
		"suspended": func(c *v1beta1.Canary) { c.Spec.Suspend = true },
		"at a gate": func(c *v1beta1.Canary) { c.Status.Gate = &v1beta1.GateStatus{} },
		"mistaken": func(c *v1beta1.Canary) {
			c.Status.SetCondition(v1beta1.CanaryCondition{Type: v1beta1.ConditionStalled, Status: "True", Reason: "InvalidSpec"}, start)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newLimitedFleet(t, 1)
			for _, name := range []string{"a/1", "a/2", "a/3"} {
				f.set(name, at1(v1beta1.PhaseSucceeded))
				f.changedConfigs(name, sharedConfig)
				f.now = f.now.Add(time.Second)
			}
			before := f.all["a/1"].DeepCopy()
			f.wantWoken("it", f.set("a/1", hold), "a/2")
			f.expect("a/2", "a/3 MaximumReached")
			f.set("a/1", func(c *v1beta1.Canary) { c.Status, c.Spec = before.Status, before.Spec })
			if turn, _ := f.turn("a/1", true); turn != nil {
				t.Errorf("%+v", turn)
			}
			f.wantWoken("an end", f.set("a/1", at1(v1beta1.PhaseSucceeded)))
			f.expect("a/3 MaximumReached")
			f.wantWoken("another", f.set("a/2", at1(v1beta1.PhaseSucceeded)), "a/3")
		})
	}
}

// A place is kept between the answer and the status that says that the release has begun, and is free again where it does not begin.
func TestAPlaceIsKeptForWhoBegins(t *testing.T) {
	f := newLimitedFleet(t, 1)
	for _, name := range []string{"a/1", "a/2", "a/3"} {
		f.set(name, at1(v1beta1.PhaseSucceeded))
	}
	if turn, _ := f.index.TurnOf(f.all["a/1"], []string{sharedConfig}, f.now); turn != nil {
		t.Fatalf("%+v", turn)
	}
	if f.changedConfigs("a/2", sharedConfig) {
		t.Error("two begin in the place of one")
	}
	f.wantWoken("who does not begin", namesOf(f.index.Settle(f.all["a/1"], f.now)), "a/2")
	if f.changedConfigs("a/3", sharedConfig) {
		t.Error("one that has just come begins before one that waits")
	}
	f.expect("a/2")
}

// Whoever was let begin is not sent back where a config of before is found to have begun more than may.
func TestWhoIsUnderWayIsNotSentBack(t *testing.T) {
	f := newLimitedFleet(t, 1)
	for _, name := range []string{"a/1", "a/2"} {
		f.set(name, func(c *v1beta1.Canary) {
			waits(1)(c)
			c.Status.Phase, c.Status.Step, c.Status.ChangedConfigs = v1beta1.PhaseProgressing, &v1beta1.StepStatus{}, []string{sharedConfig}
			c.Status.Admission.Admitted = new(metav1.NewMicroTime(start))
		})
	}
	f.index.SetPolicy(limit("a", 5), f.now)
	for _, name := range []string{"a/1", "a/2"} {
		if turn, _ := f.turn(name, true); turn == nil || turn.Yield {
			t.Errorf("%s: %+v", name, turn)
		}
	}
}

// With policies of people a release waits for both.
func TestConfigsAndPolicies(t *testing.T) {
	f := newLimitedFleet(t, 1)
	f.index.SetPolicy(limit("a", 2), f.now)
	for _, name := range []string{"a/1", "a/2"} {
		f.set(name, at1(v1beta1.PhaseSucceeded))
		if f.changedConfigs(name, sharedConfig) {
			t.Errorf("%s has not asked the policy", name)
		}
	}
	f.expect("a/1", "a/2 MaximumReached")
	if turn, _ := f.turn("a/2", true); turn.Policy != "ConfigMap/shared" {
		t.Errorf("%+v", turn)
	}
	// The policy sends back who is one too many, as it does with all.
	f.set("a/1", func(c *v1beta1.Canary) { c.Status.ChangedConfigs = nil })
	f.expect("a/2")
}

// Whoever waits is woken to be told its place when that is a quarter of what it was told, and by no more.
func TestPlaceIsToldAnew(t *testing.T) {
	f := newLimitedFleet(t, 1)
	const all = 40
	name := func(i int) string { return fmt.Sprintf("a/%02d", i) }
	for i := range all {
		f.set(name(i), at1(v1beta1.PhaseSucceeded))
		f.changedConfigs(name(i), sharedConfig)
		f.now = f.now.Add(time.Second)
	}
	known, writes := map[string]int{}, 0
	tell := func(name string) {
		turn, _ := f.turn(name, true)
		if turn == nil || turn.May {
			return
		}
		if was := known[name]; was == 0 || turn.Place <= was/release.PlaceStep {
			known[name] = turn.Place
			writes++
			f.set(name, func(c *v1beta1.Canary) { c.Status.Admission.Place = int32(turn.Place) })
		}
	}
	for i := 1; i < all; i++ {
		tell(name(i))
	}
	for i := range all {
		for _, woken := range f.set(name(i), at1(v1beta1.PhaseSucceeded)) {
			tell(woken)
		}
		for place, m := range queueOf(f, Key{Namespace: "a", Config: sharedConfig}) {
			if was := known[m.key.String()]; was > release.PlaceStep*release.PlaceStep*(place+1) {
				t.Fatalf("%s is number %d, and was told %d", m.key, place+1, was)
			}
		}
	}
	if writes > 3*all {
		t.Errorf("%d places were written of %d releases", writes, all)
	}
	if c := f.all[name(all-1)]; c.Status.Phase != v1beta1.PhaseSucceeded {
		t.Errorf("the last is %s", c.Status.Phase)
	}
}

func queueOf(f *fleet, key Key) []*member {
	if s := f.index.byConfig[key]; s != nil {
		return s.queue
	}
	return nil
}

// Whatever happens in whatever order, an operator that starts anew included, no more begin than may, all have their turn, and a
// release that goes on is never sent back.
func TestNeverMoreThanOneConfigMay(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 2))
		most := 1 + r.IntN(3)
		f := newLimitedFleet(t, most)
		if r.IntN(3) == 0 {
			f.index.SetPolicy(clusterLimit(4, nil), f.now)
		}
		configs := []string{"configmap/x", "configmap/y", "secret/x"}
		const all = 12
		var names []string
		pending := map[string]bool{}
		for i := range all {
			name := fmt.Sprintf("a/%02d", i)
			names = append(names, name)
			f.set(name, at1(v1beta1.PhaseSucceeded))
			pending[name] = true
		}
		due := map[string][]string{}
		for _, name := range names {
			due[name] = configs[:1+r.IntN(len(configs))]
		}
		finished := 0
		for range 4000 {
			name := names[r.IntN(len(names))]
			c := f.all[name]
			f.now = f.now.Add(time.Second)
			var woken []string
			switch {
			case r.IntN(100) == 0: // the operator starts anew
				f.restart(most)
				for _, name := range names {
					pending[name] = true
				}
			case due[name] != nil && pending[name]:
				f.changedConfigs(name, due[name]...)
				due[name] = nil
			case c.Status.Phase == v1beta1.PhaseWaiting && pending[name]:
				pending[name] = false
				_, woken = f.turn(name, r.IntN(5) > 0)
			case c.Status.Phase == v1beta1.PhaseProgressing && r.IntN(6) == 0:
				woken = f.set(name, at1(v1beta1.PhaseSucceeded))
				finished++
			case c.Status.Phase == v1beta1.PhaseProgressing && r.IntN(6) == 0:
				if turn, _ := f.turn(name, true); turn != nil && turn.Yield {
					t.Fatalf("seed %d: %s is sent back", seed, name)
				}
			}
			for _, other := range woken {
				pending[other] = true
			}
			if c := f.all[name]; c.Status.Phase == v1beta1.PhaseWaiting && !pending[name] && r.IntN(20) == 0 {
				pending[name] = true // an event of its own
			}
			for _, config := range configs {
				n := 0
				for _, c := range f.all {
					if c.Status.Phase == v1beta1.PhaseProgressing && slices.Contains(c.Status.ChangedConfigs, config) {
						n++
					}
				}
				if n > most {
					t.Fatalf("seed %d: %d are under way by %s, %d may", seed, n, config, most)
				}
			}
		}
		if finished != all {
			t.Errorf("seed %d: %d of %d had their turn", seed, finished, all)
		}
	}
}

// restart gives the fleet another index, which knows what the statuses say.
func (f *fleet) restart(most int) {
	policies := f.index.policies
	f.index = NewIndex(most)
	for _, s := range policies {
		f.index.SetPolicy(s.rules, f.now)
	}
	for _, c := range f.all {
		f.index.SetCanary(c, f.now)
	}
}

// The priority of a Canary counts among those of a config, too.
func TestConfigsByPriority(t *testing.T) {
	f := newLimitedFleet(t, 1)
	for i, name := range []string{"a/1", "a/2", "a/3"} {
		f.set(name, func(c *v1beta1.Canary) {
			c.Status.Phase = v1beta1.PhaseSucceeded
			c.Annotations = map[string]string{v1alpha1.PriorityAnnotation: fmt.Sprint(i)}
		})
		f.changedConfigs(name, sharedConfig)
	}
	f.wantWoken("an end", f.set("a/1", func(c *v1beta1.Canary) {
		at1(v1beta1.PhaseSucceeded)(c)
		c.DeletionTimestamp = new(metav1.NewTime(f.now))
	}), "a/3")
}
