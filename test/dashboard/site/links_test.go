package site

import (
	"html"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	// folder is where make docs leaves the site.
	folder = "../../../bin/site"
	// repository is where links to files lead that are no pages.
	repository = "https://github.com/sluice-delivery/sluice"
)

var (
	address = regexp.MustCompile(`(?:href|src)="([^"]*)"`)
	name    = regexp.MustCompile(`\bid="([^"]*)"`)
)

// pages are those of the site, from their paths below its root to what is in them.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	root := os.DirFS(folder)
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(p) != ".html" {
			return err
		}
		text, err := fs.ReadFile(root, p)
		out[p] = string(text)
		return err
	})
	if err != nil || len(out) < 50 {
		t.Fatalf("%d pages, %v: make docs builds them", len(out), err)
	}
	return out
}

// TestLinks follows each link of each page: to another page and a section of it, to a picture, or to a file of the
// repository.
func TestLinks(t *testing.T) {
	all := pages(t)
	sections := map[string]map[string]bool{}
	for p, text := range all {
		sections[p] = map[string]bool{}
		for _, id := range name.FindAllStringSubmatch(text, -1) {
			if sections[p][id[1]] {
				t.Errorf("%s has the id %s twice", p, id[1])
			}
			sections[p][id[1]] = true
		}
	}
	followed := 0
	for p, text := range all {
		for _, match := range address.FindAllStringSubmatch(text, -1) {
			to := html.UnescapeString(match[1])
			followed++
			if why := broken(p, to, sections); why != "" {
				t.Errorf("%s leads to %s: %s", p, to, why)
			}
		}
	}
	if followed < 5000 {
		t.Errorf("only %d links were found", followed)
	}
}

// broken says why a link of a page leads nowhere, or nothing.
func broken(from, to string, sections map[string]map[string]bool) string {
	u, err := url.Parse(to)
	if err != nil {
		return err.Error()
	}
	if file, ok := strings.CutPrefix(to, repository+"/blob/main/"); ok {
		file, _, _ = strings.Cut(file, "#")
		if _, err := os.Stat(filepath.Join("../../..", file)); err != nil {
			return "the repository has no such file"
		}
		return ""
	}
	if u.IsAbs() {
		if u.Scheme != "https" && !strings.HasPrefix(to, "http://localhost:") {
			return "it is not by https"
		}
		return "" // other people's sites are not asked
	}
	target := from
	if u.Path != "" {
		target = path.Join(path.Dir(from), u.Path)
	}
	if _, err := os.Stat(filepath.Join(folder, target)); err != nil {
		return "there is no such file"
	}
	if u.Fragment != "" && !sections[target][u.Fragment] {
		return "there is no such section"
	}
	return ""
}

// TestBroken holds what finds broken links against some.
func TestBroken(t *testing.T) {
	sections := map[string]map[string]bool{"index.html": {"main": true}, "reference/canary.html": {"spec": true}}
	for to, want := range map[string]string{
		"./rollout.html":                         "",
		"#main":                                  "",
		"#nothing":                               "there is no such section",
		"reference/canary.html#spec":             "",
		"reference/canary.html#nothing":          "there is no such section",
		"/nothing.html":                          "there is no such file",
		repository + "/blob/main/README.md#what": "",
		repository + "/blob/main/NOTHING.md":     "the repository has no such file",
		"https://gateway-api.sigs.k8s.io/":       "",
		"http://example.com/":                    "it is not by https",
	} {
		if got := broken("index.html", to, sections); got != want {
			t.Errorf("%s: %q, want %q", to, got, want)
		}
	}
}
