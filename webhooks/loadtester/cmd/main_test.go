package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/sluice-delivery/sluice/webhooks/loadtester/builtin"
)

// limit is how long anything may take; it is generous, as the machine may be busy.
const limit = time.Minute

// TestMain makes this binary the load generators, as the program itself is, under their names.
func TestMain(m *testing.M) {
	if _, ok := builtin.Lookup(filepath.Base(os.Args[0])); ok {
		main()
		return
	}
	os.Exit(m.Run())
}

// buffer is written to and read by several goroutines.
type buffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func await(t *testing.T, what string, condition func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// start runs the load tester and returns its URL, its log and what ends it.
func start(t *testing.T, args ...string) (string, *buffer, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	log := &buffer{}
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, append([]string{"-port=0"}, args...), io.Discard, log) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
	t.Cleanup(stop)
	var url string
	await(t, "the load tester", func() error {
		line, _, ok := strings.Cut(log.String(), "\n")
		if !ok {
			return errors.New("it does not listen")
		}
		var entry struct{ Address string }
		err := json.Unmarshal([]byte(line), &entry)
		url = "http://127.0.0.1" + entry.Address[strings.LastIndex(entry.Address, ":"):]
		return err
	})
	return url, log, stop
}

func call(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// A hook of Flagger's documentation brings requests to the application, without any program or shell beside this one.
func TestLoad(t *testing.T) {
	var requests atomic.Int32
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.Header.Get("User-Agent") == "hey/0.0.1" {
			requests.Add(1)
		}
	}))
	defer app.Close()
	url, log, stop := start(t, "-allowed-addresses=127.0.0.0/8")
	payload := fmt.Sprintf(`{"name":"podinfo","namespace":"test","phase":"Progressing","metadata":{
		"type":"cmd","cmd":"hey -z 1h -q 50 -c 2 -m POST -d '{test: 2}' %s/echo"}}`, app.URL)
	for range 3 {
		if code, text := call(t, http.MethodPost, url+"/", payload); code != http.StatusAccepted {
			t.Fatalf("got %d %q", code, text)
		}
	}
	await(t, "requests", func() error {
		if n := requests.Load(); n < 5 {
			return fmt.Errorf("there were %d", n)
		}
		return nil
	})
	_, metrics := call(t, http.MethodGet, url+"/metrics", "")
	for _, want := range []string{
		`sluice_loadtester_commands_running{type="cmd"} 1`, `sluice_loadtester_commands_skipped_total{type="cmd"} 2`,
		`sluice_loadtester_gates_open{kind="gate"} 0`, `sluice_loadtester_info{version="dev"} 1`, "go_goroutines",
	} {
		if !strings.Contains(metrics, want+"\n") && !strings.Contains(metrics, want+" ") {
			t.Errorf("there is no %s in\n%s", want, metrics)
		}
	}
	stop()
	if !strings.Contains(log.String(), `"outcome":"canceled"`) {
		t.Errorf("the load did not end with the load tester:\n%s", log.String())
	}
}

// healthServer remembers the services that it was asked about.
type healthServer struct {
	grpc_health_v1.UnimplementedHealthServer
	asked chan string
}

func (s *healthServer) Check(_ context.Context, r *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	s.asked <- r.GetService()
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

// ghz makes messages from templates, which can read the environment: a hook must not have it sent elsewhere.
func TestEnvironmentStays(t *testing.T) {
	t.Setenv("LOADTESTER_SECRET", "swordfish")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	app := &healthServer{asked: make(chan string, 1)}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, app)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	defer func() {
		server.Stop()
		<-done
	}()
	url, _, _ := start(t, "-allowed-addresses=127.0.0.0/8", "-command-env=LOADTESTER_SECRET")
	const quote = "`" // which a template takes, too
	message := `{\"service\":\"<{{ env ` + quote + "LOADTESTER_SECRET" + quote + ` }}>\"}`
	code, text := call(t, http.MethodPost, url+"/", fmt.Sprintf(`{"name":"podinfo","namespace":"test","metadata":{"wait":"true",
		"cmd":"ghz --insecure -n 1 -c 1 -d '%s' %s"}}`, message, listener.Addr()))
	if code != http.StatusOK {
		t.Fatalf("got %d %q", code, text)
	}
	if got := <-app.asked; got != "<>" {
		t.Errorf("it sent %q", got)
	}
}

// TestBounds has a hook call what no load is for, and more of it than may be.
func TestBounds(t *testing.T) {
	var requests atomic.Int32
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { requests.Add(1) }))
	defer app.Close()
	_, port, err := net.SplitHostPort(app.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	url, _, _ := start(t)
	narrow, _, _ := start(t, "-allowed-targets=*.test.svc", "-max-requests-at-once=10", "-allowed-addresses=0.0.0.0/0")
	for name, tc := range map[string]struct{ url, cmd, want string }{
		"loopback":               {url, "hey -n 1 -c 1 " + app.URL, "127.0.0.0/8, which no load is for"},
		"loopback by its name":   {url, "hey -n 1 -c 1 http://localhost:" + port, "which no load is for"},
		"loopback, mapped":       {url, "hey -n 1 -c 1 http://[::ffff:127.0.0.1]:" + port, "127.0.0.0/8"},
		"loopback by a proxy":    {url, "hey -n 1 -c 1 -x " + app.URL + " http://podinfo.test/", "127.0.0.0/8"},
		"metadata":               {url, "hey -n 1 -c 1 http://169.254.169.254/latest", "169.254.0.0/16"},
		"loopback by gRPC":       {url, "ghz --insecure -n 1 -c 1 127.0.0.1:" + port, "127.0.0.0/8"},
		"loopback by a resolver": {url, "ghz --insecure -n 1 -c 1 dns:///localhost:" + port, "which no load is for"},
		"a socket":               {url, "ghz --insecure -n 1 -c 1 unix:///var/run/x.sock", "not the host and port"},
		"too much at once":       {url, "hey -n 1000 -c 251 http://podinfo.test/", "-c: 251 is not 1 to 250"},
		"too much at once, gRPC": {url, "ghz -c 251 -n 1000 podinfo.test:80", "250 is the most"},
		"another host":           {narrow, "hey -n 1 -c 1 " + app.URL, "none of the hosts that may be called: *.test.svc"},
		"more at once":           {narrow, "hey -n 100 -c 11 http://podinfo.test.svc/", "-c: 11 is not 1 to 10"},
	} {
		t.Run(name, func(t *testing.T) {
			payload := fmt.Sprintf(`{"name":"podinfo","namespace":"test","metadata":{"wait":"true","cmd":%q}}`, tc.cmd)
			if code, text := call(t, http.MethodPost, tc.url+"/", payload); code != http.StatusInternalServerError || !strings.Contains(text, tc.want) {
				t.Errorf("got %d %q, want %q", code, text, tc.want)
			}
		})
	}
	if n := requests.Load(); n > 0 {
		t.Errorf("%d requests were made", n)
	}
}

// TestCommandEnvironment has commands get what they need, and no secret of the load tester.
func TestCommandEnvironment(t *testing.T) {
	t.Setenv("LOADTESTER_SECRET", "swordfish")
	t.Setenv("FOR_COMMANDS", "dory")
	url, _, _ := start(t, "-enable-shell", "-allow-unsigned", "-command-env=FOR_COMMANDS, MISSING")
	code, text := call(t, http.MethodPost, url+"/", `{"name":"podinfo","namespace":"test","metadata":{"type":"bash","returnCmdOutput":"true","cmd":"env"}}`)
	if code != http.StatusOK || !strings.Contains(text, "FOR_COMMANDS=dory") || !strings.Contains(text, "PATH=") || strings.Contains(text, "swordfish") {
		t.Errorf("got %d %q", code, text)
	}
}

// TestKeysOfNamespaces reads the key of a namespace from a file of its name, and never from another place.
func TestKeysOfNamespaces(t *testing.T) {
	dir := t.TempDir()
	for path, key := range map[string]string{"keys/test": "of test", "prod": "of prod"} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys := options{keyDir: filepath.Join(dir, "keys")}.keys(nil)
	for namespace, want := range map[string]string{"test": "of test", "prod": "", "../prod": "", "..": "", ".": "", "": ""} {
		if got, err := keys.Namespace(namespace); err != nil || string(got) != want {
			t.Errorf("%q: got %q, error %v, want %q", namespace, got, err, want)
		}
	}
}

// A shell finds what is built in.
func TestShell(t *testing.T) {
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	url, _, _ := start(t, "-enable-shell", "-allow-unsigned", "-allowed-addresses=127.0.0.0/8")
	payload := fmt.Sprintf(`{"name":"podinfo","namespace":"test","metadata":{
		"type":"bash","returnCmdOutput":"true","cmd":"hey -n 2 -c 1 %s | grep -F '[404]' && echo $((1+1)) checks"}}`, app.URL)
	code, text := call(t, http.MethodPost, url+"/", payload)
	if code != http.StatusOK || !strings.Contains(text, "2 responses") || !strings.HasSuffix(text, "2 checks") {
		t.Errorf("got %d %q", code, text)
	}
}

func TestGateCommand(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("another key"), 0o600); err != nil {
		t.Fatal(err)
	}
	url, _, _ := start(t, "-hmac-key-file="+key)
	gate := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := run(t.Context(), args, &out, io.Discard)
		return out.String(), err
	}
	for i, step := range []struct {
		args    []string
		want    string
		wantErr string
	}{
		{args: []string{"gate", "check", "-url", url, "-hmac-key-file", key, "test/podinfo"}, wantErr: "gate of test/podinfo: it is closed"},
		{args: []string{"gate", "open", "-url", url, "-hmac-key-file", other, "test/podinfo"}, wantErr: "401 Unauthorized"},
		{args: []string{"gate", "open", "-url", url + "/", "-hmac-key-file", key, "test/podinfo"}, want: "gate of test/podinfo: done\n"},
		{args: []string{"gate", "check", "-url", url, "-hmac-key-file", key, "test/podinfo"}, want: "gate of test/podinfo: open\n"},
		{args: []string{"gate", "check", "-url", url, "test/podinfo"}, want: "gate of test/podinfo: open\n"}, // it is in the pod
		{args: []string{"rollback", "check", "-url", url, "-hmac-key-file", key, "test/podinfo"}, wantErr: "it is closed"},
		{args: []string{"gate", "close", "-url", url, "-hmac-key-file", key, "test/podinfo"}, want: "gate of test/podinfo: done\n"},
		{args: []string{"gate", "check", "-url", url, "-hmac-key-file", key, "test/podinfo"}, wantErr: "it is closed"},
		{args: []string{"gate", "check", "-url", url, "podinfo"}, wantErr: "NAMESPACE/NAME"},
		{args: []string{"gate", "test/podinfo"}, wantErr: "open, close or check"},
		{args: []string{"gate"}, wantErr: "open, close or check"},
	} {
		got, err := gate(step.args...)
		if got != step.want || (err != nil) != (step.wantErr != "") || (err != nil && !strings.Contains(err.Error(), step.wantErr)) {
			t.Errorf("step %d, %q: got %q and error %v", i, step.args, got, err)
		}
	}
}

func TestParseFlags(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args    []string
		wantErr string
	}{
		"none":                     {},
		"those of Flagger's chart": {args: []string{"-port=8080", "-log-level=info", "-timeout=1h", "-namespace-regexp="}},
		"an older level":           {args: []string{"-log-level=warning"}},
		"nothing allowed":          {args: []string{"-allowed-commands="}},
		"port":                     {args: []string{"-port=65536"}, wantErr: "-port"},
		"level":                    {args: []string{"-log-level=loud"}, wantErr: "-log-level"},
		"timeout":                  {args: []string{"-timeout=0"}, wantErr: "-timeout"},
		"concurrency":              {args: []string{"-max-concurrent=0"}, wantErr: "-max-concurrent"},
		"expression":               {args: []string{"-namespace-regexp=("}, wantErr: "-namespace-regexp"},
		"commands":                 {args: []string{"-allowed-commands=a;b"}, wantErr: "-allowed-commands"},
		"key":                      {args: []string{"-hmac-key-file=/no/such/file"}, wantErr: "-hmac-key-file"},
		"keys of namespaces":       {args: []string{"-hmac-key-dir=/no/such/folder"}, wantErr: "-hmac-key-dir"},
		"signed or not":            {args: []string{"-allow-unsigned", "-hmac-key-dir=" + filepath.Dir(empty)}, wantErr: "-allow-unsigned"},
		"at once":                  {args: []string{"-max-requests-at-once=0"}, wantErr: "-max-requests-at-once"},
		"addresses":                {args: []string{"-allowed-addresses=localhost"}, wantErr: "-allowed-addresses"},
		"empty key":                {args: []string{"-hmac-key-file=" + empty}, wantErr: "-hmac-key-file"},
		"argument":                 {args: []string{"serve"}, wantErr: `"serve"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseFlags(tc.args, io.Discard)
			if (err != nil) != (tc.wantErr != "") || (err != nil && !strings.Contains(err.Error(), tc.wantErr)) {
				t.Errorf("got error %v, want %q", err, tc.wantErr)
			}
		})
	}
}
