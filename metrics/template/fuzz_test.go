package template

import (
	"strings"
	"testing"
)

// FuzzParse renders templates that anybody may write: it ends, and what is too long is refused.
func FuzzParse(f *testing.F) {
	for _, query := range []string{
		"up", "{{ name }}", `x{a="{{ variables.v }}"}[{{ interval }}]`, `{{ if eq variables.v "a" }}b{{ else }}c{{ end }}`,
		"{{ range $k, $v := variables }}{{ $k }}={{ $v }},{{ end }}", `{{ printf "%0999d%q" 1 target }}`, "{{ $x := name }}{{ $x = print $x $x }}{{ $x }}",
		"{{ with variables.v }}{{ . }}{{ end }}", "{{ slice name 1 2 | urlquery | js | html }}", "{{ index variables `v` }}", "{{ and or not name }}", "{{/* c */}}",
	} {
		f.Add(query, `a"b`, "prometheus")
	}
	f.Fuzz(func(t *testing.T, query, value, provider string) {
		parsed, err := Parse(query)
		if err != nil {
			if !Is(err) {
				t.Fatalf("error %T", err)
			}
			return
		}
		for _, quoting := range []*Quoting{nil, {Provider: provider}, {Provider: provider, OnlyPlain: true}} {
			out, err := parsed.Render(Vars{Name: "a", Target: "b", Variables: map[string]string{"v": value}, Quoting: quoting})
			if err != nil && !Is(err) || len(out) > maxQuery {
				t.Fatalf("%d bytes, error %T", len(out), err)
			}
		}
	})
}

// FuzzQuoting puts any value where a name stands in a query: what is text, comment or expression of the query stays so.
func FuzzQuoting(f *testing.F) {
	for _, value := range []string{
		"a", `a"b`, `a'b`, `a\`, `\"`, "a`b", "a\nb", "${x}", "$", "{", "--", "/*", "*/", "//", "#", `a"}) or vector(1) #`, "..", "%27", "&b=c", "~\"",
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for provider := range languages {
			for _, query := range []string{
				`x("{{ variables.v }}", 'b') y`, `x('{{ variables.v }}', "b") y`, "x(`{{ variables.v }}`, 'b') y", `x({{ variables.v }}, "b") y`,
				"# {{ variables.v }}\ny", "-- {{ variables.v }}\ny", "/* {{ variables.v }} */ y", "// {{ variables.v }}\ny",
				`from(bucket: "{{ variables.v }}{x}${r["a"]}") |> y()`, `from(bucket: "b") |> y(fn: (r) => r.a =~ /{{ variables.v }}/ and "c")`,
				`x("a{{ variables.v }}{{ variables.v }}") y`,
			} {
				parsed, err := Parse(query)
				if err != nil {
					t.Fatal(err)
				}
				quoting := &Quoting{Provider: provider, OnlyPlain: true}
				got, err := parsed.Render(Vars{Variables: map[string]string{"v": value}, Quoting: quoting})
				if err != nil {
					continue
				}
				g, same, w := shape(provider, query, got), false, ""
				// Where no quotes are around it, a value may be one text in quotes of its own.
				for _, name := range []string{"name", `"name"`, "'name'", "`name`"} {
					want, err := parsed.Render(Vars{Variables: map[string]string{"v": name}, Quoting: quoting})
					if err != nil || name != "name" && (len(value) < 2 || value[0] != name[0] || value[len(value)-1] != name[0]) {
						continue
					}
					w = shape(provider, query, want)
					same = same || g == w
				}
				if !same {
					t.Errorf("%s: %q made\n%s of shape %s, want %s", provider, value, got, g, w)
				}
			}
		}
	})
}

// shape is what a query has but for the content of its texts and comments, and but for names.
func shape(provider, query, rendered string) string {
	at := newPosition(languageOf(provider, query))
	var out strings.Builder
	for i := range len(rendered) {
		bare, depth := at.bare(), len(at.modes)
		at.step(rendered[i])
		switch {
		case len(at.modes) != depth:
			out.WriteByte(at.mode())
		case bare && strings.IndexByte("(){}[],;|&=<>'\"`\\ \n\t*+!?#$^", rendered[i]) >= 0:
			out.WriteByte(rendered[i])
		}
	}
	return out.String()
}
