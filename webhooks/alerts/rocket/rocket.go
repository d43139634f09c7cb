// Package rocket sends alerts to an incoming integration of Rocket.Chat
// (https://docs.rocket.chat/docs/integrations, https://developer.rocket.chat/apidocs/post-message). It does not tell what
// it wrote, so it has no threads.
package rocket

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

// Bounds of what is sent: Rocket.Chat takes messages of 5000 characters by default.
const (
	maxText  = 3000
	maxField = 1000
	maxLinks = 5
)

const defaultUsername = "sluice"

// Payload is what is posted. Channel is left out where the integration's own is meant.
type Payload struct {
	Channel     string       `json:"channel,omitempty"`
	Username    string       `json:"username,omitempty"`
	Text        string       `json:"text"`
	Attachments []Attachment `json:"attachments"`
}

// Attachment is a card.
type Attachment struct {
	Color     string  `json:"color"`
	Title     string  `json:"title,omitempty"`
	TitleLink string  `json:"title_link,omitempty"`
	Text      string  `json:"text,omitempty"`
	Timestamp string  `json:"ts,omitempty"`
	Fields    []Field `json:"fields,omitempty"`
}

// Field is a fact on a card.
type Field struct {
	Short bool   `json:"short"`
	Title string `json:"title"`
	Value string `json:"value"`
}

type sender struct {
	poster            *alerts.Poster
	channel, username string
}

// New gives a Sender to the integration at the address.
func New(r alerts.Receiver, kit alerts.Kit) (alerts.Sender, error) {
	poster, err := alerts.NewPoster(r, kit)
	if err != nil {
		return nil, err
	}
	if r.Username == "" {
		r.Username = defaultUsername
	}
	if r.Channel != "" && !strings.ContainsAny(r.Channel[:1], "#@") {
		r.Channel = "#" + r.Channel
	}
	return &sender{poster: poster, channel: r.Channel, username: r.Username}, nil
}

// Send writes a message.
func (s *sender) Send(ctx context.Context, m alerts.Message) error {
	answer, err := s.poster.Post(ctx, Build(m, s.channel, s.username), nil)
	if err != nil {
		return err
	}
	var said struct {
		Success *bool `json:"success"`
	}
	if json.Unmarshal(answer, &said) == nil && said.Success != nil && !*said.Success {
		return alerts.Permanent(s.poster.To(), errors.New("the integration did not take the message"))
	}
	return nil
}

// Build is a message as Rocket.Chat wants it.
func Build(m alerts.Message, channel, username string) Payload {
	a := Attachment{Color: colors[m.Alert.Severity], Text: escape(alerts.Cut(m.TextWithRepeats(), maxText))}
	if !m.Alert.Time.IsZero() {
		a.Timestamp = m.Alert.Time.UTC().Format(time.RFC3339)
	}
	for _, f := range m.Fields {
		a.Fields = append(a.Fields, Field{Short: f.Short, Title: f.Name, Value: escape(alerts.Cut(f.Value, maxField))})
	}
	for i, l := range m.Links[:min(len(m.Links), maxLinks)] {
		if i == 0 {
			a.Title, a.TitleLink = l.Name, l.URL
			continue
		}
		a.Text += "\n[" + escape(l.Name) + "](" + strings.NewReplacer("(", "%28", ")", "%29").Replace(l.URL) + ")"
	}
	return Payload{Channel: channel, Username: username, Text: escape(m.Title), Attachments: []Attachment{a}}
}

var colors = map[v1beta1.AlertSeverity]string{
	v1beta1.SeverityInfo: "#2eb67d", v1beta1.SeverityWarn: "#ecb22e", v1beta1.SeverityError: "#e01e5a",
}

// escape keeps what is special to Rocket.Chat's Markdown from being taken for it, and an @all from calling all: a word
// joiner, which nobody sees, parts the two.
func escape(s string) string {
	return strings.NewReplacer(`*`, `\*`, `_`, `\_`, `~`, `\~`, "`", "\\`", "@", "@\u2060").Replace(s)
}
