package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluice-delivery/sluice/operator/view"
)

func newWhy(a *app) *cobra.Command {
	output := ""
	c := &cobra.Command{
		Use:   "why NAME",
		Short: "Say why a release failed, waits or is refused, and what to do",
		Example: `  kubectl sluice why podinfo -n test
  kubectl sluice why podinfo -n test -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runWhy(cmd.Context(), a, args[0], output) },
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text, json or yaml")
	return c
}

// whyOutput is an explanation for programs.
type whyOutput struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	view.Explanation
}

func runWhy(ctx context.Context, a *app, name, output string) error {
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
	e := view.Why(r, a.Clock.Now())
	switch output {
	case "text":
		fmt.Fprint(a.Out, screen.Explain(e))
		return nil
	case outputJSON, outputYAML:
		return encode(a.Out, output, whyOutput{outputVersion, "Explanation", e})
	default:
		return fmt.Errorf("--output: %q is none of text, json, yaml", output)
	}
}
