// Package metrictemplate tells of each MetricTemplate whether Canaries can use
// it, when it is applied and not when the first release needs it.
package metrictemplate

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/operator/sources"
	"github.com/sluice-delivery/sluice/operator/telemetry"
)

// ReasonValid is the reason of a template that can be used.
const ReasonValid = "Valid"

// secretIndex is the index of MetricTemplates by their Secret.
const secretIndex = "secret"

// Reconciler writes the condition Ready of MetricTemplates.
type Reconciler struct {
	// Client reads from the informer cache and writes to the API server.
	Client client.Client
	// Check says whether Canaries can use a template: nil, a *sources.Problem, or why that can't be told now.
	Check func(context.Context, *v1beta1.MetricTemplate) error
	// Recorder sends events.
	Recorder events.EventRecorder
	// Clock tells the time.
	Clock clock.PassiveClock
	// Queues makes the queue of the templates.
	Queues *telemetry.Queues
}

// SetUp registers the reconciler and its watches with a manager.
func (r *Reconciler) SetUp(ctx context.Context, mgr ctrl.Manager) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1beta1.MetricTemplate{}, secretIndex, secretNames); err != nil {
		return fmt.Errorf("index of secrets: %w", err)
	}
	err := builder.ControllerManagedBy(mgr).
		Named("metrictemplate").
		WithOptions(controller.Options{NewQueue: r.Queues.New}).
		For(&v1beta1.MetricTemplate{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.users), builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})).
		Complete(r)
	if err != nil {
		return fmt.Errorf("metric template controller: %w", err)
	}
	return nil
}

func secretNames(o client.Object) []string {
	if ref := o.(*v1beta1.MetricTemplate).Spec.Provider.SecretRef; ref != nil {
		return []string{ref.Name}
	}
	return nil
}

// users finds the templates whose credentials are in a Secret.
func (r *Reconciler) users(ctx context.Context, secret client.Object) []reconcile.Request {
	var list v1beta1.MetricTemplateList
	err := r.Client.List(ctx, &list, client.InNamespace(secret.GetNamespace()), client.MatchingFields{secretIndex: secret.GetName()}, client.UnsafeDisableDeepCopy)
	if err != nil {
		log.FromContext(ctx).Error(err, "Finding the MetricTemplates of a Secret")
		return nil
	}
	out := make([]reconcile.Request, len(list.Items))
	for i := range list.Items {
		out[i].NamespacedName = client.ObjectKeyFromObject(&list.Items[i])
	}
	return out
}

// Reconcile checks one template, and writes and tells only what has changed.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	cached := &v1beta1.MetricTemplate{}
	if err := r.Client.Get(ctx, req.NamespacedName, cached); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("read MetricTemplate: %w", err)
	}
	t := cached.DeepCopy()
	if !t.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	is := v1beta1.CanaryCondition{
		Type: v1beta1.ConditionReady, Status: corev1.ConditionTrue, ObservedGeneration: t.Generation,
		Reason: ReasonValid, Message: usable + advice(t),
	}
	if err := r.Check(ctx, t); err != nil {
		problem := sources.AsProblem(err)
		if problem == nil {
			return ctrl.Result{}, fmt.Errorf("check MetricTemplate: %w", err)
		}
		is.Status, is.Reason, is.Message = corev1.ConditionFalse, problem.Reason, problem.Message
	}
	if !t.Status.SetCondition(is, r.Clock.Now()) {
		return ctrl.Result{}, nil
	}
	if err := r.Client.Status().Update(ctx, t); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("write status: %w", err)
	}
	r.tell(t, cached.Status.GetCondition(v1beta1.ConditionReady), is)
	return ctrl.Result{}, nil
}

// usable is the message of a template that Canaries can use.
const usable = "Canaries can use this template"

// advice warns of a query that may select several series, which is known for sure only
// when a release asks for it.
func advice(t *v1beta1.MetricTemplate) string {
	if t.Spec.Provider.Type != "prometheus" || metrics.Aggregates(t.Spec.Query) {
		return ""
	}
	return "; its query aggregates nothing, and a check fails where it selects several series: use sum() or the like, or set policy.severalSeries of the metric"
}

// tell sends an event where the answer is another one. That a new template is
// good is no news.
func (r *Reconciler) tell(t *v1beta1.MetricTemplate, was *v1beta1.CanaryCondition, is v1beta1.CanaryCondition) {
	ready := is.Status == corev1.ConditionTrue
	switch {
	case was == nil && ready && is.Message == usable, was != nil && was.Status == is.Status && was.Message == is.Message:
	case ready:
		r.Recorder.Eventf(t, nil, corev1.EventTypeNormal, is.Reason, "Check", "%s", is.Message)
	default:
		r.Recorder.Eventf(t, nil, corev1.EventTypeWarning, is.Reason, "Check", "%s", cut(is.Message))
	}
}

// cut shortens a message to what an event can hold.
func cut(s string) string {
	const most = 1000
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return s
}
