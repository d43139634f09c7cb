package rules

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// request is what matches look at.
type request struct {
	path, method    string
	headers, params map[string]string
}

// fits takes a request as the Gateway API says.
func (r request) fits(ms matches) bool {
	for _, m := range ms {
		ok := m.Path == nil || isAnyPath(m.Path) ||
			(*m.Path.Type == gatewayv1.PathMatchExact && *m.Path.Value == r.path) ||
			(*m.Path.Type != gatewayv1.PathMatchExact && fitsPath(m.Path, r.path))
		ok = ok && (m.Method == nil || string(*m.Method) == r.method)
		for _, h := range m.Headers {
			ok = ok && fitsText(condition(h.Type, h.Value), r.headers, string(h.Name))
		}
		for _, q := range m.QueryParams {
			ok = ok && fitsText(condition(q.Type, q.Value), r.params, string(q.Name))
		}
		if ok {
			return true
		}
	}
	return len(ms) == 0
}

func fitsText(want text, values map[string]string, name string) bool {
	got, present := values[name]
	if !present {
		return false
	}
	return want.regex && fitsWhole(want.value, got) || !want.regex && want.value == got
}

// TestBothIsTheIntersection compares requests with two sets of alternatives, and
// with what both makes of them.
func TestBothIsTheIntersection(t *testing.T) {
	paths := []string{"/", "/a", "/ab", "/a/b", "/c"}
	values := []string{"yes", "no", "yes-ish"}
	drawText := func(t *rapid.T) text {
		return rapid.SampledFrom([]text{{false, "yes"}, {false, "no"}, {true, "y.*"}, {true, ".*"}}).Draw(t, "text")
	}
	drawMatch := rapid.Custom(func(t *rapid.T) gatewayv1.HTTPRouteMatch {
		m := gatewayv1.HTTPRouteMatch{Path: anyPath()}
		if rapid.Bool().Draw(t, "path") {
			kind := rapid.SampledFrom([]gatewayv1.PathMatchType{gatewayv1.PathMatchExact, gatewayv1.PathMatchPathPrefix, gatewayv1.PathMatchRegularExpression}).Draw(t, "kind")
			m.Path = &gatewayv1.HTTPPathMatch{Type: &kind, Value: new(rapid.SampledFrom(paths).Draw(t, "value"))}
		}
		if rapid.Bool().Draw(t, "method") {
			m.Method = new(rapid.SampledFrom([]gatewayv1.HTTPMethod{"GET", "POST"}).Draw(t, "of"))
		}
		for _, name := range []string{"x", "y"} {
			if rapid.Bool().Draw(t, "header") {
				s := drawText(t)
				m.Headers = append(m.Headers, header(name, s.regex, s.value))
			}
		}
		if rapid.Bool().Draw(t, "param") {
			s := drawText(t)
			kind := gatewayv1.QueryParamMatchExact
			if s.regex {
				kind = gatewayv1.QueryParamMatchRegularExpression
			}
			m.QueryParams = append(m.QueryParams, gatewayv1.HTTPQueryParamMatch{Type: &kind, Name: "q", Value: s.value})
		}
		return m
	})
	drawMatches := rapid.SliceOfN(drawMatch, 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		a, b := matches(drawMatches.Draw(t, "a")), matches(drawMatches.Draw(t, "b"))
		joined, possible, err := both(a, b)
		if err != nil {
			return // what can't be said is refused
		}
		for range 20 {
			r := request{
				path: rapid.SampledFrom(paths).Draw(t, "path"), method: rapid.SampledFrom([]string{"GET", "POST"}).Draw(t, "method"),
				headers: map[string]string{}, params: map[string]string{},
			}
			for name, into := range map[string]map[string]string{"x": r.headers, "y": r.headers, "q": r.params} {
				if rapid.Bool().Draw(t, name) {
					into[name] = rapid.SampledFrom(values).Draw(t, "value")
				}
			}
			if want, got := r.fits(a) && r.fits(b), possible && r.fits(joined); got != want {
				t.Fatalf("%+v fits both: %v, what was made of them: %v", r, want, got)
			}
		}
	})
}

func TestOneHeaderHasOneCondition(t *testing.T) {
	for name, tc := range map[string]struct {
		a, b         string
		want         string // a header's value
		wantPossible bool
		wantErr      bool
	}{
		"equal":            {`{"exact":"a"}`, `{"exact":"a"}`, "a", true, false},
		"different":        {`{"exact":"a"}`, `{"exact":"b"}`, "", false, false},
		"exact and regex":  {`{"regex":"a.*"}`, `{"exact":"ab"}`, "ab", true, false},
		"not by the regex": {`{"regex":"a.*"}`, `{"exact":"b"}`, "", false, false},
		"presence":         {`{}`, `{"regex":"a.*"}`, "a.*", true, false},
		"presence after":   {`{"prefix":"a+"}`, `{}`, `a\+.*`, true, false},
		"suffix":           {`{"suffix":"a"}`, `{"exact":"ba"}`, "ba", true, false},
		"two of regex":     {`{"regex":"a.*"}`, `{"regex":".*b"}`, "", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			a, errA := matchesOf("a", raws(`{"headers":{"x":`+tc.a+`}}`))
			b, errB := matchesOf("b", raws(`{"headers":{"X":`+tc.b+`}}`))
			if errA != nil || errB != nil {
				t.Fatal(errA, errB)
			}
			out, possible, err := both(a, b)
			if possible != tc.wantPossible || (err != nil) != tc.wantErr {
				t.Fatalf("got %v, %v, %v", out, possible, err)
			}
			if possible && (len(out[0].Headers) != 1 || out[0].Headers[0].Value != tc.want) {
				t.Errorf("got %s", cmp.Diff(nil, out[0].Headers))
			}
		})
	}
}

// both narrows a by b, as templates are.
func both(a, b matches) (matches, bool, error) {
	t := template{HTTPRouteRule: gatewayv1.HTTPRouteRule{Matches: orAny(a)}, origins: orAny(a)}
	out, possible, err := t.narrow(orAny(b))
	return out.Matches, possible, err
}
