package simulation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/providers"
)

// world is a cluster with an operator at work, its users, and what happens to them.
type world struct {
	*cluster
	plan     plan
	key      client.ObjectKey
	context  context.Context //nolint:containedctx // it is that of a whole world
	operator *process
	// former is an operator that has lost its lease and does not know it until a time.
	former      *process
	formerUntil time.Time
	asking      *process // who writes a route

	meshes  map[string]*mesh
	metrics *metricsServer
	oracle  *oracle
	began   time.Time

	// What the adversary does at present, each until a time.
	cacheLags   map[string]lag       // by kind
	refusals    map[string]time.Time // by kind
	meshDown    time.Time
	meshGone    time.Time
	meshAway    bool
	metricsDown time.Time
	gatesClosed time.Time
	hooksSlow   time.Time
	endpointLag time.Time
	// endedAt is when the last operator ended, by its own clock.
	endedAt     time.Time
	apiDown     time.Time
	disturbance *disturbance
	operatorAt  time.Time // when an operator that is down is back; zero while there is one
	offset      time.Duration

	due []later
	git git
	// policy is the release policy, nil where there is none.
	policy *ruled
	// fewest is the lowest number of pods that somebody has asked for.
	fewest int32
	// byHand is what somebody has scaled the primary to last, -1 where nobody has.
	byHand int32
	// asked is the number of pods that somebody has asked for in Git last, 0 where nobody has.
	asked  int32
	turns  int
	writes int
	log    []string // what happened, for people
	keep   bool     // keep the log
}

// slowEndpoints is how far behind endpoints are at most while they lag.
const slowEndpoints = 10 * time.Second

type lag struct {
	by    time.Duration
	until time.Time
}

// git is what the manifests say.
type git struct {
	heals    bool  // drift is reverted
	replicas int32 // 0: not in Git
	synced   time.Time
	target   *appsv1.Deployment // nil: it is not in Git any more
}

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	return scheme
}

var scheme = newScheme()

// newWorld sets a plan's cluster up. It is called in a bubble.
func newWorld(ctx context.Context, p plan) *world {
	c := newCluster(p, rand.New(rand.NewPCG(p.Seed, 1)))
	w := &world{
		cluster: c, plan: p, key: canaryKey, context: ctx, began: time.Now(), fewest: p.Pods, byHand: -1,
		cacheLags: map[string]lag{}, refusals: map[string]time.Time{},
	}
	w.oracle = newOracle(w)
	w.startup, w.shrinks = w.canStart, w.shrunk
	w.load = w.shareOf
	w.metrics = &metricsServer{w}
	w.meshes = map[string]*mesh{}
	for _, name := range []string{"one", "two"} {
		m := &mesh{
			name: name, routes: map[string]*route{}, last: map[string]providers.Traffic{},
			can: providers.Capabilities{Weighted: true, HeaderMatch: true, Mirror: true, SessionAffinity: true, TCP: true},
			lag: w.meshLag, err: w.meshError, asked: w.oracle.asked, changed: func() { w.oracle.probe() }, seen: w.wakeOperator,
		}
		w.meshes[name] = m
	}
	w.store.changed = w.oracle.changed
	w.makeConfigs()
	w.make(newTarget(p))
	if p.Coverage {
		w.make(newBudget("podinfo"))
	}
	if p.OwnApex {
		w.make(&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "podinfo"},
			Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "podinfo"}, Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{{
				Name: "http", Port: 9898, TargetPort: intstr.FromInt32(9898), Protocol: corev1.ProtocolTCP,
			}}},
		})
	}
	if p.HPA {
		w.make(newHPA(p))
	}
	w.make(newTemplate())
	w.make(newCanary(p))
	w.makePolicy()
	w.git = git{heals: p.GitOps, target: newTarget(p)}
	if p.ReplicasInGit {
		w.git.replicas = p.Pods
	}
	for range 10 { // on the clock of the bubble, which nobody waits for
		c.tick()
		time.Sleep(time.Second)
	}
	w.start(0)
	return w
}

func (w *world) make(o client.Object) {
	if err := w.create(o); err != nil && !apierrors.IsAlreadyExists(err) {
		panic(err)
	}
}

func (w *world) trace(format string, args ...any) {
	if !w.keep {
		return
	}
	c := w.canary()
	at := ""
	if c != nil {
		at = fmt.Sprintf("%s/%d", c.Status.Phase, c.Status.CanaryWeight)
	}
	w.log = append(w.log, fmt.Sprintf("%7.2fs %-16s %s", time.Since(w.began).Seconds(), at, fmt.Sprintf(format, args...)))
}

// canStart tells whether a pod that starts now will ever be ready.
func (w *world) canStart(image string, primary bool) bool {
	switch {
	case strings.Contains(image, "never"), primary && strings.Contains(image, "broken"):
		return false
	case primary && strings.Contains(image, "limping"):
		n := int32(0)
		for _, p := range w.pods {
			if p.image == image && strings.HasSuffix(p.labels["app"], "-primary") && !p.ending() {
				n++
			}
		}
		return n < w.plan.Pods-1
	default:
		return true
	}
}

// shrunk is called when an autoscaler is about to take pods. While nobody may write its lower bound, and pods of two revisions are there, it
// may take those that serve.
func (w *world) shrunk(d *appsv1.Deployment) {
	if time.Now().Before(w.refusals["HorizontalPodAutoscaler"].Add(retry)) && w.mixed(d) {
		w.oracle.robbed()
	}
}

// canary is the Canary as the API server has it, nil if it is gone.
func (w *world) canary() *v1beta1.Canary { return get[*v1beta1.Canary](w.store, "Canary", w.key.Name) }

func (w *world) deployment(name string) *appsv1.Deployment {
	return get[*appsv1.Deployment](w.store, "Deployment", name)
}

// step lets time, which is that of the bubble and takes none, pass until something is due, a second at most, and has everybody act.
func (w *world) step() {
	after := time.Second
	for _, p := range w.processes() {
		if !p.wakeAt.IsZero() && !time.Now().Before(p.suspended) {
			after = min(after, max(time.Until(p.wakeAt), time.Millisecond))
		}
	}
	time.Sleep(after)
	synctest.Wait()
	w.act(after)
	for _, p := range w.processes() {
		if time.Now().Before(p.suspended) {
			continue
		}
		if p.views.advance() {
			w.wakes(p)
		}
		if p.finished() {
			p.wake(0)
		}
		p.reads(w)
		if !p.wakeAt.IsZero() && !p.wakeAt.After(time.Now()) {
			w.reconcile(p)
		}
		switch {
		case p == w.former && (p.dead || !w.formerUntil.After(time.Now())):
			w.trace("the former operator stops")
			w.end(p)
			w.former = nil
		case p.dead && p == w.operator:
			w.trace("the operator stops")
			w.stop()
			if w.operatorAt.IsZero() {
				w.operatorAt = time.Now().Add(time.Second)
			}
		}
	}
	w.oracle.probe()
}

// processes are the operators that are at work, the former first.
func (w *world) processes() []*process {
	return slices.DeleteFunc([]*process{w.former, w.operator}, func(p *process) bool { return p == nil })
}

// act has everybody but the operator act.
func (w *world) act(passed time.Duration) {
	now := time.Now()
	w.endpointsLag = time.Second
	if now.Before(w.endpointLag) {
		w.endpointsLag = slowEndpoints
	}
	w.tick()
	w.flap()
	for _, name := range slices.Sorted(maps.Keys(w.meshes)) {
		w.meshes[name].tick()
	}
	w.syncGit()
	w.policy.tick()
	if away := w.meshError() != nil; w.meshAway != away {
		w.meshAway = away
		w.wakeOperator()
	}
	if !w.operatorAt.IsZero() && !w.operatorAt.After(now) {
		w.operatorAt = time.Time{}
		w.start(w.offset)
		w.trace("the operator starts, its clock is off by %s", w.offset)
	}
	w.oracle.pass(passed)
	w.policy.forgotten(passed)
}

// syncGit is the GitOps tool.
func (w *world) syncGit() {
	if !w.git.heals || time.Since(w.git.synced) < 20*time.Second {
		return
	}
	w.git.synced = time.Now()
	if w.git.target == nil {
		return
	}
	d := w.deployment(w.git.target.Name)
	if d == nil {
		w.make(w.git.target.DeepCopy())
		return
	}
	if n := w.git.replicas; n > 0 && *d.Spec.Replicas != n && !w.plan.HPA {
		w.trace("git: replicas of the target from %d to %d", *d.Spec.Replicas, n)
		edit(w.store, "Deployment", d.Name, func(d *appsv1.Deployment) { d.Spec.Replicas = &n })
	}
}

// wakeOperator brings a turn, as an event does.
func (w *world) wakeOperator() {
	for _, p := range w.processes() {
		w.wakes(p)
	}
}

func (w *world) wakes(p *process) {
	p.wake(time.Duration(w.rand.Int64N(int64(200 * time.Millisecond))))
}

func (w *world) cacheLag(kind string) time.Duration {
	if time.Now().Before(w.apiDown) {
		return time.Hour // watches say nothing
	}
	if l, ok := w.cacheLags[kind]; ok && time.Now().Before(l.until) {
		return l.by
	}
	return w.plan.CacheLag
}

func (w *world) meshLag() (show, act time.Duration) {
	show = time.Duration(w.rand.Int64N(int64(w.plan.MeshLag) + 1))
	return show, show + time.Duration(w.rand.Int64N(int64(2*time.Second)))
}

func (w *world) meshError() error {
	switch now := time.Now(); {
	case now.Before(w.meshGone):
		return providers.ErrNotInstalled
	case now.Before(w.meshDown):
		return &providers.UnreachableError{System: "the mesh", Err: errors.New("connection refused")}
	default:
		return nil
	}
}

// refused is what admission webhooks say to a write of the operator.
func (w *world) refused(verb string, of id) error {
	kind := of.kind
	if verb == "status" {
		kind += "/status"
	}
	if until, ok := w.refusals[kind]; ok && time.Now().Before(until) {
		return apierrors.NewForbidden(resource(of), of.name, errors.New("admission webhook \"policy.example\" denied the request"))
	}
	return nil
}

// metricsServer answers queries by what the canary's users get.
type metricsServer struct{ w *world }

// Query implements metrics.Provider.
func (m *metricsServer) Query(context.Context, metrics.Query) (metrics.Sample, error) {
	w := m.w
	if time.Now().Before(w.metricsDown) {
		return metrics.Sample{}, &metrics.UnavailableError{Provider: "metrics", Err: errors.New("connection refused")}
	}
	c := w.canary()
	if c == nil {
		return metrics.Sample{}, metrics.ErrNoData
	}
	apex, _, name := c.ServiceNames()
	images := map[string]bool{}
	for _, p := range w.endpoints[name] {
		if p.serves(time.Now()) {
			images[p.image] = true
		}
	}
	traffic, since := w.effective(apex)
	users := traffic.Canary > 0 || traffic.Mirror > 0
	if c.GetAnalysis().Strategy() == v1beta1.StrategyWeighted && !users || len(images) == 0 {
		return metrics.Sample{}, metrics.ErrNoData
	}
	value := 100.0
	for image := range images {
		if strings.Contains(image, "bad") {
			value = 50
		}
	}
	w.oracle.measured(images, value > 99, traffic, since)
	return metrics.Sample{Value: value}, nil
}

// requestsPerSecond are those that users make while they are counted.
const requestsPerSecond = 1000

// counts counts the requests of one version, or those of them that fail: half of a bad canary's, and no others.
type counts struct {
	w           *world
	canary, bad bool
}

// Query implements metrics.Provider.
func (x counts) Query(_ context.Context, q metrics.Query) (metrics.Sample, error) {
	w := x.w
	if time.Now().Before(w.metricsDown) {
		return metrics.Sample{}, &metrics.UnavailableError{Provider: "metrics", Err: errors.New("connection refused")}
	}
	c := w.canary()
	if c == nil {
		return metrics.Sample{}, metrics.ErrNoData
	}
	apex, primary, canary := c.ServiceNames()
	traffic, since := w.effective(apex)
	name, share := primary, unmatched(traffic, false)
	if x.canary {
		// Copies are counted like any other request.
		name, share = canary, unmatched(traffic, true)+traffic.Mirror*share/100
	}
	images := map[string]bool{}
	for _, p := range w.endpoints[name] {
		if p.serves(time.Now()) {
			images[p.image] = true
		}
	}
	if len(images) == 0 || share == 0 {
		return metrics.Sample{}, metrics.ErrNoData
	}
	n, failing := float64(share)/100*requestsPerSecond*q.Interval.Seconds(), false
	for image := range images {
		failing = failing || strings.Contains(image, "bad")
	}
	if x.bad {
		n /= 2
	}
	if x.bad && !failing {
		n = 0
	}
	if x.canary && x.bad {
		w.oracle.measured(images, !failing, traffic, since)
	}
	return metrics.Sample{Value: n}, nil
}

// hook answers a call of a hook.
func (w *world) hook(ctx context.Context, by *process, c *v1beta1.Canary, hook v1beta1.CanaryWebhook, id, revision string) (string, error) {
	if time.Now().Before(w.hooksSlow) {
		select {
		case <-time.After(45 * time.Second):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	kind := hook.GetType()
	gate := kind == v1beta1.ConfirmRolloutHook || kind == v1beta1.ConfirmPromotionHook || kind == v1beta1.ConfirmTrafficIncreaseHook
	if kind == v1beta1.RollbackHook || gate && time.Now().Before(w.gatesClosed) {
		return "403", errors.New("403")
	}
	if !gate {
		w.oracle.called(by, c, hook, id, revision)
	}
	return "200", nil
}

// effective is what proxies do with the requests to an apex, and since when.
func (w *world) effective(apex string) (providers.Traffic, time.Time) {
	for _, name := range slices.Sorted(maps.Keys(w.meshes)) {
		if r := w.meshes[name].routes[apex]; r != nil && r.acting {
			return r.effective, r.since
		}
	}
	return providers.Traffic{Primary: 100}, w.began
}

// shareOf is the share of requests that a workload has.
func (w *world) shareOf(name string) float64 {
	c := w.canary()
	if c == nil {
		return 1
	}
	apex, _, _ := c.ServiceNames()
	t, _ := w.effective(apex)
	share := float64(t.Canary) / 100
	if t.Matched {
		share /= 10
	}
	if name == c.PrimaryName() {
		return 1 - share
	}
	return share
}

func newTarget(p plan) *appsv1.Deployment {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: namespace},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(p.Pods), MinReadySeconds: p.MinReady,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "podinfo"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "podinfo"}},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "podinfod", Image: "app:good-0", Ports: []corev1.ContainerPort{{
					Name: "http", ContainerPort: 9898, Protocol: corev1.ProtocolTCP,
				}}}}},
			},
		},
	}
	if p.Configs {
		mount(&d.Spec.Template)
	}
	switch p.Strategy {
	case "recreate":
		d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
	case "no surge":
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
			MaxSurge: new(intstr.FromInt32(0)), MaxUnavailable: new(intstr.FromString("25%")),
		}}
	}
	return d
}

func newHPA(p plan) *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "podinfo"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
			MinReplicas:    new(int32(1)), MaxReplicas: 2 * p.Pods,
		},
	}
}

func newTemplate() *v1beta1.MetricTemplate {
	return &v1beta1.MetricTemplate{ObjectMeta: metav1.ObjectMeta{Name: "slo"}, Spec: v1beta1.MetricTemplateSpec{Query: "slo"}}
}

func newCanary(p plan) *v1beta1.Canary {
	a := &v1beta1.CanaryAnalysis{
		Interval: "10s", Threshold: 2,
		Metrics: []v1beta1.CanaryMetric{{Name: "slo", TemplateRef: &v1beta1.CrossNamespaceObjectReference{Name: "slo"}, ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(99.0)}}},
	}
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: namespace},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
			Service:   v1beta1.CanaryService{Port: 9898}, Analysis: a, ProgressDeadlineSeconds: new(int32(60)),
		},
	}
	switch p.Analysis {
	case "blue/green":
		a.Iterations = 2
	case "a/b":
		a.Iterations, a.Match = 2, []v1beta1.RawObject{{Raw: []byte(`{"headers":{"x":{"exact":"y"}}}`)}}
	case "kubernetes":
		a.Iterations, c.Spec.Provider = 2, v1beta1.ProviderKubernetes
	case "mirror":
		a.StepWeights, a.Mirror = []int32{50}, true
	case "sessions":
		a.StepWeights, a.SessionAffinity = []int32{30, 60}, &v1beta1.SessionAffinity{CookieName: "c"}
	case "steps back":
		a.StepWeights, a.StepWeightPromotion = []int32{20, 60}, 50
	default:
		a.StepWeights = []int32{20, 50}
	}
	if p.Compare != "" && a.Comparable() {
		a.Metrics[0].Comparison, a.Judgement = &v1beta1.MetricComparison{}, &v1beta1.CanaryJudgement{MaxDuration: "2m", StepEarly: p.Early && a.Iterations == 0}
		if a.Judgement.StepEarly {
			a.Interval = "40s" // there are two looks in it
		}
		if p.Compare == "alone" {
			a.Metrics[0].ThresholdRange = nil
		}
	}
	for _, kind := range p.Hooks {
		a.Webhooks = append(a.Webhooks, v1beta1.CanaryWebhook{Type: v1beta1.HookType(kind), Name: kind, URL: "http://hooks.test/" + kind, Timeout: "60s"})
	}
	if p.Coverage {
		c.Spec.Coverage = &v1beta1.CoverageSpec{Mode: v1beta1.CoverageCopy}
	}
	if p.HPA {
		c.Spec.AutoscalerRef = &v1beta1.AutoscalerReference{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler", Name: "podinfo"}
	}
	return c
}
