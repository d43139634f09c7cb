package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/consultest"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
)

// TestTokenIsRotated: each request has the token that the file holds then, and what is
// no token leaves the one before.
func TestTokenIsRotated(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("X-Consul-Token"))
		fmt.Fprint(w, "[]")
	}))
	defer server.Close()
	t.Setenv("CONSUL_HTTP_TOKEN", "from-environment")
	file := filepath.Join(t.TempDir(), "token")
	s, err := New(Config{Address: server.URL, TokenFile: file})
	consultest.Must(t, err)
	for _, content := range []string{"first\n", "second, longer", "", "third"} {
		consultest.Must(t, os.WriteFile(file, []byte(content), 0o600))
		_, _, err := s.List(t.Context(), entries.Scope{}, api.ServiceSplitter, 0)
		consultest.Must(t, err)
	}
	consultest.Must(t, os.Remove(file))
	_, _, err = s.List(t.Context(), entries.Scope{}, api.ServiceSplitter, 0)
	consultest.Must(t, err)
	consultest.Diff(t, []string{"first", "second, longer", "second, longer", "third", "third"}, got)
}

func TestTokenOfTheEnvironment(t *testing.T) {
	token := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token = r.Header.Get("X-Consul-Token")
		fmt.Fprint(w, "[]")
	}))
	defer server.Close()
	t.Setenv("CONSUL_HTTP_TOKEN", "from-environment")
	t.Setenv("CONSUL_HTTP_ADDR", server.URL)
	s, err := New(Config{})
	consultest.Must(t, err)
	_, _, err = s.List(t.Context(), entries.Scope{}, api.ServiceSplitter, 0)
	consultest.Must(t, err)
	consultest.Diff(t, "from-environment", token)
}

// TestRedirectsAreNotFollowed: they would take the token to another server.
func TestRedirectsAreNotFollowed(t *testing.T) {
	visited := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited = true }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer server.Close()
	s, err := New(Config{Address: server.URL})
	consultest.Must(t, err)
	if _, _, err := s.List(t.Context(), entries.Scope{}, api.ServiceSplitter, 0); err == nil || visited {
		t.Errorf("visited: %v, error %v", visited, err)
	}
}

func TestAnswersAreToldApart(t *testing.T) {
	for name, tc := range map[string]struct {
		status      int
		body        string
		unreachable bool
		want        string
	}{
		"no right":    {403, "Permission denied: token with AccessorID 'x' lacks permission 'service:write'", true, "refuses the token: Permission denied"},
		"too many":    {429, "slow down", true, "429"},
		"unavailable": {503, "", true, "503"},
		"no leader":   {500, "No cluster leader", true, "No cluster leader"},
		"just begun":  {500, "Not ready to serve consistent reads", true, "Not ready"},
		"invalid":     {500, `discovery chain "x" uses inconsistent protocols`, false, "inconsistent protocols"},
		"bad request": {400, "Request decoding failed", false, "400"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, tc.body, tc.status) }))
			defer server.Close()
			s, err := New(Config{Address: server.URL})
			consultest.Must(t, err)
			_, _, err = s.List(t.Context(), entries.Scope{}, api.ServiceSplitter, 0)
			if err == nil || providers.IsUnreachable(err) != tc.unreachable || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v", err)
			}
			if strings.Contains(fmt.Sprint(err, errors.Unwrap(err)), server.URL) {
				t.Errorf("it tells the address: %v", err)
			}
		})
	}
}

// TestRequestsSayWhere: entries of a partition and a namespace are asked for, and written, there.
func TestRequestsSayWhere(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if _, consistent := q["consistent"]; consistent != (r.Method == http.MethodGet) {
			t.Errorf("%s %s: consistent is %t", r.Method, r.URL, consistent)
		}
		got = append(got, fmt.Sprintf("%s %s partition=%s ns=%s dc=%s cas=%s", r.Method, r.URL.Path, q.Get("partition"), q.Get("ns"), q.Get("dc"), q.Get("cas")))
		if r.Method == http.MethodGet {
			fmt.Fprint(w, "[]")
			return
		}
		fmt.Fprint(w, "true")
	}))
	defer server.Close()
	s, err := New(Config{Address: server.URL, Datacenter: "dc2"})
	consultest.Must(t, err)
	in := entries.Scope{Partition: "p", Namespace: "n"}
	_, _, err = s.List(t.Context(), in, api.ServiceSplitter, 0)
	consultest.Must(t, err)
	done, err := s.Put(t.Context(), in, entries.Entry{Key: entries.Key{Kind: api.ServiceSplitter, Name: "a"}}, 7)
	consultest.Must(t, err)
	removed, err := s.Remove(t.Context(), in, entries.Key{Kind: api.ServiceSplitter, Name: "a"}, 8)
	consultest.Must(t, err)
	_, err = s.Instances(t.Context(), in, "a")
	consultest.Must(t, err)
	if !done || !removed {
		t.Error(done, removed)
	}
	consultest.Diff(t, []string{
		"GET /v1/config/service-splitter partition=p ns=n dc=dc2 cas=",
		"PUT /v1/config partition=p ns=n dc=dc2 cas=7",
		"DELETE /v1/config/service-splitter/a partition=p ns=n dc=dc2 cas=8",
		"GET /v1/health/connect/a partition=p ns=n dc=dc2 cas=",
	}, got)
	body := entries.Wire{Entry: entries.Entry{Key: entries.Key{Kind: api.ServiceSplitter, Name: "a"}, Body: map[string]any{"x": 1}, Meta: map[string]string{"m": "1"}}, Scope: in}
	encoded, err := body.MarshalJSON()
	consultest.Must(t, err)
	consultest.Diff(t, `{"Kind":"service-splitter","Meta":{"m":"1"},"Name":"a","Namespace":"n","Partition":"p","x":1}`, string(encoded))
}
