package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/webhooks/loadtester"
)

// options are what the command line says. Flags that mean what one of Flagger's load tester does have its name.
type options struct {
	port          int
	logLevel      slog.Level
	timeout       time.Duration
	maxConcurrent int
	namespaces    *regexp.Regexp
	rules         loadtester.Rules
	dataDir       string
	keyFile       string
}

func parseFlags(args []string, output io.Writer) (options, error) {
	var o options
	var level, namespaces, allowed string
	f := flag.NewFlagSet("sluice-loadtester", flag.ContinueOnError)
	f.SetOutput(output)
	f.IntVar(&o.port, "port", 9090, "port of everything; 0 for any that is free")
	f.StringVar(&level, "log-level", "info", "debug, info, warn (or warning) or error")
	f.DurationVar(&o.timeout, "timeout", time.Hour, "how long a command may take at most")
	f.IntVar(&o.maxConcurrent, "max-concurrent", 32, "how many commands may run at once")
	f.StringVar(&namespaces, "namespace-regexp", "", "expression that namespaces of Canaries have to match; all do without it")
	f.StringVar(&allowed, "allowed-commands", loadtester.DefaultAllowed, "what commands may begin with, comma separated")
	f.BoolVar(&o.rules.Shell, "enable-shell", false, "run commands of type bash, and with a shell what is not allowed by -allowed-commands")
	f.StringVar(&o.dataDir, "data-dir", "/data", "folder with the files that hey and ghz may read; empty for none")
	f.StringVar(&o.keyFile, "hmac-key-file", "", "file with the key that calls have to be signed with; none has to without it")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.port < 0 || o.port > 65535:
		return o, fmt.Errorf("-port: %d is not 0 to 65535", o.port)
	case o.timeout <= 0:
		return o, fmt.Errorf("-timeout: %s is not above 0", o.timeout)
	case o.maxConcurrent < 1:
		return o, fmt.Errorf("-max-concurrent: %d is not 1 or more", o.maxConcurrent)
	}
	return o, o.interpret(level, namespaces, allowed)
}

// interpret reads the flags that are more than they look like.
func (o *options) interpret(level, namespaces, allowed string) error {
	if err := o.logLevel.UnmarshalText([]byte(strings.Replace(level, "warning", "warn", 1))); err != nil {
		return fmt.Errorf("-log-level: %q is none of debug, info, warn, error", level)
	}
	if namespaces != "" {
		expression, err := regexp.Compile(namespaces)
		if err != nil {
			return fmt.Errorf("-namespace-regexp: %w", err)
		}
		o.namespaces = expression
	}
	var err error
	if o.rules.Allowed, err = loadtester.ParseAllowed(allowed); err != nil {
		return fmt.Errorf("-allowed-commands: %w", err)
	}
	if o.keyFile != "" {
		_, err = readKey(o.keyFile)
	}
	return err
}

// key reads the key of signatures each time that it is called; nil where calls need no signature.
func (o options) key() func() ([]byte, error) {
	if o.keyFile == "" {
		return nil
	}
	return func() ([]byte, error) { return readKey(o.keyFile) }
}

// readKey reads a key byte for byte, as the operator does.
func readKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if err == nil && len(key) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("-hmac-key-file: %w", err)
	}
	return key, nil
}
