package consulspec

import (
	"encoding/json"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func TestMatches(t *testing.T) {
	for name, tc := range map[string]struct{ spec, want string }{
		"nothing":         {`{}`, `{}`},
		"name only":       {`{"name":"a","statPrefix":"b"}`, `{}`},
		"path exactly":    {`{"uri":{"exact":"/a"}}`, `{"PathExact":"/a"}`},
		"path's prefix":   {`{"uri":{"prefix":"/a"}}`, `{"PathPrefix":"/a"}`},
		"any path":        {`{"uri":{"prefix":"/"}}`, `{}`},
		"path by regex":   {`{"uri":{"regex":"/a.*"}}`, `{"PathRegex":"/a.*"}`},
		"method":          {`{"method":{"exact":"GET"}}`, `{"Methods":["GET"]}`},
		"method by regex": {`{"method":{"regex":"GET|PUT"}}`, `{"Header":[{"Name":":method","Regex":"GET|PUT"}]}`},
		"authority":       {`{"authority":{"prefix":"a"},"scheme":{"exact":"https"}}`, `{"Header":[{"Name":":authority","Prefix":"a"},{"Name":":scheme","Exact":"https"}]}`},
		"headers":         {`{"headers":{"b":{"regex":"x.*"},"a":{}},"withoutHeaders":{"c":{"exact":"1"}}}`, `{"Header":[{"Name":"a","Present":true},{"Name":"b","Regex":"x.*"},{"Name":"c","Exact":"1","Invert":true}]}`},
		"parameters":      {`{"queryParams":{"a":{"exact":"1"},"b":{"prefix":"x."},"c":{}}}`, `{"QueryParam":[{"Name":"a","Exact":"1"},{"Name":"b","Regex":"x\\..*"},{"Name":"c","Present":true}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Matches("spec", []v1beta1.RawObject{{Raw: []byte(tc.spec)}})
			if err != nil {
				t.Fatal(err)
			}
			if out := encoded(t, got[0]); out != tc.want {
				t.Errorf("got %s, want %s", out, tc.want)
			}
		})
	}
}

func TestBoth(t *testing.T) {
	for name, tc := range map[string]struct {
		a, b    string
		want    string // empty: nothing fits both
		wantErr bool
	}{
		"everything":             {a: `{"PathExact":"/a"}`, want: `{"PathExact":"/a"}`},
		"one header twice":       {a: `{"Header":[{"Name":"a","Prefix":"x"}]}`, b: `{"Header":[{"Name":"a","Regex":".*y"}]}`, want: `{"Header":[{"Name":"a","Prefix":"x"},{"Name":"a","Regex":".*y"}]}`},
		"parameters":             {a: `{"QueryParam":[{"Name":"a","Present":true}]}`, b: `{"QueryParam":[{"Name":"b","Exact":"1"}]}`, want: `{"QueryParam":[{"Name":"a","Present":true},{"Name":"b","Exact":"1"}]}`},
		"methods of one":         {a: `{"Methods":["GET"]}`, b: `{"PathExact":"/a"}`, want: `{"PathExact":"/a","Methods":["GET"]}`},
		"methods of the other":   {a: `{"PathExact":"/a"}`, b: `{"Methods":["GET"]}`, want: `{"PathExact":"/a","Methods":["GET"]}`},
		"methods of both":        {a: `{"Methods":["GET","PUT"]}`, b: `{"Methods":["PUT","POST"]}`, want: `{"Methods":["PUT"]}`},
		"no method":              {a: `{"Methods":["GET"]}`, b: `{"Methods":["PUT"]}`},
		"the same regex":         {a: `{"PathRegex":"/a"}`, b: `{"PathRegex":"/a"}`, want: `{"PathRegex":"/a"}`},
		"exact within a prefix":  {a: `{"PathExact":"/a/b"}`, b: `{"PathPrefix":"/a"}`, want: `{"PathExact":"/a/b"}`},
		"a prefix around exact":  {a: `{"PathPrefix":"/a"}`, b: `{"PathExact":"/a/b"}`, want: `{"PathExact":"/a/b"}`},
		"exact within a regex":   {a: `{"PathRegex":"/a.*"}`, b: `{"PathExact":"/ab"}`, want: `{"PathExact":"/ab"}`},
		"exact out of a regex":   {a: `{"PathRegex":"/a.*"}`, b: `{"PathExact":"/b"}`},
		"two exact paths":        {a: `{"PathExact":"/a"}`, b: `{"PathExact":"/b"}`},
		"a longer prefix":        {a: `{"PathPrefix":"/a"}`, b: `{"PathPrefix":"/a/b"}`, want: `{"PathPrefix":"/a/b"}`},
		"a shorter prefix":       {a: `{"PathPrefix":"/a/b"}`, b: `{"PathPrefix":"/a"}`, want: `{"PathPrefix":"/a/b"}`},
		"prefixes apart":         {a: `{"PathPrefix":"/a"}`, b: `{"PathPrefix":"/b"}`},
		"a regex and a prefix":   {a: `{"PathPrefix":"/a"}`, b: `{"PathRegex":"/a"}`, wantErr: true},
		"two different regexes":  {a: `{"PathRegex":"/a"}`, b: `{"PathRegex":"/b"}`, wantErr: true},
		"no path and exact path": {a: `{"Methods":["GET"]}`, b: `{"PathPrefix":"/a","Methods":["GET"]}`, want: `{"PathPrefix":"/a","Methods":["GET"]}`},
	} {
		t.Run(name, func(t *testing.T) {
			parse := func(s string) *api.ServiceRouteHTTPMatch {
				if s == "" {
					return nil
				}
				m := &api.ServiceRouteHTTPMatch{}
				if err := json.Unmarshal([]byte(s), m); err != nil {
					t.Fatal(err)
				}
				return m
			}
			a, b := parse(tc.a), parse(tc.b)
			got, possible, err := Both(a, b)
			if (err != nil) != tc.wantErr || err == nil && possible != (tc.want != "") {
				t.Fatalf("got %v, %v", possible, err)
			}
			if possible {
				if out := encoded(t, got); out != tc.want {
					t.Errorf("got %s, want %s", out, tc.want)
				}
			}
			if tc.a != "" && encoded(t, a) != encoded(t, parse(tc.a)) {
				t.Error("it changed what it was given")
			}
		})
	}
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
