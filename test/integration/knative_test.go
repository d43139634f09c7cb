package integration

import (
	"context"
	"fmt"
	"maps"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/knative"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

const (
	primaryRevision = app + "-00001"
	canaryRevision  = app + "-00002"
)

// testKnative holds the router to a real API server with Knative's own kind.
func testKnative(t *testing.T, e *environment) {
	routertest.Run(t, func(t *testing.T) routertest.World {
		c, writes := e.counting()
		canary := e.canary(t, v1beta1.CanaryService{})
		canary.Spec.TargetRef = v1beta1.TargetReference{APIVersion: "serving.knative.dev/v1", Kind: "Service", Name: app}
		users := knativeService(canary.Namespace)
		e.create(t, users)
		w := &knativeWorld{live: e.live, namespace: canary.Namespace}
		w.serve(t, "True")
		e.cachedAs(t, w.get(t))
		world := routertest.World{
			Router: begun{knative.New(c, ssa.New(c)), w, func(t *testing.T) { e.cachedAs(t, w.get(t)) }, t}, Canary: canary, Deadline: limit,
			Writes: func() int { return int(writes.Load()) }, Mesh: func(t *testing.T) { w.serve(t, "True") },
			Refuse: func(t *testing.T) { w.serve(t, "False") },
			Drift: func(t *testing.T, traffic providers.Traffic) {
				w.edit(t, []any{
					map[string]any{"revisionName": primaryRevision, "percent": int64(traffic.Primary)},
					map[string]any{"latestRevision": true, "percent": int64(traffic.Canary)},
				})
			},
			Users: func(t *testing.T) func(*testing.T) {
				w.edit(t, []any{map[string]any{"revisionName": app + "-00000", "percent": int64(100), "tag": "old"}})
				e.cachedAs(t, w.get(t))
				before := w.get(t)
				return func(t *testing.T) {
					live := w.get(t)
					if fmt.Sprint(live.Spec) != fmt.Sprint(before.Spec) || len(live.Annotations) > 0 {
						t.Errorf("annotations %v, spec\n%v, was\n%v", live.Annotations, live.Spec, before.Spec)
					}
				}
			},
			Replay: func(t *testing.T) func(*testing.T) {
				was, _ := w.get(t).Spec["traffic"].([]any)
				return func(t *testing.T) {
					w.edit(t, was)
					e.cachedAs(t, w.get(t))
				}
			},
		}
		return world
	})
}

// knativeService is a user's, of which Knative knows nothing yet.
func knativeService(namespace string) *unstructured.Unstructured {
	out := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"image": "podinfo:2"}}}},
	}}}
	out.SetGroupVersionKind(api.GVK)
	out.SetNamespace(namespace)
	out.SetName(app)
	return out
}

// knativeWorld plays Knative's controllers.
type knativeWorld struct {
	live      client.Client
	namespace string
}

func (w *knativeWorld) get(t *testing.T) *api.Service {
	t.Helper()
	out := &api.Service{}
	if err := w.live.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: app}, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// object is the Service with all that it has.
func (w *knativeWorld) object(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	out := &unstructured.Unstructured{}
	out.SetGroupVersionKind(api.GVK)
	if err := w.live.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: app}, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// edit writes spec.traffic as a user does.
func (w *knativeWorld) edit(t *testing.T, traffic []any) {
	t.Helper()
	live := w.object(t)
	if err := unstructured.SetNestedSlice(live.Object, traffic, "spec", "traffic"); err != nil {
		t.Fatal(err)
	}
	if err := w.live.Update(t.Context(), live); err != nil {
		t.Fatal(err)
	}
}

// serve has Knative do what spec.traffic asks for, or say that it can't.
func (w *knativeWorld) serve(t *testing.T, routes string) {
	t.Helper()
	live := w.object(t)
	list, _, _ := unstructured.NestedSlice(live.Object, "spec", "traffic")
	var has []any
	for _, one := range list {
		share := maps.Clone(one.(map[string]any))
		if share["latestRevision"] == true {
			share["revisionName"] = canaryRevision
		}
		has = append(has, share)
	}
	before := live.DeepCopy()
	live.Object["status"] = map[string]any{
		"observedGeneration": live.GetGeneration(), "latestCreatedRevisionName": canaryRevision, "latestReadyRevisionName": canaryRevision, "traffic": has,
		"conditions": []any{map[string]any{"type": "RoutesReady", "status": routes, "reason": "Reason", "message": "message"}},
	}
	if err := w.live.Status().Patch(t.Context(), live, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// begun is the router as it is asked in a release: the operator has noted before which revision serves, also where an
// earlier Canary was deleted, whose note is given back.
type begun struct {
	*knative.Router

	w    *knativeWorld
	seen func(*testing.T)
	t    *testing.T
}

func (r begun) Apply(ctx context.Context, route providers.Route) error {
	live := &api.Service{}
	if err := r.w.live.Get(ctx, client.ObjectKey{Namespace: r.w.namespace, Name: app}, live); err != nil {
		return err
	}
	if live.GetAnnotations()[api.PrimaryAnnotation] == "" {
		noted := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"`+api.PrimaryAnnotation+`":"`+primaryRevision+`"}}}`))
		if err := r.w.live.Patch(ctx, live, noted); err != nil {
			return err
		}
		r.seen(r.t)
	}
	return r.Router.Apply(ctx, route)
}

// TestKnative has users' spec.traffic, drawn at random, be shared out and given back, by what Knative makes of it, and Knative
// have nothing against what we write.
func TestKnative(t *testing.T) {
	outer, judge := t, startJudge(t, "knative-route")
	routertest.UsersObjects(t, func(t *rapid.T) *routertest.Users {
		users := &api.Service{}
		users.Namespace, users.Name, users.Annotations = "test", app, map[string]string{api.PrimaryAnnotation: primaryRevision, "note": "theirs"}
		users.Spec = knativeService("test").Object["spec"].(map[string]any)
		if traffic := routertest.DrawTraffic(t, app); traffic != nil {
			users.Spec["traffic"] = traffic
		}
		users.Status.LatestCreatedRevisionName, users.Status.LatestReadyRevisionName = canaryRevision, canaryRevision
		a := routertest.NewAPI(outer, api.AddToScheme, routertest.Mapper(api.GVK), users)
		w := &judgedKnative{&knativeWorld{live: a.Client, namespace: "test"}, judge}
		return &routertest.Users{
			Router: knative.New(a.Client, ssa.New(a.Client)), Closed: true,
			Route: providers.Route{Canary: &v1beta1.Canary{
				ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: app, UID: "c1"},
				Spec:       v1beta1.CanarySpec{TargetRef: v1beta1.TargetReference{APIVersion: "serving.knative.dev/v1", Kind: "Service", Name: app}},
			}},
			Serve: func() []routertest.Outcome { return w.outcomes(outer) }, Mesh: func() { w.route(outer) },
			Stored: func() any {
				live := w.get(outer)
				delete(live.Annotations, api.PrimaryAnnotation)
				return []any{live.Spec, live.Annotations}
			},
		}
	})
}

// judgedKnative is Knative's own view of a Service.
type judgedKnative struct {
	*knativeWorld

	judge *judge
}

// targets are the shares of revisions, by the tag of their address.
func (w *judgedKnative) targets(t *testing.T) map[string]map[string]int64 {
	t.Helper()
	live := w.get(t)
	said := struct {
		Invalid, NotReady string
		Targets           map[string]map[string]int64
	}{}
	w.judge.send(t, map[string]any{
		"service":   map[string]any{"metadata": map[string]any{"namespace": "test", "name": app}, "spec": live.Spec},
		"revisions": map[string]bool{app + "-00000": true, primaryRevision: true, canaryRevision: true}, "newest": canaryRevision,
	}, &said)
	if said.Invalid != "" || said.NotReady != "" {
		t.Fatalf("of %v Knative says %q %q", live.Spec["traffic"], said.Invalid, said.NotReady)
	}
	return said.Targets
}

// route has Knative say what it does.
func (w *judgedKnative) route(t *testing.T) {
	t.Helper()
	live := w.get(t)
	live.Status.ObservedGeneration, live.Status.Traffic = live.Generation, nil
	live.Status.Conditions = []api.Condition{{Type: "RoutesReady", Status: metav1.ConditionTrue}}
	for name, percent := range w.targets(t)[""] {
		live.Status.Traffic = append(live.Status.Traffic, api.Traffic{RevisionName: name, Percent: new(percent)})
	}
	if err := w.live.Update(t.Context(), live); err != nil {
		t.Fatal(err)
	}
}

// outcomes are those of requests by the Service's own address, and by those of entries with a tag.
func (w *judgedKnative) outcomes(t *testing.T) []routertest.Outcome {
	t.Helper()
	targets, taken := w.targets(t), w.get(t).Annotations["sluice.dev/original"] != ""
	main := routertest.Outcome{Request: "the Service", Shares: map[string]float64{app + ":80": 100}}
	if taken { // before, nobody shares out between the primary and the canary
		names := map[string]string{primaryRevision: app + "-primary:80", canaryRevision: app + "-canary:80"}
		main.Shares = map[string]float64{}
		for name, percent := range targets[""] {
			main.Shares[names[name]] += float64(percent)
		}
	}
	out := []routertest.Outcome{main}
	for i := range 4 {
		tag := fmt.Sprint("tag", i)
		out = append(out, routertest.Outcome{Request: tag, Shares: map[string]float64{}, Treatment: fmt.Sprint(targets[tag])})
	}
	return out
}
