package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// hello is a program that prints its version and how many authorities it trusts.
var hello = program{name: "hello", module: ".", pkg: ".", title: "A program", image: true, systems: []string{"linux", "windows"}}

const helloSource = `package main

import (
	"bytes"
	"fmt"
	"os"
)

var version string

func main() {
	certificates, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	fmt.Println(version, bytes.Count(certificates, []byte("BEGIN CERTIFICATE")), err)
}
`

// checkout is a repository with the program and a tag, and a maker for it.
func checkout(t *testing.T) *maker {
	t.Helper()
	root := t.TempDir()
	for name, body := range map[string]string{"go.mod": "module example.com/hello\n\ngo 1.26\n", "main.go": helloSource, "LICENSE": "free\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"init", "-q"}, {"add", "."}, {"commit", "-qm", "Say hello"}, {"tag", "v1.2.2"}, {"commit", "-qm", "Say it louder", "--allow-empty"},
	} {
		cmd := exec.Command("git", append([]string{"-C", root, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v: %s", args, err, out)
		}
	}
	m := &maker{root: root, out: filepath.Join(t.TempDir(), "dist"), version: "1.2.3", arches: []string{"amd64", "arm64"}, log: io.Discard}
	if err := errors.Join(m.readCommit(t.Context()), m.emptyOut()); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestImage packs a program for two architectures, which runs it with nothing but what is in the image (maker.try), pushes
// it to a registry, and reads all of it back.
func TestImage(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	m := checkout(t)
	m.push = strings.TrimPrefix(server.URL, "http://") + "/team"
	if err := m.program(t.Context(), hello); err != nil {
		t.Fatal(err)
	}
	pushed, err := name.ParseReference(m.push + "/hello:1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(pushed)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 2 || manifest.Manifests[1].Platform.Architecture != "arm64" {
		t.Fatalf("want an image for each of two architectures, got %+v", manifest.Manifests)
	}
	for _, d := range manifest.Manifests {
		wantPapers(t, pushed.Context().Digest(d.Digest.String()))
	}
	img, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || config.Config.Entrypoint[0] != "/hello" || config.Config.Labels["org.opencontainers.image.revision"] != m.commit {
		t.Errorf("wrong configuration: %+v", config.Config)
	}
	unpackLayout(t, m.file("hello_1.2.3.oci.tar"))
}

// wantPapers fails where an image has no bill of materials or no provenance.
func wantPapers(t *testing.T, image name.Digest) {
	t.Helper()
	found, err := remote.Referrers(image)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := found.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]v1.Hash{}
	for _, d := range manifest.Manifests {
		kinds[d.ArtifactType] = d.Digest
	}
	for kind, want := range map[string]string{billType: `"pkg:golang/std@1.`, provenanceType: strings.TrimPrefix(image.DigestStr(), "sha256:")} {
		digest, ok := kinds[kind]
		if !ok {
			t.Errorf("%s has no %s, but %v", image, kind, kinds)
			continue
		}
		paper, err := remote.Image(image.Context().Digest(digest.String()))
		if err != nil {
			t.Fatal(err)
		}
		layers, err := paper.Layers()
		if err != nil {
			t.Fatal(err)
		}
		content, err := layers[0].Compressed()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(content)
		if err != nil || !json.Valid(body) || !bytes.Contains(body, []byte(want)) {
			t.Errorf("the %s does not tell %s: %s (%v)", kind, want, body, err)
		}
	}
}

// unpackLayout fails where an archive is not an image layout that can be read.
func unpackLayout(t *testing.T, archive string) {
	t.Helper()
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	folder := t.TempDir()
	for r := tar.NewReader(file); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, filepath.FromSlash(header.Name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, body, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	index, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if first := manifest.Manifests[0]; first.Annotations["org.opencontainers.image.ref.name"] != "1.2.3" || len(manifest.Manifests) != 5 {
		t.Errorf("want the image, and two papers of each of its halves, got %+v", manifest.Manifests)
	}
}

// TestSameAgain makes a release twice, at different places.
func TestSameAgain(t *testing.T) {
	one := checkout(t)
	two := *one
	two.root, two.out = t.TempDir(), filepath.Join(t.TempDir(), "dist")
	if out, err := exec.Command("git", "clone", "-q", one.root, two.root).CombinedOutput(); err != nil {
		t.Fatalf("git clone: %v: %s", err, out)
	}
	var sums []string
	for _, m := range []*maker{one, &two} {
		if err := errors.Join(m.emptyOut(), m.program(t.Context(), hello), m.notes(t.Context()), m.checksums()); err != nil {
			t.Fatal(err)
		}
		body, err := os.ReadFile(m.file("checksums.txt"))
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, string(body))
	}
	if sums[0] != sums[1] {
		t.Errorf("made once:\n%s\nmade again:\n%s", sums[0], sums[1])
	}
	// An archive of images, two bills, two archives for each of two systems, the notes.
	if lines := strings.Count(sums[0], "\n"); lines != 8 {
		t.Errorf("want 8 files, got\n%s", sums[0])
	}
	notes, err := os.ReadFile(one.file("notes.md"))
	if err != nil || !strings.Contains(string(notes), "Changes since v1.2.2") || !strings.Contains(string(notes), "- Say it louder") || strings.Contains(string(notes), "- Say hello") {
		t.Errorf("want notes of what is new since the tag, got %s (%v)", notes, err)
	}
}

// TestRefused has what must not be published, or overwritten.
func TestRefused(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "thesis.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	m := checkout(t)
	if err := os.WriteFile(filepath.Join(m.root, "main.go"), []byte(helloSource+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, want string
		args       []string
	}{
		{"a tag", `-version "v1.2.3"`, []string{"-version", "v1.2.3"}},
		{"no version", `-version ""`, nil},
		{"somebody's folder", "was not made by this program", []string{"-version", "1.2.3", "-root", m.root, "-out", full}},
		{"changes that are not committed", "not committed", []string{"-version", "1.2.3", "-root", m.root, "-out", t.TempDir(), "-push", "localhost:1/x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := run(t.Context(), test.args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("want an error with %q, got %v", test.want, err)
			}
		})
	}
}

// TestTry finds a program that is not of the version, and one that can't run.
func TestTry(t *testing.T) {
	m := checkout(t)
	binary, err := m.build(t.Context(), hello, t.TempDir(), "linux", runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	img, err := m.imageOf(hello, binary, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	m.version = "9.9.9"
	if err := m.try(t.Context(), hello, img); err == nil || !strings.Contains(err.Error(), "is not 9.9.9") {
		t.Errorf("want an error that says the version, got %v", err)
	}
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if img, err = m.imageOf(hello, binary, runtime.GOARCH); err != nil {
		t.Fatal(err)
	}
	if err := m.try(t.Context(), hello, img); err == nil {
		t.Error("a script runs in an image without a shell")
	}
}

func TestAuthorities(t *testing.T) {
	if n := bytes.Count(authorities(), []byte("BEGIN CERTIFICATE")); n < 100 {
		t.Errorf("want the authorities of a browser, got %d", n)
	}
}
