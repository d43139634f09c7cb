package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
)

func testGitOps(t *testing.T, c *cluster.Cluster, api client.WithWatch) {
	t.Run("self-heal of replicas, pain 10", func(t *testing.T) {
		testSelfHeal(t, api, operate(t, c, "-namespace", "self-heal"))
	})
	t.Run("prune, pain 11", func(t *testing.T) {
		operate(t, c, "-namespace", "prune", "-coverage", "copy", "-include-label-prefix", "*")
		testPrune(t, api)
	})
}

// git applies the target as it is in Git, with replicas, by force.
func (s *stage) git(image string) error {
	d := (&trial{namespace: s.namespace}).deployment(image)
	d.Spec.Replicas = new(int32(2))
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(d)
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{Object: fields}
	u.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("Deployment"))
	delete(u.Object, "status")
	return s.api.Apply(s.t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("argocd-controller"), client.ForceOwnership)
}

// scales counts how often the operator wrote the target.
func scales(writes *fuse) (n int) {
	writes.mu.Lock()
	defer writes.mu.Unlock()
	for _, w := range writes.writes {
		if w == "apply Deployment "+app {
			n++
		}
	}
	return n
}

// testSelfHeal has replicas in Git, and a tool that puts them back the moment
// that they differ.
func testSelfHeal(t *testing.T, api client.WithWatch, writes *fuse) {
	s := &stage{t: t, api: api, namespace: "self-heal"}
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}})
	image := oldImage
	if err := s.git(image); err != nil {
		t.Fatal(err)
	}
	seen, err := api.Watch(t.Context(), &appsv1.DeploymentList{}, client.InNamespace(s.namespace))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(seen.Stop)
	s.create(s.canary(v1beta1.CoverageReport))

	// fight heals the target until nothing was to be healed for a while.
	healed, last := 0, int64(0)
	fight := func(quiet time.Duration) {
		t.Helper()
		remaining := time.NewTimer(quiet)
		defer remaining.Stop()
		for before := healed; healed < before+20; {
			select {
			case e := <-seen.ResultChan():
				d, ok := e.Object.(*appsv1.Deployment)
				if !ok || d.Name != app || *d.Spec.Replicas != 0 || d.Generation == last {
					continue // the last is one more status of what is healed already
				}
				last = d.Generation
				healed++
				if err := s.git(image); err != nil {
					t.Fatal(err)
				}
				remaining.Reset(quiet)
			case <-remaining.C:
				return
			}
		}
		t.Fatalf("the fight goes on:\n%s", strings.Join(writes.writes, "\n"))
	}
	// Several drain delays of a second, after each of which it could begin again.
	const quiet = 5 * time.Second
	s.awaitPhase(v1beta1.PhaseInitialized)
	fight(quiet)
	if got := scales(writes); healed != 1 || got != 1 {
		t.Errorf("the target was healed %d times and scaled %d times", healed, got)
	}
	s.awaitScaledUp()
	settled := writes.count()

	image = newImage
	if err := s.git(image); err != nil {
		t.Fatal(err)
	}
	s.awaitPhase(v1beta1.PhaseSucceeded)
	fight(quiet)
	if got := scales(writes); healed != 2 || got != 2 {
		t.Errorf("after a release it was healed %d times and scaled %d times", healed, got)
	}
	s.awaitScaledUp()
	if n := writes.count() - settled; n > 30 {
		t.Errorf("the release took %d writes:\n%s", n, strings.Join(writes.writes[settled:], "\n"))
	}
	for range 10 {
		// Every change of the target is a turn.
		if err := s.api.Patch(t.Context(), (&trial{namespace: s.namespace}).deployment(""), client.RawPatch("application/merge-patch+json",
			fmt.Appendf(nil, `{"metadata": {"annotations": {"synced": "%d"}}}`, time.Now().UnixNano()))); err != nil {
			t.Fatal(err)
		}
	}
	before := writes.count()
	fight(2 * time.Second)
	if n := writes.count() - before; n > 0 {
		t.Errorf("at rest it writes:\n%s", strings.Join(writes.writes[before:], "\n"))
	}
	s.awaitEvent("TargetScaledUp", []string{"spec.replicas is in Git"}, nil)
}

func (s *stage) awaitScaledUp() {
	s.t.Helper()
	s.await("the condition TargetScaledUp", func(ctx context.Context) error {
		c := &v1beta1.Canary{}
		if err := s.api.Get(ctx, s.key(app), c); err != nil {
			return err
		}
		ready := c.Status.GetCondition(v1beta1.ConditionReady)
		if c.Status.GetCondition(v1beta1.ConditionTargetScaledUp) == nil || ready.Status != corev1.ConditionTrue {
			return fmt.Errorf("the conditions are %+v", c.Status.Conditions)
		}
		return nil
	})
}

// trackers are the labels and annotations by which tools find what is theirs.
var trackers = map[string]string{
	"argocd.argoproj.io/tracking-id":        "shop:apps/Deployment:prune/podinfo",
	"argocd.argoproj.io/instance":           "shop",
	"app.kubernetes.io/instance":            "shop",
	"kustomize.toolkit.fluxcd.io/name":      "shop",
	"kustomize.toolkit.fluxcd.io/namespace": "flux-system",
	"helm.toolkit.fluxcd.io/name":           "shop",
	"meta.helm.sh/release-name":             "shop",
}

// testPrune deletes whatever looks as if it came from Git and is not there,
// as Argo CD and Flux do. It must find nothing of the operator's.
func testPrune(t *testing.T, api client.WithWatch) {
	s := &stage{t: t, api: api, namespace: "prune"}
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}})
	target, canary := (&trial{namespace: s.namespace}).deployment(oldImage), s.canary(v1beta1.CoverageCopy)
	canary.Spec.Service.TrafficPolicy = &v1beta1.RawObject{Raw: []byte(`{"loadBalancer":{"simple":"LEAST_REQUEST"}}`)}
	for _, o := range []client.Object{target, s.object(selectors[0].manifest), s.object(selectors[3].manifest), canary} {
		labels, annotations := map[string]string{"team": "shop"}, map[string]string{"team": "shop"}
		for k, v := range trackers {
			annotations[k] = v
			if !strings.Contains(v, ":") {
				labels[k] = v
			}
		}
		o.SetLabels(labels)
		o.SetAnnotations(annotations)
		s.create(o)
	}
	inGit := []string{"Deployment podinfo", "PodDisruptionBudget web", "PeerAuthentication web", "Canary podinfo"}
	s.awaitPhase(v1beta1.PhaseInitialized)
	generated := []string{
		"Deployment podinfo-primary", "DestinationRule podinfo-svc-canary", "DestinationRule podinfo-svc-primary",
		"PeerAuthentication web-primary", "PodDisruptionBudget web-primary",
		"Service podinfo-svc", "Service podinfo-svc-canary", "Service podinfo-svc-primary", "VirtualService podinfo-svc",
	}
	if diff := cmp.Diff(generated, s.prune(inGit)); diff != "" {
		t.Errorf("what there is beside Git (-want +got)\n%s", diff)
	}
	primary := &appsv1.Deployment{}
	if err := api.Get(t.Context(), s.key(app+"-primary"), primary); err != nil {
		t.Fatal(err)
	}
	if primary.Labels["team"] != "shop" || primary.Annotations["team"] != "shop" {
		t.Errorf("labels and annotations of no tool are not carried over: %v %v", primary.Labels, primary.Annotations)
	}
	if got := s.prune(inGit); !slices.Equal(got, generated) {
		t.Errorf("after the pruning there is %v", got)
	}
	// It is still at rest, and serves.
	s.await("the primary", func(ctx context.Context) error {
		if err := api.Get(ctx, s.key(app+"-primary"), primary); err != nil {
			return err
		}
		if primary.Status.AvailableReplicas == 0 {
			return errors.New("it has no pods")
		}
		return nil
	})
}

// prune deletes every object of the namespace with another tool's mark that is
// not in Git, and returns those that it left.
func (s *stage) prune(inGit []string) (left []string) {
	s.t.Helper()
	ctx := s.t.Context()
	istioSecurity := &unstructured.UnstructuredList{}
	istioSecurity.SetAPIVersion("security.istio.io/v1")
	istioSecurity.SetKind("PeerAuthenticationList")
	for _, list := range []client.ObjectList{
		&appsv1.DeploymentList{}, &corev1.ServiceList{}, &policyv1.PodDisruptionBudgetList{}, istioSecurity,
		&istionetworking.VirtualServiceList{}, &istionetworking.DestinationRuleList{},
	} {
		if err := s.api.List(ctx, list, client.InNamespace(s.namespace)); err != nil {
			s.t.Fatal(err)
		}
		for _, o := range objectsOf(s.t, list) {
			gvk, err := s.api.GroupVersionKindFor(o)
			if err != nil {
				s.t.Fatal(err)
			}
			name := gvk.Kind + " " + o.GetName()
			if slices.Contains(inGit, name) {
				continue
			}
			for tracker := range trackers {
				if o.GetLabels()[tracker] != "" || o.GetAnnotations()[tracker] != "" {
					s.t.Errorf("%s carries %s and is pruned", name, tracker)
					if err := s.api.Delete(ctx, o); client.IgnoreNotFound(err) != nil {
						s.t.Fatal(err)
					}
				}
			}
			left = append(left, name)
		}
	}
	slices.Sort(left)
	return left
}

func objectsOf(t *testing.T, list client.ObjectList) []client.Object {
	t.Helper()
	items, err := meta.ExtractList(list)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]client.Object, len(items))
	for i, item := range items {
		o, ok := item.(client.Object)
		if !ok {
			t.Fatalf("%T", item)
		}
		out[i] = o
	}
	return out
}
