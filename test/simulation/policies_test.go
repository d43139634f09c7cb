package simulation

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/policies"
	"github.com/sluice-delivery/sluice/operator/release"
)

// Kinds of release policies that a world can have.
const (
	// policyFreeze is frozen and thawed by somebody's hand.
	policyFreeze = "freeze"
	// policyTimes is frozen until a time, again and again.
	policyTimes = "times"
	// policyPlace has one place, which another Canary takes and leaves.
	policyPlace = "place"
	// policyInvalid can't be understood for some time.
	policyInvalid = "invalid"
)

const (
	// policyName is the policy's, and otherName the other Canary's.
	policyName, otherName = "policy", "other"
	// policyEnds is for how long people change the policy. Then they delete it.
	policyEnds = 4 * time.Minute
)

// ruled is what a world knows of its release policy.
type ruled struct {
	w    *world
	kind string
	rand *rand.Rand
	next time.Time // when something changes
	shut bool      // no release may begin
	// since is since when it is so without a break.
	since time.Time
	over  bool
	idle  time.Duration // for how long a release waits that nothing keeps from beginning
}

// makePolicy gives a world its policy, which is shut at first.
func (w *world) makePolicy() {
	if w.plan.Policy == "" {
		return
	}
	w.policy = &ruled{w: w, kind: w.plan.Policy, rand: rand.New(rand.NewPCG(w.plan.Seed, 2))}
	w.make(&v1alpha1.ReleasePolicy{ObjectMeta: metav1.ObjectMeta{Name: policyName}})
	if w.policy.kind == policyPlace {
		w.make(&v1beta1.Canary{
			ObjectMeta: metav1.ObjectMeta{Name: otherName},
			Spec:       v1beta1.CanarySpec{TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: otherName}},
		})
		w.policy.edit(func(s *v1alpha1.ReleasePolicySpec) { s.MaxReleases = new(int32(1)) })
	}
	w.policy.turn(true)
}

func (u *ruled) edit(with func(*v1alpha1.ReleasePolicySpec)) {
	edit(u.w.store, v1alpha1.ReleasePolicyKind, policyName, func(p *v1alpha1.ReleasePolicy) { with(&p.Spec) })
}

// turn has the policy let no release begin, or any.
func (u *ruled) turn(shut bool) {
	u.w.trace("policy %s: shut %t", u.kind, shut)
	if shut != u.shut {
		u.since = time.Now()
	}
	u.shut = shut
	u.next = time.Now().Add(time.Duration(2+u.rand.IntN(40)) * time.Second)
	switch u.kind {
	case policyFreeze:
		u.edit(func(s *v1alpha1.ReleasePolicySpec) {
			if s.Freeze = nil; shut {
				s.Freeze = &v1alpha1.ReleaseFreeze{Reason: "a test", Author: "alice"}
			}
		})
	case policyTimes:
		if !shut {
			return // that comes by itself
		}
		u.edit(func(s *v1alpha1.ReleasePolicySpec) {
			s.Freeze = &v1alpha1.ReleaseFreeze{Reason: "a test", Author: "alice", Until: new(metav1.NewTime(u.next))}
		})
	case policyInvalid:
		u.edit(func(s *v1alpha1.ReleasePolicySpec) {
			if s.TimeZone = ""; shut {
				s.TimeZone = "Europe/Atlantis"
			}
		})
	case policyPlace:
		edit(u.w.store, "Canary", otherName, func(c *v1beta1.Canary) {
			if c.Status.Phase = v1beta1.PhaseSucceeded; shut {
				c.Status.Phase, c.Status.Step = v1beta1.PhaseProgressing, &v1beta1.StepStatus{Index: 1}
			}
		})
	}
}

// tick is what people do.
func (u *ruled) tick() {
	switch {
	case u == nil || u.over:
	case time.Since(u.w.began) > policyEnds:
		u.end()
	case time.Now().After(u.next):
		u.turn(!u.shut)
	}
}

// forgotten finds a release that goes on waiting although the policy lets it begin and nothing else keeps it from that.
func (u *ruled) forgotten(passed time.Duration) {
	if u == nil {
		return
	}
	w, c := u.w, u.w.canary()
	waits := c != nil && c.Status.Phase == v1beta1.PhaseWaiting && c.Status.Admission != nil && c.Status.Admission.Admitted == nil && c.Status.Gate == nil
	kept := u.shut || w.oracle.impaired() || !waits || c.Status.Paused || c.Spec.Suspend || !c.DeletionTimestamp.IsZero() ||
		c.Status.GetCondition(v1beta1.ConditionStalled) != nil || len(c.GetAnalysis().HooksOf(v1beta1.ConfirmRolloutHook)) > 0 ||
		time.Since(u.since) < w.oracle.window() || w.former != nil
	if u.idle += passed; kept {
		u.idle = 0
	}
	limit := 12 * time.Second
	if u.kind == policyTimes {
		limit += 12 * time.Second // clocks are off
	}
	if u.idle > limit {
		w.oracle.fail("a release waits for %s although the policy (%s) lets it begin: %s", u.idle, u.kind, describe(c))
	}
}

// end takes the policy away, so that the world comes to its end.
func (u *ruled) end() {
	if u == nil || u.over {
		return
	}
	u.w.trace("the policy is deleted")
	if u.shut {
		u.since = time.Now()
	}
	u.over, u.shut = true, false
	u.w.drop(id{v1alpha1.ReleasePolicyKind, policyName})
	if u.kind == policyPlace {
		u.w.drop(id{"Canary", otherName})
	}
}

// escaped is called when the status of the Canary changes: a release that begins while the policy has let none begin for
// longer than the operator needs to see that was let by nobody.
func (u *ruled) escaped(was, is *v1beta1.CanaryStatus) {
	if u == nil || !u.shut || is.Phase != v1beta1.PhaseProgressing {
		return
	}
	began := was.Phase == v1beta1.PhaseWaiting || is.StartedAt != nil && (was.StartedAt == nil || was.StartedAt.UnixMicro() != is.StartedAt.UnixMicro())
	if !began || is.Admission != nil && is.Admission.Reason == release.ReasonApproved {
		return
	}
	w := u.w
	if primary := w.deployment("podinfo-primary"); primary == nil || time.Since(primary.CreationTimestamp.Time) < w.oracle.window() {
		return // it is to bring the primary back
	}
	allowed := w.oracle.window()
	if w.former != nil || time.Since(w.formerUntil) < time.Minute {
		allowed += 30 * time.Second // one that has lost its lease sees things late
	}
	if u.kind == policyTimes && time.Until(u.next) < 15*time.Second {
		return // it is over by a clock that is ahead
	}
	if time.Since(w.apiDown) < time.Minute {
		allowed += time.Minute
	}
	if shut := time.Since(u.since); shut > allowed {
		w.oracle.fail("a release begins although the policy (%s) has let none begin for %s", u.kind, shut)
	}
}

// rule gives a process the policies, which it reads a moment after its start.
func (w *world) rule(p *process, through client.Client, clock skewed) {
	if w.policy == nil {
		return
	}
	p.reconciler.Policies = policies.New(policies.Config{
		Client: through, Clock: clock,
		Wake: func(_ context.Context, keys []types.NamespacedName) { p.woken(keys) },
	})
	p.reconciler.Policies.Served(v1alpha1.ReleasePolicyKind)
	p.readsAt = time.Now().Add(time.Duration(w.policy.rand.IntN(3000)) * time.Millisecond)
}

func (p *process) woken(keys []types.NamespacedName) {
	for _, key := range keys {
		if key == canaryKey {
			p.wake(0)
		}
	}
}

// reads has a process read the policies when it is time, and then be told of what changes.
func (p *process) reads(w *world) {
	if p.readsAt.IsZero() || time.Now().Before(p.readsAt) {
		return
	}
	p.readsAt = time.Time{}
	x := p.reconciler.Policies
	if err := x.Read(w.context, p.reconciler.Client, v1alpha1.ReleasePolicyKind); err != nil {
		w.oracle.fail("policies can't be read: %v", err)
	}
	p.views.seen = func(o client.Object) { p.woken(x.Seen(o)) }
	p.views.gone = func(o client.Object) { p.woken(x.Gone(o)) }
}

// TestPolicies has releases wait for their turn while other things go wrong.
func TestPolicies(t *testing.T) {
	begin := act{When: "Initialized", What: "release a good one"}
	at := func(when, what string) act { return act{When: when, What: what} }
	and := func(what string) act { return act{What: what} }
	after := func(d time.Duration, what string) act { return act{After: d, What: what} }
	for _, tc := range []struct {
		name      string
		acts      []act
		hooks     []string
		wantPhase string
	}{
		{name: "a good one", acts: []act{begin}, wantPhase: "Succeeded"},
		{name: "a bad one", acts: []act{{When: "Initialized", What: "release a bad one"}}, wantPhase: "Failed"},
		{name: "one after the other", acts: []act{begin, at("Succeeded", "release a good one"), at("Succeeded", "release a good one")}, wantPhase: "Succeeded"},
		{name: "another while it waits", acts: []act{begin, at("Waiting", "release a good one"), after(2*time.Second, "release a good one")}, wantPhase: "Succeeded"},
		{name: "another in a release", acts: []act{begin, at("weight", "release a good one")}, wantPhase: "Succeeded"},
		{name: "set back while it waits", acts: []act{begin, at("Waiting", "roll back in Git")}, wantPhase: "Succeeded"},
		{name: "set back in a release", acts: []act{begin, at("weight", "roll back in Git")}, wantPhase: "Succeeded"},
		{name: "approved", acts: []act{begin, at("Waiting", "approve")}, wantPhase: "Succeeded"},
		{name: "aborted while it waits", acts: []act{begin, at("Waiting", "abort")}, wantPhase: "Failed"},
		{name: "aborted in a release", acts: []act{begin, at("weight", "abort")}, wantPhase: "Failed"},
		{name: "promoted while it waits", acts: []act{begin, at("Waiting", "promote")}, wantPhase: "Succeeded"},
		{name: "with a gate", acts: []act{begin}, hooks: []string{"confirm-rollout"}, wantPhase: "Succeeded"},
		{name: "with a gate that closes", acts: []act{begin, at("Waiting", "gates are closed")}, hooks: []string{"confirm-rollout"}, wantPhase: "Succeeded"},
		{name: "the primary is lost", acts: []act{begin, at("Waiting", "delete the primary with its pods")}},
		{name: "the operator stops", acts: []act{begin, at("Waiting", "the operator stops after a write"), at("Progressing", "the operator is down")}, wantPhase: "Succeeded"},
		{name: "released while no operator is there", acts: []act{at("Initialized", "the operator is down"), and("release a good one")}, wantPhase: "Succeeded"},
		{name: "two operators", acts: []act{begin, at("Waiting", "two operators lead"), after(20*time.Second, "two operators lead")}, wantPhase: "Succeeded"},
		{name: "paused", acts: []act{begin, at("Waiting", "pause and resume")}, wantPhase: "Succeeded"},
		{name: "the status is lost", acts: []act{begin, at("Waiting", "lose the status")}},
		{name: "the Canary is deleted", acts: []act{begin, at("Waiting", "delete the Canary")}},
		{name: "the canary crashes", acts: []act{begin, at("weight", "all pods of the canary crash"), and("the metrics are away")}},
	} {
		for _, kind := range []string{policyFreeze, policyTimes, policyPlace, policyInvalid} {
			t.Run(tc.name+"/"+kind, func(t *testing.T) {
				for seed := range uint64(4) {
					p := plan{Pods: 2, Seed: seed, Hooks: tc.hooks, Acts: tc.acts, Policy: kind}
					out := try(t, p, true)
					if out.violation == "" && tc.wantPhase != "" && out.phase != tc.wantPhase {
						out.violation = "it ends in phase " + out.phase + ", not " + tc.wantPhase
					}
					if out.violation != "" {
						report(t, p, out)
						return
					}
				}
			})
		}
	}
}
