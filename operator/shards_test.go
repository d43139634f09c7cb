package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// shardLabel is by which the Canaries of the test are split.
const shardLabel = "sluice.dev/shard"

// writers are those who have written for each Canary, in order: two writes of one in a row count once.
type writers struct {
	mu sync.Mutex
	of map[string][]string
}

// wrap notes who writes: the object's name begins with that of its Canary.
func (x *writers) wrap(who string) func(client.WithWatch) client.Client {
	note := func(o client.Object) {
		name, _, _ := strings.Cut(o.GetName(), "-")
		x.mu.Lock()
		defer x.mu.Unlock()
		if all := x.of[name]; len(all) == 0 || all[len(all)-1] != who {
			x.of[name] = append(all, who)
		}
	}
	return func(c client.WithWatch) client.Client {
		return interceptor.NewClient(c, interceptor.Funcs{
			Create: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				err := w.Create(ctx, o, opts...)
				note(o)
				return err
			},
			Update: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
				err := w.Update(ctx, o, opts...)
				note(o)
				return err
			},
			Patch: func(ctx context.Context, w client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
				err := w.Patch(ctx, o, p, opts...)
				note(o)
				return err
			},
			SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
				err := c.SubResource(sub).Update(ctx, o, opts...)
				if err == nil {
					note(o)
				}
				return err
			},
		})
	}
}

func (x *writers) all(name string) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.of[name])
}

// testShards has three operators share six Canaries. One moves to another of them in mid-release, and back after the release:
// each has written its last before the next one writes its first. One whose operator is gone is taken all the same.
func testShards(t *testing.T, c *cluster.Cluster, api client.Client) {
	s := &stage{t: t, api: api, namespace: "shards"}
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}})
	noted := &writers{of: map[string][]string{}}
	stops := map[string]func(){}
	for who, selector := range map[string]string{"a": shardLabel + "=a", "b": shardLabel + "=b", "others": "!" + shardLabel} {
		stops[who] = operateShard(t, c, noted.wrap(who), s.namespace, selector)
	}
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	shards := []string{"a", "b", "", "a", "b", ""}
	for i, shard := range shards {
		s.createShard(fmt.Sprintf("app%d", i), shard)
	}
	for i, shard := range shards {
		name := fmt.Sprintf("app%d", i)
		s.awaitShard(name, shard, v1beta1.PhaseInitialized)
		want := []string{"others"}
		if shard != "" {
			want = []string{shard}
		}
		if got := noted.all(name); !slices.Equal(got, want) {
			t.Errorf("%s of shard %q was written by %v", name, shard, got)
		}
	}

	s.setImage("app0", newImage)
	s.await("the first step", func(ctx context.Context) error { return s.weighs(ctx, "app0", 20) })
	s.move("app0", "b")
	s.awaitShard("app0", "b", v1beta1.PhaseSucceeded)
	s.move("app0", "a")
	s.awaitShard("app0", "a", v1beta1.PhaseSucceeded)
	if got, want := noted.all("app0"), []string{"a", "b", "a"}; !slices.Equal(got, want) {
		t.Errorf("app0 was written by %v, want %v", got, want)
	}

	stops["b"]()
	delete(stops, "b")
	s.move("app1", "a")
	s.awaitShard("app1", "a", v1beta1.PhaseInitialized)
}

// operateShard starts one operator of several.
func operateShard(t *testing.T, c *cluster.Cluster, wrap func(client.WithWatch) client.Client, namespace, selector string) (stop func()) {
	t.Helper()
	o, err := parseFlags([]string{"-port", "0", "-namespace", namespace, "-allowed-addresses", loopback, "-watch-label-selector", selector}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- start(ctx, c.Config(), o, wiring{registry: prometheus.NewRegistry(), oneOfMany: true, wrap: wrap})
	}()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("operator of %s: %v", selector, err)
		}
	}
}

// createShard makes a target and its Canary.
func (s *stage) createShard(name, shard string) {
	s.t.Helper()
	s.create(s.fairDeployment(name, oldImage))
	canary := s.canary(v1beta1.CoverageReport)
	canary.Name, canary.Spec.TargetRef.Name, canary.Spec.Service.Name = name, name, name
	canary.Spec.Analysis = &v1beta1.CanaryAnalysis{Interval: "1s", Threshold: 2, StepWeights: []int32{20, 60}}
	if shard != "" {
		canary.Labels = map[string]string{shardLabel: shard}
	}
	s.create(canary)
}

// move gives a Canary another shard.
func (s *stage) move(name, shard string) {
	s.t.Helper()
	c := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	patch := fmt.Sprintf(`{"metadata": {"labels": {%q: %q}}}`, shardLabel, shard)
	if err := s.api.Patch(s.t.Context(), c, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		s.t.Fatal(err)
	}
}

// awaitShard waits until a Canary is served by a shard and has come to a phase.
func (s *stage) awaitShard(name, shard string, phase v1beta1.CanaryPhase) {
	s.t.Helper()
	selector := "!" + shardLabel
	if shard != "" {
		selector = shardLabel + "=" + shard
	}
	s.await(name+" of "+selector, func(ctx context.Context) error {
		c := &v1beta1.Canary{}
		if err := s.api.Get(ctx, s.key(name), c); err != nil {
			return err
		}
		if c.Status.Phase != phase || c.Status.Shard != selector {
			return fmt.Errorf("it is %s, and served by %q", c.Status.Phase, c.Status.Shard)
		}
		return nil
	})
}

func (s *stage) weighs(ctx context.Context, name string, weight int32) error {
	c := &v1beta1.Canary{}
	if err := s.api.Get(ctx, s.key(name), c); err != nil {
		return err
	}
	if c.Status.CanaryWeight != weight {
		return fmt.Errorf("it is %s with weight %d", c.Status.Phase, c.Status.CanaryWeight)
	}
	return nil
}
