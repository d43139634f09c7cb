package objects

import (
	"slices"
	"testing"

	"github.com/sluice-delivery/sluice/providers/istio/internal/istiotest"
)

// TestIndex has one spelling for each that a Service has.
func TestIndex(t *testing.T) {
	for _, host := range []string{"podinfo", "podinfo.test.svc", "podinfo.test.svc.cluster.local"} {
		if keys := hostsIndexed(istiotest.Rule(t, "test", "a", `{host: `+host+`}`)); !slices.Equal(keys, []string{"podinfo.test"}) {
			t.Errorf("%s is found by %v", host, keys)
		}
	}
	if keys := hostsIndexed(istiotest.Rule(t, "test", "a", `{host: "*.local"}`)); !slices.Equal(keys, []string{"*"}) {
		t.Errorf("a wildcard is found by %v", keys)
	}
}
