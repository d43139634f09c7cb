package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

const (
	hostileCanaries = 16
	// slower is how much longer a release may take beside them, and slack what the machine may add.
	slower = 2
	slack  = 3 * time.Second
	// mostMemory is what the operator may have, and longestWait how long a Canary may wait for its turn.
	mostMemory  = 256 << 20
	longestWait = time.Second
)

// testFairShares has the Canaries of one namespace do what they can to keep the operator busy: metrics servers and hooks that
// never answer, answers that are as large as may be, alerts and events for many receivers that hang, dozens of metrics with
// templates that make as much text as may be, a round each second. The releases of another namespace go on as before.
func testFairShares(t *testing.T, c *cluster.Cluster, api client.Client) {
	prometheus := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[%d,"1"]}]}}`, time.Now().Unix())
	}))
	t.Cleanup(prometheus.Close)
	hostile, asked := hostileServer(t)
	operate(t, c, "-metrics-server", prometheus.URL)
	s := &stage{t: t, api: api, namespace: "fair-shop"}
	others := &stage{t: t, api: api, namespace: "fair-hostile"}
	for _, each := range []*stage{s, others} {
		each.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: each.namespace}})
	}
	t.Cleanup(func() { dropCanaries(t, api, s.namespace, others.namespace) })
	s.fairCanary(app, "{interval: 1s, threshold: 2, iterations: 5, metrics: [{name: m, query: up, thresholdRange: {min: 1}}]}")
	s.awaitPhase(v1beta1.PhaseInitialized)

	image := 0
	release := func() time.Duration {
		image++
		began := time.Now()
		s.setImage(app, fmt.Sprint("app:", image))
		s.awaitPhase(v1beta1.PhaseProgressing)
		s.awaitPhase(v1beta1.PhaseSucceeded)
		return time.Since(began)
	}
	alone := min(release(), release())
	quiet := s.longestTurn()
	for i := range hostileCanaries {
		others.hostileCanary(fmt.Sprint("h", i), hostile)
	}
	s.await("hostile Canaries at work", func(context.Context) error {
		if n := asked.Load(); n < hostileCanaries {
			return fmt.Errorf("their server was asked %d times", n)
		}
		return nil
	})
	memory := watchMemory(t)
	beside := min(release(), release())
	wait := s.longestTurn()
	most := memory()
	t.Logf("a release takes %s alone and %s beside %d hostile Canaries; a turn comes within %s and %s; %d MiB of memory at most; their server was asked %d times",
		alone.Round(10*time.Millisecond), beside.Round(10*time.Millisecond), hostileCanaries, quiet.Round(time.Millisecond), wait.Round(time.Millisecond), most>>20, asked.Load())
	if beside > slower*alone+slack {
		t.Errorf("a release takes %s, and %s without the others", beside, alone)
	}
	if wait > longestWait+quiet {
		t.Errorf("a turn waits %s, and %s without the others", wait, quiet)
	}
	if most > mostMemory {
		t.Errorf("%d MiB of memory", most>>20)
	}
}

// hostileServer answers nobody in time but those who ask for much, and counts who asks.
func hostileServer(t *testing.T) (url string, asked *atomic.Int64) {
	asked = &atomic.Int64{}
	much := []byte(`{"a":[` + strings.Repeat(`{},`, (1<<20)/3-10) + `{}]}`)
	ctx, end := context.WithCancel(context.Background())
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if strings.HasPrefix(r.URL.Path, "/much") {
			_, _ = w.Write(much)
			return
		}
		select {
		case <-ctx.Done():
		case <-r.Context().Done():
		}
	}))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "0.0.0.0:0") // at each address of the loopback
	if err != nil {
		t.Fatal(err)
	}
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(end)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "http://127.0.0.1:" + port, asked
}

func (s *stage) fairDeployment(name, image string) *appsv1.Deployment {
	d := (&trial{namespace: s.namespace}).deployment(image)
	d.Name, d.Spec.Selector.MatchLabels, d.Spec.Template.Labels = name, map[string]string{"app": name}, map[string]string{"app": name}
	return d
}

func (s *stage) fairCanary(name, analysis string, edits ...func(*appsv1.Deployment)) {
	d := s.fairDeployment(name, "app:0")
	for _, edit := range edits {
		edit(d)
	}
	s.create(d)
	u := s.parse(`
spec:
  provider: kubernetes
  drainDelaySeconds: 1
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: NAME}
  service: {port: 9898}
  analysis: `+analysis, name)
	u.SetAPIVersion(v1beta1.GroupVersion.String())
	u.SetKind(v1beta1.CanaryKind)
	u.SetName(name)
	s.create(u)
}

func (s *stage) setImage(name, image string) {
	s.t.Helper()
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":%q,"image":%q}]}}}}`, app, image)
	if err := s.api.Patch(s.t.Context(), s.fairDeployment(name, image), client.RawPatch("application/strategic-merge-patch+json", []byte(patch))); err != nil {
		s.t.Fatal(err)
	}
}

// hostileCanary is one of those that keep the operator busy, with a release under way for ever.
func (s *stage) hostileCanary(name, server string) {
	host := func(i int) string { // each is a host of its own
		return strings.Replace(server, "127.0.0.1", fmt.Sprintf("127.0.%d.1", i+1), 1)
	}
	var metrics, hooks, alerts []string
	for i := range 20 {
		own := fmt.Sprintf("%s-%d", name, i)
		kind := []string{"much", "never"}[i%2]
		text := "{{ $x := name }}" + strings.Repeat("{{ $x = print $x $x }}", 13)
		o := s.parse(fmt.Sprintf("spec: {provider: {type: web, address: %q, jsonPath: '{..a}'}, query: '/%s?q={{ len variables.a }}%s'}", server, kind, text), own)
		o.SetAPIVersion(v1beta1.GroupVersion.String())
		o.SetKind(template)
		o.SetName(own)
		s.create(o)
		metrics = append(metrics, fmt.Sprintf("{name: %q, interval: 1s, templateRef: {name: %s}, templateVariables: {a: %s}, thresholdRange: {min: 1}}", own+long(200), own, long(4000)))
		hooks = append(hooks, fmt.Sprintf("{name: e%d, type: event, url: '%s/', timeout: 1h}", i, host(i)), fmt.Sprintf("{name: r%d, type: rollout, url: '%s/', timeout: 1h}", i, host(i)))
		o = s.parse(fmt.Sprintf("spec: {type: slack, address: '%s/'}", host(i)), own)
		o.SetAPIVersion(v1beta1.GroupVersion.String())
		o.SetKind(provider)
		o.SetName(own)
		s.create(o)
		alerts = append(alerts, fmt.Sprintf("{name: a%d, severity: info, providerRef: {name: %s}}", i, own))
	}
	s.fairCanary(name, fmt.Sprintf("{interval: 100ms, threshold: 2147483647, iterations: 2147483647, metrics: [%s], webhooks: [%s], alerts: [%s]}",
		strings.Join(metrics, ","), strings.Join(hooks, ","), strings.Join(alerts, ",")))
	s.await("the hostile Canary "+name, func(ctx context.Context) error {
		var c v1beta1.Canary
		if err := s.api.Get(ctx, s.key(name), &c); err != nil {
			return err
		}
		if c.Status.Phase != v1beta1.PhaseInitialized {
			return fmt.Errorf("it is %+v", c.Status)
		}
		return nil
	})
	s.setImage(name, "app:1")
}

// longestTurn changes the Canary several times, and gives the longest time that it took until the operator has acted on it.
func (s *stage) longestTurn() time.Duration {
	s.t.Helper()
	var longest time.Duration
	for i := range 10 {
		took, err := s.turn(s.t.Context(), i)
		if err != nil {
			s.t.Fatal(err)
		}
		longest = max(longest, took)
	}
	return longest
}

// turn changes the Canary and gives the time that it took until the operator has acted on it.
func (s *stage) turn(ctx context.Context, i int) (time.Duration, error) {
	o := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: app}}
	return s.acted(ctx, o, fmt.Sprintf(`{"spec":{"analysis":{"threshold":%d}}}`, 10+i%10), func() int64 { return o.Status.ObservedGeneration })
}

// turnOfKubernetes is that of the controller of Deployments, on the same machine.
func (s *stage) turnOfKubernetes(ctx context.Context, i int) (time.Duration, error) {
	o := s.fairDeployment("idle", "app:0")
	return s.acted(ctx, o, fmt.Sprintf(`{"spec":{"revisionHistoryLimit":%d}}`, 10+i%10), func() int64 { return o.Status.ObservedGeneration })
}

// acted changes an object and gives the time that it took until its controller has acted on it.
func (s *stage) acted(ctx context.Context, o client.Object, change string, observed func() int64) (time.Duration, error) {
	if err := s.api.Patch(ctx, o, client.RawPatch("application/merge-patch+json", []byte(change))); err != nil {
		return 0, err
	}
	changed, generation := time.Now(), o.GetGeneration()
	for observed() < generation {
		if err := s.api.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return 0, err
		}
		if time.Since(changed) > stageLimit {
			return 0, fmt.Errorf("generation %d of %s is not acted on", generation, o.GetName())
		}
	}
	return time.Since(changed), nil
}

// watchTurns takes turns until it is called, and then gives how long each took, in order of their length.
func (s *stage) watchTurns(turn func(context.Context, int) (time.Duration, error)) func() []time.Duration {
	ctx, end := context.WithCancel(s.t.Context())
	var all []time.Duration
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		pause := time.NewTicker(100 * time.Millisecond) //nolint:forbidigo // how often turns are taken, and nothing that is waited for
		defer pause.Stop()
		for {
			took, err := turn(ctx, len(all))
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				s.t.Error(err)
			}
			all = append(all, took)
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
	}()
	return func() []time.Duration {
		end()
		<-ended
		slices.Sort(all)
		return append([]time.Duration{0}, all...)
	}
}

// watchMemory gives what gives the most memory that this process had in use, with the test's own, since it was called. Meanwhile
// the heap grows as Go has it grow by default.
func watchMemory(t *testing.T) func() uint64 {
	growth := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(growth) })
	debug.FreeOSMemory() // collects what there is of before
	ctx, end := context.WithCancel(t.Context())
	var most atomic.Uint64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most.Store(max(most.Load(), m.HeapInuse+m.StackInuse))
			select {
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() uint64 {
		end()
		<-ended
		return most.Load()
	}
}

// dropCanaries takes away all Canaries of namespaces, so that the operators of other tests have no work with them.
func dropCanaries(t *testing.T, api client.Client, namespaces ...string) {
	ctx := context.WithoutCancel(t.Context())
	for _, namespace := range namespaces {
		for _, o := range []client.Object{&v1beta1.Canary{}, &v1beta1.MetricTemplate{}, &v1beta1.AlertProvider{}, &appsv1.Deployment{}} {
			if err := api.DeleteAllOf(ctx, o, client.InNamespace(namespace), client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
				t.Error(err)
			}
		}
		if err := rig.Await(ctx, "the end of the Canaries", stageLimit, func(ctx context.Context) error {
			var list v1beta1.CanaryList
			if err := api.List(ctx, &list, client.InNamespace(namespace)); err != nil {
				return err
			}
			for i := range list.Items {
				o := &list.Items[i]
				if err := api.Patch(ctx, o, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))); err != nil && !apierrors.IsNotFound(err) {
					return err
				}
			}
			if len(list.Items) > 0 {
				return fmt.Errorf("%d are there", len(list.Items))
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}
