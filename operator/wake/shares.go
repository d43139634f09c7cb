package wake

import (
	"slices"
	"sync"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Urgent is the priority of what must not wait for the releases of others: a rollback, and whatever may become one.
const Urgent = 100

// Urgently has an object come before all that is not urgent.
func Urgently(queue workqueue.TypedRateLimitingInterface[reconcile.Request], objects ...reconcile.Request) {
	if by, ok := queue.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		by.AddWithOpts(priorityqueue.AddOpts{Priority: new(Urgent)}, objects...)
		return
	}
	for _, o := range objects {
		queue.Add(o)
	}
}

// Shared has a queue leave places for others: of so many workers, the objects of one namespace get three quarters at most. A
// turn takes as long as the API server takes for its writes, so this is a share of those, too. Among the objects of a
// namespace, and among namespaces that have places left, it is the queue's order that counts.
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
// one of them is done, and then goes back into the queue within, where what is urgent comes first.
type shares struct {
	priorityqueue.PriorityQueue[reconcile.Request]
	share int

	mu     sync.Mutex
	busy   map[string]int
	parked map[string][]parked // in the order of their priorities, and where these are the same in that in which they came
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
	next, ok := s.leave(object.Namespace)
	s.PriorityQueue.Done(object)
	if ok {
		s.PriorityQueue.AddWithOpts(priorityqueue.AddOpts{Priority: &next.priority}, next.object)
		s.PriorityQueue.Done(next.object)
	}
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
	if s.busy[namespace] < s.share {
		s.busy[namespace]++
		return true
	}
	waiting := s.parked[namespace]
	at, _ := slices.BinarySearchFunc(waiting, next.priority, func(p parked, priority int) int {
		if p.priority >= priority {
			return -1
		}
		return 1
	})
	s.parked[namespace] = slices.Insert(waiting, at, next)
	return false
}

// leave gives the place of a namespace's object back, and gives the object that waits for one, if there is any.
func (s *shares) leave(namespace string) (next parked, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[namespace]--; s.busy[namespace] <= 0 {
		delete(s.busy, namespace)
	}
	waiting := s.parked[namespace]
	if len(waiting) == 0 {
		return parked{}, false
	}
	if s.parked[namespace] = waiting[1:]; len(waiting) == 1 {
		delete(s.parked, namespace)
	}
	return waiting[0], true
}
