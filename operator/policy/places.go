package policy

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// Place is where a release stands among those that wait for a place of the same policy.
type Place struct {
	// Number is which it is, from 1, and Of how many wait; zero where it waits for no place.
	Number, Of int
}

// ForPlace tells whether a release waits for a place of a policy, and whether that may be one of several namespaces.
func ForPlace(c *v1beta1.Canary) (waits, ofCluster bool) {
	if is := standingOf(c); is.stage != waiting || c.Status.Admission.Reason != release.ReasonMaximumReached {
		return false, false
	}
	return true, strings.HasPrefix(c.Status.Admission.Policy, v1alpha1.ClusterReleasePolicyKind+"/")
}

// Places are those of all that wait for one among some Canaries, by what their statuses say: who looks at them has no Index. It
// is right where all are there that the policies are about.
func Places(all []*v1beta1.Canary) map[types.NamespacedName]Place {
	queues := map[Key][]*member{}
	for _, c := range all {
		waits, ofCluster := ForPlace(c)
		if !waits {
			continue
		}
		of := Key{Namespace: c.Namespace, Name: c.Status.Admission.Policy}
		if ofCluster {
			of.Namespace = ""
		}
		queues[of] = append(queues[of], &member{key: types.NamespacedName{Namespace: c.Namespace, Name: c.Name}, is: standingOf(c)})
	}
	out := map[types.NamespacedName]Place{}
	for _, queue := range queues {
		slices.SortFunc(queue, earlier)
		for i, m := range queue {
			out[m.key] = Place{i + 1, len(queue)}
		}
	}
	return out
}

// Standing is how a policy stands.
type Standing struct {
	Key Key
	// UnderWay is how many releases hold a place, and Waiting how many are in the queue.
	UnderWay, Waiting int
	// Limit is how many may be under way at once, 0 for any number.
	Limit int
	// Frozen is true during a freeze.
	Frozen bool
}

// Standings are those of all policies, the cluster's first. The limits by configs are one, with an empty key: it sums up how many are
// under way and wait at each.
func (x *Index) Standings(now time.Time) []Standing {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := []Standing{}
	if x.mostPerConfig > 0 {
		byConfig := Standing{Limit: x.mostPerConfig}
		for _, s := range x.byConfig {
			byConfig.UnderWay += len(s.holders)
			byConfig.Waiting += len(s.queue)
		}
		out = append(out, byConfig)
	}
	for key, s := range x.policies {
		out = append(out, Standing{
			Key: key, UnderWay: len(s.holders), Waiting: len(s.queue), Limit: s.rules.max, Frozen: s.rules.frozen(now),
		})
	}
	slices.SortFunc(out, func(a, b Standing) int {
		return compareKeys(types.NamespacedName{Namespace: a.Key.Namespace, Name: a.Key.Name}, types.NamespacedName{Namespace: b.Key.Namespace, Name: b.Key.Name})
	})
	return out
}
