package docs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/operator/cli"
	"github.com/sluice-delivery/sluice/providers/factory"
)

// TestTutorials has what decides in the operator judge the Canary of each tutorial, beside the other manifests of its
// page: none is refused, and there is one for each provider.
func TestTutorials(t *testing.T) {
	root, all := pages(t)
	folder := filepath.Join(root, "docs", "tutorials")
	providers := map[string]bool{}
	for path, text := range all {
		if filepath.Dir(path) != folder || filepath.Base(path) == "README.md" {
			continue
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			blocks := append(yamlBlock.FindAllStringSubmatch(all[filepath.Join(folder, "README.md")], -1), yamlBlock.FindAllStringSubmatch(text, -1)...)
			var manifests []string
			for _, block := range blocks {
				if strings.HasPrefix(block[2], "apiVersion:") {
					manifests = append(manifests, block[2])
				}
			}
			file := filepath.Join(t.TempDir(), "all.yaml")
			if err := os.WriteFile(file, []byte(strings.Join(manifests, "---\n")), 0o600); err != nil {
				t.Fatal(err)
			}
			if status, said := lint(t, file); status != 0 {
				t.Errorf("exit status %d:\n%s", status, said)
			}
			for _, name := range factory.Names() {
				if strings.Contains(text, "\n  provider: "+name+"\n") {
					providers[name] = true
				}
			}
		})
	}
	for _, name := range factory.Names() {
		family, _, _ := strings.Cut(name, ":")
		if !providers[name] && !providers[family+":v1"] {
			t.Errorf("there is no tutorial for %s", name)
		}
	}
}

func TestTutorialsAreJudged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(file, []byte(strings.Replace(bases["Canary"], "spec:", "spec:\n  provider: appmesh", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, said := lint(t, file); status != 1 || !strings.Contains(said, "unknown provider") {
		t.Errorf("exit status %d:\n%s", status, said)
	}
}

// lint is kubectl sluice lint.
func lint(t *testing.T, file string) (status int, said string) {
	t.Helper()
	var out bytes.Buffer
	s := cli.Setting{
		IOStreams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out},
		Clock:     clocktesting.NewFakeClock(testTime), Getenv: func(string) string { return "" },
	}
	return cli.Run(t.Context(), []string{"lint", file}, s), out.String()
}
