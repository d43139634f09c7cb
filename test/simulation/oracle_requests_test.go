package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

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
	for _, p := range o.w.endpoints[service] {
		if p.dead && time.Since(p.diedAt) < o.window() {
			n++ // its endpoint may have come when it was dead already
		}
	}
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
	if d != nil && o.w.plan.Configs && o.w.versionOf(&d.Spec.Template) != o.primaryImage {
		return false // its configs are others
	}
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
