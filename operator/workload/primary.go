package workload

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Options are the operator's settings for what it builds.
type Options struct {
	// SelectorLabels are the labels that may tell the pods of one workload from
	// those of another, the first that a target's selector has is used.
	SelectorLabels []string
	// IncludeLabelPrefixes are the prefixes of labels and annotations that the
	// primary carries like its target; "*" means all of them.
	IncludeLabelPrefixes []string
}

// NoSelectorLabelError says that a target's selector has no label that could
// tell its pods from the primary's.
type NoSelectorLabelError struct {
	// Target is kind and name of the workload.
	Target string
	// Allowed are the labels that would do.
	Allowed []string
}

func (e *NoSelectorLabelError) Error() string {
	return fmt.Sprintf("%s: spec.selector.matchLabels has none of the labels %s; give it one of them, or set -selector-labels",
		e.Target, strings.Join(e.Allowed, ", "))
}

// SelectorLabel finds the label that tells the target's pods from those of the
// primary, and the target's value of it. It returns a *NoSelectorLabelError
// where there is none.
func SelectorLabel(target *appsv1.Deployment, o Options) (key, value string, err error) {
	for _, label := range o.SelectorLabels {
		if target.Spec.Selector == nil {
			break
		}
		if v, ok := target.Spec.Selector.MatchLabels[label]; ok {
			return label, v, nil
		}
	}
	return "", "", &NoSelectorLabelError{Target: "Deployment/" + target.Name, Allowed: o.SelectorLabels}
}

// PrimaryLabelValue is the primary's value of the selector label.
func PrimaryLabelValue(value string) string { return value + "-primary" }

// Primary is the complete intent for the primary of a Deployment: a copy of
// target, which must be at the given revision. live is the present primary or
// nil; it keeps its number of pods, and its selector, which can't be changed.
func Primary(canary *v1beta1.Canary, target, live *appsv1.Deployment, revision string, o Options) (*appsv1.Deployment, error) {
	key, own, err := SelectorLabel(target, o)
	if err != nil {
		return nil, err
	}
	value := PrimaryLabelValue(own)

	primary := &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       canary.Namespace,
			Name:            canary.PrimaryName(),
			Labels:          included(target.Labels, o.IncludeLabelPrefixes),
			Annotations:     included(target.Annotations, o.IncludeLabelPrefixes),
			OwnerReferences: []metav1.OwnerReference{Owner(canary)},
		},
		Spec: *target.Spec.DeepCopy(),
	}
	primary.Labels[key] = value
	primary.Labels[managedByLabel] = managedBy
	primary.Annotations[RevisionAnnotation] = revision

	primary.Spec.Paused = false
	primary.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
	labels := maps.Clone(primary.Spec.Template.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[key] = value
	primary.Spec.Template.Labels = labels
	renameInSelectors(&primary.Spec.Template.Spec, key, own, value)

	replicas := max(Replicas(target), 1)
	if live != nil {
		primary.Spec.Selector = live.Spec.Selector.DeepCopy()
		// A promoted canary has shown how many pods the new revision needs. At
		// any other time the number is whoever's who scales the primary.
		if promoted := live.Annotations[RevisionAnnotation] != revision && Replicas(target) > 0; !promoted {
			replicas = Replicas(live)
		}
	}
	primary.Spec.Replicas = &replicas
	return primary, nil
}

// renameInSelectors has what spreads or gathers the pods of the target do so
// with the pods of the primary: selectors that name the target by its selector
// label name the primary.
func renameInSelectors(spec *corev1.PodSpec, key, from, to string) {
	for i := range spec.TopologySpreadConstraints {
		renameInSelector(spec.TopologySpreadConstraints[i].LabelSelector, key, from, to)
	}
	if spec.Affinity == nil {
		return
	}
	var terms []*corev1.PodAffinityTerm
	add := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i := range required {
			terms = append(terms, &required[i])
		}
		for i := range preferred {
			terms = append(terms, &preferred[i].PodAffinityTerm)
		}
	}
	if a := spec.Affinity.PodAffinity; a != nil {
		add(a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if a := spec.Affinity.PodAntiAffinity; a != nil {
		add(a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	for _, t := range terms {
		renameInSelector(t.LabelSelector, key, from, to)
	}
}

func renameInSelector(s *metav1.LabelSelector, key, from, to string) {
	if s == nil {
		return
	}
	if s.MatchLabels[key] == from {
		s.MatchLabels[key] = to
	}
	for i := range s.MatchExpressions {
		e := &s.MatchExpressions[i]
		if at := slices.Index(e.Values, from); e.Key == key && at >= 0 {
			e.Values[at] = to
		}
	}
}

const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "sluice"
)

// Owner is the owner reference for what is made for a Canary and goes with it.
func Owner(canary *v1beta1.Canary) metav1.OwnerReference {
	return *metav1.NewControllerRef(canary, v1beta1.GroupVersion.WithKind("Canary"))
}

// tracking are labels and annotations by which other tools find what is
// theirs. A copy that carried them would be taken for theirs, and pruned.
var tracking = []string{
	"app.kubernetes.io/instance",
	"app.kubernetes.io/managed-by",
	"applyset.kubernetes.io/",
	"argocd.argoproj.io/",
	"config.k8s.io/owning-inventory",
	"configmanagement.gke.io/",
	"configsync.gke.io/",
	"deployment.kubernetes.io/",
	"fleet.cattle.io/",
	"helm.sh/",
	"helm.toolkit.fluxcd.io/",
	"kapp.k14s.io/",
	"kubectl.kubernetes.io/",
	"kustomize.toolkit.fluxcd.io/",
	"meta.helm.sh/",
	"objectset.rio.cattle.io/",
	"sluice.dev/",
}

// included picks the labels or annotations that go over to a copy.
func included(from map[string]string, prefixes []string) map[string]string {
	out := map[string]string{}
	for k, v := range from {
		if hasPrefix(k, prefixes) && !hasPrefix(k, tracking) {
			out[k] = v
		}
	}
	return out
}

func hasPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if p == "*" || p != "" && strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
