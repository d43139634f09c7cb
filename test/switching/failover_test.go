package switching

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// lease is how long the replicas wait for a leader that gives no sign of life.
var lease = flag.Duration("lease", 9*time.Second, "how long the replicas wait for a leader that gives no sign of life")

// leasePath is where the API server has the lease of the operators of a namespace.
func leasePath(namespace string) string {
	return "/apis/coordination.k8s.io/v1/namespaces/" + namespace + "/leases/sluice-leader-election"
}

// standing is where a release stands when the leader is lost, and what becomes of it.
type standing struct {
	name string
	// reach brings it there and holds it. leave lets it go on, while nobody leads.
	reach, leave func(*site)
	// ends is the phase that it rests in then, and version that of the primary.
	ends    v1beta1.CanaryPhase
	version string
	// weights are those of the canary, from the first to the last.
	weights []int32
	// untold are the reasons of events that nobody tells of, as the leader was killed when it had written what they are about.
	untold []string
}

var standings = []standing{
	{
		name: "Initializing", ends: v1beta1.PhaseInitialized, version: oldVersion, weights: []int32{0},
		reach: stops[0].reach, leave: stops[0].leave,
	},
	{
		name: "Waiting", ends: v1beta1.PhaseSucceeded, version: newVersion, weights: []int32{0, 25, 50, 0},
		reach: func(s *site) { s.releaseUpTo(v1beta1.ConfirmRolloutHook, no, v1beta1.PhaseWaiting, hooked(s)) },
		leave: func(s *site) { s.hooks.answer(v1beta1.ConfirmRolloutHook, yes) },
	},
	{
		name: "Progressing at 25", ends: v1beta1.PhaseSucceeded, version: newVersion, weights: []int32{0, 25, 50, 0},
		reach: func(s *site) { s.releaseTo(25) },
		leave: func(s *site) { s.hooks.answer(v1beta1.ConfirmTrafficIncreaseHook, yes) },
	},
	{
		name: "Progressing at 50", ends: v1beta1.PhaseSucceeded, version: newVersion, weights: []int32{0, 25, 50, 75, 0},
		reach: func(s *site) { s.releaseTo(50, func(c *v1beta1.Canary) { c.Spec.Analysis.MaxWeight = 75 }) },
		leave: func(s *site) { s.hooks.answer(v1beta1.ConfirmTrafficIncreaseHook, yes) },
	},
	{
		name: "WaitingPromotion", ends: v1beta1.PhaseSucceeded, version: newVersion, weights: []int32{0, 25, 50, 0},
		reach: func(s *site) {
			s.releaseUpTo(v1beta1.ConfirmPromotionHook, no, v1beta1.PhaseWaitingPromotion, hooked(s))
		},
		leave: func(s *site) { s.hooks.answer(v1beta1.ConfirmPromotionHook, yes) },
	},
	{
		name: "Promoting", ends: v1beta1.PhaseSucceeded, version: newVersion, weights: []int32{0, 25, 50, 0},
		reach: func(s *site) { s.promote(hooked(s)) },
		leave: func(s *site) { s.gate.Open() },
	},
	{
		name: "Finalising", ends: v1beta1.PhaseSucceeded, version: newVersion, weights: []int32{0, 25, 50, 0},
		reach: func(s *site) {
			s.promote(hooked(s))
			s.route = s.keepRoute()
			s.gate.Open()
			s.awaitPhase(v1beta1.PhaseFinalising)
		},
		leave: func(s *site) { s.route() },
	},
	{
		name: "Failed, route not back", ends: v1beta1.PhaseFailed, version: oldVersion, weights: []int32{0, 25, 0},
		reach: func(s *site) {
			s.releaseTo(25)
			s.route = s.keepRoute()
			s.hooks.answer(v1beta1.RollbackHook, yes)
			s.awaitPhase(v1beta1.PhaseFailed)
		},
		leave: func(s *site) { s.route() },
	},
}

// hooked gives a Canary a hook of each type that is called for a release, beside its gates.
func hooked(s *site) func(*v1beta1.Canary) {
	return func(c *v1beta1.Canary) {
		for _, kind := range []v1beta1.HookType{v1beta1.PreRolloutHook, v1beta1.RolloutHook, v1beta1.PostRolloutHook} {
			c.Spec.Analysis.Webhooks = append(c.Spec.Analysis.Webhooks, v1beta1.CanaryWebhook{Name: string(kind), Type: kind, URL: s.hooks.url + "/" + string(kind)})
		}
	}
}

// releaseTo releases the new version until the canary has a weight, and no more.
func (s *site) releaseTo(weight int32, edits ...func(*v1beta1.Canary)) {
	s.t.Helper()
	s.releaseUpTo(v1beta1.ConfirmTrafficIncreaseHook, func() bool {
		c, err := s.Canary(s.t.Context())
		return err == nil && c.Status.CanaryWeight < weight
	}, v1beta1.PhaseProgressing, append(edits, hooked(s))...)
	s.await("the weight", func(ctx context.Context) error {
		c, err := s.Canary(ctx)
		if err == nil && c.Status.CanaryWeight != weight {
			err = fmt.Errorf("it is %d", c.Status.CanaryWeight)
		}
		return err
	})
}

// replica is one of two operators.
type replica struct {
	*relay
	*cluster.Program
}

// pair are two operators that elect one of them, for the same namespaces.
type pair struct {
	t        *testing.T
	lease    string // its path
	leader   replica
	other    replica
	lostAt   time.Time // when the leader was lost
	standing map[*site]standing
}

// newPair starts one operator, and when it leads another one.
func newPair(t *testing.T, r *rig.Rig, namespace string, sites map[*site]standing) *pair {
	t.Helper()
	p := &pair{t: t, lease: leasePath(namespace), standing: sites}
	if err := r.API.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	var namespaces []string
	for s := range sites {
		namespaces = append(namespaces, s.Namespace)
	}
	start := func(name string) replica {
		relay := newRelay(t, r.Config(), name)
		binary, err := cluster.Binary("sluice")
		if err != nil {
			t.Fatal(err)
		}
		program, err := r.StartProgram(namespace+"-"+name, nil, binary, "-kubeconfig", relay.kubeconfig, "-namespace", strings.Join(namespaces, ","),
			"-enable-leader-election", "-leader-election-namespace", namespace, "-leader-election-lease-duration", lease.String(),
			"-port", "0", "-coverage", "none", "-allowed-addresses", "127.0.0.0/8")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			program.Stop(0)
			if t.Failed() {
				log, err := os.ReadFile(program.Log())
				t.Logf("%s says\n%s%v", name, log[max(0, len(log)-20_000):], err)
			}
		})
		return replica{relay, program}
	}
	began := time.Now()
	p.leader = start("first")
	p.await("a leader", func() bool { return p.leader.leads(p.lease, began) })
	p.other = start("second")
	p.await("the replica that stands by", func() bool { return p.other.hasRead(p.lease) }) // when it has read the cluster
	return p
}

func (p *pair) await(what string, is func() bool) {
	p.t.Helper()
	err := rig.Await(p.t.Context(), what, limit, func(context.Context) error {
		if !is() {
			return errors.New("not yet")
		}
		return errors.Join(p.other.running())
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// running is an error where the operator was started and has ended.
func (r replica) running() error {
	if r.Program == nil {
		return nil
	}
	return r.Err()
}

// lose has the leader be lost, by a signal, when the answer to a write was kept from it that is such a one, and lets the releases go on
// while nobody leads. then brings the write about. It returns when the other one leads.
func (p *pair) lose(signal syscall.Signal, at func(write) bool, then func()) {
	p.t.Helper()
	p.leader.keepNext(at)
	then()
	p.await("the write at which the leader is lost", func() bool {
		select {
		case <-p.leader.kept:
			return true
		default:
			return false
		}
	})
	if err := syscall.Kill(p.leader.Pid(), signal); err != nil {
		p.t.Fatal(err)
	}
	p.lostAt = time.Now()
	for s, x := range p.standing {
		if x.leave != nil {
			x.leave(s)
		}
	}
	p.await("another leader", func() bool { return p.other.leads(p.lease, p.lostAt) })
}

// tell prints how long each release waited for the other replica.
func (p *pair) tell(how string) {
	p.t.Helper()
	var rows []string
	for s, x := range p.standing {
		writes := slices.DeleteFunc(p.other.since(p.lostAt), func(w write) bool { return !w.of(s.Namespace) })
		if len(writes) == 0 {
			p.t.Errorf("%s: the other replica has written nothing", x.name)
			continue
		}
		rows = append(rows, fmt.Sprintf("| %s | %.1f s |", x.name, writes[0].at.Sub(p.lostAt).Seconds()))
	}
	slices.Sort(rows)
	p.t.Logf("the leader is %s, with a lease of %s: from then to the first write of the other replica\n| release | hand-over |\n| --- | --- |\n%s", how, *lease, strings.Join(rows, "\n"))
}

// statusOf is the status that a write gives the Canary of a namespace, nil where it is none.
func (w write) statusOf(namespace string) *v1beta1.CanaryStatus {
	if !strings.HasSuffix(w.path, "/namespaces/"+namespace+"/canaries/"+rig.Name+"/status") {
		return nil
	}
	var c v1beta1.Canary
	if json.Unmarshal(w.body, &c) != nil {
		return nil
	}
	return &c.Status
}

// Two replicas, and the one that leads is lost in the middle of releases in every phase: nothing is lost, nothing is done twice, and
// one that comes back does nothing any more.
func TestFailover(t *testing.T) {
	r := startMesh(t)
	t.Run("the leader", func(t *testing.T) {
		t.Run("is killed", func(t *testing.T) {
			t.Parallel()
			testKilled(t, r)
		})
		t.Run("is frozen and comes back", func(t *testing.T) {
			t.Parallel()
			testFrozen(t, r)
		})
	})
}

// startMesh brings up a cluster with Istio that ends with the test, without anybody who measures.
func startMesh(t *testing.T) *rig.Rig {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	c := cluster.ForTest(t, cluster.Options{Node: true, Istio: true, Progress: os.Stdout})
	scheme, err := rig.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig.Rig{Cluster: c, App: rig.App{Namespace: rig.Namespace}}
	if r.API, err = client.NewWithWatch(c.Config(), client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	if err := c.InstallCRDs(t.Context(), filepath.Join(root, "charts", "sluice", "crds")); err != nil {
		t.Fatal(err)
	}
	return r
}

// testKilled kills the leader when it has written that it promotes, and not yet the primary.
func testKilled(t *testing.T, r *rig.Rig) {
	sites, routes := newSites(t, r, "killed", standing{
		name: "primary not written yet", ends: v1beta1.PhaseSucceeded, version: newVersion, weights: []int32{0, 25, 50, 0},
		reach: standings[4].reach, untold: []string{"Promoting"},
	})
	p := newPair(t, r, "killed", sites)
	last := p.reach()
	p.lose(syscall.SIGKILL, func(w write) bool {
		status := w.statusOf(last.Namespace)
		return status != nil && status.Phase == v1beta1.PhasePromoting
	}, func() { last.hooks.answer(v1beta1.ConfirmPromotionHook, yes) })
	p.judge(routes)
	p.tell("killed")
}

// testFrozen freezes the leader when it has written that the weight rises, and not yet the route. When it goes on, the release was
// rolled back by the other one, and the canary's pods are gone: a route of the former leader would send requests to nobody.
func testFrozen(t *testing.T, r *rig.Rig) {
	sites, routes := newSites(t, r, "frozen", standing{
		name: "route not written yet", ends: v1beta1.PhaseFailed, version: oldVersion, weights: []int32{0, 25, 50, 0},
		reach: func(s *site) { s.releaseTo(25) },
	})
	p := newPair(t, r, "frozen", sites)
	last := p.reach()
	p.lose(syscall.SIGSTOP, func(w write) bool {
		status := w.statusOf(last.Namespace)
		return status != nil && status.Step != nil && status.Step.Weight == 50
	}, func() { last.hooks.answer(v1beta1.ConfirmTrafficIncreaseHook, yes) })
	last.await("the route of the other leader", func(ctx context.Context) error {
		c, err := last.Canary(ctx)
		if err == nil && c.Status.CanaryWeight != 50 {
			err = fmt.Errorf("its weight is %d", c.Status.CanaryWeight)
		}
		return err
	})
	last.hooks.answer(v1beta1.RollbackHook, yes)
	last.awaitRest(v1beta1.PhaseFailed)
	thawed := time.Now()
	close(p.leader.letGo)
	if err := syscall.Kill(p.leader.Pid(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.leader.Ended():
		t.Logf("the former leader ends %s after it goes on", time.Since(thawed).Round(time.Millisecond))
	case <-time.After(limit):
		t.Errorf("the former leader is still there %s after it goes on", limit)
	}
	p.judge(routes)
	p.tell("frozen")
	for _, w := range p.leader.since(p.lostAt) {
		if w.matters() {
			t.Errorf("the former leader writes when another one leads: %s", w)
		}
	}
	if log, err := os.ReadFile(p.leader.Log()); err != nil || !strings.Contains(string(log), "/virtualservices/"+rig.Name+" was not sent: this replica does not lead") {
		t.Errorf("the former leader has not come to write the route: %v", err)
	}
}

// newSites deploys an application for each standing, and for one more whose write it is at which the leader is lost.
func newSites(t *testing.T, r *rig.Rig, how string, one standing) (map[*site]standing, *routeHistory) {
	t.Helper()
	routes := watchRoutes(t, r)
	var mu sync.Mutex
	sites := map[*site]standing{}
	var all sync.WaitGroup
	for _, x := range append(slices.Clone(standings), one) {
		namespace := how + "-" + strings.ToLower(strings.NewReplacer(" ", "-", ",", "").Replace(x.name))
		all.Go(func() {
			s := newSite(t, r, namespace)
			s.rate = 20
			mu.Lock()
			defer mu.Unlock()
			sites[s] = x
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return sites, routes
}

// reach brings all releases to where they are to stand, and gives the one that stands there for the write at which the leader is lost.
func (p *pair) reach() (last *site) {
	p.t.Helper()
	var all sync.WaitGroup
	for s, x := range p.standing {
		if x.leave == nil {
			last = s
		}
		all.Go(func() {
			x.reach(s)
			s.call()
		})
	}
	all.Wait()
	p.goOn()
	return last
}

// goOn ends the test where one of the sites has failed, which can end no more than what it is in.
func (p *pair) goOn() {
	if p.t.Failed() {
		p.t.FailNow()
	}
}

// judge waits for the ends of all releases, and judges how they came to them.
func (p *pair) judge(routes *routeHistory) {
	p.t.Helper()
	var all sync.WaitGroup
	for s, x := range p.standing {
		all.Go(func() {
			s.awaitRest(x.ends)
			s.awaitMore(s.rate)
		})
	}
	all.Wait()
	p.goOn()
	for s, x := range p.standing {
		s.wantPrimary(x.version)
		moments := s.statuses()
		if weights := rig.Weights(moments); !slices.Equal(weights, x.weights) {
			p.t.Errorf("%s: the canary had the weights %v, want %v", x.name, weights, x.weights)
		}
		if weights := routes.of(s.Namespace); !slices.Equal(weights, x.weights) {
			p.t.Errorf("%s: the route had the weights %v, want %v", x.name, weights, x.weights)
		}
		p.wantCalls(s, x, moments)
		s.wantEvents(x)
		s.wantNoneLost(x.name, cluster.Report{})
	}
}

// wantCalls makes sure that no hook was called for anything more often than once by each replica, and that no answer was counted
// twice.
func (p *pair) wantCalls(s *site, x standing, moments []rig.Moment) {
	s.t.Helper()
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	for kind, calls := range s.hooks.calls {
		for key, at := range calls {
			if len(at) == 1 {
				continue
			}
			var since []string
			for _, t := range at {
				since = append(since, t.Sub(p.lostAt).Round(time.Millisecond).String())
			}
			s.t.Logf("%s: the hook %s was called %s after the leader was lost by one key, %s", x.name, kind, strings.Join(since, " and "), key)
			if before := slices.DeleteFunc(slices.Clone(at), p.lostAt.Before); len(before) != 1 || len(at) > 2 {
				s.t.Errorf("%s: the hook %s was called %d times by one key", x.name, kind, len(at))
			}
		}
	}
	if x.ends == v1beta1.PhaseInitialized {
		return
	}
	for _, kind := range []v1beta1.HookType{v1beta1.PreRolloutHook, v1beta1.PostRolloutHook} {
		if n := len(s.hooks.calls[kind]); n != 1 {
			s.t.Errorf("%s: the hook %s was called by %d keys, want one", x.name, kind, n)
		}
	}
	counted := map[int64]bool{}
	for _, m := range moments {
		for _, round := range m.Status.History {
			counted[round.Time.UnixMicro()] = true
		}
	}
	if answers := len(s.hooks.calls[v1beta1.RolloutHook]); len(counted) > answers || len(counted) == 0 {
		s.t.Errorf("%s: %d rounds of checks were counted, of %d that there were", x.name, len(counted), answers)
	}
}

// wantEvents makes sure that what happened was told, and nothing twice.
func (s *site) wantEvents(x standing) {
	s.t.Helper()
	var list corev1.EventList
	s.must(s.API.List(s.t.Context(), &list, client.InNamespace(s.Namespace)))
	counts := map[string]int32{}
	reasons := map[string]bool{}
	for _, e := range list.Items {
		if e.InvolvedObject.Kind == v1beta1.CanaryKind {
			counts[e.Reason+": "+e.Message] += max(e.Count, 1)
			reasons[e.Reason] = true
		}
	}
	for what, n := range counts {
		if n > 1 {
			s.t.Errorf("%s: told %d times: %s", x.name, n, what)
		}
	}
	want := map[v1beta1.CanaryPhase][]string{
		v1beta1.PhaseSucceeded: {"NewRevision", "WeightRaised", "Promoting", "Promoted"},
		v1beta1.PhaseFailed:    {"NewRevision", "WeightRaised", "RollbackAsked"},
	}[x.ends]
	for _, reason := range append(want, "Initializing", "Initialized") {
		if !reasons[reason] && !slices.Contains(x.untold, reason) {
			s.t.Errorf("%s: nobody was told %s, only %v", x.name, reason, slices.Sorted(maps.Keys(reasons)))
		}
	}
}

// routeHistory are the weights that the routes of all namespaces have had.
type routeHistory struct {
	mu      sync.Mutex
	weights map[string][]int32
}

func watchRoutes(t *testing.T, r *rig.Rig) *routeHistory {
	t.Helper()
	h := &routeHistory{weights: map[string][]int32{}}
	w, err := r.API.Watch(t.Context(), &istionetworking.VirtualServiceList{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	go func() {
		for e := range w.ResultChan() {
			if vs, ok := e.Object.(*istionetworking.VirtualService); ok {
				h.add(vs)
			}
		}
	}()
	return h
}

func (h *routeHistory) add(vs *istionetworking.VirtualService) {
	weight := int32(0)
	for _, rule := range vs.Spec.Http {
		for _, to := range rule.Route {
			if strings.HasPrefix(to.Destination.Host, rig.Name+"-canary") {
				weight = to.Weight
			}
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.weights[vs.Namespace] = append(h.weights[vs.Namespace], weight)
}

// of are the weights of a namespace in their order, without repetitions of the one before.
func (h *routeHistory) of(namespace string) []int32 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Compact(slices.Clone(h.weights[namespace]))
}
