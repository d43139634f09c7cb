package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// program is one that is published.
type program struct {
	name   string
	module string // folder of its module in the checkout
	pkg    string // package, from there
	title  string
	image  bool // whether it is published as an image
	// systems are those that an archive of it is published for, beside Linux; none means no archive.
	systems []string
	// plugin has a manifest written by which krew installs it.
	plugin bool
}

// binary is the file name of a program.
func (p program) binary(system string) string {
	if system == "windows" {
		return p.name + ".exe"
	}
	return p.name
}

var programs = []program{
	{name: "sluice", module: ".", pkg: "./operator", title: "Progressive delivery operator for Kubernetes", image: true},
	{name: "sluice-loadtester", module: "webhooks/loadtester", pkg: "./cmd", title: "Load tests, acceptance tests and gates for canary releases", image: true},
	{
		name: "kubectl-sluice", module: ".", pkg: "./operator/cli/cmd", title: "See progressive releases, know why, take a hand",
		systems: []string{"linux", "darwin", "windows"}, plugin: true,
	},
}

// program builds one for every architecture and makes all of it that is published.
func (m *maker) program(ctx context.Context, p program) error {
	scratch, err := os.MkdirTemp("", "release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	if p.image {
		if err := m.image(ctx, p, scratch); err != nil {
			return err
		}
	}
	for _, system := range p.systems {
		for _, arch := range m.arches {
			if err := m.archive(ctx, p, scratch, system, arch); err != nil {
				return err
			}
		}
	}
	if p.plugin {
		return m.krew(p)
	}
	return nil
}

// build compiles a program to a static binary that holds no path of this machine.
func (m *maker) build(ctx context.Context, p program, folder, system, arch string) (string, error) {
	binary := filepath.Join(folder, system+"-"+arch, p.binary(system))
	abs, err := filepath.Abs(binary)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -buildid= -X main.version="+m.version, "-o", abs, p.pkg)
	cmd.Dir = filepath.Join(m.root, p.module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOOS="+system, "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build for %s/%s: %w\n%s", system, arch, err, out)
	}
	return abs, nil
}

// git is the output of a command of git in the checkout.
func (m *maker) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", m.root}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
