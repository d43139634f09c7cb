package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/cli"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// stage is one part of the show and what must come of it.
type stage struct {
	title   string
	begin   func(context.Context) error
	phase   v1beta1.CanaryPhase // at its end
	mayFail bool                // whether the canary's own requests may fail
	allFail bool                // whether the primary's may as well
	limit   time.Duration
}

// reporter knows what a client of the application saw.
type reporter interface {
	Report(context.Context) (cluster.Report, error)
}

// perform shows one stage until its phase has come and the canary's pods are
// gone, and judges the requests of that time.
func perform(ctx context.Context, out io.Writer, app *rig.App, caller reporter, s stage) (result, error) {
	got := result{began: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	fmt.Fprintf(out, "\n== %s\n\n%s\n", s.title, header)

	before, err := caller.Report(ctx)
	if err != nil {
		return got, err
	}
	if err := s.begin(ctx); err != nil {
		return got, err
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := before
	for ended := false; !ended; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return got, fmt.Errorf("%s was not reached within %s", s.phase, s.limit)
		}
		c, err := app.Canary(ctx)
		if err != nil {
			return got, err
		}
		now, err := caller.Report(ctx)
		if err != nil {
			return got, err
		}
		row(out, time.Since(got.began), c, now.Sub(last))
		got.see(c)
		last = now
		drained, err := app.TargetAtZero(ctx)
		if err != nil {
			return got, err
		}
		ended = c.Status.Phase == s.phase && drained
		if wrong := wrongEnd(c.Status.Phase, s.phase); wrong != nil {
			return got, wrong
		}
	}
	got.requests = last.Sub(before)
	return got, got.judge(s)
}

// wrongEnd tells when a release ended the other way round.
func wrongEnd(is, want v1beta1.CanaryPhase) error {
	if is == v1beta1.PhaseFailed && want == v1beta1.PhaseSucceeded {
		return errors.New("the good release was rolled back")
	}
	return nil
}

// summary shows what has happened as people see it, by the command line itself.
func summary(ctx context.Context, out io.Writer, kubeconfig, namespace string) error {
	fmt.Fprintln(out, "\n== Summary")
	of := []string{canaryName, "-n", namespace}
	for _, args := range [][]string{{"list"}, append([]string{"history"}, of...), append([]string{"get"}, of...), append([]string{"why"}, of...)} {
		fmt.Fprintf(out, "\n$ kubectl sluice %s\n", strings.Join(args, " "))
		if status := cli.Run(ctx, append(args, "--kubeconfig", kubeconfig), setting(out)); status != 0 {
			return fmt.Errorf("kubectl sluice %s: exit status %d", args[0], status)
		}
	}
	return nil
}

// setting is what the command line runs in.
func setting(out io.Writer) cli.Setting {
	return cli.Setting{
		IOStreams: genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: out, ErrOut: out},
		Clock:     clock.RealClock{}, Version: "demo", Getenv: func(string) string { return "" },
	}
}

// openDashboard has the command line serve the dashboard, and returns where it is.
func openDashboard(ctx context.Context, kubeconfig string) (*url.URL, error) {
	out, in := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- cli.Run(ctx, []string{"dashboard", "--browser=false", "--kubeconfig", kubeconfig}, setting(in))
		in.Close()
	}()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		inside, err := url.Parse(strings.TrimSpace(lines.Text()))
		if err != nil || inside.Host == "" {
			continue
		}
		go func() { _, _ = io.Copy(io.Discard, out) }() // what it says later is nothing new
		return inside, nil
	}
	return nil, fmt.Errorf("kubectl sluice dashboard: exit status %d", <-ended)
}
