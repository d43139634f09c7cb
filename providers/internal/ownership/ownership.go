// Package ownership tells whose the objects are by which traffic is moved.
package ownership

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedByValue = "sluice"
)

// Ownership says whose a live object is.
type Ownership int

// Whose it is.
const (
	// Ours has this Canary for its controller.
	Ours Ownership = iota
	// Users has no controller: somebody made it by hand or from Git.
	Users
	// Others has another Canary or controller.
	Others
)

// Of says whose a live object is.
func Of(live client.Object, canary *v1beta1.Canary) Ownership {
	owner := metav1.GetControllerOf(live)
	switch {
	case owner == nil:
		return Users
	case owner.UID == canary.UID && owner.Kind == v1beta1.CanaryKind:
		return Ours
	default:
		return Others
	}
}

// Mark marks an intent as the Canary's.
func Mark(object metav1.Object, canary *v1beta1.Canary) {
	object.SetOwnerReferences([]metav1.OwnerReference{
		*metav1.NewControllerRef(canary, v1beta1.GroupVersion.WithKind(v1beta1.CanaryKind)),
	})
	labels := map[string]string{managedByLabel: managedByValue}
	for k, v := range object.GetLabels() {
		labels[k] = v
	}
	object.SetLabels(labels)
}

// Conflict says that a live object, of that kind, is somebody else's.
func Conflict(kind string, live client.Object) error {
	owner := metav1.GetControllerOf(live)
	return &providers.ConflictError{
		Kind: kind, Namespace: live.GetNamespace(), Name: live.GetName(), Owner: owner.Kind + " " + owner.Name,
	}
}
