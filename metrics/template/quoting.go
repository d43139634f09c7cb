package template

import (
	"fmt"
	"slices"
	"strings"
	texttemplate "text/template"
	"text/template/parse"
	"unicode"
)

// Quoting has the values of templateVariables stay what they are, values: the query around them belongs to somebody else.
type Quoting struct {
	// Provider is the type of the metric provider, which has its own language.
	Provider string
	// OnlyPlain refuses values outside of quotes that are more than a name or a number.
	OnlyPlain bool
}

// keep is the function that each output of a template goes through that may have a value of templateVariables in it.
const keep = "_keep"

// keepValues puts keep at the end of the pipes of a template that may put out a value of templateVariables.
func keepValues(n parse.Node) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, child := range n.Nodes {
				keepValues(child)
			}
		}
	case *parse.ActionNode:
		if len(n.Pipe.Decl) == 0 && hasValue(n.Pipe) {
			at := n.Pipe.String()
			n.Pipe.Cmds = append(n.Pipe.Cmds, &parse.CommandNode{NodeType: parse.NodeCommand, Pos: n.Pos, Args: []parse.Node{
				parse.NewIdentifier(keep).SetPos(n.Pos), &parse.StringNode{NodeType: parse.NodeString, Pos: n.Pos, Quoted: fmt.Sprintf("%q", at), Text: at},
			}})
		}
	case *parse.IfNode:
		keepValues(n.List)
		keepValues(n.ElseList)
	case *parse.WithNode:
		keepValues(n.List)
		keepValues(n.ElseList)
	case *parse.RangeNode:
		keepValues(n.List)
		keepValues(n.ElseList)
	}
}

// hasValue tells of a part of a pipe that it may give a value of templateVariables: those themselves, and whatever is
// called $x or . in the template. Names of Kubernetes need no care.
func hasValue(n parse.Node) bool {
	switch n := n.(type) {
	case *parse.PipeNode:
		return n != nil && slices.ContainsFunc(n.Cmds, func(c *parse.CommandNode) bool { return slices.ContainsFunc(c.Args, hasValue) })
	case *parse.IdentifierNode:
		return n.Ident == "variables"
	case *parse.ChainNode:
		return hasValue(n.Node)
	case *parse.VariableNode, *parse.DotNode, *parse.FieldNode:
		return true
	}
	return false
}

// notKept is why a value can't stand where it does.
type notKept struct{ message string }

func (e *notKept) Error() string { return e.message }

// keeper is what keep does in one rendering: it gives a value such that it stays a value where it stands.
func (q *Quoting) keeper(at *position) func(expression string, value any) (string, error) {
	return func(expression string, value any) (string, error) {
		text, ok := value.(string)
		if !ok {
			text = fmt.Sprint(value)
		}
		switch {
		case q == nil:
			return text, nil
		case at.bare():
			return text, q.bare(at, expression, text)
		case at.keeps(text):
			return text, nil
		}
		if escaped, ok := at.escape(text); ok && at.keeps(escaped) {
			return escaped, nil
		}
		return "", &notKept{fmt.Sprintf("{{ %s }} is in quotes or in a comment, and its value %s would end them", expression, short(text))}
	}
}

// bare says why a value can't stand outside of quotes, or inside of a text that has none to begin with.
func (q *Quoting) bare(at *position, expression, text string) error {
	if !q.OnlyPlain || at.plain(text) || at.complete(text) {
		return nil
	}
	return &notKept{fmt.Sprintf("{{ %s }} is not in quotes, so its value may have letters, digits and _ . : - only, and neither .. nor --: it is %s", expression, short(text))}
}

func short(text string) string {
	if len(text) > 64 {
		text = strings.ToValidUTF8(text[:64], "") + "..."
	}
	return fmt.Sprintf("%q", text)
}

// plain tells of a value that it is a name or a number in any language.
func (p *position) plain(value string) bool {
	more := ""
	if p.parameters {
		more = "%+~"
	}
	// What is around it could make a comment with it.
	if value == "" && p.mode() == regex && p.before == 0 {
		return false
	}
	if strings.IndexByte("/-*", p.before) >= 0 && (value == "" || value[0] == '-') || strings.HasSuffix(value, "-") {
		return false
	}
	return !strings.Contains(value, "..") && !strings.Contains(value, "--") && !strings.ContainsFunc(value, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_.:-"+more, r)
	})
}

// complete tells of a value that it is one text in quotes, as printf "%q" makes it.
func (p *position) complete(value string) bool {
	if p.mode() == regex || len(value) < 2 || strings.IndexByte(p.of.quotes, value[0]) < 0 || value[len(value)-1] != value[0] {
		return false
	}
	inner := newPosition(p.of)
	inner.enter(value[0])
	return inner.keeps(value[1 : len(value)-1])
}

// keeps tells of a value that all of it, and what follows it, is in the text or comment that it begins in.
func (p *position) keeps(value string) bool {
	if strings.IndexByte(p.of.quotes, p.mode()) >= 0 && !p.of.sure {
		return strings.IndexByte(value, p.mode()) < 0 && !strings.HasSuffix(value, string(backslash))
	}
	behind := *p
	behind.modes = slices.Clone(p.modes)
	for i := range len(value) {
		if behind.step(value[i]); len(behind.modes) != len(p.modes) {
			return false
		}
	}
	// A $ at the end would make an expression of a { that follows.
	return behind.escaped == p.escaped && !(p.of.interpolation && strings.HasSuffix(value, "$"))
}

// escape writes a value as the content of the text that it begins in; false where there is no way to.
func (p *position) escape(value string) (string, bool) {
	quote := p.mode()
	if !p.of.sure || strings.IndexByte(p.of.quotes, quote) < 0 {
		return "", false
	}
	e := string(p.of.escape)
	pairs := []string{e, e + e, string(quote), e + string(quote)}
	if p.of.escape == backslash {
		pairs = append(pairs, "\n", `\n`, "\r", `\r`)
	}
	if p.of.interpolation {
		pairs = append(pairs, "${", `\${`)
	}
	return strings.NewReplacer(pairs...).Replace(value), true
}

// withoutKeep is for parsing only.
var withoutKeep = texttemplate.FuncMap{keep: func(string, any) (string, error) { return "", nil }}
