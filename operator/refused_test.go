package main

import (
	"context"
	"errors"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// refusedIncidents have the API server refuse something that the operator writes, while a
// bad release has users.
var refusedIncidents = []incident{
	{"writes of Services refused in mid-release", testServicesRefused},
	{"copy of the autoscaler refused", testAutoscalerRefused},
}

// refuse has a policy refuse all writes to objects of a kind whose name a CEL
// expression picks, and waits until it is in force: until a write of the example, which
// is to be one, is refused.
func (s *site) refuse(group, resource, which string, example client.Object) {
	s.t.Helper()
	name := s.namespace + "-" + resource
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
					Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"*"}, Resources: []string{resource}},
				},
			}}},
			Validations: []admissionv1.Validation{{Expression: "!(" + which + ")", Message: "nobody may write this"}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
			MatchResources: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{
				MatchLabels: map[string]string{corev1.LabelMetadataName: s.namespace},
			}},
		},
	}
	for _, o := range []client.Object{policy, binding} {
		s.create(o)
		s.t.Cleanup(func() {
			if err := s.api.Delete(context.WithoutCancel(s.t.Context()), o); err != nil {
				s.t.Error(err)
			}
		})
	}
	s.await("the policy", func(ctx context.Context) error {
		err := s.api.Patch(ctx, example.DeepCopyObject().(client.Object),
			client.RawPatch("application/merge-patch+json", []byte(`{"metadata": {"labels": {"tried": "it"}}}`)), client.DryRunAll)
		switch {
		case err == nil:
			return errors.New("it is not in force")
		case strings.Contains(err.Error(), "nobody may write this"):
			return nil
		}
		return err
	})
}

// testServicesRefused edits what the Services are to be, which then can't be written.
func testServicesRefused(s *site) {
	s.begin(nil, func(c *v1beta1.Canary) { c.Spec.Analysis.Threshold = 6 })
	s.bad.Store(true)
	s.release(newImage)
	s.awaitRoute(50)
	p := s.probe(app)
	s.refuse("", "services", "true", get[corev1.Service](s, app))
	s.edit(func(c *v1beta1.Canary) {
		metadata := &v1beta1.CustomMetadata{Labels: map[string]string{"team": "shop"}}
		c.Spec.Service.Apex, c.Spec.Service.Primary, c.Spec.Service.Canary = metadata, metadata, metadata
	})
	s.awaitPhase(v1beta1.PhaseFailed)
	s.awaitRoute(0)
	s.awaitDrained()
	s.awaitCondition(v1beta1.ConditionApplied, corev1.ConditionFalse, "Service "+app, "nobody may write this")
	p.stop(0)
}

// testAutoscalerRefused edits the target's autoscaler, whose copy for the primary can't be
// written.
func testAutoscalerRefused(s *site) {
	s.begin(nil, func(c *v1beta1.Canary) {
		s.withAutoscaler(c)
		c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight = 20, 60
	})
	p := s.probe(app)
	s.refuse("autoscaling", "horizontalpodautoscalers", "object.metadata.name == '"+app+"-primary'", get[autoscalingv2.HorizontalPodAutoscaler](s, app+"-primary"))
	change[autoscalingv2.HorizontalPodAutoscaler](s, app, func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Spec.MaxReplicas = 8 })
	before := s.queries.Load()
	s.bad.Store(true)
	s.release(newImage)
	s.awaitPhase(v1beta1.PhaseFailed)
	s.awaitRoute(0)
	s.awaitCondition(v1beta1.ConditionApplied, corev1.ConditionFalse, "HorizontalPodAutoscaler", app+"-primary", "nobody may write this")
	if s.queries.Load() == before {
		s.t.Error("nobody asked for its metrics")
	}
	wantShares(s.t, p.stop(0), 0, 20, 0)
}
