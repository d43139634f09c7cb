package rig

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// GateType is the readiness gate of pods that a Gate makes ready and not ready, as what they depend on would.
const GateType corev1.PodConditionType = "test.sluice.dev/open"

// Gate keeps the readiness gates of an application's pods.
type Gate struct {
	rig     *Rig
	done    chan struct{}
	changed chan struct{}

	mu   sync.Mutex
	shut func(*corev1.Pod) bool
}

// KeepGate keeps the readiness gates of the application's pods until ctx ends. All are open at first.
func (r *Rig) KeepGate(ctx context.Context) *Gate {
	g := &Gate{rig: r, done: make(chan struct{}), changed: make(chan struct{}, 1)}
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
	g.shut = which
	g.mu.Unlock()
	select {
	case g.changed <- struct{}{}:
	default: // it is still to look
	}
}

// Open lets all pods be ready.
func (g *Gate) Open() { g.ShutFor(nil) }

func (g *Gate) keep(ctx context.Context) {
	for ctx.Err() == nil {
		pods, err := g.rig.API.Watch(ctx, &corev1.PodList{}, client.InNamespace(g.rig.Namespace))
		if err == nil {
			g.follow(ctx, pods)
			pods.Stop()
		}
	}
}

// follow keeps the gates of the pods that a watch tells of, until it ends.
func (g *Gate) follow(ctx context.Context, pods watch.Interface) {
	known := map[types.UID]*corev1.Pod{}
	again := time.NewTicker(time.Second) // what has failed
	defer again.Stop()
	for {
		select {
		case e, ok := <-pods.ResultChan():
			if !ok {
				return
			}
			pod, ok := e.Object.(*corev1.Pod)
			switch {
			case !ok:
				return
			case e.Type == watch.Deleted:
				delete(known, pod.UID)
				continue
			}
			known[pod.UID] = pod
			g.set(ctx, pod)
			continue
		case <-g.changed:
		case <-again.C:
		case <-ctx.Done():
			return
		}
		for _, pod := range known {
			g.set(ctx, pod)
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
	before := pod
	pod = pod.DeepCopy()
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
