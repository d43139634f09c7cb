package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

const app = "podinfo"

// canary creates a Canary in a namespace of its own.
func (e *environment) canary(t *testing.T, service v1beta1.CanaryService) *v1beta1.Canary {
	t.Helper()
	service.Port = 80
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace(t), Name: app},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: app},
			Service:   service,
			Analysis:  &v1beta1.CanaryAnalysis{Interval: "10s", Threshold: 1, StepWeight: 10},
		},
	}
	e.create(t, c)
	return c
}

func route(c *v1beta1.Canary, weight int32) providers.Route {
	return providers.Route{Canary: c, Traffic: providers.Traffic{Primary: 100 - weight, Canary: weight}}
}

// istio is a router whose client reads from the cache.
func (e *environment) istio(c client.Client) *istio.Router {
	return istio.New(istio.Config{Client: c, Live: e.live, Applier: ssa.New(c)})
}

func testIstioNotInstalled(t *testing.T, e *environment) {
	router := e.istio(e.cached)
	r := route(e.canary(t, v1beta1.CanaryService{}), 0)
	if _, err := router.Observe(t.Context(), r); !providers.IsNotInstalled(err) {
		t.Errorf("observe: %v", err)
	}
	if err := router.Apply(t.Context(), r); !providers.IsNotInstalled(err) {
		t.Errorf("apply: %v", err)
	}
}

func testIstio(t *testing.T, e *environment) {
	t.Run("conformance", func(t *testing.T) {
		routertest.Run(t, func(t *testing.T) routertest.World {
			c, writes := e.counting()
			canary := e.canary(t, v1beta1.CanaryService{})
			rival := &istionetworking.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: canary.Namespace, Name: "a-rival"}}
			rival.Spec.Hosts = []string{app}
			rival.Spec.Http = []*networking.HTTPRoute{{Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: app}}}}}
			users := &istionetworking.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: canary.Namespace, Name: app}}
			rival.Spec.DeepCopyInto(&users.Spec)
			return routertest.World{
				Router: e.istio(c), Canary: canary, Deadline: limit,
				Writes: func() int { return int(writes.Load()) },
				Drift: func(t *testing.T, traffic providers.Traffic) {
					var vs istionetworking.VirtualService
					e.read(t, canary.Namespace, app, &vs)
					vs.Spec.Http[0].Route[0].Weight, vs.Spec.Http[0].Route[1].Weight = traffic.Primary, traffic.Canary
					if err := e.live.Update(t.Context(), &vs); err != nil {
						t.Fatal(err)
					}
				},
			}.With(routertest.Object{Client: e.live, Users: users, Rival: rival, Seen: e.cachedAs})
		})
	})
	t.Run("every field survives the server", func(t *testing.T) { testIstioFields(t, e) })
	t.Run("a user's VirtualService", func(t *testing.T) { testIstioAdoption(t, e) })
	t.Run("delegation", func(t *testing.T) { testIstioDelegation(t, e) })
	t.Run("analysis", func(t *testing.T) { testIstioAnalysis(t, e) })
}

// testIstioFields has everything that the spec can say, zeros among it, stored
// and read back: nothing is dropped, and nothing looks like drift.
func testIstioFields(t *testing.T, e *environment) {
	c, writes := e.counting()
	canary := e.canary(t, v1beta1.CanaryService{
		Hosts: []string{"app.example.com"}, Gateways: []string{"istio-system/public", "mesh"}, Timeout: "1m30s",
		Match:         []v1beta1.RawObject{raw(`{"uri":{"prefix":"/"}}`)},
		Rewrite:       new(raw(`{"uri":"/v2"}`)),
		Retries:       new(raw(`{"attempts":0}`)),
		Headers:       new(raw(`{"request":{"add":{"x-a":"1"}}}`)),
		CorsPolicy:    new(raw(`{"allowOrigins":[{"exact":"https://example.com"}],"allowCredentials":false,"maxAge":"24h"}`)),
		TrafficPolicy: new(raw(`{"tls":{"mode":"DISABLE"},"loadBalancer":{"consistentHash":{"useSourceIp":true,"minimumRingSize":1024}},"connectionPool":{"http":{"http1MaxPendingRequests":0,"maxRetries":3},"tcp":{"connectTimeout":"30ms"}}}`)),
	})
	settle(t, e.istio(c), route(canary, 10))
	before := writes.Load()
	// A new operator has no memory, and compares what is there.
	if state, err := e.istio(c).Observe(t.Context(), route(canary, 10)); err != nil || !state.InSync {
		t.Errorf("a new router observes %+v, %v", state, err)
	}
	settle(t, e.istio(c), route(canary, 10))
	if n := writes.Load() - before; n != 0 {
		t.Errorf("a new router wrote %d times", n)
	}
	want := object(t, `{"hosts":["app.example.com","podinfo"],"gateways":["istio-system/public","mesh"],"http":[{
		"match":[{"uri":{"prefix":"/"}}],"rewrite":{"uri":"/v2"},"timeout":"90s","retries":{},
		"headers":{"request":{"add":{"x-a":"1"}}},
		"corsPolicy":{"allowOrigins":[{"exact":"https://example.com"}],"allowCredentials":false,"maxAge":"86400s"},
		"route":[{"destination":{"host":"podinfo-primary"},"weight":90},{"destination":{"host":"podinfo-canary"},"weight":10}]}]}`)
	if d := cmp.Diff(want, e.spec(t, "VirtualService", canary.Namespace, app)); d != "" {
		t.Errorf("VirtualService (-want +got)\n%s", d)
	}
	want = object(t, `{"host":"podinfo-canary","trafficPolicy":{"tls":{"mode":"DISABLE"},
		"loadBalancer":{"consistentHash":{"useSourceIp":true,"minimumRingSize":1024}},
		"connectionPool":{"http":{"maxRetries":3},"tcp":{"connectTimeout":"0.030s"}}}}`)
	if d := cmp.Diff(want, e.spec(t, "DestinationRule", canary.Namespace, app+"-canary")); d != "" {
		t.Errorf("DestinationRule (-want +got)\n%s", d)
	}
}

// testIstioAdoption takes over VirtualServices of somebody else's, which stay
// theirs, and gives them back as they were (pain 20).
func testIstioAdoption(t *testing.T, e *environment) {
	const everything = `{"hosts":["old.example.com"],"gateways":["old"],"exportTo":["."],"http":[
		{"match":[{"uri":{"prefix":"/admin"}}],"route":[{"destination":{"host":"admin"},"weight":0}]},
		{"match":[{"port":80}],"redirect":{"scheme":"https"}},
		{"name":"slow","match":[{"uri":{"prefix":"/slow"}}],"timeout":"1m30s","retries":{"attempts":0},
		 "fault":{"delay":{"fixedDelay":"1s","percentage":{"value":0.5}}},"route":[{"destination":{"host":"podinfo"}}]},
		{"corsPolicy":{"allowCredentials":false},"route":[{"destination":{"host":"podinfo","subset":"v1"},"weight":90},{"destination":{"host":"podinfo","subset":"v2"},"weight":10}]}]}`
	taken := `{"hosts":["podinfo"],"gateways":["mesh"],"http":[{"route":[{"destination":{"host":"podinfo-primary"},"weight":100},{"destination":{"host":"podinfo-canary"},"weight":0}]}]}`
	for name, tc := range map[string]struct {
		service     v1beta1.CanaryService
		spec        string
		annotations map[string]string
		want        string // of the spec's beginning while it is taken over
		wantBack    string // spec, empty for what it was
	}{
		"plain": {spec: everything, want: `{"hosts":["old.example.com"],"gateways":["old"],"exportTo":["."]}`},
		"connections": {
			spec: `{"hosts":["podinfo"],"tcp":[{"route":[{"destination":{"host":"podinfo"}}]}]}`,
			want: `{"hosts":["podinfo"],"gateways":["mesh"]}`,
		},
		"SNI": {
			spec: `{"hosts":["podinfo"],"tls":[{"match":[{"port":9443,"sniHosts":["podinfo"]}],"route":[{"destination":{"host":"podinfo"}}]}]}`,
			want: `{"hosts":["podinfo"],"gateways":["mesh"]}`,
		},
		"a route to the canary": {
			spec: `{"hosts":["podinfo","shop.example.com"],"gateways":["mesh","infra/public"],"http":[
				{"match":[{"uri":{"prefix":"/billing"}}],"route":[{"destination":{"host":"billing"}}]},
				{"match":[{"headers":{"x-tester":{"exact":"yes"}}}],"route":[{"destination":{"host":"podinfo-canary"}}]},
				{"timeout":"3s","route":[{"destination":{"host":"podinfo"}}]}]}`,
			want: `{"hosts":["podinfo","shop.example.com"],"gateways":["mesh","infra/public"]}`,
		},
		"delegation": {service: v1beta1.CanaryService{Delegation: true}, spec: everything, want: `{"hosts":[],"gateways":[],"exportTo":["."]}`},
		"delegate of the user's": {
			service: v1beta1.CanaryService{Delegation: true},
			spec:    `{"http":[{"route":[{"destination":{"host":"podinfo"}}]}]}`, want: `{"hosts":[],"gateways":[]}`,
		},
		"empty": {spec: `{}`, want: `{"hosts":["podinfo"],"gateways":["mesh"]}`, wantBack: `{"hosts":[]}`},
		"Flagger's": {
			spec: taken, annotations: map[string]string{"flagger.kubernetes.io/original-configuration": everything},
			want: `{"hosts":["podinfo"],"gateways":["mesh"]}`, wantBack: everything,
		},
	} {
		t.Run(name, func(t *testing.T) {
			canary := e.canary(t, tc.service)
			u := &unstructured.Unstructured{Object: map[string]any{"spec": object(t, tc.spec)}}
			u.SetGroupVersionKind(istionetworking.SchemeGroupVersion.WithKind("VirtualService"))
			u.SetNamespace(canary.Namespace)
			u.SetName(app)
			u.SetLabels(map[string]string{"app.kubernetes.io/managed-by": "Helm"})
			u.SetAnnotations(union(tc.annotations, map[string]string{"note": "kept", "kustomize.toolkit.fluxcd.io/reconcile": "enabled"}))
			e.create(t, u)
			before := u.DeepCopy()
			vs := &istionetworking.VirtualService{}
			e.read(t, canary.Namespace, app, vs)
			e.cachedAs(t, vs)
			c, writes := e.counting()
			router := e.istio(c)
			saved := ""
			for _, weight := range []int32{0, 10, 100} {
				settle(t, router, route(canary, weight))
				got := e.spec(t, "VirtualService", canary.Namespace, app)
				for _, routes := range []string{"http", "tcp", "tls"} {
					delete(got, routes)
				}
				if d := cmp.Diff(object(t, tc.want), got); d != "" {
					t.Errorf("(-want +got)\n%s", d)
				}
				e.read(t, canary.Namespace, app, vs)
				if vs.Labels["app.kubernetes.io/managed-by"] != "Helm" || len(vs.OwnerReferences) != 0 {
					t.Errorf("it is no longer its user's: %+v", vs.ObjectMeta)
				}
				if now := vs.Annotations["sluice.dev/original"]; now == "" || saved != "" && now != saved {
					t.Errorf("the original became %q, was %q", now, saved)
				}
				saved = vs.Annotations["sluice.dev/original"]
			}
			settled := writes.Load()
			settle(t, e.istio(c), route(canary, 100))
			if n := writes.Load() - settled; n != 0 {
				t.Errorf("a new router wrote %d times", n)
			}

			deleted := canary.DeepCopy()
			deleted.DeletionTimestamp = new(metav1.Now())
			for range 2 {
				if err := router.Release(t.Context(), route(deleted, 0)); err != nil {
					t.Fatal(err)
				}
			}
			e.read(t, canary.Namespace, app, u)
			want := before.Object["spec"]
			if tc.wantBack != "" {
				want = object(t, tc.wantBack)
			}
			if d := cmp.Diff(object(t, string(encode(t, want))), e.spec(t, "VirtualService", canary.Namespace, app)); d != "" {
				t.Errorf("given back (-want +got)\n%s", d)
			}
			if d := cmp.Diff([]any{before.GetLabels(), before.GetAnnotations()}, []any{u.GetLabels(), u.GetAnnotations()}); d != "" {
				t.Errorf("given back (-want +got)\n%s", d)
			}
		})
	}
}

// testIstioDelegation switches delegation on and off in a VirtualService of ours:
// the hosts and gateways of before are gone, and back.
func testIstioDelegation(t *testing.T, e *environment) {
	canary := e.canary(t, v1beta1.CanaryService{})
	c, _ := e.counting()
	router := e.istio(c)
	for i, delegation := range []bool{false, true, false} {
		canary.Spec.Service.Delegation, canary.Generation = delegation, int64(i+1)
		settle(t, router, route(canary, 10))
		got := e.spec(t, "VirtualService", canary.Namespace, app)
		delete(got, "http")
		want := map[bool]string{false: `{"hosts":["podinfo"],"gateways":["mesh"]}`, true: `{"hosts":[],"gateways":[]}`}[delegation]
		if d := cmp.Diff(object(t, want), got); d != "" {
			t.Errorf("delegation %v (-want +got)\n%s", delegation, d)
		}
	}
}

func union(a, b map[string]string) map[string]string {
	out := maps.Clone(b)
	maps.Copy(out, a)
	return out
}

// settle applies until the router observes it.
func settle(t *testing.T, router providers.Router, r providers.Route) {
	t.Helper()
	if err := router.Apply(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	await(t, "the route", func(ctx context.Context) error {
		state, err := router.Observe(ctx, r)
		if err == nil && !state.InSync {
			err = fmt.Errorf("it is %+v", state)
		}
		return err
	})
}

// spec is that of one of Istio's objects as it is stored.
func (e *environment) spec(t *testing.T, kind, namespace, name string) map[string]any {
	t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(istionetworking.SchemeGroupVersion.WithKind(kind))
	e.read(t, namespace, name, u)
	spec, ok := u.Object["spec"].(map[string]any)
	if !ok {
		t.Fatal(errors.New("no spec"), client.ObjectKeyFromObject(u))
	}
	return object(t, string(encode(t, spec)))
}

func raw(s string) v1beta1.RawObject { return v1beta1.RawObject{Raw: []byte(s)} }

func object(t *testing.T, s string) (o map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
