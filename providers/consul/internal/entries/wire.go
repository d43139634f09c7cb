package entries

import (
	"encoding/json"
	"maps"
	"strings"

	"github.com/hashicorp/consul/api"
)

// Wire is an entry as it is sent: to where it is to be.
type Wire struct {
	Entry

	Scope Scope
}

// MarshalJSON implements json.Marshaler.
func (w Wire) MarshalJSON() ([]byte, error) {
	out := map[string]any{"Kind": w.Kind, "Name": w.Name}
	maps.Copy(out, w.Body)
	if len(w.Meta) > 0 {
		out["Meta"] = w.Meta
	}
	if w.Scope.Partition != "" {
		out["Partition"] = w.Scope.Partition
	}
	if w.Scope.Namespace != "" {
		out["Namespace"] = w.Scope.Namespace
	}
	return json.Marshal(out)
}

// GetKind implements api.ConfigEntry.
func (w Wire) GetKind() string { return w.Kind }

// GetName implements api.ConfigEntry.
func (w Wire) GetName() string { return w.Name }

// GetPartition implements api.ConfigEntry.
func (w Wire) GetPartition() string { return w.Scope.Partition }

// GetNamespace implements api.ConfigEntry.
func (w Wire) GetNamespace() string { return w.Scope.Namespace }

// GetMeta implements api.ConfigEntry.
func (w Wire) GetMeta() map[string]string { return w.Meta }

// GetCreateIndex implements api.ConfigEntry.
func (Wire) GetCreateIndex() uint64 { return 0 }

// GetModifyIndex implements api.ConfigEntry.
func (w Wire) GetModifyIndex() uint64 { return w.Index }

var _ api.ConfigEntry = Wire{}

// Scope is where entries are: an admin partition and a namespace, both empty
// where Consul has none.
type Scope struct{ Partition, Namespace string }

// String implements fmt.Stringer.
func (s Scope) String() string {
	parts := []string{"default", "default"}
	if s.Partition != "" {
		parts[0] = s.Partition
	}
	if s.Namespace != "" {
		parts[1] = s.Namespace
	}
	return strings.Join(parts, "/")
}
