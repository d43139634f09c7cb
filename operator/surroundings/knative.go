package surroundings

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/view"
)

// service reads the Service of Knative that is a Canary's target, nil if there is none.
func service(ctx context.Context, r client.Reader, of *v1beta1.Canary) (*knative.Service, error) {
	out := &knative.Service{}
	if err := r.Get(ctx, client.ObjectKey{Namespace: of.Namespace, Name: of.Spec.TargetRef.Name}, out); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return out, nil
}

// revisions are the revision of a Service of Knative that serves and the newest one, with their pods.
func revisions(ctx context.Context, r client.Reader, of *v1beta1.Canary) (primary, target view.Workload) {
	live, err := service(ctx, r, of)
	switch {
	case err != nil:
		return view.Workload{Unread: err.Error()}, view.Workload{Unread: err.Error()}
	case live == nil:
		return view.Workload{}, view.Workload{}
	}
	return revision(ctx, r, live, live.Annotations[knative.PrimaryAnnotation]), revision(ctx, r, live, live.Status.LatestCreatedRevisionName)
}

// revision is one of a Service of Knative, which has as many pods as its requests need.
func revision(ctx context.Context, r client.Reader, live *knative.Service, name string) view.Workload {
	if name == "" {
		return view.Workload{}
	}
	out := view.Workload{Exists: true, Name: name}
	stored := &knative.Revision{}
	if err := r.Get(ctx, client.ObjectKey{Namespace: live.Namespace, Name: name}, stored); err != nil {
		return view.Workload{Name: name, Unread: err.Error()}
	}
	out.Images = stored.Images()
	var pods corev1.PodList
	if err := r.List(ctx, &pods, client.InNamespace(live.Namespace), client.MatchingLabels{knative.RevisionLabel: name}); err != nil {
		out.Unread = err.Error()
		return out
	}
	out.Pods = pods.Items
	for i := range pods.Items {
		if pods.Items[i].DeletionTimestamp == nil {
			out.Replicas++
		}
	}
	return out
}

// promotedRevisions are the revisions of a Service of Knative that serve or have served and that it keeps, the last one first.
func promotedRevisions(ctx context.Context, r client.Reader, of *v1beta1.Canary) ([]view.Past, error) {
	live, err := service(ctx, r, of)
	if err != nil || live == nil {
		return nil, err
	}
	var list knative.RevisionList
	if err := r.List(ctx, &list, client.InNamespace(of.Namespace), client.MatchingLabels{knative.ServiceLabel: live.Name}); err != nil {
		return nil, fmt.Errorf("list revisions of Service %s of Knative: %w", live.Name, err)
	}
	var out []view.Past
	for _, name := range live.Promoted() {
		i := slices.IndexFunc(list.Items, func(r knative.Revision) bool { return r.Name == name })
		if i < 0 {
			continue
		}
		stored := &list.Items[i]
		out = append(out, view.Past{Revision: knative.InStatus(name), Images: stored.Images(), First: &stored.CreationTimestamp})
	}
	return out, nil
}
