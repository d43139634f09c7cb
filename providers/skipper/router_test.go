package skipper_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/skipper"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

const users = `
metadata:
  name: web
  namespace: test
  annotations:
    zalando.org/skipper-predicate: ClientIP("10.0.0.0/8")
    zalando.org/skipper-filter: status(200)
    zalando.org/skipper-routes: '* -> <shunt>'
    zalando.org/backend-weights: '{"a": 1}'
    kubernetes.io/ingress.class: skipper
    cert-manager.io/cluster-issuer: letsencrypt
spec:
  tls: [{hosts: [app.example.com], secretName: cert}]
  rules:
    - host: app.example.com
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: podinfo, port: {number: 80}}}}
          - {path: /other, pathType: Prefix, backend: {service: {name: other, port: {number: 80}}}}
    - host: old.example.com
`

func ingress(t *testing.T, text string) *networkingv1.Ingress {
	t.Helper()
	out := &networkingv1.Ingress{}
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatal(err)
	}
	return out
}

func canary(changes ...func(*v1beta1.Canary)) *v1beta1.Canary {
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: "test", UID: "c1"},
		Spec: v1beta1.CanarySpec{
			TargetRef:  v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
			IngressRef: &v1beta1.LocalObjectReference{Kind: "Ingress", Name: "web"},
			Service:    v1beta1.CanaryService{Port: 80},
			Analysis:   &v1beta1.CanaryAnalysis{StepWeight: 10},
		},
	}
	for _, change := range changes {
		change(c)
	}
	return c
}

func matching(conditions ...string) func(*v1beta1.Canary) {
	return func(c *v1beta1.Canary) {
		c.Spec.Analysis = &v1beta1.CanaryAnalysis{Iterations: 3}
		for _, text := range conditions {
			c.Spec.Analysis.Match = append(c.Spec.Analysis.Match, v1beta1.RawObject{Raw: json.RawMessage(text)})
		}
	}
}

type world struct {
	*routertest.API

	router *skipper.Router
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	mapper := routertest.Mapper(networkingv1.SchemeGroupVersion.WithKind("Ingress"))
	w := &world{API: routertest.NewAPI(t, networkingv1.AddToScheme, mapper, objects...)}
	w.router = skipper.New(w.Client, ssa.New(w.Client))
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

func TestConformance(t *testing.T) {
	routertest.Run(t, func(t *testing.T) routertest.World {
		w := newWorld(t, ingress(t, users))
		return routertest.World{
			Router: w.router, Canary: canary(), Writes: func() int { return w.Writes },
			Flagger: func(t *testing.T, traffic providers.Traffic) func(*testing.T) {
				theirs := ingress(t, "metadata: {name: web-canary, namespace: test, annotations: {zalando.org/skipper-predicate: Weight(100)}}")
				theirs.Annotations[backendWeights] = fmt.Sprintf(`{"podinfo-canary":%d,"podinfo-primary":%d}`, traffic.Canary, traffic.Primary)
				routertest.OfFlagger(theirs, "podinfo")
				if err := w.Create(t.Context(), theirs); err != nil {
					t.Fatal(err)
				}
				return func(t *testing.T) {
					if now := w.get(t, "web-canary").Annotations; now[backendWeights] != theirs.Annotations[backendWeights] {
						t.Errorf("the annotations are %v", now)
					}
				}
			},
			Drift: func(t *testing.T, traffic providers.Traffic) {
				live := w.get(t, "web-canary")
				live.Annotations["zalando.org/backend-weights"] = fmt.Sprintf(`{"podinfo-primary": %d, "podinfo-canary": %d}`, traffic.Primary, traffic.Canary)
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
				"alternatives":              matching(`{"headers":{"a":{}}}`, `{"headers":{"b":{}}}`),
				"a path":                    matching(`{"uri":{"prefix":"/a"}}`),
				"a method":                  matching(`{"method":{"exact":"GET"}}`),
			},
		}
	})
}

// Our Ingress is the user's as far as that leads to the apex, and the user's stays as it is.
func TestIngress(t *testing.T) {
	const ours = `kubernetes.io/ingress.class: skipper
zalando.org/skipper-filter: status(200)
sluice.dev/canary: podinfo
`
	for name, tc := range map[string]struct {
		canary      *v1beta1.Canary
		traffic     providers.Traffic
		annotations string
	}{
		"nothing for the canary": {canary(), providers.Traffic{Primary: 100}, `
zalando.org/backend-weights: '{"podinfo-canary":0,"podinfo-primary":100}'
zalando.org/skipper-predicate: False() && Weight(100) && ClientIP("10.0.0.0/8")
`},
		"by weight": {canary(), providers.Traffic{Primary: 70, Canary: 30}, `
zalando.org/backend-weights: '{"podinfo-canary":30,"podinfo-primary":70}'
zalando.org/skipper-predicate: Weight(100) && ClientIP("10.0.0.0/8")
`},
		"what matches": {
			canary(matching(`{"headers":{"x-canary":{"exact":"a\"b"},"agent":{"prefix":"a.b"}},"queryParams":{"v":{"suffix":"2"}}}`)), providers.Traffic{Canary: 100, Matched: true}, `
zalando.org/backend-weights: '{"podinfo-canary":100,"podinfo-primary":0}'
zalando.org/skipper-predicate: Weight(100) && HeaderRegexp("agent", "^(?:a\\.b.*)$") && Header("x-canary", "a\"b") && QueryParam("v", "^(?:.*2)$") && ClientIP("10.0.0.0/8")
sluice.dev/share: matching
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, ingress(t, users))
			route := providers.Route{Canary: tc.canary, Traffic: tc.traffic}
			if err := w.router.Apply(t.Context(), route); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			if err := yaml.Unmarshal([]byte(ours+tc.annotations), &want); err != nil {
				t.Fatal(err)
			}
			got := w.get(t, "web-canary")
			delete(got.Annotations, ssa.AppliedAnnotation)
			if diff := cmp.Diff(want, got.Annotations); diff != "" {
				t.Error(diff)
			}
			spec := ingress(t, `
spec:
  rules:
    - host: app.example.com
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: podinfo-primary, port: {number: 80}}}}
          - {path: /, pathType: Prefix, backend: {service: {name: podinfo-canary, port: {number: 80}}}}
`).Spec
			if diff := cmp.Diff(spec, got.Spec); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(ingress(t, users).Spec, w.get(t, "web").Spec); diff != "" {
				t.Errorf("the user's Ingress was changed: %s", diff)
			}
			if state, err := w.router.Observe(t.Context(), route); err != nil || !state.InSync || state.Traffic != tc.traffic {
				t.Errorf("observed %+v, %v", state, err)
			}
		})
	}
}

// A path that is shared out already is not ours to divide.
func TestSharedPath(t *testing.T) {
	theirs := ingress(t, users)
	theirs.Spec.Rules[0].HTTP.Paths[1].Path = "/"
	w := newWorld(t, theirs)
	err := w.router.Apply(t.Context(), providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 100}})
	if !providers.IsInvalid(err) || !strings.Contains(err.Error(), "app.example.com/") || w.Writes > 0 {
		t.Errorf("error %v after %d writes", err, w.Writes)
	}
}

// What somebody has made of ours is observed as Skipper takes it.
func TestObserved(t *testing.T) {
	const weights, predicate = "zalando.org/backend-weights", "zalando.org/skipper-predicate"
	for name, tc := range map[string]struct {
		annotations map[string]string
		want        providers.Traffic
	}{
		"fractions":       {map[string]string{weights: `{"podinfo-primary": 0.75, "podinfo-canary": 0.25}`}, providers.Traffic{Primary: 75, Canary: 25}},
		"for the canary":  {map[string]string{weights: `{"podinfo-canary": 1}`}, providers.Traffic{Canary: 100}},
		"for what fits":   {map[string]string{weights: `{"podinfo-canary": 1}`, "sluice.dev/share": "matching"}, providers.Traffic{Canary: 100, Matched: true}},
		"never":           {map[string]string{weights: `{"podinfo-canary": 1}`, predicate: "False() && Weight(100)"}, providers.Traffic{Primary: 100}},
		"no weights":      {map[string]string{weights: `many`}, providers.Traffic{Primary: 100}},
		"less than none":  {map[string]string{weights: `{"podinfo-primary": -1, "podinfo-canary": 1}`}, providers.Traffic{Primary: 100}},
		"nothing is said": {nil, providers.Traffic{Primary: 100}},
	} {
		t.Run(name, func(t *testing.T) {
			ours := ingress(t, "metadata: {name: web-canary, namespace: test, annotations: {sluice.dev/canary: podinfo}}")
			for key, value := range tc.annotations {
				ours.Annotations[key] = value
			}
			w := newWorld(t, ingress(t, users), ours)
			if state, err := w.router.Observe(t.Context(), providers.Route{Canary: canary()}); err != nil || state.Traffic != tc.want {
				t.Errorf("observed %+v, %v", state, err)
			}
		})
	}
}

func TestOvertaken(t *testing.T) {
	w := newWorld(t, ingress(t, users))
	routertest.Overtaken(t, w.Client, canary(), func(first, then client.Client) providers.Router { return skipper.New(first, ssa.New(then)) }, nil)
}
