package services

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// consulStage is a stage in Consul whose target's pods are instances of the apex service, and
// whose apex Service a user has made. It has nothing of ours yet.
type consulStage struct {
	*stage
	writes []string
	refuse string // the Service of which writes are refused
}

func newConsulStage(t *testing.T, there ...client.Object) *consulStage {
	t.Helper()
	s := &consulStage{stage: newStage(t)}
	s.canary.Spec.Provider = v1beta1.ProviderConsul
	s.target.Spec.Template.Annotations = map[string]string{"consul.hashicorp.com/connect-service": "podinfo"}
	apex := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "uid-of-apex"},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.96.0.7", Selector: map[string]string{"app": "podinfo"}, Ports: []corev1.ServicePort{{Name: "http", Port: 9898}},
		},
	}
	wrote := func(verb, name string) error {
		s.writes = append(s.writes, verb+" "+name)
		if name == s.refuse {
			return apierrors.NewForbidden(corev1.Resource("services"), name, errors.New("a policy"))
		}
		return nil
	}
	b := fakeclient.NewClientBuilder().WithObjects(append(there, apex)...).WithInterceptorFuncs(interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			if err := wrote("write", o.(interface{ GetName() string }).GetName()); err != nil {
				return err
			}
			return c.Apply(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if err := wrote("write", o.GetName()); err != nil {
				return err
			}
			return c.Patch(ctx, o, p, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if err := wrote("delete", o.GetName()); err != nil {
				return err
			}
			return c.Delete(ctx, o, opts...)
		},
	})
	for _, x := range Indexes() {
		b.WithIndex(x.Of, x.Name, x.Values)
	}
	s.api = b.Build()
	options := s.services.Options
	s.services = &Services{Client: s.api, Applier: ssa.New(s.api), Options: options}
	return s
}

// TestRegistrationIsWrittenLast: consul-k8s takes away what is registered for the apex Service
// when that is ignored, and registers the pods anew for the other Service after that. In the other
// order it would take them away from that one.
func TestRegistrationIsWrittenLast(t *testing.T) {
	s := newConsulStage(t)
	s.apply(s.look())
	if d := cmp.Diff([]string{"podinfo", "podinfo-consul"}, lastOf(s.writes, 2)); d != "" {
		t.Errorf("the last writes (-want +got)\n%s", d)
	}
}

func lastOf(writes []string, n int) (out []string) {
	for _, w := range writes {
		_, name, _ := strings.Cut(w, " ")
		out = slices.Compact(append(out, name))
	}
	return out[max(len(out)-n, 0):]
}

// TestRegistrationWaitsForApex: as long as the apex Service registers the target's pods itself, they
// have no second Service.
func TestRegistrationWaitsForApex(t *testing.T) {
	s := newConsulStage(t)
	s.refuse = "podinfo"
	share := s.look()
	if err := share.Apply(t.Context(), release.Desired{}); err != nil {
		t.Fatal(err)
	}
	var refused world.ObjectErrors
	if err := share.ApplyApex(t.Context()); !errors.As(err, &refused) || refused[0].Object != "Service podinfo" {
		t.Errorf("what was refused: %v", err)
	}
	if slices.Contains(s.writes, "write podinfo-consul") {
		t.Errorf("it is written all the same: %v", s.writes)
	}
}

// TestRegistrationGoesFirst: the pods are registered for the apex Service after what was registered
// for the other one is gone.
func TestRegistrationGoesFirst(t *testing.T) {
	s := newConsulStage(t)
	s.apply(s.look())
	s.writes = nil
	s.canary.DeletionTimestamp = new(metav1.Now())
	if err := s.look().GiveBack(t.Context(), release.Desired{}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"delete podinfo-consul", "write podinfo"}, s.writes); d != "" {
		t.Errorf("writes (-want +got)\n%s", d)
	}
}

// TestRegistrationOfOthers: a Service that somebody has made by that name is left alone.
func TestRegistrationOfOthers(t *testing.T) {
	theirs := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo-consul", UID: "theirs"}}
	s := newConsulStage(t, theirs)
	w := world.New(release.Observation{Canary: s.canary})
	w.TargetObject, w.PrimaryObject = s.target, s.primary
	_, err := s.services.Observe(t.Context(), w)
	mistake := world.AsMistake(err)
	if mistake == nil || !mistake.Foreign || !strings.Contains(mistake.Message, "podinfo-consul") {
		t.Errorf("got %v", err)
	}

	s.canary.DeletionTimestamp = new(metav1.Now())
	if err := s.look().GiveBack(t.Context(), release.Desired{}); err != nil {
		t.Fatal(err)
	}
	s.service("podinfo-consul")
}

// TestClusterIPs are known at every look, also where nothing has changed since the last.
func TestClusterIPs(t *testing.T) {
	s := newConsulStage(t)
	want := providers.ClusterIPs{Apex: "10.96.0.7"} // the API server of this test gives the other none
	for i := range 2 {
		if d := cmp.Diff(want, s.look().world.ClusterIPs); d != "" {
			t.Errorf("at look %d (-want +got)\n%s", i+1, d)
		}
	}
}

// TestApexIsNotLedToNobody: whoever finds the target's pods is not led to a primary without any.
func TestApexIsNotLedToNobody(t *testing.T) {
	for name, tc := range map[string]struct {
		primary, target int32
		again, led      bool
		apart           bool // it finds none of the target's pods either
	}{
		"both serve":              {primary: 2, target: 2, led: true},
		"the primary does not":    {target: 2},
		"neither does":            {led: true},
		"it is led there already": {target: 2, again: true, led: true},
		"it finds nobody so far":  {target: 2, apart: true, led: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newConsulStage(t)
			if tc.again {
				s.apply(s.look())
				s.writes = nil
				s.canary.Spec.Service.Apex = &v1beta1.CustomMetadata{Labels: map[string]string{"a": "b"}}
				s.canary.Generation++
			}
			share := s.look()
			share.world.Primary.Available, share.world.Target.Available = tc.primary, tc.target
			if tc.apart {
				share.world.TargetObject = newDeployment("another")
			}
			if err := share.Apply(t.Context(), release.Desired{}); err != nil {
				t.Fatal(err)
			}
			if err := share.ApplyApex(t.Context()); err != nil {
				t.Fatal(err)
			}
			if led := slices.Contains(s.writes, "write podinfo"); led != tc.led {
				t.Errorf("writes %v", s.writes)
			}
			// What waits for the Services to be as they must be, as the release does that brings the pods, waits for no more.
			if synced, err := share.inSync(t.Context()); err != nil || !synced {
				t.Errorf("in sync: %t, error %v", synced, err)
			}
			if share.Refused() == tc.led {
				t.Errorf("still to be written: %t", share.Refused())
			}
		})
	}
}
