package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// TestWorkloads takes over an application of each kind, releases it, rolls a
// bad release back and deletes its Canary, while requests go on. None of them
// fails. StatefulSet is pain 22.
func TestWorkloads(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"DaemonSet", "StatefulSet"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := &workloadStory{app: newApp(t, strings.ToLower(kind)), kind: kind}
			s.bringUp()
			requests := s.call(200)
			before := requests.report()

			s.takeOver()
			before = s.noFailure(requests, "initialization", before)
			first := s.canary().Status.LastPromotedSpec

			s.setImage("6.0.1")
			s.awaitPhase(v1beta1.PhaseSucceeded)
			s.awaitDrained()
			s.wantImage(primaryName, "6.0.1")
			before = s.noFailure(requests, "the good release", before)

			s.breakProbe("6.0.2")
			s.awaitPhase(v1beta1.PhaseFailed)
			s.awaitDrained()
			s.wantImage(primaryName, "6.0.1")
			before = s.noFailure(requests, "the bad release", before)

			s.goBack(first)
			s.wantImage(primaryName, "6.0.0")
			before = s.noFailure(requests, "the rollback of the primary", before)

			s.deleteCanary()
			s.noFailure(requests, "the deletion", before)
			s.wantOwnClaims()
		})
	}
}

// workloadStory is an app of which the workload is no Deployment.
type workloadStory struct {
	*app
	kind string
}

func (s *workloadStory) bringUp() {
	s.t.Helper()
	s.must(s.Create(s.t.Context(), "podinfo.yaml", func(u *unstructured.Unstructured) {
		if u.GetKind() != "Deployment" {
			return
		}
		u.SetKind(s.kind)
		spec := u.Object["spec"].(map[string]any)
		switch s.kind {
		case "DaemonSet":
			delete(spec, "replicas")
		case "StatefulSet":
			spec["serviceName"] = rig.Name
			spec["volumeClaimTemplates"] = []any{map[string]any{
				"metadata": map[string]any{"name": "data"},
				"spec": map[string]any{
					"accessModes": []any{"ReadWriteOnce"},
					"resources":   map[string]any{"requests": map[string]any{"storage": "1Gi"}},
				},
			}}
		}
	}))
	s.await("two pods", s.pods(rig.Name, 2))
}

func (s *workloadStory) takeOver() {
	s.t.Helper()
	s.apply(func(c *v1beta1.Canary) {
		quick(c)
		c.Spec.TargetRef.Kind = s.kind
		c.Spec.Analysis.Interval = "2s"
		c.Spec.Analysis.StepWeight = 25
		c.Spec.DrainDelaySeconds = new(int32(3))
		c.Spec.ProgressDeadlineSeconds = new(int32(20))
	})
	s.awaitPhase(v1beta1.PhaseInitialized)
	s.awaitDrained()
}

// goBack has the primary get the template of a revision that it had, as Kubernetes keeps it.
func (s *workloadStory) goBack(revision string) {
	s.t.Helper()
	s.must(s.API.Create(s.t.Context(), &v1alpha1.CanaryAction{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, GenerateName: rig.Name + "-"},
		Spec:       v1alpha1.CanaryActionSpec{Canary: rig.Name, Action: v1beta1.ActionRollback, ToRevision: revision, RequestedBy: "admin"},
	}))
	s.await("the primary as it was", func(ctx context.Context) error {
		c, err := s.Canary(ctx)
		if err != nil {
			return err
		}
		if st := c.Status; st.LastPromotedSpec != revision || st.Rollback != nil {
			return fmt.Errorf("the last action is %+v, the rollback %+v", st.LastAction, st.Rollback)
		}
		return nil
	})
}

func (s *workloadStory) deleteCanary() {
	s.t.Helper()
	s.setImage("6.0.1") // a target that can serve
	s.awaitPhase(v1beta1.PhaseSucceeded)
	s.must(s.API.Delete(s.t.Context(), s.canary()))
	s.await("the end of the Canary and of what was made for it", func(ctx context.Context) error {
		return errors.Join(
			s.gone(ctx, &v1beta1.Canary{}, rig.Name),
			s.gone(ctx, &istionetworking.VirtualService{}, rig.Name),
			s.gone(ctx, s.object(), primaryName),
			s.noPods(ctx, primaryName),
			s.pods(rig.Name, 2)(ctx),
		)
	})
}

func (s *workloadStory) noFailure(requests *caller, during string, before cluster.Report) cluster.Report {
	s.t.Helper()
	requests.awaitMore(200)
	requests.t = s.t
	requests.wantNoFailure(during, before)
	return requests.report()
}

func (s *workloadStory) object() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: s.kind})
	return u
}

// pods objects unless a workload has so many ready pods and no others.
func (s *workloadStory) pods(name string, want int) func(context.Context) error {
	return func(ctx context.Context) error {
		var list corev1.PodList
		if err := s.API.List(ctx, &list, client.InNamespace(s.Namespace), client.MatchingLabels{"app": name}); err != nil {
			return err
		}
		ready := 0
		for _, p := range list.Items {
			if slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
			}) {
				ready++
			}
		}
		if ready != want || len(list.Items) != want {
			return fmt.Errorf("%s has %d pods and %d are ready, want %d", name, len(list.Items), ready, want)
		}
		return nil
	}
}

// patch changes fields of the target's only container.
func (s *workloadStory) patch(fields string) {
	s.t.Helper()
	u := s.object()
	u.SetNamespace(s.Namespace)
	u.SetName(rig.Name)
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"podinfod",%s}]}}}}`, fields)
	var o client.Object = &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: rig.Name}}
	if s.kind == "StatefulSet" {
		o = &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: rig.Name}}
	}
	s.must(s.API.Patch(s.t.Context(), o, client.RawPatch(types.StrategicMergePatchType, []byte(patch))))
}

func (s *workloadStory) setImage(version string) {
	s.t.Helper()
	s.patch(fmt.Sprintf(`"image":"ghcr.io/stefanprodan/podinfo:%s","readinessProbe":{"httpGet":{"path":"/readyz"}}`, version))
}

// breakProbe releases a version whose pods never become ready.
func (s *workloadStory) breakProbe(version string) {
	s.t.Helper()
	s.patch(fmt.Sprintf(`"image":"ghcr.io/stefanprodan/podinfo:%s","readinessProbe":{"httpGet":{"path":"/not-there"}}`, version))
}

func (s *workloadStory) wantImage(name, version string) {
	s.t.Helper()
	u := s.object()
	s.must(s.API.Get(s.t.Context(), s.key(name), u))
	containers, _, err := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	s.must(err)
	if image := containers[0].(map[string]any)["image"]; image != "ghcr.io/stefanprodan/podinfo:"+version {
		s.t.Errorf("%s runs %v, want %s", name, image, version)
	}
}

// wantOwnClaims makes sure that the pods of the primary had claims of their own
// and those of the target kept theirs.
func (s *workloadStory) wantOwnClaims() {
	s.t.Helper()
	if s.kind != "StatefulSet" {
		return
	}
	var list corev1.PersistentVolumeClaimList
	s.must(s.API.List(s.t.Context(), &list, client.InNamespace(s.Namespace)))
	var names []string
	for _, claim := range list.Items {
		names = append(names, claim.Name)
	}
	slices.Sort(names)
	want := []string{"data-podinfo-0", "data-podinfo-1", "data-podinfo-primary-0", "data-podinfo-primary-1"}
	if !slices.Equal(names, want) {
		s.t.Errorf("claims %v, want %v", names, want)
	}
}

// TestServiceTarget releases what a Service leads to: from one Deployment to
// another, both of which somebody else runs.
func TestServiceTarget(t *testing.T) {
	t.Parallel()
	a := newApp(t, "service-target")
	for _, version := range []string{"6.0.0", "6.0.1"} {
		a.must(a.Create(t.Context(), "podinfo.yaml", func(u *unstructured.Unstructured) {
			name := "podinfo-" + strings.ReplaceAll(version, ".", "-")
			labels := map[string]any{"app": name}
			switch u.GetKind() {
			case "Deployment":
				u.SetName(name)
				spec := u.Object["spec"].(map[string]any)
				spec["selector"] = map[string]any{"matchLabels": labels}
				template := spec["template"].(map[string]any)
				template["metadata"] = map[string]any{"labels": labels}
				containers := template["spec"].(map[string]any)["containers"].([]any)
				containers[0].(map[string]any)["image"] = "ghcr.io/stefanprodan/podinfo:" + version
			case "Service":
				u.Object["spec"].(map[string]any)["selector"] = labels
				if version != "6.0.0" {
					u.SetName(name) // one of its own, of no matter
				}
			}
		}))
	}
	const first, second = "podinfo-6-0-0", "podinfo-6-0-1"
	a.await("the Deployments", func(ctx context.Context) error {
		return errors.Join(available(a, first, 2)(ctx), available(a, second, 2)(ctx))
	})
	requests := a.call(200)
	before := requests.report()
	a.apply(func(c *v1beta1.Canary) {
		quick(c)
		c.Spec.TargetRef.Kind, c.Spec.TargetRef.APIVersion = "Service", "v1"
		c.Spec.Analysis.Interval = "3s"
		c.Spec.Analysis.StepWeight = 25
	})
	a.awaitPhase(v1beta1.PhaseInitialized)
	h, err := a.Watch(t.Context())
	a.must(err)

	target := get[corev1.Service](a, rig.Name)
	edited := target.DeepCopy()
	edited.Spec.Selector = map[string]string{"app": second}
	a.must(a.API.Patch(t.Context(), edited, client.MergeFrom(target)))
	a.awaitEvent(rig.Name, "NewRevision", "app="+first+" -> app="+second)
	a.awaitPhase(v1beta1.PhaseSucceeded)
	wantWeights(t, h, 0, 25, 50, 0)
	if got := get[corev1.Service](a, primaryName).Spec.Selector["app"]; got != second {
		t.Errorf("the primary leads to %s", got)
	}
	requests.awaitMore(200)
	after := requests.report()
	requests.awaitMore(200)
	if seen := requests.report().Sub(after); seen.Share(second) != 1 {
		t.Errorf("after the release, %.1f%% were answered by %s", 100*seen.Share(second), second)
	}

	a.must(a.API.Delete(t.Context(), a.canary()))
	a.await("the end of what was made for the Canary", func(ctx context.Context) error {
		return errors.Join(a.gone(ctx, &v1beta1.Canary{}, rig.Name), a.gone(ctx, &corev1.Service{}, primaryName), a.gone(ctx, &corev1.Service{}, canaryName))
	})
	requests.awaitMore(200)
	requests.wantNoFailure("from the adoption to the deletion", before)
}
