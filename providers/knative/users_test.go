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
		if traffic := drawTraffic(t); traffic != nil {
			if flaggers(traffic) {
				return nil // it counts as another operator's
			}
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

// drawTraffic draws spec.traffic, nil for none.
func drawTraffic(t *rapid.T) []any {
	var out []any
	left := int64(100)
	n := rapid.IntRange(0, 4).Draw(t, "entries")
	for i := range n {
		entry := map[string]any{}
		if to := rapid.SampledFrom([]string{"", "podinfo-00000", "podinfo-00001", "podinfo-00002"}).Draw(t, "revision"); to != "" {
			entry["revisionName"] = to
		} else {
			entry["latestRevision"] = true
		}
		share := rapid.Int64Range(0, left).Draw(t, "percent")
		if i == n-1 {
			share = left
		}
		left -= share
		tag := rapid.SampledFrom([]string{"", fmt.Sprint("tag", i)}).Draw(t, "tag")
		if tag != "" {
			entry["tag"] = tag
		}
		if share == 0 && tag == "" {
			continue
		}
		entry["percent"] = share
		out = append(out, entry)
	}
	return out
}

// flaggers tells whether it shares out between the newest revision and the one that serves, and does nothing else.
func flaggers(traffic []any) bool {
	to := map[any]bool{}
	for _, one := range traffic {
		entry := one.(map[string]any)
		if entry["tag"] != nil {
			return false
		}
		to[entry["revisionName"]] = true
	}
	return len(traffic) == 2 && to[nil] && to["podinfo-00001"]
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
