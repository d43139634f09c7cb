package nginx_test

import (
	"context"
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/nginx"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

const users = `
metadata:
  name: web
  namespace: test
  labels: {app.kubernetes.io/instance: shop}
  annotations:
    cert-manager.io/cluster-issuer: letsencrypt
    kubernetes.io/ingress.class: nginx
    nginx.ingress.kubernetes.io/backend-protocol: GRPC
    nginx.ingress.kubernetes.io/canary-by-cookie: theirs
spec:
  ingressClassName: nginx
  tls: [{hosts: [app.example.com], secretName: app}]
  rules:
    - host: app.example.com
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: podinfo, port: {number: 80}}}}
          - {path: /billing, pathType: Prefix, backend: {service: {name: billing, port: {number: 80}}}}
    - host: other.example.com
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: other, port: {name: http}}}}
    - host: empty.example.com
`

func ingress(t *testing.T, text string) *networkingv1.Ingress {
	t.Helper()
	out := &networkingv1.Ingress{}
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatal(err)
	}
	return out
}

func canary(change ...func(*v1beta1.Canary)) *v1beta1.Canary {
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: "test", UID: "c1"},
		Spec: v1beta1.CanarySpec{
			TargetRef:  v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
			IngressRef: &v1beta1.LocalObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Name: "web"},
			Service:    v1beta1.CanaryService{Port: 80},
			Analysis:   &v1beta1.CanaryAnalysis{StepWeight: 10},
		},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

type world struct {
	client.Client

	router *nginx.Router
	writes int
}

func newWorld(t *testing.T, prefix string, objects ...client.Object) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := networkingv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	w := &world{}
	w.Client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			w.writes++
			return c.Apply(ctx, o, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			w.writes++
			return c.Delete(ctx, o, opts...)
		},
	}).Build()
	w.router = nginx.New(w.Client, ssa.New(w.Client), prefix)
	return w
}

// get is an Ingress as it is, nil where there is none.
func (w *world) get(t *testing.T, name string) *networkingv1.Ingress {
	t.Helper()
	out := &networkingv1.Ingress{}
	err := w.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: name}, out)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
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

func matching(conditions ...string) func(*v1beta1.Canary) {
	return func(c *v1beta1.Canary) {
		c.Spec.Analysis.StepWeight, c.Spec.Analysis.Iterations = 0, 3
		for _, m := range conditions {
			c.Spec.Analysis.Match = append(c.Spec.Analysis.Match, v1beta1.RawObject{Raw: json.RawMessage(m)})
		}
	}
}

const weightAnnotation = "nginx.ingress.kubernetes.io/canary-weight"

const (
	byHeader = `{"headers":{"x-canary":{"exact":"insider"}}}`
	byCookie = `{"headers":{"cookie":{"exact":"canary"}}}`
)

func TestConformance(t *testing.T) {
	routertest.Run(t, func(t *testing.T) routertest.World {
		w := newWorld(t, "", ingress(t, users))
		return routertest.World{
			Router: w.router, Canary: canary(), Writes: func() int { return w.writes },
			Drift: func(t *testing.T, traffic providers.Traffic) {
				live := w.get(t, "web-canary")
				live.Annotations[weightAnnotation] = strconv.Itoa(int(traffic.Canary))
				w.update(t, live)
			},
			Foreign: func(t *testing.T) func(*testing.T) {
				live := w.get(t, "web-canary")
				live.Annotations["example.com/team"] = "shop"
				w.update(t, live)
				return func(t *testing.T) {
					if got := w.get(t, "web-canary").Annotations["example.com/team"]; got != "shop" {
						t.Errorf("the annotation of somebody else is %q", got)
					}
				}
			},
			Flagger: func(t *testing.T, traffic providers.Traffic) func(*testing.T) {
				theirs := ingress(t, "metadata: {name: web-canary, namespace: test, annotations: {nginx.ingress.kubernetes.io/canary: \"true\"}}")
				theirs.Annotations[weightAnnotation] = strconv.Itoa(int(traffic.Canary))
				routertest.OfFlagger(theirs, "podinfo")
				if err := w.Create(t.Context(), theirs); err != nil {
					t.Fatal(err)
				}
				return func(t *testing.T) {
					if now := w.get(t, "web-canary").Annotations; now[weightAnnotation] != theirs.Annotations[weightAnnotation] {
						t.Errorf("the annotations are %v", now)
					}
				}
			},
			Others: func(t *testing.T) func(*testing.T) {
				other := ingress(t, "metadata: {name: web-canary, namespace: test, annotations: {sluice.dev/canary: another}}")
				if err := w.Create(t.Context(), other); err != nil {
					t.Fatal(err)
				}
				return func(t *testing.T) {
					if diff := cmp.Diff(other, w.get(t, "web-canary")); diff != "" {
						t.Error(diff)
					}
				}
			},
			Mistakes: map[string]func(*v1beta1.Canary){
				"no Ingress is named":       func(c *v1beta1.Canary) { c.Spec.IngressRef = nil },
				"there is no such Ingress":  func(c *v1beta1.Canary) { c.Spec.IngressRef.Name = "nowhere" },
				"of another kind":           func(c *v1beta1.Canary) { c.Spec.IngressRef.Kind = "HTTPProxy" },
				"that leads somewhere else": func(c *v1beta1.Canary) { c.Spec.Service.Name = "somewhere" },
			},
		}
	})
}

// The canary Ingress is the user's as far as that leads to the apex, and nothing else.
func TestCanaryIngress(t *testing.T) {
	w := newWorld(t, "", ingress(t, users))
	if err := w.router.Apply(t.Context(), providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 70, Canary: 30}}); err != nil {
		t.Fatal(err)
	}
	got := w.get(t, "web-canary")
	delete(got.Annotations, ssa.AppliedAnnotation)
	want := ingress(t, `
metadata:
  annotations:
    kubernetes.io/ingress.class: nginx
    nginx.ingress.kubernetes.io/backend-protocol: GRPC
    nginx.ingress.kubernetes.io/canary: "true"
    nginx.ingress.kubernetes.io/canary-weight: "30"
    nginx.ingress.kubernetes.io/canary-weight-total: "100"
    sluice.dev/canary: podinfo
spec:
  ingressClassName: nginx
  rules:
    - host: app.example.com
      http:
        paths: [{path: /, pathType: Prefix, backend: {service: {name: podinfo-canary, port: {number: 80}}}}]
`)
	if diff := cmp.Diff(want.Annotations, got.Annotations); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want.Spec, got.Spec); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(ingress(t, users).Spec, w.get(t, "web").Spec); diff != "" {
		t.Errorf("the user's Ingress was changed: %s", diff)
	}
}

func TestMatch(t *testing.T) {
	const prefix = "nginx.ingress.kubernetes.io/canary"
	for name, tc := range map[string]struct {
		match     []string
		want      map[string]string // what there is beside the weight
		wantError string
	}{
		"a header":            {[]string{byHeader}, map[string]string{"-by-header": "x-canary", "-by-header-value": "insider"}, ""},
		"a pattern":           {[]string{`{"headers":{"agent":{"regex":".*Firefox.*"}}}`}, map[string]string{"-by-header": "agent", "-by-header-pattern": ".*Firefox.*"}, ""},
		"a prefix":            {[]string{`{"headers":{"agent":{"prefix":"a.b"}}}`}, map[string]string{"-by-header": "agent", "-by-header-pattern": `^a\.b`}, ""},
		"a suffix":            {[]string{`{"headers":{"agent":{"suffix":"b"}}}`}, map[string]string{"-by-header": "agent", "-by-header-pattern": `b$`}, ""},
		"a cookie":            {[]string{byCookie}, map[string]string{"-by-cookie": "canary"}, ""},
		"a header, a cookie":  {[]string{byHeader, byCookie}, map[string]string{"-by-header": "x-canary", "-by-header-value": "insider", "-by-cookie": "canary"}, ""},
		"the same twice":      {[]string{byHeader, byHeader}, map[string]string{"-by-header": "x-canary", "-by-header-value": "insider"}, ""},
		"two headers":         {[]string{byHeader, `{"headers":{"x-other":{"exact":"a"}}}`}, nil, "takes one header"},
		"two values":          {[]string{byHeader, `{"headers":{"x-canary":{"exact":"a"}}}`}, nil, "takes one header"},
		"two cookies":         {[]string{byCookie, `{"headers":{"cookie":{"exact":"b"}}}`}, nil, "takes one cookie"},
		"both at once":        {[]string{`{"headers":{"x-canary":{"exact":"a"},"b":{"exact":"c"}}}`}, nil, "exactly one header"},
		"a path":              {[]string{`{"uri":{"prefix":"/a"}}`}, nil, "one header or cookie only"},
		"nothing":             {[]string{`{}`}, nil, "exactly one header"},
		"a cookie by value":   {[]string{`{"headers":{"cookie":{"regex":"^(.*?;)?(canary=always)(;.*)?$"}}}`}, nil, "name of a cookie"},
		"a cookie with value": {[]string{`{"headers":{"Cookie":{"exact":"canary=always"}}}`}, nil, "name of a cookie"},
		"no condition":        {[]string{`{"headers":{"x-canary":{}}}`}, nil, "one of exact"},
		"two conditions":      {[]string{`{"headers":{"x-canary":{"exact":"a","regex":"b"}}}`}, nil, "one of exact"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "", ingress(t, users))
			route := providers.Route{Canary: canary(matching(tc.match...)), Traffic: providers.Traffic{Canary: 100, Matched: true}}
			err := w.router.Apply(t.Context(), route)
			if tc.wantError != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantError) || !strings.HasPrefix(err.Error(), "spec.analysis.match") {
					t.Errorf("error %v, want one with %q", err, tc.wantError)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if weight := w.get(t, "web-canary").Annotations[prefix+"-weight"]; weight != "0" {
				t.Errorf("of the requests that do not match %s%% go to the canary", weight)
			}
			got := map[string]string{}
			for key, value := range w.get(t, "web-canary").Annotations {
				if remaining, ok := strings.CutPrefix(key, prefix+"-by"); ok {
					got["-by"+remaining] = value
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if state, err := w.router.Observe(t.Context(), route); err != nil || !state.InSync || state.Traffic != route.Traffic {
				t.Errorf("observed %+v, %v", state, err)
			}
		})
	}
}

// What ingress-nginx can't do is refused before anything is written, with its field.
func TestRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		canary  *v1beta1.Canary
		traffic providers.Traffic
		want    string
	}{
		"weights of what matches": {canary(matching(byHeader), func(c *v1beta1.Canary) { c.Spec.Analysis.Iterations, c.Spec.Analysis.StepWeight = 0, 10 }), providers.Traffic{Primary: 100}, "spec.analysis.match"},
		"a share of what matches": {canary(matching(byHeader)), providers.Traffic{Primary: 50, Canary: 50, Matched: true}, "spec.analysis.match"},
		"mirroring":               {canary(), providers.Traffic{Primary: 100, Mirror: 10}, "spec.analysis.mirror"},
		"sessions":                {canary(), providers.Traffic{Primary: 90, Canary: 10, Sessions: providers.Sessions{Canary: "a"}}, "spec.analysis.sessionAffinity"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "", ingress(t, users))
			err := w.router.Apply(t.Context(), providers.Route{Canary: tc.canary, Traffic: tc.traffic})
			if !providers.IsUnsupported(err) || !strings.HasPrefix(err.Error(), tc.want) || w.writes != 0 {
				t.Errorf("error %v after %d writes", err, w.writes)
			}
		})
	}
}

// A canary Ingress of somebody else's for the same place makes ours one of two, of which the
// controller takes one.
func TestAnotherCanary(t *testing.T) {
	other := ingress(t, users)
	other.Name = "theirs"
	other.Annotations["nginx.ingress.kubernetes.io/canary"] = "true"
	w := newWorld(t, "", ingress(t, users), other)
	route := providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 90, Canary: 10}}
	if err := w.router.Apply(t.Context(), route); !providers.IsInvalid(err) || !strings.Contains(err.Error(), "theirs") || w.writes > 0 {
		t.Errorf("error %v after %d writes", err, w.writes)
	}
	other.Spec.Rules[0].Host = "elsewhere.example.com"
	w.update(t, other)
	if err := w.router.Apply(t.Context(), route); err != nil {
		t.Error(err)
	}
}

// Annotations that somebody adds to ours decide before ours do: that is no state to go on in.
func TestForeignCondition(t *testing.T) {
	w := newWorld(t, "", ingress(t, users))
	route := providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 90, Canary: 10}}
	if err := w.router.Apply(t.Context(), route); err != nil {
		t.Fatal(err)
	}
	live := w.get(t, "web-canary")
	live.Annotations["nginx.ingress.kubernetes.io/canary-by-header"] = "x"
	w.update(t, live)
	if state, err := w.router.Observe(t.Context(), route); err != nil || state.InSync || !strings.Contains(state.Detail, "somebody else's") {
		t.Errorf("observed %+v, %v", state, err)
	}
}

// What leads to the apex Service by default, whatever the host, is shared out too, and there is one canary
// of that as well.
func TestDefaultBackend(t *testing.T) {
	const byDefault = `
metadata: {name: web, namespace: test}
spec: {defaultBackend: {service: {name: podinfo, port: {number: 80}}}}
`
	w := newWorld(t, "", ingress(t, byDefault))
	route := providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 90, Canary: 10}}
	if err := w.router.Apply(t.Context(), route); err != nil {
		t.Fatal(err)
	}
	if b := w.get(t, "web-canary").Spec.DefaultBackend; b == nil || b.Service.Name != "podinfo-canary" || b.Service.Port.Number != 80 {
		t.Errorf("the default backend is %+v", b)
	}
	theirs := ingress(t, byDefault)
	theirs.Name, theirs.Annotations = "theirs", map[string]string{"nginx.ingress.kubernetes.io/canary": "true"}
	if err := w.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	if _, err := w.router.Observe(t.Context(), route); !providers.IsInvalid(err) || !strings.Contains(err.Error(), "the default backend") {
		t.Errorf("observed with %v", err)
	}
}

// What somebody has made of ours is observed as the controller takes it.
func TestObserved(t *testing.T) {
	const prefix = "nginx.ingress.kubernetes.io/canary"
	for name, tc := range map[string]struct {
		annotations map[string]string
		want        providers.Traffic
	}{
		"a weight":           {map[string]string{prefix: "true", prefix + "-weight": "30"}, providers.Traffic{Primary: 70, Canary: 30}},
		"no canary any more": {map[string]string{prefix: "false", prefix + "-weight": "30"}, providers.Traffic{Primary: 100}},
		"a weight too great": {map[string]string{prefix: "true", prefix + "-weight": "300"}, providers.Traffic{Primary: 100}},
		"no number":          {map[string]string{prefix: "true", prefix + "-weight": "many"}, providers.Traffic{Primary: 100}},
		"a cookie":           {map[string]string{prefix: "true", prefix + "-weight": "30", prefix + "-by-cookie": "c"}, providers.Traffic{Canary: 100, Matched: true}},
	} {
		t.Run(name, func(t *testing.T) {
			ours := ingress(t, "metadata: {name: web-canary, namespace: test}")
			ours.Annotations = map[string]string{"sluice.dev/canary": "podinfo"}
			maps.Copy(ours.Annotations, tc.annotations)
			w := newWorld(t, "", ingress(t, users), ours)
			if state, err := w.router.Observe(t.Context(), providers.Route{Canary: canary()}); err != nil || state.Traffic != tc.want {
				t.Errorf("observed %+v, %v", state, err)
			}
			delete(ours.Annotations, "sluice.dev/canary")
			w.update(t, ours)
			deleted := canary(func(c *v1beta1.Canary) { c.DeletionTimestamp = new(metav1.Now()) })
			if state, err := w.router.Observe(t.Context(), providers.Route{Canary: deleted}); err != nil || state.Exists {
				t.Errorf("somebody else's is observed as %+v, %v", state, err)
			}
		})
	}
}

func TestPrefix(t *testing.T) {
	theirs := ingress(t, users)
	theirs.Annotations = map[string]string{"ingress.example.com/timeout": "5", "nginx.ingress.kubernetes.io/timeout": "6"}
	w := newWorld(t, "ingress.example.com", theirs)
	if err := w.router.Apply(t.Context(), providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 95, Canary: 5}}); err != nil {
		t.Fatal(err)
	}
	a := w.get(t, "web-canary").Annotations
	if a["ingress.example.com/canary-weight"] != "5" || a["ingress.example.com/timeout"] != "5" || a["nginx.ingress.kubernetes.io/timeout"] != "" {
		t.Errorf("annotations %v", a)
	}
}

func TestOvertaken(t *testing.T) {
	w := newWorld(t, "", ingress(t, users))
	routertest.Overtaken(t, w.Client, canary(), func(first, then client.Client) providers.Router { return nginx.New(first, ssa.New(then), "") }, nil)
}
