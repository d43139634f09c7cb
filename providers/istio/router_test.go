package istio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio/internal/istiotest"
	"github.com/sluice-delivery/sluice/providers/istio/internal/objects"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// tester is a test, or one of the cases of a property.
type tester interface {
	Context() context.Context
	Helper()
	Fatal(args ...any)
}

// world is a cluster. Reading an object without its Go type from the cache would
// have a second cache of all objects of its kind, so it can't be done.
type world struct {
	client.Client

	live   client.Client // the cluster itself, past the cache
	router *Router
	writes int
	sent   map[string]string // last applied body by kind and name
}

func newWorld(t tester, objs ...client.Object) *world { return newWorldOf(t, false, objs...) }

// newWorldOf has Canaries of another cluster where remote is true.
func newWorldOf(t tester, remote bool, objs ...client.Object) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{networkingv1.AddToScheme, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{sent: map[string]string{}}
	live := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objs...).Build()
	w.live = live
	w.Client = interceptor.NewClient(live, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if _, untyped := obj.(*unstructured.Unstructured); untyped {
				return errors.New("a second cache")
			}
			return c.Get(ctx, key, obj, opts...)
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			w.writes++
			body, err := json.Marshal(obj)
			if err != nil {
				return err
			}
			var head struct {
				Kind     string
				Metadata struct{ Name string }
			}
			if err := json.Unmarshal(body, &head); err != nil {
				return err
			}
			w.sent[head.Kind+" "+head.Metadata.Name] = string(body)
			return c.Apply(ctx, obj, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			w.writes++
			return c.Patch(ctx, obj, patch, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			w.writes++
			return c.Delete(ctx, obj, opts...)
		},
	})
	w.router = New(Config{Client: w.Client, Live: live, Applier: ssa.New(w.Client), Remote: remote})
	return w
}

func (w *world) virtualService(t *testing.T) *networkingv1.VirtualService {
	t.Helper()
	vs := &networkingv1.VirtualService{}
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: "podinfo"}, vs); err != nil {
		t.Fatal(err)
	}
	return vs
}

func TestConformance(t *testing.T) {
	for name, remote := range map[string]bool{"one cluster": false, "Canaries of another cluster": true} {
		t.Run(name, func(t *testing.T) {
			routertest.Run(t, func(t *testing.T) routertest.World {
				w := newWorldOf(t, remote)
				users := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", Labels: map[string]string{"team": "a"}}}
				users.Spec.Hosts = []string{"podinfo.example.com"}
				users.Spec.Http = []*networking.HTTPRoute{{Name: "mine", Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: "podinfo"}}}}}
				rival := istiotest.VirtualService(t, "a-rival", `{hosts: [podinfo], http: [{route: [{destination: {host: podinfo}}]}]}`)
				rival.CreationTimestamp = metav1.Unix(1, 0)
				world := routertest.World{
					Router: w.router, Canary: istiotest.Canary(), Writes: func() int { return w.writes }, Bare: notInstalled(w.Client),
					Mistakes: map[string]func(*v1beta1.Canary){
						"a timeout":                 func(c *v1beta1.Canary) { c.Spec.Service.Timeout = "soon" },
						"a rewrite":                 func(c *v1beta1.Canary) { c.Spec.Service.Rewrite = istiotest.Raw(`{"uri":1}`) },
						"delegation with a gateway": func(c *v1beta1.Canary) { c.Spec.Service.Delegation, c.Spec.Service.Gateways = true, []string{"g"} },
					},
					Drift: func(t *testing.T, traffic providers.Traffic) {
						vs := w.virtualService(t)
						vs.Spec.Http[0].Route[0].Weight, vs.Spec.Http[0].Route[1].Weight = traffic.Primary, traffic.Canary
						if err := w.Update(t.Context(), vs); err != nil {
							t.Fatal(err)
						}
					},
				}.With(routertest.Object{Client: w.live, Users: users, Rival: rival})
				if !remote { // Flagger knows its own by references to owners, of which there are none in another cluster
					world.Flagger = w.flaggers
				}
				return world
			})
		})
	}
}

// flaggers has what Flagger writes.
func (w *world) flaggers(t *testing.T, traffic providers.Traffic) func(*testing.T) {
	t.Helper()
	vs := istiotest.VirtualService(t, "podinfo", fmt.Sprintf("{hosts: [podinfo], gateways: [mesh], http: [{route: [%s, %s]}]}",
		fmt.Sprintf("{destination: {host: podinfo-primary}, weight: %d}", traffic.Primary), fmt.Sprintf("{destination: {host: podinfo-canary}, weight: %d}", traffic.Canary)))
	routertest.OfFlagger(vs, "podinfo")
	if err := w.live.Create(t.Context(), vs, client.FieldOwner("flagger")); err != nil {
		t.Fatal(err)
	}
	before := w.spec(t, "VirtualService", "podinfo")
	return func(t *testing.T) {
		t.Helper()
		if d := cmp.Diff(before, w.spec(t, "VirtualService", "podinfo")); d != "" {
			t.Errorf("what Flagger had (-was +is)\n%s", d)
		}
	}
}

// An owner in another cluster is none to the garbage collector, which would
// remove the objects: they have an annotation instead, and go by Release.
func TestRemote(t *testing.T) {
	w := newWorldOf(t, true)
	c := istiotest.Canary(istiotest.WithPolicy)
	if err := w.router.Apply(t.Context(), istiotest.Route(c, 10)); err != nil {
		t.Fatal(err)
	}
	made := []client.Object{
		&networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Name: "podinfo"}},
		&networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Name: "podinfo-primary"}},
		&networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Name: "podinfo-canary"}},
	}
	for _, o := range made {
		if err := w.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: o.GetName()}, o); err != nil {
			t.Fatal(err)
		}
		if len(o.GetOwnerReferences()) != 0 || o.GetAnnotations()["sluice.dev/owner"] != "podinfo/c1" || o.GetLabels()["app.kubernetes.io/managed-by"] != "sluice" {
			t.Errorf("metadata of %s %s: owners %v, annotations %v, labels %v", objects.KindOf(o), o.GetName(), o.GetOwnerReferences(), o.GetAnnotations(), o.GetLabels())
		}
	}
	recreated := istiotest.Canary()
	recreated.UID = "c2"
	if err := w.router.Apply(t.Context(), istiotest.Route(recreated, 10)); !providers.IsConflict(err) || !strings.Contains(err.Error(), "Canary podinfo with UID c1") {
		t.Errorf("another Canary of the name gets %v", err)
	}
	c.DeletionTimestamp = new(metav1.Now())
	if err := w.router.Release(t.Context(), istiotest.Route(c, 0)); err != nil {
		t.Fatal(err)
	}
	for _, o := range made {
		if err := w.Get(t.Context(), client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
			t.Errorf("%s %s after release: %v", objects.KindOf(o), o.GetName(), err)
		}
	}
}

// notInstalled is a router in a cluster without Istio's kinds.
func notInstalled(c client.Client) *Router {
	bare := interceptor.NewClient(c.(client.WithWatch), interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "networking.istio.io", Kind: "VirtualService"}}
		},
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "networking.istio.io", Kind: "DestinationRule"}}
		},
	})
	return New(Config{Client: bare, Applier: ssa.New(bare)})
}

func TestObjectsWritten(t *testing.T) {
	for name, tc := range map[string]struct {
		service func(*v1beta1.CanaryService)
		weight  int32
		want    string // spec of the VirtualService
		policy  string // trafficPolicy of the DestinationRules
	}{
		"plain": {
			want: `{hosts: [podinfo], gateways: [mesh], http: [{route: [
				{destination: {host: podinfo-primary}, weight: 100}, {destination: {host: podinfo-canary}, weight: 0}]}]}`,
		},
		"everything in the spec": {
			weight: 100,
			service: func(s *v1beta1.CanaryService) {
				s.Name = ""
				s.Hosts, s.Gateways = []string{"app.example.com"}, []string{"istio-system/public", "mesh"}
				s.Match = []v1beta1.RawObject{*istiotest.Raw(`{"uri":{"prefix":"/"}}`)}
				s.Rewrite = istiotest.Raw(`{"uri":"/v2","type":"ReplacePrefixMatch"}`)
				s.Retries = istiotest.Raw(`{"attempts":3,"perTryTimeout":"1m30s","retryOn":"gateway-error"}`)
				s.Timeout = "1m30s"
				s.Headers = istiotest.Raw(`{"request":{"add":{"x-a":"1"}}}`)
				s.CorsPolicy = istiotest.Raw(`{"allowOrigins":[{"exact":"https://example.com"}],"allowCredentials":false,"maxAge":"24h"}`)
				s.TrafficPolicy = istiotest.Raw(`{"tls":{"mode":"ISTIO_MUTUAL"},"outlierDetection":{"consecutive5xxErrors":7}}`)
			},
			want: `{hosts: [app.example.com, podinfo], gateways: [istio-system/public, mesh], http: [{
				match: [{uri: {prefix: /}}], rewrite: {uri: /v2}, timeout: 90s,
				retries: {attempts: 3, perTryTimeout: 90s, retryOn: gateway-error},
				headers: {request: {add: {x-a: "1"}}},
				corsPolicy: {allowOrigins: [{exact: "https://example.com"}], allowCredentials: false, maxAge: 86400s},
				route: [{destination: {host: podinfo-primary}, weight: 0}, {destination: {host: podinfo-canary}, weight: 100}]}]}`,
			policy: `{tls: {mode: ISTIO_MUTUAL}, outlierDetection: {consecutive5xxErrors: 7}}`,
		},
		"apex host listed fully": {
			service: func(s *v1beta1.CanaryService) { s.Hosts = []string{"podinfo.test.svc.cluster.local"} },
			want: `{hosts: [podinfo.test.svc.cluster.local], gateways: [mesh], http: [{route: [
				{destination: {host: podinfo-primary}, weight: 100}, {destination: {host: podinfo-canary}, weight: 0}]}]}`,
		},
		"port where a gateway cannot know it": {
			service: func(s *v1beta1.CanaryService) {
				s.PortDiscovery, s.Gateways, s.Hosts = true, []string{"public"}, []string{"*"}
			},
			want: `{hosts: ["*"], gateways: [public], http: [{route: [
				{destination: {host: podinfo-primary, port: {number: 9898}}, weight: 100},
				{destination: {host: podinfo-canary, port: {number: 9898}}, weight: 0}]}]}`,
		},
		"tcp": {
			service: func(s *v1beta1.CanaryService) { s.AppProtocol = "TCP" },
			want: `{hosts: [podinfo], gateways: [mesh], tcp: [{route: [
				{destination: {host: podinfo-primary}, weight: 100}, {destination: {host: podinfo-canary}, weight: 0}]}]}`,
		},
		"delegation": {
			service: func(s *v1beta1.CanaryService) { s.Delegation = true },
			want: `{hosts: [], gateways: [], http: [{route: [
				{destination: {host: podinfo-primary}, weight: 100}, {destination: {host: podinfo-canary}, weight: 0}]}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := istiotest.Canary()
			if tc.service != nil {
				tc.service(&c.Spec.Service)
			}
			w := newWorld(t)
			if err := w.router.Apply(t.Context(), istiotest.Route(c, tc.weight)); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(istiotest.DecodeYAML(t, tc.want), istiotest.Spec(t, w.sent["VirtualService podinfo"])); d != "" {
				t.Error(d)
			}
			for _, host := range []string{"podinfo-primary", "podinfo-canary"} {
				var want map[string]any
				if tc.policy != "" {
					want = map[string]any{"host": host, "trafficPolicy": istiotest.DecodeYAML(t, tc.policy)}
				}
				if d := cmp.Diff(want, istiotest.Spec(t, w.sent["DestinationRule "+host])); d != "" {
					t.Error(d)
				}
			}
			state, err := w.router.Observe(t.Context(), istiotest.Route(c, tc.weight))
			if err != nil || !state.InSync {
				t.Errorf("observed %+v, %v", state, err)
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	w := newWorld(t)
	c := istiotest.Canary(istiotest.WithPolicy, func(s *v1beta1.CanaryService) {
		s.Apex = &v1beta1.CustomMetadata{Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"note": "b"}}
	})
	if err := w.router.Apply(t.Context(), istiotest.Route(c, 0)); err != nil {
		t.Fatal(err)
	}
	vs := w.virtualService(t)
	if vs.Annotations["sluice.dev/canary"] != c.Name || len(vs.OwnerReferences) > 0 || vs.Labels["team"] != "a" || vs.Annotations["note"] != "b" || vs.Labels["app.kubernetes.io/managed-by"] != "sluice" {
		t.Errorf("metadata %+v", vs.ObjectMeta)
	}
	rule := &networkingv1.DestinationRule{}
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: "podinfo-canary"}, rule); err != nil {
		t.Fatal(err)
	}
	if rule.Annotations["sluice.dev/canary"] != c.Name || len(rule.OwnerReferences) > 0 || rule.Labels["team"] != "" {
		t.Errorf("metadata %+v", rule.ObjectMeta)
	}
}

func TestDriftInsideARouteIsHealed(t *testing.T) {
	for name, change := range map[string]string{
		"canary weight only": `{"http":[{"route":[{"destination":{"host":"podinfo-primary"},"weight":100},{"destination":{"host":"podinfo-canary"},"weight":50}]}]}`,
		"match added":        `{"http":[{"match":[{"uri":{"prefix":"/x"}}],"route":[{"destination":{"host":"podinfo-primary"},"weight":100},{"destination":{"host":"podinfo-canary"}}]}]}`,
		"route in front":     `{"http":[{"route":[{"destination":{"host":"other"}}]},{"route":[{"destination":{"host":"podinfo-primary"},"weight":100},{"destination":{"host":"podinfo-canary"}}]}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if err := w.router.Apply(t.Context(), istiotest.Route(istiotest.Canary(), 0)); err != nil {
				t.Fatal(err)
			}
			vs := w.virtualService(t)
			vs.Spec.Http = nil
			if err := json.Unmarshal([]byte(change), &vs.Spec); err != nil {
				t.Fatal(err)
			}
			vs.Spec.Hosts, vs.Spec.Gateways = []string{"podinfo"}, []string{"mesh"}
			if err := w.Update(t.Context(), vs); err != nil {
				t.Fatal(err)
			}
			before := w.writes
			if state, err := w.router.Observe(t.Context(), istiotest.Route(istiotest.Canary(), 0)); err != nil || state.InSync {
				t.Fatalf("observed %+v, %v", state, err)
			}
			if err := w.router.Apply(t.Context(), istiotest.Route(istiotest.Canary(), 0)); err != nil {
				t.Fatal(err)
			}
			if state, err := w.router.Observe(t.Context(), istiotest.Route(istiotest.Canary(), 0)); err != nil || !state.InSync || w.writes != before+1 {
				t.Fatalf("observed %+v, %v after %d writes", state, err, w.writes-before)
			}
		})
	}
}

// A user's VirtualService is taken over without making it ours (F1715), loses
// hosts and gateways under delegation (F1464), and is given back (F388).
func TestAdoption(t *testing.T) {
	theirs := func() *networkingv1.VirtualService {
		vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{
			Name: "podinfo", Namespace: "test",
			Labels:      map[string]string{"app.kubernetes.io/managed-by": "Helm", "team": "a"},
			Annotations: map[string]string{"note": "kept"},
		}}
		if err := json.Unmarshal([]byte(`{"hosts":["old.example.com"],"gateways":["old"],"exportTo":["."],
			"http":[{"route":[{"destination":{"host":"podinfo"}}]}]}`), &vs.Spec); err != nil {
			t.Fatal(err)
		}
		return vs
	}
	for name, tc := range map[string]struct {
		service   func(*v1beta1.CanaryService)
		wantHosts []any
	}{
		"plain":      {service: func(*v1beta1.CanaryService) {}, wantHosts: []any{"old.example.com"}},
		"delegation": {service: func(s *v1beta1.CanaryService) { s.Delegation = true }, wantHosts: []any{}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, theirs())
			c := istiotest.Canary(tc.service)
			if state, err := w.router.Observe(t.Context(), istiotest.Route(c, 0)); err != nil || state.Exists {
				t.Fatalf("observed %+v, %v before adoption", state, err)
			}
			if err := w.router.Apply(t.Context(), istiotest.Route(c, 10)); err != nil {
				t.Fatal(err)
			}
			if state, err := w.router.Observe(t.Context(), istiotest.Route(c, 10)); err != nil || !state.InSync {
				t.Fatalf("observed %+v, %v", state, err)
			}
			vs := w.virtualService(t)
			if len(vs.OwnerReferences) != 0 || vs.Labels["app.kubernetes.io/managed-by"] != "Helm" || vs.Labels["team"] != "a" || vs.Annotations["note"] != "kept" {
				t.Errorf("metadata %+v", vs.ObjectMeta)
			}
			// What was sent, because the fake server ignores an empty list.
			if d := cmp.Diff(any(tc.wantHosts), istiotest.Spec(t, w.sent["VirtualService podinfo"])["hosts"]); d != "" {
				t.Error(d)
			}
			if len(vs.Spec.ExportTo) != 1 {
				t.Error("a field of the user is lost")
			}

			now := metav1.Now()
			c.DeletionTimestamp = &now
			for range 2 {
				if err := w.router.Release(t.Context(), istiotest.Route(c, 0)); err != nil {
					t.Fatal(err)
				}
			}
			vs = w.virtualService(t)
			if got := vs.Spec.Http[0].Route; len(got) != 1 || got[0].Destination.Host != "podinfo" {
				t.Errorf("after release it routes to %v", got)
			}
			if state, err := w.router.Observe(t.Context(), istiotest.Route(c, 0)); err != nil || state.Exists {
				t.Errorf("observed %+v, %v after release", state, err)
			}
		})
	}
}

func TestObjectsOfOthersAreLeftAlone(t *testing.T) {
	vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: "test"}}
	rule := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Name: "podinfo-primary", Namespace: "test"}}
	for name, tc := range map[string]struct {
		owned  client.Object
		remote bool // the other's Canaries are in another cluster
	}{
		"VirtualService":  {owned: vs},
		"DestinationRule": {owned: rule},
		"VirtualService for a Canary of another cluster":  {owned: vs, remote: true},
		"DestinationRule for a Canary of another cluster": {owned: rule, remote: true},
	} {
		t.Run(name, func(t *testing.T) {
			other, owned := istiotest.Canary(), tc.owned.DeepCopyObject().(client.Object)
			other.Name, other.UID = "other", "c2"
			(&Router{remote: tc.remote}).owner(istiotest.Route(other, 0)).Mark(owned)
			w := newWorld(t, owned)
			if err := w.router.Apply(t.Context(), istiotest.Route(istiotest.Canary(istiotest.WithPolicy), 10)); !providers.IsConflict(err) {
				t.Errorf("apply: %v", err)
			}
			if state, err := w.router.Observe(t.Context(), istiotest.Route(istiotest.Canary(istiotest.WithPolicy), 10)); !providers.IsConflict(err) || state.InSync {
				t.Errorf("observe: %+v, %v", state, err)
			}
			leaving := istiotest.Canary()
			now := metav1.Now()
			leaving.DeletionTimestamp = &now
			if err := w.router.Release(t.Context(), istiotest.Route(leaving, 0)); err != nil {
				t.Errorf("release: %v", err)
			}
			if state, err := w.router.Observe(t.Context(), istiotest.Route(leaving, 0)); err != nil || state.Exists {
				t.Errorf("observe while deleted: %+v, %v", state, err)
			}
			if w.writes != 0 {
				t.Errorf("%d writes", w.writes)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*v1beta1.Canary)
		is     func(error) bool
	}{
		"timeout":             {func(c *v1beta1.Canary) { c.Spec.Service.Timeout = "soon" }, providers.IsInvalid},
		"match":               {func(c *v1beta1.Canary) { c.Spec.Service.Match = []v1beta1.RawObject{*istiotest.Raw(`{"uri":7}`)} }, providers.IsInvalid},
		"traffic policy":      {func(c *v1beta1.Canary) { c.Spec.Service.TrafficPolicy = istiotest.Raw(`{"tls":{"mode":"NO"}}`) }, providers.IsInvalid},
		"hosts of a delegate": {func(c *v1beta1.Canary) { c.Spec.Service.Delegation, c.Spec.Service.Hosts = true, []string{"a"} }, providers.IsInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := istiotest.Canary()
			tc.change(c)
			if err := w.router.Apply(t.Context(), istiotest.Route(c, 0)); !tc.is(err) {
				t.Errorf("apply: %v", err)
			}
			if _, err := w.router.Observe(t.Context(), istiotest.Route(c, 0)); !tc.is(err) {
				t.Errorf("observe: %v", err)
			}
			if w.writes != 0 {
				t.Errorf("%d writes", w.writes)
			}
		})
	}
}

func TestNotInstalled(t *testing.T) {
	w := newWorld(t)
	missing := interceptor.NewClient(w.Client.(client.WithWatch), interceptor.Funcs{
		Get: func(_ context.Context, _ client.WithWatch, _ client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
			return &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "networking.istio.io", Kind: "VirtualService"}}
		},
	})
	r := New(Config{Client: missing, Live: missing, Applier: ssa.New(missing)})
	if _, err := r.Observe(t.Context(), istiotest.Route(istiotest.Canary(), 0)); !providers.IsNotInstalled(err) {
		t.Errorf("observe: %v", err)
	}
	if err := r.Apply(t.Context(), istiotest.Route(istiotest.Canary(), 0)); !providers.IsNotInstalled(err) {
		t.Errorf("apply: %v", err)
	}
}
