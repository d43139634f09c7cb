package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
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
			newLogger(&out, slog.LevelInfo).Info("Starting EventSource", "source", tc.value)
			if got := out.String(); strings.Contains(got, "!ERROR") || !strings.Contains(got, tc.want) {
				t.Errorf("%s, want %q in it", got, tc.want)
			}
		})
	}
}
