package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/rig"
)

// gitTool is Argo CD or Flux, which keeps a namespace as the manifests are that were last committed.
type gitTool interface {
	// commit gives it manifests.
	commit(manifests []byte)
	// inSync objects as long as it has something to do.
	inSync(context.Context) error
	// writes are the objects that it made other than they were, write by write, as "Kind/name", "Kind/name deleted".
	writes() [][]string
}

// TestGitOps has everything that is the user's in Git, and a tool that heals and prunes at once. It is adopted, released, rolled back
// and given back; no request fails, the tool writes what was committed and nothing else, and takes nothing of ours.
func TestGitOps(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*app) gitTool{"argocd": startArgoCD, "flux": startFlux} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newApp(t, "gitops-"+name)
			a.must(a.API.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: a.Namespace}}))
			story := &gitStory{app: a, tool: start(a)}
			story.tell(name)
		})
	}
}

// TestRouteContested has a route in Git with Argo CD not told to ignore what a release changes of it. The two write it in turn;
// the Canary says so, and requests go on.
func TestRouteContested(t *testing.T) {
	t.Parallel()
	a := newApp(t, "contested")
	a.must(a.API.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: a.Namespace}}))
	s := &gitStory{app: a, tool: runArgoCD(a, "Service/podinfo:spec.selector", "Service/podinfo:spec.ports", "Service/podinfo:metadata.labels.app")}
	s.commit("the app and its Canary", append(s.manifests("6.0.0"), s.canaryInGit()))
	a.awaitCondition(rig.Name, v1beta1.ConditionRouteContested, corev1.ConditionTrue, "RouteContested", "docs/gitops.md")
}

// gitStory is what happens to an app in Git, commit by commit.
type gitStory struct {
	*app
	tool     gitTool
	requests *caller
	want     [][]string
}

func (s *gitStory) tell(name string) {
	s.commit("the app", s.manifests("6.0.0"), "Deployment/podinfo", "HorizontalPodAutoscaler/podinfo", "Service/podinfo", "VirtualService/podinfo")
	s.await("the app", func(ctx context.Context) error {
		var d appsv1.Deployment
		if err := s.API.Get(ctx, s.key(rig.Name), &d); err != nil {
			return err
		}
		if d.Status.AvailableReplicas == 0 || d.Status.AvailableReplicas != replicas(&d) {
			return fmt.Errorf("%d of %d pods are available", d.Status.AvailableReplicas, replicas(&d))
		}
		return nil
	})
	users := s.specs()
	s.requests = s.call(100)
	s.requests.awaitWell(100)

	s.commit("the adoption", append(s.manifests("6.0.0"), s.canaryInGit()), "Canary/podinfo")
	s.awaitPhase(v1beta1.PhaseInitialized)
	s.awaitDrained()
	s.settled("the adoption")

	s.commit("a release", append(s.manifests("6.0.1"), s.canaryInGit()), "Deployment/podinfo")
	s.awaitPhase(v1beta1.PhaseSucceeded)
	s.awaitDrained()
	s.wantPrimary("6.0.1")
	s.settled("a release")

	s.commit("a bad release", append(s.manifests("6.0.2", neverReady), s.canaryInGit()), "Deployment/podinfo")
	s.awaitPhase(v1beta1.PhaseFailed)
	s.settled("a bad release")

	s.commit("the revert", append(s.manifests("6.0.1"), s.canaryInGit()), "Deployment/podinfo")
	s.awaitPhase(v1beta1.PhaseSucceeded)
	s.wantPrimary("6.0.1")
	s.settled("the revert")

	s.commit("the end of the Canary", s.manifests("6.0.1"), "Canary/podinfo deleted")
	s.await("the end of the Canary and of the primary's pods", func(ctx context.Context) error {
		return errors.Join(s.gone(ctx, &v1beta1.Canary{}, rig.Name), s.noPods(ctx, primaryName))
	})
	s.settled("the end of the Canary")
	if diff := cmp.Diff(users, s.specs()); diff != "" {
		s.t.Errorf("what was given back (-original +now)\n%s", diff)
	}
	if diff := cmp.Diff(s.want, s.tool.writes()); diff != "" {
		s.t.Errorf("%s wrote (-committed +written)\n%s", name, diff)
	}
}

// commit gives the tool other manifests, which it is to write the named objects for.
func (s *gitStory) commit(what string, objects []client.Object, writes ...string) {
	s.t.Helper()
	s.t.Log(what)
	var out bytes.Buffer
	for _, o := range objects {
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		s.must(err)
		delete(fields, "status")
		unstructured.RemoveNestedField(fields, "metadata", "creationTimestamp")
		unstructured.RemoveNestedField(fields, "spec", "template", "metadata", "creationTimestamp")
		raw, err := yaml.Marshal(fields)
		s.must(err)
		fmt.Fprintf(&out, "---\n%s", raw)
	}
	s.tool.commit(out.Bytes())
	s.want = append(s.want, slices.Sorted(slices.Values(writes)))
}

// settled makes sure that the tool has nothing to do, and that all was well.
func (s *gitStory) settled(what string) {
	s.t.Helper()
	s.await("the tool to have nothing to do", s.tool.inSync)
	before := s.requests.report()
	s.requests.awaitMore(100)
	if now := s.requests.report(); now.Failed > 0 {
		s.t.Errorf("%s: %d of %d requests failed: %s", what, now.Failed, now.Total, strings.Join(now.Errors, "; "))
	} else if now.Total == before.Total {
		s.t.Errorf("%s: there were no requests", what)
	}
}

// manifests are the user's objects but for the Canary.
func (s *gitStory) manifests(version string, edits ...func(*corev1.Container)) []client.Object {
	labels := map[string]string{"app": rig.Name}
	of := metav1.ObjectMeta{Namespace: s.Namespace, Name: rig.Name, Labels: labels}
	objects, err := rig.Manifest("podinfo.yaml")
	s.must(err)
	var d appsv1.Deployment
	var service corev1.Service
	for _, o := range objects {
		switch o.GetKind() {
		case "Deployment":
			s.must(runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &d))
		case "Service":
			s.must(runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &service))
		}
	}
	d.TypeMeta = metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}
	d.ObjectMeta, d.Spec.Replicas = of, nil
	c := &d.Spec.Template.Spec.Containers[0]
	c.Image = c.Image[:strings.LastIndex(c.Image, ":")+1] + version
	for _, edit := range edits {
		edit(c)
	}
	service.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}
	service.ObjectMeta = of
	vs := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"hosts": []any{rig.Name},
		"http": []any{map[string]any{
			"name": "mine", "timeout": "20s", "route": []any{map[string]any{"destination": map[string]any{"host": rig.Name}}},
		}},
	}}}
	vs.SetGroupVersionKind(virtualServices)
	vs.SetNamespace(s.Namespace)
	vs.SetName(rig.Name)
	return []client.Object{&d, &service, vs, &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta:   metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"},
		ObjectMeta: of,
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: rig.Name},
			MinReplicas:    new(int32(2)), MaxReplicas: 4,
		},
	}}
}

// neverReady is a mistake in a release.
func neverReady(c *corev1.Container) { c.ReadinessProbe.HTTPGet.Path = "/nowhere" }

func (s *gitStory) canaryInGit() client.Object {
	objects, err := rig.Manifest("canary.yaml")
	s.must(err)
	var c v1beta1.Canary
	s.must(runtime.DefaultUnstructuredConverter.FromUnstructured(objects[0].Object, &c))
	quick(&c)
	c.Namespace = s.Namespace
	c.Spec.Analysis.StepWeight = 25
	c.Spec.ProgressDeadlineSeconds = new(int32(10))
	c.Spec.RevertOnDeletion = true
	c.Spec.AutoscalerRef = &v1beta1.AutoscalerReference{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler", Name: rig.Name}
	return &c
}
