package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/webhooks/loadtester"
	"github.com/sluice-delivery/sluice/webhooks/loadtester/builtin"
)

// options are what the command line says. Flags that mean what one of Flagger's load tester does have its name.
type options struct {
	version       bool // print it, and nothing else
	port          int
	logLevel      slog.Level
	timeout       time.Duration
	maxConcurrent int
	namespaces    *regexp.Regexp
	rules         loadtester.Rules
	limits        builtin.Limits
	commandEnv    []string
	keyFile       string
	keyDir        string
	allowUnsigned bool
}

func parseFlags(args []string, output io.Writer) (options, error) {
	var o options
	var text texts
	f := flag.NewFlagSet("sluice-loadtester", flag.ContinueOnError)
	f.SetOutput(output)
	f.IntVar(&o.port, "port", 9090, "port of everything; 0 for any that is free")
	f.BoolVar(&o.version, "version", false, "print the version and end")
	f.StringVar(&text.level, "log-level", "info", "debug, info, warn (or warning) or error")
	f.DurationVar(&o.timeout, "timeout", time.Hour, "how long a command may take at most")
	f.IntVar(&o.maxConcurrent, "max-concurrent", 32, "how many commands may run at once")
	f.StringVar(&text.namespaces, "namespace-regexp", "", "expression that namespaces of Canaries have to match; all do without it")
	f.StringVar(&text.allowed, "allowed-commands", loadtester.DefaultAllowed, "what commands may begin with, comma separated")
	f.BoolVar(&o.rules.Shell, "enable-shell", false, "run commands of type bash, and with a shell what is not allowed by -allowed-commands")
	f.StringVar(&o.limits.DataDir, "data-dir", "/data", "folder with the files that hey and ghz may read; empty for none")
	f.StringVar(&o.keyFile, "hmac-key-file", "", "file with the key that calls have to be signed with; none has to without it")
	f.StringVar(&o.keyDir, "hmac-key-dir", "", "folder with a file for each namespace, named like it, with the key that calls for its Canaries have to be signed with")
	f.BoolVar(&o.allowUnsigned, "allow-unsigned", false, "let calls that are not signed do everything, where there are no keys; else they may start hey and ghz and look at gates")
	f.IntVar(&o.limits.AtOnce, "max-requests-at-once", builtin.DefaultAtOnce, "what hey and ghz may have as -c at the most")
	f.StringVar(&text.targets, "allowed-targets", "", "hosts that hey and ghz may call, comma separated, such as *.test.svc.cluster.local; all without it")
	f.StringVar(&text.addresses, "allowed-addresses", "", "addresses and networks that hey and ghz may call although they are loopback, link-local or metadata services, comma separated")
	f.StringVar(&text.commandEnv, "command-env", "", "variables of the environment that commands get, comma separated; hey and ghz get none")
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
	case o.limits.AtOnce < 1:
		return o, fmt.Errorf("-max-requests-at-once: %d is not 1 or more", o.limits.AtOnce)
	case o.allowUnsigned && (o.keyFile != "" || o.keyDir != ""):
		return o, errors.New("-allow-unsigned is of no use with -hmac-key-file or -hmac-key-dir, which have all calls be signed: leave one out")
	}
	return o, o.interpret(text)
}

// texts are flags that are more than they look like.
type texts struct{ level, namespaces, allowed, targets, addresses, commandEnv string }

func (o *options) interpret(text texts) error {
	if err := o.logLevel.UnmarshalText([]byte(strings.Replace(text.level, "warning", "warn", 1))); err != nil {
		return fmt.Errorf("-log-level: %q is none of debug, info, warn, error", text.level)
	}
	if text.namespaces != "" {
		expression, err := regexp.Compile(text.namespaces)
		if err != nil {
			return fmt.Errorf("-namespace-regexp: %w", err)
		}
		o.namespaces = expression
	}
	var err error
	if o.rules.Allowed, err = loadtester.ParseAllowed(text.allowed); err != nil {
		return fmt.Errorf("-allowed-commands: %w", err)
	}
	if o.limits.Addresses, err = builtin.ParseAddresses(text.addresses); err != nil {
		return fmt.Errorf("-allowed-addresses: %w", err)
	}
	o.limits.Targets = builtin.ParseList(text.targets)
	for name := range strings.SplitSeq(text.commandEnv, ",") {
		if name = strings.TrimSpace(name); name != "" {
			o.commandEnv = append(o.commandEnv, name)
		}
	}
	if o.keyDir != "" {
		if _, err = os.ReadDir(o.keyDir); err != nil {
			return fmt.Errorf("-hmac-key-dir: %w", err)
		}
	}
	if o.keyFile != "" {
		_, err = readKey(o.keyFile)
	}
	return err
}

// keys reads the keys of signatures each time that they are needed.
func (o options) keys(local []byte) loadtester.Keys {
	k := loadtester.Keys{Local: local, AllowUnsigned: o.allowUnsigned}
	if o.keyFile != "" {
		k.Any = func() ([]byte, error) { return readKey(o.keyFile) }
	}
	if o.keyDir != "" {
		k.Namespace = func(namespace string) ([]byte, error) {
			if !namespaceName.MatchString(namespace) { // a path would lead elsewhere
				return nil, nil
			}
			key, err := readKey(filepath.Join(o.keyDir, namespace))
			if errors.Is(err, os.ErrNotExist) {
				return nil, nil
			}
			return key, err
		}
	}
	return k
}

// namespaceName is what Kubernetes calls a namespace.
var namespaceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// inherited are variables that commands get of the load tester's environment: where programs, files and certificates are,
// and the API server, but nothing that may be a secret.
var inherited = []string{
	"PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT",
}

// environment is that of commands.
func (o options) environment() []string {
	var out []string
	for _, name := range slices.Concat(inherited, o.commandEnv) {
		if value, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+value)
		}
	}
	return append(out, o.limits.Environment()...)
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
