package loadtester

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Keys of a hook's metadata. Those of Flagger come first; the last two are additions.
const (
	typeKey         = "type"
	commandKey      = "cmd"
	logOutputKey    = "logCmdOutput"
	returnOutputKey = "returnCmdOutput"
	waitKey         = "wait"
	timeoutKey      = "timeout"
)

// Types of commands, by the type key of the metadata.
const (
	typeCmd     = "cmd"
	typeBash    = "bash"
	typeHelm    = "helm"
	typeHelmV3  = "helmv3"
	typeKubectl = "kubectl"
	typeK6      = "k6"
)

// kind is what a type stands for.
type kind struct {
	program string // the command's first word, empty where the hook gives it
	waits   bool   // the hook is answered when the command has ended, not when it was started
}

var kinds = map[string]kind{
	typeCmd:     {},
	typeBash:    {waits: true},
	typeHelm:    {program: "helm", waits: true},
	typeHelmV3:  {program: "helm", waits: true},
	typeKubectl: {program: "kubectl", waits: true},
	typeK6:      {program: "k6", waits: true},
}

// DefaultAllowed are the commands that are allowed where nobody says otherwise: those that make requests and run tests,
// and no other subcommands of the same programs.
const DefaultAllowed = "hey,ghz,helm test,k6 run"

// Command is what a hook asks for.
type Command struct {
	// Type of the command.
	Type string
	// Argv is the program and its arguments.
	Argv []string
	// Wait tells that the hook is answered when the command has ended.
	Wait bool
	// Timeout is how long the command may take; 0 says nothing.
	Timeout time.Duration
	// LogOutput has the output logged, ReturnOutput has it sent to the hook. Only a hook that waits has an answer to
	// put it in.
	LogOutput, ReturnOutput bool
}

// ID tells commands apart without telling what is in them, as that may be a password.
func (c Command) ID() string {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{c.Type}, c.Argv...), "\x00")))
	return hex.EncodeToString(sum[:6])
}

// harmless tells of a command that it may be run for callers that nobody knows: it makes requests within the limits of a
// load generator, and does nothing else.
func (c Command) harmless() bool {
	return c.Type == typeCmd && (c.Argv[0] == "hey" || c.Argv[0] == "ghz")
}

// Rules say which commands may be run.
type Rules struct {
	// Allowed are commands by their first words.
	Allowed [][]string
	// Shell allows everything, also what needs a shell.
	Shell bool
}

// ParseAllowed reads a list of commands, separated by commas. "hey" allows hey with any arguments, "helm test" allows
// helm where its first argument is test.
func ParseAllowed(list string) ([][]string, error) {
	var out [][]string
	for entry := range strings.SplitSeq(list, ",") {
		w, err := words(entry)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", entry, err)
		}
		if len(w) > 0 {
			out = append(out, w)
		}
	}
	return out, nil
}

// RefusedError is a request for a command that may not be run.
type RefusedError struct{ reason string }

func (e *RefusedError) Error() string { return e.reason }

func refused(format string, args ...any) error {
	return &RefusedError{fmt.Sprintf(format, args...)}
}

// Command is what the metadata of a hook asks for. The error is a RefusedError where the rules do not allow it; any
// other error is a mistake in the metadata.
func (r Rules) Command(metadata map[string]string) (Command, error) {
	if len(metadata) == 0 {
		return Command{}, errors.New("the payload has no metadata")
	}
	c := Command{Type: typeCmd}
	if name := metadata[typeKey]; name != "" {
		c.Type = name
	}
	k, ok := kinds[c.Type]
	if !ok {
		return c, fmt.Errorf("metadata.%s: unknown type %q: known are bash, cmd, helm, helmv3, k6, kubectl", typeKey, c.Type)
	}
	if strings.TrimSpace(metadata[commandKey]) == "" {
		return c, fmt.Errorf("metadata.%s: a command is needed", commandKey)
	}
	c.Wait = k.waits
	if err := c.options(metadata); err != nil {
		return c, err
	}
	var err error
	c.Argv, err = r.argv(c.Type, k.program, metadata[commandKey])
	return c, err
}

// options reads what does not say what is run but how. The two of Flagger are read as Flagger does: what is no boolean
// is no.
func (c *Command) options(metadata map[string]string) error {
	c.LogOutput, _ = strconv.ParseBool(metadata[logOutputKey])
	c.ReturnOutput, _ = strconv.ParseBool(metadata[returnOutputKey])
	if value, ok := metadata[waitKey]; ok {
		wait, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("metadata.%s: %q is neither true nor false", waitKey, value)
		}
		c.Wait = wait
	}
	if value, ok := metadata[timeoutKey]; ok {
		timeout, err := time.ParseDuration(value)
		if err != nil || timeout <= 0 {
			return fmt.Errorf("metadata.%s: %q is no duration above 0, such as 90s", timeoutKey, value)
		}
		c.Timeout = timeout
	}
	return nil
}

// argv is the process for a command line.
func (r Rules) argv(name, program, line string) ([]string, error) {
	if name == typeBash {
		if !r.Shell {
			return nil, refused("commands of type bash need a shell, which this load tester is not allowed to run (-enable-shell)")
		}
		return []string{"bash", "-c", line}, nil
	}
	argv, err := r.plain(program, line)
	if err != nil && r.Shell {
		return []string{"sh", "-c", strings.TrimSpace(program + " " + line)}, nil
	}
	return argv, err
}

// plain is the process for a command line that needs no shell and is allowed.
func (r Rules) plain(program, line string) ([]string, error) {
	argv, err := words(line)
	if err != nil {
		var syntax *shellSyntaxError
		if errors.As(err, &syntax) {
			return nil, refused("metadata.%s: %v", commandKey, err)
		}
		return nil, fmt.Errorf("metadata.%s: %w", commandKey, err)
	}
	if program != "" {
		argv = append([]string{program}, argv...)
	}
	for _, allowed := range r.Allowed {
		if len(argv) >= len(allowed) && slices.Equal(argv[:len(allowed)], allowed) {
			return argv, nil
		}
	}
	return nil, refused("metadata.%s: %q is not allowed: commands begin with %s", commandKey, argv[0], r.allowedText())
}

func (r Rules) allowedText() string {
	if len(r.Allowed) == 0 {
		return "nothing: none is allowed"
	}
	var out []string
	for _, words := range r.Allowed {
		out = append(out, strconv.Quote(strings.Join(words, " ")))
	}
	return strings.Join(out, ", ")
}
