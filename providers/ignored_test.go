package providers

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// ignorer is a Router that ignores some fields.
type ignorer struct {
	Router

	fields map[string]string
}

func (i ignorer) Ignores() map[string]string { return i.fields }

func TestIgnored(t *testing.T) {
	all := &v1beta1.Canary{}
	all.Spec.Service = v1beta1.CanaryService{
		Port: 80, Timeout: "1s", BackendTimeout: "1s", Gateways: []string{"g"}, GatewayRefs: make([]v1beta1.ParentReference, 1), Hosts: []string{"h"},
		Delegation: true, TrafficPolicy: &v1beta1.RawObject{}, Match: make([]v1beta1.RawObject, 1), Rewrite: &v1beta1.RawObject{},
		Retries: &v1beta1.RawObject{}, Headers: &v1beta1.RawObject{}, CorsPolicy: &v1beta1.RawObject{}, Mirror: make([]v1beta1.RawObject, 1),
	}
	var want []string
	for name := range strings.FieldsSeq("timeout backendTimeout gateways gatewayRefs hosts delegation trafficPolicy match rewrite retries headers corsPolicy mirror") {
		want = append(want, "spec.service."+name+" has no effect: why")
	}
	if diff := cmp.Diff(want, Ignored(ignorer{fields: IgnoresAll("why")}, all)); diff != "" {
		t.Error(diff)
	}
	if got := Ignored(ignorer{fields: IgnoresAll("why")}, &v1beta1.Canary{}); len(got) > 0 {
		t.Errorf("of a spec that sets nothing: %v", got)
	}
	if got := Ignored(ignorer{fields: map[string]string{"mirror": "no"}}, all); len(got) != 1 || got[0] != "spec.service.mirror has no effect: no" {
		t.Errorf("of one field: %v", got)
	}
}
