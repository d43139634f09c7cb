package webhooks

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxAnswer is how much of an answer is read.
	maxAnswer = 4 << 10
	// maxText is how much of it goes into messages: an event of Kubernetes holds 1024 bytes in all.
	maxText = 512
)

// clean makes one line of what an endpoint says: control characters, invalid UTF-8 and characters that are not seen
// are taken out, and it ends after limit bytes.
func clean(s string, limit int) string {
	var out strings.Builder
	space := false
	for _, r := range s {
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			space = out.Len() > 0
			continue
		case r == utf8.RuneError || !unicode.IsPrint(r):
			continue
		}
		if space {
			out.WriteByte(' ')
			space = false
		}
		if out.Len()+utf8.RuneLen(r) > limit {
			return strings.TrimRight(out.String(), " ") + "…"
		}
		out.WriteRune(r)
	}
	return out.String()
}
