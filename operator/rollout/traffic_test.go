package rollout_test

import (
	"testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
)

func TestTrafficOf(t *testing.T) {
	cookies := func(st *v1beta1.CanaryStatus) {
		st.SessionAffinityCookie, st.PrimarySessionAffinityCookie = "c=a", "p=b"
	}
	for name, tc := range map[string]struct {
		match  bool
		status func(st *v1beta1.CanaryStatus)
		want   release.Traffic
	}{
		"a share of what matches": {true, func(st *v1beta1.CanaryStatus) {
			st.CanaryWeight, st.Traffic.Matched = 30, true
		}, release.Traffic{Canary: 30, Matched: true}},
		"nothing matches any more": {false, func(st *v1beta1.CanaryStatus) {
			st.CanaryWeight, st.Traffic.Matched = 100, true
		}, release.Traffic{}},
		"users stay": {false, func(st *v1beta1.CanaryStatus) {
			cookies(st)
			st.CanaryWeight = 20
		}, release.Traffic{Canary: 20, Sessions: release.Sessions{Canary: "a", Primary: "b", Raised: 20}}},
		"nobody needs to stay beside a canary that stands in": {false, func(st *v1beta1.CanaryStatus) {
			cookies(st)
			st.CanaryWeight, st.Traffic.Reason = 100, v1beta1.TrafficPrimaryUnavailable
		}, release.Traffic{Canary: 100}},
		"nor when the primary has the revision": {false, func(st *v1beta1.CanaryStatus) {
			cookies(st)
			st.CanaryWeight, st.Phase, st.LastPromotedSpec = 20, v1beta1.PhasePromoting, st.LastAppliedSpec
		}, release.Traffic{Canary: 20}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newScene().step(1, 0, 0).Canary
			c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "c"}
			if tc.match {
				c.Spec.Analysis.Match = []v1beta1.RawObject{{}}
			}
			c.Status.Traffic = &v1beta1.TrafficStatus{Reason: v1beta1.TrafficPlanned}
			tc.status(&c.Status)
			if got := serving.TrafficOf(c, &c.Status); got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
		})
	}
}
