package main

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// deletionIncidents delete a Canary that can't give back what it took over.
var deletionIncidents = []incident{
	{"Canary deleted after its target at rest", func(s *site) { testDeletionWithoutTarget(s, atRest, 0) }},
	{"Canary deleted after its target in mid-release", func(s *site) { testDeletionWithoutTarget(s, midRelease, 50) }},
	{"Canary with a typo deleted", testDeletionWithTypo},
}

// testDeletionWithoutTarget: the primary is all that serves, and stays.
func testDeletionWithoutTarget(s *site, at func(*site), lost int32) {
	at(s)
	p := s.probe(app)
	s.remove(get[appsv1.Deployment](s, app))
	s.awaitCondition(v1beta1.ConditionStalled, corev1.ConditionTrue, "TargetMissing")
	s.awaitRoute(0)
	c := get[v1beta1.Canary](s, app)
	s.remove(c)
	s.awaitGone(c)
	s.awaitPods(app+"-primary", 2)
	p.stop(lost)
}

// testDeletionWithTypo: whichever pods serve in the end, they are as many as before.
func testDeletionWithTypo(s *site) {
	s.begin(nil, func(c *v1beta1.Canary) { c.Spec.ProgressDeadlineSeconds = new(int32(3)) })
	p := s.probe(app)
	s.edit(func(c *v1beta1.Canary) { c.Spec.TargetRef.Name = "podinf0" })
	s.awaitCondition(v1beta1.ConditionStalled, corev1.ConditionTrue, "spec.targetRef")
	c := get[v1beta1.Canary](s, app)
	s.remove(c)
	s.awaitGone(c)
	told := p.stop(0)
	if end := told[len(told)-1]; end.atPrimary != 2 {
		s.t.Errorf("in the end %d pods answer, 2 did", end.atPrimary)
	}
}
