package kube

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Each are the namespaces to list in: those that are named, or one that stands for all where none is.
func Each(namespaces []string) []string {
	if len(namespaces) == 0 {
		return []string{metav1.NamespaceAll}
	}
	return namespaces
}
