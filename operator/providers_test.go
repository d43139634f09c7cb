package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// behind is an application behind one mesh or ingress, as far as that differs from others.
type behind struct {
	provider string
	// users is what is there before the Canary; NS stands for the namespace.
	users string
	// canary is what the Canary says of it.
	canary func(*v1beta1.Canary)
	// says is the condition by which the controller of users' and our objects says that it has them; empty for one that says nothing.
	says string
}

const usersIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: NS}
spec:
  rules:
  - host: app.example.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: podinfo, port: {number: 9898}}}}
      - {path: /billing, pathType: Prefix, backend: {service: {name: billing, port: {number: 80}}}}
`

func byIngress(c *v1beta1.Canary) { c.Spec.IngressRef = &v1beta1.LocalObjectReference{Name: "web"} }

var behinds = []behind{
	{provider: v1beta1.ProviderNGINX, users: usersIngress, canary: byIngress},
	{provider: v1beta1.ProviderSkipper, users: usersIngress, canary: byIngress},
	{provider: v1beta1.ProviderTraefik},
	{provider: v1beta1.ProviderKuma},
	{provider: v1beta1.ProviderContour, says: "Valid", users: `
apiVersion: projectcontour.io/v1
kind: HTTPProxy
metadata: {name: podinfo, namespace: NS}
spec:
  virtualhost: {fqdn: app.example.com}
  routes:
  - {conditions: [{prefix: /}], services: [{name: podinfo, port: 9898}]}
  - {conditions: [{prefix: /billing}], services: [{name: billing, port: 80}]}
`},
	{provider: v1beta1.ProviderAPISIX, says: "Accepted", canary: func(c *v1beta1.Canary) { c.Spec.RouteRef = &v1beta1.LocalObjectReference{Name: "web"} }, users: `
apiVersion: apisix.apache.org/v2
kind: ApisixRoute
metadata: {name: web, namespace: NS}
spec:
  http:
  - {name: app, match: {paths: [/*]}, backends: [{serviceName: podinfo, servicePort: 9898}]}
`},
	{provider: v1beta1.ProviderKnative, canary: func(c *v1beta1.Canary) {
		c.Spec.Service, c.Spec.TargetRef = v1beta1.CanaryService{}, v1beta1.TargetReference{APIVersion: knative.GVK.GroupVersion().String(), Kind: "Service", Name: app}
	}, users: `
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: podinfo, namespace: NS}
spec: {template: {spec: {containers: [{image: "` + oldImage + `"}]}}}
`},
}

// testProviders has the operator at work behind each mesh and ingress by itself, with the rights that the chart gives for that one
// alone: a good release, a bad one, and the deletion of the Canary in the middle of another.
func testProviders(t *testing.T, c *cluster.Cluster, api client.WithWatch) {
	contour, err := cluster.ContourCRDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	services, err := cluster.KnativeCRDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	traefik, err := cluster.TraefikCRDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.InstallCRDs(t.Context(), "../test/integration/testdata/proxies.yaml", contour, services, traefik); err != nil {
		t.Fatal(err)
	}
	t.Run("each", func(t *testing.T) {
		r := keepRecords(t, api)
		for _, x := range behinds {
			t.Run(x.provider, func(t *testing.T) {
				t.Parallel()
				x.test(newSite(t, c, r, "behind-"+x.provider))
			})
		}
	})
}

func (x behind) test(s *site) {
	s.stop()
	config, refused := s.chartsRights(x.provider)
	users := x.create(s)
	s.operateOn(config, nil, "-providers="+x.provider, "-mesh-provider="+x.provider)
	defer s.play(x)()
	if x.provider != v1beta1.ProviderKnative {
		s.create(s.deployment(oldImage))
	}
	s.create(s.newCanary(both(func(c *v1beta1.Canary) {
		if x.canary != nil {
			x.canary(c)
		}
	})))
	s.awaitPhase(v1beta1.PhaseInitialized)
	p := s.probe(app)
	x.release(s, newImage)
	x.awaitEnd(s, v1beta1.PhaseSucceeded, newImage)
	s.bad.Store(true)
	x.release(s, oldImage)
	x.awaitEnd(s, v1beta1.PhaseFailed, newImage)
	s.bad.Store(false)
	s.edit(func(c *v1beta1.Canary) { c.Spec.Analysis.Interval = "1h" })
	x.release(s, "podinfo:3")
	s.await("the middle of a release", func(ctx context.Context) error {
		st, err := s.status(ctx)
		if err == nil && st.CanaryWeight != 50 {
			err = fmt.Errorf("it is %s at %d%%", st.Phase, st.CanaryWeight)
		}
		return err
	})
	canary := get[v1beta1.Canary](s, app)
	s.remove(canary)
	s.awaitGone(canary)
	x.wantGivenBack(s, users)
	if x.provider != v1beta1.ProviderKnative { // which has no Services of Kubernetes to be read
		s.awaitPods(app, 2)
		p.stop(0)
	}
	if list := refused(); len(list) > 0 {
		s.t.Errorf("the chart's rights for %s are too narrow:\n%s", x.provider, strings.Join(list, "\n"))
	}
}

// create makes what users have, and gives the specs of it.
func (x behind) create(s *site) *unstructured.Unstructured {
	s.t.Helper()
	if x.users == "" {
		return nil
	}
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(x.users, "NS", s.namespace)), &u.Object); err != nil {
		s.t.Fatal(err)
	}
	s.create(u)
	return u
}

// wantGivenBack compares what users have with what they had.
func (x behind) wantGivenBack(s *site, users *unstructured.Unstructured) {
	s.t.Helper()
	if users == nil {
		return
	}
	now := &unstructured.Unstructured{}
	now.SetGroupVersionKind(users.GroupVersionKind())
	if err := s.api.Get(s.t.Context(), client.ObjectKeyFromObject(users), now); err != nil {
		s.t.Fatal(err)
	}
	if x.provider == v1beta1.ProviderKnative { // its template is what was released last
		users.Object["spec"].(map[string]any)["template"] = now.Object["spec"].(map[string]any)["template"]
	}
	if diff := cmp.Diff(users.Object["spec"], now.Object["spec"]); diff != "" {
		s.t.Errorf("what users had (-before +after)\n%s", diff)
	}
	for key := range now.GetAnnotations() {
		if strings.HasPrefix(key, "sluice.dev/") {
			s.t.Errorf("annotation %s is left", key)
		}
	}
}

// release gives the target another image.
func (x behind) release(s *site, image string) {
	s.t.Helper()
	if x.provider != v1beta1.ProviderKnative {
		s.release(image)
		return
	}
	u := s.service(s.t.Context())
	patch := fmt.Sprintf(`{"spec": {"template": {"spec": {"containers": [{"image": %q}]}}}}`, image)
	if err := s.api.Patch(s.t.Context(), u, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		s.t.Fatal(err)
	}
}

// awaitEnd waits for the end of a release, after which an image serves.
func (x behind) awaitEnd(s *site, phase v1beta1.CanaryPhase, image string) {
	s.t.Helper()
	s.awaitPhase(phase)
	if x.provider != v1beta1.ProviderKnative {
		s.awaitDrained()
		if got := s.primaryImage(); got != image {
			s.t.Errorf("%s: the primary runs %s, want %s", phase, got, image)
		}
		return
	}
	want := []any{map[string]any{"revisionName": revisionOf(image), "percent": int64(100)}}
	s.await("all of the traffic for "+image, func(ctx context.Context) error {
		if diff := cmp.Diff(want, s.service(ctx).Object["spec"].(map[string]any)["traffic"]); diff != "" {
			return fmt.Errorf("%s: traffic (-want +got)\n%s", phase, diff)
		}
		return nil
	})
}

// service is the target of Knative.
func (s *site) service(ctx context.Context) *unstructured.Unstructured {
	s.t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(knative.GVK)
	if err := s.api.Get(ctx, s.key(app), u); err != nil {
		s.t.Fatal(err)
	}
	return u
}

// revisionOf is how Knative calls the revision of an image, in these tests.
func revisionOf(image string) string {
	return app + "-" + strings.NewReplacer(":", "-", ".", "-", "/", "-").Replace(image)
}

// chartsRights is a way to the API server with the rights that the chart gives for one provider, and what was refused to it.
func (s *site) chartsRights(provider string) (*rest.Config, func() []string) {
	s.t.Helper()
	const name = "operator"
	s.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}})
	s.create(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}, Rules: rulesOf(s.t, "providers={"+provider+"}", "meshProvider="+provider)})
	s.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: s.namespace}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: s.namespace},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.namespace, Name: name}},
	})
	config, err := s.cluster.ConfigFor(s.t.Context(), s.namespace, name)
	if err != nil {
		s.t.Fatal(err)
	}
	return config, refusedTo(config)
}

// refusedTo gives what is refused to a client from now on.
func refusedTo(config *rest.Config) func() []string {
	var mu sync.Mutex
	seen := map[string]bool{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(r)
			if err == nil && response.StatusCode == http.StatusForbidden {
				mu.Lock()
				defer mu.Unlock()
				seen[r.Method+" "+r.URL.Path] = true
			}
			return response, err
		})
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Sorted(maps.Keys(seen))
	}
}

// play is the mesh's controller, until the function that it returns is called.
func (s *site) play(x behind) (end func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		_ = rig.Await(ctx, "the end of the test", time.Hour, func(ctx context.Context) error {
			if err := s.control(ctx, x); err != nil && ctx.Err() == nil {
				s.t.Log(err) // it is tried again
			}
			return errNotYet
		})
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// control has the controller look at all of its objects once.
func (s *site) control(ctx context.Context, x behind) error {
	if x.provider == v1beta1.ProviderKnative {
		return s.controlKnative(ctx)
	}
	if x.says == "" {
		return nil
	}
	var of unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(x.users), &of.Object); err != nil {
		return err
	}
	var list unstructured.UnstructuredList
	list.SetGroupVersionKind(of.GroupVersionKind())
	if err := s.api.List(ctx, &list, client.InNamespace(s.namespace)); err != nil {
		return err
	}
	var failed error
	for i := range list.Items {
		u := &list.Items[i]
		said := map[string]any{
			"type": x.says, "status": "True", "reason": "Reason", "message": "message",
			"observedGeneration": u.GetGeneration(), "lastTransitionTime": "2026-01-01T00:00:00Z",
		}
		failed = errors.Join(failed, s.writeStatus(ctx, u, map[string]any{"conditions": []any{said}}))
	}
	return failed
}

// writeStatus writes a status where it says something else.
func (s *site) writeStatus(ctx context.Context, u *unstructured.Unstructured, status map[string]any) error {
	if cmp.Equal(u.Object["status"], any(status)) {
		return nil
	}
	u.Object["status"] = status
	return client.IgnoreNotFound(s.api.Status().Update(ctx, u))
}

// controlKnative makes a revision of each template, which can serve at once, and leads requests as spec.traffic says.
func (s *site) controlKnative(ctx context.Context) error {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(knative.GVK)
	if err := s.api.Get(ctx, s.key(app), u); err != nil {
		return err
	}
	containers, _, err := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) == 0 {
		return fmt.Errorf("containers %v: %w", containers, err)
	}
	latest := revisionOf(containers[0].(map[string]any)["image"].(string))
	traffic, _, err := unstructured.NestedSlice(u.Object, "spec", "traffic")
	if err != nil {
		return err
	}
	if len(traffic) == 0 {
		traffic = []any{map[string]any{"latestRevision": true, "percent": int64(100)}}
	}
	for _, one := range traffic {
		if share := one.(map[string]any); share["latestRevision"] == true {
			share["revisionName"] = latest
		}
	}
	conditions := []any{}
	for _, kind := range []string{"ConfigurationsReady", "Ready", "RoutesReady"} {
		conditions = append(conditions, map[string]any{"type": kind, "status": "True"})
	}
	return s.writeStatus(ctx, u, map[string]any{
		"observedGeneration": u.GetGeneration(), "latestCreatedRevisionName": latest, "latestReadyRevisionName": latest,
		"traffic": traffic, "conditions": conditions,
	})
}
