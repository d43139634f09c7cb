package simulation

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers"
)

// oracle watches a world and knows what must never happen in it. It knows the invariants and not how the operator keeps
// them: it looks at pods, endpoints, routes and manifests, and at the status only for what people read there.
type oracle struct {
	w         *world
	violation string
	undone    bool // the last route was asked for by an operator that had lost its lease

	// excuse is for how long yet lost requests are the adversary's doing: he has taken pods, and the operator needs a
	// moment to see it. It does not run while the adversary keeps the operator from seeing or acting.
	excuse time.Duration
	served map[string]bool // the apex names that were once answered
	lost   float64         // the share that is lost now

	initialized  bool
	lostStatus   bool
	primaryImage string
	primaryHash  string
	promoted     []string             // the revisions that the primary has had, the latest last
	proven       map[string]bool      // the versions that the primary has had
	promotedHash string               // of the target's pods, when the primary got them
	target       *appsv1.Deployment   // as it was last
	primaryGone  bool                 // it was deleted, and is not there again
	releases     map[string]*released // by image
	specs        []dated              // of the Canary
	written      []time.Time          // when the Canary was written of late
	status       v1beta1.CanaryStatus

	carried  map[string][]sample // how many pods served, by Service, of late
	sufficed int                 // how many pods of a whole primary served everything last
	bad      time.Duration       // for how long users get a bad canary that could have been judged
	calls    map[string]*process // whom hooks have answered with success
	deleted  time.Time           // when the Canary was
	deleting time.Duration       // for how long the operator has been able to let it go
	had      int                 // pods that served when it was deleted
	gone     bool                // the Canary is
	left     bool                // and something was taken since
	crashed  []time.Time         // when pods of the target have crashed
}

// released is what is known of an image since the target has it.
type released struct {
	since  time.Time
	rounds []judged
	exempt string // why nothing needs to be judged
	edited bool   // the plan was edited since
}

// judged is one answer of the metrics.
type judged struct {
	at, since time.Time
	passed    bool
	traffic   providers.Traffic
}

type dated struct {
	at   time.Time
	spec v1beta1.CanarySpec
}

type sample struct {
	at     time.Time
	pods   int
	steady int
}

func newOracle(w *world) *oracle {
	return &oracle{
		w: w, served: map[string]bool{}, releases: map[string]*released{}, carried: map[string][]sample{}, calls: map[string]*process{}, proven: map[string]bool{},
	}
}

func (o *oracle) fail(format string, args ...any) {
	if o.violation == "" {
		o.violation = fmt.Sprintf(format, args...)
		o.w.trace("VIOLATION: %s", o.violation)
	}
}

// reaction is how long the operator may take to see that pods are gone and to have the mesh act on it: it looks twice, first
// at the pods and then at what it has written.
func (o *oracle) reaction() time.Duration {
	longest := o.w.plan.CacheLag
	for _, l := range o.w.cacheLags {
		if time.Now().Before(l.until) {
			longest = max(longest, l.by)
		}
	}
	if time.Now().Before(o.w.endpointLag) {
		longest = max(longest, slowEndpoints)
	}
	return 12*time.Second + 2*longest + o.w.plan.MeshLag
}

// lagging notes that a cache, or what is written of endpoints, falls behind, perhaps while there is something to see in it.
func (o *oracle) lagging(by time.Duration) {
	if o.excuse > 0 {
		o.excuse += 2 * by
	}
}

// robbed says that the adversary takes what serves, or makes somebody else take it.
func (o *oracle) robbed() {
	o.excuse = o.reaction()
	if o.gone { // nobody is there to make up for it
		o.left = true
	}
}

// impaired tells whether the adversary keeps the operator from seeing or acting.
func (o *oracle) impaired() bool {
	w, now := o.w, time.Now()
	for _, kind := range []string{"Canary/status", "Canary", "Route"} {
		if now.Before(w.refusals[kind].Add(retry)) {
			return true
		}
	}
	return w.away() || w.meshError() != nil ||
		!o.deleted.IsZero() && o.lacksService() || // whoever deletes the Canary and a Service wants to be rid of both
		(!o.deleted.IsZero() || o.lacksService() || o.astray()) && now.Before(w.refusals["Service"].Add(retry))
}

// retry is within what time the operator tries again what was refused for long.
const retry = 15 * time.Second

// lacksService tells whether one of the Services that requests go through is gone. Only a write can bring it back.
func (o *oracle) lacksService() bool {
	c := o.w.canary()
	if c == nil {
		return false
	}
	apex, primary, canary := c.ServiceNames()
	return slices.ContainsFunc([]string{apex, primary, canary}, func(name string) bool { return o.w.objects[id{"Service", name}] == nil })
}

// astray tells whether none of the Services that a route leads to selects a pod that could answer, as those of a target
// that was created anew with another label. Only a write of a Service can change that.
func (o *oracle) astray() bool {
	c := o.w.canary()
	if c == nil {
		return false
	}
	_, primary, canary := c.ServiceNames()
	return !slices.ContainsFunc(o.w.pods, func(p *pod) bool {
		return p.owner != "" && p.ready(time.Now()) && (o.selects(primary, p.labels) || o.selects(canary, p.labels))
	})
}

// selects tells whether a Service selects pods with labels.
func (o *oracle) selects(service string, pods map[string]string) bool {
	s := get[*corev1.Service](o.w.store, "Service", service)
	return s != nil && selects(s.Spec.Selector, pods)
}

// apart tells whether a Service that its user made, and that nobody has taken over yet, selects other pods than those of
// the target: he has given that another label.
func (o *oracle) apart() bool {
	d := o.w.deployment("podinfo")
	return o.w.plan.OwnApex && !o.initialized && d != nil && !o.selects("podinfo", d.Spec.Template.Labels) &&
		!slices.ContainsFunc(o.w.pods, func(p *pod) bool {
			return strings.HasSuffix(p.labels["app"], "-primary") && o.selects("podinfo", p.labels)
		})
}

// pass lets the excuse run.
func (o *oracle) pass(passed time.Duration) {
	if o.excuse > 0 && !o.impaired() && o.anybody() {
		o.excuse = max(o.excuse-passed, 0)
	}
	c := o.w.canary()
	if c == nil {
		return
	}
	if now := time.Now(); !o.deleted.IsZero() && !o.w.away() && now.After(o.w.refusals["Canary"]) && now.After(o.w.refusals["Canary/status"]) &&
		now.After(o.w.refusals["Service"]) && now.After(o.w.refusals["Deployment"]) {
		o.deleting += passed
	}
	apex, primary, canary := c.ServiceNames()
	o.tolerated(c, apex, primary, canary, passed)
	if t, _ := o.w.effective(apex); unmatched(t, false) == 100 {
		if d := o.w.deployment(c.PrimaryName()); d != nil && o.steady(primary) >= int(*d.Spec.Replicas) {
			o.sufficed = int(*d.Spec.Replicas)
		}
	}
	for _, name := range []string{apex, primary, canary} {
		all := append(o.carried[name], sample{time.Now(), o.pods(name), o.steady(name)})
		for len(all) > 0 && time.Since(all[0].at) > o.window() {
			all = all[1:]
		}
		o.carried[name] = all
	}
}

func isBad(p *pod) bool { return strings.Contains(p.image, "bad") }

// bothBad is true where a canary is only compared with a primary that is bad itself: it is no worse.
func (o *oracle) bothBad(primary string) bool {
	return o.w.plan.Compare == "alone" && slices.ContainsFunc(o.w.endpoints[primary], isBad)
}

// tolerated finds a bad canary that goes on getting users' requests, although it can be judged and nobody holds it.
func (o *oracle) tolerated(c *v1beta1.Canary, apex, primary, canary string, passed time.Duration) {
	t, _ := o.w.effective(apex)
	bad := t.Canary > 0 && !o.bothBad(primary) && slices.ContainsFunc(o.w.endpoints[canary], isBad)
	a := c.GetAnalysis()
	lagging := slices.ContainsFunc(slices.Collect(maps.Values(o.w.cacheLags)), func(l lag) bool { return time.Now().Before(l.until) }) || time.Now().Before(o.w.endpointLag)
	held := o.impaired() || lagging || time.Now().Before(o.w.metricsDown) || time.Now().Before(o.w.hooksSlow) || c.Status.Paused || c.Spec.Suspend ||
		len(a.Metrics) == 0 || c.Spec.SkipAnalysis || o.least(primary) == 0 // then it stands in
	switch {
	case !bad:
		o.bad = 0
	case !held:
		o.bad += passed
	}
	interval, err := time.ParseDuration(a.Interval)
	if err != nil {
		return
	}
	if limit := 2*time.Minute + 2*time.Duration(a.Threshold+1)*interval + c.GetProgressDeadline(); o.bad > limit {
		o.fail("a bad canary has had %d%% of the requests for %s, in phase %s: %s", t.Canary, o.bad, c.Status.Phase, describe(c))
	}
}

// window is how old what the operator goes by may be.
func (o *oracle) window() time.Duration {
	longest := 8*time.Second + 2*o.w.plan.CacheLag
	for _, l := range o.w.cacheLags {
		if time.Since(l.until) < 15*time.Second {
			longest = max(longest, 15*time.Second+2*l.by)
		}
	}
	return longest
}

// most and least are how many pods have served of late behind a Service; least counts those that steady does.
func (o *oracle) most(service string) int {
	n := o.pods(service)
	for _, s := range o.carried[service] {
		n = max(n, s.pods)
	}
	return n
}

func (o *oracle) least(service string) int {
	n := o.steady(service)
	for _, s := range o.carried[service] {
		n = min(n, s.steady)
	}
	return n
}

// staying is how many pods behind a Service are not about to end.
func (o *oracle) staying(service string) int {
	n := 0
	for _, p := range o.w.endpoints[service] {
		if p.ready(time.Now()) {
			n++
		}
	}
	return n
}

// steady is how many of a Service's pods are not about to end and belong to a Deployment: nobody replaces others.
func (o *oracle) steady(service string) int {
	c := o.w.canary()
	if c == nil {
		return o.staying(service)
	}
	name := c.PrimaryName()
	if _, _, canary := c.ServiceNames(); service == canary {
		name = c.Spec.TargetRef.Name
	}
	d := o.w.deployment(name)
	if d == nil {
		return 0
	}
	return min(o.staying(service), int(d.Status.AvailableReplicas))
}

// pods is how many pods answer behind a Service.
func (o *oracle) pods(service string) int {
	n := 0
	for _, p := range o.w.endpoints[service] {
		if p.serves(time.Now()) {
			n++
		}
	}
	return n
}

// anybody tells whether there is a pod of a Deployment that could answer. The operator does not count others.
func (o *oracle) anybody() bool {
	if c := o.w.canary(); c != nil && withoutMesh(c) {
		apex, _, _ := c.ServiceNames() // without a mesh nobody stands in for those that it leads to
		return o.staying(apex) > 0
	}
	return o.remakable() || slices.ContainsFunc(o.w.pods, func(p *pod) bool { return p.owner != "" && p.ready(time.Now()) })
}

// remakable tells whether the primary is gone and can be made again, as the target is what it was made from: whatever holds the
// Canary, that is a matter of one write.
func (o *oracle) remakable() bool {
	d := o.w.deployment("podinfo")
	return o.initialized && !o.lostStatus && o.deleted.IsZero() && o.primaryGone && d != nil && d.DeletionTimestamp.IsZero() &&
		hashOf(&d.Spec.Template) == o.promotedHash && !o.hopeless() && time.Now().After(o.w.refusals["Deployment"].Add(retry))
}

// probe sends a request: what share of them finds nobody?
func (o *oracle) probe() {
	worst, why := 0.0, ""
	note := func(share float64, format string, args ...any) {
		if share > worst {
			worst, why = share, fmt.Sprintf(format, args...)
		}
	}
	names := []string{"podinfo"}
	for name := range o.served {
		if name != "podinfo" {
			names = append(names, name)
		}
	}
	if c := o.w.canary(); c != nil {
		// Nobody calls what a mesh divides traffic between, whatever name an edit of the spec gives to the apex.
		if apex, _, _ := c.ServiceNames(); !slices.Contains(append(names, "podinfo-primary", "podinfo-canary"), apex) {
			names = append(names, apex)
		}
	}
	for _, apex := range names {
		if o.leftOut(apex) {
			continue
		}
		routed := false
		for _, name := range slices.Sorted(maps.Keys(o.w.meshes)) {
			r := o.w.meshes[name].routes[apex]
			if r == nil || !r.acting {
				continue
			}
			routed = o.served[apex] || o.w.objects[id{"Service", apex}] != nil // nobody finds a name without its Service
			if !routed {
				continue
			}
			if share := float64(r.effective.Canary); share > 0 && o.pods(r.canary) == 0 {
				note(share, "mesh %s sends %.0f%% of the requests to %s, and nobody is there", name, share, r.canary)
			}
			share := float64(r.effective.Primary)
			if r.effective.Matched {
				share = 100
			}
			if share > 0 && o.pods(r.primary) == 0 {
				note(share, "mesh %s sends %.0f%% of the requests to %s, and nobody is there", name, share, r.primary)
			}
		}
		if routed {
			o.served[apex] = true
			continue
		}
		switch {
		case o.pods(apex) > 0:
			o.served[apex] = true
		case o.served[apex]:
			note(100, "Service %s leads to nobody", apex)
		}
	}
	if worst != o.lost {
		o.lost = worst
		if worst > 0 {
			o.w.trace("LOST %.0f%%: %s (excused for %s)", worst, why, o.excuse)
		} else {
			o.w.trace("nothing is lost any more")
		}
	}
	ownFault := !o.initialized && o.w.deployment("podinfo") == nil || o.apart() || o.alone() && (o.hopeless() || o.w.deployment("podinfo-primary") == nil)
	if ownFault && worst > 0 {
		o.robbed()
	}
	if worst > 0 && o.excuse <= 0 && !o.left {
		o.fail("requests are lost: %s", why)
	}
}

// leftOut tells whether a name is that of a Service which its user made, and which an edit of the spec has left out before
// anything was taken over: it leads to the target, with and without a Canary that drains that.
func (o *oracle) leftOut(name string) bool {
	c := o.w.canary()
	return c != nil && o.w.plan.OwnApex && name == "podinfo" && c.Status.Identity != nil && c.Status.Identity.Apex != name
}

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

// plans are the specs that the operator may go by.
func (o *oracle) plans() []v1beta1.CanarySpec {
	var out []v1beta1.CanarySpec
	for i, s := range o.specs {
		last := i == len(o.specs)-1
		if last || time.Since(o.specs[i+1].at) < o.window() {
			out = append(out, s.spec)
		}
	}
	return out
}

// asked is called for each change of a route that the operator asks for.
func (o *oracle) asked(m *mesh, of providers.Route, before, after providers.Traffic) {
	o.w.trace("operator asks mesh %s for %+v after %+v", m.name, after, before)
	// One that has lost its lease may go by an older status, which the present one makes good. It is looked at what comes of that.
	byFormer := o.w.asking != nil && o.w.asking == o.w.former
	undone := o.undone
	if o.undone = byFormer; byFormer || undone {
		return
	}
	_, primary, canary := of.Canary.ServiceNames()
	o.jump(primary, before, after)
	for _, side := range []struct {
		service, other string
		from, to       int32
	}{{primary, canary, unmatched(before, false), unmatched(after, false)}, {canary, primary, unmatched(before, true), unmatched(after, true)}} {
		// A canary grows with its share, so that only a switch to it needs the pods at once.
		if side.service == primary || side.to == 100 {
			o.capacity(side.service, side.other, side.from, side.to)
		}
	}
}

// unmatched is the share of all requests of the canary, or of the primary.
func unmatched(t providers.Traffic, canary bool) int32 {
	switch {
	case canary && t.Matched:
		return 0
	case canary:
		return t.Canary
	case t.Matched:
		return 100
	default:
		return t.Primary
	}
}

// jump finds raises by more than one step. The canary may stand in for a primary that can't carry its share, and for one
// that is without a pod while it changes.
func (o *oracle) jump(primary string, before, after providers.Traffic) {
	from, to := unmatched(before, true), unmatched(after, true)
	c := o.w.canary()
	if to <= from || c == nil {
		return
	}
	if standIn := o.least(primary) < max(1, (o.most(primary)+1)/2) || o.least(primary) == 0; standIn {
		return
	}
	if d := o.target; to == 100 && c.Status.Phase == v1beta1.PhasePromoting && d != nil && interrupted(d) {
		return
	}
	// A promotion that halts takes what is left of the primary out of the way where that is far from enough for its share.
	if d := o.w.deployment(c.PrimaryName()); to == 100 && c.Status.Phase == v1beta1.PhasePromoting && d != nil &&
		float64(o.least(primary)) < float64(*d.Spec.Replicas)*float64(100-from)/100*3/4 {
		return
	}
	for _, spec := range o.plans() {
		if to <= next(spec, from, c.Status.Phase) {
			return
		}
	}
	o.fail("the canary's weight jumps from %d to %d in phase %s", from, to, c.Status.Phase)
}

// next is the weight that may come after a weight.
func next(spec v1beta1.CanarySpec, from int32, phase v1beta1.CanaryPhase) int32 {
	a := (&v1beta1.Canary{Spec: spec}).GetAnalysis()
	switch a.Strategy() {
	case v1beta1.StrategyBlueGreen:
		if phase == v1beta1.PhasePromoting {
			return 100
		}
	case v1beta1.StrategyWeighted:
		for _, w := range a.Steps() {
			if w > from {
				return w
			}
		}
	case v1beta1.StrategyABTesting:
	}
	return from
}

// interrupted tells whether a Deployment may be without a pod while it changes.
func interrupted(d *appsv1.Deployment) bool {
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return true
	}
	one := d.DeepCopy()
	surge, unavailable := bounds(one)
	return surge == 0 && unavailable >= 1 || unavailable >= int(*d.Spec.Replicas)
}

// capacity finds a side that is given a share that it has not half the pods for, from a side that has them.
func (o *oracle) capacity(service, other string, from, to int32) {
	if to <= from {
		return
	}
	n := min(max(o.pods(service), o.pods(other)), o.allowed())
	need := func(share int32) float64 { return float64(n) * float64(share) / 100 }
	if c := o.w.canary(); c != nil && c.Status.Phase == v1beta1.PhaseFailed {
		return // what is bad is worse than what is small
	}
	enough := float64(o.most(service)) >= need(to)/2
	has := o.least(other)
	kept := float64(has) >= need(100-from)/2 && has > 0
	before := float64(o.most(service)) >= need(from)/2 // or it was too small for what it had
	if !enough && kept && before {
		o.fail("%s is given %d%% after %d%% of the requests with %d pods, while %s has %d", service, to, from, o.most(service), other, o.pods(other))
	}
}

// allowed is how many pods are enough for everything, whatever others there are: what people let the primary have at most, that is
// what somebody has scaled it to or has asked for in Git, as long as that is its number, and the maximum of its autoscaler; and where it has none, as many as
// have served everything.
func (o *oracle) allowed() int {
	w, most := o.w, math.MaxInt32
	if !w.plan.HPA && o.sufficed > 0 {
		most = o.sufficed
	}
	if d := w.deployment("podinfo-primary"); d != nil && w.byHand > 0 && *d.Spec.Replicas == w.byHand {
		most = min(most, int(w.byHand))
	}
	if d := w.deployment("podinfo-primary"); d != nil && w.asked > 0 && *d.Spec.Replicas == w.asked {
		most = min(most, int(w.asked))
	}
	if h := get[*autoscalingv2.HorizontalPodAutoscaler](w.store, "HorizontalPodAutoscaler", "podinfo"); h != nil {
		most = min(most, int(h.Spec.MaxReplicas))
	}
	return most
}

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
	if _, primary, _ := c.ServiceNames(); w.plan.Compare == "alone" && (o.primaryGone || o.pods(primary) == 0 || o.bothBad(primary)) && !over(c) {
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

func (o *oracle) afterDeletion() {
	if o.w.git.target == nil || o.left {
		return // he wanted to be rid of it
	}
	o.had = min(o.had, int(o.w.fewest))
	if d := o.w.deployment("podinfo"); d != nil && strings.Contains(o.w.versionOf(&d.Spec.Template), "never") {
		// Whoever deletes the Canary has the target serve as it is, also one whose last change can never be rolled out.
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

func describe(c *v1beta1.Canary) string {
	var out []string
	for _, cond := range c.Status.Conditions {
		out = append(out, fmt.Sprintf("%s=%s %s: %s", cond.Type, cond.Status, cond.Reason, cond.Message))
	}
	return strings.Join(out, "; ")
}
