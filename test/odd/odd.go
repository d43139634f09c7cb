// Package odd makes objects that a definition of a kind may let pass and nobody expects: each field of it, one at a time, with
// values at the ends of what its type can be, or of another type.
package odd

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// Set is values by the type that a schema has for a field.
type Set map[string][]any

// Few are those by which most is found in a short time.
var Few = Set{
	"integer": {int64(1 << 31)}, "number": {nil}, "date-time": {"2026-01-01t00:00:00z"}, "string": {""},
	"array": {[]any{nil}}, "object": {nil, map[string]any{}}, "any": {"x", []any{nil}},
}

// All are all values.
var All = Set{
	"integer":   {int64(1 << 31), int64(-1<<31 - 1), int64(1 << 53), 1e19, 1e30, 1.5, int64(0), int64(-1), nil},
	"number":    {1e300, -1.5, nil},
	"boolean":   {"true", int64(1), nil},
	"date-time": {"2026-01-01T00:00:00Z", "2026-01-01t00:00:00z", "2026-01-01T00:00:00.123456789Z", "2026-01-01T00:00:00+01:00", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-01-01T23:59:60Z", "2026-02-30T00:00:00Z", "0000-01-01T00:00:00Z", "", nil},
	"string":    {"", "x", int64(1), nil},
	"array":     {nil, []any{}, []any{nil}, map[string]any{}},
	"object":    {nil, map[string]any{}, []any{}, map[string]any{"": nil}},
	"any":       {nil, "x", 1.5, 1e30, int64(1 << 31), []any{}, []any{nil}, map[string]any{}, true},
}

// Values calls with with each value of a part of an object, of which a schema is given: odd ones, of a set, of the part itself and of
// all fields below it, whose path they come with. The rest of the part is as in base or, where that is nil, as little as the schema
// allows. Not all of them are taken by the API server.
func (s Set) Values(path string, of apiextensionsv1.JSONSchemaProps, base any, with func(path string, v any)) {
	for _, v := range s[typeOf(of)] {
		with(path, v)
	}
	if base == nil {
		base = Least(of)
	}
	fields, _ := base.(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(of.Properties)) {
		s.Values(path+"."+key, of.Properties[key], fields[key], func(path string, v any) {
			whole := maps.Clone(fields)
			if whole == nil {
				whole = map[string]any{}
			}
			whole[key] = v
			with(path, whole)
		})
	}
	if of.Items != nil && of.Items.Schema != nil {
		s.Values(path+"[]", *of.Items.Schema, nil, func(path string, v any) { with(path, []any{v}) })
	}
	if of.AdditionalProperties != nil && of.AdditionalProperties.Schema != nil {
		s.Values(path+"{}", *of.AdditionalProperties.Schema, nil, func(path string, v any) { with(path, map[string]any{"a": v}) })
	}
}

func typeOf(s apiextensionsv1.JSONSchemaProps) string {
	switch {
	case s.Format == "date-time":
		return s.Format
	case s.XIntOrString || s.Type == "":
		return "any"
	default:
		return s.Type
	}
}

// Least is a value with no more than a schema asks for.
func Least(s apiextensionsv1.JSONSchemaProps) any {
	if len(s.Enum) > 0 {
		var v any
		_ = json.Unmarshal(s.Enum[0].Raw, &v) // it is from a definition that was applied
		return v
	}
	switch typeOf(s) {
	case "integer":
		return int64(1)
	case "number":
		return 1.0
	case "boolean":
		return true
	case "date-time":
		return "2026-01-01T00:00:00.000000Z"
	case "string":
		for _, v := range []string{"a", "1m", "/a", "http://example.com", "UTC", "00:00"} {
			if matches, err := regexp.MatchString(s.Pattern, v); err == nil && matches {
				return v
			}
		}
		return "a"
	case "array":
		if s.MinItems != nil && *s.MinItems > 0 {
			return []any{Least(*s.Items.Schema)}
		}
		return []any{}
	default:
		out := map[string]any{}
		for _, key := range s.Required {
			out[key] = Least(s.Properties[key])
		}
		return out
	}
}

// specs are valid ones of our own kinds.
var specs = map[string]string{
	"Canary": `{"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "service": {"port": 80},
		"analysis": {"interval": "1m", "threshold": 2, "stepWeight": 10, "maxWeight": 50}}`,
	"MetricTemplate":       `{"provider": {"type": "prometheus", "address": "http://prometheus"}, "query": "up"}`,
	"AlertProvider":        `{"type": "slack", "address": "http://slack"}`,
	"CanaryAction":         `{"canary": "web", "action": "Pause"}`,
	"ReleasePolicy":        `{"maxConcurrent": 1}`,
	"ClusterReleasePolicy": `{"maxConcurrent": 1}`,
}

// Spec is a valid one of a kind of ours, nil for other kinds.
func Spec(kind string) map[string]any {
	if specs[kind] == "" {
		return nil
	}
	var out map[string]any
	if err := json.Unmarshal([]byte(specs[kind]), &out); err != nil {
		panic(err) // it stands above
	}
	return whole(out).(map[string]any)
}

// whole has integers for numbers that are, as objects from the API server have them.
func whole(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = whole(v[key])
		}
	case []any:
		for i := range v {
			v[i] = whole(v[i])
		}
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	}
	return v
}
