package original

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio/internal/istiotest"
)

// FuzzAdopt takes over VirtualServices of anybody: they come back as they were, or are refused as what somebody can mend.
func FuzzAdopt(f *testing.F) {
	for _, spec := range []string{
		`{}`, `{"hosts":["a"],"http":[{"route":[{"destination":{"host":"podinfo"}}]}]}`, `{"http":[{"unknown":{"a":[1,null]},"route":null}],"tls":[{}],"tcp":[{"route":[{}]}]}`,
		`{"http":[{"route":[{"destination":{"host":"podinfo-primary"},"weight":100}]}]}`, `{"http":[null]}`, `{"http":{}}`, `{"hosts":"a"}`, `{"http":[{"timeout":"x","fault":1}]}`,
		`{"http":[{"mirror":{"host":"podinfo","subset":"canary"}}]}`, `{"gateways":[1]}`, `{"http":[{"route":[{"destination":{"host":"podinfo","port":{"number":99999999999}}}]}]}`,
	} {
		f.Add([]byte(spec), "", "")
		f.Add([]byte(spec), `{"spec":`+spec+`}`, spec)
	}
	f.Fuzz(func(t *testing.T, spec []byte, ours, flaggers string) {
		fields := map[string]any{}
		if utiljson.Unmarshal(spec, &fields) != nil {
			return
		}
		c := istiotest.Canary(func(*v1beta1.CanaryService) {})
		u := &unstructured.Unstructured{Object: map[string]any{"spec": fields}}
		u.SetAnnotations(map[string]string{flaggerAnnotation: flaggers, kubectlAnnotation: ours})
		o, err := adopt(u, c)
		if err == nil {
			_, _, _, _ = o.Base(), o.SharesHTTP(c), o.SharesTCP(c), o.GiveBack(c)
			again, err := Parse(o.Encoded, c)
			if err != nil || !cmp.Equal(again.Spec, o.Spec) {
				t.Errorf("what is kept of %s is read as %v, error %v", spec, again, err)
			}
			if !o.Overwritten {
				for field, value := range fieldsOf(fields) {
					if !cmp.Equal(o.Spec[field], value) {
						t.Errorf("%s of %s is kept as %v", field, spec, o.Spec[field])
					}
				}
			}
		} else if !providers.IsInvalid(err) && !providers.IsUnsupported(err) {
			t.Errorf("%s is refused by %T: %v", spec, err, err)
		}
		if o, err := Parse(ours, c); err == nil {
			_, _ = o.Base(), o.GiveBack(c)
		}
		live := &networkingv1.VirtualService{}
		if json.Unmarshal(spec, &live.Spec) == nil {
			_ = TakenOverBefore(live, c)
		}
	})
}
