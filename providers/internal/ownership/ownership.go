// Package ownership tells whose the objects are by which traffic is moved.
package ownership

import (
	"maps"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedByValue = "sluice"

	// ownerAnnotation is NAME/UID of the Canary in another cluster that an object
	// belongs to.
	ownerAnnotation = "sluice.dev/owner"
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
	owner, mark := metav1.GetControllerOf(live), live.GetAnnotations()[ownerAnnotation]
	switch {
	case owner == nil && mark == "":
		return Users
	case owner == nil && mark == markOf(canary), owner != nil && owner.UID == canary.UID && owner.Kind == v1beta1.CanaryKind:
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
	label(object)
}

// MarkRemote marks an intent as that of a Canary of another cluster. An owner
// there is none to the garbage collector, which would remove the object.
func MarkRemote(object metav1.Object, canary *v1beta1.Canary) {
	annotations := map[string]string{}
	maps.Copy(annotations, object.GetAnnotations())
	annotations[ownerAnnotation] = markOf(canary)
	object.SetAnnotations(annotations)
	label(object)
}

// Marked tells whether an intent was marked.
func Marked(object metav1.Object) bool {
	return len(object.GetOwnerReferences()) > 0 || object.GetAnnotations()[ownerAnnotation] != ""
}

func markOf(c *v1beta1.Canary) string { return c.Name + "/" + string(c.UID) }

func label(object metav1.Object) {
	labels := map[string]string{managedByLabel: managedByValue}
	maps.Copy(labels, object.GetLabels())
	object.SetLabels(labels)
}

// Conflict says that a live object, of that kind, is somebody else's.
func Conflict(kind string, live client.Object) error {
	return &providers.ConflictError{Kind: kind, Namespace: live.GetNamespace(), Name: live.GetName(), Owner: ownerOf(live)}
}

// ownerOf is for people: who an object of others belongs to.
func ownerOf(live client.Object) string {
	if owner := metav1.GetControllerOf(live); owner != nil {
		return owner.Kind + " " + owner.Name
	}
	name, uid, _ := strings.Cut(live.GetAnnotations()[ownerAnnotation], "/")
	return v1beta1.CanaryKind + " " + name + " with UID " + uid + ", in another cluster or deleted there without its finalizer"
}
