package view

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Screen is what text is written on.
type Screen struct {
	// Width is how many columns there are; minWidth at the least.
	Width int
	// Colour adds escape sequences.
	Colour bool
	// Plain writes trends with ASCII characters.
	Plain bool
	// Now is the time for which it is written.
	Now time.Time
}

const (
	minWidth    = 60
	shownEvents = 8
	shownHands  = 5
	shownPods   = 4
)

// colour of text.
type colour string

const (
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	cyan   colour = "36"
	bold   colour = "1"
	dim    colour = "2"
)

func (s Screen) paint(c colour, text string) string {
	if !s.Colour || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

func (s Screen) width() int { return max(s.Width, minWidth) }

// colourOf is how a state is shown.
func colourOf(state State) colour {
	switch {
	case state == Halted || state == Stalled || state == RolledBack:
		return red
	case state.NeedsPerson():
		return yellow
	case state == AtRest:
		return green
	default:
		return cyan
	}
}

// Picture is one release as a screen of text.
func (s Screen) Picture(r *Release) string {
	p := &page{Screen: s}
	p.head(r)
	p.traffic(r)
	p.step(r)
	p.sides(r)
	p.checks(r)
	p.gate(r)
	p.actions(r)
	p.events(r)
	p.list("WARNINGS", r.Warnings)
	p.advice(r.Advice)
	return p.b.String()
}

// page is text that is being written.
type page struct {
	Screen

	b strings.Builder
}

// line writes one line and cuts what does not fit. Text of others cannot write escape sequences or more lines.
func (p *page) line(text string) {
	p.b.WriteString(strings.TrimRight(fit(text, p.width()), " ") + "\n")
}

// wrapped writes text over as many lines as it needs, each of them after an indent.
func (p *page) wrapped(indent, text string) {
	for _, l := range wrap(clean(text), p.width()-len(indent)) {
		p.b.WriteString(strings.TrimRight(indent+l, " ") + "\n")
	}
}

func (p *page) title(name string) { p.b.WriteString("\n" + p.paint(bold, name) + "\n") }

func (p *page) head(r *Release) {
	name := clean(r.Namespace + "/" + r.Name)
	state := string(r.State)
	gap := max(p.width()-utf8.RuneCountInString(name)-len(state), 1)
	p.b.WriteString(p.paint(bold, name) + strings.Repeat(" ", gap) + p.paint(colourOf(r.State), state) + "\n")
	about := []string{clean(r.Target), strategies[r.Strategy]}
	if r.Provider != "" {
		about = append(about, clean(r.Provider))
	}
	if r.Revision != "" {
		about = append(about, "revision "+clean(r.Revision))
	}
	p.line(strings.Join(about, ", "))
	if r.Message != "" {
		p.wrapped("", r.Message)
	}
}

// strategies are the ways to release as people say them.
var strategies = map[v1beta1.Strategy]string{
	v1beta1.StrategyWeighted: "weighted canary", v1beta1.StrategyABTesting: "A/B testing", v1beta1.StrategyBlueGreen: "blue/green",
}

// barWidth is that of a bar of 100 percent.
func (p *page) barWidth() int { return min(max(p.width()-40, 20), 50) }

func (p *page) bar(percent int32, c colour) string {
	full := min(max(int(percent)*p.barWidth()/100, 0), p.barWidth())
	if percent > 0 && full == 0 {
		full = 1
	}
	return "[" + p.paint(c, strings.Repeat("#", full)) + strings.Repeat(".", p.barWidth()-full) + "]"
}

func (p *page) traffic(r *Release) {
	p.title("TRAFFIC")
	if r.Phase == "" || r.Phase == v1beta1.PhaseInitializing {
		p.line("  as it was before there was a Canary")
		return
	}
	note := ""
	switch {
	case r.Traffic.Matched:
		note = "  of what matches"
	case r.Traffic.Mirror > 0:
		note = fmt.Sprintf("  and copies of %d%%", r.Traffic.Mirror)
	}
	if m := r.Traffic.Measured; m != nil {
		note += fmt.Sprintf("  measured %s%%", strconv.FormatFloat(*m, 'f', -1, 64))
	}
	if r.Traffic.Reason != "" && r.Traffic.Reason != v1beta1.TrafficPlanned {
		note += "  " + string(r.Traffic.Reason)
	}
	p.b.WriteString(fmt.Sprintf("  primary %3d%% %s", r.Traffic.Primary, p.bar(r.Traffic.Primary, green)) + "\n")
	p.b.WriteString(strings.TrimRight(fmt.Sprintf("  canary  %3d%% %s%s", r.Traffic.Canary, p.bar(r.Traffic.Canary, cyan), p.paint(yellow, note)), " ") + "\n")
}

func (p *page) step(r *Release) {
	if r.Step == nil {
		if strip := roundsStrip(r.Rounds); strip != "" {
			p.title("LAST RELEASE")
			p.line(fmt.Sprintf("  failed      %d of %d rounds", r.FailedChecks, r.Threshold))
			p.line("  rounds      " + strip)
		}
		return
	}
	p.title("STEP")
	where := fmt.Sprintf("  %d of %d    ", r.Step.Index, r.Step.Of)
	done := int32(0)
	if r.Step.Of > 0 {
		done = 100 * r.Step.Index / r.Step.Of
	}
	left := ""
	switch {
	case r.Step.Due != nil && r.Step.Due.After(p.Now):
		left = "  checks in " + span(r.Step.Due.Sub(p.Now).Round(time.Second))
	case r.Step.Due != nil:
		left = "  checks are due"
	}
	p.b.WriteString(strings.TrimRight(fmt.Sprintf("%-14s%s%s", where, p.bar(done, cyan), left), " ") + "\n")
	if plan := planOf(r.Step); plan != "" {
		p.line("  plan        " + plan)
	}
	failed := fmt.Sprintf("%d of %d rounds", r.FailedChecks, r.Threshold)
	if r.Started != nil {
		failed += ", release began " + ago(p.Now, r.Started.Time) + " ago"
	}
	p.line("  failed      " + failed)
	if strip := roundsStrip(r.Rounds); strip != "" {
		p.line("  rounds      " + strip)
	}
}

// planOf lists the weights of all steps and marks the present one.
func planOf(s *Step) string {
	out := make([]string, len(s.Weights))
	for i, w := range s.Weights {
		out[i] = fmt.Sprintf("%d%%", w)
		if int32(i)+1 == s.Index { //nolint:gosec // of the spec
			out[i] = ">" + out[i] + "<"
		}
	}
	return strings.Join(out, " ")
}

var signs = map[v1beta1.CheckVerdict]string{v1beta1.CheckPassed: "+", v1beta1.CheckFailed: "x"}

// roundsStrip shows how the rounds of each step went: + passed, x failed, ? no verdict.
func roundsStrip(rounds []Round) string {
	var out strings.Builder
	for i, r := range rounds {
		if i == 0 || rounds[i-1].Step != r.Step {
			if i > 0 {
				out.WriteString("  ")
			}
			fmt.Fprintf(&out, "%d%% ", r.Weight)
		}
		sign, known := signs[r.Verdict]
		if !known {
			sign = "?"
		}
		out.WriteString(sign)
	}
	return out.String()
}

func (p *page) sides(r *Release) {
	p.title("WORKLOADS")
	rows := [][]string{{"", "NAME", "PODS", "RESTARTS", "IMAGES"}}
	var trouble []string
	for _, side := range []struct {
		role string
		of   Side
	}{{"primary", r.Primary}, {"canary", r.Canary}} {
		pods, restarts, images := fmt.Sprintf("%d/%d", side.of.Ready, side.of.Wanted), fmt.Sprint(side.of.Restarts), side.of.Images
		switch {
		case side.of.Unread != "":
			pods, restarts, images = "?", "", side.of.Unread
		case !side.of.Exists:
			pods, restarts, images = "-", "", "there is none"
		}
		rows = append(rows, []string{side.role, side.of.Name, pods, restarts, images})
		trouble = append(trouble, side.of.Trouble...)
	}
	p.table(rows)
	for i, what := range trouble {
		if i == shownPods {
			p.line(fmt.Sprintf("    and %d more", len(trouble)-i))
			break
		}
		p.wrapped("    ", what)
	}
}

func (p *page) checks(r *Release) {
	if len(r.Checks) == 0 {
		return
	}
	p.title("CHECKS")
	rows := [][]string{{"NAME", "VALUE", "LIMIT", "VERDICT", "TREND"}}
	for _, c := range r.Checks {
		rows = append(rows, []string{c.Name, c.Value, c.Limit, c.verdict(), p.trend(c.Trend)})
	}
	lines := p.columns(rows)
	for i, l := range lines {
		p.line(l)
		if i == 0 {
			continue
		}
		c := r.Checks[i-1]
		if c.Message != "" && c.Verdict != v1beta1.CheckPassed {
			p.wrapped("      ", c.Message)
		}
		if c.Query != "" {
			p.line(p.paint(dim, fit("      "+clean(c.Query), p.width())))
		}
	}
}

func (c *Check) verdict() string {
	if !c.Decides {
		return string(c.Verdict) + " (reported)"
	}
	return string(c.Verdict)
}

// Checks is a table of checks that were made for somebody who wants to know, with all of their queries.
func (s Screen) Checks(all []Check) string {
	rows := [][]string{{"NAME", "VALUE", "LIMIT", "WINDOW", "VERDICT"}}
	for i := range all {
		c := &all[i]
		rows = append(rows, []string{c.Name, c.Value, c.Limit, c.Window, c.verdict()})
	}
	p := &page{Screen: s}
	for i, l := range s.columns(rows) {
		p.line(l[min(2, len(l)):])
		if i == 0 {
			continue
		}
		c := all[i-1]
		if c.Message != "" {
			p.wrapped("    ", c.Message)
		}
		if c.Query != "" {
			p.wrapped("    ", "query: "+c.Query)
		}
	}
	return p.b.String()
}

// bars are the heights of a trend.
var bars, plainBars = []rune("▁▂▃▄▅▆▇█"), []rune("_.-~=+*#")

// trendWidth is how many values a trend shows.
const trendWidth = 16

// trend draws values between the lowest and the highest of them.
func (s Screen) trend(values []float64) string {
	values = values[max(len(values)-trendWidth, 0):]
	if len(values) < 2 {
		return ""
	}
	heights := bars
	if s.Plain {
		heights = plainBars
	}
	low, high := slices.Min(values), slices.Max(values)
	out := make([]rune, len(values))
	for i, v := range values {
		at := 0
		if high > low {
			at = int((v - low) / (high - low) * float64(len(heights)-1))
		}
		out[i] = heights[min(max(at, 0), len(heights)-1)]
	}
	return string(out)
}

func (p *page) gate(r *Release) {
	if r.Gate == nil {
		return
	}
	p.title("GATE")
	p.wrapped("  ", fmt.Sprintf("%s, closed for %s: %s", r.Gate.Type, ago(p.Now, r.Gate.Since.Time), r.Gate.Message))
}

func (p *page) actions(r *Release) {
	if len(r.Actions) == 0 {
		return
	}
	p.title("ACTIONS")
	rows := [][]string{{"AGO", "ACTION", "BY", "STATE", "WHY"}}
	for _, a := range r.Actions[:min(len(r.Actions), shownHands)] {
		why := a.Reason
		if a.State == v1alpha1.ActionRefused {
			why = a.Message
		}
		rows = append(rows, []string{ago(p.Now, a.Time.Time), string(a.Action), fit(clean(a.By), p.width()/4), string(a.State), why})
	}
	p.table(rows)
}

func (p *page) events(r *Release) {
	if len(r.Events) == 0 {
		return
	}
	p.title("EVENTS")
	for _, e := range r.Events[max(len(r.Events)-shownEvents, 0):] {
		mark := " "
		if e.Warning {
			mark = "!"
		}
		p.wrappedAfter(fmt.Sprintf("  %7s %s ", ago(p.Now, e.Time.Time), mark), e.Reason+": "+e.Message)
	}
}

// wrappedAfter writes text after a first column.
func (p *page) wrappedAfter(first, text string) {
	for i, l := range wrap(clean(text), p.width()-len(first)) {
		if i > 0 {
			first = strings.Repeat(" ", len(first))
		}
		p.b.WriteString(first + l + "\n")
	}
}

func (p *page) list(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	p.title(title)
	for _, l := range lines {
		p.wrapped("  ", l)
	}
}

func (p *page) advice(all []Advice) {
	if len(all) == 0 {
		return
	}
	p.title("WHAT TO DO")
	for _, a := range all {
		p.wrapped("  ", a.Text)
		if a.Command != "" {
			p.b.WriteString("    " + clean(a.Command) + "\n")
		}
	}
}

// Explain is an explanation as text.
func (s Screen) Explain(e Explanation) string {
	p := &page{Screen: s}
	p.wrapped("", e.Summary)
	if len(e.Checks) > 0 {
		p.title("CHECKS")
		for _, c := range e.Checks {
			what := c.Name + ": " + string(c.Verdict)
			if c.Value != "" {
				what += ", value " + c.Value
			}
			if c.Limit != "" {
				what += ", limit " + c.Limit
			}
			if c.Window != "" {
				what += ", window " + c.Window
			}
			p.wrapped("  ", what)
			if c.Message != "" {
				p.wrapped("    ", c.Message)
			}
			if c.Query != "" {
				p.wrapped("    ", "query: "+c.Query)
			}
		}
	}
	if len(e.Rounds) > 0 {
		p.title("ROUNDS THAT DID NOT PASS")
		for _, r := range e.Rounds {
			p.wrappedAfter(fmt.Sprintf("  %7s  ", ago(p.Now, r.Time.Time)), fmt.Sprintf("step %d, weight %d%%, %s: %s", r.Step, r.Weight, r.Verdict, r.Message))
		}
	}
	p.list("PODS", e.Pods)
	if a := e.Refused; a != nil {
		p.title("REFUSED")
		p.wrapped("  ", fmt.Sprintf("%s%s %s ago: %s", a.Action, by(a.By), ago(p.Now, a.Time.Time), a.Message))
	}
	p.list("WARNINGS", e.Warnings)
	p.advice(e.Advice)
	return p.b.String()
}
