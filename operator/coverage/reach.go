package coverage

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// Everywhere is the reach of an object that may select in any namespace.
const Everywhere = "*"

// Reach names the namespaces in which an object may select pods, its own first;
// Everywhere may be among them. root is Istio's root namespace. It is empty for
// an object of another kind.
func Reach(o *unstructured.Unstructured, root string) []string {
	k, ok := kindOf(o)
	if !ok {
		return nil
	}
	out := []string{o.GetNamespace()}
	switch {
	case k.root && o.GetNamespace() == root:
		out = append(out, Everywhere)
	case k.namespaces:
		out = append(out, monitored(o)...)
	case k.peers:
		for _, r := range k.rulesOf(o) {
			for _, p := range r.peers {
				out = append(out, p.reach()...)
			}
		}
	}
	slices.Sort(out[1:])
	return append(out[:1], slices.Compact(out[1:])...)
}

// selectsIn tells whether the selector of an object is for a namespace.
func (k Kind) selectsIn(o *unstructured.Unstructured, namespace, root string) bool {
	if k.namespaces {
		if in := monitored(o); len(in) > 0 {
			return slices.Contains(in, namespace) || slices.Contains(in, Everywhere)
		}
	}
	return o.GetNamespace() == namespace || k.root && o.GetNamespace() == root
}

// monitored are the namespaces that a monitor names; none means its own.
func monitored(o *unstructured.Unstructured) []string {
	if everywhere, _, _ := unstructured.NestedBool(o.Object, "spec", "namespaceSelector", "any"); everywhere {
		return []string{Everywhere}
	}
	names, _, _ := unstructured.NestedStringSlice(o.Object, "spec", "namespaceSelector", "matchNames")
	return names
}

// rule is one rule of a NetworkPolicy: what may come from, or go to, its peers.
type rule struct {
	direction string // ingress or egress
	ports     any
	peers     []peer
}

// peer selects the pods at the other end of a rule.
type peer struct {
	pods       selector
	text       string
	namespaces *metav1.LabelSelector // nil: those of the policy's namespace
}

// rulesOf are the rules of a NetworkPolicy, Kubernetes' own or another's, with those of their
// peers that select pods.
func (k Kind) rulesOf(o *unstructured.Unstructured) []rule {
	var out []rule
	for _, direction := range []string{"ingress", "egress"} {
		list, _, _ := unstructured.NestedSlice(o.Object, "spec", direction)
		for _, e := range list {
			fields, _ := e.(map[string]any)
			switch {
			case k.expression:
				out = append(out, calicoRule(direction, fields))
			case len(k.prefixes) > 0:
				out = append(out, k.ciliumRule(direction, fields))
			default:
				out = append(out, networkRule(direction, fields))
			}
		}
	}
	return out
}

func networkRule(direction string, fields map[string]any) rule {
	r := rule{direction: direction, ports: fields["ports"]}
	peers, _ := fields[map[string]string{"ingress": "from", "egress": "to"}[direction]].([]any)
	for _, p := range peers {
		if p, ok := peerOf(p); ok {
			r.peers = append(r.peers, p)
		}
	}
	return r
}

// ciliumNamespace is the label by which Cilium selects the namespace of a peer.
const ciliumNamespace = "io.kubernetes.pod.namespace"

func (k Kind) ciliumRule(direction string, fields map[string]any) rule {
	r := rule{direction: direction, ports: fields["toPorts"]}
	peers, _ := fields[map[string]string{"ingress": "fromEndpoints", "egress": "toEndpoints"}[direction]].([]any)
	for _, p := range peers {
		field, ok := p.(map[string]any)
		if !ok {
			continue
		}
		field = k.unprefixed(field)
		found := peer{}
		if set, ok := field["matchLabels"].(map[string]any); ok {
			if namespace, ok := set[ciliumNamespace].(string); ok {
				found.namespaces = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}}
				delete(set, ciliumNamespace)
			}
		}
		found.pods = labelSelector(field)
		found.text = found.pods.String()
		r.peers = append(r.peers, found)
	}
	return r
}

func calicoRule(direction string, fields map[string]any) rule {
	side := map[string]string{"ingress": "source", "egress": "destination"}[direction]
	ports, _, _ := unstructured.NestedFieldNoCopy(fields, "destination", "ports")
	r := rule{direction: direction, ports: []any{fields["action"], fields["protocol"], ports}}
	text, _, _ := unstructured.NestedString(fields, side, "selector")
	if text == "" {
		return r
	}
	pods, err := parseExpression(text)
	if err != nil {
		return r
	}
	found := peer{pods: pods, text: pods.String()}
	if namespaces, _, _ := unstructured.NestedString(fields, side, "namespaceSelector"); namespaces != "" {
		found.namespaces = &metav1.LabelSelector{} // whatever is asked of it is taken as met
	}
	r.peers = append(r.peers, found)
	return r
}

func peerOf(field any) (peer, bool) {
	m, _ := field.(map[string]any)
	pods, ok := m["podSelector"].(map[string]any)
	if !ok {
		return peer{}, false // addresses, or all pods of some namespaces
	}
	p := peer{pods: labelSelector(pods)}
	p.text = p.pods.String()
	if namespaces, ok := m["namespaceSelector"].(map[string]any); ok {
		p.namespaces = &metav1.LabelSelector{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(namespaces, p.namespaces); err != nil {
			return peer{}, false
		}
	}
	return p, true
}

// reach names the namespaces of a peer, beside the policy's own, as far as it
// says their names.
func (p peer) reach() []string {
	if p.namespaces == nil {
		return nil
	}
	if name, ok := p.namespaces.MatchLabels[corev1.LabelMetadataName]; ok {
		return []string{name}
	}
	for _, e := range p.namespaces.MatchExpressions {
		if e.Key == corev1.LabelMetadataName && e.Operator == metav1.LabelSelectorOpIn {
			return e.Values
		}
	}
	return []string{Everywhere}
}

// in tells whether a peer of a policy may be in a namespace. Only the name of
// the namespace is known; what is asked of its other labels is taken as met.
func (p peer) in(namespace, policy string) bool {
	if p.namespaces == nil {
		return namespace == policy
	}
	known := &metav1.LabelSelector{}
	if name, ok := p.namespaces.MatchLabels[corev1.LabelMetadataName]; ok {
		known.MatchLabels = map[string]string{corev1.LabelMetadataName: name}
	}
	for _, e := range p.namespaces.MatchExpressions {
		if e.Key == corev1.LabelMetadataName {
			known.MatchExpressions = append(known.MatchExpressions, e)
		}
	}
	s, err := metav1.LabelSelectorAsSelector(known)
	return err == nil && s.Matches(labels.Set{corev1.LabelMetadataName: namespace})
}
