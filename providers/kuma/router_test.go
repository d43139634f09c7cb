package kuma_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/custom"
	"github.com/sluice-delivery/sluice/providers/kuma"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

var kind = schema.GroupVersionKind{Group: "kuma.io", Version: "v1alpha1", Kind: "TrafficRoute"}

type world struct {
	*routertest.API

	router *kuma.Router
}

func newWorld(t *testing.T, served []schema.GroupVersionKind, objects ...client.Object) *world {
	t.Helper()
	w := &world{API: routertest.NewAPI(t, kuma.AddToScheme, routertest.ClusterMapper(served...), objects...)}
	w.router = kuma.New(w.Client, ssa.New(w.Client))
	return w
}

func served() []schema.GroupVersionKind { return []schema.GroupVersionKind{kind} }

func named(t *testing.T, name, spec string) *kuma.TrafficRoute {
	t.Helper()
	return &kuma.TrafficRoute{Resource: custom.Resource{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: routertest.Spec(t, spec)}}
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

func in(namespace string) func(*v1beta1.Canary) {
	return func(c *v1beta1.Canary) { c.Namespace, c.UID = namespace, types.UID("of-"+namespace) }
}

func matching(conditions ...string) func(*v1beta1.Canary) {
	return func(c *v1beta1.Canary) {
		c.Spec.Analysis = &v1beta1.CanaryAnalysis{Iterations: 3}
		for _, text := range conditions {
			c.Spec.Analysis.Match = append(c.Spec.Analysis.Match, v1beta1.RawObject{Raw: json.RawMessage(text)})
		}
	}
}

// get is a TrafficRoute as it is, nil where there is none.
func (w *world) get(t *testing.T, name string) *kuma.TrafficRoute {
	t.Helper()
	out := &kuma.TrafficRoute{}
	err := w.Get(t.Context(), client.ObjectKey{Name: name}, out)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const users = `
sources: [{match: {kuma.io/service: '*'}}]
destinations: [{match: {kuma.io/service: podinfo_test_svc_80}}]
conf: {loadBalancer: {leastRequest: {choiceCount: 4}}, destination: {kuma.io/service: podinfo_test_svc_80}}
`

func TestConformance(t *testing.T) {
	routertest.Run(t, func(t *testing.T) routertest.World {
		w := newWorld(t, served())
		world := routertest.World{
			Router: w.router, Canary: canary(), Writes: func() int { return w.Writes }, Bare: newWorld(t, nil).router,
			Drift: func(t *testing.T, traffic providers.Traffic) {
				live := w.get(t, "podinfo")
				list := live.Spec["conf"].(map[string]any)["split"].([]any)
				list[0].(map[string]any)["weight"], list[1].(map[string]any)["weight"] = int64(traffic.Primary), int64(traffic.Canary)
				if err := w.Update(t.Context(), live); err != nil {
					t.Fatal(err)
				}
			},
		}
		return world.With(routertest.Object{Client: w.Client, Users: named(t, "podinfo", users), Rival: named(t, "a-rival", users)})
	})
}

func TestSpec(t *testing.T) {
	const ends = "sources: [{match: {kuma.io/service: '*'}}]\ndestinations: [{match: {kuma.io/service: podinfo_test_svc_80}}]\n"
	for name, tc := range map[string]struct {
		canary  *v1beta1.Canary
		traffic providers.Traffic
		mesh    string
		want    string
	}{
		"by weight": {
			canary: canary(func(c *v1beta1.Canary) { c.Annotations = map[string]string{"kuma.io/mesh": "prod"} }), mesh: "prod",
			traffic: providers.Traffic{Primary: 70, Canary: 30}, want: ends + `
conf:
  split:
  - {weight: 70, destination: {kuma.io/service: podinfo-primary_test_svc_80}}
  - {weight: 30, destination: {kuma.io/service: podinfo-canary_test_svc_80}}
`,
		},
		"what matches": {
			canary: canary(matching(`{"headers":{"x-canary":{"exact":"insider"},"agent":{"suffix":"a.b"}}}`, `{"uri":{"prefix":"/a"}}`)), mesh: "default",
			traffic: providers.Traffic{Canary: 100, Matched: true}, want: ends + `
conf:
  http:
  - match: {headers: {x-canary: {exact: insider}, agent: {regex: '.*a\.b'}}}
    split:
    - {weight: 0, destination: {kuma.io/service: podinfo-primary_test_svc_80}}
    - {weight: 100, destination: {kuma.io/service: podinfo-canary_test_svc_80}}
  - match: {path: {prefix: /a}}
    split:
    - {weight: 0, destination: {kuma.io/service: podinfo-primary_test_svc_80}}
    - {weight: 100, destination: {kuma.io/service: podinfo-canary_test_svc_80}}
  split:
  - {weight: 100, destination: {kuma.io/service: podinfo-primary_test_svc_80}}
  - {weight: 0, destination: {kuma.io/service: podinfo-canary_test_svc_80}}
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, served())
			route := providers.Route{Canary: tc.canary, Traffic: tc.traffic}
			if err := w.router.Apply(t.Context(), route); err != nil {
				t.Fatal(err)
			}
			live := w.get(t, "podinfo")
			if diff := cmp.Diff(routertest.Spec(t, tc.want), live.Spec); diff != "" || live.Mesh != tc.mesh {
				t.Errorf("in mesh %q: %s", live.Mesh, diff)
			}
			if state, err := w.router.Observe(t.Context(), route); err != nil || !state.InSync || state.Traffic != tc.traffic {
				t.Errorf("observed %+v, %v", state, err)
			}
		})
	}
}

// Parameters of the query are nothing that a TrafficRoute can tell requests apart by.
func TestParameters(t *testing.T) {
	w := newWorld(t, served())
	err := w.router.Apply(t.Context(), providers.Route{Canary: canary(matching(`{"queryParams":{"a":{"exact":"b"}}}`)), Traffic: providers.Traffic{Canary: 100, Matched: true}})
	if !providers.IsUnsupported(err) || !strings.HasPrefix(err.Error(), "spec.analysis.match[0].queryParams") || w.Writes > 0 {
		t.Errorf("error %v after %d writes", err, w.Writes)
	}
}

// A user's TrafficRoute keeps what it says of single endpoints.
func TestUsers(t *testing.T) {
	w := newWorld(t, served(), named(t, "podinfo", users))
	route := providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 90, Canary: 10}}
	if err := w.router.Apply(t.Context(), route); err != nil {
		t.Fatal(err)
	}
	conf := w.get(t, "podinfo").Spec["conf"].(map[string]any)
	if conf["loadBalancer"] == nil || conf["destination"] != nil || len(conf["split"].([]any)) != 2 {
		t.Errorf("conf is %v", conf)
	}
	if err := w.router.Release(t.Context(), route); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(routertest.Spec(t, users), w.get(t, "podinfo").Spec); diff != "" {
		t.Errorf("given back: %s", diff)
	}
}

// TrafficRoutes are in no namespace: Canaries of one name in several have one each.
func TestNamespaces(t *testing.T) {
	w := newWorld(t, served())
	a, b := canary(in("a")), canary(in("b"))
	for _, c := range []*v1beta1.Canary{a, b} {
		if err := w.router.Apply(t.Context(), providers.Route{Canary: c, Traffic: providers.Traffic{Primary: 90, Canary: 10}}); err != nil {
			t.Fatal(err)
		}
	}
	leads := func(name, namespace string) {
		t.Helper()
		live := w.get(t, name)
		if live == nil || !strings.Contains(live.Spec["destinations"].([]any)[0].(map[string]any)["match"].(map[string]any)["kuma.io/service"].(string), "_"+namespace+"_") {
			t.Errorf("%s is %+v", name, live)
		}
	}
	leads("podinfo", "a")
	leads("podinfo.b", "b")
	now := metav1.Now()
	a.DeletionTimestamp = &now
	if err := w.router.Release(t.Context(), providers.Route{Canary: a}); err != nil {
		t.Fatal(err)
	}
	if w.get(t, "podinfo") != nil {
		t.Error("the one of namespace a is still there")
	}
	route := providers.Route{Canary: b, Traffic: providers.Traffic{Primary: 90, Canary: 10}}
	if state, err := w.router.Observe(t.Context(), route); err != nil || !state.InSync {
		t.Errorf("observed %+v, %v", state, err)
	}
	leads("podinfo.b", "b")
}

// A TrafficRoute of another mesh, or for all Services, takes nothing.
func TestNoRivals(t *testing.T) {
	elsewhere := named(t, "elsewhere", users)
	elsewhere.Mesh = "other"
	w := newWorld(t, served(), elsewhere, named(t, "all", `{destinations: [{match: {kuma.io/service: '*'}}], conf: {destination: {kuma.io/service: '*'}}}`))
	route := providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 100}}
	if err := w.router.Apply(t.Context(), route); err != nil {
		t.Fatal(err)
	}
	if state, err := w.router.Observe(t.Context(), route); err != nil || !state.InSync {
		t.Errorf("observed %+v, %v", state, err)
	}
}

// Flagger marks no TrafficRoute: its own is told by where it leads, and goes with the Canary.
func TestFlaggers(t *testing.T) {
	theirs := named(t, "podinfo", `
sources: [{match: {kuma.io/service: '*'}}]
destinations: [{match: {kuma.io/service: podinfo_test_svc_80}}]
conf:
  split:
  - {weight: 60, destination: {kuma.io/service: podinfo-primary_test_svc_80}}
  - {weight: 40, destination: {kuma.io/service: podinfo-canary_test_svc_80}}
`)
	w := newWorld(t, served(), theirs)
	route := providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 60, Canary: 40}}
	if state, err := w.router.Observe(t.Context(), route); err != nil || !state.Exists || state.Traffic != route.Traffic {
		t.Errorf("observed %+v, %v", state, err)
	}
	for range 2 {
		if err := w.router.Apply(t.Context(), route); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.router.Release(t.Context(), route); err != nil || w.get(t, "podinfo") != nil {
		t.Errorf("released: %v", err)
	}
}

// A TrafficRoute, of whatever name, concerns the Canaries of the Services that it is for.
func TestAbout(t *testing.T) {
	about := kuma.About()
	before, after := named(t, "x", users), named(t, "x", users)
	if diff := cmp.Diff([]types.NamespacedName{{Namespace: "test", Name: "podinfo"}}, about.Services(t.Context(), nil, before)); diff != "" {
		t.Error(diff)
	}
	if !about.Alike(before, after) {
		t.Error("the same are not alike")
	}
	after.Mesh = "other"
	if about.Alike(before, after) {
		t.Error("another mesh is alike")
	}
}
