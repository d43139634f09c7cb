package main

import (
	"context"
	"io"

	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/rollout/hands"
)

// deletionIncidents delete a Canary that can't give back what it took over.
var deletionIncidents = []incident{
	{"Canary deleted after its target at rest", func(s *site) { testDeletionWithoutTarget(s, atRest, 0) }},
	{"Canary deleted after its target in mid-release", func(s *site) { testDeletionWithoutTarget(s, midRelease, 50) }},
	{"application removed as a whole at rest", func(s *site) { testRemoval(s, atRest) }},
	{"application removed as a whole in mid-release", func(s *site) { testRemoval(s, midRelease) }},
	{"Canary with a typo deleted", testDeletionWithTypo},
	{"uninstalled at rest, then the Canary deleted", func(s *site) { testUninstalled(s, atRest, 0) }},
	{"uninstalled in mid-release, then the Canary deleted", func(s *site) { testUninstalled(s, midRelease, 50) }},
}

// testUninstalled has the operator end and the chart's hook do its work, with the rights that it has: what serves goes
// on serving, with the share of the traffic that it has, and no deletion of a Canary hangs. An operator that comes
// again goes on where the Canary stands.
func testUninstalled(s *site, at func(*site), canary int32) {
	at(s)
	p := s.probe(app)
	s.stop()
	kubeconfig := kubeconfigOf(s.t, s.cluster, s.api, s.namespace, "uninstall", []rbacv1.PolicyRule{
		{APIGroups: []string{"flagger.app"}, Resources: []string{"canaries"}, Verbs: []string{"get", "list", "patch"}},
	})
	uninstall := func() {
		s.t.Helper()
		if err := run(s.t.Context(), []string{removeFinalizersCommand, "-kubeconfig", kubeconfig, "-namespace", s.namespace}, io.Discard, s.t.Output()); err != nil {
			s.t.Fatal(err)
		}
	}
	uninstall()
	if c := get[v1beta1.Canary](s, app); len(c.Finalizers) > 0 {
		s.t.Errorf("it has the finalizers %v", c.Finalizers)
	}
	s.awaitRoute(canary)
	s.operate()
	s.await("the finalizer, as an operator is there again", func(ctx context.Context) error {
		c := &v1beta1.Canary{}
		if err := s.api.Get(ctx, s.key(app), c); err != nil {
			return err
		}
		if len(c.Finalizers) == 0 {
			return errNotYet
		}
		return nil
	})
	s.stop()
	uninstall()
	c := get[v1beta1.Canary](s, app)
	s.remove(c)
	s.awaitGone(c)
	s.awaitPods(app+"-primary", 2)
	s.awaitRoute(canary)
	p.stop(0)
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

// testRemoval takes away all that is in Git, as a tool does whose application is deleted: where the Canary says so, nothing that
// the operator made stays, and no deletion hangs.
func testRemoval(s *site, at func(*site)) {
	at(s)
	s.edit(func(c *v1beta1.Canary) { c.Annotations = map[string]string{hands.RemoveWithTargetAnnotation: "true"} })
	c := get[v1beta1.Canary](s, app)
	s.remove(c, client.PropagationPolicy(metav1.DeletePropagationForeground))
	s.remove(get[appsv1.Deployment](s, app), client.PropagationPolicy(metav1.DeletePropagationForeground))
	s.awaitGone(c)
	of := client.MatchingLabels{ownership.Label: app}
	for _, list := range []client.ObjectList{
		&appsv1.DeploymentList{}, &corev1.ServiceList{}, &istionetworking.VirtualServiceList{}, &istionetworking.DestinationRuleList{},
	} {
		if err := s.api.List(s.t.Context(), list, client.InNamespace(s.namespace), of); err != nil {
			s.t.Fatal(err)
		}
		if n := meta.LenList(list); n > 0 {
			s.t.Errorf("%d of %T are left behind", n, list)
		}
	}
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
	seen := p.stop(0)
	if end := seen[len(seen)-1]; end.atPrimary != 2 {
		s.t.Errorf("in the end %d pods answer, 2 did", end.atPrimary)
	}
}
