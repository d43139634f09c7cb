package canary

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// tell sends the events of a decision, to event hooks and the log too.
func (r *Reconciler) tell(ctx context.Context, c *v1beta1.Canary, events []release.Event) {
	for _, e := range events {
		kind := corev1.EventTypeNormal
		if e.Warning {
			kind = corev1.EventTypeWarning
		}
		r.Recorder.Eventf(c, nil, kind, e.Reason, "Reconcile", "%s", note(e.Message))
		if r.Hooks != nil {
			r.Hooks.Event(ctx, c, kind, e.Reason, e.Message)
		}
		log.FromContext(ctx).Info(e.Message, "reason", e.Reason, "phase", c.Status.Phase, "weight", c.Status.CanaryWeight)
	}
}

// maxNote is how many bytes of a note the API server accepts.
const maxNote = 1024

// note is a message as an event can hold it: a longer one would not be told at all, and one with line breaks could pass
// for two.
func note(message string) string { return v1beta1.OneLine(message, maxNote) }
