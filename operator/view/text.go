package view

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// maxText bounds what is shown of one text, in bytes.
const maxText = 8192

// clean makes text of others fit to be shown on a terminal.
func clean(s string) string { return v1beta1.OneLine(s, maxText) }

// fit cuts text after so many columns. Escape sequences, which only this package writes, take none.
func fit(text string, width int) string {
	if strings.Contains(text, "\x1b") || utf8.RuneCountInString(text) <= width {
		return text
	}
	runes := []rune(text)
	return string(runes[:max(width-3, 0)]) + "..."
}

// wrap breaks text between words into lines of so many columns. A word that is longer is broken.
func wrap(text string, width int) []string {
	width = max(width, 10)
	var out []string
	line := []rune{}
	for word := range strings.FieldsSeq(text) {
		w := []rune(word)
		if len(line) > 0 && len(line)+1+len(w) > width {
			out = append(out, string(line))
			line = nil
		}
		for len(w) > width {
			out = append(out, string(w[:width]))
			w = w[width:]
		}
		if len(line) > 0 {
			line = append(line, ' ')
		}
		line = append(line, w...)
	}
	if len(line) > 0 {
		out = append(out, string(line))
	}
	return out
}

// columns aligns rows. The last column is cut to what is left of the width.
func (s Screen) columns(rows [][]string) []string {
	widths := []int{}
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(clean(cell)))
		}
	}
	out := make([]string, len(rows))
	for i, row := range rows {
		var line strings.Builder
		line.WriteString("  ")
		for j, cell := range row {
			cell = clean(cell)
			if j < len(row)-1 {
				cell += strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell)+2)
			}
			line.WriteString(cell)
		}
		out[i] = strings.TrimRight(fit(line.String(), s.width()), " ")
	}
	return out
}

func (p *page) table(rows [][]string) {
	for _, l := range p.columns(rows) {
		p.line(l)
	}
}

// messageWidth is how wide a message must be to be read beside the rest of a line.
const messageWidth = 40

// Fleet is the header, where there is to be one, and a line for each release. Where a line has no room for a message, it
// is below it for those that need a person.
func (s Screen) Fleet(all []*Release, header bool) string {
	rows := [][]string{{"NAMESPACE", "NAME", "STATE", "WEIGHT", "STEP", "FAILED", "SINCE", ""}}
	for _, r := range all {
		rows = append(rows, s.row(r))
	}
	wide := s
	wide.Width = 1 << 16
	room := s.width() - utf8.RuneCountInString(wide.columns(rows)[0]) - 2
	beside := room >= messageWidth
	if beside {
		rows[0][len(rows[0])-1] = "MESSAGE"
		for i, r := range all {
			if r.State != AtRest {
				rows[i+1][len(rows[i+1])-1] = r.Message
			}
		}
	}
	lines := s.columns(rows)
	var out strings.Builder
	for i, l := range lines {
		if i == 0 && !header {
			continue
		}
		l = strings.TrimPrefix(l, "  ")
		if i == 0 {
			out.WriteString(l + "\n")
			continue
		}
		r := all[i-1]
		if s.Colour {
			l = strings.Replace(l, " "+string(r.State), " "+s.paint(colourOf(r.State), string(r.State)), 1)
		}
		out.WriteString(l + "\n")
		if r.NeedsPerson && !beside {
			out.WriteString(fit("    "+clean(r.Message), s.width()) + "\n")
		}
	}
	return out.String()
}

// row is a release without its message.
func (s Screen) row(r *Release) []string {
	step, failed, since := "-", "-", "-"
	if r.Step != nil {
		step = fmt.Sprintf("%d/%d", r.Step.Index, r.Step.Of)
		failed = fmt.Sprintf("%d/%d", r.FailedChecks, r.Threshold)
	}
	if r.Changed != nil {
		since = ago(s.Now, r.Changed.Time)
	}
	return []string{r.Namespace, r.Name, string(r.State), fmt.Sprintf("%d%%", r.Traffic.Canary), step, failed, since, ""}
}
