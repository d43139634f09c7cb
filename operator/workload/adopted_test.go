package workload_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// usersService is one with more than the Canary's port, of a type with a node port.
func usersService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "test", Name: "podinfo", UID: "s1",
			Labels:      map[string]string{"app.kubernetes.io/managed-by": "Helm", "team": "shop"},
			Annotations: map[string]string{"note": "mine"},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, ClusterIP: "10.0.0.7",
			Selector: map[string]string{"app": "podinfo", "tier": "web"},
			Ports: []corev1.ServicePort{
				{Name: "metrics", Protocol: corev1.ProtocolTCP, Port: 9797, TargetPort: intstr.FromInt32(9797), NodePort: 30001},
				{Name: "web", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromString("http"), NodePort: 30002},
			},
		},
	}
}

func adopted(t *testing.T, c canary, live *corev1.Service) (workload.Services, *corev1.Service) {
	t.Helper()
	services := buildServices(t, c, newDeployment())
	if err := services.Adopt(c.Canary, services.Apex, live); err != nil {
		t.Fatal(err)
	}
	return services, services.Apex
}

// Pain 4: of a Service that serves already only where it leads is changed.
func TestAdoptService(t *testing.T) {
	for name, tc := range map[string]struct {
		service   func(*v1beta1.CanaryService)
		live      func(*corev1.Service)
		wantPorts []corev1.ServicePort
		wantMeta  map[string]string
	}{
		"a port keeps its name": {
			wantPorts: []corev1.ServicePort{{Name: "web", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(9898)}},
		},
		"unless the spec names it": {
			service:   func(s *v1beta1.CanaryService) { s.PortName = "http-web" },
			wantPorts: []corev1.ServicePort{{Name: "http-web", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(9898)}},
		},
		"another port has the name already": {
			live:      func(s *corev1.Service) { s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 8080}} },
			wantPorts: []corev1.ServicePort{{Name: "http-80", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(9898)}},
		},
		"labels of the spec": {
			service: func(s *v1beta1.CanaryService) {
				s.Apex = &v1beta1.CustomMetadata{Labels: map[string]string{"team": "a"}}
			},
			wantPorts: []corev1.ServicePort{{Name: "web", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(9898)}},
			wantMeta:  map[string]string{"team": "a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, live := newCanary(), usersService()
			if tc.service != nil {
				tc.service(&c.Spec.Service)
			}
			if tc.live != nil {
				tc.live(live)
			}
			_, got := adopted(t, c, live)
			want := &corev1.Service{
				TypeMeta: got.TypeMeta,
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "test", Name: "podinfo", Labels: tc.wantMeta,
					Annotations: map[string]string{
						workload.OriginalAnnotation:             got.Annotations[workload.OriginalAnnotation],
						"kustomize.toolkit.fluxcd.io/reconcile": "disabled", "helm.toolkit.fluxcd.io/driftDetection": "disabled",
					},
				},
				Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "podinfo-primary"}, Ports: tc.wantPorts},
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// The mesh sends what is for a port of the apex Service to the same port of the primary's or
// the canary's: both have every one of them, and speak there what clients speak.
func TestAdoptedPorts(t *testing.T) {
	h2c := "kubernetes.io/h2c"
	users := []corev1.ServicePort{
		{Name: "grpc-api", Port: 80, TargetPort: intstr.FromInt32(8080), Protocol: corev1.ProtocolTCP, AppProtocol: &h2c, NodePort: 30001},
		{Name: "http-admin", Port: 9797, TargetPort: intstr.FromString("admin"), Protocol: corev1.ProtocolTCP, NodePort: 30002},
		{Name: "dns", Port: 5353, TargetPort: intstr.FromInt32(5353), Protocol: corev1.ProtocolUDP},
	}
	main, admin, dns := users[0], users[1], users[2]
	listed := corev1.ServicePort{Name: "http-9898", Port: 9898, TargetPort: intstr.FromInt32(9898), Protocol: corev1.ProtocolTCP}
	unnamed := corev1.ServicePort{Port: 80, TargetPort: intstr.FromString("http"), Protocol: corev1.ProtocolTCP}
	main.NodePort, admin.NodePort = 0, 0
	for name, tc := range map[string]struct {
		service     v1beta1.CanaryService
		users       []corev1.ServicePort
		wantApex    []corev1.ServicePort // what is written of it
		wantBackend []corev1.ServicePort
	}{
		"what the Canary does not name": {
			service: v1beta1.CanaryService{Port: 80}, users: users,
			wantApex: []corev1.ServicePort{main}, wantBackend: []corev1.ServicePort{main, admin, dns},
		},
		"what it names": {
			service: v1beta1.CanaryService{Port: 80, PortName: "web", TargetPort: intstr.FromInt32(9898), AppProtocol: "http"}, users: users,
			wantApex:    []corev1.ServicePort{{Name: "web", Port: 80, TargetPort: intstr.FromInt32(9898), Protocol: corev1.ProtocolTCP, AppProtocol: new("http")}},
			wantBackend: []corev1.ServicePort{{Name: "web", Port: 80, TargetPort: intstr.FromInt32(9898), Protocol: corev1.ProtocolTCP, AppProtocol: new("http")}, admin, dns},
		},
		"a port that is UDP": {
			service: v1beta1.CanaryService{Port: 5353}, users: []corev1.ServicePort{dns},
			wantApex: []corev1.ServicePort{dns}, wantBackend: []corev1.ServicePort{dns},
		},
		"the only one, without a name": {
			service: v1beta1.CanaryService{Port: 80}, users: []corev1.ServicePort{unnamed},
			wantApex: []corev1.ServicePort{unnamed}, wantBackend: []corev1.ServicePort{unnamed},
		},
		"the only one, without a name until the Canary gives it one": {
			service: v1beta1.CanaryService{Port: 80, PortName: "web"}, users: []corev1.ServicePort{unnamed},
			wantApex: []corev1.ServicePort{nameOf(unnamed, "web")}, wantBackend: []corev1.ServicePort{nameOf(unnamed, "web")},
		},
		"one without a name beside that of the Canary": {
			service: v1beta1.CanaryService{Port: 8080}, users: []corev1.ServicePort{unnamed},
			wantApex:    []corev1.ServicePort{{Name: "http", Port: 8080, TargetPort: intstr.FromInt32(8080), Protocol: corev1.ProtocolTCP}, nameOf(unnamed, "port-80")},
			wantBackend: []corev1.ServicePort{{Name: "http", Port: 8080, TargetPort: intstr.FromInt32(8080), Protocol: corev1.ProtocolTCP}, nameOf(unnamed, "port-80")},
		},
		"one without a name beside those of containers": {
			service: v1beta1.CanaryService{Port: 80, PortDiscovery: true}, users: []corev1.ServicePort{unnamed},
			wantApex:    slices.Insert(discoveredBeside("port-80", 80, intstr.FromString("http"), "grpc", intstr.FromInt32(9999)), 1, listed),
			wantBackend: slices.Insert(discoveredBeside("port-80", 80, intstr.FromString("http"), "grpc", intstr.FromInt32(9999)), 1, listed),
		},
		"a port that leads to another one than the container's own": {
			service:     v1beta1.CanaryService{Port: 80, TargetPort: intstr.FromString("http"), PortDiscovery: true},
			users:       []corev1.ServicePort{{Name: "rpc", Port: 9999, TargetPort: intstr.FromInt32(1), Protocol: corev1.ProtocolTCP}},
			wantApex:    discoveredBeside("http", 80, intstr.FromString("http"), "rpc", intstr.FromInt32(1)),
			wantBackend: discoveredBeside("http", 80, intstr.FromString("http"), "rpc", intstr.FromInt32(1)),
		},
	} {
		t.Run(name, func(t *testing.T) {
			live := usersService()
			live.Spec.Ports = tc.users
			services, apex := adopted(t, newCanary().service(func(s *v1beta1.CanaryService) { *s = tc.service }), live)
			if diff := cmp.Diff(tc.wantApex, apex.Spec.Ports); diff != "" {
				t.Errorf("apex Service: -want +got\n%s", diff)
			}
			for _, s := range []*corev1.Service{services.Primary, services.Canary} {
				if diff := cmp.Diff(tc.wantBackend, s.Spec.Ports); diff != "" {
					t.Errorf("%s: -want +got\n%s", s.Name, diff)
				}
			}
		})
	}
}

func nameOf(p corev1.ServicePort, name string) corev1.ServicePort {
	p.Name = name
	return p
}

// A half that somebody has made before speaks what clients of the apex Service speak, too.
func TestAdoptedHalfSpeaksWhatTheApexDoes(t *testing.T) {
	apex, half := usersService(), usersService()
	apex.Spec.Ports = []corev1.ServicePort{{Name: "grpc", Port: 80, TargetPort: intstr.FromInt32(8080), Protocol: corev1.ProtocolTCP}}
	half.Name = "podinfo-canary"
	half.Spec.Ports = []corev1.ServicePort{
		{Name: "http", Port: 80, TargetPort: intstr.FromString("web"), Protocol: corev1.ProtocolTCP, AppProtocol: new("http")},
		{Name: "grpc", Port: 81, TargetPort: intstr.FromInt32(81), Protocol: corev1.ProtocolTCP},
	}
	c := newCanary().service(func(s *v1beta1.CanaryService) { *s = v1beta1.CanaryService{Port: 80} })
	services, _ := adopted(t, c, apex)
	if err := services.Adopt(c.Canary, services.Canary, half); err != nil {
		t.Fatal(err)
	}
	want := []corev1.ServicePort{{Name: "grpc-80", Port: 80, TargetPort: intstr.FromString("web"), Protocol: corev1.ProtocolTCP}}
	if diff := cmp.Diff(want, services.Canary.Spec.Ports); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// discoveredBeside are the ports of newDeployment beside a main port, port 9999 with
// another name and aim.
func discoveredBeside(name string, port int32, to intstr.IntOrString, rpc string, rpcTo intstr.IntOrString) []corev1.ServicePort {
	return []corev1.ServicePort{
		{Name: name, Protocol: corev1.ProtocolTCP, Port: port, TargetPort: to},
		{Name: rpc, Protocol: corev1.ProtocolTCP, Port: 9999, TargetPort: rpcTo},
		{Name: "tcp-podinfod-2", Protocol: corev1.ProtocolTCP, Port: 7777, TargetPort: intstr.FromInt32(7777)},
		{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 5353, TargetPort: intstr.FromInt32(5353)},
	}
}

func TestAdoptUnsupportedService(t *testing.T) {
	for name, change := range map[string]func(*corev1.Service){
		"leads out of the cluster": func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName },
		"original edited":          func(s *corev1.Service) { s.Annotations[workload.OriginalAnnotation] = "{" },
	} {
		t.Run(name, func(t *testing.T) {
			live := usersService()
			change(live)
			services := buildServices(t, newCanary(), newDeployment())
			err := services.Adopt(newCanary().Canary, services.Apex, live)
			if typed := (&workload.UnsupportedServiceError{}); !errors.As(err, &typed) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// Pain 5: what was taken over becomes what it was, and what its user changed
// meanwhile he keeps.
func TestGiveBackService(t *testing.T) {
	flaggers := func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "podinfo-primary"} }
	for name, tc := range map[string]struct {
		before  func(*corev1.Service) // the adoption
		during  func(*corev1.Service)
		without bool // the target is gone
		want    func(*corev1.Service)
	}{
		"as it was":                    {},
		"as it was, without a target":  {without: true},
		"a label that the spec sets":   {before: func(s *corev1.Service) { s.Labels["spec"] = "was" }},
		"ports that its user changes":  {during: func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromInt32(1) }, want: func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromInt32(1) }},
		"a port that its user adds":    {during: func(s *corev1.Service) { s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: 1}) }, want: func(s *corev1.Service) { s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: 1}) }},
		"a port that its user removes": {during: func(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[1:] }, want: func(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[1:] }},
		"a port that was not there": {
			before: func(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[:1] },
			want:   func(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[:1] },
		},
		"a port that the Canary names, too": {
			during: func(s *corev1.Service) { s.Spec.Ports[1].NodePort = 30007 },
			want:   func(s *corev1.Service) { s.Spec.Ports[1].NodePort = 30007 },
		},
		"that port, led elsewhere by its user": {
			during: func(s *corev1.Service) { s.Spec.Ports[1].TargetPort = intstr.FromInt32(2) },
			want:   func(s *corev1.Service) { s.Spec.Ports[1].TargetPort = intstr.FromInt32(2) },
		},
		"the only port has no name": {
			before: func(s *corev1.Service) {
				s.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(1)}}
			},
			want: func(s *corev1.Service) {
				s.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(1)}}
			},
		},
		"the only port is another one, without a name": {
			before: func(s *corev1.Service) {
				s.Spec.Ports = []corev1.ServicePort{{Port: 81, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(1)}}
			},
			want: func(s *corev1.Service) {
				s.Spec.Ports = []corev1.ServicePort{{Port: 81, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(1)}}
			},
		},
		"Flagger had taken it over": {before: flaggers, want: func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "podinfo"} }},
		"Flagger had taken it over from kubectl": {
			before: func(s *corev1.Service) {
				flaggers(s)
				s.Annotations["kubectl.kubernetes.io/last-applied-configuration"] = `{"spec": {"selector": {"app": "podinfo", "tier": "web"}}}`
			},
			want: func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "podinfo", "tier": "web"} },
		},
		"the annotation is lost": {
			during: func(s *corev1.Service) { delete(s.Annotations, workload.OriginalAnnotation) },
			want: func(s *corev1.Service) {
				s.Spec.Selector, s.Spec.Ports[1].TargetPort, s.Labels["spec"] = map[string]string{"app": "podinfo"}, intstr.FromInt32(9898), "ours"
			},
		},
		"the annotation is broken": {
			during: func(s *corev1.Service) { s.Annotations[workload.OriginalAnnotation] = "{" },
			want: func(s *corev1.Service) {
				s.Spec.Selector, s.Spec.Ports[1].TargetPort, s.Labels["spec"] = map[string]string{"app": "podinfo"}, intstr.FromInt32(9898), "ours"
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			live := usersService()
			if tc.before != nil {
				tc.before(live)
			}
			want := live.DeepCopy()
			if tc.want != nil {
				tc.want(want)
			}
			c := newCanary().service(func(s *v1beta1.CanaryService) {
				s.Apex = &v1beta1.CustomMetadata{Labels: map[string]string{"spec": "ours"}}
			})
			services, intent := adopted(t, c, live)
			applyTo(live, intent)
			if services.GivenBack(live) {
				t.Error("it counts as given back before it is")
			}
			if tc.during != nil {
				tc.during(live)
			}
			if tc.without {
				services = workload.Services{}
			}
			merge(t, live, services.GiveBack(live, "sluice.dev/applied"))
			if diff := cmp.Diff(want, live, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if !services.GivenBack(live) {
				t.Error("it does not count as given back")
			}
		})
	}
}

// What a Canary names of an adopted port is its user's again when the Canary no longer names it, and what
// containers list is gone when the Service is given back.
func TestAdoptedPortsFollowTheCanary(t *testing.T) {
	live := usersService()
	want := live.DeepCopy().Spec.Ports
	for _, of := range []v1beta1.CanaryService{
		{Port: 80, TargetPort: intstr.FromInt32(9898), PortName: "mine", AppProtocol: "http"},
		{Port: 80, TargetPort: intstr.FromInt32(9898), PortDiscovery: true},
		{Port: 80, PortDiscovery: true},
		{Port: 80},
	} {
		c := newCanary().service(func(s *v1beta1.CanaryService) { *s = of })
		services := buildServices(t, c, newDeployment())
		services.KeepPorts(c.Canary, []*corev1.Service{nil, nil, live})
		if err := services.Adopt(c.Canary, services.Apex, live); err != nil {
			t.Fatal(err)
		}
		applyTo(live, services.Apex)
		back := live.DeepCopy()
		merge(t, back, services.GiveBack(back, "mark"))
		if diff := cmp.Diff(want, back.Spec.Ports); diff != "" {
			t.Errorf("given back after %+v: -want +got\n%s", of, diff)
		}
	}
	if diff := cmp.Diff(want[1], live.Spec.Ports[1]); diff != "" {
		t.Errorf("the port that the Canary no longer names: -want +got\n%s", diff)
	}
}

// applyTo does what server-side apply does with these fields.
func applyTo(live, intent *corev1.Service) {
	var users struct{ Ports, Applied []corev1.ServicePort }
	_ = json.Unmarshal([]byte(live.Annotations[workload.OriginalAnnotation]), &users)
	has := func(ports []corev1.ServicePort, p corev1.ServicePort) bool {
		return slices.ContainsFunc(ports, func(o corev1.ServicePort) bool { return o.Port == p.Port && o.Protocol == p.Protocol })
	}
	live.Spec.Ports = slices.DeleteFunc(live.Spec.Ports, func(p corev1.ServicePort) bool {
		return has(users.Applied, p) && !has(users.Ports, p) && !has(intent.Spec.Ports, p)
	})
	for k, v := range intent.Labels {
		live.Labels[k] = v
	}
	live.Annotations["sluice.dev/applied"] = "1-x"
	for k, v := range intent.Annotations {
		live.Annotations[k] = v
	}
	live.Spec.Selector = intent.Spec.Selector
	for _, p := range intent.Spec.Ports {
		found := false
		for i := range live.Spec.Ports {
			if was := &live.Spec.Ports[i]; was.Port == p.Port {
				p.NodePort = was.NodePort
				*was, found = p, true
			}
		}
		if !found {
			live.Spec.Ports = append(live.Spec.Ports, p)
		}
	}
}

// merge does what the API server does with a JSON merge patch.
func merge(t *testing.T, live *corev1.Service, patch map[string]any) {
	t.Helper()
	from, with := map[string]any{}, map[string]any{}
	for o, into := range map[any]*map[string]any{live: &from, &patch: &with} {
		raw, err := json.Marshal(o)
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	mergeInto(from, with)
	raw, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	*live = corev1.Service{}
	if err := json.Unmarshal(raw, live); err != nil {
		t.Fatal(err)
	}
}

func mergeInto(from, patch map[string]any) {
	for k, v := range patch {
		below, isMap := v.(map[string]any)
		was, hasMap := from[k].(map[string]any)
		switch {
		case v == nil:
			delete(from, k)
		case isMap && hasMap:
			mergeInto(was, below)
		case isMap:
			from[k] = map[string]any{}
			mergeInto(from[k].(map[string]any), below) //nolint:forcetypeassert // just made
		default:
			from[k] = v
		}
	}
}

// Pain 5: when the Canary goes, clients still reach the application, and the
// Service that was made for it is nobody's, also one that Flagger has made.
func TestLetGoOfService(t *testing.T) {
	services := buildServices(t, newCanary(), newDeployment())
	live := services.Apex.DeepCopy()
	others := metav1.OwnerReference{Kind: "ConfigMap", Name: "another", UID: "o1"}
	want := live.DeepCopy()
	live.OwnerReferences = append(live.OwnerReferences, *metav1.NewControllerRef(newCanary().Canary, v1beta1.GroupVersion.WithKind("Canary")), others)
	delete(want.Labels, ownership.Label)
	delete(want.Annotations, ownership.Annotation)
	want.OwnerReferences, want.Spec.Selector = []metav1.OwnerReference{others}, map[string]string{"app": "podinfo"}
	merge(t, live, services.LetGo(live))
	if diff := cmp.Diff(want, live, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
