package canary

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/providers"
)

// noted is a router whose writes are among those of its scene.
type noted struct {
	providers.Router
	scene *scene
	first bool // the route must be there before the apex Service leads to the primary
	err   error

	observed func() // called after each observation, if set
}

func (n *noted) Observe(ctx context.Context, route providers.Route) (providers.State, error) {
	state, err := n.Router.Observe(ctx, route)
	if n.observed != nil {
		n.observed()
	}
	return state, err
}

func (n *noted) Apply(ctx context.Context, route providers.Route) error {
	n.scene.writes = append(n.scene.writes, "apply route")
	if n.err != nil {
		return n.err
	}
	return n.Router.Apply(ctx, route)
}

func (n *noted) RouteFirst() bool { return n.first }

// noteRoutes has the writes of routes noted in their order among the others.
func (s *scene) noteRoutes() *noted {
	n := &noted{Router: s.router, scene: s}
	s.reconciler.Router = func(string) (providers.Router, error) { return n, nil }
	return n
}

// The route is written first, and where there is nothing yet that it could lead to, between
// the Services that it divides the traffic between and the one that people call.
func TestRouteIsWrittenFirst(t *testing.T) {
	backends := []string{"apply Service podinfo-primary", "apply Service podinfo-canary"}
	t.Run("from the start", func(t *testing.T) {
		s := newScene(t, newCanary("podinfo").Canary, newTarget())
		s.noteRoutes()
		s.rollOut()
		s.settleFully()
		first := func(write string) int { return slices.Index(s.writes, write) }
		order := []int{first(backends[0]), first(backends[1]), first("apply route"), first("apply Service podinfo")}
		if order[0] < 0 || !slices.IsSorted(order) {
			t.Errorf("order %v of %v", order, s.writes)
		}
	})
	for name, tc := range map[string]struct {
		err   error
		first bool
		edit  string // the Service that somebody edits
		want  []string
	}{
		"a Service was edited":     {edit: "podinfo-canary", want: []string{"apply route", "apply Service podinfo-canary"}},
		"the apex was edited":      {edit: "podinfo", want: []string{"apply route", "apply Service podinfo"}},
		"a backend is gone":        {edit: "", want: []string{"apply Service podinfo-canary", "apply route"}},
		"the route is refused":     {edit: "podinfo", err: errors.New("denied"), want: []string{"apply route", "apply Service podinfo"}},
		"refused, no backend":      {edit: "", err: errors.New("denied"), want: []string{"apply Service podinfo-canary", "apply route"}},
		"refused and needed first": {edit: "", err: errors.New("denied"), first: true, want: []string{"apply Service podinfo-canary", "apply route"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newInitialized(t)
			n := s.noteRoutes()
			n.err, n.first = tc.err, tc.first
			if tc.edit == "" {
				s.remove(s.service("podinfo-canary"))
			} else {
				edit(s, s.service(tc.edit), func(o *corev1.Service) { o.Spec.Selector = map[string]string{"app": "other"} })
			}
			s.writes = nil
			if _, err := s.turn(); tc.err == nil && err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, s.worldWrites()); diff != "" {
				t.Errorf("writes: -want +got\n%s", diff)
			}
		})
	}
}

// A mesh that finds pods by what the apex Service selects must have its route before that
// leads to the primary.
func TestApexWaitsForTheRoute(t *testing.T) {
	for name, first := range map[string]bool{"needed first": true, "not needed first": false} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, newCanary("podinfo").Canary, newTarget())
			n := s.noteRoutes()
			n.err, n.first = errors.New("denied"), first
			s.rollOut()
			for range 10 {
				_, _ = s.turn()
				s.rollOut()
			}
			if !slices.Contains(s.writes, "apply route") {
				t.Fatalf("no route in %v", s.writes)
			}
			if got := slices.Contains(s.writes, "apply Service podinfo"); got == first {
				t.Errorf("the apex Service is written: %t", got)
			}
		})
	}
}

// What can't be written is tried again after a while that doubles up to a limit, and begins
// anew once it was mended.
func TestRetriesGrow(t *testing.T) {
	s := newInitialized(t)
	denied := func() {
		s.applyError = func(kind string) error {
			if kind == "Service" {
				return errors.New("denied by an admission webhook")
			}
			return nil
		}
		edit(s, s.service("podinfo"), func(o *corev1.Service) { o.Labels["team"] = "a"; delete(o.Labels, ownership.Label) })
	}
	// A turn that writes the status is followed by one that sees it.
	check := func(turns int) {
		t.Helper()
		want := firstRetry
		for i := range turns {
			before := len(s.writes)
			result, err := s.turn()
			if err == nil {
				t.Fatal("nothing is refused")
			}
			wrote := slices.Contains(s.writes[before:], "status podinfo")
			if got := result.RequeueAfter; got != want && !(wrote && got == wake.EchoDelay) {
				t.Errorf("after %d turns it is tried after %s, want %s", i+1, got, want)
			}
			want = min(2*want, lastRetry)
		}
		if turns > 9 && want != lastRetry {
			t.Errorf("it is tried after %s in the end", want)
		}
	}
	denied()
	check(14)
	s.applyError = nil
	s.settleFully()
	denied()
	check(4)
}

// Where in the last moment a Service can't be given back, clients are led to the primary still:
// it stays.
func TestPrimaryStaysWhereServicesAreNotGivenBack(t *testing.T) {
	for name, refused := range map[string]bool{"given back": false, "refused": true} {
		t.Run(name, func(t *testing.T) {
			s := newInitialized(t)
			before := s.service("podinfo")
			n := s.noteRoutes()
			s.delete()
			for range 10 {
				s.mustTurn()
				s.rollOut()
			}
			if s.gone() || len(s.router.Released()) == 0 {
				t.Fatalf("gone %t, %d routes are released", s.gone(), len(s.router.Released()))
			}
			// Somebody restores the Service after it was seen to be given back.
			n.observed = func() {
				live := s.service("podinfo")
				live.Labels, live.Annotations, live.Spec.Selector = before.Labels, before.Annotations, before.Spec.Selector
				if err := s.api.Update(t.Context(), live); err != nil {
					t.Fatal(err)
				}
			}
			s.patchRefused = func(o client.Object) error {
				if _, is := o.(*corev1.Service); is && refused {
					return errors.New("denied by an admission webhook")
				}
				return nil
			}
			s.clock.SetTime(s.clock.Now().Add(time.Hour))
			_, _ = s.turn()
			if !s.gone() && !refused {
				t.Fatal("the deletion does not end")
			}
			if led := s.service("podinfo").Spec.Selector["app"] == "podinfo-primary"; led != refused {
				t.Fatalf("the apex Service leads to the primary: %t", led)
			}
			primary := &appsv1.Deployment{}
			err := s.api.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: "podinfo-primary"}, primary)
			if stays := err == nil; stays != refused {
				t.Fatalf("the primary stays: %t", stays)
			}
			if refused && (*primary.Spec.Replicas != 2 || ownership.CanaryOf(primary) != "") {
				t.Errorf("the primary has %d pods and is of %q", *primary.Spec.Replicas, ownership.CanaryOf(primary))
			}
		})
	}
}

func TestAttempts(t *testing.T) {
	var a attempts
	if !a.made("a", nil) {
		t.Error("no error is no success")
	}
	if a.made("b", errors.New("no")) || a.made("c", &providers.WaitError{For: "proxies", After: time.Second}) {
		t.Error("an error is a success")
	}
	if len(a.failures) != 1 || a.failures[0].Object != "b" || len(a.errs) != 1 || len(a.waits) != 1 || !strings.Contains(a.errs[0].Error(), "b: no") {
		t.Errorf("attempts %+v", a)
	}
}
