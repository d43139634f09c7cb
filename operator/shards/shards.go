// Package shards splits a fleet between operators: each serves the Canaries whose labels it selects. A Canary whose labels
// change is let go by the operator that has served it before the next one takes it, so that none is served by two.
//
// Who serves a Canary is in its status, which is written under an optimistic lock. So the next operator can only take it on
// top of the last thing that the one before has written.
package shards

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/memory"
)

// HandOver is how long an operator waits for another one to let go of a Canary. One that is at work needs a second or two;
// one that is gone never does.
const HandOver = 30 * time.Second

// maxSelector is how long a selector may be, in characters, as the schema of the status has it.
const maxSelector = 253

// Turn is what an operator is to do with a Canary now.
type Turn int

const (
	// Serve says that it is its own.
	Serve Turn = iota
	// Leave says that it is another's, or nobody's.
	Leave
	// LetGo says that it is another's from now on, which the status has to say.
	LetGo
	// Take says that it is its own from now on, which the status has to say.
	Take
	// Wait says that it is its own once another one has let go of it.
	Wait
)

// Shard is which Canaries an operator serves. The zero value serves all, once nobody else does, and nil serves all whoever
// does. It is safe for concurrent use.
type Shard struct {
	selector labels.Selector
	name     string

	held memory.Memory[time.Time] // since when another one was seen to have a Canary that is this operator's
}

// New makes the shard of a label selector, such as "sluice.dev/shard=a" or "!sluice.dev/shard"; all without one. A selector
// that can't be read is an error.
func New(selector string) (*Shard, error) {
	if selector == "" {
		return &Shard{}, nil
	}
	s, err := labels.Parse(selector)
	if err != nil {
		return nil, err
	}
	if len(s.String()) > maxSelector {
		return nil, fmt.Errorf("it is longer than %d characters", maxSelector)
	}
	return &Shard{selector: s, name: s.String()}, nil
}

// Name is what the status of its Canaries says, empty where it serves all.
func (s *Shard) Name() string { return s.name }

// Turn says what is to be done with a Canary now, and how long to wait at most where it is to be waited.
func (s *Shard) Turn(c *v1beta1.Canary, now time.Time) (Turn, time.Duration) {
	if s == nil {
		return Serve, 0
	}
	if s.selector != nil && !s.selector.Matches(labels.Set(c.Labels)) {
		s.held.Forget(client.ObjectKeyFromObject(c))
		if c.Status.Shard == s.name {
			return LetGo, 0
		}
		return Leave, 0
	}
	switch c.Status.Shard {
	case s.name:
		s.held.Forget(client.ObjectKeyFromObject(c))
		return Serve, 0
	case "":
		return Take, 0
	}
	var since time.Time
	s.held.Update(c, func(of *time.Time) {
		if of.IsZero() {
			*of = now
		}
		since = *of
	})
	if left := HandOver - now.Sub(since); left > 0 {
		return Wait, left
	}
	return Take, 0
}

// Forget drops what is known of a Canary that is gone.
func (s *Shard) Forget(of types.NamespacedName) {
	if s != nil {
		s.held.Forget(of)
	}
}
