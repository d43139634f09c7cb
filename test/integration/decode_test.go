package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
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
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/kube"
)

// testDecode: an informer reads a list as a whole, so that one object that the API server takes and the
// operator can't decode would keep it from all others. There is none of our own kinds.
func testDecode(t *testing.T, e *environment) {
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	api, err := e.Client(scheme)
	if err != nil {
		t.Fatal(err)
	}
	var definitions apiextensionsv1.CustomResourceDefinitionList
	if err := api.List(t.Context(), &definitions); err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, crd := range definitions.Items {
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
	const good, odd = "1s", ""
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
	create("b", odd)
	await("a")
	create("c", good)
	await("a", "c")
	edit("b", good)
	await("a", "b", "c")
	edit("c", odd)
	await("a", "b")
	create("d", odd)
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

	passed, refused int
}

// valid are objects of each kind.
var valid = map[string]string{
	"Canary":               "spec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, service: {port: 80}, analysis: {interval: 1m, threshold: 2, stepWeight: 10, maxWeight: 50}}",
	"MetricTemplate":       "spec: {provider: {type: prometheus, address: 'http://prometheus'}, query: up}",
	"AlertProvider":        "spec: {type: slack, address: 'http://slack'}",
	"CanaryAction":         "spec: {canary: web, action: Pause}",
	"ReleasePolicy":        "spec: {maxConcurrent: 1}",
	"ClusterReleasePolicy": "spec: {maxConcurrent: 1}",
}

// odd are values that a schema may let pass for a type and Go does not read.
var odd = map[string][]any{
	"integer":   {int64(1 << 31), int64(-1<<31 - 1), int64(1 << 53), 1e19, 1e30, 1.5, nil},
	"number":    {1e300, -1.5, nil},
	"boolean":   {"true", int64(1), nil},
	"date-time": {"2026-01-01T00:00:00Z", "2026-01-01t00:00:00z", "2026-01-01T00:00:00.123456789Z", "2026-01-01T00:00:00+01:00", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-01-01T23:59:60Z", "2026-02-30T00:00:00Z", "0000-01-01T00:00:00Z", "", nil},
	"string":    {"", int64(1), nil},
	"array":     {nil, map[string]any{}},
	"object":    {nil, []any{}},
	"any":       {nil, "x", 1.5, 1e30, int64(1 << 31), []any{}, map[string]any{}, true},
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
	d.walk("spec", s.Properties["spec"], base.Object["spec"], func(v any) error {
		o := d.object()
		o.SetName("odd")
		o.Object["spec"] = v
		return d.taken(o, d.e.live.Create(d.t.Context(), o, client.DryRunAll))
	})
	if status, ok := s.Properties["status"]; ok {
		d.walk("status", status, nil, func(v any) error {
			o := base.DeepCopy()
			o.Object["status"] = v
			return d.taken(o, d.e.live.Status().Update(d.t.Context(), o, client.DryRunAll))
		})
	}
	d.t.Logf("%d odd values were taken, %d refused", d.passed, d.refused)
	if d.passed == 0 {
		d.t.Error("the API server took none, so that nothing was looked at")
	}
}

// object is a valid one of the kind.
func (d *decoding) object() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(valid[d.kind.Kind]), &u.Object); err != nil {
		d.t.Fatal(err)
	}
	u.SetGroupVersionKind(d.kind)
	u.SetName("valid")
	if d.namespaced {
		u.SetNamespace("default")
	}
	return u
}

// walk tries odd values of a field, and of all below it. with tries one; the rest of the object is as in base, or as
// little as the schema allows.
func (d *decoding) walk(path string, s apiextensionsv1.JSONSchemaProps, base any, with func(any) error) {
	for _, v := range odd[typeOf(s)] {
		if err := with(v); err != nil {
			d.t.Errorf("%s: the API server takes %#v, and it can't be decoded: %v", path, v, err)
		}
	}
	if base == nil {
		base = least(s)
	}
	fields, _ := base.(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(s.Properties)) {
		d.walk(path+"."+key, s.Properties[key], fields[key], func(v any) error {
			whole := maps.Clone(fields)
			if whole == nil {
				whole = map[string]any{}
			}
			whole[key] = v
			return with(whole)
		})
	}
	if s.Items != nil && s.Items.Schema != nil {
		d.walk(path+"[]", *s.Items.Schema, nil, func(v any) error { return with([]any{v}) })
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		d.walk(path+"{}", *s.AdditionalProperties.Schema, nil, func(v any) error { return with(map[string]any{"a": v}) })
	}
}

// taken decodes what the API server made of an object, as a client does, unless it refused it.
func (d *decoding) taken(o *unstructured.Unstructured, refused error) error {
	if refused != nil { // as it should be
		d.refused++
		return nil //nolint:nilerr // what is not taken need not be decoded
	}
	d.passed++
	raw, err := json.Marshal(o.Object)
	if err != nil {
		d.t.Fatal(err)
	}
	_, _, undecodable := serializer.NewCodecFactory(d.e.live.Scheme()).UniversalDeserializer().Decode(raw, nil, nil)
	return undecodable
}

func typeOf(s apiextensionsv1.JSONSchemaProps) string {
	switch {
	case s.Format == "date-time":
		return s.Format
	case s.XIntOrString || s.Type == "":
		return "any"
	default:
		return s.Type
	}
}

// least is a value with no more than a schema asks for.
func least(s apiextensionsv1.JSONSchemaProps) any {
	if len(s.Enum) > 0 {
		var v any
		_ = json.Unmarshal(s.Enum[0].Raw, &v) // it is from a definition that was applied
		return v
	}
	switch typeOf(s) {
	case "integer":
		return int64(1)
	case "number":
		return 1.0
	case "boolean":
		return true
	case "date-time":
		return "2026-01-01T00:00:00.000000Z"
	case "string":
		for _, v := range []string{"a", "1m", "/a", "http://example.com", "UTC", "00:00"} {
			if matches, err := regexp.MatchString(s.Pattern, v); err == nil && matches {
				return v
			}
		}
		return "a"
	case "array":
		if s.MinItems != nil && *s.MinItems > 0 {
			return []any{least(*s.Items.Schema)}
		}
		return []any{}
	default:
		out := map[string]any{}
		for _, key := range s.Required {
			out[key] = least(s.Properties[key])
		}
		return out
	}
}
