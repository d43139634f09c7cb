package simulation

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

var disturbancesFlag = flag.Int("simulation.disturbances", 300, "how many disturbed writes are drawn of all; 0 is every one")

// disturbance is what happens at one write of the operator, to the API server's objects or to the mesh.
type disturbance struct {
	how string
	do  func(w *world, p *process, of id) error
	at  int // which write, from 1

	writes []string
	routes []string
	came   bool
}

// manners are what can happen at a write. They get the process that writes, and what comes of the write.
var manners = map[string]func(w *world, p *process, of id) error{
	"stopped before it": func(_ *world, p *process, _ id) error { p.dead = true; return errDead },
	"stopped after it":  func(_ *world, p *process, _ id) error { p.dead, p.lost = true, errDead; return nil },
	"done, and no answer": func(_ *world, p *process, of id) error {
		p.lost = apierrors.NewTimeoutError("context deadline exceeded: "+of.name, 0)
		return nil
	},
	"conflict": func(w *world, _ *process, of id) error {
		if have := w.objects[of]; have != nil { // somebody else was faster
			next := have.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
			annotations := map[string]string{"touched": "it"}
			maps.Copy(annotations, have.GetAnnotations())
			next.SetAnnotations(annotations)
			w.put(of, next)
		} else {
			w.wakeOperator()
		}
		return conflict(of, "the object has been modified")
	},
	"429": func(_ *world, _ *process, _ id) error { return apierrors.NewTooManyRequests("slow down", 1) },
	"500": func(*world, *process, id) error {
		return apierrors.NewInternalError(errors.New("etcdserver: no leader"))
	},
	"API server away": func(w *world, _ *process, _ id) error { w.apiDown = time.Now().Add(2 * time.Minute); return errAway },
	"old caches": func(w *world, _ *process, _ id) error {
		for _, kind := range []string{"Canary", "Deployment", "Service", "EndpointSlice", "HorizontalPodAutoscaler"} {
			w.cacheLags[kind] = lag{by: 2 * time.Minute, until: time.Now().Add(2 * time.Minute)}
		}
		w.oracle.lagging(2 * time.Minute)
		return nil
	},
	"suspended": func(_ *world, p *process, _ id) error { p.suspended = time.Now().Add(10 * time.Minute); return nil },
	"two leaders": func(w *world, p *process, _ id) error {
		if p == w.operator && w.former == nil {
			w.former, w.formerUntil = p, time.Now().Add(20*time.Second)
			p.views.lag = func(kind string) time.Duration { return w.cacheLag(kind) + 2*time.Second }
			w.start(0)
		}
		return nil
	},
	// A process goes by a clock that nobody sets; what it finds in the status after a start is of the clock before.
	"clock ahead":  func(w *world, p *process, _ id) error { p.dead, w.offset = true, 10*time.Minute; return errDead },
	"clock behind": func(w *world, p *process, _ id) error { p.dead, w.offset = true, -10*time.Minute; return errDead },
}

// another are manners after which a release may end in another way, with its users safe: deadlines are by the clock.
var another = []string{"clock ahead", "clock behind", "suspended"}

var errAway = errors.New("dial tcp 10.0.0.1:443: connect: connection refused")

// disturb is called for each write of a process before it is done. An error is what comes of it.
func (w *world) disturb(p *process, verb string, of id) error {
	if time.Now().Before(w.apiDown) {
		return errAway
	}
	d := w.disturbance
	if d == nil {
		return nil
	}
	d.writes = append(d.writes, verb+" "+of.kind+" "+of.name)
	if d.do == nil || len(d.writes) != d.at {
		return nil
	}
	d.came = true
	w.trace("AT THIS WRITE: %s (%s %s %s)", d.how, verb, of.kind, of.name)
	return d.do(w, p, of)
}

// answer is what a process hears of a write.
func (p *process) answer(err error) error {
	lost := p.lost
	p.lost = nil
	if err == nil && lost != nil {
		return lost
	}
	return err
}

// answering is a client whose writes may be done and have no answer.
type answering struct {
	client.Client
	process *process
}

func (a answering) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	return a.process.answer(a.Client.Create(ctx, o, opts...))
}

func (a answering) Delete(ctx context.Context, o client.Object, opts ...client.DeleteOption) error {
	return a.process.answer(a.Client.Delete(ctx, o, opts...))
}

func (a answering) Update(ctx context.Context, o client.Object, opts ...client.UpdateOption) error {
	return a.process.answer(a.Client.Update(ctx, o, opts...))
}

func (a answering) Patch(ctx context.Context, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
	return a.process.answer(a.Client.Patch(ctx, o, patch, opts...))
}

func (a answering) Apply(ctx context.Context, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	return a.process.answer(a.Client.Apply(ctx, o, opts...))
}

func (a answering) Status() client.SubResourceWriter {
	return answeringStatus{a.Client.Status(), a.process}
}

type answeringStatus struct {
	client.SubResourceWriter
	process *process
}

func (a answeringStatus) Update(ctx context.Context, o client.Object, opts ...client.SubResourceUpdateOption) error {
	return a.process.answer(a.SubResourceWriter.Update(ctx, o, opts...))
}

func (a answeringStatus) Patch(ctx context.Context, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
	return a.process.answer(a.SubResourceWriter.Patch(ctx, o, patch, opts...))
}

// disturbedPlans are releases of each strategy that end in each way.
func disturbedPlans() map[string]plan {
	out := map[string]plan{}
	for strategy, name := range map[string]string{
		"": "weights", "a/b": "A/B", "mirror": "mirror", "blue/green": "blue/green", "kubernetes": "without a mesh", "steps back": "steps back", "sessions": "sessions",
	} {
		for end, acts := range map[string][]act{
			"good":                   {{When: "Initialized", What: "release a good one"}},
			"bad":                    {{When: "Initialized", What: "release a bad one"}},
			"promotion fails":        {{When: "Initialized", What: "release a broken one"}},
			"deleted in mid-release": {{When: "Initialized", What: "release a good one"}, {When: "Progressing", After: 12 * time.Second, What: "delete the Canary in the foreground"}},
			"deleted at the end":     {{When: "Initialized", What: "release a good one"}, {When: "end", What: "delete the Canary in the foreground"}},
		} {
			out[name+", "+end] = plan{Seed: 1, Pods: 2, Analysis: strategy, MeshLag: time.Second, CacheLag: 200 * time.Millisecond, Acts: acts}
		}
	}
	return out
}

// end is what is there after a plan has been played.
type end struct {
	Phase    string
	Weight   int32
	Images   map[string]string
	Replicas map[string]int32
	Objects  []string
	Routes   []string // what was asked of the mesh, without repetitions
}

// disturbed plays a plan with a disturbance.
func disturbed(t *testing.T, p plan, d *disturbance, keep bool) (out outcome, e end) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(context.Background(), p) //nolint:usetesting // checks outlive a turn
		w.keep, w.disturbance = keep, d
		for _, m := range w.meshes {
			asked := m.asked
			m.asked = func(m *mesh, r providers.Route, before, after providers.Traffic) {
				shown := after
				shown.Sessions = providers.Sessions{} // their tokens have the time in them
				d.routes = append(d.routes, fmt.Sprintf("%s %+v", m.name, shown))
				asked(m, r, before, after)
			}
		}
		w.play()
		w.stop()
		out = outcome{violation: w.oracle.violation, log: w.log}
		e = w.ended(d)
	})
	return out, e
}

// away tells whether there is no operator that could act.
func (w *world) away() bool {
	now := time.Now()
	return w.operator == nil || now.Before(w.operator.suspended) || now.Before(w.apiDown)
}

// calm tells whether nothing is under way and nothing is in anybody's way.
func (w *world) calm() bool {
	now := time.Now()
	for _, l := range w.cacheLags {
		if now.Before(l.until.Add(l.by)) {
			return false
		}
	}
	return w.oracle.settled() && !w.away() && w.former == nil
}

// play lets a world go by whose people wait for as long as it takes.
func (w *world) play() {
	next := func() bool {
		w.step()
		return w.oracle.violation == ""
	}
	for _, a := range w.plan.Acts {
		for end := time.Now().Add(time.Hour); !w.reached(a.When) && time.Now().Before(end); {
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
	still := time.Now()
	for end := still.Add(time.Hour); time.Since(still) < 2*time.Minute && time.Now().Before(end); {
		if !next() {
			return
		}
		w.oracle.bounded()
		if !w.calm() {
			still = time.Now()
		}
	}
	w.oracle.atEnd()
}

func (w *world) ended(d *disturbance) end {
	e := end{Images: map[string]string{}, Replicas: map[string]int32{}, Routes: slices.Compact(slices.Clone(d.routes))}
	if c := w.canary(); c != nil {
		e.Phase, e.Weight = string(c.Status.Phase), c.Status.CanaryWeight
	}
	for of := range w.objects {
		if slices.Contains([]string{"Deployment", "Service", "Canary"}, of.kind) {
			e.Objects = append(e.Objects, of.kind+" "+of.name)
		}
		if of.kind == "Deployment" {
			d := w.deployment(of.name)
			image, _, _ := strings.Cut(d.Spec.Template.Spec.Containers[0].Image, "-") // the rest counts turns
			e.Images[of.name], e.Replicas[of.name] = image, *d.Spec.Replicas
		}
	}
	slices.Sort(e.Objects)
	return e
}

// TestDisturbedWrites has something happen at each write of the operator, of releases of each strategy that end in each
// way: the same end is reached by the same routes as without it.
func TestDisturbedWrites(t *testing.T) {
	type each struct {
		name string
		plan plan
		d    disturbance
	}
	var all []each
	undisturbed := map[string]end{}
	plans := disturbedPlans()
	for _, name := range sortedKeys(plans) {
		d := &disturbance{}
		out, e := disturbed(t, plans[name], d, true)
		if out.violation != "" {
			t.Fatalf("%s: %s", name, out.violation)
		}
		undisturbed[name] = e
		for at := range d.writes {
			for _, how := range sortedKeys(manners) {
				if how == "conflict" && strings.HasPrefix(d.writes[at], "delete") {
					continue // only another object of that name is one
				}
				all = append(all, each{name, plans[name], disturbance{how: how, do: manners[how], at: at + 1}})
			}
		}
	}
	drawn := all
	if n := *disturbancesFlag; n > 0 && n < len(all) {
		r := rand.New(rand.NewPCG(*firstFlag, 4))
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		drawn = all[:n]
	}
	failures := map[string][]string{}
	for _, x := range drawn {
		d := x.d
		out, e := disturbed(t, x.plan, &d, false)
		if diff := wrongBy(x.name, undisturbed[x.name], out, e, &d); diff != "" {
			failures[x.d.how] = append(failures[x.d.how], fmt.Sprintf("%s, write %d: %s", x.name, x.d.at, diff))
		}
	}
	t.Logf("%d of %d disturbed writes of %d releases", len(drawn), len(all), len(plans))
	for _, how := range sortedKeys(failures) {
		some := failures[how]
		t.Errorf("%s: %d cases:\n%s", how, len(some), strings.Join(some[:min(len(some), 6)], "\n"))
	}
}

// wrongBy says what is wrong with what came of a disturbance, empty if nothing is.
func wrongBy(name string, want end, out outcome, got end, d *disturbance) string {
	want.Routes, got.Routes = slices.Clone(want.Routes), slices.Clone(got.Routes)
	deleted := strings.Contains(name, "deleted")
	switch {
	case !d.came:
		return "there was no such write"
	case out.violation != "":
		return out.violation
	case d.how == "two leaders": // the former one has its route once more
		slices.Sort(want.Routes)
		slices.Sort(got.Routes)
		want.Routes, got.Routes = slices.Compact(want.Routes), slices.Compact(got.Routes)
	case slices.Contains(another, d.how):
		if got.Phase != want.Phase && got.Phase != string(v1beta1.PhaseFailed) {
			return "it ends in " + got.Phase
		}
		return ""
	case d.how == "API server away" && deleted && got.Replicas["podinfo-primary"] > 0:
		// The route could not be given up in time, so that all that it may lead to stays, and serves.
		return ""
	case d.how == "API server away" && deleted, d.how == "old caches" && deleted:
		want.Routes, got.Routes = nil, nil // the deletion comes at another step
	}
	return cmp.Diff(want, got)
}
