package gateway

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/gateway/rules"
)

// FuzzOriginal takes over HTTPRoutes of anybody: they come back as they were, or are refused as what somebody can mend.
func FuzzOriginal(f *testing.F) {
	for _, spec := range []string{
		`{}`, `{"hostnames":["a"],"rules":[{"backendRefs":[{"name":"podinfo","port":80,"weight":1}]}]}`, `{"rules":[{"filters":[{"type":"URLRewrite"}],"unknown":{"a":[null]}}]}`,
		`{"rules":[{"backendRefs":[{"name":"podinfo-primary"},{"name":"podinfo-canary"}]}]}`, `{"rules":null}`, `{"parentRefs":[{}],"rules":[{"matches":[{"path":{}}]}]}`, `{"rules":[{"backendRefs":[{"name":"x","weight":-1}]}]}`,
	} {
		f.Add([]byte(spec), "")
		f.Add([]byte(spec), `{"spec":`+spec+`}`)
	}
	f.Fuzz(func(t *testing.T, spec []byte, encoded string) {
		fields := map[string]any{}
		live := &gatewayv1.HTTPRoute{}
		if utiljson.Unmarshal(spec, &fields) != nil || json.Unmarshal(spec, &live.Spec) != nil {
			return
		}
		c := &v1beta1.Canary{}
		c.Namespace, c.Name, c.Spec.TargetRef.Name = "test", "podinfo", "podinfo"
		k := HTTPRoute()
		whole := func() (*unstructured.Unstructured, error) {
			return &unstructured.Unstructured{Object: map[string]any{"spec": fields}}, nil
		}
		o, err := originalOf(&k, live, c, nil, whole)
		switch {
		case err != nil && !providers.IsInvalid(err) && !providers.IsUnsupported(err):
			t.Errorf("%s is refused by %T: %v", spec, err, err)
		case err == nil && o != nil && !rules.Overwritten(live.Spec.Rules, c):
			again, err := parse(&k, o.encoded, c)
			if err != nil {
				t.Fatalf("what is kept of %s can't be read: %v", spec, err)
			}
			for _, field := range takenOver {
				if !cmp.Equal(again.Spec[field], o.Spec[field]) {
					t.Errorf("%s of %s is read as %v", field, spec, again.Spec[field])
				}
			}
		}
		if o, err := parse(&k, encoded, c); err == nil {
			_ = o.specOf()
		} else if !providers.IsInvalid(err) {
			t.Errorf("%q is refused by %T: %v", encoded, err, err)
		}
	})
}
