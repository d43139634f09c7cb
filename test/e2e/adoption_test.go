package e2e

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/rig"
)

// TestAdoptionUnderLoad is pains 4 and 5: a Deployment, Service, VirtualService
// and HorizontalPodAutoscaler that serve already are taken over and given back
// without a failed request, twice, and are what they were afterwards.
func TestAdoptionUnderLoad(t *testing.T) {
	t.Parallel()
	a := newApp(t, "adoption")
	a.deploy()
	a.haveAll()
	users := a.specs()
	clusterIP := get[corev1.Service](a, rig.Name).Spec.ClusterIP
	requests := a.call(200)
	for _, tc := range []struct{ name, version string }{
		{name: "first"},
		{name: "applied again, and deleted in mid-analysis", version: "6.0.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a.t, requests.t = t, t
			before := requests.report()
			a.apply(func(c *v1beta1.Canary) {
				quick(c)
				c.Spec.Analysis.Interval = "3s"
				c.Spec.RevertOnDeletion = tc.version == ""
				c.Spec.AutoscalerRef = &v1beta1.AutoscalerReference{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler", Name: rig.Name}
			})
			a.awaitPhase(v1beta1.PhaseInitialized)
			a.awaitDrained()
			a.wantAdopted(clusterIP)
			requests.awaitMore(200)
			requests.wantNoFailure("the adoption", before)
			if tc.version != "" {
				a.release(tc.version)
				a.awaitWeight(20)
			}

			before = requests.report()
			a.must(a.API.Delete(t.Context(), a.canary()))
			a.await("the end of the Canary and of the primary's pods", func(ctx context.Context) error {
				return errors.Join(a.gone(ctx, &v1beta1.Canary{}, rig.Name), a.noPods(ctx, primaryName))
			})
			requests.awaitMore(200)
			requests.wantNoFailure("the deletion", before)
			if diff := cmp.Diff(users, a.specs()); diff != "" {
				t.Errorf("what was given back (-original +now)\n%s", diff)
			}
			a.must(available(a, rig.Name, 2)(t.Context()))
		})
	}
}

// haveAll adds to podinfo what a user may have beside its Deployment.
func (a *app) haveAll() {
	a.t.Helper()
	ctx := a.t.Context()
	service := get[corev1.Service](a, rig.Name)
	edited := service.DeepCopy()
	edited.Labels = map[string]string{"team": "shop", "app.kubernetes.io/managed-by": "Helm"}
	edited.Annotations = map[string]string{"note": "mine"}
	edited.Spec.Type = corev1.ServiceTypeNodePort
	edited.Spec.Ports = append(edited.Spec.Ports, corev1.ServicePort{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromString("http")})
	a.must(a.API.Patch(ctx, edited, client.MergeFrom(service)))
	vs := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"hosts": []any{rig.Name},
		"http": []any{map[string]any{
			"name": "mine", "timeout": "20s", "route": []any{map[string]any{"destination": map[string]any{"host": rig.Name}}},
		}},
	}}}
	vs.SetGroupVersionKind(virtualServices)
	vs.SetNamespace(a.Namespace)
	vs.SetName(rig.Name)
	vs.SetLabels(map[string]string{"team": "shop"})
	a.must(a.API.Create(ctx, vs))
	a.must(a.API.Create(ctx, &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.Namespace, Name: rig.Name},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: rig.Name},
			MinReplicas:    new(int32(2)), MaxReplicas: 4,
		},
	}))
}

var virtualServices = schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: "VirtualService"}

// specs are the specs, labels and annotations of the user's objects, complete.
func (a *app) specs() map[string]any {
	a.t.Helper()
	out := map[string]any{}
	for _, gvk := range []schema.GroupVersionKind{
		corev1.SchemeGroupVersion.WithKind("Service"), virtualServices, autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"),
	} {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(gvk)
		a.must(a.API.Get(a.t.Context(), a.key(rig.Name), u))
		out[gvk.Kind] = map[string]any{"spec": u.Object["spec"], "labels": u.GetLabels(), "annotations": u.GetAnnotations(), "owners": u.GetOwnerReferences()}
	}
	return out
}

// wantAdopted makes sure that what a user set in the Service is there while it
// leads to the primary.
func (a *app) wantAdopted(clusterIP string) {
	a.t.Helper()
	s := get[corev1.Service](a, rig.Name)
	if s.Spec.Selector["app"] != primaryName || s.Spec.ClusterIP != clusterIP || s.Spec.Type != corev1.ServiceTypeNodePort ||
		len(s.Spec.Ports) != 2 || s.Labels["app.kubernetes.io/managed-by"] != "Helm" || len(s.OwnerReferences) > 0 {
		a.t.Errorf("the apex service is %+v, labels %v, owners %v", s.Spec, s.Labels, s.OwnerReferences)
	}
}
