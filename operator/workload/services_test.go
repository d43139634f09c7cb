package workload_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
)

func buildServices(t *testing.T, c canary, target deployment) workload.Services {
	t.Helper()
	services, err := workload.BuildServices(c.Canary, target.Deployment, nil, defaults)
	if err != nil {
		t.Fatal(err)
	}
	return services
}

func TestServices(t *testing.T) {
	for name, tc := range map[string]struct {
		canary   canary
		wantName string
	}{
		"named like the target": {canary: newCanary(), wantName: "podinfo"},
		"name of its own":       {canary: newCanary().service(func(s *v1beta1.CanaryService) { s.Name = "shop" }), wantName: "shop"},
	} {
		t.Run(name, func(t *testing.T) {
			services := buildServices(t, tc.canary, newDeployment())
			for _, s := range []struct {
				of             *corev1.Service
				name, selected string
				backend        string
			}{
				{services.Apex, tc.wantName, "podinfo-primary", ""},
				{services.Primary, tc.wantName + "-primary", "podinfo-primary", "primary"},
				{services.Canary, tc.wantName + "-canary", "podinfo", "canary"},
			} {
				want := &corev1.Service{
					TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
					ObjectMeta: metav1.ObjectMeta{
						Namespace: "test", Name: s.name,
						Labels:      map[string]string{"app": s.name, "app.kubernetes.io/managed-by": "sluice", "sluice.dev/canary": "release"},
						Annotations: map[string]string{"sluice.dev/canary": "release"},
					},
					Spec: corev1.ServiceSpec{
						Type:     corev1.ServiceTypeClusterIP,
						Selector: map[string]string{"app": s.selected},
						Ports:    []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(9898)}},
					},
				}
				if s.backend != "" {
					want.Labels["sluice.dev/backend"] = s.backend
				}
				if diff := cmp.Diff(want, s.of); diff != "" {
					t.Errorf("%s: -want +got\n%s", s.name, diff)
				}
			}
		})
	}
}

// The Services that lead to a living primary do not change when its target goes.
func TestPrimaryServices(t *testing.T) {
	c := newCanary().service(func(s *v1beta1.CanaryService) { s.PortDiscovery = true })
	target := newDeployment()
	primary, err := workload.Primary(c.Canary, target.Deployment, nil, "s2-a", defaults)
	if err != nil {
		t.Fatal(err)
	}
	want, err := workload.BuildServices(c.Canary, target.Deployment, primary, defaults)
	if err != nil {
		t.Fatal(err)
	}
	c.Status.Identity = &v1beta1.IdentityStatus{SelectorLabel: "app"}
	got := workload.PrimaryServices(c.Canary, primary, defaults)
	want.Canary = nil
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(workload.Services{})); diff != "" {
		t.Errorf("-with the target +without\n%s", diff)
	}
	if all := workload.PrimaryServices(c.Canary, nil, defaults).All(); len(all) > 0 {
		t.Errorf("without a primary there are %d", len(all))
	}
}

func TestServicePorts(t *testing.T) {
	grpc := corev1.ServicePort{Name: "grpc", Protocol: corev1.ProtocolTCP, Port: 9999, TargetPort: intstr.FromInt32(9999)}
	unnamed := corev1.ServicePort{Name: "tcp-podinfod-2", Protocol: corev1.ProtocolTCP, Port: 7777, TargetPort: intstr.FromInt32(7777)}
	dns := corev1.ServicePort{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 5353, TargetPort: intstr.FromInt32(5353)}
	for name, tc := range map[string]struct {
		service v1beta1.CanaryService
		target  deployment
		want    []corev1.ServicePort
	}{
		"target port is the port": {
			service: v1beta1.CanaryService{Port: 9898}, target: newDeployment(),
			want: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 9898, TargetPort: intstr.FromInt32(9898)}},
		},
		"name and application protocol": {
			service: v1beta1.CanaryService{Port: 80, PortName: "web", TargetPort: intstr.FromString("http"), AppProtocol: "kubernetes.io/h2c"}, target: newDeployment(),
			want: []corev1.ServicePort{{Name: "web", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromString("http"), AppProtocol: new("kubernetes.io/h2c")}},
		},
		"discovery leaves out the port itself and names those without name": {
			service: v1beta1.CanaryService{Port: 80, TargetPort: intstr.FromInt32(9898), PortDiscovery: true}, target: newDeployment(),
			want: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(9898)}, grpc, unnamed, dns},
		},
		"discovery with the port by name": {
			service: v1beta1.CanaryService{Port: 80, PortName: "web", TargetPort: intstr.FromString("http"), PortDiscovery: true}, target: newDeployment(),
			want: []corev1.ServicePort{{Name: "web", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromString("http")}, grpc, unnamed, dns},
		},
		"discovery names no port twice": {
			service: v1beta1.CanaryService{Port: 80, TargetPort: intstr.FromInt32(9898), PortDiscovery: true},
			target: newDeployment().with(func(d *appsv1.Deployment) {
				pod := &d.Spec.Template.Spec
				pod.Containers = append(pod.Containers, corev1.Container{Ports: []corev1.ContainerPort{
					{Name: "grpc-too", ContainerPort: 9999}, {Name: "eighty", ContainerPort: 80}, {Name: "grpc", ContainerPort: 1234},
				}})
			}),
			want: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(9898)}, grpc, unnamed, dns,
				{Name: "grpc-1234", Protocol: corev1.ProtocolTCP, Port: 1234, TargetPort: intstr.FromInt32(1234)}},
		},
		"discovery asks sidecars of the user's, not those of a mesh": {
			service: v1beta1.CanaryService{Port: 80, TargetPort: intstr.FromInt32(9898), PortDiscovery: true},
			target: newDeployment().with(func(d *appsv1.Deployment) {
				pod := &d.Spec.Template.Spec
				port := func(n int32) []corev1.ContainerPort { return []corev1.ContainerPort{{ContainerPort: n}} }
				pod.Containers = append(pod.Containers, corev1.Container{Name: "istio-proxy", Ports: port(15090)})
				pod.InitContainers = []corev1.Container{
					{Name: "auth", RestartPolicy: new(corev1.ContainerRestartPolicyAlways), Ports: port(4180)},
					{Name: "linkerd-proxy", RestartPolicy: new(corev1.ContainerRestartPolicyAlways), Ports: port(4143)},
					{Name: "migrate", Ports: port(3306)},
				}
			}),
			want: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(9898)}, grpc, unnamed, dns,
				{Name: "tcp-auth-0", Protocol: corev1.ProtocolTCP, Port: 4180, TargetPort: intstr.FromInt32(4180)}},
		},
		"discovery of one port with two protocols": {
			service: v1beta1.CanaryService{Port: 80, TargetPort: intstr.FromInt32(9898), PortDiscovery: true},
			target: newDeployment().with(func(d *appsv1.Deployment) {
				pod := &d.Spec.Template.Spec
				pod.Containers = append(pod.Containers, corev1.Container{Ports: []corev1.ContainerPort{{Name: "dns-tcp", ContainerPort: 5353}}})
			}),
			want: []corev1.ServicePort{
				{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(9898)}, grpc, unnamed, dns,
				{Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: 5353, TargetPort: intstr.FromInt32(5353)},
			},
		},
		"no discovery": {
			service: v1beta1.CanaryService{Port: 80, TargetPort: intstr.FromInt32(9898)}, target: newDeployment(),
			want: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(9898)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary().service(func(s *v1beta1.CanaryService) { *s = tc.service })
			services := buildServices(t, c, tc.target)
			for _, s := range []*corev1.Service{services.Apex, services.Primary, services.Canary} {
				if diff := cmp.Diff(tc.want, s.Spec.Ports); diff != "" {
					t.Errorf("%s: -want +got\n%s", s.Name, diff)
				}
			}
		})
	}
}

func TestServiceOptions(t *testing.T) {
	c := newCanary().service(func(s *v1beta1.CanaryService) {
		s.Headless = true
		s.TrafficDistribution = corev1.ServiceTrafficDistributionPreferSameZone
		s.Apex = &v1beta1.CustomMetadata{Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"note": "apex"}}
		s.Canary = &v1beta1.CustomMetadata{
			Labels:      map[string]string{"app": "mine", "app.kubernetes.io/managed-by": "me"},
			Annotations: map[string]string{"note": "canary"},
		}
	})
	services := buildServices(t, c, newDeployment())
	for _, s := range []*corev1.Service{services.Apex, services.Primary, services.Canary} {
		if s.Spec.ClusterIP != corev1.ClusterIPNone {
			t.Errorf("%s: cluster IP %q", s.Name, s.Spec.ClusterIP)
		}
		if d := s.Spec.TrafficDistribution; d == nil || *d != "PreferSameZone" {
			t.Errorf("%s: traffic distribution %v", s.Name, d)
		}
	}
	type metadata struct{ Labels, Annotations map[string]string }
	want := map[string]metadata{
		"podinfo":         {map[string]string{"app": "podinfo", "app.kubernetes.io/managed-by": "sluice", "team": "a"}, map[string]string{"note": "apex"}},
		"podinfo-primary": {map[string]string{"app": "podinfo-primary", "app.kubernetes.io/managed-by": "sluice", "sluice.dev/backend": "primary"}, map[string]string{}},
		// What the Service is found by stays ours.
		"podinfo-canary": {map[string]string{"app": "podinfo-canary", "app.kubernetes.io/managed-by": "sluice", "sluice.dev/backend": "canary"}, map[string]string{"note": "canary"}},
	}
	for _, m := range want {
		m.Labels["sluice.dev/canary"], m.Annotations["sluice.dev/canary"] = "release", "release"
	}
	got := map[string]metadata{}
	for _, s := range []*corev1.Service{services.Apex, services.Primary, services.Canary} {
		got[s.Name] = metadata{s.Labels, s.Annotations}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestServicesWithoutSelectorLabel(t *testing.T) {
	target := newDeployment().selector(map[string]string{"component": "x"})
	_, err := workload.BuildServices(newCanary().Canary, target.Deployment, nil, defaults)
	if typed := (&workload.NoSelectorLabelError{}); !errors.As(err, &typed) {
		t.Errorf("services: error %v", err)
	}
}

// A target that is not released yet has no say in what clients reach.
func TestPortsOfWhatServes(t *testing.T) {
	listens := func(ports ...int32) deployment {
		return newDeployment().with(func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].Ports = nil
			for _, p := range ports {
				d.Spec.Template.Spec.Containers[0].Ports = append(d.Spec.Template.Spec.Containers[0].Ports, corev1.ContainerPort{ContainerPort: p})
			}
		})
	}
	for name, tc := range map[string]struct {
		primary     *appsv1.Deployment
		weight      int32
		wantPrimary []int32 // of the apex Service too
		wantCanary  []int32
	}{
		"before there is a primary":           {wantPrimary: []int32{80, 7000}, wantCanary: []int32{80, 7000}},
		"the primary is of another revision":  {primary: primaryOf(t, listens(9090), nil, defaults), wantPrimary: []int32{80, 9090}, wantCanary: []int32{80, 7000}},
		"and both serve":                      {primary: primaryOf(t, listens(9090), nil, defaults), weight: 10, wantPrimary: []int32{80, 9090, 7000}, wantCanary: []int32{80, 7000, 9090}},
		"the primary is a copy of the target": {primary: primaryOf(t, listens(7000), nil, defaults), weight: 10, wantPrimary: []int32{80, 7000}, wantCanary: []int32{80, 7000}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary().service(func(s *v1beta1.CanaryService) { s.PortDiscovery = true })
			c.Status.Phase, c.Status.CanaryWeight = v1beta1.PhaseProgressing, tc.weight
			var living client.Object
			if tc.primary != nil {
				living = tc.primary
			}
			services, err := workload.BuildServices(c.Canary, listens(7000).Deployment, living, defaults)
			if err != nil {
				t.Fatal(err)
			}
			for s, want := range map[*corev1.Service][]int32{services.Apex: tc.wantPrimary, services.Primary: tc.wantPrimary, services.Canary: tc.wantCanary} {
				if diff := cmp.Diff(want, portNumbers(s)); diff != "" {
					t.Errorf("ports of %s: -want +got\n%s", s.Name, diff)
				}
			}
		})
	}
}

func portNumbers(s *corev1.Service) []int32 {
	var out []int32
	for _, p := range s.Spec.Ports {
		out = append(out, p.Port)
	}
	return out
}

// What containers list as their ports only informs, and clients may call one that is no longer
// listed: a Service keeps what it has, and all of the three have it.
func TestKeepPorts(t *testing.T) {
	owned := func(live *corev1.Service) { ownership.For(newCanary().Canary).Mark(live) }
	for name, tc := range map[string]struct {
		discovery bool
		change    func(live *corev1.Service)
		want      []int32
	}{
		"with discovery":    {discovery: true, change: owned, want: []int32{80, 9999, 7777, 5353, 9090}},
		"without":           {change: owned, want: []int32{80}},
		"a user's Service":  {discovery: true, change: func(*corev1.Service) {}, want: []int32{80, 9999, 7777, 5353}},
		"an unreadable one": {discovery: true, change: func(live *corev1.Service) { live.Annotations = map[string]string{workload.OriginalAnnotation: "{"} }, want: []int32{80, 9999, 7777, 5353}},
		"what was discovered on a user's Service": {discovery: true, want: []int32{80, 9999, 7777, 5353, 9090}, change: func(live *corev1.Service) {
			live.Annotations = map[string]string{workload.OriginalAnnotation: `{"ports":[{"name":"http","port":80}],"applied":[{"name":"http","port":80},{"name":"admin","port":9090}]}`}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary().service(func(s *v1beta1.CanaryService) { s.PortDiscovery = tc.discovery })
			services := buildServices(t, c, newDeployment())
			live := make([]*corev1.Service, 3) // the last is the apex
			live[2] = &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "admin", Port: 9090, NodePort: 30001}}}}
			tc.change(live[2])
			services.KeepPorts(c.Canary, live)
			for _, s := range services.All() {
				if diff := cmp.Diff(tc.want, portNumbers(s)); diff != "" {
					t.Errorf("%s: -want +got\n%s", s.Name, diff)
				}
				for _, p := range s.Spec.Ports {
					if p.NodePort != 0 {
						t.Errorf("%s: node port %d is asked for", s.Name, p.NodePort)
					}
				}
			}
		})
	}
}

// Those that lead to a primary whose target is gone keep theirs.
func TestKeepPortsWithoutTarget(t *testing.T) {
	c := newCanary().service(func(s *v1beta1.CanaryService) { s.PortDiscovery = true })
	services := workload.PrimaryServices(c.Canary, primaryOf(t, newDeployment(), nil, defaults), defaults)
	live := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "admin", Port: 9090}}}}
	ownership.For(c.Canary).Mark(live)
	services.KeepPorts(c.Canary, []*corev1.Service{nil, live})
	for _, s := range services.All() {
		if !slices.Contains(portNumbers(s), 9090) {
			t.Errorf("%s has %v", s.Name, portNumbers(s))
		}
	}
}

// No port of a Service has a name twice, none is too long, and each goes on to say the protocol that
// it said.
func TestNamesOfPorts(t *testing.T) {
	long := "grpc-" + strings.Repeat("a", 58)
	tcp := func(name string, port int32) corev1.ServicePort {
		return corev1.ServicePort{Name: name, Port: port, Protocol: corev1.ProtocolTCP}
	}
	udp := func(name string, port int32) corev1.ServicePort {
		return corev1.ServicePort{Name: name, Port: port, Protocol: corev1.ProtocolUDP}
	}
	users := []corev1.ServicePort{tcp("http", 80), tcp(long, 81), tcp("dns-53", 82), tcp("dns", 53), udp("", 54)}
	target := newDeployment().with(func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers = []corev1.Container{{Name: strings.Repeat("b", 63), Ports: []corev1.ContainerPort{
			{ContainerPort: 7000}, {Name: "http", ContainerPort: 7001}, {Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP},
		}}}
	})
	c := newCanary().service(func(s *v1beta1.CanaryService) {
		*s = v1beta1.CanaryService{Port: 83, PortName: long, PortDiscovery: true}
	})
	services := buildServices(t, c, target)
	live := usersService()
	live.Spec.Ports = users
	if err := services.Adopt(c.Canary, services.Apex, live); err != nil {
		t.Fatal(err)
	}
	want := map[string]int32{
		long[:60] + "-83": 83, "http": 80, long: 81, "dns-53": 82, "dns": 53, "port-54": 54,
		("tcp-" + strings.Repeat("b", 63))[:58] + "-7000": 7000, "http-7001": 7001, "dns-53-udp": 53,
	}
	got := map[string]int32{}
	for _, p := range services.Primary.Spec.Ports {
		got[p.Name] = p.Port
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
