package autoscaling

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
)

func primaryHPA(c *v1beta1.Canary, target Scaled, hpa *autoscalingv2.HorizontalPodAutoscaler, floor int32, o workload.Options) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	ref := c.Spec.AutoscalerRef
	if ref == nil {
		return nil, errNoAutoscalerRef
	}
	b := bounds{lower: 1, upper: hpa.Spec.MaxReplicas} // the minimum as the API server defaults it
	if hpa.Spec.MinReplicas != nil {
		b.lower = *hpa.Spec.MinReplicas
	}
	b, err := b.of(ref, floor)
	if err != nil {
		return nil, err
	}
	spec := hpa.Spec.DeepCopy()
	spec.ScaleTargetRef.Name = c.PrimaryName()
	if spec.ScaleTargetRef.Kind != target.Kind {
		spec.ScaleTargetRef.APIVersion, spec.ScaleTargetRef.Kind = appsv1.SchemeGroupVersion.String(), target.Kind
	}
	spec.MinReplicas, spec.MaxReplicas = &b.lower, b.upper
	names := renames(c, target)
	for i := range spec.Metrics {
		names.inMetric(&spec.Metrics[i])
	}
	return &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta:   metav1.TypeMeta{APIVersion: autoscalingv2.SchemeGroupVersion.String(), Kind: KindHPA},
		ObjectMeta: autoscalerMeta(c, hpa, nil, o),
		Spec:       *spec,
	}, nil
}

// renaming has metrics of the target be those of the primary.
type renaming struct {
	target   Scaled
	primary  string
	services map[string]string // names of the target's Services
}

func renames(c *v1beta1.Canary, target Scaled) renaming {
	apex, primary, canary := c.ServiceNames()
	return renaming{target: target, primary: c.PrimaryName(), services: map[string]string{apex: primary, canary: primary}}
}

// inMetric renames what clearly means the target. Metrics of pods and of their
// containers need no name: they are those of the pods that are scaled.
func (r renaming) inMetric(m *autoscalingv2.MetricSpec) {
	if m.Pods != nil {
		r.inSelector(m.Pods.Metric.Selector)
	}
	if m.External != nil {
		r.inSelector(m.External.Metric.Selector)
	}
	if m.Object == nil {
		return
	}
	r.inSelector(m.Object.Metric.Selector)
	switch o := &m.Object.DescribedObject; {
	case o.Kind == r.target.Kind && o.Name == r.target.Name:
		o.Name = r.primary
	case o.Kind == "Service" && r.services[o.Name] != "":
		o.Name = r.services[o.Name]
	}
}

// inSelector renames the value of the selector label, also where its key is
// spelled as Prometheus needs it.
func (r renaming) inSelector(s *metav1.LabelSelector) {
	label := r.target.Label
	if label.Key == "" {
		return
	}
	workload.RenameInSelector(s, label.Key, label.Target, label.Primary)
	if key := strings.NewReplacer(".", "_", "/", "_", "-", "_").Replace(label.Key); key != label.Key {
		workload.RenameInSelector(s, key, label.Target, label.Primary)
	}
}
