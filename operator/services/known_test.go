package services

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// stage is a cluster with a target, its primary and the Services of their Canary.
type stage struct {
	t        *testing.T
	api      client.Client
	services *Services

	canary          *v1beta1.Canary
	target, primary *appsv1.Deployment
	failures        []release.Failure
}

func newDeployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name, UID: "uid", Generation: 5},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "podinfod", Image: "podinfo:1"}}},
			},
		},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 5, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2},
	}
}

func newStage(t *testing.T) *stage {
	t.Helper()
	b := fakeclient.NewClientBuilder()
	for _, x := range Indexes() {
		b.WithIndex(x.Of, x.Name, x.Values)
	}
	s := &stage{
		t: t, api: b.Build(),
		canary: &v1beta1.Canary{
			ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "uid-of-podinfo", Generation: 5},
			Spec: v1beta1.CanarySpec{
				TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
				Service:   v1beta1.CanaryService{Port: 9898},
			},
		},
		target: newDeployment("podinfo"), primary: newDeployment("podinfo-primary"),
	}
	s.services = &Services{Client: s.api, Applier: ssa.New(s.api), Options: workload.Options{SelectorLabels: []string{"app"}}}
	s.apply(s.look())
	for range 2 {
		s.look()
	}
	return s
}

// look observes the Services.
func (s *stage) look() *Share {
	s.t.Helper()
	w := world.New(release.Observation{Canary: s.canary, Failures: s.failures})
	w.TargetObject = s.target
	if s.primary != nil {
		w.PrimaryObject = s.primary
	}
	share, err := s.services.Observe(s.t.Context(), w)
	if err != nil {
		s.t.Fatal(err)
	}
	return share
}

// apply writes all Services.
func (s *stage) apply(share *Share) {
	s.t.Helper()
	if err := share.Apply(s.t.Context(), release.Desired{}); err != nil {
		s.t.Fatal(err)
	}
	if err := share.ApplyApex(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) service(name string) *corev1.Service {
	s.t.Helper()
	o := &corev1.Service{}
	if err := s.api.Get(s.t.Context(), client.ObjectKey{Namespace: "test", Name: name}, o); err != nil {
		s.t.Fatal(err)
	}
	return o
}

// edit changes a Service as somebody else would.
func (s *stage) edit(name string, change func(*corev1.Service)) {
	s.t.Helper()
	o := s.service(name)
	change(o)
	if err := s.api.Update(s.t.Context(), o); err != nil {
		s.t.Fatal(err)
	}
}

// While no endpoints of a Service are known, the pods behind it are not sure to be reached; those that are known count.
func TestUnknownEndpoints(t *testing.T) {
	s := newStage(t)
	share := s.look()
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo-canary-1", Labels: map[string]string{discoveryv1.LabelServiceName: "podinfo-canary"}},
		Endpoints:  []discoveryv1.Endpoint{{}},
	}
	if err := s.api.Create(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
	w := share.world
	w.Primary = release.Workload{Exists: true, Replicas: 2, Available: 2, Ready: true}
	w.Target = w.Primary
	if err := share.observeEndpoints(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := w.Primary; !p.Unconfirmed || p.Ready || p.Available != 2 {
		t.Errorf("primary: %+v", p)
	}
	if c := w.Target; c.Unconfirmed || c.Available != 1 {
		t.Errorf("canary: %+v", c)
	}
}

// The intents for Services are built once for each state of what they are made
// from, and compared with what is there once for each state of that.
func TestServicesAreBuiltAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		change    func(s *stage)
		wantAgain bool
		wantDrift bool
	}{
		"nothing":                         {change: func(*stage) {}},
		"the target's status":             {change: func(s *stage) { s.target.Status.ReadyReplicas++ }},
		"the target's spec":               {wantAgain: true, change: func(s *stage) { s.target.Generation++ }},
		"another target":                  {wantAgain: true, change: func(s *stage) { s.target.UID = "other" }},
		"the primary's spec":              {wantAgain: true, change: func(s *stage) { s.primary.Generation++ }},
		"another primary":                 {wantAgain: true, change: func(s *stage) { s.primary.UID = "other" }},
		"the target's labels":             {wantAgain: true, change: func(s *stage) { s.target.Labels = map[string]string{"a": "b"} }},
		"the target's annotations":        {wantAgain: true, change: func(s *stage) { s.target.Annotations = map[string]string{"a": "b"} }},
		"the primary's pods are replaced": {change: func(s *stage) { s.primary.Status.Replicas++ }},
		"the target begins to serve":      {wantAgain: true, change: func(s *stage) { s.canary.Status.CanaryWeight = 10 }},
		"the Canary's status":             {change: func(s *stage) { s.canary.Status.Iterations++ }},
		"the Canary's spec":               {wantAgain: true, change: func(s *stage) { s.canary.Generation++ }},
		"another Canary of the name":      {wantAgain: true, change: func(s *stage) { s.canary.UID = "other" }},
		"a Service": {wantAgain: true, wantDrift: true, change: func(s *stage) {
			s.edit("podinfo-canary", func(o *corev1.Service) { o.Spec.Selector = map[string]string{"app": "other"} })
		}},
		"a Service is gone": {wantAgain: true, wantDrift: true, change: func(s *stage) {
			if err := s.api.Delete(s.t.Context(), s.service("podinfo-primary")); err != nil {
				s.t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			before := s.look()
			if !before.world.ServicesInSync || before.known == nil || !before.known.inSync {
				t.Fatal("once they are written they are not known to be in sync")
			}
			s.canary, s.target, s.primary = s.canary.DeepCopy(), s.target.DeepCopy(), s.primary.DeepCopy()
			tc.change(s)
			after := s.look()
			if again := after.known == nil; again != tc.wantAgain || after.world.ServicesInSync == tc.wantDrift {
				t.Errorf("built again %t, in sync %t", again, after.world.ServicesInSync)
			}
			once := s.look()
			if once.known == nil {
				t.Error("and then once more")
			}
			// What is remembered is what was built, to the last field.
			if !equality.Semantic.DeepEqual(once.intents.All(), after.intents.All()) {
				t.Errorf("they are remembered as %+v, and were built as %+v", once.intents.All(), after.intents.All())
			}
		})
	}
}

func TestForget(t *testing.T) {
	s := newStage(t)
	if s.services.Size() != 1 {
		t.Errorf("%d Canaries are remembered", s.services.Size())
	}
	s.services.Forget(client.ObjectKeyFromObject(s.canary))
	if s.services.Size() != 0 {
		t.Error("one that is gone is remembered")
	}
}
