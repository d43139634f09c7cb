package workload

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Kinds of workloads that a Canary can have as its target.
const (
	KindDeployment  = "Deployment"
	KindDaemonSet   = "DaemonSet"
	KindStatefulSet = "StatefulSet"
	// KindService is a target that somebody else runs the pods of: what is
	// released is the Service's spec.
	KindService = "Service"
)

// Kinds are all kinds of workloads.
func Kinds() []string { return []string{KindDeployment, KindDaemonSet, KindStatefulSet, KindService} }

// New gives an empty object of a kind, nil if it is not one of Kinds.
func New(kind string) client.Object {
	switch kind {
	case KindDeployment:
		return &appsv1.Deployment{}
	case KindDaemonSet:
		return &appsv1.DaemonSet{}
	case KindStatefulSet:
		return &appsv1.StatefulSet{}
	case KindService:
		return &corev1.Service{}
	default:
		return nil
	}
}

// NewList gives an empty list of objects of a kind, nil if it is not one of Kinds.
func NewList(kind string) client.ObjectList {
	switch kind {
	case KindDeployment:
		return &appsv1.DeploymentList{}
	case KindDaemonSet:
		return &appsv1.DaemonSetList{}
	case KindStatefulSet:
		return &appsv1.StatefulSetList{}
	case KindService:
		return &corev1.ServiceList{}
	default:
		return nil
	}
}

// Kind is the kind of a workload, which objects from a cache don't carry. It is
// empty for what is no workload.
func Kind(o client.Object) string { return partsOf(o).kind }

// APIVersion is the group and version of a workload.
func APIVersion(o client.Object) string {
	if _, ok := o.(*corev1.Service); ok {
		return corev1.SchemeGroupVersion.String()
	}
	return appsv1.SchemeGroupVersion.String()
}

// Template is the pod template of a workload: the object's own, so that a
// change of it changes the object. A Service has none: nil.
func Template(o client.Object) *corev1.PodTemplateSpec { return partsOf(o).template }

// Selector is how a workload finds its pods, nil for a Service.
func Selector(o client.Object) *metav1.LabelSelector {
	if p := partsOf(o); p.selector != nil {
		return *p.selector
	}
	return nil
}

// Replicas is how many pods a workload asks for: 0 for one that is scaled to
// zero, in the way of its kind. A DaemonSet asks for one on each of its nodes,
// at least for one. A Service is there or not, and counts as one.
func Replicas(o client.Object) int32 {
	switch o := o.(type) {
	case *appsv1.DaemonSet:
		if asleep(o) {
			return 0
		}
		return max(o.Status.DesiredNumberScheduled, 1)
	case *corev1.Service:
		return 1
	}
	if p := partsOf(o); p.replicas != nil && *p.replicas != nil {
		return **p.replicas
	}
	return 1 // as the API server defaults it
}

// SetReplicas asks for n pods of a workload that has a number of its own; the
// others stay as they are.
func SetReplicas(o client.Object, n int32) {
	if p := partsOf(o); p.replicas != nil {
		*p.replicas = &n
	}
}

// Version says which state of its spec a workload is in, for comparison with
// that of the same object at another time. A Service has no generation, so
// each of its versions counts as another state.
func Version(o client.Object) string {
	if g := o.GetGeneration(); g > 0 {
		return string(o.GetUID()) + "/" + strconv.FormatInt(g, 10)
	}
	return string(o.GetUID()) + "@" + o.GetResourceVersion()
}

// parts are pointers to what the kinds of workloads have in common; nil for
// what a kind does not have.
type parts struct {
	kind     string
	template *corev1.PodTemplateSpec
	selector **metav1.LabelSelector
	replicas **int32
}

func partsOf(o client.Object) parts {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return parts{KindDeployment, &o.Spec.Template, &o.Spec.Selector, &o.Spec.Replicas}
	case *appsv1.DaemonSet:
		return parts{KindDaemonSet, &o.Spec.Template, &o.Spec.Selector, nil}
	case *appsv1.StatefulSet:
		return parts{KindStatefulSet, &o.Spec.Template, &o.Spec.Selector, &o.Spec.Replicas}
	case *corev1.Service:
		return parts{kind: KindService}
	default:
		return parts{}
	}
}

// copyOf is a workload with the spec of another and its own metadata. It shares
// nothing with the other.
func copyOf(o client.Object, meta metav1.ObjectMeta) client.Object {
	is := metav1.TypeMeta{APIVersion: APIVersion(o), Kind: Kind(o)}
	switch o := o.(type) {
	case *appsv1.Deployment:
		return &appsv1.Deployment{TypeMeta: is, ObjectMeta: meta, Spec: *o.Spec.DeepCopy()}
	case *appsv1.DaemonSet:
		return &appsv1.DaemonSet{TypeMeta: is, ObjectMeta: meta, Spec: *o.Spec.DeepCopy()}
	case *appsv1.StatefulSet:
		return &appsv1.StatefulSet{TypeMeta: is, ObjectMeta: meta, Spec: *o.Spec.DeepCopy()}
	case *corev1.Service:
		return &corev1.Service{TypeMeta: is, ObjectMeta: meta, Spec: servedSpec(&o.Spec)}
	default:
		return nil
	}
}
