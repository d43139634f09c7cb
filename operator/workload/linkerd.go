package workload

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// inLinkerd are the names that Linkerd has for what is spoken on a port, by those that others have.
// From 2.18 on it takes a port with a name that it does not know for opaque TCP, and no route
// has an effect there.
var inLinkerd = map[string]string{
	"grpc": "kubernetes.io/h2c", "kubernetes.io/grpc": "kubernetes.io/h2c", "http2": "kubernetes.io/h2c", "h2c": "kubernetes.io/h2c",
	"http/1.1": "http", "grpc-web": "http", "kubernetes.io/ws": "http",
}

// inLinkerd tells whether Linkerd moves the traffic of a Canary.
func (o Options) inLinkerd(canary *v1beta1.Canary) bool {
	return canary.GetProvider(o.MeshProvider) == v1beta1.ProviderLinkerd
}

// nameForMesh has the Canary's port say what is spoken there in the words of its mesh.
func (s Services) nameForMesh(main *corev1.ServicePort) {
	if !s.linkerd || main.AppProtocol == nil {
		return
	}
	if name, ok := inLinkerd[strings.ToLower(*main.AppProtocol)]; ok {
		main.AppProtocol = &name
	}
}
