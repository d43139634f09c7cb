package limits

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// restFor is how long next to nothing is allocated by an operator that is at rest, and restBytes is next to nothing.
	restFor   = 30 * time.Second
	restBytes = 8 << 20
)

// Start returns the memory that the start has taken, once the operator has come to rest after it, and once only. A start decodes all that
// there is in the cluster, and has room for what it makes of that between two collections. Go keeps that room for what is to come,
// but nothing like it comes again while the operator runs: later work is a few Canaries at a time, and takes what it
// needs anew.
//
// It is a runnable of a manager.
type Start struct {
	// every is how often it is looked, allocated are all bytes so far, and free returns memory. Go's own without them.
	every     time.Duration
	allocated func() uint64
	free      func()
}

// NeedLeaderElection has it run in those, too, that wait to lead: they have read the cluster as well.
func (*Start) NeedLeaderElection() bool { return false }

// Start waits until the operator is at rest, or ctx ends. It returns no error.
func (s *Start) Start(ctx context.Context) error {
	every, allocated, free := s.every, s.allocated, s.free
	if every == 0 {
		every, allocated, free = restFor, allocatedBytes, debug.FreeOSMemory
	}
	last := allocated()
	// The only error is the end of ctx.
	_ = wait.PollUntilContextCancel(ctx, every, false, func(context.Context) (bool, error) {
		before := last
		last = allocated()
		if last-before >= restBytes {
			return false, nil
		}
		free()
		return true, nil
	})
	return nil
}

// allocatedBytes is how much of the heap was allocated since the process began, whatever has become of it.
func allocatedBytes() uint64 {
	of := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(of)
	return of[0].Value.Uint64()
}
