// Package v1beta1 holds the flagger.app/v1beta1 API: Canary, MetricTemplate and AlertProvider.
//
// The fields are those of Flagger 1.44, so that existing manifests, health checks and dashboards keep working,
// plus optional ones of our own. Parts that belong to a mesh (matches, retries, traffic policies, ...) are kept
// as they were written (see RawObject): the mesh's own API is the judge of them, and fields that a newer mesh
// adds pass through.
//
// +kubebuilder:object:generate=true
// +groupName=flagger.app
package v1beta1
