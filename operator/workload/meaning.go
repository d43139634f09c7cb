package workload

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// notes are labels and annotations of pod templates that tools write for
// themselves and that mean nothing for pods. A change of one is no release,
// and they don't go over to a primary. Those that end in "/" stand for all of
// a tool's. kubectl.kubernetes.io/restartedAt is not among them: somebody wants
// new pods.
var notes = []string{
	"argocd.argoproj.io/",
	"deployment.kubernetes.io/revision",
	"deprecated.daemonset.template.generation",
	flaggerID,
	"helm.toolkit.fluxcd.io/",
	"kubectl.kubernetes.io/last-applied-configuration",
	"kustomize.toolkit.fluxcd.io/",
	"meta.helm.sh/",
	"objectset.rio.cattle.io/",
	"sluice.dev/",
}

// meaningful are labels or annotations of a pod template without notes. It is
// a map of its own, nil where there are none.
func meaningful(from map[string]string) map[string]string {
	var out map[string]string
	for k, v := range from {
		if isNote(k) {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[k] = v
	}
	return out
}

func isNote(key string) bool {
	for _, n := range notes {
		if key == n || strings.HasSuffix(n, "/") && strings.HasPrefix(key, n) {
			return true
		}
	}
	return false
}

// meaning is what a user can mean by a workload's pod template, or by a
// Service, as JSON: what equals a default of Kubernetes or is empty is left
// out, so that it does not matter whether it was written, defaulted, or is of
// a version of Kubernetes that does not know it yet.
func meaning(o client.Object) (map[string]any, error) {
	var from any
	if s, ok := o.(*corev1.Service); ok {
		spec := servedSpec(&s.Spec)
		from = map[string]any{"service": &spec}
	} else {
		template := Template(o).DeepCopy()
		template.Labels, template.Annotations = meaningful(template.Labels), meaningful(template.Annotations)
		awake(template)
		unique(&template.Spec)
		plain(&template.Spec)
		from = map[string]any{"metadata": map[string]any{"labels": template.Labels, "annotations": template.Annotations}, "spec": &template.Spec}
	}
	raw, err := json.Marshal(from)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	var meant map[string]any
	if err := json.Unmarshal(raw, &meant); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	prune(meant, "")
	return meant, nil
}

// plain takes from a pod spec those defaults that depend on another field.
func plain(spec *corev1.PodSpec) {
	if spec.ServiceAccountName == "" {
		spec.ServiceAccountName = spec.DeprecatedServiceAccount
	}
	spec.DeprecatedServiceAccount = ""
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			c := &containers[i]
			if c.ImagePullPolicy == defaultPullPolicy(c.Image) {
				c.ImagePullPolicy = ""
			}
			for j := range c.Ports {
				if p := &c.Ports[j]; spec.HostNetwork && p.HostPort == p.ContainerPort {
					p.HostPort = 0
				}
			}
		}
	}
	for i := range spec.Volumes {
		if image := spec.Volumes[i].Image; image != nil && image.PullPolicy == defaultPullPolicy(image.Reference) {
			image.PullPolicy = ""
		}
	}
}

// defaultPullPolicy is what Kubernetes sets for an image: "latest", also where
// it goes without saying, is always pulled.
func defaultPullPolicy(image string) corev1.PullPolicy {
	name, digest, _ := strings.Cut(image, "@")
	tag := ""
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		tag = name[colon+1:]
	}
	if tag == "latest" || tag == "" && digest == "" {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// defaults are the values that Kubernetes gives to fields that are not set, by
// their path without the indexes of lists. Where several fields of the same
// form have the same defaults, alias gives them one name.
var defaults = map[string]any{
	"spec.dnsPolicy":                     "ClusterFirst",
	"spec.enableServiceLinks":            true,
	"spec.preemptionPolicy":              "PreemptLowerPriority",
	"spec.restartPolicy":                 "Always",
	"spec.schedulerName":                 "default-scheduler",
	"spec.serviceAccountName":            "default",
	"spec.terminationGracePeriodSeconds": 30.0,

	"spec.topologySpreadConstraints.minDomains":         1.0,
	"spec.topologySpreadConstraints.nodeAffinityPolicy": "Honor",
	"spec.topologySpreadConstraints.nodeTaintsPolicy":   "Ignore",

	"spec.containers.env.valueFrom.fieldRef.apiVersion": "v1",
	"spec.containers.ports.protocol":                    "TCP",
	"spec.containers.securityContext.procMount":         "Default",
	"spec.containers.terminationMessagePath":            corev1.TerminationMessagePathDefault,
	"spec.containers.terminationMessagePolicy":          "File",
	"spec.containers.hook.httpGet.path":                 "/",
	"spec.containers.hook.httpGet.scheme":               "HTTP",
	"spec.containers.probe.failureThreshold":            3.0,
	"spec.containers.probe.grpc.service":                "",
	"spec.containers.probe.httpGet.path":                "/",
	"spec.containers.probe.httpGet.scheme":              "HTTP",
	"spec.containers.probe.periodSeconds":               10.0,
	"spec.containers.probe.successThreshold":            1.0,
	"spec.containers.probe.timeoutSeconds":              1.0,

	"spec.volumes.azureDisk.cachingMode":                                   "ReadWrite",
	"spec.volumes.azureDisk.fsType":                                        "ext4",
	"spec.volumes.azureDisk.kind":                                          "Shared",
	"spec.volumes.azureDisk.readOnly":                                      false,
	"spec.volumes.configMap.defaultMode":                                   420.0,
	"spec.volumes.downwardAPI.defaultMode":                                 420.0,
	"spec.volumes.downwardAPI.items.fieldRef.apiVersion":                   "v1",
	"spec.volumes.ephemeral.volumeClaimTemplate.spec.volumeMode":           "Filesystem",
	"spec.volumes.hostPath.type":                                           "",
	"spec.volumes.iscsi.iscsiInterface":                                    "default",
	"spec.volumes.projected.defaultMode":                                   420.0,
	"spec.volumes.projected.sources.downwardAPI.items.fieldRef.apiVersion": "v1",
	"spec.volumes.projected.sources.serviceAccountToken.expirationSeconds": 3600.0,
	"spec.volumes.rbd.keyring":                                             "/etc/ceph/keyring",
	"spec.volumes.rbd.pool":                                                "rbd",
	"spec.volumes.rbd.user":                                                "admin",
	"spec.volumes.scaleIO.fsType":                                          "xfs",
	"spec.volumes.scaleIO.storageMode":                                     "ThinProvisioned",
	"spec.volumes.secret.defaultMode":                                      420.0,

	"service.internalTrafficPolicy":                         "Cluster",
	"service.ports.protocol":                                "TCP",
	"service.sessionAffinity":                               "None",
	"service.sessionAffinityConfig.clientIP.timeoutSeconds": 10800.0,
	"service.type":                                          "ClusterIP",
}

var alias = map[string]string{
	"initContainers": "containers",
	"livenessProbe":  "probe",
	"readinessProbe": "probe",
	"startupProbe":   "probe",
	"lifecycle":      "", // its fields are those of the container here
	"postStart":      "hook",
	"preStop":        "hook",
}

// selectors are empty where they select everything, absent where nothing or
// what is next to them.
var selectors = map[string]bool{"labelSelector": true, "namespaceSelector": true, "selector": true}

// prune removes from fields, which are at path, what equals a default and what
// is empty.
func prune(fields map[string]any, path string) {
	for name, value := range fields {
		at := join(path, name)
		normal, defaulted := defaults[at]
		pruneBelow(value, at)
		if isEmpty(value) && !selectors[name] || defaulted && reflect.DeepEqual(value, normal) {
			delete(fields, name)
		}
	}
}

func pruneBelow(value any, at string) {
	switch value := value.(type) {
	case map[string]any:
		prune(value, at)
	case []any:
		for _, element := range value {
			pruneBelow(element, at)
		}
	}
}

func join(path, name string) string {
	if other, ok := alias[name]; ok {
		name = other
	}
	switch {
	case name == "":
		return path
	case path == "":
		return name
	default:
		return path + "." + name
	}
}

func isEmpty(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case map[string]any:
		return len(value) == 0
	case []any:
		return len(value) == 0
	default:
		return false
	}
}
