package autoscaling

import (
	"errors"
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// Kinds of autoscalers that a Canary can name.
const (
	KindHPA          = "HorizontalPodAutoscaler"
	KindScaledObject = "ScaledObject"
)

// ScaledObjectKind is KEDA's kind in the version that is served.
var ScaledObjectKind = schema.GroupVersionKind{Group: "keda.sh", Version: "v1alpha1", Kind: KindScaledObject}

// Scaled is the workload that an autoscaler scales.
type Scaled struct {
	// Kind and Name are those of the target.
	Kind, Name string
	// Label tells the target's pods from the primary's. It may be empty.
	Label workload.Label
}

// NewAutoscaler is an empty object of the kind that a Canary refers to, as
// which it is read. It is an error where the kind or its group is not served.
func NewAutoscaler(ref *v1beta1.AutoscalerReference) (client.Object, error) {
	group, version, found := strings.Cut(ref.APIVersion, "/")
	if ref.APIVersion != "" && !found {
		group, version = "", ref.APIVersion
	}
	switch ref.Kind {
	case KindHPA:
		// The API server converts every version of the group into every other.
		if ref.APIVersion != "" && group != autoscalingv2.GroupName {
			return nil, fmt.Errorf("apiVersion: %q has no %s, autoscaling/v2 has", ref.APIVersion, ref.Kind)
		}
		return &autoscalingv2.HorizontalPodAutoscaler{}, nil
	case KindScaledObject:
		if ref.APIVersion != "" && (group != ScaledObjectKind.Group || version != ScaledObjectKind.Version) {
			return nil, fmt.Errorf("apiVersion: %q is not served for %s, keda.sh/v1alpha1 is", ref.APIVersion, ref.Kind)
		}
		so := &unstructured.Unstructured{}
		so.SetGroupVersionKind(ScaledObjectKind)
		return so, nil
	default:
		return nil, fmt.Errorf("kind: %q is not served, %s and %s are", ref.Kind, KindHPA, KindScaledObject)
	}
}

// PrimaryAutoscalerName is the name of the primary's copy of an autoscaler.
func PrimaryAutoscalerName(name string) string { return name + "-primary" }

// PrimaryAutoscaler is the complete intent for the primary's copy of the
// autoscaler that a Canary refers to, in a form like that of NewAutoscaler.
// floor is how many pods the primary must have at least, up to the copy's
// maximum; 0 leaves the bounds as the user asked. The copy scales the primary, whatever the
// autoscaler itself scales. It returns an error that names the field where it can't be copied as asked.
func PrimaryAutoscaler(c *v1beta1.Canary, target Scaled, autoscaler client.Object, floor int32, o workload.Options) (client.Object, error) {
	switch a := autoscaler.(type) {
	case *autoscalingv2.HorizontalPodAutoscaler:
		return primaryHPA(c, target, a, floor, o)
	case *unstructured.Unstructured:
		return primaryScaledObject(c, target, a, floor, o)
	default:
		return nil, fmt.Errorf("an autoscaler of type %T is not known", autoscaler)
	}
}

// MaxReplicas is the upper bound of an autoscaler, of the user's or of a copy
// of it.
func MaxReplicas(autoscaler client.Object) (int32, error) {
	switch a := autoscaler.(type) {
	case *autoscalingv2.HorizontalPodAutoscaler:
		return a.Spec.MaxReplicas, nil
	case *unstructured.Unstructured:
		_, upper, err := scaledObjectBounds(a.Object)
		return upper, err
	default:
		return 0, fmt.Errorf("an autoscaler of type %T is not known", autoscaler)
	}
}

// ScalesToZero tells whether an autoscaler, of the user's, leaves what it scales without pods while
// that has nothing to do; or its copy for the primary, where that has bounds of its own.
func ScalesToZero(autoscaler client.Object, own *v1beta1.ScalerReplicas) bool {
	if own != nil && own.MinReplicas != nil {
		lower := *own.MinReplicas
		return lower == 0 || idlesAtZero(autoscaler)
	}
	switch a := autoscaler.(type) {
	case *autoscalingv2.HorizontalPodAutoscaler:
		return a.Spec.MinReplicas != nil && *a.Spec.MinReplicas == 0
	case *unstructured.Unstructured:
		lower, _, err := scaledObjectBounds(a.Object)
		return err == nil && (lower == 0 || idlesAtZero(a))
	default:
		return false
	}
}

// autoscalerMeta is the metadata of a copy. What other tools track by is not
// in it, and neither is what pauses.
func autoscalerMeta(c *v1beta1.Canary, from client.Object, carried []string, o workload.Options) metav1.ObjectMeta {
	m := workload.CopyMeta(c, from, PrimaryAutoscalerName(from.GetName()), o, carried...)
	for key := range m.Annotations {
		if strings.HasPrefix(key, pausedPrefix) || key == PausedByAnnotation {
			delete(m.Annotations, key)
		}
	}
	return m
}

// bounds are what the primary's copy may scale between.
type bounds struct{ lower, upper int32 }

// of applies what the Canary asks for, then the floor.
func (b bounds) of(ref *v1beta1.AutoscalerReference, floor int32) (bounds, error) {
	if own := ref.PrimaryScalerReplicas; own != nil {
		if own.MinReplicas != nil {
			b.lower = *own.MinReplicas
		}
		if own.MaxReplicas != nil {
			b.upper = *own.MaxReplicas
		}
		if b.lower > b.upper {
			return b, fmt.Errorf("spec.autoscalerRef.primaryScalerReplicas: together with the bounds of %s %s the minimum, %d, is above the maximum, %d",
				ref.Kind, ref.Name, b.lower, b.upper)
		}
	}
	b.lower = max(b.lower, min(floor, b.upper))
	return b, nil
}

// ScaleTarget is the workload that an autoscaler scales.
func ScaleTarget(autoscaler client.Object) (kind, name string) {
	switch a := autoscaler.(type) {
	case *autoscalingv2.HorizontalPodAutoscaler:
		return a.Spec.ScaleTargetRef.Kind, a.Spec.ScaleTargetRef.Name
	case *unstructured.Unstructured:
		return scaleTarget(a.Object)
	default:
		return "", ""
	}
}

// errNoAutoscalerRef says that a copy was asked for without a reference.
var errNoAutoscalerRef = errors.New("spec.autoscalerRef is not set")
