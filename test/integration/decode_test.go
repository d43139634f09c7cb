package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/test/odd"
)

// testDecode: an informer reads a list as a whole, so that one object that the API server takes and the
// operator can't decode would keep it from all others. There is none of our own kinds.
func testDecode(t *testing.T, e *environment) {
	looked := 0
	for _, crd := range definitions(t, e) {
		if crd.Spec.Group != v1beta1.GroupVersion.Group && crd.Spec.Group != v1alpha1.GroupVersion.Group {
			continue
		}
		for _, version := range crd.Spec.Versions {
			looked++
			kind := schema.GroupVersionKind{Group: crd.Spec.Group, Version: version.Name, Kind: crd.Spec.Names.Kind}
			t.Run(kind.Kind, func(t *testing.T) {
				d := &decoding{t: t, e: e, kind: kind, namespaced: crd.Spec.Scope == apiextensionsv1.NamespaceScoped}
				d.run(version.Schema.OpenAPIV3Schema)
			})
		}
	}
	if looked < 6 {
		t.Errorf("%d kinds of ours are served", looked)
	}
}

// definitions are those of all kinds that are served beside Kubernetes' own.
func definitions(t *testing.T, e *environment) []apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	api, err := e.Client(scheme)
	if err != nil {
		t.Fatal(err)
	}
	var all apiextensionsv1.CustomResourceDefinitionList
	if err := api.List(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	return all.Items
}

// testUndecodable: definitions of others let pass what their Go types do not read. Who writes such an object harms nobody else.
func testUndecodable(t *testing.T, e *environment) {
	ctx := t.Context()
	rule := func(name, idleTimeout string) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
			"host": name, "trafficPolicy": map[string]any{"connectionPool": map[string]any{"tcp": map[string]any{"idleTimeout": idleTimeout}}},
		}}}
		u.SetAPIVersion("networking.istio.io/v1")
		u.SetKind("DestinationRule")
		u.SetNamespace("default")
		u.SetName(name)
		return u
	}
	const good, bad = "1s", ""
	create := func(name, idleTimeout string) {
		t.Helper()
		o := rule(name, idleTimeout)
		if err := e.live.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := e.live.Delete(context.WithoutCancel(ctx), o); err != nil {
				t.Error(err)
			}
		})
	}
	edit := func(name, idleTimeout string) {
		t.Helper()
		patch := `{"spec": {"trafficPolicy": {"connectionPool": {"tcp": {"idleTimeout": "` + idleTimeout + `"}}}}}`
		if err := e.live.Patch(ctx, rule(name, ""), client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			t.Fatal(err)
		}
	}
	informers, err := kube.NewCache()(e.Config(), cache.Options{Scheme: e.live.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = informers.Start(ctx) }() // until the test ends
	var last string
	await := func(want ...string) {
		t.Helper()
		err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
			var list istionetworking.DestinationRuleList
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if err := informers.List(ctx, &list, client.InNamespace("default")); err != nil {
				last = err.Error()
				return false, nil // it is not read yet
			}
			var names []string
			for _, o := range list.Items {
				names = append(names, o.Name)
			}
			slices.Sort(names)
			last = fmt.Sprint(names)
			return slices.Equal(names, want), nil
		})
		if err != nil {
			t.Fatalf("want %v, got %s", want, last)
		}
	}
	create("a", good)
	create("b", bad)
	await("a")
	create("c", good)
	await("a", "c")
	edit("b", good)
	await("a", "b", "c")
	edit("c", bad)
	await("a", "b")
	create("d", bad)
	create("e", good)
	await("a", "b", "e")
	edit("c", good)
	await("a", "b", "c", "e")
}

// decoding tries values of the fields of a kind.
type decoding struct {
	t          *testing.T
	e          *environment
	kind       schema.GroupVersionKind
	namespaced bool

	taken, refused int
}

func (d *decoding) run(s *apiextensionsv1.JSONSchemaProps) {
	base := d.object()
	if err := d.e.live.Create(d.t.Context(), base); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		if err := d.e.live.Delete(context.WithoutCancel(d.t.Context()), base); err != nil {
			d.t.Error(err)
		}
	})
	odd.All.Values("spec", s.Properties["spec"], base.Object["spec"], func(path string, v any) {
		o := d.object()
		o.SetName("odd")
		o.Object["spec"] = v
		d.decode(path, o, d.e.live.Create(d.t.Context(), o, client.DryRunAll))
	})
	if status, ok := s.Properties["status"]; ok {
		odd.All.Values("status", status, nil, func(path string, v any) {
			o := base.DeepCopy()
			o.Object["status"] = v
			d.decode(path, o, d.e.live.Status().Update(d.t.Context(), o, client.DryRunAll))
		})
	}
	d.t.Logf("%d odd values were taken, %d refused", d.taken, d.refused)
	if d.taken == 0 {
		d.t.Error("the API server took none, so that nothing was looked at")
	}
}

// object is a valid one of the kind.
func (d *decoding) object() *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": odd.Spec(d.kind.Kind)}}
	u.SetGroupVersionKind(d.kind)
	u.SetName("valid")
	if d.namespaced {
		u.SetNamespace("default")
	}
	return u
}

// decode reads what the API server made of an object, as a client does, unless it refused it.
func (d *decoding) decode(path string, o *unstructured.Unstructured, refused error) {
	if refused != nil {
		d.refused++
		return
	}
	d.taken++
	raw, err := json.Marshal(o.Object)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, _, err := serializer.NewCodecFactory(d.e.live.Scheme()).UniversalDeserializer().Decode(raw, nil, nil); err != nil {
		d.t.Errorf("%s: the API server takes this, and it can't be decoded: %v: %s", path, err, raw)
	}
}
