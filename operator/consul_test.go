package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// consulRights are what docs/consul.md says that the operator's token needs.
const consulRights = `
service_prefix "" { policy = "write" intentions = "write" }
node_prefix "" { policy = "read" }
node "sluice" { policy = "write" }
`

const (
	consulNamespace = "consul-app"
	connectService  = "consul.hashicorp.com/connect-service"
	serviceIgnore   = "consul.hashicorp.com/service-ignore"
	// consistent has a server that was started again answer once it has all that it had before. Without it
	// one answers from its log while it still reads that, with the weights of an earlier release.
	consistent = "consistent"
)

// testConsul takes an application in a Consul mesh with ACLs and TLS through its life with a
// Canary: adoption, a good release, a bad one, one in which Consul is killed for 20 s,
// and the deletion. At every moment whoever gets requests has an instance.
func testConsul(t *testing.T, c *cluster.Cluster, api client.Client) {
	server, err := cluster.StartConsul(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Kill() })
	m := &consulMesh{t: t, api: api, Consul: server, tokenFile: filepath.Join(t.TempDir(), "token")}
	m.rotate("sluice-1")
	m.metrics = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		healthy := 1
		if m.bad.Load() {
			healthy = 0
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"scalar","result":[0,"%d"]}}`, healthy)
	}))
	t.Cleanup(m.metrics.Close)
	stop := m.operate(c, &fuse{how: undisturbed})
	defer func() { stop() }()
	m.deploy()
	m.watch()
	m.noTableOfAddresses()

	before := m.entries()
	m.create(m.canary())
	m.await("the adoption", v1beta1.PhaseInitialized)
	for _, name := range []string{app, app + "-canary"} {
		if _, ok := m.service(name).Labels[serviceIgnore]; !ok {
			t.Errorf("Service %s registers pods a second time, and its address with them", name)
		}
	}
	for _, half := range []string{app + "-primary", app + "-canary"} {
		if d := cmp.Diff(m.entry("service-intentions", app)["Sources"], m.entry("service-intentions", half)["Sources"]); d != "" {
			t.Errorf("%s is guarded in another way (-%s +%s)\n%s", half, app, half, d)
		}
	}

	m.reported()

	m.forget()
	m.release("6.0.1")
	m.await("the good release", v1beta1.PhaseSucceeded)
	m.expect("a good release", 0, 20, 40, 60, 0)

	for version, how := range map[string]disturbance{"6.1.1": stoppedAtEach, "6.1.2": stoppedInTurn} {
		stop()
		f := &fuse{how: how, each: 2}
		stop = m.operate(c, f)
		m.release(version)
		m.await("the release in which the operator is stopped at each write", v1beta1.PhaseSucceeded)
		m.expect("a release in which the operator is "+string(how), 0, 20, 40, 60, 0)
		stop()
		t.Logf("%d operators for %d writes: %s", f.lives, f.count(), how)
		if f.lives < 4 {
			t.Errorf("there were %d operators for %d writes: %s", f.lives, f.count(), how)
		}
		stop = m.operate(c, &fuse{how: undisturbed})
	}

	m.rotate("sluice-2")
	m.bad.Store(true)
	m.release("6.0.2")
	m.await("the bad release", v1beta1.PhaseFailed)
	m.expect("a bad release", 0, 20, 0)

	m.bad.Store(false)
	m.release("6.0.3")
	m.awaitStatus("weight in the mesh", func(s v1beta1.CanaryStatus) error { return m.at(20, s) })
	m.canarysOwnName()
	m.outage()
	m.await("the release that Consul was down in", v1beta1.PhaseSucceeded)
	m.expect("a release that Consul was down in", 0, 20, 40, 60, 0)

	if err := api.Delete(t.Context(), m.canary()); err != nil {
		t.Fatal(err)
	}
	m.awaitGone()
	if d := cmp.Diff(before, m.entries()); d != "" {
		t.Errorf("what was given back (-was +is)\n%s", d)
	}
	if _, ok := m.service(app).Labels[serviceIgnore]; ok {
		t.Error("the apex Service registers nothing any more")
	}
	m.deletionWithoutConsul()
	if problems := m.problems(); len(problems) > 0 {
		t.Errorf("requests were led where nobody was:\n%s", strings.Join(problems, "\n"))
	}
}

// deletionWithoutConsul deletes a Canary whose mesh is gone for good. It says what it waits
// for and ends within a bounded time, and then as many pods serve as before.
func (m *consulMesh) deletionWithoutConsul() {
	m.t.Helper()
	c := m.canary()
	c.Spec.ProgressDeadlineSeconds = new(int32(4))
	m.create(c)
	m.await("another adoption", v1beta1.PhaseInitialized)
	m.down.Store(true)
	m.Kill()
	if err := m.api.Delete(m.t.Context(), c); err != nil {
		m.t.Fatal(err)
	}
	m.awaitStatus("the condition that says what the deletion waits for", func(s v1beta1.CanaryStatus) error {
		if stalled := s.GetCondition(v1beta1.ConditionStalled); s.Phase != v1beta1.PhaseTerminating || stalled == nil || !strings.Contains(stalled.Message, "Consul") {
			return fmt.Errorf("the status is %+v", s)
		}
		return nil
	})
	m.awaitGone()
	var target appsv1.Deployment
	if err := m.api.Get(m.t.Context(), client.ObjectKey{Namespace: consulNamespace, Name: app}, &target); err != nil {
		m.t.Fatal(err)
	}
	if *target.Spec.Replicas != 2 || target.Status.AvailableReplicas != 2 || m.service(app).Spec.Selector["app"] != app {
		m.t.Errorf("the target has %d of %d pods, and the apex Service selects %v", target.Status.AvailableReplicas, *target.Spec.Replicas, m.service(app).Spec.Selector)
	}
}

// consulMesh is an application in a Consul mesh.
type consulMesh struct {
	*cluster.Consul
	t         *testing.T
	api       client.Client
	metrics   *httptest.Server
	tokenFile string
	bad       atomic.Bool
	down      atomic.Bool

	mu      sync.Mutex
	history []int32
	wrong   []string
}

// operate has an operator at work, and another one where a fuse ends it, until it is stopped.
func (m *consulMesh) operate(c *cluster.Cluster, f *fuse) (stop func()) {
	ctx, cancel := context.WithCancel(m.t.Context())
	ended := make(chan error, 1)
	o, err := parseFlags([]string{
		"-port", "0", "-allowed-addresses", loopback, "-namespace", consulNamespace, "-mesh-provider", "consul", "-consul-address", m.Address, "-consul-token-file", m.tokenFile,
		"-consul-ca-file", m.CAFile, "-consul-cert-file", m.CertFile, "-consul-key-file", m.KeyFile,
	}, io.Discard)
	if err != nil {
		m.t.Fatal(err)
	}
	go func() {
		for ctx.Err() == nil {
			life, end := context.WithCancel(ctx)
			err := start(life, c.Config(), o, wiring{wrap: f.client(end), registry: prometheus.NewRegistry(), oneOfMany: true})
			end()
			if err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			m.t.Errorf("operator: %v", err)
		}
	})
}

// rotate gives the operator a new token. The old one is gone.
func (m *consulMesh) rotate(name string) {
	m.t.Helper()
	old, err := os.ReadFile(m.tokenFile)
	if err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
	token, err := m.NewToken(m.t.Context(), name, consulRights)
	if err == nil {
		err = os.WriteFile(m.tokenFile, []byte(token), 0o600)
	}
	if err == nil && len(old) > 0 {
		var accessor string
		if accessor, err = m.accessor(string(old)); err == nil {
			err = m.Call(m.t.Context(), http.MethodDelete, "/v1/acl/token/"+accessor, nil, nil)
		}
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *consulMesh) accessor(secret string) (string, error) {
	var all []struct{ AccessorID, SecretID string }
	if err := m.Call(m.t.Context(), http.MethodGet, "/v1/acl/tokens", nil, &all); err != nil {
		return "", err
	}
	for _, token := range all {
		if token.SecretID == secret {
			return token.AccessorID, nil
		}
	}
	return "", errors.New("no such token")
}

// deploy brings the application into the mesh, as it is before anybody thinks of a Canary.
func (m *consulMesh) deploy() {
	m.t.Helper()
	m.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: consulNamespace}})
	m.put(map[string]any{"Kind": "service-intentions", "Name": app, "Sources": []any{map[string]any{"Name": "web", "Action": "allow"}}})
	m.put(map[string]any{"Kind": "service-resolver", "Name": app, "ConnectTimeout": "3s"})
	labels := map[string]string{"app": app}
	m.create(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: consulNamespace, Name: app},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Name: "http", Port: 9898, TargetPort: intstr.FromInt32(9898)}}},
	})
	m.create(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: consulNamespace, Name: app},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{
					cluster.ProcessAnnotation: "none", connectService: app, "consul.hashicorp.com/connect-inject": "true",
				}},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: app, Image: oldImage}}, TerminationGracePeriodSeconds: new(int64(0))},
			},
		},
	})
}

func (m *consulMesh) canary() *v1beta1.Canary {
	return &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: consulNamespace, Name: app},
		Spec: v1beta1.CanarySpec{
			MetricsServer:     m.metrics.URL,
			TargetRef:         v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: app},
			DrainDelaySeconds: new(int32(1)),
			RevertOnDeletion:  true,
			Service:           v1beta1.CanaryService{Port: 9898},
			Analysis: &v1beta1.CanaryAnalysis{
				Interval: interval.String(), Threshold: 1, StepWeight: 20, MaxWeight: 60,
				Metrics: []v1beta1.CanaryMetric{{Name: "health", Query: "health", ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(1.0)}}},
			},
		},
	}
}

func (m *consulMesh) create(o client.Object) {
	m.t.Helper()
	if err := m.api.Create(m.t.Context(), o); err != nil {
		m.t.Fatal(err)
	}
}

// watch plays consul-k8s, which registers pods, and a client of the application, which
// looks all the time where its requests go. It waits until the application is there.
func (m *consulMesh) watch() {
	m.t.Helper()
	ctx, cancel := context.WithCancel(m.t.Context())
	var wg sync.WaitGroup
	serving := make(chan struct{})
	wg.Go(func() { m.register(ctx) })
	wg.Go(func() { m.look(ctx, serving) })
	m.t.Cleanup(func() { cancel(); wg.Wait() })
	select {
	case <-serving:
	case <-time.After(limit):
		m.t.Fatal("the application is not in the mesh")
	}
}

// register plays the endpoints controller of consul-k8s. When the endpoints of a Service change, or what it is
// labelled, each of its pods is registered with its proxy, for the service that the pod's annotation names, and
// with the Service's address; what was registered for it before and is not there any more is taken away.
// Which of two Services registered a pod last is who it counts for.
func (m *consulMesh) register(ctx context.Context) {
	seen, by := map[string]string{}, map[string]string{} // states of Services, and who registered what
	_ = rig.Await(ctx, "the end", 24*time.Hour, func(ctx context.Context) error {
		all, err := m.registrations(ctx)
		if err != nil || m.down.Load() {
			return errors.Join(err, errors.New("later"))
		}
		for name := range seen {
			if _, there := all[name]; !there {
				all[name] = nil
			}
		}
		for name, pods := range all {
			state := fmt.Sprint(pods)
			if seen[name] != state && m.reconcile(ctx, name, pods, by) == nil {
				seen[name] = state
			}
		}
		return errors.New("goes on")
	})
}

// registration is a pod as one Service has it registered.
type registration struct {
	pod, service, address, clusterIP string
	ready                            bool
}

// reconcile has the pods of a Service in Consul, and no others that were registered for it.
func (m *consulMesh) reconcile(ctx context.Context, name string, pods []registration, by map[string]string) error {
	var errs []error
	is := map[string]bool{}
	for _, p := range pods {
		id := p.pod + "-" + p.service
		is[id] = true
		errs = append(errs, m.RegisterPod(ctx, cluster.ConsulPod{
			ID: id, Service: p.service, Address: p.address, ClusterIP: p.clusterIP, Ready: p.ready, Meta: map[string]string{"k8s-service-name": name},
		}))
		by[id] = name
	}
	for id, of := range by {
		if of == name && !is[id] {
			err := m.DeregisterPod(ctx, id)
			if errs = append(errs, err); err == nil {
				delete(by, id)
			}
		}
	}
	return errors.Join(errs...)
}

// registrations are those that each Service asks for, none for one that is labelled so. As in consul-k8s, the
// label is that of the endpoints: Kubernetes writes it there together with the pods that are selected from then
// on. A label read from the Service at another moment would have pods registered for a Service that has them
// ignored already, and then taken away from the Service that they belong to.
func (m *consulMesh) registrations(ctx context.Context) (map[string][]registration, error) {
	var services corev1.ServiceList
	var slices discoveryv1.EndpointSliceList
	var pods corev1.PodList
	for _, list := range []client.ObjectList{&services, &slices, &pods} {
		if err := m.api.List(ctx, list, client.InNamespace(consulNamespace)); err != nil {
			return nil, err
		}
	}
	named := map[string]string{}
	for _, pod := range pods.Items {
		named[pod.Name] = pod.Annotations[connectService]
	}
	out := map[string][]registration{}
	for _, s := range services.Items {
		out[s.Name] = nil
		for _, slice := range slices.Items {
			if slice.Labels[discoveryv1.LabelServiceName] != s.Name || slice.Labels[serviceIgnore] == "true" {
				continue
			}
			for _, e := range slice.Endpoints {
				if e.TargetRef == nil {
					continue
				}
				of, exists := named[e.TargetRef.Name]
				if !exists {
					continue
				}
				if of == "" {
					of = s.Name
				}
				ready := e.Conditions.Ready != nil && *e.Conditions.Ready
				out[s.Name] = append(out[s.Name], registration{pod: e.TargetRef.Name, service: of, address: e.Addresses[0], clusterIP: s.Spec.ClusterIP, ready: ready})
			}
		}
	}
	return out, nil
}

// addresses are the services that the address of a Kubernetes Service stands for to a transparent proxy of this
// Consul: those that have an instance with that address. Only one may.
func (m *consulMesh) addresses(ctx context.Context, name string) ([]string, error) {
	var s corev1.Service
	if err := m.api.Get(ctx, client.ObjectKey{Namespace: consulNamespace, Name: name}, &s); err != nil {
		return nil, err
	}
	var out []string
	for _, service := range []string{app, app + "-primary", app + "-canary"} {
		var instances []struct {
			Service struct {
				TaggedAddresses map[string]struct{ Address string }
			}
		}
		if err := m.Call(ctx, http.MethodGet, "/v1/health/connect/"+service+"?"+consistent, nil, &instances); err != nil {
			return nil, err
		}
		for _, i := range instances {
			if i.Service.TaggedAddresses["virtual"].Address == s.Spec.ClusterIP {
				out = append(out, service)
				break
			}
		}
	}
	return out, nil
}

// noTableOfAddresses makes sure of why addresses are looked for at instances: this Consul has no table of virtual
// IPs that can be written, which is the other way.
func (m *consulMesh) noTableOfAddresses() {
	m.t.Helper()
	err := m.Call(m.t.Context(), http.MethodPut, "/v1/internal/service-virtual-ip", map[string]any{"Service": app, "ManualVIPs": []string{"10.0.0.1"}}, nil)
	if err == nil || !strings.Contains(err.Error(), "404") {
		m.t.Fatalf("Consul has a table of virtual IPs, which is to be looked at too: %v", err)
	}
}

// canarysOwnName leads to the canary alone, whatever the weights are.
func (m *consulMesh) canarysOwnName() {
	m.t.Helper()
	ctx := m.t.Context()
	for name, want := range map[string]string{app: app, app + "-primary": app + "-primary", app + "-canary": app + "-canary"} {
		if got, err := m.addresses(ctx, name); err != nil || !slices.Equal(got, []string{want}) {
			m.t.Errorf("the address of Service %s stands for %v, %v", name, got, err)
		}
	}
	weights, err := m.chainOf(ctx, app+"-canary")
	if d := cmp.Diff(map[string]int32{app: 100}, weights); err != nil || d != "" { // whose instances are the target's pods
		m.t.Errorf("requests to %s-canary (-want +got), %v\n%s", app, err, d)
	}
}

// reported is that released pods, which have another name, would not be let in somewhere.
func (m *consulMesh) reported() {
	m.t.Helper()
	let := func(sources ...string) {
		var all []any
		for _, s := range sources {
			all = append(all, map[string]any{"Name": s, "Action": "allow"})
		}
		m.put(map[string]any{"Kind": "service-intentions", "Name": "database", "Sources": all})
	}
	let(app)
	m.awaitStatus("the condition that tells of an intention for the old name alone", func(s v1beta1.CanaryStatus) error {
		if covered := s.GetCondition(v1beta1.ConditionCovered); covered == nil || covered.Status != corev1.ConditionFalse || !strings.Contains(covered.Message, "database") || !strings.Contains(covered.Message, app+"-primary") {
			return fmt.Errorf("covered: %+v", covered)
		}
		return nil
	})
	let(app, app+"-primary")
	m.awaitStatus("the end of it", func(s v1beta1.CanaryStatus) error {
		if covered := s.GetCondition(v1beta1.ConditionCovered); covered == nil || covered.Status != corev1.ConditionTrue {
			return fmt.Errorf("covered: %+v", covered)
		}
		return nil
	})
	if err := m.Call(m.t.Context(), http.MethodDelete, "/v1/config/service-intentions/database", nil, nil); err != nil {
		m.t.Fatal(err)
	}
}

// look notes the weights of the canary, and requests that are led where nobody is. Proxies learn a
// little later than Consul who is there, so it takes a moment for that to count.
func (m *consulMesh) look(ctx context.Context, serving chan struct{}) {
	began := false
	var nobody time.Time
	_ = rig.Await(ctx, "the end", 24*time.Hour, func(ctx context.Context) error {
		weights, err := m.chain(ctx)
		if err != nil {
			return err // Consul is down
		}
		m.mu.Lock()
		if w := weights[app]; len(weights) > 1 && (len(m.history) == 0 || m.history[len(m.history)-1] != w) {
			m.history = append(m.history, w)
		}
		m.mu.Unlock()
		for name, w := range weights {
			var there []any
			if w == 0 || m.Call(ctx, http.MethodGet, "/v1/health/connect/"+name+"?passing&"+consistent, nil, &there) != nil || len(there) > 0 {
				continue
			}
			if !began {
				return errors.New("not yet")
			}
			if nobody.IsZero() {
				nobody = time.Now()
			}
			if time.Since(nobody) > time.Second {
				m.mu.Lock()
				m.wrong = append(m.wrong, fmt.Sprintf("%d%% of requests to %s, of %v", w, name, weights))
				m.mu.Unlock()
			}
			return errors.New("nobody there")
		}
		if stands, err := m.addresses(ctx, app); err == nil && !slices.Equal(stands, []string{app}) {
			if !began {
				return errors.New("not yet")
			}
			if nobody.IsZero() {
				nobody = time.Now()
			}
			if time.Since(nobody) > time.Second {
				m.mu.Lock()
				m.wrong = append(m.wrong, fmt.Sprintf("requests to the cluster IP of %s are taken for %v", app, stands))
				m.mu.Unlock()
			}
			return errors.New("not in the mesh")
		}
		nobody = time.Time{}
		if !began {
			began = true
			close(serving)
		}
		return errors.New("goes on")
	})
}

// chain is who gets how many of a hundred requests, by Consul's own compilation.
func (m *consulMesh) chain(ctx context.Context) (map[string]int32, error) { return m.chainOf(ctx, app) }

func (m *consulMesh) chainOf(ctx context.Context, service string) (map[string]int32, error) {
	var out struct {
		Chain struct {
			StartNode string
			Nodes     map[string]struct {
				Splits []struct {
					Weight   float64
					NextNode string
				}
				Resolver *struct{ Target string }
			}
			Targets map[string]struct{ Service string }
		}
	}
	if err := m.Call(ctx, http.MethodGet, "/v1/discovery-chain/"+service+"?"+consistent, nil, &out); err != nil {
		return nil, err
	}
	c := out.Chain
	to := func(node string) string { return c.Targets[c.Nodes[node].Resolver.Target].Service }
	weights := map[string]int32{}
	start := c.Nodes[c.StartNode]
	if start.Resolver != nil {
		weights[to(c.StartNode)] = 100
	}
	for _, s := range start.Splits {
		weights[to(s.NextNode)] += int32(s.Weight)
	}
	return weights, nil
}

// seen are the weights of the canary since they were last forgotten.
func (m *consulMesh) seen() []int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.history)
}

// forget forgets all weights but the present one.
func (m *consulMesh) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.history = m.history[max(len(m.history)-1, 0):]
}

func (m *consulMesh) problems() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Compact(slices.Clone(m.wrong))
}

// expect waits for the last of the weights to be looked at, compares them and forgets them.
func (m *consulMesh) expect(what string, want ...int32) {
	m.t.Helper()
	_ = rig.Await(m.t.Context(), "the last weight", 5*time.Second, func(context.Context) error {
		if got := m.seen(); len(got) < len(want) || got[len(got)-1] != want[len(want)-1] {
			return errors.New("not yet")
		}
		return nil
	})
	if d := cmp.Diff(want, m.seen()); d != "" {
		m.t.Errorf("weights of %s (-want +got)\n%s", what, d)
	}
	m.forget()
}

// outage kills Consul for 20 s. Nothing moves meanwhile, and the condition says why.
func (m *consulMesh) outage() {
	m.t.Helper()
	m.down.Store(true)
	m.Kill()
	killed := time.Now()
	m.awaitStatus("the condition that says it", func(s v1beta1.CanaryStatus) error {
		ready := s.GetCondition(v1beta1.ConditionReady)
		if ready == nil || ready.Reason != "MeshUnreachable" || !strings.Contains(ready.Message, "Consul") {
			return fmt.Errorf("ready: %+v", ready)
		}
		return nil
	})
	var held v1beta1.CanaryStatus
	m.awaitStatus("20 s without Consul", func(s v1beta1.CanaryStatus) error {
		if held.Step == nil {
			held = s
		}
		if s.Phase != held.Phase || s.CanaryWeight != held.CanaryWeight || s.Step.Index != held.Step.Index || s.FailedChecks != held.FailedChecks {
			m.t.Fatalf("it moved: from %+v to %+v", held, s)
		}
		if time.Since(killed) < 20*time.Second {
			return errors.New("not yet")
		}
		return nil
	})
	if err := m.Start(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	m.down.Store(false)
}

func (m *consulMesh) release(version string) {
	m.t.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: consulNamespace, Name: app}}
	if err := m.api.Patch(m.t.Context(), d, client.RawPatch("application/json-patch+json",
		[]byte(`[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "podinfo:`+version+`"}]`))); err != nil {
		m.t.Fatal(err)
	}
	m.awaitStatus("the begin of the release", func(s v1beta1.CanaryStatus) error {
		if s.Phase != v1beta1.PhaseProgressing {
			return fmt.Errorf("it is %s", s.Phase)
		}
		return nil
	})
}

// at has no objection when status and mesh have a weight.
func (m *consulMesh) at(weight int32, s v1beta1.CanaryStatus) error {
	weights, err := m.chain(m.t.Context())
	if err == nil && (s.CanaryWeight != weight || weights[app] != weight) {
		err = fmt.Errorf("status %d, mesh %v", s.CanaryWeight, weights)
	}
	return err
}

func (m *consulMesh) await(what string, phase v1beta1.CanaryPhase) {
	m.t.Helper()
	m.awaitStatus(what, func(s v1beta1.CanaryStatus) error {
		if s.Phase != phase || s.GetCondition(v1beta1.ConditionReconciling) != nil {
			return fmt.Errorf("it is %s with %d%%: %+v", s.Phase, s.CanaryWeight, s.GetCondition(v1beta1.ConditionReady))
		}
		return m.at(0, s)
	})
}

func (m *consulMesh) awaitStatus(what string, check func(v1beta1.CanaryStatus) error) {
	m.t.Helper()
	if err := rig.Await(m.t.Context(), what, limit, func(ctx context.Context) error {
		var c v1beta1.Canary
		if err := m.api.Get(ctx, client.ObjectKey{Namespace: consulNamespace, Name: app}, &c); err != nil {
			return err
		}
		return check(c.Status)
	}); err != nil {
		m.t.Fatal(err)
	}
}

func (m *consulMesh) awaitGone() {
	m.t.Helper()
	if err := rig.Await(m.t.Context(), "the end of the Canary", limit, func(ctx context.Context) error {
		err := m.api.Get(ctx, client.ObjectKey{Namespace: consulNamespace, Name: app}, &v1beta1.Canary{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("it is still there"))
	}); err != nil {
		m.t.Fatal(err)
	}
}

func (m *consulMesh) service(name string) *corev1.Service {
	m.t.Helper()
	var s corev1.Service
	if err := m.api.Get(m.t.Context(), client.ObjectKey{Namespace: consulNamespace, Name: name}, &s); err != nil {
		m.t.Fatal(err)
	}
	return &s
}

func (m *consulMesh) put(e map[string]any) {
	m.t.Helper()
	if err := m.Call(m.t.Context(), http.MethodPut, "/v1/config", e, nil); err != nil {
		m.t.Fatal(err)
	}
}

func (m *consulMesh) entry(kind, name string) map[string]any {
	m.t.Helper()
	var out map[string]any
	if err := m.Call(m.t.Context(), http.MethodGet, "/v1/config/"+kind+"/"+name, nil, &out); err != nil {
		m.t.Fatal(err)
	}
	return out
}

// entries are all config entries, without what every write changes.
func (m *consulMesh) entries() []map[string]any {
	m.t.Helper()
	var all []map[string]any
	for _, kind := range []string{"service-defaults", "service-intentions", "service-resolver", "service-splitter", "service-router"} {
		var of []map[string]any
		if err := m.Call(m.t.Context(), http.MethodGet, "/v1/config/"+kind, nil, &of); err != nil {
			m.t.Fatal(err)
		}
		all = append(all, of...)
	}
	for _, e := range all {
		delete(e, "CreateIndex")
		delete(e, "ModifyIndex")
	}
	return all
}
