package workload

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// DefaultSelectorLabels are the labels that may tell the pods of one workload from those of another where nobody says
// other ones.
func DefaultSelectorLabels() []string { return []string{"app", "name", "app.kubernetes.io/name"} }

// Options are the operator's settings for what it builds.
type Options struct {
	// SelectorLabels are the labels that may tell the pods of one workload from
	// those of another, the first that a target's selector has is used.
	SelectorLabels []string
	// IncludeLabelPrefixes are the prefixes of labels and annotations that the
	// primary carries like its target; "*" means all of them.
	IncludeLabelPrefixes []string
	// MeshProvider is the mesh provider of a Canary that names none.
	MeshProvider string
}

// Primary is the complete intent for the primary of a target: a copy of it, and
// of its kind. The target must be at the given revision. live is the present
// primary or nil; it keeps its number of pods, and what can't be changed in it.
func Primary(canary *v1beta1.Canary, target, live client.Object, revision string, o Options) (client.Object, error) {
	label, err := SelectorLabel(target, live, o)
	if err != nil {
		return nil, err
	}
	meta := CopyMeta(canary, target, canary.PrimaryName(), o)
	meta.Annotations[RevisionAnnotation] = revision
	if label.Key != "" {
		meta.Labels[label.Key] = label.Primary
	}
	primary := copyOf(target, meta)
	p := partsOf(primary)
	if p.template != nil {
		*p.selector = primarySelector(*p.selector, label.Key, label.Primary)
		turnTemplate(p.template, label)
		keepSelected(p.template.Labels, live)
		registerPrimary(canary, p.template, o)
	}
	turnKind(canary, primary, live)
	if p.replicas != nil {
		n, err := primaryReplicas(target, primary, live)
		if err != nil {
			return nil, err
		}
		*p.replicas = &n
	}
	return primary, nil
}

// Restored is the complete intent for a primary that gets an earlier template of its own: primary is what is there, with that
// template, which needs none of the changes by which a target's becomes that of a primary.
func Restored(canary *v1beta1.Canary, target, primary client.Object, revision string, o Options) client.Object {
	meta := CopyMeta(canary, target, primary.GetName(), o)
	meta.Annotations[RevisionAnnotation] = revision
	out := copyOf(primary, meta)
	if d, ok := out.(*appsv1.Deployment); ok {
		d.Spec.Paused = false
	}
	return out
}

// turnTemplate makes the pod template of a target that of its primary.
func turnTemplate(template *corev1.PodTemplateSpec, label Label) {
	template.Labels = meaningful(template.Labels)
	template.Annotations = meaningful(template.Annotations)
	if template.Labels == nil {
		template.Labels = map[string]string{}
	}
	template.Labels[label.Key] = label.Primary
	awake(template)
	unique(&template.Spec)
	renameInSelectors(&template.Spec, label.Key, label.Target, label.Primary)
}

// primarySelector finds the primary's pods, and those alone: it is the
// target's selector with the primary's value of the selector label, so that
// workloads which share that label and differ in others stay apart.
func primarySelector(own *metav1.LabelSelector, key, value string) *metav1.LabelSelector {
	s := own.DeepCopy()
	s.MatchLabels[key] = value
	// What else the target asks of this label is about its own value.
	s.MatchExpressions = slices.DeleteFunc(s.MatchExpressions, func(e metav1.LabelSelectorRequirement) bool { return e.Key == key })
	if len(s.MatchExpressions) == 0 {
		s.MatchExpressions = nil
	}
	return s
}

// primaryReplicas is how many pods the primary is asked for. A promoted canary
// has shown how many pods the new revision needs. The primary never loses pods
// to that, and at any other time the number is whoever's who scales it.
func primaryReplicas(target, next, live client.Object) (int32, error) {
	if live == nil {
		return max(Replicas(target), 1), nil
	}
	if Replicas(target) == 0 {
		return Replicas(live), nil
	}
	promoted := next.GetAnnotations()[RevisionAnnotation] != live.GetAnnotations()[RevisionAnnotation]
	if promoted && !sameFormat(next.GetAnnotations()[RevisionAnnotation], live.GetAnnotations()[RevisionAnnotation]) {
		same, err := sameMeaning(next, live)
		if err != nil {
			return 0, err
		}
		promoted = !same
	}
	if promoted {
		return max(Replicas(target), Replicas(live)), nil
	}
	return Replicas(live), nil
}

// turnKind does what only one kind of workload needs to be a primary. What
// can't be changed in it stays as it is in live.
func turnKind(canary *v1beta1.Canary, primary, live client.Object) {
	if was := Selector(live); was != nil {
		*partsOf(primary).selector = was.DeepCopy()
	}
	switch primary := primary.(type) {
	case *appsv1.Deployment:
		primary.Spec.Paused = false // a paused target must not make a primary that never rolls out
	case *appsv1.StatefulSet:
		// The governing Service of the target does not select the primary's pods.
		// The primary's Service does, and names them when it is headless.
		_, primary.Spec.ServiceName, _ = canary.ServiceNames()
		if was, ok := live.(*appsv1.StatefulSet); ok {
			primary.Spec.ServiceName = was.Spec.ServiceName
			primary.Spec.PodManagementPolicy = was.Spec.PodManagementPolicy
			primary.Spec.VolumeClaimTemplates = was.DeepCopy().Spec.VolumeClaimTemplates
		}
	}
}

// renameInSelectors has what spreads or gathers the pods of the target do so
// with the pods of the primary: selectors that name the target by its selector
// label name the primary.
func renameInSelectors(spec *corev1.PodSpec, key, from, to string) {
	for i := range spec.TopologySpreadConstraints {
		RenameInSelector(spec.TopologySpreadConstraints[i].LabelSelector, key, from, to)
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
		RenameInSelector(t.LabelSelector, key, from, to)
	}
}

// RenameInSelector has a selector name another value of a label.
func RenameInSelector(s *metav1.LabelSelector, key, from, to string) {
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
	// flaggerID is what Flagger writes on the pods of a primary, a random one at each promotion.
	flaggerID = "flagger-id"
)

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
	"deprecated.daemonset.template.generation",
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

// MadeByFlagger tells whether a workload is a primary that Flagger made, also
// after it lost its owner. Of Services it can't be told.
func MadeByFlagger(o client.Object) bool {
	template := Template(o)
	if template == nil {
		return false
	}
	_, ok := template.Annotations[flaggerID]
	return ok
}
