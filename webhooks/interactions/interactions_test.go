package interactions

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/webhooks/interactions/interactionstest"
)

func TestRead(t *testing.T) {
	good := interactionstest.Press{Team: "T1", User: "U1", Name: "al", Block: Block, Value: "v", Answer: "https://hooks.slack.com/x"}
	other := good
	other.Block = "of another part of the message"
	now := time.Now()
	for name, tc := range map[string]struct {
		press  interactionstest.Press
		secret string
		at     time.Time
		change func([]byte) []byte
		want   error
	}{
		"a press":               {press: good, secret: "s", at: now},
		"another secret":        {press: good, secret: "x", at: now, want: ErrSignature},
		"an old one, recorded":  {press: good, secret: "s", at: now.Add(-6 * time.Minute), want: ErrSignature},
		"changed on the way":    {press: good, secret: "s", at: now, change: func(b []byte) []byte { return append(b, 'x') }, want: ErrSignature},
		"something else there":  {press: other, secret: "s", at: now, want: ErrOther},
		"one from the future":   {press: good, secret: "s", at: now.Add(6 * time.Minute), want: ErrSignature},
		"without any signature": {press: good, at: now, want: ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := interactionstest.Request(t.Context(), "http://localhost/", tc.secret, tc.at, tc.press)
			if err != nil {
				t.Fatal(err)
			}
			if tc.secret == "" {
				r.Header.Del("X-Slack-Signature")
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			if tc.change != nil {
				body = tc.change(body)
			}
			got, err := Read(r.Header, body, "s")
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if err == nil && (got.Team != "T1" || got.User != "U1" || got.UserName != "al" || got.Value != "v" || got.Answer != good.Answer) {
				t.Errorf("got %+v", got)
			}
		})
	}
}
