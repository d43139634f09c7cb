package inmemory

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kind is one that a Server serves.
type Kind struct {
	schema.GroupVersionKind

	// Resource is its name in paths.
	Resource string
	// Versions are all that it is served in, the one of the kind among them. The objects are the same in each.
	Versions []string
	// Namespaced is false for kinds whose objects are in no namespace.
	Namespaced bool
	// Custom is true for a custom resource, which is served as JSON alone.
	Custom bool
}

// builtin are Kubernetes' own kinds that an operator has to do with.
func builtin() []Kind {
	var out []Kind
	add := func(group, version string, namespaced bool, kinds ...string) {
		for i := 0; i < len(kinds); i += 2 {
			gvk := schema.GroupVersionKind{Group: group, Version: version, Kind: kinds[i]}
			out = append(out, Kind{GroupVersionKind: gvk, Resource: kinds[i+1], Versions: []string{version}, Namespaced: namespaced})
		}
	}
	add("", "v1", true, "ConfigMap", "configmaps", "Secret", "secrets", "Service", "services", "ServiceAccount", "serviceaccounts", "Pod", "pods", "Event", "events")
	add("", "v1", false, "Namespace", "namespaces")
	add("apps", "v1", true, "Deployment", "deployments", "StatefulSet", "statefulsets", "DaemonSet", "daemonsets", "ReplicaSet", "replicasets",
		"ControllerRevision", "controllerrevisions")
	add("autoscaling", "v2", true, "HorizontalPodAutoscaler", "horizontalpodautoscalers")
	add("discovery.k8s.io", "v1", true, "EndpointSlice", "endpointslices")
	add("networking.k8s.io", "v1", true, "Ingress", "ingresses", "NetworkPolicy", "networkpolicies")
	add("policy", "v1", true, "PodDisruptionBudget", "poddisruptionbudgets")
	add("coordination.k8s.io", "v1", true, "Lease", "leases")
	add("events.k8s.io", "v1", true, "Event", "events")
	add("authorization.k8s.io", "v1", false, "SelfSubjectAccessReview", "selfsubjectaccessreviews")
	add("authentication.k8s.io", "v1", false, "SelfSubjectReview", "selfsubjectreviews")
	return out
}

// groups are what is served, as clients look for it.
func (s *Server) groups() *metav1.APIGroupList {
	out := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	at := map[string]int{}
	for _, c := range s.sorted() {
		k := c.kind
		if k.Group == "" {
			continue
		}
		i, ok := at[k.Group]
		if !ok {
			i = len(out.Groups)
			at[k.Group] = i
			out.Groups = append(out.Groups, metav1.APIGroup{Name: k.Group})
		}
		g := &out.Groups[i]
		for _, v := range k.Versions {
			version := metav1.GroupVersionForDiscovery{GroupVersion: k.Group + "/" + v, Version: v}
			if !slices.Contains(g.Versions, version) {
				g.Versions = append(g.Versions, version)
			}
			if v == k.Version {
				g.PreferredVersion = version
			}
		}
	}
	return out
}

// resources are those of a group in a version.
func (s *Server) resources(group, version string) *metav1.APIResourceList {
	out := &metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
		GroupVersion: schema.GroupVersion{Group: group, Version: version}.String(),
	}
	verbs := metav1.Verbs{"create", "delete", "get", "list", "patch", "update", "watch"}
	for _, c := range s.sorted() {
		k := c.kind
		if k.Group != group || !slices.Contains(k.Versions, version) {
			continue
		}
		r := metav1.APIResource{Name: k.Resource, Kind: k.Kind, Namespaced: k.Namespaced, Verbs: verbs}
		out.APIResources = append(out.APIResources, r)
		r.Name += "/status"
		r.Verbs = metav1.Verbs{"get", "patch", "update"}
		out.APIResources = append(out.APIResources, r)
	}
	return out
}

func (s *Server) sorted() []*collection {
	var out []*collection
	for _, c := range s.collections {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *collection) int {
		return cmp.Or(cmp.Compare(a.kind.Group, b.kind.Group), cmp.Compare(a.kind.Resource, b.kind.Resource))
	})
	return out
}
