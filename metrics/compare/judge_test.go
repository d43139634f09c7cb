package compare

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const second = 15 * time.Second

// block is one of 15 s.
func block(n, bad, m, primaryBad float64) Block {
	return Block{Canary: Counts{n, bad}, Primary: Counts{m, primaryBad}, Length: second}
}

func judge(metrics ...Metric) Judge { return Judge{Confidence: 0.99, Metrics: metrics} }

// minutes is a history without variation.
func minutes(n int, c Counts) [][]Counts {
	out := make([]Counts, n)
	for i := range out {
		out[i] = c
	}
	return [][]Counts{out}
}

// begin is a release of one metric after an hour at 100 requests a second, 1 % of them bad.
func begin(t testing.TB, j Judge) State {
	t.Helper()
	histories := make([]History, len(j.Metrics))
	for i := range histories {
		histories[i] = History{Minutes: minutes(60, Counts{6000, 60})}
	}
	s, err := j.Begin(histories)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// look takes one block of the first metric.
func look(t testing.TB, j Judge, s State, b Block) State {
	t.Helper()
	s, err := j.Look(s, []Reading{{Metric: j.Metrics[0].Name, Blocks: []Block{b}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnswer(t *testing.T) {
	failures := Failures("errors")
	limited := failures
	limited.Limit = 0.05
	alone := Metric{Name: "errors", Detect: 0.01, Settle: 0.1, Limit: 0.02, Alone: true}
	step, promote, overdue := Question{}, Question{Promote: true}, Question{Promote: true, Overdue: true}
	for name, tc := range map[string]struct {
		metric Metric
		block  Block
		looks  int
		q      Question
		want   Verdict
		cause  Cause
	}{
		"nothing was counted":                            {metric: failures, block: block(0, 0, 0, 0), looks: 100, q: step, cause: FewRequests},
		"nothing was counted, and it took too long":      {metric: failures, block: block(0, 0, 0, 0), looks: 1000, q: overdue, cause: FewRequests},
		"the primary alone has requests":                 {metric: failures, block: block(0, 0, 1500, 15), looks: 100, q: step, cause: FewRequests},
		"a few good requests allow a step":               {metric: failures, block: block(1, 0, 9, 0), looks: 6, q: step, want: NotMuchWorse},
		"a few good requests promote nothing":            {metric: failures, block: block(1, 0, 9, 0), looks: 6, q: promote, cause: FewRequests},
		"as good as the primary for long":                {metric: failures, block: block(150, 1.5, 1350, 13.5), looks: 30, q: promote, want: NotMuchWorse},
		"three points worse":                             {metric: failures, block: block(150, 6, 1350, 13.5), looks: 12, q: step, want: WorseThanTolerated},
		"half of the requests fail":                      {metric: failures, block: block(150, 75, 1350, 13.5), looks: 1, q: step, want: WorseThanTolerated},
		"all of one request and a half fail":             {metric: failures, block: block(1.5, 1.5, 13, 0), looks: 4, q: step, want: WorseThanTolerated},
		"an outage of both":                              {metric: failures, block: block(150, 50, 1350, 450), looks: 8, q: step, want: NotMuchWorse},
		"as much worse as is tolerated":                  {metric: failures, block: block(150, 1.5*1.1+.15, 1350, 13.5), looks: 400, q: step, want: NotMuchWorse},
		"a regression of half a point is not ruled out":  {metric: failures, block: block(15, .23, 135, 1.35), looks: 30, q: promote, cause: FewRequests},
		"too long, and the evidence leans to the canary": {metric: failures, block: block(15, .15, 135, 1.35), looks: 20, q: overdue, want: NotMuchWorse},
		"alone within its limit":                         {metric: alone, block: block(150, .5, 0, 0), looks: 20, q: promote, want: NotMuchWorse},
		"alone beyond its limit":                         {metric: alone, block: block(150, 9, 0, 0), looks: 12, q: step, want: WorseThanTolerated},
		"both beyond the limit":                          {metric: limited, block: block(150, 30, 1350, 270), looks: 40, q: step, cause: BeyondLimit},
		"the canary alone beyond the limit":              {metric: limited, block: block(150, 15, 1350, 13.5), looks: 4, q: step, want: WorseThanTolerated},
	} {
		t.Run(name, func(t *testing.T) {
			j := judge(tc.metric)
			s := begin(t, j)
			for range tc.looks {
				s = look(t, j, s, tc.block)
				if tc.want != WorseThanTolerated && j.Answer(s, tc.q).Verdict == WorseThanTolerated {
					t.Fatal("rolled back")
				}
			}
			got := j.Answer(s, tc.q)
			if got.Verdict != tc.want || got.Cause != tc.cause {
				t.Errorf("got %+v, want verdict %d for cause %d; state %+v", got, tc.want, tc.cause, s)
			}
			if again := j.Answer(s, tc.q); !reflect.DeepEqual(again, got) {
				t.Errorf("asked again it says %+v", again)
			}
		})
	}
}

// TestSuspicion: evidence against the canary that has risen stops the release before it rolls it back, and what spoke
// for the canary before is forgotten.
func TestSuspicion(t *testing.T) {
	j := judge(Failures("errors"))
	s := begin(t, j)
	for range 40 {
		s = look(t, j, s, block(150, 1.5, 1350, 13.5))
	}
	if got := j.Answer(s, Question{Promote: true}); got.Verdict != NotMuchWorse {
		t.Fatalf("a good canary: %+v", got)
	}
	suspected, forgotten := false, false
	for k := range 100 {
		s = look(t, j, s, block(150, 4, 1350, 13.5))
		got := j.Answer(s, Question{Promote: true})
		suspected = suspected || got.Cause == Suspicion
		forgotten = forgotten || reflect.DeepEqual(s.Metrics[0].Detect, Wealth{})
		if got.Verdict == WorseThanTolerated {
			t.Logf("rolled back %d looks after the regression began", k+1)
			if !suspected || !forgotten {
				t.Errorf("suspected %t, forgotten %t", suspected, forgotten)
			}
			return
		}
	}
	t.Errorf("a regression that began late was not found: %+v", s)
}

// TestMetricsShareTheConfidence: one metric's evidence against the canary is divided by the number of metrics.
func TestMetricsShareTheConfidence(t *testing.T) {
	one, two := judge(Failures("errors")), judge(Failures("errors"), Failures("others"))
	b := block(150, 5, 1350, 13.5)
	s, u := look(t, one, begin(t, one), b), look(t, two, begin(t, two), b)
	alone, shared := one.Answer(s, Question{}).Evidence, two.Answer(u, Question{}).Evidence
	if want := (alone + 1) / 2; math.Abs(shared-want) > 1e-9*want {
		t.Errorf("evidence of two metrics is %g, want %g", shared, want)
	}
}

// TestDry: a metric that decides nothing neither rolls back nor holds, and what it would have said can be read.
func TestDry(t *testing.T) {
	dry := Failures("errors")
	dry.Dry = true
	j := judge(dry, Failures("others"))
	s := begin(t, j)
	for range 40 {
		var err error
		if s, err = j.Look(s, []Reading{
			{"errors", []Block{block(150, 50, 1350, 13.5)}}, {"others", []Block{block(150, 1.5, 1350, 13.5)}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if got := j.Answer(s, Question{Promote: true}); got.Verdict != NotMuchWorse {
		t.Errorf("the metric that decides is good: %+v", got)
	}
	if got := j.Of(s, 0, Question{Promote: true}); got.Verdict != WorseThanTolerated || got.Metric != 0 {
		t.Errorf("the other one would have said %+v", got)
	}
	if got := j.Of(s, 1, Question{Promote: true}); got.Verdict != NotMuchWorse || got.Metric != 1 {
		t.Errorf("the metric that decides alone says %+v", got)
	}
}

// TestReplay: a state that was written and read goes on as the one in memory, and a look leaves the state that it was
// given as it was, so that a look that is taken again after a crash counts nothing twice.
func TestReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		latency := Slowness("latency")
		j := judge(Failures("errors"), latency)
		s, err := j.Begin([]History{
			{Minutes: minutes(rapid.IntRange(0, 30).Draw(t, "minutes"), Counts{600, 6})},
			{Edges: []float64{500, 100}, Minutes: append(minutes(20, Counts{600, 6}), minutes(20, Counts{600, 60})...)},
		})
		if err != nil {
			t.Fatal(err)
		}
		stored := s
		for range rapid.IntRange(1, 20).Draw(t, "looks") {
			readings := []Reading{
				{Metric: "errors", Blocks: []Block{drawBlock(t)}},
				{Metric: "latency", Blocks: []Block{drawBlock(t), drawBlock(t)}},
			}
			before, _ := json.Marshal(s)
			next, err := j.Look(s, readings)
			if err != nil {
				t.Fatal(err)
			}
			if after, _ := json.Marshal(s); string(before) != string(after) {
				t.Fatal("a look has changed the state that it was given")
			}
			s = next
			if stored, err = j.Look(stored, readings); err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, "new weight") {
				s, stored = s.NewWeight(), stored.NewWeight()
			}
			data, err := json.Marshal(stored)
			if err != nil {
				t.Fatal(err)
			}
			stored = State{}
			if err := json.Unmarshal(data, &stored); err != nil {
				t.Fatal(err)
			}
			if again, _ := json.Marshal(s); string(again) != string(data) {
				t.Fatalf("in memory\n%s\nas it was stored\n%s", again, data)
			}
			for _, q := range []Question{{}, {Promote: true}, {Promote: true, Overdue: true}} {
				a, b := j.Answer(s, q), j.Answer(stored, q)
				if !reflect.DeepEqual(a, b) || math.IsNaN(a.Evidence) || math.IsNaN(a.Missing) {
					t.Fatalf("in memory %+v, as it was stored %+v", a, b)
				}
			}
		}
	})
}

func drawBlock(t *rapid.T) Block {
	n := rapid.Float64Range(0, 1e5).Draw(t, "n")
	m := rapid.Float64Range(0, 1e6).Draw(t, "m")
	return Block{
		Canary:  Counts{n, n * rapid.Float64Range(0, 1).Draw(t, "bad")},
		Primary: Counts{m, m * rapid.Float64Range(0, 1).Draw(t, "bad")},
		Length:  time.Duration(rapid.IntRange(1, 600).Draw(t, "seconds")) * time.Second,
	}
}

// TestPending: what the primary had while the canary had nothing is bet on with the canary's next request, and not
// once the weight has changed.
func TestPending(t *testing.T) {
	j := judge(Failures("errors"))
	s := look(t, j, begin(t, j), block(0, 0, 100, 1))
	if e := s.Metrics[0].Edges[0]; e.Pending.Primary.Requests != 100 || e.Last.Length != 0 {
		t.Errorf("a block without canary was bet on: %+v", e)
	}
	if got := s.Metrics[0].Edges[0].Traffic(second); got != (Traffic{}) {
		t.Errorf("without a block the traffic is %+v", got)
	}
	together := look(t, j, s, block(10, 0, 100, 1))
	if got := together.Metrics[0].Edges[0].Traffic(second); got.PerSecond != 7 || math.Abs(got.Weight-10.0/210) > 1e-9 || math.Abs(got.Bad-0.01) > 1e-4 {
		t.Errorf("the traffic is %+v", got)
	}
	if e := together.Metrics[0].Edges[0]; e.Pending != (Block{}) || e.Last.Primary.Requests != 200 || e.Last.Length != 2*second {
		t.Errorf("not both parts were bet on: %+v", e)
	}
	changed := s.NewWeight()
	if e := look(t, j, changed, block(10, 0, 100, 1)).Metrics[0].Edges[0]; e.Last.Primary.Requests != 100 {
		t.Errorf("a part from before the weight changed was bet on: %+v", e)
	}
	past := fade(s.Metrics[0].Edges[0].Past, second).Requests
	if got := changed.Metrics[0].Edges[0].Past.Requests; math.Abs(got-past-100) > 1e-3 {
		t.Errorf("the primary has had %g requests, and 100 of them while the canary had none: %g", got, past)
	}
}

// TestTrouble: while both versions fail far more than ever, requests are taken to be more alike than history says.
func TestTrouble(t *testing.T) {
	e := Edge{Correlation: 0.001, Last: block(150, 1, 1350, 13)}
	b := block(150, 1, 1350, 13)
	if got, want := e.inflation(b, 0.01), Inflation(b, 0.001); got != want {
		t.Errorf("in peace the inflation is %g, want %g", got, want)
	}
	e.Last = block(150, 15, 1350, 135)
	if got, want := e.inflation(b, 0.01), Inflation(b, 0.05); got != want {
		t.Errorf("in trouble the inflation is %g, want %g", got, want)
	}
	e.Correlation = 0.2
	if got, want := e.inflation(b, 0.01), Inflation(b, 0.2); got != want {
		t.Errorf("where history knows worse the inflation is %g, want %g", got, want)
	}
}

func TestLookRefuses(t *testing.T) {
	j := judge(Failures("errors"))
	s := begin(t, j)
	for name, tc := range map[string]struct {
		reading Reading
		state   State
		want    error
	}{
		"not a number":          {Reading{"errors", []Block{block(math.NaN(), 0, 1, 0)}}, s, ErrCounts},
		"more bad ones":         {Reading{"errors", []Block{block(1, 2, 1, 0)}}, s, ErrCounts},
		"fewer than none":       {Reading{"errors", []Block{block(1, 0, -1, 0)}}, s, ErrCounts},
		"without end":           {Reading{"errors", []Block{block(math.Inf(1), 0, 1, 0)}}, s, ErrCounts},
		"no time":               {Reading{"errors", []Block{{Canary: Counts{1, 0}}}}, s, ErrCounts},
		"another metric":        {Reading{"latency", []Block{block(1, 0, 1, 0)}}, s, ErrState},
		"another edge":          {Reading{"errors", []Block{block(1, 0, 1, 0), block(1, 0, 1, 0)}}, s, ErrState},
		"a state of the future": {Reading{"errors", []Block{block(1, 0, 1, 0)}}, State{Version: 2, Metrics: s.Metrics}, ErrState},
		"the state of another":  {Reading{"errors", []Block{block(1, 0, 1, 0)}}, State{Version: 1, Metrics: []Evidence{{Name: "x", Edges: make([]Edge, 1)}}}, ErrState},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := j.Look(tc.state, []Reading{tc.reading}); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

// TestStateIsSmall: the state of two metrics, one of them with five edges, is some kilobytes.
func TestStateIsSmall(t *testing.T) {
	j := judge(Failures("errors"), Slowness("latency"))
	five := make([][]Counts, 5)
	s, err := j.Begin([]History{{}, {Edges: []float64{500, 50, 100, 250, 1000}, Minutes: five}})
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		b := block(1234.567891, 12.345678, 12345.678912, 123.456789)
		if s, err = j.Look(s, []Reading{{"errors", []Block{b}}, {"latency", []Block{b, b, b, b, b}}}); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", len(data))
	if len(data) > 8<<10 {
		t.Errorf("the state has %d bytes:\n%s", len(data), data)
	}
}

func BenchmarkLook(b *testing.B) {
	j := judge(Failures("errors"))
	s := begin(b, j)
	for b.Loop() {
		s = look(b, j, s, block(150, 2, 1350, 13))
	}
}

// TestWorst: the answer is about the metric with the most evidence against the canary, of those that decide.
func TestWorst(t *testing.T) {
	dry := Failures("dry")
	dry.Dry = true
	bad, good := block(150, 9, 1350, 13.5), block(150, 1.5, 1350, 13.5)
	for name, tc := range map[string]struct {
		metrics []Metric
		bad     int // which gets the bad blocks
		want    int
	}{
		"the second":                    {[]Metric{Failures("a"), Failures("b")}, 1, 1},
		"the first":                     {[]Metric{Failures("a"), Failures("b")}, 0, 0},
		"a worse one that decides none": {[]Metric{Failures("a"), dry}, 1, 0},
		"it comes first":                {[]Metric{dry, Failures("b")}, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			j := judge(tc.metrics...)
			s := begin(t, j)
			for range 20 {
				var readings []Reading
				for i, m := range tc.metrics {
					b := good
					if i == tc.bad {
						b = bad
					}
					readings = append(readings, Reading{m.Name, []Block{b}})
				}
				var err error
				if s, err = j.Look(s, readings); err != nil {
					t.Fatal(err)
				}
			}
			if got := j.worst(s); got != tc.want {
				t.Errorf("it is about metric %d, want %d", got, tc.want)
			}
		})
	}
}

// TestMissing: more evidence leaves less to be counted, and a lesser regression, which need not be ruled out when it has taken
// too long, asks for fewer requests.
func TestMissing(t *testing.T) {
	j := judge(Failures("errors"))
	s := begin(t, j)
	before := math.Inf(1)
	for range 5 {
		s = look(t, j, s, block(15, .15, 135, 1.35))
		missing := j.Answer(s, Question{Promote: true}).Missing
		if missing < 1 || missing >= before {
			t.Fatalf("%g requests are missing, and %g were before", missing, before)
		}
		before = missing
		if late := j.Answer(s, Question{Promote: true, Overdue: true}); late.Verdict == Open && (late.Missing < 1 || late.Missing >= missing) {
			t.Errorf("%g are missing where it has taken too long, and %g else", late.Missing, missing)
		}
	}
}
