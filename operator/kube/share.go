package kube

import (
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fewLabels is up to how many entries a map is shared. A map takes room for eight at least.
const fewLabels = 8

// Sharer has the objects of a cache that have the same labels, annotations or selectors share the maps of them, which are
// a third of what a small object weighs. What a cache has is never changed, so nobody notices. It is safe for concurrent
// use; the zero value is ready.
type Sharer struct {
	known recent[map[string]string]
	texts recent[string]
}

// Share is a transform of an informer cache: it has objects share what they have in common, in place, drops what nobody
// reads of Services, autoscalers and Deployments, and leaves everything else to next.
func Share(next func(any) (any, error)) func(any) (any, error) {
	s := &Sharer{}
	return func(o any) (any, error) {
		o, err := next(o)
		if err != nil {
			return o, err
		}
		switch o := o.(type) {
		case *appsv1.Deployment:
			s.selector(o.Spec.Selector)
			o.Spec.Template.Labels = s.Map(o.Spec.Template.Labels)
			o.Status.Conditions = slices.DeleteFunc(o.Status.Conditions, isWell)
			for i := range o.Status.Conditions {
				c := &o.Status.Conditions[i]
				c.Reason, c.Message = s.Text(c.Reason), s.Text(c.Message)
			}
		case *appsv1.StatefulSet:
			s.selector(o.Spec.Selector)
			o.Spec.Template.Labels = s.Map(o.Spec.Template.Labels)
		case *corev1.Service:
			o.Spec.Selector = s.Map(o.Spec.Selector)
			o.Status = corev1.ServiceStatus{}
		case *autoscalingv2.HorizontalPodAutoscaler:
			o.Status = autoscalingv2.HorizontalPodAutoscalerStatus{}
		}
		if m, ok := o.(client.Object); ok {
			s.Metadata(m)
		}
		return o, nil
	}
}

// isWell tells whether a condition of a Deployment complains of nothing. Nobody reads that, and it is half of what a
// Deployment weighs without its template.
func isWell(c appsv1.DeploymentCondition) bool {
	failed := c.Type == appsv1.DeploymentReplicaFailure && c.Status != corev1.ConditionFalse
	stuck := c.Type == appsv1.DeploymentProgressing && c.Status != corev1.ConditionTrue
	return !failed && !stuck
}

func (s *Sharer) selector(of *metav1.LabelSelector) {
	if of != nil {
		of.MatchLabels = s.Map(of.MatchLabels)
	}
}

// Metadata shares the labels and annotations of an object.
func (s *Sharer) Metadata(o client.Object) {
	meta, ok := o.(metav1.ObjectMetaAccessor)
	if !ok {
		return
	}
	if m, ok := meta.GetObjectMeta().(*metav1.ObjectMeta); ok {
		m.Labels, m.Annotations, m.Namespace = s.Map(m.Labels), s.Map(m.Annotations), s.Text(m.Namespace)
	}
}

// Text is a text that many have.
func (s *Sharer) Text(of string) string {
	if of == "" {
		return ""
	}
	key := types.UID(of)
	if known, ok := s.texts.get(key); ok {
		return known
	}
	s.texts.put(key, of)
	return of
}

// Map is a map with the same entries, which nobody may change.
func (s *Sharer) Map(of map[string]string) map[string]string {
	if len(of) == 0 {
		return nil
	}
	if len(of) > fewLabels {
		return of
	}
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(of)) {
		b.WriteString(key)
		b.WriteByte(0)
		b.WriteString(of[key])
		b.WriteByte(0)
	}
	key := types.UID(b.String())
	if known, ok := s.known.get(key); ok {
		return known
	}
	s.known.put(key, of)
	return of
}
