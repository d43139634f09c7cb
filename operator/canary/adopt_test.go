package canary

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
	ground "github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers"
)

func usersService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "s1", Labels: map[string]string{"app.kubernetes.io/managed-by": "Helm"}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "podinfo"},
			Ports: []corev1.ServicePort{{Name: "metrics", Protocol: corev1.ProtocolTCP, Port: 9797, NodePort: 30001}, {Name: "web", Protocol: corev1.ProtocolTCP, Port: 9898}},
		},
	}
}

// Pains 4 and 5: a Service that was there is led elsewhere and given back, with
// all else that its user has in it; also when the Canary comes back.
func TestUsersService(t *testing.T) {
	users := usersService()
	s := newScene(t, newCanary("podinfo").Canary, newTarget(), users)
	for range 2 {
		s.rollOut()
		s.settleFully()
		live := s.service("podinfo")
		if live.Spec.Selector["app"] != "podinfo-primary" || len(live.OwnerReferences) > 0 {
			t.Errorf("it leads to %v and is owned by %v", live.Spec.Selector, live.OwnerReferences)
		}
		if live.Spec.Type != users.Spec.Type || live.Labels["app.kubernetes.io/managed-by"] != "Helm" || len(live.Spec.Ports) != 2 {
			t.Errorf("its user's settings are %+v, labels %v", live.Spec, live.Labels)
		}
		s.delete()
		s.settleFully()
		live = s.service("podinfo")
		if diff := cmp.Diff(users.Spec, live.Spec); diff != "" {
			t.Errorf("after the deletion: -want +got\n%s", diff)
		}
		if diff := cmp.Diff(users.Labels, live.Labels); diff != "" || len(live.Annotations) > 0 {
			t.Errorf("after the deletion: labels -want +got\n%s\nannotations %v", diff, live.Annotations)
		}
		again := newCanary("podinfo").Canary
		if err := s.api.Create(t.Context(), again); err != nil {
			t.Fatal(err)
		}
	}
}

// What an adopted Service says of its port counts as if the Canary said it: nothing is touched where
// the mesh can't move that, and the router is told of the port.
func TestProtocolOfUsersService(t *testing.T) {
	for name, tc := range map[string]struct {
		appProtocol string
		can         providers.Capabilities
		metric      string
		want        string // the begin of Stalled, "" for none
	}{
		"requests":                        {appProtocol: "kubernetes.io/h2c", can: providers.Capabilities{Weighted: true}},
		"connections":                     {appProtocol: "redis", can: providers.Capabilities{Weighted: true}, want: "Service podinfo: appProtocol of port 9898"},
		"encrypted":                       {appProtocol: "https", can: providers.Capabilities{Weighted: true, TCP: true}, want: "Service podinfo: appProtocol of port 9898"},
		"connections that can be moved":   {appProtocol: "redis", can: providers.Capabilities{Weighted: true, TCP: true}},
		"connections counted as requests": {appProtocol: "redis", can: providers.Capabilities{Weighted: true, TCP: true}, metric: "request-success-rate", want: "spec.analysis.metrics[0].name"},
	} {
		t.Run(name, func(t *testing.T) {
			users := usersService()
			users.Spec.Ports[1].AppProtocol = &tc.appProtocol
			s := newScene(t, newCanary("podinfo").with(func(s *v1beta1.CanarySpec) {
				if tc.metric != "" {
					s.Analysis.Metrics = []v1beta1.CanaryMetric{{Name: tc.metric}}
				}
			}).Canary, newTarget(), users)
			s.router.Can = tc.can
			s.rollOut()
			s.settleFully()
			stalled := s.now().Status.GetCondition(v1beta1.ConditionStalled)
			if tc.want == "" {
				if stalled != nil || s.service("podinfo").Spec.Selector["app"] != "podinfo-primary" {
					t.Errorf("Stalled %+v, the Service leads to %v", stalled, s.service("podinfo").Spec.Selector)
				}
				for _, half := range []string{"podinfo-primary", "podinfo-canary"} {
					if got := s.service(half).Spec.Ports[0]; got.Name != "web" || got.AppProtocol == nil || *got.AppProtocol != tc.appProtocol {
						t.Errorf("port of %s: %+v", half, got)
					}
				}
				return
			}
			if stalled == nil || stalled.Reason != ground.ReasonInvalidSpec || !strings.HasPrefix(stalled.Message, tc.want) {
				t.Fatalf("Stalled %+v", stalled)
			}
			if diff := cmp.Diff(users.Spec, s.service("podinfo").Spec); diff != "" {
				t.Errorf("the Service was touched: -was +is\n%s", diff)
			}
		})
	}
}

// Pain 5: whatever is wrong, a deletion comes to its end, and never leaves the
// target without pods where it is there.
func TestDeletionDoesNotHang(t *testing.T) {
	for name, tc := range map[string]struct {
		never bool // the Canary has not initialized
		wrong func(*scene)
		// untouched is true where there is nothing to scale.
		untouched bool
	}{
		"the mesh is gone": {wrong: func(s *scene) { s.router.Fail(providers.ErrNotInstalled) }},
		"the provider is not known any more": {wrong: func(s *scene) {
			s.reconciler.Router = func(name string) (providers.Router, error) {
				return nil, &providers.UnknownRouterError{Name: name, Known: []string{"another"}}
			}
		}},
		"the target is gone": {wrong: func(s *scene) { s.remove(s.deployment("podinfo")) }, untouched: true},
		"the primary is gone": {wrong: func(s *scene) {
			edit(s, s.deployment("podinfo"), func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(2)) })
			s.remove(s.deployment("podinfo-primary"))
		}},
		"the apex service is gone, and none can be made in a namespace that goes": {wrong: func(s *scene) {
			s.remove(s.service("podinfo"))
			s.applyError = func(kind string) error {
				if kind != "Service" {
					return nil
				}
				return apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "podinfo", errors.New("the namespace is being terminated"))
			}
		}},
		"everything is gone": {wrong: func(s *scene) {
			s.remove(s.deployment("podinfo"))
			s.remove(s.deployment("podinfo-primary"))
			for _, name := range []string{"podinfo", "podinfo-primary", "podinfo-canary"} {
				s.remove(s.service(name))
			}
		}, untouched: true},
		"there never was a primary": {never: true, wrong: func(*scene) {}},
		"the spec has become invalid": {wrong: func(s *scene) {
			edit(s, s.now(), func(c *v1beta1.Canary) { c.Spec.Analysis.Interval = "soon" })
		}},
		"ConfigMaps and Secrets can't be read": {wrong: func(s *scene) {
			denied := interceptor.NewClient(s.api, interceptor.Funcs{Get: func(_ context.Context, _ client.WithWatch, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, key.Name, errors.New("no"))
			}})
			s.reconciler.Configs = s.newTracker(denied, denied)
		}},
		"an original that was edited": {wrong: func(s *scene) {
			edit(s, s.service("podinfo"), func(svc *corev1.Service) {
				svc.OwnerReferences = nil
				svc.Annotations[workload.OriginalAnnotation] = "{"
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, newCanary("podinfo").Canary, newTarget())
			s.rollOut()
			if tc.never {
				s.mustTurn()
			} else {
				s.settleFully()
			}
			tc.wrong(s)
			s.delete()
			s.settleFully()
			if !s.gone() {
				t.Fatalf("it is still there: %+v", s.now().Status)
			}
			if tc.untouched {
				return
			}
			if d := s.deployment("podinfo"); *d.Spec.Replicas == 0 || d.Status.AvailableReplicas == 0 {
				t.Errorf("the target asks for %d pods and has %d", *d.Spec.Replicas, d.Status.AvailableReplicas)
			}
			apex := &corev1.Service{}
			err := s.api.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: "podinfo"}, apex)
			if err == nil && apex.Spec.Selector["app"] != "podinfo" || client.IgnoreNotFound(err) != nil {
				t.Errorf("the apex service leads to %v, %v", apex.Spec.Selector, err)
			}
		})
	}
}

// A target whose pods never come up holds the deletion up for the progress
// deadline, and no longer.
func TestDeletionWithATargetThatNeverComesUp(t *testing.T) {
	s := newInitialized(t)
	s.delete()
	begun := s.clock.Now()
	for !s.gone() {
		result := s.mustTurn()
		if s.gone() {
			break
		}
		if passed := s.clock.Since(begun); passed > 2*s.now().GetProgressDeadline() {
			t.Fatalf("it is still there after %s: %+v", passed, s.now().Status)
		}
		if result.RequeueAfter > 0 {
			s.wait(result)
		}
	}
	if passed, deadline := s.clock.Since(begun), newCanary("podinfo").GetProgressDeadline(); passed < deadline {
		t.Errorf("the primary went after %s, the deadline is %s", passed, deadline)
	}
	if n := *s.deployment("podinfo").Spec.Replicas; n != 2 {
		t.Errorf("the target asks for %d pods", n)
	}
}

func (s *scene) remove(o client.Object) {
	s.t.Helper()
	if err := s.api.Delete(s.t.Context(), o); err != nil {
		s.t.Fatal(err)
	}
}
