package coverage_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"pgregory.net/rapid"

	"github.com/sluice-delivery/sluice/operator/coverage"
	"github.com/sluice-delivery/sluice/providers/routertest"
)

// TestUsersPolicies draws policies that are attached to Services. Whatever held for the apex Service holds for both of those
// that its requests go to, once there are the copies, or is told; and no policy of the user's changes.
func TestUsersPolicies(t *testing.T) {
	routertest.FixSeed(t)
	outer := t
	reported, held := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		for range 10 {
			users := drawPolicies(t, outer)
			all := make([]*unstructured.Unstructured, 0, 2*len(users))
			for _, o := range users {
				all = append(all, o.DeepCopy())
			}
			uncopied := map[string]bool{}
			first := coverage.Assess(subject(), all)
			for _, gap := range first.Gaps {
				if gap.Copy == nil {
					uncopied[gap.What] = true
					continue
				}
				all = append(all, gap.Copy)
			}
			for i, o := range users {
				if d := cmp.Diff(o, all[i]); d != "" {
					t.Fatalf("a user's policy (-was +is)\n%s", d)
				}
			}
			if d := cmp.Diff(lines(outer, first), lines(outer, coverage.Assess(subject(), all))); d != "" {
				t.Fatalf("beside the copies (-first +now)\n%s", d)
			}
			for _, o := range users {
				if !attachedTo(o, "podinfo-web") {
					continue
				}
				for _, half := range []string{"podinfo-web-primary", "podinfo-web-canary"} {
					switch isReported := saysSo(uncopied, o, half); {
					case isReported:
						reported++
					case !holds(all, o, half):
						t.Fatalf("%s %s does not hold for %s, and that is not told: %v", o.GetKind(), o.GetName(), half, o.Object["spec"])
					default:
						held++
					}
				}
			}
		}
	})
	if reported == 0 || held == 0 {
		t.Errorf("%d were told, and %d held", reported, held)
	}
}

// drawPolicies draws what users attach to Services: to one or several, some with a policy of their own for a half.
func drawPolicies(t *rapid.T, outer *testing.T) (out []*unstructured.Unstructured) {
	for i := range rapid.IntRange(1, 4).Draw(t, "policies") {
		kind := rapid.SampledFrom([]string{"BackendTLSPolicy", "AuthorizationPolicy", "HealthCheckPolicy"}).Draw(t, "kind")
		services := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"podinfo-web", "podinfo-web", "podinfo-web-primary", "podinfo-web-canary", "billing"}), 1, 3, rapid.ID[string]).Draw(t, "services")
		says := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "says")
		var targets []string
		for _, s := range services {
			targets = append(targets, "{group: '', kind: Service, name: "+s+"}")
		}
		spec := "{says: " + says + ", targetRefs: [" + strings.Join(targets, ", ") + "]}"
		if kind == "HealthCheckPolicy" {
			spec = "{says: " + says + ", targetRef: " + targets[0] + "}"
		}
		out = append(out, object(outer, fmt.Sprintf("%s p%d", kind, i), spec))
	}
	return out
}

// attachedTo tells whether a policy is for a Service.
func attachedTo(o *unstructured.Unstructured, service string) bool {
	targets, _, _ := unstructured.NestedSlice(o.Object, "spec", "targetRefs")
	if one, ok, _ := unstructured.NestedMap(o.Object, "spec", "targetRef"); ok {
		targets = append(targets, one)
	}
	for _, target := range targets {
		if of, ok := target.(map[string]any); ok && of["name"] == service {
			return true
		}
	}
	return false
}

// holds tells whether a policy is for a Service that says what another one does.
func holds(all []*unstructured.Unstructured, as *unstructured.Unstructured, service string) bool {
	for _, o := range all {
		if o.GetKind() == as.GetKind() && attachedTo(o, service) && cmp.Equal(o.Object["spec"].(map[string]any)["says"], as.Object["spec"].(map[string]any)["says"]) {
			return true
		}
	}
	return false
}

// saysSo tells whether the condition names a policy and the Service that it does not hold for.
func saysSo(reported map[string]bool, o *unstructured.Unstructured, service string) bool {
	for what := range reported {
		if strings.HasPrefix(what, o.GetKind()+" "+o.GetName()+" ") && strings.Contains(what, service) {
			return true
		}
	}
	return false
}
