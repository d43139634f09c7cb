package workload

import (
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// How consul-k8s registers pods. The name of a pod's service in Consul is that of the
// Kubernetes Service that selects it, unless an annotation says it; a label keeps
// a Service from registering anything.
const (
	consulServiceAnnotation = "consul.hashicorp.com/connect-service"
	consulIgnoreLabel       = "consul.hashicorp.com/service-ignore"
)

// ConsulAccountAnnotation on a Canary names the ServiceAccount of the primary's pods. A
// Consul with ACLs lets pods in only if their account has the name of their service.
const ConsulAccountAnnotation = "sluice.dev/consul-primary-service-account"

// inConsul tells whether Consul moves the traffic of a Canary.
func (o Options) inConsul(canary *v1beta1.Canary) bool {
	return canary.GetProvider(o.MeshProvider) == v1beta1.ProviderConsul
}

// registerPrimary has consul-k8s take the pods of a primary for instances of a service
// of their own, and not of the target's.
func registerPrimary(canary *v1beta1.Canary, template *corev1.PodTemplateSpec, o Options) {
	if !o.inConsul(canary) {
		return
	}
	if _, named := template.Annotations[consulServiceAnnotation]; named {
		_, primary, _ := canary.ServiceNames()
		template.Annotations[consulServiceAnnotation] = primary
	}
	if account := canary.Annotations[ConsulAccountAnnotation]; account != "" {
		template.Spec.ServiceAccountName, template.Spec.DeprecatedServiceAccount = account, account
	}
}

// ignoreInConsul keeps the apex Service, while it leads to the primary, from
// registering those pods a second time.
func (o Options) ignoreInConsul(canary *v1beta1.Canary, apex *corev1.Service) {
	if o.inConsul(canary) {
		apex.Labels[consulIgnoreLabel] = "true"
	}
}

// registerInConsul has consul-k8s register each pod once, for the Service whose address stands for the
// pod's service, and none where there is no such Service.
//
// The apex Service leads to pods of another service than its name says. Pods of the target that
// are instances of the apex service are not to be found by the canary Service, whose address would
// then stand for the apex service; nor has any other Service an address that does. So they are
// registered for one that has no address.
func (s *Services) registerInConsul(canary *v1beta1.Canary, target client.Object, o Options) {
	if !o.inConsul(canary) {
		return
	}
	o.ignoreInConsul(canary, s.Apex)
	if template := Template(target); template == nil || template.Annotations[consulServiceAnnotation] != s.Apex.Name {
		return
	}
	s.Canary.Labels[consulIgnoreLabel] = "true"
	s.Registration = service(canary, canary.RegistrationName(), "", s.Canary.Spec.Selector, s.Canary.Spec.Ports, nil)
	s.Registration.Spec.ClusterIP = corev1.ClusterIPNone
}

// keepIgnored carries that label over to the intent for a Service that somebody made.
func keepIgnored(was, intent map[string]string) map[string]string {
	if v, ok := was[consulIgnoreLabel]; ok {
		return with(intent, consulIgnoreLabel, v)
	}
	return intent
}

// listed is the part of a JSON merge patch that has a Service registered again.
func (s Services) listed() map[string]any {
	out := map[string]any{} // null would be no label at all
	if s.Apex != nil && s.Apex.Labels[consulIgnoreLabel] != "" {
		out[consulIgnoreLabel] = nil
	}
	return out
}
