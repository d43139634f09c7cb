package consul

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/consultest"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
)

// TestServicesOfOthers has a Canary want a service of Consul whose instances are pods of another namespace: nothing is written.
func TestServicesOfOthers(t *testing.T) {
	for name, tc := range map[string]struct {
		of   map[string]string
		want string // whose it is
	}{
		"its own":                  {of: map[string]string{"podinfo": consultest.Canary().Namespace}},
		"of nobody in Kubernetes":  {of: map[string]string{"podinfo": ""}},
		"the apex of others":       {of: map[string]string{"podinfo": "payments"}, want: "podinfo belongs to pods of the namespace payments"},
		"the name of the primary":  {of: map[string]string{"podinfo-primary": "payments"}, want: "podinfo-primary belongs to pods of the namespace payments"},
		"the name of the canary's": {of: map[string]string{"podinfo-canary": "payments"}, want: "podinfo-canary belongs to pods of the namespace payments"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory("podinfo", "podinfo-primary", "podinfo-canary")
			m.of = tc.of
			b := start(t, m)
			route := providers.Route{Canary: consultest.Canary(), Traffic: consultest.Weights(0)}
			b.settle(t, route)
			err := b.Apply(t.Context(), route)
			if taken := providers.IsConflict(err); taken != (tc.want != "") || taken && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if wrote := len(m.written()) > 0; wrote == (tc.want != "") {
				t.Errorf("it wrote %v", m.written())
			}
		})
	}
}

// TestScopesOfOthers has Canaries name namespaces and partitions of Consul.
func TestScopesOfOthers(t *testing.T) {
	own := consultest.Canary().Namespace
	for name, tc := range map[string]struct {
		namespace, partition string
		apart, deleted       bool
		want                 string
	}{
		"none":                            {apart: true},
		"any":                             {namespace: "payments", partition: "eu-1"},
		"no name":                         {namespace: "a/b", want: NamespaceAnnotation},
		"no name of a partition":          {partition: "p;x", want: PartitionAnnotation},
		"another, apart":                  {namespace: "payments", apart: true, want: NamespaceAnnotation},
		"another partition, apart":        {partition: "eu-1", apart: true, want: PartitionAnnotation},
		"called as its own, apart":        {namespace: own, apart: true},
		"a partition called so, apart":    {partition: own, apart: true, want: PartitionAnnotation},
		"those of the flags, apart":       {namespace: "base", partition: "part", apart: true},
		"another, apart, that is leaving": {namespace: "payments", apart: true, deleted: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, newMemory())
			b.base, b.apart = entries.Scope{Namespace: "base", Partition: "part"}, tc.apart
			c := consultest.Canary()
			c.Annotations = map[string]string{NamespaceAnnotation: tc.namespace, PartitionAnnotation: tc.partition}
			if tc.deleted {
				c.DeletionTimestamp = &metav1.Time{Time: time.Unix(0, 0)}
			}
			_, err := b.Observe(t.Context(), providers.Route{Canary: c, Traffic: consultest.Weights(0)})
			if refused := providers.IsInvalid(err); refused != (tc.want != "") || refused && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
