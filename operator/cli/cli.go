// Package cli is kubectl sluice: every release, why it is where it is, and a hand in it. It talks to the API server
// alone, with the rights of whoever runs it.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/operator/view"
)

// Exit statuses beside those of view.Outcome.
const (
	// exitError: it could not be done.
	exitError = 1
	// exitRefused: the operator has refused the action.
	exitRefused = 5
)

// Setting is what the command line runs in.
type Setting struct {
	genericiooptions.IOStreams

	// Clock tells the time.
	Clock clock.WithTicker
	// Version is that of the program.
	Version string
	// Getenv reads the environment.
	Getenv func(string) string
}

// statusError ends the process with a status of its own.
type statusError struct {
	status int
	err    error // nil where all is said already
}

// Error implements error.
func (e *statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

// Unwrap gives access to what went wrong.
func (e *statusError) Unwrap() error { return e.err }

// Run is one command line from its arguments to its exit status.
func Run(ctx context.Context, args []string, s Setting) int {
	command := New(s) //nolint:contextcheck // cobra hands the context to each command
	command.SetArgs(args)
	err := command.ExecuteContext(ctx)
	var own *statusError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &own):
		if own.err != nil {
			fmt.Fprintln(s.ErrOut, "error:", own.err)
		}
		return own.status
	default:
		fmt.Fprintln(s.ErrOut, "error:", err)
		return exitError
	}
}

// app is one run of the command line.
type app struct {
	Setting

	flags *genericclioptions.ConfigFlags
	// colour is the flag --color.
	colour string
}

// New is the command kubectl sluice.
func New(s Setting) *cobra.Command {
	a := &app{Setting: s, flags: genericclioptions.NewConfigFlags(true)}
	root := &cobra.Command{
		Use:   "kubectl-sluice",
		Short: "See every release, know why, and take a hand in it",
		Long: `See every release, know why it is where it is, and take a hand in it.

It talks to the API server alone, with your own rights and your kubeconfig. What it asks for is done by the operator.`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl sluice"},
		Version:       s.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.ErrOut)
	a.flags.AddFlags(root.PersistentFlags())
	root.PersistentFlags().StringVar(&a.colour, "color", "auto", "auto, always or never: whether what is written has colours")
	root.AddCommand(newList(a), newGet(a), newStatus(a), newWhy(a), newLint(a), newHistory(a), newUndo(a), newCheck(a), newDashboard(a), newMan(a))
	root.AddCommand(newActions(a)...)
	completeNames(a, root)
	return root
}

// isTerminal tells whether a stream is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) //nolint:gosec // a file descriptor is small
}

// Widths where nobody knows how wide the output is.
const (
	// pictureWidth is that of pictures in logs.
	pictureWidth = 100
	// unlimited is that of tables, as other programs read them.
	unlimited = 1 << 16
)

// screen is what is written to, of this width where nobody knows how wide it is.
func (a *app) screen(width int) (view.Screen, error) {
	s := view.Screen{Width: width, Now: a.Clock.Now()}
	terminal := isTerminal(a.Out)
	if columns, err := strconv.Atoi(a.Getenv("COLUMNS")); err == nil && columns > 0 {
		s.Width = columns
	} else if f, ok := a.Out.(*os.File); ok && terminal {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 { //nolint:gosec // a file descriptor is small
			s.Width = columns
		}
	}
	switch a.colour {
	case "always":
		s.Colour = true
	case "auto":
		s.Colour = terminal && a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb"
	case "never":
	default:
		return s, fmt.Errorf("--color: %q is none of auto, always, never", a.colour)
	}
	return s, nil
}
