package canary

import (
	"context"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/alerting"
	"github.com/sluice-delivery/sluice/operator/release"
	ground "github.com/sluice-delivery/sluice/operator/world"
)

// writeStatus persists what was decided, before anything of it is done, and
// tells people. It writes only what changed, under an optimistic lock: of two
// writers that read the same version, one loses and moves nothing. It returns
// whether it wrote.
func (r *Reconciler) writeStatus(ctx context.Context, c *v1beta1.Canary, d release.Decision) (bool, error) {
	r.Telemetry.Observe(c)
	if sameStatus(&c.Status, &d.Status) {
		return false, nil
	}
	before := c.Status
	if err := updateStatus(ctx, r, c, d.Status); err != nil {
		return false, err
	}
	next := *c
	next.Status = d.Status
	r.Telemetry.Transition(&next, &before)
	r.Telemetry.Decided(d.Events)
	r.Traces.Transition(&next, &before, r.Clock.Now())
	r.tell(ctx, &next, d.Events)
	if r.Alerts != nil {
		r.Alerts.Notify(ctx, &before, &next, alerting.Images{Primary: d.PrimaryImages, Target: d.TargetImages}, d.Events)
	}
	return true, nil
}

// updateStatus writes a status on top of what was read. ErrChanged says that the Canary has changed since.
func updateStatus(ctx context.Context, r *Reconciler, c *v1beta1.Canary, status v1beta1.CanaryStatus) error {
	// The API server takes no more than the status from it.
	written := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{
		Namespace: c.Namespace, Name: c.Name, UID: c.UID, ResourceVersion: c.ResourceVersion,
	}, Status: status}
	r.turns.Writing(c)
	if err := r.Client.Status().Update(ctx, written); err != nil {
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			r.turns.Conflicted(c, r.Clock.Now())
			return ground.ErrChanged
		}
		r.turns.Failed(c)
		return fmt.Errorf("write status: %w", err)
	}
	c.ResourceVersion = written.ResourceVersion // a later write of this turn follows this one
	r.turns.Wrote(c)
	return nil
}

// sameStatus tells whether two statuses say the same.
func sameStatus(a, b *v1beta1.CanaryStatus) bool {
	// The first is much the cheaper, but takes one time in two time zones for two.
	return reflect.DeepEqual(a, b) || equality.Semantic.DeepEqual(a, b)
}
