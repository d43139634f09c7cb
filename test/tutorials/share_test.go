package tutorials

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	clusters = flag.Int("tutorials.clusters", 2, "how many clusters there are, in each of which one page after the other is gone through")
	claims   = flag.String("tutorials.claims", "", "for processes that the test starts: the folder in which each says which pages it has taken")
)

// share has several processes go through the pages, each with a cluster of its own: what the pages make has the same names on all of
// them, so that a cluster has one at a time, and most of the time of a page is waiting.
func share(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pattern := flag.Lookup("test.run").Value.String()
	args := []string{"-test.v", "-test.run=" + cmp.Or(pattern, "^TestTutorials$"), "-tutorials", "-tutorials.claims=" + t.TempDir()}
	if deadline, ok := t.Deadline(); ok { // what they say of a timeout is to be seen
		args = append(args, "-test.timeout="+(time.Until(deadline)-10*time.Second).String())
	}
	count := *clusters
	if strings.Contains(pattern, "/") { // a page that somebody looks at
		count = 1
	}
	outputs, failures := make([]bytes.Buffer, count), make([]error, count)
	var all sync.WaitGroup
	for i := range count {
		all.Go(func() {
			// It ends with this process, however that ends: the signal for that is sent when the thread has ended.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			cmd := exec.CommandContext(t.Context(), self, args...)
			cmd.Stdout, cmd.Stderr = &outputs[i], &outputs[i]
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			failures[i] = cmd.Run()
		})
	}
	all.Wait()
	through := map[string]bool{}
	for i := range outputs {
		if failures[i] != nil {
			t.Errorf("in cluster %d: %v", i+1, failures[i])
		}
		t.Logf("in cluster %d:\n%s", i+1, outputs[i].String())
		maps.Copy(through, passed(outputs[i].String()))
	}
	listSkipped(t)
	scripts, _ := scriptsOf(t)
	for _, name := range slices.Sorted(maps.Keys(scripts)) {
		if !through[name] && !strings.Contains(pattern, "/") {
			t.Errorf("nobody came to the end of %s", name)
		}
	}
}

// passed are the pages that a process came to the end of, by what it wrote.
func passed(output string) map[string]bool {
	out := map[string]bool{}
	for line := range strings.Lines(output) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "--- PASS: TestTutorials/"); ok {
			name, _, _ = strings.Cut(name, " ")
			out[name] = true
		}
	}
	return out
}

// claim takes a page, unless another process has.
func claim(t *testing.T, page string) bool {
	t.Helper()
	err := os.Mkdir(filepath.Join(*claims, page), 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	return err == nil
}

func TestPassed(t *testing.T) {
	got := passed("=== RUN   TestTutorials/c.md\n    --- PASS: TestTutorials/a.md (3.10s)\n    --- FAIL: TestTutorials/b.md (1.00s)\n    --- SKIP: TestTutorials/d.md (0.00s)\n--- PASS: TestTutorials (4s)\n")
	if len(got) != 1 || !got["a.md"] {
		t.Errorf("got %v", got)
	}
}
