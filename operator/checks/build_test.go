package checks

import (
	"context"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
)

// patience is how long a test waits for what happens beside it.
const patience = 20 * time.Second

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// state is that of a Canary's rounds.
func (k *Checker) state(key client.ObjectKey) run {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.runs[key][""]; r != nil {
		return *r
	}
	return run{}
}

func awaitFinished(t *testing.T, k *Checker) client.Object {
	t.Helper()
	return receive(t, k.Finished()).Object
}

// fakeProvider answers queries with a value, or as its function does.
type fakeProvider struct {
	mu     sync.Mutex
	answer func(ctx context.Context, q metrics.Query) (metrics.Sample, error)
}

func (p *fakeProvider) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	p.mu.Lock()
	answer := p.answer
	p.mu.Unlock()
	if answer == nil {
		return metrics.Sample{Value: 100}, nil
	}
	return answer(ctx, q)
}

// canaryOf builds a Canary of Deployment podinfo with one check.
type canaryOf struct{ *v1beta1.Canary }

func newCanary(name string) canaryOf {
	return canaryOf{&v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name, UID: types.UID("uid-of-" + name), Generation: 1},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
			Service:   v1beta1.CanaryService{Port: 9898},
			Analysis: &v1beta1.CanaryAnalysis{
				Interval: "10s", Threshold: 2, StepWeights: []int32{20, 40},
				Metrics: []v1beta1.CanaryMetric{{Name: "health", Query: "health", ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(99.0)}}},
			},
		},
	}}
}

func (c canaryOf) with(change func(*v1beta1.CanarySpec)) canaryOf {
	change(&c.Spec)
	return c
}

func keyOf(c *v1beta1.Canary) client.ObjectKey { return client.ObjectKeyFromObject(c) }
