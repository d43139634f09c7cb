package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

func TestLazyAttrsLogTheSame(t *testing.T) {
	for name, log := range map[string]func(l *slog.Logger){
		"nothing":     func(l *slog.Logger) { l.Info("a", "b", 1) },
		"attributes":  func(l *slog.Logger) { l.With("c", "d").With("e", 2).Info("a", "b", 1) },
		"too little":  func(l *slog.Logger) { l.With("c", "d").Debug("a") },
		"a group":     func(l *slog.Logger) { l.With("c", "d").WithGroup("g").With("e", 2).Info("a", "b", 1) },
		"two of them": func(l *slog.Logger) { x := l.With("c", "d"); x.With("e", 2).Info("a"); x.With("f", 3).Info("b") },
	} {
		t.Run(name, func(t *testing.T) {
			options := &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
				if len(groups) == 0 && a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			}}
			var got, want bytes.Buffer
			log(slog.New(&lazyAttrs{Handler: slog.NewJSONHandler(&got, options)}))
			log(slog.New(slog.NewJSONHandler(&want, options)))
			if got.String() != want.String() {
				t.Errorf("%s, want %s", got.String(), want.String())
			}
		})
	}
}

// What JSON can't hold is named, and nothing in a line is an error of the encoder.
func TestLogsWhatJSONCannotHold(t *testing.T) {
	type held struct{ F func() }
	for name, tc := range map[string]struct {
		value any
		want  string
	}{
		"a source of events": {source.Kind(nil, client.Object(&corev1.Service{}), &handler.EnqueueRequestForObject{}), "kind source: *v1.Service"},
		"something else":     {held{func() {}}, "main.held"},
		"a value":            {map[string]int{"a": 1}, `{"a":1}`},
		"an error":           {errors.New("no"), "no"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			newLogger(&out, slog.LevelInfo, encodingJSON).Info("Starting EventSource", "source", tc.value)
			if got := out.String(); strings.Contains(got, "!ERROR") || !strings.Contains(got, tc.want) {
				t.Errorf("%s, want %q in it", got, tc.want)
			}
		})
	}
}

// A warning of the API server is logged once, and not for each object that it is about.
func TestLogsAWarningOnce(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Warning", `299 - "a field is unknown"`)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"b"}}`)
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: server.URL}},
		Contexts:       map[string]*clientcmdapi.Context{"c": {Cluster: "c"}},
		CurrentContext: "c",
	}, file); err != nil {
		t.Fatal(err)
	}
	config, err := kubeConfig(file, options{qps: -1})
	if err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), meta.RESTScopeNamespace)
	api, err := wiring{}.newClient(config, client.Options{Scheme: clientgoscheme.Scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	ctx := log.IntoContext(t.Context(), newLogger(&out, slog.LevelInfo, encodingJSON))
	for range 3 {
		if err := api.Get(ctx, client.ObjectKey{Namespace: "b", Name: "a"}, &corev1.ConfigMap{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(out.String(), "a field is unknown"); n != 1 {
		t.Errorf("the warning is logged %d times, want once:\n%s", n, out.String())
	}
}
