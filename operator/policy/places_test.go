package policy

import (
	"math/rand/v2"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// Whoever has the statuses alone finds the order of the Index.
func TestPlaces(t *testing.T) {
	waitsFor := func(policy, reason string, since int, priority string) func(*v1beta1.Canary) {
		return func(c *v1beta1.Canary) {
			waits(since)(c)
			c.Status.Admission.Policy, c.Status.Admission.Reason = policy, reason
			c.Annotations = map[string]string{v1alpha1.PriorityAnnotation: priority}
		}
	}
	f := newFleet(t)
	full := release.ReasonMaximumReached
	f.set("a/1", waitsFor("ReleasePolicy/x", full, 3, ""))
	f.set("a/2", waitsFor("ReleasePolicy/x", full, 2, ""))
	f.set("a/3", waitsFor("ReleasePolicy/x", full, 9, "5"))
	f.set("b/1", waitsFor("ReleasePolicy/x", full, 1, "")) // another of that name
	f.set("a/4", waitsFor("ConfigMap/x", full, 1, ""))
	f.set("a/5", waitsFor("ClusterReleasePolicy/x", full, 2, ""))
	f.set("b/2", waitsFor("ClusterReleasePolicy/x", full, 1, ""))
	f.set("a/6", waitsFor("ReleasePolicy/x", release.ReasonFrozen, 0, ""))
	f.set("a/7", func(c *v1beta1.Canary) {
		waitsFor("ReleasePolicy/x", full, 0, "")(c)
		c.Status.Paused = true
	})
	f.set("a/8", in(v1beta1.PhaseProgressing))
	want := map[string]Place{
		"a/3": {1, 3}, "a/2": {2, 3}, "a/1": {3, 3}, "b/1": {1, 1}, "a/4": {1, 1}, "b/2": {1, 2}, "a/5": {2, 2},
	}
	var all []*v1beta1.Canary
	for _, c := range f.all {
		all = append(all, c)
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	got := Places(all)
	if len(got) != len(want) {
		t.Errorf("%d have a place: %v", len(got), got)
	}
	for name, place := range want {
		if is := got[types.NamespacedName{Namespace: name[:1], Name: name[2:]}]; is != place {
			t.Errorf("%s has %+v, want %+v", name, is, place)
		}
	}
}

// The places by statuses are those that the Index tells of a queue of which nobody waits for another policy.
func TestPlacesAreTheIndex(t *testing.T) {
	f := newLimitedFleet(t, 1)
	for _, name := range []string{"a/1", "a/2", "a/3", "a/4"} {
		f.set(name, at1(v1beta1.PhaseSucceeded))
		f.changedConfigs(name, sharedConfig)
	}
	var all []*v1beta1.Canary
	written := map[string]int{}
	for _, name := range []string{"a/2", "a/3", "a/4"} {
		turn, _ := f.turn(name, true)
		written[name] = turn.Place
		f.set(name, func(c *v1beta1.Canary) {
			c.Status.Admission.Reason, c.Status.Admission.Policy = turn.Reason, turn.Policy
		})
		all = append(all, f.all[name])
	}
	for key, place := range Places(all) {
		if written[key.String()] != place.Number || place.Of != 3 {
			t.Errorf("%s is number %d of %d, and the Index says %d", key, place.Number, place.Of, written[key.String()])
		}
	}
}
