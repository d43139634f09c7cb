package routes

import (
	"context"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func newCanary() *v1beta1.Canary {
	return &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "uid-of-podinfo"}}
}

func TestRouteInSync(t *testing.T) {
	type look struct {
		inSync bool
		weight int32
	}
	for name, tc := range map[string]struct {
		looks []look // one each second from start on
		want  int    // the look since which it is known, -1: not known
		shown int    // the look since which it was shown, -1: it is not
	}{
		"so at the first look":          {looks: []look{{true, 20}}, want: -1, shown: 0},
		"so since before":               {looks: []look{{true, 20}, {true, 20}}, want: -1, shown: 0},
		"not so":                        {looks: []look{{false, 20}}, want: -1, shown: -1},
		"comes":                         {looks: []look{{false, 20}, {true, 20}}, want: 1, shown: 1},
		"stays":                         {looks: []look{{false, 20}, {true, 20}, {true, 20}, {true, 20}}, want: 1, shown: 1},
		"goes":                          {looks: []look{{false, 20}, {true, 20}, {false, 20}}, want: -1, shown: -1},
		"comes back":                    {looks: []look{{true, 20}, {false, 20}, {true, 20}}, want: 2, shown: 2},
		"another weight is another one": {looks: []look{{true, 20}, {true, 40}}, want: 1, shown: 1},
	} {
		t.Run(name, func(t *testing.T) {
			routes := &Routes{}
			route := &Share{part: routes, world: world.New(release.Observation{Canary: newCanary()})}
			var got, shown time.Time
			for i, l := range tc.looks {
				got, shown = route.note(l.inSync, l.weight, start.Add(time.Duration(i)*time.Second))
			}
			at := func(look int) time.Time {
				if look < 0 {
					return time.Time{}
				}
				return start.Add(time.Duration(look) * time.Second)
			}
			if !got.Equal(at(tc.want)) || !shown.Equal(at(tc.shown)) {
				t.Errorf("since %v, shown since %v; want %v and %v", got, shown, at(tc.want), at(tc.shown))
			}
		})
	}
}

func TestContested(t *testing.T) {
	// Each look is a letter: in sync with one weight or another, or over-written with the first.
	for name, tc := range map[string]struct {
		looks string
		every time.Duration
		want  bool
	}{
		"written over five times":      {looks: "s.s.s.s.s.", every: time.Second, want: true},
		"four times":                   {looks: "s.s.s.s.s", every: time.Second},
		"now and then":                 {looks: "s.s.s.s.s.s.s.s.", every: 10 * time.Second},
		"never set right":              {looks: "s..........", every: time.Second},
		"steps of ours between":        {looks: "so so so so so ", every: time.Second},
		"ours follows as we ask":       {looks: "s_s_s_s_s_s_", every: time.Second},
		"it was, and a minute is over": {looks: "s.s.s.s.s.sssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss", every: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := world.New(release.Observation{Canary: newCanary()})
			route := &Share{part: &Routes{}, world: w}
			got := false
			for i, look := range tc.looks {
				w.Now = start.Add(time.Duration(i) * tc.every)
				inSync, weight := look == 's' || look == 'o', int32(20)
				if look == 'o' || look == '_' {
					weight = 40
				}
				if look != ' ' {
					got = route.contested(inSync, weight)
					route.note(inSync, weight, w.Now)
				}
			}
			if got != tc.want {
				t.Errorf("contested: %v", got)
			}
		})
	}
}

// router is one that notes the route that it was given last.
type router struct {
	providers.Router
	state providers.State
	err   error
	last  providers.Route
}

func (*router) Capabilities() providers.Capabilities { return providers.Capabilities{Weighted: true} }

func (r *router) Observe(_ context.Context, route providers.Route) (providers.State, error) {
	r.last = route
	return r.state, r.err
}

// Nothing that is decided on who serves can be carried out where the mesh takes no route. What is wrong with a
// spec is no such reason, and neither is a mesh that is gone where its route has to go as well.
func TestUnreachable(t *testing.T) {
	for name, tc := range map[string]struct {
		err     error
		deleted bool
		want    bool
	}{
		"it answers":                     {},
		"it does not answer":             {err: &providers.UnreachableError{System: "Consul", Err: context.DeadlineExceeded}, want: true},
		"nor in a deletion":              {err: &providers.UnreachableError{System: "Consul", Err: context.DeadlineExceeded}, deleted: true, want: true},
		"it is not installed":            {err: providers.ErrNotInstalled, want: true},
		"it is gone before its route is": {err: providers.ErrNotInstalled, deleted: true},
		"it can't do what is asked for":  {err: &providers.UnsupportedError{}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary()
			if tc.deleted {
				c.DeletionTimestamp = &metav1.Time{Time: start}
			}
			w := world.New(release.Observation{Canary: c})
			w.Router = &router{err: tc.err}
			_, _ = (&Routes{}).Observe(t.Context(), w) // a mistake is an error
			if w.Route.Unreachable != tc.want {
				t.Errorf("it is unreachable: %v, want %v", w.Route.Unreachable, tc.want)
			}
		})
	}
}

// TestWhatTheMeshSays: what the mesh says is not covered stands beside what selects pods by label, and a router gets
// the addresses of the Services. What another part remembers is not changed by it.
func TestWhatTheMeshSays(t *testing.T) {
	mesh := &router{state: providers.State{Uncovered: "an intention", Ignored: "a timeout"}}
	remembered := append(make([]string, 0, 8), "a NetworkPolicy")
	w := world.New(release.Observation{Canary: newCanary(), Coverage: &release.Coverage{Uncovered: remembered}})
	w.Ignored = []string{"a match"}
	w.Router, w.ClusterIPs = mesh, providers.ClusterIPs{Apex: "10.96.0.7", Canary: "10.96.0.8"}
	if _, err := (&Routes{}).Observe(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a NetworkPolicy", "an intention"}; !slices.Equal(w.Coverage.Uncovered, want) {
		t.Errorf("uncovered is %v, want %v", w.Coverage.Uncovered, want)
	}
	if want := []string{"a match", "a timeout"}; !slices.Equal(w.Ignored, want) {
		t.Errorf("ignored is %v, want %v", w.Ignored, want)
	}
	if beyond := remembered[:2][1]; beyond != "" {
		t.Errorf("%q was written into what another part remembers", beyond)
	}
	if mesh.last.ClusterIPs != w.ClusterIPs {
		t.Errorf("the router got %+v", mesh.last.ClusterIPs)
	}

	w.Coverage = nil // it is not looked at
	if _, err := (&Routes{}).Observe(t.Context(), w); err != nil || w.Coverage != nil {
		t.Errorf("where coverage is not looked at: %+v, %v", w.Coverage, err)
	}
}

// TestKindsThatCome has routers know of a kind of the mesh as soon as it is watched, so that they need not look
// for it again and again meanwhile.
func TestKindsThatCome(t *testing.T) {
	mapper := meta.NewDefaultRESTMapper(nil)
	served := kube.NewServed(fake.NewClientBuilder().WithRESTMapper(mapper).Build())
	looked := func() error {
		_, err := served.RESTMapper().RESTMapping(schema.GroupKind{Group: "apps", Kind: "Deployment"}, "v1")
		return err
	}
	indexed := 0
	part := &Routes{Served: served}
	if err := looked(); err == nil {
		t.Fatal("it is served")
	}
	mapper.Add(appsv1.SchemeGroupVersion.WithKind("Deployment"), meta.RESTScopeNamespace)
	if err := looked(); err == nil {
		t.Error("it was looked for once more")
	}
	for _, index := range []func(context.Context, client.FieldIndexer, client.Object) error{
		nil, func(context.Context, client.FieldIndexer, client.Object) error { indexed++; return nil },
	} {
		if err := part.found(index)(t.Context(), nil, &appsv1.Deployment{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := looked(); err != nil || indexed != 1 {
		t.Errorf("%v, indexed %d times", err, indexed)
	}
	if err := (&Routes{}).found(nil)(t.Context(), nil, &appsv1.Deployment{}); err != nil {
		t.Error(err)
	}
}
