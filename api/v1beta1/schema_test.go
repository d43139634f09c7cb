package v1beta1_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// TestSchema asks a real API server, with the CRDs as they are shipped.
func TestSchema(t *testing.T) {
	c := startServer(t)
	t.Run("accepted", func(t *testing.T) { testAccepted(t, c) })
	t.Run("rejected", func(t *testing.T) { testRejected(t, c) })
	t.Run("round trip", func(t *testing.T) { testRoundTrip(t, c) })
	t.Run("status", func(t *testing.T) { testStatus(t, c) })
	t.Run("columns", func(t *testing.T) { testColumns(t) })
}

// Every manifest is accepted and nothing in it is dropped or changed, neither by the server nor by our Go types.
func testAccepted(t *testing.T, c client.Client) {
	for _, file := range slices.Concat(glob(t, "testdata/accepted/*.yaml"), glob(t, "testdata/corpus/*.yaml"), glob(t, "testdata/references/*.yaml")) {
		for _, doc := range documents(t, file) {
			want := toMap(t, doc)
			u := &unstructured.Unstructured{Object: toMap(t, doc)}
			t.Run(fmt.Sprintf("%s/%s", filepath.Base(file), u.GetName()), func(t *testing.T) {
				if err := dryRun(t, c, u); err != nil {
					t.Fatalf("refused: %v", err)
				}
				if d := lost(want["spec"], u.Object["spec"]); d != "" {
					t.Errorf("the server changed the spec: %s", d)
				}
				typed := newObject(t, u.GetKind())
				if err := yaml.UnmarshalStrict(doc, typed); err != nil {
					t.Fatalf("does not fit the Go type: %v", err)
				}
				again, err := json.Marshal(typed)
				if err != nil {
					t.Fatal(err)
				}
				if d := lost(dropZero(want["spec"]), toMap(t, again)["spec"]); d != "" {
					t.Errorf("the Go type changed the spec: %s", d)
				}
				if canary, ok := typed.(*v1beta1.Canary); ok && canary.GetAnalysis().Interval != "" {
					if _, err := canary.GetAnalysis().GetInterval(); err != nil {
						t.Errorf("an interval that was accepted is not understood: %v", err)
					}
				}
			})
		}
	}
}

// Every manifest is refused with the message that its first line asks for.
func testRejected(t *testing.T, c client.Client) {
	for _, file := range glob(t, "testdata/rejected/*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			doc, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(doc), "\n")
			want, ok := strings.CutPrefix(first, "# want: ")
			if !ok || want == "" {
				t.Fatalf("first line is %q, want %q and a message", first, "# want: ")
			}
			err = dryRun(t, c, &unstructured.Unstructured{Object: toMap(t, doc)})
			if err == nil {
				t.Fatalf("accepted, want %q", want)
			}
			if !strings.Contains(err.Error(), want) {
				t.Errorf("refused with\n%v\nwant %q", err, want)
			}
		})
	}
}

// Istio's parts reach a typed reader as they were written, fields that no Go type of ours knows included.
func testRoundTrip(t *testing.T, c client.Client) {
	ctx := t.Context()
	canary := load(t, "testdata/accepted/istio-canary.yaml")
	canary.Name = "round-trip"
	if err := c.Create(ctx, canary, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
		t.Fatal(err)
	}
	var got v1beta1.Canary
	if err := c.Get(ctx, client.ObjectKeyFromObject(canary), &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(toAny(t, load(t, "testdata/accepted/istio-canary.yaml").Spec), toAny(t, got.Spec)); d != "" {
		t.Errorf("spec changed (-want +got):\n%s", d)
	}
	var match struct {
		AFieldOfTomorrow struct{ Nested []any }
	}
	if err := got.Spec.Service.Match[0].Decode(&match); err != nil {
		t.Fatal(err)
	}
	want := []any{float64(1), "two", map[string]any{"three": 3.5}}
	if d := cmp.Diff(want, match.AFieldOfTomorrow.Nested); d != "" {
		t.Errorf("unknown field changed (-want +got):\n%s", d)
	}
}

// Health checks read canaryWeight and conditions unguarded: both are there however little the status says.
func testStatus(t *testing.T, c client.Client) {
	ctx := t.Context()
	canary := load(t, "testdata/accepted/minimal.yaml")
	canary.Name = "status"
	if err := c.Create(ctx, canary); err != nil {
		t.Fatal(err)
	}
	now := metav1.NowMicro()
	canary.Status.Phase = v1beta1.PhaseProgressing
	canary.Status.Step = &v1beta1.StepStatus{Index: 1, Since: now, Checks: 2}
	canary.Status.Checks = []v1beta1.CheckStatus{{
		Name: "request-success-rate", Query: "up", Value: "99.9", Range: ">= 99", Verdict: v1beta1.CheckPassed, Time: now,
	}}
	canary.Status.SetCondition(v1beta1.CanaryCondition{
		Type: v1beta1.ConditionPromoted, Status: corev1.ConditionUnknown, Reason: "Progressing", ObservedGeneration: 1,
	}, now.Time)
	wantStatus := toAny(t, canary.Status)
	if err := c.Status().Update(ctx, canary); err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1beta1.GroupVersion.WithKind(v1beta1.CanaryKind))
	if err := c.Get(ctx, client.ObjectKeyFromObject(canary), u); err != nil {
		t.Fatal(err)
	}
	if d := lost(wantStatus, u.Object["status"]); d != "" {
		t.Errorf("status changed: %s", d)
	}
	if got, ok, _ := unstructured.NestedInt64(u.Object, "status", "canaryWeight"); !ok || got != 0 {
		t.Errorf("status.canaryWeight = %v, present %v, want 0", got, ok)
	}
	if _, ok, _ := unstructured.NestedSlice(u.Object, "status", "conditions"); !ok {
		t.Error("status.conditions is absent")
	}
}

func testColumns(t *testing.T) {
	for _, file := range glob(t, filepath.Join(crdDir(t), "*.yaml")) {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(documents(t, file)[0], &crd); err != nil {
			t.Fatal(err)
		}
		if crd.Spec.Names.Kind != v1beta1.CanaryKind {
			continue
		}
		var narrow, wide []string
		for _, col := range crd.Spec.Versions[0].AdditionalPrinterColumns {
			if col.Priority == 0 {
				narrow = append(narrow, col.Name)
			} else {
				wide = append(wide, col.Name)
			}
		}
		if d := cmp.Diff([]string{"Status", "Weight", "LastTransitionTime"}, narrow); d != "" {
			t.Errorf("columns (-want +got):\n%s", d)
		}
		wantWide := []string{"Suspended", "FailedChecks", "Interval", "Mirror", "StepWeight", "StepWeights", "MaxWeight"}
		if d := cmp.Diff(wantWide, wide); d != "" {
			t.Errorf("wide columns (-want +got):\n%s", d)
		}
		return
	}
	t.Error("no CRD of kind Canary")
}

func startServer(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	env := &envtest.Environment{
		BinaryAssetsDirectory: serverDir(t),
		CRDInstallOptions:     envtest.CRDInstallOptions{Paths: []string{crdDir(t)}, ErrorIfPathMissing: true},
	}
	cfg, err := env.Start()
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	if err != nil {
		t.Fatalf("start the API server: %v", err)
	}
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serverDir returns the folder with etcd and kube-apiserver.
func serverDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("KUBEBUILDER_ASSETS")
	if dir == "" {
		dir = filepath.Join(repoRoot(t), "bin")
	}
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Fatalf("no %s in %s: run make servers, or set KUBEBUILDER_ASSETS to a folder that has it", name, dir)
		}
	}
	return dir
}

func crdDir(t *testing.T) string {
	t.Helper()
	return filepath.Join(repoRoot(t), "charts", "sluice", "crds")
}

func repoRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}

func dryRun(t *testing.T, c client.Client, u *unstructured.Unstructured) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return c.Create(ctx, u, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
}

func newObject(t *testing.T, kind string) any {
	t.Helper()
	switch kind {
	case v1beta1.CanaryKind:
		return &v1beta1.Canary{}
	case v1beta1.MetricTemplateKind:
		return &v1beta1.MetricTemplate{}
	case v1beta1.AlertProviderKind:
		return &v1beta1.AlertProvider{}
	default:
		t.Fatalf("no kind %q", kind)
		return nil
	}
}

func load(t *testing.T, file string) *v1beta1.Canary {
	t.Helper()
	var c v1beta1.Canary
	if err := yaml.UnmarshalStrict(documents(t, file)[0], &c); err != nil {
		t.Fatal(err)
	}
	return &c
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no file %s (%v)", pattern, err)
	}
	return files
}

func documents(t *testing.T, file string) [][]byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var docs [][]byte
	for r := utilyaml.NewYAMLReader(bufio.NewReader(f)); ; {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, doc)
	}
}

func toMap(t *testing.T, doc []byte) map[string]any {
	t.Helper()
	raw, err := yaml.YAMLToJSON(doc)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	return u.Object
}

func toAny(t *testing.T, v any) any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// dropZero removes what a Go type may leave out without a change of meaning: fields that are false, 0 or "".
func dropZero(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if e := dropZero(e); !reflect.ValueOf(e).IsZero() {
				out[k] = e
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = dropZero(v[i])
		}
		return out
	default:
		return v
	}
}

// lost says where got has not what want has; what got has besides (defaults) is fine.
func lost(want, got any) string { return lostAt("", want, got) }

func lostAt(path string, want, got any) string {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s is %v, want %v", path, got, want)
		}
		for k := range w {
			if d := lostAt(path+"."+k, w[k], g[k]); d != "" {
				return d
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Sprintf("%s is %v, want %v", path, got, want)
		}
		for i := range w {
			if d := lostAt(fmt.Sprintf("%s[%d]", path, i), w[i], g[i]); d != "" {
				return d
			}
		}
		return ""
	default:
		// Numbers may have become floats on the way.
		if fmt.Sprint(want) != fmt.Sprint(got) {
			return fmt.Sprintf("%s is %v, want %v", path, got, want)
		}
		return ""
	}
}
