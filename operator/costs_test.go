package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// requestCounter counts what one operator asks of the API server, and what it watches.
type requestCounter struct {
	mu      sync.Mutex
	made    map[string]int // by verb and resource
	watched map[string]bool
}

// through has the requests of a client counted. Leases and discovery, which no Canary costs, are not.
func (q *requestCounter) through(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if is, ok := asked(r); ok && is.resource != "leases" {
				q.mu.Lock()
				defer q.mu.Unlock()
				if is.verb == "watch" {
					q.watched[strings.TrimSuffix(is.resource+"."+is.group, ".")] = true
				} else {
					q.made[is.verb+" "+is.resource]++
				}
			}
			return next.RoundTrip(r)
		})
	})
	return config
}

// take gives what was asked for since it was called last.
func (q *requestCounter) take() map[string]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.made
	q.made = map[string]int{}
	return out
}

func (q *requestCounter) count() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, made := range q.made {
		n += made
	}
	return n
}

func (q *requestCounter) informers() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Sorted(maps.Keys(q.watched))
}

// costStage is an operator with the flags of production, whose requests are counted.
type costStage struct {
	*stage
	requests *requestCounter
	queries  *atomic.Int32 // of metrics
	bad      *atomic.Bool  // what they answer
}

// testCosts holds what Canaries cost the API server and the metrics server. It counts, and measures no time.
func testCosts(t *testing.T, c *cluster.Cluster, api client.Client) {
	s := &costStage{
		stage: &stage{t: t, api: api, namespace: "costs"}, queries: &atomic.Int32{}, bad: &atomic.Bool{},
		requests: &requestCounter{made: map[string]int{}, watched: map[string]bool{}},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.queries.Add(1)
		value := "100"
		if s.bad.Load() {
			value = "50"
		}
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[%d,%q]}]}}`, time.Now().Unix(), value)
	}))
	t.Cleanup(server.Close)
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}})
	o, err := parseFlags([]string{"-port", "0", "-allowed-addresses", loopback, "-metrics-server", server.URL}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- start(ctx, s.requests.through(c.Config()), o, wiring{registry: prometheus.NewRegistry(), oneOfMany: true})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("operator: %v", err)
		}
	})
	t.Cleanup(func() { dropCanaries(t, api, s.namespace) })
	s.testInformers()
	s.testReleases()
}

// informersOfOperator are watched by an operator with a Canary that is behind no mesh, in a cluster that has the kinds of Istio, and
// informersOfIstio by one that has a Canary behind Istio, too.
var (
	informersOfOperator = []string{
		"alertproviders.flagger.app",
		"authorizationpolicies.security.istio.io",
		"canaries.flagger.app",
		"canaryactions.sluice.dev",
		"clusterreleasepolicies.sluice.dev",
		"configmaps",
		"deployments.apps",
		"destinationrules.networking.istio.io",
		"endpointslices.discovery.k8s.io",
		"envoyfilters.networking.istio.io",
		"horizontalpodautoscalers.autoscaling",
		"metrictemplates.flagger.app",
		"namespaces",
		"networkpolicies.networking.k8s.io",
		"peerauthentications.security.istio.io",
		"poddisruptionbudgets.policy",
		"proxyconfigs.networking.istio.io",
		"releasepolicies.sluice.dev",
		"requestauthentications.security.istio.io",
		"secrets",
		"serviceentries.networking.istio.io",
		"services",
		"sidecars.networking.istio.io",
		"telemetries.telemetry.istio.io",
		"virtualservices.networking.istio.io",
		"wasmplugins.extensions.istio.io",
	}
	informersOfIstio = []string{}
)

// testInformers holds which kinds are watched. One more is the memory of all its objects in the cluster.
func (s *costStage) testInformers() {
	s.costCanary("plain", "kubernetes")
	s.awaitPhaseOf("plain", v1beta1.PhaseInitialized)
	without := s.requests.informers()
	if diff := cmp.Diff(informersOfOperator, without); diff != "" {
		s.t.Errorf("informers without a mesh (-want +got)\n%s", diff)
	}
	s.quiet()
	s.requests.take()
	s.costCanary("mesh", "istio")
	s.awaitPhaseOf("mesh", v1beta1.PhaseInitialized)
	more := slices.DeleteFunc(s.requests.informers(), func(kind string) bool { return slices.Contains(without, kind) })
	if diff := cmp.Diff(informersOfIstio, more); diff != "" {
		s.t.Errorf("informers that are more with Istio (-want +got)\n%s", diff)
	}
}

// spare is how many more events and status updates there may be than a calm machine has: what takes longer than usual is told.
const spare = 2

// testReleases holds the requests of a Canary behind Istio from its first day to a rollback, each to what docs/development.md says.
func (s *costStage) testReleases() {
	s.quiet()
	s.hold("initialization", map[string]int{
		"patch canaries": 1, "patch deployments": 2, "patch services": 3, "patch virtualservices": 1,
		"update canaries/status": 5 + spare, "create events": 2 + spare,
	})

	const rest = 6 * time.Second // six intervals of the analysis
	<-time.After(rest)           // nothing is waited for: nothing happens is what is tested
	s.hold("six intervals at rest", nil)
	s.holdQueries("six intervals at rest", 0)

	s.setImage("mesh", "app:1")
	s.awaitPhaseOf("mesh", v1beta1.PhaseSucceeded)
	s.quiet()
	s.hold("a release of five steps", map[string]int{
		"get deployments": 1, "patch deployments": 3, "patch virtualservices": 6,
		"update canaries/status": 10 + spare, "create events": 8 + spare,
	})
	s.holdQueries("a release of five steps", 5*2) // rounds of two metrics

	s.bad.Store(true)
	s.setImage("mesh", "app:2")
	s.awaitPhaseOf("mesh", v1beta1.PhaseFailed)
	s.quiet()
	s.hold("a rollback", map[string]int{
		"patch deployments": 2, "patch virtualservices": 2, "patch events": 1,
		"update canaries/status": 5 + spare, "create events": 3 + spare,
	})
	s.holdQueries("a rollback", 2*2)
}

// hold holds what was asked of the API server since it was asked for last.
func (s *costStage) hold(what string, most map[string]int) {
	s.t.Helper()
	got := s.requests.take()
	s.t.Log(what, got)
	for kind, n := range got {
		if n > most[kind] {
			s.t.Errorf("%s: %d times %s, at most %d are due", what, n, kind, most[kind])
		}
	}
}

// holdQueries holds what was asked of the metrics server.
func (s *costStage) holdQueries(what string, want int32) {
	s.t.Helper()
	if n := s.queries.Swap(0); n != want {
		s.t.Errorf("%s: %d queries of metrics, want %d", what, n, want)
	}
}

// quiet waits until the operator has asked for nothing for a while that is longer than the drain delay.
func (s *costStage) quiet() {
	s.t.Helper()
	const still = 3 * time.Second
	last, since := -1, time.Now()
	s.await("the operator to have nothing to do", func(context.Context) error {
		n := s.requests.count()
		if n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) < still {
			return fmt.Errorf("%d requests", n)
		}
		return nil
	})
}

func (s *costStage) costCanary(name, provider string) {
	s.create(s.fairDeployment(name, "app:0"))
	s.create(&v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: v1beta1.CanarySpec{
			Provider: provider, DrainDelaySeconds: new(int32(1)), Service: v1beta1.CanaryService{Port: 9898},
			TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			Analysis: &v1beta1.CanaryAnalysis{
				Interval: "1s", Threshold: 2, StepWeight: 10, MaxWeight: 50,
				Metrics: []v1beta1.CanaryMetric{
					{Name: v1beta1.MetricRequestSuccessRate, Interval: "1m", ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(99.0)}},
					{Name: v1beta1.MetricRequestDuration, Interval: "1m", ThresholdRange: &v1beta1.CanaryThresholdRange{Max: new(500.0)}},
				},
			},
		},
	})
}

func (s *costStage) awaitPhaseOf(name string, phase v1beta1.CanaryPhase) {
	s.t.Helper()
	s.await(name+" to be "+string(phase), func(ctx context.Context) error {
		c := &v1beta1.Canary{}
		if err := s.api.Get(ctx, s.key(name), c); err != nil {
			return err
		}
		if c.Status.Phase != phase {
			return fmt.Errorf("it is %s", c.Status.Phase)
		}
		return nil
	})
}
