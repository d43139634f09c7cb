package template

import (
	"fmt"
	"regexp"
	"strings"
	texttemplate "text/template"
)

// maxMade is how many bytes of text the functions of one rendering may make. A template that doubles a text thirty times
// is short and needs a gigabyte.
const maxMade = 4 * maxQuery

var errMade = fmt.Errorf("its functions make more than %d bytes of text", maxMade)

// budget bounds what the functions of the language make in one rendering. How many steps that takes is bounded by the
// template's length and the number of variables: nothing else is ranged over.
type budget struct{ left int }

// wide finds a width or a precision in a format that is large, or an argument.
var wide = regexp.MustCompile(`%[^a-zA-Z%]*([0-9]{4}|\*)`)

func (b *budget) functions() texttemplate.FuncMap {
	return texttemplate.FuncMap{
		"print":    b.bounded(fmt.Sprint),
		"println":  b.bounded(fmt.Sprintln),
		"printf":   b.printf,
		"html":     b.bounded(texttemplate.HTMLEscaper),
		"js":       b.bounded(texttemplate.JSEscaper),
		"urlquery": b.bounded(texttemplate.URLQueryEscaper),
	}
}

// bounded is a function that makes a text of its arguments, each once.
func (b *budget) bounded(text func(...any) string) func(...any) (string, error) {
	return func(args ...any) (string, error) {
		total := 0
		for _, a := range args {
			total += size(a)
		}
		if total > b.left {
			return "", errMade
		}
		return b.spend(text(args...))
	}
}

func (b *budget) printf(format string, args ...any) (string, error) {
	if wide.MatchString(format) {
		return "", fmt.Errorf("printf %q: a width or precision has 3 digits at most", format)
	}
	longest := 0
	for _, a := range args {
		longest = max(longest, size(a))
	}
	if longest*strings.Count(format, "%") > b.left { // %[1]s can have one of them many times
		return "", errMade
	}
	return b.spend(fmt.Sprintf(format, args...))
}

// size is about how long the text of a value is.
func size(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case map[string]string:
		total := 0
		for key, value := range v {
			total += len(key) + len(value) + 2
		}
		return total
	default:
		return 32
	}
}

func (b *budget) spend(s string) (string, error) {
	if b.left -= len(s); b.left < 0 {
		return "", errMade
	}
	return s, nil
}
