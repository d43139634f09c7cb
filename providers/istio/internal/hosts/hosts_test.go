package hosts

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-delivery/sluice/providers/istio/internal/istiotest"
)

// TestAbout finds the Services by whose Canaries an object of any name is looked at.
func TestAbout(t *testing.T) {
	vs := istiotest.VirtualService(t, "routes", `{hosts: [podinfo, podinfo.other.svc.cluster.local, app.example.com, "*.local", "*"]}`)
	want := []types.NamespacedName{{Namespace: "test", Name: "podinfo"}, {Namespace: "other", Name: "podinfo"}}
	if d := cmp.Diff(want, About(vs)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want[:1], About(istiotest.Rule(t, "test", "default", `{host: podinfo.test.svc.cluster.local}`))); d != "" {
		t.Error(d)
	}
}
