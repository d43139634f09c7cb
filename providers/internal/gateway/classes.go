package gateway

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// need is what a spec needs of the implementation behind a Gateway.
type need struct {
	field   string
	feature features.FeatureName
	why     string
}

// needsOf are those of a spec that the Gateway API leaves to implementations. For headers of answers by the backend that a
// request is for it has no feature of its own: that of requests stands for it.
func needsOf(c *v1beta1.Canary) (out []need) {
	a := c.GetAnalysis()
	if a.SessionAffinity != nil && a.Strategy() == v1beta1.StrategyWeighted && len(a.Match) == 0 {
		out = append(out, need{"spec.analysis.sessionAffinity", features.SupportHTTPRouteBackendRequestHeaderModification, "cookies need"})
	}
	if a.Mirror && len(a.Match) == 0 {
		out = append(out, need{"spec.analysis.mirror", features.SupportHTTPRouteRequestMirror, "mirroring needs"})
		if a.MirrorWeight > 0 && a.MirrorWeight < 100 {
			out = append(out, need{"spec.analysis.mirrorWeight", features.SupportHTTPRouteRequestPercentageMirror, "mirroring of a part needs"})
		}
	}
	return out
}

// classes remembers which generations of Canaries have Gateways that can do what they need,
// so that a Canary at rest costs no request. It is safe for concurrent use.
type classes struct {
	live   client.Reader // nil where they do not matter
	router string        // the name of

	mu   sync.Mutex
	able map[client.ObjectKey]string
}

func (k *classes) knows(c *v1beta1.Canary, what string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.able[client.ObjectKeyFromObject(c)] == what
}

func (k *classes) learn(c *v1beta1.Canary, what string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.able == nil {
		k.able = map[client.ObjectKey]string{}
	}
	k.able[client.ObjectKeyFromObject(c)] = what
}

// check refuses what a Gateway's class does not support that says what it does, such as session affinity without
// filters of single backends: such a Gateway refuses the rule, or answers each of its requests with an error, or passes the
// filter over. A class that says nothing, or can't be read, is left to what the status of the route will say.
func (k *classes) check(ctx context.Context, c *v1beta1.Canary, parents []gatewayv1.ParentReference) error {
	needs := needsOf(c)
	if k.live == nil || len(needs) == 0 {
		return nil
	}
	what := fmt.Sprintf("%s %d", c.UID, c.Generation)
	if k.knows(c, what) {
		return nil
	}
	for _, p := range parents {
		if ptr.Deref(p.Kind, "Gateway") != "Gateway" || groupOf(p) != gatewayv1.GroupName {
			continue
		}
		key := client.ObjectKey{Namespace: string(ptr.Deref(p.Namespace, gatewayv1.Namespace(c.Namespace))), Name: string(p.Name)}
		for _, n := range needs {
			if class := k.without(ctx, key, string(n.feature)); class != "" {
				return &providers.UnsupportedError{
					Router: k.router, Field: n.field,
					Why: fmt.Sprintf("GatewayClass %s of Gateway %s does not list %s among its supportedFeatures, which %s", class, key, n.feature, n.why),
				}
			}
		}
	}
	k.learn(c, what)
	return nil
}

// without names the class of a Gateway if it says what it supports and that is not the
// feature.
func (k *classes) without(ctx context.Context, gateway client.ObjectKey, feature string) string {
	read := func(kind string, key client.ObjectKey) map[string]any {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(schema.GroupVersion(gatewayv1.GroupVersion).WithKind(kind))
		if err := k.live.Get(ctx, key, u); err != nil {
			return nil
		}
		return u.Object
	}
	name, _, _ := unstructured.NestedString(read("Gateway", gateway), "spec", "gatewayClassName")
	if name == "" {
		return ""
	}
	list, _, _ := unstructured.NestedSlice(read("GatewayClass", client.ObjectKey{Name: name}), "status", "supportedFeatures")
	supported := slices.ContainsFunc(list, func(f any) bool {
		named, _ := f.(map[string]any)
		return f == feature || named["name"] == feature // names alone in older versions of the API
	})
	if len(list) == 0 || supported {
		return ""
	}
	return name
}
