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
