// Package coverage finds the objects that select a target's pods by label and
// not those of its primary, which have another value of the selector label: a
// PodDisruptionBudget, a NetworkPolicy or a mesh's policy that silently stops
// to cover the pods that serve everyone. It is pure: it works on objects as they
// were read, and gives the copies that would cover the primary.
package coverage

import (
	"slices"

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
	istio("security.istio.io", "AuthorizationPolicy", true, "selector", "matchLabels"),
	istio("security.istio.io", "PeerAuthentication", true, "selector", "matchLabels"),
	istio("security.istio.io", "RequestAuthentication", true, "selector", "matchLabels"),
	istio("networking.istio.io", "EnvoyFilter", true, "workloadSelector", "labels"),
	istio("networking.istio.io", "Sidecar", false, "workloadSelector", "labels"),
	istio("telemetry.istio.io", "Telemetry", false, "selector", "matchLabels"),
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
func (k Kind) selectorOf(o *unstructured.Unstructured) labels.Selector {
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
		return labelSelector(field)
	}
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
