// Package entries has Consul's config entries as data: what one says, whose it is, and how
// what a user had is kept in one of ours until it is given back.
package entries

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"
)

// Key names a config entry within a scope.
type Key struct{ Kind, Name string }

// ProxyDefaults is the key of what holds for all proxies.
var ProxyDefaults = Key{Kind: api.ProxyDefaults, Name: api.ProxyConfigGlobal}

// Entry is a config entry as its JSON: what this version of Consul's types does
// not know is kept.
type Entry struct {
	Key

	// Body has no Kind, Name, Partition, Namespace, Meta and indexes.
	Body map[string]any
	// Meta is what is noted of it, by us and by others.
	Meta map[string]string
	// Index is the entry's ModifyIndex, 0 where it is not there.
	Index uint64
}

// Set are the entries of a scope.
type Set map[Key]Entry

// State changes when one of the entries does.
func (s Set) State() string {
	parts := make([]string, 0, len(s))
	for k, e := range s {
		parts = append(parts, fmt.Sprintf("%s/%s %d", k.Kind, k.Name, e.Index))
	}
	slices.Sort(parts)
	return strings.Join(parts, ";")
}

// Parse reads an entry as a server gives it.
func Parse(encoded []byte) (Entry, error) {
	raw, err := decode(encoded)
	if err != nil {
		return Entry{}, err
	}
	return read(raw)
}

// notBody are the keys that every entry has.
var notBody = []string{"Kind", "Name", "Partition", "Namespace", "Meta", "CreateIndex", "ModifyIndex", "Hash"}

// read turns an entry as the server gives it into ours.
func read(raw map[string]any) (Entry, error) {
	e := Entry{Body: maps.Clone(raw), Meta: map[string]string{}}
	e.Kind, _ = raw["Kind"].(string)
	e.Name, _ = raw["Name"].(string)
	number, ok := raw["ModifyIndex"].(json.Number)
	if e.Kind == "" || e.Name == "" || !ok {
		return Entry{}, fmt.Errorf("a config entry of Consul without Kind, Name or ModifyIndex: %v", raw["Kind"])
	}
	var err error
	if e.Index, err = strconv.ParseUint(number.String(), 10, 64); err != nil {
		return Entry{}, fmt.Errorf("config entry %s %s: ModifyIndex: %w", e.Kind, e.Name, err)
	}
	meta, _ := raw["Meta"].(map[string]any)
	for k, v := range meta {
		e.Meta[k], _ = v.(string)
	}
	for _, k := range notBody {
		delete(e.Body, k)
	}
	e.Body, _ = prune(e.Body).(map[string]any)
	return e, nil
}

// Of is one of Consul's types as an entry.
func Of(of api.ConfigEntry) (Entry, error) {
	encoded, err := json.Marshal(of)
	if err != nil {
		return Entry{}, fmt.Errorf("encode %s %s: %w", of.GetKind(), of.GetName(), err)
	}
	body, err := decodeBody(encoded)
	if err != nil {
		return Entry{}, fmt.Errorf("%s %s: %w", of.GetKind(), of.GetName(), err)
	}
	return Entry{Key: Key{Kind: of.GetKind(), Name: of.GetName()}, Body: body}, nil
}

// decode keeps numbers as they are written.
func decode(encoded []byte) (map[string]any, error) {
	raw := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(encoded))
	d.UseNumber()
	if err := d.Decode(&raw); err != nil {
		return nil, fmt.Errorf("decode a config entry: %w", err)
	}
	return raw, nil
}

func decodeBody(encoded []byte) (map[string]any, error) {
	raw, err := decode(encoded)
	if err != nil {
		return nil, err
	}
	for _, k := range notBody {
		delete(raw, k)
	}
	body, _ := prune(raw).(map[string]any)
	if body == nil {
		body = map[string]any{}
	}
	return body, nil
}

// Into decodes the body into one of Consul's types.
func (e Entry) Into(of any) error {
	if len(e.Body) == 0 {
		return nil
	}
	encoded, err := json.Marshal(e.Body)
	if err == nil {
		err = json.Unmarshal(encoded, of)
	}
	if err != nil {
		return fmt.Errorf("decode %s %s: %w", e.Kind, e.Name, err)
	}
	return nil
}

// prune leaves out what is empty: servers spell some of it out, and which depends
// on their version.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, inner := range v {
			if kept := prune(inner); kept != nil {
				out[k] = kept
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, inner := range v {
			kept := prune(inner)
			if kept == nil { // its place in the list has a meaning
				kept = map[string]any{}
			}
			out = append(out, kept)
		}
		if len(out) == 0 {
			return nil
		}
		return out
	default:
		if isZero(v) {
			return nil
		}
		return v
	}
}

func isZero(v any) bool {
	if number, ok := v.(json.Number); ok {
		f, err := number.Float64()
		return err == nil && f == 0
	}
	return v == nil || v == "" || v == false
}

// Same tells whether two entries say the same.
func Same(a, b Entry) bool {
	if len(a.Meta)+len(b.Meta) > 0 && !maps.Equal(a.Meta, b.Meta) {
		return false
	}
	return bytes.Equal(Canonical(a.Body), Canonical(b.Body))
}

// Canonical is JSON in which equal values have equal bytes.
func Canonical(body map[string]any) []byte {
	encoded, err := json.Marshal(numbers(body))
	if err != nil { // it came from JSON
		return nil
	}
	return encoded
}

// numbers writes 90, 90.0 and 9e1 in one way.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, inner := range v {
			out[k] = numbers(inner)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = numbers(v[i])
		}
		return out
	case json.Number:
		if f, err := v.Float64(); err == nil {
			return f
		}
	}
	return v
}
