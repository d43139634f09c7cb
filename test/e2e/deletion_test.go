package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/rig"
)

// TestDeletionUnderLoad is pain 5: deleting the Canary must not leave the
// application without pods or without a route. It is done between releases, and
// in mid-analysis, while requests go on.
func TestDeletionUnderLoad(t *testing.T) {
	t.Parallel()
	a := newApp(t, "deletion")
	a.deploy()
	requests := a.call(100)
	for _, tc := range []struct {
		name    string
		version string // released and in mid-analysis when the Canary is deleted
	}{
		{name: "between releases"},
		{name: "in mid-analysis", version: "6.0.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a.t, requests.t = t, t
			before := requests.report()
			a.apply(func(c *v1beta1.Canary) {
				quick(c)
				c.Spec.Analysis.Interval = "3s"
			})
			a.awaitPhase(v1beta1.PhaseInitialized)
			a.awaitDrained()
			primary := get[appsv1.Deployment](a, primaryName)
			scaled := primary.DeepCopy()
			scaled.Spec.Replicas = new(int32(3))
			a.must(a.API.Patch(t.Context(), scaled, client.MergeFrom(primary)))
			a.await("three pods of the primary", available(a, primaryName, 3))
			if tc.version != "" {
				a.release(tc.version)
				a.awaitWeight(20)
			}

			a.must(a.API.Delete(t.Context(), a.canary()))
			a.await("the end of the Canary and of what was made for it", func(ctx context.Context) error {
				return errors.Join(
					a.gone(ctx, &v1beta1.Canary{}, rig.Name),
					a.gone(ctx, &istionetworking.VirtualService{}, rig.Name),
					a.gone(ctx, &istionetworking.DestinationRule{}, primaryName),
					a.gone(ctx, &istionetworking.DestinationRule{}, canaryName),
					a.gone(ctx, &appsv1.Deployment{}, primaryName),
					a.gone(ctx, &corev1.Service{}, primaryName),
					a.gone(ctx, &corev1.Service{}, canaryName),
					a.noPods(ctx, primaryName),
				)
			})
			requests.awaitMore(200)
			requests.wantNoFailure("from the adoption to the deletion", before)

			a.must(available(a, rig.Name, 3)(t.Context()))
			apex := get[corev1.Service](a, rig.Name)
			if apex.Spec.Selector["app"] != rig.Name || len(apex.OwnerReferences) > 0 {
				t.Errorf("the apex service selects %v and is owned by %v, want the target and nobody", apex.Spec.Selector, apex.OwnerReferences)
			}
		})
	}
}

// TestDeletionLeavesTheService deletes a Canary whose apex Service the operator
// made: clients depend on it by now, so it stays.
func TestDeletionLeavesTheService(t *testing.T) {
	t.Parallel()
	a := newApp(t, "deletion-service")
	a.deploy()
	a.must(a.API.Delete(t.Context(), get[corev1.Service](a, rig.Name)))
	a.apply(quick)
	a.awaitPhase(v1beta1.PhaseInitialized)
	a.must(a.API.Delete(t.Context(), a.canary()))
	a.await("the end of what was made for the Canary", func(ctx context.Context) error {
		return errors.Join(
			a.gone(ctx, &v1beta1.Canary{}, rig.Name),
			a.gone(ctx, &appsv1.Deployment{}, primaryName),
			a.gone(ctx, &corev1.Service{}, primaryName),
			a.gone(ctx, &istionetworking.VirtualService{}, rig.Name),
		)
	})
	apex := get[corev1.Service](a, rig.Name)
	if apex.Spec.Selector["app"] != rig.Name || len(apex.OwnerReferences) > 0 {
		t.Errorf("the apex service selects %v and is owned by %v, want the target and nobody", apex.Spec.Selector, apex.OwnerReferences)
	}
	a.must(available(a, rig.Name, 2)(t.Context()))
}

// TestDeletionOfTheNamespace takes everything away at once, in whatever order:
// the Canary's finalizer must not hold it up.
func TestDeletionOfTheNamespace(t *testing.T) {
	t.Parallel()
	a, _ := begin(t, "deletion-namespace", func(*v1beta1.Canary) {})
	a.must(a.API.Delete(t.Context(), get[corev1.Namespace](a, a.Namespace)))
	// The namespace controller looks again after longer and longer times.
	a.must(rig.Await(t.Context(), "the end of the namespace", 3*time.Minute, func(ctx context.Context) error {
		err := a.API.Get(ctx, client.ObjectKey{Name: a.Namespace}, &corev1.Namespace{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("it is still there"))
	}))
}

// available objects unless a Deployment asks for so many pods and has them.
func available(a *app, name string, want int32) func(context.Context) error {
	return func(ctx context.Context) error {
		var d appsv1.Deployment
		if err := a.API.Get(ctx, a.key(name), &d); err != nil {
			return err
		}
		if replicas(&d) != want || d.Status.AvailableReplicas != want {
			return fmt.Errorf("%s asks for %d pods and has %d, want %d", name, replicas(&d), d.Status.AvailableReplicas, want)
		}
		return nil
	}
}

func (a *app) noPods(ctx context.Context, app string) error {
	var pods corev1.PodList
	if err := a.API.List(ctx, &pods, client.InNamespace(a.Namespace), client.MatchingLabels{"app": app}); err != nil {
		return err
	}
	if n := len(pods.Items); n > 0 {
		return fmt.Errorf("%d pods of %s are left", n, app)
	}
	return nil
}
