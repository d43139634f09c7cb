// Package ownership says whose an object is: what was made for a Canary carries its
// name.
//
// It is no owner reference. Kubernetes' garbage collector takes what has one as soon
// as the owner is deleted in the foreground, or its finalizer is removed by hand: the
// primary and the route, while they serve. What is made for a Canary goes on its way
// out instead, when that is done. References of an earlier version, and of Flagger,
// still tell whose an object is, until they are taken away.
package ownership

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

const (
	// Annotation is on everything that is made for a Canary and holds the Canary's
	// name, which is in the same namespace.
	Annotation = "sluice.dev/canary"
	// Label is for people and selectors. Its value is that of LabelValue.
	Label = "sluice.dev/canary"

	// remoteAnnotation is NAME/UID of the Canary in another cluster that an object
	// belongs to.
	remoteAnnotation = "sluice.dev/owner"

	managedByLabel = "app.kubernetes.io/managed-by"
	managedByValue = "sluice"
)

// Ownership says whose a live object is.
type Ownership int

// Whose it is.
const (
	// Ours was made for this Canary.
	Ours Ownership = iota
	// Users was made by somebody by hand or from Git.
	Users
	// Others was made for another Canary or has another controller.
	Others
)

// Owner is a Canary as the owner of objects.
type Owner struct {
	canary *v1beta1.Canary
	remote bool
	gone   []string
}

// For is a Canary as the owner of objects in its own cluster. gone are names of
// Canaries of its namespace that do not exist any more: what was made for them, and
// is needed now, is this one's.
func For(c *v1beta1.Canary, gone ...string) Owner { return Owner{canary: c, gone: gone} }

// Remote is a Canary as the owner of objects in another cluster, where Canaries of the
// same name may be.
func Remote(c *v1beta1.Canary) Owner { return Owner{canary: c, remote: true} }

// Of says whose a live object is.
func (o Owner) Of(live metav1.Object) Ownership {
	controller := metav1.GetControllerOfNoCopy(live)
	if controller != nil && !isCanary(*controller) {
		return Others
	}
	if i := slices.IndexFunc(live.GetOwnerReferences(), isCanary); i >= 0 {
		return o.ofReference(live.GetOwnerReferences()[i])
	}
	if elsewhere := live.GetAnnotations()[remoteAnnotation]; elsewhere != "" {
		return oursIf(elsewhere == o.remoteMark())
	}
	name, labelled := live.GetAnnotations()[Annotation], live.GetLabels()[Label]
	switch {
	case name != "":
		return oursIf(!o.remote && o.is(name))
	case labelled != "": // somebody has removed the annotation
		return oursIf(!o.remote && labelled == LabelValue(o.canary.Name))
	default:
		return Users
	}
}

// ofReference goes by the UID, too, as a Canary of that name may have been created
// again, or be in another cluster.
func (o Owner) ofReference(r metav1.OwnerReference) Ownership {
	return oursIf(r.UID == o.canary.UID || !o.remote && o.is(r.Name))
}

// is tells whether a name in the Canary's own namespace stands for it.
func (o Owner) is(name string) bool { return name == o.canary.Name || slices.Contains(o.gone, name) }

func oursIf(is bool) Ownership {
	if is {
		return Ours
	}
	return Others
}

func (o Owner) remoteMark() string { return o.canary.Name + "/" + string(o.canary.UID) }

// Owns tells whether a live object was made for the Canary.
func (o Owner) Owns(live metav1.Object) bool { return o.Of(live) == Ours }

// Mark marks an intent as made for the Canary, whatever marks it has.
func (o Owner) Mark(intent metav1.Object) {
	labels := map[string]string{managedByLabel: managedByValue}
	maps.Copy(labels, intent.GetLabels())
	annotations := map[string]string{}
	maps.Copy(annotations, intent.GetAnnotations())
	if o.remote {
		annotations[remoteAnnotation] = o.remoteMark()
	} else {
		annotations[Annotation] = o.canary.Name
		labels[Label] = LabelValue(o.canary.Name)
	}
	intent.SetLabels(labels)
	intent.SetAnnotations(annotations)
}

// Marked tells whether an intent was marked.
func Marked(intent metav1.Object) bool {
	annotations := intent.GetAnnotations()
	return annotations[Annotation] != "" || annotations[remoteAnnotation] != ""
}

// Claim is the JSON merge patch of the metadata of a live object of the Canary's by
// which it has the mark of one, and no reference to a Canary. It is nil where nothing
// differs.
func (o Owner) Claim(live metav1.Object) map[string]any {
	name, label := live.GetAnnotations()[Annotation], live.GetLabels()[Label]
	if name == o.canary.Name && label == LabelValue(name) && !Referenced(live) {
		return nil
	}
	out := map[string]any{
		"annotations": map[string]any{Annotation: o.canary.Name},
		"labels":      map[string]any{Label: LabelValue(o.canary.Name)},
	}
	withoutReferences(live, out)
	return out
}

// LetGo is the JSON merge patch of the metadata of a live object by which it is
// nobody's any more, and stays.
func LetGo(live metav1.Object) map[string]any {
	out := map[string]any{"annotations": map[string]any{Annotation: nil}, "labels": map[string]any{Label: nil}}
	withoutReferences(live, out)
	return out
}

// withoutReferences adds to a merge patch what takes the references to Canaries away.
// The list is written as a whole, so it has to be the one that was read.
func withoutReferences(live metav1.Object, patch map[string]any) {
	if !Referenced(live) {
		return
	}
	patch["resourceVersion"] = live.GetResourceVersion()
	patch["ownerReferences"] = slices.DeleteFunc(slices.Clone(live.GetOwnerReferences()), isCanary)
}

// Referenced tells whether an object has a reference to a Canary, by which the garbage
// collector would take it.
func Referenced(live metav1.Object) bool {
	return slices.ContainsFunc(live.GetOwnerReferences(), isCanary)
}

// Dereference is the JSON patch by which an object has no reference to a Canary. It is
// refused as invalid where the object is another one by now or its references differ
// from what was read. It is nil where there is none.
func Dereference(live metav1.Object) ([]byte, error) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value,omitempty"`
	}
	var ops []operation
	references := live.GetOwnerReferences()
	for i := len(references) - 1; i >= 0; i-- { // from the end, as those behind one that goes move up
		if isCanary(references[i]) {
			path := fmt.Sprintf("/metadata/ownerReferences/%d", i)
			ops = append(ops, operation{"test", path + "/uid", references[i].UID}, operation{"remove", path, nil})
		}
	}
	if len(ops) == 0 {
		return nil, nil
	}
	if uid := live.GetUID(); uid != "" {
		ops = append([]operation{{"test", "/metadata/uid", uid}}, ops...)
	}
	return json.Marshal(ops)
}

// CanaryOf is the name of the Canary of the same namespace and cluster that an object
// was made for, empty where it was made for none.
func CanaryOf(live metav1.Object) string {
	references := live.GetOwnerReferences()
	if i := slices.IndexFunc(references, isCanary); i >= 0 {
		return references[i].Name
	}
	return live.GetAnnotations()[Annotation]
}

// Key is what an index finds an object of a Canary by: its value is that of LabelValue
// for the Canary's name. It is empty for what was made for none.
func Key(live metav1.Object) string {
	if name := CanaryOf(live); name != "" {
		return LabelValue(name)
	}
	return live.GetLabels()[Label]
}

// Keep cuts labels and annotations to what this package reads of them.
func Keep(labels, annotations map[string]string) (keptLabels, keptAnnotations map[string]string) {
	if v, ok := labels[Label]; ok {
		keptLabels = map[string]string{Label: v}
	}
	if v, ok := annotations[Annotation]; ok {
		keptAnnotations = map[string]string{Annotation: v}
	}
	return keptLabels, keptAnnotations
}

// Name is for people: whose an object of others is.
func Name(live metav1.Object) string {
	if owner := metav1.GetControllerOfNoCopy(live); owner != nil && !isCanary(*owner) {
		return owner.Kind + " " + owner.Name
	}
	if name := CanaryOf(live); name != "" {
		return v1beta1.CanaryKind + " " + name
	}
	if elsewhere := live.GetAnnotations()[remoteAnnotation]; elsewhere != "" {
		name, uid, _ := strings.Cut(elsewhere, "/")
		return v1beta1.CanaryKind + " " + name + " with UID " + uid + ", in another cluster or deleted there without its finalizer"
	}
	return v1beta1.CanaryKind + " " + live.GetLabels()[Label]
}

// maxLabel is how long the value of a label may be.
const maxLabel = 63

// LabelValue is the value of Label for the name of a Canary: the name itself, and for
// one that is too long its beginning and a hash.
func LabelValue(name string) string {
	if len(name) <= maxLabel {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := hex.EncodeToString(sum[:5])
	return strings.TrimRight(name[:maxLabel-1-len(hash)], "-.") + "-" + hash
}

func isCanary(r metav1.OwnerReference) bool {
	gv, err := schema.ParseGroupVersion(r.APIVersion)
	return err == nil && gv.Group == v1beta1.GroupVersion.Group && r.Kind == v1beta1.CanaryKind
}
