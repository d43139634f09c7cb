package canary

import (
	"cmp"
	"reflect"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// A Canary whose target becomes one of another kind keeps the primary that
// serves, touches nothing, and goes on when the kind is set back.
func TestKindOfTargetChanges(t *testing.T) {
	for name, other := range map[string]client.Object{
		"DaemonSet":   &appsv1.DaemonSet{ObjectMeta: newTarget().ObjectMeta, Spec: appsv1.DaemonSetSpec{Selector: newTarget().Spec.Selector, Template: newTarget().Spec.Template}},
		"StatefulSet": &appsv1.StatefulSet{ObjectMeta: newTarget().ObjectMeta, Spec: appsv1.StatefulSetSpec{Selector: newTarget().Spec.Selector, Template: newTarget().Spec.Template}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newInitialized(t)
			if err := s.api.Create(t.Context(), other.DeepCopyObject().(client.Object)); err != nil {
				t.Fatal(err)
			}
			s.sent()
			writes := len(s.worldWrites())
			s.setKind(name)
			s.settle()
			if got, want := s.condition(v1beta1.ConditionStalled), "True "+reasonImmutable; got != want {
				t.Errorf("Stalled is %q, want %q", got, want)
			}
			sent := strings.Join(s.sent(), "\n")
			for _, want := range []string{"spec.targetRef.kind", `"Deployment" can't be changed to "` + name + `"`} {
				if !strings.Contains(sent, want) {
					t.Errorf("%q lacks %q", sent, want)
				}
			}
			if extra := s.worldWrites()[writes:]; len(extra) > 0 {
				t.Errorf("writes: %v", extra)
			}
			s.setKind("Deployment")
			s.settle()
			if got := s.now().Status.Phase; got != v1beta1.PhaseInitialized {
				t.Errorf("set back it is %s", got)
			}
		})
	}
}

func (s *scene) setKind(kind string) {
	s.t.Helper()
	c := s.now()
	c.Spec.TargetRef.Kind = kind
	c.Generation++
	if err := s.api.Update(s.t.Context(), c); err != nil {
		s.t.Fatal(err)
	}
}

// What is not this Canary's is no primary of it.
func TestKindOfAnotherPrimary(t *testing.T) {
	for name, change := range map[string]func(*appsv1.StatefulSet){
		"somebody's own": func(*appsv1.StatefulSet) {},
		"of another": func(o *appsv1.StatefulSet) {
			o.OwnerReferences = []metav1.OwnerReference{{APIVersion: "a/v1", Kind: "Other", Name: "x", UID: "x", Controller: new(true)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo-primary"}}
			change(o)
			s := newScene(t, newCanary("podinfo").Canary, newTarget(), o)
			s.rollOut()
			s.settleFully()
			if got := s.now().Status.Phase; got != v1beta1.PhaseInitialized {
				t.Errorf("it is %s: %v", got, s.sent())
			}
		})
	}
}

// Whatever names what the Canary is about stays as it was, and the field that was changed is named.
func TestPinned(t *testing.T) {
	recorded := &v1beta1.IdentityStatus{TargetKind: "Deployment", TargetName: "podinfo", Apex: "podinfo", Provider: "istio"}
	misspelt := *recorded
	misspelt.Provider = ""
	for name, tc := range map[string]struct {
		edit     func(*v1beta1.CanarySpec)
		identity *v1beta1.IdentityStatus
		want     string // the field that is refused; empty: none
	}{
		"nothing":                     {func(*v1beta1.CanarySpec) {}, recorded, ""},
		"what is not of the identity": {func(s *v1beta1.CanarySpec) { s.Service.Port = 1 }, recorded, ""},
		"the provider, by its name":   {func(s *v1beta1.CanarySpec) { s.Provider = "istio" }, recorded, ""},
		"the kind":                    {func(s *v1beta1.CanarySpec) { s.TargetRef.Kind = "DaemonSet" }, recorded, "spec.targetRef.kind"},
		"the target": {func(s *v1beta1.CanarySpec) {
			s.TargetRef.Name, s.Service.Name = "other", "podinfo"
		}, recorded, "spec.targetRef.name"},
		"the apex":                      {func(s *v1beta1.CanarySpec) { s.Service.Name = "web" }, recorded, "spec.service.name"},
		"the provider":                  {func(s *v1beta1.CanarySpec) { s.Provider = "consul" }, recorded, "spec.provider"},
		"a provider that was misspelt":  {func(s *v1beta1.CanarySpec) { s.Provider = "consul" }, &misspelt, ""},
		"headless":                      {func(s *v1beta1.CanarySpec) { s.Service.Headless = true }, recorded, "spec.service.headless"},
		"before the primary has served": {func(s *v1beta1.CanarySpec) { s.TargetRef.Name = "other" }, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary("podinfo").with(tc.edit).Canary
			c.Status.Identity = tc.identity
			got, mistake := pinned(c, "istio")
			field := ""
			if mistake != nil {
				field, _, _ = strings.Cut(mistake.Message, ":")
			}
			if field != tc.want {
				t.Errorf("refused: %q, want %q", field, tc.want)
			}
			apex, _, _ := got.ServiceNames()
			is := v1beta1.IdentityStatus{
				TargetKind: got.Spec.TargetRef.Kind, TargetName: got.Spec.TargetRef.Name,
				Apex: apex, Provider: got.GetProvider("istio"), Headless: got.Spec.Service.Headless,
			}
			if tc.identity == nil {
				return
			}
			want := *tc.identity
			want.Provider = cmp.Or(want.Provider, c.GetProvider("istio"))
			if !reflect.DeepEqual(is, want) {
				t.Errorf("it is taken for %+v", is)
			}
		})
	}
}

// TestProviderOfIdentity: what names no router is no part of what a Canary is about, and what once named one stays.
func TestProviderOfIdentity(t *testing.T) {
	for name, tc := range map[string]struct {
		was    *v1beta1.IdentityStatus
		routed bool
		want   string
	}{
		"a router":             {nil, true, "istio"},
		"no router":            {nil, false, ""},
		"no router, as before": {&v1beta1.IdentityStatus{}, false, ""},
		"a router, after none": {&v1beta1.IdentityStatus{}, true, "istio"},
		"no router any more":   {&v1beta1.IdentityStatus{Provider: "istio"}, false, "istio"},
	} {
		c := newCanary("podinfo").Canary
		c.Status.Identity = tc.was
		if got := identityOf(c, newTarget(), nil, tc.routed, "istio", workload.Options{}).Provider; got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
