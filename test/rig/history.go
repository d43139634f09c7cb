package rig

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Moment is one status that a Canary has had.
type Moment struct {
	// At is when it was seen, which is a little after it was written.
	At     time.Time
	Status v1beta1.CanaryStatus

	version string // of the object
}

// History is every status that a Canary has had since a moment, in order. It
// is safe for concurrent use.
type History struct {
	rig *Rig

	mu      sync.Mutex
	moments []Moment
}

// Watch begins a History of the Canary, which may not exist yet. It goes on
// until ctx ends.
func (r *Rig) Watch(ctx context.Context) (*History, error) {
	w, err := r.API.Watch(ctx, &v1beta1.CanaryList{}, client.InNamespace(r.Namespace),
		client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", Name)})
	if err != nil {
		return nil, fmt.Errorf("watch the Canary: %w", err)
	}
	context.AfterFunc(ctx, w.Stop)
	h := &History{rig: r}
	go func() {
		for event := range w.ResultChan() {
			if c, ok := event.Object.(*v1beta1.Canary); ok {
				h.add(Moment{At: time.Now(), Status: c.Status, version: c.ResourceVersion})
			}
		}
	}()
	return h, nil
}

func (h *History) add(m Moment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moments = append(h.moments, m)
}

// Moments are all statuses up to now. They are waited for: news of a write
// takes a moment.
func (h *History) Moments(ctx context.Context) ([]Moment, error) {
	now, err := h.rig.Canary(ctx)
	if err != nil {
		return nil, err
	}
	err = Await(ctx, "the history of the Canary", 30*time.Second, func(context.Context) error {
		seen := h.snapshot()
		if len(seen) == 0 {
			return errors.New("nothing was seen yet")
		}
		last := seen[len(seen)-1].version
		order, err := resourceversion.CompareResourceVersion(last, now.ResourceVersion)
		if err == nil && order < 0 {
			err = fmt.Errorf("version %s was seen, it is at %s", last, now.ResourceVersion)
		}
		return err
	})
	return h.snapshot(), err
}

func (h *History) snapshot() []Moment {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.moments)
}

// Weights are the canary's weights in their order, without repetitions of
// the one before.
func Weights(moments []Moment) []int32 {
	var weights []int32
	for _, m := range moments {
		weights = append(weights, m.Status.CanaryWeight)
	}
	return slices.Compact(weights)
}

// Phases are the phases in their order, without repetitions of the one before.
func Phases(moments []Moment) []v1beta1.CanaryPhase {
	var phases []v1beta1.CanaryPhase
	for _, m := range moments {
		if m.Status.Phase != "" {
			phases = append(phases, m.Status.Phase)
		}
	}
	return slices.Compact(phases)
}
