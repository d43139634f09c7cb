package knative_test

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"

	api "github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/routertest"
)

// TestUsersObjects draws spec.traffic of a user's: shares of revisions, the newest among them, and addresses of their own for
// some. What comes by the Service's own address is the Canary's to share out, however the user had shared it out by hand.
func TestUsersObjects(t *testing.T) {
	outer := t
	routertest.UsersObjects(t, func(t *rapid.T) *routertest.Users {
		users := service(outer, template)
		if traffic := routertest.DrawTraffic(t, "podinfo"); traffic != nil {
			users.Spec["traffic"] = traffic
		}
		users.Annotations["note"] = "theirs"
		w := newWorld(outer, served(), users)
		return &routertest.Users{
			Router: w.router, Route: providers.Route{Canary: canary()}, Closed: true,
			Serve: func() []routertest.Outcome { return w.outcomes(outer) }, Stored: func() any { return w.stored(outer) },
			Mesh: func() { w.route(outer, metav1.ConditionTrue) },
			Replay: func() func() {
				was := runtime.DeepCopyJSON(w.get(outer).Spec)
				return func() {
					live := w.get(outer)
					live.Spec = runtime.DeepCopyJSON(was)
					w.update(outer, live)
				}
			},
		}
	})
}

// stored is the Service without the note that the operator makes before there is a route.
func (w *world) stored(t *testing.T) any {
	t.Helper()
	live := w.get(t)
	delete(live.Annotations, api.PrimaryAnnotation)
	return []any{live.Spec, live.Labels, live.Annotations}
}

// outcomes are those of requests by the Service's own address, and by those of entries with a tag.
func (w *world) outcomes(t *testing.T) []routertest.Outcome {
	t.Helper()
	live := w.get(t)
	main := routertest.Outcome{Request: "the Service", Shares: map[string]float64{}}
	tags := map[string]string{}
	list, _ := live.Spec["traffic"].([]any)
	for _, one := range list {
		entry := one.(map[string]any)
		name, _ := entry["revisionName"].(string)
		if entry["latestRevision"] == true {
			name = "the newest"
		}
		if tag, ok := entry["tag"].(string); ok {
			tags[tag] += name
		}
		to := map[string]string{"podinfo-00001": "podinfo-primary:80", "podinfo-00002": "podinfo-canary:80"}[name]
		if percent, ok := entry["percent"].(int64); ok {
			main.Shares[to] += float64(percent)
		}
	}
	if live.Annotations["sluice.dev/original"] == "" {
		main.Shares = map[string]float64{"podinfo:80": 100} // nobody shares out yet between the primary and the canary
	}
	out := []routertest.Outcome{main}
	for i := range 4 {
		tag := fmt.Sprint("tag", i)
		out = append(out, routertest.Outcome{Request: tag, Shares: map[string]float64{}, Treatment: tags[tag]})
	}
	return out
}
