package entries

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// Keys of the Meta of config entries.
const (
	// ourMeta begins all that are ours.
	ourMeta = "sluice.dev/"
	// CanaryMeta is on every entry that we write and names its Canary, NAMESPACE/NAME.
	CanaryMeta = "sluice.dev/canary"
	// originalMeta and a number from 0 are the keys of what a user's entry was.
	originalMeta = "sluice.dev/original."
	// WarmingMeta says since when proxies are told of the primary, before it gets
	// any request.
	WarmingMeta = "sluice.dev/warming"
	// sourceMeta is "kubernetes" on entries that consul-k8s manages, and puts back.
	sourceMeta = "external-source"
)

// Bounds of Meta, which every Consul server enforces.
const (
	metaPairs = 64
	metaValue = 512
)

// canaryName is how entries name a Canary.
func canaryName(c *v1beta1.Canary) string { return c.Namespace + "/" + c.Name }

// IsOurs tells whether the entry is there and the Canary's.
func (e Entry) IsOurs(c *v1beta1.Canary) bool {
	return e.Index > 0 && e.Meta[CanaryMeta] == canaryName(c)
}

// FromKubernetes tells whether consul-k8s takes care of the entry, and puts it back.
func (e Entry) FromKubernetes() bool { return e.Meta[sourceMeta] == "kubernetes" }

// Foreign is a *providers.ConflictError for an entry that we must not write.
func (e Entry) Foreign(c *v1beta1.Canary, scope Scope) error {
	var owner string
	switch of := e.Meta[CanaryMeta]; {
	case e.Index == 0 || of == canaryName(c):
		return nil
	case of != "":
		owner = "Canary " + of
	case e.FromKubernetes():
		owner = "consul-k8s, by a resource in Kubernetes, which is to be deleted first"
	default:
		return nil
	}
	return &providers.ConflictError{Kind: "Consul's " + e.Kind, Namespace: scope.String(), Name: e.Name, Owner: owner}
}

// Owned returns the entry as the Canary's. What a user had there before is kept
// in it.
func (e Entry) Owned(c *v1beta1.Canary, live Entry) (Entry, error) {
	e.Meta = map[string]string{CanaryMeta: canaryName(c)}
	for k, v := range live.Meta {
		// What others note there is theirs.
		if strings.HasPrefix(k, originalMeta) || !strings.HasPrefix(k, ourMeta) {
			e.Meta[k] = v
		}
	}
	if live.Index == 0 || live.IsOurs(c) {
		return e, nil
	}
	encoded, err := json.Marshal(original{Body: live.Body, Meta: live.Meta})
	if err != nil {
		return Entry{}, fmt.Errorf("encode what %s %s was: %w", e.Kind, e.Name, err)
	}
	for i := 0; len(encoded) > 0; i++ {
		n := min(metaValue, len(encoded))
		for n < len(encoded) && n > 1 && encoded[n]&0xC0 == 0x80 { // not within a character
			n--
		}
		e.Meta[originalMeta+strconv.Itoa(i)] = string(encoded[:n])
		encoded = encoded[n:]
	}
	if len(e.Meta) > metaPairs-1 { // one is for WarmingMeta
		return Entry{}, &providers.InvalidError{
			Field: "Consul's " + e.Kind + " " + e.Name, Value: fmt.Sprintf("%d parts", len(e.Meta)),
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

// Users is what the user has by this key: the entry itself, or what it was before
// we took it over. It is false where there is none.
func (e Entry) Users(c *v1beta1.Canary) (Entry, bool, error) {
	if e.Index == 0 {
		return Entry{Key: e.Key}, false, nil
	}
	if !e.IsOurs(c) {
		return e, true, nil
	}
	var encoded strings.Builder
	for i := 0; ; i++ {
		part, ok := e.Meta[originalMeta+strconv.Itoa(i)]
		if !ok {
			break
		}
		encoded.WriteString(part)
	}
	if encoded.Len() == 0 {
		return Entry{Key: e.Key}, false, nil
	}
	was := original{}
	d := json.NewDecoder(strings.NewReader(encoded.String()))
	d.UseNumber()
	if err := d.Decode(&was); err != nil {
		return Entry{}, false, &providers.InvalidError{
			Field: "Consul's " + e.Kind + " " + e.Name + ": Meta[" + originalMeta + "0]", Value: encoded.String()[:min(40, encoded.Len())],
			Allowed: "only the operator writes it; if it is lost, remove it: " + err.Error(),
		}
	}
	return Entry{Key: e.Key, Body: was.Body, Meta: was.Meta, Index: e.Index}, true, nil
}
