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

// A values file of Flagger's chart installs this one. What each must bring, or must not, is in its comments.
func TestValuesOfFlagger(t *testing.T) {
	helm, err := cluster.Binary("helm")
	if err != nil {
		t.Fatal(err)
	}
	chart, err := rig.Chart()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(files) < 11 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			values, err := os.ReadFile(file) //nolint:gosec // of this folder
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), helm, "template", "sluice", chart, "--namespace", "delivery", "--skip-crds", "--values", file) //nolint:gosec // helm
			home := t.TempDir()
			cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
			raw, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, raw)
			}
			out := string(raw)
			for line := range strings.Lines(string(values)) {
				line = strings.TrimSpace(line)
				if want, ok := strings.CutPrefix(line, "# want: "); ok && !strings.Contains(out, want) {
					t.Errorf("there is no %q in\n%s", want, out)
				}
				if not, ok := strings.CutPrefix(line, "# not: "); ok && strings.Contains(out, not) {
					t.Errorf("there is %q in\n%s", not, out)
				}
			}
		})
	}
}
