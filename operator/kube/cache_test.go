package kube

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllertest"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

var scaledObjects = schema.GroupVersionKind{Group: "keda.sh", Version: "v1alpha1", Kind: "ScaledObject"}

// unreadCache is a cache of kinds of which none is read before it is said.
type unreadCache struct {
	informertest.FakeInformers

	reads int
}

func (c *unreadCache) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	c.reads++
	return nil
}

func (c *unreadCache) List(context.Context, client.ObjectList, ...client.ListOption) error {
	c.reads++
	return nil
}

// kind has a kind that is not read, and gives what says that it is.
func (c *unreadCache) kind(of schema.GroupVersionKind) (read func()) {
	i := controllertest.NewFakeInformer()
	c.InformersByGVK[of] = i
	return i.Synced
}

func newUnread(t *testing.T) *unreadCache {
	t.Helper()
	kinds := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(kinds); err != nil {
			t.Fatal(err)
		}
	}
	return &unreadCache{FakeInformers: informertest.FakeInformers{Scheme: kinds, InformersByGVK: map[schema.GroupVersionKind]toolscache.SharedIndexInformer{}}}
}

func scaledObject() *unstructured.Unstructured { return unstructuredOf(scaledObjects) }

// A start waits for what every cluster serves, and for nothing else.
func TestStartWaitsForWhatIsNeeded(t *testing.T) {
	for name, tc := range map[string]struct {
		of   client.Object
		gvk  schema.GroupVersionKind
		want bool // it starts although the kind is not read
	}{
		"Canaries":                {of: &v1beta1.Canary{}, gvk: v1beta1.GroupVersion.WithKind("Canary")},
		"Deployments":             {of: &appsv1.Deployment{}, gvk: appsv1.SchemeGroupVersion.WithKind("Deployment")},
		"CanaryActions":           {of: &v1alpha1.CanaryAction{}, gvk: v1alpha1.GroupVersion.WithKind("CanaryAction"), want: true},
		"ScaledObjects":           {of: scaledObject(), gvk: scaledObjects, want: true},
		"Deployments for nothing": {of: unstructuredOf(appsv1.SchemeGroupVersion.WithKind("Deployment")), gvk: appsv1.SchemeGroupVersion.WithKind("Deployment"), want: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				of := newUnread(t)
				of.kind(v1beta1.GroupVersion.WithKind("MetricTemplate"))()
				read := of.kind(tc.gvk)
				c := withOptional(of, of.Scheme, time.Second, v1beta1.GroupVersion.Group)
				if err := c.IndexField(t.Context(), &v1beta1.MetricTemplate{}, "x", nil); err != nil {
					t.Fatal(err)
				}
				if _, err := c.GetInformer(t.Context(), tc.of, cache.BlockUntilSynced(false)); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if got := c.WaitForCacheSync(ctx); got != tc.want {
					t.Errorf("it starts without the kind: %t, want %t", got, tc.want)
				}
				read()
				if !c.WaitForCacheSync(t.Context()) {
					t.Error("it does not start with the kind")
				}
			})
		})
	}
}

func unstructuredOf(kind schema.GroupVersionKind) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	return u
}

// Whoever reads a kind that is not there any more is not kept for ever, and the next one not at all.
func TestReadsOfOptionalKinds(t *testing.T) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(scaledObjects.GroupVersion().WithKind("ScaledObjectList"))
	for name, tc := range map[string]struct {
		kind schema.GroupVersionKind
		read func(context.Context, client.Reader) error
	}{
		"an object": {scaledObjects, func(ctx context.Context, r client.Reader) error {
			return r.Get(ctx, client.ObjectKey{}, scaledObject())
		}},
		"a list":           {scaledObjects, func(ctx context.Context, r client.Reader) error { return r.List(ctx, list) }},
		"a list of a type": {v1alpha1.GroupVersion.WithKind("CanaryAction"), func(ctx context.Context, r client.Reader) error { return r.List(ctx, &v1alpha1.CanaryActionList{}) }},
		"an object's type": {v1alpha1.GroupVersion.WithKind("CanaryAction"), func(ctx context.Context, r client.Reader) error {
			return r.Get(ctx, client.ObjectKey{}, &v1alpha1.CanaryAction{})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				of := newUnread(t)
				served := of.kind(tc.kind)
				c := withOptional(of, of.Scheme, 10*time.Second, v1beta1.GroupVersion.Group)
				for _, want := range []time.Duration{10 * time.Second, 0, 0} {
					began := time.Now()
					if err := tc.read(t.Context(), c); !IsNotRead(err) {
						t.Fatalf("a kind that is not read: %v", err)
					}
					if took := time.Since(began); took != want {
						t.Errorf("it was waited for %s, want %s", took, want)
					}
				}
				served()
				if err := tc.read(t.Context(), c); err != nil || of.reads != 1 {
					t.Errorf("once it is read: %v, %d reads", err, of.reads)
				}
			})
		})
	}
}

// What is read in time is waited for, and a turn that is called off waits no more.
func TestReadsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		of := newUnread(t)
		served := of.kind(scaledObjects)
		c := withOptional(of, of.Scheme, 10*time.Second, v1beta1.GroupVersion.Group)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Get(ctx, client.ObjectKey{}, scaledObject()); !IsNotRead(err) {
			t.Errorf("called off: %v", err)
		}
		time.AfterFunc(5*time.Second, served)
		if err := c.Get(t.Context(), client.ObjectKey{}, scaledObject()); err != nil {
			t.Errorf("read in time: %v", err)
		}
		if err := c.Get(t.Context(), client.ObjectKey{}, &v1beta1.Canary{}); err != nil || of.reads != 2 {
			t.Errorf("a kind that is needed: %v, %d reads", err, of.reads)
		}
	})
}
