package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	certutil "k8s.io/client-go/util/cert"
)

// TestTelemetryToken has /metrics be for who has the token, as it is at that moment, and health be for all.
func TestTelemetryToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	o := serverOptions{tokenFile: file}
	options := o.options(":0", nil)
	filter, err := options.FilterProvider(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	handler, err := filter(logr.Discard(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	if err != nil {
		t.Fatal(err)
	}
	get := func(path, authorization string) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	for _, tc := range []struct {
		path, authorization string
		want                int
	}{
		{"/metrics", "Bearer one", 200}, {"/metrics", "", 401}, {"/metrics", "Bearer ", 401}, {"/metrics", "Bearer two", 401}, {"/metrics", "one", 401},
		{"/healthz", "", 200}, {"/readyz", "", 200},
	} {
		if got := get(tc.path, tc.authorization); got != tc.want {
			t.Errorf("%s with %q: got %d, want %d", tc.path, tc.authorization, got, tc.want)
		}
	}
	write("two")
	if got := get("/metrics", "Bearer two"); got != http.StatusOK {
		t.Errorf("the new token: got %d", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got := get("/metrics", "Bearer "); got != http.StatusUnauthorized {
		t.Errorf("without a file: got %d", got)
	}
}

func TestServerOptions(t *testing.T) {
	dir := t.TempDir()
	cert, key, err := certutil.GenerateSelfSignedCertKey("sluice", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"tls.crt": cert, "tls.key": key, "empty": []byte("\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		options    serverOptions
		wantErr    string
		wantSecure bool
	}{
		"nothing":        {},
		"TLS":            {options: serverOptions{tlsDirectory: dir}, wantSecure: true},
		"no keys":        {options: serverOptions{tlsDirectory: t.TempDir()}, wantErr: "-telemetry-tls-dir", wantSecure: true},
		"no token":       {options: serverOptions{tokenFile: filepath.Join(dir, "none")}, wantErr: "-telemetry-token-file"},
		"an empty token": {options: serverOptions{tokenFile: filepath.Join(dir, "empty")}, wantErr: "it is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.options.check()
			if (err != nil) != (tc.wantErr != "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("error %v, want %q", err, tc.wantErr)
			}
			if got := tc.options.options(":0", nil); got.SecureServing != tc.wantSecure {
				t.Errorf("TLS: %t", got.SecureServing)
			}
		})
	}
}
