package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/rig"
)

// TestHPA has a HorizontalPodAutoscaler through adoption, a release and the
// deletion. Kubernetes' own controller is at work on both; there are no metrics,
// so that it only keeps to the bounds.
func TestHPA(t *testing.T) {
	t.Parallel()
	a := newApp(t, "hpa")
	a.deploy()
	a.must(a.API.Create(t.Context(), &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.Namespace, Name: rig.Name, Labels: map[string]string{"app.kubernetes.io/instance": "shop"}},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: rig.Name},
			MinReplicas:    new(int32(1)),
			MaxReplicas:    6,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: new(int32(80))},
			}}},
			Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: new(int32(30))}},
		},
	}))
	requests := a.call(100)
	before := requests.report()
	a.apply(func(c *v1beta1.Canary) {
		quick(c)
		c.Spec.Analysis.Interval = "3s"
		c.Spec.AutoscalerRef = &v1beta1.AutoscalerReference{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler", Name: rig.Name}
	})
	a.awaitPhase(v1beta1.PhaseInitialized)
	a.awaitDrained()
	users := get[autoscalingv2.HorizontalPodAutoscaler](a, rig.Name)
	a.await("bounds of the copy at rest", bounded(a, 1, 6))
	made := get[autoscalingv2.HorizontalPodAutoscaler](a, primaryName)
	want := users.Spec.DeepCopy()
	want.ScaleTargetRef.Name = primaryName
	if diff := cmp.Diff(*want, made.Spec); diff != "" {
		t.Errorf("copy: -want +got\n%s", diff)
	}
	if ownership.CanaryOf(made) != rig.Name || len(made.OwnerReferences) > 0 || made.Labels["app.kubernetes.io/instance"] != "" {
		t.Errorf("copy: %+v", made.ObjectMeta)
	}

	a.release("6.0.1")
	a.awaitWeight(10)
	a.await("the primary to be kept as large as it is", bounded(a, 2, 6))
	edited := users.DeepCopy()
	edited.Spec.MaxReplicas = 7
	a.must(a.API.Patch(t.Context(), edited, client.MergeFrom(users)))
	a.await("an edit in mid-analysis to be carried over", bounded(a, 2, 7))
	target := get[appsv1.Deployment](a, rig.Name)
	scaled := target.DeepCopy()
	scaled.Spec.Replicas = new(int32(4)) // as the autoscaler does under load
	a.must(a.API.Patch(t.Context(), scaled, client.MergeFrom(target)))

	// Pain 2: the primary has what served as canary before traffic comes back.
	a.await("the floor of the promotion", bounded(a, 4, 7))
	a.awaitPhase(v1beta1.PhaseSucceeded)
	a.await("as many pods of the primary as of the canary", available(a, primaryName, 4))
	a.awaitDrained()
	a.await("the bounds to be the user's again", bounded(a, 1, 7))

	a.must(a.API.Delete(t.Context(), a.canary()))
	a.await("the end of the copy", func(ctx context.Context) error {
		return errors.Join(a.gone(ctx, &v1beta1.Canary{}, rig.Name), a.gone(ctx, &autoscalingv2.HorizontalPodAutoscaler{}, primaryName))
	})
	requests.awaitMore(100)
	requests.wantNoFailure("from the adoption of an HPA to the deletion", before)
	left := get[autoscalingv2.HorizontalPodAutoscaler](a, rig.Name)
	if diff := cmp.Diff(edited.Spec, left.Spec); diff != "" || len(left.Annotations) > 0 || len(left.OwnerReferences) > 0 {
		t.Errorf("the user's has annotations %v, owners %v; spec: -want +got\n%s", left.Annotations, left.OwnerReferences, diff)
	}
}

// bounded objects unless the primary's HorizontalPodAutoscaler has these bounds.
func bounded(a *app, lower, upper int32) func(context.Context) error {
	return func(ctx context.Context) error {
		var hpa autoscalingv2.HorizontalPodAutoscaler
		if err := a.API.Get(ctx, a.key(primaryName), &hpa); err != nil {
			return err
		}
		if *hpa.Spec.MinReplicas != lower || hpa.Spec.MaxReplicas != upper {
			return fmt.Errorf("%s scales between %d and %d, want %d and %d", primaryName, *hpa.Spec.MinReplicas, hpa.Spec.MaxReplicas, lower, upper)
		}
		return nil
	}
}

var scaledObjects = schema.GroupVersionKind{Group: "keda.sh", Version: "v1alpha1", Kind: "ScaledObject"}

const pausedAt = "autoscaling.keda.sh/paused-replicas"

// TestScaledObject is pain 12: KEDA is paused while the target has no pods and
// at no other time, its primary copy never, and neither an operator that dies
// between any two writes nor a deletion leaves anything paused.
func TestScaledObject(t *testing.T) {
	a := newApp(t, "keda")
	a.deploy()
	a.apply(func(c *v1beta1.Canary) {
		quick(c)
		c.Spec.Analysis.Interval = "3s"
		c.Spec.AutoscalerRef = &v1beta1.AutoscalerReference{
			APIVersion: "keda.sh/v1alpha1", Kind: "ScaledObject", Name: rig.Name, PrimaryScalerQueries: map[string]string{"queue": "mine"},
		}
	})
	a.awaitCondition(rig.Name, v1beta1.ConditionStalled, corev1.ConditionTrue, "KEDANotInstalled", "spec.autoscalerRef.kind", "ScaledObject")
	a.must(a.InstallCRDs(t.Context(), "testdata/keda.yaml"))
	a.awaitCondition(rig.Name, v1beta1.ConditionStalled, corev1.ConditionTrue, "AutoscalerMissing", "spec.autoscalerRef", "ScaledObject podinfo")
	a.must(a.API.Create(t.Context(), a.newScaledObject()))
	pauses := a.watchPauses()
	a.awaitPhase(v1beta1.PhaseInitialized)
	a.awaitDrained()
	a.await("the pause", a.paused(true))
	a.await("the copy", func(ctx context.Context) error {
		so, err := a.scaledObject(ctx, primaryName)
		if err != nil {
			return err
		}
		want := map[string]any{
			"scaleTargetRef":  map[string]any{"name": primaryName},
			"minReplicaCount": int64(1), "maxReplicaCount": int64(5),
			"advanced": map[string]any{"horizontalPodAutoscalerConfig": map[string]any{"name": primaryName}},
			"triggers": []any{
				map[string]any{"type": "prometheus", "name": "requests", "metadata": map[string]any{"query": `sum(rate(requests{app="podinfo-primary"}[1m]))`, "threshold": "5"}},
				map[string]any{"type": "prometheus", "name": "queue", "metadata": map[string]any{"query": "mine", "threshold": "5"}},
			},
		}
		if diff := cmp.Diff(want, so.Object["spec"]); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	restart := func() {
		t.Helper()
		a.killOperator()
		a.must(a.startOperator(t.Context()))
	}
	scaleAndEdit := func(upper int64) {
		t.Helper()
		a.must(a.API.Patch(t.Context(), a.newScaledObject(), client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec": {"maxReplicaCount": %d}}`, upper))))
		a.await("an edit to be carried over", func(ctx context.Context) error {
			so, err := a.scaledObject(ctx, primaryName)
			if err != nil {
				return err
			}
			if got, _, _ := unstructured.NestedInt64(so.Object, "spec", "maxReplicaCount"); got != upper {
				return fmt.Errorf("the maximum is %d, want %d", got, upper)
			}
			return nil
		})
	}
	scaleAndEdit(6) // between releases

	a.release("6.0.1")
	restart()
	a.await("an end of the pause", a.paused(false))
	a.awaitWeight(10)
	restart()
	scaleAndEdit(7) // in mid-analysis
	a.must(a.paused(false)(t.Context()))
	a.awaitPhase(v1beta1.PhasePromoting)
	restart()
	a.must(a.paused(false)(t.Context()))
	a.awaitPhase(v1beta1.PhaseSucceeded)
	restart()
	a.awaitDrained()
	a.await("the pause", a.paused(true))

	a.must(a.API.Delete(t.Context(), a.canary()))
	restart()
	a.await("the end of the Canary and of the copy", func(ctx context.Context) error {
		so := &unstructured.Unstructured{}
		so.SetGroupVersionKind(scaledObjects)
		return errors.Join(a.gone(ctx, &v1beta1.Canary{}, rig.Name), a.gone(ctx, so, primaryName))
	})
	a.must(a.paused(false)(t.Context()))
	a.must(available(a, rig.Name, 2)(t.Context()))
	want := []string{rig.Name + " false", rig.Name + " true", rig.Name + " false", rig.Name + " true", rig.Name + " false"}
	if diff := cmp.Diff(want, pauses(rig.Name)); diff != "" {
		t.Errorf("pauses of the target: -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{primaryName + " false"}, pauses(primaryName)); diff != "" {
		t.Errorf("pauses of the primary: -want +got\n%s", diff)
	}
}

func (a *app) newScaledObject() *unstructured.Unstructured {
	so := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"scaleTargetRef":  map[string]any{"name": rig.Name},
		"minReplicaCount": int64(1),
		"maxReplicaCount": int64(5),
		"advanced":        map[string]any{"horizontalPodAutoscalerConfig": map[string]any{"name": rig.Name}},
		"triggers": []any{
			map[string]any{"type": "prometheus", "name": "requests", "metadata": map[string]any{"query": `sum(rate(requests{app="podinfo"}[1m]))`, "threshold": "5"}},
			map[string]any{"type": "prometheus", "name": "queue", "metadata": map[string]any{"query": "sum(queue)", "threshold": "5"}},
		},
	}}}
	so.SetGroupVersionKind(scaledObjects)
	so.SetNamespace(a.Namespace)
	so.SetName(rig.Name)
	return so
}

func (a *app) scaledObject(ctx context.Context, name string) (*unstructured.Unstructured, error) {
	so := &unstructured.Unstructured{}
	so.SetGroupVersionKind(scaledObjects)
	return so, a.API.Get(ctx, a.key(name), so)
}

// paused objects unless the target's ScaledObject is paused, or is not.
func (a *app) paused(want bool) func(context.Context) error {
	return func(ctx context.Context) error {
		so, err := a.scaledObject(ctx, rig.Name)
		if err == nil && isPaused(so) != want {
			err = fmt.Errorf("annotations %v", so.GetAnnotations())
		}
		return err
	}
}

func isPaused(so *unstructured.Unstructured) bool {
	_, ok := so.GetAnnotations()[pausedAt]
	return ok
}

// watchPauses notes from now on whenever a ScaledObject is paused or resumed.
func (a *app) watchPauses() func(name string) []string {
	a.t.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(scaledObjects)
	w, err := a.API.Watch(a.t.Context(), list, client.InNamespace(a.Namespace))
	a.must(err)
	context.AfterFunc(a.t.Context(), w.Stop)
	var mu sync.Mutex
	seen := map[string][]string{}
	go func() {
		for event := range w.ResultChan() {
			so, ok := event.Object.(*unstructured.Unstructured)
			if !ok {
				continue
			}
			mu.Lock()
			now, name := fmt.Sprint(so.GetName(), " ", isPaused(so)), so.GetName()
			if n := len(seen[name]); n == 0 || seen[name][n-1] != now {
				seen[name] = append(seen[name], now)
			}
			mu.Unlock()
		}
	}()
	return func(name string) []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen[name])
	}
}
