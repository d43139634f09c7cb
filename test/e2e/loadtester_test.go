package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// loadTester is where the load tester of the tests listens.
const loadTester = "http://10.244.255.1:18090"

func loadTesterChart(t *testing.T) string {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "charts", "loadtester")
}

// TestLoadTesterChart is about what the load tester's chart installs.
func TestLoadTesterChart(t *testing.T) {
	t.Parallel()
	s := setUp(t)
	chart := loadTesterChart(t)
	if out, err := s.Helm(t.Context(), "lint", "--strict", chart); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, tc := range []struct {
		set       string
		want, not []string
	}{
		{
			set:  "logLevel=debug",
			want: []string{"-log-level=debug", `"-allowed-commands=hey,ghz,helm test,k6 run"`, "automountServiceAccountToken: false\n      termination"},
			not:  []string{"-enable-shell", "kind: Role", "kind: NetworkPolicy", "-hmac-key", "-allow-unsigned", "-command-env", "name: data", "-namespace-regexp"},
		},
		{set: "cmd.timeout=5m", want: []string{"-timeout=5m"}},
		{set: "cmd.allowed={hey,my-cli run}", want: []string{`"-allowed-commands=hey,my-cli run"`}},
		{set: "cmd.namespaceRegexp=^team-.*$", want: []string{`"-namespace-regexp=^team-.*$"`}},
		{set: "cmd.maxConcurrent=8", want: []string{"-max-concurrent=8"}},
		{set: "shell.enabled=true", want: []string{"-enable-shell", "shareProcessNamespace: true"}},
		{set: "dataConfigMap=scripts", want: []string{"mountPath: /data", "name: scripts"}},
		{set: "hmac.secret=signing", want: []string{`"-hmac-key-file=/etc/sluice-loadtester/hmac-key"`, "secretName: signing", "mountPath: /etc/sluice-loadtester"}},
		{set: "hmac.namespacesSecret=teams", want: []string{"-hmac-key-dir=/etc/sluice-loadtester-namespaces", "secretName: teams"}},
		{set: "allowUnsigned=true", want: []string{"-allow-unsigned"}},
		{set: "cmd.maxRequestsAtOnce=20,cmd.allowedTargets={*.test.svc},cmd.allowedAddresses={127.0.0.1}", want: []string{"-max-requests-at-once=20", `"-allowed-targets=*.test.svc"`, `"-allowed-addresses=127.0.0.1"`}},
		{set: "env[0].name=TEAM,env[0].value=blue", want: []string{`"-command-env=TEAM"`}},
		{set: "rbac.create=true", want: []string{"kind: Role\n", "kind: RoleBinding\n", "automountServiceAccountToken: true"}, not: []string{"kind: ClusterRole"}},
		{set: "rbac.create=true,rbac.scope=cluster", want: []string{"kind: ClusterRole\n", "kind: ClusterRoleBinding\n"}, not: []string{"kind: Role\n"}},
		{set: "networkPolicy.enabled=true", want: []string{"kind: NetworkPolicy", "policyTypes: [Ingress]", "app.kubernetes.io/name: sluice\n"}},
		{set: "networkPolicy.enabled=true,networkPolicy.to[0].podSelector.matchLabels.app=podinfo", want: []string{"policyTypes: [Ingress, Egress]", "port: 53"}},
	} {
		out, err := s.Helm(t.Context(), "template", "loadtester", chart, "--namespace", "load", "--set", tc.set)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(out, want) {
				t.Errorf("with %s there is no %q in\n%s", tc.set, want, out)
			}
		}
		for _, not := range tc.not {
			if strings.Contains(out, not) {
				t.Errorf("with %s there is %q in\n%s", tc.set, not, out)
			}
		}
	}
	for _, set := range []string{"replicaCount=2", "shell=true", "cmd.namespaceRegex=x"} {
		if out, err := s.Helm(t.Context(), "template", "loadtester", chart, "--set", set); err == nil {
			t.Errorf("%s was accepted:\n%s", set, out)
		}
	}
	loadTesterComesUp(t, s, chart)
}

// loadTesterComesUp installs all that the chart has into a namespace with the strictest pod security standard.
func loadTesterComesUp(t *testing.T, s *suite, chart string) {
	ctx := t.Context()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "load", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if err := s.API.Create(ctx, namespace); err != nil {
		t.Fatal(err)
	}
	if out, err := s.Helm(ctx, "install", "flagger-loadtester", chart, "--namespace", namespace.Name,
		"--set", "rbac.create=true,networkPolicy.enabled=true,hmac.secret=signing,dataConfigMap=scripts,shell.enabled=true"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	err := rig.Await(ctx, "the load tester's pod", limit, func(ctx context.Context) error {
		var d appsv1.Deployment
		if err := s.API.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: "flagger-loadtester"}, &d); err != nil {
			return err
		}
		if d.Status.AvailableReplicas != 1 {
			return fmt.Errorf("%d pods are available: %+v", d.Status.AvailableReplicas, d.Status.Conditions)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLoadTester has the load tester make requests during an analysis, hold the promotion until a person opens its gate,
// and bring a release back when a person asks for it.
func TestLoadTester(t *testing.T) {
	t.Parallel()
	binary, err := cluster.Binary("sluice-loadtester")
	if err != nil {
		t.Fatal(err)
	}
	s := setUp(t)
	tester, err := s.StartProgram("sluice-loadtester", nil, binary, "-port=18090", "-log-level=debug")
	if err != nil {
		t.Fatal(err)
	}
	defer tester.Stop(limit)
	app := newReceiver(t) // counts what hey sends
	gate := func(args ...string) {
		t.Helper()
		argv := slices.Concat(args[:2], []string{"-url", loadTester}, args[2:])
		if out, err := exec.CommandContext(t.Context(), binary, argv...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	if err := rig.Await(t.Context(), "the load tester", limit, func(ctx context.Context) error {
		_, err := loadTesterMetrics(ctx)
		return errors.Join(err, tester.Err())
	}); err != nil {
		t.Fatal(err)
	}

	hook := func(kind v1beta1.HookType, path string, metadata map[string]string) v1beta1.CanaryWebhook {
		return v1beta1.CanaryWebhook{Type: kind, Name: "tester-" + string(kind), URL: loadTester + path, Metadata: metadata}
	}
	a, h := begin(t, "loadtester", func(c *v1beta1.Canary) {
		c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight = 50, 50
		c.Spec.Analysis.Webhooks = []v1beta1.CanaryWebhook{
			hook(v1beta1.PreRolloutHook, "/", map[string]string{"wait": "true", "cmd": "hey -n 1 -c 1 " + loadTester + "/healthz"}),
			hook(v1beta1.RolloutHook, "/", map[string]string{
				"type": "cmd", "cmd": "hey -z 1h -q 20 -c 1 -m POST -d '" + `{"type":"event"}` + "' " + app.url + "/"}),
			hook(v1beta1.ConfirmPromotionHook, "/gate/check", nil),
			hook(v1beta1.RollbackHook, "/rollback/check", nil),
		}
	})
	a.release("6.0.1")
	a.awaitGate(v1beta1.ConfirmPromotionHook)
	a.await("the load", func(ctx context.Context) error {
		metrics, err := loadTesterMetrics(ctx)
		if n := len(app.of(v1beta1.EventHook)); err == nil && (n < 10 || !strings.Contains(metrics, `sluice_loadtester_commands_running{type="cmd"} 1`)) {
			err = fmt.Errorf("there were %d requests; %s", n, metrics)
		}
		return err
	})
	opened := time.Now()
	gate("gate", "open", a.Namespace+"/"+rig.Name)
	a.await("the release going on", func(ctx context.Context) error {
		c, err := a.Canary(ctx)
		if err == nil && c.Status.Gate != nil {
			err = errors.New("it waits at the gate")
		}
		return err
	})
	t.Logf("the release goes on %s after the gate was opened", time.Since(opened).Round(10*time.Millisecond))
	a.awaitPhase(v1beta1.PhaseSucceeded)
	a.wantPrimary("6.0.1")
	wantWeights(t, h, 0, 50, 0)

	gate("gate", "close", a.Namespace+"/"+rig.Name)
	a.release("6.0.2")
	a.awaitGate(v1beta1.ConfirmPromotionHook)
	gate("rollback", "open", a.Namespace+"/"+rig.Name)
	a.awaitPhase(v1beta1.PhaseFailed)
	a.awaitEvent(rig.Name, "RollbackAsked", "rollback hook tester-rollback asks for it")
	a.wantPrimary("6.0.1")
}

// loadTesterMetrics are the load tester's own, those of commands.
func loadTesterMetrics(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, loadTester+"/metrics", nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	var out []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "sluice_loadtester_commands") {
			out = append(out, line)
		}
	}
	return strings.Join(out, ""), err
}
