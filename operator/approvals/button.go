package approvals

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/alerting"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/view"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

// button is what one button of one message does.
type button struct {
	// Namespace and Name are those of the Canary.
	Namespace string `json:"n"`
	Name      string `json:"c"`
	// Release and Revision say what is meant.
	Release  string `json:"r"`
	Revision string `json:"v"`
	// Gate is the one that the message is about, and Since when it was found closed, in microseconds.
	Gate  v1beta1.HookType `json:"g"`
	Since int64            `json:"s"`
	// Action is what is done.
	Action v1beta1.ActionType `json:"a"`
}

// key is what buttons are sealed with. It is not the signing secret itself, so that nothing that Slack has signed passes for
// a seal.
func key(secret string) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("sluice.dev/button/v1"))
	return mac.Sum(nil)
}

// seal makes the value of a button, which nobody else can make: whoever may write to the channel by the same bot could
// otherwise have people approve what they do not see.
func (b button) seal(secret string) (string, error) {
	raw, err := json.Marshal(b)
	if err != nil {
		return "", fmt.Errorf("seal a button: %w", err)
	}
	mac := hmac.New(sha256.New, key(secret))
	mac.Write(raw)
	return base64.RawURLEncoding.EncodeToString(raw) + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), nil
}

// errSeal is for a button that this operator did not make.
var errSeal = errors.New("the button is none of this operator's, or was made with another signing secret")

// unseal reads what seal has made.
func unseal(text, secret string) (button, error) {
	var b button
	body, sum, _ := strings.Cut(text, ".")
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return b, errSeal
	}
	got, err := base64.RawURLEncoding.DecodeString(sum)
	if err != nil {
		return b, errSeal
	}
	mac := hmac.New(sha256.New, key(secret))
	mac.Write(raw)
	if !hmac.Equal(mac.Sum(nil), got) {
		return b, errSeal
	}
	if err := json.Unmarshal(raw, &b); err != nil {
		return b, errSeal
	}
	return b, nil
}

// Choices makes the buttons of an alert about a gate; none for any other.
func Choices(secret string) func(*v1beta1.Canary, alerts.Alert) []alerts.Choice {
	return func(c *v1beta1.Canary, a alerts.Alert) []alerts.Choice {
		gate := c.Status.Gate
		if a.Reason != release.ReasonGateClosed || gate == nil {
			return nil
		}
		var out []alerts.Choice
		for _, x := range []alerts.Choice{
			{Name: "Approve", Question: fmt.Sprintf("Open the %s gate of %s/%s for revision %s?", gate.Type, c.Namespace, c.Name, c.Status.LastAppliedSpec)},
			{Name: "Abort", Question: fmt.Sprintf("Roll back the release of %s/%s, revision %s?", c.Namespace, c.Name, c.Status.LastAppliedSpec), Dangerous: true},
		} {
			b := button{
				Namespace: c.Namespace, Name: c.Name, Release: alerting.Release(c, &c.Status), Revision: c.Status.LastAppliedSpec,
				Gate: gate.Type, Since: gate.Since.UnixMicro(), Action: v1beta1.ActionType(x.Name),
			}
			value, err := b.seal(secret)
			if err != nil {
				return nil
			}
			x.Value = value
			out = append(out, x)
		}
		return out
	}
}

// stale says why a button does no longer mean what its message has said; empty where it does.
func (b button) stale(c *v1beta1.Canary) string {
	if alerting.Release(c, &c.Status) != b.Release {
		return "the message is about an earlier release"
	}
	if gate := c.Status.Gate; b.Action == v1beta1.ActionApprove && (gate == nil || gate.Type != b.Gate || gate.Since.UnixMicro() != b.Since) {
		return "the release does not wait at this gate any more"
	}
	if !slices.Contains(view.Possible(c), b.Action) {
		return string(b.Action) + " is not possible any more"
	}
	return ""
}
