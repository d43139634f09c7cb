package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// newLogger writes lines of JSON, or of text for the encoding console.
func newLogger(to io.Writer, level slog.Level, encoding string) logr.Logger {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: readable}
	var handler slog.Handler = slog.NewJSONHandler(to, o)
	if encoding == encodingConsole {
		handler = slog.NewTextHandler(to, o)
	}
	return logr.FromSlogHandler(&lazyAttrs{Handler: handler})
}

// readable has values that JSON can't hold written by their name. A source of events has
// the whole cache in it, with its functions, and is always named.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() != slog.KindAny {
		return a
	}
	value := a.Value.Any()
	if from, ok := value.(source.Source); ok {
		return slog.String(a.Key, fmt.Sprint(from))
	}
	if _, err := json.Marshal(value); err == nil {
		return a
	}
	if named, ok := value.(fmt.Stringer); ok {
		return slog.String(a.Key, named.String())
	}
	return slog.String(a.Key, fmt.Sprintf("%T", value))
}

// lazyAttrs is a slog.Handler that encodes the attributes of a logger when
// something is logged. JSON's own handler does it for each logger that is made,
// which is one a reconciliation, and few of those log anything.
type lazyAttrs struct {
	slog.Handler

	attrs []slog.Attr
}

// WithAttrs implements slog.Handler.
func (h *lazyAttrs) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &lazyAttrs{Handler: h.Handler, attrs: slices.Concat(h.attrs, attrs)}
}

// WithGroup implements slog.Handler.
func (h *lazyAttrs) WithGroup(name string) slog.Handler {
	return &lazyAttrs{Handler: h.Handler.WithAttrs(h.attrs).WithGroup(name)}
}

// Handle implements slog.Handler.
func (h *lazyAttrs) Handle(ctx context.Context, r slog.Record) error {
	if len(h.attrs) == 0 {
		return h.Handler.Handle(ctx, r)
	}
	whole := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	whole.AddAttrs(h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		whole.AddAttrs(a)
		return true
	})
	return h.Handler.Handle(ctx, whole)
}
