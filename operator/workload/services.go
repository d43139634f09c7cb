package workload

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Services are the three Services of a Canary. Those that are not made by this
// package are nil: of a target of kind Service, the apex is the target itself,
// and the primary is what Primary gives.
type Services struct {
	// Apex is what clients call. It leads to the primary.
	Apex *corev1.Service
	// Primary and Canary are what the mesh divides the traffic between.
	Primary, Canary *corev1.Service
	// Registration is for consul-k8s alone, nil in any other mesh. It is headless, so that no address
	// comes with what is registered for it.
	Registration *corev1.Service

	linkerd bool // moves the traffic
}

// BackendLabel is on the Services that the mesh divides traffic between. Their
// EndpointSlices carry it too, by which the operator watches no others.
const BackendLabel = "sluice.dev/backend"

// All are those Services that there are, the apex after what it leads to, and what registers
// the target's pods anew after the apex, which has them registered before.
func (s Services) All() []*corev1.Service {
	all := []*corev1.Service{s.Primary, s.Canary, s.Apex, s.Registration}
	return slices.DeleteFunc(all, func(s *corev1.Service) bool { return s == nil })
}

// MainPort is the Canary's port of the apex Service, as far as that is made or adopted.
func (s Services) MainPort() corev1.ServicePort {
	if s.Apex == nil || len(s.Apex.Spec.Ports) == 0 {
		return corev1.ServicePort{}
	}
	return s.Apex.Spec.Ports[0]
}

// BuildServices gives the complete intent for the Services of a Canary. Those that lead to a
// living primary follow that, not a target which is not released yet: they select the
// pods that it has, and expose what these listen on. primary is nil where there is none.
// It returns a *NoSelectorLabelError where no label tells the target's pods from the primary's.
func BuildServices(canary *v1beta1.Canary, target, primary client.Object, o Options) (Services, error) {
	if target, ok := target.(*corev1.Service); ok {
		return Services{Canary: canaryOfService(canary, target, o)}, nil
	}
	label, err := SelectorLabel(target, primary, o)
	if err != nil {
		return Services{}, err
	}
	apex, primaryName, canaryName := canary.ServiceNames()
	toPrimary, toCanary := primaryPods(canary, target, primary, label), targetPods(target, primary)
	ofPrimary, ofCanary := backendsPorts(canary, target, primary)
	spec := canary.Spec.Service
	services := Services{
		linkerd: o.inLinkerd(canary),
		Apex:    service(canary, apex, label.Key, toPrimary, ofPrimary, spec.Apex),
		Primary: service(canary, primaryName, label.Key, toPrimary, ofPrimary, spec.Primary),
		Canary:  service(canary, canaryName, label.Key, toCanary, ofCanary, spec.Canary),
	}
	for _, s := range services.All() {
		services.nameForMesh(&s.Spec.Ports[0])
	}
	services.registerInConsul(canary, target, o)
	services.Primary.Labels[BackendLabel] = "primary"
	services.Canary.Labels[BackendLabel] = "canary"
	return services, nil
}

// PrimaryServices gives the intent for the Services that lead to a living primary whose target
// is gone. There is none for the one that leads to the target: nobody knows its pods. Of a
// primary without pods of its own there is none at all.
func PrimaryServices(canary *v1beta1.Canary, primary client.Object, o Options) Services {
	if primary == nil || Selector(primary) == nil || Template(primary) == nil {
		return Services{}
	}
	key := ""
	if is := canary.Status.Identity; is != nil {
		key = is.SelectorLabel
	}
	apex, name, _ := canary.ServiceNames()
	selector, ports, spec := primaryPods(canary, nil, primary, Label{}), ports(canary, primary), canary.Spec.Service
	services := Services{
		linkerd: o.inLinkerd(canary),
		Apex:    service(canary, apex, key, selector, ports, spec.Apex),
		Primary: service(canary, name, key, selector, ports, spec.Primary),
	}
	for _, s := range services.All() {
		services.nameForMesh(&s.Spec.Ports[0])
	}
	o.ignoreInConsul(canary, services.Apex)
	services.Primary.Labels[BackendLabel] = "primary"
	return services
}

// service is the intent for one of the Services. label is the key of the label that tells its
// pods from the others, empty where that is not known.
func service(canary *v1beta1.Canary, name, label string, selector map[string]string, ports []corev1.ServicePort, custom *v1beta1.CustomMetadata) *corev1.Service {
	s := &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace:   canary.Namespace,
			Name:        name,
			Labels:      map[string]string{},
			Annotations: map[string]string{},
		},
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeClusterIP,
			Selector: maps.Clone(selector),
			Ports:    slices.Clone(ports),
		},
	}
	if custom != nil {
		maps.Copy(s.Labels, custom.Labels)
		maps.Copy(s.Annotations, custom.Annotations)
	}
	s.Labels[managedByLabel] = managedBy
	if label != "" {
		s.Labels[label] = name // its own name is what ServiceMonitors and dashboards look for
	}
	ownership.For(canary).Mark(s)
	if canary.Spec.Service.Headless {
		s.Spec.ClusterIP = corev1.ClusterIPNone
	}
	s.Spec.TrafficDistribution = trafficDistribution(canary)
	return s
}

func trafficDistribution(canary *v1beta1.Canary) *string {
	if d := canary.Spec.Service.TrafficDistribution; d != "" {
		return &d
	}
	return nil
}

// LeadsLike tells whether a Service leads traffic where an intent for it does: to the
// same pods, by every port that the intent has.
func LeadsLike(live, intent *corev1.Service) bool {
	if !maps.Equal(live.Spec.Selector, intent.Spec.Selector) {
		return false
	}
	for _, want := range intent.Spec.Ports {
		if !slices.ContainsFunc(live.Spec.Ports, func(p corev1.ServicePort) bool {
			return p.Port == want.Port && protocol(p) == protocol(want) && p.TargetPort == want.TargetPort
		}) {
			return false
		}
	}
	return true
}
