// Command release makes what a version of Sluice is published as, from a checkout, without a container engine and without
// a network: images for two architectures as OCI archives, the charts as OCI archives and as packages, archives of the
// command line, checksums and notes. What it makes depends on the commit and on the version of Go alone, so anybody can
// make it again and compare.
//
//	release -version 1.2.3 -out dist          everything
//	release -version 1.2.3 -push REGISTRY     the same, and pushes images and charts to REGISTRY/NAME
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// semver is what a version has to look like, as charts ask for it: without the v of a tag.
var semver = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// maker makes one release.
type maker struct {
	root    string // of the checkout
	out     string // folder of what is made
	version string // without v
	commit  string
	made    time.Time // of the commit: the time of all that is made
	arches  []string
	push    string // registry and path to push to, or empty
	log     io.Writer
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	m := &maker{log: stdout}
	f := flag.NewFlagSet("release", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&m.version, "version", "", "version of the release, such as 1.2.3")
	f.StringVar(&m.root, "root", ".", "the checkout")
	f.StringVar(&m.out, "out", "dist", "folder to write to; it is emptied first")
	f.StringVar(&m.push, "push", "", "registry and path to push images and charts to, such as ghcr.io/sluice-delivery; with the credentials of ~/.docker/config.json")
	arches := f.String("arch", "amd64,arm64", "comma-separated architectures")
	if err := f.Parse(args); err != nil {
		return err
	}
	switch {
	case f.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	case !semver.MatchString(m.version):
		return fmt.Errorf("-version %q: want a version such as 1.2.3 or 1.2.3-rc.1", m.version)
	}
	m.arches = strings.Split(*arches, ",")
	return m.make(ctx)
}

func (m *maker) make(ctx context.Context) error {
	if err := m.readCommit(ctx); err != nil {
		return err
	}
	if err := m.emptyOut(); err != nil {
		return err
	}
	for _, p := range programs {
		if err := m.program(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	for _, chart := range charts {
		if err := m.chart(ctx, chart); err != nil {
			return fmt.Errorf("chart %s: %w", chart, err)
		}
	}
	if err := m.notes(ctx); err != nil {
		return fmt.Errorf("notes: %w", err)
	}
	return m.checksums()
}

// readCommit finds what is built and when it was made. What is not committed can't be made again by anybody else.
func (m *maker) readCommit(ctx context.Context) error {
	dirty, err := m.git(ctx, "status", "--porcelain", "--untracked-files=no")
	if err != nil {
		return err
	}
	if dirty != "" && m.push != "" {
		return errors.New("there are changes that are not committed: a release that is pushed is made of a commit")
	}
	if m.commit, err = m.git(ctx, "rev-parse", "HEAD"); err != nil {
		return err
	}
	if dirty != "" {
		m.commit += "-dirty"
	}
	text, err := m.git(ctx, "log", "-1", "--format=%cI")
	if err != nil {
		return err
	}
	m.made, err = time.Parse(time.RFC3339, text)
	m.made = m.made.UTC()
	return err
}

// marker is in a folder that this program made, so that it never empties another.
const marker = ".sluice-release"

func (m *maker) emptyOut() error {
	entries, err := os.ReadDir(m.out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(m.out, marker)); err != nil {
			return fmt.Errorf("-out %s: the folder is not empty and was not made by this program", m.out)
		}
		if err := os.RemoveAll(m.out); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(m.out, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(m.out, marker), nil, 0o644)
}

// file is the path of a file of the release.
func (m *maker) file(format string, args ...any) string {
	return filepath.Join(m.out, fmt.Sprintf(format, args...))
}

// say tells what was made.
func (m *maker) say(format string, args ...any) { fmt.Fprintf(m.log, format+"\n", args...) }
