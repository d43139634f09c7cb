package v1beta1

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// RawObject is a JSON object kept byte for byte: a piece of another API (Istio's, Gateway API's) inside ours.
//
// It is not decoded with the Canary on purpose. A typed field would drop what its Go type does not know yet, and
// one object that a typed field cannot decode would make every list of Canaries fail.
//
// +kubebuilder:validation:Type=object
// +kubebuilder:pruning:PreserveUnknownFields
type RawObject struct {
	// Raw is the object's JSON; empty means an empty object.
	Raw json.RawMessage `json:"-"`
}

// MarshalJSON returns the object as it came in, or {} if there is none.
func (o RawObject) MarshalJSON() ([]byte, error) {
	if len(o.Raw) == 0 {
		return []byte("{}"), nil
	}
	return o.Raw, nil
}

// UnmarshalJSON keeps a copy of data.
func (o *RawObject) UnmarshalJSON(data []byte) error {
	if bytes.Equal(data, []byte("null")) {
		o.Raw = nil
		return nil
	}
	o.Raw = bytes.Clone(data)
	return nil
}

// Decode reads the object into a pointer, as json.Unmarshal does. A nil or empty object leaves into as it is.
func (o *RawObject) Decode(into any) error {
	if o == nil || len(o.Raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(o.Raw, into); err != nil {
		return fmt.Errorf("decode %T: %w", into, err)
	}
	return nil
}
