package targets

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/world"
)

// observeKnative reads a Service of Knative, which is the target and, by the revision that serves, the primary: Knative
// keeps the revisions, so that there is no copy of it.
func (t *Targets) observeKnative(ctx context.Context, w *world.World) error {
	ref := w.Canary.Spec.TargetRef
	live := &knative.Service{}
	err := t.Client.Get(ctx, client.ObjectKey{Namespace: w.Canary.Namespace, Name: ref.Name}, live)
	switch {
	case meta.IsNoMatchError(err):
		return world.Missing(ReasonTargetMissing, "spec.targetRef: this cluster serves no Services of %s", knative.GVK.GroupVersion())
	case apierrors.IsNotFound(err):
		return world.Missing(ReasonTargetMissing, "spec.targetRef: there is no Service %s of Knative in namespace %s", ref.Name, w.Canary.Namespace)
	case err != nil:
		return fmt.Errorf("read Service %s/%s of Knative: %w", w.Canary.Namespace, ref.Name, err)
	case live.Canary() == "":
		return world.Missing(ReasonTargetMissing, "spec.targetRef: Knative has made no revision of Service %s yet", ref.Name)
	}
	w.TargetObject = live
	w.Target = revisionOf(live, live.Status.LatestCreatedRevisionName)
	if primary := live.Annotations[knative.PrimaryAnnotation]; primary != "" {
		w.Primary = revisionOf(live, primary)
	}
	if !t.Applier.Observed(live) {
		world.Unobserved(&w.Primary)
	}
	return nil
}

// revisionOf is the state of a revision of a Service. Its pods come and go with the requests, so that it counts as one pod.
func revisionOf(live *knative.Service, name string) release.Workload {
	w := release.Workload{Exists: true, Revision: live.Canary(), Replicas: 1}
	if name != live.Status.LatestCreatedRevisionName {
		w.Revision = live.Primary()
	} else {
		w.Images = images(live)
	}
	switch configurations, routes := live.Condition("ConfigurationsReady"), live.Condition("RoutesReady"); {
	case name == live.Status.LatestReadyRevisionName:
	case name == live.Status.LatestCreatedRevisionName:
		w.Message = fmt.Sprintf("revision %s is not ready (%s): %s", name, configurations.Reason, configurations.Message)
	case routes.Status == metav1.ConditionFalse:
		w.Message = fmt.Sprintf("revision %s may not serve (%s): %s", name, routes.Reason, routes.Message)
	}
	if w.Message == "" {
		w.Ready, w.Available = true, 1
	}
	return w
}

// images are those of the containers of the present template, for people to read.
func images(live *knative.Service) string {
	template, _ := live.Spec["template"].(map[string]any)
	spec, _ := template["spec"].(map[string]any)
	containers, _ := spec["containers"].([]any)
	var out []string
	for _, one := range containers {
		container, _ := one.(map[string]any)
		if image, ok := container["image"].(string); ok {
			out = append(out, image[strings.LastIndex(image, "/")+1:])
		}
	}
	return strings.Join(out, ", ")
}
