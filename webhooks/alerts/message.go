package alerts

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Message is an Alert in the words in which every platform tells it. Its texts are plain: a Sender escapes what its
// platform takes for markup.
type Message struct {
	// Alert is what the message is about, for receivers that are machines.
	Alert Alert
	// Title is one line: what happened, to what, and where.
	Title string
	// Text is a sentence or a few.
	Text string
	// Fields are the facts, the most important first.
	Fields []Field
	// Links lead to more.
	Links []Link
	// Repeated is how many messages that said the same, and were held back by a rate limit, this one stands for.
	Repeated int
}

// Field is one fact.
type Field struct {
	// Name and Value are never empty.
	Name, Value string
	// Short is true for a value that has room beside another one.
	Short bool
}

// Compose puts an alert into words. It is pure.
func Compose(a Alert) Message {
	return Message{
		Alert:  a,
		Title:  a.Title + ": " + subject(a),
		Text:   a.Text,
		Fields: fields(a),
		Links:  a.Links,
	}
}

// subject is the Canary and where it is.
func subject(a Alert) string {
	out := a.Namespace + "/" + a.Name
	if a.Cluster != "" {
		out += " in " + a.Cluster
	}
	return out
}

func fields(a Alert) []Field {
	var out []Field
	add := func(name, value string, short bool) {
		if value != "" {
			out = append(out, Field{Name: name, Value: value, Short: short})
		}
	}
	add("Target", join("/", a.TargetKind, a.TargetName), true)
	add("Namespace", a.Namespace, true)
	add("Cluster", a.Cluster, true)
	add("Revision", a.Revision, true)
	add("Images", images(a), false)
	add("Progress", progress(a), true)
	add("Duration", took(a), true)
	add("Why", why(a.Checks), false)
	return out
}

func join(by string, parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, by)
}

func images(a Alert) string {
	if a.From == "" || a.From == a.To {
		return a.To
	}
	return join(" -> ", a.From, a.To)
}

// progress is how far the release has come.
func progress(a Alert) string {
	out := string(a.Phase)
	if a.Step > 0 && a.Steps > 0 {
		out = join(", ", out, fmt.Sprintf("step %d of %d", min(a.Step, a.Steps), a.Steps))
	}
	if a.Weight > 0 {
		out = join(", ", out, fmt.Sprintf("%d%% to the canary", a.Weight))
	}
	if a.FailedChecks > 0 {
		out = join(", ", out, fmt.Sprintf("%d of %d failed checks", a.FailedChecks, a.Threshold))
	}
	return out
}

// took is the time since the release began, without what is too fine to read.
func took(a Alert) string {
	d := a.Time.Sub(a.Started)
	if a.Started.IsZero() || d < time.Second {
		return ""
	}
	round := time.Second
	if d >= time.Hour {
		round = time.Minute
	}
	out := d.Round(round).String()
	if strings.HasSuffix(out, "m0s") {
		out = strings.TrimSuffix(out, "0s")
	}
	if strings.HasSuffix(out, "h0m") {
		out = strings.TrimSuffix(out, "0m")
	}
	return out
}

// why is a line for each check: what was measured and what would have been good.
func why(checks []v1beta1.CheckStatus) string {
	lines := make([]string, 0, len(checks))
	for _, c := range checks {
		line := c.Name + ": "
		switch {
		case c.Value != "" && c.Range != "":
			line += c.Value + ", should be " + c.Range
		case c.Message != "":
			line += strings.TrimPrefix(c.Message, c.Name+": ")
		default:
			line += string(c.Verdict)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// TextWithRepeats is the text, with how often it was said since.
func (m Message) TextWithRepeats() string {
	if m.Repeated == 0 {
		return m.Text
	}
	return fmt.Sprintf("%s (%d times since the last message)", m.Text, m.Repeated+1)
}

// Cut shortens a text to a number of characters, which a platform allows. What is left out shows as "...".
func Cut(s string, most int) string {
	const more = "..."
	if len(s) <= most {
		return s
	}
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	return string(runes[:max(most-len(more), 0)]) + more
}
