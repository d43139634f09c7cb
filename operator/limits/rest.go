package limits

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
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
	// ticks come once in restFor, allocated are all bytes so far, and free returns memory. Go's own without them.
	ticks     <-chan time.Time
	allocated func() uint64
	free      func()
}

// NeedLeaderElection has it run in those, too, that wait to lead: they have read the cluster as well.
func (*Start) NeedLeaderElection() bool { return false }

// Start waits until the operator is at rest, or ctx ends. It returns no error.
func (s *Start) Start(ctx context.Context) error {
	ticks, allocated, free := s.ticks, s.allocated, s.free
	if ticks == nil {
		every := time.NewTicker(restFor)
		defer every.Stop()
		ticks, allocated, free = every.C, allocatedBytes, debug.FreeOSMemory
	}
	for last := allocated(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks:
		}
		now := allocated()
		if now-last < restBytes {
			free()
			return nil
		}
		last = now
	}
}

// allocatedBytes is how much of the heap was allocated since the process began, whatever has become of it.
func allocatedBytes() uint64 {
	of := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(of)
	return of[0].Value.Uint64()
}
