// Package interactions reads what Slack sends when somebody presses a button of a message, and answers it
// (https://docs.slack.dev/interactivity/handling-user-interaction).
package interactions

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/slack-go/slack"
)

// Block is the id of the block with the buttons: it goes from the message once one of them has done what it says.
const Block = "sluice-choices"

// ErrSignature is for a request that Slack did not sign with the secret, or not within five minutes.
var ErrSignature = errors.New("the request is not signed by Slack")

// Press is a button that somebody has pressed.
type Press struct {
	// Team is the id of the workspace, User that of who has pressed, and UserName their name there.
	Team, User, UserName string
	// Value is that of the button.
	Value string
	// Answer is the URL to which an answer may be sent, five times within half an hour. It is a secret.
	Answer string

	message slack.Message
}

// Read reads the body of a request, whose header says who has signed it. ErrSignature is for one that the secret does not
// belong to; other errors are for what is no press of a button.
func Read(header http.Header, body []byte, secret string) (Press, error) {
	verifier, err := slack.NewSecretsVerifier(header, secret)
	if err != nil {
		return Press{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if _, err := verifier.Write(body); err != nil {
		return Press{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if err := verifier.Ensure(); err != nil {
		return Press{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return Press{}, fmt.Errorf("the body is no form: %w", err)
	}
	var sent slack.InteractionCallback
	if err := json.Unmarshal([]byte(form.Get("payload")), &sent); err != nil {
		return Press{}, fmt.Errorf("payload: %w", err)
	}
	actions := sent.ActionCallback.BlockActions
	if sent.Type != slack.InteractionTypeBlockActions || len(actions) != 1 || actions[0].BlockID != Block {
		return Press{}, fmt.Errorf("%w: %s", ErrOther, sent.Type)
	}
	return Press{
		Team: sent.Team.ID, User: sent.User.ID, UserName: sent.User.Name, Value: actions[0].Value,
		Answer: sent.ResponseURL, message: sent.Message,
	}, nil
}

// ErrOther is for what Slack sends that is no press of one of the buttons.
var ErrOther = errors.New("no button of a message")

// Done is the message without its buttons, and with what came of the one that was pressed.
func (p Press) Done(text string) *slack.WebhookMessage {
	kept := slices.DeleteFunc(slices.Clone(p.message.Attachments), func(a slack.Attachment) bool {
		return slices.ContainsFunc(a.Blocks.BlockSet, func(b slack.Block) bool { return b.ID() == Block })
	})
	return &slack.WebhookMessage{
		ReplaceOriginal: true, Text: p.message.Text,
		Attachments: append(kept, slack.Attachment{Text: Escape(text), Fallback: Escape(text), MarkdownIn: []string{}}),
	}
}

// Refused tells the one who has pressed, and nobody else, why nothing was done.
func (p Press) Refused(text string) *slack.WebhookMessage {
	return &slack.WebhookMessage{ResponseType: slack.ResponseTypeEphemeral, Text: Escape(text), ThreadTimestamp: p.message.ThreadTimestamp}
}

// Escape keeps what is special to Slack from being taken for a link or a mention.
func Escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
