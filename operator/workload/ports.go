package workload

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
)

// TargetServes tells whether the target gets requests, by the Canary's status.
func TargetServes(canary *v1beta1.Canary) bool {
	t := serving.TrafficOf(canary, &canary.Status)
	return t.Canary > 0 || t.Mirror > 0
}

// backendsPorts are the ports of the Services that lead to the primary and of the one that
// leads to the target. Each has what its own pods listen on; while both serve, each
// has all of it, as the mesh sends the requests for any port to either.
func backendsPorts(canary *v1beta1.Canary, target, primary client.Object) (ofPrimary, ofTarget []corev1.ServicePort) {
	serving := target
	if primary != nil && Template(primary) != nil {
		serving = primary
	}
	ofPrimary, ofTarget = ports(canary, serving), ports(canary, target)
	if serving != target && TargetServes(canary) {
		ofPrimary, ofTarget = withPorts(ofPrimary, ofTarget), withPorts(ofTarget, ofPrimary)
	}
	return ofPrimary, ofTarget
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
		out = withPorts(out, discovered(main, &Template(of).Spec))
	}
	return out
}

// discovered are the ports of a pod's containers beside the main one. One without a name
// is named by its container and its place there, as Flagger names it.
func discovered(main corev1.ServicePort, pod *corev1.PodSpec) []corev1.ServicePort {
	var out []corev1.ServicePort
	for _, c := range listeners(pod) {
		for i, p := range c.Ports {
			found := corev1.ServicePort{Name: p.Name, Protocol: p.Protocol, Port: p.ContainerPort, TargetPort: intstr.FromInt32(p.ContainerPort)}
			found.Protocol = protocol(found)
			if found.Name == "" {
				found.Name = strings.ToLower(string(found.Protocol)) + "-" + c.Name + "-" + strconv.Itoa(i)
			}
			isMain := found.Protocol == main.Protocol &&
				(main.TargetPort == found.TargetPort || p.Name != "" && main.TargetPort == intstr.FromString(p.Name))
			if !isMain {
				out = append(out, found)
			}
		}
	}
	return out
}

// listeners are the containers of a pod that serve as long as it does, without the proxy
// that a mesh has put beside them.
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

// maxPortName is how long the name of a Service's port may be.
const maxPortName = 63

// withPorts are ports and those of more that they lack. The API server refuses a Service
// that has a name, or a port of a protocol, twice: of the same port the first stays, and
// where its name is taken it gets its number added.
func withPorts(ports, more []corev1.ServicePort) []corev1.ServicePort {
	out := slices.Clone(ports)
	for _, p := range more {
		if portIn(out, p) != nil {
			continue
		}
		number := strconv.Itoa(int(p.Port))
		if named(out, p.Name) {
			p.Name += "-" + number
		}
		if p.Name == "" || len(p.Name) > maxPortName || named(out, p.Name) {
			p.Name = strings.ToLower(string(protocol(p))) + "-" + number
		}
		p.NodePort = 0 // it is the other Service's
		out = append(out, p)
	}
	return out
}

// portIn is the same port of the same protocol among some, nil if it is not there.
func portIn(ports []corev1.ServicePort, p corev1.ServicePort) *corev1.ServicePort {
	i := slices.IndexFunc(ports, func(o corev1.ServicePort) bool { return o.Port == p.Port && protocol(o) == protocol(p) })
	if i < 0 {
		return nil
	}
	return &ports[i]
}

func named(ports []corev1.ServicePort, name string) bool {
	return slices.ContainsFunc(ports, func(o corev1.ServicePort) bool { return o.Name == name })
}

func protocol(p corev1.ServicePort) corev1.Protocol {
	if p.Protocol == "" {
		return corev1.ProtocolTCP
	}
	return p.Protocol
}

// KeepPorts has the Services that lead to a primary whose pods are being replaced keep the
// discovered ports that they have: the pods of before serve on them as long as they are there.
// live are the Services as they are, in the order of All, nil for one that is not there.
func (s Services) KeepPorts(canary *v1beta1.Canary, live []*corev1.Service) {
	if !canary.Spec.Service.PortDiscovery {
		return
	}
	for i, intent := range s.All() {
		if live[i] == nil || intent == s.Canary {
			continue
		}
		has := live[i].Spec.Ports
		if live[i].Annotations[OriginalAnnotation] != "" {
			users, _ := s.originalOf(live[i]) // Adopt tells of one that can't be read
			has = slices.DeleteFunc(slices.Clone(has), func(p corev1.ServicePort) bool { return portIn(users.Ports, p) != nil })
		}
		intent.Spec.Ports = withPorts(intent.Spec.Ports, has)
	}
}

// adoptPorts are our ports as they fit in with those of a user's Service: what the spec
// does not name stays as it is there, and no name is there twice.
func adoptPorts(canary *v1beta1.Canary, ours, users []corev1.ServicePort) []corev1.ServicePort {
	spec := canary.Spec.Service
	for i := range ours {
		p := &ours[i]
		isMain := i == 0
		u := portIn(users, *p)
		if at := slices.IndexFunc(users, func(u corev1.ServicePort) bool { return u.Port == p.Port }); u == nil && isMain && at >= 0 {
			u = &users[at]
			p.Protocol = u.Protocol
		}
		if u != nil {
			adoptPort(p, u, isMain && spec.PortName != "", isMain && spec.TargetPort != (intstr.IntOrString{}))
		}
		for _, other := range users {
			if other.Name == p.Name && (other.Port != p.Port || protocol(other) != protocol(*p)) {
				p.Name += "-" + strconv.Itoa(int(p.Port))
			}
		}
	}
	return ours
}

// adoptPort has one of our ports be what it is in the user's Service, apart from what the
// Canary names.
func adoptPort(p, users *corev1.ServicePort, named, targeted bool) {
	if users.Name != "" && !named {
		p.Name = users.Name
	}
	if users.TargetPort != (intstr.IntOrString{}) && !targeted {
		p.TargetPort = users.TargetPort
	}
	if p.AppProtocol == nil {
		p.AppProtocol = users.AppProtocol
	}
}

// backendPorts are the ports of a Service that the mesh sends the requests for the apex
// Service to: all that the apex has, as it has them, and its own others. The first is that of
// the Canary in each of them.
func backendPorts(own, apex, users []corev1.ServicePort) []corev1.ServicePort {
	return withPorts(withPorts(apex, users), own[1:])
}
