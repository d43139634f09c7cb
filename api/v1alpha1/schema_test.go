package v1alpha1_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

const (
	root = "../.."
	crds = root + "/charts/sluice/crds"
	crd  = crds + "/sluice.dev_canaryactions.yaml"
)

// TestSchema asks a real API server, with the CRD as it is shipped.
func TestSchema(t *testing.T) {
	c := startServer(t)
	t.Run("create", func(t *testing.T) { testCreate(t, c) })
	t.Run("never changed", func(t *testing.T) { testNeverChanged(t, c) })
	t.Run("status", func(t *testing.T) { testStatus(t, c) })
	t.Run("release policies", func(t *testing.T) { testPolicies(t, c) })
}

func newAction(change func(*v1alpha1.CanaryAction)) *v1alpha1.CanaryAction {
	a := &v1alpha1.CanaryAction{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "podinfo-"},
		Spec:       v1alpha1.CanaryActionSpec{Canary: "podinfo", Action: v1beta1.ActionPause},
	}
	change(a)
	return a
}

func testCreate(t *testing.T, c client.Client) {
	for name, tc := range map[string]struct {
		change  func(*v1alpha1.CanaryAction)
		wantErr string
	}{
		"minimal":  {change: func(*v1alpha1.CanaryAction) {}},
		"resume":   {change: func(a *v1alpha1.CanaryAction) { a.Spec.Action = v1beta1.ActionResume }},
		"promote":  {change: func(a *v1alpha1.CanaryAction) { a.Spec.Action = v1beta1.ActionPromote }},
		"abort":    {change: func(a *v1alpha1.CanaryAction) { a.Spec.Action = v1beta1.ActionAbort }},
		"retry":    {change: func(a *v1alpha1.CanaryAction) { a.Spec.Action = v1beta1.ActionRetry }},
		"rollback": {change: func(a *v1alpha1.CanaryAction) { a.Spec.Action, a.Spec.ToRevision = v1beta1.ActionRollback, "s2-1234" }},
		"rollback to nothing": {func(a *v1alpha1.CanaryAction) { a.Spec.Action = v1beta1.ActionRollback },
			"spec.toRevision is needed for Rollback, and for no other action"},
		"pause to something": {func(a *v1alpha1.CanaryAction) { a.Spec.ToRevision = "s2-1234" }, "spec.toRevision is needed for Rollback"},
		"complete": {change: func(a *v1alpha1.CanaryAction) {
			a.Spec.Reason, a.Spec.Revision = strings.Repeat("é", 300), "s2-1234"
			a.Spec.RequestedBy = "system:serviceaccount:argocd:argocd-application-controller"
		}},
		"no canary":      {func(a *v1alpha1.CanaryAction) { a.Spec.Canary = "" }, "spec.canary: Invalid value"},
		"no action":      {func(a *v1alpha1.CanaryAction) { a.Spec.Action = "" }, `spec.action: Unsupported value: ""`},
		"unknown action": {func(a *v1alpha1.CanaryAction) { a.Spec.Action = "Stop" }, `supported values: "Pause", "Resume", "Promote", "Abort", "Retry"`},
		"long reason":    {func(a *v1alpha1.CanaryAction) { a.Spec.Reason = strings.Repeat("x", 301) }, "spec.reason: Too long"},
		"long revision":  {func(a *v1alpha1.CanaryAction) { a.Spec.Revision = strings.Repeat("x", 101) }, "spec.revision: Too long"},
		"long goal": {func(a *v1alpha1.CanaryAction) {
			a.Spec.Action, a.Spec.ToRevision = v1beta1.ActionRollback, strings.Repeat("x", 101)
		}, "spec.toRevision: Too long"},
		"long name": {func(a *v1alpha1.CanaryAction) { a.Spec.RequestedBy = strings.Repeat("x", 513) }, "spec.requestedBy: Too long"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAction(tc.change)
			want := a.Spec
			err := c.Create(timeout(t), a, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
			if tc.wantErr == "" && err != nil || tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)) {
				t.Fatalf("got error %v, want %q", err, tc.wantErr)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(want, a.Spec); diff != "" {
				t.Errorf("spec: -want +got\n%s", diff)
			}
			if a.Status.Phase != v1alpha1.ActionPending || a.Finished() {
				t.Errorf("status: %+v", a.Status)
			}
		})
	}
}

func testNeverChanged(t *testing.T, c client.Client) {
	for name, change := range map[string]func(*v1alpha1.CanaryActionSpec){
		"canary":      func(s *v1alpha1.CanaryActionSpec) { s.Canary = "another" },
		"action":      func(s *v1alpha1.CanaryActionSpec) { s.Action = v1beta1.ActionAbort },
		"reason":      func(s *v1alpha1.CanaryActionSpec) { s.Reason = "another" },
		"revision":    func(s *v1alpha1.CanaryActionSpec) { s.Revision = "another" },
		"requestedBy": func(s *v1alpha1.CanaryActionSpec) { s.RequestedBy = "mallory" },
		"no name":     func(s *v1alpha1.CanaryActionSpec) { s.RequestedBy = "" },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAction(func(a *v1alpha1.CanaryAction) { a.Spec.RequestedBy = "alice" })
			if err := c.Create(timeout(t), a); err != nil {
				t.Fatal(err)
			}
			change(&a.Spec)
			if err := c.Update(timeout(t), a); err == nil || !strings.Contains(err.Error(), "an action can't be changed; create another one") {
				t.Errorf("got error %v", err)
			}
		})
	}
}

func testStatus(t *testing.T, c client.Client) {
	now := metav1.NowMicro()
	a := newAction(func(a *v1alpha1.CanaryAction) { a.Status.Phase = v1alpha1.ActionDone })
	if err := c.Create(timeout(t), a); err != nil {
		t.Fatal(err)
	}
	if a.Status.Phase != v1alpha1.ActionPending {
		t.Errorf("who creates an action can say that it is %s", a.Status.Phase)
	}
	want := v1alpha1.CanaryActionStatus{Phase: v1alpha1.ActionRefused, Message: "it is not paused", Time: &now, Revision: "s2-1234"}
	before := a.DeepCopy()
	a.Status = want
	if err := c.Status().Patch(timeout(t), a, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	if !a.Status.Time.Time.Equal(now.Time.Truncate(time.Microsecond)) {
		t.Errorf("time %s, want %s", a.Status.Time, now)
	}
	a.Status.Time = want.Time
	if diff := cmp.Diff(want, a.Status); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if !a.Finished() {
		t.Error("it is not finished")
	}
}

func TestColumns(t *testing.T) {
	content, err := os.ReadFile(crd)
	if err != nil {
		t.Fatal(err)
	}
	var d apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(content, &d); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, column := range d.Spec.Versions[0].AdditionalPrinterColumns {
		if column.Priority == 0 {
			got = append(got, column.Name)
		}
	}
	if diff := cmp.Diff([]string{"Canary", "Action", "By", "State", "Age"}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{"ca"}, d.Spec.Names.ShortNames); diff != "" {
		t.Errorf("short names: -want +got\n%s", diff)
	}
}

func startServer(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	binaries := os.Getenv("KUBEBUILDER_ASSETS")
	if binaries == "" {
		binaries = filepath.Join(root, "bin")
	}
	env := &envtest.Environment{
		BinaryAssetsDirectory: binaries,
		CRDInstallOptions:     envtest.CRDInstallOptions{Paths: []string{crds}, ErrorIfPathMissing: true},
	}
	config, err := env.Start()
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	if err != nil {
		t.Fatalf("start the API server (make servers builds it): %v", err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func timeout(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
