package workload

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/release"
)

// Observe reads the state of a workload. threshold is the percentage of its
// pods, 0 to 100, that must be available for it to be ready; at least one must
// be in any case. A pod is available when it has been ready for minReadySeconds.
// A Service has no pods of its own and is always ready, as in Flagger. Nil
// gives a workload that does not exist.
func Observe(o client.Object, revision string, threshold int32) release.Workload {
	if o == nil {
		return release.Workload{}
	}
	w := release.Workload{
		Exists:   true,
		Revision: revision,
		Images:   Images(o),
		Replicas: Replicas(o),
	}
	if o.GetGeneration() > 0 { // Services have none
		w.UID, w.Generation = o.GetUID(), o.GetGeneration()
	}
	if Kind(o) == KindService {
		w.Available, w.Ready = w.Replicas, true
		return w
	}
	p := podsOf(o)
	w.Available = p.available
	w.Empty = p.observed && w.Replicas == 0 && p.all == 0
	w.Message = p.unready(w.Replicas, threshold)
	w.Ready = w.Message == ""
	return w
}

// pods is what the controller of a workload says of its pods.
type pods struct {
	observed  bool  // whether it has acted on the last change of the workload
	all       int32 // of whatever revision, on their way out or not
	updated   int32 // of the present revision
	available int32
	trouble   string // what it complains of
}

func podsOf(o client.Object) pods {
	switch o := o.(type) {
	case *appsv1.Deployment:
		st := o.Status
		return pods{st.ObservedGeneration >= o.Generation, st.Replicas, st.UpdatedReplicas, st.AvailableReplicas, trouble(o)}
	case *appsv1.DaemonSet:
		st := o.Status
		p := pods{st.ObservedGeneration >= o.Generation, st.CurrentNumberScheduled, st.UpdatedNumberScheduled, st.NumberAvailable, ""}
		if p.observed && st.DesiredNumberScheduled == 0 && !asleep(o) {
			p.trouble = " (no node meets its node selector, affinity and tolerations)"
		}
		return p
	case *appsv1.StatefulSet:
		st := o.Status
		return pods{st.ObservedGeneration >= o.Generation, st.Replicas, st.UpdatedReplicas, st.AvailableReplicas, ""}
	default:
		return pods{}
	}
}

// SamePods tells whether the controller of a workload says the same of its pods in
// two states of it, whether or not it has acted on what was changed.
func SamePods(a, b client.Object) bool {
	before, after := podsOf(a), podsOf(b)
	before.observed = after.observed
	return before == after
}

// unready says what a workload waits for, or nothing when it is ready.
func (p pods) unready(want, threshold int32) string {
	switch {
	case !p.observed:
		return "its last change is not acted on yet"
	case want == 0:
		return "it is scaled to zero"
	case p.updated < want || p.all > p.updated:
		return fmt.Sprintf("%d of %d pods are of the present revision, %d are of older ones%s", p.updated, want, max(p.all-p.updated, 0), p.trouble)
	case tooFew(p.available, want, threshold):
		return fmt.Sprintf("%d of %d pods are available%s", p.available, want, p.trouble)
	default:
		return ""
	}
}

// tooFew tells whether there are less pods than the threshold, in percent, asks
// for, or none at all.
func tooFew(pods, want, threshold int32) bool { return pods == 0 || pods*100 < want*threshold }

// trouble is what the Deployment's controller complains of.
func trouble(d *appsv1.Deployment) string {
	if d.Spec.Paused {
		return " (it is paused by spec.paused)"
	}
	for _, c := range d.Status.Conditions {
		failed := c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue
		stuck := c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse
		if failed || stuck {
			return " (" + c.Reason + ": " + c.Message + ")"
		}
	}
	return ""
}
