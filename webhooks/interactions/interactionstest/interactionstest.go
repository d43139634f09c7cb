// Package interactionstest is Slack, as far as it sends what people press.
package interactionstest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Press is what somebody presses.
type Press struct {
	// Team and User are the ids of the workspace and of who presses, Name is their name.
	Team, User, Name string
	// Block and Value are those of the button.
	Block, Value string
	// Answer is the URL for an answer.
	Answer string
	// Message has the button.
	Message any
}

// Request is what Slack sends at a time, signed with a secret.
func Request(ctx context.Context, to, secret string, at time.Time, p Press) (*http.Request, error) {
	payload, err := json.Marshal(map[string]any{
		"type": "block_actions", "team": map[string]string{"id": p.Team}, "user": map[string]string{"id": p.User, "name": p.Name},
		"response_url": p.Answer, "message": p.Message,
		"actions": []any{map[string]any{"type": "button", "block_id": p.Block, "action_id": p.Block + "-0", "value": p.Value}},
	})
	if err != nil {
		return nil, err
	}
	body := url.Values{"payload": {string(payload)}}.Encode()
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "v0:%s:%s", stamp, body)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Slack-Request-Timestamp", stamp)
	r.Header.Set("X-Slack-Signature", "v0="+hex.EncodeToString(mac.Sum(nil)))
	return r, nil
}
