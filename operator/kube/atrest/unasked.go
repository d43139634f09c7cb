package atrest

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// unasked has what an informer needs not know of the objects in its store, but must be able to ask for. It takes no room.
type unasked struct{}

func (unasked) SetNamespace(string)                           {}
func (unasked) SetName(string)                                {}
func (unasked) GetGenerateName() string                       { return "" }
func (unasked) SetGenerateName(string)                        {}
func (unasked) GetUID() types.UID                             { return "" }
func (unasked) SetUID(types.UID)                              {}
func (unasked) SetResourceVersion(string)                     {}
func (unasked) GetGeneration() int64                          { return 0 }
func (unasked) SetGeneration(int64)                           {}
func (unasked) GetSelfLink() string                           { return "" }
func (unasked) SetSelfLink(string)                            {}
func (unasked) GetCreationTimestamp() (none metav1.Time)      { return none }
func (unasked) SetCreationTimestamp(metav1.Time)              {}
func (unasked) GetDeletionTimestamp() *metav1.Time            { return nil }
func (unasked) SetDeletionTimestamp(*metav1.Time)             {}
func (unasked) GetDeletionGracePeriodSeconds() *int64         { return nil }
func (unasked) SetDeletionGracePeriodSeconds(*int64)          {}
func (unasked) GetLabels() map[string]string                  { return nil }
func (unasked) SetLabels(map[string]string)                   {}
func (unasked) GetAnnotations() map[string]string             { return nil }
func (unasked) SetAnnotations(map[string]string)              {}
func (unasked) GetFinalizers() []string                       { return nil }
func (unasked) SetFinalizers([]string)                        {}
func (unasked) GetOwnerReferences() []metav1.OwnerReference   { return nil }
func (unasked) SetOwnerReferences([]metav1.OwnerReference)    {}
func (unasked) GetManagedFields() []metav1.ManagedFieldsEntry { return nil }
func (unasked) SetManagedFields([]metav1.ManagedFieldsEntry)  {}
