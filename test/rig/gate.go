package rig

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// GateType is the readiness gate of pods that a Gate makes ready and not ready, as what they depend on would.
const GateType corev1.PodConditionType = "test.sluice.dev/open"

// Gate keeps the readiness gates of an application's pods.
type Gate struct {
	rig  *Rig
	done chan struct{}

	mu   sync.Mutex
	shut func(*corev1.Pod) bool
}

// KeepGate keeps the readiness gates of the application's pods until ctx ends. All are open at first.
func (r *Rig) KeepGate(ctx context.Context) *Gate {
	g := &Gate{rig: r, done: make(chan struct{})}
	go func() {
		defer close(g.done)
		g.keep(ctx)
	}()
	return g
}

// Wait returns when nothing is kept any more.
func (g *Gate) Wait() { <-g.done }

// ShutFor keeps the pods that which names from being ready, and no others.
func (g *Gate) ShutFor(which func(*corev1.Pod) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = which
}

// Open lets all pods be ready.
func (g *Gate) Open() { g.ShutFor(nil) }

func (g *Gate) keep(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var pods corev1.PodList
		if err := g.rig.API.List(ctx, &pods, client.InNamespace(g.rig.Namespace)); err != nil {
			continue // it is tried again
		}
		for i := range pods.Items {
			g.set(ctx, &pods.Items[i])
		}
	}
}

// set gives a pod the state of the gate. What fails is tried again.
func (g *Gate) set(ctx context.Context, pod *corev1.Pod) {
	g.mu.Lock()
	status := corev1.ConditionTrue
	if g.shut != nil && g.shut(pod) {
		status = corev1.ConditionFalse
	}
	g.mu.Unlock()
	at := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == GateType })
	if at >= 0 && pod.Status.Conditions[at].Status == status {
		return
	}
	before := pod.DeepCopy()
	if at < 0 {
		at = len(pod.Status.Conditions)
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: GateType})
	}
	pod.Status.Conditions[at].Status = status
	_ = g.rig.API.Status().Patch(ctx, pod, client.StrategicMergeFrom(before))
}

// PodsOf names the pods of a workload, by the label app, that have a version.
func PodsOf(workload, version string) func(*corev1.Pod) bool {
	return func(pod *corev1.Pod) bool {
		return pod.Labels["app"] == workload && strings.HasSuffix(pod.Spec.Containers[0].Image, ":"+version)
	}
}
