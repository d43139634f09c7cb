// Package slack sends alerts to Slack, by an incoming webhook or as a bot.
//
// A bot (https://docs.slack.dev/reference/methods/chat.postMessage) makes one thread of a release: its first message
// begins the thread, the others reply to it, and what people must not miss is shown in the channel too. An incoming
// webhook (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks) does not tell what it wrote, so it
// has no threads.
package slack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/slack-go/slack"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
	"github.com/sluice-delivery/sluice/webhooks/interactions"
)

const (
	// method is the end of the address of a bot.
	method = "chat.postMessage"
	// defaultAPI is the address of a bot for whom none is given.
	defaultAPI = "https://slack.com/api/" + method
	// defaultChannel is where a bot writes that is told nothing else. A webhook has a channel of its own.
	defaultChannel = "general"
	// defaultUsername is who writes.
	defaultUsername = "sluice"
)

// Bounds of what is sent. Slack cuts, or refuses, far longer texts; nobody reads these.
const (
	maxText    = 3000
	maxField   = 1000
	maxButtons = 5
)

// New gives a Sender to Slack: as a bot when there is a token and the address is that of chat.postMessage or empty, else
// by the incoming webhook at the address.
func New(r alerts.Receiver, kit alerts.Kit) (alerts.Sender, error) {
	if r.Username == "" {
		r.Username = defaultUsername
	}
	if r.Token != "" && r.Address == "" {
		r.Address = defaultAPI
	}
	if r.Token == "" || !isAPI(r.Address) {
		poster, err := alerts.NewPoster(r, kit)
		if err != nil {
			return nil, err
		}
		return &webhook{poster: poster, channel: r.Channel, username: r.Username, interactive: r.Interactive}, nil
	}
	return newBot(r, kit)
}

func isAPI(address string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasSuffix(u.Path, "/"+method)
}

// webhook writes by an incoming webhook.
type webhook struct {
	poster            *alerts.Poster
	channel, username string
	interactive       bool
}

// Send writes a message.
func (w *webhook) Send(ctx context.Context, m alerts.Message) error {
	_, err := w.poster.Post(ctx, &slack.WebhookMessage{
		Channel: w.channel, Username: w.username, Text: interactions.Escape(m.Title), Attachments: attachments(m, w.interactive),
	}, nil)
	return err
}

// bot writes with a bot's token.
type bot struct {
	client            *slack.Client
	to                string
	place             string
	channel, username string
	interactive       bool
	threads           *alerts.Threads
}

func newBot(r alerts.Receiver, kit alerts.Kit) (alerts.Sender, error) {
	if _, err := alerts.NewPoster(r, kit); err != nil { // what it refuses is refused here too
		return nil, err
	}
	client, err := kit.Client(r)
	if err != nil {
		return nil, err
	}
	if r.Channel == "" {
		r.Channel = defaultChannel
	}
	if kit.Threads == nil {
		kit.Threads = alerts.NewThreads()
	}
	// Two workspaces may have a channel of the same name.
	workspace := sha256.Sum256([]byte(r.Token))
	return &bot{
		client:   slack.New(r.Token, slack.OptionAPIURL(strings.TrimSuffix(r.Address, method)), slack.OptionHTTPClient(client)),
		to:       alerts.Redact(r.Address),
		place:    strings.Join([]string{r.Address, hex.EncodeToString(workspace[:]), r.Channel}, " "),
		channel:  r.Channel,
		username: r.Username,
		threads:  kit.Threads,

		interactive: r.Interactive,
	}, nil
}

// Send writes a message into the thread of its release, which it begins if there is none.
func (b *bot) Send(ctx context.Context, m alerts.Message) error {
	release := m.Alert.Release
	parent := ""
	if release != "" {
		parent = b.threads.Get(b.place, release)
	}
	ts, err := b.post(ctx, m, parent)
	if parent != "" && threadIsGone(err) {
		b.threads.Put(b.place, release, "")
		parent = ""
		ts, err = b.post(ctx, m, parent)
	}
	if err != nil {
		return b.classify(err)
	}
	if release != "" && parent == "" {
		b.threads.Put(b.place, release, ts)
	}
	return nil
}

func (b *bot) post(ctx context.Context, m alerts.Message, parent string) (ts string, err error) {
	options := []slack.MsgOption{
		slack.MsgOptionText(interactions.Escape(m.Title), false),
		slack.MsgOptionAttachments(attachments(m, b.interactive)...),
		slack.MsgOptionUsername(b.username),
		slack.MsgOptionDisableLinkUnfurl(),
	}
	if parent != "" {
		options = append(options, slack.MsgOptionTS(parent))
		if m.Alert.Final || m.Alert.Severity == v1beta1.SeverityError {
			options = append(options, slack.MsgOptionBroadcast())
		}
	}
	_, ts, err = b.client.PostMessageContext(ctx, b.channel, options...)
	return ts, err
}

// threadIsGone tells whether the thread was deleted, or can't be replied to.
func threadIsGone(err error) bool {
	var refused slack.SlackErrorResponse
	return errors.As(err, &refused) && slices.Contains([]string{"thread_not_found", "message_not_found", "cannot_reply_to_message"}, refused.Err)
}

// passing are the errors that say nothing about the message, by the reference of chat.postMessage. The others need a
// person: a token that was revoked, a channel that the bot is not in.
var passing = []string{"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout", "message_limit_exceeded", "team_added_to_org"}

func (b *bot) classify(err error) error {
	out := &alerts.SendError{To: b.to, Err: alerts.WithoutURL(err)}
	var limited *slack.RateLimitedError
	var status slack.StatusCodeError
	var refused slack.SlackErrorResponse
	switch {
	case errors.As(err, &limited):
		out.RetryAfter = limited.RetryAfter
	case errors.As(err, &status):
		out.Permanent = !status.Retryable()
	case errors.As(err, &refused):
		out.Permanent = !slices.Contains(passing, refused.Err)
	}
	return out
}

// Attachment is a message as an attachment, which has a colour and fields, in the look that Flagger's users know
// (https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments). Nothing in it is taken for
// markup.
func Attachment(m alerts.Message) slack.Attachment {
	out := slack.Attachment{
		Color:      colors[m.Alert.Severity],
		Fallback:   interactions.Escape(m.Title),
		AuthorName: m.Alert.Name + "." + m.Alert.Namespace,
		Text:       interactions.Escape(alerts.Cut(m.TextWithRepeats(), maxText)),
		MarkdownIn: []string{},
	}
	if !m.Alert.Time.IsZero() {
		out.Ts = json.Number(strconv.FormatInt(m.Alert.Time.Unix(), 10))
	}
	for _, f := range m.Fields {
		out.Fields = append(out.Fields, slack.AttachmentField{Title: f.Name, Value: interactions.Escape(alerts.Cut(f.Value, maxField)), Short: f.Short})
	}
	for _, l := range m.Links[:min(len(m.Links), maxButtons)] {
		out.Actions = append(out.Actions, slack.AttachmentAction{Type: "button", Text: l.Name, URL: l.URL})
	}
	return out
}

// attachments are a message, and below it what a person can do about it where that reaches the operator.
func attachments(m alerts.Message, interactive bool) []slack.Attachment {
	out := []slack.Attachment{Attachment(m)}
	if !interactive || len(m.Alert.Choices) == 0 {
		return out
	}
	var buttons []slack.BlockElement
	for i, c := range m.Alert.Choices {
		style := slack.StylePrimary
		if c.Dangerous {
			style = slack.StyleDanger
		}
		confirm := slack.NewConfirmationBlockObject(plain(c.Name), plain(alerts.Cut(c.Question, maxQuestion)), plain(c.Name), plain("Cancel")).WithStyle(style)
		buttons = append(buttons, slack.NewButtonBlockElement(interactions.Block+"-"+strconv.Itoa(i), c.Value, plain(c.Name)).WithStyle(style).WithConfirm(confirm))
	}
	return append(out, slack.Attachment{
		Color: colors[m.Alert.Severity], Fallback: interactions.Escape(m.Title),
		Blocks: slack.Blocks{BlockSet: []slack.Block{slack.NewActionBlock(interactions.Block, buttons...)}},
	})
}

// maxQuestion is how long Slack lets the text of a confirmation be.
const maxQuestion = 300

func plain(text string) *slack.TextBlockObject {
	return slack.NewTextBlockObject(slack.PlainTextType, text, false, false)
}

var colors = map[v1beta1.AlertSeverity]string{
	v1beta1.SeverityInfo: "good", v1beta1.SeverityWarn: "warning", v1beta1.SeverityError: "danger",
}
