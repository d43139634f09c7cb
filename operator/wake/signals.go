// Package wake finds the Canaries that an event concerns, and brings them to their
// reconciler as soon as it asks for, and no more often.
package wake

import (
	"context"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// Signals brings Canaries to the reconciler for reasons that are no event of an object.
type Signals struct{ events chan event.GenericEvent }

// NewSignals gives Signals without any.
func NewSignals() *Signals { return &Signals{events: make(chan event.GenericEvent, 1024)} }

// Events gives the Canaries that are to be looked at.
func (s *Signals) Events() <-chan event.GenericEvent { return s.events }

// Send has a Canary looked at. It waits for a reader, and returns false where ctx ended
// before there was one.
func (s *Signals) Send(ctx context.Context, e event.GenericEvent) bool {
	select {
	case s.events <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

// Wake has Canaries looked at that are known by their names.
func (s *Signals) Wake(ctx context.Context, all []types.NamespacedName) {
	for _, key := range all {
		c := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
		if !s.Send(ctx, event.GenericEvent{Object: c}) {
			return
		}
	}
}

// Follow starts a router that watches its mesh by itself, and has those Canaries
// looked at that it names.
func (s *Signals) Follow(mgr ctrl.Manager, w providers.Watcher) error {
	forward := func(ctx context.Context) error {
		for {
			select {
			case e := <-w.Changed():
				if !s.Send(ctx, e) {
					return nil
				}
			case <-ctx.Done():
				return nil
			}
		}
	}
	return errors.Join(mgr.Add(manager.RunnableFunc(w.Start)), mgr.Add(manager.RunnableFunc(forward)))
}
