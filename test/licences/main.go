// Command licences fails where a binary of this repository, or one that its tests run, is built from a Go module whose
// licence is not open source.
//
//	go run ./test/licences      looks at the operator, the load tester and all of test/tools; -v lists each module
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// program is what is built of a module.
type program struct{ folder, of string }

// module is one that a program is built from.
type module struct{ path, version, folder string }

// exceptions are modules whose licence is not to be read from their text, by path, with the reason why they may be used.
var exceptions = map[string]string{
	"github.com/jinzhu/configor":          "its README says that it is under the MIT License",
	"github.com/golangci/gofmt":           "a copy of Go's gofmt, whose licence is in its folder internal",
	"github.com/hashicorp/consul-net-rpc": "a copy of Go's net/rpc, whose files say that they are under Go's licence",
}

// tags are build tags, by program, as in test/tools/build.
var tags = map[string]string{
	"github.com/prometheus/prometheus/cmd/prometheus": "remove_all_sd,enable_file_sd",
	"github.com/prometheus/prometheus/cmd/promtool":   "remove_all_sd,enable_file_sd",
}

func main() {
	all := flag.Bool("v", false, "list all modules and their licences")
	flag.Parse()
	known, breaches, err := check(context.Background(), ".")
	if err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
	if *all {
		for _, line := range known {
			fmt.Println(line)
		}
	}
	for _, b := range breaches {
		fmt.Fprintln(os.Stderr, "licences:", b)
	}
	if len(breaches) > 0 {
		os.Exit(1)
	}
	fmt.Printf("licences: %d modules, all open source\n", len(known))
}

// check gives each module with its licence, and what is wrong.
func check(ctx context.Context, root string) (known, breaches []string, err error) {
	table, err := os.ReadFile(filepath.Join(root, "test", "tools", "build"))
	if err != nil {
		return nil, nil, err
	}
	root, err = filepath.Abs(root)
	if err != nil {
		return nil, nil, err
	}
	modules := map[module]string{}
	for _, p := range append([]program{{".", "./operator"}, {"webhooks/loadtester", "./cmd"}}, tools(string(table))...) {
		linked, err := linkedBy(ctx, filepath.Join(root, p.folder), p.of)
		if err != nil {
			return nil, nil, fmt.Errorf("%s in %s: %w", p.of, p.folder, err)
		}
		for _, m := range linked {
			if m.folder != root && !strings.HasPrefix(m.folder, root+string(filepath.Separator)) { // those are this repository's own
				modules[m] = p.folder
			}
		}
	}
	used := map[string]bool{}
	for _, m := range slices.SortedFunc(maps.Keys(modules), func(a, b module) int {
		return cmp.Or(strings.Compare(a.path, b.path), strings.Compare(a.version, b.version))
	}) {
		licence, err := licenceOf(m.folder)
		if reason, ok := exceptions[m.path]; ok && err != nil {
			licence, err, used[m.path] = "exception: "+reason, nil, true
		}
		if err != nil {
			breaches = append(breaches, fmt.Sprintf("%s %s, of which %s is built: %v", m.path, m.version, modules[m], err))
			continue
		}
		known = append(known, fmt.Sprintf("%s %s: %s", m.path, m.version, licence))
	}
	for path := range exceptions {
		if !used[path] {
			breaches = append(breaches, path+" needs no exception any more")
		}
	}
	return known, breaches, nil
}

// tools are the programs of the table in test/tools/build.
func tools(table string) []program {
	var out []program
	for _, row := range regexp.MustCompile(`(?m)^[a-z-]+ +\| (\S+) +\| (\S+) +\| +\d+$`).FindAllStringSubmatch(table, -1) {
		out = append(out, program{"test/tools/" + row[1], row[2]})
	}
	return out
}

// linkedBy gives the modules whose packages a program is built from.
func linkedBy(ctx context.Context, folder, of string) ([]module, error) {
	list := exec.CommandContext(ctx, "go", "list", "-deps", "-tags", tags[of], "-f", "{{with .Module}}{{.Path}} {{.Version}} {{with .Replace}}{{.Dir}}{{else}}{{.Dir}}{{end}}{{end}}", of) //nolint:gosec // the programs are those of the table
	list.Dir = folder
	list.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	out, err := list.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, err
	}
	seen := map[module]bool{}
	for line := range strings.SplitSeq(string(out), "\n") {
		parts := strings.SplitN(line, " ", 3)
		if len(parts) == 3 {
			seen[module{parts[0], parts[1], parts[2]}] = true
		}
	}
	return slices.Collect(maps.Keys(seen)), nil
}

// licences are those that the Open Source Initiative has approved, or that give more, by what only their texts have.
var licences = []struct {
	name string
	text []string
}{
	{"AGPL-3.0", []string{"gnu affero general public license", "version 3"}},
	{"LGPL", []string{"gnu lesser general public license"}},
	{"GPL", []string{"gnu general public license"}},
	{"Apache-2.0", []string{"apache license", "version 2.0"}},
	{"MPL-2.0", []string{"mozilla public license", "2.0"}},
	{"BSD", []string{"redistribution and use in source and binary forms"}},
	{"MIT", []string{"permission is hereby granted, free of charge, to any person obtaining a copy"}},
	{"ISC", []string{"permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted"}},
	{"ISC", []string{"permission to use, copy, modify, and distribute this software for any purpose with or without fee is hereby granted"}},
	{"Unlicense", []string{"this is free and unencumbered software released into the public domain"}},
	{"CC0-1.0", []string{"cc0 1.0 universal"}},
	{"0BSD", []string{"permission to use, copy, modify, and/or distribute this software for any purpose with or without fee"}},
}

// closed are terms by which a text is no open source licence, whatever else it says.
var closed = []string{"business source license", "server side public license", "commons clause", "elastic license", "confluent community license"}

var (
	isLicence = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying)(s)?([.\-_].*)?$`)
	isGo      = regexp.MustCompile(`\.(go|json|ya?ml)$`)
)

// licenceOf reads the licence of a module: one that is known, and beside it none that is known not to be open source.
func licenceOf(folder string) (string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return "", fmt.Errorf("its source is not there: %w", err)
	}
	var names, others []string
	for _, e := range entries {
		if e.IsDir() || !isLicence.MatchString(e.Name()) || isGo.MatchString(e.Name()) {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return "", err
		}
		name, err := named(raw)
		if err != nil {
			return "", fmt.Errorf("%s: %w", e.Name(), err)
		}
		if name == "" {
			others = append(others, e.Name())
			continue
		}
		names = append(names, name)
	}
	if len(names) == 0 && len(others) > 0 {
		return "", fmt.Errorf("%s: no licence that is known to be open source", strings.Join(others, ", "))
	}
	if len(names) == 0 {
		return "", errors.New("it has no licence")
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " and "), nil
}

// named tells which licence a text is, empty for one that is not known. The error is for one that is not open source.
func named(raw []byte) (string, error) {
	text := strings.Join(strings.Fields(string(bytes.ToLower(raw))), " ")
	for _, term := range closed {
		if strings.Contains(text, term) {
			return "", fmt.Errorf("not open source: %q", term)
		}
	}
	for _, l := range licences {
		if !slices.ContainsFunc(l.text, func(part string) bool { return !strings.Contains(text, part) }) {
			return l.name, nil
		}
	}
	return "", nil
}
