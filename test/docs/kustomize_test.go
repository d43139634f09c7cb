package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/test/cluster"
)

// TestKustomization builds the kustomization that the page of the installation shows, on the base of this repository.
func TestKustomization(t *testing.T) {
	root, all := pages(t)
	kubectl, err := cluster.Binary("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(all[filepath.Join(root, "docs", "install.md")], "```yaml\n# kustomization.yaml\n")
	example, _, found := strings.Cut(example, "```")
	remote := regexp.MustCompile(`https://github\.com/sluice-delivery/sluice/(\S+)\?ref=main`)
	if !found || !remote.MatchString(example) {
		t.Fatalf("the page has no kustomization on the repository:\n%s", example)
	}
	folder := t.TempDir()
	if err := os.CopyFS(filepath.Join(folder, "charts", "kustomize"), os.DirFS(filepath.Join(root, "charts", "kustomize"))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(remote.ReplaceAllString(example, "$1")), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), kubectl, "kustomize", folder).CombinedOutput() //nolint:gosec // kubectl
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"image: registry.example.com/team/sluice:0.1.0", "- -metrics-server=http://prometheus.istio-system:9090"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}
}
