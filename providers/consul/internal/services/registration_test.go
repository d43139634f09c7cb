package services

import (
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/consultest"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
)

// TestRegistered refuses pods that consul-k8s would register under a name that changes.
func TestRegistered(t *testing.T) {
	for name, tc := range map[string]struct {
		pods map[string]string
		want string // in the message, empty for none
	}{
		"not by consul-k8s":   {},
		"as the service":      {pods: map[string]string{ServiceAnnotation: "podinfo", injectAnnotation: "true"}},
		"as another service":  {map[string]string{ServiceAnnotation: "podinfo-canary"}, ServiceAnnotation},
		"as its Services say": {map[string]string{injectAnnotation: "true"}, ServiceAnnotation},
		"not in the mesh":     {pods: map[string]string{injectAnnotation: "false"}},
		"by one Service":      {map[string]string{ServiceAnnotation: "podinfo", kubernetesServiceAnnotation: "podinfo"}, kubernetesServiceAnnotation},
	} {
		t.Run(name, func(t *testing.T) {
			route := providers.Route{Canary: consultest.Canary(), PodAnnotations: tc.pods}
			err := Registered(route, Of(route.Canary, tc.pods, entries.Scope{}))
			if (err != nil) != (tc.want != "") || err != nil && (!providers.IsInvalid(err) || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v", err)
			}
		})
	}
}
