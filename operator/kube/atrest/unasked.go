package atrest

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// unasked has what an informer needs not know of the objects in its store, but must be able to ask for. It takes no room.
type unasked struct {
	unread
	unset
}

// unread has what it would have to tell.
type unread struct{}

// unset has what it would have to take.
type unset struct{}

func (unset) SetNamespace(string)                            {}
func (unset) SetName(string)                                 {}
func (unread) GetGenerateName() string                       { return "" }
func (unset) SetGenerateName(string)                         {}
func (unread) GetUID() types.UID                             { return "" }
func (unset) SetUID(types.UID)                               {}
func (unset) SetResourceVersion(string)                      {}
func (unread) GetGeneration() int64                          { return 0 }
func (unset) SetGeneration(int64)                            {}
func (unread) GetSelfLink() string                           { return "" }
func (unset) SetSelfLink(string)                             {}
func (unread) GetCreationTimestamp() (none metav1.Time)      { return none }
func (unset) SetCreationTimestamp(metav1.Time)               {}
func (unread) GetDeletionTimestamp() *metav1.Time            { return nil }
func (unset) SetDeletionTimestamp(*metav1.Time)              {}
func (unread) GetDeletionGracePeriodSeconds() *int64         { return nil }
func (unset) SetDeletionGracePeriodSeconds(*int64)           {}
func (unread) GetLabels() map[string]string                  { return nil }
func (unset) SetLabels(map[string]string)                    {}
func (unread) GetAnnotations() map[string]string             { return nil }
func (unset) SetAnnotations(map[string]string)               {}
func (unread) GetFinalizers() []string                       { return nil }
func (unset) SetFinalizers([]string)                         {}
func (unread) GetOwnerReferences() []metav1.OwnerReference   { return nil }
func (unset) SetOwnerReferences([]metav1.OwnerReference)     {}
func (unread) GetManagedFields() []metav1.ManagedFieldsEntry { return nil }
func (unset) SetManagedFields([]metav1.ManagedFieldsEntry)   {}
