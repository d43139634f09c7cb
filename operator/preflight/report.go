// Package preflight tells what would become of the Canaries, MetricTemplates and AlertProviders of a cluster or of
// files, before an operator is installed. It has no rules of its own: it asks those that decide in the operator.
package preflight

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Verdict is what becomes of an object.
type Verdict string

// Verdicts.
const (
	// Served is an object that does what it says.
	Served Verdict = "served"
	// Differs is one that is served, and something of it is another way than it says or than Flagger has it.
	Differs Verdict = "differs"
	// Refused is one that is not served before somebody changes it.
	Refused Verdict = "refused"
	// Unknown is one of which not enough could be looked at.
	Unknown Verdict = "unknown"
)

// Finding is what would become of one object.
type Finding struct {
	// Kind, Namespace and Name are the object's.
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Source is the file that the object is from, empty for one of the cluster.
	Source string `json:"source,omitempty"`
	// Provider is that of a Canary.
	Provider string `json:"provider,omitempty"`
	// Verdict sums it up.
	Verdict Verdict `json:"verdict"`
	// Refusals say which field can't be served, why, and what is allowed.
	Refusals []string `json:"refusals,omitempty"`
	// Differences say which field is served in another way, and how.
	Differences []string `json:"differences,omitempty"`
	// Takeover says what happens to what is there already.
	Takeover []string `json:"takeover,omitempty"`
	// NotLooked says what the verdict does not go by, as it is not there to be looked at.
	NotLooked []string `json:"notLookedAt,omitempty"`
}

// Report is what would become of all objects.
type Report struct {
	// Notes are about the cluster as a whole.
	Notes []string `json:"notes,omitempty"`
	// Unread are files that could not be read, each with the reason.
	Unread []string `json:"unread,omitempty"`
	// Findings has one entry for each object.
	Findings []Finding `json:"findings"`
}

// Exit statuses, for scripts.
const (
	// ExitServed says that all objects are served.
	ExitServed = 0
	// ExitRefused says that at least one is refused, or differs where that counts.
	ExitRefused = 1
	// ExitUnknown says that it could not be looked at everything.
	ExitUnknown = 2
)

// Exit is the exit status for a report. Where strict, differences count as refusals do.
func (r Report) Exit(strict bool) int {
	out := ExitServed
	if len(r.Unread) > 0 {
		out = ExitUnknown
	}
	for _, f := range r.Findings {
		switch {
		case f.Verdict == Refused, f.Verdict == Differs && strict:
			return ExitRefused
		case f.Verdict == Unknown:
			out = ExitUnknown
		}
	}
	return out
}

// Counts are how many objects have each verdict.
func (r Report) Counts() map[Verdict]int {
	out := map[Verdict]int{}
	for _, f := range r.Findings {
		out[f.Verdict]++
	}
	return out
}

// JSON writes a report for programs.
func (r Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// Table writes a report for people: a line for each object, and below it what is to be said of it.
func (r Report) Table(w io.Writer) error {
	var out strings.Builder
	for _, note := range r.Notes {
		fmt.Fprintln(&out, "NOTE:", note)
	}
	for _, what := range r.Unread {
		fmt.Fprintln(&out, "NOT READ:", what)
	}
	rows := [][]string{{"VERDICT", "KIND", "NAME", "PROVIDER", "FROM"}}
	for _, f := range r.Findings {
		rows = append(rows, []string{string(f.Verdict), f.Kind, f.fullName(), f.Provider, f.from()})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for i, row := range rows {
		line := ""
		for j, cell := range row {
			line += fmt.Sprintf("%-*s   ", widths[j], cell)
		}
		fmt.Fprintln(&out, strings.TrimRight(line, " "))
		if i > 0 {
			r.Findings[i-1].details(&out)
		}
	}
	n := r.Counts()
	fmt.Fprintf(&out, "\n%d served, %d with differences, %d refused, %d not known\n", n[Served], n[Differs], n[Refused], n[Unknown])
	if _, err := io.WriteString(w, out.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// details are what is to be said of one object, a line each.
func (f Finding) details(out *strings.Builder) {
	for _, group := range []struct {
		title string
		lines []string
	}{{"refused", f.Refusals}, {"differs", f.Differences}, {"takeover", f.Takeover}, {"not looked at", f.NotLooked}} {
		for _, line := range group.lines {
			fmt.Fprintf(out, "    %s: %s\n", group.title, strings.ReplaceAll(line, "\n", " "))
		}
	}
}

func (f Finding) fullName() string {
	if f.Namespace == "" {
		return f.Name
	}
	return f.Namespace + "/" + f.Name
}

func (f Finding) from() string {
	if f.Source == "" {
		return "cluster"
	}
	return f.Source
}

// refuse adds to a finding why its object is refused.
func (f Finding) refuse(why []string) Finding {
	if len(why) > 0 {
		f.Refusals, f.Verdict = append(f.Refusals, why...), Refused
	}
	return f
}

// sumUp gives a finding its verdict.
func (f Finding) sumUp(unknown bool) Finding {
	switch {
	case len(f.Refusals) > 0:
		f.Verdict = Refused
	case unknown:
		f.Verdict = Unknown
	case len(f.Differences) > 0:
		f.Verdict = Differs
	default:
		f.Verdict = Served
	}
	return f
}
