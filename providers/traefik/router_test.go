package traefik_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/ssa"
	"github.com/sluice-delivery/sluice/providers/traefik"
)

type world struct {
	client.Client

	router *traefik.Router
	writes int
}

func newWorld(t *testing.T, served ...schema.GroupVersionKind) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := traefik.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	w := &world{}
	mapper := routertest.Mapper(served...)
	w.Client = fake.NewClientBuilder().WithScheme(scheme).WithRESTMapper(mapper).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			gvk, err := c.GroupVersionKindFor(o)
			if err != nil {
				return err
			}
			if _, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version); err != nil {
				return err
			}
			return c.Get(ctx, key, o, opts...)
		},
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			w.writes++
			return c.Apply(ctx, o, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			w.writes++
			return c.Delete(ctx, o, opts...)
		},
	}).Build()
	w.router = traefik.New(w.Client, ssa.New(w.Client))
	return w
}

var kind = schema.GroupVersionKind{Group: "traefik.io", Version: "v1alpha1", Kind: "TraefikService"}

func canary() *v1beta1.Canary {
	return &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: "test", UID: "c1"},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
			Service:   v1beta1.CanaryService{Port: 80},
			Analysis:  &v1beta1.CanaryAnalysis{StepWeight: 10},
		},
	}
}

func (w *world) get(t *testing.T) *traefik.TraefikService {
	t.Helper()
	out := &traefik.TraefikService{}
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

// leading makes a TraefikService of a user's that leads to the apex Service.
func (w *world) leading(t *testing.T) *traefik.TraefikService {
	t.Helper()
	users := &traefik.TraefikService{ObjectMeta: metav1.ObjectMeta{
		Namespace: "test", Name: "podinfo", Annotations: map[string]string{"example.com/team": "shop"},
	}}
	users.Spec.Weighted = &traefik.Weighted{Services: []traefik.Service{{Name: "podinfo", Port: new(intstr.FromInt32(80))}}}
	if err := w.Create(t.Context(), users, client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
	return users
}

func services(primary, canary int32) []traefik.Service {
	var out []traefik.Service
	for _, s := range []struct {
		name   string
		weight int32
	}{{"podinfo-primary", primary}, {"podinfo-canary", canary}} {
		if s.weight > 0 {
			out = append(out, traefik.Service{Name: s.name, Namespace: "test", Port: new(intstr.FromInt32(80)), Weight: new(s.weight)})
		}
	}
	return out
}

func TestConformance(t *testing.T) {
	routertest.Run(t, func(t *testing.T) routertest.World {
		w := newWorld(t, kind)
		return routertest.World{
			Router: w.router, Canary: canary(), Writes: func() int { return w.writes }, Bare: newWorld(t).router,
			Drift: func(t *testing.T, traffic providers.Traffic) {
				live := w.get(t)
				live.Spec.Weighted.Services = services(traffic.Primary, traffic.Canary)
				w.update(t, live)
			},
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
			Flagger: func(t *testing.T, traffic providers.Traffic) func(*testing.T) {
				theirs := &traefik.TraefikService{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"}}
				theirs.Spec.Weighted = &traefik.Weighted{Services: services(traffic.Primary, traffic.Canary)}
				routertest.OfFlagger(theirs, "podinfo")
				if err := w.Create(t.Context(), theirs); err != nil {
					t.Fatal(err)
				}
				return func(t *testing.T) {
					if diff := cmp.Diff(theirs.Spec, w.get(t).Spec); diff != "" {
						t.Error(diff)
					}
				}
			},
			Users: func(t *testing.T) func(*testing.T) {
				users := w.leading(t)
				return func(t *testing.T) {
					live := w.get(t)
					if diff := cmp.Diff(w.served(t), routertest.Outcome{Shares: map[string]float64{"podinfo:80": 100}, Treatment: "{}"}); diff != "" ||
						live.Annotations["example.com/team"] != users.Annotations["example.com/team"] || live.Annotations["sluice.dev/canary"] != "" {
						t.Errorf("it is %+v\n%s", live, diff)
					}
				}
			},
			Replay: func(t *testing.T) func(*testing.T) {
				was := w.get(t)
				return func(t *testing.T) {
					live := w.get(t)
					live.Spec = was.Spec
					w.update(t, live)
				}
			},
			Others: func(t *testing.T) func(*testing.T) {
				other := &traefik.TraefikService{ObjectMeta: metav1.ObjectMeta{
					Namespace: "test", Name: "podinfo", Annotations: map[string]string{"sluice.dev/canary": "another"},
				}}
				if err := w.Create(t.Context(), other); err != nil {
					t.Fatal(err)
				}
				return func(t *testing.T) {
					if diff := cmp.Diff(other, w.get(t)); diff != "" {
						t.Error(diff)
					}
				}
			},
		}
	})
}

// Traefik drops a TraefikService one of whose Services has no endpoints, so that one without
// requests is not named.
func TestServices(t *testing.T) {
	w := newWorld(t, kind)
	for _, weight := range []int32{0, 30, 100} {
		if err := w.router.Apply(t.Context(), providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 100 - weight, Canary: weight}}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(services(100-weight, weight), w.get(t).Spec.Weighted.Services); diff != "" {
			t.Errorf("at %d%%: %s", weight, diff)
		}
	}
}

// IngressRoutes may lead to a TraefikService whose Canary goes: it stays, leads to the Service,
// and another Canary takes it.
func TestRelease(t *testing.T) {
	w := newWorld(t, kind)
	route := providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 100}}
	for range 2 {
		if err := w.router.Apply(t.Context(), route); err != nil {
			t.Fatal(err)
		}
		if err := w.router.Release(t.Context(), route); err != nil {
			t.Fatal(err)
		}
		live := w.get(t)
		if live.Annotations["sluice.dev/canary"] != "" || len(live.Spec.Weighted.Services) != 1 || live.Spec.Weighted.Services[0].Name != "podinfo" {
			t.Errorf("it is left as %+v", live)
		}
	}
}

// What somebody has made of ours is observed as Traefik takes it, and one of another Canary's is left alone.
func TestObserved(t *testing.T) {
	for name, tc := range map[string]struct {
		services []traefik.Service
		want     providers.Traffic
	}{
		"weights of 1 where none is said": {[]traefik.Service{{Name: "podinfo-primary"}, {Name: "podinfo-canary"}}, providers.Traffic{Primary: 50, Canary: 50}},
		"weights that sum to nothing":     {[]traefik.Service{{Name: "podinfo-primary", Weight: new(int32(0))}, {Name: "podinfo-canary", Weight: new(int32(0))}}, providers.Traffic{Primary: 100}},
		"others":                          {[]traefik.Service{{Name: "podinfo-canary", Weight: new(int32(1))}, {Name: "x", Weight: new(int32(3))}}, providers.Traffic{Primary: 75, Canary: 25}},
		"nothing":                         {nil, providers.Traffic{Primary: 100}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, kind)
			live := &traefik.TraefikService{
				ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", Annotations: map[string]string{"sluice.dev/canary": "podinfo"}},
				Spec:       traefik.Spec{Weighted: &traefik.Weighted{Services: tc.services}},
			}
			if err := w.Create(t.Context(), live); err != nil {
				t.Fatal(err)
			}
			if state, err := w.router.Observe(t.Context(), providers.Route{Canary: canary()}); err != nil || state.Traffic != tc.want {
				t.Errorf("observed %+v, %v", state, err)
			}
		})
	}
	w := newWorld(t, kind)
	others := &traefik.TraefikService{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", Annotations: map[string]string{"sluice.dev/canary": "another"}},
		Spec:       traefik.Spec{Weighted: &traefik.Weighted{Services: []traefik.Service{{Name: "podinfo"}}}},
	}
	if err := w.Create(t.Context(), others); err != nil {
		t.Fatal(err)
	}
	if err := w.router.Apply(t.Context(), providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 100}}); !providers.IsConflict(err) {
		t.Errorf("another Canary's that leads to the apex Service: %v", err)
	}
}

// What a TraefikService can't do is refused before anything is written.
func TestRefused(t *testing.T) {
	for field, traffic := range map[string]providers.Traffic{
		"spec.analysis.match":           {Canary: 100, Matched: true},
		"spec.analysis.mirror":          {Primary: 100, Mirror: 5},
		"spec.analysis.sessionAffinity": {Primary: 90, Canary: 10, Sessions: providers.Sessions{Canary: "c"}},
	} {
		w := newWorld(t, kind)
		err := w.router.Apply(t.Context(), providers.Route{Canary: canary(), Traffic: traffic})
		if !providers.IsUnsupported(err) || !strings.HasPrefix(err.Error(), field) || w.writes > 0 {
			t.Errorf("%s: %v after %d writes", field, err, w.writes)
		}
	}
}

// The labels and annotations of the apex are on the TraefikService too, and a copy shares nothing with it.
func TestMetadataAndCopy(t *testing.T) {
	w := newWorld(t, kind)
	c := canary()
	c.Spec.Service.Apex = &v1beta1.CustomMetadata{Labels: map[string]string{"team": "shop"}, Annotations: map[string]string{"a": "b"}}
	if err := w.router.Apply(t.Context(), providers.Route{Canary: c, Traffic: providers.Traffic{Primary: 70, Canary: 30}}); err != nil {
		t.Fatal(err)
	}
	live := w.get(t)
	if live.Labels["team"] != "shop" || live.Annotations["a"] != "b" {
		t.Errorf("labels %v, annotations %v", live.Labels, live.Annotations)
	}
	list := (&traefik.TraefikServiceList{Items: []traefik.TraefikService{*live}}).DeepCopyObject()
	*live.Spec.Weighted.Services[0].Weight = 1
	if l, ok := list.(*traefik.TraefikServiceList); !ok || *l.Items[0].Spec.Weighted.Services[0].Weight != 70 {
		t.Error("a copy changes with what it was copied from")
	}
}

// One that leads somewhere else too is a user's.
func TestUsers(t *testing.T) {
	for name, weighted := range map[string]*traefik.Weighted{
		"nothing known": nil,
		"two Services":  {Services: []traefik.Service{{Name: "podinfo"}, {Name: "other"}}},
		"another":       {Services: []traefik.Service{{Name: "other"}}},
		"elsewhere":     {Services: []traefik.Service{{Name: "podinfo", Namespace: "other"}}},
		"itself":        {Services: []traefik.Service{{Name: "podinfo", Kind: "TraefikService"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, kind)
			users := &traefik.TraefikService{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"}, Spec: traefik.Spec{Weighted: weighted}}
			if err := w.Create(t.Context(), users); err != nil {
				t.Fatal(err)
			}
			route := providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 100}}
			if err := w.router.Apply(t.Context(), route); !providers.IsConflict(err) || w.writes > 0 {
				t.Errorf("error %v after %d writes", err, w.writes)
			}
			if _, err := w.router.Observe(t.Context(), route); !providers.IsConflict(err) {
				t.Errorf("observed with %v", err)
			}
		})
	}
}
