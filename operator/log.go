package main

import (
	"context"
	"log/slog"
	"slices"
)

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
