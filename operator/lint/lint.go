// Package lint judges manifests of files without a cluster: by the schemas and their rules, as an API server does, and by
// what decides in the operator.
package lint

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	metricfactory "github.com/sluice-delivery/sluice/metrics/factory"
	"github.com/sluice-delivery/sluice/operator/alerting"
	"github.com/sluice-delivery/sluice/operator/assembly"
	"github.com/sluice-delivery/sluice/operator/preflight"
	"github.com/sluice-delivery/sluice/operator/secrets"
	"github.com/sluice-delivery/sluice/operator/sources"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers/factory"
	"github.com/sluice-delivery/sluice/webhooks"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
	alertfactory "github.com/sluice-delivery/sluice/webhooks/alerts/factory"
)

// Severity is how bad a finding is.
type Severity string

// Severities, as SARIF has them.
const (
	// Error is what is refused.
	Error Severity = "error"
	// Warning is what is taken and does not do what it says.
	Warning Severity = "warning"
	// Note is what could not be judged, as it is not among the files.
	Note Severity = "note"
)

// Rule is what found it.
type Rule string

// Rules.
const (
	// RuleSyntax: a file is no YAML or JSON.
	RuleSyntax Rule = "syntax"
	// RuleSchema: the API server refuses it by the schema or by a rule of it.
	RuleSchema Rule = "schema"
	// RuleTwice: two files have the same object.
	RuleTwice Rule = "twice"
	// RuleRefused: the operator does not serve it.
	RuleRefused Rule = "refused"
	// RuleNoEffect: something of it is served in another way than it says.
	RuleNoEffect Rule = "no-effect"
	// RuleReference: it names something that is not among the files.
	RuleReference Rule = "reference"
)

// rules say what each of them is about.
var rules = []struct {
	id   Rule
	text string
}{
	{RuleSyntax, "The file is no YAML or JSON"},
	{RuleSchema, "The API server refuses the object by its schema or by a rule of it"},
	{RuleTwice, "Two documents have the same object"},
	{RuleRefused, "The operator does not serve the object as it is"},
	{RuleNoEffect, "A field has no effect, or another one than it says"},
	{RuleReference, "The object names something that is not among the files"},
}

// Finding is something that was found.
type Finding struct {
	File      string   `json:"file"`
	Line      int      `json:"line,omitempty"`
	Kind      string   `json:"kind,omitempty"`
	Namespace string   `json:"namespace,omitempty"`
	Name      string   `json:"name,omitempty"`
	Severity  Severity `json:"severity"`
	Rule      Rule     `json:"rule"`
	Message   string   `json:"message"`
}

// Options say how is judged.
type Options struct {
	// Provider is the mesh provider of Canaries that name none.
	Provider string
	// Complete says that the files have all that there is, so that what is not among them is missing.
	Complete bool
	// NoCrossNamespace refuses references to other namespaces.
	NoCrossNamespace bool
	// Stdin is read where a path is "-".
	Stdin io.Reader
	// Clock tells the time.
	Clock clock.WithTicker
	// Version is that of the program.
	Version string
}

// Report is what was found.
type Report struct {
	Findings []Finding `json:"findings"`
	// Objects is how many objects were judged.
	Objects int `json:"objects"`
}

// Worst tells whether anything was found that is as bad, or worse.
func (r Report) Worst(s Severity) bool {
	order := []Severity{Note, Warning, Error}
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return slices.Index(order, f.Severity) >= slices.Index(order, s) })
}

// linter judges the objects of some files.
type linter struct {
	Options

	report  Report
	objects []preflight.Object
	lines   map[string]*positions
}

// Files judges files, folders and standard input ("-"). The error is about what can't be judged at all.
func Files(ctx context.Context, paths []string, o Options) (Report, error) {
	l := &linter{Options: o, lines: map[string]*positions{}}
	for _, path := range paths {
		if err := l.read(path); err != nil {
			return l.report, err
		}
	}
	schemas, err := readSchemas(ctx)
	if err != nil {
		return l.report, err
	}
	l.twice()
	refused := map[types.UID]bool{}
	fit, found := schemas.Fits(l.objects)
	for _, f := range found {
		l.all(f, f.Refusals, Error, RuleSchema)
	}
	for _, u := range fit {
		wrong := schemas.Refuses(ctx, u)
		refused[u.GetUID()] = len(wrong) > 0
		l.all(preflight.Finding{Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName(), Source: l.source(u.GetUID())}, wrong, Error, RuleSchema)
	}
	if err := l.judge(ctx, schemas.Schemas, fit, refused); err != nil {
		return l.report, err
	}
	slices.SortStableFunc(l.report.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	l.report.Findings = slices.Compact(l.report.Findings)
	return l.report, nil
}

// read adds the objects of a path. What can't be read is a finding, but for a path that is not there.
func (l *linter) read(path string) error {
	if path == "-" {
		raw, err := io.ReadAll(l.Stdin)
		if err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
		l.content("-", "stdin", raw)
		return nil
	}
	return filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("read manifests: %w", err)
		case entry.IsDir() || file != path && !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file)):
			return nil
		}
		raw, err := os.ReadFile(file) //nolint:gosec // the user names it
		if err != nil {
			return fmt.Errorf("read manifests: %w", err)
		}
		l.content(file, file, raw)
		return nil
	})
}

func (l *linter) content(path, source string, raw []byte) {
	objects, _, err := preflight.Read(path, bytes.NewReader(raw))
	if err != nil {
		l.report.Findings = append(l.report.Findings, Finding{File: source, Severity: Error, Rule: RuleSyntax, Message: err.Error()})
		return
	}
	l.lines[source] = positionsOf(raw)
	for _, o := range objects {
		if ours(o.Unstructured) {
			l.report.Objects++
		}
	}
	l.objects = append(l.objects, objects...)
}

// ours tells whether an object is of a kind that is judged.
func ours(o *unstructured.Unstructured) bool {
	group := o.GroupVersionKind().Group
	return group == v1beta1.GroupVersion.Group || group == v1alpha1.GroupVersion.Group
}

// twice finds objects that are there more than once.
func (l *linter) twice() {
	seen := map[string]string{}
	for _, o := range l.objects {
		if !ours(o.Unstructured) {
			continue
		}
		key := o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
		if first, again := seen[key]; again {
			l.add(preflight.Finding{Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName(), Source: o.Source},
				"metadata.name: the same object is in "+first+" already", Error, RuleTwice)
			continue
		}
		seen[key] = o.Source
	}
}

// source is the file of an object.
func (l *linter) source(uid types.UID) string {
	for _, o := range l.objects {
		if o.GetUID() == uid {
			return o.Source
		}
	}
	return ""
}

func (l *linter) all(of preflight.Finding, messages []string, s Severity, r Rule) {
	for _, m := range messages {
		l.add(of, m, s, r)
	}
}

func (l *linter) add(of preflight.Finding, message string, s Severity, r Rule) {
	f := Finding{File: of.Source, Kind: of.Kind, Namespace: of.Namespace, Name: of.Name, Severity: s, Rule: r, Message: v1beta1.OneLine(message, 4096)}
	f.Line = l.lines[of.Source].line(of.Kind, of.Namespace, of.Name, message)
	l.report.Findings = append(l.report.Findings, f)
}

// judge asks what decides in the operator. Objects that the API server refuses never come to it.
func (l *linter) judge(ctx context.Context, schemas preflight.Schemas, fit []*unstructured.Unstructured, refused map[types.UID]bool) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1beta1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme), factory.AddToScheme(scheme)); err != nil {
		return fmt.Errorf("scheme: %w", err)
	}
	view := preflight.NewView(scheme, fit, nil, assembly.EveryKind(scheme))
	operator, err := l.operator(ctx, view)
	if err != nil {
		return err
	}
	operator.Schemas, operator.Cluster = schemas, l.Complete
	of := map[types.UID]string{}
	for _, o := range l.objects {
		if !refused[o.GetUID()] {
			of[o.GetUID()] = o.Source
		}
	}
	found, err := operator.All(ctx, "", of)
	if err != nil {
		return err
	}
	for _, f := range found {
		l.all(f, f.Refusals, Error, RuleRefused)
		l.all(f, f.Differences, Warning, RuleNoEffect)
		l.all(f, f.NotLooked, Note, RuleReference)
	}
	return nil
}

// operator is what decides, as an operator with default flags has it.
func (l *linter) operator(ctx context.Context, view *preflight.View) (*preflight.Operator, error) {
	guard, err := webhooks.NewGuard(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	reader := secrets.New(view, view, !l.NoCrossNamespace)
	kit := alerts.Kit{Transport: guard.Transport, CheckURL: guard.CheckURL, Threads: alerts.NewThreads(), Clock: l.Clock}
	return assembly.Ahead{
		Options: assembly.Options{Objects: workload.Options{SelectorLabels: workload.DefaultSelectorLabels()}, IstioRootNamespace: "istio-system"},
		View:    view, Provider: l.Provider, Router: factory.New,
		Sources: &sources.Sources{
			Reader: view, Secrets: reader, New: metricfactory.New, Operator: sources.Operator{Address: "http://prometheus:9090"},
			NoCrossNamespace: l.NoCrossNamespace, Guard: guard, CloudIdentity: []string{"*"}, Kubernetes: &rest.Config{}, Clock: l.Clock,
		},
		Alerts: &alerting.Alerts{
			Reader: view, Secret: reader.Data, Clock: l.Clock, NoCrossNamespace: l.NoCrossNamespace,
			New: func(r alerts.Receiver) (alerts.Sender, error) { return alertfactory.New(r, kit) },
		},
		Hooks: guard, Secrets: reader, NoCrossNamespace: l.NoCrossNamespace, Clock: l.Clock, Version: l.Version,
	}.Judge(ctx)
}
