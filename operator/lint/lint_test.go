package lint

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"
)

func lintOf(t *testing.T, o Options, paths ...string) Report {
	t.Helper()
	o.Clock = clock.RealClock{}
	if o.Provider == "" {
		o.Provider = "istio"
	}
	report, err := Files(t.Context(), paths, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// byRule are the findings of some rules.
func byRule(r Report, rules ...Rule) []Finding {
	var out []Finding
	for _, f := range r.Findings {
		for _, rule := range rules {
			if f.Rule == rule {
				out = append(out, f)
			}
		}
	}
	return out
}

// TestAsTheAPIServer has files that the API server takes and refuses judged as it does: api/v1beta1 tests these on one.
func TestAsTheAPIServer(t *testing.T) {
	data := filepath.Join("..", "..", "api", "v1beta1", "testdata")
	for folder, refused := range map[string]bool{"accepted": false, "rejected": true} {
		files, err := filepath.Glob(filepath.Join(data, folder, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", folder, len(files), err)
		}
		found := map[string][]Finding{}
		for _, f := range byRule(lintOf(t, Options{}, files...), RuleSchema, RuleSyntax) {
			found[f.File] = append(found[f.File], f)
		}
		for _, file := range files {
			if len(found[file]) > 0 != refused {
				t.Errorf("%s/%s: found %+v", folder, filepath.Base(file), found[file])
			}
		}
	}
}

const manifests = `apiVersion: flagger.app/v1beta1
kind: Canary
metadata:
  name: podinfo
  namespace: test
spec:
  targetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: podinfo
  service:
    port: 9898
  analysis:
    interval: 1m
    threshold: 5
    stepWeights: [50, 20]
    metrics:
    - name: latency
      templateRef:
        name: latency
---
apiVersion: flagger.app/v1beta1
kind: Canary
metadata:
  name: other
  namespace: test
spec:
  provider: appmesh
  targetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: other
  service:
    port: 9898
  analysis:
    interval: 1m
    threshold: 5
    maxWeight: 50
    stepWeight: 10
    metrics:
    - name: latency
      templateRef:
        name: latency
---
apiVersion: sluice.dev/v1alpha1
kind: CanaryAction
metadata:
  name: pause
  namespace: test
spec:
  canary: podinfo
  action: Stop
`

func TestFindings(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "release.yaml")
	for name, content := range map[string]string{
		"release.yaml": manifests, "broken.yaml": "a: [", "notes.txt": "nothing",
		"again.yaml": "apiVersion: sluice.dev/v1alpha1\nkind: CanaryAction\nmetadata: {name: pause, namespace: test}\nspec: {canary: podinfo, action: Pause}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	report := lintOf(t, Options{}, dir)
	got := map[string]string{}
	for _, f := range report.Findings {
		got[strings.TrimPrefix(f.File, dir+"/")+" "+f.Name+" "+string(f.Rule)] += f.Message + "\n"
	}
	for at, says := range map[string]string{
		"broken.yaml  syntax":            "broken.yaml",
		"release.yaml podinfo schema":    "stepWeights must grow",
		"release.yaml other refused":     "appmesh",
		"release.yaml pause schema":      "action",
		"release.yaml pause twice":       "again.yaml",
		"release.yaml other reference":   "latency",
		"release.yaml podinfo refused":   "",
		"release.yaml other schema":      "",
		"again.yaml pause schema":        "",
		"release.yaml podinfo reference": "",
	} {
		if says == "" && got[at] != "" || !strings.Contains(got[at], says) {
			t.Errorf("%s: %q does not say %q", at, got[at], says)
		}
	}
	lines := map[int]bool{}
	for _, f := range byRule(report, RuleSchema, RuleRefused) {
		if f.File == file {
			lines[f.Line] = true
		}
	}
	if want := map[int]bool{16: true, 28: true, 52: true}; !cmp.Equal(want, lines) {
		t.Errorf("lines %v, want %v", lines, want)
	}
	if report.Objects != 4 || !report.Worst(Error) {
		t.Errorf("got %+v", report)
	}
}

func TestComplete(t *testing.T) {
	canary := strings.Replace(strings.SplitN(manifests, "---\n", 2)[0], "[50, 20]", "[20, 50]", 1)
	if report := lintOf(t, Options{Stdin: strings.NewReader(canary)}, "-"); report.Worst(Warning) || !report.Worst(Note) {
		t.Errorf("got %+v", report)
	}
	if report := lintOf(t, Options{Stdin: strings.NewReader(canary), Complete: true}, "-"); !report.Worst(Error) {
		t.Errorf("what is missing among all files is not found: %+v", report)
	}
}

func TestSARIF(t *testing.T) {
	report := lintOf(t, Options{Stdin: strings.NewReader(manifests)}, "-")
	var out, text bytes.Buffer
	if err := report.SARIF(&out, "test"); err != nil {
		t.Fatal(err)
	}
	if err := report.Text(&text); err != nil {
		t.Fatal(err)
	}
	var log struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct {
				RuleID, Level string
				Locations     []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(out.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || len(log.Runs) != 1 || len(log.Runs[0].Results) != len(report.Findings) || len(log.Runs[0].Tool.Driver.Rules) != len(rules) {
		t.Errorf("got %+v", log)
	}
	at := log.Runs[0].Results[0].Locations[0].PhysicalLocation
	if at.ArtifactLocation.URI != "stdin" || at.Region.StartLine < 1 {
		t.Errorf("got %+v", at)
	}
	if !strings.Contains(text.String(), "stdin:16: error: Canary test/podinfo: ") || !strings.Contains(text.String(), "3 objects, ") {
		t.Errorf("got:\n%s", text.String())
	}
}
