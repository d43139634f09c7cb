// Package oneline makes text that was written elsewhere fit to be shown.
package oneline

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Of makes text that was written elsewhere fit to be shown: in one line, without control characters and marks that
// change the direction of writing, by which it could pass for something else, and cut after limit bytes.
func Of(s string, limit int) string {
	if len(s) <= limit && strings.IndexFunc(s, unprintable) < 0 {
		return s
	}
	shown := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			return ' '
		case unprintable(r):
			return -1
		}
		return r
	}, s)
	if len(shown) <= limit {
		return shown
	}
	const more = "..."
	end := max(limit-len(more), 0)
	for end > 0 && !utf8.RuneStart(shown[end]) {
		end--
	}
	return shown[:end] + more
}

// unprintable tells of a character that is not shown as itself.
func unprintable(r rune) bool { return r == utf8.RuneError || r != ' ' && !unicode.IsPrint(r) }
