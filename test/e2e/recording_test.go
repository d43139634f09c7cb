package e2e

import (
	"slices"
	"sync"
	"testing"
	"time"

	networking "istio.io/api/networking/v1"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// recording is every version of the objects of one kind in an app's namespace,
// in order.
type recording[T client.Object] struct {
	mu   sync.Mutex
	seen []version[T]
}

// version is what an object was from a moment on.
type version[T client.Object] struct {
	at     time.Time // when it was seen, a little after it was written
	object T
}

// record begins a recording, which goes on until the end of the test.
func record[T client.Object](a *app, list client.ObjectList) *recording[T] {
	a.t.Helper()
	w, err := a.API.Watch(a.t.Context(), list, client.InNamespace(a.Namespace))
	a.must(err)
	a.t.Cleanup(w.Stop)
	r := &recording[T]{}
	go func() {
		for event := range w.ResultChan() {
			object, ok := event.Object.(T)
			if !ok || event.Type == watch.Deleted {
				continue
			}
			r.mu.Lock()
			r.seen = append(r.seen, version[T]{time.Now(), object})
			r.mu.Unlock()
		}
	}()
	return r
}

// since are the versions seen from a moment on.
func (r *recording[T]) since(moment time.Time) []version[T] {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.seen), func(v version[T]) bool { return v.at.Before(moment) })
}

// first is the first version since a moment that fits.
func (r *recording[T]) first(moment time.Time, fits func(T) bool) (version[T], bool) {
	for _, v := range r.since(moment) {
		if fits(v.object) {
			return v, true
		}
	}
	return version[T]{}, false
}

// beforeVersion tells whether one object was written before another, of whatever kind.
func beforeVersion(t *testing.T, a, b client.Object) bool {
	t.Helper()
	order, err := resourceversion.CompareResourceVersion(a.GetResourceVersion(), b.GetResourceVersion())
	if err != nil {
		t.Fatal(err)
	}
	return order < 0
}

// turn is what the mesh was asked to do with the canary: its share of the
// requests (those that match, in A/B testing), and the percentage of the
// primary's requests that it gets a copy of.
type turn struct{ Weight, Mirror int32 }

// turnOf reads the last route that leads to the canary: those of users with
// cookies come before it.
func turnOf(vs *istionetworking.VirtualService) turn {
	for _, http := range slices.Backward(vs.Spec.Http) {
		if mirror := http.GetMirror().GetHost(); mirror == canaryName {
			return turn{Mirror: int32(http.GetMirrorPercentage().GetValue())}
		}
		i := slices.IndexFunc(http.Route, func(d *networking.HTTPRouteDestination) bool { return d.Destination.Host == canaryName })
		switch {
		case i < 0:
		case len(http.Route) == 1:
			return turn{Weight: 100} // the only destination of a route needs no weight
		default:
			return turn{Weight: http.Route[i].Weight}
		}
	}
	return turn{}
}

// turns are what the mesh was asked to do one after the other.
func turns(routes *recording[*istionetworking.VirtualService], since time.Time) []turn {
	var out []turn
	for _, v := range routes.since(since) {
		out = append(out, turnOf(v.object))
	}
	return slices.Compact(out)
}
