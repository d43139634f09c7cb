package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// request is what an API server was asked for.
type request struct {
	Method, Path, Query, ContentType, Accept string
	Body                                     map[string]any
}

// leanWorld is an API server that answers every write in the same way, and a client of it.
type leanWorld struct {
	client client.Client
	asked  []request
	status int // of the answers
}

func newLeanWorld(t *testing.T) *leanWorld {
	t.Helper()
	w := &leanWorld{status: http.StatusOK}
	server := httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(server.Close)
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(v1beta1.GroupVersion.WithKind("Canary"), meta.RESTScopeNamespace)
	mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: "Service"}, meta.RESTScopeNamespace)
	c, err := newClient(&rest.Config{Host: server.URL}, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	w.client = c
	return w
}

func (w *leanWorld) serve(out http.ResponseWriter, in *http.Request) {
	r := request{Method: in.Method, Path: in.URL.Path, Query: in.URL.RawQuery, ContentType: in.Header.Get("Content-Type"), Accept: in.Header.Get("Accept")}
	raw, _ := io.ReadAll(in.Body)
	_ = json.Unmarshal(raw, &r.Body)
	w.asked = append(w.asked, r)
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(w.status)
	var answer any = &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"},
		ObjectMeta: metav1.ObjectMeta{UID: "u1", ResourceVersion: "8"},
	}
	if w.status == http.StatusConflict {
		answer = apierrors.NewConflict(schema.GroupResource{Resource: "canaries"}, "podinfo", nil).Status()
	}
	_ = json.NewEncoder(out).Encode(answer)
}

func TestLeanWrites(t *testing.T) {
	canary := func() *v1beta1.Canary {
		return &v1beta1.Canary{
			ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", ResourceVersion: "7", UID: "u1"},
			Status:     v1beta1.CanaryStatus{CanaryWeight: 20},
		}
	}
	service := func() *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"namespace": "test", "name": "podinfo"}, "spec": map[string]any{"type": "ClusterIP"},
		}}
	}
	t.Run("status", func(t *testing.T) {
		w, c := newLeanWorld(t), canary()
		if err := w.client.Status().Update(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		got := w.asked[0]
		status, _ := got.Body["status"].(map[string]any)
		if got.Body["kind"] != "Canary" || status["canaryWeight"] != 20.0 {
			t.Errorf("body %v", got.Body)
		}
		if version := got.Body["metadata"].(map[string]any)["resourceVersion"]; version != "7" {
			t.Errorf("there is no optimistic lock: version %v", version)
		}
		got.Body = nil
		want := request{Method: http.MethodPut, Path: "/apis/flagger.app/v1beta1/namespaces/test/canaries/podinfo/status", ContentType: "application/json", Accept: metadataOnly}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("request (-want +got)\n%s", diff)
		}
		if c.ResourceVersion != "8" || c.Status.CanaryWeight != 20 {
			t.Errorf("the object afterwards: version %s, status %+v", c.ResourceVersion, c.Status)
		}
	})
	t.Run("apply", func(t *testing.T) {
		w, u := newLeanWorld(t), service()
		err := w.client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("sluice"), client.ForceOwnership)
		if err != nil {
			t.Fatal(err)
		}
		want := request{
			Method: http.MethodPatch, Path: "/api/v1/namespaces/test/services/podinfo", Query: "fieldManager=sluice&force=true",
			ContentType: "application/apply-patch+yaml", Accept: metadataOnly, Body: service().Object,
		}
		if diff := cmp.Diff(want, w.asked[0]); diff != "" {
			t.Errorf("request (-want +got)\n%s", diff)
		}
		if u.GetResourceVersion() != "8" {
			t.Errorf("version afterwards %q", u.GetResourceVersion())
		}
	})
	t.Run("conflict", func(t *testing.T) {
		w, c := newLeanWorld(t), canary()
		w.status = http.StatusConflict
		if err := w.client.Status().Update(t.Context(), c); !apierrors.IsConflict(err) {
			t.Errorf("error %v", err)
		}
		if c.ResourceVersion != "7" {
			t.Errorf("version afterwards %q", c.ResourceVersion)
		}
	})
	t.Run("kind that is not served", func(t *testing.T) {
		w, u := newLeanWorld(t), service()
		u.SetKind("Mesh")
		err := w.client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("sluice"))
		if !meta.IsNoMatchError(err) {
			t.Errorf("error %v", err)
		}
	})
}
