package workload

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// servedSpec is what of a Service's spec a copy of it serves with: everything
// but what the cluster assigns, and but the ways in from outside. Those stay
// with the Service that people call; a copy that asked for a load balancer or
// a node port would get one of its own.
func servedSpec(from *corev1.ServiceSpec) corev1.ServiceSpec {
	spec := corev1.ServiceSpec{
		Type:                     from.Type,
		Selector:                 maps.Clone(from.Selector),
		Ports:                    from.DeepCopy().Ports,
		ExternalName:             from.ExternalName,
		PublishNotReadyAddresses: from.PublishNotReadyAddresses,
		SessionAffinity:          from.SessionAffinity,
		SessionAffinityConfig:    from.SessionAffinityConfig.DeepCopy(),
		InternalTrafficPolicy:    from.InternalTrafficPolicy,
		TrafficDistribution:      from.TrafficDistribution,
	}
	if spec.Type != corev1.ServiceTypeExternalName {
		spec.Type = corev1.ServiceTypeClusterIP
	}
	if from.ClusterIP == corev1.ClusterIPNone {
		spec.ClusterIP = corev1.ClusterIPNone
	}
	for i := range spec.Ports {
		spec.Ports[i].NodePort = 0
	}
	return spec
}

// canaryOfService is the Service that leads to what the target is now.
func canaryOfService(canary *v1beta1.Canary, target *corev1.Service, o Options) *corev1.Service {
	_, _, name := canary.ServiceNames()
	meta := metav1.ObjectMeta{
		Namespace:   canary.Namespace,
		Name:        name,
		Labels:      included(target.Labels, o.IncludeLabelPrefixes),
		Annotations: included(target.Annotations, o.IncludeLabelPrefixes),
	}
	if custom := canary.Spec.Service.Canary; custom != nil {
		maps.Copy(meta.Labels, custom.Labels)
		maps.Copy(meta.Annotations, custom.Annotations)
	}
	meta.Labels[managedByLabel] = managedBy
	ownership.For(canary).Mark(&meta)
	return copyOf(target, meta).(*corev1.Service) //nolint:forcetypeassert // of the same kind
}
