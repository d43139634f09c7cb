package loadtester

import (
	"errors"
	"fmt"
	"strings"
)

// errUnfinished is a command line that ends inside a quotation or after a backslash.
var errUnfinished = errors.New("it ends inside a quotation, or with a backslash")

// shellSyntaxError is a command line with a character that only a shell has a use for.
type shellSyntaxError struct{ character rune }

func (e *shellSyntaxError) Error() string {
	return fmt.Sprintf("%q means something to a shell, and no shell is asked: put it between single quotes if it is meant as it stands", e.character)
}

// Characters that mean something to a shell outside of quotations, and between double quotes. What would be a mere
// pattern or a home folder (* ? [ ~) stands for itself, as in a shell that finds no file of that name.
const (
	shellSyntax       = "|&;<>()$`\n"
	quotedShellSyntax = "$`"
)

// words splits a command line as a shell does, and refuses what a shell would do more with than that.
func words(line string) ([]string, error) {
	s := splitter{remaining: []rune(strings.TrimSpace(line))}
	for len(s.remaining) > 0 {
		if err := s.step(s.next()); err != nil {
			return nil, err
		}
	}
	s.end()
	return s.words, nil
}

type splitter struct {
	remaining []rune
	words     []string
	word      strings.Builder
	inside    bool // a word has begun; it may be empty
}

func (s *splitter) next() rune {
	r := s.remaining[0]
	s.remaining = s.remaining[1:]
	return r
}

func (s *splitter) add(r rune) {
	s.word.WriteRune(r)
	s.inside = true
}

func (s *splitter) end() {
	if s.inside {
		s.words = append(s.words, s.word.String())
	}
	s.word.Reset()
	s.inside = false
}

// step takes what stands outside of quotations.
func (s *splitter) step(r rune) error {
	switch {
	case r == ' ' || r == '\t' || r == '\r':
		s.end()
	case r == '\'':
		return s.single()
	case r == '"':
		return s.double()
	case r == '\\':
		return s.escaped()
	case strings.ContainsRune(shellSyntax, r), r == '#' && !s.inside:
		return &shellSyntaxError{r}
	default:
		s.add(r)
	}
	return nil
}

func (s *splitter) escaped() error {
	if len(s.remaining) == 0 {
		return errUnfinished
	}
	if r := s.next(); r != '\n' { // a backslash before the end of a line takes it away
		s.add(r)
	}
	return nil
}

func (s *splitter) single() error {
	s.inside = true
	for len(s.remaining) > 0 {
		r := s.next()
		if r == '\'' {
			return nil
		}
		s.add(r)
	}
	return errUnfinished
}

func (s *splitter) double() error {
	s.inside = true
	for len(s.remaining) > 0 {
		switch r := s.next(); {
		case r == '"':
			return nil
		case strings.ContainsRune(quotedShellSyntax, r):
			return &shellSyntaxError{r}
		case r == '\\':
			if err := s.escapedInDouble(); err != nil {
				return err
			}
		default:
			s.add(r)
		}
	}
	return errUnfinished
}

// escapedInDouble keeps the backslash before what needs none.
func (s *splitter) escapedInDouble() error {
	if len(s.remaining) == 0 {
		return errUnfinished
	}
	r := s.next()
	if !strings.ContainsRune("\"\\$`\n", r) {
		s.add('\\')
	}
	if r != '\n' {
		s.add(r)
	}
	return nil
}
