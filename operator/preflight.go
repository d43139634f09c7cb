package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	chart "github.com/sluice-delivery/sluice/charts/sluice"
	"github.com/sluice-delivery/sluice/operator/assembly"
	"github.com/sluice-delivery/sluice/operator/handover"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/preflight"
	"github.com/sluice-delivery/sluice/providers/factory"
)

// preflightCommand is the first argument of the command line that tells what would become of what there is.
const preflightCommand = "preflight"

// Values of -o.
const (
	outputTable = "table"
	outputJSON  = "json"
)

// exitError ends the process with a status of its own.
type exitError struct {
	status int
	err    error // nil where all is said already
}

// Error implements error.
func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

// Unwrap gives access to what went wrong.
func (e *exitError) Unwrap() error { return e.err }

// preflightOptions are the command line of the preflight: the operator's own, and how to look.
type preflightOptions struct {
	options

	files  []string
	output string
	strict bool
	dryRun bool
}

const preflightUsage = `sluice preflight tells what would become of Canaries, MetricTemplates and AlertProviders. It only reads, and needs no operator.

  sluice preflight                       of the cluster that kubectl talks to
  sluice preflight -f manifests/ -f -    of files, folders and standard input

It exits with 0 where all are served, 1 where one is refused, and 2 where not everything could be looked at.
Beside its own flags -f, -o, -dry-run and -fail-on-differences it takes those of the operator; give it those that yours will have:

`

func parsePreflight(args []string, output io.Writer) (preflightOptions, error) {
	o := preflightOptions{}
	f := flag.NewFlagSet("sluice "+preflightCommand, flag.ContinueOnError)
	f.SetOutput(output)
	f.Usage = func() {
		fmt.Fprint(output, preflightUsage)
		f.PrintDefaults()
	}
	o.register(f)
	f.Func("f", "file or folder of manifests, or - for standard input; may be given often. With it no cluster is looked at, but for that of an explicit -kubeconfig", func(path string) error {
		o.files = append(o.files, path)
		return nil
	})
	f.StringVar(&o.output, "o", outputTable, "how the report is written: "+outputTable+" or "+outputJSON)
	f.BoolVar(&o.dryRun, "dry-run", false, "have the API server of -kubeconfig judge the manifests of -f, too, by dry runs, which write nothing and need the rights to write")
	f.BoolVar(&o.strict, "fail-on-differences", false, "exit with 1 where something is served in another way, too")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.dryRun && (len(o.files) == 0 || o.kubeconfig == "") {
		return o, errors.New("-dry-run: it is for manifests of -f and the cluster of -kubeconfig, and needs both")
	}
	if o.output != outputTable && o.output != outputJSON {
		return o, fmt.Errorf("-o: %q is neither %s nor %s", o.output, outputTable, outputJSON)
	}
	return o, o.complete(f)
}

// runPreflight tells what would become of the Canaries, MetricTemplates and AlertProviders of a cluster or of files. It
// only reads. The error is an exitError.
func runPreflight(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	o, err := parsePreflight(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	var report preflight.Report
	if err == nil {
		report, err = lookAhead(ctx, o, stdin)
	}
	if err == nil {
		write := report.Table
		if o.output == outputJSON {
			write = report.JSON
		}
		err = write(stdout)
	}
	if err != nil {
		return &exitError{preflight.ExitUnknown, err}
	}
	if status := report.Exit(o.strict); status != preflight.ExitServed {
		return &exitError{status: status}
	}
	return nil
}

// lookAhead makes the report.
func lookAhead(ctx context.Context, o preflightOptions, stdin io.Reader) (preflight.Report, error) {
	var report preflight.Report
	objects, unread, err := readFiles(o.files, stdin)
	if err != nil {
		return report, err
	}
	report.Unread = unread
	config, live, err := clusterToLookAt(o)
	if err != nil {
		return report, err
	}
	scheme, err := newScheme()
	if err != nil {
		return report, err
	}
	schemas, err := preflight.ReadSchemas(chart.CRDs)
	if err != nil {
		return report, err
	}
	fit, refused := schemas.Fits(objects)
	mapper := assembly.EveryKind(scheme)
	var reader client.Reader
	var writer client.Writer
	if live {
		c, err := client.New(config, client.Options{Scheme: scheme})
		if err != nil {
			return report, fmt.Errorf("client: %w", err)
		}
		reader, writer, mapper = c, c, c.RESTMapper()
		if err := preflight.KnownTo(ctx, reader, fit); err != nil {
			return report, err
		}
		if err := handover.RefuseBesideFlagger(ctx, config, o.namespaces, clock.RealClock{}); err != nil {
			report.Notes = append(report.Notes, err.Error())
		}
	}
	view := preflight.NewView(scheme, fit, reader, mapper)
	judge, err := newJudge(ctx, view, config, o.options)
	if err != nil {
		return report, err
	}
	judge.Schemas, judge.Cluster, judge.Found = schemas, live, refused
	if o.dryRun {
		judge.DryRun = writer
	}
	report.Findings, err = findings(ctx, judge, o.namespaces, sourcesOfFiles(objects, len(o.files) > 0))
	preflight.Sort(report.Findings)
	if err == nil && len(report.Findings) == 0 {
		report.Notes = append(report.Notes, "there is no Canary, MetricTemplate or AlertProvider in what was looked at")
	}
	return report, err
}

// readFiles gives the objects of files, and what of them could not be read.
func readFiles(paths []string, stdin io.Reader) (objects []preflight.Object, unread []string, err error) {
	for _, path := range paths {
		of, notOf, err := preflight.Read(path, stdin)
		if err != nil {
			return nil, nil, err
		}
		objects = append(objects, of...)
		unread = append(unread, notOf...)
	}
	return objects, unread, nil
}

// findings are those of some namespaces, none for all, as far as they could be looked at.
func findings(ctx context.Context, judge *preflight.Operator, namespaces []string, sources map[types.UID]string) ([]preflight.Finding, error) {
	var out []preflight.Finding
	for _, namespace := range kube.Each(namespaces) {
		found, err := judge.All(ctx, namespace, sources)
		if err != nil {
			return out, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// clusterToLookAt is the one to look at, if any.
func clusterToLookAt(o preflightOptions) (config *rest.Config, live bool, err error) {
	if len(o.files) > 0 && o.kubeconfig == "" {
		return &rest.Config{}, false, nil
	}
	config, err = kubeConfig(o.kubeconfig, o.options)
	return config, err == nil, err
}

// sourcesOfFiles names the file that each object is from; nil where the objects of a cluster are looked at.
func sourcesOfFiles(objects []preflight.Object, files bool) map[types.UID]string {
	if !files {
		return nil
	}
	out := map[types.UID]string{}
	for _, o := range objects {
		out[o.GetUID()] = o.Source
	}
	return out
}

// newJudge wires what decides in the operator with a view of what there is.
func newJudge(ctx context.Context, view *preflight.View, config *rest.Config, o options) (*preflight.Operator, error) {
	to, err := newOutbound(ctx, config, view, view, o)
	if err != nil {
		return nil, err
	}
	answers, err := sourcesOf(o, config, view, to)
	if err != nil {
		return nil, err
	}
	receivers, err := alertsOf(o, view, to)
	if err != nil {
		return nil, err
	}
	return assembly.Ahead{
		Options: partsOf(o), View: view, Provider: o.meshProvider,
		Router: o.scope.router, Kinds: o.scope.watches(),
		Routers: factory.Deps{IngressPrefix: o.ingressPrefix, IngressClass: o.ingressClass, Remote: o.meshKubeconfig != "", Consul: o.consul},
		Sources: answers, Alerts: receivers, Hooks: to.hooks, Secrets: to.secrets,
		StrictMetrics: o.metrics.strict, NoCrossNamespace: o.alerts.noCrossNamespaceRefs, Clock: clock.RealClock{}, Version: version,
	}.Judge(ctx)
}
