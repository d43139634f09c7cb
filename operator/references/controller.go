// Package references tells of each MetricTemplate and AlertProvider whether
// Canaries can use it, when it is applied and not when the first release needs it.
package references

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
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
	"github.com/sluice-delivery/sluice/operator/sources"
	"github.com/sluice-delivery/sluice/operator/telemetry"
)

// ReasonValid: the object, such as a MetricTemplate or a policy, can be used.
const ReasonValid = "Valid"

// secretIndex is the index of the objects by their Secret.
const secretIndex = "secret"

// maxNote is how many bytes an event can hold.
const maxNote = 1024

// Object is what Canaries refer to.
type Object interface {
	client.Object
	// GetStatus is where its condition is.
	GetStatus() *v1beta1.ObjectStatus
	// GetSecretName is that of its credentials, empty for none.
	GetSecretName() string
}

// Reconciler writes the condition Ready of the objects of one kind.
type Reconciler[T Object] struct {
	// Client reads from the informer cache and writes to the API server.
	Client client.Client
	// New makes an empty object, and List an empty list of them.
	New  func() T
	List func() client.ObjectList
	// Noun is what people call the kind, Name that of its controller.
	Name, Noun string
	// Check says whether Canaries can use an object: nil, a *sources.Problem, or why that can't be told now.
	Check func(context.Context, T) error
	// Advice warns of what may go wrong with an object that can be used; empty for nothing. Nil warns of nothing.
	Advice func(T) string
	// Recorder sends events.
	Recorder events.EventRecorder
	// Clock tells the time.
	Clock clock.PassiveClock
	// Queues makes the queue of the objects.
	Queues *telemetry.Queues
}

// SetUp registers the reconciler and its watches with a manager.
func (r *Reconciler[T]) SetUp(ctx context.Context, mgr ctrl.Manager) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, r.New(), secretIndex, secretNames); err != nil {
		return fmt.Errorf("index of secrets: %w", err)
	}
	err := builder.ControllerManagedBy(mgr).
		Named(r.Name).
		WithOptions(controller.Options{NewQueue: r.Queues.New}).
		For(r.New(), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.users), builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})).
		Complete(r)
	if err != nil {
		return fmt.Errorf("controller %s: %w", r.Name, err)
	}
	return nil
}

func secretNames(o client.Object) []string {
	if name := o.(Object).GetSecretName(); name != "" {
		return []string{name}
	}
	return nil
}

// users finds the objects whose credentials are in a Secret.
func (r *Reconciler[T]) users(ctx context.Context, secret client.Object) []reconcile.Request {
	list := r.List()
	err := r.Client.List(ctx, list, client.InNamespace(secret.GetNamespace()), client.MatchingFields{secretIndex: secret.GetName()}, client.UnsafeDisableDeepCopy)
	var out []reconcile.Request
	if err == nil {
		err = meta.EachListItem(list, func(o runtime.Object) error {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(o.(client.Object))})
			return nil
		})
	}
	if err != nil {
		log.FromContext(ctx).Error(err, "Finding who uses a Secret", "controller", r.Name)
	}
	return out
}

// Reconcile checks one object, and writes and tells only what has changed.
func (r *Reconciler[T]) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	cached := r.New()
	if err := r.Client.Get(ctx, req.NamespacedName, cached); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("read the "+r.Noun+": %w", err)
	}
	t := cached.DeepCopyObject().(T)
	if !t.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, nil
	}
	is := v1beta1.CanaryCondition{
		Type: v1beta1.ConditionReady, Status: corev1.ConditionTrue, ObservedGeneration: t.GetGeneration(),
		Reason: ReasonValid, Message: r.usable() + r.advice(t),
	}
	if err := r.Check(ctx, t); err != nil {
		problem := sources.AsProblem(err)
		if problem == nil {
			return ctrl.Result{}, fmt.Errorf("check the "+r.Noun+": %w", err)
		}
		is.Status, is.Reason, is.Message = corev1.ConditionFalse, problem.Reason, problem.Message
	}
	if !t.GetStatus().SetCondition(is, r.Clock.Now()) {
		return ctrl.Result{}, nil
	}
	if err := r.Client.Status().Update(ctx, t); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("write status: %w", err)
	}
	is = *t.GetStatus().GetCondition(is.Type)
	r.tell(t, cached.GetStatus().GetCondition(v1beta1.ConditionReady), is)
	return ctrl.Result{}, nil
}

// usable is the message of an object that Canaries can use.
func (r *Reconciler[T]) usable() string { return "Canaries can use this " + r.Noun }

func (r *Reconciler[T]) advice(o T) string {
	if r.Advice == nil {
		return ""
	}
	return r.Advice(o)
}

// tell sends an event where the answer is another one. That a new object is
// good is no news.
func (r *Reconciler[T]) tell(t T, was *v1beta1.CanaryCondition, is v1beta1.CanaryCondition) {
	ready := is.Status == corev1.ConditionTrue
	switch {
	case was == nil && ready && is.Message == r.usable(), was != nil && was.Status == is.Status && was.Message == is.Message:
	case ready:
		r.Recorder.Eventf(t, nil, corev1.EventTypeNormal, is.Reason, "Check", "%s", is.Message)
	default:
		r.Recorder.Eventf(t, nil, corev1.EventTypeWarning, is.Reason, "Check", "%s", v1beta1.OneLine(is.Message, maxNote))
	}
}
