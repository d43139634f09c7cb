// Package switching changes the operator of applications in the middle of what it does, from Flagger to this one and back,
// in each phase that a Canary can be in: with Flagger's own program, a real Kubernetes API, a real Istio and real requests.
//
// Each change has a namespace and two operators of its own, so that all happen at the same time.
package switching

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

func TestMain(m *testing.M) {
	// They wait, and do not work, for most of their time.
	if err := flag.Set("test.parallel", "20"); err != nil {
		panic(err)
	}
	cluster.Main(m)
}

// rate is how many requests a second each application gets that is switched.
const rate = 200

const (
	oldVersion = "6.0.0"
	newVersion = "6.0.1"
)

// limit is how long anything may take. Flagger does one thing in 10 s, and on a machine that others use, too, one in a minute.
const limit = 5 * time.Minute

// startRig brings up a cluster that ends with the test.
func startRig(t *testing.T) *rig.Rig {
	t.Helper()
	r, err := rig.Start(t.Context(), "", os.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// site is podinfo in a namespace of its own, with those who call it.
type site struct {
	*rig.Rig

	t       *testing.T
	rate    int64 // of requests in a second
	gate    *rig.Gate
	hooks   *hooks
	route   func() // lets the route be written again
	client  *cluster.Client
	history *rig.History
	// byFlagger: it is Flagger that is at work.
	byFlagger bool
}

func newSite(t *testing.T, r *rig.Rig, namespace string) *site {
	t.Helper()
	s := &site{Rig: r.In(namespace), t: t, rate: rate}
	ctx, cancel := context.WithCancel(t.Context())
	s.gate = s.KeepGate(ctx)
	t.Cleanup(func() {
		cancel()
		s.gate.Wait()
		if t.Failed() {
			s.tell()
		}
	})
	s.hooks = newHooks(s)
	s.must(s.DeployPodinfo(ctx, gated))
	history, err := s.Watch(t.Context())
	s.must(err)
	s.history = history
	return s
}

// call begins to call the application, unless that has been done.
func (s *site) call() {
	s.t.Helper()
	if s.client != nil {
		return
	}
	client, err := s.StartClient(s.t.Context(), cluster.ClientOptions{
		Target: rig.Name + "." + s.Namespace + ".svc.cluster.local:9999", Namespace: s.Namespace, Name: "caller", Rate: float64(s.rate),
	})
	s.must(err)
	s.t.Cleanup(client.Stop)
	s.client = client
	s.awaitMore(s.rate)
}

// gated has pods be ready as far as the gate lets them.
func gated(u *unstructured.Unstructured) {
	if u.GetKind() == "Deployment" {
		gates := []any{map[string]any{"conditionType": string(rig.GateType)}}
		if err := unstructured.SetNestedSlice(u.Object, gates, "spec", "template", "spec", "readinessGates"); err != nil {
			panic(err)
		}
	}
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// await asks again and again, and not too often: there are many sites.
func (s *site) await(what string, check func(context.Context) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("%s: not within %s: %v", what, limit, err)
		}
	}
}

func (s *site) awaitPhase(phase v1beta1.CanaryPhase) {
	s.t.Helper()
	s.await("phase "+string(phase), func(ctx context.Context) error {
		c, err := s.Canary(ctx)
		if err == nil && c.Status.Phase != phase {
			err = fmt.Errorf("it is %s with weight %d", c.Status.Phase, c.Status.CanaryWeight)
		}
		return err
	})
}

// awaitRest waits until a phase has come and the target's pods are gone.
func (s *site) awaitRest(phase v1beta1.CanaryPhase) {
	s.t.Helper()
	s.awaitPhase(phase)
	s.await("the end of the target's pods", func(ctx context.Context) error {
		if zero, err := s.TargetAtZero(ctx); err != nil || !zero {
			return errors.Join(err, errors.New("there are pods"))
		}
		return nil
	})
}

// tell prints what a person would look at.
func (s *site) tell() {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, args := range [][]string{
		{"get", "canaries,virtualservices,services", "-o", "yaml"}, {"get", "deployments,pods", "-o", "wide"},
		{"get", "events", "--sort-by=.lastTimestamp", "-o", "custom-columns=TIME:.lastTimestamp,REASON:.reason,MESSAGE:.message"},
	} {
		out, err := s.Kubectl(ctx, append([]string{"-n", s.Namespace}, args...)...)
		s.t.Logf("kubectl %s\n%s%v", strings.Join(args, " "), out, err)
	}
}

// apply gives the application its Canary. Flagger makes 10 s of its interval.
func (s *site) apply(edits ...func(*v1beta1.Canary)) {
	s.t.Helper()
	s.must(s.Create(s.t.Context(), "canary.yaml", func(u *unstructured.Unstructured) {
		var c v1beta1.Canary
		s.must(runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &c))
		a := c.Spec.Analysis
		a.Interval, a.StepWeight, a.MaxWeight, a.Metrics = "1s", 25, 50, nil
		c.Spec.ProgressDeadlineSeconds = new(int32(limit.Seconds())) // no switch is about pods that never come
		c.Spec.DrainDelaySeconds = new(int32(15))                    // one istiod serves all, and collects changes for up to 10 s while they come fast
		for _, kind := range []v1beta1.HookType{v1beta1.ConfirmRolloutHook, v1beta1.ConfirmTrafficIncreaseHook, v1beta1.ConfirmPromotionHook, v1beta1.RollbackHook} {
			a.Webhooks = append(a.Webhooks, v1beta1.CanaryWebhook{Name: string(kind), Type: kind, URL: s.hooks.url + "/" + string(kind)})
		}
		for _, edit := range edits {
			edit(&c)
		}
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&c)
		s.must(err)
		delete(object, "status")
		u.Object = object
	}))
}

// begin gives the application its Canary and waits until it is initialized.
func (s *site) begin(edits ...func(*v1beta1.Canary)) {
	s.t.Helper()
	s.apply(edits...)
	s.awaitRest(v1beta1.PhaseInitialized)
}

func (s *site) release() {
	s.t.Helper()
	s.must(s.Release(s.t.Context(), newVersion))
}

func get[T any, P interface {
	*T
	client.Object
}](s *site, name string,
) P {
	s.t.Helper()
	o := P(new(T))
	s.must(s.API.Get(s.t.Context(), client.ObjectKey{Namespace: s.Namespace, Name: name}, o))
	return o
}

func (s *site) wantPrimary(version string) {
	s.t.Helper()
	d := get[appsv1.Deployment](s, rig.Name+"-primary")
	if image := d.Spec.Template.Spec.Containers[0].Image; !strings.HasSuffix(image, ":"+version) {
		s.t.Errorf("the primary runs %s, want %s", image, version)
	}
}

// report is what became of the requests up to now.
func (s *site) report(ctx context.Context) cluster.Report {
	s.t.Helper()
	r, err := s.client.Report(ctx)
	s.must(err)
	return r
}

// awaitMore waits until n more requests were made.
func (s *site) awaitMore(n int64) {
	s.t.Helper()
	from := s.report(s.t.Context()).Total
	s.await("more requests", func(ctx context.Context) error {
		if r := s.report(ctx); r.Total-from < n {
			return fmt.Errorf("%d of %d", r.Total-from, n)
		}
		return nil
	})
}

// statuses are all that the Canary has had.
func (s *site) statuses() []rig.Moment {
	s.t.Helper()
	moments, err := s.history.Moments(s.t.Context())
	s.must(err)
	return moments
}

// hooks is a server that gates ask.
type hooks struct {
	site *site
	url  string

	mu      sync.Mutex
	answers map[v1beta1.HookType]func() bool
	calls   map[v1beta1.HookType]map[string][]time.Time // when one was called by each key
}

// newHooks lets everything pass and rolls nothing back.
func newHooks(s *site) *hooks {
	s.t.Helper()
	h := &hooks{site: s, answers: map[v1beta1.HookType]func() bool{v1beta1.RollbackHook: no}, calls: map[v1beta1.HookType]map[string][]time.Time{}}
	listener, err := (&net.ListenConfig{}).Listen(s.t.Context(), "tcp", "127.0.0.1:0")
	s.must(err)
	server := &http.Server{Handler: h, ReadHeaderTimeout: limit}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.t.Error(err)
		}
	}()
	s.t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	h.url = "http://" + listener.Addr().String()
	return h
}

func yes() bool { return true }
func no() bool  { return false }

// answer has the hooks of a type answered so from now on.
func (h *hooks) answer(kind v1beta1.HookType, with func() bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers[kind] = with
}

// ServeHTTP implements http.Handler.
func (h *hooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	kind := v1beta1.HookType(path.Base(r.URL.Path))
	h.mu.Lock()
	answer := h.answers[kind]
	if h.calls[kind] == nil {
		h.calls[kind] = map[string][]time.Time{}
	}
	key := r.Header.Get("Idempotency-Key")
	h.calls[kind][key] = append(h.calls[kind][key], time.Now())
	h.mu.Unlock()
	if answer != nil && !answer() {
		w.WriteHeader(http.StatusForbidden)
	}
}

// start runs an operator for the site.
func (s *site) start(name string, argv ...string) *cluster.Program {
	s.t.Helper()
	binary, err := cluster.Binary(argv[0])
	s.must(err)
	argv = append([]string{binary, "-kubeconfig", s.Kubeconfig(), "-namespace", s.Namespace, "-metrics-server", s.PrometheusURL()}, argv[1:]...)
	p, err := s.StartProgram(name+"-"+s.Namespace, nil, argv...)
	s.must(err)
	s.t.Cleanup(func() {
		p.Stop(0)
		if s.t.Failed() {
			log, err := os.ReadFile(p.Log())
			s.t.Logf("%s says\n%s%v", name, log[max(0, len(log)-20_000):], err)
		}
	})
	return p
}

func (s *site) flagger(args ...string) *cluster.Program {
	s.t.Helper()
	return s.start("flagger", append([]string{"flagger", "-mesh-provider", "istio", "-control-loop-interval", "1s", "-port", "0"}, args...)...)
}

func (s *site) sluice() *cluster.Program {
	s.t.Helper()
	return s.start("sluice", "sluice", "-port", "0", "-coverage", "none", "-threadiness", "1", "-allowed-addresses", "127.0.0.0/8")
}

// handOver readies the Canary for Flagger, or says that it must not have it yet.
func (s *site) handOver(ready bool) {
	s.t.Helper()
	binary, err := cluster.Binary("sluice")
	s.must(err)
	out, err := exec.CommandContext(s.t.Context(), binary, "hand-over", "-kubeconfig", s.Kubeconfig(), "-namespace", s.Namespace).CombinedOutput()
	s.t.Logf("hand-over: %s", out)
	if (err == nil) != ready {
		s.t.Fatal(err)
	}
}

var scaledObjects = schema.GroupVersionKind{Group: "keda.sh", Version: "v1alpha1", Kind: "ScaledObject"}

// scaleByKEDA gives the application a ScaledObject. KEDA itself is not there.
func (s *site) scaleByKEDA() {
	s.t.Helper()
	so := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"scaleTargetRef": map[string]any{"name": rig.Name}, "minReplicaCount": int64(2), "maxReplicaCount": int64(4),
		"triggers": []any{map[string]any{"type": "prometheus", "name": "load", "metadata": map[string]any{"query": "vector(1)", "threshold": "1"}}},
	}}}
	so.SetGroupVersionKind(scaledObjects)
	so.SetNamespace(s.Namespace)
	so.SetName(rig.Name)
	s.must(s.API.Create(s.t.Context(), so))
}

// wantPaused makes sure that KEDA leaves what a ScaledObject scales at a number of pods; none means that it does its work.
func (s *site) wantPaused(name, at string) {
	s.t.Helper()
	so := &unstructured.Unstructured{}
	so.SetGroupVersionKind(scaledObjects)
	s.must(s.API.Get(s.t.Context(), client.ObjectKey{Namespace: s.Namespace, Name: name}, so))
	if got := so.GetAnnotations()["autoscaling.keda.sh/paused-replicas"]; got != at {
		s.t.Errorf("ScaledObject %s is paused at %q, want %q", name, got, at)
	}
}

// keepRoute has the API server refuse writes of the application's route, until the function that is returned is called.
func (s *site) keepRoute() (open func()) {
	s.t.Helper()
	name := "keep-" + s.Namespace
	policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{admissionv1.Update},
			Rule:       admissionv1.Rule{APIGroups: []string{"networking.istio.io"}, APIVersions: []string{"*"}, Resources: []string{"virtualservices"}},
		}}}},
		Validations: []admissionv1.Validation{{Expression: "false", Message: "not now"}},
	}}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		MatchResources: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.Namespace}}},
	}}
	s.must(errors.Join(s.API.Create(s.t.Context(), policy), s.API.Create(s.t.Context(), binding)))
	s.await("writes to be refused", func(ctx context.Context) error {
		route := get[istionetworking.VirtualService](s, rig.Name)
		route.Labels = map[string]string{"a": "b"}
		switch err := s.API.Update(ctx, route, client.DryRunAll); {
		case err == nil:
			return errors.New("one was not")
		case !strings.Contains(err.Error(), "not now"):
			return err
		}
		return nil
	})
	return func() { s.must(s.API.Delete(s.t.Context(), binding)) }
}

func podsOf(workload string) func(*corev1.Pod) bool {
	return func(pod *corev1.Pod) bool { return pod.Labels["app"] == workload }
}
