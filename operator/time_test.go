package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// timeIncidents have time go by in which nothing may happen to a release, or in which what was asked becomes old.
var timeIncidents = []incident{
	{"paused for longer than its deadline and resumed with a pod that is not ready", testPausedForLong},
	{"metrics mended while it is paused for longer than its deadline", testMendedWhilePaused},
	{"canary lost and back while a load test is under way", testOldRound},
	{"another leader after an hour without one", testLeaderAfterAbsence},
}

// shortDeadline is over before such an incident is.
const shortDeadline = 8 * time.Second

func withShortDeadline(c *v1beta1.Canary) {
	c.Spec.ProgressDeadlineSeconds = new(int32(shortDeadline.Seconds()))
}

// request has somebody ask for something, and waits until the release has done it.
func (s *site) request(what v1beta1.ActionType) {
	s.t.Helper()
	a := &v1alpha1.CanaryAction{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, GenerateName: app + "-"},
		Spec:       v1alpha1.CanaryActionSpec{Canary: app, Action: what},
	}
	s.create(a)
	s.await("the end of "+string(what), func(ctx context.Context) error {
		err := s.api.Get(ctx, client.ObjectKeyFromObject(a), a)
		if err == nil && a.Status.Phase != v1alpha1.ActionDone {
			err = fmt.Errorf("it is %+v", a.Status)
		}
		return err
	})
}

// beforeNoted is how long something is wrong before the deadline begins to run for it; see operator/rollout.
const beforeNoted = 15 * time.Second

// awaitTime waits until so much time has gone by.
func (s *site) awaitTime(d time.Duration) {
	s.t.Helper()
	since := time.Now()
	s.await("time to go by", func(context.Context) error {
		if time.Since(since) < d {
			return errNotYet
		}
		return nil
	})
}

// testPausedForLong: what was wrong while a person held the release does not count.
func testPausedForLong(s *site) {
	s.begin(gated, both(atStep(50), withShortDeadline))
	s.release(newImage)
	s.awaitRoute(50)
	p := s.probe(app)
	s.request(v1beta1.ActionPause)
	s.pods.limit(app, newImage, 1)
	s.awaitTime(beforeNoted + shortDeadline + time.Second)
	s.edit(func(c *v1beta1.Canary) { c.Spec.Analysis.Interval = "1s" })
	s.request(v1beta1.ActionResume)
	s.pods.limit(app, newImage, unlimited)
	s.awaitSettled(v1beta1.PhaseSucceeded)
	wantShares(s.t, p.stop(0), 50, 0)
}

// testMendedWhilePaused: an answer from before the pause does not end the release after it.
func testMendedWhilePaused(s *site) {
	s.begin(nil, withShortDeadline)
	p := s.probe(app)
	s.away.Store(true)
	s.release(newImage)
	s.await("the deadline to run", func(ctx context.Context) error {
		st, err := s.status(ctx)
		if err == nil && (st.CanaryWeight != 50 || st.Unwell == nil) {
			err = fmt.Errorf("the status is %+v", st)
		}
		return err
	})
	s.request(v1beta1.ActionPause)
	s.away.Store(false)
	s.awaitTime(shortDeadline)
	s.request(v1beta1.ActionResume)
	s.awaitSettled(v1beta1.PhaseSucceeded)
	wantShares(s.t, p.stop(0), 0, 50, 0)
}

// testOldRound: a round that began before the canary was lost judges nothing of what serves after it.
func testOldRound(s *site) {
	var rounds atomic.Int32
	answers := []chan struct{}{make(chan struct{}), make(chan struct{})}
	loads := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if n := int(rounds.Add(1)); n <= len(answers) {
			select {
			case <-answers[n-1]:
			case <-r.Context().Done():
			}
		}
	}))
	s.t.Cleanup(loads.Close)
	s.begin(gated, func(c *v1beta1.Canary) {
		a := c.Spec.Analysis
		a.StepWeight, a.MaxWeight, a.StepWeights = 0, 0, []int32{20, 40}
		a.Webhooks = []v1beta1.CanaryWebhook{{Type: v1beta1.RolloutHook, Name: "load", URL: loads.URL, Timeout: "2m"}}
	})
	p := s.probe(app)
	awaitRound := func(n int32) {
		s.await(fmt.Sprintf("round %d", n), func(context.Context) error {
			if rounds.Load() < n {
				return errNotYet
			}
			return nil
		})
	}
	s.release(newImage)
	awaitRound(1)
	s.pods.limit(app, newImage, 0)
	s.awaitRoute(0)
	s.pods.limit(app, newImage, unlimited)
	s.awaitRoute(20)
	close(answers[0])
	awaitRound(2)
	if d := cmp.Diff([]int32{0, 20, 0, 20}, p.tell(s.t.Context()).shares()); d != "" {
		s.t.Errorf("the canary's shares before anybody has judged it anew (-want +got)\n%s", d)
	}
	close(answers[1])
	s.awaitSettled(v1beta1.PhaseSucceeded)
	p.stop(20)
}

// testLeaderAfterAbsence: an hour in which no operator led is none of the deadline, to a replica that stood by neither.
func testLeaderAfterAbsence(s *site) {
	s.begin(gated, both(atStep(50), func(c *v1beta1.Canary) { c.Spec.ProgressDeadlineSeconds = new(int32(600)) }))
	s.release(newImage)
	s.awaitRoute(50)
	p := s.probe(app)
	s.stop()
	s.pods.limit(app, newImage, 1)
	ago := time.Now().Add(-time.Hour)
	c := get[v1beta1.Canary](s, app)
	c.Status.Unwell = &v1beta1.UnwellStatus{Since: metav1.NewMicroTime(ago.Add(-time.Minute)), Reason: "it is not ready"}
	if err := s.api.Status().Update(s.t.Context(), c); err != nil {
		s.t.Fatal(err)
	}
	s.create(&coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: leaderLease},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("a node that died"), LeaseDurationSeconds: new(int32(1)),
			AcquireTime: new(metav1.NewMicroTime(ago)), RenewTime: new(metav1.NewMicroTime(ago)),
		},
	})
	s.operate("-enable-leader-election", "-leader-election-namespace", s.namespace)
	s.edit(func(c *v1beta1.Canary) { c.Spec.Analysis.Interval = "1s" })
	s.await("a turn of the new leader", func(ctx context.Context) error {
		c := &v1beta1.Canary{}
		err := s.api.Get(ctx, s.key(app), c)
		if err == nil && c.Status.ObservedGeneration != c.Generation {
			err = errNotYet
		}
		return err
	})
	s.pods.limit(app, newImage, unlimited)
	s.awaitSettled(v1beta1.PhaseSucceeded)
	wantShares(s.t, p.stop(0), 50, 0)
}
