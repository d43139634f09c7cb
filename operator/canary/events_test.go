package canary

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNote(t *testing.T) {
	for name, tc := range map[string]struct{ message, want string }{
		"short":      {"Paused", "Paused"},
		"just fits":  {strings.Repeat("x", maxNote), strings.Repeat("x", maxNote)},
		"too long":   {strings.Repeat("x", maxNote+1), strings.Repeat("x", maxNote-3) + "..."},
		"long runes": {strings.Repeat("é", maxNote), strings.Repeat("é", maxNote/2-2) + "..."},
	} {
		t.Run(name, func(t *testing.T) {
			if got := note(tc.message); got != tc.want || !utf8.ValidString(got) {
				t.Errorf("got %d bytes: %q", len(got), got)
			}
		})
	}
}
