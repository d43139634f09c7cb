package services

import (
	"strconv"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/consulspec"
)

// Annotations and labels by which consul-k8s registers pods.
const (
	// ServiceAnnotation on a pod is the name of the service that it is an instance of.
	// Without it the Kubernetes Services that select the pod name it.
	ServiceAnnotation = "consul.hashicorp.com/connect-service"
	// injectAnnotation on a pod puts it into the mesh.
	injectAnnotation = "consul.hashicorp.com/connect-inject"
	// kubernetesServiceAnnotation on a pod is the one Kubernetes Service that registers it.
	kubernetesServiceAnnotation = "consul.hashicorp.com/kubernetes-service"
)

// Registered refuses a target whose pods consul-k8s would register in a way that
// can't be released.
//
// The pods must be the same service with and without a Canary: a sidecar gets its
// identity when its pod starts, so a pod that is registered under another name later
// on is one that nobody trusts. The annotation is what makes sure of that; left to
// themselves, pods are named by whichever Services select them, which changes.
func Registered(route providers.Route, n Names) error {
	const field = "spec.template.metadata.annotations of the target: "
	of, named := route.PodAnnotations[ServiceAnnotation]
	injected, _ := strconv.ParseBool(route.PodAnnotations[injectAnnotation])
	switch {
	case named && of != n.Apex, !named && injected:
		return consulspec.Invalid(field+ServiceAnnotation, of, "it must be "+n.Apex+", so that the pods stay the same service when a Canary comes and goes")
	case route.PodAnnotations[kubernetesServiceAnnotation] != "":
		return consulspec.Invalid(field+kubernetesServiceAnnotation, route.PodAnnotations[kubernetesServiceAnnotation],
			"the target's pods are registered through more than one Service; remove it")
	}
	return nil
}
