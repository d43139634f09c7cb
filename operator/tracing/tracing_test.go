package tracing

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/tracing/tracingtest"
)

var t0 = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func micro(at time.Time) metav1.MicroTime { return metav1.NewMicroTime(at) }

// play is a release that is persisted status by status.
type play struct {
	canary *v1beta1.Canary
	now    time.Time
}

func newPlay() *play {
	return &play{now: t0, canary: &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "podinfo", UID: "u1"},
		Spec:       v1beta1.CanarySpec{TargetRef: v1beta1.TargetReference{Kind: "Deployment", Name: "podinfo"}},
		Status:     v1beta1.CanaryStatus{Phase: v1beta1.PhaseInitialized},
	}}
}

// to persists the next status, ten seconds after the last, and has an operator send what has ended with it.
func (p *play) to(by *Traces, change func(*v1beta1.CanaryStatus)) {
	p.now = p.now.Add(10 * time.Second)
	before := p.canary.Status
	next := *p.canary
	next.Status = *before.DeepCopy()
	change(&next.Status)
	by.Transition(&next, &before, p.now)
	p.canary = &next
}

func (p *play) begin(by *Traces) {
	p.to(by, func(st *v1beta1.CanaryStatus) {
		st.Phase, st.LastAppliedSpec, st.StartedAt = v1beta1.PhaseProgressing, "s2-b", new(micro(p.now))
		st.Step = &v1beta1.StepStatus{Since: micro(p.now)}
	})
}

func (p *play) step(by *Traces, index, weight int32) {
	p.to(by, func(st *v1beta1.CanaryStatus) {
		st.Step = &v1beta1.StepStatus{Index: index, Weight: weight, Since: micro(p.now), Began: new(micro(p.now))}
	})
}

func (p *play) id(step int32) release.CheckID {
	return release.CheckID{Attempt: p.canary.Status.StartedAt.UnixMicro(), Step: step, Revision: "s2-b"}
}

// check is a query that takes a second.
func (p *play) check(by *Traces, verdict v1beta1.CheckVerdict) {
	by.Check(p.canary, p.id(p.canary.Status.Step.Index), p.now, v1beta1.CheckStatus{
		Name: "request-success-rate", Query: "sum(rate(x))", Value: "99.5", Range: ">= 99", Verdict: verdict, Message: "too low", Time: micro(p.now.Add(time.Second)),
	})
}

func (p *play) hook(by *Traces, kind v1beta1.HookType, verdict v1beta1.CheckVerdict) {
	id := p.id(p.canary.Status.Step.Index)
	id.Hooks = kind
	by.Hook(p.canary, id, &v1beta1.CanaryWebhook{Name: "h", Type: kind}, p.now, v1beta1.CheckStatus{Name: "h", Value: "200", Verdict: verdict, Time: micro(p.now.Add(time.Second))})
}

// operator is a process that sends traces until it ends.
func operator(t *testing.T, to *tracingtest.Receiver) (*Traces, func()) {
	t.Helper()
	traces, err := New(t.Context(), Config{
		Options: Options{Endpoint: to.URL}, Version: "1.2.3", Getenv: func(string) string { return "" }, Log: logr.Discard(), Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return traces, func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := traces.Start(ctx); err != nil {
			t.Error(err)
		}
	}
}

// A release is one trace, of two operators too of which one takes over from the other at any moment.
func TestOneTrace(t *testing.T) {
	moments := []func(*play, *Traces){
		func(p *play, by *Traces) { p.begin(by) },
		func(p *play, by *Traces) { p.hook(by, v1beta1.PreRolloutHook, v1beta1.CheckPassed) },
		func(p *play, by *Traces) { p.step(by, 1, 10) },
		func(p *play, by *Traces) { p.check(by, v1beta1.CheckPassed) },
		func(p *play, by *Traces) { // a round has ended
			p.to(by, func(st *v1beta1.CanaryStatus) {
				st.Step.Checks, st.Step.Since = 1, micro(p.now)
				st.History = append(st.History, v1beta1.RoundStatus{Step: 1, Time: micro(p.now)})
			})
		},
		func(p *play, by *Traces) {
			p.to(by, func(st *v1beta1.CanaryStatus) {
				st.LastAction = &v1beta1.ActionStatus{Name: "pause-1", Action: v1beta1.ActionPause, By: "alice", Done: true, Time: micro(p.now)}
			})
		},
		func(p *play, by *Traces) { p.step(by, 2, 20) },
		func(p *play, by *Traces) {
			p.to(by, func(st *v1beta1.CanaryStatus) {
				st.Phase, st.Gate = v1beta1.PhaseWaitingPromotion, &v1beta1.GateStatus{Type: v1beta1.ConfirmPromotionHook, Since: micro(p.now), Message: "closed"}
			})
		},
		func(p *play, by *Traces) { p.hook(by, v1beta1.ConfirmPromotionHook, v1beta1.CheckFailed) }, // of many polls
		func(p *play, by *Traces) { p.hook(by, v1beta1.ConfirmPromotionHook, v1beta1.CheckPassed) },
		func(p *play, by *Traces) {
			p.to(by, func(st *v1beta1.CanaryStatus) {
				st.Phase, st.Gate, st.Step = v1beta1.PhasePromoting, nil, &v1beta1.StepStatus{Since: micro(p.now), Weight: 20}
			})
		},
		func(p *play, by *Traces) {
			p.to(by, func(st *v1beta1.CanaryStatus) { st.Phase = v1beta1.PhaseFinalising })
		},
		func(p *play, by *Traces) {
			p.to(by, func(st *v1beta1.CanaryStatus) { st.Phase, st.Step = v1beta1.PhaseSucceeded, nil })
		},
		func(p *play, by *Traces) { // it is about no step, not of the last one either
			by.Hook(p.canary, release.CheckID{Attempt: p.canary.Status.StartedAt.UnixMicro(), Step: 2, Hooks: v1beta1.PostRolloutHook},
				&v1beta1.CanaryWebhook{Name: "report", Type: v1beta1.PostRolloutHook}, p.now, v1beta1.CheckStatus{Name: "report", Verdict: v1beta1.CheckPassed, Time: micro(p.now)})
		},
	}
	want := []string{
		"release shop/podinfo",
		"release shop/podinfo > action Pause",
		"release shop/podinfo > canary becomes ready",
		"release shop/podinfo > canary becomes ready > hook h",
		"release shop/podinfo > hook report",
		"release shop/podinfo > promotion",
		"release shop/podinfo > step 1",
		"release shop/podinfo > step 1 > check request-success-rate",
		"release shop/podinfo > step 2",
		"release shop/podinfo > step 2 > gate confirm-promotion",
		"release shop/podinfo > step 2 > hook h",
	}
	var whole map[string]time.Duration
	for handOver := range len(moments) + 1 {
		t.Run(fmt.Sprintf("handed over before moment %d", handOver), func(t *testing.T) {
			to := tracingtest.NewReceiver(t)
			first, end := operator(t, to)
			second, endSecond := operator(t, to)
			p := newPlay()
			for i, moment := range moments {
				by := first
				if i >= handOver {
					by = second
				}
				moment(p, by)
			}
			end()
			endSecond()
			got, err := to.Trace()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got.Names()); diff != "" {
				t.Errorf("spans (-want +got)\n%s", diff)
			}
			took := map[string]time.Duration{}
			for _, s := range got {
				took[s.GetName()] = time.Duration(s.GetEndTimeUnixNano() - s.GetStartTimeUnixNano()) //nolint:gosec // small
			}
			if whole == nil {
				whole = took
			}
			if diff := cmp.Diff(whole, took); diff != "" {
				t.Errorf("a hand-over changes how long parts took\n%s", diff)
			}
			if is := tracingtest.Attribute(got.Span("release"), "sluice.outcome"); is != outcomePromoted {
				t.Errorf("the release is %q", is)
			}
			if name, version := to.From("service.name"), to.From("service.version"); name != "sluice" || version != "1.2.3" {
				t.Errorf("sent by %q %q", name, version)
			}
		})
	}
	for name, want := range map[string]time.Duration{
		"canary becomes ready": 10 * time.Second, "step 1": 30 * time.Second, "step 2": 20 * time.Second,
		"gate confirm-promotion": 10 * time.Second, "promotion": 20 * time.Second, "hook h": time.Second, "release shop/podinfo": 80 * time.Second,
	} {
		if whole[name] != want {
			t.Errorf("%s took %s, want %s", name, whole[name], want)
		}
	}
}

// How a release ends is what its trace says.
func TestOutcomes(t *testing.T) {
	for name, tc := range map[string]struct {
		end         func(*v1beta1.CanaryStatus)
		wantOutcome string
		wantError   string
	}{
		"rolled back": {func(st *v1beta1.CanaryStatus) {
			st.Phase, st.Step = v1beta1.PhaseFailed, nil
			st.Conditions = []v1beta1.CanaryCondition{{Type: v1beta1.ConditionPromoted, Status: corev1.ConditionFalse, Reason: "AnalysisFailed", Message: "failed check 3 of 3"}}
		}, outcomeRolledBack, "failed check 3 of 3"},
		"promoted": {func(st *v1beta1.CanaryStatus) { st.Phase, st.Step = v1beta1.PhaseSucceeded, nil }, outcomePromoted, ""},
		"another revision": {func(st *v1beta1.CanaryStatus) {
			st.StartedAt, st.Step = new(micro(t0.Add(time.Hour))), &v1beta1.StepStatus{}
		}, outcomeReplaced, ""},
		"deleted":    {func(st *v1beta1.CanaryStatus) { st.Phase = v1beta1.PhaseTerminating }, outcomeDeleted, ""},
		"begun anew": {func(st *v1beta1.CanaryStatus) { st.Phase = v1beta1.PhaseInitializing }, outcomeOther, ""},
	} {
		t.Run(name, func(t *testing.T) {
			to := tracingtest.NewReceiver(t)
			by, end := operator(t, to)
			p := newPlay()
			p.begin(by)
			p.step(by, 1, 10)
			p.check(by, v1beta1.CheckFailed)
			p.to(by, func(st *v1beta1.CanaryStatus) { st.Step.Checks, st.FailedChecks = 2, 2 })
			p.to(by, tc.end)
			end()
			got, err := to.Trace()
			if err != nil {
				t.Fatal(err)
			}
			root := got.Span("release")
			if is := tracingtest.Attribute(root, "sluice.outcome"); is != tc.wantOutcome || root.GetStatus().GetMessage() != tc.wantError {
				t.Errorf("outcome %q, error %q; want %q, %q", is, root.GetStatus().GetMessage(), tc.wantOutcome, tc.wantError)
			}
			if check := got.Span("check"); check.GetStatus().GetMessage() != "too low" || tracingtest.Attribute(check, "sluice.value") != "99.5" {
				t.Errorf("the check that has failed says %v", check)
			}
			step := got.Span("step 1")
			if step == nil {
				t.Fatalf("the step that was under way is not among %v", got.Names())
			}
			for attribute, want := range map[string]string{"sluice.weight": "10", "sluice.rounds": "2", "sluice.step": "1"} {
				if is := tracingtest.Attribute(step, attribute); is != want {
					t.Errorf("of the step %s is %q, want %q", attribute, is, want)
				}
			}
			if is := tracingtest.Attribute(root, "sluice.failed_rounds"); is != "2" {
				t.Errorf("%s failed rounds", is)
			}
		})
	}
}

// An operator that leads again, when another one has begun another release meanwhile, takes no step of that for its own of before.
func TestLeadsAgain(t *testing.T) {
	to := tracingtest.NewReceiver(t)
	first, end := operator(t, to)
	second, endSecond := operator(t, to)
	p := newPlay()
	p.begin(first)
	p.step(first, 1, 10)
	p.begin(second)
	p.step(second, 1, 10)
	p.step(first, 2, 20)
	end()
	endSecond()
	traces := map[string]bool{}
	for _, s := range to.Spans() {
		if s.GetName() != "step 1" {
			continue
		}
		traces[string(s.GetTraceId())] = true
		if took := time.Duration(s.GetEndTimeUnixNano() - s.GetStartTimeUnixNano()); took != 10*time.Second { //nolint:gosec // small
			t.Errorf("step 1 of release %d took %s, want 10s", len(traces), took)
		}
	}
	if len(traces) != 2 {
		t.Errorf("%d releases have had a step 1, want 2", len(traces))
	}
}

// A release that waits for release policies has that in its trace.
func TestTurn(t *testing.T) {
	to := tracingtest.NewReceiver(t)
	by, end := operator(t, to)
	p := newPlay()
	p.to(by, func(st *v1beta1.CanaryStatus) {
		st.Phase, st.StartedAt, st.Step = v1beta1.PhaseWaiting, new(micro(p.now)), &v1beta1.StepStatus{}
		st.Admission = &v1beta1.AdmissionStatus{Since: micro(p.now), Policy: "ReleasePolicy/nights", Reason: "WindowClosed"}
	})
	p.to(by, func(*v1beta1.CanaryStatus) {})
	p.to(by, func(st *v1beta1.CanaryStatus) {
		st.Phase, st.Admission.Admitted = v1beta1.PhaseProgressing, new(micro(p.now))
	})
	p.to(by, func(st *v1beta1.CanaryStatus) { st.Phase, st.Step = v1beta1.PhaseFailed, nil })
	end()
	got, err := to.Trace()
	if err != nil {
		t.Fatal(err)
	}
	turn := got.Span("release policies")
	if took := time.Duration(turn.GetEndTimeUnixNano() - turn.GetStartTimeUnixNano()); took != 20*time.Second || tracingtest.Attribute(turn, "sluice.policy") != "ReleasePolicy/nights" { //nolint:gosec // small
		t.Errorf("it waited %s: %v", took, turn)
	}
}

// Two releases are two traces, and so are those of two Canaries that began at the same moment.
func TestTracesDiffer(t *testing.T) {
	of := attempt{uid: "u1", began: 1}
	for _, other := range []attempt{{"u2", 1}, {"u1", 2}} {
		if a, b := of.ids(kindStep, "1"), other.ids(kindStep, "1"); a.trace == b.trace || a.span == b.span {
			t.Errorf("%v and %v have the ids %v and %v", of, other, a, b)
		}
	}
	if of.step(1) == of.step(2) || of.step(1).span == of.ids(kindGate, "1").span {
		t.Error("two spans have one id")
	}
}

func TestEndpoint(t *testing.T) {
	for name, tc := range map[string]struct {
		flag    string
		env     map[string]string
		want    string
		on      bool
		wantErr string
	}{
		"none":                       {},
		"flag":                       {flag: "http://collector:4318", want: "http://collector:4318/v1/traces", on: true},
		"flag with a path":           {flag: "https://c/otlp/", want: "https://c/otlp/v1/traces", on: true},
		"environment":                {env: map[string]string{envEndpoint: "http://c:4318"}, on: true},
		"environment of traces":      {env: map[string]string{envTracesEndpoint: "http://c:4318/v1/traces"}, on: true},
		"flag and environment":       {flag: "http://a", env: map[string]string{envEndpoint: "http://b"}, want: "http://a/v1/traces", on: true},
		"turned off":                 {env: map[string]string{envEndpoint: "http://c:4318", envDisabled: "true"}},
		"for other signals":          {env: map[string]string{envEndpoint: "http://c:4318", envExporter: "none"}},
		"by gRPC":                    {env: map[string]string{envEndpoint: "http://c:4317", envProtocol: "grpc"}, wantErr: "OTEL_EXPORTER_OTLP_PROTOCOL: traces are sent as http/protobuf, to port 4318 of a collector, and not as grpc"},
		"by gRPC for others":         {env: map[string]string{envEndpoint: "http://c:4317", envProtocol: "grpc", envTracesProtocol: "http/protobuf"}, on: true},
		"by gRPC, and nobody wants":  {env: map[string]string{envProtocol: "grpc"}},
		"a host is no URL":           {flag: "collector:4318", wantErr: `-otlp-endpoint: "collector:4318" is no URL that begins with http:// or https://`},
		"a URL that can't be parsed": {flag: "http://a b", wantErr: "-otlp-endpoint: parse"},
	} {
		t.Run(name, func(t *testing.T) {
			url, on, err := (&Options{Endpoint: tc.flag}).endpoint(func(name string) string { return tc.env[name] })
			if url != tc.want || on != tc.on || (err == nil) != (tc.wantErr == "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("%q, %t, %v; want %q, %t, %q", url, on, err, tc.want, tc.on, tc.wantErr)
			}
		})
	}
}

// A collector that is away costs spans, which are counted, and one line in the log.
func TestCollectorAway(t *testing.T) {
	to := tracingtest.NewReceiver(t)
	to.GoAway()
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	by, err := New(t.Context(), Config{
		Options: Options{Endpoint: to.URL}, Getenv: func(string) string { return "" }, Registry: registry,
		Log: logr.FromSlogHandler(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	p := newPlay()
	p.begin(by)
	for range 2 {
		p.check(by, v1beta1.CheckPassed)
		if err := by.provider.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	const want = `# HELP sluice_trace_spans_total Spans of the traces of releases by what came of them: sent to the collector, or lost as it did not take them.
# TYPE sluice_trace_spans_total counter
sluice_trace_spans_total{outcome="lost"} 2
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "sluice_trace_spans_total"); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "can't be sent"); n != 1 {
		t.Errorf("it is said %d times:\n%s", n, log.String())
	}
}

// Where nobody wants traces there is nothing, and it costs nothing.
func TestNoTraces(t *testing.T) {
	none, err := New(t.Context(), Config{Getenv: func(string) string { return "" }})
	if none != nil || err != nil {
		t.Fatalf("%v, %v", none, err)
	}
	c, before := newPlay().canary, v1beta1.CanaryStatus{Phase: v1beta1.PhaseProgressing, StartedAt: new(micro(t0))}
	if n := testing.AllocsPerRun(100, func() {
		none.Transition(c, &before, t0)
		none.Check(c, release.CheckID{Attempt: 1}, t0, v1beta1.CheckStatus{})
		none.Hook(c, release.CheckID{Attempt: 1}, nil, t0, v1beta1.CheckStatus{})
		none.Forget(types.NamespacedName{})
	}); n != 0 {
		t.Errorf("%.0f allocations", n)
	}
}
