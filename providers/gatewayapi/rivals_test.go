package gatewayapi_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/gatewayapi"
	"github.com/sluice-delivery/sluice/providers/routertest"
)

// other is a route of another name that was made at a time, in seconds.
func other(t *testing.T, namespace string, created int64, spec string) *gatewayv1.HTTPRoute {
	t.Helper()
	r := users(t, spec)
	r.Namespace, r.Name, r.CreationTimestamp = namespace, "other", metav1.Unix(created, 0)
	return r
}

// ours is the route of the Canary, made at second 5.
func ours(t *testing.T) *gatewayv1.HTTPRoute {
	t.Helper()
	w := newWorld(t, all())
	w.apply(t, route(canary(), 0))
	r := w.httpRoute(t)
	r.ResourceVersion, r.CreationTimestamp, r.ManagedFields = "", metav1.Unix(5, 0), nil
	return r
}

// TestCompetingRoute has a route of another name for the same requests be seen: of two rules
// that fit alike a Gateway takes that of the older route.
func TestCompetingRoute(t *testing.T) {
	const (
		public = `parentRefs: [{name: public, namespace: infra}]
`
		all1 = `rules: [{matches: [{path: {type: PathPrefix, value: /}}], backendRefs: [{name: podinfo, port: 9898}]}]`
	)
	for name, tc := range map[string]struct {
		namespace string
		created   int64
		spec      string
		refused   bool
		wins      bool
	}{
		"older":                   {created: 1, spec: public + all1, wins: true},
		"older, elsewhere":        {namespace: "a", created: 1, spec: public + all1, wins: true},
		"as old, a name before":   {namespace: "a", created: 5, spec: public + all1, wins: true},
		"as old, a name after":    {namespace: "z", created: 5, spec: public + all1},
		"younger":                 {created: 9, spec: public + all1},
		"that is not accepted":    {created: 1, spec: public + all1, refused: true},
		"of another Gateway":      {created: 1, spec: "parentRefs: [{name: private, namespace: infra}]\n" + all1},
		"of another namespace's":  {created: 1, spec: "parentRefs: [{name: public, namespace: edge}]\n" + all1},
		"for another host":        {created: 1, spec: public + "hostnames: [other.example.com]\n" + all1},
		"for some requests":       {created: 1, spec: public + `rules: [{matches: [{path: {type: PathPrefix, value: /api}}], backendRefs: [{name: podinfo, port: 9898}]}]`},
		"without a match":         {created: 1, spec: public + `rules: [{backendRefs: [{name: podinfo, port: 9898}]}]`, wins: true},
		"for some, and then rest": {created: 1, spec: public + `rules: [{matches: [{method: GET}, {path: {type: PathPrefix, value: /}}], backendRefs: [{name: podinfo, port: 9898}]}]`, wins: true},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := tc.namespace
			if namespace == "" {
				namespace = "test"
			}
			rival := other(t, namespace, tc.created, tc.spec)
			if tc.refused {
				rival.Status.Parents = routertest.AcceptedBy(rival.Spec.ParentRefs, 0)
				rival.Status.Parents[0].Conditions[0].Status = metav1.ConditionFalse
			}
			w := newWorld(t, all(), rival, ours(t))
			r := route(canary(), 100)
			w.apply(t, r)
			w.accept(t)
			state := w.observe(t, r)
			if state.InSync == tc.wins || tc.wins && !strings.Contains(state.Detail, "HTTPRoute "+namespace+"/other is for the same requests") {
				t.Errorf("observed %+v", state)
			}
			concerned := gatewayapi.About().Services(t.Context(), w.Client, rival)
			if tc.wins && !slices.Contains(concerned, types.NamespacedName{Namespace: "test", Name: "podinfo"}) {
				t.Errorf("when it goes %v are looked at", concerned)
			}
		})
	}
}

// TestWhomRoutesConcern has those looked at again whose requests a route of another name takes or
// lets go, and nobody when it only leads them elsewhere.
func TestWhomRoutesConcern(t *testing.T) {
	const public = `parentRefs: [{name: public, namespace: infra}]
`
	w := newWorld(t, all(), ours(t))
	about := gatewayapi.About()
	for name, tc := range map[string]struct {
		object client.Object
		want   []types.NamespacedName
	}{
		"of the same Gateway": {other(t, "a", 1, public), []types.NamespacedName{{Namespace: "test", Name: "podinfo"}}},
		"of another host":     {other(t, "a", 1, public+"hostnames: [other.example.com]"), nil},
		"of another Gateway":  {other(t, "a", 1, "parentRefs: [{name: private, namespace: infra}]"), nil},
		"of a Service":        {other(t, "a", 1, `parentRefs: [{group: "", kind: Service, name: shop}]`), []types.NamespacedName{{Namespace: "a", Name: "shop"}}},
		"its own":             {ours(t), nil},
		"not a route":         {&gatewayv1.Gateway{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, about.Services(t.Context(), w.Client, tc.object)); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
	before := func() *gatewayv1.HTTPRoute {
		return other(t, "a", 1, public+`rules: [{matches: [{path: {type: PathPrefix, value: /a}}], backendRefs: [{name: a, port: 80}]}]`)
	}
	for name, tc := range map[string]struct {
		change func(*gatewayv1.HTTPRoute)
		alike  bool
	}{
		"nothing":         {func(*gatewayv1.HTTPRoute) {}, true},
		"a weight":        {func(r *gatewayv1.HTTPRoute) { r.Spec.Rules[0].BackendRefs[0].Weight = new(int32(3)) }, true},
		"it is accepted":  {func(r *gatewayv1.HTTPRoute) { r.Status.Parents = routertest.AcceptedBy(r.Spec.ParentRefs, 1) }, true},
		"a host":          {func(r *gatewayv1.HTTPRoute) { r.Spec.Hostnames = []gatewayv1.Hostname{"a.example.com"} }, false},
		"a path":          {func(r *gatewayv1.HTTPRoute) { r.Spec.Rules[0].Matches[0].Path.Value = new("/b") }, false},
		"another rule":    {func(r *gatewayv1.HTTPRoute) { r.Spec.Rules = append(r.Spec.Rules, gatewayv1.HTTPRouteRule{}) }, false},
		"another Gateway": {func(r *gatewayv1.HTTPRoute) { r.Spec.ParentRefs[0].Name = "private" }, false},
		"it is refused": {func(r *gatewayv1.HTTPRoute) {
			r.Status.Parents = routertest.AcceptedBy(r.Spec.ParentRefs, 1)
			r.Status.Parents[0].Conditions[0].Status = metav1.ConditionFalse
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			after := before()
			tc.change(after)
			if about.Alike(before(), after) != tc.alike || about.Alike(after, before()) != tc.alike {
				t.Errorf("alike: %t", !tc.alike)
			}
		})
	}
	rpc := &gatewayv1.GRPCRoute{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	changed := rpc.DeepCopy()
	changed.Generation++
	if !about.Alike(rpc, rpc) || about.Alike(rpc, changed) {
		t.Error("a change of a GRPCRoute is not seen")
	}
}

// TestRouteOfAnotherTeam is for requests that a release must not take, as rules for A/B testing
// and sessions have more conditions.
func TestRouteOfAnotherTeam(t *testing.T) {
	const tenant = `
parentRefs: [{name: public, namespace: infra}]
rules: [{matches: [{path: {type: PathPrefix, value: /}, headers: [{name: x-tenant, value: acme}]}], backendRefs: [{name: tenant, port: 80}]}]
`
	for name, tc := range map[string]struct {
		analysis v1beta1.CanaryAnalysis
		spec     string
		refused  bool
	}{
		"weights":           {analysis: v1beta1.CanaryAnalysis{StepWeight: 10}, spec: tenant},
		"one header":        {analysis: v1beta1.CanaryAnalysis{Iterations: 1, Match: []v1beta1.RawObject{*raw(`{"headers":{"x-a":{"exact":"1"}}}`)}}, spec: tenant},
		"two headers":       {analysis: v1beta1.CanaryAnalysis{Iterations: 1, Match: []v1beta1.RawObject{*raw(`{"headers":{"x-a":{"exact":"1"},"x-b":{"exact":"1"}}}`)}}, spec: tenant, refused: true},
		"a path":            {analysis: v1beta1.CanaryAnalysis{Iterations: 1, Match: []v1beta1.RawObject{*raw(`{"uri":{"prefix":"/beta"}}`)}}, spec: tenant, refused: true},
		"others' requests":  {analysis: v1beta1.CanaryAnalysis{Iterations: 1, Match: []v1beta1.RawObject{*raw(`{"uri":{"prefix":"/beta"},"headers":{"x-tenant":{"exact":"b"}}}`)}}, spec: tenant},
		"a cookie":          {analysis: v1beta1.CanaryAnalysis{StepWeight: 10, SessionAffinity: &v1beta1.SessionAffinity{CookieName: "v"}}, spec: tenant},
		"a cookie, younger": {analysis: v1beta1.CanaryAnalysis{StepWeight: 10, SessionAffinity: &v1beta1.SessionAffinity{CookieName: "v"}}, spec: tenant + "#", refused: true},
		"another host": {
			analysis: v1beta1.CanaryAnalysis{Iterations: 1, Match: []v1beta1.RawObject{*raw(`{"uri":{"prefix":"/beta"}}`)}},
			spec:     "hostnames: [tenant.example.com]" + tenant,
		},
	} {
		t.Run(name, func(t *testing.T) {
			created := int64(1)
			if strings.HasSuffix(tc.spec, "#") {
				created = 9
			}
			w := newWorld(t, all(), other(t, "team", created, tc.spec), ours(t))
			c := canary()
			c.Spec.Analysis = &tc.analysis
			// It is told before a release begins.
			err := w.router.Apply(t.Context(), route(c, 0))
			if tc.refused != providers.IsInvalid(err) || tc.refused && !strings.Contains(err.Error(), "HTTPRoute team/other") || !tc.refused && err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

// class serves a Gateway and its class, as the API server has them.
func class(features ...any) []client.Object {
	gateway := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"gatewayClassName": "some"}}}
	gateway.SetNamespace("infra")
	gateway.SetName("public")
	of := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"supportedFeatures": features}}}
	of.SetName("some")
	for kind, o := range map[string]*unstructured.Unstructured{"Gateway": gateway, "GatewayClass": of} {
		o.SetGroupVersionKind(schema.GroupVersion(gatewayv1.GroupVersion).WithKind(kind))
	}
	return []client.Object{gateway, of}
}

// TestFeatures asks the class of a Gateway before cookies are set by the backend, or requests are copied: one that
// can't do so answers each request of a new user with an error, or copies nothing.
func TestFeatures(t *testing.T) {
	named := func(name string) any { return map[string]any{"name": name} }
	for name, tc := range map[string]struct {
		objects  []client.Object
		sessions bool
		mirror   int32 // percent
		refused  bool
	}{
		"mirroring":                            {objects: class(named("HTTPRouteRequestMirror")), mirror: 100},
		"mirroring, and a class without":       {objects: class(named("HTTPRouteMethodMatching")), mirror: 100, refused: true},
		"mirroring, and one that says nothing": {objects: class(), mirror: 100},
		"mirroring of a part":                  {objects: class(named("HTTPRouteRequestMirror"), named("HTTPRouteRequestPercentageMirror")), mirror: 10},
		"mirroring of a part, and one without": {objects: class(named("HTTPRouteRequestMirror")), mirror: 10, refused: true},
		"no Gateway":                           {sessions: true},
		"a class that says nothing":            {objects: class(), sessions: true},
		"one that has them":                    {objects: class(named("HTTPRouteBackendRequestHeaderModification")), sessions: true},
		"as it was once said":                  {objects: class("HTTPRouteBackendRequestHeaderModification"), sessions: true},
		"one without":                          {objects: class(named("HTTPRouteResponseHeaderModification")), sessions: true, refused: true},
		"not needed":                           {objects: class(named("HTTPRouteResponseHeaderModification"))},
	} {
		t.Run(name, func(t *testing.T) {
			kinds := append(all(), schema.GroupVersion(gatewayv1.GroupVersion).WithKind("Gateway"), schema.GroupVersion(gatewayv1.GroupVersion).WithKind("GatewayClass"))
			w := newWorld(t, kinds, tc.objects...)
			c := canary()
			if tc.sessions {
				c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "v"}
			}
			c.Spec.Analysis.Mirror, c.Spec.Analysis.MirrorWeight = tc.mirror > 0, tc.mirror
			err := w.router.Apply(t.Context(), route(c, 0))
			if tc.refused != providers.IsUnsupported(err) || tc.refused && !strings.Contains(err.Error(), "GatewayClass some of Gateway infra/public") || !tc.refused && err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestRefusalIsFinal has a route that its controller refuses be no use to wait for.
func TestRefusalIsFinal(t *testing.T) {
	w := newWorld(t, all())
	r := route(canary(), 10)
	w.apply(t, r)
	live := w.httpRoute(t)
	live.Generation = 3
	if err := w.Update(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	for generation, refused := range map[int64]bool{2: false, 3: true} {
		live = w.httpRoute(t)
		live.Status.Parents = routertest.AcceptedBy(live.Spec.ParentRefs, generation)
		live.Status.Parents[0].Conditions[1].Status = metav1.ConditionFalse
		if err := w.Status().Update(t.Context(), live); err != nil {
			t.Fatal(err)
		}
		if state := w.observe(t, r); state.InSync || state.Refused != refused {
			t.Errorf("refused in generation %d of 3: observed %+v", generation, state)
		}
	}
}
