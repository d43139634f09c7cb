package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/sluice-delivery/sluice/operator/tracing"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers/factory"
)

// options are what the command line says. Flags that mean what one of
// Flagger's does have its name.
type options struct {
	kubeconfig         string
	meshKubeconfig     string
	meshProvider       string
	ingressPrefix      string
	ingressClass       string
	metrics            metricOptions
	namespaces         []string
	logLevel           string
	logEncoding        string
	master             string
	version            bool
	ignored            []ignoredFlag
	port               int
	workers            int
	checksConcurrency  int
	qps                float64
	burst              int
	pprofAddress       string
	leader             leaderOptions
	coverage           string
	istioRootNamespace string
	configTracking     bool
	releasesPerConfig  int
	hooks              hookOptions
	outbound           outboundOptions
	scope              scopeOptions
	server             serverOptions
	dashboard          dashboardOptions
	approvals          approvalOptions
	alerts             alertOptions
	consul             factory.Consul
	tracing            tracing.Options
	objects            workload.Options
}

func parseFlags(args []string, output io.Writer) (options, error) {
	o := options{}
	f := flag.NewFlagSet("sluice", flag.ContinueOnError)
	f.SetOutput(output)
	o.register(f)
	if err := f.Parse(args); err != nil {
		return o, err
	}
	return o, o.complete(f)
}

// register adds all flags of the operator.
func (o *options) register(f *flag.FlagSet) {
	o.objects = workload.Options{SelectorLabels: workload.DefaultSelectorLabels()}
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; without it $KUBECONFIG, else the service account of the pod")
	f.StringVar(&o.meshKubeconfig, "kubeconfig-service-mesh", "", "kubeconfig file of the cluster that has the objects of the mesh; without it the Canaries' own")
	f.StringVar(&o.meshProvider, "mesh-provider", "istio", "mesh provider of Canaries that name none")
	f.StringVar(&o.ingressPrefix, "ingress-annotations-prefix", factory.IngressPrefix, "what the annotations of ingress-nginx begin with")
	f.StringVar(&o.ingressClass, "ingress-class", "", "ingress class of the HTTPProxies of provider contour; without it Contour's default")
	o.metrics.register(f)
	f.Var((*list)(&o.namespaces), "namespace", "watch these namespaces only, comma separated; all without it")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn (or warning) or error")
	f.StringVar(&o.logEncoding, "zap-encoding", encodingJSON, "how the log is written: json, or console for people")
	f.StringVar(&o.master, "master", "", "address of the API server, in place of the one in the kubeconfig")
	f.BoolVar(&o.version, "version", false, "print the version and end")
	f.IntVar(&o.port, "port", 8080, "port of /metrics, /healthz and /readyz; 0 for none")
	f.StringVar(&o.pprofAddress, "pprof-address", "", "address of Go's profiling endpoints, such as 127.0.0.1:6060; none without it")
	f.IntVar(&o.workers, "threadiness", 16, "how many Canaries are reconciled at once")
	f.IntVar(&o.checksConcurrency, "checks-concurrency", 64, "how many metric queries may be under way at once")
	f.Float64Var(&o.qps, "kubeconfig-qps", -1, "limit of requests to the API server in a second; -1 leaves it to the server's own fairness")
	f.IntVar(&o.burst, "kubeconfig-burst", 0, "requests above -kubeconfig-qps in a burst")
	f.Var((*list)(&o.objects.SelectorLabels), "selector-labels", "labels, comma separated, that may tell a primary's pods from its target's")
	f.Var((*list)(&o.objects.IncludeLabelPrefixes), "include-label-prefix", "prefixes, comma separated, of labels and annotations that a primary carries like its target; * for all")
	f.StringVar(&o.coverage, "coverage", coverageReport, "what is done about objects that select a target's pods by label and not its primary's: none, report, or copy, which also allows spec.coverage.mode Copy")
	f.StringVar(&o.istioRootNamespace, "istio-root-namespace", "istio-system", "namespace whose Istio policies are for all namespaces")
	f.BoolVar(&o.configTracking, "enable-config-tracking", true, "release changes of the ConfigMaps and Secrets that a target uses, and give its primary copies of them")
	f.IntVar(&o.releasesPerConfig, "max-releases-per-config", 50, "how many of the releases that a change of one ConfigMap or Secret begins are under way at once; 0 for any number")
	o.leader.register(f)
	o.outbound.register(f)
	o.hooks.register(f)
	o.alerts.register(f)
	o.scope.register(f)
	o.server.register(f)
	o.tracing.Register(f)
	o.dashboard.register(f)
	o.approvals.register(f)
	consulFlags(f, &o.consul)
	ignoredFlags(f, &o.ignored)
}

// complete checks what the command line says, and fills in what depends on it.
func (o *options) complete(f *flag.FlagSet) error {
	switch {
	case f.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.logEncoding != encodingJSON && o.logEncoding != encodingConsole:
		return fmt.Errorf("-zap-encoding: %q is none of %s, %s", o.logEncoding, encodingJSON, encodingConsole)
	case o.port < 0 || o.port > 65535:
		return fmt.Errorf("-port: %d is not 0 to 65535", o.port)
	case o.workers < 1:
		return fmt.Errorf("-threadiness: %d is not 1 or more", o.workers)
	case o.checksConcurrency < 1:
		return fmt.Errorf("-checks-concurrency: %d is not 1 or more", o.checksConcurrency)
	case o.releasesPerConfig < 0:
		return fmt.Errorf("-max-releases-per-config: %d is not 0 or more", o.releasesPerConfig)
	case o.coverage != coverageNone && o.coverage != coverageReport && o.coverage != coverageCopy:
		return fmt.Errorf("-coverage: %q is none of %s, %s, %s", o.coverage, coverageNone, coverageReport, coverageCopy)
	case len(o.objects.SelectorLabels) == 0:
		return fmt.Errorf("-selector-labels: at least one label is needed")
	}
	if err := errors.Join(o.scope.check(o.meshProvider, o.configTracking), o.leader.check(), o.server.check(), o.dashboard.check(), o.approvals.check(), o.tracing.Check(os.Getenv)); err != nil {
		return err
	}
	return o.outbound.settle(o.alerts.noCrossNamespaceRefs)
}

// level is how much is logged. Flagger calls a level warning that Go calls warn.
func (o *options) level() (slog.Level, error) {
	var level slog.Level
	name := o.logLevel
	if strings.EqualFold(name, "warning") {
		name = "warn"
	}
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return level, fmt.Errorf("-log-level: %q is none of debug, info, warn, error", o.logLevel)
	}
	return level, nil
}

// Values of -zap-encoding.
const (
	encodingJSON    = "json"
	encodingConsole = "console"
)

// Values of -coverage.
const (
	coverageNone   = "none"
	coverageReport = "report"
	coverageCopy   = "copy"
)

// list is a comma separated flag.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(value string) error {
	*l = nil
	for v := range strings.SplitSeq(value, ",") {
		if v = strings.TrimSpace(v); v != "" {
			*l = append(*l, v)
		}
	}
	return nil
}
