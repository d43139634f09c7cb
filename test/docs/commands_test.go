package docs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/operator/cli"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// foreign are programs of others that pages name and that are not here to ask.
var foreign = []string{
	"act", "apt-get", "argocd", "cat", "chmod", "consul", "crane", "ctr", "curl", "cd", "date", "docker", "echo", "grep", "install", "istioctl", "k6", "hey",
	"kustomize", "openssl", "podman", "printf", "sed", "sha256sum", "skopeo", "sysctl", "ADDRESS", "git",
}

// guide judges the commands of pages.
type guide struct {
	root    string
	folder  string // files that pages say to save
	cluster *cluster.Cluster
}

// judge says what is wrong with a command: a target of make, a flag or a command of ours, a value of the chart, or what
// kubectl or helm say of it. Some are done, as far as they only read or can be tried.
func (g guide) judge(ctx context.Context, c command) error {
	program, args := c.words[0], c.words[1:]
	switch {
	case program == "make":
		return g.make(args)
	case program == "kubectl" && len(args) > 0 && args[0] == "sluice":
		return plugin(args[1:], c.inline) //nolint:contextcheck // nothing is run
	case program == "kubectl-sluice" || program == "bin/kubectl-sluice":
		return plugin(args, c.inline) //nolint:contextcheck // nothing is run
	case program == "kubectl" && len(args) > 0 && args[0] == "krew":
		return nil
	case program == "kubectl":
		return g.kubectl(ctx, args, c.inline)
	case program == "helm":
		return g.helm(ctx, args)
	case program == "sluice":
		return g.sluice(args)
	case program == "go":
		return g.gotool(args)
	case strings.HasPrefix(program, "bin/"), program == "sluice-loadtester", program == "bash", program == ".ci/run":
		return nil
	case slices.Contains(foreign, program):
		return nil
	}
	return fmt.Errorf("no program %q is known", program)
}

func (g guide) make(args []string) error {
	text, err := os.ReadFile(filepath.Join(g.root, "Makefile"))
	if err != nil {
		return err
	}
	for _, arg := range args {
		name, _, variable := strings.Cut(arg, "=")
		pattern := "(?m)^" + regexp.QuoteMeta(name) + ":"
		if variable {
			pattern = "(?m)^" + regexp.QuoteMeta(name) + " *[?:]?="
		}
		if !regexp.MustCompile(pattern).Match(text) {
			return fmt.Errorf("the Makefile has no %s", name)
		}
	}
	return nil
}

// plugin has the command line of ours read its arguments.
func plugin(args []string, inline bool) error {
	if len(args) == 0 || args[0] == "<TAB>" || args[0] == "completion" || args[0] == "__complete" {
		return nil
	}
	root := cli.New(cli.Setting{IOStreams: genericiooptions.NewTestIOStreamsDiscard(), Clock: clocktesting.NewFakeClock(testTime), Getenv: func(string) string { return "" }})
	found, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if found == root && !strings.HasPrefix(args[0], "-") {
		return fmt.Errorf("no command %q", args[0])
	}
	if err := found.ParseFlags(rest); err != nil {
		return err
	}
	if inline { // in a sentence, which may say what is meant
		return nil
	}
	return found.ValidateArgs(found.Flags().Args())
}

// What kubectl does with the cluster of the test: reads are done, writes are tried, and of all others only the flags are looked at.
var (
	reads  = []string{"get", "describe", "events", "explain", "kustomize", "api-resources"}
	writes = []string{"apply", "create", "label", "annotate", "patch", "delete", "set"}
)

// absent are kinds, files and objects of which there are none in the cluster of the test.
var absent = regexp.MustCompile(`traefikservice|rollout$|edge\.yaml|canary\.yaml|argocd|^token$|^[A-Z]+$|NAME|https://|^-$|--enable-helm|crd/|--watch|^-w$|\.\.\.`)

func (g guide) kubectl(ctx context.Context, args []string, inline bool) error {
	verb, full := "", slices.Clone(args)
	for i := 0; i < len(args); i++ {
		if args[i] == "-n" {
			i++
		} else if !strings.HasPrefix(args[i], "-") {
			verb = args[i]
			break
		}
	}
	for i, arg := range full {
		if _, err := os.Stat(filepath.Join(g.folder, arg)); err == nil && strings.HasSuffix(arg, ".yaml") {
			full[i] = filepath.Join(g.folder, arg)
		} else if strings.HasPrefix(arg, "charts/") {
			full[i] = filepath.Join(g.root, arg)
		}
	}
	alone := inline || slices.ContainsFunc(args, absent.MatchString) // in a sentence, or about what is not there
	switch {
	case !alone && slices.Contains(reads, verb):
	case !alone && slices.Contains(writes, verb):
		full = append(full, "--dry-run=server")
	default:
		if i := slices.Index(full, "--"); i >= 0 {
			full = full[:i]
		}
		full = append(full, "--help")
	}
	out, err := g.cluster.Kubectl(ctx, full...)
	if err != nil && verb == "create" && strings.Contains(err.Error(), "AlreadyExists") {
		return nil // it was made for the others
	}
	if err == nil && strings.HasSuffix(full[len(full)-1], "-help") && !strings.Contains(out, "Usage:") {
		return fmt.Errorf("kubectl has no %q", verb)
	}
	return err
}

// helm renders what is to be installed, by which it judges values, and otherwise looks at the flags.
func (g guide) helm(ctx context.Context, args []string) error {
	binary, err := cluster.Binary("helm")
	if err != nil {
		return err
	}
	var full []string
	for _, arg := range args {
		switch {
		case arg == "upgrade" || arg == "install":
			full = append(full, "template")
		case arg == "--install" || arg == "-i" || arg == "--reuse-values":
		case strings.HasPrefix(arg, "oci://"):
			full = append(full, filepath.Join(g.root, "charts", filepath.Base(arg)))
		case strings.HasPrefix(arg, "charts/"):
			full = append(full, filepath.Join(g.root, arg))
		default:
			full = append(full, arg)
		}
	}
	if len(args) == 1 || args[0] != "upgrade" && args[0] != "install" && args[0] != "template" {
		full = append(full, "--help")
	}
	out, err := exec.CommandContext(ctx, binary, full...).CombinedOutput() //nolint:gosec // helm
	if err != nil {
		return fmt.Errorf("%w: %.500s", err, out)
	}
	return nil
}

var documentedFlag = regexp.MustCompile("(?m)^\\| `(-[a-z-]+)` \\|")

// sluice looks at commands and flags of the operator. The page of flags is held to the real ones by a test of the
// operator's, as are the flags of preflight.
func (g guide) sluice(args []string) error {
	if !strings.HasPrefix(args[0], "-") {
		return g.command(args[0])
	}
	page, err := os.ReadFile(filepath.Join(g.root, "docs", "reference", "flags.md"))
	if err != nil {
		return err
	}
	for _, arg := range args {
		name, _, _ := strings.Cut(arg, "=")
		if name != "-h" && !slices.ContainsFunc(documentedFlag.FindAllStringSubmatch(string(page), -1), func(m []string) bool { return m[1] == name }) {
			return fmt.Errorf("the operator has no %s", arg)
		}
	}
	return nil
}

var commandName = regexp.MustCompile(`(?m)Command += "([a-z-]+)"`)

// command looks for the name of a command of the operator's in its source.
func (g guide) command(name string) error {
	files, err := filepath.Glob(filepath.Join(g.root, "operator", "*.go"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // of the repository
		if err != nil {
			return err
		}
		for _, match := range commandName.FindAllStringSubmatch(string(text), -1) {
			if match[1] == name {
				return nil
			}
		}
	}
	return fmt.Errorf("the operator has no command %q", name)
}

// gotool looks at packages, and at tests that are to be run by their names.
func (g guide) gotool(args []string) error {
	var folders []string
	for _, arg := range args {
		if strings.HasPrefix(arg, "./") && arg != "./..." && arg != "./PACKAGE" {
			folders = append(folders, arg)
		}
	}
	var sources strings.Builder
	for _, folder := range folders {
		there := ""
		for _, module := range []string{"", "test/dashboard", "test/bench", "webhooks/loadtester"} {
			if s, err := os.Stat(filepath.Join(g.root, module, folder)); err == nil && s.IsDir() {
				there = filepath.Join(g.root, module, folder)
			}
		}
		if there == "" {
			return fmt.Errorf("there is no package %s", folder)
		}
		files, err := filepath.Glob(filepath.Join(there, "*_test.go"))
		if err != nil {
			return err
		}
		for _, file := range files {
			text, err := os.ReadFile(file) //nolint:gosec // of the repository
			if err != nil {
				return err
			}
			sources.Write(text)
		}
	}
	for i, arg := range args {
		name := ""
		switch {
		case (arg == "-run" || arg == "-fuzz" || arg == "-bench") && i+1 < len(args):
			name = args[i+1]
		case strings.HasPrefix(arg, "-fuzz="):
			name = strings.TrimPrefix(arg, "-fuzz=")
		}
		name, _, _ = strings.Cut(strings.Trim(name, "^$"), "/")
		if name == "" || name == "." || name == "XXX" || name == "NAME" || len(folders) == 0 {
			continue
		}
		if !regexp.MustCompile(`func \w*` + name).MatchString(sources.String()) {
			return fmt.Errorf("%s has no test %s", strings.Join(folders, ", "), name)
		}
	}
	return nil
}

// testCommands judges each command of each page, once.
func testCommands(t *testing.T, c *cluster.Cluster) {
	root, all := pages(t)
	g := guide{root: root, folder: t.TempDir(), cluster: c}
	for file, page := range map[string]string{"app.yaml": "docs/tutorials/README.md", "pause.yaml": "docs/actions.md"} {
		first := yamlBlock.FindStringSubmatch(all[filepath.Join(root, filepath.FromSlash(page))])
		if err := os.WriteFile(filepath.Join(g.folder, file), []byte(first[2]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	judged := map[string]int{}
	for path, text := range all {
		page := strings.TrimPrefix(path, root+"/")
		for _, one := range commandsIn(page, text) {
			if seen[one.String()] {
				continue
			}
			seen[one.String()] = true
			judged[one.words[0]]++
			if err := g.judge(t.Context(), one); err != nil {
				t.Errorf("%s says: %s\n%v", page, one, err)
			}
		}
	}
	t.Logf("commands by their program: %v", judged)
	if judged["kubectl"] < 60 || judged["make"] < 10 || judged["helm"] < 10 {
		t.Errorf("too few commands were found: %v", judged)
	}
	for text, good := range map[string]bool{
		"make demo": true, "make dmeo": false, "make bench BENCH_CANARIES=5": true, "make bench CANARIES=5": false,
		"kubectl sluice why podinfo -n test": true, "kubectl sluice wy podinfo": false, "kubectl sluice why podinfo --verbos": false,
		"kubectl -n test get canary podinfo": true, "kubectl -n test get canary nobody": false, "kubectl get pods --flag": false, "kubectl logs x --previuos": false, "kubectl lgos x": false,
		"helm upgrade --install sluice charts/sluice --set meshProvider=istio": true, "helm upgrade sluice charts/sluice --set meshProvder=istio": false,
		"sluice -mesh-provider=istio": true, "sluice -mesh=istio": false, "sluice preflight -f x": true, "sluice prefight -f x": false,
		"go test ./operator -run TestOnCluster/fair": true, "go test ./operator -run TestOnClutser/fair": false, "go test ./nowhere": false,
		"kubctl get pods": false,
	} {
		if err := g.judge(t.Context(), command{page: "none", words: strings.Fields(text)}); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}
