// Package tracingtest has a receiver of traces, for tests.
package tracingtest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Receiver takes traces as an OpenTelemetry collector does, by OTLP over HTTP.
type Receiver struct {
	// URL is its address.
	URL string

	mu    sync.Mutex
	away  bool
	spans []*tracepb.Span
	from  map[string]string // attributes of who has sent them
}

// NewReceiver starts one that ends with the test.
func NewReceiver(t *testing.T) *Receiver {
	t.Helper()
	r := &Receiver{from: map[string]string{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if err := r.take(request); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}))
	t.Cleanup(server.Close)
	r.URL = server.URL
	return r
}

// GoAway has it take nothing any more.
func (r *Receiver) GoAway() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = true
}

func (r *Receiver) take(request *http.Request) error {
	if request.URL.Path != "/v1/traces" || request.Header.Get("Content-Type") != "application/x-protobuf" {
		return fmt.Errorf("%s of %s is taken by nobody", request.Header.Get("Content-Type"), request.URL.Path)
	}
	body, err := io.ReadAll(request.Body)
	if err == nil && request.Header.Get("Content-Encoding") == "gzip" {
		var unpacked *gzip.Reader
		if unpacked, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, err = io.ReadAll(unpacked)
		}
	}
	if err != nil {
		return err
	}
	var export collectorpb.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &export); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away {
		return errors.New("away")
	}
	for _, of := range export.GetResourceSpans() {
		for _, a := range of.GetResource().GetAttributes() {
			r.from[a.GetKey()] = a.GetValue().GetStringValue()
		}
		for _, scope := range of.GetScopeSpans() {
			r.spans = append(r.spans, scope.GetSpans()...)
		}
	}
	return nil
}

// From is an attribute of who has sent the spans.
func (r *Receiver) From(attribute string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.from[attribute]
}

// Spans are all that have come, of whatever trace.
func (r *Receiver) Spans() []*tracepb.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.spans)
}

// Trace is the only trace that has come, and an error where it is not whole: all spans are of one trace, each once, each below
// one that has come, and within the time of the release.
func (r *Receiver) Trace() (Trace, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := Trace(slices.Clone(r.spans))
	byID := map[string]*tracepb.Span{}
	var root *tracepb.Span
	for _, s := range out {
		if byID[string(s.GetSpanId())] != nil {
			return out, fmt.Errorf("%s came twice", s.GetName())
		}
		byID[string(s.GetSpanId())] = s
		if len(s.GetParentSpanId()) == 0 {
			if root != nil {
				return out, fmt.Errorf("%s and %s are both at the top", root.GetName(), s.GetName())
			}
			root = s
		}
	}
	if root == nil {
		return out, fmt.Errorf("the release itself is not among %d spans", len(out))
	}
	for _, s := range out {
		switch {
		case !bytes.Equal(s.GetTraceId(), root.GetTraceId()):
			return out, fmt.Errorf("%s is of another trace", s.GetName())
		case s != root && byID[string(s.GetParentSpanId())] == nil:
			return out, fmt.Errorf("%s is below nothing", s.GetName())
		case s.GetEndTimeUnixNano() < s.GetStartTimeUnixNano(), s.GetStartTimeUnixNano() < root.GetStartTimeUnixNano():
			return out, fmt.Errorf("%s lasts from %d to %d, and the release from %d on", s.GetName(), s.GetStartTimeUnixNano(), s.GetEndTimeUnixNano(), root.GetStartTimeUnixNano())
		}
	}
	return out, nil
}

// Trace is the spans of one.
type Trace []*tracepb.Span

// Names are those of the spans, sorted, each once, with those above it.
func (t Trace) Names() []string {
	var out []string
	for _, s := range t {
		name := s.GetName()
		for above := t.above(s); above != nil; above = t.above(above) {
			name = above.GetName() + " > " + name
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (t Trace) above(s *tracepb.Span) *tracepb.Span {
	i := slices.IndexFunc(t, func(other *tracepb.Span) bool { return bytes.Equal(other.GetSpanId(), s.GetParentSpanId()) })
	if i < 0 {
		return nil
	}
	return t[i]
}

// Span is the first of a name, nil where there is none.
func (t Trace) Span(name string) *tracepb.Span {
	i := slices.IndexFunc(t, func(s *tracepb.Span) bool { return strings.HasPrefix(s.GetName(), name) })
	if i < 0 {
		return nil
	}
	return t[i]
}

// Attribute is what a span has under a name, a number as a text, empty where there is none.
func Attribute(s *tracepb.Span, key string) string {
	for _, a := range s.GetAttributes() {
		if a.GetKey() == key {
			if n, ok := a.GetValue().GetValue().(*commonpb.AnyValue_IntValue); ok {
				return strconv.FormatInt(n.IntValue, 10)
			}
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}
