package template

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var vars = Vars{
	Name: "c", Namespace: "ns", Target: "t", Service: "s", Ingress: "i", Route: "r", Interval: "90s",
	Variables: map[string]string{"direction": "inbound", "a.b": "dotted"},
}

func TestRender(t *testing.T) {
	for name, tc := range map[string]struct {
		query     string
		want      string
		wantError string // a part of it
	}{
		"every variable": {
			query: "{{ name }} {{ namespace }} {{ target }} {{ service }} {{ ingress }} {{ route }} {{ interval }} {{ variables.direction }}",
			want:  "c ns t s i r 90s inbound",
		},
		"without spaces": {query: `x{a="{{namespace}}"}[{{interval}}]`, want: `x{a="ns"}[90s]`},
		"several lines":  {query: "sum(\n  {{- target -}}\n)", want: "sum(t)"},
		"functions of the language": {
			query: `{{ if eq variables.direction "inbound" }}in{{ else }}out{{ end }} {{ printf "%s-canary" target }} {{ index variables "a.b" }} {{ namespace | printf "%q" }}`,
			want:  `in t-canary dotted "ns"`,
		},
		"a variable that this Canary has not": {query: "{{ variables.other }} {{ variables.direction }}", wantError: "templateVariables has no value for other, which the query"},
		"a variable in an if":                 {query: "{{ if variables.other }}x{{ end }}", wantError: "no value for other"},
		"all variables":                       {query: "{{ range $k, $v := variables }}{{ $k }}={{ $v }} {{ end }}", want: "a.b=dotted direction=inbound "},
		"values of variables":                 {query: "{{ range variables }}{{ . }} {{ end }}", want: "dotted inbound "},
		"with":                                {query: "{{ with variables.direction }}{{ . }}{{ end }}", want: "inbound"},
		"no template at all":                  {query: "up", want: "up"},

		"a dot and a capital":        {query: `x{ns="{{ .Namespace }}"}`, wantError: "{{ .Namespace }}: write {{ namespace }}, without the dot"},
		"a dot":                      {query: "{{ .target }}", wantError: "{{ .target }}: write {{ target }}, without the dot"},
		"a capital":                  {query: "{{ Namespace }}", wantError: "{{ Namespace }}: write {{ namespace }}, in small letters"},
		"a dotted variable":          {query: "{{ .variables.direction }}", wantError: "write {{ variables.direction }}, without the dot"},
		"an unknown dotted one":      {query: "{{ .Values.x }}", wantError: "{{ .Values.x }} is not a variable: there are ingress, interval, name, namespace, route, service, target, variables, version, workload, without a dot"},
		"an unknown one":             {query: "{{ cluster }}", wantError: "{{ cluster }} is not a variable: there are ingress, interval, name, namespace, route, service, target, variables"},
		"one in a pipe":              {query: "{{ cluster | printf `%q` }}", wantError: "{{ cluster }} is not a variable"},
		"one in parentheses":         {query: "{{ printf `%s` (print .Name) }}", wantError: "write {{ name }}"},
		"one in a condition":         {query: "{{ if .Target }}x{{ end }}", wantError: "write {{ target }}"},
		"one in an else":             {query: "{{ if target }}x{{ else }}{{ .Target }}{{ end }}", wantError: "write {{ target }}"},
		"the dot itself":             {query: "{{ . }}", wantError: "{{ . }} has no value"},
		"a text with parts":          {query: "{{ target.name }}", wantError: "target is a text and has no parts"},
		"a variable with parts":      {query: "{{ variables.a.b }}", wantError: `write {{ index variables "a.b" }}`},
		"a Go variable that is none": {query: "{{ $x }}", wantError: `undefined variable "$x"`},
		"not closed":                 {query: "{{ name ", wantError: "query: 1: unclosed action"},
		"no end":                     {query: "{{ if name }}", wantError: "unexpected EOF"},
		"another template":           {query: `{{ template "x" }}`, wantError: "{{ template }} is not for queries"},
		"a definition":               {query: `{{ define "x" }}{{ end }}up`, wantError: "{{ define }} and {{ block }} are not for queries"},
		"a loop for ever":            {query: "{{ range 1000000000000 }}{{ end }}", wantError: "only {{ range variables }} is for queries"},
		"loops in loops":             {query: "{{ range variables }}{{ range variables }}{{ end }}{{ end }}", wantError: "only {{ range variables }}"},
		"a loop for ever, hidden":    {query: "{{ range or 9000000000000000000 variables }}{{ end }}", wantError: "only {{ range variables }} is for queries"},
		"too long":                   {query: `{{ printf "%900d" 1 }}` + strings.Repeat("x", 65000), wantError: "longer than 65536 bytes"},
		"a wide text":                {query: `{{ len (printf "%1000000d" 1) }}`, wantError: "3 digits at most"},
		"a precise text":             {query: `{{ printf "%.1000000f" 1.0 }}`, wantError: "3 digits at most"},
		"a width from elsewhere":     {query: `{{ printf "%[1]*d" 1000000 }}`, wantError: "3 digits at most"},
		"a text that doubles": {
			query: `{{ $x := "0123456789" }}` + strings.Repeat("{{ $x = print $x $x }}", 40) + "{{ len $x }}", wantError: "more than 262144 bytes",
		},
		"wrong use of a function": {query: "{{ name 1 }}", wantError: "wrong number of args"},
	} {
		t.Run(name, func(t *testing.T) {
			parsed, err := Parse(tc.query)
			var got string
			if err == nil {
				got, err = parsed.Render(vars)
			}
			switch {
			case tc.wantError == "":
				if err != nil {
					t.Fatal(err)
				}
			case !Is(err) || !strings.Contains(err.Error(), tc.wantError):
				t.Fatalf("error %v", err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		query, wantError string
		wantVariables    []string
	}{
		"variables of Canaries":  {query: "{{ variables.b }} {{ variables.a }} {{ if variables.b }}{{ end }}", wantVariables: []string{"a", "b"}},
		"empty":                  {query: " \n", wantError: "the query is empty"},
		"fails with any values":  {query: "{{ index name 99 }}", wantError: "out of range"},
		"no variable, one query": {query: "up"},
	} {
		t.Run(name, func(t *testing.T) {
			parsed, err := Parse(tc.query)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parsed.Check("test"); tc.wantError == "" && err != nil || tc.wantError != "" && (!Is(err) || !strings.Contains(err.Error(), tc.wantError)) {
				t.Errorf("error %v", err)
			}
			if d := cmp.Diff(tc.wantVariables, parsed.Variables()); d != "" && len(tc.wantVariables) > 0 {
				t.Error(d)
			}
		})
	}
}
