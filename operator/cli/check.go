package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/view"
)

// exitNotPassed is the status where the checks were made and some do not pass.
const exitNotPassed = int(view.Undone)

// checksOutput are checks for programs.
type checksOutput struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Message    string       `json:"message"`
	Items      []view.Check `json:"items"`
}

type checkOptions struct {
	output  string
	timeout time.Duration
}

func newCheck(a *app) *cobra.Command {
	o := checkOptions{}
	c := &cobra.Command{
		Use:   "check NAME",
		Short: "Ask each metric of the analysis once, without a release",
		Long: `Ask each metric of the analysis once, and show its value, its limit and the query that was asked. Nothing is decided by
it: no release begins, goes on or fails, and no hook is called. The operator asks, as it is who reaches the metrics servers
and has their credentials: it creates a CanaryAction, so that it needs the right for that.

  0  all metrics pass
  1  an error, as a missing right
  2  a metric does not pass, or has no value
  3  nobody has acted on it within --timeout; it still waits
  5  the operator has refused it, as there are no metrics`,
		Example: `  kubectl sluice check podinfo -n test
  kubectl sluice check podinfo -n test -o json | jq .items`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runCheck(cmd.Context(), a, args[0], o) },
	}
	c.Flags().StringVarP(&o.output, "output", "o", outputTable, "table, json or yaml")
	c.Flags().DurationVar(&o.timeout, "timeout", actTimeout, "how long to wait at the most")
	return c
}

func runCheck(ctx context.Context, a *app, name string, o checkOptions) error {
	if !slices.Contains([]string{outputTable, outputJSON, outputYAML}, o.output) {
		return fmt.Errorf("--output: %q is none of table, json, yaml", o.output)
	}
	screen, err := a.screen(pictureWidth)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	canary, err := c.canary(ctx, name)
	if err != nil {
		return err
	}
	action := v1alpha1.NewCanaryAction(canary, v1alpha1.CanaryActionSpec{Action: v1beta1.ActionCheck, RequestedBy: c.whoami(ctx)})
	if err := c.request(ctx, "check", action); err != nil {
		return err
	}
	done, err := ended(ctx, a, c, canary, action, o.timeout)
	if err != nil {
		return err
	}
	items := view.Checks(done.Status.Checks)
	message := v1beta1.OneLine(done.Status.Message, 4096)
	if o.output == outputTable {
		_, err = io.WriteString(a.Out, screen.Checks(items))
	} else {
		err = encode(a.Out, o.output, checksOutput{outputVersion, "Checks", message, items})
	}
	if err == nil && slices.ContainsFunc(items, view.Check.Speaks) {
		err = &statusError{status: exitNotPassed}
	}
	return err
}
