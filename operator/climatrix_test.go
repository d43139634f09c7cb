package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/operator/cli"
)

var updateScreens = flag.Bool("update-screens", false, "write what the command line shows to testdata")

// situation is one of those in which people use the command line.
type situation string

const (
	goodRelease   situation = "good"
	badRelease    situation = "bad"
	closedGate    situation = "gate"
	pausedRelease situation = "paused"
	missingRight  situation = "without-right"
)

// matrix is which commands were run, where, and how they ended.
type matrix struct {
	here situation // empty between situations
	ran  map[situation]map[string][]int
}

func (m *matrix) note(command string, status int) {
	if m.ran == nil {
		m.ran = map[situation]map[string][]int{}
	}
	if m.ran[m.here] == nil {
		m.ran[m.here] = map[string][]int{}
	}
	m.ran[m.here][command] = append(m.ran[m.here][command], status)
}

// whole fails where a command of the command line was not run in each of the situations, or, of those that act, was never
// done, never refused or never forbidden.
func (m *matrix) whole(t *testing.T) {
	t.Helper()
	// They don't depend on what a release is about: files alone, the page, which has tests of its own, and the program itself.
	apart := []string{"lint", "dashboard", "man", "completion", "help"}
	looks := []string{"list", "get", "status", "why", "history", "check"}
	for _, c := range cli.New(cli.Setting{}).Commands() {
		if slices.Contains(apart, c.Name()) {
			continue
		}
		var ends []int
		for _, of := range m.ran {
			ends = append(ends, of[c.Name()]...)
		}
		if slices.Contains(looks, c.Name()) {
			for _, s := range []situation{goodRelease, badRelease, closedGate, pausedRelease, missingRight} {
				if len(m.ran[s][c.Name()]) == 0 {
					t.Errorf("%s is not run in the situation %s", c.Name(), s)
				}
			}
			continue
		}
		if !slices.Contains(ends, statusOK) || !slices.Contains(ends, statusRefused) {
			t.Errorf("%s has ended with %v: it must be done once, and be refused", c.Name(), ends)
		}
		if !slices.Contains(m.ran[missingRight][c.Name()], statusError) {
			t.Errorf("%s is not run without the right", c.Name())
		}
	}
}

// at runs command lines in a situation, each with the status that it must end with, and looks at the screens.
func (s *cliSite) at(where situation, want map[string]int) {
	s.t.Helper()
	s.as(where, []string{"-n", s.namespace}, want)
}

// nextSecond waits until what is created has another time, by which the actions of people are in order.
func (s *cliSite) nextSecond() {
	s.t.Helper()
	began := time.Now().Unix()
	s.await("the next second", func(context.Context) error {
		if time.Now().Unix() == began {
			return errNotYet
		}
		return nil
	})
}

// as does it as somebody.
func (s *cliSite) as(where situation, global []string, want map[string]int) {
	s.t.Helper()
	s.here = where
	defer func() { s.here = "" }()
	s.screens(where, global)
	for _, line := range slices.Sorted(maps.Keys(want)) {
		status := want[line]
		words := []string(nil)
		if where == missingRight && status == statusError {
			words = []string{"forbidden"}
		}
		s.runWith(global, status, words, strings.Fields(line)...)
	}
	s.nextSecond() // what is asked for here is of no release that begins after it
}

// later is a clock that is ten days ahead: by it all that is on a screen has the same age, however long it took.
type later struct{ clock.RealClock }

func (later) Now() time.Time { return time.Now().Add(10 * 24 * time.Hour) }

// screens compares what people see with what they are to see, in both widths and without colour.
func (s *cliSite) screens(where situation, global []string) {
	s.t.Helper()
	for _, width := range []string{"80", "120"} {
		var all strings.Builder
		for _, line := range []string{"list", "get podinfo", "why podinfo", "history podinfo"} {
			ctx, cancel := context.WithTimeout(s.t.Context(), stageLimit)
			var out bytes.Buffer
			status := cli.Run(ctx, slices.Concat(strings.Fields(line), []string{"--kubeconfig", s.cluster.Kubeconfig()}, global), cli.Setting{
				IOStreams: genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &out}, Clock: later{}, Version: "test",
				Getenv: func(name string) string { return map[string]string{"COLUMNS": width}[name] },
			})
			cancel()
			fmt.Fprintf(&all, "$ kubectl sluice %s\n%s[exit status %d]\n\n", line, out.String(), status)
		}
		s.golden(fmt.Sprintf("%s-%s.txt", where, width), steady(all.String()))
	}
}

var (
	revisions = regexp.MustCompile(`s2-[0-9a-f]{12}`)
	ports     = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	spans     = regexp.MustCompile(`\b(\d+m)?\d+s\b( *)`)
	// What has happened, and what was asked for in one second, may come in another order, and has tests of its own.
	eventsShown  = regexp.MustCompile(`(?s)\n(EVENTS)\n.*?\n(\n[A-Z]|\[exit)`)
	actionsShown = regexp.MustCompile(`(?s)\n(ACTIONS)\n.*?\n(\n[A-Z]|\[exit)`)
)

// steady is a screen without what is another each time. Revisions get letters in the order in which they are shown.
func steady(screen string) string {
	seen := map[string]string{}
	screen = revisions.ReplaceAllStringFunc(screen, func(r string) string {
		if seen[r] == "" {
			seen[r] = "s2-" + strings.Repeat(string(rune('a'+len(seen))), 12)
		}
		return seen[r]
	})
	screen = ports.ReplaceAllString(screen, "127.0.0.1:00000")
	screen = spans.ReplaceAllStringFunc(screen, func(found string) string {
		if !strings.HasSuffix(found, " ") {
			return "0s"
		}
		return "0s" + strings.Repeat(" ", len(found)-2) // columns stay where they are
	})
	for _, section := range []*regexp.Regexp{eventsShown, actionsShown} {
		screen = section.ReplaceAllString(screen, "\n$1\n  ...\n$2")
	}
	return screen
}

func (s *cliSite) golden(name, got string) {
	s.t.Helper()
	file := filepath.Join("testdata", "screens", name)
	if *updateScreens {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		s.t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
