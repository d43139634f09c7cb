package loadtester

import (
	"encoding/json"
	"fmt"
)

// maxName is the longest name that Kubernetes gives an object.
const maxName = 253

// Payload is what a hook sends, as far as the load tester reads it.
type Payload struct {
	// Name and Namespace of the Canary.
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// Metadata of the hook: what is to be run, see Rules.
	Metadata map[string]string `json:"metadata"`

	// known is true where the call is signed by who may act on the Canary.
	known bool
}

func parsePayload(body []byte) (Payload, error) {
	var p Payload
	if err := json.Unmarshal(body, &p); err != nil {
		return p, fmt.Errorf("the payload is not what a hook sends: %w", err)
	}
	if len(p.Name) > maxName || len(p.Namespace) > maxName {
		return p, fmt.Errorf("the payload's name or namespace has more than %d characters", maxName)
	}
	return p, nil
}
