package kube

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
)

// KnownMapper knows the kinds of a scheme, so that the API server need not be asked what it serves. It takes all kinds to be in
// namespaces but those by which a client has the API server say who it is and what it may do.
func KnownMapper(scheme *runtime.Scheme) meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper(nil)
	for kind := range scheme.AllKnownTypes() {
		scope := meta.RESTScopeNamespace
		if kind.Group == authenticationv1.GroupName || kind.Group == authorizationv1.GroupName && kind.Kind != "LocalSubjectAccessReview" {
			scope = meta.RESTScopeRoot
		}
		mapper.Add(kind, scope)
	}
	return mapper
}
