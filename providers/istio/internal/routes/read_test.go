package routes

import (
	"encoding/json"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// readBack checks that the shares can be read from what was written.
func readBack(t *testing.T, c *v1beta1.Canary, want providers.Traffic, routes []any, protocol string) {
	t.Helper()
	if len(routes) == 0 {
		return
	}
	b, err := json.Marshal(map[string]any{protocol: routes})
	if err != nil {
		t.Fatal(err)
	}
	vs := &networkingv1.VirtualService{}
	if err := json.Unmarshal(b, &vs.Spec); err != nil {
		t.Fatal(err)
	}
	want.Sessions = providers.Sessions{}
	if want.Primary == 0 {
		want.Mirror = 0
	}
	if got, ok := ReadTraffic(&vs.Spec, nil, c); !ok || got != want {
		t.Errorf("read back %+v, want %+v", got, want)
	}
}
