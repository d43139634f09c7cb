package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

var start = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// fleet is some Canaries and what an Index is told of them.
type fleet struct {
	t       *testing.T
	index   *Index
	all     map[string]*v1beta1.Canary
	version int
	now     time.Time
}

func newFleet(t *testing.T) *fleet {
	return &fleet{t: t, index: NewIndex(0), all: map[string]*v1beta1.Canary{}, now: start}
}

func keyOf(name string) types.NamespacedName {
	namespace, name, _ := strings.Cut(name, "/")
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// set changes a Canary, named NAMESPACE/NAME, and returns who is woken by that.
func (f *fleet) set(name string, change func(*v1beta1.Canary)) []string {
	c := f.changed(name, change)
	return namesOf(f.index.SetCanary(c, f.now))
}

func (f *fleet) changed(name string, change func(*v1beta1.Canary)) *v1beta1.Canary {
	c := f.all[name]
	if c == nil {
		key := keyOf(name)
		c = &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: types.UID(name)}}
	}
	c = c.DeepCopy()
	f.version++
	c.ResourceVersion = strconv.Itoa(f.version)
	change(c)
	f.all[name] = c
	return c
}

// waits has a Canary wait since so many seconds after the start.
func waits(since int) func(*v1beta1.Canary) {
	return func(c *v1beta1.Canary) {
		c.Status.Phase = v1beta1.PhaseWaiting
		c.Status.Admission = &v1beta1.AdmissionStatus{Since: metav1.NewMicroTime(start.Add(time.Duration(since) * time.Second))}
	}
}

func in(phase v1beta1.CanaryPhase) func(*v1beta1.Canary) {
	return func(c *v1beta1.Canary) { c.Status.Phase = phase }
}

// turn is a turn of a Canary that takes its turn if it may.
func (f *fleet) turn(name string, takes bool) (*release.Turn, []string) {
	t, woken := f.index.TurnOf(f.all[name], nil, f.now)
	c := f.all[name]
	if t != nil && t.May && takes {
		c = f.changed(name, func(c *v1beta1.Canary) {
			c.Status.Phase = v1beta1.PhaseProgressing
			c.Status.Step = &v1beta1.StepStatus{}
			c.Status.Admission.Admitted = new(metav1.NewMicroTime(f.now))
		})
	}
	return t, append(namesOf(woken), namesOf(f.index.Settle(c, f.now))...)
}

// expect has Canaries take their turns, and wants a reason each, empty for those that begin.
func (f *fleet) expect(reasons ...string) {
	f.t.Helper()
	for _, of := range reasons {
		name, reason, _ := strings.Cut(of, " ")
		t, _ := f.turn(name, true)
		if t == nil || t.Reason != reason || t.May != (reason == "") {
			f.t.Errorf("%s: %+v, want %q", name, t, reason)
		}
	}
}

func namesOf(keys []types.NamespacedName) []string {
	out := make([]string, len(keys))
	for i, key := range keys {
		out[i] = key.String()
	}
	return out
}

func limit(namespace string, n int32) Rules {
	return Of(&v1alpha1.ReleasePolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "limit"}, Spec: v1alpha1.ReleasePolicySpec{MaxReleases: &n},
	})
}

func clusterLimit(n int32, change func(*v1alpha1.ClusterReleasePolicySpec)) Rules {
	p := &v1alpha1.ClusterReleasePolicy{ObjectMeta: metav1.ObjectMeta{Name: "limit"}}
	p.Spec.MaxReleases = &n
	if change != nil {
		change(&p.Spec)
	}
	return OfCluster(p)
}

func (f *fleet) wantWoken(what string, got []string, want ...string) {
	f.t.Helper()
	if !slices.Equal(got, want) {
		f.t.Errorf("%s wakes %v, want %v", what, got, want)
	}
}

func TestTurns(t *testing.T) {
	f := newFleet(t)
	f.index.SetPolicy(limit("a", 2), f.now)
	for i, name := range []string{"a/1", "a/2", "a/3", "a/4"} {
		f.set(name, waits(i))
	}
	f.set("b/1", waits(0))
	if turn, _ := f.turn("b/1", true); turn != nil {
		t.Errorf("a policy of one namespace is about another: %+v", turn)
	}
	f.expect("a/4 MaximumReached", "a/2", "a/3 MaximumReached", "a/1", "a/3 MaximumReached")
	turn, _ := f.turn("a/4", true)
	if turn.Place != 2 || turn.Waiting != 2 {
		t.Errorf("a/4 is number %d of %d", turn.Place, turn.Waiting)
	}
	if turn.Detail != "2 under way (1, 2), 1 wait before it" || turn.Message != "ReleasePolicy/limit allows 2 releases at once" {
		t.Errorf("%+v", turn)
	}
	f.wantWoken("a promotion", f.set("a/1", in(v1beta1.PhasePromoting)))
	f.wantWoken("an end", f.set("a/1", in(v1beta1.PhaseSucceeded)), "a/3")
	f.expect("a/4 MaximumReached", "a/3")
	f.wantWoken("a rollback", f.set("a/2", in(v1beta1.PhaseFailed)), "a/4")
	f.wantWoken("a deletion", namesOf(f.index.RemoveCanary(keyOf("a/3"), f.now)), "a/4")
	f.expect("a/4")
}

func TestPriority(t *testing.T) {
	f := newFleet(t)
	f.index.SetPolicy(limit("a", 1), f.now)
	f.set("a/1", in(v1beta1.PhaseProgressing))
	f.set("a/2", waits(1))
	f.set("a/3", func(c *v1beta1.Canary) {
		waits(2)(c)
		c.Annotations = map[string]string{v1alpha1.PriorityAnnotation: "10"}
	})
	f.wantWoken("an end", f.set("a/1", in(v1beta1.PhaseSucceeded)), "a/3")
	f.expect("a/2 MaximumReached", "a/3", "a/2 MaximumReached")
}

// A place is offered to one at a time, and to the next where it is not taken.
func TestOffers(t *testing.T) {
	f := newFleet(t)
	f.index.SetPolicy(limit("a", 1), f.now)
	f.set("a/1", waits(1))
	f.set("a/2", waits(2))
	turn, _ := f.index.TurnOf(f.all["a/1"], nil, f.now)
	if !turn.May {
		t.Fatalf("%+v", turn)
	}
	f.expect("a/2 MaximumReached")
	f.wantWoken("an offer that is not taken", namesOf(f.index.Settle(f.all["a/1"], f.now)), "a/2")
	f.expect("a/2", "a/1 MaximumReached")
}

// Whoever can't begin for another reason keeps nobody from beginning.
func TestOthersWait(t *testing.T) {
	for name, hold := range map[string]func(*v1beta1.Canary){
		"suspended": func(c *v1beta1.Canary) { c.Spec.Suspend = true },
		"paused":    func(c *v1beta1.Canary) { c.Status.Paused = true },
		"mistaken": func(c *v1beta1.Canary) {
			c.Status.SetCondition(v1beta1.CanaryCondition{Type: v1beta1.ConditionStalled, Status: "True", Reason: "InvalidSpec"}, start)
		},
		"at a gate": func(c *v1beta1.Canary) { c.Status.Admission = nil },
		"deleted":   func(c *v1beta1.Canary) { c.DeletionTimestamp = new(metav1.NewTime(start)) },
		"frozen":    func(c *v1beta1.Canary) { c.Labels = map[string]string{"frozen": "true"} },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			f.index.SetPolicy(limit("a", 1), f.now)
			f.index.SetPolicy(Of(&v1alpha1.ReleasePolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "frozen"}, Spec: v1alpha1.ReleasePolicySpec{
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"frozen": "true"}}, Freeze: &v1alpha1.ReleaseFreeze{Reason: "r", Author: "a"},
			}}), f.now)
			f.set("a/1", waits(1))
			f.set("a/2", waits(2))
			f.expect("a/2 MaximumReached")
			f.wantWoken("it", f.set("a/1", hold), "a/2")
			f.expect("a/2")
		})
	}
}

// What could not be applied does not keep a release from beginning, so that it keeps its turn.
func TestWhatIsNotAppliedWaits(t *testing.T) {
	f := newFleet(t)
	f.index.SetPolicy(limit("a", 1), f.now)
	f.set("a/1", waits(1))
	f.set("a/2", waits(2))
	f.wantWoken("nobody else", f.set("a/1", func(c *v1beta1.Canary) {
		c.Status.SetCondition(v1beta1.CanaryCondition{Type: v1beta1.ConditionStalled, Status: "True", Reason: release.ReasonApplyFailed}, start)
	}))
	f.expect("a/2 MaximumReached", "a/1")
}

// A leader's clock that is put back has rules looked at anew, not what was found out of a later time.
func TestClockIsPutBack(t *testing.T) {
	f := newFleet(t)
	f.index.SetPolicy(Of(&v1alpha1.ReleasePolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "office"}, Spec: v1alpha1.ReleasePolicySpec{
		Windows: []v1alpha1.ReleaseWindow{{From: "09:00", To: "17:00"}},
	}}), f.now)
	f.set("a/1", waits(1))
	f.now = start.Add(8 * time.Hour)
	f.expect("a/1 WindowClosed")
	f.now = start
	f.expect("a/1")
}

// A release waits for all policies that select its Canary, and the cluster's are no less than its namespace's.
func TestSeveralPolicies(t *testing.T) {
	f := newFleet(t)
	f.index.SetNamespace("a", map[string]string{"env": "production"}, f.now)
	production := func(s *v1alpha1.ClusterReleasePolicySpec) {
		s.Namespaces = &metav1.LabelSelector{MatchLabels: map[string]string{"env": "production"}}
	}
	f.index.SetPolicy(clusterLimit(1, production), f.now)
	f.index.SetPolicy(limit("a", 5), f.now)
	f.index.SetPolicy(limit("b", 5), f.now)
	f.set("a/1", waits(1))
	f.set("a/2", waits(2))
	f.set("b/1", waits(3))
	f.expect("a/1", "a/2 MaximumReached", "b/1")
	turn, _ := f.turn("a/2", true)
	if turn.Policy != "ClusterReleasePolicy/limit" || turn.Detail != "1 under way" {
		t.Errorf("%+v", turn)
	}
	f.wantWoken("a label of the namespace", namesOf(f.index.SetNamespace("a", map[string]string{}, f.now)), "a/2")
	f.expect("a/2")
}

func TestPoliciesChange(t *testing.T) {
	f := newFleet(t)
	f.index.SetPolicy(limit("a", 1), f.now)
	f.set("a/1", in(v1beta1.PhaseProgressing))
	f.set("a/2", waits(2))
	f.set("a/3", waits(3))
	f.expect("a/2 MaximumReached")
	f.wantWoken("a larger maximum", namesOf(f.index.SetPolicy(limit("a", 2), f.now)), "a/2", "a/3")
	f.expect("a/3 MaximumReached", "a/2", "a/3 MaximumReached")
	f.wantWoken("no policy", namesOf(f.index.RemovePolicy(Key{Namespace: "a", Name: "limit"}, f.now)), "a/3")
	if turn, _ := f.turn("a/3", true); turn != nil {
		t.Errorf("%+v", turn)
	}
	// Those in a release when a policy is made go on, and count.
	f.wantWoken("a policy", namesOf(f.index.SetPolicy(limit("a", 1), f.now)), "a/2", "a/3")
	for _, name := range []string{"a/1", "a/2"} {
		if turn, _ := f.turn(name, true); turn == nil || turn.May {
			t.Errorf("%s: %+v", name, turn)
		}
	}
}

// Without a maximum nobody waits for a place, and nobody is sent back.
func TestNoMaximum(t *testing.T) {
	f := newFleet(t)
	frozen := func(f *v1alpha1.ReleaseFreeze) Rules {
		return Of(&v1alpha1.ReleasePolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "freeze"}, Spec: v1alpha1.ReleasePolicySpec{Freeze: f}})
	}
	f.index.SetPolicy(frozen(&v1alpha1.ReleaseFreeze{Reason: "r", Author: "a"}), f.now)
	f.set("a/1", waits(1))
	f.set("a/2", waits(2))
	f.expect("a/1 Frozen", "a/2 Frozen")
	f.wantWoken("the end of a freeze", namesOf(f.index.SetPolicy(frozen(nil), f.now)), "a/1", "a/2")
	f.expect("a/2", "a/1")
	for _, name := range []string{"a/1", "a/2"} {
		if turn, _ := f.turn(name, true); turn == nil || turn.Yield {
			t.Errorf("%s: %+v", name, turn)
		}
	}
}

// Two operators may let too many begin. The last of them wait again, as long as they had no traffic.
func TestBeyond(t *testing.T) {
	f := newFleet(t)
	f.index.SetPolicy(limit("a", 1), f.now)
	begins := func(second int, step int32) func(*v1beta1.Canary) {
		return func(c *v1beta1.Canary) {
			c.Status.Phase, c.Status.Step = v1beta1.PhaseProgressing, &v1beta1.StepStatus{Index: step}
			c.Status.Admission = &v1beta1.AdmissionStatus{Admitted: new(metav1.NewMicroTime(start.Add(time.Duration(second) * time.Second)))}
		}
	}
	f.set("a/1", begins(5, 0))
	f.wantWoken("one too many", f.set("a/2", begins(4, 0)), "a/1")
	if turn, _ := f.turn("a/2", true); turn.Yield {
		t.Error("the first that was let begin is sent back")
	}
	if turn, _ := f.turn("a/1", true); !turn.Yield {
		t.Error("the last that was let begin is not sent back")
	}
	f.set("a/1", begins(5, 1))
	if turn, _ := f.turn("a/1", true); turn.Yield {
		t.Error("one that has traffic is sent back")
	}
	if turn, _ := f.turn("a/2", true); !turn.Yield {
		t.Error("there is one too many, and one that can be sent back is not")
	}
}

// What an event costs does not grow with the fleet: only those are looked at and woken that it is about.
func TestWakesNoMoreThanPlaces(t *testing.T) {
	f := newFleet(t)
	f.index.SetPolicy(clusterLimit(10, nil), f.now)
	for i := range 2000 {
		phase := waits(i)
		if i < 10 {
			phase = in(v1beta1.PhaseProgressing)
		}
		if woken := f.set(fmt.Sprintf("n%d/c%d", i%50, i), phase); len(woken) > 0 {
			t.Fatalf("%d wakes %v", i, woken)
		}
	}
	f.wantWoken("an end", f.set("n3/c3", in(v1beta1.PhaseSucceeded)), "n10/c10")
	if allocs := testing.AllocsPerRun(100, func() { f.index.TurnOf(f.all["n10/c1010"], nil, f.now) }); allocs > 60 {
		t.Errorf("an answer to one of 2,000 allocates %.0f times", allocs)
	}
}

// Whatever happens in whatever order, no more begin than may, and all have their turn in the end. Some answers are from an
// index that is behind, as that of another operator.
func TestNeverMoreThanMay(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		f := newFleet(t)
		most := map[string]int32{"a": 1 + r.Int32N(3), "b": 1 + r.Int32N(3), "": 1 + r.Int32N(4)}
		f.index.SetPolicy(limit("a", most["a"]), f.now)
		f.index.SetPolicy(limit("b", most["b"]), f.now)
		f.index.SetPolicy(clusterLimit(most[""], nil), f.now)
		var names []string
		pending := map[string]bool{}
		for i := range 12 {
			name := fmt.Sprintf("%c/%d", "ab"[i%2], i)
			names = append(names, name)
			f.set(name, waits(r.IntN(10)))
			pending[name] = true
		}
		finished := 0
		for range 3000 {
			name := names[r.IntN(len(names))]
			c := f.all[name]
			f.now = f.now.Add(time.Second)
			var woken []string
			switch {
			case c.Status.Phase == v1beta1.PhaseWaiting && pending[name]:
				pending[name] = false
				_, woken = f.turn(name, r.IntN(5) > 0)
			case c.Status.Phase == v1beta1.PhaseProgressing && r.IntN(4) == 0:
				woken = f.set(name, in(v1beta1.PhaseSucceeded))
				finished++
			}
			for _, other := range woken {
				pending[other] = true
			}
			if c := f.all[name]; c.Status.Phase == v1beta1.PhaseWaiting && !pending[name] && r.IntN(20) == 0 {
				pending[name] = true // an event of its own
			}
			count := map[string]int32{}
			for name, c := range f.all {
				if c.Status.Phase == v1beta1.PhaseProgressing {
					count[name[:1]]++
					count[""]++
				}
			}
			for of, n := range count {
				if n > most[of] {
					t.Fatalf("seed %d: %d of %q are in a release, %d may", seed, n, of, most[of])
				}
			}
		}
		if finished != len(names) {
			t.Errorf("seed %d: %d of %d had their turn", seed, finished, len(names))
		}
	}
}

// A place that is offered is kept, whoever comes meanwhile.
func TestAnOfferIsKept(t *testing.T) {
	f := newFleet(t)
	f.index.SetPolicy(limit("a", 1), f.now)
	f.set("a/1", waits(1))
	f.index.TurnOf(f.all["a/1"], nil, f.now)
	f.set("a/2", func(c *v1beta1.Canary) {
		waits(2)(c)
		c.Annotations = map[string]string{v1alpha1.PriorityAnnotation: "10"}
	})
	f.expect("a/2 MaximumReached")
	f.index.Settle(f.changed("a/1", in(v1beta1.PhaseProgressing)), f.now)
	f.expect("a/2 MaximumReached")
}

// What a cache shows late is not believed.
func TestLateEvents(t *testing.T) {
	f := newFleet(t)
	f.index.SetPolicy(limit("a", 1), f.now)
	f.set("a/1", waits(1))
	before := f.all["a/1"]
	f.set("a/2", waits(2))
	f.expect("a/1")
	f.index.SetCanary(before, f.now)
	f.expect("a/2 MaximumReached")
	want := []Standing{{Key: Key{Namespace: "a", Name: "limit"}, UnderWay: 1, Waiting: 1, Limit: 1}}
	if all := f.index.Standings(f.now); !slices.Equal(all, want) {
		t.Errorf("%+v", all)
	}
}
