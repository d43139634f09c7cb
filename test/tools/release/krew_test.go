package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestKrew has a manifest with the checksum of each archive.
func TestKrew(t *testing.T) {
	m := &maker{out: t.TempDir(), version: "1.2.3", arches: []string{"amd64"}}
	p := program{name: "kubectl-hello", title: "Say hello", systems: []string{"linux", "windows"}}
	if err := m.krew(p); err == nil {
		t.Error("a manifest without its archives")
	}
	for _, system := range p.systems {
		if err := os.WriteFile(m.archiveOf(p, system, "amd64"), []byte(system), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.krew(p); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(m.file("kubectl-hello.krew.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"name: hello\n", "version: v1.2.3\n", "shortDescription: Say hello\n",
		"matchLabels: {os: windows, arch: amd64}\n      uri: " + downloads + "v1.2.3/kubectl-hello_1.2.3_windows_amd64.tar.gz\n" +
			fmt.Sprintf("      sha256: %x\n", sha256.Sum256([]byte("windows"))) + "      bin: kubectl-hello.exe\n",
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("it does not have %q:\n%s", want, got)
		}
	}
}
