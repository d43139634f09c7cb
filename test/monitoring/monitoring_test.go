// Package monitoring tests the alert rules and the dashboards of the chart.
package monitoring

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/operator/telemetry"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// rules is the chart's file of rules.
type rules struct {
	Groups []struct {
		Rules []struct {
			Alert       string            `json:"alert"`
			Expr        string            `json:"expr"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"rules"`
	} `json:"groups"`
}

func chart(t *testing.T) string {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "charts", "sluice")
}

func promtool(t *testing.T, args ...string) (string, error) {
	t.Helper()
	binary, err := cluster.Binary("promtool")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput()
	return string(out), err
}

// TestRules has Prometheus's own tool judge the rules by series of which each alert is told, and not too early.
func TestRules(t *testing.T) {
	file := filepath.Join(chart(t), "rules", "sluice.yaml")
	if out, err := promtool(t, "check", "rules", "--lint=all", "--lint-fatal", file); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	text, err := os.ReadFile("testdata/rules_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	tests := filepath.Join(t.TempDir(), "rules_test.yaml")
	if err := os.WriteFile(tests, []byte(strings.ReplaceAll(string(text), "RULES", file)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := promtool(t, "test", "rules", tests); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, alert := range alerts(t) {
		if !strings.Contains(string(text), "alertname: "+alert.name) {
			t.Errorf("no test has the alert %s", alert.name)
		}
	}
}

type alert struct{ name, expr, runbook string }

func alerts(t *testing.T) (out []alert) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chart(t), "rules", "sluice.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var all rules
	if err := yaml.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for _, group := range all.Groups {
		for _, rule := range group.Rules {
			out = append(out, alert{rule.Alert, rule.Expr, rule.Annotations["runbook_url"]})
			if rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" {
				t.Errorf("%s lacks a severity or a summary", rule.Alert)
			}
		}
	}
	return out
}

// TestRunbook has a section for each alert, which the alert leads to, and none for others.
func TestRunbook(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chart(t), "..", "..", "docs", "runbook.md"))
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^## (\w+)$`).FindAllStringSubmatch(string(text), -1) {
		sections[match[1]] = true
	}
	for _, a := range alerts(t) {
		if !sections[a.name] {
			t.Errorf("the runbook has no section %s", a.name)
		}
		if !strings.HasSuffix(a.runbook, "/docs/runbook.md#"+strings.ToLower(a.name)) {
			t.Errorf("%s leads to %s", a.name, a.runbook)
		}
		delete(sections, a.name)
	}
	for left := range sections {
		t.Errorf("the runbook has a section %s, and there is no such alert", left)
	}
}

// others are metrics of controller-runtime, of client-go, of the Go client of Prometheus, and of webhooks/alerts.
var others = map[string]bool{
	"controller_runtime_reconcile_total": true, "controller_runtime_reconcile_errors_total": true,
	"controller_runtime_reconcile_time_seconds_bucket": true, "leader_election_master_status": true,
	"rest_client_requests_total": true, "process_cpu_seconds_total": true, "process_resident_memory_bytes": true,
}

var metricName = regexp.MustCompile(`\b[a-z]+_[a-z_]+\b`)

// words of the query language, and labels, that look like metrics.
var notMetrics = map[string]bool{"label_values": true, "histogram_quantile": true, "mesh_provider": true, "__rate_interval": true, "quantile_over_time": true}

// described are the metrics that the operator registers.
func described(t *testing.T) map[string]bool {
	t.Helper()
	registry := &names{}
	telemetry.NewRollouts(registry, clock.RealClock{}, "", "")
	telemetry.NewAlerts(registry)
	telemetry.NewQueues(registry)
	telemetry.NewAnswers(registry, clock.RealClock{})
	telemetry.NewSpans(registry)
	out := map[string]bool{}
	for _, c := range registry.collectors {
		descs := make(chan *prometheus.Desc)
		go func() { c.Describe(descs); close(descs) }()
		for desc := range descs {
			name := regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(desc.String())[1]
			out[name], out[name+"_bucket"], out[name+"_count"] = true, true, true
		}
	}
	return out
}

// names is a registry that only remembers what there is.
type names struct{ collectors []prometheus.Collector }

func (n *names) Register(c prometheus.Collector) error {
	n.collectors = append(n.collectors, c)
	return nil
}
func (n *names) MustRegister(cs ...prometheus.Collector) {
	n.collectors = append(n.collectors, cs...)
}
func (n *names) Unregister(prometheus.Collector) bool { return false }

// wantMetrics fails where a query asks for what the operator does not publish.
func wantMetrics(t *testing.T, where, expr string, known map[string]bool) {
	t.Helper()
	bare := regexp.MustCompile(`"[^"]*"`).ReplaceAllString(expr, "")
	for _, name := range metricName.FindAllString(bare, -1) {
		if !known[name] && !others[name] && !notMetrics[name] {
			t.Errorf("%s asks for %s, which is not published: %s", where, name, expr)
		}
	}
}

func TestMetricsOfRules(t *testing.T) {
	known := described(t)
	for _, a := range alerts(t) {
		wantMetrics(t, a.name, a.expr, known)
	}
}

// dashboard is what of a dashboard of Grafana can be judged without one.
type dashboard struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Panels        []struct {
		ID      int    `json:"id"`
		Type    string `json:"type"`
		Title   string `json:"title"`
		GridPos struct {
			X, Y, W, H int
		} `json:"gridPos"`
		Targets []struct {
			Expr  string `json:"expr"`
			RefID string `json:"refId"`
		} `json:"targets"`
	} `json:"panels"`
	Templating struct {
		List []struct {
			Name  string `json:"name"`
			Query any    `json:"query"`
		} `json:"list"`
	} `json:"templating"`
}

// TestDashboards has panels that don't lie upon each other, and queries that Prometheus understands, about what is published.
func TestDashboards(t *testing.T) {
	files, err := fs.Glob(os.DirFS(filepath.Join(chart(t), "dashboards")), "*.json")
	if err != nil || len(files) != 3 {
		t.Fatalf("want the dashboards of the fleet, a release and the operator, got %v (%v)", files, err)
	}
	known := described(t)
	uids := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(chart(t), "dashboards", file)) //nolint:gosec // of the chart
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if d.UID == "" || uids[d.UID] || d.Title == "" || d.SchemaVersion == 0 || len(d.Panels) == 0 {
			t.Errorf("%s lacks a uid of its own, a title, a version of the schema or panels", file)
		}
		uids[d.UID] = true
		variables := []string{"$__rate_interval", "5m"}
		for _, v := range d.Templating.List {
			variables = append(variables, "$"+v.Name, "x")
		}
		cells := map[[2]int]string{}
		ids := map[int]bool{}
		for _, p := range d.Panels {
			if ids[p.ID] || p.Title == "" || len(p.Targets) == 0 {
				t.Errorf("%s: panel %d %q lacks an id of its own, a title or a query", file, p.ID, p.Title)
			}
			ids[p.ID] = true
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other, taken := cells[[2]int{x, y}]; taken || x > 23 {
						t.Fatalf("%s: %q lies upon %q, or beyond the edge", file, p.Title, other)
					}
					cells[[2]int{x, y}] = p.Title
				}
			}
			for _, target := range p.Targets {
				wantMetrics(t, file+" "+p.Title, target.Expr, known)
				expr := strings.NewReplacer(variables...).Replace(target.Expr)
				if out, err := promtool(t, "promql", "--experimental", "format", expr); err != nil {
					t.Errorf("%s: %q: %v\n%s\n%s", file, p.Title, err, expr, out)
				}
			}
		}
	}
}
