// Package builtin holds the load generators that the load tester brings along: hey for HTTP and ghz for gRPC, with the
// command lines that their own programs have. The load tester runs itself under their names.
package builtin

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// Exit codes of a load generator, as its own program has them.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// Program is a load generator: it makes requests until it is done or ctx ends, reports to stdout, and returns an error
// where it could not begin.
type Program func(ctx context.Context, args []string, limits Limits, stdout, stderr io.Writer) error

// Lookup gives the load generator of that name.
func Lookup(name string) (Program, bool) {
	switch name {
	case "hey":
		return hey, true
	case "ghz":
		return ghz, true
	}
	return nil, false
}

// Main runs a load generator with this process's arguments and returns its exit code.
func Main(ctx context.Context, program Program) int {
	limits, err := limitsOfProcess()
	if err == nil {
		err = program(ctx, os.Args[1:], limits, os.Stdout, os.Stderr)
	}
	var usage *usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, err)
		return exitUsage
	default:
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
}

// usageError is a command line that cannot be.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }
