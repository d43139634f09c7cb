package preflight

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	chart "github.com/sluice-delivery/sluice/charts/sluice"
)

// newView sees the Service "both" of a file, and of a cluster that Service and "live". Secrets are not to be read there.
func newView(t *testing.T) *View {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1beta1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	service := func(name, from string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"from": from}}}
	}
	forbidden := func(kind string) error {
		if kind != "Secret" {
			return nil
		}
		return apierrors.NewForbidden(corev1.Resource("secrets"), "", errors.New("no"))
	}
	base := fake.NewClientBuilder().WithScheme(scheme).WithObjects(service("both", "cluster"), service("live", "cluster")).Build()
	live := interceptor.NewClient(base, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			gvk, err := c.GroupVersionKindFor(o)
			return cmpOr(err, forbidden(gvk.Kind), func() error { return c.Get(ctx, key, o, opts...) })
		},
		List: func(ctx context.Context, c client.WithWatch, o client.ObjectList, opts ...client.ListOption) error {
			gvk, err := c.GroupVersionKindFor(o)
			return cmpOr(err, forbidden(strings.TrimSuffix(gvk.Kind, "List")), func() error { return c.List(ctx, o, opts...) })
		},
	})
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(service("both", "file"))
	if err != nil {
		t.Fatal(err)
	}
	file := &unstructured.Unstructured{Object: content}
	file.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Service"))
	return NewView(scheme, []*unstructured.Unstructured{file}, live, base.RESTMapper())
}

func cmpOr(a, b error, otherwise func() error) error {
	if a != nil {
		return a
	}
	if b != nil {
		return b
	}
	return otherwise()
}

// A view has objects of files in the place of the cluster's, by index too, and in every form that they are asked for in.
func TestViewReads(t *testing.T) {
	v := newView(t)
	byFrom := func(o client.Object) []string { return []string{o.GetLabels()["from"]} }
	if err := v.IndexField(t.Context(), &corev1.Service{}, "from", byFrom); err != nil {
		t.Fatal(err)
	}
	names := func(opts ...client.ListOption) (out []string) {
		t.Helper()
		typed, metadata, plain := &corev1.ServiceList{}, &metav1.PartialObjectMetadataList{}, &unstructured.UnstructuredList{}
		metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceList"))
		plain.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceList"))
		for range 2 { // what was read once is known
			for _, list := range []client.ObjectList{typed, metadata, plain} {
				if err := v.List(t.Context(), list, opts...); err != nil {
					t.Fatal(err)
				}
			}
		}
		for i := range typed.Items {
			out = append(out, typed.Items[i].Name+" of "+typed.Items[i].Labels["from"])
		}
		if len(metadata.Items) != len(out) || len(plain.Items) != len(out) {
			t.Errorf("%d typed, %d of metadata, %d unstructured", len(out), len(metadata.Items), len(plain.Items))
		}
		slices.Sort(out)
		return out
	}
	for name, tc := range map[string]struct {
		opts []client.ListOption
		want []string
	}{
		"all":                  {nil, []string{"both of file", "live of cluster"}},
		"of the namespace":     {[]client.ListOption{client.InNamespace("shop")}, []string{"both of file", "live of cluster"}},
		"of another namespace": {[]client.ListOption{client.InNamespace("pay")}, nil},
		"by label":             {[]client.ListOption{client.MatchingLabels{"from": "file"}}, []string{"both of file"}},
		"by index":             {[]client.ListOption{client.MatchingFields{"from": "cluster"}}, []string{"live of cluster"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, names(tc.opts...)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if err := v.List(t.Context(), &corev1.ServiceList{}, client.MatchingFields{"to": "x"}); err == nil {
		t.Error("there is an index that nobody made")
	}
	s, none := &corev1.Service{}, &corev1.Service{}
	if err := v.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "both"}, s); err != nil || s.Labels["from"] != "file" {
		t.Errorf("%v: %+v", err, s)
	}
	s.Labels["from"] = "changed" // what a view gives out is a copy
	if got := names(); !slices.Contains(got, "both of file") {
		t.Errorf("%v", got)
	}
	if err := v.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "none"}, none); !apierrors.IsNotFound(err) {
		t.Errorf("%v", err)
	}
}

// What can't be read is noted, once, until another object is looked at. What is not there is not.
func TestViewNotes(t *testing.T) {
	v := newView(t)
	for range 2 {
		if err := v.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "key"}, &corev1.Secret{}); !apierrors.IsForbidden(err) {
			t.Errorf("%v", err)
		}
		if err := v.List(t.Context(), &corev1.SecretList{}); !apierrors.IsForbidden(err) {
			t.Errorf("%v", err)
		}
	}
	if diff := cmp.Diff([]string{"Secret shop/key: no right to read it", "all Secrets: no right to read it"}, v.Unread()); diff != "" {
		t.Error(diff)
	}
	if !onlySecrets(v.Unread()) || onlySecrets([]string{"Service shop/a: no right to read it"}) {
		t.Error("Secrets are not told from other kinds")
	}
	live, fresh := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "live"}}, &unstructured.Unstructured{}
	fresh.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Service"))
	fresh.SetNamespace("shop")
	fresh.SetName("fresh")
	err := errors.Join(
		v.Patch(t.Context(), live, client.RawPatch("application/merge-patch+json", []byte("{}"))), v.Delete(t.Context(), live),
		v.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(fresh)), v.Create(t.Context(), fresh),
	)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Write{{"Service", "live", true, false}, {"Service", "live", true, true}, {"Service", "fresh", false, false}}, v.Writes()); diff != "" {
		t.Error(diff)
	}
	if err := v.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "live"}, live); err != nil {
		t.Errorf("it was deleted: %v", err)
	}
	v.Forget()
	if len(v.Writes()) > 0 || len(v.Unread()) > 0 {
		t.Errorf("%v, %v", v.Writes(), v.Unread())
	}
}

// The exit status goes by the worst, and what could not be looked at is no refusal.
func TestExit(t *testing.T) {
	for name, tc := range map[string]struct {
		verdicts []Verdict
		unread   []string
		strict   bool
		want     int
	}{
		"nothing":                    {want: ExitServed},
		"served":                     {verdicts: []Verdict{Served, Differs}, want: ExitServed},
		"differences count":          {verdicts: []Verdict{Served, Differs}, strict: true, want: ExitRefused},
		"refused beside unknown":     {verdicts: []Verdict{Unknown, Refused}, want: ExitRefused},
		"unknown":                    {verdicts: []Verdict{Unknown, Served}, want: ExitUnknown},
		"a file that is not read":    {verdicts: []Verdict{Served}, unread: []string{"a.yaml"}, want: ExitUnknown},
		"refused beside such a file": {verdicts: []Verdict{Refused}, unread: []string{"a.yaml"}, want: ExitRefused},
	} {
		t.Run(name, func(t *testing.T) {
			r := Report{Unread: tc.unread}
			for _, v := range tc.verdicts {
				r.Findings = append(r.Findings, Finding{Verdict: v})
			}
			if got := r.Exit(tc.strict); got != tc.want {
				t.Errorf("%d, want %d", got, tc.want)
			}
		})
	}
}

// Files, folders, lists and streams of several objects are read; what is no object is passed over.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"a.yaml":     "kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: one}}\n- {apiVersion: v1, kind: Service, metadata: {name: two, namespace: shop}}\n",
		"b.json":     `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "three"}}`,
		"c/d.yml":    "---\n# nothing\n---\napiVersion: v1\nkind: Service\nmetadata: {name: four}\n---\nreplicas: 1\n---\n- a\n---\n{apiVersion: v1, kind: Service}\n",
		"values.txt": "not: {{ read }}",
		"chart.yaml": "a: {{ .Values.a }}\n  b",
	} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	objects, unread, err := Read(dir, nil)
	if err != nil || len(unread) != 1 || !strings.Contains(unread[0], "chart.yaml") {
		t.Fatalf("%v, %v", err, unread)
	}
	var got []string
	for _, o := range objects {
		got = append(got, o.GetNamespace()+"/"+o.GetName())
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"default/four", "default/one", "default/three", "shop/two"}, got); diff != "" {
		t.Error(diff)
	}
	if objects, _, err := Read("-", strings.NewReader(`{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "five"}}`)); err != nil || len(objects) != 1 || objects[0].Source != "stdin" {
		t.Errorf("%v, %v", objects, err)
	}
	if _, _, err := Read("-", io.MultiReader(strings.NewReader("a: b: c"))); err == nil {
		t.Error("it is no YAML")
	}
}

// The schemas are those that are installed. A kind that is not ours has none.
func TestSchemas(t *testing.T) {
	s, err := ReadSchemas(chart.CRDs)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range subjects {
		if s[v1beta1.GroupVersion.WithKind(kind.kind)] == nil {
			t.Errorf("%s has no schema", kind.kind)
		}
	}
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": map[string]any{"name": "a"}, "status": "not looked at"}}
	if got := s.Refuses(o); len(got) != 1 || got[0] != "spec is required" {
		t.Errorf("%q", got)
	}
	o.SetKind("Flag")
	if got := s.Refuses(o); got != nil {
		t.Errorf("%q", got)
	}
}
