// Package actions takes what people ask of a release in CanaryActions, one after the other and
// each once.
package actions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/operator/world"
)

// actionIndex is the index of CanaryActions by the Canary that they are for.
const actionIndex = "canary"

// finishedKept is how many finished CanaryActions of a Canary are kept, of
// those whose names were made up by the API server.
const finishedKept = 10

// checksKept is how many of those are kept that only look.
const checksKept = 3

// Indexes are those of the cache for CanaryActions.
func Indexes() []wake.Index {
	return []wake.Index{{Of: &v1alpha1.CanaryAction{}, Name: actionIndex, Values: canaryNames}}
}

// Actions are the CanaryActions of Canaries.
type Actions struct {
	// Client reads from a cache that has the Indexes, and writes what came of an action.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// Clock tells the time.
	Clock clock.PassiveClock
	// Checks asks metrics for whoever wants to know; nil where nobody can.
	Checks Checks

	served atomic.Bool
}

// Checks asks the metrics of Canaries for no release.
type Checks interface {
	// DryRun gives what each metric of the analysis says, for a request of a time in seconds, nil until all have answered.
	DryRun(ctx context.Context, c *v1beta1.Canary, request string, asked time.Time) []v1beta1.CheckStatus
}

// Served says that the cache has CanaryActions.
func (x *Actions) Served() { x.served.Store(true) }

var (
	_ world.Observer = (*Actions)(nil)
	_ wake.Waker     = (*Actions)(nil)
)

// Observe adds what people ask for: the oldest action that waits. Where a mistake or the
// Canary's user holds it that is an abort alone, which is always carried out: the others
// wait for it to move again. First it marks the action that
// the persisted status says was taken: an action is taken only when the one before it is
// marked, and one that is marked is never taken again, so each is acted on once whatever
// becomes of the operator in between. After an error no action is taken, which holds up
// nothing else.
func (x *Actions) Observe(ctx context.Context, w *world.World) error {
	c := w.Canary
	if !x.served.Load() || !c.DeletionTimestamp.IsZero() {
		return nil
	}
	all, err := x.list(ctx, c)
	if err != nil {
		return err
	}
	if err := x.markLast(ctx, c, all); err != nil {
		return err
	}
	removeErr := errors.Join(x.removeFinished(ctx, all), x.check(ctx, c, all))
	all = slices.DeleteFunc(all, isCheck)
	if held := w.Mistake != nil || c.Spec.Suspend; held && !abortFirst(c, all) {
		return removeErr
	}
	next, err := x.next(ctx, c, all)
	if next != nil && err == nil {
		w.Actions = []release.Action{{
			Name: next.Identity(), Type: next.Spec.Action,
			By: quoted(next.Spec.RequestedBy), Reason: quoted(next.Spec.Reason), Revision: next.Spec.Revision, Created: next.CreationTimestamp.Time,
			To: next.Spec.ToRevision,
		}}
	}
	return errors.Join(removeErr, err)
}

// abortFirst is true when the oldest action that waits is an abort.
func abortFirst(c *v1beta1.Canary, all []*v1alpha1.CanaryAction) bool {
	i := slices.IndexFunc(all, func(a *v1alpha1.CanaryAction) bool { return waits(a) && !taken(c, a) })
	return i >= 0 && all[i].Spec.Action == v1beta1.ActionAbort
}

// list gives those for a Canary, the oldest first. They are the cache's own
// and must not be changed.
func (x *Actions) list(ctx context.Context, c *v1beta1.Canary) ([]*v1alpha1.CanaryAction, error) {
	var list v1alpha1.CanaryActionList
	if err := x.Client.List(ctx, &list, client.InNamespace(c.Namespace), client.MatchingFields{actionIndex: c.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list CanaryActions: %w", err)
	}
	out := make([]*v1alpha1.CanaryAction, len(list.Items))
	for i := range list.Items {
		out[i] = &list.Items[i]
	}
	slices.SortFunc(out, func(a, b *v1alpha1.CanaryAction) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	return out, nil
}

// next is the oldest that waits, nil if there is none. The cache may be
// behind and show one as waiting that was marked by an operator before this
// one, so the API server has the last word. That is a request for each action,
// none for Canaries without.
func (x *Actions) next(ctx context.Context, c *v1beta1.Canary, all []*v1alpha1.CanaryAction) (*v1alpha1.CanaryAction, error) {
	for _, a := range all {
		if !waits(a) || taken(c, a) {
			continue
		}
		live, err := x.live(ctx, c.Namespace, a.Name, a.UID)
		if err != nil {
			return nil, err
		}
		if live == nil || !waits(live) {
			continue
		}
		if !live.CreationTimestamp.Before(&c.CreationTimestamp) {
			return live, nil
		}
		if err := x.refuseOld(ctx, c, live); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// refuseOld refuses an action that was there before the Canary: whoever asked for it
// meant another one of this name, which is gone.
func (x *Actions) refuseOld(ctx context.Context, c *v1beta1.Canary, a *v1alpha1.CanaryAction) error {
	now := metav1.NewMicroTime(x.Clock.Now())
	return x.finish(ctx, c, a, v1alpha1.CanaryActionStatus{
		Phase: v1alpha1.ActionRefused, Time: &now,
		Message: "it is older than this Canary, so it was meant for an earlier one of this name",
	})
}

func waits(a *v1alpha1.CanaryAction) bool { return !a.Finished() && a.DeletionTimestamp.IsZero() }

// taken tells whether an action is the last one that was taken.
func taken(c *v1beta1.Canary, a *v1alpha1.CanaryAction) bool {
	return a.Outcome(c) != nil
}

// live is an action as the API server has it, nil if it is gone.
func (x *Actions) live(ctx context.Context, namespace, name string, uid types.UID) (*v1alpha1.CanaryAction, error) {
	a, err := kube.Get[v1alpha1.CanaryAction](ctx, x.Live, namespace, name)
	if a == nil || a.UID != uid {
		return nil, err
	}
	return a, nil
}

// markLast marks the action that was taken last, unless the cache shows that
// it is marked. One that the cache does not have is looked for only where
// another waits to be taken: else there is nothing to hurry for, and it may be
// gone for long.
func (x *Actions) markLast(ctx context.Context, c *v1beta1.Canary, all []*v1alpha1.CanaryAction) error {
	last := c.Status.LastAction
	if last == nil {
		return nil
	}
	i := slices.IndexFunc(all, func(a *v1alpha1.CanaryAction) bool { return taken(c, a) })
	if i < 0 && !slices.ContainsFunc(all, waits) || i >= 0 && all[i].Finished() {
		return nil
	}
	name, uid, _ := strings.Cut(last.Name, "/")
	a, err := x.live(ctx, c.Namespace, name, types.UID(uid))
	if a == nil || a.Finished() {
		return err
	}
	return x.mark(ctx, c, a)
}

// mark writes to an action what came of it, as the Canary's status says.
func (x *Actions) mark(ctx context.Context, c *v1beta1.Canary, a *v1alpha1.CanaryAction) error {
	last := c.Status.LastAction
	status := v1alpha1.CanaryActionStatus{Phase: v1alpha1.ActionRefused, Message: last.Message, Time: &last.Time, Revision: last.Revision}
	if last.Done {
		status.Phase = v1alpha1.ActionDone
	}
	return x.finish(ctx, c, a, status)
}

// finish writes to an action what came of it and has it go with the Canary.
func (x *Actions) finish(ctx context.Context, c *v1beta1.Canary, a *v1alpha1.CanaryAction, status v1alpha1.CanaryActionStatus) error {
	next := a.DeepCopy()
	if err := controllerutil.SetOwnerReference(c, next, x.Client.Scheme()); err != nil {
		return fmt.Errorf("owner of CanaryAction %s: %w", a.Name, err)
	}
	if len(next.OwnerReferences) != len(a.OwnerReferences) {
		// The list is written as a whole, so it must be the one that was read.
		if err := x.Client.Patch(ctx, next, client.MergeFromWithOptions(a, client.MergeFromWithOptimisticLock{})); err != nil {
			return client.IgnoreNotFound(fmt.Errorf("own CanaryAction %s: %w", a.Name, err))
		}
	}
	before := next.DeepCopy()
	next.Status = status
	if err := x.Client.Status().Patch(ctx, next, client.MergeFrom(before)); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("write the status of CanaryAction %s: %w", a.Name, err))
	}
	return nil
}

// removeFinished removes all but the newest finished actions with a generated
// name, and of those that only look fewer: they must not push out what tells who has done what. One with a name that somebody chose may be kept in Git, from where it
// would come back and be acted on again.
func (x *Actions) removeFinished(ctx context.Context, all []*v1alpha1.CanaryAction) error {
	acts, checks := 0, 0
	for _, a := range slices.Backward(all) {
		if a.GenerateName == "" || !a.Finished() || !a.DeletionTimestamp.IsZero() {
			continue
		}
		kept, most := &acts, finishedKept
		if isCheck(a) {
			kept, most = &checks, checksKept
		}
		if *kept++; *kept <= most {
			continue
		}
		if err := x.Client.Delete(ctx, a.DeepCopy(), client.Preconditions{UID: &a.UID}); kube.IgnoreChanged(err) != nil {
			return fmt.Errorf("remove CanaryAction %s: %w", a.Name, err)
		}
	}
	return nil
}

// SetUp wakes the Canary of an action as soon as CanaryActions are served. An upgrade by
// Helm brings no new kinds, and the operator must do its other work without.
func (x *Actions) SetUp(_ context.Context, w *wake.Watches) error {
	w.WhenServed(wake.Kinds{
		Cluster:    w.Manager,
		Kinds:      [][]client.Object{{&v1alpha1.CanaryAction{}}},
		Events:     handler.EnqueueRequestsFromMapFunc(canaryOfAction),
		Predicates: []predicate.Predicate{comes()},
		Prepare: func(ctx context.Context, _ client.Object) error {
			if err := w.Index(ctx, Indexes()...); err != nil {
				return err
			}
			x.Served()
			return nil
		},
	})
	return nil
}

// canaryNames are the values of actionIndex for a CanaryAction.
func canaryNames(o client.Object) []string { return []string{o.(*v1alpha1.CanaryAction).Spec.Canary} }

// canaryOfAction finds the Canary that an action is for.
func canaryOfAction(_ context.Context, o client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: o.GetNamespace(), Name: o.(*v1alpha1.CanaryAction).Spec.Canary}}}
}

// comes passes the creation of actions that wait. The rest of their lives
// is the operator's own doing.
func comes() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return waits(e.Object.(*v1alpha1.CanaryAction)) },
		UpdateFunc: func(event.UpdateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}

// quoted makes text of a request fit to stand in a message of ours: in one line, and without the brackets by which it
// could end what it stands in and go on as something else.
func quoted(s string) string {
	return strings.NewReplacer("(", "[", ")", "]").Replace(v1beta1.OneLine(s, 512))
}
