package consul

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// Keys of the Meta of config entries.
const (
	// ourMeta begins all that are ours.
	ourMeta = "sluice.dev/"
	// canaryMeta is on every entry that we write and names its Canary, NAMESPACE/NAME.
	canaryMeta = "sluice.dev/canary"
	// originalMeta and a number from 0 are the keys of what a user's entry was.
	originalMeta = "sluice.dev/original."
	// warmingMeta says since when proxies are told of the primary, before it gets
	// any request.
	warmingMeta = "sluice.dev/warming"
	// sourceMeta is "kubernetes" on entries that consul-k8s manages, and puts back.
	sourceMeta = "external-source"
)

// Bounds of Meta, which every Consul server enforces.
const (
	metaPairs = 64
	metaValue = 512
)

// key names a config entry within a scope.
type key struct{ kind, name string }

// entry is a config entry as its JSON: what this version of Consul's types does
// not know is kept.
type entry struct {
	key

	// body has no Kind, Name, Partition, Namespace, Meta and indexes.
	body map[string]any
	meta map[string]string
	// index is the entry's ModifyIndex, 0 where it is not there.
	index uint64
}

// entries are those of a scope.
type entries map[key]entry

// notBody are the keys that every entry has.
var notBody = []string{"Kind", "Name", "Partition", "Namespace", "Meta", "CreateIndex", "ModifyIndex", "Hash"}

// read turns an entry as the server gives it into ours.
func read(raw map[string]any) (entry, error) {
	e := entry{body: maps.Clone(raw), meta: map[string]string{}}
	e.kind, _ = raw["Kind"].(string)
	e.name, _ = raw["Name"].(string)
	number, ok := raw["ModifyIndex"].(json.Number)
	if e.kind == "" || e.name == "" || !ok {
		return entry{}, fmt.Errorf("a config entry of Consul without Kind, Name or ModifyIndex: %v", raw["Kind"])
	}
	var err error
	if e.index, err = strconv.ParseUint(number.String(), 10, 64); err != nil {
		return entry{}, fmt.Errorf("config entry %s %s: ModifyIndex: %w", e.kind, e.name, err)
	}
	meta, _ := raw["Meta"].(map[string]any)
	for k, v := range meta {
		e.meta[k], _ = v.(string)
	}
	for _, k := range notBody {
		delete(e.body, k)
	}
	e.body, _ = prune(e.body).(map[string]any)
	return e, nil
}

// entryOf is one of Consul's types as an entry.
func entryOf(of api.ConfigEntry) (entry, error) {
	encoded, err := json.Marshal(of)
	if err != nil {
		return entry{}, fmt.Errorf("encode %s %s: %w", of.GetKind(), of.GetName(), err)
	}
	body, err := decodeBody(encoded)
	if err != nil {
		return entry{}, fmt.Errorf("%s %s: %w", of.GetKind(), of.GetName(), err)
	}
	return entry{key: key{of.GetKind(), of.GetName()}, body: body}, nil
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

// into decodes the body into one of Consul's types.
func (e entry) into(of any) error {
	if len(e.body) == 0 {
		return nil
	}
	encoded, err := json.Marshal(e.body)
	if err == nil {
		err = json.Unmarshal(encoded, of)
	}
	if err != nil {
		return fmt.Errorf("decode %s %s: %w", e.kind, e.name, err)
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

// same tells whether two entries say the same.
func same(a, b entry) bool {
	if len(a.meta)+len(b.meta) > 0 && !maps.Equal(a.meta, b.meta) {
		return false
	}
	return bytes.Equal(canonical(a.body), canonical(b.body))
}

// canonical is JSON in which equal values have equal bytes.
func canonical(body map[string]any) []byte {
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

// canaryName is how entries name a Canary.
func canaryName(c *v1beta1.Canary) string { return c.Namespace + "/" + c.Name }

func (e entry) isOurs(c *v1beta1.Canary) bool {
	return e.index > 0 && e.meta[canaryMeta] == canaryName(c)
}

// foreign is a *providers.ConflictError for an entry that we must not write.
func (e entry) foreign(c *v1beta1.Canary, scope scope) error {
	var owner string
	switch of := e.meta[canaryMeta]; {
	case e.index == 0 || of == canaryName(c):
		return nil
	case of != "":
		owner = "Canary " + of
	case e.meta[sourceMeta] == "kubernetes":
		owner = "consul-k8s, by a resource in Kubernetes, which is to be deleted first"
	default:
		return nil
	}
	return &providers.ConflictError{Kind: "Consul's " + e.kind, Namespace: scope.show(), Name: e.name, Owner: owner}
}

// owned returns the entry as the Canary's. What a user had there before is kept
// in it.
func (e entry) owned(c *v1beta1.Canary, live entry) (entry, error) {
	e.meta = map[string]string{canaryMeta: canaryName(c)}
	for k, v := range live.meta {
		// What others note there is theirs.
		if strings.HasPrefix(k, originalMeta) || !strings.HasPrefix(k, ourMeta) {
			e.meta[k] = v
		}
	}
	if live.index == 0 || live.isOurs(c) {
		return e, nil
	}
	encoded, err := json.Marshal(original{Body: live.body, Meta: live.meta})
	if err != nil {
		return entry{}, fmt.Errorf("encode what %s %s was: %w", e.kind, e.name, err)
	}
	for i := 0; len(encoded) > 0; i++ {
		n := min(metaValue, len(encoded))
		for n < len(encoded) && n > 1 && encoded[n]&0xC0 == 0x80 { // not within a character
			n--
		}
		e.meta[originalMeta+strconv.Itoa(i)] = string(encoded[:n])
		encoded = encoded[n:]
	}
	if len(e.meta) > metaPairs-1 { // one is for warmingMeta
		return entry{}, &providers.InvalidError{
			Field: "Consul's " + e.kind + " " + e.name, Value: fmt.Sprintf("%d parts", len(e.meta)),
			Allowed: "it is too large to be kept until it is given back; delete it, or make it smaller",
		}
	}
	return e, nil
}

// original is what a user's entry was.
type original struct {
	Body map[string]any    `json:"body,omitempty"`
	Meta map[string]string `json:"meta,omitempty"`
}

// users is what the user has by this key: the entry itself, or what it was before
// we took it over. It is false where there is none.
func (e entry) users(c *v1beta1.Canary) (entry, bool, error) {
	if e.index == 0 {
		return entry{key: e.key}, false, nil
	}
	if !e.isOurs(c) {
		return e, true, nil
	}
	var encoded strings.Builder
	for i := 0; ; i++ {
		part, ok := e.meta[originalMeta+strconv.Itoa(i)]
		if !ok {
			break
		}
		encoded.WriteString(part)
	}
	if encoded.Len() == 0 {
		return entry{key: e.key}, false, nil
	}
	was := original{}
	d := json.NewDecoder(strings.NewReader(encoded.String()))
	d.UseNumber()
	if err := d.Decode(&was); err != nil {
		return entry{}, false, &providers.InvalidError{
			Field: "Consul's " + e.kind + " " + e.name + ": Meta[" + originalMeta + "0]", Value: encoded.String()[:min(40, encoded.Len())],
			Allowed: "only the operator writes it; if it is lost, remove it: " + err.Error(),
		}
	}
	return entry{key: e.key, body: was.Body, meta: was.Meta, index: e.index}, true, nil
}

// wire is an entry as it is sent.
type wire struct {
	entry
	scope scope
}

func (w wire) MarshalJSON() ([]byte, error) {
	out := map[string]any{"Kind": w.kind, "Name": w.name}
	maps.Copy(out, w.body)
	if len(w.meta) > 0 {
		out["Meta"] = w.meta
	}
	if w.scope.partition != "" {
		out["Partition"] = w.scope.partition
	}
	if w.scope.namespace != "" {
		out["Namespace"] = w.scope.namespace
	}
	return json.Marshal(out)
}

func (w wire) GetKind() string            { return w.kind }
func (w wire) GetName() string            { return w.name }
func (w wire) GetPartition() string       { return w.scope.partition }
func (w wire) GetNamespace() string       { return w.scope.namespace }
func (w wire) GetMeta() map[string]string { return w.meta }
func (w wire) GetCreateIndex() uint64     { return 0 }
func (w wire) GetModifyIndex() uint64     { return w.index }

var _ api.ConfigEntry = wire{}

// scope is where entries are: an admin partition and a namespace, both empty
// where Consul has none.
type scope struct{ partition, namespace string }

// of is where a Canary's services are: as its annotations say, else s.
func (s scope) of(c *v1beta1.Canary) scope {
	return scope{
		namespace: cmp.Or(c.Annotations[NamespaceAnnotation], s.namespace),
		partition: cmp.Or(c.Annotations[PartitionAnnotation], s.partition),
	}
}

func (s scope) show() string {
	parts := []string{"default", "default"}
	if s.partition != "" {
		parts[0] = s.partition
	}
	if s.namespace != "" {
		parts[1] = s.namespace
	}
	return strings.Join(parts, "/")
}
