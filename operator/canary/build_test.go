package canary

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/operator/actions"
	"github.com/sluice-delivery/sluice/operator/autoscaling"
	"github.com/sluice-delivery/sluice/operator/checks"
	"github.com/sluice-delivery/sluice/operator/configs"
	"github.com/sluice-delivery/sluice/operator/coverage"
	"github.com/sluice-delivery/sluice/operator/memory"
	"github.com/sluice-delivery/sluice/operator/primaries"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/routes"
	"github.com/sluice-delivery/sluice/operator/services"
	"github.com/sluice-delivery/sluice/operator/targets"
	"github.com/sluice-delivery/sluice/operator/telemetry"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/fake"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// patience is how long a test waits for what happens beside it.
const patience = 20 * time.Second

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// scene is a cluster with a Reconciler that is driven by hand. The server is
// fake, time stands still, and Deployments get their pods when a test says so.
type scene struct {
	t          *testing.T
	api        client.WithWatch // the server itself; the Reconciler's way there is watched
	reconciler *Reconciler
	router     *fake.Router
	clock      *clocktesting.FakePassiveClock
	recorder   *events.FakeRecorder
	provider   *fakeProvider
	checker    *sceneChecker

	// What the server does with writes.
	statusError error                   // to writes of the status
	applyError  func(kind string) error // to server-side apply
	cached      *v1beta1.Canary         // what the cache shows in place of the Canary
	patchError  error                   // to patches of the status
	// patchRefused answers patches of anything else.
	patchRefused func(o client.Object) error
	writes       []string // every write that was tried

	staleActions []v1alpha1.CanaryAction // what the cache shows in place of the CanaryActions
	uncached     string                  // name of what the cache does not show

	keda         bool // ScaledObjects are served
	reports      bool // what selects pods is looked at
	copies       bool // copies of it are allowed
	endpointsLag bool // pods come up and do not become endpoints

	canary client.ObjectKey
}

// newScene has the objects in its cluster; the first Canary is the one that is
// reconciled.
func newScene(t *testing.T, objects ...client.Object) *scene {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme, v1alpha1.AddToScheme, knative.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	registerScaledObjects(scheme)
	s := &scene{
		t:        t,
		router:   &fake.Router{},
		clock:    clocktesting.NewFakePassiveClock(start),
		recorder: events.NewFakeRecorder(1000),
		provider: &fakeProvider{},
	}
	s.canary = client.ObjectKeyFromObject(objects[slices.IndexFunc(objects, func(o client.Object) bool {
		_, ok := o.(*v1beta1.Canary)
		return ok
	})])
	b := fakeclient.NewClientBuilder().WithScheme(scheme).
		WithObjects(objects...).
		WithStatusSubresource(&v1beta1.Canary{}, &v1alpha1.CanaryAction{}, &appsv1.Deployment{}).
		WithIndex(&policyv1.PodDisruptionBudget{}, coverage.ReachIndex, func(o client.Object) []string { return []string{o.GetNamespace()} })
	for _, x := range slices.Concat(wake.Indexes(), services.Indexes(), checks.Indexes(), configs.Indexes(), autoscaling.Indexes(), actions.Indexes(), coverage.Indexes()) {
		b.WithIndex(x.Of, x.Name, x.Values)
	}
	s.api = b.Build()
	watched := interceptor.NewClient(s.api, interceptor.Funcs{Get: s.get, List: s.list, Apply: s.apply, Patch: s.patch, SubResourceUpdate: s.updateStatus, SubResourcePatch: s.patchStatus})
	rollouts := telemetry.NewRollouts(prometheus.NewRegistry(), s.clock, "test", "fake")
	answers := servers(func(string) (metrics.Provider, error) { return s.provider, nil })
	s.checker = &sceneChecker{Checker: checks.New(checks.Config{
		Sources:      answers,
		MeshProvider: "istio",
		Concurrency:  4,
		Clock:        s.clock,
		Telemetry:    rollouts,
	})}
	s.reconciler = &Reconciler{
		Client:  watched,
		Applier: ssa.New(watched),
		Router: func(name string) (providers.Router, error) {
			if name != "fake" {
				return nil, &providers.UnknownRouterError{Name: name, Known: []string{"fake"}}
			}
			return s.router, nil
		},
		Checker:   s.checker,
		Metrics:   &checks.Needs{Sources: answers, Reader: watched},
		Canaries:  wake.NewCanaries(watched),
		Signals:   wake.NewSignals(),
		Recorder:  s.recorder,
		Telemetry: rollouts,
		Clock:     s.clock,
		Options:   workload.Options{SelectorLabels: []string{"app"}},
		Provider:  "fake",

		RouteApplier: ssa.New(watched),
	}
	s.wire()
	return s
}

// wire has new parts, which know nothing, with the clients and settings that the Reconciler
// has.
func (s *scene) wire() {
	r := s.reconciler
	r.Targets = &targets.Targets{Client: r.Client, Live: s.api, Applier: r.Applier}
	r.Primaries = &primaries.Primaries{Client: r.Client, Live: s.api, Applier: r.Applier, Options: r.Options, Workloads: r.Targets}
	r.Autoscalers = &autoscaling.Autoscalers{Client: r.Client, Applier: r.Applier, Options: r.Options}
	r.Services = &services.Services{Client: r.Client, Applier: r.Applier, Options: r.Options}
	s.cover()
	r.Configs = configs.New(configs.Config{Off: true})
	r.Actions = &actions.Actions{Client: r.Client, Live: s.api, Clock: r.Clock, Checks: s.checker}
	r.Actions.Served()
	r.Routes = &routes.Routes{Client: r.Client, Provider: r.Provider}
	if s.keda {
		r.Autoscalers.ScaledObjectsServed()
	}
}

// cover has what selects pods looked at as the test says.
func (s *scene) cover() {
	r := s.reconciler
	r.Coverage = &coverage.Keeper{
		Reports: s.reports, Copies: s.copies, RootNamespace: "istio-system",
		Client: r.Client, Reader: s.api, Applier: r.Applier, Options: r.Options,
	}
}

func (s *scene) serveKEDA() {
	s.keda = true
	s.wire()
}

// restartProcess has another process go on, which knows nothing.
func (s *scene) restartProcess() {
	s.reconciler.failures, s.reconciler.turns = memory.Memory[trouble]{}, wake.Turns{}
	s.wire()
}

// newTracker tracks configs with a client that has a cache, and one that has none.
func (s *scene) newTracker(cached client.Client, live client.Reader) *configs.Tracker {
	return configs.New(configs.Config{Client: cached, Live: live, Applier: s.reconciler.Applier, Options: s.reconciler.Options, Clock: s.clock})
}

func (s *scene) get(ctx context.Context, c client.WithWatch, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	if canary, ok := into.(*v1beta1.Canary); ok && s.cached != nil {
		s.cached.DeepCopyInto(canary)
		return nil
	}
	if s.uncached != "" && key.Name == s.uncached {
		return apierrors.NewNotFound(corev1.Resource("things"), key.Name)
	}
	return c.Get(ctx, key, into, opts...)
}

func (s *scene) list(ctx context.Context, c client.WithWatch, into client.ObjectList, opts ...client.ListOption) error {
	if actions, ok := into.(*v1alpha1.CanaryActionList); ok && s.staleActions != nil {
		actions.Items = slices.Clone(s.staleActions)
		return nil
	}
	return c.List(ctx, into, opts...)
}

func (s *scene) apply(ctx context.Context, c client.WithWatch, intent runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	o, ok := intent.(interface {
		GetKind() string
		GetName() string
		GetResourceVersion() string
	})
	if !ok {
		return errors.New("apply of something without name")
	}
	s.writes = append(s.writes, "apply "+o.GetKind()+" "+o.GetName())
	if s.applyError != nil {
		if err := s.applyError(o.GetKind()); err != nil {
			return err
		}
	}
	before := &appsv1.Deployment{}
	if o.GetKind() == "Deployment" {
		if err := c.Get(ctx, client.ObjectKey{Namespace: s.canary.Namespace, Name: o.GetName()}, before); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	// The fake server does not look at the version.
	if version := o.GetResourceVersion(); version != "" && o.GetKind() == "Deployment" && version != before.ResourceVersion {
		return apierrors.NewConflict(appsv1.Resource("deployments"), o.GetName(), errors.New("it has changed"))
	}
	if err := c.Apply(ctx, intent, opts...); err != nil || o.GetKind() != "Deployment" {
		return err
	}
	return s.bump(ctx, c, o.GetName(), before)
}

// bump counts the generation of a Deployment as the API server does.
func (s *scene) bump(ctx context.Context, c client.Client, name string, before *appsv1.Deployment) error {
	after := &appsv1.Deployment{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: s.canary.Namespace, Name: name}, after); err != nil {
		return err
	}
	if after.Spec.Selector == nil {
		after.Spec.Selector = before.Spec.Selector // the fake server loses an atomic field that has no owner
	}
	if equality.Semantic.DeepEqual(before.Spec, after.Spec) {
		return nil
	}
	after.Generation = before.Generation + 1
	return c.Update(ctx, after)
}

func (s *scene) patch(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
	s.writes = append(s.writes, "patch "+o.GetName())
	if s.patchRefused != nil {
		if err := s.patchRefused(o); err != nil {
			return err
		}
	}
	return c.Patch(ctx, o, patch, opts...)
}

func (s *scene) updateStatus(ctx context.Context, c client.Client, _ string, o client.Object, opts ...client.SubResourceUpdateOption) error {
	s.writes = append(s.writes, "status "+o.GetName())
	if s.statusError != nil {
		return s.statusError
	}
	return c.Status().Update(ctx, o, opts...)
}

func (s *scene) patchStatus(ctx context.Context, c client.Client, _ string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
	s.writes = append(s.writes, "patch status "+o.GetName())
	if s.patchError != nil {
		return s.patchError
	}
	return c.Status().Patch(ctx, o, patch, opts...)
}

// worldWrites are the writes to anything but the Canary.
func (s *scene) worldWrites() []string {
	return slices.DeleteFunc(slices.Clone(s.writes), func(w string) bool { return !strings.HasPrefix(w, "apply ") })
}

// turn is one call of Reconcile. What could not be applied is an error here.
func (s *scene) turn() (ctrl.Result, error) {
	result, err := s.reconciler.Reconcile(s.t.Context(), ctrl.Request{NamespacedName: s.canary})
	c := &v1beta1.Canary{}
	if err != nil || s.api.Get(s.t.Context(), s.canary, c) != nil {
		return result, err
	}
	var failed []error
	last, _ := s.reconciler.failures.Get(c)
	for _, f := range last.failures {
		failed = append(failed, errors.New(f.Object+": "+f.Message))
	}
	return result, errors.Join(failed...)
}

func (s *scene) mustTurn() ctrl.Result {
	s.t.Helper()
	result, err := s.turn()
	if err != nil {
		s.t.Fatal(err)
	}
	return result
}

// settle takes turns, with pods as asked for, until nothing is written any
// more. Time stands still. It returns the last turn's result.
func (s *scene) settle() ctrl.Result {
	s.t.Helper()
	for range 50 {
		before := len(s.writes) + s.router.Writes()
		result := s.mustTurn()
		checked := s.awaitChecks()
		changed := s.rollOut()
		if len(s.writes)+s.router.Writes() == before && !changed && !checked {
			return result
		}
	}
	s.t.Fatalf("the turns come to no end: %v", s.writes[len(s.writes)-20:])
	return ctrl.Result{}
}

// wait lets as much time pass as the last turn asked for.
func (s *scene) wait(result ctrl.Result) {
	s.t.Helper()
	if result.RequeueAfter <= 0 {
		s.t.Fatalf("nothing to wait for in phase %s", s.now().Status.Phase)
	}
	s.clock.SetTime(s.clock.Now().Add(result.RequeueAfter))
}

// awaitChecks waits for the end of a round of checks, if a turn began one since it was
// called last.
func (s *scene) awaitChecks() (began bool) {
	s.t.Helper()
	began, underWay := s.checker.began, s.checker.underWay
	s.checker.began, s.checker.underWay = false, false
	if underWay {
		awaitFinished(s.t, s.checker)
	}
	return began
}

// sceneChecker is a Checker that knows whether a round is under way.
type sceneChecker struct {
	*checks.Checker

	began, underWay bool
}

// Run notes the beginning of a round.
func (k *sceneChecker) Run(ctx context.Context, c *v1beta1.Canary, id release.CheckID, seen *release.CheckRun) {
	if id.Hooks == "" {
		k.began, k.underWay = true, true
	}
	k.Checker.Run(ctx, c, id, seen)
}

// RunPromptly notes the beginning of a round, and its end if that comes at once.
func (k *sceneChecker) RunPromptly(ctx context.Context, c *v1beta1.Canary, id release.CheckID, seen *release.CheckRun) *release.CheckRun {
	run := k.Checker.RunPromptly(ctx, c, id, seen)
	k.began, k.underWay = true, run == nil
	return run
}

func awaitFinished(t *testing.T, k Checker) client.Object {
	t.Helper()
	select {
	case e := <-k.Finished():
		return e.Object
	case <-time.After(patience):
		t.Fatal("the checks don't come to an end")
		return nil
	}
}

// servers are metrics servers by their addresses. They have no templates.
type servers func(address string) (metrics.Provider, error)

func (s servers) Server(ctx context.Context, c *v1beta1.Canary) (metrics.Provider, error) {
	return s(s.Place(ctx, c, v1beta1.CanaryMetric{}))
}

func (s servers) Template(context.Context, *v1beta1.Canary, v1beta1.CanaryMetric) (metrics.Provider, metrics.Query, error) {
	return nil, metrics.Query{}, errors.New("there are no templates here")
}

func (s servers) Count(context.Context, *v1beta1.Canary, v1beta1.CanaryMetric, string, bool, string) (metrics.Provider, metrics.Query, error) {
	return nil, metrics.Query{}, errors.New("there are no templates here")
}

func (s servers) Place(_ context.Context, c *v1beta1.Canary, _ v1beta1.CanaryMetric) string {
	if c.Spec.MetricsServer != "" {
		return c.Spec.MetricsServer
	}
	return "http://default:9090"
}

// rollOut plays the controllers of Deployments and endpoints: every Deployment
// gets the pods that it asks for, and they become endpoints. It returns whether
// anything changed.
func (s *scene) rollOut() bool {
	s.t.Helper()
	var list appsv1.DeploymentList
	if err := s.api.List(s.t.Context(), &list); err != nil {
		s.t.Fatal(err)
	}
	changed := false
	for i := range list.Items {
		d := &list.Items[i]
		n := workload.Replicas(d)
		want := appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, AvailableReplicas: n}
		if equality.Semantic.DeepEqual(want, d.Status) {
			continue
		}
		d.Status, changed = want, true
		if err := s.api.Status().Update(s.t.Context(), d); err != nil {
			s.t.Fatal(err)
		}
	}
	if s.endpointsLag {
		return changed
	}
	return s.publish() || changed
}

// publish plays the endpoints controller: every Service that the mesh divides
// traffic between leads to the available pods of its workload. It returns
// whether anything changed.
func (s *scene) publish() bool {
	s.t.Helper()
	var list corev1.ServiceList
	if err := s.api.List(s.t.Context(), &list, client.HasLabels{workload.BackendLabel}); err != nil {
		s.t.Fatal(err)
	}
	changed := false
	for i := range list.Items {
		svc := &list.Items[i]
		want := discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: svc.Namespace, Name: svc.Name,
				Labels: map[string]string{discoveryv1.LabelServiceName: svc.Name, workload.BackendLabel: svc.Labels[workload.BackendLabel]},
			},
			AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints:   make([]discoveryv1.Endpoint, s.available(svc.Spec.Selector)),
		}
		live := &discoveryv1.EndpointSlice{}
		err := s.api.Get(s.t.Context(), client.ObjectKeyFromObject(svc), live)
		switch {
		case apierrors.IsNotFound(err):
			err = s.api.Create(s.t.Context(), &want)
			changed = true
		case err == nil && len(live.Endpoints) != len(want.Endpoints):
			live.Endpoints = want.Endpoints
			err = s.api.Update(s.t.Context(), live)
			changed = true
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	return changed
}

// available is how many pods there are that a Service selects.
func (s *scene) available(selector map[string]string) int32 {
	s.t.Helper()
	var list appsv1.DeploymentList
	if err := s.api.List(s.t.Context(), &list, client.InNamespace(s.canary.Namespace)); err != nil {
		s.t.Fatal(err)
	}
	n := int32(0)
	for i := range list.Items {
		if d := &list.Items[i]; labels.SelectorFromSet(selector).Matches(labels.Set(d.Spec.Template.Labels)) {
			n += d.Status.AvailableReplicas
		}
	}
	return n
}

// now is the Canary as the server has it; an empty one if it is gone.
func (s *scene) now() *v1beta1.Canary {
	s.t.Helper()
	c := &v1beta1.Canary{}
	if err := s.api.Get(s.t.Context(), s.canary, c); client.IgnoreNotFound(err) != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *scene) gone() bool {
	return apierrors.IsNotFound(s.api.Get(s.t.Context(), s.canary, &v1beta1.Canary{}))
}

func (s *scene) deployment(name string) *appsv1.Deployment {
	s.t.Helper()
	d := &appsv1.Deployment{}
	if err := s.api.Get(s.t.Context(), client.ObjectKey{Namespace: s.canary.Namespace, Name: name}, d); err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *scene) service(name string) *corev1.Service {
	s.t.Helper()
	svc := &corev1.Service{}
	if err := s.api.Get(s.t.Context(), client.ObjectKey{Namespace: s.canary.Namespace, Name: name}, svc); err != nil {
		s.t.Fatal(err)
	}
	return svc
}

// edit changes an object as its user would.
func edit[T client.Object](s *scene, o T, change func(T)) {
	s.t.Helper()
	change(o)
	o.SetGeneration(o.GetGeneration() + 1)
	if err := s.api.Update(s.t.Context(), o); err != nil {
		s.t.Fatal(err)
	}
}

// delete has the server mark the Canary as deleted.
func (s *scene) delete() {
	s.t.Helper()
	if err := s.api.Delete(s.t.Context(), s.now()); err != nil {
		s.t.Fatal(err)
	}
}

// release sets another image of the target.
func (s *scene) release(image string) {
	s.t.Helper()
	edit(s, s.deployment("podinfo"), func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image })
}

// sent drains the events: type, reason and message.
func (s *scene) sent() []string {
	var out []string
	for {
		select {
		case e := <-s.recorder.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}

// reasons are the types and reasons of events.
func reasons(sent []string) []string {
	out := make([]string, len(sent))
	for i, e := range sent {
		out[i] = strings.Join(strings.SplitN(e, " ", 3)[:2], " ")
	}
	return out
}

// condition is status and reason of a condition, "" if there is none.
func (s *scene) condition(kind v1beta1.CanaryConditionType) string {
	s.t.Helper()
	status := s.now().Status
	c := status.GetCondition(kind)
	if c == nil {
		return ""
	}
	return string(c.Status) + " " + c.Reason
}

// fakeProvider answers queries with a value, or as its function does.
type fakeProvider struct {
	mu     sync.Mutex
	answer func(ctx context.Context, q metrics.Query) (metrics.Sample, error)
	asked  int
}

func (p *fakeProvider) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	p.mu.Lock()
	p.asked++
	answer := p.answer
	p.mu.Unlock()
	if answer == nil {
		return metrics.Sample{Value: 100}, nil
	}
	return answer(ctx, q)
}

// value makes every answer this number.
func (p *fakeProvider) value(v float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = func(context.Context, metrics.Query) (metrics.Sample, error) { return metrics.Sample{Value: v}, nil }
}

func (p *fakeProvider) calls() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// canaryOf builds a Canary of Deployment podinfo: weights 20 and 40 at 10 s,
// one check, threshold 2.
type canaryOf struct{ *v1beta1.Canary }

func newCanary(name string) canaryOf {
	return canaryOf{&v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "test", Name: name, UID: types.UID("uid-of-" + name), Generation: 1,
			CreationTimestamp: metav1.NewTime(start.Add(-time.Hour)),
		},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
			Service:   v1beta1.CanaryService{Port: 9898},
			Analysis: &v1beta1.CanaryAnalysis{
				Interval: "10s", Threshold: 2, StepWeights: []int32{20, 40},
				Metrics: []v1beta1.CanaryMetric{{Name: "health", Query: "health", ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(99.0)}}},
			},
		},
	}}
}

func (c canaryOf) bornAfter(d time.Duration) canaryOf {
	c.CreationTimestamp = metav1.NewTime(c.CreationTimestamp.Add(d))
	return c
}

func (c canaryOf) with(change func(*v1beta1.CanarySpec)) canaryOf {
	change(&c.Spec)
	return c
}

func newTarget() *appsv1.Deployment {
	labels := map[string]string{"app": "podinfo"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "uid-of-target", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "podinfod", Image: "podinfo:1"}}},
			},
		},
	}
}

// formerOwner is the owner reference that versions before the mark wrote, and Flagger.
func formerOwner(c *v1beta1.Canary) metav1.OwnerReference {
	return *metav1.NewControllerRef(c, v1beta1.GroupVersion.WithKind(v1beta1.CanaryKind))
}
