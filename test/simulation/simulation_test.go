package simulation

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

var (
	seedFlag    = flag.Uint64("simulation.seed", 0, "replay the world of this seed, and print what happens in it")
	planFlag    = flag.String("simulation.plan", "", "replay the world of this plan, which a failure has printed")
	countFlag   = flag.Int("simulation.rollouts", 0, "how many worlds to try; 0 is $SIMULATION_ROLLOUTS, or 1000")
	firstFlag   = flag.Uint64("simulation.first", 1, "the seed of the first")
	samplesFlag = flag.Int("simulation.samples", 0, "with -simulation.all: how many failures of a kind are shrunk")
	withoutFlag = flag.String("simulation.without", "", "a regular expression of what the adversary does not do")
	logFlag     = flag.Bool("simulation.log", false, "print what happens in the named worlds, whatever comes of them")
	statusFlag  = flag.Bool("simulation.status", false, "print what each write of the status changes")
	goOnFlag    = flag.Bool("simulation.all", false, "go on after a failure, and list all by kind without shrinking them")
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	debug.SetGCPercent(400) // a world is small and soon gone: to collect it often is a fifth of the time
	os.Exit(m.Run())
}

// plan is a world: what it is and what happens in it.
type plan struct {
	Seed          uint64
	Pods          int32
	MinReady      int32         `json:",omitempty"`
	Strategy      string        `json:",omitempty"`
	Analysis      string        `json:",omitempty"`
	Hooks         []string      `json:",omitempty"`
	HPA           bool          `json:",omitempty"`
	OwnApex       bool          `json:",omitempty"`
	GitOps        bool          `json:",omitempty"`
	ReplicasInGit bool          `json:",omitempty"`
	CacheLag      time.Duration `json:",omitempty"`
	MeshLag       time.Duration `json:",omitempty"`
	Configs       bool          `json:",omitempty"`
	ReadAtStart   bool          `json:",omitempty"` // pods read configs when they start, and never again
	Coverage      bool          `json:",omitempty"`
	Policy        string        `json:",omitempty"`
	Compare       string        `json:",omitempty"` // canary and primary, beside the range of values or alone
	Early         bool          `json:",omitempty"` // steps may end before their interval, where canary and primary are compared
	Acts          []act
}

// act is something that happens: when the Canary comes to a phase or weight, and after a delay.
type act struct {
	When  string        `json:",omitempty"`
	After time.Duration `json:",omitempty"`
	What  string
	Rand  uint64 `json:",omitempty"`
}

// later is something that will happen.
type later struct {
	at   time.Time
	name string
	do   func()
}

func (w *world) later(at time.Time, name string, do func()) {
	w.due = append(w.due, later{at, name, do})
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// planOf makes a plan from a seed.
func planOf(seed uint64) plan {
	r := rand.New(rand.NewPCG(seed, 0))
	p := plan{
		Seed: seed, Pods: int32(pickInt(r, 1, 2, 2, 4, 10)),
		Strategy: pick(r, "", "", "", "recreate", "no surge"),
		Analysis: pick(r, "", "", "", "blue/green", "a/b", "kubernetes", "mirror", "sessions", "steps back"),
		HPA:      r.IntN(4) == 0, OwnApex: r.IntN(3) == 0, GitOps: r.IntN(3) == 0, ReplicasInGit: r.IntN(3) == 0,
		MinReady: int32(pickInt(r, 0, 0, 5)),
		CacheLag: time.Duration(pickInt(r, 0, 200, 2000)) * time.Millisecond,
		MeshLag:  time.Duration(pickInt(r, 0, 1, 4)) * time.Second,
	}
	for _, kind := range hookKinds {
		if r.IntN(8) == 0 {
			p.Hooks = append(p.Hooks, kind)
		}
	}
	names := sortedKeys(doings)
	if *withoutFlag != "" {
		without := regexp.MustCompile(*withoutFlag)
		names = slices.DeleteFunc(names, without.MatchString)
	}
	random := func(when string, within int) act {
		return act{when, time.Duration(r.IntN(within*1000+1)) * time.Millisecond, names[r.IntN(len(names))], r.Uint64()}
	}
	if r.IntN(8) == 0 {
		p.Acts = append(p.Acts, random("Initializing", 10))
	}
	p.Acts = append(p.Acts, act{"Initialized", 0, pick(r, "release", "release a good one", "release a bad one"), r.Uint64()})
	for range 1 + r.IntN(3) {
		p.Acts = append(p.Acts, random(whens[r.IntN(len(whens))], 15))
		if r.IntN(3) == 0 {
			p.Acts = append(p.Acts, random("", 3)) // two at once
		}
		if r.IntN(6) == 0 {
			p.Acts = append(p.Acts, random("", 60))
		}
	}
	p.Configs, p.Coverage = r.IntN(3) == 0, r.IntN(6) == 0
	p.ReadAtStart = r.IntN(2) == 0
	p.Compare = pick(r, "", "", "beside", "alone")
	p.Policy = pick(r, "", "", "", "", policyFreeze, policyTimes, policyPlace, policyInvalid)
	p.Early = p.Compare != "" && r.IntN(2) == 0
	return p
}

var whens = []string{
	"Initialized", "Waiting", "Progressing", "weight", "weight", "most", "WaitingPromotion", "Promoting", "Promoting", "Finalising", "Succeeded", "Failed", "end", "",
}

func pickInt(r *rand.Rand, of ...int) int { return of[r.IntN(len(of))] }

// reached tells whether the Canary has come to a phase or weight.
func (w *world) reached(when string) bool {
	c := w.canary()
	switch {
	case c == nil || when == "":
		return true
	case when == "weight":
		return c.Status.CanaryWeight > 0
	case when == "most":
		return c.Status.CanaryWeight >= 50
	case when == "end":
		return w.oracle.settled() && c.Status.Phase != v1beta1.PhaseInitialized
	default:
		return string(c.Status.Phase) == when
	}
}

// run lets a world go by.
func (w *world) run() {
	next := func() bool {
		w.step()
		for i := 0; i < len(w.due); i++ {
			if d := w.due[i]; !d.at.After(time.Now()) {
				w.due = slices.Delete(w.due, i, i+1)
				i--
				w.trace("later: %s", d.name)
				d.do()
			}
		}
		return w.oracle.violation == ""
	}
	for _, a := range w.plan.Acts {
		for deadline := time.Now().Add(90 * time.Second); !w.reached(a.When) && time.Now().Before(deadline); {
			if !next() {
				return
			}
		}
		for at := time.Now().Add(a.After); time.Now().Before(at); {
			if !next() {
				return
			}
		}
		w.does(a)
	}
	if !w.quiet(next, 8*time.Minute) {
		return
	}
	w.oracle.explained()
	w.repair()
	if !w.quiet(next, 20*time.Minute) {
		return
	}
	w.oracle.atEnd()
}

// quiet lets time pass until nothing happens any more.
func (w *world) quiet(next func() bool, most time.Duration) bool {
	still := time.Now()
	for end := time.Now().Add(most); time.Now().Before(end); {
		if !next() {
			return false
		}
		w.oracle.bounded()
		if !w.oracle.settled() || len(w.due) > 0 || w.operatorAt.After(time.Now()) || slices.ContainsFunc(w.pods, (*pod).flaps) {
			still = time.Now()
		}
		if time.Since(still) > 90*time.Second {
			return true
		}
	}
	return true
}

// outcome is what came of a world.
type outcome struct {
	violation string
	log       []string
	turns     int
	writes    int
	phase     string // "" for a Canary that is gone
	pods      int32  // that the primary asks for
	first     bool   // whether the primary runs what it ran first
}

// try plays a plan.
func try(t *testing.T, p plan, keep bool) (out outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(context.Background(), p) //nolint:usetesting // checks outlive a turn
		w.keep = keep
		w.run()
		w.stop()
		out = outcome{violation: w.oracle.violation, log: w.log, turns: w.turns, writes: w.writes}
		if c := w.canary(); c != nil {
			out.phase = string(c.Status.Phase)
		}
		if d := w.deployment("podinfo-primary"); d != nil {
			out.pods = *d.Spec.Replicas
			out.first = d.Spec.Template.Spec.Containers[0].Image == "app:good-0"
		}
	})
	return out
}

// shrink leaves out of a failing plan whatever it fails without.
func shrink(t *testing.T, p plan) plan {
	t.Helper()
	kind := kindOf(try(t, p, false).violation)
	fails := func(p plan) bool { return kindOf(try(t, p, false).violation) == kind }
	for again := true; again; {
		again = false
		for _, smaller := range smaller(p) {
			if fails(smaller) {
				p, again = smaller, true
				break
			}
		}
	}
	return p
}

// figures are what differs between violations of a kind.
var figures = regexp.MustCompile(`app:[a-z]+-[0-9]+|[0-9][0-9.hms]*|podinfo[a-z-]*|mesh (one|two)|[:;].*`)

// kindOf is what a violation has in common with others.
func kindOf(violation string) string {
	return strings.Join(strings.Fields(figures.ReplaceAllString(strings.ReplaceAll(violation, "requests are lost: ", "requests are lost, "), "#")), " ")
}

// smaller are plans with one thing less.
func smaller(p plan) []plan {
	var out []plan
	add := func(change func(*plan)) {
		next := p
		next.Acts, next.Hooks = slices.Clone(p.Acts), slices.Clone(p.Hooks)
		change(&next)
		if fmt.Sprintf("%+v", next) != fmt.Sprintf("%+v", p) {
			out = append(out, next)
		}
	}
	for i := range p.Acts {
		add(func(n *plan) { n.Acts = slices.Delete(n.Acts, i, i+1) })
	}
	for i := range p.Hooks {
		add(func(n *plan) { n.Hooks = slices.Delete(n.Hooks, i, i+1) })
	}
	add(func(n *plan) { n.HPA = false })
	add(func(n *plan) { n.OwnApex = false })
	add(func(n *plan) { n.GitOps = false })
	add(func(n *plan) { n.ReplicasInGit = false })
	add(func(n *plan) { n.Configs = false })
	add(func(n *plan) { n.ReadAtStart = false })
	add(func(n *plan) { n.Coverage = false })
	add(func(n *plan) { n.Policy = "" })
	add(func(n *plan) { n.Compare = "" })
	add(func(n *plan) { n.Strategy = "" })
	add(func(n *plan) { n.Analysis = "" })
	add(func(n *plan) { n.CacheLag = 0 })
	add(func(n *plan) { n.MeshLag = 0 })
	add(func(n *plan) { n.MinReady = 0 })
	add(func(n *plan) { n.Pods = 2 })
	for i := range p.Acts {
		add(func(n *plan) { n.Acts[i].After = 0 })
	}
	return out
}

// TestRollouts has a thousand worlds go by, in each of which the adversary does what he wants. What it prints of a
// failure, -simulation.plan plays again.
func TestRollouts(t *testing.T) {
	if *seedFlag != 0 || *planFlag != "" {
		replay(t)
		return
	}
	began, turns, failures := time.Now(), 0, map[string][]uint64{}
	n := rollouts()
	for i := range n {
		p := planOf(*firstFlag + uint64(i)) //nolint:gosec // it is no less than 0
		out := try(t, p, false)
		turns += out.turns
		if out.violation != "" {
			if !*goOnFlag {
				fail(t, p)
				return
			}
			kind := kindOf(out.violation)
			failures[kind] = append(failures[kind], p.Seed)
			fmt.Printf("seed %d: %s\n", p.Seed, out.violation)
		}
		if (i+1)%progress(n) == 0 {
			fmt.Printf("%d of %d rollouts, %s each, %d turns of the operator\n", i+1, n, time.Since(began)/time.Duration(i+1), turns)
		}
	}
	for _, kind := range sortedKeys(failures) {
		t.Errorf("%d times: %s: seeds %v", len(failures[kind]), kind, failures[kind][:min(len(failures[kind]), 12)])
		for _, seed := range failures[kind][:min(len(failures[kind]), *samplesFlag)] {
			p := shrink(t, planOf(seed))
			t.Logf("%s\n%s", encoded(t, p), try(t, p, false).violation)
		}
	}
}

// progress is after how many rollouts it is told how far it is.
func progress(n int) int { return max(n/20, 100) }

func rollouts() int {
	if *countFlag > 0 {
		return *countFlag
	}
	if n, err := strconv.Atoi(os.Getenv("SIMULATION_ROLLOUTS")); err == nil {
		return n
	}
	return 1000
}

// fail shrinks a plan that has failed and says how to play it again.
func fail(t *testing.T, p plan) {
	t.Helper()
	p = shrink(t, p)
	out := try(t, p, true)
	report(t, p, out)
}

// report says what went wrong in a world, what happened before, and how to play it again.
func report(t *testing.T, p plan, out outcome) {
	t.Helper()
	log := out.log
	if len(log) > 60 {
		log = log[len(log)-60:]
	}
	t.Errorf("%s\nreplay: go test ./test/simulation -run TestRollouts -simulation.plan='%s'\n%s", out.violation, encoded(t, p), strings.Join(log, "\n"))
}

func encoded(t *testing.T, p plan) string {
	t.Helper()
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// replay plays one world and prints what happens.
func replay(t *testing.T) {
	t.Helper()
	p := planOf(*seedFlag)
	if *planFlag != "" {
		p = plan{}
		if err := json.Unmarshal([]byte(*planFlag), &p); err != nil {
			t.Fatal(err)
		}
	}
	out := try(t, p, true)
	t.Logf("%s\n%s", encoded(t, p), strings.Join(out.log, "\n"))
	if out.violation != "" {
		t.Error(out.violation)
	}
}
