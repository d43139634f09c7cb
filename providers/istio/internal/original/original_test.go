package original

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio/internal/istiotest"
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
			c := istiotest.Canary(func(s *v1beta1.CanaryService) {
				s.Apex = &v1beta1.CustomMetadata{Labels: map[string]string{"team": "a"}}
			})
			u := &unstructured.Unstructured{Object: map[string]any{"spec": istiotest.DecodeYAML(t, tc.spec)}}
			u.SetAnnotations(tc.annotations)
			u.SetLabels(tc.labels)
			got, err := adopt(u, c)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got.Encoded); d != "" {
				t.Error(d)
			}
			again, err := Parse(got.Encoded, c)
			if err != nil || cmp.Diff(got.saved.Labels, again.saved.Labels) != "" || len(again.HTTP) != len(got.HTTP) {
				t.Errorf("read back %+v, %v", again, err)
			}
		})
	}
}

func TestAdoptMistakes(t *testing.T) {
	big := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"hosts": []any{strings.Repeat("a", limit)}}}}
	if _, err := adopt(big, istiotest.Canary()); !providers.IsInvalid(err) || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("too big: %v", err)
	}
	if _, err := Parse("{", istiotest.Canary()); !providers.IsInvalid(err) || !strings.Contains(err.Error(), Annotation) {
		t.Errorf("unreadable: %v", err)
	}
}
