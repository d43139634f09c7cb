package istio

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

func TestAdopt(t *testing.T) {
	const (
		apexRoute = `{"exportTo":["."],"hosts":["a"],"http":[{"route":[{"destination":{"host":"podinfo"}}],"timeout":"1s"}]}`
		theirs    = `{hosts: [podinfo], gateways: [mesh], http: [{route: [{destination: {host: podinfo-primary}, weight: 100}, {destination: {host: podinfo-canary}, weight: 0}]}]}`
		released  = `{"spec":{"gateways":["mesh"],"hosts":["podinfo"],"http":[{"route":[{"destination":{"host":"podinfo"},"weight":100}]}]},"overwritten":true}`
	)
	for name, tc := range map[string]struct {
		spec        string
		annotations map[string]string
		labels      map[string]string
		want        string // annotation
	}{
		"all that we take over, as it is": {
			spec: `{hosts: [a], gateways: [b], exportTo: ["."], tls: [], tcp: [], http: [{unknown: {to: us}, route: [{destination: {host: podinfo}, weight: 0}]}]}`,
			want: `{"spec":{"gateways":["b"],"hosts":["a"],"http":[{"route":[{"destination":{"host":"podinfo"},"weight":0}],"unknown":{"to":"us"}}],"tcp":[],"tls":[]}}`,
		},
		"metadata that we replace": {
			spec: `{}`, labels: map[string]string{"team": "x", "other": "y"},
			annotations: map[string]string{"kustomize.toolkit.fluxcd.io/reconcile": "enabled", "note": "z"},
			want:        `{"spec":{},"labels":{"team":"x"},"annotations":{"kustomize.toolkit.fluxcd.io/reconcile":"enabled"}}`,
		},
		"Flagger's original": {
			spec: theirs, annotations: map[string]string{flaggerAnnotation: apexRoute, kubectlAnnotation: "no JSON"},
			want: `{"spec":{"exportTo":["."],"hosts":["a"],"http":[{"route":[{"destination":{"host":"podinfo"}}],"timeout":"1s"}]},"overwritten":true}`,
		},
		"what kubectl applied before Flagger came": {
			spec: theirs, annotations: map[string]string{kubectlAnnotation: `{"spec":` + apexRoute + `}`},
			want: `{"spec":{"exportTo":["."],"hosts":["a"],"http":[{"route":[{"destination":{"host":"podinfo"}}],"timeout":"1s"}]},"overwritten":true}`,
		},
		"Flagger's, already given back": {
			spec: `{hosts: [now]}`, annotations: map[string]string{flaggerAnnotation: apexRoute},
			want: `{"spec":{"hosts":["now"]}}`,
		},
		"Flagger's, which is its own": {
			spec: theirs, annotations: map[string]string{flaggerAnnotation: `{"http":[{"route":[{"destination":{"host":"podinfo-primary"}}]}]}`},
			want: released,
		},
		"unknown": {spec: theirs, want: released},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary(func(s *v1beta1.CanaryService) {
				s.Apex = &v1beta1.CustomMetadata{Labels: map[string]string{"team": "a"}}
			})
			u := &unstructured.Unstructured{Object: map[string]any{"spec": decodeYAML(t, tc.spec)}}
			u.SetAnnotations(tc.annotations)
			u.SetLabels(tc.labels)
			got, err := adopt(u, c)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got.encoded); d != "" {
				t.Error(d)
			}
			again, err := parse(got.encoded, c)
			if err != nil || cmp.Diff(got.saved.Labels, again.saved.Labels) != "" || len(again.http) != len(got.http) {
				t.Errorf("read back %+v, %v", again, err)
			}
		})
	}
}

func TestAdoptMistakes(t *testing.T) {
	big := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"hosts": []any{strings.Repeat("a", originalLimit)}}}}
	if _, err := adopt(big, canary()); !providers.IsInvalid(err) || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("too big: %v", err)
	}
	if _, err := parse("{", canary()); !providers.IsInvalid(err) || !strings.Contains(err.Error(), originalAnnotation) {
		t.Errorf("unreadable: %v", err)
	}
}

func usersService(t *testing.T, spec string) *networkingv1.VirtualService {
	t.Helper()
	vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{
		Name: "podinfo", Namespace: "test", Annotations: map[string]string{"note": "kept", "helm.toolkit.fluxcd.io/driftDetection": "enabled"},
	}}
	b, err := json.Marshal(decodeYAML(t, spec))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &vs.Spec); err != nil {
		t.Fatal(err)
	}
	return vs
}

// What is the user's stays and comes back, delegation on and off included
// (pain 20).
func TestGiveBack(t *testing.T) {
	const spec = `{hosts: [a], gateways: [b], exportTo: ["."], http: [
		{match: [{uri: {prefix: /admin}}], route: [{destination: {host: admin}}]},
		{retries: {attempts: 3}, route: [{destination: {host: podinfo}}]}]}`
	w := newWorld(t, usersService(t, spec))
	before := w.virtualService(t)
	saved := ""
	for _, delegation := range []bool{false, true, false} {
		for _, weight := range []int32{0, 30, 100} {
			c := canary(func(s *v1beta1.CanaryService) { s.Delegation = delegation })
			if delegation {
				c.Generation = 2
			}
			if err := w.router.Apply(t.Context(), route(c, weight)); err != nil {
				t.Fatal(err)
			}
			if state, err := w.router.Observe(t.Context(), route(c, weight)); err != nil || !state.InSync {
				t.Fatalf("observed %+v, %v", state, err)
			}
			now := w.virtualService(t).Annotations[originalAnnotation]
			if saved == "" {
				saved = now
			}
			if now == "" || now != saved {
				t.Fatalf("the original is %q, was %q", now, saved)
			}
			sent := specOf(t, w.sent["VirtualService podinfo"])
			want := map[bool][2]any{false: {[]any{"a"}, []any{"b"}}, true: {[]any{}, []any{}}}[delegation]
			if d := cmp.Diff(want, [2]any{sent["hosts"], sent["gateways"]}); d != "" {
				t.Errorf("with delegation %v: %s", delegation, d)
			}
			if routes, _ := sent["http"].([]any); len(routes) != 2 {
				t.Errorf("routes %v", routes)
			}
		}
	}
	writes := w.writes
	for range 2 {
		if err := w.router.Release(t.Context(), route(canary(), 0)); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.writes - writes; n != 2 { // with the VirtualService for the mesh
		t.Errorf("released with %d writes", n)
	}
	after := w.virtualService(t)
	if d := cmp.Diff(encodeSpec(t, before), encodeSpec(t, after)); d != "" {
		t.Errorf("(-before +after)\n%s", d)
	}
	if d := cmp.Diff(before.Annotations, after.Annotations); d != "" {
		t.Errorf("(-before +after)\n%s", d)
	}
}

func encodeSpec(t *testing.T, vs *networkingv1.VirtualService) string {
	t.Helper()
	b, err := json.Marshal(&vs.Spec)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The annotation is not made from our own routes when somebody has removed it.
func TestLostOriginal(t *testing.T) {
	w := newWorld(t, usersService(t, `{hosts: [a], http: [{route: [{destination: {host: podinfo}}]}]}`))
	if err := w.router.Apply(t.Context(), route(canary(), 10)); err != nil {
		t.Fatal(err)
	}
	vs := w.virtualService(t)
	delete(vs.Annotations, originalAnnotation)
	if err := w.Update(t.Context(), vs); err != nil {
		t.Fatal(err)
	}
	if err := w.router.Apply(t.Context(), route(canary(), 20)); err != nil {
		t.Fatal(err)
	}
	if err := w.router.Release(t.Context(), route(canary(), 0)); err != nil {
		t.Fatal(err)
	}
	vs = w.virtualService(t)
	if got := vs.Spec.Http[0].Route; len(got) != 1 || got[0].Destination.Host != "podinfo" || vs.Annotations[ssa.AppliedAnnotation] != "" {
		t.Errorf("given back as %+v", vs)
	}
}

// Circuit breakers and mutual TLS that the user has for the apex Service
// hold for the primary and the canary, unless the spec says otherwise.
func TestUsersTrafficPolicy(t *testing.T) {
	rule := func(name, host, policy string) *networkingv1.DestinationRule {
		r := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "test", UID: "u"}}
		if err := json.Unmarshal([]byte(`{"host":"`+host+`","trafficPolicy":`+policy+`}`), &r.Spec); err != nil {
			t.Fatal(err)
		}
		return r
	}
	users := rule("breakers", "podinfo.test.svc.cluster.local", `{"tls":{"mode":"ISTIO_MUTUAL"},"outlierDetection":{"consecutive5xxErrors":7}}`)
	w := newWorld(t, users, rule("other", "other", `{"tls":{"mode":"DISABLE"}}`))
	check := func(c *v1beta1.Canary, want string) {
		t.Helper()
		if state, err := w.router.Observe(t.Context(), route(c, 0)); err != nil || state.InSync {
			t.Errorf("observed %+v, %v before it is applied", state, err)
		}
		if err := w.router.Apply(t.Context(), route(c, 0)); err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{"podinfo-primary", "podinfo-canary"} {
			if d := cmp.Diff(decodeYAML(t, want), specOf(t, w.sent["DestinationRule "+host])["trafficPolicy"]); d != "" {
				t.Errorf("%s: %s", host, d)
			}
		}
	}
	check(canary(), `{tls: {mode: ISTIO_MUTUAL}, outlierDetection: {consecutive5xxErrors: 7}}`)

	if err := w.Get(t.Context(), client.ObjectKeyFromObject(users), users); err != nil {
		t.Fatal(err)
	}
	users.Spec.TrafficPolicy.OutlierDetection = nil
	if err := w.Update(t.Context(), users); err != nil {
		t.Fatal(err)
	}
	check(canary(), `{tls: {mode: ISTIO_MUTUAL}}`)

	// Who must not see the user's rule must not see its copies.
	users.Spec.ExportTo = []string{".", "ingress"}
	if err := w.Update(t.Context(), users); err != nil {
		t.Fatal(err)
	}
	check(canary(), `{tls: {mode: ISTIO_MUTUAL}}`)
	if d := cmp.Diff([]any{".", "ingress"}, specOf(t, w.sent["DestinationRule podinfo-canary"])["exportTo"]); d != "" {
		t.Error(d)
	}

	says := canary(func(s *v1beta1.CanaryService) { s.TrafficPolicy = raw(`{"tls":{"mode":"DISABLE"}}`) })
	says.Generation = 2
	check(says, `{tls: {mode: DISABLE}}`)
}
