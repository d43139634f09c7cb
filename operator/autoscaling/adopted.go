package autoscaling

import (
	"encoding/json"
	"fmt"
	"maps"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// originalAutoscaler is what OriginalAnnotation holds on an autoscaler of a primary that was
// there before the Canary's. A label or annotation that was not there is nil.
type originalAutoscaler struct {
	Spec        json.RawMessage    `json:"spec"`
	Labels      map[string]*string `json:"labels,omitempty"`
	Annotations map[string]*string `json:"annotations,omitempty"`
}

// AdoptAutoscaler turns the intent for the primary's copy of an autoscaler into one for an
// autoscaler of the primary that somebody made before, of which live is the present state. What
// it was goes into an annotation. One that was adopted already stays so; for one that was made for
// a Canary there is nothing to do.
func AdoptAutoscaler(intent, live client.Object, owner ownership.Owner) error {
	raw := live.GetAnnotations()[workload.OriginalAnnotation]
	if raw == "" && owner.Of(live) != ownership.Users {
		return nil
	}
	if raw == "" {
		spec, err := json.Marshal(autoscalerSpec(live))
		if err != nil {
			return fmt.Errorf("encode what autoscaler %s was: %w", live.GetName(), err)
		}
		encoded, err := json.Marshal(originalAutoscaler{
			Spec: spec, Labels: workload.Before(nil, intent.GetLabels(), live.GetLabels()), Annotations: workload.Before(nil, intent.GetAnnotations(), live.GetAnnotations()),
		})
		if err != nil {
			return fmt.Errorf("encode what autoscaler %s was: %w", live.GetName(), err)
		}
		raw = string(encoded)
	}
	annotations := map[string]string{}
	maps.Copy(annotations, intent.GetAnnotations())
	annotations[workload.OriginalAnnotation] = raw
	intent.SetAnnotations(annotations)
	return nil
}

// GiveBackAutoscaler is the JSON merge patch by which an autoscaler that was adopted becomes what it
// was; nil for one that was made for a Canary. marks are annotations that go too. One whose
// annotation somebody has edited stays what it is, so that this holds up no deletion.
func GiveBackAutoscaler(live client.Object, marks ...string) map[string]any {
	raw := live.GetAnnotations()[workload.OriginalAnnotation]
	if raw == "" {
		return nil
	}
	patch := map[string]any{}
	var was originalAutoscaler
	if err := json.Unmarshal([]byte(raw), &was); err == nil {
		if spec, err := specBefore(live, was.Spec); err == nil {
			patch["spec"] = spec
		}
	}
	metadata := ownership.LetGo(live)
	labels, annotations := map[string]any{}, map[string]any{workload.OriginalAnnotation: nil}
	for _, mark := range marks {
		annotations[mark] = nil
	}
	for k, v := range was.Labels {
		labels[k] = v
	}
	for k, v := range was.Annotations {
		annotations[k] = v
	}
	for key, more := range map[string]map[string]any{"labels": labels, "annotations": annotations} {
		if of, ok := metadata[key].(map[string]any); ok {
			maps.Copy(of, more)
		}
	}
	patch["metadata"] = metadata
	return patch
}

// specBefore is the JSON merge patch by which the spec of an autoscaler becomes what it was.
func specBefore(live client.Object, was json.RawMessage) (map[string]any, error) {
	now, err := json.Marshal(autoscalerSpec(live))
	if err != nil {
		return nil, fmt.Errorf("encode the spec: %w", err)
	}
	patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch(now, was, now)
	if err != nil {
		return nil, fmt.Errorf("compare the spec: %w", err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(patch, &out); err != nil {
		return nil, fmt.Errorf("read the patch: %w", err)
	}
	return out, nil
}

func autoscalerSpec(o client.Object) any {
	switch a := o.(type) {
	case *autoscalingv2.HorizontalPodAutoscaler:
		return a.Spec
	case *unstructured.Unstructured:
		return a.Object["spec"]
	default:
		return nil
	}
}
