package routertest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"pgregory.net/rapid"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// Users is a mesh that has objects of users' own, as they were drawn, and a router that has written nothing yet.
type Users struct {
	Router providers.Router
	// Route is that of a Canary without an analysis. The suite says which, and the traffic.
	Route providers.Route
	// Serve says what becomes of requests by the objects that there are now: always of the same ones, in the same order.
	Serve func() []Outcome
	// Stored is all that there is in the mesh.
	Stored func() any
	// Closed says that requests which are for nobody stay so, because the user has said which are for the application.
	Closed bool
	// Mixed says that the user shares one route between the apex Service and the canary: a part of what is ours goes there always.
	Mixed bool

	// ByApex says that requests for the primary go to the apex Service, which selects its pods.
	ByApex bool

	// What follows may be nil.

	// Mesh does once what the mesh does by itself about a write, or while a router waits.
	Mesh func()
	// Check looks at what else has to hold while there is a Canary, such as policies.
	Check func(t *rapid.T)
	// Replay reads the user's object as it is now. What it returns writes its spec once more, but no labels or annotations, as a
	// GitOps tool does that ignores the routes of an object in Git. A router that watches has seen it when it returns.
	Replay func() (write func())
}

// Outcome is what becomes of a request, or of a connection.
type Outcome struct {
	// Request is the one that it is about.
	Request any
	// Matches says that spec.analysis.match, which [Insiders] is, names it.
	Matches bool
	// Cookie is that of a session, if it has one.
	Cookie string
	// Connection says that it has nothing to match, and that no copies can be made of it.
	Connection bool

	// Shares are what Services get of such requests, in percent, by NAME:PORT. It is empty where nobody does.
	Shares map[string]float64
	// Copies are those that Services get, in the same way.
	Copies map[string]float64
	// Treatment is what else is done with it: paths and headers that are set, timeouts, redirects.
	Treatment string
}

const (
	// Insiders is what names requests in A/B testing.
	Insiders = `{"headers":{"x-insider":{"exact":"yes"}}}`
	// InsidersHeader is the header that they have, with the value "yes".
	InsidersHeader = "x-insider"
	// CanaryCookie is what users of the canary have.
	CanaryCookie = "v=c1"
)

// UsersObjects has users' own objects, as draw draws them, hold through the life of a Canary: what becomes of requests that did not
// lead to the apex Service does not change, and those that did are shared out, and nothing else is done with them. When the Canary
// is deleted all is as it was. It does not look at how routes are written, but at what the mesh does by them.
//
// A router may refuse what it can't do; then it has to leave everything as it is. Of 1,000 cases it may refuse half.
func UsersObjects(t *testing.T, draw func(t *rapid.T) *Users) {
	t.Helper()
	FixSeed(t)
	// A case is small and soon gone: to collect it often is a sixth of the time.
	growth := debug.SetGCPercent(400)
	t.Cleanup(func() { debug.SetGCPercent(growth) })
	tried, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		for range 10 {
			u := draw(t)
			if u == nil {
				continue // nothing that a user can have
			}
			tried++
			if !u.hold(t) {
				refused++
			}
		}
	})
	if refused*2 > tried || tried == 0 {
		t.Errorf("%d of %d were refused", refused, tried)
	}
	t.Logf("%d cases, of which %d were refused", tried, refused)
}

// hold is false where the router refuses a part of it.
func (u *Users) hold(t *rapid.T) bool {
	before, stored := u.Serve(), u.Stored()
	kept := true
	u.Route.Traffic = providers.Traffic{Primary: 100}
	if state, err := u.Router.Observe(t.Context(), u.Route); err == nil && state.Exists {
		t.Fatalf("observed %+v before anything was applied", state)
	}
	for _, traffic := range u.drawRelease(t) {
		u.Route.Traffic = traffic
		if err := u.apply(t); err != nil {
			if !refuses(err) {
				t.Fatalf("apply %+v: %v", traffic, err)
			}
			kept = false
			break
		}
		u.compare(t, before)
		if u.Check != nil {
			u.Check(t)
		}
	}
	c := u.Route.Canary.DeepCopy()
	c.DeletionTimestamp = new(metav1.Now())
	u.Route.Canary = c
	u.writeOver(t)
	for range 2 {
		if err := u.patiently(func() error { return u.Router.Release(t.Context(), u.Route) }); err != nil {
			t.Fatalf("release: %v", err)
		}
	}
	if d := cmp.Diff(stored, u.Stored()); d != "" {
		t.Fatalf("given back (-had +has)\n%s", d)
	}
	return kept
}

// writeOver has a tool write what it had read before, over what was just given back: its own object as it was in the release. A
// router that gives users' objects back does so again, as often as need be.
func (u *Users) writeOver(t *rapid.T) {
	if u.Replay == nil {
		return
	}
	again := u.Route
	again.Again = true
	replay := u.Replay()
	for range 2 {
		if err := u.patiently(func() error { return u.Router.Release(t.Context(), again) }); err != nil {
			t.Fatalf("release, to be called again: %v", err)
		}
		var state providers.State
		err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, 10*time.Second, true, func(ctx context.Context) (bool, error) {
			var err error
			state, err = u.Router.Observe(ctx, again)
			return !state.Exists, err
		})
		if err != nil {
			t.Fatalf("observed %+v, %v after what is the user's was given back", state, err)
		}
		replay()
	}
}

func refuses(err error) bool {
	return providers.IsInvalid(err) || providers.IsUnsupported(err) || providers.IsConflict(err)
}

// drawRelease draws a kind of release that the router has, and a step of it that comes after the first.
func (u *Users) drawRelease(t *rapid.T) []providers.Traffic {
	can := u.Router.Capabilities()
	weight := rapid.Int32Range(1, 99).Draw(t, "weight")
	a := &v1beta1.CanaryAnalysis{StepWeight: 10}
	course := []providers.Traffic{{Primary: 100}, {Primary: 100 - weight, Canary: weight}, {Canary: 100}}
	kinds := []string{"weights"}
	for kind, has := range map[string]bool{"A/B": can.HeaderMatch, "mirror": can.Mirror, "sessions": can.SessionAffinity} {
		if has {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	switch rapid.SampledFrom(kinds).Draw(t, "kind of release") {
	case "A/B":
		a = &v1beta1.CanaryAnalysis{Iterations: 3, Match: []v1beta1.RawObject{{Raw: []byte(Insiders)}}}
		course[1].Matched, course[2].Matched = true, true
		if !can.WeightedMatch {
			course = slices.Delete(course, 1, 2)
		}
	case "mirror":
		a.Mirror = true
		course[1] = providers.Traffic{Primary: 100, Mirror: weight}
	case "sessions":
		a.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "v"}
		for i := range course[1:] {
			course[i+1].Sessions = providers.Sessions{Canary: "c1", Primary: fmt.Sprint("s", i), Raised: 1}
		}
	}
	u.Route.Canary.Spec.Analysis = a
	return []providers.Traffic{course[0], rapid.SampledFrom(course[1:]).Draw(t, "traffic")}
}

// apply has the mesh do the traffic.
func (u *Users) apply(t *rapid.T) error {
	if err := u.patiently(func() error { return u.Router.Apply(t.Context(), u.Route) }); err != nil {
		return err
	}
	var state providers.State
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, 10*time.Second, true, func(ctx context.Context) (bool, error) {
		if u.Mesh != nil {
			u.Mesh()
		}
		var err error
		state, err = u.Router.Observe(ctx, u.Route)
		return state.InSync, err
	})
	if err != nil {
		t.Fatalf("%+v is applied, and observed is %+v, %v\n%s", u.Route.Traffic, state, err, u.stored())
	}
	u.read(t)
	return nil
}

// read has what users' own routes do, to the canary by name perhaps, not be taken for what the Canary's do.
func (u *Users) read(t *rapid.T) {
	if u.Mixed || u.Route.Traffic != (providers.Traffic{Primary: 100}) {
		return
	}
	other := u.Route
	other.Traffic = providers.Traffic{Primary: 50, Canary: 50}
	state, err := u.Router.Observe(t.Context(), other)
	if err == nil && (state.InSync || state.Traffic != u.Route.Traffic) {
		t.Fatalf("with %+v applied, observed is %+v", u.Route.Traffic, state)
	}
}

// patiently calls again what waits for the mesh.
func (u *Users) patiently(call func() error) error {
	err := call()
	for range 100 {
		if providers.WaitOf(err) == nil || u.Mesh == nil {
			return err
		}
		u.Mesh()
		err = call()
	}
	return err
}

// compare looks at what becomes of all requests.
func (u *Users) compare(t *rapid.T, before []Outcome) {
	for i, after := range u.Serve() {
		was := before[i]
		if len(was.Shares) == 0 && was.Treatment == "" && !u.Closed && u.onlyOurs(after) {
			continue // a route of ours is for what no route of the user's is for
		}
		if want := u.due(was); !want.is(after) {
			t.Fatalf("with %+v\n%+v\ncame to      %s\nmust come to %s\ncomes to     %s\nby %s", u.Route.Traffic, was.Request, was, want, after, u.stored())
		}
	}
}

// stored are all objects, for people.
func (u *Users) stored() string {
	text, err := json.MarshalIndent(u.Stored(), "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (u *Users) onlyOurs(o Outcome) bool {
	_, primary, canary := u.Route.Canary.ServiceNames()
	for to := range o.Shares {
		if name, _, _ := strings.Cut(to, ":"); name != primary && name != canary {
			return false
		}
	}
	return true
}

// due is what must become of a request: the share of the apex Service is divided.
func (u *Users) due(was Outcome) Outcome {
	apex, primary, canary := u.Route.Canary.ServiceNames()
	if u.ByApex {
		primary = apex
	}
	traffic := u.Route.Traffic
	share := float64(traffic.Canary) / 100
	switch {
	case traffic.Matched && (!was.Matches || was.Connection):
		share = 0
	case traffic.Sessions.Canary != "" && traffic.Canary > 0 && was.Cookie == CanaryCookie:
		share = 1
	}
	out := was
	out.Shares, out.Copies = map[string]float64{}, maps.Clone(was.Copies)
	for to, part := range was.Shares {
		name, port, _ := strings.Cut(to, ":")
		if name != apex {
			out.Shares[to] += part
			continue
		}
		out.Shares[primary+":"+port] += part * (1 - share)
		out.Shares[canary+":"+port] += part * share
		if traffic.Mirror > 0 && !was.Connection {
			if out.Copies == nil {
				out.Copies = map[string]float64{}
			}
			out.Copies[canary] = float64(traffic.Mirror)
		}
	}
	return out
}

// is tells whether the same becomes of it.
func (o Outcome) is(other Outcome) bool {
	return o.Treatment == other.Treatment && alike(o.Shares, other.Shares) && alike(other.Shares, o.Shares) &&
		alike(o.Copies, other.Copies) && alike(other.Copies, o.Copies)
}

func alike(a, b map[string]float64) bool {
	for to, share := range a {
		if math.Abs(share-b[to]) > 0.001 {
			return false
		}
	}
	return true
}

// String is all of what becomes of it.
func (o Outcome) String() string {
	var parts []string
	for _, m := range []map[string]float64{o.Shares, o.Copies} {
		for _, to := range slices.Sorted(maps.Keys(m)) {
			if rounded := math.Round(m[to]*1000) / 1000; rounded > 0 {
				parts = append(parts, fmt.Sprintf("%s %g%%", to, rounded))
			}
		}
		parts = append(parts, "|")
	}
	return strings.Join(append(parts, o.Treatment), " ")
}
