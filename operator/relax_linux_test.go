package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// In a process of its own, which prints the slack of each of its threads.
func TestRelax(t *testing.T) {
	const child = "SLUICE_TEST_RELAX"
	if os.Getenv(child) != "" {
		relax()
		threads, err := filepath.Glob("/proc/self/task/[0-9]*")
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			slack, err := os.ReadFile(filepath.Join("/proc", filepath.Base(thread), "timerslack_ns"))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Printf("slack %s\n", strings.TrimSpace(string(slack)))
		}
		return
	}
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRelax$", "-test.v")
	command.Env = append(os.Environ(), child+"=1")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	threads := 0
	for line := range strings.Lines(string(out)) {
		slack, found := strings.CutPrefix(strings.TrimSpace(line), "slack ")
		if !found {
			continue
		}
		threads++
		if slack != strconv.FormatInt(int64(timerSlack), 10) {
			t.Errorf("a thread has %s ns", slack)
		}
	}
	if threads < 2 {
		t.Errorf("no more than %d threads were looked at: %s", threads, out)
	}
}
