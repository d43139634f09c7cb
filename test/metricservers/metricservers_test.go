//go:build metricservers

// Package metricservers tests metric providers against the real servers that
// Debian packages: influxdb, graphite-carbon and graphite-web. They can't be built
// from Go modules, so they have a build tag: see make test-metric-servers.
package metricservers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/factory"
)

// limit is how long a server may take to come up, or to show what it was given.
const limit = time.Minute

// answer is what a query must give.
type answer struct {
	query   string
	want    float64
	wantErr func(error) bool // nil: it gives want
}

func judge(t *testing.T, config metrics.Config, cases map[string]answer) {
	t.Helper()
	config.Clock = clock.RealClock{}
	provider, err := factory.New(config)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := provider.Query(t.Context(), metrics.Query{Expr: tc.query, Interval: 10 * time.Minute})
			switch {
			case tc.wantErr != nil && (err == nil || !tc.wantErr(err)):
				t.Errorf("%v, %v", got, err)
			case tc.wantErr == nil && (err != nil || got.Value != tc.want):
				t.Errorf("%v, %v; want %v", got.Value, err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "pa55word") {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

func refused(err error) bool { return errors.Is(err, metrics.ErrCredentials) }

func TestInfluxDB(t *testing.T) {
	dir, address := t.TempDir(), free(t)
	config := fmt.Sprintf(`reporting-disabled = true
bind-address = %q
[meta]
  dir = %q
[data]
  dir = %q
  wal-dir = %q
[http]
  bind-address = %q
  auth-enabled = true
`, free(t), filepath.Join(dir, "meta"), filepath.Join(dir, "data"), filepath.Join(dir, "wal"), address)
	file := write(t, filepath.Join(dir, "influxdb.conf"), config)
	start(t, nil, "influxd", "run", "-config", file)
	server := "http://" + address
	await(t, "InfluxDB", func() error { return get(t, server+"/ping", http.StatusNoContent) })
	send := func(statement string) {
		t.Helper()
		post(t, server+"/query?u=sluice&p=pa55word&q="+url.QueryEscape(statement), "", http.StatusOK)
	}
	send("CREATE USER sluice WITH PASSWORD 'pa55word' WITH ALL PRIVILEGES")
	send("CREATE DATABASE shop")
	post(t, server+"/write?db=shop&u=sluice&p=pa55word", "errors,pod=a value=2\nerrors,pod=b value=4\n", http.StatusNoContent)

	secret := map[string][]byte{"username": []byte("sluice"), "password": []byte("pa55word"), "database": []byte("shop")}
	judge(t, metrics.Config{Type: "influxdb", Address: server, Secret: secret}, map[string]answer{
		"a mean":           {query: `SELECT mean("value") FROM "errors" WHERE time > now() - 10m`, want: 3},
		"a whole number":   {query: `SELECT count("value") FROM "errors"`, want: 2},
		"no such series":   {query: `SELECT mean("value") FROM "nothing"`, wantErr: metrics.IsNoData},
		"several series":   {query: `SELECT mean("value") FROM "errors" GROUP BY "pod"`, wantErr: metrics.IsQueryError},
		"a syntax error":   {query: `SELECT FROM`, wantErr: metrics.IsQueryError},
		"a change of data": {query: `DROP DATABASE shop`, wantErr: metrics.IsQueryError},
	})
	wrong := map[string][]byte{"username": []byte("sluice"), "password": []byte("pa55word-of-another"), "database": []byte("shop")}
	judge(t, metrics.Config{Type: "influxdb", Address: server, Secret: wrong}, map[string]answer{
		"a wrong password": {query: `SELECT mean("value") FROM "errors"`, wantErr: refused},
	})
	missing := map[string][]byte{"username": []byte("sluice"), "password": []byte("pa55word"), "database": []byte("none")}
	judge(t, metrics.Config{Type: "influxdb", Address: server, Secret: missing}, map[string]answer{
		"no such database": {query: `SELECT mean("value") FROM "errors"`, wantErr: func(err error) bool { return metrics.IsQueryError(err) || metrics.IsNoData(err) }},
	})
}

func TestGraphite(t *testing.T) {
	dir := t.TempDir()
	lines, cache := free(t), free(t)
	host := func(address string) (string, string) {
		t.Helper()
		h, p, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		return h, p
	}
	_, linePort := host(lines)
	_, cachePort := host(cache)
	_, picklePort := host(free(t))
	if err := os.Mkdir(filepath.Join(dir, "whisper"), 0o700); err != nil { // Graphite looks for it as it starts
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "storage-schemas.conf"), "[all]\npattern = .*\nretentions = 1s:1h\n")
	carbon := write(t, filepath.Join(dir, "carbon.conf"), fmt.Sprintf(`[cache]
STORAGE_DIR = %[1]s
LOCAL_DATA_DIR = %[1]s/whisper
CONF_DIR = %[1]s
LOG_DIR = %[1]s
PID_DIR = %[1]s
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = %[2]s
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = %[3]s
CACHE_QUERY_INTERFACE = 127.0.0.1
CACHE_QUERY_PORT = %[4]s
ENABLE_UDP_LISTENER = False
MAX_CREATES_PER_MINUTE = inf
ENABLE_TAGS = False
CARBON_METRIC_INTERVAL = 0
`, dir, linePort, picklePort, cachePort))
	write(t, filepath.Join(dir, "sluice_graphite.py"), fmt.Sprintf(
		"SECRET_KEY = 'test'\nSTORAGE_DIR = CONF_DIR = LOG_DIR = STATIC_ROOT = %q\nCARBONLINK_HOSTS = [%q]\nALLOWED_HOSTS = ['*']\nFIND_CACHE_DURATION = 0\nDEFAULT_CACHE_DURATION = 0\nTIME_ZONE = 'UTC'\n", dir, cache))
	env := []string{"PYTHONPATH=" + dir, "GRAPHITE_SETTINGS_MODULE=sluice_graphite"}
	migrate := exec.CommandContext(t.Context(), "graphite-manage", "migrate", "--run-syncdb", "-v", "0")
	migrate.Env = append(os.Environ(), env...)
	if out, err := migrate.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	start(t, nil, "carbon-cache", "--config="+carbon, "--nodaemon", "--pidfile="+filepath.Join(dir, "carbon.pid"), "start")
	web := free(t)
	start(t, env, "graphite-manage", "runserver", "--noreload", web)
	server := "http://" + web
	await(t, "Graphite", func() error { return get(t, server+"/render?format=json&target=x", http.StatusOK) })
	now := time.Now().Unix()
	await(t, "carbon", func() error {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", lines)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "shop.errors.a 1 %d\nshop.errors.a 3 %d\nshop.errors.b 5 %d\n", now-20, now-10, now-10)
		return err
	})
	await(t, "the datapoints", func() error {
		resp, err := request(t, http.MethodGet, server+"/render?noCache=1&format=json&from=-5min&target=shop.errors.b", "")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && !strings.Contains(string(body), "5.0") {
			err = fmt.Errorf("they are not among %.200s", body)
		}
		return err
	})
	judge(t, metrics.Config{Type: "graphite", Address: server}, map[string]answer{
		"the last value":   {query: `shop.errors.a`, want: 3},
		"a sum":            {query: `target=sumSeries(shop.errors.*)&from=-5min`, want: 8},
		"no such series":   {query: `shop.nothing`, wantErr: metrics.IsNoData},
		"no values yet":    {query: `target=shop.errors.a&from=-3s`, wantErr: metrics.IsNoData},
		"several series":   {query: `shop.errors.*`, wantErr: metrics.IsQueryError},
		"no such function": {query: `nonsense(shop.errors.a)`, wantErr: func(error) bool { return true }},
	})
}

// start runs a server of the machine until the end of the test.
func start(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	server := exec.CommandContext(ctx, name, args...)
	server.Env = append(os.Environ(), env...)
	var log strings.Builder
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		stop()
		t.Fatalf("%v; on Debian: apt-get install influxdb graphite-carbon graphite-web", err)
	}
	t.Cleanup(func() {
		stop()
		_ = server.Wait()
		if t.Failed() {
			t.Logf("%s says\n%s", name, log.String())
		}
	})
}

func write(t *testing.T, file, content string) string {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func free(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func await(t *testing.T, what string, check func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, limit, true, func(context.Context) (bool, error) {
		last = check()
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: %v: %v", what, err, last)
	}
}

func request(t *testing.T, method, address, body string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	return (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
}

func get(t *testing.T, address string, want int) error {
	t.Helper()
	resp, err := request(t, http.MethodGet, address, "")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

func post(t *testing.T, address, body string, want int) {
	t.Helper()
	resp, err := request(t, http.MethodPost, address, body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if answered, _ := io.ReadAll(resp.Body); resp.StatusCode != want {
		t.Fatalf("status %d: %s", resp.StatusCode, answered)
	}
}
