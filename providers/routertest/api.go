package routertest

import (
	"context"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"
)

// API is an API server in memory that counts what is written by apply, patch and deletion.
type API struct {
	client.Client

	// Writes is how many requests it had.
	Writes int
}

// NewAPI returns an API server of the kinds of a scheme that mapper has. What others write in a test they write by
// Create and Update, which are not counted.
func NewAPI(t *testing.T, add func(*runtime.Scheme) error, mapper meta.RESTMapper, objects ...client.Object) *API {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := add(scheme); err != nil {
		t.Fatal(err)
	}
	a := &API{}
	a.Client = fake.NewClientBuilder().WithScheme(scheme).WithRESTMapper(mapper).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			gvk, err := c.GroupVersionKindFor(o)
			if err != nil {
				return err
			}
			if _, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version); err != nil {
				return err
			}
			return c.Get(ctx, key, o, opts...)
		},
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			a.Writes++
			return c.Apply(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
			a.Writes++
			return c.Patch(ctx, o, patch, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			a.Writes++
			return c.Delete(ctx, o, opts...)
		},
	}).Build()
	return a
}

// ClusterMapper is a RESTMapper of a cluster that serves exactly these kinds, none of which is in a namespace.
func ClusterMapper(kinds ...schema.GroupVersionKind) meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	for _, kind := range kinds {
		m.Add(kind, meta.RESTScopeRoot)
	}
	return m
}

// Spec reads the spec of a custom resource as an API server gives it: whole numbers are int64.
func Spec(t *testing.T, text string) map[string]any {
	t.Helper()
	raw, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := utiljson.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
