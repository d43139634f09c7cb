package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// sitesAtOnce is how many sites there are at the same time. They mostly wait.
const sitesAtOnce = "14"

// loopback are the addresses of the servers that tests run in their own process: operators do not call them without
// being told to.
const loopback = "127.0.0.0/8,::1"

// incident is something that happens to a cluster, or that people do to it, while an
// application with a Canary serves.
type incident struct {
	name string
	run  func(*site)
}

// incidents are all that may happen beside each other. Those that take longest come first.
func incidents() []incident {
	return slices.Concat(flaggerIncidents, capacityIncidents, heldIncidents, refusedIncidents, identityIncidents, editIncidents, cascadeIncidents, deletionIncidents, restoredIncidents, timeIncidents, ingressIncidents, rivalIncidents, namespaceIncidents, tracingIncidents)
}

// testIncidents has each happen in a namespace of its own, with an operator of its own.
// What becomes of users' requests is read from the mesh's route and from who answers.
func testIncidents(t *testing.T, c *cluster.Cluster, api client.WithWatch) {
	r := keepRecords(t, api)
	for i, x := range incidents() {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			x.run(newSite(t, c, r, fmt.Sprintf("incident-%d", i)))
		})
	}
}

// testKindIncidents has those happen one after the other that all others would notice.
func testKindIncidents(t *testing.T, c *cluster.Cluster, api client.WithWatch) {
	r := keepRecords(t, api)
	for i, x := range kindIncidents {
		t.Run(x.name, func(t *testing.T) { x.run(newSite(t, c, r, fmt.Sprintf("kind-incident-%d", i))) })
	}
}

// site is an application in a namespace, and an operator for it.
type site struct {
	*stage

	cluster *cluster.Cluster
	records *records
	pods    *pods
	metrics *httptest.Server
	bad     atomic.Bool  // what the metrics say of any release
	badAt   atomic.Int32 // the canary's share from which on they say so anyway
	away    atomic.Bool  // they are not to be had
	queries atomic.Int32
	stop    func() // ends the operator
}

func newSite(t *testing.T, c *cluster.Cluster, r *records, namespace string) *site {
	t.Helper()
	s := &site{stage: &stage{t: t, api: r.api, namespace: namespace}, cluster: c, records: r}
	s.metrics = httptest.NewServer(http.HandlerFunc(s.answer))
	t.Cleanup(s.metrics.Close)
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	s.pods = newPods(s.stage, r.api)
	s.operate()
	t.Cleanup(func() { s.stop() })
	return s
}

// answer is a Prometheus.
func (s *site) answer(w http.ResponseWriter, r *http.Request) {
	s.queries.Add(1)
	if s.away.Load() {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	healthy := 1
	if s.bad.Load() {
		healthy = 0
	}
	if from := s.badAt.Load(); from > 0 {
		st, err := s.status(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if st.CanaryWeight >= from {
			healthy = 0
		}
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"status":"success","data":{"resultType":"scalar","result":[0,"%d"]}}`, healthy)
}

// operate starts an operator, after another has ended.
func (s *site) operate(args ...string) { s.operateWith(nil, args...) }

// operateWith starts one whose client is wrapped.
func (s *site) operateWith(wrap func(client.WithWatch) client.Client, args ...string) {
	s.t.Helper()
	s.operateOn(s.cluster.Config(), wrap, args...)
}

// operateOn starts one that reaches the cluster in another way.
func (s *site) operateOn(config *rest.Config, wrap func(client.WithWatch) client.Client, args ...string) {
	s.t.Helper()
	o, err := parseFlags(append([]string{"-port", "0", "-allowed-addresses", loopback, "-namespace", s.namespace, "-coverage", "none", "-threadiness", "1"}, args...), io.Discard)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	ended := make(chan error, 1)
	go func() {
		ended <- start(ctx, config, o, wiring{wrap: wrap, registry: prometheus.NewRegistry(), oneOfMany: true})
	}()
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("operator: %v", err)
		}
		s.stop = func() {}
	}
}

// begin gives the application a Canary and waits until it is at rest.
func (s *site) begin(target func(*appsv1.Deployment), canary func(*v1beta1.Canary)) {
	s.t.Helper()
	s.create(s.deployment(oldImage, target))
	s.create(s.newCanary(canary))
	s.awaitPhase(v1beta1.PhaseInitialized)
	s.awaitDrained()
}

func (s *site) deployment(image string, edits ...func(*appsv1.Deployment)) *appsv1.Deployment {
	d := (&trial{namespace: s.namespace}).deployment(image)
	d.Spec.Replicas = new(int32(2))
	for _, edit := range edits {
		if edit != nil {
			edit(d)
		}
	}
	return d
}

// newCanary has one metric, whose steps last a second.
func (s *site) newCanary(edit func(*v1beta1.Canary)) *v1beta1.Canary {
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: app},
		Spec: v1beta1.CanarySpec{
			MetricsServer:     s.metrics.URL,
			TargetRef:         v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: app},
			DrainDelaySeconds: new(int32(1)),
			Service:           v1beta1.CanaryService{Port: 9898},
			Analysis: &v1beta1.CanaryAnalysis{
				Interval: "1s", Threshold: 2, StepWeight: 50, MaxWeight: 50,
				Metrics: []v1beta1.CanaryMetric{{Name: "health", Query: "health", ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(1.0)}}},
			},
		},
	}
	if edit != nil {
		edit(c)
	}
	return c
}

// atStep has a release stay at its first step, which has this weight.
func atStep(weight int32) func(*v1beta1.Canary) {
	return func(c *v1beta1.Canary) {
		c.Spec.Analysis.Interval = "1h"
		c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight, c.Spec.Analysis.StepWeights = 0, 0, []int32{weight}
	}
}

func both[T any](edits ...func(T)) func(T) {
	return func(x T) {
		for _, edit := range edits {
			edit(x)
		}
	}
}

func pods10(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(10)) }

// get reads an object that must be there.
func get[T any, P interface {
	*T
	client.Object
}](s *site, name string,
) P {
	s.t.Helper()
	o := P(new(T))
	if err := s.api.Get(s.t.Context(), s.key(name), o); err != nil {
		s.t.Fatal(err)
	}
	return o
}

func change[T any, P interface {
	*T
	client.Object
}](s *site, name string, edit func(P),
) {
	s.t.Helper()
	o := get[T, P](s, name)
	before, ok := o.DeepCopyObject().(client.Object)
	if !ok {
		s.t.Fatalf("%T", o)
	}
	edit(o)
	if err := s.api.Patch(s.t.Context(), o, client.MergeFrom(before)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) edit(edit func(*v1beta1.Canary)) {
	s.t.Helper()
	change[v1beta1.Canary](s, app, edit)
}

// release gives the target another image, and whatever else.
func (s *site) release(image string, edits ...func(*appsv1.Deployment)) {
	s.t.Helper()
	change[appsv1.Deployment](s, app, func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Image = image
		for _, edit := range edits {
			edit(d)
		}
	})
}

func (s *site) remove(o client.Object, opts ...client.DeleteOption) {
	s.t.Helper()
	if err := s.api.Delete(s.t.Context(), o, opts...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) awaitGone(o client.Object) {
	s.t.Helper()
	s.await(fmt.Sprintf("the end of %T %s", o, o.GetName()), func(ctx context.Context) error {
		err := s.api.Get(ctx, client.ObjectKeyFromObject(o), o)
		if err == nil {
			return errNotYet
		}
		return client.IgnoreNotFound(err)
	})
}

func (s *site) awaitDrained() {
	s.t.Helper()
	s.await("the drain", func(ctx context.Context) error {
		d := &appsv1.Deployment{}
		if err := s.api.Get(ctx, s.key(app), d); err != nil {
			return err
		}
		if *d.Spec.Replicas != 0 || d.Status.Replicas != 0 {
			return errors.New("there are pods")
		}
		return nil
	})
}

// awaitRoute waits until the mesh has this share of the requests without condition for
// the canary.
func (s *site) awaitRoute(canary int32) {
	s.t.Helper()
	s.await(fmt.Sprintf("a route with %d%%", canary), func(ctx context.Context) error {
		vs := &istionetworking.VirtualService{}
		if err := s.api.Get(ctx, s.key(app), vs); err != nil {
			return err
		}
		m := &mesh{apex: app, routes: map[string]*istionetworking.VirtualService{app: vs}}
		if got := m.look().canary; got != canary {
			c := &v1beta1.Canary{}
			err := s.api.Get(ctx, s.key(app), c)
			return errors.Join(fmt.Errorf("it has %d%%; the status is %+v", got, c.Status), err)
		}
		return nil
	})
}

// awaitSettled waits until the release has ended in a phase, and the target has no pods.
func (s *site) awaitSettled(phase v1beta1.CanaryPhase) {
	s.t.Helper()
	s.awaitPhase(phase)
	s.awaitDrained()
}

func (s *site) status(ctx context.Context) (v1beta1.CanaryStatus, error) {
	c := &v1beta1.Canary{}
	err := s.api.Get(ctx, s.key(app), c)
	return c.Status, err
}

// awaitCondition waits for a condition that is true, and whose reason or message has all of the words.
func (s *site) awaitCondition(kind v1beta1.CanaryConditionType, is corev1.ConditionStatus, words ...string) {
	s.t.Helper()
	s.await("the condition "+string(kind), func(ctx context.Context) error {
		st, err := s.status(ctx)
		if err != nil {
			return err
		}
		c := st.GetCondition(kind)
		if c == nil || c.Status != is {
			return fmt.Errorf("%s is %+v; the conditions are %+v", kind, c, st.Conditions)
		}
		return namesAll(c.Reason+": "+c.Message, words, nil)
	})
}

func (s *site) primaryImage() string {
	s.t.Helper()
	return get[appsv1.Deployment](s, app+"-primary").Spec.Template.Spec.Containers[0].Image
}

func imageOf(d *appsv1.Deployment) string { return d.Spec.Template.Spec.Containers[0].Image }

// itemsOf are the objects of a list.
func itemsOf(list client.ObjectList) ([]client.Object, error) {
	var out []client.Object
	return out, meta.EachListItem(list, func(item runtime.Object) error {
		o, ok := item.(client.Object)
		if !ok {
			return fmt.Errorf("%T has no name", item)
		}
		out = append(out, o)
		return nil
	})
}

// readyGate is what the pods of gated wait for to be ready.
const readyGate = "example.com/well"

// gated has pods be ready as far as pods.limit allows.
func gated(d *appsv1.Deployment) {
	d.Spec.Template.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: readyGate}}
}

// pods decides which pods of a namespace are ready: of those with the gate.
type pods struct {
	stage *stage

	mu     sync.Mutex
	known  map[string]*corev1.Pod
	limits map[string]int  // by name of the application and image
	let    map[string]bool // by name of the pod: it was let be ready
	look   chan struct{}
}

func newPods(s *stage, api client.WithWatch) *pods {
	s.t.Helper()
	p := &pods{stage: s, known: map[string]*corev1.Pod{}, limits: map[string]int{}, let: map[string]bool{}, look: make(chan struct{}, 1)}
	w, err := api.Watch(s.t.Context(), &corev1.PodList{}, client.InNamespace(s.namespace))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		for e := range w.ResultChan() {
			if pod, ok := e.Object.(*corev1.Pod); ok {
				p.mu.Lock()
				set(p.known, pod, pod.DeletionTimestamp != nil)
				p.mu.Unlock()
				p.wake()
			}
		}
	})
	running.Go(func() {
		for {
			select {
			case <-p.look:
				p.sync(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
	s.t.Cleanup(func() { w.Stop(); cancel(); running.Wait() })
	return p
}

func (p *pods) wake() {
	select {
	case p.look <- struct{}{}:
	default: // it is about to look
	}
}

// limit has no more than n pods of an application with an image be ready from now on.
func (p *pods) limit(application, image string, n int) {
	p.mu.Lock()
	p.limits[application+" "+image] = n
	p.mu.Unlock()
	p.wake()
}

const unlimited = 1 << 20

func (p *pods) sync(ctx context.Context) {
	for name, ready := range p.wanted() {
		patch := fmt.Appendf(nil, `{"status": {"conditions": [{"type": %q, "status": %q}]}}`, readyGate, ready)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.stage.namespace, Name: name}}
		err := p.stage.api.Status().Patch(ctx, pod, client.RawPatch(types.StrategicMergePatchType, patch))
		if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
			p.stage.t.Errorf("pod %s: %v", name, err)
		}
	}
}

// wanted are the pods whose condition is not as it is to be.
func (p *pods) wanted() map[string]corev1.ConditionStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*corev1.Pod
	for _, pod := range p.known {
		if len(pod.Spec.ReadinessGates) > 0 {
			all = append(all, pod)
		}
	}
	// Those that were let be ready come first: a limit that allows one pod must not take that one's
	// readiness because another with a lesser name was created.
	slices.SortFunc(all, func(a, b *corev1.Pod) int {
		switch {
		case p.let[a.Name] && !p.let[b.Name]:
			return -1
		case p.let[b.Name] && !p.let[a.Name]:
			return 1
		default:
			return strings.Compare(a.Name, b.Name)
		}
	})
	ready := map[string]int{}
	out := map[string]corev1.ConditionStatus{}
	for _, pod := range all {
		group := groupOf(pod)
		want := corev1.ConditionFalse
		if n, limited := p.limits[group]; !limited || ready[group] < n {
			want = corev1.ConditionTrue
		}
		ready[group]++
		p.let[pod.Name] = want == corev1.ConditionTrue
		if conditionOf(pod) != want {
			out[pod.Name] = want
		}
	}
	return out
}

// groupOf is what limit goes by.
func groupOf(pod *corev1.Pod) string {
	application := pod.Labels["app"]
	if application == "" {
		application = pod.Labels["name"]
	}
	return application + " " + pod.Spec.Containers[0].Image
}

// ready is how many pods of an application with an image are ready.
func (p *pods) ready(application, image string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pod := range p.known {
		for _, c := range pod.Status.Conditions {
			if groupOf(pod) == application+" "+image && c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				n++
			}
		}
	}
	return n
}

func conditionOf(pod *corev1.Pod) corev1.ConditionStatus {
	for _, c := range pod.Status.Conditions {
		if c.Type == readyGate {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}
