package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/test/rig"
)

// A values file of Flagger's chart installs this one. What each must bring, or must not, is in its comments.
func TestValuesOfFlagger(t *testing.T) {
	s := setUp(t)
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
			out, err := s.Helm(t.Context(), "template", releaseName, chart, "--namespace", releaseNamespace, "--skip-crds", "--values", file)
			if err != nil {
				t.Fatal(err)
			}
			wantAccepted(t, s, out)
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
