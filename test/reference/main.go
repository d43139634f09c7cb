// Command reference writes the pages of docs/reference from what the code itself says: each field of each kind with its
// bounds and an example, each condition, reason, metric and flag.
//
//	go run ./test/reference          writes them
//	go run ./test/reference -check   fails when one is out of date
//
// The examples are those of docs/reference/examples, which a test applies to an API server.
package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const folder = "docs/reference"

// note stands below the title of each page.
const note = "<!-- Written by make generate from the code; what is changed here is lost. -->\n\n"

func main() {
	check := flag.Bool("check", false, "only say whether the pages are up to date")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	pages, err := build()
	if err != nil {
		return err
	}
	var old error
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		path := filepath.Join(folder, name)
		is, err := os.ReadFile(path) //nolint:gosec // of the repository
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if string(is) == pages[name] {
			continue
		}
		if check {
			old = errors.Join(old, fmt.Errorf("%s is out of date; run make generate", path))
			continue
		}
		if err := os.WriteFile(path, []byte(pages[name]), 0o644); err != nil { //nolint:gosec // a page for everybody
			return err
		}
	}
	return old
}

// build gives all pages by the names of their files.
func build() (map[string]string, error) {
	comments, err := readComments("api/v1beta1", "api/v1alpha1")
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, k := range kinds() {
		if out[strings.ToLower(k.name)+".md"], err = kindPage(k, comments); err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
	}
	for name, page := range map[string]func() (string, error){"reasons.md": reasonsPage, "metrics.md": metricsPage, "flags.md": flagsPage} {
		if out[name], err = page(); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return out, nil
}

// row writes the cells of a row of a table.
func row(out *strings.Builder, cells ...string) {
	out.WriteString("|")
	for _, cell := range cells {
		out.WriteString(" " + strings.ReplaceAll(strings.Join(strings.Fields(cell), " "), "|", `\|`) + " |")
	}
	out.WriteString("\n")
}

// head writes the first two rows.
func head(out *strings.Builder, cells ...string) {
	row(out, cells...)
	row(out, slices.Repeat([]string{"---"}, len(cells))...)
}

// code is a text as code, empty for none.
func code(text string) string {
	if text == "" {
		return ""
	}
	if strings.Contains(text, "`") {
		return "`` " + text + " ``"
	}
	return "`" + text + "`"
}
