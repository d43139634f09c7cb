package routes

import (
	"encoding/json"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

func TestShares(t *testing.T) {
	for name, tc := range map[string]struct {
		primary, canary, total int64
		want                   providers.Traffic
	}{
		"percent":           {90, 10, 100, providers.Traffic{Primary: 90, Canary: 10}},
		"other sum":         {1, 1, 2, providers.Traffic{Primary: 50, Canary: 50}},
		"third destination": {50, 25, 100, providers.Traffic{Primary: 75, Canary: 25}},
		"no weights":        {0, 0, 0, providers.Traffic{Primary: 100}},
		"canary alone":      {0, 100, 0, providers.Traffic{Canary: 100}},
		"primary alone":     {100, 0, 0, providers.Traffic{Primary: 100}},
		"sum above 100":     {100, 100, 200, providers.Traffic{Primary: 50, Canary: 50}},
		"rounded down":      {2, 1, 3, providers.Traffic{Primary: 67, Canary: 33}},
		"rounded up":        {1, 2, 3, providers.Traffic{Primary: 33, Canary: 67}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := shares(tc.primary, tc.canary, tc.total); got != tc.want {
				t.Errorf("got %+v", got)
			}
		})
	}
}

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
