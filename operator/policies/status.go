package policies

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// Reasons of the condition of a policy.
const (
	// ReasonValid: the object, such as a MetricTemplate or a policy, can be used.
	ReasonValid = "Valid"
	// ReasonInvalid is that of one that can't be, as a release that waits for it has, too.
	ReasonInvalid = release.ReasonPolicyInvalid
)

// maxNote is how many bytes of a note the API server accepts.
const maxNote = 1024

// setUpStatus has the status of policies say whether they can be kept to.
func (x *Policies) setUpStatus(mgr ctrl.Manager) error {
	err := builder.ControllerManagedBy(mgr).
		Named("releasepolicy").
		WithOptions(controller.Options{NewQueue: x.Queues.New}).
		WatchesRawSource(source.Channel(x.changed, &handler.EnqueueRequestForObject{})).
		Complete(reconcile.Func(x.writeStatus))
	if err != nil {
		return fmt.Errorf("controller releasepolicy: %w", err)
	}
	return nil
}

// policyObject is a policy of either kind.
type policyObject interface {
	client.Object
	GetStatus() *v1beta1.ObjectStatus
}

// writeStatus writes the status of one policy where it has changed, and tells of it.
func (x *Policies) writeStatus(ctx context.Context, of reconcile.Request) (reconcile.Result, error) {
	var cached policyObject = &v1alpha1.ReleasePolicy{}
	if of.Namespace == "" {
		cached = &v1alpha1.ClusterReleasePolicy{}
	}
	if err := x.Client.Get(ctx, of.NamespacedName, cached); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("read release policy: %w", err)
	}
	p := cached.DeepCopyObject().(policyObject) //nolint:forcetypeassert // a copy is of the same type
	is := v1beta1.CanaryCondition{
		Type: v1beta1.ConditionReady, Status: corev1.ConditionTrue, ObservedGeneration: p.GetGeneration(),
		Reason: ReasonValid, Message: "Releases of the Canaries that it selects begin by it",
	}
	rules := x.rulesOf(p)
	if why := rules.Invalid(); why != "" {
		is.Status, is.Reason, is.Message = corev1.ConditionFalse, ReasonInvalid, "No release begins that it may be about until it is mended: "+why
	}
	before := cached.GetStatus().GetCondition(v1beta1.ConditionReady)
	if !p.GetStatus().SetCondition(is, x.Clock.Now()) {
		return reconcile.Result{}, nil
	}
	if err := x.Client.Status().Update(ctx, p); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("write the status of a release policy: %w", err)
	}
	switch invalid := is.Status == corev1.ConditionFalse; {
	case invalid && !before.Says(is.Message):
		x.Recorder.Eventf(p, nil, corev1.EventTypeWarning, is.Reason, "Check", "%s", v1beta1.OneLine(is.Message, maxNote))
	case !invalid && before != nil && before.Status == corev1.ConditionFalse:
		x.Recorder.Eventf(p, nil, corev1.EventTypeNormal, is.Reason, "Check", "%s", is.Message)
	}
	return reconcile.Result{}, nil
}
