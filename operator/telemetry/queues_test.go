package telemetry_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-delivery/sluice/operator/telemetry"
)

func TestQueues(t *testing.T) {
	d := newDesk()
	q := telemetry.NewQueues(d.registry)
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Millisecond, time.Second)
	canaries, templates := q.New("canary", limiter), q.New("metrictemplate", limiter)
	defer canaries.ShutDown()
	defer templates.ShutDown()
	for _, name := range []string{"a", "b", "a"} {
		canaries.Add(reconcile.Request{NamespacedName: types.NamespacedName{Name: name}})
	}
	canaries.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: "later"}}, time.Hour)
	d.want(t, `
# TYPE sluice_queue_length gauge
sluice_queue_length{controller="canary"} 2
sluice_queue_length{controller="metrictemplate"} 0`, "sluice_queue_length")
}
