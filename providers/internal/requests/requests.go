// Package requests reads which requests a spec means, in the words that specs have for it: Istio's.
package requests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// Match is one of several alternatives: a request fits when all of its conditions hold.
type Match struct {
	// Field is where the spec has it.
	Field string
	// Path is the condition on the path, nil for none.
	Path *Value
	// Headers and Params are the conditions on headers and on parameters of the query, sorted by their names.
	Headers, Params []Named
}

// Named is a condition on a header or a parameter.
type Named struct {
	// Name is the header's or the parameter's.
	Name string
	Value
}

// Value is a condition on a text. One of its fields is set; without any the text only has to be there.
type Value struct {
	Exact  string `json:"exact,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	Suffix string `json:"suffix,omitempty"`
	Regex  string `json:"regex,omitempty"`
}

// String says it for people.
func (v Value) String() string {
	switch {
	case v.Exact != "":
		return "exact: " + v.Exact
	case v.Prefix != "":
		return "prefix: " + v.Prefix
	case v.Suffix != "":
		return "suffix: " + v.Suffix
	default:
		return "regex: " + v.Regex
	}
}

// Expression is a regular expression that fits the whole of each text for which the condition holds.
func (v Value) Expression() string {
	switch {
	case v.Exact != "":
		return regexp.QuoteMeta(v.Exact)
	case v.Prefix != "":
		return regexp.QuoteMeta(v.Prefix) + ".*"
	case v.Suffix != "":
		return ".*" + regexp.QuoteMeta(v.Suffix)
	case v.Regex != "":
		return v.Regex
	default:
		return ".*"
	}
}

func (v Value) several() bool {
	n := 0
	for _, one := range []string{v.Exact, v.Prefix, v.Suffix, v.Regex} {
		if one != "" {
			n++
		}
	}
	return n > 1
}

// raw is Istio's HTTPMatchRequest as far as the routers that read it can express it.
type raw struct {
	Name        string           `json:"name"`
	StatPrefix  string           `json:"statPrefix"`
	URI         *Value           `json:"uri"`
	Headers     map[string]Value `json:"headers"`
	QueryParams map[string]Value `json:"queryParams"`
}

// Read reads the matches of a field of the spec. The errors are *providers.UnsupportedError, in the name of router, and
// *providers.InvalidError.
func Read(router, field string, specs []v1beta1.RawObject) ([]Match, error) {
	var out []Match
	for i := range specs {
		m, err := read(router, fmt.Sprintf("%s[%d]", field, i), specs[i].Raw)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func read(router, field string, spec []byte) (Match, error) {
	out := Match{Field: field}
	var r raw
	d := json.NewDecoder(bytes.NewReader(spec))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return out, &providers.UnsupportedError{
			Router: router, Field: field, Why: fmt.Sprintf("it tells requests apart by uri, headers and queryParams only (%v)", err),
		}
	}
	if r.URI != nil {
		out.Path = r.URI
		if out.Path.several() || out.Path.Suffix != "" || *out.Path == (Value{}) {
			return out, &providers.InvalidError{Field: field + ".uri", Value: out.Path.String(), Allowed: "one of exact, prefix and regex"}
		}
	}
	for _, of := range []struct {
		name string
		from map[string]Value
		to   *[]Named
	}{{"headers", r.Headers, &out.Headers}, {"queryParams", r.QueryParams, &out.Params}} {
		for _, name := range slices.Sorted(maps.Keys(of.from)) {
			v := of.from[name]
			if v.several() {
				return out, &providers.InvalidError{Field: field + "." + of.name + "." + name, Value: v.String(), Allowed: "one of exact, prefix, suffix and regex"}
			}
			*of.to = append(*of.to, Named{Name: name, Value: v})
		}
	}
	if out.Path == nil && len(out.Headers) == 0 && len(out.Params) == 0 {
		return out, &providers.InvalidError{Field: field, Value: string(spec), Allowed: "at least one condition"}
	}
	return out, nil
}
