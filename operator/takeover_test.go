package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// What Flagger writes: hashes, and its finalizer.
const (
	flaggersOld = "7c5b8f9d44"
	flaggersNew = "5d8f7c9b66"
)

// byFlagger is the field manager of Flagger's writes.
const byFlagger = client.FieldOwner("flagger")

// leftBehind is a Canary as Flagger 1.44 leaves it when it is stopped in a phase,
// and what must become of it.
type leftBehind struct {
	name  string
	phase v1beta1.CanaryPhase
	// target and primary are the images of both, pods how many the target has.
	target, primary string
	pods            int32
	// weight is the canary's in the route; of the requests that match where spec has a match.
	weight int32
	spec   func(*v1beta1.CanaryAnalysis)
	status func(*v1beta1.CanaryStatus)

	// wantPhases are those after the takeover, the first being Flagger's.
	wantPhases  []v1beta1.CanaryPhase
	wantWeights []int32
	wantImage   string // of the primary
}

const (
	initializing     = v1beta1.PhaseInitializing
	initialized      = v1beta1.PhaseInitialized
	waiting          = v1beta1.PhaseWaiting
	progressing      = v1beta1.PhaseProgressing
	waitingPromotion = v1beta1.PhaseWaitingPromotion
	promoting        = v1beta1.PhasePromoting
	finalising       = v1beta1.PhaseFinalising
	succeeded        = v1beta1.PhaseSucceeded
	failed           = v1beta1.PhaseFailed
	terminating      = v1beta1.PhaseTerminating
)

func phases(p ...v1beta1.CanaryPhase) []v1beta1.CanaryPhase { return p }

func abTesting(a *v1beta1.CanaryAnalysis) {
	a.StepWeight, a.MaxWeight, a.Iterations = 0, 0, 5
	a.Match = []v1beta1.RawObject{{Raw: []byte(`{"headers": {"x-canary": {"exact": "insider"}}}`)}}
}

func blueGreen(a *v1beta1.CanaryAnalysis) { a.StepWeight, a.MaxWeight, a.Iterations = 0, 0, 5 }

var leftBehinds = []leftBehind{{
	name: "initializing", phase: initializing, target: oldImage, primary: oldImage, pods: 1,
	status: func(st *v1beta1.CanaryStatus) {
		st.LastAppliedSpec, st.LastPromotedSpec, st.TrackedConfigs = "", "", nil
	},
	wantPhases: phases(initializing, initialized), wantWeights: []int32{0}, wantImage: oldImage,
}, {
	name: "initialized", phase: initialized, target: oldImage, primary: oldImage,
	wantPhases: phases(initialized), wantWeights: []int32{0}, wantImage: oldImage,
}, {
	name: "waiting", phase: waiting, target: newImage, primary: oldImage,
	wantPhases: phases(waiting, progressing, promoting, finalising, succeeded), wantWeights: []int32{0, 10, 20, 30, 40, 50, 0}, wantImage: newImage,
}, {
	name: "progressing-weighted", phase: progressing, target: newImage, primary: oldImage, pods: 1, weight: 30,
	status:     func(st *v1beta1.CanaryStatus) { st.CanaryWeight, st.FailedChecks = 30, 1 },
	wantPhases: phases(progressing, promoting, finalising, succeeded), wantWeights: []int32{30, 40, 50, 0}, wantImage: newImage,
}, {
	name: "progressing-ab", phase: progressing, target: newImage, primary: oldImage, pods: 1, weight: 100, spec: abTesting,
	status:     func(st *v1beta1.CanaryStatus) { st.Iterations = 3 },
	wantPhases: phases(progressing, promoting, finalising, succeeded), wantWeights: []int32{100, 0}, wantImage: newImage,
}, {
	name: "progressing-ab-weight", phase: progressing, target: newImage, primary: oldImage, pods: 1, weight: 100, spec: abTesting,
	status:     func(st *v1beta1.CanaryStatus) { st.Iterations, st.CanaryWeight = 3, 100 },
	wantPhases: phases(progressing, promoting, finalising, succeeded), wantWeights: []int32{100, 0}, wantImage: newImage,
}, {
	name: "progressing-blue-green", phase: progressing, target: newImage, primary: oldImage, pods: 1, spec: blueGreen,
	status:     func(st *v1beta1.CanaryStatus) { st.Iterations = 3 },
	wantPhases: phases(progressing, promoting, finalising, succeeded), wantWeights: []int32{0, 100, 0}, wantImage: newImage,
}, {
	name: "progressing-blue-green-moved", phase: progressing, target: newImage, primary: oldImage, pods: 1, weight: 100, spec: blueGreen,
	status:     func(st *v1beta1.CanaryStatus) { st.Iterations = 6 },
	wantPhases: phases(progressing, promoting, finalising, succeeded), wantWeights: []int32{100, 0}, wantImage: newImage,
}, {
	name: "waiting-promotion", phase: waitingPromotion, target: newImage, primary: oldImage, pods: 1, weight: 50,
	wantPhases: phases(waitingPromotion, progressing, promoting, finalising, succeeded), wantWeights: []int32{50, 0}, wantImage: newImage,
}, {
	name: "promoting", phase: promoting, target: newImage, primary: newImage, pods: 1, weight: 50,
	wantPhases: phases(promoting, finalising, succeeded), wantWeights: []int32{50, 0}, wantImage: newImage,
}, {
	name: "finalising", phase: finalising, target: newImage, primary: newImage, pods: 1,
	wantPhases: phases(finalising, succeeded), wantWeights: []int32{0}, wantImage: newImage,
}, {
	name: "succeeded", phase: succeeded, target: newImage, primary: newImage,
	status:     func(st *v1beta1.CanaryStatus) { st.LastPromotedSpec = flaggersNew },
	wantPhases: phases(succeeded), wantWeights: []int32{0}, wantImage: newImage,
}, {
	name: "failed", phase: failed, target: newImage, primary: oldImage,
	status:     func(st *v1beta1.CanaryStatus) { st.FailedChecks = 2 },
	wantPhases: phases(failed), wantWeights: []int32{0}, wantImage: oldImage,
}, {
	name: "terminating", phase: terminating, target: oldImage, primary: oldImage,
	wantPhases: phases(terminating), wantWeights: []int32{0}, wantImage: oldImage,
}}

// testTakeover has an operator start on what Flagger has left in each phase. Pain
// 7: no release begins, no pod of a primary is replaced, and no request goes
// elsewhere before a step of the release asks for it.
func testTakeover(t *testing.T, c *cluster.Cluster, api client.WithWatch) {
	l := newLab(t, c, api)
	begun := map[string]int{}
	for _, left := range leftBehinds {
		s := &stage{t: t, api: api, namespace: "flagger-" + left.name}
		begun[left.name] = s.leave(left)
	}
	operate(t, c, "-coverage", "none")
	for _, left := range leftBehinds {
		t.Run(left.name, func(t *testing.T) {
			s := &stage{t: t, api: api, namespace: "flagger-" + left.name}
			if left.phase == terminating {
				s.awaitGivenBack()
			} else {
				s.awaitTakenOver(left)
			}
			left.judge(t, l.seen(s.namespace), begun[left.name])
		})
	}
}

// leave creates all that Flagger leaves, with its pods, and returns the resource
// version of the last of it.
func (s *stage) leave(left leftBehind) int {
	s.t.Helper()
	ctx := s.t.Context()
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}})
	s.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "settings"}, Data: map[string]string{"COLOR": "blue"}})
	target := s.flaggersTarget(left.target)
	target.Spec.Replicas = new(left.pods)
	s.create(target)
	canary := s.flaggersCanary(left)
	s.create(canary)
	owner := []metav1.OwnerReference{formerOwner(canary)}
	s.createAs(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "settings-primary", OwnerReferences: owner}, Data: map[string]string{"COLOR": "blue"},
	})
	primary := s.flaggersPrimary(left.primary, owner)
	s.createAs(primary)
	for name, selected := range map[string]string{app: app + "-primary", app + "-primary": app + "-primary", app + "-canary": app} {
		s.createAs(&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: map[string]string{"app": name}, OwnerReferences: owner},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeClusterIP, Selector: map[string]string{"app": selected},
				Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 9898, TargetPort: intstr.FromInt32(9898)}},
			},
		})
	}
	for _, name := range []string{app + "-primary", app + "-canary"} {
		s.createAs(&istionetworking.DestinationRule{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, OwnerReferences: owner}, Spec: networking.DestinationRule{Host: name},
		})
	}
	s.createAs(s.flaggersRoute(left, owner))
	s.await("the pods", func(ctx context.Context) error {
		for name, want := range map[string]int32{app: left.pods, app + "-primary": 2} {
			d := &appsv1.Deployment{}
			if err := s.api.Get(ctx, s.key(name), d); err != nil {
				return err
			}
			if d.Status.AvailableReplicas != want || d.Status.ObservedGeneration < d.Generation {
				return fmt.Errorf("%s has %d of %d", name, d.Status.AvailableReplicas, want)
			}
		}
		return nil
	})
	if left.phase == terminating {
		if err := s.api.Delete(ctx, canary); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.api.Get(ctx, s.key(app), canary); err != nil {
		s.t.Fatal(err)
	}
	canary.Status = flaggersStatus(left)
	if err := s.api.Status().Update(ctx, canary, byFlagger); err != nil {
		s.t.Fatal(err)
	}
	return order(canary)
}

func (s *stage) createAs(o client.Object) {
	s.t.Helper()
	if err := s.api.Create(s.t.Context(), o, byFlagger); err != nil {
		s.t.Fatal(err)
	}
}

// flaggersTarget uses a ConfigMap. The old version has a variable that the new
// one has not.
func (s *stage) flaggersTarget(image string) *appsv1.Deployment {
	d := (&trial{namespace: s.namespace}).deployment(image)
	d.Annotations = map[string]string{"team": "shop"}
	container := &d.Spec.Template.Spec.Containers[0]
	container.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}}
	if image == oldImage {
		container.Env = []corev1.EnvVar{{Name: "OLD", Value: "1"}}
	}
	d.Spec.Template.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
			Weight:          1,
			PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: "kubernetes.io/hostname", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
		}},
	}}
	return d
}

func (s *stage) flaggersPrimary(image string, owner []metav1.OwnerReference) *appsv1.Deployment {
	d := s.flaggersTarget(image)
	d.Name, d.OwnerReferences = app+"-primary", owner
	d.Labels = map[string]string{"app": d.Name}
	d.Spec.Replicas = new(int32(2))
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": d.Name}}
	template := &d.Spec.Template
	template.Labels = map[string]string{"app": d.Name}
	template.Annotations["flagger-id"] = "2f3e1bd4-7c1f-4f0f-9d2c-3f6f3f0f6c11"
	template.Spec.Containers[0].EnvFrom[0].ConfigMapRef.Name = "settings-primary"
	template.Spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm.LabelSelector.MatchLabels["app"] = d.Name
	return d
}

func (s *stage) flaggersCanary(left leftBehind) *v1beta1.Canary {
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: app},
		Spec: v1beta1.CanarySpec{
			TargetRef:         v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: app},
			DrainDelaySeconds: new(int32(1)),
			Service:           v1beta1.CanaryService{Port: 9898},
			Analysis:          &v1beta1.CanaryAnalysis{Interval: "1s", Threshold: 2, StepWeight: 10, MaxWeight: 50},
		},
	}
	if left.phase == terminating {
		c.Spec.RevertOnDeletion = true
		c.Finalizers = []string{v1beta1.Finalizer}
	}
	if left.spec != nil {
		left.spec(c.Spec.Analysis)
	}
	return c
}

func (s *stage) flaggersRoute(left leftBehind, owner []metav1.OwnerReference) *istionetworking.VirtualService {
	to := func(host string, weight int32) *networking.HTTPRouteDestination {
		return &networking.HTTPRouteDestination{Destination: &networking.Destination{Host: host}, Weight: weight}
	}
	vs := &istionetworking.VirtualService{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: app, OwnerReferences: owner},
		Spec: networking.VirtualService{
			Hosts: []string{app}, Gateways: []string{"mesh"},
			Http: []*networking.HTTPRoute{{Route: []*networking.HTTPRouteDestination{to(app+"-primary", 100-left.weight), to(app+"-canary", left.weight)}}},
		},
	}
	a := &v1beta1.CanaryAnalysis{}
	if left.spec != nil {
		left.spec(a)
	}
	if len(a.Match) > 0 {
		vs.Spec.Http[0].Match = []*networking.HTTPMatchRequest{{
			Headers: map[string]*networking.StringMatch{"x-canary": {MatchType: &networking.StringMatch_Exact{Exact: "insider"}}},
		}}
		vs.Spec.Http = append(vs.Spec.Http, &networking.HTTPRoute{Route: []*networking.HTTPRouteDestination{to(app+"-primary", 100)}})
	}
	return vs
}

func flaggersStatus(left leftBehind) v1beta1.CanaryStatus {
	promoted := map[v1beta1.CanaryPhase]corev1.ConditionStatus{
		initialized: corev1.ConditionTrue, succeeded: corev1.ConditionTrue, failed: corev1.ConditionFalse,
	}[left.phase]
	if promoted == "" {
		promoted = corev1.ConditionUnknown
	}
	now := metav1.Now()
	st := v1beta1.CanaryStatus{
		Phase: left.phase, LastAppliedSpec: flaggersNew, LastPromotedSpec: flaggersOld, LastTransitionTime: now,
		TrackedConfigs: &map[string]string{"configmap/settings": "8a5f0b7b6d2c1f3e"},
		Conditions: []v1beta1.CanaryCondition{{
			Type: v1beta1.ConditionPromoted, Status: promoted, LastUpdateTime: now, LastTransitionTime: now, Reason: string(left.phase), Message: "As Flagger says it.",
		}},
	}
	if left.target == oldImage {
		st.LastAppliedSpec = flaggersOld
	}
	if left.status != nil {
		left.status(&st)
	}
	return st
}

// awaitTakenOver waits until the Canary rests in the last phase, as ours.
func (s *stage) awaitTakenOver(left leftBehind) {
	s.t.Helper()
	s.await("the end of what was under way", func(ctx context.Context) error {
		c, target := &v1beta1.Canary{}, &appsv1.Deployment{}
		if err := errors.Join(s.api.Get(ctx, s.key(app), c), s.api.Get(ctx, s.key(app), target)); err != nil {
			return err
		}
		vs := &istionetworking.VirtualService{}
		if err := s.api.Get(ctx, s.key(app), vs); err != nil {
			return err
		}
		switch {
		case c.Status.Phase != left.wantPhases[len(left.wantPhases)-1]:
			return fmt.Errorf("it is %s: %+v", status(c), c.Status.Conditions)
		case !strings.Contains(c.Status.LastAppliedSpec, "-"), vs.Annotations["sluice.dev/applied"] == "":
			return fmt.Errorf("it is not taken over: %s", c.Status.LastAppliedSpec)
		case *target.Spec.Replicas != 0 || target.Status.Replicas != 0:
			return errors.New("the target has pods")
		}
		return nil
	})
}

// awaitGivenBack waits for the end of the Canary: the target serves.
func (s *stage) awaitGivenBack() {
	s.t.Helper()
	s.await("the end of the Canary", func(ctx context.Context) error {
		c := &v1beta1.Canary{}
		err := s.api.Get(ctx, s.key(app), c)
		if err == nil {
			err = fmt.Errorf("it is still there: %+v", c.Status)
		}
		return client.IgnoreNotFound(err)
	})
	target, apex := &appsv1.Deployment{}, &corev1.Service{}
	if err := errors.Join(s.api.Get(s.t.Context(), s.key(app), target), s.api.Get(s.t.Context(), s.key(app), apex)); err != nil {
		s.t.Fatal(err)
	}
	if target.Status.AvailableReplicas != 2 || apex.Spec.Selector["app"] != app || len(apex.OwnerReferences) > 0 {
		s.t.Errorf("the target has %d pods, the apex service selects %v and is owned by %v", target.Status.AvailableReplicas, apex.Spec.Selector, apex.OwnerReferences)
	}
}

// judge compares what was seen since Flagger's last write with what must be.
func (l leftBehind) judge(t *testing.T, seen []client.Object, since int) {
	t.Helper()
	var got []v1beta1.CanaryPhase
	var template *corev1.PodTemplateSpec
	var last *appsv1.Deployment
	for _, o := range seen {
		switch o := o.(type) {
		case *v1beta1.Canary:
			if order(o) >= since {
				got = append(got, o.Status.Phase)
			}
		case *appsv1.Deployment:
			if o.Name != app+"-primary" {
				continue
			}
			if last = o; template == nil {
				template = &o.Spec.Template
			}
			if o.Spec.Template.Spec.Containers[0].Image == l.primary && !equality.Semantic.DeepEqual(template, &o.Spec.Template) {
				t.Fatalf("the primary's pods are replaced\n%s", cmp.Diff(template, &o.Spec.Template))
			}
		}
	}
	if diff := cmp.Diff(l.wantPhases, slices.Compact(got)); diff != "" {
		t.Errorf("phases (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(l.wantWeights, weights(seen)); diff != "" {
		t.Errorf("weights (-want +got)\n%s", diff)
	}
	pod := last.Spec.Template
	if pod.Spec.Containers[0].Image != l.wantImage {
		t.Errorf("the primary runs %s", pod.Spec.Containers[0].Image)
	}
	if l.wantImage != l.primary && (len(pod.Spec.Containers[0].Env) > 0 || pod.Annotations["flagger-id"] != "") {
		t.Errorf("the promoted primary still has what only its old version had: %v, %v", pod.Spec.Containers[0].Env, pod.Annotations)
	}
}

// formerOwner is the owner reference that versions before the mark wrote, and Flagger.
func formerOwner(c *v1beta1.Canary) metav1.OwnerReference {
	return *metav1.NewControllerRef(c, v1beta1.GroupVersion.WithKind(v1beta1.CanaryKind))
}
