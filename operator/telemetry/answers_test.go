package telemetry

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/factory"
)

// server answers with an error after a while.
type server struct {
	clock *clocktesting.FakeClock
	err   error
}

func (s *server) Query(context.Context, metrics.Query) (metrics.Sample, error) {
	s.clock.Step(200 * time.Millisecond)
	return metrics.Sample{Value: 1}, s.err
}

// seriesServer gives series too, and can tell what is wrong with a query.
type seriesServer struct{ server }

func (s *seriesServer) QuerySeries(context.Context, metrics.Query) ([]metrics.Series, error) {
	return nil, s.err
}

func (s *seriesServer) QueryRange(context.Context, metrics.Query, time.Time, time.Time, time.Duration) ([][]metrics.Series, error) {
	return nil, s.err
}

func (s *seriesServer) Check(metrics.Query) error { return &metrics.QueryError{Message: "wrong"} }

// Who makes providers gets from those that are timed all that they can do: a Prometheus is asked for many Canaries together.
func TestTimedCanDoTheSame(t *testing.T) {
	a := NewAnswers(prometheus.NewRegistry(), clocktesting.NewFakeClock(time.Unix(0, 0)))
	for _, of := range factory.Names() {
		c := metrics.Config{Type: of, Address: "http://metrics.test", Region: "eu-west-1"}
		plain, err := factory.New(c)
		if err != nil {
			if of == factory.Prometheus {
				t.Fatal(err)
			}
			continue // it needs credentials
		}
		timed, err := a.Timed(factory.New)(c)
		if err != nil {
			t.Fatal(err)
		}
		_, series := plain.(metrics.SeriesProvider)
		_, together := plain.(metrics.Together)
		_, timedSeries := timed.(metrics.SeriesProvider)
		_, timedTogether := timed.(metrics.Together)
		if series != timedSeries || together != timedTogether {
			t.Errorf("%s gives series: %t, when it is timed %t; answers many together: %t, when it is timed %t", of, series, timedSeries, together, timedTogether)
		}
		if want := of == factory.Prometheus; together != want {
			t.Errorf("%s answers many together: %t", of, together)
		}
	}
}

func TestAnswers(t *testing.T) {
	registry, clk := prometheus.NewRegistry(), clocktesting.NewFakeClock(time.Unix(0, 0))
	a := NewAnswers(registry, clk)
	s := &server{clock: clk}
	p, err := a.Timed(func(metrics.Config) (metrics.Provider, error) { return s, nil })(metrics.Config{Type: "datadog"})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := p.(metrics.SeriesProvider); ok {
		t.Error("a provider without series is taken for one with")
	}
	if err := p.(metrics.Checker).Check(metrics.Query{}); err != nil {
		t.Error(err)
	}
	for _, s.err = range []error{
		nil, nil, metrics.ErrNoData, metrics.ErrNothingCounted, &metrics.UnavailableError{Err: errors.New("x")}, context.DeadlineExceeded,
		&metrics.QueryError{}, fmt.Errorf("called off: %w", context.Canceled),
	} {
		if sample, err := p.Query(t.Context(), metrics.Query{}); !errors.Is(err, s.err) || sample.Value != 1 {
			t.Errorf("%v becomes %v", s.err, err)
		}
	}
	both := &seriesServer{server{clock: clk}}
	p, err = a.Timed(func(metrics.Config) (metrics.Provider, error) { return both, nil })(metrics.Config{Type: "prometheus"})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.(metrics.Checker).Check(metrics.Query{}); !metrics.IsQueryError(err) {
		t.Errorf("its own check is not asked: %v", err)
	}
	_, _ = p.(metrics.SeriesProvider).QuerySeries(t.Context(), metrics.Query{})                                       // counted below
	_, _ = p.(metrics.SeriesProvider).QueryRange(t.Context(), metrics.Query{}, time.Time{}, time.Time{}, time.Second) // counted below
	began := clk.Now()
	clk.Step(2 * time.Second)
	a.Hook(v1beta1.RolloutHook, began, nil)
	a.Hook(v1beta1.ConfirmPromotionHook, began, errors.New("403"))
	a.Hook(v1beta1.ConfirmPromotionHook, began, context.Canceled)
	(*Answers)(nil).Hook(v1beta1.RolloutHook, began, nil)

	want := map[string]uint64{
		"datadog value": 2, "datadog no_data": 2, "datadog unavailable": 2, "datadog invalid": 1, "prometheus value": 2,
		"rollout passed": 1, "confirm-promotion failed": 1,
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := ""
			for _, label := range m.GetLabel() {
				name = label.GetValue() + " " + name // outcome comes first
			}
			name = name[:len(name)-1]
			got++
			if n := m.GetHistogram().GetSampleCount(); n != want[name] {
				t.Errorf("%q was counted %d times, want %d", name, n, want[name])
			}
			if sum := m.GetHistogram().GetSampleSum(); name == "rollout passed" && sum != 2 || name == "datadog value" && sum < 0.39 {
				t.Errorf("%q took %f s", name, sum)
			}
		}
	}
	if got != len(want) {
		t.Errorf("there are %d series, want %d", got, len(want))
	}
}
