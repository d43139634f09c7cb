package builtin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
)

// limit is how long anything may take; it is generous, as the machine may be busy.
const limit = time.Minute

// local are limits that let tests call what they start.
func local(dataDir string) Limits {
	return Limits{DataDir: dataDir, AtOnce: DefaultAtOnce, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}
}

func TestLookup(t *testing.T) {
	for name, want := range map[string]bool{"hey": true, "ghz": true, "sluice-loadtester": false, "helm": false} {
		if _, got := Lookup(name); got != want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

// web is an HTTP server that remembers what it was asked.
type web struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []*http.Request
	bodies []string
}

func newWeb(t *testing.T) *web {
	t.Helper()
	s := &web{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked, s.bodies = append(s.asked, r), append(s.bodies, string(body))
	}))
	t.Cleanup(s.Close)
	return s
}

func TestHey(t *testing.T) {
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "body.json"), []byte(`{"from":"file"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	type request struct{ Method, Path, Host, Body, Type, Agent, Accept, Auth, Team string }
	for name, tc := range map[string]struct {
		args      []string
		want      request
		wantCount int
	}{
		"plain": {
			args: []string{"-n", "6", "-c", "2"}, wantCount: 6,
			want: request{Method: "GET", Path: "/x", Type: "text/html", Agent: "hey/0.0.1"},
		},
		"all headers": {
			args: []string{
				"-n", "1", "-c", "1", "-m", "put", "-T", "application/json", "-A", "text/plain", "-U", "me/1", "-a", "u:p:q",
				"-host", "shop.example.com", "-H", "Team: blue", "-d", "{test: 2}",
			}, wantCount: 1,
			want: request{
				Method: "PUT", Path: "/x", Host: "shop.example.com", Body: "{test: 2}", Type: "application/json", Agent: "me/1 hey/0.0.1",
				Accept: "text/plain", Auth: "Basic dTpwOnE=", Team: "blue",
			},
		},
		"body from a file": {
			args: []string{"-n", "1", "-c", "1", "-m", "POST", "-D", "body.json"}, wantCount: 1,
			want: request{Method: "POST", Path: "/x", Body: `{"from":"file"}`, Type: "text/html", Agent: "hey/0.0.1"},
		},
		"limited in rate": {
			args: []string{"-n", "3", "-c", "1", "-q", "100"}, wantCount: 3,
			want: request{Method: "GET", Path: "/x", Type: "text/html", Agent: "hey/0.0.1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newWeb(t)
			var out bytes.Buffer
			if err := hey(t.Context(), append(tc.args, s.URL+"/x"), local(data), &out, io.Discard); err != nil {
				t.Fatal(err)
			}
			if len(s.asked) != tc.wantCount {
				t.Errorf("%d requests were made, want %d", len(s.asked), tc.wantCount)
			}
			r := s.asked[len(s.asked)-1]
			got := request{
				Method: r.Method, Path: r.URL.Path, Host: r.Host, Body: s.bodies[len(s.bodies)-1], Type: r.Header.Get("Content-Type"),
				Agent: r.UserAgent(), Accept: r.Header.Get("Accept"), Auth: r.Header.Get("Authorization"), Team: r.Header.Get("Team"),
			}
			if tc.want.Host == "" {
				tc.want.Host = strings.TrimPrefix(s.URL, "http://")
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(out.String(), "[200]") {
				t.Errorf("it reports\n%s", out.String())
			}
		})
	}
}

// It ends after -z, or before when it is asked to, and reports what it has done.
func TestHeyEnds(t *testing.T) {
	s := newWeb(t)
	var out bytes.Buffer
	if err := hey(t.Context(), []string{"-z", "300ms", "-c", "2", "-q", "50", s.URL}, local(""), &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "Requests/sec") {
		t.Errorf("after -z it reports\n%s", out.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if asked.Add(1) == 5 {
			cancel()
		}
	}))
	defer server.Close()
	out.Reset()
	if err := hey(ctx, []string{"-z", "1h", "-c", "2", "-q", "50", server.URL}, local(""), &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "[200]") {
		t.Errorf("when asked to end it reports\n%s", out.String())
	}
}

func TestHeyRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no URL":               {args: []string{"-n", "1", "-c", "1"}, want: "one URL is needed"},
		"options after it":     {args: []string{"http://a/", "-n", "1"}, want: "one URL is needed"},
		"fewer than workers":   {args: []string{"-n", "1", "http://a/"}, want: "-n: 1 is less than -c (50)"},
		"no workers":           {args: []string{"-z", "1s", "-c", "0", "http://a/"}, want: "-c: 0"},
		"a billion workers":    {args: []string{"-z", "1s", "-c", "1000000000", "http://a/"}, want: "-c: 1000000000 is not 1 to 250"},
		"not HTTP":             {args: []string{"file:///etc/passwd"}, want: "not the URL of an HTTP server"},
		"header without colon": {args: []string{"-H", "a b", "http://a/"}, want: "-H"},
		"no password":          {args: []string{"-a", "user", "http://a/"}, want: "-a"},
		"file elsewhere":       {args: []string{"-D", "/etc/passwd", "http://a/"}, want: "no file in the data folder"},
		"unknown option":       {args: []string{"-no-such-option", "http://a/"}, want: "flag provided but not defined"},
	} {
		t.Run(name, func(t *testing.T) {
			err := hey(t.Context(), tc.args, local(t.TempDir()), io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want %q", err, tc.want)
			}
		})
	}
}

// rpc is a gRPC server with the health service that remembers what it was asked.
type rpc struct {
	*health.Server
	address  string
	mu       sync.Mutex
	services []string
	teams    []string
	cancelAt int // the request that ends the load, from 1
	cancel   context.CancelFunc
}

func (s *rpc) Check(ctx context.Context, r *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	s.mu.Lock()
	md, _ := metadata.FromIncomingContext(ctx)
	if s.services = append(s.services, r.GetService()); len(s.services) == s.cancelAt {
		s.cancel()
	}
	s.teams = append(s.teams, strings.Join(md.Get("team"), ","))
	s.mu.Unlock()
	return s.Server.Check(ctx, r)
}

func newRPC(t *testing.T, reflect bool) *rpc {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rpc{Server: health.NewServer(), address: listener.Addr().String()}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, s)
	if reflect {
		reflection.Register(server)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return s
}

func TestGhz(t *testing.T) {
	data := t.TempDir()
	proto := `syntax = "proto3"; package grpc.health.v1;
		message HealthCheckRequest { string service = 1; }
		message HealthCheckResponse { int32 status = 1; }
		service Health { rpc Check(HealthCheckRequest) returns (HealthCheckResponse); }`
	for name, content := range map[string]string{"my.proto": proto, "message.json": `{"service":"from-file"}`} {
		if err := os.WriteFile(filepath.Join(data, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		args        []string
		reflect     bool
		wantCount   int
		wantService string
		wantTeam    string
	}{
		"health is asked where nothing else is": {args: []string{"-n", "6", "-c", "2", "--insecure", "SERVER"}, wantCount: 6},
		"as in Flagger's documentation": {
			args:      []string{"--insecure", "--proto=/tmp/ghz/health.proto", "--call=grpc.health.v1.Health/Check", "-n", "2", "-c", "1", "SERVER"},
			wantCount: 2,
		},
		"options after the server": {args: []string{"SERVER", "-n=1", "-c=1", "-q", "100", "--insecure"}, wantCount: 1},
		"data and metadata": {
			args:      []string{"--insecure", "-n", "1", "-c", "1", "-d", `{"service":"mine"}`, "-m", `{"team":"blue"}`, "SERVER"},
			wantCount: 1, wantService: "mine", wantTeam: "blue",
		},
		"data of a file":   {args: []string{"--insecure", "-n", "1", "-c", "1", "-D", "message.json", "SERVER"}, wantCount: 1, wantService: "from-file"},
		"reflection works": {args: []string{"--insecure", "-n", "1", "-c", "1", "SERVER"}, reflect: true, wantCount: 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRPC(t, tc.reflect)
			var out bytes.Buffer
			args := append([]string{"-O", "json"}, tc.args...)
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "SERVER", s.address)
			}
			if err := ghz(t.Context(), args, local(data), &out, io.Discard); err != nil {
				t.Fatal(err)
			}
			var report struct{ Count int }
			if err := json.Unmarshal(out.Bytes(), &report); err != nil || report.Count != tc.wantCount {
				t.Errorf("it reports %d requests (%v), want %d", report.Count, err, tc.wantCount)
			}
			if len(s.services) != tc.wantCount || s.services[0] != tc.wantService || s.teams[0] != tc.wantTeam {
				t.Errorf("it asked for %q with teams %q", s.services, s.teams)
			}
		})
	}
}

func TestGhzEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		args     []string
		cancelAt int
	}{
		"after -z":                  {args: []string{"-z", "300ms"}},
		"after -x":                  {args: []string{"-x", "300ms", "-n", "1000000"}},
		"when it is asked to":       {args: []string{"-z", "1h"}, cancelAt: 5},
		"when it is asked to, no z": {args: []string{"-n", "1000000"}, cancelAt: 5},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRPC(t, false)
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			s.cancelAt, s.cancel = tc.cancelAt, cancel
			var out bytes.Buffer
			if err := ghz(ctx, append([]string{"--insecure", "-c", "1", "-q", "20", s.address}, tc.args...), local(""), &out, io.Discard); err != nil {
				t.Fatal(err)
			}
			// How many requests fit into a moment is the machine's business.
			if ended := out.String(); !strings.Contains(ended, "Count:") || (tc.cancelAt > 0 && !strings.Contains(ended, "[OK]")) {
				t.Errorf("it reports\n%s", out.String())
			}
		})
	}
}

func TestGhzRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no server":        {args: []string{"--insecure"}, want: "one server (host:port) is needed, not 0"},
		"two servers":      {args: []string{"a:1", "b:1"}, want: "not 2"},
		"data is no JSON":  {args: []string{"-d", "{", "a:1"}, want: "--data"},
		"data of stdin":    {args: []string{"-d", `"@"`, "a:1"}, want: "--data"},
		"file elsewhere":   {args: []string{"--call", "a.B.C", "--proto", "/etc/passwd", "a:1"}, want: "no file in the data folder"},
		"import elsewhere": {args: []string{"-i", "/etc", "a:1"}, want: "no file in the data folder"},
		"key elsewhere":    {args: []string{"--key", "/etc/passwd", "a:1"}, want: "no file in the data folder"},
		"both spans":       {args: []string{"-z", "1s", "-x", "1s", "a:1"}, want: "-z and -x"},
		"no such schedule": {args: []string{"--load-schedule", "x", "a:1"}, want: "schedule"},
	} {
		t.Run(name, func(t *testing.T) {
			err := ghz(t.Context(), tc.args, local(t.TempDir()), io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestFile(t *testing.T) {
	data, elsewhere := t.TempDir(), t.TempDir()
	for _, path := range []string{filepath.Join(data, "a"), filepath.Join(elsewhere, "b"), data + "-b"} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// As a ConfigMap is mounted, and as somebody might wish it were.
	for link, to := range map[string]string{"in": filepath.Join(data, "a"), "out": filepath.Join(elsewhere, "b"), "folder": elsewhere} {
		if err := os.Symlink(to, filepath.Join(data, link)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{
		"a": true, filepath.Join(data, "a"): true, "in": true,
		"../" + filepath.Base(elsewhere) + "/b": false, "out": false, "folder/b": false, filepath.Join(elsewhere, "b"): false,
		data + "-b": false, "missing": false, "/etc/passwd": false,
	} {
		path, err := file(data, name)
		var usage *usageError
		if (err == nil) != want || (err != nil && !errors.As(err, &usage)) {
			t.Errorf("%s: got %q and error %v, want it: %t", name, path, err, want)
		}
	}
	if _, err := file("", "a"); err == nil || !strings.Contains(err.Error(), "-data-dir") {
		t.Errorf("without a data folder: %v", err)
	}
}
