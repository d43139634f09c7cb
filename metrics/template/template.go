// Package template renders the queries of MetricTemplates. Their language is
// that of Go's text/template with one function for each variable, as Flagger
// has it: {{ namespace }}, {{ variables.direction }}.
package template

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	texttemplate "text/template"
)

// maxQuery is how many bytes a rendered query may have. A longer one fits into
// no request.
const maxQuery = 64 << 10

// Error says what is wrong with a template, or with the values for it. It stays
// so until somebody changes one of them.
type Error struct{ Message string }

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Is reports whether err is an [*Error].
func Is(err error) bool {
	var e *Error
	return errors.As(err, &e)
}

// Vars are the values of a template's variables.
type Vars struct {
	// Name and Namespace are the Canary's.
	Name, Namespace string
	// Target is the workload that is released.
	Target string
	// Service is the apex service.
	Service string
	// Ingress and Route are what the Canary refers to, the target's name without.
	Ingress, Route string
	// Interval is the time span of the check, in the language of the metric provider.
	Interval string
	// Workload is the workload of the version that the query is about, and Version the version: canary or primary.
	Workload, Version string
	// Variables are the check's own.
	Variables map[string]string
	// Quoting keeps the values of Variables from becoming a part of the query; nil takes them as they are.
	Quoting *Quoting
}

// values are the functions that give the variables.
func (v Vars) values() texttemplate.FuncMap {
	text := func(s string) func() string { return func() string { return s } }
	return texttemplate.FuncMap{
		"name": text(v.Name), "namespace": text(v.Namespace), "target": text(v.Target), "service": text(v.Service),
		"ingress": text(v.Ingress), "route": text(v.Route), "interval": text(v.Interval),
		"workload": text(v.Workload), "version": text(v.Version),
		"variables": func() map[string]string { return v.Variables },
	}
}

// functions are all that one rendering has, of the language itself too where it makes texts.
func (v Vars) functions() texttemplate.FuncMap {
	out := (&budget{left: maxMade}).functions()
	maps.Copy(out, v.values())
	return out
}

// Names are the variables of templates, sorted.
func Names() []string { return slices.Sorted(maps.Keys(Vars{}.values())) }

// Template is a query with variables. It may be used by many at once.
type Template struct {
	source    string
	parsed    *texttemplate.Template
	variables []string
}

// Parse reads a template. What is wrong with it is an [*Error] that names the
// place and what is allowed.
func Parse(query string) (*Template, error) {
	variables, err := inspect(query)
	if err != nil {
		return nil, err
	}
	parsed, err := texttemplate.New("query").Option("missingkey=error").Funcs(Vars{}.functions()).Funcs(withoutKeep).Parse(query)
	if err != nil {
		return nil, &Error{syntax(err)}
	}
	if parsed.Tree != nil { // an empty query has none
		keepValues(parsed.Root)
	}
	return &Template{source: query, parsed: parsed, variables: variables}, nil
}

// Variables are the keys of templateVariables that the template names, sorted.
func (t *Template) Variables() []string { return slices.Clone(t.variables) }

// Missing are those of [Template.Variables] for which there is no value.
func (t *Template) Missing(values map[string]string) []string {
	var out []string
	for _, name := range t.variables {
		if _, ok := values[name]; !ok {
			out = append(out, name)
		}
	}
	return out
}

// Render gives the query for these values. The error is an [*Error].
func (t *Template) Render(v Vars) (string, error) {
	if missing := t.Missing(v.Variables); len(missing) > 0 {
		return "", &Error{fmt.Sprintf("templateVariables has no value for %s, which the query of the template needs", strings.Join(missing, ", "))}
	}
	parsed, err := t.parsed.Clone() // the functions are the values
	if err != nil {
		return "", &Error{syntax(err)}
	}
	var out strings.Builder
	at := newPosition(plain)
	if v.Quoting != nil {
		at = newPosition(languageOf(v.Quoting.Provider, t.source))
	}
	functions := texttemplate.FuncMap{keep: v.Quoting.keeper(at)}
	if err := parsed.Funcs(v.functions()).Funcs(functions).Execute(&bounded{&out, at}, nil); err != nil {
		return "", &Error{syntax(err)}
	}
	return out.String(), nil
}

// Check renders the template once with made-up values for a Canary of a namespace, so that what can never
// work is known before a release needs it, and gives the query.
func (t *Template) Check(namespace string) (string, error) {
	values := map[string]string{}
	for _, name := range t.variables {
		values[name] = "value"
	}
	query, err := t.Render(Vars{
		Name: "podinfo", Namespace: namespace, Target: "podinfo", Service: "podinfo", Ingress: "podinfo", Route: "podinfo",
		Interval: "1m", Variables: values,
	})
	if err != nil {
		return "", err
	}
	if strings.TrimSpace(query) == "" {
		return "", &Error{"the query is empty"}
	}
	return query, nil
}

var errTooLong = fmt.Errorf("the query is longer than %d bytes", maxQuery)

// bounded takes no more than maxQuery bytes, and knows where in the query they end.
type bounded struct {
	*strings.Builder
	at *position
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxQuery {
		return 0, errTooLong
	}
	b.at.write(string(p))
	return b.Builder.Write(p)
}
