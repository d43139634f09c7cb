package wake_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-delivery/sluice/operator/wake"
)

// TestShares has workers take turns that end when the test says so, with many objects of one namespace before one of another.
func TestShares(t *testing.T) {
	object := func(namespace, name string) reconcile.Request {
		return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
	}
	for _, tc := range []struct{ workers, share int }{{1, 1}, {2, 1}, {4, 3}, {16, 12}} {
		synctest.Test(t, func(t *testing.T) {
			inner := priorityqueue.New("", func(o *priorityqueue.Opts[reconcile.Request]) {
				o.RateLimiter = workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Millisecond, time.Second)
			})
			queue := wake.Shared(inner, tc.workers)
			begun := make(chan reconcile.Request, 100)
			end := make(chan struct{})
			for range tc.workers {
				go func() {
					for {
						o, shutdown := queue.Get()
						if shutdown {
							return
						}
						begun <- o
						<-end
						queue.Done(o)
					}
				}()
			}
			const many = 40
			for i := range many {
				queue.Add(object("hostile", string(rune('a'+i))))
			}
			synctest.Wait()
			queue.Add(object("shop", "web"))
			synctest.Wait()
			if got := taken(begun); tc.workers > 1 && (got["hostile"] != tc.share || got["shop"] != 1) || tc.workers == 1 && got["hostile"] != 1 {
				t.Errorf("%d workers have %v, want %d of the one and 1 of the other", tc.workers, got, tc.share)
			}
			close(end) // all that is waiting has its turn
			synctest.Wait()
			got := taken(begun)
			if remaining := many - tc.share; got["hostile"] != remaining {
				t.Errorf("%d workers have done %v of what waited, want %d", tc.workers, got, remaining)
			}
			if n := queue.Len(); n != 0 {
				t.Errorf("%d wait", n)
			}
			queue.ShutDown()
			synctest.Wait()
		})
	}
}

// TestUrgent has 500 releases wait for workers that are all busy. What is urgent comes next, in its namespace's share, and
// neither that namespace nor the others wait for all the rest.
func TestUrgent(t *testing.T) {
	const workers, share, many = 16, 12, 500
	synctest.Test(t, func(t *testing.T) {
		inner := priorityqueue.New("", func(o *priorityqueue.Opts[reconcile.Request]) {
			o.RateLimiter = workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Millisecond, time.Second)
		})
		queue := wake.Shared(inner, workers)
		defer queue.ShutDown()
		begun := make(chan reconcile.Request, many)
		ends := map[string]chan struct{}{"shop": make(chan struct{}), "other": make(chan struct{})}
		for range workers {
			go func() {
				for {
					o, shutdown := queue.Get()
					if shutdown {
						return
					}
					begun <- o
					<-ends[o.Namespace]
					queue.Done(o)
				}
			}()
		}
		object := func(namespace, name string) reconcile.Request {
			return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
		}
		for i := range many {
			queue.Add(object("shop", fmt.Sprint("release-", i)))
		}
		synctest.Wait() // all others are parked
		if got := taken(begun); got["shop"] != share {
			t.Fatalf("%v are at work", got)
		}
		wake.Urgently(queue, object("shop", "rollback"))
		queue.Add(object("other", "web"))
		synctest.Wait()
		if got := taken(begun); got["other"] != 1 || got["shop"] != 0 {
			t.Errorf("%v are at work, beside as many of shop's as may be", got)
		}
		ends["shop"] <- struct{}{}
		synctest.Wait()
		if got := <-begun; got != object("shop", "rollback") {
			t.Errorf("a place has gone to %v, and not to the rollback", got)
		}
		close(ends["shop"])
		close(ends["other"])
		synctest.Wait()
		if got := taken(begun); got["shop"] != many-share || queue.Len() != 0 {
			t.Errorf("%v have come after that, and %d wait", got, queue.Len())
		}
	})
}

// taken counts what has begun by namespace.
func taken(begun chan reconcile.Request) map[string]int {
	out := map[string]int{}
	for {
		select {
		case o := <-begun:
			out[o.Namespace]++
		default:
			return out
		}
	}
}
