package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"
)

// run is a command line without a cluster.
func run(t *testing.T, stdin string, args ...string) (status int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	status = Run(t.Context(), args, Setting{
		IOStreams: genericiooptions.IOStreams{In: strings.NewReader(stdin), Out: &o, ErrOut: &e},
		Clock:     clock.RealClock{}, Version: "1.2.3", Getenv: func(string) string { return "" },
	})
	return status, o.String(), e.String()
}

func TestMistakes(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		says string
	}{
		"no such command":    {[]string{"destroy"}, `unknown command "destroy"`},
		"no name":            {[]string{"get"}, "accepts 1 arg(s)"},
		"no such goal":       {[]string{"status", "x", "--for=done"}, `--for: "done" is none of promoted, paused, gate, ready`},
		"no such output":     {[]string{"list", "-o", "xml"}, `--output: "xml" is none of table, json, yaml, name`},
		"time below 0":       {[]string{"status", "x", "--timeout=-1s"}, "--timeout: -1s is below 0"},
		"nobody is meant":    {[]string{"pause"}, "name a Canary, or choose some with -l"},
		"two ways to choose": {[]string{"pause", "x", "-l", "a=b"}, "not both"},
		"a long reason":      {[]string{"pause", "x", "--reason", strings.Repeat("a", 301)}, "more than 300 characters"},
		"no such colour":     {[]string{"why", "x", "--color=blue"}, `--color: "blue" is none of auto, always, never`},
		"nothing to judge":   {[]string{"lint", "-"}, "there is nothing to judge"},
		"no such file":       {[]string{"lint", "no-such-file"}, "no-such-file"},
		"no kubeconfig":      {[]string{"list", "--kubeconfig=no-such-file"}, "no way to reach Kubernetes"},
	} {
		t.Run(name, func(t *testing.T) {
			if status, _, said := run(t, "", tc.args...); status != 1 || !strings.Contains(said, tc.says) {
				t.Errorf("exit status %d; it wrote %q, want %q", status, said, tc.says)
			}
		})
	}
}

func TestLint(t *testing.T) {
	const action = "apiVersion: sluice.dev/v1alpha1\nkind: CanaryAction\nmetadata: {name: a}\nspec: {canary: podinfo, action: "
	if status, out, _ := run(t, action+"Pause}", "lint", "-"); status != 0 || out != "1 objects, 0 errors, 0 warnings, 0 notes\n" {
		t.Errorf("exit status %d; it wrote %q", status, out)
	}
	if status, out, _ := run(t, action+"Stop}", "lint", "-", "-o", "sarif"); status != 1 || !strings.Contains(out, `"ruleId": "schema"`) {
		t.Errorf("exit status %d; it wrote %q", status, out)
	}
}

// TestManual has a page for each command that people see.
func TestManual(t *testing.T) {
	dir := t.TempDir()
	if status, _, said := run(t, "", "man", dir); status != 0 {
		t.Fatalf("exit status %d: %s", status, said)
	}
	var want []string
	for _, c := range New(Setting{}).Commands() {
		if c.Hidden || c.Name() == "help" {
			continue
		}
		page := filepath.Join(dir, "kubectl-sluice-"+c.Name()+".1")
		if _, err := os.Stat(page); err != nil {
			want = append(want, page)
		}
	}
	if diff := cmp.Diff([]string(nil), want); diff != "" {
		t.Errorf("missing pages:\n%s", diff)
	}
}

func TestVersionAndCompletion(t *testing.T) {
	if status, out, _ := run(t, "", "--version"); status != 0 || !strings.Contains(out, "1.2.3") {
		t.Errorf("exit status %d; it wrote %q", status, out)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if status, out, _ := run(t, "", "completion", shell); status != 0 || !strings.Contains(out, "sluice") {
			t.Errorf("%s: exit status %d", shell, status)
		}
	}
	if status, out, _ := run(t, "", "__complete", "status", "x", "--for", ""); status != 0 || !strings.Contains(out, "promoted") {
		t.Errorf("exit status %d; it wrote %q", status, out)
	}
}
