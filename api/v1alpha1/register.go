package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kinds of this API group.
const (
	CanaryActionKind         = "CanaryAction"
	ReleasePolicyKind        = "ReleasePolicy"
	ClusterReleasePolicyKind = "ClusterReleasePolicy"
)

var (
	// GroupVersion is the group and version of every type in this package.
	GroupVersion = schema.GroupVersion{Group: "sluice.dev", Version: "v1alpha1"}

	// SchemeBuilder collects the functions that add this package's types to a scheme.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme adds this package's types to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKnownTypes(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &CanaryAction{}, &CanaryActionList{},
		&ReleasePolicy{}, &ReleasePolicyList{}, &ClusterReleasePolicy{}, &ClusterReleasePolicyList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
