package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// heldIncidents hold up a release at 60 % whose canary crashes then.
var heldIncidents = []incident{
	{"MetricTemplate deleted and the canary crashes", func(s *site) {
		testHeld(s, (*site).withTemplate, func() {
			s.remove(&v1beta1.MetricTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "health"}})
			s.awaitCondition(v1beta1.ConditionStalled, corev1.ConditionTrue, "MetricTemplate", "health")
		})
	}},
	{"MetricTemplate deleted while suspended and the canary crashes", func(s *site) {
		testHeld(s, (*site).withTemplate, func() {
			s.edit(func(c *v1beta1.Canary) { c.Spec.Suspend = true })
			s.awaitCondition(v1beta1.ConditionReady, corev1.ConditionFalse, "Suspended")
			s.remove(&v1beta1.MetricTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "health"}})
			s.awaitCondition(v1beta1.ConditionStalled, corev1.ConditionTrue, "MetricTemplate", "health")
		})
	}},
	{"autoscaler deleted and the canary crashes", func(s *site) {
		testHeld(s, (*site).withAutoscaler, func() {
			s.remove(s.autoscaler())
			s.awaitCondition(v1beta1.ConditionStalled, corev1.ConditionTrue, "HorizontalPodAutoscaler", app)
		})
	}},
	{"suspended and the canary crashes", func(s *site) {
		testHeld(s, nil, func() {
			s.edit(func(c *v1beta1.Canary) { c.Spec.Suspend = true })
			s.awaitCondition(v1beta1.ConditionReady, corev1.ConditionFalse, "Suspended")
		})
	}},
}

// kindIncidents take a kind from the whole cluster, which others have use for.
var kindIncidents = []incident{
	{"a kind goes while the operator starts", testKindGoes},
	{"CRD of the autoscaler deleted and the canary crashes", func(s *site) {
		testHeld(s, (*site).withScaledObject, func() {
			s.removeScaledObjects()
			s.awaitCondition(v1beta1.ConditionStalled, corev1.ConditionTrue, "ScaledObject")
		})
	}},
}

// testKindGoes starts an operator that is told of a kind which is gone when it wants to read it. The others' Canaries have
// nothing to do with that.
func testKindGoes(s *site) {
	s.stop()
	s.installScaledObjects()
	s.create(s.deployment(oldImage, nil))
	s.create(s.newCanary(nil))
	var asked atomic.Int32
	config := rest.CopyConfig(s.cluster.Config())
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if !strings.Contains(r.URL.Path, "/scaledobjects") {
				return next.RoundTrip(r)
			}
			asked.Add(1)
			return &http.Response{
				Status: "404 Not Found", StatusCode: http.StatusNotFound, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
				Header: http.Header{"Content-Type": {"text/plain"}}, Body: io.NopCloser(strings.NewReader("404 page not found")), Request: r,
			}, nil
		})
	})
	s.operateOn(config, nil)
	s.awaitPhase(v1beta1.PhaseInitialized)
	s.await("the operator to look for ScaledObjects", func(context.Context) error {
		if asked.Load() == 0 {
			return errNotYet
		}
		return nil
	})
	s.release(newImage)
	s.awaitPhase(v1beta1.PhaseSucceeded)
	s.stop()
	s.removeScaledObjects()
	s.operate()
}

// testHeld holds a release up and has all pods of the canary fail.
func testHeld(s *site, with func(*site, *v1beta1.Canary), hold func()) {
	s.begin(gated, func(c *v1beta1.Canary) {
		atStep(60)(c)
		if with != nil {
			with(s, c)
		}
	})
	s.release(newImage)
	s.awaitRoute(60)
	p := s.probe(app)
	hold()
	s.pods.limit(app, newImage, 0)
	s.awaitRoute(0)
	s.await("the last pod of the canary to fail", func(context.Context) error {
		if s.pods.ready(app, newImage) > 0 {
			return errNotYet
		}
		return nil
	})
	p.stop(60)
	s.awaitCondition(v1beta1.ConditionReady, corev1.ConditionFalse)
}

// withTemplate has the Canary's metric be one of a MetricTemplate.
func (s *site) withTemplate(c *v1beta1.Canary) {
	s.create(&v1beta1.MetricTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "health"},
		Spec:       v1beta1.MetricTemplateSpec{Provider: v1beta1.MetricTemplateProvider{Type: "prometheus", Address: s.metrics.URL}, Query: "health"},
	})
	m := &c.Spec.Analysis.Metrics[0]
	m.Query, m.TemplateRef = "", &v1beta1.CrossNamespaceObjectReference{Name: "health"}
}

func (s *site) autoscaler() *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: app},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: app},
			MinReplicas:    new(int32(2)), MaxReplicas: 4,
		},
	}
}

// withAutoscaler gives the target an autoscaler.
func (s *site) withAutoscaler(c *v1beta1.Canary) {
	s.create(s.autoscaler())
	c.Spec.AutoscalerRef = &v1beta1.AutoscalerReference{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler", Name: app}
}

// scaledObjectCRD is the least of KEDA's.
const scaledObjectCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: scaledobjects.keda.sh}
spec:
  group: keda.sh
  scope: Namespaced
  names: {kind: ScaledObject, listKind: ScaledObjectList, plural: scaledobjects, singular: scaledobject}
  versions:
    - name: v1alpha1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// withScaledObject gives the target an autoscaler of a kind that can be taken away.
func (s *site) withScaledObject(c *v1beta1.Canary) {
	s.stop()
	s.installScaledObjects()
	o := s.object("{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, spec: {scaleTargetRef: {name: podinfo}, minReplicaCount: 2, maxReplicaCount: 4, triggers: []}}")
	o.SetName(app)
	s.await("the kind ScaledObject", func(ctx context.Context) error {
		return s.api.Create(ctx, o.DeepCopyObject().(*unstructured.Unstructured))
	})
	c.Spec.AutoscalerRef = &v1beta1.AutoscalerReference{APIVersion: "keda.sh/v1alpha1", Kind: "ScaledObject", Name: app}
	s.operate()
}

func (s *site) installScaledObjects() {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "crd.yaml")
	if err := os.WriteFile(file, []byte(scaledObjectCRD), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := s.cluster.InstallCRDs(s.t.Context(), file); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) removeScaledObjects() {
	s.t.Helper()
	if _, err := s.cluster.Kubectl(s.t.Context(), "delete", "crd", "scaledobjects.keda.sh"); err != nil {
		s.t.Fatal(err)
	}
}
