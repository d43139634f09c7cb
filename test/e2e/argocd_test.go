package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// argoCD is Argo CD's engine with an application of automated sync, prune and self-heal, and what docs/gitops.md has it ignore.
type argoCD struct {
	t       *testing.T
	folder  string
	program *cluster.Program
}

func startArgoCD(a *app) gitTool {
	return runArgoCD(a, "Deployment/podinfo:spec.replicas", "VirtualService/podinfo:spec.http",
		"Service/podinfo:spec.selector", "Service/podinfo:spec.ports", "Service/podinfo:metadata.labels.app")
}

// runArgoCD has it ignore the given fields.
func runArgoCD(a *app, ignored ...string) *argoCD {
	a.t.Helper()
	binary, err := cluster.Binary("argocd-sync")
	a.must(err)
	folder := a.t.TempDir()
	argv := []string{binary, "-kubeconfig=" + a.Rig.Kubeconfig(), "-namespace=" + a.Namespace, "-app=" + rig.Name, "-folder=" + folder}
	for _, field := range ignored {
		argv = append(argv, "-ignore="+field)
	}
	p, err := a.StartProgram("argocd-"+a.Namespace, nil, argv...)
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

// inSync objects to a program that has ended; that there is nothing to do is seen at the end, by what was written.
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

// TestHealthInArgoCD holds the table of docs/gitops.md against Argo CD's own health check.
func TestHealthInArgoCD(t *testing.T) {
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	docs, err := os.ReadFile(filepath.Join(root, "docs", "gitops.md")) //nolint:gosec // of this repository
	if err != nil {
		t.Fatal(err)
	}
	binary, err := cluster.Binary("argocd-sync")
	if err != nil {
		t.Fatal(err)
	}
	for _, phase := range []v1beta1.CanaryPhase{
		v1beta1.PhaseInitializing, v1beta1.PhaseInitialized, v1beta1.PhaseWaiting, v1beta1.PhaseProgressing, v1beta1.PhaseWaitingPromotion, v1beta1.PhasePromoting,
		v1beta1.PhaseFinalising, v1beta1.PhaseSucceeded, v1beta1.PhaseFailed, v1beta1.PhaseTerminating,
	} {
		c := &v1beta1.Canary{TypeMeta: metav1.TypeMeta{APIVersion: "flagger.app/v1beta1", Kind: "Canary"}, ObjectMeta: metav1.ObjectMeta{Name: rig.Name}}
		c.Status.Phase = phase
		c.Status.Conditions = []v1beta1.CanaryCondition{{Type: v1beta1.ConditionPromoted, Message: "as it is"}}
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), binary, "-health") //nolint:gosec // argocd-sync
		cmd.Stdin = bytes.NewReader(raw)
		out, err := cmd.Output()
		var is struct{ Status string }
		if err = errors.Join(err, json.Unmarshal(out, &is)); err != nil {
			t.Fatalf("%s: %v", phase, err)
		}
		if row := "| " + string(phase) + " | " + is.Status; !bytes.Contains(docs, []byte(row)) {
			t.Errorf("docs/gitops.md has no row %q", row)
		}
	}
}
