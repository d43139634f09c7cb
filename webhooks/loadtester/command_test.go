package loadtester

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRulesCommand(t *testing.T) {
	allowed, err := ParseAllowed(DefaultAllowed)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		metadata    map[string]string
		shell       bool
		want        Command
		wantRefused string // the error is a refusal with this in it
		wantErr     string // the error is another with this in it
	}{
		"cmd is the default and does not wait": {
			metadata: map[string]string{"cmd": "hey -z 1m http://podinfo/"},
			want:     Command{Type: "cmd", Argv: []string{"hey", "-z", "1m", "http://podinfo/"}},
		},
		"all that can be said": {
			metadata: map[string]string{"type": "cmd", "cmd": "hey x", "logCmdOutput": "true", "returnCmdOutput": "1", "wait": "true", "timeout": "90s"},
			want:     Command{Type: "cmd", Argv: []string{"hey", "x"}, Wait: true, Timeout: 90 * time.Second, LogOutput: true, ReturnOutput: true},
		},
		"what is no boolean is no, for the keys of Flagger": {
			metadata: map[string]string{"cmd": "hey x", "logCmdOutput": "please", "returnCmdOutput": "yes"},
			want:     Command{Type: "cmd", Argv: []string{"hey", "x"}},
		},
		"helm": {
			metadata: map[string]string{"type": "helm", "cmd": "test podinfo --timeout 3m"},
			want:     Command{Type: "helm", Argv: []string{"helm", "test", "podinfo", "--timeout", "3m"}, Wait: true},
		},
		"helmv3 is the same helm": {
			metadata: map[string]string{"type": "helmv3", "cmd": "test podinfo -n test"},
			want:     Command{Type: "helmv3", Argv: []string{"helm", "test", "podinfo", "-n", "test"}, Wait: true},
		},
		"k6 in the background": {
			metadata: map[string]string{"type": "k6", "cmd": "run /data/test.js", "wait": "false"},
			want:     Command{Type: "k6", Argv: []string{"k6", "run", "/data/test.js"}},
		},
		"a shell runs what needs one": {
			metadata: map[string]string{"cmd": "sleep 5 && hey x"}, shell: true,
			want: Command{Type: "cmd", Argv: []string{"sh", "-c", "sleep 5 && hey x"}},
		},
		"a shell runs what is not listed": {
			metadata: map[string]string{"cmd": "curl -fsS http://podinfo/"}, shell: true,
			want: Command{Type: "cmd", Argv: []string{"sh", "-c", "curl -fsS http://podinfo/"}},
		},
		"a shell runs what is not listed of a program": {
			metadata: map[string]string{"type": "helm", "cmd": "list | grep podinfo"}, shell: true,
			want: Command{Type: "helm", Argv: []string{"sh", "-c", "helm list | grep podinfo"}, Wait: true},
		},
		"no shell is asked where none is needed": {
			metadata: map[string]string{"cmd": "hey x"}, shell: true,
			want: Command{Type: "cmd", Argv: []string{"hey", "x"}},
		},
		"bash": {
			metadata: map[string]string{"type": "bash", "cmd": "bats /tests/a.bats"}, shell: true,
			want: Command{Type: "bash", Argv: []string{"bash", "-c", "bats /tests/a.bats"}, Wait: true},
		},

		"bash without a shell":        {metadata: map[string]string{"type": "bash", "cmd": "hey x"}, wantRefused: "-enable-shell"},
		"what needs a shell":          {metadata: map[string]string{"cmd": "hey x && rm -rf /"}, wantRefused: "'&' means something to a shell"},
		"another program":             {metadata: map[string]string{"cmd": "curl x"}, wantRefused: `"curl" is not allowed: commands begin with "hey", "ghz", "helm test", "k6 run"`},
		"the same program elsewhere":  {metadata: map[string]string{"cmd": "/tmp/hey x"}, wantRefused: `"/tmp/hey" is not allowed`},
		"another subcommand":          {metadata: map[string]string{"type": "helm", "cmd": "uninstall podinfo"}, wantRefused: `"helm" is not allowed`},
		"another subcommand in a cmd": {metadata: map[string]string{"cmd": "helm plugin install x"}, wantRefused: `"helm" is not allowed`},
		"an option before it":         {metadata: map[string]string{"type": "helm", "cmd": "--debug test podinfo"}, wantRefused: `"helm" is not allowed`},
		"kubectl":                     {metadata: map[string]string{"type": "kubectl", "cmd": "get pods"}, wantRefused: `"kubectl" is not allowed`},

		"no metadata":         {wantErr: "no metadata"},
		"no command":          {metadata: map[string]string{"type": "cmd", "cmd": " "}, wantErr: "metadata.cmd: a command is needed"},
		"unknown type":        {metadata: map[string]string{"type": "concord", "cmd": "x"}, wantErr: `metadata.type: unknown type "concord"`},
		"unfinished command":  {metadata: map[string]string{"cmd": "hey 'x"}, wantErr: "metadata.cmd: it ends inside a quotation"},
		"wait is no boolean":  {metadata: map[string]string{"cmd": "hey x", "wait": "yes"}, wantErr: "metadata.wait"},
		"timeout is none":     {metadata: map[string]string{"cmd": "hey x", "timeout": "90"}, wantErr: "metadata.timeout"},
		"timeout is negative": {metadata: map[string]string{"cmd": "hey x", "timeout": "-1s"}, wantErr: "metadata.timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Rules{Allowed: allowed, Shell: tc.shell}.Command(tc.metadata)
			var refused *RefusedError
			switch want := tc.wantRefused + tc.wantErr; {
			case want != "":
				if err == nil || !strings.Contains(err.Error(), want) || errors.As(err, &refused) != (tc.wantRefused != "") {
					t.Errorf("got error %T %v, want %q, a refusal: %t", err, err, want, tc.wantRefused != "")
				}
			case err != nil:
				t.Error(err)
			default:
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestParseAllowed(t *testing.T) {
	for name, tc := range map[string]struct {
		list    string
		want    [][]string
		wantErr bool
	}{
		"nothing":     {list: " , "},
		"some":        {list: "hey, helm  test ,/opt/my-cli", want: [][]string{{"hey"}, {"helm", "test"}, {"/opt/my-cli"}}},
		"not a shell": {list: "hey,a|b", wantErr: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseAllowed(tc.list)
			if (err != nil) != tc.wantErr {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCommandID(t *testing.T) {
	one := Command{Type: "cmd", Argv: []string{"hey", "-a", "admin:secret"}}
	same := Command{Type: "cmd", Argv: []string{"hey", "-a", "admin:secret"}, Wait: true}
	other := Command{Type: "cmd", Argv: []string{"hey", "-a admin:secret"}}
	if one.ID() != same.ID() || one.ID() == other.ID() {
		t.Errorf("got %s, %s, %s: want the first two alike, the third not", one.ID(), same.ID(), other.ID())
	}
}
