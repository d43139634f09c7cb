package wake

import (
	"sync"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Shared has a queue leave places for others: of so many workers, the objects of one namespace get three quarters at most. A
// turn takes as long as the API server takes for its writes, so this is a share of those, too.
func Shared(queue workqueue.TypedRateLimitingInterface[reconcile.Request], workers int) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	inner, ok := queue.(priorityqueue.PriorityQueue[reconcile.Request])
	if !ok || workers < 2 {
		return queue
	}
	const part = 4
	return &shares{
		PriorityQueue: inner, share: workers - max(workers/part, 1),
		busy: map[string]int{}, parked: map[string][]parked{},
	}
}

// shares is a queue that hands out no more objects of a namespace at once than its share. What is beyond it is parked until
// one of them is done: whoever was at work on that one comes for the next.
type shares struct {
	priorityqueue.PriorityQueue[reconcile.Request]
	share int

	mu     sync.Mutex
	busy   map[string]int
	parked map[string][]parked
}

// parked is an object that waits for its namespace's share; for the queue within it is handed out.
type parked struct {
	object   reconcile.Request
	priority int
}

var _ priorityqueue.PriorityQueue[reconcile.Request] = (*shares)(nil)

// GetWithPriority implements priorityqueue.PriorityQueue.
func (s *shares) GetWithPriority() (reconcile.Request, int, bool) {
	for {
		if next, ok := s.unpark(); ok {
			return next.object, next.priority, false
		}
		object, priority, shutdown := s.PriorityQueue.GetWithPriority()
		if shutdown || s.enter(parked{object, priority}) {
			return object, priority, shutdown
		}
	}
}

// Get implements workqueue.TypedInterface.
func (s *shares) Get() (reconcile.Request, bool) {
	object, _, shutdown := s.GetWithPriority()
	return object, shutdown
}

// Done implements workqueue.TypedInterface.
func (s *shares) Done(object reconcile.Request) {
	s.mu.Lock()
	if s.busy[object.Namespace]--; s.busy[object.Namespace] <= 0 {
		delete(s.busy, object.Namespace)
	}
	s.mu.Unlock()
	s.PriorityQueue.Done(object)
}

// Len implements workqueue.TypedInterface.
func (s *shares) Len() int {
	n := s.PriorityQueue.Len()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, waiting := range s.parked {
		n += len(waiting)
	}
	return n
}

// enter takes a place for an object, or parks it.
func (s *shares) enter(next parked) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	namespace := next.object.Namespace
	if s.busy[namespace] >= s.share {
		s.parked[namespace] = append(s.parked[namespace], next)
		return false
	}
	s.busy[namespace]++
	return true
}

// unpark takes a place for an object that was parked, if there is one.
func (s *shares) unpark() (parked, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for namespace, waiting := range s.parked {
		if s.busy[namespace] >= s.share {
			continue
		}
		s.busy[namespace]++
		if s.parked[namespace] = waiting[1:]; len(waiting) == 1 {
			delete(s.parked, namespace)
		}
		return waiting[0], true
	}
	return parked{}, false
}
