package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// trialsAtOnce is how many operators work at the same time, each with a
// namespace of its own.
const trialsAtOnce = 20

// limit is for what takes seconds on an idle machine.
const limit = 3 * time.Minute

// interval is that of the analyses.
const interval = time.Second

// The application of every trial.
const (
	app      = "podinfo"
	oldImage = "podinfo:6.0.0"
	newImage = "podinfo:6.0.1"
)

// trialled is a release that every trial with it must tell, however it is
// disturbed. The first check at 40% always fails, which the good release
// survives; the bad one fails the second too.
type trialled struct {
	name  string
	bad   bool
	image string // what the primary runs in the end
	// statuses are the changes of the status after the initialization, weights
	// those of the route. Without statuses the undisturbed one says how it goes.
	statuses []string
	weights  []int32

	// canary changes the Canary, pods what pods there are, and then is what people do once the release has begun. All may be nil.
	canary func(*v1beta1.Canary)
	pods   func(*pods)
	then   func(context.Context, *trial) error
	// ended tells why a release that ends in another way has not ended.
	ended func(context.Context, *trial) error
}

var releases = []trialled{{
	name: "good", image: newImage, weights: []int32{0, 20, 40, 60, 0},
	statuses: []string{
		"Progressing 0% step 0/0 failed 0",
		"Progressing 20% step 1/0 failed 0",
		"Progressing 40% step 2/0 failed 0",
		"Progressing 40% step 2/1 failed 1",
		"Progressing 60% step 3/0 failed 1",
		"Promoting 60% step 0/0 failed 1",
		"Finalising 0% failed 1",
		"Succeeded 0% failed 1",
	},
}, {
	name: "bad", bad: true, image: oldImage, weights: []int32{0, 20, 40, 0},
	statuses: []string{
		"Progressing 0% step 0/0 failed 0",
		"Progressing 20% step 1/0 failed 0",
		"Progressing 40% step 2/0 failed 0",
		"Progressing 40% step 2/1 failed 1",
		"Failed 0% failed 2",
	},
}}

// kinds are releases of each other strategy, and those that end otherwise. What must come of them the undisturbed ones tell.
var kinds = []trialled{
	{name: "matching", image: newImage, canary: func(c *v1beta1.Canary) { abTesting(c.Spec.Analysis) }},
	{name: "blue-green", image: newImage, canary: func(c *v1beta1.Canary) { blueGreen(c.Spec.Analysis) }},
	{name: "mirror", image: newImage, canary: func(c *v1beta1.Canary) { c.Spec.Analysis.Mirror = true }},
	{name: "steps-back", image: newImage, canary: func(c *v1beta1.Canary) { c.Spec.Analysis.StepWeightPromotion = 30 }},
	{name: "sessions", image: newImage, canary: func(c *v1beta1.Canary) {
		c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "version"}
	}},
	{name: "no-mesh", image: newImage, canary: func(c *v1beta1.Canary) {
		blueGreen(c.Spec.Analysis)
		c.Spec.Provider = v1beta1.ProviderKubernetes
	}},
	{name: "halted", canary: func(c *v1beta1.Canary) { c.Spec.ProgressDeadlineSeconds = new(int32(2)) }, pods: func(p *pods) { p.limit(app+"-primary", newImage, 0) }, ended: halted},
	{name: "deleted", canary: atStep(20), then: deleteAtWeight, ended: gone},
	{name: "deleted-matching", canary: func(c *v1beta1.Canary) {
		abTesting(c.Spec.Analysis)
		c.Spec.Analysis.Interval = "1h"
	}, then: deleteAtWeight, ended: gone},
}

// halted waits for a promotion that has failed: the canary serves everybody.
func halted(ctx context.Context, x *trial) error {
	return rig.Await(ctx, "the halted promotion", limit, func(context.Context) error {
		seen := x.lab.seen(x.namespace)
		c, vs := latest[*v1beta1.Canary](seen, app), latest[*istionetworking.VirtualService](seen, app)
		if c == nil || vs == nil || c.Status.Phase != v1beta1.PhasePromoting {
			return errors.New("it is not promoted")
		}
		is := c.Status.GetCondition(v1beta1.ConditionStalled)
		if _, canary := shares(vs); is == nil || is.Reason != release.ReasonPromotionHalted || canary != c.Status.CanaryWeight {
			return fmt.Errorf("the status is %+v, the canary has %d%%", c.Status, canary)
		}
		return nil
	})
}

// deleteAtWeight deletes the Canary once some requests go to the canary.
func deleteAtWeight(ctx context.Context, x *trial) error {
	err := rig.Await(ctx, "requests at the canary", limit, func(context.Context) error {
		seen := x.lab.seen(x.namespace)
		vs := latest[*istionetworking.VirtualService](seen, app)
		c := latest[*v1beta1.Canary](seen, app)
		if vs == nil || c == nil || c.Status.CanaryWeight == 0 || !strings.Contains(routeOf(vs), app+"-canary "+strconv.Itoa(int(c.Status.CanaryWeight))) {
			return errors.New("there are none")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return x.lab.api.Delete(ctx, &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: x.namespace, Name: app}})
}

// gone waits until the Canary has gone, with what was made for it, and its target serves.
func gone(ctx context.Context, x *trial) error {
	return rig.Await(ctx, "the end of the Canary", limit, func(ctx context.Context) error {
		for _, o := range []client.Object{&v1beta1.Canary{}, &istionetworking.VirtualService{}} {
			if err := x.lab.api.Get(ctx, client.ObjectKey{Namespace: x.namespace, Name: app}, o); !apierrors.IsNotFound(err) {
				return errors.Join(err, fmt.Errorf("%T is there", o))
			}
		}
		d, primary := &appsv1.Deployment{}, &appsv1.Deployment{}
		if err := x.lab.api.Get(ctx, client.ObjectKey{Namespace: x.namespace, Name: app + "-primary"}, primary); !apierrors.IsNotFound(err) {
			return errors.Join(err, errors.New("the primary is there"))
		}
		if err := x.lab.api.Get(ctx, client.ObjectKey{Namespace: x.namespace, Name: app}, d); err != nil || d.Status.AvailableReplicas != 1 {
			return errors.Join(err, fmt.Errorf("the target has %d pods", d.Status.AvailableReplicas))
		}
		return nil
	})
}

var initialization = []string{"-", "Initializing 0% failed 0", "Initialized 0% failed 0"}

// disturbance is what happens to the operator at one of its writes.
type disturbance string

const (
	undisturbed   disturbance = "undisturbed"
	stoppedAfter  disturbance = "stopped after write"  // the write is done, nobody heard of it
	stoppedBefore disturbance = "stopped before write" // the write is not done
	unanswered    disturbance = "no answer to write"   // it is done and reported as an error; the operator lives on
	// Each operator gets as far as one write: one in two is stopped after it, and the others before the next one.
	stoppedAtEach disturbance = "stopped at each write"
	stoppedInTurn disturbance = "stopped at each write in turn" // the others first
)

// testCrashes lets a release of each kind pass undisturbed, and then once for
// each of the writes that it took, and each way in which that can go wrong.
func testCrashes(t *testing.T, l *lab) {
	first := make([]*trial, len(releases))
	for i, r := range releases {
		first[i] = &trial{lab: l, release: r, fuse: fuse{how: undisturbed}}
	}
	conduct(t, first)
	if t.Failed() {
		return
	}
	var all []*trial
	for _, u := range first {
		t.Logf("the %s release takes %d writes, %d of them to initialize:\n%s",
			u.release.name, len(u.fuse.writes), u.initWrites, strings.Join(u.fuse.writes, "\n"))
		for at := 1; at <= len(u.fuse.writes); at++ {
			for _, how := range []disturbance{stoppedAfter, stoppedBefore, unanswered} {
				if u.release.bad && shownBefore(how, at, u, first[0]) {
					continue
				}
				all = append(all, &trial{lab: l, release: u.release, fuse: fuse{how: how, at: at, expected: u.fuse.writes}})
			}
		}
	}
	t.Logf("%d disturbed releases", len(all))
	conduct(t, all)
	if !t.Failed() {
		testCrashesOfKinds(t, l)
	}
}

// testCrashesOfKinds has the operator stopped at each of its writes, in releases of each other kind.
func testCrashesOfKinds(t *testing.T, l *lab) {
	first := make([]*trial, len(kinds))
	for i, r := range kinds {
		first[i] = &trial{lab: l, t: t, release: r, fuse: fuse{how: undisturbed}}
	}
	conduct(t, first)
	if t.Failed() {
		return
	}
	var all []*trial
	for _, u := range first {
		for _, how := range []disturbance{stoppedAtEach, stoppedInTurn} {
			all = append(all, &trial{lab: l, t: t, release: u.release, like: u, fuse: fuse{how: how, expected: u.fuse.writes}})
		}
	}
	conduct(t, all)
	for _, x := range all {
		t.Logf("the release %s took %d writes, and %d operators %s", x.release.name, len(x.like.fuse.writes), x.lives, x.fuse.how)
	}
}

// shownBefore tells whether a disturbance of the bad release would show nothing
// that one of the good release has not: all of the initialization and, but for
// the stop after every single write, all that both have in common.
func shownBefore(how disturbance, at int, bad, good *trial) bool {
	if how == stoppedAfter {
		return at <= bad.initWrites
	}
	return at <= len(good.fuse.writes) && slices.Equal(bad.fuse.writes[:at], good.fuse.writes[:at])
}

// conduct runs trials, some at once, and reports on each as a test.
func conduct(t *testing.T, trials []*trial) {
	slots := make(chan struct{}, trialsAtOnce)
	var wg sync.WaitGroup
	for i, x := range trials {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			x.namespace = fmt.Sprintf("%s-%s-%d", x.release.name, strings.ReplaceAll(string(x.fuse.how), " ", "-"), i)
			x.err = x.run(t.Context())
		})
	}
	wg.Wait()
	for _, x := range trials {
		name := x.release.name + " " + string(x.fuse.how)
		if x.fuse.at > 0 {
			name += fmt.Sprintf(" %d %s", x.fuse.at, x.fuse.expected[x.fuse.at-1])
		}
		t.Run(name, x.judge)
	}
}

// trial is one release in a namespace of its own.
type trial struct {
	lab       *lab
	t         *testing.T
	release   trialled
	fuse      fuse
	namespace string
	like      *trial // the undisturbed one, where nothing else says what must come of it

	initWrites int
	lives      int // operators that there were
	err        error
}

// run runs operators, one after the other, until the release has ended.
func (x *trial) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	operators := make(chan error, 1)
	go func() { operators <- x.operate(ctx) }()
	err := x.drive(ctx)
	cancel()
	return errors.Join(err, <-operators)
}

// operate has an operator at work until ctx ends: where one stops, the next
// is started.
func (x *trial) operate(ctx context.Context) error {
	for ctx.Err() == nil {
		life, end := context.WithCancel(ctx)
		x.lives++
		o, err := parseFlags([]string{"-namespace", x.namespace, "-port", "0", "-allowed-addresses", loopback, "-threadiness", "1"}, io.Discard)
		if err == nil {
			err = start(life, x.lab.config, o, wiring{wrap: x.fuse.client(end), registry: prometheus.NewRegistry(), oneOfMany: true})
		}
		end()
		if err != nil {
			return fmt.Errorf("operator: %w", err)
		}
	}
	return nil
}

func start(ctx context.Context, config *rest.Config, o options, w wiring) error {
	mgr, err := newManager(ctx, audited(config), o, w)
	if err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// drive does what people do, and waits for what they wait for.
func (x *trial) drive(ctx context.Context) error {
	if x.release.pods != nil {
		x.release.pods(newPods(&stage{t: x.t, api: x.lab.api, namespace: x.namespace}, x.lab.api)) //nolint:contextcheck // they live as long as the test
	}
	for _, o := range x.objects() {
		if err := x.lab.api.Create(ctx, o); err != nil {
			return err
		}
	}
	if err := x.await(ctx, "initialization", oldImage, v1beta1.PhaseInitialized); err != nil {
		return err
	}
	x.initWrites = x.fuse.count()
	if err := x.lab.api.Patch(ctx, x.deployment(oldImage), client.RawPatch("application/json-patch+json",
		[]byte(`[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "`+newImage+`"}]`))); err != nil {
		return err
	}
	if x.release.then != nil {
		if err := x.release.then(ctx, x); err != nil {
			return err
		}
	}
	if x.release.ended != nil {
		return x.release.ended(ctx, x)
	}
	if err := x.await(ctx, "the end of the release", x.release.image, v1beta1.PhaseSucceeded, v1beta1.PhaseFailed); err != nil {
		return err
	}
	// The watches bring the kinds apart from each other; wait for the last route.
	var vs istionetworking.VirtualService
	if err := x.lab.api.Get(ctx, client.ObjectKey{Namespace: x.namespace, Name: app}, &vs); err != nil {
		return client.IgnoreNotFound(err) // there is no mesh
	}
	return rig.Await(ctx, "the watch of routes", limit, func(context.Context) error {
		if seen := latest[*istionetworking.VirtualService](x.lab.seen(x.namespace), app); seen == nil || seen.ResourceVersion != vs.ResourceVersion {
			return errors.New("it is behind")
		}
		return nil
	})
}

// await waits until the Canary rests in one of the phases, with the target's
// pods gone and the primary complete.
func (x *trial) await(ctx context.Context, what, primaryImage string, phases ...v1beta1.CanaryPhase) error {
	return rig.Await(ctx, what, limit, func(context.Context) error {
		seen := x.lab.seen(x.namespace)
		c := latest[*v1beta1.Canary](seen, app)
		target := latest[*appsv1.Deployment](seen, app)
		primary := latest[*appsv1.Deployment](seen, app+"-primary")
		switch {
		case c == nil || !slices.Contains(phases, c.Status.Phase):
			return fmt.Errorf("phase: %s", strings.Join(statuses(seen), ", "))
		case target == nil || *target.Spec.Replicas != 0 || target.Status.Replicas != 0:
			return errors.New("the target has pods")
		case primary == nil || primary.Spec.Template.Spec.Containers[0].Image != primaryImage || primary.Status.AvailableReplicas != *primary.Spec.Replicas:
			return fmt.Errorf("the primary is not complete with %s", primaryImage)
		case c.Status.GetCondition(v1beta1.ConditionReconciling) != nil:
			return errors.New("it is not at rest")
		}
		return nil
	})
}

func (x *trial) objects() []client.Object {
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: x.namespace, Name: app},
		Spec: v1beta1.CanarySpec{
			MetricsServer:     x.lab.metricsServer(x.release.bad),
			TargetRef:         v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: app},
			DrainDelaySeconds: new(int32(1)),
			Service:           v1beta1.CanaryService{Port: 9898},
			Analysis: &v1beta1.CanaryAnalysis{
				Interval: interval.String(), Threshold: 2, StepWeight: 20, MaxWeight: 60,
				Metrics: []v1beta1.CanaryMetric{{Name: "health", Query: x.namespace, ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(1.0)}}},
			},
		},
	}
	d := x.deployment(oldImage)
	if x.release.canary != nil {
		x.release.canary(c)
	}
	if x.release.pods != nil {
		gated(d)
	}
	return []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: x.namespace}}, d, c}
}

func (x *trial) deployment(image string) *appsv1.Deployment {
	labels := map[string]string{"app": app}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: x.namespace, Name: app},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{cluster.ProcessAnnotation: "none"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: app, Image: image}}, TerminationGracePeriodSeconds: new(int64(0))},
			},
		},
	}
}

// judge compares what was seen with what the release must look like.
func (x *trial) judge(t *testing.T) {
	if x.fuse.at > 0 && !x.fuse.blown {
		t.Errorf("there was no write %d; the writes:\n%s", x.fuse.at, strings.Join(x.fuse.writes, "\n"))
	}
	seen := x.lab.seen(x.namespace)
	if x.release.statuses == nil {
		x.judgeByLike(t, seen)
	} else {
		if diff := cmp.Diff(slices.Concat(initialization, x.release.statuses), statuses(seen)); diff != "" {
			t.Errorf("statuses (-want +got)\n%s", diff)
		}
		if diff := cmp.Diff(x.release.weights, weights(seen)); diff != "" {
			t.Errorf("weights of the route (-want +got)\n%s", diff)
		}
		if err := safe(seen); err != nil {
			t.Error(err)
		}
	}
	if x.fuse.how == stoppedAfter || x.fuse.how == stoppedBefore {
		// The next operator goes on where the last one was, and does nothing again that is done.
		if diff := cmp.Diff(moves(x.fuse.expected), moves(x.fuse.writes)); diff != "" {
			t.Errorf("writes (-undisturbed +got)\n%s", diff)
		}
	}
	if x.err != nil {
		t.Error(x.err)
	}
	if t.Failed() {
		t.Logf("the writes:\n%s", strings.Join(x.fuse.writes, "\n"))
	}
}

// judgeByLike compares what was seen with what there was in the undisturbed release: the same statuses, and the same routes in
// the same order. At no moment are requests led where nobody is.
func (x *trial) judgeByLike(t *testing.T, seen []client.Object) {
	if err := served(seen); err != nil {
		t.Error(err)
	}
	if x.like == nil {
		t.Logf("statuses:\n%s\nroutes:\n%s", strings.Join(statuses(seen), "\n"), strings.Join(routesOf(seen), "\n"))
		return
	}
	like := x.lab.seen(x.like.namespace)
	if diff := cmp.Diff(statuses(like), statuses(seen)); diff != "" {
		t.Errorf("statuses (-undisturbed +got)\n%s", diff)
	}
	if diff := cmp.Diff(routesOf(like), routesOf(seen)); diff != "" {
		t.Errorf("routes (-undisturbed +got)\n%s", diff)
	}
	if n := len(moves(x.like.fuse.writes)); x.lives < n {
		t.Errorf("there were %d operators for %d writes", x.lives, n)
	}
}

// routesOf are those that there were without repetitions.
func routesOf(seen []client.Object) []string {
	var out []string
	for _, o := range seen {
		if vs, ok := o.(*istionetworking.VirtualService); ok {
			out = append(out, routeOf(vs))
		}
	}
	return slices.Compact(out)
}

// routeOf says where the requests of each rule go, and their copies.
func routeOf(vs *istionetworking.VirtualService) string {
	var rules []string
	for _, rule := range vs.Spec.Http {
		out := fmt.Sprintf("%d conditions:", len(rule.Match))
		for _, d := range rule.Route {
			out += fmt.Sprintf(" %s %d", d.Destination.Host, d.Weight)
		}
		if rule.Mirror != nil {
			out += fmt.Sprintf(", copies to %s %.0f", rule.Mirror.Host, rule.MirrorPercentage.GetValue())
		}
		rules = append(rules, out)
	}
	return strings.Join(rules, "; ")
}

// served checks that whoever gets requests has pods for them at every moment.
func served(seen []client.Object) error {
	available := map[string]int32{}
	for _, o := range seen {
		switch o := o.(type) {
		case *appsv1.Deployment:
			available[o.Name] = o.Status.AvailableReplicas
		case *istionetworking.VirtualService:
			for _, rule := range o.Spec.Http {
				for _, d := range rule.Route {
					to := strings.TrimSuffix(d.Destination.Host, "-canary")
					if (d.Weight > 0 || len(rule.Route) == 1) && available[to] == 0 {
						return fmt.Errorf("route %s to pods %v", routeOf(o), available)
					}
				}
			}
		}
	}
	return nil
}

// moves are writes without those that do nothing new: one that is repeated, and a
// status that only says in other words what is waited for, as on a machine that is
// slower than the operator's patience.
func moves(writes []string) []string {
	var out []string
	status := ""
	for _, w := range slices.Compact(slices.Clone(writes)) {
		if strings.HasPrefix(w, "update status") {
			if w == status {
				continue
			}
			status = w
		}
		out = append(out, w)
	}
	return slices.Compact(out) // a write that came to nothing may have had a status between it and the next try
}

// errDisturbed is what the operator gets for the write that was disturbed,
// errStopped for everything that it still tries after its end.
var (
	errDisturbed = errors.New("no answer")
	errStopped   = errors.New("the operator has been stopped")
)

// fuse counts the writes of a trial's operators and disturbs one of them.
type fuse struct {
	how      disturbance
	at       int      // which write, from 1
	expected []string // what the undisturbed operator wrote
	each     int      // how many writes an operator does that is stopped at each; 0 is 1

	mu     sync.Mutex
	writes []string
	blown  bool
	lives  int
}

// life gives how many writes an operator does, and whether it is stopped right after the last of them, or before the next.
func (f *fuse) life() (writes int, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lives++
	return max(f.each, 1), (f.lives%2 == 0) == (f.how == stoppedInTurn)
}

func (f *fuse) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.writes)
}

// next counts a write and tells whether it is the one to disturb.
func (f *fuse) next(what string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes = append(f.writes, what)
	if f.how == undisturbed || len(f.writes) != f.at {
		return false
	}
	f.blown = true
	return true
}

// client gives an operator a client that ends it when the fuse blows: from
// then on it reaches nothing.
func (f *fuse) client(end func()) func(client.WithWatch) client.Client {
	return func(direct client.WithWatch) client.Client {
		if f.how == stoppedAtEach || f.how == stoppedInTurn {
			return interceptor.NewClient(direct, intercept(f.shortLife(end)))
		}
		var mu sync.Mutex
		dead := false
		call := func(what string, send func() error) error {
			if f.how == undisturbed { // as many at once as the operator makes
				if what != "" {
					f.next(what)
				}
				return send()
			}
			mu.Lock()
			defer mu.Unlock()
			if dead {
				return errStopped
			}
			if what == "" || !f.next(what) {
				return send()
			}
			var err error
			if f.how != stoppedBefore {
				err = send()
			}
			if f.how != unanswered {
				dead = true
				end()
			}
			return errors.Join(err, errDisturbed)
		}
		return interceptor.NewClient(direct, intercept(call))
	}
}

// shortLife ends an operator at the last of its writes, or before the next.
func (f *fuse) shortLife(end func()) func(what string, send func() error) error {
	most, after := f.life()
	var mu sync.Mutex
	done, dead := 0, false
	return func(what string, send func() error) error {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case dead:
			return errStopped
		case what == "":
			return send()
		case done == most:
			dead = true
			end()
			return errStopped
		}
		done++
		f.next(what)
		err := send()
		if after && done == most {
			dead = true
			end()
			return errors.Join(err, errStopped)
		}
		return err
	}
}

// intercept has every read and write go through call. A read has no name.
func intercept(call func(what string, send func() error) error) interceptor.Funcs {
	name := func(verb string, o client.Object) string { return fmt.Sprintf("%s %T %s", verb, o, o.GetName()) }
	return interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			return call("", func() error { return c.Get(ctx, key, o, opts...) })
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			return call("", func() error { return c.List(ctx, list, opts...) })
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return call(name("create", o), func() error { return c.Create(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return call(name("delete", o), func() error { return c.Delete(ctx, o, opts...) })
		},
		DeleteAllOf: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteAllOfOption) error {
			return call(name("delete all", o), func() error { return c.DeleteAllOf(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return call(name("update", o), func() error { return c.Update(ctx, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return call(name("patch", o), func() error { return c.Patch(ctx, o, patch, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return call("apply "+applied(o), func() error { return c.Apply(ctx, o, opts...) })
		},
		SubResourceCreate: func(ctx context.Context, c client.Client, sub string, o, body client.Object, opts ...client.SubResourceCreateOption) error {
			return call(name("create "+sub+" of", o), func() error { return c.SubResource(sub).Create(ctx, o, body, opts...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			what := name("update "+sub+" of", o)
			if canary, ok := o.(*v1beta1.Canary); ok {
				what += ": " + status(canary)
			}
			return call(what, func() error { return c.SubResource(sub).Update(ctx, o, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			return call(name("patch "+sub+" of", o), func() error { return c.SubResource(sub).Patch(ctx, o, patch, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return call("apply "+sub+" of "+applied(o), func() error { return c.SubResource(sub).Apply(ctx, o, opts...) })
		},
	}
}

func applied(o runtime.ApplyConfiguration) string {
	named, ok := o.(interface {
		GetKind() string
		GetName() string
	})
	if !ok {
		return fmt.Sprintf("%T", o)
	}
	return named.GetKind() + " " + named.GetName()
}

// lab is a cluster and everything that ever happened in it.
type lab struct {
	config *rest.Config
	api    client.WithWatch
	stub   *httptest.Server

	mu     sync.Mutex
	events map[string][]client.Object // by namespace
}

// newLab begins to watch before anything happens.
func newLab(t *testing.T, c *cluster.Cluster, api client.WithWatch) *lab {
	l := &lab{config: c.Config(), api: api, events: map[string][]client.Object{}}
	l.stub = httptest.NewServer(http.HandlerFunc(l.answer))
	t.Cleanup(l.stub.Close)
	for _, kind := range []client.ObjectList{&v1beta1.CanaryList{}, &appsv1.DeploymentList{}, &istionetworking.VirtualServiceList{}} {
		w, err := api.Watch(t.Context(), kind)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Stop)
		go func() {
			for e := range w.ResultChan() {
				if o, ok := e.Object.(client.Object); ok {
					l.mu.Lock()
					l.events[o.GetNamespace()] = append(l.events[o.GetNamespace()], o)
					l.mu.Unlock()
				}
			}
		}()
	}
	return l
}

// seen are all states of the objects of a namespace so far, as they were
// written one after the other.
func (l *lab) seen(namespace string) []client.Object {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.SortStableFunc(l.events[namespace], func(a, b client.Object) int { return order(a) - order(b) })
	return slices.Clone(l.events[namespace])
}

func order(o client.Object) int {
	v, _ := strconv.Atoi(o.GetResourceVersion())
	return v
}

func (l *lab) metricsServer(bad bool) string { return l.stub.URL + "/" + strconv.FormatBool(bad) }

// answer is a Prometheus that judges a release by its persisted status, so
// that its answers do not depend on how often or when it is asked. The query
// is the namespace.
func (l *lab) answer(w http.ResponseWriter, r *http.Request) {
	var c v1beta1.Canary
	if err := l.api.Get(r.Context(), client.ObjectKey{Namespace: r.FormValue("query"), Name: app}, &c); err != nil || c.Status.Step == nil {
		http.Error(w, fmt.Sprintf("no analysis is under way: %v", err), http.StatusInternalServerError)
		return
	}
	healthy := 1
	if step := c.Status.Step; step.Index == 2 && (step.Checks == 0 || strings.HasPrefix(r.URL.Path, "/true/")) {
		healthy = 0
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"status":"success","data":{"resultType":"scalar","result":[0,"%d"]}}`, healthy)
}

// latest is the last state of an object, nil before the first.
func latest[T client.Object](seen []client.Object, name string) (last T) {
	for _, o := range seen {
		if typed, ok := o.(T); ok && o.GetName() == name {
			last = typed
		}
	}
	return last
}

// statuses are the statuses of the Canary without repetitions.
func statuses(seen []client.Object) []string {
	var out []string
	for _, o := range seen {
		if c, ok := o.(*v1beta1.Canary); ok {
			out = append(out, status(c))
		}
	}
	return slices.Compact(out)
}

func status(c *v1beta1.Canary) string {
	s := c.Status
	if s.Phase == "" {
		return "-"
	}
	out := fmt.Sprintf("%s %d%%", s.Phase, s.CanaryWeight)
	if s.Step != nil {
		out += fmt.Sprintf(" step %d/%d", s.Step.Index, s.Step.Checks)
	}
	return out + fmt.Sprintf(" failed %d", s.FailedChecks)
}

// weights are the canary's shares of the route without repetitions.
func weights(seen []client.Object) []int32 {
	var out []int32
	for _, o := range seen {
		if vs, ok := o.(*istionetworking.VirtualService); ok {
			_, canary := shares(vs)
			out = append(out, canary)
		}
	}
	return slices.Compact(out)
}

func shares(vs *istionetworking.VirtualService) (primary, canary int32) {
	for _, d := range vs.Spec.Http[0].Route {
		if d.Destination.Host == app+"-primary" {
			primary = d.Weight
		} else {
			canary = d.Weight
		}
	}
	return primary, canary
}

// safe checks every moment: weights sum to 100, the route follows the status
// and never runs ahead of it, who gets requests has pods for them, and a step
// with weight lasts its interval.
func safe(seen []client.Object) error {
	var asked int32 = -1
	var began time.Time
	available := map[string]int32{}
	for _, o := range seen {
		switch o := o.(type) {
		case *v1beta1.Canary:
			asked = o.Status.CanaryWeight
			step := o.Status.Step
			if step == nil || step.Since.Time.Equal(began) {
				continue
			}
			if lasted := step.Since.Sub(began); step.Index != 1 && lasted < interval {
				return fmt.Errorf("after %s follows %s", lasted, status(o))
			}
			began = step.Since.Time
		case *appsv1.Deployment:
			available[o.Name] = o.Status.AvailableReplicas
		case *istionetworking.VirtualService:
			primary, canary := shares(o)
			switch {
			case primary+canary != 100:
				return fmt.Errorf("weights %d and %d", primary, canary)
			case canary != asked:
				return fmt.Errorf("the route has %d%% while the status has %d%%", canary, asked)
			case primary > 0 && available[app+"-primary"] == 0, canary > 0 && available[app] == 0:
				return fmt.Errorf("route %d/%d to pods %v", primary, canary, available)
			}
		}
	}
	return nil
}
