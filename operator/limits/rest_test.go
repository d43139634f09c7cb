package limits

import (
	"context"
	"testing"
	"time"
)

// TestStart: memory is returned once next to nothing is allocated any more, and once only.
func TestStart(t *testing.T) {
	bytes, freed := make(chan uint64), 0
	s := &Start{every: time.Nanosecond, allocated: func() uint64 { return <-bytes }, free: func() { freed++ }}
	ended := make(chan error, 1)
	go func() { ended <- s.Start(t.Context()) }()
	for _, now := range []uint64{0, 2 * restBytes, 3 * restBytes, 10 * restBytes, 11*restBytes - 1} {
		select {
		case bytes <- now: // it is looked once more
		case err := <-ended:
			t.Fatalf("it has ended while much was allocated: %v", err)
		}
	}
	if err := <-ended; err != nil || freed != 1 {
		t.Errorf("%v, and memory was returned %d times", err, freed)
	}
	if s.NeedLeaderElection() {
		t.Error("only the leader returns memory")
	}
}

// TestStartEnds: it ends with its context.
func TestStartEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &Start{every: time.Hour, allocated: func() uint64 { return 0 }, free: func() { t.Error("memory was returned") }}
	if err := s.Start(ctx); err != nil {
		t.Error(err)
	}
}

func TestAllocatedBytes(t *testing.T) {
	before := allocatedBytes()
	kept := make([]byte, 1<<20)
	if grown := allocatedBytes() - before; grown < 1<<20 || len(kept) == 0 {
		t.Errorf("1 MiB counts as %d bytes", grown)
	}
}
