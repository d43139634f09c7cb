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
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers"
)

// changed is called after each change of an object.
func (o *oracle) changed(of id) {
	switch now := o.w.objects[of].(type) {
	case *appsv1.Deployment:
		image := o.w.versionOf(&now.Spec.Template)
		if strings.HasSuffix(now.Name, "-primary") {
			if o.primaryHash != hashOf(&now.Spec.Template) && o.alone() {
				o.robbed()
			}
			if o.w.deployment(now.Name) == now && o.primaryHash == "" {
				o.uncovered(now)
			}
			// Its copies of configs change right before it does, and are part of what it becomes then.
			if hash := hashOf(&now.Spec.Template); o.primaryHash != hash {
				o.primaryHash = hash
				if o.target != nil {
					o.promotedHash = hashOf(&o.target.Spec.Template)
				}
				back := o.goesBack(now)
				if back {
					o.promotedHash = "" // it is none of the target's
				}
				o.primaryHas(image, back)
			}
			o.primaryGone = false
			return
		}
		o.target = now
		o.targetIs(image)
	case *corev1.ConfigMap, *corev1.Secret:
		if o.target != nil {
			o.targetIs(o.w.versionOf(&o.target.Spec.Template))
		}
	case *v1beta1.Canary:
		if now.Name == canaryKey.Name {
			o.w.policy.escaped(&o.status, &now.Status)
			o.canaryIs(now)
		}
	case nil:
		if of == (id{"Deployment", "podinfo-primary"}) {
			o.primaryGone = true
			o.forgotten()
		}
		if of == (id{"Canary", canaryKey.Name}) {
			o.gone = true
			o.left = o.excuse > 0 // nobody is there any more to make up for what was just taken
		}
	}
}

// targetIs is called when the target may be another version.
func (o *oracle) targetIs(version string) {
	if r := o.releases[version]; r == nil || o.targetImage() != version {
		o.releases[version] = &released{since: time.Now()}
		o.setTarget(version)
	}
}

// withoutMesh tells whether no mesh moves traffic, whatever an edit of the spec asks for since.
func withoutMesh(c *v1beta1.Canary) bool {
	if is := c.Status.Identity; is != nil {
		return is.Provider == v1beta1.ProviderKubernetes
	}
	return c.Spec.Provider == v1beta1.ProviderKubernetes
}

// alone tells whether nobody can stand in for the primary while it changes: there is no mesh.
func (o *oracle) alone() bool {
	c, d := o.w.canary(), o.w.deployment("podinfo-primary")
	if c == nil {
		return o.w.plan.Analysis == "kubernetes" && o.hopeless()
	}
	return withoutMesh(c) && (d == nil || interrupted(d) || o.hopeless())
}

// targetImage is the image that the target has; it is the one with the youngest release.
func (o *oracle) targetImage() string {
	latest, image := time.Time{}, ""
	for _, name := range slices.Sorted(maps.Keys(o.releases)) {
		if r := o.releases[name]; !r.since.Before(latest) {
			latest, image = r.since, name
		}
	}
	return image
}

func (o *oracle) setTarget(image string) {
	if c := o.w.canary(); c != nil && c.Spec.SkipAnalysis {
		o.releases[image].exempt = "skipAnalysis"
	}
}

// tooOften is how many writes of a Canary in a minute are a circle. A release that goes on takes a few for each step.
const tooOften = 60

func (o *oracle) canaryIs(c *v1beta1.Canary) {
	o.w.traceStatus(&o.status, &c.Status)
	if c.Status.CanaryWeight != o.status.CanaryWeight {
		o.weighed = time.Now()
	}
	o.status = *c.Status.DeepCopy()
	o.forgotten()
	o.written = append(slices.DeleteFunc(o.written, func(at time.Time) bool { return time.Since(at) > time.Minute }), time.Now())
	if len(o.written) > tooOften {
		o.fail("the Canary is written %d times in a minute, in phase %s: %s", len(o.written), c.Status.Phase, describe(c))
	}
	if n := len(o.specs); n == 0 || fmt.Sprintf("%+v", o.specs[n-1].spec) != fmt.Sprintf("%+v", c.Spec) {
		o.specs = append(o.specs, dated{time.Now(), *c.Spec.DeepCopy()})
		if n > 0 {
			for _, r := range o.releases {
				r.edited = true
			}
		}
	}
	if c.Spec.SkipAnalysis || len(c.GetAnalysis().Metrics) == 0 {
		o.exempt("no analysis is asked for")
	}
	if c.Status.Phase == v1beta1.PhaseInitialized {
		o.initialized = true
	}
	if !c.DeletionTimestamp.IsZero() && o.deleted.IsZero() {
		o.deleted = time.Now()
		apex, primary, canary := c.ServiceNames()
		o.had = max(o.staying(apex), o.staying(primary))
		if t, _ := o.w.effective(apex); t.Canary == 100 && !t.Matched {
			o.had = o.staying(canary)
		}
	}
}

// crashes notes a pod that the adversary takes from the target. One that can't be rolled out starts no other in its
// place.
func (o *oracle) crashes(primary bool) {
	if !primary {
		o.crashed = append(o.crashed, time.Now())
	}
}

// missing is how many pods the adversary has taken from a target since it is about to serve alone, or so shortly before that
// they were not back.
func (o *oracle) missing() int {
	n := 0
	for _, at := range o.crashed {
		if at.After(o.deleted.Add(-longestCrash)) {
			n++
		}
	}
	return n
}

// forgotten notes that nobody knows any more how many pods there were but by those that the target asks for: the primary and
// the status are both gone.
func (o *oracle) forgotten() {
	c := o.w.canary()
	if !o.primaryGone || c == nil || c.Status.PrimaryReplicas != 0 {
		return
	}
	known := int32(1)
	if d := o.w.deployment("podinfo"); d != nil {
		known = max(*d.Spec.Replicas, 1)
	}
	o.w.fewest = min(o.w.fewest, known)
}

// exempt says that what the target is now may be promoted without a verdict.
func (o *oracle) exempt(why string) {
	if r := o.releases[o.targetImage()]; r != nil {
		r.exempt = why
	}
}

// measured is called for each answer of the metrics.
func (o *oracle) measured(images map[string]bool, passed bool, traffic providers.Traffic, since time.Time) {
	for image := range images {
		if r := o.releases[image]; r != nil && len(images) == 1 {
			r.rounds = append(r.rounds, judged{time.Now(), since, passed, traffic})
		}
	}
}

// goesBack notes the revision of a primary that has become another one, and tells whether somebody has asked for that by a
// rollback.
func (o *oracle) goesBack(primary *appsv1.Deployment) bool {
	revision := primary.Annotations[workload.RevisionAnnotation]
	o.promoted = append(slices.DeleteFunc(o.promoted, func(r string) bool { return r == revision }), revision)
	return o.status.Rollback != nil && o.status.Rollback.Revision == revision
}

// primaryHas is called when the primary's pods are of an image.
func (o *oracle) primaryHas(image string, back bool) {
	proven := o.proven[image]
	o.proven[image] = true
	if image == o.primaryImage {
		return
	}
	before := o.primaryImage
	o.primaryImage = image
	if back && !proven {
		o.fail("the primary is set back to %s, which it never had", image)
	}
	r := o.releases[image]
	if back || before == "" || !o.initialized || r == nil || r.exempt != "" {
		return
	}
	if o.lostStatus && (strings.Contains(before, "limping") || strings.Contains(before, "broken")) {
		return // nobody knows any more that the primary was ever whole, and it never will be
	}
	if c := o.w.canary(); o.lostStatus && o.primaryGone && c != nil && c.Spec.Provider == v1beta1.ProviderKubernetes {
		return // nobody serves, nobody can stand in, and nobody knows what the primary was: the target is all that there is
	}
	o.w.trace("the primary gets %s", image)
	if o.w.plan.ReadAtStart && o.primaryGone {
		return // its canary stood in for the primary, and pods that serve everybody are not replaced for a config that they have not read
	}
	if problem := o.unjudged(r); problem != "" {
		o.fail("the primary gets %s, which nobody has judged: %s", image, problem)
	}
}

// unjudged says what is missing in the judgement of a release.
func (o *oracle) unjudged(r *released) string {
	if len(o.specs) == 0 {
		return "there is no Canary"
	}
	a := (&v1beta1.Canary{Spec: o.specs[len(o.specs)-1].spec}).GetAnalysis()
	passed := 0
	for _, j := range r.rounds {
		if j.passed {
			passed++
		}
	}
	if r.edited {
		if passed == 0 {
			return fmt.Sprintf("none of its %d rounds has passed", len(r.rounds))
		}
		return ""
	}
	if a.Strategy() != v1beta1.StrategyWeighted {
		if passed < int(a.Iterations) {
			return fmt.Sprintf("%d of %d iterations have passed", passed, a.Iterations)
		}
		return ""
	}
	interval, err := time.ParseDuration(a.Interval)
	if err != nil {
		return err.Error()
	}
	for _, weight := range a.Steps() {
		if !slices.ContainsFunc(r.rounds, func(j judged) bool {
			return j.passed && j.traffic.Canary >= weight && j.at.Sub(j.since) >= interval-3*time.Second
		}) {
			return fmt.Sprintf("no round of %s has passed at a weight of %d", interval, weight)
		}
	}
	return ""
}

// called is called when a hook answers with success.
func (o *oracle) called(by *process, c *v1beta1.Canary, hook v1beta1.CanaryWebhook, id, revision string) {
	began := ""
	if c.Status.StartedAt != nil {
		began = c.Status.StartedAt.UTC().String()
	}
	key := fmt.Sprint(c.UID, hook.GetType(), hook.Name, began, id)
	if t := hook.GetType(); t == v1beta1.PostRolloutHook {
		// A promotion that fails and ends well after all has two ends, and one that is suspended
		// and goes on may fail once more, by a deadline that begins anew.
		key = fmt.Sprint(c.UID, t, hook.Name, began, revision)
		if since := c.Status.Unwell; since != nil && release.PromotionFailed(&c.Status) {
			key += fmt.Sprint(" failed by ", since.Since.UnixMicro())
		}
		if a := c.Status.LastAction; a != nil && a.Done && a.Action == v1beta1.ActionRollback {
			key += " undone by " + a.Name // a release that had ended well has failed after all
		}
	}
	// An answer that a life of the operator took with it is asked for again, by the same key. One that is in the status
	// is not: a status that has it asks for another round, or for no more calls.
	if before := o.calls[key]; before != nil && before == by {
		o.fail("hook %s is called again after it has answered: %s", hook.Name, key)
	}
	o.calls[key] = by
}
