package cli

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var updateSchema = flag.Bool("update", false, "write the schema of what is for programs")

// TestSchema has what programs read stay what it is: testdata/schema.txt has each field of each kind of document with its type in
// JSON. One that is new is added there, with -update; one that is there never changes and never goes.
func TestSchema(t *testing.T) {
	var got []string
	for kind, of := range map[string]any{
		kindRelease: releaseOutput{}, kindList: listOutput{}, "Explanation": whyOutput{}, "History": historyOutput{}, "Checks": checksOutput{}, "Status": statusOutput{},
	} {
		got = append(got, fields(kind, reflect.TypeOf(of))...)
	}
	slices.Sort(got)
	file := filepath.Join("testdata", "schema.txt")
	raw, err := os.ReadFile(file)
	if err != nil && !*updateSchema {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(raw)), "\n")
	for _, line := range want {
		if line != "" && !slices.Contains(got, line) {
			t.Errorf("there is no %s any more, by which programs go", line)
		}
	}
	if *updateSchema {
		if err := os.WriteFile(file, []byte(strings.Join(got, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("%s is new: add it to %s with -update", line, file)
		}
	}
}

// fields are those of a type in JSON, each with its path and its type.
func fields(path string, of reflect.Type) []string {
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	switch {
	case of == reflect.TypeFor[metav1.Time](), of == reflect.TypeFor[metav1.MicroTime]():
		return []string{path + " time"}
	case of.Implements(reflect.TypeFor[json.Marshaler]()):
		return []string{path + " " + of.String()}
	case of.Kind() == reflect.Slice:
		return fields(path+"[]", of.Elem())
	case of.Kind() != reflect.Struct:
		return []string{path + " " + jsonType(of.Kind())}
	}
	var out []string
	for field := range of.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-" || !field.IsExported():
		case name == "" && field.Anonymous:
			out = append(out, fields(path, field.Type)...)
		default:
			at := path + "." + name
			if strings.Contains(options, "omit") {
				at += "?"
			}
			out = append(out, fields(at, field.Type)...)
		}
	}
	return out
}

func jsonType(k reflect.Kind) string {
	if k == reflect.String || k == reflect.Bool {
		return k.String()
	}
	if slices.Contains([]reflect.Kind{reflect.Float64, reflect.Int, reflect.Int32, reflect.Int64}, k) {
		return "number"
	}
	return fmt.Sprintf("unknown (%s)", k)
}
