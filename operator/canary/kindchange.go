package canary

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/workload"
)

// observeKind refuses another kind of target for a Canary that has a primary. A
// primary of the new kind would come beside the old one, with the same labels: the
// primary's Service would lead to both, and nobody would bring the old one up to
// date or remove it.
//
// It is looked for where there is no primary of this kind though the Canary has a
// status, which ends as soon as the cache has one, so the API server is asked: the
// cache need not have all workloads of kinds that no Canary is for.
func (r *Reconciler) observeKind(ctx context.Context, w *world) error {
	if w.Canary.Status.Phase == "" || !w.Canary.DeletionTimestamp.IsZero() || hasRevision(w.primary) {
		return nil
	}
	for _, kind := range workload.Kinds() {
		if kind == w.Canary.Spec.TargetRef.Kind || kind == workload.KindService {
			continue // the primary's Service is there in any case
		}
		former := &metav1.PartialObjectMetadata{}
		former.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind(kind))
		key := client.ObjectKey{Namespace: w.Canary.Namespace, Name: w.Canary.PrimaryName()}
		err := r.Live.Get(ctx, key, former)
		switch {
		case apierrors.IsNotFound(err), apierrors.IsForbidden(err): // without the right to read them none was made
			continue
		case err != nil:
			return fmt.Errorf("read %s %s: %w", kind, key, err)
		}
		if w.owner().Owns(former) && former.DeletionTimestamp.IsZero() {
			return mistake(reasonInvalidSpec, "spec.targetRef.kind: %q is not %q, of which primary %s is and serves; "+
				"set it back, or delete the Canary, which gives the traffic to the target, and create it again", w.Canary.Spec.TargetRef.Kind, kind, key.Name)
		}
	}
	return nil
}

// hasRevision tells whether a primary was made by Sluice.
func hasRevision(primary client.Object) bool {
	return primary != nil && primary.GetAnnotations()[workload.RevisionAnnotation] != ""
}
