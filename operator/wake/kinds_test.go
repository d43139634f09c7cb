package wake

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// someKinds is a cluster that serves some kinds.
type someKinds struct {
	cluster.Cluster
	meta.RESTMapper
}

func (c someKinds) GetScheme() *runtime.Scheme           { return clientgoscheme.Scheme }
func (c someKinds) GetRESTMapper() meta.RESTMapper       { return c.RESTMapper }
func (c someKinds) GetCache() cache.Cache                { return nil }
func (c someKinds) GetFieldIndexer() client.FieldIndexer { return nil }

// watches counts what is watched.
type watchCount struct {
	controller.Controller
	n int
}

func (w *watchCount) Watch(source.Source) error {
	w.n++
	return nil
}

// A kind is watched once it is served, and then those who wait for it are looked at.
func TestKindsAreWatchedWhenServed(t *testing.T) {
	deployments, services := &appsv1.Deployment{}, &corev1.Service{}
	older := &appsv1.DaemonSet{} // stands for an older version of Deployments
	for name, tc := range map[string]struct {
		served      []client.Object
		awaited     bool
		prepareErr  error
		wantWatched int
		wantMissing int
		wantWoken   int
		wantErr     bool
	}{
		"none is served":          {awaited: true, wantMissing: 2},
		"one is":                  {served: []client.Object{services}, awaited: true, wantWatched: 1, wantMissing: 1},
		"both are":                {served: []client.Object{services, deployments}, awaited: true, wantWatched: 2, wantWoken: 1},
		"one in an older version": {served: []client.Object{services, older}, awaited: true, wantWatched: 2, wantWoken: 1},
		"nobody waits":            {served: []client.Object{services, deployments}, wantWatched: 2},
		"it can't be prepared":    {served: []client.Object{services}, prepareErr: errors.New("no"), wantErr: true},
	} {
		t.Run(name, func(t *testing.T) {
			mapper := meta.NewDefaultRESTMapper(nil)
			for _, o := range tc.served {
				kinds, _, err := clientgoscheme.Scheme.ObjectKinds(o)
				if err != nil {
					t.Fatal(err)
				}
				mapper.Add(kinds[0], meta.RESTScopeNamespace)
			}
			c, signals := &watchCount{}, NewSignals()
			w := &kindsWatch{
				Kinds: Kinds{
					Cluster: someKinds{RESTMapper: mapper}, Awaited: tc.awaited,
					Kinds:   [][]client.Object{{services}, {deployments, older}},
					Prepare: func(context.Context, client.Object) error { return tc.prepareErr },
				},
				controller: c, canaries: NewCanaries(newServer(t, newCanary("podinfo"))), signals: signals,
			}
			missing, err := w.watch(t.Context(), w.Kinds.Kinds)
			if (err != nil) != tc.wantErr {
				t.Fatalf("error %v", err)
			}
			if c.n != tc.wantWatched || len(missing) != tc.wantMissing || len(signals.events) != tc.wantWoken {
				t.Errorf("%d watched, %d missing, %d woken", c.n, len(missing), len(signals.events))
			}
		})
	}
}

// What a controller is given to watch before it begins it reads to the end first, and a kind that goes
// meanwhile would hold up all others.
func TestKindsAwaitTheController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mapper := meta.NewDefaultRESTMapper(nil)
		mapper.Add(corev1.SchemeGroupVersion.WithKind("Service"), meta.RESTScopeNamespace)
		c, begun := &watchCount{}, newBeginning()
		w := &kindsWatch{
			Kinds:      Kinds{Cluster: someKinds{RESTMapper: mapper}, Kinds: [][]client.Object{{&corev1.Service{}}}},
			controller: c, begun: begun, canaries: NewCanaries(newServer(t)), signals: NewSignals(),
		}
		ended := make(chan error, 1)
		go func() { ended <- w.Start(t.Context()) }()
		synctest.Wait()
		if c.n != 0 {
			t.Errorf("%d kinds are watched before the controller begins", c.n)
		}
		if err := begun.Start(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil || c.n != 1 {
			t.Errorf("%d kinds are watched: %v", c.n, err)
		}
	})
}

// The kinds of a mesh are watched for those that have it for their provider.
func TestMeshes(t *testing.T) {
	of := func(provider string) *v1beta1.Canary {
		c := newCanary("podinfo")
		c.Spec.Provider = provider
		return c
	}
	watch := providers.Watch{Providers: []string{"consul"}}
	k := Meshes(someKinds{}, watch, "istio", nil)
	if !k.Awaited || !k.Lazy || k.Wanted(of("")) || k.Wanted(of("linkerd")) || !k.Wanted(of("consul")) {
		t.Errorf("awaited %t, lazy %t", k.Awaited, k.Lazy)
	}
	if k = Meshes(someKinds{}, watch, "consul", nil); !k.Wanted(of("")) {
		t.Error("it is not watched for the operator's own provider")
	}
	watch.Always = true
	if k = Meshes(someKinds{}, watch, "istio", nil); k.Lazy || k.Wanted != nil {
		t.Error("what is always to be watched is not")
	}
}
