package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// actionStage is a namespace with the application, and people with different
// rights.
type actionStage struct {
	*stage

	cluster *cluster.Cluster
	alice   client.Client // may act on releases
	bob     client.Client // may not
	stop    func()        // ends the operator
}

const aliceName = "system:serviceaccount:actions:alice"

// testActions takes a hand in releases as people do, with no more than the API
// server, under the chart's roles and policies (pain 16).
func testActions(t *testing.T, c *cluster.Cluster, api client.Client) {
	s := &actionStage{stage: &stage{t: t, api: api, namespace: "actions"}, cluster: c}
	s.installPolicies()
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}})
	s.alice, s.bob = s.account("alice"), s.account("bob")
	s.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "alice"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "sluice-actions"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.namespace, Name: "alice"}},
	})
	s.testWho()

	s.create((&trial{namespace: s.namespace}).deployment(oldImage))
	canary := s.canary(v1beta1.CoverageReport)
	canary.Spec.Analysis = &v1beta1.CanaryAnalysis{Interval: "4s", Threshold: 2, StepWeights: []int32{20, 60}}
	s.create(canary)
	s.operate()
	t.Cleanup(func() { s.stop() })
	s.awaitPhase(v1beta1.PhaseInitialized)

	s.testPauseAndResume()
	s.testPromote()
	s.testAbortAndRetry()
	s.testRetryByAnnotation()
	s.testColumns()
	s.testGoesWithTheCanary()
}

// installPolicies applies what the chart has about actions.
func (s *actionStage) installPolicies() {
	s.t.Helper()
	installPart(s.t, s.cluster, "templates/actions.yaml", "--api-versions", "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy")
}

// installPart applies one file of the chart until the end of the test.
func installPart(t *testing.T, c *cluster.Cluster, part string, arguments ...string) {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	helm, err := cluster.Binary("helm")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), helm, append([]string{"template", "sluice", filepath.Join(root, "charts", "sluice"), "--show-only", part}, arguments...)...).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file := filepath.Join(t.TempDir(), filepath.Base(part))
	if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kubectl(t.Context(), "apply", "-f", file); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := c.Kubectl(context.WithoutCancel(t.Context()), "delete", "-f", file); err != nil {
			t.Error(err)
		}
	})
}

// account makes a ServiceAccount and a client with its rights.
func (s *actionStage) account(name string) client.Client {
	s.t.Helper()
	s.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}})
	config, err := s.cluster.ConfigFor(s.t.Context(), s.namespace, name)
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: s.api.Scheme()})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// freeAddress is one at which nothing listens.
func (s *actionStage) freeAddress() string {
	s.t.Helper()
	free, err := (&net.ListenConfig{}).Listen(s.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	defer free.Close()
	return free.Addr().String()
}

// operateUntil starts an operator, which ends when stop is called.
func operateUntil(t *testing.T, c *cluster.Cluster, args ...string) (stop func()) {
	t.Helper()
	o, err := parseFlags(append([]string{"-port", "0"}, args...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- start(ctx, c.Config(), o, wiring{registry: prometheus.NewRegistry(), oneOfMany: true})
	}()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("operator: %v", err)
		}
	}
}

// operate starts an operator, after another has ended.
func (s *actionStage) operate() {
	s.t.Helper()
	stop := operateUntil(s.t, s.cluster, "-namespace", s.namespace, "-allowed-addresses", loopback)
	s.stop = func() {
		stop()
		s.stop = func() {}
	}
}

func (s *actionStage) action(a v1beta1.ActionType, requestedBy string) *v1alpha1.CanaryAction {
	return &v1alpha1.CanaryAction{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, GenerateName: app + "-"},
		Spec:       v1alpha1.CanaryActionSpec{Canary: app, Action: a, Reason: "because of " + string(a), RequestedBy: requestedBy},
	}
}

// request has alice create an action, and waits until it has come to this phase.
func (s *actionStage) request(action v1beta1.ActionType, phase v1alpha1.CanaryActionPhase, message string) {
	s.t.Helper()
	a := s.action(action, "")
	if err := s.alice.Create(s.t.Context(), a); err != nil {
		s.t.Fatal(err)
	}
	s.awaitAction(a, phase, message)
}

func (s *actionStage) awaitAction(a *v1alpha1.CanaryAction, phase v1alpha1.CanaryActionPhase, message string) {
	s.t.Helper()
	s.await("the end of "+string(a.Spec.Action), func(ctx context.Context) error {
		err := s.alice.Get(ctx, client.ObjectKeyFromObject(a), a)
		if err == nil && (a.Status.Phase != phase || a.Status.Message != message) {
			err = fmt.Errorf("its status is %+v", a.Status)
		}
		return err
	})
}

func (s *actionStage) release(image string) {
	s.t.Helper()
	if err := s.api.Patch(s.t.Context(), (&trial{namespace: s.namespace}).deployment(image), client.RawPatch("application/json-patch+json",
		[]byte(`[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "`+image+`"}]`))); err != nil {
		s.t.Fatal(err)
	}
}

func (s *actionStage) awaitWeight(weight int32) {
	s.t.Helper()
	s.await(fmt.Sprintf("weight %d", weight), func(ctx context.Context) error {
		if st := s.status(ctx); st.CanaryWeight != weight {
			return fmt.Errorf("it is %s with weight %d", st.Phase, st.CanaryWeight)
		}
		return nil
	})
}

func (s *actionStage) status(ctx context.Context) v1beta1.CanaryStatus {
	s.t.Helper()
	c := &v1beta1.Canary{}
	if err := s.api.Get(ctx, s.key(app), c); err != nil {
		s.t.Fatal(err)
	}
	return c.Status
}

func (s *actionStage) wantPrimary(image string) {
	s.t.Helper()
	d := &appsv1.Deployment{}
	if err := s.api.Get(s.t.Context(), s.key(app+"-primary"), d); err != nil {
		s.t.Fatal(err)
	}
	if got := d.Spec.Template.Spec.Containers[0].Image; got != image {
		s.t.Errorf("the primary has %s, want %s", got, image)
	}
}

func (s *actionStage) testWho() {
	ctx := s.t.Context()
	if err := s.bob.Create(ctx, s.action(v1beta1.ActionPause, "")); !apierrors.IsForbidden(err) {
		s.t.Errorf("without the right: got error %v", err)
	}
	elsewhere := s.action(v1beta1.ActionPause, "")
	elsewhere.Namespace = "default"
	if err := s.alice.Create(ctx, elsewhere); !apierrors.IsForbidden(err) {
		s.t.Errorf("in another namespace: got error %v", err)
	}
	// A policy takes a moment to be in force, so it is asked for by dry runs.
	s.await("the policy that fills in who asks", func(ctx context.Context) error {
		filled := s.action(v1beta1.ActionPause, "")
		if err := s.alice.Create(ctx, filled, client.DryRunAll); err != nil {
			return err
		}
		if filled.Spec.RequestedBy != aliceName {
			return fmt.Errorf("spec.requestedBy is %q", filled.Spec.RequestedBy)
		}
		return nil
	})
	s.await("the policy that refuses another's name", func(ctx context.Context) error {
		err := s.alice.Create(ctx, s.action(v1beta1.ActionPause, "mallory"), client.DryRunAll)
		if want := "spec.requestedBy must be who creates the action: " + aliceName; err == nil || !strings.Contains(err.Error(), want) {
			return fmt.Errorf("got error %w, want %q", err, want)
		}
		return nil
	})
	if err := s.alice.Create(ctx, s.action(v1beta1.ActionPause, aliceName), client.DryRunAll); err != nil {
		s.t.Errorf("her own name is refused: %v", err)
	}
	// The status is the operator's to write.
	a := s.action(v1beta1.ActionPause, "")
	a.Name = "x"
	if err := s.alice.Status().Update(ctx, a); !apierrors.IsForbidden(err) {
		s.t.Errorf("status: got error %v", err)
	}
}

func (s *actionStage) testPauseAndResume() {
	s.t.Helper()
	s.release(newImage)
	s.awaitWeight(20)
	s.request(v1beta1.ActionPause, v1alpha1.ActionDone, "Paused by "+aliceName+" (because of Pause)")
	s.awaitEvent("Paused", []string{"by " + aliceName + " (because of Pause)"}, nil)

	s.await("the condition", func(ctx context.Context) error {
		st := s.status(ctx)
		ready := st.GetCondition(v1beta1.ConditionReady)
		if ready == nil {
			return errors.New("it is absent")
		}
		return namesAll(ready.Message, []string{"Paused by " + aliceName + ": nothing moves until it is resumed"}, nil)
	})

	// Another operator knows of it. It answers, so it has looked.
	s.stop()
	s.operate()
	s.request(v1beta1.ActionPause, v1alpha1.ActionRefused, "it is paused already")
	s.awaitEvent("ActionRefused", []string{aliceName, "it is paused already"}, nil)
	if st := s.status(s.t.Context()); !st.Paused || st.CanaryWeight != 20 {
		s.t.Errorf("status: %+v", st)
	}

	s.request(v1beta1.ActionResume, v1alpha1.ActionDone, "Resumed by "+aliceName+" (because of Resume)")
	s.awaitEvent("Resumed", []string{aliceName, "because of Resume"}, nil)
	s.awaitPhase(v1beta1.PhaseSucceeded)
	s.wantPrimary(newImage)
}

func (s *actionStage) testPromote() {
	s.t.Helper()
	s.release(oldImage)
	s.awaitWeight(20)
	wrong := s.action(v1beta1.ActionPromote, "")
	wrong.Spec.Revision = "another"
	if err := s.alice.Create(s.t.Context(), wrong); err != nil {
		s.t.Fatal(err)
	}
	s.awaitAction(wrong, v1alpha1.ActionRefused, "it is for revision another, and the present one is "+s.status(s.t.Context()).LastAppliedSpec)
	s.request(v1beta1.ActionPromote, v1alpha1.ActionDone, "Promoted early by "+aliceName+" (because of Promote)")
	s.awaitEvent("Promoting", []string{"Promoted early by " + aliceName + " (because of Promote)"}, nil)
	s.awaitPhase(v1beta1.PhaseSucceeded)
	s.wantPrimary(oldImage)
}

func (s *actionStage) testAbortAndRetry() {
	s.t.Helper()
	s.release(newImage)
	s.awaitWeight(20)
	s.request(v1beta1.ActionAbort, v1alpha1.ActionDone, "Aborted by "+aliceName+" (because of Abort)")
	s.awaitEvent("Aborted", []string{"aborted by " + aliceName + " (because of Abort)"}, nil)
	s.awaitPhase(v1beta1.PhaseFailed)
	s.wantPrimary(oldImage)

	// What is asked for while no operator runs is done by the next, in order.
	s.stop()
	retry, pause := s.action(v1beta1.ActionRetry, ""), s.action(v1beta1.ActionPause, "")
	retry.GenerateName, pause.GenerateName = "a-", "b-" // both may be of the same second
	for _, a := range []*v1alpha1.CanaryAction{retry, pause} {
		if err := s.alice.Create(s.t.Context(), a); err != nil {
			s.t.Fatal(err)
		}
		if a.Status.Phase != v1alpha1.ActionPending {
			s.t.Errorf("a new action is %q", a.Status.Phase)
		}
	}
	s.operate()
	s.awaitAction(retry, v1alpha1.ActionDone, "Tried again by "+aliceName+" (because of Retry)")
	s.awaitAction(pause, v1alpha1.ActionDone, "Paused by "+aliceName+" (because of Pause)")
	s.awaitEvent("Retried", []string{aliceName, "because of Retry"}, nil)
	s.awaitPhase(v1beta1.PhaseProgressing)
	s.request(v1beta1.ActionAbort, v1alpha1.ActionDone, "Aborted by "+aliceName+" (because of Abort)")
	s.awaitPhase(v1beta1.PhaseFailed)
}

func (s *actionStage) testRetryByAnnotation() {
	s.t.Helper()
	if err := s.api.Patch(s.t.Context(), s.canary(""), client.RawPatch("application/merge-patch+json",
		[]byte(`{"metadata": {"annotations": {"sluice.dev/retry": "1"}}}`))); err != nil {
		s.t.Fatal(err)
	}
	s.awaitPhase(v1beta1.PhaseSucceeded)
	s.awaitEvent("Retried", []string{"sluice.dev/retry"}, nil)
	s.wantPrimary(newImage)
}

func (s *actionStage) testColumns() {
	s.t.Helper()
	if err := s.alice.Get(s.t.Context(), s.key(app), &v1beta1.Canary{}); err != nil {
		s.t.Errorf("who may act on a release can't see it: %v", err)
	}
	out, err := s.cluster.Kubectl(s.t.Context(), "-n", s.namespace, "get", "ca")
	if err != nil {
		s.t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if got, want := strings.Join(strings.Fields(lines[0]), " "), "NAME CANARY ACTION BY STATE AGE"; got != want {
		s.t.Errorf("columns %s, want %s", got, want)
	}
	s.t.Logf("kubectl get ca:\n%s", out)
}

// testGoesWithTheCanary deletes the Canary, with what was asked of it.
func (s *actionStage) testGoesWithTheCanary() {
	s.t.Helper()
	if err := s.api.Delete(s.t.Context(), s.canary("")); err != nil {
		s.t.Fatal(err)
	}
	s.await("the end of the actions", func(ctx context.Context) error {
		var list v1alpha1.CanaryActionList
		if err := s.api.List(ctx, &list, client.InNamespace(s.namespace)); err != nil {
			return err
		}
		if len(list.Items) > 0 {
			return errors.New("there are some left")
		}
		return nil
	})
}
