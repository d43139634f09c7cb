package loadtester

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	clocktesting "k8s.io/utils/clock/testing"
)

const canary = `"name":"podinfo","namespace":"test"`

var signedAt = time.Unix(1767225600, 0)

func newServer(t *testing.T, edits ...func(*Server)) *Server {
	t.Helper()
	gates := &Gates{}
	telemetry := NewTelemetry(prometheus.NewRegistry(), "test", gates)
	s := &Server{
		Rules: Rules{Allowed: [][]string{{"helper"}, {"helm"}}},
		Runner: newRunner(t, func(o *RunnerOptions) {
			o.Telemetry, o.MaxConcurrent = telemetry, 1
		}),
		Keys: Keys{AllowUnsigned: true}, Gates: gates, Clock: clocktesting.NewFakePassiveClock(signedAt), Log: slog.New(slog.DiscardHandler), Telemetry: telemetry,
	}
	for _, edit := range edits {
		edit(s)
	}
	return s
}

// post calls a path and returns the status and the body of the answer.
func post(t *testing.T, s *Server, path, body string, headers ...string) (int, string) {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, request)
	return w.Code, w.Body.String()
}

func TestServerAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		path, body string
		want       int
		wantText   string
	}{
		"in the background":         {body: `{` + canary + `,"metadata":{"cmd":"helper say x"}}`, want: 202},
		"awaited":                   {body: `{` + canary + `,"metadata":{"cmd":"helper say x","wait":"true"}}`, want: 200},
		"awaited, with its output":  {body: `{` + canary + `,"metadata":{"cmd":"helper say x","wait":"true","returnCmdOutput":"true"}}`, want: 200, wantText: "x"},
		"failed":                    {body: `{` + canary + `,"metadata":{"cmd":"helper fail x","wait":"true"}}`, want: 500, wantText: "exit status 3: x"},
		"took too long":             {body: `{` + canary + `,"metadata":{"cmd":"helper hang /dev/null/x","wait":"true","timeout":"50ms"}}`, want: 504, wantText: "it did not end within 50ms"},
		"without a Canary":          {body: `{"metadata":{"cmd":"helper say x"}}`, want: 202},
		"what our operator adds":    {body: `{` + canary + `,"phase":"Progressing","type":"rollout","canaryWeight":20,"metadata":{"cmd":"helper say x"}}`, want: 202},
		"not in the image":          {body: `{` + canary + `,"metadata":{"type":"helm","cmd":"test podinfo"}}`, want: 501, wantText: `"helm" may be run, but is not in the load tester's image`},
		"not allowed":               {body: `{` + canary + `,"metadata":{"cmd":"rm -rf /"}}`, want: 403, wantText: `metadata.cmd: "rm" is not allowed: commands begin with "helper", "helm"`},
		"not allowed without shell": {body: `{` + canary + `,"metadata":{"type":"bash","cmd":"helper say x"}}`, want: 403, wantText: "commands of type bash need a shell, which this load tester is not allowed to run (-enable-shell)"},
		"no metadata":               {body: `{` + canary + `}`, want: 400, wantText: "the payload has no metadata"},
		"no payload":                {body: ``, want: 400, wantText: "the payload is not what a hook sends: unexpected end of JSON input"},
		"too large":                 {body: `{"name":"` + strings.Repeat("x", maxBody) + `"}`, want: 413, wantText: "the payload has more than 1048576 bytes"},
		"a name too long":           {body: `{"name":"` + strings.Repeat("x", 300) + `"}`, want: 400, wantText: "the payload's name or namespace has more than 253 characters"},
		"no such path":              {path: "/gate/aprove", body: `{` + canary + `}`, want: 404, wantText: "404 page not found\n"},
		"a gate that is open":       {path: "/gate/approve", want: 200, wantText: "OK"},
		"a gate that is closed":     {path: "/gate/halt", want: 403, wantText: "Forbidden"},
		"the gate of nobody":        {path: "/gate/open", body: `{"namespace":"test"}`, want: 400, wantText: "the payload needs the name and the namespace of a Canary"},
		"the gate of no namespace":  {path: "/rollback/check", body: `{"name":"podinfo"}`, want: 400, wantText: "the payload needs the name and the namespace of a Canary"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, func(s *Server) {
				find := s.Runner.Find
				s.Runner.Find = func(program string) (string, error) {
					if program == "helm" {
						return "", errors.New("there is none")
					}
					return find(program)
				}
			})
			path := tc.path
			if path == "" {
				path = "/"
			}
			if got, text := post(t, s, path, tc.body); got != tc.want || text != tc.wantText {
				t.Errorf("got %d %q, want %d %q", got, text, tc.want, tc.wantText)
			}
		})
	}
}

func TestServerHealth(t *testing.T) {
	w := httptest.NewRecorder()
	newServer(t).Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/healthz", nil))
	if w.Code != http.StatusOK {
		t.Errorf("got %d", w.Code)
	}
}

// Each gate is of one Canary and closed at first; the two of a Canary are not the same.
func TestServerGates(t *testing.T) {
	s := newServer(t)
	const one, other, elsewhere = `{` + canary + `}`, `{"name":"other","namespace":"test"}`, `{"name":"podinfo","namespace":"prod"}`
	for i, step := range []struct {
		path, body string
		want       int
	}{
		{"/gate/check", one, 403}, {"/rollback/check", one, 403},
		{"/gate/open", one, 202}, {"/gate/check", one, 200}, {"/gate/check", one, 200},
		{"/gate/check", other, 403}, {"/gate/check", elsewhere, 403}, {"/rollback/check", one, 403},
		{"/rollback/open", elsewhere, 202}, {"/rollback/check", elsewhere, 200}, {"/gate/check", elsewhere, 403}, {"/rollback/check", one, 403},
		{"/gate/close", one, 202}, {"/gate/check", one, 403}, {"/gate/close", one, 202},
		{"/rollback/close", elsewhere, 202}, {"/rollback/check", elsewhere, 403},
	} {
		if got, text := post(t, s, step.path, step.body); got != step.want {
			t.Fatalf("step %d, %s %s: got %d %q, want %d", i, step.path, step.body, got, text, step.want)
		}
	}
	if n := s.Gates.OpenCount(ConfirmGate) + s.Gates.OpenCount(RollbackGate); n != 0 {
		t.Errorf("%d gates are open at the end", n)
	}
}

func TestServerNamespaces(t *testing.T) {
	s := newServer(t, func(s *Server) { s.Namespaces = regexp.MustCompile("^(test|team-.*)$") })
	for namespace, want := range map[string]int{"test": 202, "team-a": 202, "test-2": 403, "": 403} {
		payload := `{"name":"podinfo","namespace":"` + namespace + `"`
		if got, text := post(t, s, "/gate/open", payload+`}`); got != want {
			t.Errorf("gate in %q: got %d %q, want %d", namespace, got, text, want)
		}
		var got int
		await(t, "a free place", func() error {
			got, _ = post(t, s, "/", payload+`,"metadata":{"cmd":"helper say x"}}`)
			if got == http.StatusTooManyRequests {
				return errors.New("busy")
			}
			return nil
		})
		if got != want {
			t.Errorf("command in %q: got %d, want %d", namespace, got, want)
		}
	}
}

func TestServerSignature(t *testing.T) {
	key := []byte("a key")
	s := newServer(t, func(s *Server) { s.Keys = Keys{Any: func() ([]byte, error) { return key, nil }} })
	const body = `{` + canary + `}`
	for name, tc := range map[string]struct {
		headers []string
		want    int
	}{
		"signed":       {headers: []string{SignatureHeader, Sign(key, signedAt, []byte(body))}, want: 202},
		"not signed":   {want: 401},
		"another key":  {headers: []string{SignatureHeader, Sign([]byte("b key"), signedAt, []byte(body))}, want: 401},
		"another time": {headers: []string{SignatureHeader, Sign(key, signedAt.Add(-time.Hour), []byte(body))}, want: 401},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/gate/open", "/gate/close", "/rollback/open", "/rollback/close"} {
				if got, text := post(t, s, path, body, tc.headers...); got != tc.want {
					t.Errorf("%s: got %d %q, want %d", path, got, text, tc.want)
				}
			}
		})
	}
	if got, _ := post(t, s, "/", `{`+canary+`,"metadata":{"cmd":"helper say x"}}`); got != http.StatusUnauthorized {
		t.Errorf("a command that is not signed: got %d", got)
	}
	s.Keys.Any = func() ([]byte, error) { return nil, errors.New("no such file: /secret/key") }
	if got, text := post(t, s, "/gate/open", body); got != http.StatusInternalServerError || strings.Contains(text, "/secret") {
		t.Errorf("without a key: got %d %q", got, text)
	}
}

// TestServerUnknown has callers that nobody knows do what does no harm, and nothing else, where there is no key.
func TestServerUnknown(t *testing.T) {
	const gate = `{` + canary + `}`
	run := func(metadata string) string { return `{` + canary + `,"metadata":{` + metadata + `}}` }
	for name, tc := range map[string]struct {
		path, body string
		sign       []byte
		want       int
	}{
		"hey":                  {"/", run(`"cmd":"hey -c 2 http://podinfo.test/"`), nil, 501},
		"ghz, awaited":         {"/", run(`"type":"cmd","wait":"true","cmd":"ghz podinfo.test:80"`), nil, 501},
		"another program":      {"/", run(`"cmd":"helper say x"`), nil, 401},
		"a test of Helm":       {"/", run(`"type":"helmv3","cmd":"test podinfo"`), nil, 401},
		"hey by another type":  {"/", run(`"type":"k6","cmd":"hey"`), nil, 403},
		"looking at a gate":    {"/gate/check", gate, nil, 403},
		"looking at the other": {"/rollback/check", gate, nil, 403},
		"opening a gate":       {"/gate/open", gate, nil, 401},
		"closing a gate":       {"/gate/close", gate, nil, 401},
		"rolling back":         {"/rollback/open", gate, nil, 401},
		"looking at a gate, by a hook with a Secret of its own": {"/gate/check", gate, []byte("whatever"), 403},
		"opening a gate, by a hook with a Secret of its own":    {"/gate/open", gate, []byte("whatever"), 401},
		"opening a gate in the pod":                             {"/gate/open", gate, []byte("of the pod"), 202},
		"another program in the pod":                            {"/", run(`"cmd":"helper say x"`), []byte("of the pod"), 501},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, func(s *Server) {
				s.Keys = Keys{Local: []byte("of the pod")}
				s.Rules.Allowed = [][]string{{"hey"}, {"ghz"}, {"helper"}, {"helm"}}
				s.Runner.Find = func(string) (string, error) { return "", errors.New("this one is not run") } // 501
			})
			var headers []string
			if tc.sign != nil {
				headers = []string{SignatureHeader, Sign(tc.sign, signedAt, []byte(tc.body))}
			}
			if got, text := post(t, s, tc.path, tc.body, headers...); got != tc.want {
				t.Errorf("got %d %q, want %d", got, text, tc.want)
			}
		})
	}
}

// TestServerKeysOfNamespaces has a namespace's key open its own gates, and run what is for its own Canaries, only.
func TestServerKeysOfNamespaces(t *testing.T) {
	keys := map[string][]byte{"test": []byte("of test"), "prod": []byte("of prod")}
	s := newServer(t, func(s *Server) {
		s.Keys = Keys{Namespace: func(namespace string) ([]byte, error) { return keys[namespace], nil }}
	})
	const elsewhere, nowhere = `{"name":"podinfo","namespace":"prod"}`, `{"name":"podinfo","namespace":"dev"}`
	for i, step := range []struct {
		path, body, key string
		want            int
	}{
		{"/gate/open", `{` + canary + `}`, "of test", 202},
		{"/gate/check", `{` + canary + `}`, "of test", 200},
		{"/gate/open", elsewhere, "of test", 401},
		{"/gate/check", elsewhere, "of test", 401},
		{"/gate/check", elsewhere, "of prod", 403},
		{"/gate/check", elsewhere, "", 401},
		{"/gate/open", nowhere, "of test", 401},
		{"/gate/open", nowhere, "", 401},
		{"/", `{"name":"podinfo","namespace":"prod","metadata":{"cmd":"helper say x"}}`, "of test", 401},
	} {
		var headers []string
		if step.key != "" {
			headers = []string{SignatureHeader, Sign([]byte(step.key), signedAt, []byte(step.body))}
		}
		if got, text := post(t, s, step.path, step.body, headers...); got != step.want {
			t.Errorf("step %d, %s %s: got %d %q, want %d", i, step.path, step.body, got, text, step.want)
		}
	}
}

func TestServerBusy(t *testing.T) {
	s := newServer(t)
	file := filepath.Join(t.TempDir(), "a")
	hang := `{` + canary + `,"metadata":{"cmd":"helper hang ` + file + `"}}`
	if got, text := post(t, s, "/", hang); got != http.StatusAccepted {
		t.Fatalf("got %d %q", got, text)
	}
	if got, text := post(t, s, "/", hang); got != http.StatusAccepted {
		t.Errorf("the same again: got %d %q", got, text)
	}
	if n := testutil.ToFloat64(s.Telemetry.skipped.WithLabelValues("cmd")); n != 1 {
		t.Errorf("%v were skipped", n)
	}
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(`{`+canary+`,"metadata":{"cmd":"helper say x"}}`))
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, request)
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("another one: got %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if n := testutil.ToFloat64(s.Telemetry.refused.WithLabelValues(string(refusedBusy))); n != 1 {
		t.Errorf("%v were refused", n)
	}
}

// What is run for a caller ends when the caller is gone.
func TestServerCallerGone(t *testing.T) {
	s := newServer(t)
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	file := filepath.Join(t.TempDir(), "a")
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL,
		strings.NewReader(`{`+canary+`,"metadata":{"cmd":"helper hang `+file+`","wait":"true"}}`))
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if response, err := server.Client().Do(request); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
			t.Errorf("it was answered: %s", response.Status)
		}
	}()
	pid := awaitPID(t, file)
	hangUp()
	<-gone
	awaitEnd(t, pid)
	await(t, "the count", func() error {
		if testutil.ToFloat64(s.Telemetry.commands.WithLabelValues("cmd", string(canceled))) != 1 {
			return errors.New("it is not counted as canceled")
		}
		return nil
	})
}

// A command line may hold a password: it is in no log.
func TestServerLogsNoArguments(t *testing.T) {
	var log strings.Builder
	s := newServer(t, func(s *Server) {
		s.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		s.Runner.Log = s.Log
	})
	if got, _ := post(t, s, "/", `{`+canary+`,"metadata":{"cmd":"helper fail-silently swordfish","wait":"true"}}`); got != http.StatusOK {
		t.Fatalf("got %d", got)
	}
	if got, _ := post(t, s, "/", `{`+canary+`,"metadata":{"cmd":"helper fail-silently swordfish | tee"}}`); got != http.StatusForbidden {
		t.Fatalf("got %d", got)
	}
	if !strings.Contains(log.String(), "program=helper") || strings.Contains(log.String(), "swordfish") {
		t.Errorf("the log is\n%s", log.String())
	}
}

func TestGatesAreBounded(t *testing.T) {
	g := Gates{}
	for i := range maxOpenGates {
		if err := g.Open(ConfirmGate, Canary{Namespace: "test", Name: strconv.Itoa(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Open(ConfirmGate, podinfo); !errors.Is(err, errTooManyGates) {
		t.Errorf("got error %v", err)
	}
}
