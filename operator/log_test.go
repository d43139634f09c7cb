package main

import (
	"bytes"
	"log/slog"
	"testing"
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
