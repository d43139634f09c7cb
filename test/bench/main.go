// Command bench has an operator release a whole cluster's worth of applications, and measures what that costs: CPU and
// memory of the operator, its requests to the API server, its queries of metrics, and how long people wait for it.
//
// All of it is real but the pods, which are ready as soon as they are there, and the metrics server, which answers at
// once. See docs/performance.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sluice-delivery/sluice/test/cluster"
)

// options are what the command line says.
type options struct {
	canaries, others int
	stages           []string
	interval         string
	idle, away       time.Duration
	limit            time.Duration
	startProfile     time.Duration
	out, report      string
	operator         string
	memory           resource.Quantity
	inMemory         bool
	save, load       string
	copies           int
	peer             string
}

// allStages in the order in which they run. Each but the first two leaves all applications released.
var allStages = []string{"start", "idle", "one", "ten", "all", "shared", "rollback", "tenant", "restart", "away"}

func parse() (options, error) {
	var o options
	var stages, memory string
	flag.IntVar(&o.canaries, "canaries", 100, "how many Canaries there are")
	flag.IntVar(&o.others, "others", -1, "how many Deployments there are that no Canary names; as many as Canaries without it")
	flag.StringVar(&stages, "stages", strings.Join(allStages, ","), "what is done, comma separated")
	flag.StringVar(&o.interval, "interval", "10s", "interval of the analyses")
	flag.DurationVar(&o.idle, "idle", time.Minute, "how long the operator is watched with nothing to do")
	flag.DurationVar(&o.away, "away", time.Minute, "how long the API server is away")
	flag.DurationVar(&o.limit, "limit", 15*time.Minute, "how long a stage may take; one that takes longer is reported as it is")
	flag.DurationVar(&o.startProfile, "start-profile", 0, "how long the CPU of a start is profiled, into start.cpu; not at all without it")
	flag.StringVar(&o.out, "out", "bench-out", "folder of the results, of logs and of profiles")
	flag.StringVar(&o.report, "report", "", "print the table, and draw the plots into this folder, of the results in -out; nothing is run")
	flag.StringVar(&o.operator, "operator", "", "the operator's program; bin/sluice without it")
	flag.StringVar(&memory, "memory", "512Mi", "the memory limit of the operator's container, as it is told; nothing else holds it")
	flag.BoolVar(&o.inMemory, "in-memory", false, "have an API server in this program's memory in place of etcd and Kubernetes' own, for fleets that those can't carry here")
	flag.StringVar(&o.save, "save", "", "file that the fleet is saved in once it has started, with -in-memory")
	flag.StringVar(&o.load, "load", "", "file from which the fleet comes that was saved, with -in-memory and as many -canaries and -others as were saved")
	flag.IntVar(&o.copies, "copies", 1, "how many copies of the fleet there are, with -load: by the same names in other namespaces")
	flag.StringVar(&o.peer, "peer", "", "compare with others: sluice, flagger or rollouts, each with as many small applications and the stages of peers.go")
	flag.Parse()
	known := allStages
	if o.peer != "" {
		known = peerStages
		if stages == strings.Join(allStages, ",") {
			stages = strings.Join(peerStages, ",")
		}
	}
	o.stages = strings.Split(stages, ",")
	for _, s := range o.stages {
		if !slices.Contains(known, s) {
			return o, fmt.Errorf("-stages: %q is none of %s", s, strings.Join(known, ", "))
		}
	}
	if o.others < 0 {
		o.others = o.canaries
	}
	if o.canaries < 20 {
		return o, fmt.Errorf("-canaries: %d is not 20 or more", o.canaries)
	}
	if o.save+o.load != "" && !o.inMemory || o.copies != 1 && o.load == "" {
		return o, errors.New("-save and -load are for -in-memory, and -copies for -load")
	}
	var err error
	if o.memory, err = resource.ParseQuantity(memory); err != nil {
		return o, fmt.Errorf("-memory: %w", err)
	}
	if o.out, err = filepath.Abs(o.out); err != nil {
		return o, err
	}
	return o, os.MkdirAll(o.out, 0o755)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	o, err := parse()
	if err != nil {
		return err
	}
	if o.report != "" {
		return report(o.out, o.report)
	}
	// As much as a large fleet writes before the API server has etcd forget it.
	if err := os.Setenv("ETCD_QUOTA_BACKEND_BYTES", "8000000000"); err != nil {
		return err
	}
	if err := cluster.Enter(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if o.peer != "" {
		return comparePeer(ctx, o)
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	return errors.Join(b.all(ctx), b.cluster.Stop())
}
