// Package gchat sends alerts to an incoming webhook of Google Chat as cards
// (https://developers.google.com/workspace/chat/quickstart/webhooks,
// https://developers.google.com/workspace/chat/api/reference/rest/v1/cards). The thread key makes one thread of a
// release; Google Chat remembers it, so it outlasts this process.
package gchat

import (
	"context"
	"errors"
	"html"
	"net/url"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

// Bounds of what is sent: a message may have 32,000 bytes, a thread key 4000 characters, a card 100 widgets.
const (
	maxText  = 3000
	maxField = 1000
	maxKey   = 4000
	maxLinks = 5
)

// Payload is what is posted.
type Payload struct {
	Text    string     `json:"text"`
	CardsV2 []CardWith `json:"cardsV2"`
	Thread  *Thread    `json:"thread,omitempty"`
}

// Thread is the conversation that a message belongs to.
type Thread struct {
	ThreadKey string `json:"threadKey"`
}

// CardWith is a card with its name.
type CardWith struct {
	CardID string `json:"cardId"`
	Card   Card   `json:"card"`
}

// Card is a card.
type Card struct {
	Header   Header    `json:"header"`
	Sections []Section `json:"sections"`
}

// Header is the head of a card, plain text.
type Header struct {
	Title    string `json:"title"`
	Subtitle string `json:"subtitle,omitempty"`
}

// Section is a part of a card.
type Section struct {
	Widgets []Widget `json:"widgets"`
}

// Widget is one of the three.
type Widget struct {
	TextParagraph *TextParagraph `json:"textParagraph,omitempty"`
	DecoratedText *DecoratedText `json:"decoratedText,omitempty"`
	ButtonList    *ButtonList    `json:"buttonList,omitempty"`
}

// TextParagraph is text with a little HTML.
type TextParagraph struct {
	Text string `json:"text"`
}

// DecoratedText is a fact, with a little HTML in its text.
type DecoratedText struct {
	TopLabel string `json:"topLabel"`
	Text     string `json:"text"`
	WrapText bool   `json:"wrapText"`
}

// ButtonList is a row of buttons.
type ButtonList struct {
	Buttons []Button `json:"buttons"`
}

// Button opens a link.
type Button struct {
	Text    string  `json:"text"`
	OnClick OnClick `json:"onClick"`
}

// OnClick is what a button does.
type OnClick struct {
	OpenLink OpenLink `json:"openLink"`
}

// OpenLink is where a button leads.
type OpenLink struct {
	URL string `json:"url"`
}

type sender struct{ poster *alerts.Poster }

// New gives a Sender to the webhook at the address.
func New(r alerts.Receiver, kit alerts.Kit) (alerts.Sender, error) {
	u, err := url.Parse(r.Address)
	if err != nil {
		return nil, alerts.Permanent(r.Type, errors.New("address: not a URL")) // the parser's message would repeat it
	}
	query := u.Query()
	query.Set("messageReplyOption", "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD")
	u.RawQuery = query.Encode()
	r.Address = u.String()
	poster, err := alerts.NewPoster(r, kit)
	if err != nil {
		return nil, err
	}
	return &sender{poster: poster}, nil
}

// Send writes a message into the thread of its release.
func (s *sender) Send(ctx context.Context, m alerts.Message) error {
	_, err := s.poster.Post(ctx, Build(m), nil)
	return err
}

// Build is a message as Google Chat wants it.
func Build(m alerts.Message) Payload {
	widgets := []Widget{{TextParagraph: &TextParagraph{Text: `<font color="` + colors[m.Alert.Severity] + `">` + markup(alerts.Cut(m.TextWithRepeats(), maxText)) + "</font>"}}}
	for _, f := range m.Fields {
		widgets = append(widgets, Widget{DecoratedText: &DecoratedText{TopLabel: f.Name, Text: markup(alerts.Cut(f.Value, maxField)), WrapText: true}})
	}
	if len(m.Links) > 0 {
		list := &ButtonList{}
		for _, l := range m.Links[:min(len(m.Links), maxLinks)] {
			list.Buttons = append(list.Buttons, Button{Text: l.Name, OnClick: OnClick{OpenLink{URL: l.URL}}})
		}
		widgets = append(widgets, Widget{ButtonList: list})
	}
	out := Payload{
		Text: plain(m.Title),
		CardsV2: []CardWith{{CardID: "alert", Card: Card{
			Header:   Header{Title: m.Alert.Title, Subtitle: m.Alert.Name + "." + m.Alert.Namespace},
			Sections: []Section{{Widgets: widgets}},
		}}},
	}
	if m.Alert.Release != "" {
		out.Thread = &Thread{ThreadKey: alerts.Cut(m.Alert.Release, maxKey)}
	}
	return out
}

var colors = map[v1beta1.AlertSeverity]string{
	v1beta1.SeverityInfo: "#188038", v1beta1.SeverityWarn: "#b06000", v1beta1.SeverityError: "#c5221f",
}

// markup keeps a text from being taken for HTML, and has its lines stay lines.
func markup(s string) string { return strings.ReplaceAll(html.EscapeString(s), "\n", "<br>") }

// plain keeps a text from mentioning anybody: Google Chat has no escape for <users/all>.
func plain(s string) string { return strings.NewReplacer("<", "\u2039", ">", "\u203a").Replace(s) }
