package telemetry

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Queues makes the queues of controllers and publishes how long they are. The metrics
// that such a queue has by itself wake the process twice a second, which was half of
// what an idle operator took. It is safe for concurrent use.
type Queues struct {
	length *prometheus.Desc

	mu     sync.Mutex
	byName map[string]func() int
}

// NewQueues registers the metric.
func NewQueues(registry prometheus.Registerer) *Queues {
	q := &Queues{
		length: prometheus.NewDesc("sluice_queue_length",
			"Objects that wait for a worker of a controller.", []string{"controller"}, nil),
		byName: map[string]func() int{},
	}
	registry.MustRegister(q)
	return q
}

// New makes the queue of a controller, for controller.Options.NewQueue.
func (q *Queues) New(controller string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	queue := priorityqueue.New("", func(o *priorityqueue.Opts[reconcile.Request]) { o.RateLimiter = limiter }) // no name, no metrics
	q.mu.Lock()
	defer q.mu.Unlock()
	q.byName[controller] = queue.Len
	return queue
}

// Describe implements prometheus.Collector.
func (q *Queues) Describe(out chan<- *prometheus.Desc) { out <- q.length }

// Collect implements prometheus.Collector.
func (q *Queues) Collect(out chan<- prometheus.Metric) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for name, length := range q.byName {
		out <- prometheus.MustNewConstMetric(q.length, prometheus.GaugeValue, float64(length()), name)
	}
}
