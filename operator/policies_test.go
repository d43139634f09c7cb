package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// policyStage is a team's namespace with some applications, which release policies are about.
type policyStage struct {
	*stage

	cluster *cluster.Cluster
	stop    func()
}

// testPolicies has releases wait for their turn.
func testPolicies(t *testing.T, c *cluster.Cluster, api client.Client) {
	s := &policyStage{stage: &stage{t: t, api: api, namespace: "policies"}, cluster: c, stop: func() {}}
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace, Labels: map[string]string{"env": "policies"}}})
	s.operate()
	t.Cleanup(func() { dropCanaries(t, api, s.namespace) })
	t.Cleanup(func() { s.stop() })
	for _, name := range []string{"one", "two", "three"} {
		s.fairCanary(name, "{interval: 1s, threshold: 2, iterations: 2}")
	}
	for _, name := range []string{"one", "two", "three"} {
		s.awaitRelease(name, v1beta1.PhaseInitialized, "")
	}
	s.testFreeze()
	s.testOneAtATime()
	s.testInvalid()
	s.testSharedConfig()
}

// operate starts an operator for the whole cluster, after another has ended.
func (s *policyStage) operate() {
	s.t.Helper()
	s.stop()
	stop := operateUntil(s.t, s.cluster, "-allowed-addresses", loopback, "-max-releases-per-config", "1")
	s.stop = func() {
		stop()
		s.stop = func() {}
	}
}

func (s *policyStage) get(ctx context.Context, name string) (*v1beta1.Canary, error) {
	c := &v1beta1.Canary{}
	err := s.api.Get(ctx, s.key(name), c)
	return c, err
}

// awaitRelease waits until a Canary is in a phase and, where a reason is given, until it waits for it.
func (s *policyStage) awaitRelease(name string, phase v1beta1.CanaryPhase, reason string) *v1beta1.Canary {
	s.t.Helper()
	var c *v1beta1.Canary
	s.await(fmt.Sprintf("%s to be %s %s", name, phase, reason), func(ctx context.Context) (err error) {
		if c, err = s.get(ctx, name); err != nil {
			return err
		}
		is := ""
		if a := c.Status.Admission; a != nil {
			is = a.Reason
		}
		if c.Status.Phase != phase || is != reason && reason != "" {
			return fmt.Errorf("it is %s, it waits for %q", c.Status.Phase, is)
		}
		return nil
	})
	return c
}

// change applies a change to a policy.
func (s *policyStage) change(o client.Object, with func()) {
	s.t.Helper()
	before := o.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
	with()
	if err := s.api.Patch(s.t.Context(), o, client.MergeFrom(before)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *policyStage) remove(o client.Object) {
	s.t.Helper()
	if err := s.api.Delete(s.t.Context(), o); err != nil {
		s.t.Fatal(err)
	}
}

// testFreeze freezes the namespaces with a label: not even an operator that starts anew lets a release begin, a person does,
// and the others begin when the freeze ends.
func (s *policyStage) testFreeze() {
	freeze := &v1alpha1.ClusterReleasePolicy{ObjectMeta: metav1.ObjectMeta{Name: "policies-freeze"}}
	freeze.Spec.Namespaces = &metav1.LabelSelector{MatchLabels: map[string]string{"env": "policies"}}
	freeze.Spec.Freeze = &v1alpha1.ReleaseFreeze{Reason: "Black Friday", Author: "alice"}
	s.create(freeze)
	s.t.Cleanup(func() {
		if err := client.IgnoreNotFound(s.api.Delete(context.WithoutCancel(s.t.Context()), freeze)); err != nil {
			s.t.Error(err)
		}
	})
	s.awaitPolicy(freeze, corev1.ConditionTrue, "begin by it")
	s.setImage("one", "app:1")
	c := s.awaitRelease("one", v1beta1.PhaseWaiting, release.ReasonFrozen)
	is := c.Status.GetCondition(v1beta1.ConditionAdmitted)
	if is == nil || is.Status != corev1.ConditionFalse || !strings.Contains(is.Message, "ClusterReleasePolicy/policies-freeze is frozen by alice: Black Friday") {
		s.t.Errorf("%+v", is)
	}

	s.stop()
	s.setImage("two", "app:1")
	s.operate()
	s.awaitRelease("two", v1beta1.PhaseWaiting, release.ReasonFrozen)

	s.create(&v1alpha1.CanaryAction{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "approve"},
		Spec:       v1alpha1.CanaryActionSpec{Canary: "one", Action: v1beta1.ActionApprove, RequestedBy: "bob"},
	})
	s.awaitRelease("one", v1beta1.PhaseSucceeded, "")
	if c, err := s.get(s.t.Context(), "two"); err != nil || c.Status.Phase != v1beta1.PhaseWaiting {
		s.t.Errorf("two is %s, %v", c.Status.Phase, err)
	}
	s.change(freeze, func() { freeze.Spec.Freeze = nil })
	s.awaitRelease("two", v1beta1.PhaseSucceeded, "")
	s.remove(freeze)
}

// testOneAtATime lets one of three go at a time, and no other at any moment.
func (s *policyStage) testOneAtATime() {
	p := &v1alpha1.ReleasePolicy{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "one-at-a-time"}}
	p.Spec.MaxReleases = new(int32(1))
	s.create(p)
	s.awaitPolicy(p, corev1.ConditionTrue, "begin by it")
	names := []string{"one", "two", "three"}
	for _, name := range names {
		s.setImage(name, "app:2")
	}
	waited := map[string]bool{}
	s.await("all releases", func(ctx context.Context) error {
		under, done := []string{}, 0
		var all v1beta1.CanaryList
		if err := s.api.List(ctx, &all, client.InNamespace(s.namespace)); err != nil {
			return err
		}
		for i := range all.Items {
			st := &all.Items[i].Status
			switch {
			case st.Phase == v1beta1.PhaseWaiting:
				waited[all.Items[i].Name] = true
			case release.Running(st.Phase):
				under = append(under, all.Items[i].Name)
			case st.Phase == v1beta1.PhaseSucceeded && slices.Contains(names, all.Items[i].Name) && st.StartedAt.After(p.CreationTimestamp.Time):
				done++
			}
		}
		if len(under) > 1 {
			s.t.Fatalf("%v are in a release at once", under)
		}
		if done < len(names) {
			return fmt.Errorf("%d are done", done)
		}
		return nil
	})
	if len(waited) < 2 {
		s.t.Errorf("only %v have waited", waited)
	}
	s.remove(p)
}

// testSharedConfig changes a ConfigMap that three applications share: one release goes at a time, and no other at any moment, though the operator is
// started anew; and whoever is released by something else does not wait.
func (s *policyStage) testSharedConfig() {
	shared := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "shared"}, Data: map[string]string{"a": "1"}}
	s.create(shared)
	names := []string{"red", "green", "blue"}
	for _, name := range names {
		s.fairCanary(name, "{interval: 1s, threshold: 2, iterations: 2}", func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: shared.Name},
			}}}
		})
	}
	for _, name := range names {
		s.awaitRelease(name, v1beta1.PhaseInitialized, "")
	}
	s.change(shared, func() { shared.Data = map[string]string{"a": "2"} })
	s.await("two to wait", func(ctx context.Context) error {
		waiting := 0
		for _, c := range s.underWay(ctx, names) {
			if a := c.Status.Admission; a != nil && a.Reason == release.ReasonMaximumReached {
				waiting++
				if a.Policy != "ConfigMap/shared" || a.Place < 1 || a.Place > 2 || !slices.Equal(c.Status.ChangedConfigs, []string{"configmap/shared"}) {
					s.t.Errorf("%+v, changed %v", a, c.Status.ChangedConfigs)
				}
			}
		}
		if waiting < 2 {
			return fmt.Errorf("%d wait", waiting)
		}
		return nil
	})
	s.setImage("one", "app:4")
	s.operate()
	s.awaitRelease("one", v1beta1.PhaseSucceeded, "")
	s.await("all releases", func(ctx context.Context) error {
		if all := s.underWay(ctx, names); len(all) > 0 {
			return fmt.Errorf("%d are under way or wait", len(all))
		}
		return nil
	})
	for _, name := range names {
		s.awaitRelease(name, v1beta1.PhaseSucceeded, "")
	}
}

// underWay are those of some Canaries that are in a release or wait. More than one at once is a mistake.
func (s *policyStage) underWay(ctx context.Context, names []string) (out []*v1beta1.Canary) {
	s.t.Helper()
	var all v1beta1.CanaryList
	if err := s.api.List(ctx, &all, client.InNamespace(s.namespace)); err != nil {
		s.t.Fatal(err)
	}
	moving := 0
	for i := range all.Items {
		c := &all.Items[i]
		if !slices.Contains(names, c.Name) || !release.Running(c.Status.Phase) {
			continue
		}
		out = append(out, c)
		if c.Status.Phase != v1beta1.PhaseWaiting {
			moving++
		}
	}
	if moving > 1 {
		s.t.Fatalf("%d releases of one config are under way at once", moving)
	}
	return out
}

// testInvalid has a policy that can't be understood hold releases, and say so, until it is mended.
func (s *policyStage) testInvalid() {
	p := &v1alpha1.ReleasePolicy{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "invalid"}}
	p.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "no value/at all"}}
	s.create(p)
	s.awaitPolicy(p, corev1.ConditionFalse, "spec.selector")
	s.setImage("three", "app:3")
	s.awaitRelease("three", v1beta1.PhaseWaiting, release.ReasonPolicyInvalid)
	s.change(p, func() { p.Spec.Selector = nil })
	s.awaitRelease("three", v1beta1.PhaseSucceeded, "")
	s.awaitPolicy(p, corev1.ConditionTrue, "begin by it")
	s.remove(p)
}

// awaitPolicy waits for the condition of a policy.
func (s *policyStage) awaitPolicy(p interface {
	client.Object
	GetStatus() *v1beta1.ObjectStatus
}, status corev1.ConditionStatus, message string,
) {
	s.t.Helper()
	s.await("the status of "+p.GetName(), func(ctx context.Context) error {
		if err := s.api.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		is := p.GetStatus().GetCondition(v1beta1.ConditionReady)
		if is == nil {
			return errors.New("it has none")
		}
		if is.Status != status || is.ObservedGeneration != p.GetGeneration() || !strings.Contains(is.Message, message) {
			return fmt.Errorf("it is %+v", is)
		}
		return nil
	})
}
