package checks

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
)

// dryRun is the present and the last run of a Canary's metrics for no release.
type dryRun struct {
	uid        types.UID
	generation int64
	request    string
	cancel     context.CancelFunc // nil when nothing is under way
	began      time.Time
	results    []v1beta1.CheckStatus
}

// dryRuns are those of Canaries.
type dryRuns map[types.NamespacedName]*dryRun

// DryRun gives what each metric of a Canary's analysis says, for a request of somebody who wants to know: nil until all
// have answered, which brings the Canary by Finished. It is beside all rounds: nothing is decided by it, no hook is called,
// and no value is published. Of a Canary one goes on at a time, and what has begun after a request was made is an answer
// to it, so that many requests at once are one. asked is in seconds.
func (k *Checker) DryRun(ctx context.Context, c *v1beta1.Canary, request string, asked time.Time) []v1beta1.CheckStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := client.ObjectKeyFromObject(c)
	r := k.dryRuns[key]
	switch {
	case r == nil:
	case r.uid != c.UID:
		k.dryRuns.forget(key)
	case r.cancel != nil && r.generation == c.Generation:
		return nil
	case r.cancel != nil: // it asks what the Canary did not mean any more
		r.cancel()
	case r.request == request, r.generation == c.Generation && !r.began.Before(asked.Add(time.Second)):
		return r.results
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it outlives the turn that asks for it
	r = &dryRun{uid: c.UID, generation: c.Generation, request: request, cancel: cancel, began: k.Clock.Now()}
	k.dryRuns[key] = r
	go dry{k}.run(ctx, c.DeepCopy(), r)
	return nil
}

// dry runs metrics for no release.
type dry struct{ *Checker }

func (k dry) run(ctx context.Context, c *v1beta1.Canary, r *dryRun) {
	results := make([]v1beta1.CheckStatus, len(c.GetAnalysis().Metrics))
	var wg sync.WaitGroup
	for i, metric := range c.GetAnalysis().Metrics {
		wg.Go(func() {
			place := k.Sources.Place(ctx, c, metric)
			k.queries.do(ctx, c.Namespace, place, func() { results[i] = k.evaluated(ctx, c, i) })
		})
	}
	wg.Wait()
	fit(results)
	k.mu.Lock()
	if ctx.Err() != nil { // called off
		k.mu.Unlock()
		return
	}
	r.cancel()
	r.cancel, r.results = nil, results
	k.mu.Unlock()
	k.finished <- event.GenericEvent{Object: c}
}

// evaluated is what a metric says now.
func (k dry) evaluated(ctx context.Context, c *v1beta1.Canary, index int) v1beta1.CheckStatus {
	metric := c.GetAnalysis().Metrics[index]
	switch {
	case unknown(metric):
		return unchecked(metric, k.Clock.Now())
	case onlyCompares(metric):
		out := comparing(metric, k.Clock.Now())
		out.Verdict, out.Message = v1beta1.CheckSkipped, metric.Name+": it has no range; a release compares it with the primary's"
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, k.Timeout)
	defer cancel()
	result := metrics.Evaluate(metric, k.answer(ctx, c, index))
	result.Time = metav1.NewMicroTime(k.Clock.Now())
	return result
}

// forget calls off what is asked for no release.
func (d dryRuns) forget(key types.NamespacedName) {
	if r := d[key]; r != nil && r.cancel != nil {
		r.cancel()
	}
	delete(d, key)
}
