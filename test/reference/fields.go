package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// kind is one of ours.
type kind struct {
	name, crd string
	of        reflect.Type
	about     string // pages with more words on it
}

func kinds() []kind {
	return []kind{
		{"Canary", "flagger.app_canaries", reflect.TypeFor[v1beta1.Canary](), "[How a release goes](../rollout.md), [strategies](../strategies.md), [analysis](../analysis.md), [hooks](../hooks.md)"},
		{"MetricTemplate", "flagger.app_metrictemplates", reflect.TypeFor[v1beta1.MetricTemplate](), "[Templates](../analysis.md#templates), [metrics servers](../metric-providers.md)"},
		{"AlertProvider", "flagger.app_alertproviders", reflect.TypeFor[v1beta1.AlertProvider](), "[Alerts](../alerts.md)"},
		{"CanaryAction", "sluice.dev_canaryactions", reflect.TypeFor[v1alpha1.CanaryAction](), "[Taking a hand in a release](../actions.md)"},
		{"ReleasePolicy", "sluice.dev_releasepolicies", reflect.TypeFor[v1alpha1.ReleasePolicy](), "[Release policies](../policies.md)"},
		{"ClusterReleasePolicy", "sluice.dev_clusterreleasepolicies", reflect.TypeFor[v1alpha1.ClusterReleasePolicy](), "[Release policies](../policies.md)"},
	}
}

// schema is the part of a CRD that is said of a field.
type schema = apiextensionsv1.JSONSchemaProps

// page is that of a kind while it is written.
type page struct {
	out      strings.Builder
	comments comments
	examples []map[string]any
	sections map[reflect.Type]string // the path of the section that has a type already
	lacks    []string                // fields without an example
}

func kindPage(k kind, c comments) (string, error) {
	text, err := os.ReadFile(filepath.Join("charts/sluice/crds", k.crd+".yaml")) //nolint:gosec // of the repository
	if err != nil {
		return "", err
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(text, &crd); err != nil {
		return "", err
	}
	p := &page{comments: c, sections: map[reflect.Type]string{}}
	file := strings.ToLower(k.name) + ".yaml"
	if p.examples, err = documents(filepath.Join(folder, "examples", file)); err != nil {
		return "", err
	}
	version := crd.Spec.Versions[0]
	fmt.Fprintf(&p.out, "# %s\n\n%s", k.name, note)
	fmt.Fprintf(&p.out, "`apiVersion: %s/%s`, `kind: %s`\n\n", crd.Spec.Group, version.Name, k.name)
	fmt.Fprintf(&p.out, "%s\n\nMore: %s. The examples are parts of [these manifests](examples/%s), which a test applies.\n\n", c.of(k.of), k.about, file)
	for _, part := range []string{"spec", "status"} {
		field, _ := k.of.FieldByName(strings.ToUpper(part[:1]) + part[1:])
		s := version.Schema.OpenAPIV3Schema.Properties[part]
		p.section(part, field.Type, &s)
	}
	if len(p.lacks) > 0 {
		return "", fmt.Errorf("no example in %s of: %s", file, strings.Join(p.lacks, ", "))
	}
	return strings.TrimRight(p.out.String(), "\n") + "\n", nil
}

// documents are those of a file.
func documents(file string) ([]map[string]any, error) {
	f, err := os.Open(file) //nolint:gosec // of the repository
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var out []map[string]any
	decoder := utilyaml.NewYAMLOrJSONDecoder(f, 4096)
	for {
		var doc map[string]any
		if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if doc != nil {
			out = append(out, doc)
		}
	}
}

// section writes the table of a struct, and then the sections of those in it.
func (p *page) section(path string, t reflect.Type, s *schema) {
	p.sections[t] = path
	fmt.Fprintf(&p.out, "## %s\n\n", path)
	about := p.comments.of(t)
	if rest, ok := strings.CutPrefix(about, t.Name()+" "); ok {
		about = code(path) + " " + rest
	}
	if about != "" {
		p.out.WriteString(about + "\n\n")
	}
	for _, rule := range s.XValidations {
		p.out.WriteString("- " + sentence(rule.Message) + "\n")
	}
	if len(s.XValidations) > 0 {
		p.out.WriteString("\n")
	}
	head(&p.out, "field", "type", "what it is", "example")
	type below struct {
		path string
		of   reflect.Type
		s    *schema
	}
	var inner []below
	for _, f := range fieldsOf(t) {
		is, known := s.Properties[f.json]
		if !known {
			continue
		}
		at := path + "." + f.json
		of, deep, suffix := structIn(f.Type, &is)
		kind := typeOf(f.Type, &is)
		rules := is
		if of != nil {
			rules.XValidations = nil // they stand above its own table
		}
		text := p.comments.field(f.owner, f.Name, f.json) + bounds(&rules, slices.Contains(s.Required, f.json))
		example := p.example(at)
		switch {
		case of == nil:
		case p.sections[of] != "":
			text += fmt.Sprintf(" Its fields are those of [%s](#%s).", p.sections[of], anchor(p.sections[of]))
			example = ""
		default:
			at += suffix
			p.sections[of] = at
			inner = append(inner, below{at, of, deep})
			kind = fmt.Sprintf("[%s](#%s)", kind, anchor(at))
			example = ""
		}
		row(&p.out, code(f.json), kind, text, code(example))
	}
	p.out.WriteString("\n")
	for _, b := range inner {
		p.section(b.path, b.of, b.s)
	}
}

// field is one of a struct, or of one that is embedded in it.
type field struct {
	reflect.StructField

	json  string
	owner reflect.Type
}

func fieldsOf(t reflect.Type) []field {
	var out []field
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && strings.Contains(options, "inline"):
			out = append(out, fieldsOf(f.Type)...)
		case name != "" && name != "-":
			out = append(out, field{f, name, t})
		}
	}
	return out
}

// structIn is the struct of ours that a type is, points to, or has many of, and its schema; nil for none.
func structIn(t reflect.Type, s *schema) (reflect.Type, *schema, string) {
	suffix := ""
	for {
		switch kind := t.Kind(); {
		case kind == reflect.Pointer:
			t = t.Elem()
		case kind == reflect.Slice && s.Items != nil && s.Items.Schema != nil:
			t, s, suffix = t.Elem(), s.Items.Schema, suffix+"[]"
		case kind == reflect.Struct && strings.HasPrefix(t.PkgPath(), "github.com/sluice-delivery/sluice/api") && len(s.Properties) > 0:
			return t, s, suffix
		default:
			return nil, nil, ""
		}
	}
}

// typeOf names a type as people write it.
func typeOf(t reflect.Type, s *schema) string {
	switch {
	case s.XIntOrString:
		return "integer or string"
	case s.Type == "array" && s.Items != nil && s.Items.Schema != nil:
		return "list of " + typeOf(t, s.Items.Schema) + "s"
	case s.Type == "object" && s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
		return "map to " + typeOf(t, s.AdditionalProperties.Schema) + "s"
	case s.Format == "date-time":
		return "time"
	case s.Type == "":
		return "any"
	}
	return s.Type
}

// bounds say what of a field is allowed, beyond its type.
func bounds(s *schema, required bool) string {
	var all []string
	if required {
		all = append(all, "Required.")
	}
	if s.Default != nil {
		all = append(all, "Default: "+code(string(s.Default.Raw))+".")
	}
	one := s
	if s.Items != nil && s.Items.Schema != nil {
		one = s.Items.Schema
	}
	if values := enum(one); values != "" {
		all = append(all, "One of "+values+".")
	}
	if s.Minimum != nil || s.Maximum != nil {
		all = append(all, between(s.Minimum, s.Maximum))
	}
	for _, bound := range []struct {
		max  *int64
		what string
	}{{s.MaxItems, "items"}, {s.MaxProperties, "keys"}} {
		if bound.max != nil {
			all = append(all, fmt.Sprintf("At most %d %s.", *bound.max, bound.what))
		}
	}
	for _, rule := range s.XValidations {
		all = append(all, sentence(rule.Message))
	}
	if len(all) == 0 {
		return ""
	}
	return " " + strings.Join(all, " ")
}

func enum(s *schema) string {
	var values []string
	for _, v := range s.Enum {
		if text := strings.Trim(string(v.Raw), `"`); text != "" {
			values = append(values, code(text))
		}
	}
	return strings.Join(values, ", ")
}

func between(from, to *float64) string {
	switch {
	case from == nil:
		return fmt.Sprintf("At most %v.", *to)
	case to == nil:
		return fmt.Sprintf("At least %v.", *from)
	}
	return fmt.Sprintf("%v to %v.", *from, *to)
}

// example is the shortest value of a field among the examples, on one line; a field without one is remembered.
func (p *page) example(path string) string {
	best := ""
	for _, doc := range p.examples {
		for _, value := range valuesAt(doc, strings.Split(path, ".")) {
			text := flow(value)
			if best == "" || len(text) < len(best) {
				best = text
			}
		}
	}
	if best == "" {
		p.lacks = append(p.lacks, path)
	}
	return best
}

// valuesAt are the values at a path, of each item of the lists on the way.
func valuesAt(value any, path []string) []any {
	if len(path) == 0 {
		return []any{value}
	}
	name, list := strings.CutSuffix(path[0], "[]")
	object, _ := value.(map[string]any)
	inner, there := object[name]
	if !there {
		return nil
	}
	if !list {
		return valuesAt(inner, path[1:])
	}
	var out []any
	items, _ := inner.([]any)
	for _, item := range items {
		out = append(out, valuesAt(item, path[1:])...)
	}
	return out
}

// flow writes a value as YAML does on one line.
func flow(value any) string {
	switch value := value.(type) {
	case map[string]any:
		var parts []string
		for _, key := range slices.Sorted(maps.Keys(value)) {
			parts = append(parts, flow(key)+": "+flow(value[key]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		var parts []string
		for _, item := range value {
			parts = append(parts, flow(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case string:
		var back any
		if err := yaml.Unmarshal([]byte("["+value+"]"), &back); err == nil && reflect.DeepEqual(back, []any{value}) {
			return value
		}
		text, _ := json.Marshal(value)
		return string(text)
	}
	text, _ := json.Marshal(value)
	return string(text)
}

// anchor is that of a heading.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		}
		return -1
	}, heading)
}

// sentence begins with a capital, unless it begins with the name of a field, and ends with a full stop.
func sentence(text string) string {
	text = strings.TrimSpace(text)
	first, _, _ := strings.Cut(text, " ")
	if strings.ToLower(first) == first && !strings.ContainsAny(first, "[].") && text != "" {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	if text != "" && !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}
