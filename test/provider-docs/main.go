// Command provider-docs writes the table of what each provider can do into a page of
// the documentation, between the marks capabilities:begin and capabilities:end, from
// what the code itself says.
//
//	go run ./test/provider-docs docs/providers.md          writes it
//	go run ./test/provider-docs -check docs/providers.md   fails when it is out of date
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/factory"
)

const (
	begin = "<!-- capabilities:begin -->\n"
	end   = "<!-- capabilities:end -->\n"
)

func main() {
	check := flag.Bool("check", false, "only say whether the page is up to date")
	flag.Parse()
	if err := run(flag.Arg(0), *check); err != nil {
		fmt.Fprintln(os.Stderr, "provider-docs:", err)
		os.Exit(1)
	}
}

func run(path string, check bool) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	rows, err := table()
	if err != nil {
		return err
	}
	page, err := replace(string(old), rows)
	if err != nil || bytes.Equal(old, []byte(page)) {
		return err
	}
	if check {
		return fmt.Errorf("the table in %s is out of date; run make generate", path)
	}
	return os.WriteFile(path, []byte(page), 0o644) //nolint:gosec // a page for everybody
}

// replace puts a table between the marks of a page.
func replace(page, table string) (string, error) {
	before, remaining, ok := strings.Cut(page, begin)
	_, after, ended := strings.Cut(remaining, end)
	if !ok || !ended {
		return "", errors.New("the page has no marks capabilities:begin and capabilities:end")
	}
	return before + begin + table + end + after, nil
}

// titles are the columns of what a router may be capable of.
var titles = map[string]string{
	"Weighted": "weights", "HeaderMatch": "matches (A/B)", "WeightedMatch": "weights of matches", "Mirror": "mirroring", "SessionAffinity": "sessions", "TCP": "TCP", "TLS": "TLS", "ByAddress": "needs a cluster IP",
}

// table has a row for each router.
func table() (string, error) {
	var out strings.Builder
	kind := reflect.TypeFor[providers.Capabilities]()
	header := []string{"provider"}
	for f := range kind.Fields() {
		title := titles[f.Name]
		if title == "" {
			return "", fmt.Errorf("providers.Capabilities.%s has no title in the table", f.Name)
		}
		header = append(header, title)
	}
	header = append(header, "accepted without effect in `spec.service`")
	row(&out, header)
	row(&out, slices.Repeat([]string{"---"}, len(header)))
	for _, name := range factory.Names() {
		router, err := factory.New(name, factory.Deps{})
		if err != nil {
			return "", fmt.Errorf("router %s: %w", name, err)
		}
		cells := []string{"`" + name + "`"}
		for _, can := range reflect.ValueOf(router.Capabilities()).Fields() {
			cells = append(cells, map[bool]string{true: "yes"}[can.Bool()])
		}
		row(&out, append(cells, ignored(router)))
	}
	return out.String(), nil
}

// ignored are the fields that a router passes over, sorted.
func ignored(r providers.Router) string {
	ignorer, ok := r.(providers.Ignorer)
	if !ok {
		return ""
	}
	var names []string
	for name := range ignorer.Ignores() {
		names = append(names, "`"+name+"`")
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// row writes the cells of a row; an empty one is a single space.
func row(out *strings.Builder, cells []string) {
	for _, cell := range cells {
		out.WriteString("| " + cell)
		if cell != "" {
			out.WriteString(" ")
		}
	}
	out.WriteString("|\n")
}
