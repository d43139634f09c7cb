package loadtester

import (
	"errors"
	"sync"
)

// maxOpenGates bounds the memory that gates take. It is more than there are Canaries.
const maxOpenGates = 100_000

// errTooManyGates tells that no more gates can be opened.
var errTooManyGates = errors.New("too many gates are open: close some")

// GateKind tells the two gates of a Canary apart.
type GateKind string

// The gates of a Canary: one that its release waits for, and one that rolls it back. Both are closed at first.
const (
	ConfirmGate  GateKind = "gate"
	RollbackGate GateKind = "rollback"
)

// Gates remember which gates are open. They forget when the load tester is restarted: then all are closed.
type Gates struct {
	mu   sync.Mutex
	open map[gate]struct{}
}

type gate struct {
	kind   GateKind
	canary Canary
}

// IsOpen tells whether a gate is open.
func (g *Gates) IsOpen(kind GateKind, canary Canary) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.open[gate{kind, canary}]
	return ok
}

// Open opens a gate, for as long as nobody closes it.
func (g *Gates) Open(kind GateKind, canary Canary) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		g.open = map[gate]struct{}{}
	}
	if len(g.open) >= maxOpenGates {
		return errTooManyGates
	}
	g.open[gate{kind, canary}] = struct{}{}
	return nil
}

// Close closes a gate.
func (g *Gates) Close(kind GateKind, canary Canary) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, gate{kind, canary})
}

// OpenCount is how many gates of a kind are open.
func (g *Gates) OpenCount(kind GateKind) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for key := range g.open {
		if key.kind == kind {
			n++
		}
	}
	return n
}
