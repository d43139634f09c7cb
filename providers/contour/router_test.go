package contour_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/contour"
	"github.com/sluice-delivery/sluice/providers/internal/custom"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

var kind = schema.GroupVersionKind{Group: "projectcontour.io", Version: "v1", Kind: "HTTPProxy"}

type world struct {
	*routertest.API

	router *contour.Router
}

func newWorld(t *testing.T, class string, served ...schema.GroupVersionKind) *world {
	t.Helper()
	w := &world{API: routertest.NewAPI(t, contour.AddToScheme, routertest.Mapper(served...))}
	w.router = contour.New(w.Client, ssa.New(w.Client), class)
	return w
}

func canary(changes ...func(*v1beta1.Canary)) *v1beta1.Canary {
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: "test", UID: "c1"},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
			Service:   v1beta1.CanaryService{Port: 80},
			Analysis:  &v1beta1.CanaryAnalysis{StepWeight: 10},
		},
	}
	for _, change := range changes {
		change(c)
	}
	return c
}

func matching(conditions ...string) func(*v1beta1.Canary) {
	return func(c *v1beta1.Canary) {
		c.Spec.Analysis = &v1beta1.CanaryAnalysis{Iterations: 3, Match: objects(conditions...)}
	}
}

func objects(texts ...string) (out []v1beta1.RawObject) {
	for _, text := range texts {
		out = append(out, v1beta1.RawObject{Raw: json.RawMessage(text)})
	}
	return out
}

func (w *world) get(t *testing.T) *contour.HTTPProxy {
	t.Helper()
	out := &contour.HTTPProxy{}
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: "podinfo"}, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *world) update(t *testing.T, o client.Object) {
	t.Helper()
	if err := w.Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// says has Contour say of the HTTPProxy what the condition is.
func (w *world) says(t *testing.T, status metav1.ConditionStatus, errors ...custom.Reason) {
	t.Helper()
	live := w.get(t)
	live.Status.Conditions = []custom.Condition{{
		Condition: metav1.Condition{Type: "Valid", Status: status, Reason: "Reason", Message: "message", ObservedGeneration: live.Generation},
		Errors:    errors,
	}}
	w.update(t, live)
}

func proxy(t *testing.T, spec string) *contour.HTTPProxy {
	t.Helper()
	return &contour.HTTPProxy{Resource: custom.Resource{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"}, Spec: routertest.Spec(t, spec)}}
}

const users = `
virtualhost: {fqdn: app.example.com}
routes:
- conditions: [{prefix: /}]
  services: [{name: podinfo, port: 80, protocol: h2c}]
  enableWebsockets: true
- conditions: [{prefix: /billing}]
  services: [{name: billing, port: 8080, weight: 90}, {name: ledger, port: 8080, weight: 10}]
`

func TestConformance(t *testing.T) {
	routertest.Run(t, func(t *testing.T) routertest.World {
		w := newWorld(t, "", kind)
		world := routertest.World{
			Router: w.router, Canary: canary(), Writes: func() int { return w.Writes }, Bare: newWorld(t, "").router,
			Mesh: func(t *testing.T) { w.says(t, metav1.ConditionTrue) },
			Drift: func(t *testing.T, traffic providers.Traffic) {
				live := w.get(t)
				services := live.Spec["routes"].([]any)[0].(map[string]any)["services"].([]any)
				services[0].(map[string]any)["weight"], services[1].(map[string]any)["weight"] = int64(traffic.Primary), int64(traffic.Canary)
				w.update(t, live)
			},
			Refuse: func(t *testing.T) { w.says(t, metav1.ConditionFalse, custom.Reason{Type: "ServiceError"}) },
			Flagger: func(t *testing.T, traffic providers.Traffic) func(*testing.T) {
				theirs := proxy(t, fmt.Sprintf(`routes: [{conditions: [{prefix: /}], services: [{name: podinfo-primary, port: 80, weight: %d}, {name: podinfo-canary, port: 80, weight: %d}]}]`, traffic.Primary, traffic.Canary))
				routertest.OfFlagger(theirs, "podinfo")
				if err := w.Create(t.Context(), theirs); err != nil {
					t.Fatal(err)
				}
				was := request{path: "/"}.served(t, theirs.Spec)
				return func(t *testing.T) {
					if is := (request{path: "/"}).served(t, w.get(t).Spec); is != was {
						t.Errorf("requests came to %s and come to %s", was, is)
					}
				}
			},
			Mistakes: map[string]func(*v1beta1.Canary){
				"a method":                func(c *v1beta1.Canary) { c.Spec.Service.Match = objects(`{"method":{"exact":"GET"}}`) },
				"the suffix of a path":    func(c *v1beta1.Canary) { c.Spec.Service.Match = objects(`{"uri":{"suffix":".js"}}`) },
				"two kinds of a value":    matching(`{"headers":{"a":{"exact":"x","regex":"y"}}}`),
				"nothing in a match":      matching(`{}`),
				"retries of another mesh": func(c *v1beta1.Canary) { c.Spec.Service.Retries = &objects(`{"retryRemoteLocalities":true}`)[0] },
			},
		}
		return world.With(routertest.Object{Client: w.Client, Users: proxy(t, users)})
	})
}

func TestRoutes(t *testing.T) {
	const header = `l5d-dst-override, value: podinfo-`
	for name, tc := range map[string]struct {
		canary  *v1beta1.Canary
		class   string
		traffic providers.Traffic
		want    string
	}{
		"by weight": {
			canary: canary(func(c *v1beta1.Canary) {
				c.Spec.Service.Timeout = "15s"
				c.Spec.Service.Retries = &objects(`{"attempts":3,"perTryTimeout":"5s","retryOn":"5xx, reset"}`)[0]
			}),
			class: "public", traffic: providers.Traffic{Primary: 70, Canary: 30},
			want: `
ingressClassName: public
routes:
- conditions: [{prefix: /}]
  timeoutPolicy: {response: 15s, idle: 5m}
  retryPolicy: {count: 3, perTryTimeout: 5s, retryOn: [5xx, reset]}
  services:
  - {name: podinfo-primary, port: 80, weight: 70, requestHeadersPolicy: {set: [{name: ` + header + `primary.test.svc.cluster.local:80}]}}
  - {name: podinfo-canary, port: 80, weight: 30, requestHeadersPolicy: {set: [{name: ` + header + `canary.test.svc.cluster.local:80}]}}
`,
		},
		"requests that match": {
			canary: canary(matching(
				`{"headers":{"x-canary":{"exact":"insider"},"agent":{"prefix":"a.b"},"cookie":{"suffix":"me"}}}`, `{"queryParams":{"v":{"suffix":"2"}},"uri":{"regex":"/a.*"}}`,
			), func(c *v1beta1.Canary) { c.Spec.Service.Retries = &objects(`{"attempts":0}`)[0] }),
			traffic: providers.Traffic{Canary: 100, Matched: true},
			want: `
routes:
- conditions: [{header: {name: agent, contains: a.b}}, {header: {name: cookie, contains: me}}, {header: {name: x-canary, exact: insider}}, {prefix: /}]
  retryPolicy: {count: -1}
  services:
  - {name: podinfo-primary, port: 80, weight: 0, requestHeadersPolicy: {set: [{name: ` + header + `primary.test.svc.cluster.local:80}]}}
  - {name: podinfo-canary, port: 80, weight: 100, requestHeadersPolicy: {set: [{name: ` + header + `canary.test.svc.cluster.local:80}]}}
- conditions: [{queryParameter: {name: v, suffix: '2'}}, {regex: '/a.*'}]
  retryPolicy: {count: -1}
  services:
  - {name: podinfo-primary, port: 80, weight: 0, requestHeadersPolicy: {set: [{name: ` + header + `primary.test.svc.cluster.local:80}]}}
  - {name: podinfo-canary, port: 80, weight: 100, requestHeadersPolicy: {set: [{name: ` + header + `canary.test.svc.cluster.local:80}]}}
- conditions: [{prefix: /}]
  retryPolicy: {count: -1}
  services:
  - {name: podinfo-primary, port: 80, weight: 100, requestHeadersPolicy: {set: [{name: ` + header + `primary.test.svc.cluster.local:80}]}}
`,
		},
		"copies, of several paths": {
			canary: canary(func(c *v1beta1.Canary) {
				c.Spec.Service.Match = objects(`{"uri":{"prefix":"/a"}}`, `{"uri":{"exact":"/b"},"headers":{"x":{}}}`)
			}),
			traffic: providers.Traffic{Primary: 100, Mirror: 25},
			want: `
routes:
- conditions: [{prefix: /a}]
  services:
  - {name: podinfo-primary, port: 80, weight: 100, requestHeadersPolicy: {set: [{name: ` + header + `primary.test.svc.cluster.local:80}]}}
  - {name: podinfo-canary, port: 80, weight: 25, mirror: true, requestHeadersPolicy: {set: [{name: ` + header + `canary.test.svc.cluster.local:80}]}}
- conditions: [{header: {name: x, present: true}}, {exact: /b}]
  services:
  - {name: podinfo-primary, port: 80, weight: 100, requestHeadersPolicy: {set: [{name: ` + header + `primary.test.svc.cluster.local:80}]}}
  - {name: podinfo-canary, port: 80, weight: 25, mirror: true, requestHeadersPolicy: {set: [{name: ` + header + `canary.test.svc.cluster.local:80}]}}
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.class, kind)
			route := providers.Route{Canary: tc.canary, Traffic: tc.traffic}
			if err := w.router.Apply(t.Context(), route); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(proxy(t, tc.want).Spec, w.get(t).Spec); diff != "" {
				t.Error(diff)
			}
			w.says(t, metav1.ConditionTrue)
			if state, err := w.router.Observe(t.Context(), route); err != nil || !state.InSync || state.Traffic != tc.traffic {
				t.Errorf("observed %+v, %v", state, err)
			}
		})
	}
}

// Of a user's HTTPProxy the routes to the apex Service are shared out where they are, with what they have beside it.
func TestUsersRoutes(t *testing.T) {
	for name, tc := range map[string]struct {
		users   string
		canary  *v1beta1.Canary
		traffic providers.Traffic
		want    string
		refused string
	}{
		"by weight": {users: users, canary: canary(), traffic: providers.Traffic{Primary: 90, Canary: 10}, want: `
virtualhost: {fqdn: app.example.com}
routes:
- conditions: [{prefix: /}]
  services: [{name: podinfo-primary, port: 80, protocol: h2c, weight: 90}, {name: podinfo-canary, port: 80, protocol: h2c, weight: 10}]
  enableWebsockets: true
- conditions: [{prefix: /billing}]
  services: [{name: billing, port: 8080, weight: 90}, {name: ledger, port: 8080, weight: 10}]
`},
		"none to the apex": {
			users:  `{includes: [{name: other}], routes: [{conditions: [{prefix: /other}], services: [{name: other, port: 1}]}]}`,
			canary: canary(func(c *v1beta1.Canary) { c.Spec.Service.Match = objects(`{"uri":{"prefix":"/ours"}}`) }), traffic: providers.Traffic{Primary: 100},
			want: `
includes: [{name: other}]
routes:
- {conditions: [{prefix: /other}], services: [{name: other, port: 1}]}
- conditions: [{prefix: /ours}]
  services:
  - {name: podinfo-primary, port: 80, weight: 100, requestHeadersPolicy: {set: [{name: l5d-dst-override, value: 'podinfo-primary.test.svc.cluster.local:80'}]}}
  - {name: podinfo-canary, port: 80, weight: 0, requestHeadersPolicy: {set: [{name: l5d-dst-override, value: 'podinfo-canary.test.svc.cluster.local:80'}]}}
`,
		},
		"shared with another Service": {
			users:  `{routes: [{services: [{name: podinfo, port: 80, weight: 1}, {name: other, port: 80, weight: 1}]}]}`,
			canary: canary(), traffic: providers.Traffic{Primary: 100}, refused: "HTTPProxy podinfo: spec.routes[0].services",
		},
		"and the spec has conditions": {
			users: users, canary: canary(func(c *v1beta1.Canary) { c.Spec.Service.Match = objects(`{"uri":{"prefix":"/ours"}}`) }),
			traffic: providers.Traffic{Primary: 100}, refused: "spec.service.match",
		},
		"two paths at once": {
			users:  `{routes: [{conditions: [{prefix: /a}], services: [{name: podinfo, port: 80}]}]}`,
			canary: canary(matching(`{"uri":{"prefix":"/b"}}`)), traffic: providers.Traffic{Canary: 100, Matched: true}, refused: "spec.analysis.match[0].uri",
		},
		"another's route by a header": {
			users:  `{routes: [{services: [{name: podinfo, port: 80}]}, {conditions: [{header: {name: x, present: true}}], services: [{name: other, port: 80}]}]}`,
			canary: canary(matching(`{"headers":{"y":{}}}`)), traffic: providers.Traffic{Primary: 100}, refused: "spec.analysis.match",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "public", kind)
			if err := w.Create(t.Context(), proxy(t, tc.users)); err != nil {
				t.Fatal(err)
			}
			route := providers.Route{Canary: tc.canary, Traffic: tc.traffic}
			err := w.router.Apply(t.Context(), route)
			if tc.refused != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tc.refused) || w.Writes > 0 {
					t.Errorf("error %v after %d writes", err, w.Writes)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(proxy(t, tc.want).Spec, w.get(t).Spec); diff != "" {
				t.Error(diff)
			}
			if err := w.router.Release(t.Context(), route); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(proxy(t, tc.users).Spec, w.get(t).Spec); diff != "" {
				t.Errorf("given back: %s", diff)
			}
		})
	}
}

// What Contour says of the HTTPProxy decides whether it counts.
func TestStatus(t *testing.T) {
	w := newWorld(t, "", kind)
	c := canary()
	route := providers.Route{Canary: c, Traffic: providers.Traffic{Primary: 100}}
	if err := w.router.Apply(t.Context(), route); err != nil {
		t.Fatal(err)
	}
	observe := func(refused bool, detail string) {
		t.Helper()
		state, err := w.router.Observe(t.Context(), route)
		if err != nil || state.InSync != (detail == "") || state.Refused != refused || !strings.Contains(state.Detail, detail) || !state.Exists {
			t.Errorf("observed %+v, %v; want %q", state, err, detail)
		}
	}
	observe(false, "HTTPProxy podinfo: no controller has said yet")
	w.says(t, metav1.ConditionFalse, custom.Reason{Type: "Orphaned", Reason: "Orphaned", Message: "nobody includes it"})
	observe(false, "nobody includes it")
	w.says(t, metav1.ConditionFalse, custom.Reason{Type: "ServiceError", Reason: "NotFound", Message: "no such Service"})
	observe(true, "NotFound: no such Service")
	w.says(t, metav1.ConditionTrue)
	observe(false, "")
	live := w.get(t)
	live.Generation++
	w.update(t, live)
	observe(false, "has not looked at generation 1 yet")
	c.Annotations = map[string]string{"sluice.dev/route-status": "ignored"}
	observe(false, "")
}

// A user's HTTPProxy may include ours: it stays, leads to the apex Service, and another Canary takes it.
func TestRelease(t *testing.T) {
	w := newWorld(t, "", kind)
	route := providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 50, Canary: 50}}
	for range 2 {
		if err := w.router.Apply(t.Context(), route); err != nil {
			t.Fatal(err)
		}
		if err := w.router.Release(t.Context(), route); err != nil {
			t.Fatal(err)
		}
		live := w.get(t)
		want := proxy(t, `routes: [{conditions: [{prefix: /}], services: [{name: podinfo, port: 80}]}]`)
		if diff := cmp.Diff(want.Spec, live.Spec); diff != "" || live.Annotations["sluice.dev/canary"] != "" {
			t.Errorf("it is left as %v: %s", live.Annotations, diff)
		}
	}
}

func TestOvertaken(t *testing.T) {
	w := newWorld(t, "", kind)
	routertest.Overtaken(t, w.Client, canary(), func(first, then client.Client) providers.Router { return contour.New(first, ssa.New(then), "") },
		func(t *testing.T) { w.says(t, metav1.ConditionTrue) })
}
