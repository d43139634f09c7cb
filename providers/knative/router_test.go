package knative_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/knative"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

const template = `template: {spec: {containers: [{image: podinfo:2}]}}`

type world struct {
	*routertest.API

	router *knative.Router
}

func newWorld(t *testing.T, served []schema.GroupVersionKind, objects ...client.Object) *world {
	t.Helper()
	w := &world{API: routertest.NewAPI(t, api.AddToScheme, routertest.Mapper(served...), objects...)}
	w.router = knative.New(w.Client, ssa.New(w.Client))
	return w
}

func served() []schema.GroupVersionKind { return []schema.GroupVersionKind{api.GVK} }

// service is one with two revisions, of which the first serves.
func service(t *testing.T, spec string) *api.Service {
	t.Helper()
	return &api.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", Annotations: map[string]string{api.PrimaryAnnotation: "podinfo-00001"}},
		Spec:       routertest.Spec(t, spec),
		Status:     api.Status{LatestCreatedRevisionName: "podinfo-00002", LatestReadyRevisionName: "podinfo-00002"},
	}
}

func canary() *v1beta1.Canary {
	return &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: "test", UID: "c1"},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{APIVersion: "serving.knative.dev/v1", Kind: "Service", Name: "podinfo"},
			Analysis:  &v1beta1.CanaryAnalysis{StepWeight: 10},
		},
	}
}

func (w *world) get(t *testing.T) *api.Service {
	t.Helper()
	out := &api.Service{}
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

// route has Knative do what spec.traffic asks for, or say that it can't.
func (w *world) route(t *testing.T, routes metav1.ConditionStatus) {
	t.Helper()
	live := w.get(t)
	live.Status.ObservedGeneration = live.Generation
	live.Status.Conditions = []api.Condition{{Type: "RoutesReady", Status: routes, Reason: "Reason", Message: "message"}}
	live.Status.Traffic = nil
	list, _ := live.Spec["traffic"].([]any)
	for _, one := range list {
		share := one.(map[string]any)
		name, _ := share["revisionName"].(string)
		if share["latestRevision"] == true {
			name = live.Status.LatestReadyRevisionName
		}
		percent, _ := share["percent"].(int64)
		live.Status.Traffic = append(live.Status.Traffic, api.Traffic{RevisionName: name, Percent: new(percent)})
	}
	w.update(t, live)
}

// begun is the router as it is asked in a release: the operator has noted before which revision serves, also where an
// earlier Canary was deleted, whose note is given back.
type begun struct {
	*knative.Router

	w *world
}

func (r begun) Apply(ctx context.Context, route providers.Route) error {
	live := &api.Service{}
	if err := r.w.Get(ctx, client.ObjectKey{Namespace: "test", Name: "podinfo"}, live); err != nil {
		return err
	}
	if live.Annotations[api.PrimaryAnnotation] == "" {
		if live.Annotations == nil {
			live.Annotations = map[string]string{}
		}
		live.Annotations[api.PrimaryAnnotation] = "podinfo-00001"
		if err := r.w.Update(ctx, live); err != nil {
			return err
		}
	}
	return r.Router.Apply(ctx, route)
}

func TestConformance(t *testing.T) {
	routertest.Run(t, func(t *testing.T) routertest.World {
		w := newWorld(t, served(), service(t, template))
		return routertest.World{
			Router: begun{w.router, w}, Canary: canary(), Writes: func() int { return w.Writes },
			Mesh: func(t *testing.T) { w.route(t, metav1.ConditionTrue) },
			Drift: func(t *testing.T, traffic providers.Traffic) {
				live := w.get(t)
				live.Spec["traffic"] = []any{
					map[string]any{"revisionName": "podinfo-00001", "percent": int64(traffic.Primary)},
					map[string]any{"latestRevision": true, "percent": int64(traffic.Canary)},
				}
				w.update(t, live)
			},
			Refuse: func(t *testing.T) { w.route(t, metav1.ConditionFalse) },
			Foreign: func(t *testing.T) func(*testing.T) {
				live := w.get(t)
				live.Annotations["example.com/team"] = "shop"
				w.update(t, live)
				return func(t *testing.T) {
					if got := w.get(t).Annotations["example.com/team"]; got != "shop" {
						t.Errorf("the annotation of somebody else is %q", got)
					}
				}
			},
			Users: func(t *testing.T) func(*testing.T) {
				live := w.get(t)
				live.Spec = routertest.Spec(t, template+"\ntraffic: [{revisionName: podinfo-00001, percent: 100, tag: old}]")
				w.update(t, live)
				return func(t *testing.T) {
					now := w.get(t)
					if diff := cmp.Diff(live.Spec, now.Spec); diff != "" || len(now.Annotations) > 0 {
						t.Errorf("annotations %v: %s", now.Annotations, diff)
					}
				}
			},
			Replay: func(t *testing.T) func(*testing.T) {
				was := w.get(t)
				return func(t *testing.T) {
					live := w.get(t)
					live.Spec = runtime.DeepCopyJSON(was.Spec)
					w.update(t, live)
				}
			},
			Others: func(t *testing.T) func(*testing.T) {
				live := w.get(t)
				live.OwnerReferences = []metav1.OwnerReference{{APIVersion: "serving.kserve.io/v1beta1", Kind: "InferenceService", Name: "x", UID: "x", Controller: new(true)}}
				w.update(t, live)
				before := w.get(t)
				return func(t *testing.T) {
					if diff := cmp.Diff([]any{before.Spec, before.Annotations}, []any{w.get(t).Spec, w.get(t).Annotations}); diff != "" {
						t.Error(diff)
					}
				}
			},
			Mistakes: map[string]func(*v1beta1.Canary){
				"another target": func(c *v1beta1.Canary) { c.Spec.TargetRef.APIVersion = "apps/v1" },
			},
		}
	})
}

// Revisions without requests are not named, and the one under analysis is named by its name.
func TestTraffic(t *testing.T) {
	for name, tc := range map[string]struct {
		canary int32
		latest string
		want   string
	}{
		"nothing for the canary": {0, "podinfo-00002", `traffic: [{revisionName: podinfo-00001, percent: 100}]`},
		"some":                   {30, "podinfo-00002", `traffic: [{revisionName: podinfo-00001, percent: 70}, {revisionName: podinfo-00002, percent: 30}]`},
		"all":                    {100, "podinfo-00002", `traffic: [{revisionName: podinfo-00002, percent: 100}]`},
		"promoted":               {100, "podinfo-00001", `traffic: [{revisionName: podinfo-00001, percent: 100}]`},
	} {
		t.Run(name, func(t *testing.T) {
			users := service(t, template)
			users.Status.LatestCreatedRevisionName = tc.latest
			w := newWorld(t, served(), users)
			route := providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 100 - tc.canary, Canary: tc.canary}}
			if err := w.router.Apply(t.Context(), route); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(routertest.Spec(t, tc.want)["traffic"], w.get(t).Spec["traffic"]); diff != "" {
				t.Error(diff)
			}
			w.route(t, metav1.ConditionTrue)
			if state, err := w.router.Observe(t.Context(), route); err != nil || !state.InSync || state.Traffic != route.Traffic {
				t.Errorf("observed %+v, %v", state, err)
			}
		})
	}
}

// What the user's Service had in spec.traffic comes back, and Flagger's becomes Knative's default.
func TestGivenBack(t *testing.T) {
	for name, tc := range map[string]struct{ users, want string }{
		"nothing": {template, template},
		"a revision of one's own": {
			template + "\ntraffic: [{revisionName: podinfo-00000, percent: 100, tag: old}]", template + "\ntraffic: [{revisionName: podinfo-00000, percent: 100, tag: old}]",
		},
		"Flagger's": {template + "\ntraffic: [{latestRevision: true, percent: 40}, {revisionName: podinfo-00001, percent: 60}]", template},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, served(), service(t, tc.users))
			route := providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 60, Canary: 40}}
			if state, err := w.router.Observe(t.Context(), route); err != nil || state.InSync || state.Exists != (name == "Flagger's") {
				t.Errorf("observed %+v, %v", state, err)
			}
			if err := w.router.Apply(t.Context(), route); err != nil {
				t.Fatal(err)
			}
			if err := w.router.Release(t.Context(), route); err != nil {
				t.Fatal(err)
			}
			live := w.get(t)
			if diff := cmp.Diff(routertest.Spec(t, tc.want), live.Spec); diff != "" || len(live.Annotations) > 0 {
				t.Errorf("annotations %v: %s", live.Annotations, diff)
			}
		})
	}
}

// What Knative says decides whether the shares count.
func TestStatus(t *testing.T) {
	w := newWorld(t, served(), service(t, template))
	route := providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 80, Canary: 20}}
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
	observe(false, "RoutesReady is Unknown")
	w.route(t, metav1.ConditionFalse)
	observe(true, "RoutesReady is False (Reason): message")
	w.route(t, metav1.ConditionTrue)
	observe(false, "")
	live := w.get(t)
	live.Status.Traffic[1].Percent = new(int64(10))
	w.update(t, live)
	observe(false, "revision podinfo-00002 has 10% of the requests, not 20%")
	live.Generation++
	w.update(t, live)
	observe(false, "has not looked at generation 1 yet")
}

// Without a primary there is nothing to lead to yet, and without a Service nothing at all.
func TestNothingToLeadTo(t *testing.T) {
	fresh := service(t, template)
	fresh.Annotations = nil
	for _, w := range []*world{newWorld(t, served(), fresh), newWorld(t, served())} {
		route := providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 100}}
		state, err := w.router.Observe(t.Context(), route)
		if err != nil || state != (providers.State{}) {
			t.Errorf("observed %+v, %v", state, err)
		}
		if err := w.router.Apply(t.Context(), route); err != nil || w.Writes > 0 {
			t.Errorf("applied %d times, %v", w.Writes, err)
		}
	}
}
