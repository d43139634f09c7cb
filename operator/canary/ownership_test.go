package canary

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/autoscaling"
	ground "github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// newOwning is a scene at rest in which something of every kind was made for the Canary,
// beside things of others.
func newOwning(t *testing.T, change func(*v1beta1.CanarySpec)) *configScene {
	t.Helper()
	c := newCanary("podinfo").with(refersTo(autoscaling.KindHPA, "web"))
	if change != nil {
		c = c.with(change)
	}
	theirs := configMap("theirs", color("red"))
	ownership.For(newCanary("other").Canary).Mark(theirs)
	s := newConfigScene(t, copying(c), using(newTarget(), appConfig, appSecret), configMap("app", color("blue")), secret("app", "s1"),
		newHPA("web"), newBudget("web", "podinfo"), theirs, configMap("nobodys", color("red")))
	s.covering(true)
	s.rollOut()
	s.settleFully()
	s.clear()
	return s
}

// made are the names of all that is there beside what the test itself has made.
func (s *configScene) made() []string {
	s.t.Helper()
	var out []string
	s.each(func(kind string, o client.Object) {
		if o.GetName() != "web" && o.GetName() != "app" && o.GetName() != "theirs" && o.GetName() != "nobodys" && kind+o.GetName() != "Deploymentpodinfo" {
			out = append(out, kind+" "+o.GetName())
		}
	})
	return out
}

func (s *configScene) each(do func(kind string, o client.Object)) {
	s.t.Helper()
	for _, list := range []client.ObjectList{
		&appsv1.DeploymentList{}, &corev1.ServiceList{}, &corev1.ConfigMapList{}, &corev1.SecretList{},
		&autoscalingv2.HorizontalPodAutoscalerList{}, &policyv1.PodDisruptionBudgetList{},
	} {
		if err := s.api.List(s.t.Context(), list, client.InNamespace("test")); err != nil {
			s.t.Fatal(err)
		}
		if err := meta.EachListItem(list, func(item runtime.Object) error {
			o := item.(client.Object)
			gvk, err := s.api.GroupVersionKindFor(o)
			if err == nil {
				do(gvk.Kind, o)
			}
			return err
		}); err != nil {
			s.t.Fatal(err)
		}
	}
}

var allMade = []string{
	"Deployment podinfo-primary", "Service podinfo", "Service podinfo-canary", "Service podinfo-primary",
	"ConfigMap app-primary", "Secret app-primary", "HorizontalPodAutoscaler web-primary", "PodDisruptionBudget web-primary",
}

// rewrite changes all that was made for the Canary, as somebody else does it.
func (s *configScene) rewrite(change func(o client.Object)) {
	s.t.Helper()
	owner := ownership.For(s.now())
	s.each(func(_ string, o client.Object) {
		if !owner.Owns(o) {
			return
		}
		change(o)
		if err := s.api.Update(s.t.Context(), o); err != nil {
			s.t.Fatal(err)
		}
	})
}

// unclaimed says of what is not marked as it must be, of all that was made.
func (s *configScene) unclaimed() []string {
	s.t.Helper()
	var out []string
	made := s.made()
	owner := ownership.For(s.now())
	s.each(func(kind string, o client.Object) {
		name := kind + " " + o.GetName()
		if slices.Contains(made, name) && (!owner.Owns(o) || owner.Claim(o) != nil) {
			out = append(out, name)
		}
	})
	return out
}

func unmark(o client.Object) {
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	delete(labels, ownership.Label)
	delete(annotations, ownership.Annotation)
	o.SetLabels(labels)
	o.SetAnnotations(annotations)
}

// Whatever the Canary is doing, what an earlier version or Flagger made gets the mark
// and loses its owner, and a mark that somebody edits is put back. Pods are not
// replaced for it, and it is written once.
func TestObjectsAreClaimed(t *testing.T) {
	for when, begin := range map[string]func(*configScene){
		"at rest": func(*configScene) {},
		"in mid-release": func(s *configScene) {
			s.release("podinfo:2")
			s.settle()
			if st := s.now().Status; st.Phase != v1beta1.PhaseProgressing || st.CanaryWeight == 0 {
				s.t.Fatalf("phase %s, weight %d", st.Phase, st.CanaryWeight)
			}
		},
	} {
		for what, change := range map[string]func(s *configScene, o client.Object){
			"of an earlier version": func(s *configScene, o client.Object) {
				unmark(o)
				o.SetOwnerReferences([]metav1.OwnerReference{formerOwner(s.now())})
			},
			"marked and with an owner": func(s *configScene, o client.Object) {
				o.SetOwnerReferences([]metav1.OwnerReference{formerOwner(s.now())})
			},
			"without the label": func(_ *configScene, o client.Object) {
				labels := o.GetLabels()
				delete(labels, ownership.Label)
				o.SetLabels(labels)
			},
			"without the annotation": func(_ *configScene, o client.Object) {
				annotations := o.GetAnnotations()
				delete(annotations, ownership.Annotation)
				o.SetAnnotations(annotations)
			},
		} {
			t.Run(when+"/"+what, func(t *testing.T) {
				s := newOwning(t, nil)
				begin(s)
				template := s.deployment("podinfo-primary").Spec.Template
				s.rewrite(func(o client.Object) { change(s, o) })
				if got := s.unclaimed(); !slices.Equal(got, allMade) {
					t.Fatalf("the test has changed only %v", got)
				}
				s.settle()
				if got := s.unclaimed(); len(got) > 0 {
					t.Errorf("left as they are: %v", got)
				}
				if diff := cmp.Diff(template, s.deployment("podinfo-primary").Spec.Template); diff != "" {
					t.Errorf("the primary's pods are replaced (-was +is)\n%s", diff)
				}
				s.clear()
				s.settle()
				if len(s.scene.writes)+len(s.writes) > 0 {
					t.Errorf("written again: %v %v", s.scene.writes, s.writes)
				}
			})
		}
	}
}

// deleted takes the Canary to its end.
func (s *configScene) deleted() {
	s.t.Helper()
	s.delete()
	s.scene.settleFully()
	if !s.gone() {
		s.t.Fatalf("it is still there in phase %s", s.now().Status.Phase)
	}
}

// No garbage collector removes what was made for a Canary: the end of its deletion does.
// The apex Service stays, as clients depend on it.
func TestEndOfDeletion(t *testing.T) {
	s := newOwning(t, nil)
	if got := s.made(); !slices.Equal(got, allMade) {
		t.Fatalf("made were %v", got)
	}
	s.deleted()
	if diff := cmp.Diff([]string{"Service podinfo"}, s.made()); diff != "" {
		t.Errorf("what is left (-want +got)\n%s", diff)
	}
	apex := s.service("podinfo")
	if apex.Spec.Selector["app"] != "podinfo" || ownership.For(newCanary("podinfo").Canary).Of(apex) != ownership.Users {
		t.Errorf("the apex service leads to %v and is marked: %v %v", apex.Spec.Selector, apex.Labels, apex.Annotations)
	}
	for _, name := range []string{"theirs", "nobodys", "app"} {
		if !s.exists(name, &corev1.ConfigMap{}) {
			t.Errorf("ConfigMap %s is gone", name)
		}
	}
	if !s.scene.exists(&autoscalingv2.HorizontalPodAutoscaler{}, "web") || *s.deployment("podinfo").Spec.Replicas == 0 {
		t.Error("the target or its autoscaler is gone")
	}
}

// Before the drain delay is over, everything that serves is there.
func TestNothingIsRemovedBeforeTheEnd(t *testing.T) {
	s := newOwning(t, nil)
	s.delete()
	for range 20 {
		s.mustTurn()
		s.rollOut()
	}
	if got := s.made(); s.gone() || !slices.Equal(got, allMade) {
		t.Errorf("before the drain delay there is only %v", got)
	}
}

// Where the target is gone, the primary alone can serve: it stays with what leads to it
// and what it needs, as nobody's.
func TestDeletionKeepsWhatAloneCanServe(t *testing.T) {
	for name, tc := range map[string]struct {
		users bool // the apex Service is a user's
	}{"the apex Service is ours": {}, "the apex Service is a user's": {users: true}} {
		t.Run(name, func(t *testing.T) {
			s := newOwning(t, nil)
			if tc.users {
				edit(s.scene, s.service("podinfo"), func(o *corev1.Service) { unmark(o); o.Spec.Selector = map[string]string{"app": "podinfo"} })
				s.settleFully()
			}
			if err := s.api.Delete(t.Context(), s.deployment("podinfo")); err != nil {
				t.Fatal(err)
			}
			s.deleted()
			want := slices.DeleteFunc(slices.Clone(allMade), func(name string) bool { return name == "Service podinfo-canary" })
			if diff := cmp.Diff(want, s.made()); diff != "" {
				t.Errorf("what is left (-want +got)\n%s", diff)
			}
			s.each(func(kind string, o client.Object) {
				if o.GetName() != "theirs" && ownership.For(newCanary("podinfo").Canary).Of(o) != ownership.Users {
					t.Errorf("%s %s is not let go of: %v", kind, o.GetName(), o.GetAnnotations())
				}
			})
			if *s.deployment("podinfo-primary").Spec.Replicas == 0 {
				t.Error("the primary has no pods")
			}
			for _, name := range []string{"podinfo", "podinfo-primary"} {
				if got := s.service(name).Spec.Selector["app"]; got != "podinfo-primary" {
					t.Errorf("Service %s leads to %s", name, got)
				}
			}
			if len(s.router.Released()) != 1 {
				t.Error("the route was not released")
			}
		})
	}
}

// What may not be deleted serves nobody and holds up nothing; what fails otherwise is
// tried again.
func TestEndOfDeletionIsRefused(t *testing.T) {
	services := schema.GroupResource{Resource: "services"}
	for name, tc := range map[string]struct {
		err      error
		wantGone bool
	}{
		"not allowed":           {err: apierrors.NewForbidden(services, "podinfo-primary", errors.New("no")), wantGone: true},
		"another object by now": {err: apierrors.NewConflict(services, "podinfo-primary", errors.New("uid")), wantGone: true},
		"no answer":             {err: errors.New("no answer")},
	} {
		t.Run(name, func(t *testing.T) {
			s := newOwning(t, nil)
			server := s.reconciler.Client.(client.WithWatch)
			fails := tc.err
			s.reconciler.Client = interceptor.NewClient(server, interceptor.Funcs{
				Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
					if _, ok := o.(*corev1.Service); ok && o.GetName() == "podinfo-primary" && fails != nil {
						return fails
					}
					return c.Delete(ctx, o, opts...)
				},
			})
			s.reconciler.Applier = ssa.New(s.reconciler.Client)
			s.delete()
			for range 30 {
				result, err := s.turn()
				if err != nil || s.gone() {
					break
				}
				if s.rollOut(); result.RequeueAfter > 0 {
					s.wait(result)
				}
			}
			if s.gone() != tc.wantGone {
				t.Fatalf("it is gone: %t", s.gone())
			}
			if diff := cmp.Diff([]string{"Service podinfo", "Service podinfo-primary"}, s.made()); diff != "" {
				t.Errorf("what is left (-want +got)\n%s", diff)
			}
			if tc.wantGone {
				return
			}
			fails = nil
			s.scene.settleFully()
			if !s.gone() || !slices.Equal(s.made(), []string{"Service podinfo"}) {
				t.Errorf("in the end it is gone: %t, and there is %v", s.gone(), s.made())
			}
		})
	}
}

// forced deletes the Canary as somebody does who removes its finalizer.
func (s *configScene) forced() {
	s.t.Helper()
	edit(s.scene, s.now(), func(c *v1beta1.Canary) { c.Finalizers = nil })
	s.delete()
	if !s.gone() {
		s.t.Fatal("it is still there")
	}
	s.mustTurn()
}

// A Canary that is created again, by its name or another one, adopts what was left as
// it is.
func TestCanaryIsCreatedAgain(t *testing.T) {
	for _, name := range []string{"podinfo", "renamed"} {
		t.Run(name, func(t *testing.T) {
			s := newOwning(t, nil)
			s.forced()
			if diff := cmp.Diff(allMade, s.made()); diff != "" {
				t.Fatalf("what is left (-want +got)\n%s", diff)
			}
			var before []client.Object
			s.each(func(_ string, o client.Object) { before = append(before, o) })
			again := newCanary(name).with(refersTo(autoscaling.KindHPA, "web"))
			again.UID = "another"
			c := copying(again)
			s.create(c)
			s.canary = client.ObjectKeyFromObject(c)
			s.rollOut()
			s.settleFully()
			if got := s.made(); !slices.Equal(got, allMade) {
				t.Errorf("there is %v", got)
			}
			if got := s.unclaimed(); len(got) > 0 {
				t.Errorf("not taken over: %v", got)
			}
			i := 0
			s.each(func(kind string, o client.Object) {
				d, ok := o.(*appsv1.Deployment)
				if ok && !cmp.Equal(before[i].(*appsv1.Deployment).Spec, d.Spec) {
					t.Errorf("%s %s has changed: %s", kind, o.GetName(), cmp.Diff(before[i].(*appsv1.Deployment).Spec, d.Spec))
				}
				i++
			})
		})
	}
}

// A route that was made for a Canary that is gone is taken over, and one of a Canary
// that exists is not.
func TestRouteOfAnotherCanary(t *testing.T) {
	for name, tc := range map[string]struct {
		of   string
		want string // the condition Stalled
	}{
		"gone":   {of: "gone"},
		"exists": {of: "other", want: "True " + ground.ReasonConflict},
	} {
		t.Run(name, func(t *testing.T) {
			other := newCanary("other").with(func(spec *v1beta1.CanarySpec) { spec.TargetRef.Name = "another" })
			s := newScene(t, newCanary("podinfo").Canary, newTarget(), other.Canary)
			inner := s.reconciler.Router
			s.reconciler.Router = func(name string) (providers.Router, error) {
				router, err := inner(name)
				return &claimed{router, tc.of}, err
			}
			s.rollOut()
			s.settle()
			if got := s.condition(v1beta1.ConditionStalled); got != tc.want {
				t.Errorf("Stalled is %q, want %q", got, tc.want)
			}
		})
	}
}

// claimed is a router that finds the route of another Canary.
type claimed struct {
	providers.Router

	by string
}

// Observe implements providers.Router.
func (r *claimed) Observe(ctx context.Context, route providers.Route) (providers.State, error) {
	live := &corev1.ConfigMap{}
	ownership.For(newCanary(r.by).Canary).Mark(live)
	if route.Owner().Of(live) == ownership.Others {
		return providers.State{}, providers.Conflict("VirtualService", live)
	}
	return r.Router.Observe(ctx, route)
}
