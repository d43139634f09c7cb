package main

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// identityIncidents change what a Canary is about, and by what its pods are told apart.
var identityIncidents = []incident{
	{"headless set in mid-release", testHeadless},
	{"target recreated with one more selector label", func(s *site) { testSelector(s, map[string]string{"app": app, "tier": "web"}) }},
	{"target recreated with another selector label", func(s *site) { testSelector(s, map[string]string{"name": app}) }},
	{"target deleted at 50 percent", testTargetReplaced},
	{"provider edited in mid-release", func(s *site) { testIdentity(s, midRelease, "spec.provider", toProvider) }},
	{"service.name edited in mid-release", func(s *site) { testIdentity(s, midRelease, "spec.service.name", toApex) }},
	{"targetRef.name edited in mid-release", func(s *site) { testIdentity(s, midRelease, "spec.targetRef.name", toTarget) }},
	{"provider edited at rest", func(s *site) { testIdentity(s, atRest, "spec.provider", toProvider) }},
	{"service.name edited at rest", func(s *site) { testIdentity(s, atRest, "spec.service.name", toApex) }},
	{"targetRef.name edited at rest", func(s *site) { testIdentity(s, atRest, "spec.targetRef.name", toTarget) }},
	{"selector labels of the command line changed", testSelectorLabels},
}

func toProvider(c *v1beta1.Canary) { c.Spec.Provider = v1beta1.ProviderKubernetes }
func toApex(c *v1beta1.Canary)     { c.Spec.Service.Name = "web" }
func toTarget(c *v1beta1.Canary)   { c.Spec.TargetRef.Name = "podinfo-v2" }

// testIdentity edits what can't be changed while the Canary lives: that is told by the
// name of the field and costs nobody a request, and set back, everything goes on.
func testIdentity(s *site, at func(*site), field string, edit func(*v1beta1.Canary)) {
	at(s)
	labels := map[string]string{"app": "podinfo-v2"}
	s.create(s.deployment(newImage, func(d *appsv1.Deployment) {
		d.Name, d.Spec.Selector, d.Spec.Template.Labels = "podinfo-v2", &metav1.LabelSelector{MatchLabels: labels}, labels
	}))
	p := s.probe(app)
	was := get[v1beta1.Canary](s, app).Spec
	s.edit(edit)
	s.awaitCondition(v1beta1.ConditionStalled, corev1.ConditionTrue, field)
	s.edit(func(c *v1beta1.Canary) {
		c.Spec = was
		c.Spec.Analysis.Interval = "1s"
	})
	s.awaitCondition(v1beta1.ConditionReady, corev1.ConditionTrue)
	s.awaitDrained()
	if got, want := s.primaryImage(), imageOf(get[appsv1.Deployment](s, app)); got != want {
		s.t.Errorf("in the end the primary has %s, want %s", got, want)
	}
	if most := p.stop(0).most(); most > 50 {
		s.t.Errorf("the canary had %d%%", most)
	}
}

// testSelector deletes the target, which has no pods, and creates it again with other labels
// and a new version that is slow to start. The primary's pods are selected by what they carry.
func testSelector(s *site, labels map[string]string) {
	s.begin(gated, nil)
	p := s.probe(app)
	s.pods.limit(app, newImage, 0)
	target := get[appsv1.Deployment](s, app)
	s.remove(target)
	s.awaitGone(target)
	s.create(s.deployment(newImage, gated, func(d *appsv1.Deployment) {
		d.Spec.Selector, d.Spec.Template.Labels = &metav1.LabelSelector{MatchLabels: labels}, labels
	}))
	s.awaitPhase(v1beta1.PhaseProgressing)
	s.await("pods that are not ready", func(ctx context.Context) error {
		d := &appsv1.Deployment{}
		err := s.api.Get(ctx, s.key(app), d)
		if err == nil && d.Status.UnavailableReplicas != 2 {
			err = fmt.Errorf("its status is %+v", d.Status)
		}
		return err
	})
	if most := p.tell(s.t.Context()).most(); most > 0 {
		s.t.Errorf("the canary, which was not judged, had %d%%", most)
	}
	s.pods.limit(app, newImage, unlimited)
	s.awaitSettled(v1beta1.PhaseSucceeded)
	if got := s.primaryImage(); got != newImage {
		s.t.Errorf("the primary has %s", got)
	}
	if most := p.stop(0).most(); most != 50 {
		s.t.Errorf("the canary had at most %d%%, want 50%%", most)
	}
}

// testSelectorLabels restarts the operator with another order of -selector-labels.
func testSelectorLabels(s *site) {
	s.begin(func(d *appsv1.Deployment) { d.Spec.Template.Labels = map[string]string{"app": app, "name": app} }, nil)
	p := s.probe(app)
	s.stop()
	s.operate("-selector-labels", "name,app")
	s.release(newImage)
	s.awaitSettled(v1beta1.PhaseSucceeded)
	p.stop(0)
}

// testHeadless sets what the API server lets nobody change in a Service.
func testHeadless(s *site) {
	s.begin(nil, both(atStep(50), func(c *v1beta1.Canary) { c.Spec.ProgressDeadlineSeconds = new(int32(3)) }))
	s.release(newImage)
	s.awaitRoute(50)
	p := s.probe(app)
	s.edit(func(c *v1beta1.Canary) { c.Spec.Service.Headless = true })
	s.awaitCondition(v1beta1.ConditionStalled, corev1.ConditionTrue, "spec.service.headless")
	s.awaitPhase(v1beta1.PhaseFailed)
	s.awaitRoute(0)
	p.stop(0)
}

// testTargetReplaced does what kubectl replace --force does.
func testTargetReplaced(s *site) {
	midRelease(s)
	p := s.probe(app)
	target := get[appsv1.Deployment](s, app)
	s.remove(target)
	s.awaitRoute(0)
	s.awaitGone(target)
	s.create(s.deployment(newImage))
	s.edit(func(c *v1beta1.Canary) { c.Spec.Analysis.Interval = "1s" })
	s.awaitSettled(v1beta1.PhaseSucceeded)
	if got := s.primaryImage(); got != newImage {
		s.t.Errorf("the primary has %s", got)
	}
	p.stop(50)
}
