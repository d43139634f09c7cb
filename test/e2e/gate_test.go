package e2e

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// gateType is the readiness gate of an app whose pods the test makes ready and
// not ready, as what they depend on would.
const gateType corev1.PodConditionType = "test.sluice.dev/open"

// gate keeps the readiness gates of an app's pods.
type gate struct {
	app *app

	mu   sync.Mutex
	shut func(*corev1.Pod) bool
}

// deployGated is deploy with a gate, which is open, and the Deployment as edit
// has it.
func (a *app) deployGated(edit func(*appsv1.Deployment)) *gate {
	a.t.Helper()
	g := &gate{app: a}
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(a.t.Context())
	a.t.Cleanup(func() {
		cancel()
		<-done
	})
	go func() {
		defer close(done)
		g.keep(ctx)
	}()
	a.deployAs(func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: gateType}}
		edit(d)
	})
	return g
}

// shutFor keeps the pods that which names from being ready, and no others.
func (g *gate) shutFor(which func(*corev1.Pod) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = which
}

// open lets all pods be ready.
func (g *gate) open() { g.shutFor(nil) }

func (g *gate) keep(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var pods corev1.PodList
		if err := g.app.API.List(ctx, &pods, client.InNamespace(g.app.Namespace)); err != nil {
			continue // it is tried again
		}
		for i := range pods.Items {
			g.set(ctx, &pods.Items[i])
		}
	}
}

// set gives a pod the state of the gate. What fails is tried again.
func (g *gate) set(ctx context.Context, pod *corev1.Pod) {
	g.mu.Lock()
	status := corev1.ConditionTrue
	if g.shut != nil && g.shut(pod) {
		status = corev1.ConditionFalse
	}
	g.mu.Unlock()
	at := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == gateType })
	if at >= 0 && pod.Status.Conditions[at].Status == status {
		return
	}
	before := pod.DeepCopy()
	if at < 0 {
		at = len(pod.Status.Conditions)
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: gateType})
	}
	pod.Status.Conditions[at].Status = status
	_ = g.app.API.Status().Patch(ctx, pod, client.StrategicMergeFrom(before))
}

// primaryPods names the primary's pods of a version.
func primaryPods(version string) func(*corev1.Pod) bool {
	return func(pod *corev1.Pod) bool {
		return pod.Labels["app"] == primaryName && strings.HasSuffix(pod.Spec.Containers[0].Image, ":"+version)
	}
}
