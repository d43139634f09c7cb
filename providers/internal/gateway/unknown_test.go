package gateway

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/gateway/rules"
)

// Fields of a version of the API that is newer than our Go types stay in a user's rules.
func TestFieldsOfANewerAPI(t *testing.T) {
	const encoded = `{"spec":{"rules":[
		{"soon":{"a":"b"},"matches":[{"path":{"type":"PathPrefix","value":"/"}}],"backendRefs":[{"name":"podinfo","port":80}]},
		{"later":"c","matches":[{"later":"d","path":{"type":"PathPrefix","value":"/billing"}}],"backendRefs":[{"name":"billing","port":80,"later":1}]}]}}`
	kind := HTTPRoute()
	c := canary(func(c *v1beta1.Canary) { c.Spec.Analysis.Match = raws(`{"uri":{"prefix":"/billing"}}`) })
	users, err := parse(&kind, encoded, c)
	if err != nil {
		t.Fatal(err)
	}
	planned, err := rules.Plan(c, providers.Traffic{Canary: 100, Matched: true}, users.specOf())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]any{"spec": gatewayv1.HTTPRouteSpec{Rules: rules.Written(planned)}})
	if err != nil {
		t.Fatal(err)
	}
	object := map[string]any{}
	if err := utiljson.Unmarshal(raw, &object); err != nil {
		t.Fatal(err)
	}
	unknownFields(users, planned)(object)
	got := object["spec"].(map[string]any)["rules"].([]any) //nolint:forcetypeassert // it was made above
	had := users.Spec["rules"].([]any)                      //nolint:forcetypeassert // it was read above
	if d := cmp.Diff(had[1], got[len(got)-1]); d != "" {
		t.Errorf("the rule that leads elsewhere (-want +got)\n%s", d)
	}
	for _, rule := range got[1 : len(got)-1] { // the first keeps the requests for billing with it
		if d := cmp.Diff(map[string]any{"a": "b"}, rule.(map[string]any)["soon"]); d != "" { //nolint:forcetypeassert // rules are objects
			t.Errorf("a rule that is shared out (-want +got)\n%s", d)
		}
	}
	if guard := got[0].(map[string]any); guard["later"] != "c" || guard["soon"] != nil { //nolint:forcetypeassert // rules are objects
		t.Errorf("the guard is %v", guard)
	}
}
