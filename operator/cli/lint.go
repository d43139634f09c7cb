package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluice-delivery/sluice/operator/lint"
)

type lintOptions struct {
	lint.Options

	output string
	strict bool
}

func newLint(a *app) *cobra.Command {
	o := lintOptions{}
	c := &cobra.Command{
		Use:   "lint FILE...",
		Short: "Judge manifests without a cluster",
		Long: `Judge Canaries, MetricTemplates, AlertProviders and CanaryActions of files, of folders or of standard input (-), without
a cluster: by the schemas and their rules in CEL, as an API server does, by what decides in the operator, and by what
they name among the files. Flagger's manifests are judged as they are.

  0  nothing is refused
  1  something is refused, or has no effect where --strict is set`,
		Example: `  kubectl sluice lint deploy/
  kustomize build deploy/prod | kubectl sluice lint --complete -
  kubectl sluice lint deploy/ -o sarif > lint.sarif`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runLint(cmd.Context(), a, args, o) },
	}
	c.Flags().StringVarP(&o.output, "output", "o", "text", "text, json or sarif")
	c.Flags().StringVar(&o.Provider, "mesh-provider", "istio", "mesh provider of Canaries that name none, as the operator has it")
	c.Flags().BoolVar(&o.NoCrossNamespace, "no-cross-namespace-refs", false, "refuse references to other namespaces, as the operator does with this flag")
	c.Flags().BoolVar(&o.Complete, "complete", false, "the files have all that there is: what they name and is not among them is missing")
	c.Flags().BoolVar(&o.strict, "strict", false, "exit with 1 where something has no effect, too")
	return c
}

func runLint(ctx context.Context, a *app, paths []string, o lintOptions) error {
	o.Stdin, o.Clock, o.Version = a.In, a.Clock, a.Version
	report, err := lint.Files(ctx, paths, o.Options)
	if err != nil {
		return err
	}
	switch o.output {
	case "text":
		err = report.Text(a.Out)
	case outputJSON:
		err = report.JSON(a.Out)
	case "sarif":
		err = report.SARIF(a.Out, a.Version)
	default:
		err = fmt.Errorf("--output: %q is none of text, json, sarif", o.output)
	}
	if err != nil {
		return err
	}
	if report.Objects == 0 && len(report.Findings) == 0 {
		return errors.New("there is nothing to judge in what was named")
	}
	if report.Worst(lint.Error) || o.strict && report.Worst(lint.Warning) {
		return &statusError{status: exitError}
	}
	return nil
}
