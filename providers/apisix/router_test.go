package apisix_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/apisix"
	"github.com/sluice-delivery/sluice/providers/internal/custom"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

var kind = schema.GroupVersionKind{Group: "apisix.apache.org", Version: "v2", Kind: "ApisixRoute"}

// users is a route of which one rule leads to the apex.
const users = `
ingressClassName: edge
http:
- name: app
  match: {hosts: [app.example.com], paths: [/*], exprs: [{subject: {scope: Query, name: a}, op: Equal, value: b}]}
  websocket: true
  backends: [{serviceName: podinfo, servicePort: 80, resolveGranularity: service}]
- name: other
  match: {paths: [/other]}
  backends: [{serviceName: other, servicePort: 80}]
`

const ourName = "edge-podinfo-canary"

type world struct {
	*routertest.API

	router *apisix.Router
}

func newWorld(t *testing.T, served []schema.GroupVersionKind, objects ...client.Object) *world {
	t.Helper()
	w := &world{API: routertest.NewAPI(t, apisix.AddToScheme, routertest.Mapper(served...), objects...)}
	w.router = apisix.New(w.Client, ssa.New(w.Client))
	return w
}

func served() []schema.GroupVersionKind { return []schema.GroupVersionKind{kind} }

func named(t *testing.T, name, spec string) *apisix.ApisixRoute {
	t.Helper()
	return &apisix.ApisixRoute{Resource: custom.Resource{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name}, Spec: routertest.Spec(t, spec)}}
}

func canary(changes ...func(*v1beta1.Canary)) *v1beta1.Canary {
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: "test", UID: "c1"},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
			RouteRef:  &v1beta1.LocalObjectReference{Kind: "ApisixRoute", Name: "edge"},
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
		c.Spec.Analysis = &v1beta1.CanaryAnalysis{Iterations: 3}
		for _, text := range conditions {
			c.Spec.Analysis.Match = append(c.Spec.Analysis.Match, v1beta1.RawObject{Raw: json.RawMessage(text)})
		}
	}
}

func (w *world) get(t *testing.T, name string) *apisix.ApisixRoute {
	t.Helper()
	out := &apisix.ApisixRoute{}
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: name}, out); err != nil {
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

// says has the controller say of our route what the condition is.
func (w *world) says(t *testing.T, kind string, status metav1.ConditionStatus) {
	t.Helper()
	live := &apisix.ApisixRoute{}
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: ourName}, live); err != nil {
		return // it is gone, so that nobody says anything
	}
	live.Status.Conditions = []custom.Condition{{Condition: metav1.Condition{
		Type: kind, Status: status, Reason: "Reason", Message: "message", ObservedGeneration: live.Generation,
	}}}
	w.update(t, live)
}

func TestConformance(t *testing.T) {
	routertest.Run(t, func(t *testing.T) routertest.World {
		w := newWorld(t, served(), named(t, "edge", users))
		return routertest.World{
			Router: w.router, Canary: canary(), Writes: func() int { return w.Writes }, Bare: newWorld(t, nil).router,
			Mesh: func(t *testing.T) { w.says(t, "Accepted", metav1.ConditionTrue) },
			Drift: func(t *testing.T, traffic providers.Traffic) {
				live := w.get(t, ourName)
				list := live.Spec["http"].([]any)[0].(map[string]any)["backends"].([]any)
				list[0].(map[string]any)["weight"], list[1].(map[string]any)["weight"] = int64(traffic.Primary), int64(traffic.Canary)
				w.update(t, live)
			},
			Refuse: func(t *testing.T) { w.says(t, "Accepted", metav1.ConditionFalse) },
			Flagger: func(t *testing.T, traffic providers.Traffic) func(*testing.T) {
				theirs := named(t, ourName, fmt.Sprintf(`http: [{name: app, priority: 10000, match: {hosts: [app.example.com], paths: [/*]}, backends: [{serviceName: podinfo-primary, servicePort: 80, weight: %d}, {serviceName: podinfo-canary, servicePort: 80, weight: %d}]}]`, traffic.Primary, traffic.Canary))
				routertest.OfFlagger(theirs, "podinfo")
				if err := w.Create(t.Context(), theirs); err != nil {
					t.Fatal(err)
				}
				backends := func(t *testing.T) (out []string) {
					for _, b := range w.get(t, ourName).Spec["http"].([]any)[0].(map[string]any)["backends"].([]any) {
						out = append(out, fmt.Sprint(b.(map[string]any)["serviceName"], b.(map[string]any)["weight"]))
					}
					return out
				}
				was := backends(t)
				return func(t *testing.T) {
					if diff := cmp.Diff(was, backends(t)); diff != "" {
						t.Error(diff)
					}
				}
			},
			Foreign: func(t *testing.T) func(*testing.T) {
				live := w.get(t, ourName)
				live.Annotations["example.com/team"] = "shop"
				w.update(t, live)
				return func(t *testing.T) {
					if got := w.get(t, ourName).Annotations["example.com/team"]; got != "shop" {
						t.Errorf("the annotation of somebody else is %q", got)
					}
				}
			},
			Others: func(t *testing.T) func(*testing.T) {
				other := named(t, ourName, users)
				if err := w.Create(t.Context(), other); err != nil {
					t.Fatal(err)
				}
				return func(t *testing.T) {
					if diff := cmp.Diff(other.Spec, w.get(t, ourName).Spec); diff != "" {
						t.Error(diff)
					}
				}
			},
			Mistakes: map[string]func(*v1beta1.Canary){
				"no route is named":         func(c *v1beta1.Canary) { c.Spec.RouteRef = nil },
				"there is no such route":    func(c *v1beta1.Canary) { c.Spec.RouteRef.Name = "nowhere" },
				"of another kind":           func(c *v1beta1.Canary) { c.Spec.RouteRef.Kind = "HTTPRoute" },
				"that leads somewhere else": func(c *v1beta1.Canary) { c.Spec.Service.Name = "somewhere" },
				"a method":                  matching(`{"method":{"exact":"GET"}}`),
			},
		}
	})
}

func TestRules(t *testing.T) {
	for name, tc := range map[string]struct {
		users   string
		canary  *v1beta1.Canary
		traffic providers.Traffic
		want    string
	}{
		"by weight": {users: users, canary: canary(), traffic: providers.Traffic{Primary: 70, Canary: 30}, want: `
ingressClassName: edge
http:
- name: app
  priority: 10000
  match: {hosts: [app.example.com], paths: [/*], exprs: [{subject: {scope: Query, name: a}, op: Equal, value: b}]}
  websocket: true
  backends:
  - {serviceName: podinfo-primary, servicePort: 80, resolveGranularity: service, weight: 70}
  - {serviceName: podinfo-canary, servicePort: 80, resolveGranularity: service, weight: 30}
`},
		"what matches": {
			users:   `http: [{name: app, priority: 20000, match: {paths: [/*]}, backends: [{serviceName: podinfo, servicePort: 80}]}]`,
			canary:  canary(matching(`{"headers":{"x-canary":{"exact":"insider"},"agent":{"prefix":"a.b"}}}`, `{"uri":{"regex":"/a.*"},"queryParams":{"v":{}}}`)),
			traffic: providers.Traffic{Primary: 40, Canary: 60, Matched: true}, want: `
http:
- name: app-match-0
  priority: 20002
  match:
    paths: [/*]
    exprs:
    - {subject: {scope: Header, name: agent}, op: RegexMatch, value: '^(?:a\.b.*)$'}
    - {subject: {scope: Header, name: x-canary}, op: Equal, value: insider}
  backends: [{serviceName: podinfo-primary, servicePort: 80, weight: 40}, {serviceName: podinfo-canary, servicePort: 80, weight: 60}]
- name: app-match-1
  priority: 20002
  match:
    paths: [/*]
    exprs:
    - {subject: {scope: Path, name: uri}, op: RegexMatch, value: '^(?:/a.*)$'}
    - {subject: {scope: Query, name: v}, op: RegexMatch, value: '^(?:.*)$'}
  backends: [{serviceName: podinfo-primary, servicePort: 80, weight: 40}, {serviceName: podinfo-canary, servicePort: 80, weight: 60}]
- {name: app, priority: 20001, match: {paths: [/*]}, backends: [{serviceName: podinfo-primary, servicePort: 80, weight: 100}]}
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, served(), named(t, "edge", tc.users))
			route := providers.Route{Canary: tc.canary, Traffic: tc.traffic}
			if err := w.router.Apply(t.Context(), route); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(routertest.Spec(t, tc.want), w.get(t, ourName).Spec); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(routertest.Spec(t, tc.users), w.get(t, "edge").Spec); diff != "" {
				t.Errorf("the user's route was changed: %s", diff)
			}
			w.says(t, "Accepted", metav1.ConditionTrue)
			if state, err := w.router.Observe(t.Context(), route); err != nil || !state.InSync || state.Traffic != tc.traffic {
				t.Errorf("observed %+v, %v", state, err)
			}
		})
	}
}

// A rule that shares requests out already, and one that decides by a function, are not ours to divide.
func TestRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		users, want string
		canary      *v1beta1.Canary
	}{
		"two backends":      {`http: [{name: a, backends: [{serviceName: podinfo, servicePort: 80}, {serviceName: b, servicePort: 80}]}]`, "ApisixRoute edge: spec.http[0].backends", canary()},
		"another upstream":  {`http: [{name: a, upstreams: [{name: b}], backends: [{serviceName: podinfo, servicePort: 80}]}]`, "ApisixRoute edge: spec.http[0].backends", canary()},
		"a filter function": {`http: [{name: a, match: {filter_func: f}, backends: [{serviceName: podinfo, servicePort: 80}]}]`, "spec.analysis.match", canary(matching(`{"headers":{"a":{}}}`))},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, served(), named(t, "edge", tc.users))
			err := w.router.Apply(t.Context(), providers.Route{Canary: tc.canary, Traffic: providers.Traffic{Canary: 100, Matched: len(tc.canary.Spec.Analysis.Match) > 0}})
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) || w.Writes > 0 {
				t.Errorf("error %v after %d writes", err, w.Writes)
			}
		})
	}
}

// Older controllers do not say again of a new generation what they have said of the one before.
func TestStatus(t *testing.T) {
	w := newWorld(t, served(), named(t, "edge", users))
	route := providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 100}}
	if err := w.router.Apply(t.Context(), route); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		kind    string
		status  metav1.ConditionStatus
		older   bool
		inSync  bool
		refused bool
	}{
		{"Accepted", metav1.ConditionTrue, false, true, false},
		{"Accepted", metav1.ConditionTrue, true, false, false},
		{"ResourcesAvailable", metav1.ConditionTrue, false, true, false},
		{"ResourcesAvailable", metav1.ConditionTrue, true, true, false},
		{"ResourcesAvailable", metav1.ConditionFalse, true, false, false},
		{"ResourcesAvailable", metav1.ConditionFalse, false, false, true},
		{"SomethingElse", metav1.ConditionTrue, false, false, false},
	} {
		w.says(t, tc.kind, tc.status)
		if tc.older {
			live := w.get(t, ourName)
			live.Generation++
			w.update(t, live)
		}
		if state, err := w.router.Observe(t.Context(), route); err != nil || state.InSync != tc.inSync || state.Refused != tc.refused || tc.inSync != (state.Detail == "") {
			t.Errorf("%+v: observed %+v, %v", tc, state, err)
		}
	}
}

// A route, of whatever name, concerns the Canaries of the Services that it leads to.
func TestAbout(t *testing.T) {
	about := apisix.About()
	before, after := named(t, "edge", users), named(t, "edge", users)
	got := about.Services(t.Context(), nil, before)
	if diff := cmp.Diff([]types.NamespacedName{{Namespace: "test", Name: "podinfo"}, {Namespace: "test", Name: "other"}}, got); diff != "" {
		t.Error(diff)
	}
	if !about.Alike(before, after) {
		t.Error("the same are not alike")
	}
	after.Status.Conditions = []custom.Condition{{}}
	if about.Alike(before, after) {
		t.Error("what the controller says is no news")
	}
}

func TestOvertaken(t *testing.T) {
	w := newWorld(t, served(), named(t, "edge", users))
	routertest.Overtaken(t, w.Client, canary(), func(first, then client.Client) providers.Router { return apisix.New(first, ssa.New(then)) },
		func(t *testing.T) { w.says(t, "Accepted", metav1.ConditionTrue) })
}
