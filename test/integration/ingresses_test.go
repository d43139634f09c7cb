package integration

import (
	"fmt"
	"maps"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/nginx"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/skipper"
	"github.com/sluice-delivery/sluice/providers/ssa"
	"github.com/sluice-delivery/sluice/providers/traefik"
)

const usersIngress = `
ingressClassName: edge
rules:
- host: app.example.com
  http:
    paths:
    - {path: /, pathType: Prefix, backend: {service: {name: podinfo, port: {number: 80}}}}
    - {path: /billing, pathType: Prefix, backend: {service: {name: billing, port: {name: http}}}}
`

func testNginx(t *testing.T, e *environment) {
	testIngresses(t, e, func(c client.Client) providers.Router { return nginx.New(c, ssa.New(c), "") }, func(traffic providers.Traffic) map[string]string {
		return map[string]string{"nginx.ingress.kubernetes.io/canary-weight": fmt.Sprint(traffic.Canary)}
	})
}

func testSkipper(t *testing.T, e *environment) {
	testIngresses(t, e, func(c client.Client) providers.Router { return skipper.New(c, ssa.New(c)) }, func(traffic providers.Traffic) map[string]string {
		return map[string]string{"zalando.org/backend-weights": fmt.Sprintf(`{"%s-primary": %d, "%s-canary": %d}`, app, traffic.Primary, app, traffic.Canary)}
	})
}

// testIngresses holds a router that adds an Ingress to the user's to a real API server. drifted are the annotations by which somebody
// else shares the requests out.
func testIngresses(t *testing.T, e *environment, router func(client.Client) providers.Router, drifted func(providers.Traffic) map[string]string) {
	routertest.Run(t, func(t *testing.T) routertest.World {
		c, writes := e.counting()
		canary := e.canary(t, v1beta1.CanaryService{})
		canary.Spec.IngressRef = &v1beta1.LocalObjectReference{Name: "web"}
		users := &networkingv1.Ingress{}
		if err := yaml.UnmarshalStrict([]byte(usersIngress), &users.Spec); err != nil {
			t.Fatal(err)
		}
		users.Namespace, users.Name = canary.Namespace, "web"
		e.create(t, users)
		e.cachedAs(t, users)
		ours := func(t *testing.T) *networkingv1.Ingress {
			t.Helper()
			live := &networkingv1.Ingress{}
			e.read(t, canary.Namespace, "web-canary", live)
			return live
		}
		return routertest.World{
			Router: router(c), Canary: canary, Deadline: limit, Writes: func() int { return int(writes.Load()) },
			Drift: func(t *testing.T, traffic providers.Traffic) {
				live := ours(t)
				maps.Copy(live.Annotations, drifted(traffic))
				if err := e.live.Update(t.Context(), live); err != nil {
					t.Fatal(err)
				}
			},
			Foreign: func(t *testing.T) func(*testing.T) {
				live := ours(t)
				live.Annotations["example.com/team"] = "shop"
				if err := e.live.Update(t.Context(), live); err != nil {
					t.Fatal(err)
				}
				return func(t *testing.T) {
					if got := ours(t).Annotations["example.com/team"]; got != "shop" {
						t.Errorf("the annotation of somebody else is %q", got)
					}
				}
			},
			Others: func(t *testing.T) func(*testing.T) {
				other := users.DeepCopy()
				other.ResourceVersion, other.Name, other.Annotations = "", "web-canary", map[string]string{"sluice.dev/canary": "another"}
				e.create(t, other)
				e.cachedAs(t, other)
				return func(t *testing.T) {
					if ours(t).ResourceVersion != other.ResourceVersion {
						t.Error("it was written")
					}
				}
			},
			Mistakes: map[string]func(*v1beta1.Canary){
				"no Ingress is named":      func(c *v1beta1.Canary) { c.Spec.IngressRef = nil },
				"there is no such Ingress": func(c *v1beta1.Canary) { c.Spec.IngressRef.Name = "nowhere" },
			},
		}
	})
}

func testTraefik(t *testing.T, e *environment) {
	routertest.Run(t, func(t *testing.T) routertest.World {
		c, writes := e.counting()
		canary := e.canary(t, v1beta1.CanaryService{})
		read := func(t *testing.T) *traefik.TraefikService {
			t.Helper()
			live := &traefik.TraefikService{}
			e.read(t, canary.Namespace, app, live)
			return live
		}
		update := func(t *testing.T, spec traefik.Spec) {
			t.Helper()
			live := read(t)
			live.Spec = spec
			if err := e.live.Update(t.Context(), live); err != nil {
				t.Fatal(err)
			}
			e.cachedAs(t, live)
		}
		return routertest.World{
			Router: traefik.New(c, ssa.New(c)), Canary: canary, Deadline: limit, Writes: func() int { return int(writes.Load()) },
			Drift: func(t *testing.T, traffic providers.Traffic) {
				live := read(t)
				live.Spec.Weighted.Services[0].Weight, live.Spec.Weighted.Services[1].Weight = &traffic.Primary, &traffic.Canary
				update(t, live.Spec)
			},
			Users: func(t *testing.T) func(*testing.T) {
				users := &traefik.TraefikService{}
				users.Namespace, users.Name = canary.Namespace, app
				users.Spec.Weighted = &traefik.Weighted{Services: []traefik.Service{{Name: app, Port: new(intstr.FromInt32(80))}}}
				e.create(t, users)
				e.cachedAs(t, users)
				return func(t *testing.T) {
					live := read(t)
					if len(live.Spec.Weighted.Services) != 1 || live.Spec.Weighted.Services[0].Name != app || live.Annotations["sluice.dev/canary"] != "" {
						t.Errorf("it is %+v", live)
					}
				}
			},
			Replay: func(t *testing.T) func(*testing.T) {
				was := read(t).Spec
				return func(t *testing.T) { update(t, was) }
			},
		}
	})
}
