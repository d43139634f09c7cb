package coverage

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// expression is a selector as Calico writes it: a condition on labels in words of its own.
// Source: https://docs.tigera.io/calico/latest/reference/resources/networkpolicy#selectors
type expression struct {
	op    string // "and", "or", "not", "all", "has", "==", "!=", "in", "not in", "contains", "starts with", "ends with"
	parts []expression
	key   string
	value []string
}

// Matches implements selector.
func (e expression) Matches(of labels.Labels) bool {
	value, has := of.Get(e.key), e.key != "" && of.Has(e.key)
	some := func(is func(want string) bool) bool { return slices.ContainsFunc(e.value, is) }
	switch e.op {
	case "all", "not", "and", "or":
		return e.combined(of)
	case "has":
		return has
	case "!=", "not in":
		return !has || !slices.Contains(e.value, value)
	case "contains":
		return has && some(func(want string) bool { return strings.Contains(value, want) })
	case "starts with":
		return has && some(func(want string) bool { return strings.HasPrefix(value, want) })
	case "ends with":
		return has && some(func(want string) bool { return strings.HasSuffix(value, want) })
	default: // "==", "in"
		return has && slices.Contains(e.value, value)
	}
}

// combined is Matches of what is made of other expressions, or of none.
func (e expression) combined(of labels.Labels) bool {
	switch e.op {
	case "not":
		return !e.parts[0].Matches(of)
	case "or":
		return slices.ContainsFunc(e.parts, func(p expression) bool { return p.Matches(of) })
	default: // "all", "and"
		return !slices.ContainsFunc(e.parts, func(p expression) bool { return !p.Matches(of) })
	}
}

// String implements selector.
func (e expression) String() string {
	var of []string
	for _, p := range e.parts {
		text := p.String()
		if p.op == "and" || p.op == "or" {
			text = "(" + text + ")"
		}
		of = append(of, text)
	}
	quoted := make([]string, len(e.value))
	for i, v := range e.value {
		quoted[i] = "'" + v + "'"
		if strings.Contains(v, "'") {
			quoted[i] = strconv.Quote(v)
		}
	}
	switch e.op {
	case "all":
		return "all()"
	case "not":
		return "!" + of[0]
	case "and":
		return strings.Join(of, " && ")
	case "or":
		return strings.Join(of, " || ")
	case "has":
		return "has(" + e.key + ")"
	case "in", "not in":
		return e.key + " " + e.op + " {" + strings.Join(quoted, ", ") + "}"
	default:
		return e.key + " " + e.op + " " + quoted[0]
	}
}

// turned is the expression with the value to of a label, and no other, where it names from.
func (e expression) turned(label, from, to string) expression {
	out := e
	out.parts = nil
	for _, p := range e.parts {
		out.parts = append(out.parts, p.turned(label, from, to))
	}
	if e.key == label && (e.op == "==" || e.op == "in") && slices.Contains(e.value, from) {
		out.value = []string{to}
	}
	return out
}

// parseExpression reads a selector. The empty one is for all.
func parseExpression(text string) (expression, error) {
	p := &expressions{remaining: strings.TrimSpace(text)}
	if p.remaining == "" {
		return expression{op: "all"}, nil
	}
	e, err := p.either()
	if err == nil && p.remaining != "" {
		err = fmt.Errorf("%q is not understood", p.remaining)
	}
	return e, err
}

// expressions reads from the front of what is left.
type expressions struct{ remaining string }

// take takes a word or a sign, if it is next.
func (p *expressions) take(sign string) bool {
	after, found := strings.CutPrefix(p.remaining, sign)
	if found {
		p.remaining = strings.TrimSpace(after)
	}
	return found
}

func (p *expressions) either() (expression, error) { return p.several("or", "||", p.both) }
func (p *expressions) both() (expression, error)   { return p.several("and", "&&", p.one) }

func (p *expressions) several(op, sign string, part func() (expression, error)) (expression, error) {
	out := expression{op: op}
	for {
		e, err := part()
		if err != nil {
			return e, err
		}
		out.parts = append(out.parts, e)
		if !p.take(sign) {
			break
		}
	}
	if len(out.parts) == 1 {
		return out.parts[0], nil
	}
	return out, nil
}

func (p *expressions) one() (expression, error) {
	switch {
	case p.take("!"):
		e, err := p.one()
		return expression{op: "not", parts: []expression{e}}, err
	case p.take("("):
		e, err := p.either()
		if err == nil && !p.take(")") {
			err = fmt.Errorf("a ) is missing before %q", p.remaining)
		}
		return e, err
	case p.take("all()"):
		return expression{op: "all"}, nil
	case p.take("has("):
		e := expression{op: "has", key: p.name()}
		if e.key == "" || !p.take(")") {
			return e, fmt.Errorf("%q is not a label", p.remaining)
		}
		return e, nil
	default:
		return p.comparison()
	}
}

func (p *expressions) comparison() (e expression, err error) {
	if e.key = p.name(); e.key == "" {
		return e, fmt.Errorf("%q is not a label", p.remaining)
	}
	for _, op := range []string{"==", "!=", "not in", "in", "contains", "starts with", "ends with"} {
		if !p.take(op) {
			continue
		}
		e.op = op
		if op != "in" && op != "not in" {
			e.value, err = p.values("", "")
			return e, err
		}
		e.value, err = p.values("{", "}")
		return e, err
	}
	return e, fmt.Errorf("%q is not a condition", p.remaining)
}

// name reads the key of a label.
func (p *expressions) name() string {
	end := strings.IndexFunc(p.remaining, func(r rune) bool { return !strings.ContainsRune("._-/", r) && !isLetter(r) })
	if end < 0 {
		end = len(p.remaining)
	}
	name := p.remaining[:end]
	p.remaining = strings.TrimSpace(p.remaining[end:])
	return name
}

func isLetter(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// values reads one quoted text or, between brackets, several.
func (p *expressions) values(open, closed string) (out []string, err error) {
	if !p.take(open) {
		return nil, fmt.Errorf("%s is missing before %q", open, p.remaining)
	}
	for {
		if p.remaining == "" || !strings.ContainsRune(`'"`, rune(p.remaining[0])) {
			return nil, fmt.Errorf("%q is not a quoted text", p.remaining)
		}
		quote := p.remaining[:1]
		text, after, found := strings.Cut(p.remaining[1:], quote)
		if !found {
			return nil, fmt.Errorf("%q does not end", p.remaining)
		}
		out, p.remaining = append(out, text), strings.TrimSpace(after)
		if closed == "" {
			return out, nil
		}
		if p.take(closed) {
			return out, nil
		}
		if !p.take(",") {
			return nil, fmt.Errorf("%s is missing before %q", closed, p.remaining)
		}
	}
}
