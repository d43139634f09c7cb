// Package coverage finds the objects that select a target's pods by label and
// not those of its primary, which have another value of the selector label: a
// PodDisruptionBudget, a NetworkPolicy or a mesh's policy that silently stops
// to cover the pods that serve everyone. It is pure: it works on objects as they
// were read, and gives the copies that would cover the primary.
package coverage

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kind is a kind of objects that select pods, or Services, by label.
type Kind struct {
	schema.GroupKind
	// Native is true for what the API server itself defines.
	Native bool

	selector   []string // where the selector is
	plain      bool     // it is a map of labels, not a label selector
	unset      bool     // no selector means all pods, not none
	services   bool     // it selects Services
	peers      bool     // its rules select the pods at the other end
	namespaces bool     // spec.namespaceSelector says where it selects
	root       bool     // in Istio's root namespace it is for all namespaces
	byName     bool     // it is known by its name, so that no other one stands in for it
	uncopied   string   // why no copy is made, empty where one is
	targets    string   // the field that names what it is for
	rules      bool     // that can be one rule of a route, by its name
	prefixes   []string // that the keys of its labels may have
	expression bool     // its selector is an expression of Calico's
	instead    string   // a group whose kinds show the same objects, where it is served
}

// selector selects by labels.
type selector interface {
	Matches(labels.Labels) bool
	String() string
}

// Kinds are all kinds that are looked at. Services are among them.
func Kinds() []Kind { return slices.Clone(kinds) }

var kinds = []Kind{
	{
		GroupKind: schema.GroupKind{Kind: "Service"}, Native: true,
		selector: []string{"spec", "selector"}, plain: true, byName: true, uncopied: "its clients call it by its name",
	},
	{
		GroupKind: schema.GroupKind{Group: "policy", Kind: "PodDisruptionBudget"}, Native: true,
		selector: []string{"spec", "selector"},
	},
	{
		GroupKind: schema.GroupKind{Group: "networking.k8s.io", Kind: "NetworkPolicy"}, Native: true,
		selector: []string{"spec", "podSelector"}, unset: true, peers: true,
	},
	attachable(istio("security.istio.io", "AuthorizationPolicy", true, "selector", "matchLabels")),
	istio("security.istio.io", "PeerAuthentication", true, "selector", "matchLabels"),
	attachable(istio("security.istio.io", "RequestAuthentication", true, "selector", "matchLabels")),
	attachable(istio("networking.istio.io", "EnvoyFilter", true, "workloadSelector", "labels")),
	istio("networking.istio.io", "Sidecar", false, "workloadSelector", "labels"),
	istio("networking.istio.io", "DestinationRule", false, "workloadSelector", "matchLabels"),
	istio("networking.istio.io", "ProxyConfig", true, "selector", "matchLabels"),
	{
		GroupKind: schema.GroupKind{Group: "networking.istio.io", Kind: "ServiceEntry"},
		selector:  []string{"spec", "workloadSelector", "labels"}, plain: true,
		uncopied: "of two for the same hosts one would be passed over",
	},
	attachable(istio("telemetry.istio.io", "Telemetry", false, "selector", "matchLabels")),
	attachable(istio("extensions.istio.io", "WasmPlugin", true, "selector", "matchLabels")),
	{
		GroupKind: schema.GroupKind{Group: "cilium.io", Kind: "CiliumNetworkPolicy"},
		selector:  []string{"spec", "endpointSelector"}, peers: true, prefixes: []string{"k8s:", "any:"},
	},
	{
		GroupKind: schema.GroupKind{Group: "projectcalico.org", Kind: "NetworkPolicy"},
		selector:  []string{"spec", "selector"}, unset: true, peers: true, expression: true,
	},
	{
		GroupKind: schema.GroupKind{Group: "crd.projectcalico.org", Kind: "NetworkPolicy"},
		selector:  []string{"spec", "selector"}, unset: true, peers: true, expression: true,
		uncopied: "Calico's API server is not there to be given one", instead: "projectcalico.org",
	},
	policy("gateway.networking.k8s.io", "BackendTLSPolicy", "targetRefs"),
	policy("gateway.networking.x-k8s.io", "XBackendTrafficPolicy", "targetRefs"),
	policy("gateway.nginx.org", "UpstreamSettingsPolicy", "targetRefs"),
	policy("gateway.kgateway.dev", "BackendConfigPolicy", "targetRefs"),
	policy("networking.gke.io", "GCPBackendPolicy", "targetRef"),
	policy("networking.gke.io", "HealthCheckPolicy", "targetRef"),
	policy("application-networking.k8s.aws", "TargetGroupPolicy", "targetRef"),
	policy("gateway.k8s.aws", "TargetGroupConfiguration", "targetReference"),
	rulePolicy("gateway.envoyproxy.io", "BackendTrafficPolicy", "targetRefs"),
	rulePolicy("gateway.envoyproxy.io", "EnvoyExtensionPolicy", "targetRefs"),
	rulePolicy("gateway.envoyproxy.io", "SecurityPolicy", "targetRefs"),
	rulePolicy("gateway.kgateway.dev", "TrafficPolicy", "targetRefs"),
	rulePolicy("kuadrant.io", "AuthPolicy", "targetRef"),
	rulePolicy("kuadrant.io", "RateLimitPolicy", "targetRef"),
	{
		GroupKind: schema.GroupKind{Group: "policy.linkerd.io", Kind: "Server"},
		selector:  []string{"spec", "podSelector"},
		uncopied:  "a copy without the authorizations that refer to it would let nobody in",
	},
	{
		GroupKind: schema.GroupKind{Group: "monitoring.coreos.com", Kind: "ServiceMonitor"},
		selector:  []string{"spec", "selector"}, services: true, namespaces: true,
	},
	{
		GroupKind: schema.GroupKind{Group: "monitoring.coreos.com", Kind: "PodMonitor"},
		selector:  []string{"spec", "selector"}, namespaces: true,
	},
}

// istio is one of Istio's kinds; without a selector it is for all pods.
func istio(group, kind string, root bool, selector ...string) Kind {
	return Kind{
		GroupKind: schema.GroupKind{Group: group, Kind: kind},
		selector:  append([]string{"spec"}, selector...), plain: true, unset: true, root: root,
	}
}

// attachable is a kind that may name what it is for in place of selecting it.
func attachable(k Kind) Kind {
	k.targets = "targetRefs"
	return k
}

// policy is a kind that selects nothing, and names in a field what it is for.
func policy(group, kind, targets string) Kind {
	return Kind{GroupKind: schema.GroupKind{Group: group, Kind: kind}, targets: targets}
}

// rulePolicy is a policy for routes, and for single rules of them.
func rulePolicy(group, kind, targets string) Kind {
	k := policy(group, kind, targets)
	k.rules = true
	return k
}

// kindOf finds the kind of an object, in whatever version it is.
func kindOf(o *unstructured.Unstructured) (Kind, bool) {
	gk := o.GroupVersionKind().GroupKind()
	for _, k := range kinds {
		if k.GroupKind == gk {
			return k, true
		}
	}
	return Kind{}, false
}

// selectorOf reads the selector of an object. One that can't be understood
// selects nothing.
func (k Kind) selectorOf(o *unstructured.Unstructured) selector {
	switch {
	case len(k.selector) == 0:
		return labels.Nothing()
	case k.expression:
		text, _, _ := unstructured.NestedString(o.Object, k.selector...)
		e, err := parseExpression(text)
		if err != nil {
			return labels.Nothing()
		}
		return e
	}
	field, found, err := unstructured.NestedMap(o.Object, k.selector...)
	switch {
	case err != nil:
		return labels.Nothing()
	case (!found || k.plain && len(field) == 0) && k.unset && !attached(o):
		return labels.Everything()
	case !found, k.plain && len(field) == 0:
		return labels.Nothing()
	case k.plain:
		set := labels.Set{}
		for key, value := range field {
			s, ok := value.(string)
			if !ok {
				return labels.Nothing()
			}
			set[key] = s
		}
		return labels.SelectorFromSet(set)
	default:
		return labelSelector(k.unprefixed(field))
	}
}

// unprefixed is a label selector with the keys that pods have.
func (k Kind) unprefixed(field map[string]any) map[string]any {
	if len(k.prefixes) == 0 {
		return field
	}
	field = runtime.DeepCopyJSON(field)
	if set, ok := field["matchLabels"].(map[string]any); ok {
		without := map[string]any{}
		for key, value := range set {
			without[k.key(key)] = value
		}
		field["matchLabels"] = without
	}
	expressions, _ := field["matchExpressions"].([]any)
	for _, e := range expressions {
		if e, ok := e.(map[string]any); ok {
			name, _ := e["key"].(string)
			e["key"] = k.key(name)
		}
	}
	return field
}

// key is that of a label, without where it is from.
func (k Kind) key(name string) string {
	for _, prefix := range k.prefixes {
		name = strings.TrimPrefix(name, prefix)
	}
	return name
}

// attached tells whether a policy of Istio's is for what it names, such as the
// apex Service, and not for pods. A name stays what it is.
func attached(o *unstructured.Unstructured) bool {
	spec, _ := o.Object["spec"].(map[string]any)
	return spec["targetRef"] != nil || spec["targetRefs"] != nil
}

func labelSelector(field map[string]any) labels.Selector {
	var typed metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(field, &typed); err != nil {
		return labels.Nothing()
	}
	s, err := metav1.LabelSelectorAsSelector(&typed)
	if err != nil {
		return labels.Nothing()
	}
	return s
}
