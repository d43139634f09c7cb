package workload

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
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
}

// BackendLabel is on the Services that the mesh divides traffic between. Their
// EndpointSlices carry it too, by which the operator watches no others.
const BackendLabel = "sluice.dev/backend"

// All are those Services that there are, the apex last: it comes after what it
// leads to.
func (s Services) All() []*corev1.Service {
	all := []*corev1.Service{s.Primary, s.Canary, s.Apex}
	return slices.DeleteFunc(all, func(s *corev1.Service) bool { return s == nil })
}

// BuildServices gives the complete intent for the Services of a Canary. Those of a
// living primary follow that, not a target which is not released yet: they select the
// pods that it has, and expose what these listen on. primary is nil where there is none.
// It returns a *NoSelectorLabelError where the target has no label to select by.
func BuildServices(canary *v1beta1.Canary, target, primary client.Object, o Options) (Services, error) {
	if target, ok := target.(*corev1.Service); ok {
		return Services{Canary: canaryOfService(canary, target, o)}, nil
	}
	key, value, err := SelectorLabel(target, o)
	if err != nil {
		return Services{}, err
	}
	apex, primaryName, canaryName := canary.ServiceNames()
	// All labels of the selector, as other workloads may have the same value of
	// the one that tells target and primary apart.
	toCanary := maps.Clone(Selector(target).MatchLabels)
	toPrimary := maps.Clone(toCanary)
	toPrimary[key] = PrimaryLabelValue(value)
	serving := target
	if living := Selector(primary); living != nil {
		toPrimary, serving = maps.Clone(living.MatchLabels), primary
	}
	spec := canary.Spec.Service
	build := func(name string, of client.Object, selector map[string]string, custom *v1beta1.CustomMetadata) *corev1.Service {
		s := service(canary, of, name, selector, custom)
		// Its own name is what ServiceMonitors and dashboards look for.
		s.Labels[key] = name
		return s
	}
	services := Services{
		Apex:    build(apex, serving, toPrimary, spec.Apex),
		Primary: build(primaryName, serving, toPrimary, spec.Primary),
		Canary:  build(canaryName, target, toCanary, spec.Canary),
	}
	o.ignoreInConsul(canary, services.Apex)
	services.Primary.Labels[BackendLabel] = "primary"
	services.Canary.Labels[BackendLabel] = "canary"
	return services, nil
}

func service(canary *v1beta1.Canary, of client.Object, name string, selector map[string]string, custom *v1beta1.CustomMetadata) *corev1.Service {
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
			Selector: selector,
			Ports:    ports(canary, of),
		},
	}
	if custom != nil {
		maps.Copy(s.Labels, custom.Labels)
		maps.Copy(s.Annotations, custom.Annotations)
	}
	s.Labels[managedByLabel] = managedBy
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

// ports are the port of the Canary and, with portDiscovery, those of a workload's
// containers.
func ports(canary *v1beta1.Canary, of client.Object) []corev1.ServicePort {
	spec := canary.Spec.Service
	main := corev1.ServicePort{
		Name:       spec.PortName,
		Protocol:   corev1.ProtocolTCP,
		Port:       spec.Port,
		TargetPort: spec.TargetPort,
	}
	if main.Name == "" {
		main.Name = "http"
	}
	if main.TargetPort == (intstr.IntOrString{}) {
		main.TargetPort = intstr.FromInt32(spec.Port)
	}
	if spec.AppProtocol != "" {
		main.AppProtocol = &spec.AppProtocol
	}
	out := []corev1.ServicePort{main}
	if spec.PortDiscovery {
		out = append(out, discovered(main, &Template(of).Spec)...)
	}
	return out
}

// discovered are the ports of a pod's containers beside the main one. The API server
// refuses a Service that has a name, or a port of a protocol, twice: of the same port the
// first wins, and a name that is taken gets the port's number. A port without a name is
// named as Flagger names it.
func discovered(main corev1.ServicePort, pod *corev1.PodSpec) []corev1.ServicePort {
	type port struct {
		number   int32
		protocol corev1.Protocol
	}
	names, ports := map[string]bool{main.Name: true}, map[port]bool{{main.Port, main.Protocol}: true}
	var out []corev1.ServicePort
	for _, c := range listeners(pod) {
		for i, p := range c.Ports {
			found := port{p.ContainerPort, p.Protocol}
			if found.protocol == "" {
				found.protocol = corev1.ProtocolTCP
			}
			isMain := found.protocol == main.Protocol &&
				(main.TargetPort == intstr.FromInt32(p.ContainerPort) || p.Name != "" && main.TargetPort == intstr.FromString(p.Name))
			if isMain || ports[found] {
				continue
			}
			name := discoveredName(c.Name, i, p, found.protocol, names)
			names[name], ports[found] = true, true
			out = append(out, corev1.ServicePort{
				Name: name, Protocol: found.protocol, Port: found.number, TargetPort: intstr.FromInt32(found.number),
			})
		}
	}
	return out
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

// maxPortName is how long the name of a Service's port may be.
const maxPortName = 63

// discoveredName is the name of the i-th port of a container in a Service that has the
// given names already.
func discoveredName(container string, i int, p corev1.ContainerPort, protocol corev1.Protocol, taken map[string]bool) string {
	transport := strings.ToLower(string(protocol))
	number := strconv.Itoa(int(p.ContainerPort))
	name := p.Name
	if name == "" {
		name = transport + "-" + container + "-" + strconv.Itoa(i)
	}
	if taken[name] {
		name += "-" + number
	}
	if taken[name] || len(name) > maxPortName {
		name = transport + "-" + number
	}
	return name
}

// listeners are the containers of a pod that serve as long as it does, without the proxy
// of a mesh.
func listeners(pod *corev1.PodSpec) []corev1.Container {
	out := slices.Clone(pod.Containers)
	for _, c := range pod.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = append(out, c)
		}
	}
	return slices.DeleteFunc(out, func(c corev1.Container) bool {
		return c.Name == "istio-proxy" || c.Name == "linkerd-proxy"
	})
}
