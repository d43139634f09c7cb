package main

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// restoredIncidents lose what the operator has written down.
var restoredIncidents = []incident{
	{"status lost at rest", func(s *site) { testStatusLost(s, false) }},
	{"status lost in mid-release with half of the primary", func(s *site) { testStatusLost(s, true) }},
}

// testStatusLost restores a Canary from a backup, without its status. The primary is
// taken as it is; what the target is beyond that is judged first.
func testStatusLost(s *site, mid bool) {
	s.begin(gated, atStep(50))
	if mid {
		s.release(newImage)
		s.awaitRoute(50)
		s.pods.limit(app+"-primary", oldImage, 1)
		s.await("half of the primary", func(ctx context.Context) error {
			d := &appsv1.Deployment{}
			err := s.api.Get(ctx, s.key(app+"-primary"), d)
			if err == nil && d.Status.AvailableReplicas != 1 {
				err = fmt.Errorf("it has %d pods", d.Status.AvailableReplicas)
			}
			return err
		})
	}
	p := s.probe(app)
	s.stop()
	c := get[v1beta1.Canary](s, app)
	c.Status = v1beta1.CanaryStatus{}
	if err := s.api.Status().Update(s.t.Context(), c); err != nil {
		s.t.Fatal(err)
	}
	s.operate()
	if !mid {
		s.awaitSettled(v1beta1.PhaseInitialized)
		p.stop(0).wantNever(s.t, "another primary", func(m moment) bool { return m.primary == nil || imageOf(m.primary) != oldImage })
		return
	}
	s.await("the status to be written again", func(ctx context.Context) error {
		st, err := s.status(ctx)
		if err == nil && st.Phase == "" {
			err = errNotYet
		}
		return err
	})
	s.bad.Store(true)
	s.edit(func(c *v1beta1.Canary) { c.Spec.Analysis.Interval = "1s" })
	s.pods.limit(app+"-primary", oldImage, unlimited)
	s.awaitSettled(v1beta1.PhaseFailed)
	p.stop(0).wantNever(s.t, "what nobody has judged is the primary", func(m moment) bool { return m.primary == nil || imageOf(m.primary) != oldImage })
}
