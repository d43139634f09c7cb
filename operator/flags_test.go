package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers/factory"
)

func TestParseFlags(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "delivery")
	defaults := options{
		meshProvider: "istio", ingressPrefix: "nginx.ingress.kubernetes.io", metrics: metricOptions{server: "http://prometheus:9090"}, logLevel: "info", logEncoding: "json", port: 8080, workers: 16,
		checksConcurrency: 64, qps: -1, leader: leaderOptions{namespace: "delivery", lease: 15 * time.Second}, configTracking: true, releasesPerConfig: 50,
		coverage: "report", istioRootNamespace: "istio-system",
		objects:   workload.Options{SelectorLabels: []string{"app", "name", "app.kubernetes.io/name"}},
		outbound:  outboundOptions{cloudIdentity: []string{"*"}, unmarkedSecretsAllowed: true},
		dashboard: dashboardOptions{userHeader: "X-Forwarded-User", groupHeader: "X-Forwarded-Groups"},
	}
	for name, tc := range map[string]struct {
		args []string
		want func(*options)
	}{
		"none": {want: func(*options) {}},
		"lists replace their default": {
			args: []string{"-selector-labels", "team, app ,,", "--include-label-prefix=example.com/,*"},
			want: func(o *options) {
				o.objects.SelectorLabels = []string{"team", "app"}
				o.objects.IncludeLabelPrefixes = []string{"example.com/", "*"}
			},
		},
		"the last of a repeated list counts": {
			args: []string{"-selector-labels=a,b", "-selector-labels=c"},
			want: func(o *options) { o.objects.SelectorLabels = []string{"c"} },
		},
		"the dashboard": {
			args: []string{"-dashboard-address=:8090", "-dashboard-anonymous", "-dashboard-proxies=10.0.0.0/8,::1", "-dashboard-user-header=X-User", "-dashboard-group-header=X-Groups"},
			want: func(o *options) {
				o.dashboard = dashboardOptions{address: ":8090", anonymous: true, proxies: list{"10.0.0.0/8", "::1"}, userHeader: "X-User", groupHeader: "X-Groups"}
			},
		},
		"bounds are allowed": {
			args: []string{"-port=65535", "-threadiness=1", "-checks-concurrency=1"},
			want: func(o *options) { o.port, o.workers, o.checksConcurrency = 65535, 1, 1 },
		},
		"Consul": {
			args: []string{
				"-consul-address=https://c:8501", "-consul-datacenter=d", "-consul-partition=p", "-consul-namespace=n",
				"-consul-token-file=t", "-consul-ca-file=ca", "-consul-cert-file=cert", "-consul-key-file=key",
			},
			want: func(o *options) {
				o.consul = factory.Consul{
					Address: "https://c:8501", Datacenter: "d", Partition: "p", Namespace: "n", TokenFile: "t", CAFile: "ca", CertFile: "cert", KeyFile: "key",
				}
			},
		},
		"namespaces are kept apart": {args: []string{"-no-cross-namespace-refs"}, want: func(o *options) {
			o.alerts.noCrossNamespaceRefs = true
			o.outbound = outboundOptions{}
		}},
		"namespaces are kept apart, with exceptions": {
			args: []string{"-no-cross-namespace-refs", "-unmarked-secrets=allow", "-cloud-identity-namespaces=a,b"},
			want: func(o *options) {
				o.alerts.noCrossNamespaceRefs = true
				o.outbound = outboundOptions{cloudIdentity: []string{"a", "b"}, unmarkedSecrets: "allow", unmarkedSecretsAllowed: true}
			},
		},
		"where requests may go": {
			args: []string{"-allowed-addresses=127.0.0.1", "-hooks-allowed-hosts=h", "-metrics-allowed-hosts=m", "-alerts-allowed-hosts=a", "-unmarked-secrets=refuse"},
			want: func(o *options) {
				o.outbound = outboundOptions{
					addresses: []string{"127.0.0.1"}, hookHosts: []string{"h"}, metricsHosts: []string{"m"}, alertHosts: []string{"a"},
					cloudIdentity: []string{"*"}, unmarkedSecrets: "refuse",
				}
			},
		},
		"several namespaces": {args: []string{"-namespace=shop, store,"}, want: func(o *options) { o.namespaces = []string{"shop", "store"} }},
		"no server":          {args: []string{"-port=0"}, want: func(o *options) { o.port = 0 }},
		"the rest": {
			args: []string{
				"-kubeconfig=k", "-kubeconfig-service-mesh=s", "-mesh-provider=m", "-metrics-server=http://p", "-namespace=n", "-log-level=debug",
				"-pprof-address=127.0.0.1:6060", "-kubeconfig-qps=1.5", "-kubeconfig-burst=3", "-enable-leader-election",
				"-leader-election-namespace=l", "-leader-election-lease-duration=30s", "-enable-config-tracking=false", "-max-releases-per-config=7", "-coverage=copy", "-istio-root-namespace=r",
				"-metrics-server-secret-dir=/s", "-metrics-server-insecure-skip-verify", "-master=https://api", "-zap-encoding=console", "-version",
				"-hooks-allowed-hosts=a,b", "-hooks-allowed-addresses=127.0.0.1", "-hooks-proxy-from-environment", "-event-webhook=http://e", "-event-webhook-secret-dir=/e", "-ingress-annotations-prefix=i",
			},
			want: func(o *options) {
				o.kubeconfig, o.meshProvider, o.namespaces, o.logLevel = "k", "m", []string{"n"}, "debug"
				o.metrics = metricOptions{server: "http://p", secretDirectory: "/s", insecureSkipVerify: true}
				o.pprofAddress, o.qps, o.burst, o.leader = "127.0.0.1:6060", 1.5, 3, leaderOptions{enabled: true, namespace: "l", lease: 30 * time.Second}
				o.coverage, o.istioRootNamespace, o.meshKubeconfig = "copy", "r", "s"
				o.configTracking, o.releasesPerConfig, o.ingressPrefix = false, 7, "i"
				o.master, o.logEncoding, o.version = "https://api", "console", true
				o.outbound.hookHosts, o.outbound.addresses = []string{"a", "b"}, []string{"127.0.0.1"}
				o.hooks = hookOptions{
					proxyFromEnvironment: true, eventURL: "http://e", eventSecretDirectory: "/e",
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := defaults
			tc.want(&want)
			got, err := parseFlags(tc.args, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(options{}, leaderOptions{}, scopeOptions{}, serverOptions{}, dashboardOptions{}, approvalOptions{}, metricOptions{}, alertOptions{}, hookOptions{}, outboundOptions{})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestParseFlagsRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		args    []string
		wantErr string
	}{
		"unknown flag":         {[]string{"-no-such-flag"}, "no-such-flag"},
		"argument":             {[]string{"-port=1", "start"}, `"start"`},
		"negative port":        {[]string{"-port=-1"}, "-port: -1 is not 0 to 65535"},
		"port too large":       {[]string{"-port=65536"}, "-port: 65536 is not 0 to 65535"},
		"fewer than none":      {[]string{"-max-releases-per-config=-1"}, "-max-releases-per-config: -1 is not 0 or more"},
		"no workers":           {[]string{"-threadiness=0"}, "-threadiness: 0"},
		"lease of a moment":    {[]string{"-leader-election-lease-duration=2s"}, "-leader-election-lease-duration: 2s is not 3s or more in whole seconds"},
		"lease of 3.5 s":       {[]string{"-leader-election-lease-duration=3500ms"}, "in whole seconds"},
		"no checks":            {[]string{"-checks-concurrency=0"}, "-checks-concurrency: 0"},
		"empty list of labels": {[]string{"-selector-labels= ,"}, "-selector-labels: at least one"},
		"unknown coverage":     {[]string{"-coverage=all"}, `-coverage: "all" is none of none, report, copy`},
		"unmarked Secrets":     {[]string{"-unmarked-secrets=no"}, `-unmarked-secrets: "no" is neither allow nor refuse`},
		"collector of no URL":  {[]string{"-otlp-endpoint=collector:4317"}, "-otlp-endpoint: "},
		"unknown encoding":     {[]string{"-zap-encoding=xml"}, `-zap-encoding: "xml" is none of json, console`},
		"not a number":         {[]string{"-kubeconfig-qps=many"}, "kubeconfig-qps"},
		"dashboard's address":  {[]string{"-dashboard-address=8090"}, `-dashboard-address: "8090" is no address such as :8090`},
		"no dashboard":         {[]string{"-dashboard-anonymous"}, "-dashboard-address turns on"},
		"dashboard's proxies":  {[]string{"-dashboard-address=:8090", "-dashboard-proxies=10.0.0.0/8,ingress"}, `-dashboard-proxies: "ingress" is neither an address nor a CIDR`},
		"dashboard's TLS":      {[]string{"-dashboard-address=:8090", "-dashboard-tls-dir=/does/not/exist"}, "-dashboard-tls-dir: "},
		"proxies without TLS":  {[]string{"-dashboard-address=:8090", "-dashboard-proxy-ca=ca.crt"}, "-dashboard-proxy-ca: it needs -dashboard-tls-dir"},
		"no presses":           {[]string{"-slack-approvals-users=/x"}, "-slack-approvals-address turns on"},
		"address of presses":   {[]string{"-slack-approvals-address=8091"}, `-slack-approvals-address: "8091" is no address`},
		"no signing secret":    {[]string{"-slack-approvals-address=:8091"}, "it needs $SLACK_SIGNING_SECRET"},
		"dashboard's links":    {[]string{"-dashboard-address=:8090", "-dashboard-link=logs"}, `link "logs"`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseFlags(tc.args, t.Output()); err == nil || !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("got error %v, want %q", err, tc.wantErr)
			}
		})
	}
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	for name, tc := range map[string]struct {
		args       []string
		wantErr    string
		wantOutput string
	}{
		"help":               {[]string{"-h"}, flag.ErrHelp.Error(), "-mesh-provider"},
		"log level":          {[]string{"-log-level=loud"}, `-log-level: "loud" is none of debug, info, warn, error`, ""},
		"missing kubeconfig": {[]string{"-kubeconfig=/does/not/exist"}, "no way to reach Kubernetes", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var output bytes.Buffer
			err := run(t.Context(), tc.args, io.Discard, &output)
			if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("got error %v, want %q", err, tc.wantErr)
			}
			if tc.wantOutput != "" && (!errors.Is(err, flag.ErrHelp) || !strings.Contains(output.String(), tc.wantOutput)) {
				t.Errorf("output lacks %q:\n%s", tc.wantOutput, &output)
			}
		})
	}
}

// A command line of Flagger's starts the operator: each flag works, or the log says once that it means nothing here.
func TestFlagsOfFlagger(t *testing.T) {
	kubeconfig := "-kubeconfig=/does/not/exist" // where it ends
	for name, tc := range map[string]struct {
		args []string
		says []string // flags that are said to have no effect
	}{
		"all that it has": {
			args: []string{
				"-kubeconfig-qps=100", "-kubeconfig-burst=250", "-master=https://127.0.0.1:1", "-metrics-server=http://prometheus:9090", "-control-loop-interval=10s",
				"-log-level=warning", "-port=8080", "-slack-url=https://s/", "-slack-token=t", "-slack-proxy-url=http://p", "-slack-user=flagger", "-slack-channel=general",
				"-event-webhook=http://e", "-msteams-url=https://m/", "-msteams-proxy-url=http://p", "-include-label-prefix=app.kubernetes.io", "-threadiness=2",
				"-zap-replace-globals", "-zap-encoding=json", "-namespace=test", "-mesh-provider=istio", "-selector-labels=app,name", "-ingress-annotations-prefix=nginx.ingress.kubernetes.io",
				"-ingress-class=contour", "-enable-leader-election=true", "-leader-election-namespace=kube-system", "-enable-config-tracking=true", "-kubeconfig-service-mesh=/x",
				"-cluster-name=c", "-no-cross-namespace-refs=true", "-v=4", "-logtostderr", "-alsologtostderr=true", "-stderrthreshold=INFO",
			},
		},
		"what means nothing here": {
			args: []string{"-control-loop-interval=10s", "-zap-replace-globals=true", "-v=4", "-logtostderr", "-v", "5"},
			says: []string{"-control-loop-interval", "-zap-replace-globals", "-v", "-logtostderr"},
		},
		"nothing": {},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			err := run(t.Context(), append(tc.args, kubeconfig), io.Discard, &log)
			if err == nil || !strings.Contains(err.Error(), "no way to reach Kubernetes") {
				t.Fatalf("it does not start: %v\n%s", err, &log)
			}
			if slices.Contains(tc.args, "-log-level=warning") {
				return // it is not told
			}
			if n := strings.Count(log.String(), "has no effect"); n != len(tc.says) {
				t.Errorf("%d flags are said to have no effect, want %d:\n%s", n, len(tc.says), &log)
			}
			for _, flag := range tc.says {
				if !strings.Contains(log.String(), `"flag":"`+flag+`"`) {
					t.Errorf("nothing is said of %s:\n%s", flag, &log)
				}
			}
		})
	}
}

// TestFlagsAreDocumented holds the page of flags, which is generated from the source, against the flags as they are.
func TestFlagsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/reference/flags.md")
	if err != nil {
		t.Fatal(err)
	}
	f := flag.NewFlagSet("sluice", flag.ContinueOnError)
	new(options).register(f)
	f.VisitAll(func(one *flag.Flag) {
		if strings.HasPrefix(one.Usage, "Flagger's; it has no effect") {
			return
		}
		row := "| `-" + one.Name + "` | "
		if value := one.DefValue; value != "" && value != "[]" {
			row += "`" + value + "` |"
		}
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/reference/flags.md has no row that begins %s; run make generate", row)
		}
		if text := strings.NewReplacer("`", "", `\|`, "|").Replace(string(page)); !strings.Contains(strings.ToLower(text), "| "+strings.ToLower(strings.Join(strings.Fields(one.Usage), " "))) {
			t.Errorf("docs/reference/flags.md does not say of -%s: %s; run make generate", one.Name, one.Usage)
		}
	})
}

// TestDocumentedPreflight reads each command of its page as sluice does.
func TestDocumentedPreflight(t *testing.T) {
	page, err := os.ReadFile("../docs/preflight.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile("(?m)^    (?:.*\\| )?sluice preflight([^#\n]*)").FindAllStringSubmatch(string(page), -1)
	if len(commands) < 4 {
		t.Errorf("only %d commands were found", len(commands))
	}
	for _, c := range commands {
		if _, err := parsePreflight(strings.Fields(c[1]), io.Discard); err != nil {
			t.Errorf("sluice preflight%s: %v", c[1], err)
		}
	}
}

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-version"}, &out, io.Discard); err != nil || out.String() != "Sluice version dev\n" {
		t.Errorf("%q, %v", &out, err)
	}
}

func TestLogForPeople(t *testing.T) {
	var out bytes.Buffer
	newLogger(&out, slog.LevelInfo, encodingConsole).Info("Starting", "version", "dev")
	if got := out.String(); strings.Contains(got, "{") || !strings.Contains(got, "msg=Starting") || !strings.Contains(got, "version=dev") {
		t.Errorf("%q", got)
	}
}

// -master is where the API server is, whatever the kubeconfig says.
func TestMaster(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: "https://elsewhere"}},
		Contexts:       map[string]*clientcmdapi.Context{"c": {Cluster: "c"}},
		CurrentContext: "c",
	}, file); err != nil {
		t.Fatal(err)
	}
	for master, want := range map[string]string{"": "https://elsewhere", "https://api:6443": "https://api:6443"} {
		config, err := kubeConfig(file, options{master: master})
		if err != nil || config.Host != want {
			t.Errorf("with -master=%q: %v, %v", master, config, err)
		}
	}
}
