package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// settled tells whether a world has come to an end.
func (o *oracle) settled() bool {
	c := o.w.canary()
	if c == nil {
		return true
	}
	if over(c) {
		reconciling := c.Status.GetCondition(v1beta1.ConditionReconciling)
		return reconciling == nil || reconciling.Status != corev1.ConditionTrue
	}
	stalled := c.Status.GetCondition(v1beta1.ConditionStalled)
	return stalled != nil && stalled.Status == corev1.ConditionTrue && c.DeletionTimestamp.IsZero()
}

// over tells whether a Canary is in a phase in which nothing is under way.
func over(c *v1beta1.Canary) bool {
	return slices.Contains([]v1beta1.CanaryPhase{v1beta1.PhaseInitialized, v1beta1.PhaseSucceeded, v1beta1.PhaseFailed}, c.Status.Phase)
}

// hopeless tells whether target or primary have what can never be a whole primary.
func (o *oracle) hopeless() bool {
	return slices.ContainsFunc([]string{o.targetImage(), o.primaryImage}, func(image string) bool {
		return strings.Contains(image, "never") || strings.Contains(image, "broken") || strings.Contains(image, "limping")
	})
}

// bounded finds a deletion that takes too long, however the mesh is.
func (o *oracle) bounded() {
	c := o.w.canary()
	if c == nil || o.deleted.IsZero() {
		return
	}
	limit := 3*time.Minute + 2*c.GetProgressDeadline() + c.GetDrainDelay()
	if o.deleting > limit {
		o.fail("the Canary was deleted %s ago and is still there in phase %s: %s", o.deleting, c.Status.Phase, describe(c))
	}
}

// explained finds a world that stands still without saying why.
func (o *oracle) explained() {
	c := o.w.canary()
	if c == nil || o.settled() {
		return
	}
	if ready := c.Status.GetCondition(v1beta1.ConditionReady); ready == nil || ready.Status == corev1.ConditionTrue {
		o.fail("in phase %s the condition Ready is %+v", c.Status.Phase, ready)
	}
}

// atEnd is how a world must be that was left alone for long, with everything mended.
func (o *oracle) atEnd() {
	w, c := o.w, o.w.canary()
	o.explained()
	if c == nil {
		if !o.deleted.IsZero() {
			o.afterDeletion()
		}
		return
	}
	if _, primary, _ := c.ServiceNames(); w.plan.Compare == "alone" && (o.withoutRequests(primary) || o.bothBad(primary)) && !over(c) {
		return // nothing is left that could judge the canary, so it waits for a person, or for millions of requests
	}
	if hopeless := o.hopeless(); !o.settled() && !hopeless || !over(c) && !(o.settled() && hopeless) {
		o.fail("it does not come to an end: phase %s, %s", c.Status.Phase, describe(c))
		return
	}
	apex, primary, _ := c.ServiceNames()
	traffic, _ := w.effective(apex)
	halted := o.hopeless()
	if halted && !o.initialized {
		return // the first revision can't start
	}
	if (traffic.Canary != 0 || traffic.Mirror != 0 || c.Status.CanaryWeight != 0) && !halted {
		o.fail("at the end, in phase %s, the mesh has %+v and the status a weight of %d", c.Status.Phase, traffic, c.Status.CanaryWeight)
	}
	if d := w.deployment(c.PrimaryName()); d == nil || o.pods(primary) < int(*d.Spec.Replicas) && !halted {
		o.fail("at the end %d pods of the primary serve", o.pods(primary))
	}
	o.coveredAtEnd(c)
	o.unpromoted(c)
	want := int(w.fewest)
	if n := o.pods(primary); n < want && !w.plan.HPA && !halted {
		o.fail("at the end %d pods of the primary serve, where %d did", n, want)
	}
}

// withoutRequests tells whether nobody asks the primary anything, so that a canary can't be compared with it: it has no pod, or
// can never have all that it needs, and the canary serves everybody.
func (o *oracle) withoutRequests(primary string) bool {
	apex, _, _ := o.w.canary().ServiceNames()
	t, _ := o.w.effective(apex)
	at := o.w.canary().Status.Step
	planned := at != nil && at.Weight == 100 // a person ended the steps in which there was something to compare with
	return o.primaryGone || o.pods(primary) == 0 || (o.hopeless() || planned) && unmatched(t, true) == 100
}

func (o *oracle) afterDeletion() {
	if o.w.git.target == nil || o.left {
		return // he wanted to be rid of it
	}
	o.had = min(o.had, int(o.w.fewest))
	if d := o.w.deployment("podinfo"); d != nil && o.w.stuck(d) {
		// Whoever deletes the Canary has the target serve as it is, also one whose last change can never be rolled out: no wait of a
		// deletion is without a bound.
		smallest := d.DeepCopy()
		smallest.Spec.Replicas = new(min(*d.Spec.Replicas, o.w.fewest))
		_, unavailable := bounds(smallest)
		o.had = min(o.had, int(*smallest.Spec.Replicas)-unavailable-o.missing())
	}
	for _, name := range slices.Sorted(maps.Keys(o.served)) {
		if o.pods(name) < o.had && !o.w.plan.HPA {
			routed := 0
			for _, m := range o.w.meshes {
				if r := m.routes[name]; r != nil && r.acting {
					routed = o.pods(r.primary) + o.pods(r.canary)
				}
			}
			if routed < o.had {
				o.fail("after the deletion %d pods serve %s, where %d did", max(o.pods(name), routed), name, o.had)
			}
		}
	}
}

// stuck tells whether no new pod of a Deployment ever starts: by its image, or for lack of a config.
func (w *world) stuck(d *appsv1.Deployment) bool {
	version, complete := w.versionFrom(d.Spec.Template.Spec.Containers[0].Image, configsOf(&d.Spec.Template))
	return !complete || strings.Contains(version, "never")
}

func describe(c *v1beta1.Canary) string {
	var out []string
	for _, cond := range c.Status.Conditions {
		out = append(out, fmt.Sprintf("%s=%s %s: %s", cond.Type, cond.Status, cond.Reason, cond.Message))
	}
	return strings.Join(out, "; ")
}
