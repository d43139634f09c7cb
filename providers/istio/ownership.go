package istio

import (
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedByValue = "sluice"

	// ownerAnnotation is NAME/UID of the Canary in another cluster that an object
	// belongs to.
	ownerAnnotation = "sluice.dev/owner"
)

// ownership says whose a live object is.
type ownership int

const (
	ours   ownership = iota // this Canary is its controller
	users                   // it has no controller: somebody made it by hand or from Git
	others                  // another Canary or controller
)

func ownershipOf(live client.Object, canary *v1beta1.Canary) ownership {
	owner, mark := metav1.GetControllerOf(live), live.GetAnnotations()[ownerAnnotation]
	switch {
	case owner == nil && mark == "":
		return users
	case owner == nil && mark == markOf(canary), owner != nil && owner.UID == canary.UID && owner.Kind == v1beta1.CanaryKind:
		return ours
	default:
		return others
	}
}

// ownerOf is for people: who an object of others belongs to.
func ownerOf(live client.Object) string {
	if owner := metav1.GetControllerOf(live); owner != nil {
		return owner.Kind + " " + owner.Name
	}
	name, uid, _ := strings.Cut(live.GetAnnotations()[ownerAnnotation], "/")
	return v1beta1.CanaryKind + " " + name + " with UID " + uid + ", in another cluster or deleted there without its finalizer"
}

func markOf(c *v1beta1.Canary) string { return c.Name + "/" + string(c.UID) }

// own marks an intent as the Canary's.
func (r *Router) own(object client.Object, canary *v1beta1.Canary) {
	if r.remote {
		object.SetAnnotations(union(object.GetAnnotations(), map[string]string{ownerAnnotation: markOf(canary)}))
	} else {
		object.SetOwnerReferences([]metav1.OwnerReference{
			*metav1.NewControllerRef(canary, v1beta1.GroupVersion.WithKind(v1beta1.CanaryKind)),
		})
	}
	object.SetLabels(union(map[string]string{managedByLabel: managedByValue}, object.GetLabels()))
}

// owned tells whether own was called.
func owned(object client.Object) bool {
	return len(object.GetOwnerReferences()) > 0 || object.GetAnnotations()[ownerAnnotation] != ""
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
