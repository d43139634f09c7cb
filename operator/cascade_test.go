package main

import (
	"context"
	"errors"
	"fmt"

	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// cascadeIncidents take a Canary away in each way that the API server knows. Argo CD
// prunes in the foreground.
var cascadeIncidents = []incident{
	{"Canary deleted in the foreground at rest", func(s *site) { testDeletion(s, atRest, metav1.DeletePropagationForeground) }},
	{"Canary deleted in the foreground in mid-release", func(s *site) { testDeletion(s, midRelease, metav1.DeletePropagationForeground) }},
	{"Canary deleted in the background at rest", func(s *site) { testDeletion(s, atRest, metav1.DeletePropagationBackground) }},
	{"Canary deleted in the background in mid-release", func(s *site) { testDeletion(s, midRelease, metav1.DeletePropagationBackground) }},
	{"Canary deleted and its objects orphaned in mid-release", func(s *site) { testDeletion(s, midRelease, metav1.DeletePropagationOrphan) }},
	{"finalizer removed by hand at rest", func(s *site) { testFinalizerTaken(s, atRest) }},
	{"finalizer removed by hand in mid-release", func(s *site) { testFinalizerTaken(s, midRelease) }},
}

// atRest and midRelease bring a site to where something is to happen to it.
func atRest(s *site) { s.begin(nil, atStep(50)) }

func midRelease(s *site) {
	s.begin(nil, atStep(50))
	s.release(newImage)
	s.awaitRoute(50)
}

// testDeletion deletes the Canary: the target serves before anything goes that serves now.
func testDeletion(s *site, at func(*site), how metav1.DeletionPropagation) {
	s.awaitCollector()
	at(s)
	p := s.probe(app)
	c := get[v1beta1.Canary](s, app)
	collects := how == metav1.DeletePropagationForeground
	if collects {
		s.stop() // the garbage collector is the faster
	}
	marker := s.createOwned(c)
	s.remove(c, client.PropagationPolicy(how))
	if collects {
		s.awaitGone(marker)
		s.operate()
	}
	s.awaitGone(c)
	s.awaitGivenBack()
	p.stop(0)
}

// awaitCollector waits until the garbage collector knows Canaries, of which it hears within
// half a minute.
func (s *site) awaitCollector() {
	s.t.Helper()
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace + "-unattended"}}
	s.create(space)
	owner := s.newCanary(nil)
	owner.Namespace = space.Name
	s.create(owner)
	owned := s.createOwned(owner)
	s.remove(owner, client.PropagationPolicy(metav1.DeletePropagationForeground))
	s.awaitGone(owner)
	s.awaitGone(owned)
}

// createOwned creates an object of which the garbage collector makes what it makes of all
// that belongs to a Canary.
func (s *site) createOwned(c *v1beta1.Canary) *corev1.ConfigMap {
	s.t.Helper()
	out := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: "owned", OwnerReferences: []metav1.OwnerReference{{
		APIVersion: v1beta1.GroupVersion.String(), Kind: "Canary", Name: c.Name, UID: c.UID, Controller: new(true), BlockOwnerDeletion: new(true),
	}}}}
	s.create(out)
	return out
}

// awaitGivenBack waits until all is as if there had never been a Canary.
func (s *site) awaitGivenBack() {
	s.t.Helper()
	for _, made := range []client.Object{
		&istionetworking.VirtualService{ObjectMeta: metav1.ObjectMeta{Name: app}},
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: app + "-primary"}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: app + "-primary"}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: app + "-canary"}},
	} {
		made.SetNamespace(s.namespace)
		s.awaitGone(made)
	}
	s.awaitTarget(2)
	if apex := get[corev1.Service](s, app); apex.Spec.Selector["app"] != app || len(apex.OwnerReferences) > 0 {
		s.t.Errorf("the apex Service selects %v and belongs to %v", apex.Spec.Selector, apex.OwnerReferences)
	}
}

// awaitTarget waits until the target has this many pods that serve, and asks for no more.
func (s *site) awaitTarget(n int32) { s.t.Helper(); s.awaitPods(app, n) }

// awaitPods waits until a Deployment has this many pods that serve, and asks for no more.
func (s *site) awaitPods(name string, n int32) {
	s.t.Helper()
	s.await(fmt.Sprintf("%d pods of %s", n, name), func(ctx context.Context) error {
		d := &appsv1.Deployment{}
		if err := s.api.Get(ctx, s.key(name), d); err != nil {
			return err
		}
		if *d.Spec.Replicas != n || d.Status.AvailableReplicas != n || d.Status.ObservedGeneration != d.Generation {
			return fmt.Errorf("it asks for %d and has %d", *d.Spec.Replicas, d.Status.AvailableReplicas)
		}
		return nil
	})
}

// testFinalizerTaken takes the Canary away before the operator could give anything back.
// What serves stays, and a Canary that is created again goes on with it.
func testFinalizerTaken(s *site, at func(*site)) {
	s.awaitCollector()
	at(s)
	p := s.probe(app)
	s.stop()
	c := get[v1beta1.Canary](s, app)
	marker := s.createOwned(c)
	s.edit(func(c *v1beta1.Canary) { c.Finalizers = nil })
	s.remove(c)
	s.awaitGone(c)
	s.awaitGone(marker)
	if d := get[appsv1.Deployment](s, app+"-primary"); d.DeletionTimestamp != nil {
		s.t.Error("the primary is being deleted")
	}

	s.create(s.newCanary(nil))
	s.operate()
	s.await("the end of the adoption", func(ctx context.Context) error {
		st, err := s.status(ctx)
		switch {
		case err != nil:
			return err
		case st.Phase != v1beta1.PhaseInitialized && st.Phase != v1beta1.PhaseSucceeded || st.GetCondition(v1beta1.ConditionReady).Status != corev1.ConditionTrue:
			return fmt.Errorf("the status is %+v", st)
		}
		target, primary := &appsv1.Deployment{}, &appsv1.Deployment{}
		if err := errors.Join(s.api.Get(ctx, s.key(app), target), s.api.Get(ctx, s.key(app+"-primary"), primary)); err != nil {
			return err
		}
		if imageOf(primary) != imageOf(target) {
			return errors.New("the release goes on")
		}
		return nil
	})
	s.awaitDrained()
	p.stop(0)
}
