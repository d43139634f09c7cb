package autoscaling

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
)

const (
	// PausedReplicasAnnotation has KEDA keep a workload at a fixed number of pods.
	PausedReplicasAnnotation = pausedPrefix + "-replicas"
	// PausedByAnnotation names the Canary that has paused a ScaledObject.
	PausedByAnnotation = "sluice.dev/paused-by"

	// pausedPrefix is that of every annotation by which KEDA is paused.
	pausedPrefix = "autoscaling.keda.sh/paused"

	// KEDA's defaults.
	kedaMinReplicas = 0
	kedaMaxReplicas = 100
)

// kedaAnnotations are the prefixes of annotations that tell KEDA how to scale.
var kedaAnnotations = []string{"autoscaling.keda.sh/", "scaledobject.keda.sh/", "validations.keda.sh/"}

// scaledObjectLabel is set by KEDA on each ScaledObject, with its name.
const scaledObjectLabel = "scaledobject.keda.sh/name"

func primaryScaledObject(c *v1beta1.Canary, target Scaled, so *unstructured.Unstructured, floor int32, o workload.Options) (*unstructured.Unstructured, error) {
	ref := c.Spec.AutoscalerRef
	if ref == nil {
		return nil, errNoAutoscalerRef
	}
	kind, name := scaleTarget(so.Object)
	if name == "" {
		return nil, fmt.Errorf("spec.autoscalerRef: ScaledObject %s: spec.scaleTargetRef names no workload", so.GetName())
	}
	lower, upper, err := scaledObjectBounds(so.Object)
	if err != nil {
		return nil, err
	}
	b, err := bounds{lower, upper}.of(ref, floor)
	if err != nil {
		return nil, err
	}
	out := &unstructured.Unstructured{Object: map[string]any{}}
	out.SetGroupVersionKind(ScaledObjectKind)
	spec, _, err := unstructured.NestedMap(so.Object, "spec") // a deep copy
	if err != nil {
		return nil, scaledObjectError(so, err)
	}
	spec["minReplicaCount"], spec["maxReplicaCount"] = int64(b.lower), int64(b.upper)
	if floor > 0 {
		delete(spec, "idleReplicaCount") // it would win over the minimum
	}
	for _, set := range []func(map[string]any) error{
		func(spec map[string]any) error {
			if kind != target.Kind {
				return unstructured.SetNestedMap(spec, map[string]any{
					"apiVersion": appsv1.SchemeGroupVersion.String(), "kind": target.Kind, "name": c.PrimaryName(),
				}, "scaleTargetRef")
			}
			return unstructured.SetNestedField(spec, c.PrimaryName(), "scaleTargetRef", "name")
		},
		nameOfHPA,
		func(spec map[string]any) error { return primaryQueries(c, spec) },
	} {
		if err := set(spec); err != nil {
			return nil, scaledObjectError(so, err)
		}
	}
	meta := autoscalerMeta(c, so, kedaAnnotations, o)
	delete(meta.Labels, scaledObjectLabel)
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&meta)
	if err != nil {
		return nil, scaledObjectError(so, err)
	}
	delete(object, "creationTimestamp")
	out.Object["metadata"], out.Object["spec"] = object, spec
	return out, nil
}

func scaledObjectError(so *unstructured.Unstructured, err error) error {
	return fmt.Errorf("spec.autoscalerRef: ScaledObject %s: %w", so.GetName(), err)
}

// scaleTarget is the workload that a ScaledObject scales; KEDA takes it for a
// Deployment where no kind is given.
func scaleTarget(object map[string]any) (kind, name string) {
	kind, _, _ = unstructured.NestedString(object, "spec", "scaleTargetRef", "kind")
	name, _, _ = unstructured.NestedString(object, "spec", "scaleTargetRef", "name")
	if kind == "" {
		kind = "Deployment"
	}
	return kind, name
}

func scaledObjectBounds(object map[string]any) (lower, upper int32, err error) {
	lower, err = count(object, "minReplicaCount", kedaMinReplicas)
	if err == nil {
		upper, err = count(object, "maxReplicaCount", kedaMaxReplicas)
	}
	return lower, upper, err
}

// idlesAtZero tells whether a ScaledObject has a number of pods, zero, for when there is nothing to do.
func idlesAtZero(o client.Object) bool {
	so, ok := o.(*unstructured.Unstructured)
	if !ok {
		return false
	}
	n, found, err := unstructured.NestedInt64(so.Object, "spec", "idleReplicaCount")
	return err == nil && found && n == 0
}

func count(object map[string]any, field string, missing int32) (int32, error) {
	n, found, err := unstructured.NestedInt64(object, "spec", field)
	switch {
	case err != nil:
		return 0, fmt.Errorf("spec.autoscalerRef: ScaledObject: %w", err)
	case !found:
		return missing, nil
	default:
		return int32(n), nil
	}
}

// nameOfHPA gives the HorizontalPodAutoscaler that KEDA makes for the copy
// another name than the one for the target's. It also takes away what would
// have KEDA scale the primary when the copy goes: it may serve then.
func nameOfHPA(spec map[string]any) error {
	unstructured.RemoveNestedField(spec, "advanced", "restoreToOriginalReplicaCount")
	path := []string{"advanced", "horizontalPodAutoscalerConfig", "name"}
	name, found, err := unstructured.NestedString(spec, path...)
	if err != nil || !found || name == "" {
		return err
	}
	return unstructured.SetNestedField(spec, PrimaryAutoscalerName(name), path...)
}

// primaryQueries has each trigger ask for the primary: by the query that the
// Canary has for it, else by its own with the target's name replaced.
func primaryQueries(c *v1beta1.Canary, spec map[string]any) error {
	triggers, found, err := unstructured.NestedSlice(spec, "triggers")
	if err != nil || !found {
		return err
	}
	for _, t := range triggers {
		trigger, _ := t.(map[string]any)
		metadata, _ := trigger["metadata"].(map[string]any)
		if metadata == nil {
			continue
		}
		if query, ok := c.Spec.AutoscalerRef.PrimaryScalerQueries[triggerName(trigger)]; ok {
			metadata["query"] = query
		} else if query, ok := metadata["query"].(string); ok {
			metadata["query"] = renameInQuery(query, c.Spec.TargetRef.Name, c.PrimaryName())
		}
	}
	return unstructured.SetNestedSlice(spec, triggers, "triggers")
}

// triggerName is the name of a trigger, or that in its metadata, where
// Flagger's documentation has it.
func triggerName(trigger map[string]any) string {
	if name, _ := trigger["name"].(string); name != "" {
		return name
	}
	name, _, _ := unstructured.NestedString(trigger, "metadata", "name")
	return name
}

// UnknownTriggers are the entries of primaryScalerQueries, sorted, for which an
// autoscaler has no trigger.
func UnknownTriggers(ref *v1beta1.AutoscalerReference, scaledObject *unstructured.Unstructured) []string {
	triggers, _, _ := unstructured.NestedSlice(scaledObject.Object, "spec", "triggers")
	known := map[string]bool{}
	for _, t := range triggers {
		trigger, _ := t.(map[string]any)
		known[triggerName(trigger)] = true
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(ref.PrimaryScalerQueries)) {
		if !known[name] {
			out = append(out, name)
		}
	}
	return out
}

// inNamespaceLabel matches the text before a value of a label that names a
// namespace, which is often called like the workload.
var inNamespaceLabel = regexp.MustCompile(`namespace(_name)?\s*(=|!=|=~|!~)\s*["'][^"']*$`)

// renameInQuery replaces the name of the target, and NAME-canary, by that of
// the primary wherever it stands as a whole name or as the beginning of a
// pattern for pods (podinfo-.*). Names that only contain it (my-podinfo,
// podinfo-backend, podinfo_requests) mean something else.
func renameInQuery(query, target, primary string) string {
	var out []byte
	for remaining, from := query, 0; ; {
		at := strings.Index(remaining, target)
		if at < 0 {
			return string(append(out, remaining...))
		}
		end := at + len(target)
		suffix := knownSuffix(remaining[end:])
		out = append(out, remaining[:at]...)
		if wholeName(query[:from+at], remaining[end+len(suffix):]) && !inNamespaceLabel.MatchString(query[:from+at]) {
			out = append(out, primary...)
		} else {
			out = append(out, remaining[at:end+len(suffix)]...)
		}
		from += end + len(suffix)
		remaining = remaining[end+len(suffix):]
	}
}

// knownSuffix is the suffix that makes the name of the canary or the primary
// from the target's.
func knownSuffix(s string) string {
	for _, suffix := range []string{"-canary", "-primary"} {
		if strings.HasPrefix(s, suffix) {
			return suffix
		}
	}
	return ""
}

// wholeName tells whether what stands between before and after is not a part
// of a longer name.
func wholeName(before, after string) bool {
	if before != "" && partOfName(before[len(before)-1]) {
		return false
	}
	switch {
	case after == "":
		return true
	case after[0] == '-':
		return len(after) == 1 || !letterOrDigit(after[1])
	default:
		return !partOfName(after[0])
	}
}

func partOfName(b byte) bool { return b == '_' || b == '-' || letterOrDigit(b) }

func letterOrDigit(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}
