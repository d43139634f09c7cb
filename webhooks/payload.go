package webhooks

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"strconv"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Payload is what a hook is told. The first five fields are Flagger's.
type Payload struct {
	// Name and Namespace of the Canary.
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// Phase is what Flagger tells a hook of this type.
	Phase v1beta1.CanaryPhase `json:"phase"`
	// Checksum tells releases apart: see Checksum.
	Checksum string `json:"checksum"`
	// Metadata is the hook's own, and what an event is about.
	Metadata map[string]string `json:"metadata,omitempty"`

	// StatusPhase is the phase in the status of the Canary.
	StatusPhase v1beta1.CanaryPhase `json:"statusPhase"`
	// Type of the hook.
	Type v1beta1.HookType `json:"type"`
	// CanaryWeight is the percentage of requests that go to the canary.
	CanaryWeight int32 `json:"canaryWeight"`
	// FailedChecks is how many rounds of checks have failed.
	FailedChecks int32 `json:"failedChecks"`
	// Iterations is how many rounds of checks have passed in A/B testing and blue/green.
	Iterations int32 `json:"iterations"`
}

// Keys of the metadata of an event, Flagger's. They win over the hook's own.
const (
	eventMessageKey = "eventMessage"
	eventTypeKey    = "eventType"
	timestampKey    = "timestamp"
)

// phaseFor is the phase that a hook of a type is told. Flagger tells those of an analysis that it goes on, whatever the
// status says by then, and receivers go by it.
func phaseFor(kind v1beta1.HookType, phase v1beta1.CanaryPhase) v1beta1.CanaryPhase {
	switch kind {
	case v1beta1.PreRolloutHook, v1beta1.RolloutHook, v1beta1.ConfirmTrafficIncreaseHook, v1beta1.ConfirmPromotionHook:
		return v1beta1.PhaseProgressing
	case v1beta1.PostRolloutHook:
		if phase != v1beta1.PhaseSucceeded {
			return v1beta1.PhaseFailed // a promotion that has failed goes on here, and ends the release with Flagger
		}
		return phase
	case v1beta1.ConfirmRolloutHook, v1beta1.RollbackHook, v1beta1.EventHook:
		return phase
	default:
		return phase
	}
}

// NewPayload returns what the hook is told of the Canary in that phase.
func NewPayload(c *v1beta1.Canary, phase v1beta1.CanaryPhase, hook *v1beta1.CanaryWebhook) Payload {
	return Payload{
		Name: c.Name, Namespace: c.Namespace, Phase: phaseFor(hook.GetType(), phase), Checksum: Checksum(&c.Status),
		Metadata: maps.Clone(hook.Metadata), StatusPhase: phase, Type: hook.GetType(), CanaryWeight: c.Status.CanaryWeight,
		FailedChecks: c.Status.FailedChecks, Iterations: c.Status.Iterations,
	}
}

// Event returns the payload with an event: its message, its type (Normal or Warning) and when it happened, in
// milliseconds since 1970.
func (p Payload) Event(message, eventType string, at time.Time) Payload {
	metadata := make(map[string]string, len(p.Metadata)+3)
	maps.Copy(metadata, p.Metadata)
	metadata[eventMessageKey] = message
	metadata[eventTypeKey] = eventType
	metadata[timestampKey] = strconv.FormatInt(at.UnixMilli(), 10)
	p.Metadata = metadata
	return p
}

// Checksum is the same for as long as the release and the configs that it goes with are the same. It is opaque: other
// versions compute it differently.
func Checksum(s *v1beta1.CanaryStatus) string {
	configs := map[string]string{}
	if s.TrackedConfigs != nil {
		configs = *s.TrackedConfigs
	}
	// A map and a string are always encoded, and a map's keys in order.
	encoded, _ := json.Marshal([]any{s.LastAppliedSpec, configs})
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:5])
}
