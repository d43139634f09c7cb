package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// argoCD is Argo CD's engine with an application of automated sync, prune and self-heal, and what docs/gitops.md has it ignore.
type argoCD struct {
	t       *testing.T
	folder  string
	program *cluster.Program
	since   time.Time
}

func startArgoCD(a *app) gitTool {
	a.t.Helper()
	binary, err := cluster.Binary("argocd-sync")
	a.must(err)
	folder := a.t.TempDir()
	p, err := a.StartProgram("argocd-"+a.Namespace, nil, binary, "-kubeconfig="+a.Rig.Kubeconfig(), "-namespace="+a.Namespace, "-app="+rig.Name, "-folder="+folder,
		"-ignore=Deployment/podinfo:spec.replicas",
		"-ignore=VirtualService/podinfo:spec.http", "-ignore=Service/podinfo:spec.selector", "-ignore=Service/podinfo:spec.ports", "-ignore=Service/podinfo:metadata.labels.app")
	a.must(err)
	a.t.Cleanup(func() {
		if a.t.Failed() {
			raw, err := os.ReadFile(p.Log())
			a.t.Logf("what Argo CD did (%v)\n%s", err, raw)
		}
		p.Stop(time.Second)
	})
	return &argoCD{t: a.t, folder: folder, program: p}
}

func (c *argoCD) commit(manifests []byte) {
	c.t.Helper()
	next := filepath.Join(c.folder, ".next")
	if err := errors.Join(os.WriteFile(next, manifests, 0o600), os.Rename(next, filepath.Join(c.folder, "app.yaml"))); err != nil {
		c.t.Fatal(err)
	}
	c.since = time.Now()
}

// lines are what the program printed.
func (c *argoCD) lines() (out []argoLine) {
	c.t.Helper()
	raw, err := os.ReadFile(c.program.Log())
	if err != nil {
		c.t.Fatal(err)
	}
	for s := bufio.NewScanner(bytes.NewReader(raw)); s.Scan(); {
		var l argoLine
		if json.Unmarshal(s.Bytes(), &l) == nil {
			out = append(out, l)
		}
	}
	return out
}

// argoLine is a line of argocd-sync.
type argoLine struct {
	Synced []string
	Failed string
	Health map[string]string
}

func (c *argoCD) inSync(context.Context) error { return c.program.Err() }

func (c *argoCD) writes() (out [][]string) {
	for _, l := range c.lines() {
		if len(l.Synced) > 0 {
			out = append(out, l.Synced)
		}
		if l.Failed != "" {
			c.t.Errorf("Argo CD could not: %s", l.Failed)
		}
	}
	return out
}
