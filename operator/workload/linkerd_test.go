package workload_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Linkerd takes a port with an appProtocol that it does not know for opaque TCP, in which no route has an
// effect. It is told in its own words, and what the user's Service said comes back when it is given back.
func TestProtocolsInLinkerd(t *testing.T) {
	for name, tc := range map[string]struct {
		provider, spec string
		users          *string
		want           *string
	}{
		"gRPC":                 {provider: "linkerd", spec: "grpc", want: new("kubernetes.io/h2c")},
		"gRPC in another mesh": {provider: "istio", spec: "grpc", want: new("grpc")},
		"HTTP/2":               {provider: "linkerd", spec: "HTTP2", want: new("kubernetes.io/h2c")},
		"gRPC of browsers":     {provider: "linkerd", spec: "grpc-web", want: new("http")},
		"a name that it knows": {provider: "linkerd", spec: "http", want: new("http")},
		"nothing":              {provider: "linkerd"},
		"what a user's says":   {provider: "linkerd", users: new("grpc"), want: new("kubernetes.io/h2c")},
		"a user's is told too": {provider: "linkerd", spec: "grpc", users: new("http"), want: new("kubernetes.io/h2c")},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary().service(func(s *v1beta1.CanaryService) { s.AppProtocol = tc.spec })
			c.Spec.Provider = tc.provider
			services := buildServices(t, c, newDeployment())
			live := usersService()
			live.Spec.Ports = []corev1.ServicePort{{Name: "web", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(80), AppProtocol: tc.users}}
			want := live.DeepCopy()
			if tc.users != nil {
				if err := services.Adopt(c.Canary, services.Apex, live); err != nil {
					t.Fatal(err)
				}
			}
			for _, s := range services.All() {
				if diff := cmp.Diff(tc.want, s.Spec.Ports[0].AppProtocol); diff != "" {
					t.Errorf("%s: -want +got\n%s", s.Name, diff)
				}
			}
			if tc.users == nil {
				return
			}
			applyTo(live, services.Apex)
			merge(t, live, services.GiveBack(live, "sluice.dev/applied"))
			if diff := cmp.Diff(want, live); diff != "" {
				t.Errorf("given back: -want +got\n%s", diff)
			}
		})
	}
}
