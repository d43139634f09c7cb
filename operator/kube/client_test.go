package kube

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// received is a request that a server got.
type received struct {
	method, path, query, contentType, accept, body string
}

// serverOf answers every request with an object in JSON.
func serverOf(t *testing.T, code int, answer any) (client.Client, *received) {
	t.Helper()
	got := &received{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		*got = received{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Get("Content-Type"), r.Header.Get("Accept"), string(body)}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(appsv1.SchemeGroupVersion.WithKind("Deployment"), meta.RESTScopeNamespace)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Node"), meta.RESTScopeRoot)
	c, err := NewClient(&rest.Config{Host: server.URL}, client.Options{Scheme: scheme.Scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	return c, got
}

func written() *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "test", Name: "web", UID: "u", ResourceVersion: "8", Generation: 3, Labels: map[string]string{"a": "b"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "Canary", Name: "web"}},
		},
	}
}

func intentOf(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"replicas": int64(2)}}}
	u.SetAPIVersion(apiVersion)
	u.SetKind(kind)
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

func TestApply(t *testing.T) {
	for name, tc := range map[string]struct {
		intent *unstructured.Unstructured
		path   string
	}{
		"in a namespace":            {intentOf("apps/v1", "Deployment", "test", "web"), "/apis/apps/v1/namespaces/test/deployments/web"},
		"of the group without name": {intentOf("v1", "Node", "", "web"), "/api/v1/nodes/web"},
	} {
		t.Run(name, func(t *testing.T) {
			c, got := serverOf(t, http.StatusOK, written())
			err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(tc.intent), client.FieldOwner("sluice"), client.ForceOwnership)
			if err != nil {
				t.Fatal(err)
			}
			if got.method != http.MethodPatch || got.path != tc.path || got.query != "fieldManager=sluice&force=true" {
				t.Errorf("request %s %s?%s", got.method, got.path, got.query)
			}
			if got.contentType != "application/apply-patch+yaml" || !strings.Contains(got.accept, "as=PartialObjectMetadata") {
				t.Errorf("of type %q, asking for %q", got.contentType, got.accept)
			}
			if !strings.Contains(got.body, `"replicas":2`) || strings.Contains(got.body, "resourceVersion") {
				t.Errorf("body %s", got.body)
			}
			if tc.intent.GetResourceVersion() != "8" || tc.intent.GetUID() != "u" || len(tc.intent.GetOwnerReferences()) != 1 {
				t.Errorf("then it is %v", tc.intent.Object)
			}
		})
	}
}

func TestStatusUpdate(t *testing.T) {
	c, got := serverOf(t, http.StatusOK, written())
	o := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "web", ResourceVersion: "7"}, Status: appsv1.DeploymentStatus{Replicas: 5}}
	if err := c.Status().Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if got.method != http.MethodPut || got.path != "/apis/apps/v1/namespaces/test/deployments/web/status" || got.contentType != "application/json" {
		t.Errorf("request %s %s of type %q", got.method, got.path, got.contentType)
	}
	for _, want := range []string{`"apiVersion":"apps/v1"`, `"kind":"Deployment"`, `"resourceVersion":"7"`, `"replicas":5`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("body %s lacks %s", got.body, want)
		}
	}
	if o.ResourceVersion != "8" || o.Status.Replicas != 5 || o.Kind != "" {
		t.Errorf("then it is %+v", o)
	}
}

// The API server's refusals are the errors that they are of any client.
func TestRefusedWrites(t *testing.T) {
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "deployments"}, "web", io.EOF).Status()
	conflict.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	c, _ := serverOf(t, http.StatusConflict, conflict)
	o := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "web", ResourceVersion: "7"}}
	if err := c.Status().Update(t.Context(), o); !apierrors.IsConflict(err) || o.ResourceVersion != "7" {
		t.Errorf("error %v, then version %s", err, o.ResourceVersion)
	}
	if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(intentOf("apps/v1", "Deployment", "test", "web"))); !apierrors.IsConflict(err) {
		t.Errorf("error %v", err)
	}
	if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(intentOf("a.b/v1", "Unknown", "test", "web"))); !meta.IsNoMatchError(err) {
		t.Errorf("of a kind that is not served: %v", err)
	}
}
