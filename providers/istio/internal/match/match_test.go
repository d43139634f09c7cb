package match

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/providers/istio/internal/istiotest"
)

func TestBoth(t *testing.T) {
	for name, tc := range map[string]struct {
		a, b    string // lists of matches
		want    string // empty when nothing fits
		wantErr bool
	}{
		"one side":                {a: `[{uri: {prefix: /a}}]`, b: `[]`, want: `[{uri: {prefix: /a}}]`},
		"other side":              {a: `[]`, b: `[{port: 80}]`, want: `[{port: 80}]`},
		"different fields":        {a: `[{method: {exact: GET}}]`, b: `[{uri: {prefix: /a}, scheme: {exact: https}}]`, want: `[{method: {exact: GET}, uri: {prefix: /a}, scheme: {exact: https}}]`},
		"longer prefix":           {a: `[{uri: {prefix: /a}}]`, b: `[{uri: {prefix: /a/b}}]`, want: `[{uri: {prefix: /a/b}}]`},
		"other prefix":            {a: `[{uri: {prefix: /a}}]`, b: `[{uri: {prefix: /b}}]`},
		"exact in a prefix":       {a: `[{uri: {prefix: /a}}]`, b: `[{uri: {exact: /a/b}}]`, want: `[{uri: {exact: /a/b}}]`},
		"exact in a regex":        {a: `[{authority: {exact: abc}}]`, b: `[{authority: {regex: a.*}}]`, want: `[{authority: {exact: abc}}]`},
		"exact beside a regex":    {a: `[{authority: {exact: abc}}]`, b: `[{authority: {regex: a.}}]`},
		"regex and any path":      {a: `[{uri: {regex: /a.*}}]`, b: `[{uri: {prefix: /}}]`, want: `[{uri: {regex: /a.*}}]`},
		"same regex":              {a: `[{uri: {regex: /a.*}}]`, b: `[{uri: {regex: /a.*}}]`, want: `[{uri: {regex: /a.*}}]`},
		"two regexes":             {a: `[{uri: {regex: /a.*}}]`, b: `[{uri: {regex: /b.*}}]`, wantErr: true},
		"query":                   {a: `[{queryParams: {v: {exact: "1"}}}]`, b: `[{queryParams: {w: {exact: "2"}}}]`, want: `[{queryParams: {v: {exact: "1"}, w: {exact: "2"}}}]`},
		"other query":             {a: `[{queryParams: {v: {exact: "1"}}}]`, b: `[{queryParams: {v: {exact: "2"}}}]`},
		"query that can't be":     {a: `[{queryParams: {v: {regex: "1"}}}]`, b: `[{queryParams: {v: {regex: "2"}}}]`, wantErr: true},
		"a header twice":          {a: `[{headers: {x: {regex: a}}}]`, b: `[{headers: {x: {regex: b}}}]`, want: `[{headers: {x: {regex: a}, X: {regex: b}}}]`},
		"a pseudo-header twice":   {a: `[{headers: {":path": {prefix: /a}}}]`, b: `[{headers: {":path": {prefix: /a/b}}}]`, want: `[{headers: {":path": {prefix: /a/b}}}]`},
		"other pseudo-headers":    {a: `[{headers: {":path": {prefix: /a}}}]`, b: `[{headers: {":path": {prefix: /b}}}]`},
		"a header without":        {a: `[{withoutHeaders: {x: {}}}]`, b: `[{headers: {y: {}}}]`, want: `[{withoutHeaders: {x: {}}, headers: {y: {}}}]`},
		"labels":                  {a: `[{sourceLabels: {a: b}}]`, b: `[{sourceLabels: {c: d}}]`, want: `[{sourceLabels: {a: b, c: d}}]`},
		"other label":             {a: `[{sourceLabels: {a: b}}]`, b: `[{sourceLabels: {a: c}}]`},
		"common gateways":         {a: `[{gateways: [a, b]}]`, b: `[{gateways: [b, c]}]`, want: `[{gateways: [b]}]`},
		"other gateways":          {a: `[{gateways: [a]}]`, b: `[{gateways: [b]}]`},
		"labels and the mesh":     {a: `[{sourceLabels: {a: b}}]`, b: `[{gateways: [public, mesh]}]`, want: `[{sourceLabels: {a: b}}]`},
		"namespace and the mesh":  {a: `[{gateways: [mesh]}]`, b: `[{sourceNamespace: a}]`, want: `[{sourceNamespace: a}]`},
		"labels and a gateway":    {a: `[{sourceLabels: {a: b}}]`, b: `[{gateways: [public]}]`},
		"labels that don't count": {a: `[{method: {exact: GET}}]`, b: `[{gateways: [mesh], sourceLabels: {a: b}}]`, want: `[{method: {exact: GET}, gateways: [mesh], sourceLabels: {a: b}}]`},
		"labels that count":       {a: `[{sourceLabels: {a: b}}]`, b: `[{gateways: [mesh], sourceLabels: {a: c}}]`, want: `[{sourceLabels: {a: b}}]`},
		"other namespace":         {a: `[{sourceNamespace: a}]`, b: `[{sourceNamespace: b}]`},
		"other port":              {a: `[{port: 1}]`, b: `[{port: 2}]`},
		"names":                   {a: `[{statPrefix: prefix, ignoreUriCase: true}]`, b: `[{name: name}]`, want: `[{name: name, statPrefix: prefix, ignoreUriCase: true}]`},
		"alternatives that go by": {a: `[{port: 1}, {port: 2}]`, b: `[{port: 2}, {method: {exact: GET}}]`, want: `[{port: 1, method: {exact: GET}}, {port: 2}, {port: 2, method: {exact: GET}}]`},
	} {
		t.Run(name, func(t *testing.T) {
			got, possible, err := Both(matchesIn(t, tc.a), matchesIn(t, tc.b))
			if (err != nil) != tc.wantErr || possible != (tc.want != "") {
				t.Fatalf("possible %v, error %v", possible, err)
			}
			if tc.want == "" {
				return
			}
			if d := cmp.Diff(istiotest.List(t, tc.want), istiotest.Normal(t, got)); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func matchesIn(t *testing.T, s string) (out Alternatives) {
	t.Helper()
	b, err := json.Marshal(istiotest.List(t, s))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, (*[]*networking.HTTPMatchRequest)(&out)); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestUnusedSpelling(t *testing.T) {
	taken := map[string]bool{}
	for range 6 {
		taken[Unused(taken, "abc")] = true
	}
	if len(taken) < 4 {
		t.Errorf("only %v", taken)
	}
}
