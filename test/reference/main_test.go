package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// The pages are as the code has it.
func TestUpToDate(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	if err := run(true); err != nil {
		t.Error(err)
	}
}

// Every field of a kind has a row: as many as the schema of its spec has names on its first level.
func TestFields(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	for _, k := range kinds() {
		page, err := os.ReadFile(filepath.Join(folder, strings.ToLower(k.name)+".md"))
		if err != nil {
			t.Fatal(err)
		}
		spec, _ := k.of.FieldByName("Spec")
		for _, f := range fieldsOf(spec.Type) {
			if !strings.Contains(string(page), "\n| `"+f.json+"` | ") {
				t.Errorf("the page of %s has no row for %s", k.name, f.json)
			}
		}
	}
}

func TestFlow(t *testing.T) {
	for want, value := range map[string]any{
		`{a: 1, b: [x, "true", "1.5"]}`: map[string]any{"b": []any{"x", "true", "1.5"}, "a": 1},
		`"a: b"`:                        "a: b",
		`""`:                            "",
		`https://x:9090`:                "https://x:9090",
		`"{{ x }}"`:                     "{{ x }}",
		`false`:                         false,
	} {
		if got := flow(value); got != want {
			t.Errorf("%v: %s, want %s", value, got, want)
		}
	}
}

func TestValuesAt(t *testing.T) {
	doc := map[string]any{"a": map[string]any{"b": []any{map[string]any{"c": 1}, map[string]any{"d": 2}, map[string]any{"c": 3}}}}
	for path, want := range map[string][]any{
		"a.b[].c": {1, 3},
		"a.b[].e": nil,
		"a.x":     nil,
		"x.y":     nil,
	} {
		if got := valuesAt(doc, strings.Split(path, ".")); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"how much":                       "How much.",
		"stepWeights must grow":          "stepWeights must grow.",
		"ingressRef.name must be a name": "ingressRef.name must be a name.",
		"":                               "",
	} {
		if got := sentence(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for heading, want := range map[string]string{"spec.analysis.metrics[]": "specanalysismetrics", "Conditions and events": "conditions-and-events"} {
		if got := anchor(heading); got != want {
			t.Errorf("%q: %q, want %q", heading, got, want)
		}
	}
	if got, want := asFlags("as NAME=http://x/{{ .Name }}, or $HOME, with -a-flag"), "as `NAME=http://x/{{ .Name }}`, or `$HOME`, with `-a-flag`"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
