package loadtester

import (
	"fmt"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// maxOutput is how many bytes are kept of what a command writes: the first half of it and the last.
const maxOutput = 64 << 10

// output keeps what a command writes, within bounds. It may be written to from several goroutines.
type output struct {
	mu      sync.Mutex
	limit   int
	head    []byte
	tail    []byte // the last limit/2 bytes and up to as many before them
	dropped int
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(p)
	half := o.limit / 2
	if room := half - len(o.head); room > 0 {
		taken := min(room, len(p))
		o.head = append(o.head, p[:taken]...)
		p = p[taken:]
	}
	if over := len(p) - half; over > 0 { // of a large piece only the end can remain
		o.dropped += over + len(o.tail)
		o.tail = append(o.tail[:0], p[over:]...)
		return n, nil
	}
	o.tail = append(o.tail, p...)
	if len(o.tail) > 2*half {
		o.shift(len(o.tail) - half)
	}
	return n, nil
}

func (o *output) shift(n int) {
	o.tail = o.tail[:copy(o.tail, o.tail[n:])]
	o.dropped += n
}

// String is what was written, fit to be shown: see printable.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if over := len(o.tail) - o.limit/2; over > 0 {
		o.shift(over)
	}
	text := string(o.head)
	if o.dropped > 0 {
		text += fmt.Sprintf("\n... %d bytes left out ...\n", o.dropped)
	}
	return printable(text + string(o.tail))
}

// printable takes out of a text what would do something to the terminal or log that shows it, and keeps lines and tabs.
func printable(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || (r != utf8.RuneError && unicode.IsPrint(r)) {
			return r
		}
		return -1
	}, text))
}

// cut is the end of a text, of at most limit bytes.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	text = text[len(text)-limit:]
	for len(text) > 0 && !utf8.RuneStart(text[0]) {
		text = text[1:]
	}
	return "…" + text
}
