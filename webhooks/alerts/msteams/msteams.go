// Package msteams sends alerts to Microsoft Teams: to a workflow ("When a Teams webhook request is received") as an
// adaptive card, and to a connector of old, whose host is under webhook.office.com, as the message card that it wants
// (https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using). Neither tells
// what it wrote, so there are no threads.
package msteams

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

// Bounds of what is sent: a message may have 28 KB, which are counted in UTF-16, and a card six buttons.
const (
	maxText  = 3000
	maxField = 1000
	maxLinks = 4
)

// New gives a Sender to the workflow or the connector at the address. Channel and author are theirs.
func New(r alerts.Receiver, kit alerts.Kit) (alerts.Sender, error) {
	poster, err := alerts.NewPoster(r, kit)
	if err != nil {
		return nil, err
	}
	return &sender{poster: poster, build: builder(r.Address)}, nil
}

// builder is what an address wants: everything but a connector is a workflow, wherever Microsoft has put it.
func builder(address string) func(alerts.Message) any {
	u, err := url.Parse(address)
	if err != nil {
		return func(m alerts.Message) any { return BuildAdaptive(m) }
	}
	host := u.Hostname()
	if host == "outlook.office.com" || host == "outlook.office365.com" || strings.HasSuffix(host, ".webhook.office.com") {
		return func(m alerts.Message) any { return BuildMessageCard(m) }
	}
	return func(m alerts.Message) any { return BuildAdaptive(m) }
}

type sender struct {
	poster *alerts.Poster
	build  func(alerts.Message) any
}

// Send writes a message.
func (s *sender) Send(ctx context.Context, m alerts.Message) error {
	answer, err := s.poster.Post(ctx, s.build(m), nil)
	if err != nil {
		return err
	}
	return s.hidden(answer)
}

// status is how a connector tells of a failure: with status 200 and this in the text.
var status = regexp.MustCompile(`HTTP error (\d{3})`)

// hidden finds the failure in an answer that looks like success.
func (s *sender) hidden(answer []byte) error {
	found := status.FindSubmatch(answer)
	if found == nil {
		return nil
	}
	code, err := strconv.Atoi(string(found[1]))
	if err != nil {
		return nil //nolint:nilerr // three digits are a number
	}
	return &alerts.SendError{To: s.poster.To(), Permanent: code != 429 && code < 500, Err: fmt.Errorf("%w: HTTP error %d", errBehind, code)}
}

var errBehind = errors.New("the connector says that Teams did not take the message")

// MessageCard is what a connector wants.
type MessageCard struct {
	Type            string    `json:"@type"`
	Context         string    `json:"@context"`
	Summary         string    `json:"summary"`
	ThemeColor      string    `json:"themeColor"`
	Title           string    `json:"title"`
	Sections        []Section `json:"sections"`
	PotentialAction []OpenURI `json:"potentialAction,omitempty"`
}

// Section is a part of a MessageCard.
type Section struct {
	Text     string `json:"text"`
	Facts    []Name `json:"facts"`
	Markdown bool   `json:"markdown"`
}

// Name is a fact of a MessageCard.
type Name struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// OpenURI is a button of a MessageCard.
type OpenURI struct {
	Type    string   `json:"@type"`
	Name    string   `json:"name"`
	Targets []Target `json:"targets"`
}

// Target is where a button leads.
type Target struct {
	OS  string `json:"os"`
	URI string `json:"uri"`
}

// BuildMessageCard is a message as a connector wants it.
func BuildMessageCard(m alerts.Message) MessageCard {
	section := Section{Text: escape(alerts.Cut(m.TextWithRepeats(), maxText)), Facts: []Name{}, Markdown: true}
	for _, f := range m.Fields {
		section.Facts = append(section.Facts, Name{Name: f.Name, Value: lines(escape(alerts.Cut(f.Value, maxField)))})
	}
	out := MessageCard{
		Type: "MessageCard", Context: "https://schema.org/extensions",
		Summary: m.Title, Title: escape(m.Title), ThemeColor: themes[m.Alert.Severity], Sections: []Section{section},
	}
	for _, l := range m.Links[:min(len(m.Links), maxLinks)] {
		out.PotentialAction = append(out.PotentialAction, OpenURI{Type: "OpenUri", Name: l.Name, Targets: []Target{{OS: "default", URI: l.URL}}})
	}
	return out
}

// Envelope is what a workflow wants.
type Envelope struct {
	Type        string       `json:"type"`
	Attachments []Attachment `json:"attachments"`
}

// Attachment holds a card.
type Attachment struct {
	ContentType string  `json:"contentType"`
	ContentURL  *string `json:"contentUrl"` // null by the documentation
	Content     Card    `json:"content"`
}

// Card is an adaptive card.
type Card struct {
	Schema  string    `json:"$schema"`
	Type    string    `json:"type"`
	Version string    `json:"version"`
	Body    []Element `json:"body"`
	Actions []Action  `json:"actions,omitempty"`
	MSTeams Width     `json:"msteams"`
}

// Width makes a card as wide as the channel.
type Width struct {
	Width string `json:"width"`
}

// Element is a TextBlock or a FactSet.
type Element struct {
	Type   string `json:"type"`
	Text   string `json:"text,omitempty"`
	Size   string `json:"size,omitempty"`
	Weight string `json:"weight,omitempty"`
	Color  string `json:"color,omitempty"`
	Wrap   bool   `json:"wrap,omitempty"`
	Facts  []Fact `json:"facts,omitempty"`
}

// Fact is a fact of a FactSet.
type Fact struct {
	Title string `json:"title"`
	Value string `json:"value"`
}

// Action is a button.
type Action struct {
	Type  string `json:"type"`
	Title string `json:"title"`
	URL   string `json:"url"`
}

// BuildAdaptive is a message as a workflow wants it.
func BuildAdaptive(m alerts.Message) Envelope {
	card := Card{
		Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Type: "AdaptiveCard", Version: "1.4",
		MSTeams: Width{Width: "Full"},
		Body: []Element{
			{Type: "TextBlock", Text: escape(m.Title), Size: "Medium", Weight: "Bolder", Color: styles[m.Alert.Severity], Wrap: true},
		},
	}
	if text := m.TextWithRepeats(); text != "" {
		card.Body = append(card.Body, Element{Type: "TextBlock", Text: escape(alerts.Cut(text, maxText)), Wrap: true})
	}
	if len(m.Fields) > 0 {
		facts := Element{Type: "FactSet"}
		for _, f := range m.Fields {
			facts.Facts = append(facts.Facts, Fact{Title: f.Name, Value: lines(escape(alerts.Cut(f.Value, maxField)))})
		}
		card.Body = append(card.Body, facts)
	}
	for _, l := range m.Links[:min(len(m.Links), maxLinks)] {
		card.Actions = append(card.Actions, Action{Type: "Action.OpenUrl", Title: l.Name, URL: l.URL})
	}
	return Envelope{Type: "message", Attachments: []Attachment{{ContentType: "application/vnd.microsoft.card.adaptive", Content: card}}}
}

var (
	themes = map[v1beta1.AlertSeverity]string{v1beta1.SeverityInfo: "2EB67D", v1beta1.SeverityWarn: "ECB22E", v1beta1.SeverityError: "E01E5A"}
	styles = map[v1beta1.AlertSeverity]string{v1beta1.SeverityInfo: "Good", v1beta1.SeverityWarn: "Warning", v1beta1.SeverityError: "Attention"}
)

// escape keeps what is special to Markdown, and a tag such as <at>, from being taken for it. An entity would show as
// one in an adaptive card.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "`", "\\`", "#", `\#`, "<", "\u2039", ">", "\u203a").Replace(s)
}

// lines has the lines of a fact stay lines: Markdown wants an empty one between them.
func lines(s string) string { return strings.ReplaceAll(s, "\n", "\n\n") }
