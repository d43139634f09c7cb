package workload

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
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

// proxies are the names of the containers that meshes put beside those of a workload.
var proxies = []string{"istio-proxy", "linkerd-proxy", "envoy"}

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
		return slices.Contains(proxies, c.Name)
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
		p.Name = freeName(p, out)
		p.NodePort = 0 // it is the other Service's
		out = append(out, p)
	}
	return out
}

// freeName is the name of a port beside others that all have names: its own as far as it is
// free. It begins as its own does, as meshes read the protocol from there; a port without
// a name gets one that says none.
func freeName(p corev1.ServicePort, others []corev1.ServicePort) string {
	name, number := p.Name, "-"+strconv.Itoa(int(p.Port))
	if name == "" {
		name = "port" + number
	}
	for _, suffix := range []string{"", number, number + "-" + strings.ToLower(string(protocol(p)))} {
		free := name
		if len(free)+len(suffix) > maxPortName {
			free = free[:maxPortName-max(len(suffix), len(number))] + cmp.Or(suffix, number)
		} else {
			free += suffix
		}
		if !named(others, free) {
			return free
		}
	}
	return p.Name
}

// portIn is the same port of the same protocol among some, nil if it is not there.
func portIn(ports []corev1.ServicePort, p corev1.ServicePort) *corev1.ServicePort {
	i := portAt(ports, p)
	if i < 0 {
		return nil
	}
	return &ports[i]
}

func portAt(ports []corev1.ServicePort, p corev1.ServicePort) int {
	return slices.IndexFunc(ports, func(o corev1.ServicePort) bool { return o.Port == p.Port && protocol(o) == protocol(p) })
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

// KeepPorts has the Services keep the discovered ports that they have. What a container lists
// as its ports only informs: it may listen on one that it no longer lists, and the pods of before
// serve on theirs while they are replaced. live are the Services as they are, in the order of All,
// nil for one that is not there. It comes before any of them is adopted.
func (s Services) KeepPorts(canary *v1beta1.Canary, live []*corev1.Service) {
	if !canary.Spec.Service.PortDiscovery || s.Apex == nil {
		return
	}
	owner := ownership.For(canary)
	for i, intent := range s.All() {
		if live[i] == nil {
			continue
		}
		has := live[i].Spec.Ports
		if !owner.Owns(live[i]) {
			was, err := s.originalOf(live[i])
			if err != nil { // Adopt tells of it
				continue
			}
			users := was.usersPorts(has)
			has = slices.DeleteFunc(slices.Clone(has), func(p corev1.ServicePort) bool { return portIn(users, p) != nil })
		}
		intent.Spec.Ports = withPorts(intent.Spec.Ports, has)
	}
	for _, half := range []*corev1.Service{s.Primary, s.Canary} {
		if half != nil { // a target that is gone has none
			half.Spec.Ports = withPorts(half.Spec.Ports, s.Apex.Spec.Ports)
		}
	}
}

// adoptPorts are our ports as they fit in with those of a user's Service: what the spec
// does not name stays as it is there, and no name is there twice. A port of the user's that has no
// name, which only the single one of a Service may lack, gets one where it has others beside it; one
// that was written over before is written as it was, as what its user had there is not his any more.
func (s Services) adoptPorts(canary *v1beta1.Canary, intent *corev1.Service, was originalService) []corev1.ServicePort {
	spec, users := canary.Spec.Service, was.Ports
	ours := slices.Clone(intent.Spec.Ports)
	for i := range ours {
		p := &ours[i]
		isMain := i == 0
		u := portIn(users, *p)
		if at := slices.IndexFunc(users, func(u corev1.ServicePort) bool { return u.Port == p.Port }); u == nil && isMain && at >= 0 {
			u = &users[at]
			p.Protocol = u.Protocol
		}
		if u == nil {
			continue
		}
		if intent == s.Apex && (!isMain || spec.PortName == "") {
			p.Name = u.Name
		}
		if u.TargetPort != (intstr.IntOrString{}) && (!isMain || spec.TargetPort == (intstr.IntOrString{})) {
			p.TargetPort = u.TargetPort
		}
		if intent == s.Apex && p.AppProtocol == nil {
			p.AppProtocol = u.AppProtocol
		}
	}
	s.nameForMesh(&ours[0])
	return was.nameApart(ours)
}

// nameApart gives ports of ours names that they can have beside those of the user's which are not
// ours, and those of the user's that have none a name.
func (o originalService) nameApart(ours []corev1.ServicePort) []corev1.ServicePort {
	users := o.Ports
	others := slices.DeleteFunc(slices.Clone(users), func(u corev1.ServicePort) bool { return portIn(ours, u) != nil })
	if len(ours)+len(others) == 1 {
		return ours
	}
	out := make([]corev1.ServicePort, 0, len(ours)+len(others))
	for _, p := range ours {
		p.Name = freeName(p, slices.Concat(out, others))
		out = append(out, p)
	}
	for _, u := range others {
		if u.Name == "" {
			u.Name = freeName(u, slices.Concat(out, others))
		} else if portIn(o.Applied, u) == nil {
			continue
		}
		u.NodePort = 0
		out = append(out, u)
	}
	return out
}

// backendPorts are the ports of a Service that the mesh sends the requests for the apex
// Service to: all that the apex has, as it has them, and its own others. The first is that of
// the Canary in each of them.
func backendPorts(own, apex, users []corev1.ServicePort) []corev1.ServicePort {
	return withPorts(withPorts(apex, users), own[1:])
}

// usersPorts are the ports of a Service that was taken over without what Sluice has made of
// them, in the order that they had. What their user has changed since is as he changed it.
func (o originalService) usersPorts(live []corev1.ServicePort) []corev1.ServicePort {
	var out []corev1.ServicePort
	for _, p := range live {
		applied, was := portIn(o.Applied, p), portIn(o.Ports, p)
		switch {
		case applied == nil:
		case was != nil:
			p.Name = undone(p.Name, applied.Name, was.Name)
			p.TargetPort = undone(p.TargetPort, applied.TargetPort, was.TargetPort)
			if ptr.Equal(p.AppProtocol, applied.AppProtocol) {
				p.AppProtocol = was.AppProtocol
			}
		case p.TargetPort == applied.TargetPort: // made by us
			continue
		}
		out = append(out, p)
	}
	place := func(p corev1.ServicePort) int {
		if i := portAt(o.Ports, p); i >= 0 {
			return i
		}
		return len(o.Ports)
	}
	slices.SortStableFunc(out, func(a, b corev1.ServicePort) int { return place(a) - place(b) })
	return out
}

// undone is what something was before it was applied, unless it has been changed since.
func undone[T comparable](is, applied, was T) T {
	if is == applied {
		return was
	}
	return is
}
