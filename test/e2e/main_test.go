// Package e2e proves the operator from end to end: installed by its Helm chart,
// with the rights that the chart gives it, in a cluster with a real Kubernetes
// API, a real Istio, a real Prometheus and real requests.
//
// All tests share one cluster and one operator. Each has a namespace of its own
// with podinfo in it.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// Names that the chart is installed with.
const (
	releaseName      = "sluice"
	releaseNamespace = "sluice-system"
)

// suite is what all tests share.
type suite struct {
	*rig.Rig
	kubeconfig string   // of the chart's ServiceAccount
	args       []string // of the chart's Deployment, and where Prometheus is

	mu       sync.Mutex
	operator *cluster.Program
}

var shared struct {
	once sync.Once
	*suite
	err error
}

// tests are the package's tests and the end of what they share.
type tests struct{ *testing.M }

func (m tests) Run() int {
	// What runs in parallel mostly waits.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.M.Run()
	if shared.suite == nil {
		return code
	}
	if err := errors.Join(shared.refusals(), shared.Stop()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

func TestMain(m *testing.M) { cluster.Main(tests{m}) }

// setUp gives the cluster and the operator; the first test that asks waits for
// both to come up.
func setUp(t *testing.T) *suite {
	t.Helper()
	shared.once.Do(func() {
		ctx := context.WithoutCancel(t.Context()) // it outlives this test
		shared.suite, shared.err = start(ctx)
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.suite
}

func start(ctx context.Context) (*suite, error) {
	r, err := rig.StartWithoutCRDs(ctx, "", os.Stdout)
	if err != nil {
		return nil, err
	}
	s := &suite{Rig: r}
	chart, err := rig.Chart()
	if err != nil {
		return s, err
	}
	// The cluster runs no Jobs. One operator, which a test may kill without the next having to wait for its lease.
	if _, err := r.Helm(ctx, "install", releaseName, chart, "--namespace", releaseNamespace, "--create-namespace", "--no-hooks",
		"--set", "leaderElection.enabled=false"); err != nil {
		return s, err
	}
	var d appsv1.Deployment
	if err := r.API.Get(ctx, client.ObjectKey{Namespace: releaseNamespace, Name: releaseName}, &d); err != nil {
		return s, err
	}
	pod := d.Spec.Template.Spec
	s.args = append(pod.Containers[0].Args, "-metrics-server="+r.PrometheusURL())
	if s.kubeconfig, err = r.ServiceAccountKubeconfig(ctx, releaseNamespace, pod.ServiceAccountName); err != nil {
		return s, err
	}
	return s, s.startOperator(ctx)
}

// startOperator runs the operator as the chart's Deployment would.
func (s *suite) startOperator(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	operator, err := s.StartOperator(ctx, s.kubeconfig, s.args...)
	s.operator = operator
	return err
}

// killOperator ends the operator as kill -9 does.
func (s *suite) killOperator() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.operator.Stop(0)
}

// operatorLog are the lines of the operator's log that have a word in them.
func (s *suite) operatorLog(word string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.operator == nil {
		return nil, nil
	}
	content, err := os.ReadFile(s.operator.Log())
	lines := strings.Split(string(content), "\n")
	return slices.DeleteFunc(lines, func(line string) bool { return !strings.Contains(line, word) }), err
}

// refusals are what the API server has refused to the operator in all tests: a
// right that the chart does not give.
func (s *suite) refusals() error {
	lines, err := s.operatorLog("forbidden")
	lines = slices.DeleteFunc(lines, func(line string) bool {
		return strings.Contains(line, "because it is being terminated") // the namespace of a test that is over
	})
	if len(lines) > 0 {
		err = errors.Join(err, fmt.Errorf("the chart's rights were too narrow:\n%s", strings.Join(lines, "\n")))
	}
	return err
}
