package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/view"
	"github.com/sluice-delivery/sluice/operator/workload"
)

type statusOptions struct {
	goal     string
	revision string
	timeout  time.Duration
	patient  bool
	output   string
}

// statusOutput is how a wait ended, for programs.
type statusOutput struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Outcome    string `json:"outcome"`
	Status     int    `json:"exitStatus"`
	Revision   string `json:"revision,omitempty"`
	Message    string `json:"message"`
}

var outcomes = map[view.Outcome]string{
	view.Reached: "Reached", view.Missed: "Missed", view.Undone: "RolledBack", view.TimedOut: "TimedOut", view.Person: "NeedsPerson",
}

func newStatus(a *app) *cobra.Command {
	o := statusOptions{}
	goals := make([]string, 0, len(view.Goals()))
	for _, g := range view.Goals() {
		goals = append(goals, string(g))
	}
	c := &cobra.Command{
		Use:     "status NAME",
		Aliases: []string{"wait"},
		Short:   "Wait until a release is promoted, for pipelines",
		Long: `Wait until a release has come to something, and tell a pipeline by the exit status how it ended:

  0  it was reached
  1  an error, or it can't be reached any more, as another revision was released meanwhile
  2  the release was rolled back, or its target was set back
  3  the timeout is over
  4  it does not go on without a person: it is paused, at a gate, suspended, halted, or something has to be mended

It follows the revision that the target has when the command begins, also where the operator has not seen it yet, so it
can be the next line after the one that changes the image.`,
		Example: `  kubectl -n test set image deployment/podinfo podinfod=ghcr.io/stefanprodan/podinfo:6.0.3
  kubectl sluice status podinfo -n test --timeout=30m`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runStatus(cmd.Context(), a, args[0], o) },
	}
	c.Flags().StringVar(&o.goal, "for", string(view.ForPromoted), strings.Join(goals, ", "))
	c.Flags().StringVar(&o.revision, "revision", "", "the revision to follow, as in status.lastAppliedSpec; the target's when it is empty")
	c.Flags().DurationVar(&o.timeout, "timeout", 0, "how long to wait at the most, as 30m; without an end when it is 0")
	c.Flags().BoolVar(&o.patient, "wait-for-people", false, "go on waiting where a person is needed")
	c.Flags().StringVarP(&o.output, "output", "o", "text", "text: a line for each change, or json: how it ended")
	if err := c.RegisterFlagCompletionFunc("for", cobra.FixedCompletions(goals, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is there
	}
	return c
}

func (o *statusOptions) check() error {
	switch {
	case !slices.Contains(view.Goals(), view.Goal(o.goal)):
		return fmt.Errorf("--for: %q is none of promoted, paused, gate, ready", o.goal)
	case o.output != "text" && o.output != outputJSON:
		return fmt.Errorf("--output: %q is none of text, json", o.output)
	case o.timeout < 0:
		return fmt.Errorf("--timeout: %s is below 0", o.timeout)
	}
	return nil
}

func runStatus(ctx context.Context, a *app, name string, o statusOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	return a.wait(ctx, c, name, o)
}

// wait follows a release until it has come to something.
func (a *app) wait(ctx context.Context, c *connection, name string, o statusOptions) (err error) {
	waitCtx, stop := a.withTimeout(ctx, o.timeout)
	defer stop()
	w := view.Wait{Goal: view.Goal(o.goal), Revision: o.revision, Patient: o.patient}
	if o.revision == "" {
		if w.Target, err = targetRevision(waitCtx, a, c, name); err != nil {
			return err
		}
	}
	outcome, message, last := view.Waiting, "", ""
	err = a.follow(waitCtx, c, name, func(canary *v1beta1.Canary, deleted bool) (bool, error) {
		if deleted {
			outcome, message = view.Missed, "the Canary was deleted"
			return true, nil
		}
		outcome, message = w.Look(canary)
		a.giveUpTarget(&w, canary.Status.LastAppliedSpec)
		r := view.Of(view.Input{Canary: canary, Now: a.Clock.Now()})
		if outcome == view.Waiting {
			r.Message = message // or the end of the release before would look like that of one that has not begun
		}
		if is := summaryOf(&r); is != last && o.output == "text" {
			last = is
			fmt.Fprintln(a.Out, lineOf(&r, a.Clock.Now()))
		}
		return outcome != view.Waiting, nil
	}, a.silent)
	switch {
	case err != nil && ctx.Err() == nil && waitCtx.Err() != nil:
		outcome, message = view.TimedOut, fmt.Sprintf("%s is not %s after %s: %s", name, o.goal, o.timeout, message)
	case err != nil && ctx.Err() != nil:
		return errors.New("interrupted: " + message)
	case err != nil:
		return err
	}
	return a.ended(o, &w, outcome, message)
}

// giveUpTarget has a wait follow what the operator has seen, where nobody can tell whether the revision of a status is of the target as it is.
func (a *app) giveUpTarget(w *view.Wait, is string) {
	if w.Target == "" || is == "" || w.Comparable(is) {
		return
	}
	fmt.Fprintf(a.ErrOut, "warning: revision %s is of another version than this command, which has %s for the target: what the operator has seen by now is followed\n", is, w.Target)
	w.Target = ""
}

// ended says how a wait ended.
func (a *app) ended(o statusOptions, w *view.Wait, outcome view.Outcome, message string) error {
	var err error
	if o.output == outputJSON {
		out := statusOutput{outputVersion, "Status", outcomes[outcome], int(outcome), w.Revision, message}
		if err := encode(a.Out, outputJSON, out); err != nil {
			return err
		}
	} else if outcome != view.Reached {
		err = errors.New(v1beta1.OneLine(message, 4096))
	}
	if outcome == view.Reached {
		return nil
	}
	return &statusError{int(outcome), err}
}

// withTimeout ends after a time of the clock, 0 for never.
func (a *app) withTimeout(ctx context.Context, timeout time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	if timeout == 0 {
		return ctx, cancel
	}
	timer := a.Clock.NewTimer(timeout)
	go func() {
		defer timer.Stop()
		select {
		case <-timer.C():
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// targetRevision is the revision of the target as it is now, by which the release that is meant is told from the one
// before. Who may not read the target follows what the operator has seen.
func targetRevision(ctx context.Context, a *app, c *connection, name string) (string, error) {
	canary, err := c.canary(ctx, name)
	if err != nil {
		return "", err
	}
	target, err := c.object(ctx, canary, canary.Spec.TargetRef.Name)
	if err != nil {
		fmt.Fprintf(a.ErrOut, "warning: %v: what the operator has seen by now is followed\n", err)
		return "", nil
	}
	if target == nil {
		return "", nil
	}
	revision, err := workload.Revision(target)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", canary.TargetName(), err)
	}
	return revision, nil
}
