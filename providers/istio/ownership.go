package istio

import (
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedByValue = "sluice"
)

// ownership says whose a live object is.
type ownership int

const (
	ours   ownership = iota // this Canary is its controller
	users                   // it has no controller: somebody made it by hand or from Git
	others                  // another Canary or controller
)

func ownershipOf(live client.Object, canary *v1beta1.Canary) ownership {
	owner := metav1.GetControllerOf(live)
	switch {
	case owner == nil:
		return users
	case owner.UID == canary.UID && owner.Kind == v1beta1.CanaryKind:
		return ours
	default:
		return others
	}
}

// own marks an intent as the Canary's.
func own(object client.Object, canary *v1beta1.Canary) {
	object.SetOwnerReferences([]metav1.OwnerReference{
		*metav1.NewControllerRef(canary, v1beta1.GroupVersion.WithKind(v1beta1.CanaryKind)),
	})
	labels := map[string]string{managedByLabel: managedByValue}
	for k, v := range object.GetLabels() {
		labels[k] = v
	}
	object.SetLabels(labels)
}

func emptyLike(object client.Object) client.Object {
	if _, ok := object.(*networkingv1.DestinationRule); ok {
		return &networkingv1.DestinationRule{}
	}
	return &networkingv1.VirtualService{}
}

func kindOf(object client.Object) string {
	if _, ok := object.(*networkingv1.DestinationRule); ok {
		return "DestinationRule"
	}
	return "VirtualService"
}
