package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLicenceOf(t *testing.T) {
	const (
		mit = "MIT License\n\nPermission is hereby granted, free of charge, to any\nperson obtaining a copy of this software"
		bsl = "License text copyright (c) 2020 MariaDB\n\nBusiness Source License 1.1\n\nChange License: Mozilla Public License 2.0"
	)
	for name, tc := range map[string]struct {
		files map[string]string
		want  string // or what the error says
		fails bool
	}{
		"MIT":              {map[string]string{"LICENSE": mit, "a.go": ""}, "MIT", false},
		"in British":       {map[string]string{"LICENCE.md": mit}, "MIT", false},
		"two":              {map[string]string{"LICENSE-MIT": mit, "COPYING": "GNU GENERAL PUBLIC LICENSE\nVersion 3"}, "GPL and MIT", false},
		"none":             {map[string]string{"README": mit}, "no licence", true},
		"not open source":  {map[string]string{"LICENSE": bsl}, "business source license", true},
		"one of them not":  {map[string]string{"LICENSE": mit, "LICENSE.enterprise": bsl}, "business source license", true},
		"of nobody's kind": {map[string]string{"LICENSE": "All rights reserved."}, "no licence that is known", true},
		"a Go file":        {map[string]string{"license.go": mit}, "no licence", true},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			for file, text := range tc.files {
				if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := licenceOf(folder)
			if tc.fails && (err == nil || !strings.Contains(err.Error(), tc.want)) || !tc.fails && (err != nil || got != tc.want) {
				t.Errorf("got %q and %v, want %q", got, err, tc.want)
			}
		})
	}
}

func TestTools(t *testing.T) {
	table, err := os.ReadFile("../tools/build")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range tools(string(table)) {
		all = append(all, p.folder)
	}
	for _, folder := range []string{"test/tools/etcd", "test/tools/istio", "test/tools/govulncheck"} {
		if !strings.Contains(strings.Join(all, " "), folder) {
			t.Errorf("%s is not among %v", folder, all)
		}
	}
}
