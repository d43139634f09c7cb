package traefik_test

import (
	"encoding/json"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/traefik"
)

// TestUsersObjects draws a TraefikService of the apex Service's name. It is taken over where it only leads to that, and
// stays as it is where it says more.
func TestUsersObjects(t *testing.T) {
	outer := t
	routertest.UsersObjects(t, func(t *rapid.T) *routertest.Users {
		w := newWorld(outer, kind)
		if users := drawService(t); users != nil {
			if err := w.Create(outer.Context(), users, client.FieldOwner("somebody")); err != nil {
				t.Fatal(err)
			}
		}
		return &routertest.Users{
			Router: w.router, Route: providers.Route{Canary: canary()}, Closed: true,
			Serve:  func() []routertest.Outcome { return []routertest.Outcome{w.served(outer)} },
			Stored: func() any { return w.served(outer) }, // it stays, and leads where it led
		}
	})
}

// drawService draws what a user may have.
func drawService(t *rapid.T) *unstructured.Unstructured {
	if rapid.IntRange(0, 3).Draw(t, "none") == 0 {
		return nil
	}
	some := func(what string, of ...any) any { return rapid.SampledFrom(of).Draw(t, what) }
	rarely := func(what string, into map[string]any, value any) {
		if rapid.IntRange(0, 11).Draw(t, what) == 0 {
			into[what] = value
		}
	}
	var services []any
	for range rapid.SampledFrom([]int{1, 1, 1, 1, 2}).Draw(t, "services") {
		s := map[string]any{"name": some("name", "podinfo", "podinfo", "podinfo", "podinfo", "billing"), "port": some("port", int64(80), int64(80), int64(80), int64(80), "http", int64(9090))}
		rarely("scheme", s, "https")
		rarely("serversTransport", s, "own")
		rarely("namespace", s, "test")
		rarely("weight", s, int64(3))
		services = append(services, s)
	}
	weighted := map[string]any{"services": services}
	rarely("sticky", weighted, map[string]any{"cookie": map[string]any{"name": "a"}})
	spec := map[string]any{"weighted": weighted}
	rarely("mirroring", spec, map[string]any{"name": "podinfo"})
	out := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	out.SetGroupVersionKind(kind)
	out.SetNamespace("test")
	out.SetName("podinfo")
	return out
}

// served is what becomes of all requests that IngressRoutes lead to the TraefikService. Where there is none yet, they lead to
// the Service itself.
func (w *world) served(t *testing.T) routertest.Outcome {
	t.Helper()
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(kind)
	switch err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: "podinfo"}, live); {
	case apierrors.IsNotFound(err):
		return routertest.Outcome{Shares: map[string]float64{"podinfo:80": 100}, Treatment: "{}"}
	case err != nil:
		t.Fatal(err)
	}
	out, total := routertest.Outcome{Shares: map[string]float64{}}, float64(0)
	spec, _, _ := unstructured.NestedMap(live.Object, "spec")
	services, _, _ := unstructured.NestedSlice(spec, "weighted", "services")
	weight := func(s map[string]any) float64 {
		if n, ok := s["weight"].(int64); ok {
			return float64(n)
		}
		return 1
	}
	for _, s := range services {
		total += weight(s.(map[string]any))
	}
	for _, s := range services {
		s := s.(map[string]any)
		out.Shares[fmt.Sprintf("%v:%v", s["name"], s["port"])] += 100 * weight(s) / total
		for _, known := range []string{"name", "port", "weight", "namespace"} {
			delete(s, known)
		}
		if len(s) > 0 {
			out.Treatment += fmt.Sprint(s)
		}
	}
	unstructured.RemoveNestedField(spec, "weighted", "services")
	if weighted, _ := spec["weighted"].(map[string]any); len(weighted) == 0 {
		delete(spec, "weighted")
	}
	out.Treatment += encoded(t, spec)
	return out
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestPortsByName: an informer that can't read one object of its kind has none at all.
func TestPortsByName(t *testing.T) {
	live := &traefik.TraefikService{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"}}
	if err := json.Unmarshal([]byte(`{"weighted":{"services":[{"name":"podinfo","port":"http"},{"name":"podinfo","port":80}]}}`), &live.Spec); err != nil {
		t.Fatal(err)
	}
	if got := encoded(t, live.Spec); got != `{"weighted":{"services":[{"name":"podinfo","port":"http"},{"name":"podinfo","port":80}]}}` {
		t.Errorf("read and written again it is %s", got)
	}
}
