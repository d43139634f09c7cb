package workload_test

import (
	"testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// Linkerd looks into connections whose protocol it knows by name, and gRPC is none of them.
func TestAppProtocolForLinkerd(t *testing.T) {
	for name, tc := range map[string]struct {
		provider, byDefault, protocol, want string
	}{
		"gRPC":               {provider: "linkerd", protocol: "grpc", want: "kubernetes.io/h2c"},
		"whatever its case":  {provider: "linkerd", protocol: "gRPC", want: "kubernetes.io/h2c"},
		"by default":         {byDefault: "linkerd", protocol: "grpc", want: "kubernetes.io/h2c"},
		"HTTP":               {provider: "linkerd", protocol: "http", want: "http"},
		"another mesh":       {provider: "istio", byDefault: "linkerd", protocol: "grpc", want: "grpc"},
		"nothing is said":    {provider: "linkerd"},
		"as Kubernetes says": {provider: "linkerd", protocol: "kubernetes.io/h2c", want: "kubernetes.io/h2c"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary().service(func(s *v1beta1.CanaryService) { s.AppProtocol = tc.protocol })
			c.Spec.Provider = tc.provider
			options := defaults
			options.MeshProvider = tc.byDefault
			services, err := workload.BuildServices(c.Canary, newDeployment().Deployment, nil, options)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range services.All() {
				got := ""
				if p := s.Spec.Ports[0].AppProtocol; p != nil {
					got = *p
				}
				if got != tc.want {
					t.Errorf("Service %s has %q, want %q", s.Name, got, tc.want)
				}
			}
		})
	}
}
