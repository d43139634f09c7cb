package workload

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Label tells the pods of a target from those of its primary. A target of kind
// Service needs none: it is empty.
type Label struct {
	Key string
	// Target and Primary are the values that the pods of each have.
	Target, Primary string
}

// NoSelectorLabelError says that a target's selector has no label that could
// tell its pods from the primary's.
type NoSelectorLabelError struct {
	// Target is kind and name of the workload.
	Target string
	// Allowed are the labels that would do.
	Allowed []string
	// Primary is the name of a living primary whose pods have these labels too,
	// empty where the target has none of them.
	Primary string
}

func (e *NoSelectorLabelError) Error() string {
	allowed := strings.Join(e.Allowed, ", ")
	if e.Primary != "" {
		return fmt.Sprintf("%s: none of the labels %s in spec.selector.matchLabels tells its pods from those of %s, whose selector can't be changed; give one of them another value",
			e.Target, allowed, e.Primary)
	}
	return fmt.Sprintf("%s: spec.selector.matchLabels has none of the labels %s; give it one of them, or set -selector-labels", e.Target, allowed)
}

// SelectorLabel finds the label that tells the target's pods from those of the
// primary, which is nil where there is none. A living primary keeps the label that it
// was made with, whatever the settings say by now, as its selector can't be changed.
// It returns a *NoSelectorLabelError where there is none.
func SelectorLabel(target, primary client.Object, o Options) (Label, error) {
	if Kind(target) == KindService {
		return Label{}, nil
	}
	own, fixed := matchLabels(target), fixedLabels(primary)
	for _, key := range slices.Concat(o.SelectorLabels, slices.Sorted(maps.Keys(own))) {
		value, ok := own[key]
		if is := fixed[key]; ok && is != nil && *is == PrimaryLabelValue(value) {
			return Label{key, value, *is}, nil
		}
	}
	missing := &NoSelectorLabelError{Target: Kind(target) + "/" + target.GetName(), Allowed: o.SelectorLabels}
	for _, key := range o.SelectorLabels {
		value, ok := own[key]
		if !ok {
			continue
		}
		switch is, isFixed := fixed[key]; {
		case !isFixed:
			return Label{key, value, PrimaryLabelValue(value)}, nil
		case is != nil && *is != value:
			return Label{key, value, *is}, nil
		}
		missing.Primary = primary.GetName()
	}
	return Label{}, missing
}

// PrimaryLabelValue is the value of the selector label that a primary is made with.
func PrimaryLabelValue(value string) string { return value + "-primary" }

// Identity is how the pods of a Canary are told apart: the key of the label by which those of
// the target differ from those of the primary, and the labels by which a living primary finds
// its pods. Both may be nil; what can't be known is empty.
func Identity(target, primary client.Object, o Options) (label string, selector map[string]string) {
	if target != nil {
		if found, err := SelectorLabel(target, primary, o); err == nil {
			label = found.Key
		}
	}
	return label, maps.Clone(matchLabels(primary))
}

// matchLabels are the labels by which a workload finds its pods, nil for none.
func matchLabels(o client.Object) map[string]string {
	if s := Selector(o); s != nil {
		return s.MatchLabels
	}
	return nil
}

// fixedLabels are those that the pods of a living workload must keep, as its selector
// can't be changed; nil for one that they must not get.
func fixedLabels(o client.Object) map[string]*string {
	s := Selector(o)
	if s == nil {
		return nil
	}
	out := map[string]*string{}
	for _, e := range s.MatchExpressions {
		out[e.Key] = nil
		if v, ok := Template(o).Labels[e.Key]; ok {
			out[e.Key] = &v
		}
	}
	for k, v := range s.MatchLabels {
		out[k] = &v
	}
	return out
}

// keepSelected gives pods the labels by which a living workload goes on finding them.
func keepSelected(labels map[string]string, living client.Object) {
	for k, v := range fixedLabels(living) {
		if v == nil {
			delete(labels, k)
		} else {
			labels[k] = *v
		}
	}
}

// primaryPods is the selector of a Service that leads to the primary's pods. Those of one that is gone may
// serve still, as where it was deleted without them: it stays what is recorded until another is there.
func primaryPods(canary *v1beta1.Canary, target, primary client.Object, label Label) map[string]string {
	out := map[string]string{}
	if Selector(primary) != nil {
		keepSelected(out, primary)
		return out
	}
	if is := canary.Status.Identity; is != nil && len(is.Selector) > 0 && !contains(Template(target).Labels, is.Selector) {
		return maps.Clone(is.Selector)
	}
	// All labels of the selector, as other workloads may have the same value of
	// the one that tells target and primary apart.
	maps.Copy(out, matchLabels(target))
	out[label.Key] = label.Primary
	return out
}

// targetPods is the selector of a Service that leads to the target's pods. Where
// those of the living primary have the labels of the target's selector too, what
// else the pods differ in is in it.
func targetPods(target, primary client.Object) map[string]string {
	out := maps.Clone(matchLabels(target))
	if Selector(primary) == nil || !contains(Template(primary).Labels, out) {
		return out
	}
	for k, v := range fixedLabels(primary) {
		if own, ok := Template(target).Labels[k]; ok && (v == nil || *v != own) {
			out[k] = own
		}
	}
	return out
}

// contains tells whether labels have all that a selector asks for.
func contains(labels, selector map[string]string) bool {
	for k, v := range selector {
		if is, ok := labels[k]; !ok || is != v {
			return false
		}
	}
	return true
}
