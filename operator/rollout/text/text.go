// Package text forms what a rollout says in conditions and events, within their bounds.
package text

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// nameLength bounds one name of a list, in bytes.
const nameLength = 400

// Sentence begins with a capital letter.
func Sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// more ends what was cut.
const more = "..."

// Cut shortens a text to so many bytes, which are more than three.
func Cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-len(more)], "") + more
}

// WasCut tells whether a text was cut to so many bytes, by Cut or by package oneline.
func WasCut(s string, most int) bool {
	return strings.HasSuffix(s, more) && len(s) <= most && len(s) > most-utf8.UTFMax
}

// leftOut is what List says of names that do not fit.
var leftOut = regexp.MustCompile(`, and [0-9]+ more\b`)

// LeavesOut tells whether a text has a list in which names are left out.
func LeavesOut(s string) bool { return leftOut.MatchString(s) }

// List joins names, as many as fit in so many bytes and one at least.
func List(names []string, length int) string {
	out := strings.Builder{}
	for i, name := range names {
		if i > 0 && out.Len()+len(name) > length {
			fmt.Fprintf(&out, ", and %d more", len(names)-i)
			break
		}
		if i > 0 {
			out.WriteString(", ")
		}
		out.WriteString(Cut(name, nameLength))
	}
	return out.String()
}
