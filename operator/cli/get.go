package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/view"
)

// outputPicture is the value of -o for people.
const outputPicture = "picture"

type getOptions struct {
	output string
	watch  bool
}

func newGet(a *app) *cobra.Command {
	o := getOptions{}
	c := &cobra.Command{
		Use:   "get NAME",
		Short: "Show one release as a picture",
		Long: `Show one release: who serves, the step with the time that is left, primary and canary with their pods, checks with
value, limit and query, gates, actions with their authors, events, and what to do.

With -w on a terminal the picture is kept up to date, with trends of the values seen. Elsewhere, as in a log, each
change is a line.`,
		Example: `  kubectl sluice get podinfo -n test
  kubectl sluice get podinfo -n test -w
  kubectl sluice get podinfo -n test -o json | jq .checks`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runGet(cmd.Context(), a, args[0], o) },
	}
	c.Flags().StringVarP(&o.output, "output", "o", outputPicture, "picture, json or yaml")
	c.Flags().BoolVarP(&o.watch, "watch", "w", false, "keep it up to date")
	return c
}

func runGet(ctx context.Context, a *app, name string, o getOptions) error {
	if !slices.Contains([]string{outputPicture, outputJSON, outputYAML}, o.output) {
		return fmt.Errorf("--output: %q is none of picture, json, yaml", o.output)
	}
	screen, err := a.screen(pictureWidth)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	r, err := a.release(ctx, c, name)
	if err != nil {
		return err
	}
	switch {
	case o.watch && o.output == outputPicture && isTerminal(a.Out):
		return live(ctx, a, c, name, screen)
	case o.watch:
		return watchOne(ctx, a, c, r, o, screen)
	case o.output == outputPicture:
		fmt.Fprint(a.Out, screen.Picture(r))
		return nil
	default:
		return encode(a.Out, o.output, releaseOutput{outputVersion, kindRelease, r})
	}
}

// follow calls each for a Canary as it changes, until it is done.
func (a *app) follow(ctx context.Context, c *connection, name string, each func(*v1beta1.Canary, bool) (bool, error), trouble func(error)) error {
	f := follower[*v1beta1.Canary]{
		client: c, clock: a.Clock, list: func() client.ObjectList { return &v1beta1.CanaryList{} },
		options: []client.ListOption{client.InNamespace(c.namespace), client.MatchingFields{"metadata.name": name}},
		each:    each, trouble: trouble,
		listed: func(names map[client.ObjectKey]bool) (bool, error) {
			if len(names) == 0 {
				return false, fmt.Errorf("there is no Canary %s in namespace %s", name, c.namespace)
			}
			return false, nil
		},
	}
	return f.run(ctx)
}

// watchOne writes the picture once and then a line, or a document, for each change.
func watchOne(ctx context.Context, a *app, c *connection, first *view.Release, o getOptions, screen view.Screen) error {
	if o.output == outputPicture {
		fmt.Fprint(a.Out, screen.Picture(first)+"\n")
	}
	last := ""
	err := a.follow(ctx, c, first.Name, func(canary *v1beta1.Canary, deleted bool) (bool, error) {
		r := view.Of(view.Input{Canary: canary, Now: a.Clock.Now()})
		if is := summaryOf(&r); is == last {
			return false, nil
		} else if last = is; deleted {
			return true, nil
		}
		if o.output == outputPicture {
			fmt.Fprintln(a.Out, lineOf(&r, a.Clock.Now()))
			return false, nil
		}
		if o.output == outputYAML {
			fmt.Fprintln(a.Out, "---")
		}
		return false, encode(a.Out, o.output, releaseOutput{outputVersion, kindRelease, &r})
	}, a.silent)
	return unlessEnded(ctx, err)
}

// unlessEnded passes over what comes of the end of ctx: whoever watches has seen enough.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it came of the end
	}
	return err
}

// silent says that the API server does not answer.
func (a *app) silent(err error) { fmt.Fprintln(a.ErrOut, "The API server does not answer:", err) }

// lineOf is a release in one line of a log.
func lineOf(r *view.Release, now time.Time) string {
	return fmt.Sprintf("%s  %-12s %3d%%  %s", now.UTC().Format(time.TimeOnly), r.State, r.Traffic.Canary, v1beta1.OneLine(r.Message, 2000))
}

// redrawEvery is how often the time that is left is written anew.
const redrawEvery = time.Second

// refreshEvery is after how many of these events, actions and pods are read again, which come without a change of the
// Canary.
const refreshEvery = 5

// live keeps a picture on a terminal up to date.
func live(ctx context.Context, a *app, c *connection, name string, screen view.Screen) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := make(chan *v1beta1.Canary)
	ended := make(chan error, 1)
	go func() {
		ended <- a.follow(ctx, c, name, func(canary *v1beta1.Canary, deleted bool) (bool, error) {
			select {
			case changes <- canary:
			case <-ctx.Done():
			}
			return deleted, nil
		}, nil)
	}()
	ticker := a.Clock.NewTicker(redrawEvery)
	defer ticker.Stop()
	var in view.Input
	var samples view.Samples
	for age := 0; ; age++ {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return unlessEnded(ctx, err)
		case canary := <-changes:
			samples = samples.Follow(canary)
			in.Canary = canary
			age = 0
		case <-ticker.C():
		}
		if in.Canary == nil {
			continue
		}
		if age%refreshEvery == 0 {
			if around, err := c.surroundings(ctx, in.Canary); err == nil {
				in = around
				in.Place = a.placeOf(ctx, c, in.Canary)
			}
		}
		in.Samples, in.Now = samples, a.Clock.Now()
		screen.Now = in.Now
		r := view.Of(in)
		fmt.Fprint(a.Out, redrawn(screen.Picture(&r)))
	}
}

// redrawn writes a screen over the one before, without a flicker: each line to its end, and what is below.
func redrawn(picture string) string {
	const home, eraseLine, below = "\x1b[H", "\x1b[K", "\x1b[J"
	return home + strings.ReplaceAll(picture, "\n", eraseLine+"\n") + below
}
