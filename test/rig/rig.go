// Package rig puts the operator to work in an embedded cluster with a real
// mesh, real requests and real metrics. The end-to-end tests and the demo stand
// on it.
package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	promapi "github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers/factory"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// Name of the application that is released, and of its Canary, and the
// namespace that both are in where none is chosen with In.
const (
	Namespace = "test"
	Name      = "podinfo"
)

// grpcPort is what the mesh client calls, see manifests/podinfo.yaml.
const grpcPort = "9999"

// operatorPort is where the operator's own server listens.
const operatorPort = "8080"

// Rig is a running cluster in which an operator can be put to work.
type Rig struct {
	*cluster.Cluster
	// App is the application, by a client with the rights of an administrator and no cache.
	App
}

// Start brings up a cluster with Istio, Prometheus and Sluice's CRDs.
func Start(ctx context.Context, dir string, progress io.Writer) (*Rig, error) {
	r, err := StartWithoutCRDs(ctx, dir, progress)
	if err != nil {
		return nil, err
	}
	root, err := cluster.Root()
	if err == nil {
		err = r.InstallCRDs(ctx, filepath.Join(root, "charts", "sluice", "crds"))
	}
	if err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	return r, nil
}

// StartWithoutCRDs is Start for those who install Sluice's CRDs themselves.
func StartWithoutCRDs(ctx context.Context, dir string, progress io.Writer) (*Rig, error) {
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	c, err := cluster.Start(ctx, cluster.Options{
		Dir: dir, Progress: progress, Node: true, Istio: true, GatewayAPI: cluster.GatewayStandard, Prometheus: true,
		// As strict as the strictest clusters are about owner references.
		APIServerArgs: []string{"--enable-admission-plugins=OwnerReferencesPermissionEnforcement"},
	})
	if err != nil {
		return nil, err
	}
	r := &Rig{Cluster: c, App: App{Namespace: Namespace}}
	if r.API, err = client.NewWithWatch(r.Config(), client.Options{Scheme: scheme}); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return r, nil
}

// In is the same rig with the application in another namespace.
func (r *Rig) In(namespace string) *Rig {
	other := *r
	other.Namespace = namespace
	return &other
}

// Scheme knows every kind that the operator works with.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(clientgoscheme.AddToScheme(scheme), v1beta1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme), factory.AddToScheme(scheme))
}

// StartOperator runs bin/sluice with the rights of kubeconfig, empty for an
// administrator's, and waits until it is ready.
func (r *Rig) StartOperator(ctx context.Context, kubeconfig string, args ...string) (*cluster.Program, error) {
	binary, err := cluster.Binary("sluice")
	if err != nil {
		return nil, err
	}
	if kubeconfig == "" {
		kubeconfig = r.Kubeconfig()
	}
	argv := append([]string{binary, "-kubeconfig", kubeconfig, "-port", operatorPort, "-metrics-server", r.PrometheusURL(),
		"-allowed-addresses", "127.0.0.0/8,::1"}, args...) // where the servers of the cluster and of tests are
	operator, err := r.StartProgram("sluice", nil, argv...)
	if err != nil {
		return nil, err
	}
	return operator, Await(ctx, "the operator", 30*time.Second, func(ctx context.Context) error {
		if err := operator.Err(); err != nil {
			return err
		}
		return r.OperatorReady(ctx)
	})
}

// OperatorReady asks the operator whether it is ready.
func (r *Rig) OperatorReady(ctx context.Context) error {
	_, err := httpGet(ctx, "http://127.0.0.1:"+operatorPort+"/readyz")
	return err
}

// Telemetry is what the operator publishes at /metrics.
func (r *Rig) Telemetry(ctx context.Context) (string, error) {
	return httpGet(ctx, "http://127.0.0.1:"+operatorPort+"/metrics")
}

func httpGet(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return string(body), err
}

// Call starts a client in the mesh that calls the application at a steady rate
// of requests a second. It returns when Prometheus has begun to measure them: a
// Prometheus takes seconds to find a new target. Each of edits may change what
// the client does.
func (r *Rig) Call(ctx context.Context, rate float64, edits ...func(*cluster.ClientOptions)) (*cluster.Client, error) {
	options := cluster.ClientOptions{Target: r.host(Name), Namespace: r.Namespace, Name: "caller", Rate: rate}
	for _, edit := range edits {
		edit(&options)
	}
	caller, err := r.StartClient(ctx, options)
	if err != nil {
		return nil, err
	}
	if err := r.awaitMeasured(ctx); err != nil {
		caller.Stop()
		return nil, err
	}
	return caller, nil
}

// Test starts a client in the mesh that calls the canary's own Service, as a load
// test of a release that has no users yet does. It returns when the canary has
// answered.
func (r *Rig) Test(ctx context.Context, rate float64) (*cluster.Client, error) {
	return r.StartClient(ctx, cluster.ClientOptions{
		Target: r.host(Name + "-canary"), Namespace: r.Namespace, Name: "tester", Rate: rate,
	})
}

// host is a Service's address as a mesh client calls it.
func (r *Rig) host(service string) string {
	return service + "." + r.Namespace + ".svc.cluster.local:" + grpcPort
}

func (r *Rig) awaitMeasured(ctx context.Context) error {
	prometheus, err := promapi.NewClient(promapi.Config{Address: r.PrometheusURL()})
	if err != nil {
		return err
	}
	query := fmt.Sprintf(`rate(istio_requests_total{destination_workload_namespace=%q}[5s])`, r.Namespace)
	return Await(ctx, "requests in Prometheus", 30*time.Second, func(ctx context.Context) error {
		value, _, _, err := promv1.NewAPI(prometheus).Query(ctx, query, time.Time{})
		if err != nil {
			return err
		}
		if rates, ok := value.(model.Vector); !ok || len(rates) == 0 {
			return fmt.Errorf("%s gives %v", query, value)
		}
		return nil
	})
}

// soonest is how long Await waits before it asks a second time, and latest how long it comes to wait: to be asked for what has not
// happened yet was else a seventh of the requests to the API server of the operator's own tests.
const (
	soonest = 50 * time.Millisecond
	latest  = 200 * time.Millisecond
)

// Await asks check again and again until it has no objection, for at most
// limit: often at first, and every 200 ms in the end. Its last objection is in the error.
func Await(ctx context.Context, what string, limit time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var objection error
	for wait := soonest; ; wait = min(wait*5/4, latest) {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if objection == nil || ctx.Err() == nil { // else it is that the time is over
			objection = err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s: %w", what, limit, objection)
		}
	}
}
