// Package tracing sends a trace of each release to an OpenTelemetry collector: the release itself, its steps, checks, hooks,
// gates and promotion.
//
// A span is sent when it has ended, and that is known from two statuses, the one that was and the one that was persisted in its
// place. The ids of a trace and of its spans are computed from the Canary and from when its release began. So an operator that
// takes over in mid-release sends its spans into the same trace, and nothing of it has to be stored anywhere.
package tracing

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/memory"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/telemetry"
)

// Options are what the command line says of traces.
type Options struct {
	// Endpoint is the URL of a collector that takes OTLP over HTTP; empty for that of the environment.
	Endpoint string
}

// Register adds the flags.
func (o *Options) Register(f *flag.FlagSet) {
	f.StringVar(&o.Endpoint, "otlp-endpoint", "", "URL of an OpenTelemetry collector, such as http://collector.monitoring:4318, that gets a trace of each release by OTLP over HTTP; $OTEL_EXPORTER_OTLP_ENDPOINT without it, and no traces without either")
}

// Check says what of the command line and of the environment can't be done.
func (o *Options) Check(getenv func(string) string) error {
	_, _, err := o.endpoint(getenv)
	return err
}

// The standard variables of OpenTelemetry that say whether, where and how traces are sent. Its exporter reads those about headers,
// certificates, compression and times itself.
const (
	envEndpoint       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	envTracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	envProtocol       = "OTEL_EXPORTER_OTLP_PROTOCOL"
	envTracesProtocol = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	envExporter       = "OTEL_TRACES_EXPORTER"
	envDisabled       = "OTEL_SDK_DISABLED"
)

// protocol is the one that is spoken.
const protocol = "http/protobuf"

// endpoint says whether traces are sent, and where the exporter is told otherwise than by the environment.
func (o *Options) endpoint(getenv func(string) string) (url string, on bool, err error) {
	switch {
	case o.Endpoint == "" && getenv(envEndpoint) == "" && getenv(envTracesEndpoint) == "",
		getenv(envDisabled) == "true", getenv(envExporter) == "none":
		return "", false, nil
	}
	if spoken := cmp.Or(getenv(envTracesProtocol), getenv(envProtocol), protocol); spoken != protocol {
		return "", false, fmt.Errorf("%s: traces are sent as %s, to port 4318 of a collector, and not as %s", envProtocol, protocol, spoken)
	}
	if o.Endpoint == "" {
		return "", true, nil
	}
	url, err = tracesURL(o.Endpoint)
	if err != nil {
		return "", false, fmt.Errorf("-otlp-endpoint: %w", err)
	}
	return url, true, nil
}

// tracesURL is where a collector takes traces, as the environment's endpoint is read.
func tracesURL(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		return "", err
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", fmt.Errorf("%q is no URL that begins with http:// or https://", endpoint)
	}
	return u.JoinPath("v1/traces").String(), nil
}

// Config is what Traces work with.
type Config struct {
	Options

	// Version is that of the operator.
	Version string
	// Getenv reads the environment.
	Getenv func(string) string
	// Log is told of a collector that takes nothing.
	Log logr.Logger
	// Registry gets the metric of what is sent.
	Registry prometheus.Registerer
}

// Traces sends traces. A nil one sends none and costs nothing. It is safe for concurrent use.
type Traces struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	begun    memory.Memory[begun]
}

// New gives nil where neither the command line nor the environment names a collector. That need not be there yet.
func New(ctx context.Context, c Config) (*Traces, error) {
	endpoint, on, err := c.endpoint(c.Getenv)
	if err != nil || !on {
		return nil, err
	}
	var options []otlptracehttp.Option
	if endpoint != "" {
		options = append(options, otlptracehttp.WithEndpointURL(endpoint))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("exporter of traces: %w", err)
	}
	// What the environment says of the resource wins, as its service name.
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "sluice"), attribute.String("service.version", c.Version),
	), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("resource of traces: %w", err)
	}
	return newTraces(&watched{SpanExporter: exporter, log: c.Log, spans: telemetry.NewSpans(c.Registry)}, about), nil
}

func newTraces(to sdktrace.SpanExporter, about *resource.Resource) *Traces {
	t := &Traces{provider: sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(to), sdktrace.WithResource(about), sdktrace.WithIDGenerator(idsOfContext{}),
		// Half of a release tells nothing. A collector can leave whole traces out.
		sdktrace.WithSampler(sdktrace.AlwaysSample()),
	)}
	t.tracer = t.provider.Tracer("github.com/sluice-delivery/sluice/operator")
	return t
}

// NeedLeaderElection says that traces are sent whoever leads: what a leader has ended is still to be sent when it no longer is one.
func (t *Traces) NeedLeaderElection() bool { return false }

// flushTime is how long what is still to be sent may take at the end of the operator.
const flushTime = 5 * time.Second

// Start sends what there is to be sent until ctx ends, and what is left then.
func (t *Traces) Start(ctx context.Context) error {
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // what is lost is counted
	return nil
}

// Forget drops what is known of a Canary that is gone.
func (t *Traces) Forget(of types.NamespacedName) {
	if t != nil {
		t.begun.Forget(of)
	}
}

// Transition sends the spans that have ended with the status that c has, which was just persisted in place of before.
func (t *Traces) Transition(c *v1beta1.Canary, before *v1beta1.CanaryStatus, now time.Time) {
	if t == nil {
		return
	}
	var spans []span
	t.begun.Update(c, func(known *begun) {
		spans = ended(c, before, *known, now)
		known.note(before, &c.Status, now)
	})
	t.send(spans...)
}

// Check sends a query of a metric that began at a time and has ended with a result, in a round of checks.
func (t *Traces) Check(c *v1beta1.Canary, id release.CheckID, began time.Time, result v1beta1.CheckStatus) {
	if t != nil && id.Attempt != 0 {
		t.send(checkSpan(c, id, began, result))
	}
}

// Hook sends the call of a hook that began at a time and has ended with a result. Of hooks that are called until they answer with
// success it is the last call alone, as the gate has a span of its own.
func (t *Traces) Hook(c *v1beta1.Canary, id release.CheckID, hook *v1beta1.CanaryWebhook, began time.Time, result v1beta1.CheckStatus) {
	if t != nil && id.Attempt != 0 && (result.Verdict == v1beta1.CheckPassed || !gate(hook.GetType())) {
		t.send(hookSpan(c, id, hook, began, result))
	}
}

func (t *Traces) send(spans ...span) {
	for _, s := range spans {
		ctx := context.WithValue(context.Background(), idsKey{}, s.ids) //nolint:forbidigo // it carries ids alone, and waits for nothing
		if s.parent.IsValid() {
			ctx = trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
				TraceID: s.ids.trace, SpanID: s.parent, TraceFlags: trace.FlagsSampled,
			}))
		}
		_, out := t.tracer.Start(ctx, s.name, trace.WithTimestamp(s.from), trace.WithSpanKind(s.kind), trace.WithAttributes(s.attributes...))
		if s.failed != "" {
			out.SetStatus(codes.Error, v1beta1.OneLine(s.failed, maxText))
		}
		out.End(trace.WithTimestamp(s.to))
	}
}

// idsKey is where a context has the ids of a span.
type idsKey struct{}

// idsOfContext gives spans the ids that were computed for them.
type idsOfContext struct{}

// NewIDs implements sdktrace.IDGenerator.
func (idsOfContext) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	of, _ := ctx.Value(idsKey{}).(ids)
	return of.trace, of.span
}

// NewSpanID implements sdktrace.IDGenerator.
func (g idsOfContext) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	_, of := g.NewIDs(ctx)
	return of
}

// watched is an exporter of which it is counted and logged what it can't send.
type watched struct {
	sdktrace.SpanExporter

	log   logr.Logger
	spans *telemetry.Spans
	fails atomic.Bool
}

// ExportSpans implements sdktrace.SpanExporter. What is lost is said once, until something is sent again.
func (w *watched) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := w.SpanExporter.ExportSpans(ctx, spans)
	w.spans.Exported(len(spans), err == nil)
	switch failed := w.fails.Swap(err != nil); {
	case err != nil && !failed:
		w.log.Error(err, "Traces of releases can't be sent, and are lost until they can", "spans", len(spans))
	case err == nil && failed:
		w.log.Info("Traces of releases are sent again")
	}
	return nil
}
