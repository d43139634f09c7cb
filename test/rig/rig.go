// Package rig puts the operator to work in an embedded cluster with a real
// mesh, real requests and real metrics. The end-to-end tests and the demo stand
// on it.
package rig

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	promapi "github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
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

//go:embed manifests
var manifests embed.FS

// Rig is a running cluster in which an operator can be put to work.
type Rig struct {
	*cluster.Cluster
	// API is a client with the rights of an administrator and no cache.
	API client.WithWatch
	// Namespace is that of the application.
	Namespace string
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
	r := &Rig{Cluster: c, Namespace: Namespace}
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

// DeployPodinfo creates the application as it is before it has a Canary, and
// waits until it is ready. Each of edits may change its objects.
func (r *Rig) DeployPodinfo(ctx context.Context, edits ...func(*unstructured.Unstructured)) error {
	if err := r.Create(ctx, "podinfo.yaml", edits...); err != nil {
		return err
	}
	return Await(ctx, "podinfo", time.Minute, func(ctx context.Context) error {
		var d appsv1.Deployment
		if err := r.API.Get(ctx, r.key(Name), &d); err != nil {
			return err
		}
		if d.Status.AvailableReplicas != *d.Spec.Replicas {
			return fmt.Errorf("%d of %d pods are available", d.Status.AvailableReplicas, *d.Spec.Replicas)
		}
		return nil
	})
}

// Manifest are the objects of one of the rig's manifests, as they are in its file.
func Manifest(name string) ([]*unstructured.Unstructured, error) {
	file, err := manifests.Open("manifests/" + name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var out []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		u := &unstructured.Unstructured{}
		switch err := decoder.Decode(&u.Object); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, u)
	}
}

// Create creates the objects of one of the manifests in the rig's namespace,
// which may exist.
func (r *Rig) Create(ctx context.Context, manifest string, edits ...func(*unstructured.Unstructured)) error {
	objects, err := Manifest(manifest)
	if err != nil {
		return err
	}
	for _, u := range objects {
		isNamespace := u.GetKind() == "Namespace"
		if isNamespace {
			u.SetName(r.Namespace)
		} else {
			u.SetNamespace(r.Namespace)
		}
		for _, edit := range edits {
			edit(u)
		}
		if err := r.API.Create(ctx, u); err != nil && !(isNamespace && apierrors.IsAlreadyExists(err)) {
			return fmt.Errorf("%s: %w", manifest, err)
		}
	}
	return nil
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

// Release gives the application another version and environment, as a merge
// into a Git repository would.
func (r *Rig) Release(ctx context.Context, version string, env ...corev1.EnvVar) error {
	var d appsv1.Deployment
	if err := r.API.Get(ctx, r.key(Name), &d); err != nil {
		return err
	}
	before := d.DeepCopy()
	c := &d.Spec.Template.Spec.Containers[0]
	c.Image = c.Image[:strings.LastIndex(c.Image, ":")+1] + version
	c.Env = env
	return r.API.Patch(ctx, &d, client.MergeFrom(before))
}

// Canary reads the Canary.
func (r *Rig) Canary(ctx context.Context) (*v1beta1.Canary, error) {
	var c v1beta1.Canary
	return &c, r.API.Get(ctx, r.key(Name), &c)
}

// TargetAtZero tells whether the application has no pod of its own left, only
// the primary's.
func (r *Rig) TargetAtZero(ctx context.Context) (bool, error) {
	var d appsv1.Deployment
	err := r.API.Get(ctx, r.key(Name), &d)
	return d.Spec.Replicas != nil && *d.Spec.Replicas == 0 && d.Status.Replicas == 0, err
}

func (r *Rig) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: r.Namespace, Name: name}
}

// Await asks check again and again until it has no objection, for at most
// limit. Its last objection is in the error.
func Await(ctx context.Context, what string, limit time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var objection error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if objection == nil || ctx.Err() == nil { // else it is that the time is over
			objection = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s: %w", what, limit, objection)
		}
	}
}

// AwaitPhase waits until the Canary is in a phase.
func (r *Rig) AwaitPhase(ctx context.Context, phase v1beta1.CanaryPhase, limit time.Duration) error {
	return Await(ctx, "phase "+string(phase), limit, func(ctx context.Context) error {
		c, err := r.Canary(ctx)
		if err == nil && c.Status.Phase != phase {
			err = fmt.Errorf("it is %s with weight %d", c.Status.Phase, c.Status.CanaryWeight)
		}
		return err
	})
}
