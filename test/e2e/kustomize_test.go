package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// Kustomize builds on the chart, in the place of bases, as the chart's README says: with a values file and patches of one's
// own, and without the hook of an uninstallation, which would run at once.
func TestKustomize(t *testing.T) {
	kubectl, err := cluster.Binary("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	helm, err := cluster.Binary("helm")
	if err != nil {
		t.Fatal(err)
	}
	chart, err := rig.Chart()
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(chart, "README.md")) //nolint:gosec // of the chart
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(readme), "```yaml\n# kustomization.yaml\n")
	example, _, found := strings.Cut(example, "```")
	if !found {
		t.Fatal("the chart's README has no kustomization")
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "charts", "sluice"), os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), kubectl, "kustomize", "--enable-helm", "--helm-command", helm, dir) //nolint:gosec // kubectl
	raw, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	out := string(raw)
	for _, want := range []string{"-mesh-provider=linkerd", "namespace: delivery", "team: shop", "kind: CustomResourceDefinition"} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "helm.sh/hook") {
		t.Errorf("there is a hook in\n%s", out)
	}
}

// The bases that are made from the chart have what the chart has, the CRDs and the namespace, for the mesh provider of their names.
func TestKustomizeBases(t *testing.T) {
	kubectl, err := cluster.Binary("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	for base, provider := range map[string]string{
		"base": "istio", "istio": "istio", "linkerd": "linkerd", "kubernetes": "kubernetes", "gatewayapi": "gatewayapi:v1", "contour": "contour",
	} {
		raw, err := exec.CommandContext(t.Context(), kubectl, "kustomize", filepath.Join(root, "charts", "kustomize", base)).CombinedOutput() //nolint:gosec // kubectl
		if err != nil {
			t.Errorf("%s: %v\n%s", base, err, raw)
			continue
		}
		for what, want := range map[string]int{
			"- -mesh-provider=" + provider + "\n": 1, "-mesh-provider=": 1, "kind: CustomResourceDefinition\n": 6, "kind: Namespace\n": 1, "kind: Deployment\n": 1, "helm.sh/": 0, "helm.sh/hook": 0,
		} {
			if n := strings.Count(string(raw), what); n != want {
				t.Errorf("%s has %d times %q, not %d times", base, n, what, want)
			}
		}
	}
}
