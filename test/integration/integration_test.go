// Package integration tests what writes to Kubernetes against a real API
// server and a real informer cache: defaults, pruning, field ownership and the
// delay of the cache are theirs.
package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// limit is how long anything may take.
const limit = 30 * time.Second

// environment is a cluster and clients for it.
type environment struct {
	*cluster.Cluster
	// live reads from the API server, cached from an informer cache as the
	// operator does. Both write to the API server.
	live   client.Client
	cached client.WithWatch
}

// TestOnCluster runs its parts in one cluster, which takes longer to come up
// than any of them. The mesh is installed after the clients have been made.
func TestOnCluster(t *testing.T) {
	e := setUp(t, cluster.Options{Progress: os.Stderr})
	t.Run("istio is not installed", func(t *testing.T) { testIstioNotInstalled(t, e) })
	t.Run("the Gateway API is not installed", func(t *testing.T) { testGatewayNotInstalled(t, e) })
	if err := e.InstallCRDs(t.Context(), filepath.Join("testdata", "linkerd.yaml")); err != nil {
		t.Fatal(err)
	}
	t.Run("linkerd by profiles", func(t *testing.T) { testLinkerdProfiles(t, e) })
	routes, err := cluster.GatewayCRDs(t.Context(), cluster.GatewayStandard)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.InstallCRDs(t.Context(), routes...); err != nil {
		t.Fatal(err)
	}
	t.Run("gatewayapi", func(t *testing.T) { testGatewayAPI(t, e) })
	t.Run("linkerd by routes", func(t *testing.T) { testLinkerdRoutes(t, e) })
	e.installKindsOf(t, cluster.ContourCRDs, cluster.KnativeCRDs, cluster.TraefikCRDs)
	t.Run("contour", func(t *testing.T) { testContour(t, e) })
	t.Run("knative", func(t *testing.T) { testKnative(t, e) })
	t.Run("apisix", func(t *testing.T) { testAPISIX(t, e) })
	t.Run("kuma", func(t *testing.T) { testKuma(t, e) })
	t.Run("traefik", func(t *testing.T) { testTraefik(t, e) })
	t.Run("nginx", func(t *testing.T) { testNginx(t, e) })
	t.Run("skipper", func(t *testing.T) { testSkipper(t, e) })
	istio, err := cluster.IstioCRDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.InstallCRDs(t.Context(), istio); err != nil {
		t.Fatal(err)
	}
	t.Run("istio", func(t *testing.T) { testIstio(t, e) })
	t.Run("server-side apply", func(t *testing.T) { testApply(t, e) })
	t.Run("what the API server takes can be decoded", func(t *testing.T) { testDecode(t, e) })
	t.Run("what can't be decoded", func(t *testing.T) { testUndecodable(t, e) })
	t.Run("odd objects", func(t *testing.T) { testOdd(t, e) })
	t.Run("workloads", func(t *testing.T) { testWorkloads(t, e) })
}

// installKindsOf installs the kinds of ingress controllers and meshes: those that they publish in Go modules, and some written after references.
func (e *environment) installKindsOf(t *testing.T, published ...func(context.Context) (string, error)) {
	t.Helper()
	files := []string{filepath.Join("testdata", "proxies.yaml")}
	for _, of := range published {
		file, err := of(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if err := e.InstallCRDs(t.Context(), files...); err != nil {
		t.Fatal(err)
	}
}

func setUp(t *testing.T, options cluster.Options) *environment {
	t.Helper()
	c := cluster.ForTest(t, options)
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.InstallCRDs(t.Context(), filepath.Join(root, "charts", "sluice", "crds")); err != nil {
		t.Fatal(err)
	}
	scheme, err := rig.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	live, err := c.Client(scheme)
	if err != nil {
		t.Fatal(err)
	}
	informers, err := cache.New(c.Config(), cache.Options{Scheme: scheme, DefaultTransform: cache.TransformStripManagedFields()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- informers.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	cached, err := client.NewWithWatch(c.Config(), client.Options{Scheme: scheme, Cache: &client.CacheOptions{Reader: informers}})
	if err != nil {
		t.Fatal(err)
	}
	return &environment{Cluster: c, live: live, cached: cached}
}

// namespace creates one that nothing else uses.
func (e *environment) namespace(t *testing.T) string {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	e.create(t, n)
	return n.Name
}

func (e *environment) create(t *testing.T, o client.Object) {
	t.Helper()
	if err := e.live.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func (e *environment) read(t *testing.T, namespace, name string, into client.Object) {
	t.Helper()
	if err := e.live.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, into); err != nil {
		t.Fatal(err)
	}
}

// counting returns the cached client and how often it has written.
func (e *environment) counting() (client.Client, *atomic.Int64) {
	writes := &atomic.Int64{}
	return interceptor.NewClient(e.cached, interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			writes.Add(1)
			return c.Apply(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
			writes.Add(1)
			return c.Patch(ctx, o, patch, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			writes.Add(1)
			return c.Delete(ctx, o, opts...)
		},
	}), writes
}

// cachedAs waits until the cache has an object as it is on the server.
func (e *environment) cachedAs(t *testing.T, o client.Object) {
	t.Helper()
	seen := o.DeepCopyObject().(client.Object)
	await(t, "the cache", func(ctx context.Context) error {
		if err := e.cached.Get(ctx, client.ObjectKeyFromObject(o), seen); err != nil {
			return err
		}
		if seen.GetResourceVersion() != o.GetResourceVersion() {
			return fmt.Errorf("it has version %s, not %s", seen.GetResourceVersion(), o.GetResourceVersion())
		}
		return nil
	})
}

func await(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	if err := rig.Await(t.Context(), what, limit, check); err != nil {
		t.Fatal(err)
	}
}
