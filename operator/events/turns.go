package events

import (
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubeevents "k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/reference"
	"k8s.io/client-go/util/flowcontrol"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// turns hands events on to another recorder, one of each namespace in turn: a namespace with thousands of them delays
// and costs those of no other.
type turns struct {
	to     kubeevents.EventRecorder
	scheme *runtime.Scheme
	most   int // how many may wait

	mu      sync.Mutex
	waiting map[string][]func() // by namespace, in order
	turns   []string            // the namespaces, whose turn it is first
	n       int
	lost    map[string]int // since nothing waited last
	news    chan struct{}
}

var _ kubeevents.EventRecorder = (*turns)(nil)

func newTurns(to kubeevents.EventRecorder, scheme *runtime.Scheme, most int) *turns {
	return &turns{
		to: to, scheme: scheme, most: most,
		waiting: map[string][]func(){}, lost: map[string]int{}, news: make(chan struct{}, 1),
	}
}

// Eventf implements kubeevents.EventRecorder.
func (e *turns) Eventf(about, related runtime.Object, kind, reason, action, note string, args ...any) {
	// The object may be another by the time that it is its turn.
	ref, err := reference.GetReference(e.scheme, about)
	if err != nil {
		e.to.Eventf(about, related, kind, reason, action, note, args...) // it says what is wrong
		return
	}
	e.add(ref, func() { e.to.Eventf(ref, related, kind, reason, action, note, args...) })
}

func (e *turns) add(ref *corev1.ObjectReference, tell func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.n == e.most {
		e.lose(ref.Namespace)
	}
	if len(e.waiting[ref.Namespace]) == 0 {
		e.turns = append(e.turns, ref.Namespace)
	}
	e.waiting[ref.Namespace] = append(e.waiting[ref.Namespace], tell)
	e.n++
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// lose has the namespace with most events lose the oldest of them; of several with as many it is the given one.
func (e *turns) lose(namespace string) {
	most := namespace
	for _, other := range e.turns {
		if len(e.waiting[other]) > len(e.waiting[most]) {
			most = other
		}
	}
	e.take(most)
	e.lost[most]++
}

// take gives the oldest event of a namespace. The lock is held.
func (e *turns) take(namespace string) func() {
	first := e.waiting[namespace][0]
	e.n--
	if e.waiting[namespace] = e.waiting[namespace][1:]; len(e.waiting[namespace]) == 0 {
		delete(e.waiting, namespace)
		e.turns = slices.DeleteFunc(e.turns, func(n string) bool { return n == namespace })
	}
	return first
}

// next gives the event whose turn it is, nil for none, and then what was lost meanwhile.
func (e *turns) next() (tell func(), lost map[string]int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.n == 0 {
		lost, e.lost = e.lost, map[string]int{}
		return nil, lost
	}
	namespace := e.turns[0]
	e.turns = append(e.turns[1:], namespace)
	return e.take(namespace), nil
}

// run hands events on until ctx ends.
func (e *turns) run(ctx context.Context, pace flowcontrol.RateLimiter) {
	for {
		tell, lost := e.next()
		for namespace, n := range lost {
			log.FromContext(ctx).Info("Events of a namespace were lost, as there were too many", "namespace", namespace, "lost", n)
		}
		if tell == nil {
			select {
			case <-ctx.Done():
				return
			case <-e.news:
				continue
			}
		}
		if pace.Wait(ctx) != nil {
			return
		}
		tell()
	}
}
