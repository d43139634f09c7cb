// Package v1alpha1 holds the sluice.dev/v1alpha1 API: CanaryAction, by which people take a hand in a release, and
// ReleasePolicy and ClusterReleasePolicy, which say when releases may begin. They are kinds of their own so that RBAC says
// who may, and so that tools that keep the Canary as it is in Git have nothing to put back.
//
// +kubebuilder:object:generate=true
// +groupName=sluice.dev
package v1alpha1
