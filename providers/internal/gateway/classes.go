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

// backendFilters is the feature of implementations that modify headers by the backend that
// a request is for. The Gateway API has none of its own for those of answers.
const backendFilters = string(features.SupportHTTPRouteBackendRequestHeaderModification)

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

// check refuses session affinity where a Gateway's class says what it supports, and
// filters of single backends are not among it: such a Gateway refuses the rule, or answers
// each of its requests with an error. A class that says nothing, or can't be read, is left to
// what the status of the route will say.
func (k *classes) check(ctx context.Context, c *v1beta1.Canary, parents []gatewayv1.ParentReference) error {
	a := c.GetAnalysis()
	if k.live == nil || a.SessionAffinity == nil || a.Strategy() != v1beta1.StrategyWeighted || len(a.Match) > 0 {
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
		if class := k.without(ctx, key, backendFilters); class != "" {
			return &providers.UnsupportedError{
				Router: k.router, Field: "spec.analysis.sessionAffinity",
				Why: fmt.Sprintf("GatewayClass %s of Gateway %s does not list %s among its supportedFeatures, which cookies need", class, key, backendFilters),
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
