package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// testOwnership has Kubernetes' garbage collector at work: what was made for a Canary
// outlives every way in which that can go, as long as it serves.
func testOwnership(t *testing.T, c *cluster.Cluster, api client.Client) {
	awaitCollector(t, api)
	operate(t, c)
	for name, test := range map[string]func(*testing.T, *owned){
		"foreground-at-rest":        testForegroundAtRest,
		"foreground-in-mid-release": testForegroundInMidRelease,
		"finalizer-removed":         testFinalizerRemoved,
		"earlier-version":           testEarlierVersion,
		"target-gone":               testForegroundWithoutTarget,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &owned{stage: stage{t: t, api: api, namespace: "owned-" + name}}
			s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}})
			target := (&trial{namespace: s.namespace}).deployment(oldImage)
			target.Spec.Replicas = new(int32(2))
			s.create(target)
			s.create(s.application())
			s.awaitPhase(v1beta1.PhaseInitialized)
			s.await("the drain", func(ctx context.Context) error {
				d := &appsv1.Deployment{}
				if err := s.api.Get(ctx, s.key(app), d); err != nil || d.Status.Replicas != 0 || *d.Spec.Replicas != 0 {
					return errors.Join(err, errors.New("the target has pods"))
				}
				return nil
			})
			test(t, s)
		})
	}
}

// awaitCollector waits until the garbage collector knows Canaries: it looks for kinds that
// are new every half a minute, and touches nothing of what belongs to them before.
func awaitCollector(t *testing.T, api client.Client) {
	t.Helper()
	s := &owned{stage: stage{t: t, api: api, namespace: "owned-by-nobody"}}
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}})
	s.create(s.application())
	s.deleteCanary(metav1.DeletePropagationForeground)
	s.awaitEnd()
}

// owned is a namespace with an application whose Canary is about to go.
type owned struct{ stage }

func (s *owned) application() *v1beta1.Canary {
	c := s.canary(v1beta1.CoverageReport)
	c.Spec.Service.Name = ""
	c.Spec.Analysis.Interval = "1h" // a release stays at its first step
	c.Spec.Service.TrafficPolicy = &v1beta1.RawObject{Raw: []byte(`{"loadBalancer":{"simple":"LEAST_REQUEST"}}`)}
	return c
}

// everything are the objects that are made for the application's Canary.
func (s *owned) everything() []client.Object {
	at := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: s.namespace, Name: name} }
	return []client.Object{
		&appsv1.Deployment{ObjectMeta: at(app + "-primary")},
		&corev1.Service{ObjectMeta: at(app)}, &corev1.Service{ObjectMeta: at(app + "-primary")}, &corev1.Service{ObjectMeta: at(app + "-canary")},
		&istionetworking.VirtualService{ObjectMeta: at(app)},
		&istionetworking.DestinationRule{ObjectMeta: at(app + "-primary")}, &istionetworking.DestinationRule{ObjectMeta: at(app + "-canary")},
	}
}

// left are those of everything that are there.
func (s *owned) left(ctx context.Context) []string {
	s.t.Helper()
	var out []string
	for _, o := range s.everything() {
		switch err := s.api.Get(ctx, client.ObjectKeyFromObject(o), o); {
		case err == nil:
			out = append(out, fmt.Sprintf("%T %s", o, o.GetName()))
		case !apierrors.IsNotFound(err):
			s.t.Fatal(err)
		}
	}
	return out
}

func (s *owned) deleteCanary(how metav1.DeletionPropagation) {
	s.t.Helper()
	if err := s.api.Delete(s.t.Context(), s.application(), client.PropagationPolicy(how)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *owned) awaitEnd() {
	s.t.Helper()
	s.await("the end of the Canary", func(ctx context.Context) error {
		c := &v1beta1.Canary{}
		if err := s.api.Get(ctx, s.key(app), c); err == nil {
			return fmt.Errorf("it is there in phase %s: %+v", c.Status.Phase, c.Status.GetCondition(v1beta1.ConditionReady))
		} else if !apierrors.IsNotFound(err) {
			return err
		}
		return nil
	})
}

// wantGivenBack fails unless the target alone serves and nothing is left but the apex
// Service.
func (s *owned) wantGivenBack() {
	s.t.Helper()
	s.await("the end of what was made", func(ctx context.Context) error {
		if left := s.left(ctx); !slices.Equal(left, []string{"*v1.Service " + app}) {
			return fmt.Errorf("there is %v", left)
		}
		return nil
	})
	apex, target := &corev1.Service{}, &appsv1.Deployment{}
	if err := errors.Join(s.api.Get(s.t.Context(), s.key(app), apex), s.api.Get(s.t.Context(), s.key(app), target)); err != nil {
		s.t.Fatal(err)
	}
	if apex.Spec.Selector["app"] != app || ownership.CanaryOf(apex) != "" || target.Status.AvailableReplicas != 2 {
		s.t.Errorf("the apex service leads to %v and belongs to %q; the target has %d pods", apex.Spec.Selector, ownership.CanaryOf(apex), target.Status.AvailableReplicas)
	}
}

// requests looks all the time where users' requests go and whether somebody is there.
type requests struct {
	stage  *owned
	mu     sync.Mutex
	looks  int
	lost   []string
	cancel context.CancelFunc
	done   chan struct{}
}

func (s *owned) follow() *requests {
	ctx, cancel := context.WithCancel(s.t.Context())
	r := &requests{stage: s, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		_ = wait.PollUntilContextCancel(ctx, 30*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			lost, err := r.look(ctx)
			r.mu.Lock()
			defer r.mu.Unlock()
			if err == nil {
				r.looks++
			}
			if lost != "" {
				r.lost = append(r.lost, lost)
			}
			return false, nil // an error is the end of ctx, or no answer
		})
	}()
	return r
}

// look says of requests that find nobody; it is empty where there are none.
func (r *requests) look(ctx context.Context) (lost string, err error) {
	services := map[string]int32{app: 100}
	route := &istionetworking.VirtualService{}
	err = r.stage.api.Get(ctx, r.stage.key(app), route)
	switch {
	case err == nil:
		services = map[string]int32{}
		for _, d := range route.Spec.Http[0].Route {
			services[d.Destination.Host] = d.Weight
		}
	case !apierrors.IsNotFound(err):
		return "", err
	}
	for service, weight := range services {
		if weight == 0 {
			continue
		}
		var list discoveryv1.EndpointSliceList
		if err := r.stage.api.List(ctx, &list, client.InNamespace(r.stage.namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service}); err != nil {
			return "", err
		}
		ready := 0
		for i := range list.Items {
			for _, e := range list.Items[i].Endpoints {
				if e.Conditions.Ready == nil || *e.Conditions.Ready {
					ready++
				}
			}
		}
		if ready == 0 {
			lost += fmt.Sprintf("%d%% at %s, which has no endpoint; ", weight, service)
		}
	}
	return lost, nil
}

// stop fails if a request was lost.
func (r *requests) stop() {
	r.stage.t.Helper()
	r.cancel()
	<-r.done
	if r.looks == 0 {
		r.stage.t.Error("nobody has looked")
	}
	if len(r.lost) > 0 {
		r.stage.t.Errorf("in %d of %d looks requests were lost, the first: %s", len(r.lost), r.looks, r.lost[0])
	}
}

func testForegroundAtRest(_ *testing.T, s *owned) {
	users := s.follow()
	s.deleteCanary(metav1.DeletePropagationForeground)
	s.awaitEnd()
	s.wantGivenBack()
	users.stop()
}

func testForegroundInMidRelease(t *testing.T, s *owned) {
	d := &appsv1.Deployment{}
	if err := s.api.Get(t.Context(), s.key(app), d); err != nil {
		t.Fatal(err)
	}
	before := d.DeepCopy()
	d.Spec.Template.Spec.Containers[0].Image = newImage
	if err := s.api.Patch(t.Context(), d, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	s.await("half of the traffic at the canary", func(ctx context.Context) error {
		vs := &istionetworking.VirtualService{}
		if err := s.api.Get(ctx, s.key(app), vs); err != nil {
			return err
		}
		if got := vs.Spec.Http[0].Route[1].Weight; got != 50 {
			return fmt.Errorf("it has %d%%", got)
		}
		return nil
	})
	users := s.follow()
	s.deleteCanary(metav1.DeletePropagationForeground)
	s.awaitEnd()
	s.wantGivenBack()
	users.stop()
}

// testFinalizerRemoved creates the Canary again, which finds everything as it was.
func testFinalizerRemoved(t *testing.T, s *owned) {
	everything := s.left(s.t.Context())
	before := &appsv1.Deployment{}
	if err := s.api.Get(t.Context(), s.key(app+"-primary"), before); err != nil {
		t.Fatal(err)
	}
	users := s.follow()
	if err := s.api.Patch(t.Context(), s.application(), client.RawPatch("application/merge-patch+json", []byte(`{"metadata": {"finalizers": null}}`))); err != nil {
		t.Fatal(err)
	}
	// The operator may have put it back in between.
	s.await("the end by force", func(ctx context.Context) error {
		c := s.application()
		err := s.api.Delete(ctx, c)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = s.api.Patch(ctx, c, client.RawPatch("application/merge-patch+json", []byte(`{"metadata": {"finalizers": null}}`)))
		}
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		return errors.New("it may be there still")
	})
	s.create(s.application())
	s.awaitPhase(v1beta1.PhaseInitialized)
	s.await("the target without pods", func(ctx context.Context) error {
		d := &appsv1.Deployment{}
		if err := s.api.Get(ctx, s.key(app), d); err != nil || d.Status.Replicas != 0 {
			return errors.Join(err, errors.New("it has pods"))
		}
		return nil
	})
	users.stop()
	if left := s.left(s.t.Context()); !slices.Equal(left, everything) {
		t.Errorf("there is %v, before there was %v", left, everything)
	}
	after := &appsv1.Deployment{}
	if err := s.api.Get(t.Context(), s.key(app+"-primary"), after); err != nil {
		t.Fatal(err)
	}
	if after.UID != before.UID || after.Generation != before.Generation {
		t.Errorf("the primary was made anew or changed: generation %d, then %d", before.Generation, after.Generation)
	}
}

// testEarlierVersion gives all objects the owner that Flagger and earlier versions gave
// them, by another field manager: it is taken away before a deletion in the foreground.
func testEarlierVersion(t *testing.T, s *owned) {
	c := &v1beta1.Canary{}
	if err := s.api.Get(t.Context(), s.key(app), c); err != nil {
		t.Fatal(err)
	}
	for _, o := range s.everything() {
		if err := s.api.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			t.Fatal(err)
		}
		before, ok := o.DeepCopyObject().(client.Object)
		if !ok {
			t.Fatalf("%T", o)
		}
		labels, annotations := o.GetLabels(), o.GetAnnotations()
		delete(labels, ownership.Label)
		delete(annotations, ownership.Annotation)
		o.SetLabels(labels)
		o.SetAnnotations(annotations)
		o.SetOwnerReferences([]metav1.OwnerReference{formerOwner(c)})
		if err := s.api.Patch(t.Context(), o, client.MergeFrom(before), client.FieldOwner("flagger")); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range s.everything() {
		s.await(fmt.Sprintf("the mark of %T %s", o, o.GetName()), func(ctx context.Context) error {
			if err := s.api.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
				return err
			}
			if ownership.For(c).Claim(o) != nil {
				return fmt.Errorf("labels %v, annotations %v, owners %v", o.GetLabels(), o.GetAnnotations(), o.GetOwnerReferences())
			}
			return nil
		})
	}
	testForegroundAtRest(t, s)
}

// testForegroundWithoutTarget leaves the primary, which alone can serve, as nobody's.
func testForegroundWithoutTarget(t *testing.T, s *owned) {
	users := s.follow()
	target := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: app}}
	if err := s.api.Delete(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	s.deleteCanary(metav1.DeletePropagationForeground)
	s.awaitEnd()
	users.stop()
	want := []string{"*v1.Deployment " + app + "-primary", "*v1.Service " + app, "*v1.Service " + app + "-primary"}
	if left := s.left(s.t.Context()); !slices.Equal(left, want) {
		t.Errorf("there is %v", left)
	}
	primary := &appsv1.Deployment{}
	if err := s.api.Get(t.Context(), s.key(app+"-primary"), primary); err != nil {
		t.Fatal(err)
	}
	if primary.Status.AvailableReplicas == 0 || ownership.CanaryOf(primary) != "" || len(primary.OwnerReferences) > 0 {
		t.Errorf("the primary has %d pods and belongs to %q", primary.Status.AvailableReplicas, ownership.CanaryOf(primary))
	}
}
