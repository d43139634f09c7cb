// Package discord sends alerts to a webhook of Discord as embeds
// (https://docs.discord.com/developers/resources/webhook#execute-webhook). An address that ends in /slack, as Flagger
// makes it, is taken for the webhook itself.
package discord

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

const defaultUsername = "sluice"

// Bounds that Discord documents, in characters.
const (
	maxUsername    = 80
	maxTitle       = 256
	maxDescription = 2048 // 4096 are allowed, and 6000 for everything
	maxFields      = 25
	maxName        = 256
	maxValue       = 1024
	maxEmbed       = 6000
	maxLinks       = 5
)

// Payload is what is posted.
type Payload struct {
	Username        string          `json:"username"`
	Embeds          []Embed         `json:"embeds"`
	AllowedMentions AllowedMentions `json:"allowed_mentions"`
}

// AllowedMentions says who may be pinged by a message: nobody.
type AllowedMentions struct {
	Parse []string `json:"parse"`
}

// Embed is a card.
type Embed struct {
	Title       string  `json:"title"`
	Description string  `json:"description,omitempty"`
	URL         string  `json:"url,omitempty"`
	Timestamp   string  `json:"timestamp,omitempty"`
	Color       int     `json:"color"`
	Fields      []Field `json:"fields,omitempty"`
}

// Field is a fact on a card.
type Field struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Inline bool   `json:"inline"`
}

type sender struct {
	poster   *alerts.Poster
	username string
}

// New gives a Sender to the webhook at the address. The channel is the webhook's own.
func New(r alerts.Receiver, kit alerts.Kit) (alerts.Sender, error) {
	u, err := url.Parse(r.Address)
	if err != nil {
		return nil, alerts.Permanent(r.Type, errors.New("address: not a URL")) // the parser's message would repeat it
	}
	u.Path = strings.TrimSuffix(u.Path, "/slack")
	query := u.Query()
	query.Set("wait", "true") // else a message that is not taken is no error
	u.RawQuery = query.Encode()
	r.Address = u.String()
	poster, err := alerts.NewPoster(r, kit)
	if err != nil {
		return nil, err
	}
	if r.Username == "" {
		r.Username = defaultUsername
	}
	return &sender{poster: poster, username: alerts.Cut(r.Username, maxUsername)}, nil
}

// Send writes a message.
func (s *sender) Send(ctx context.Context, m alerts.Message) error {
	_, err := s.poster.Post(ctx, Build(m, s.username), nil)
	return err
}

// Build is a message as Discord wants it.
func Build(m alerts.Message, username string) Payload {
	e := Embed{
		Title:       alerts.Cut(escape(m.Title), maxTitle),
		Description: alerts.Cut(escape(m.TextWithRepeats()), maxDescription),
		Color:       colors[m.Alert.Severity],
	}
	for i, l := range m.Links[:min(len(m.Links), maxLinks)] {
		if i == 0 {
			e.URL = l.URL
		}
		e.Description += "\n[" + escape(l.Name) + "](" + strings.NewReplacer("(", "%28", ")", "%29").Replace(l.URL) + ")"
	}
	if !m.Alert.Time.IsZero() {
		e.Timestamp = m.Alert.Time.UTC().Format(time.RFC3339)
	}
	room := maxEmbed - length(e.Title) - length(e.Description)
	for _, f := range m.Fields[:min(len(m.Fields), maxFields)] {
		field := Field{Name: alerts.Cut(f.Name, maxName), Value: alerts.Cut(escape(f.Value), maxValue), Inline: f.Short}
		if room -= length(field.Name) + length(field.Value); room < 0 {
			break
		}
		e.Fields = append(e.Fields, field)
	}
	return Payload{Username: username, Embeds: []Embed{e}, AllowedMentions: AllowedMentions{Parse: []string{}}}
}

// length is that of a text as Discord may count it at most: in UTF-16 units.
func length(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r > 0xFFFF {
			n++
		}
	}
	return n
}

var colors = map[v1beta1.AlertSeverity]int{
	v1beta1.SeverityInfo: 0x2EB67D, v1beta1.SeverityWarn: 0xECB22E, v1beta1.SeverityError: 0xE01E5A,
}

// escape keeps what is special to Discord's Markdown from being taken for it.
func escape(s string) string {
	return strings.NewReplacer(
		`\`, `\\`, "*", `\*`, "_", `\_`, "~", `\~`, "`", "\\`", "|", `\|`, "[", `\[`, "]", `\]`, "<", `\<`, "#", `\#`,
	).Replace(s)
}
