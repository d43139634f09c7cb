package template

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	texttemplate "text/template"
	"text/template/parse"
)

// predefined are the functions of text/template itself.
var predefined = []string{
	"and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print", "printf", "println", "slice", "urlquery",
}

// inspect finds the mistakes that text/template tells of in its own words only,
// or not at all, and the keys of {{ variables.KEY }}.
func inspect(query string) (variables []string, err error) {
	tree := parse.New("query")
	tree.Mode = parse.SkipFuncCheck
	trees := map[string]*parse.Tree{}
	if _, err := tree.Parse(query, "", "", trees); err != nil {
		return nil, &Error{syntax(err)}
	}
	if len(trees) > 1 {
		return nil, &Error{"{{ define }} and {{ block }} are not for queries"}
	}
	w := &walker{}
	w.node(tree.Root, false)
	if w.wrong != "" {
		return nil, &Error{w.wrong}
	}
	slices.Sort(w.keys)
	return slices.Compact(w.keys), nil
}

// walker goes through a template and keeps the first mistake.
type walker struct {
	keys  []string
	wrong string
}

func (w *walker) mistake(format string, args ...any) {
	if w.wrong == "" {
		w.wrong = fmt.Sprintf(format, args...)
	}
}

// node looks at a node. inside is true where the dot has a meaning.
func (w *walker) node(n parse.Node, inside bool) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, child := range n.Nodes {
				w.node(child, inside)
			}
		}
	case *parse.ActionNode:
		w.pipe(n.Pipe, inside)
	case *parse.IfNode:
		w.branch(&n.BranchNode, inside, inside)
	case *parse.WithNode:
		w.branch(&n.BranchNode, inside, true)
	case *parse.RangeNode:
		// A query has to end: over the variables, and not each over each.
		if inside || !overVariables(n.Pipe) {
			w.mistake("{{ range %s }}: only {{ range variables }} is for queries", n.Pipe)
			return
		}
		w.branch(&n.BranchNode, inside, true)
	case *parse.TemplateNode:
		w.mistake("{{ template }} is not for queries")
	}
}

// overVariables tells of a pipe that it is {{ variables }} and nothing else, whatever it is assigned to.
func overVariables(p *parse.PipeNode) bool {
	if p == nil || len(p.Cmds) != 1 || len(p.Cmds[0].Args) != 1 {
		return false
	}
	of, ok := p.Cmds[0].Args[0].(*parse.IdentifierNode)
	return ok && of.Ident == "variables"
}

func (w *walker) branch(n *parse.BranchNode, inside, within bool) {
	w.pipe(n.Pipe, inside)
	w.node(n.List, within)
	w.node(n.ElseList, inside)
}

func (w *walker) pipe(p *parse.PipeNode, inside bool) {
	if p == nil {
		return
	}
	for _, command := range p.Cmds {
		for _, arg := range command.Args {
			w.argument(arg, inside)
		}
	}
}

func (w *walker) argument(n parse.Node, inside bool) {
	switch n := n.(type) {
	case *parse.PipeNode:
		w.pipe(n, inside)
	case *parse.IdentifierNode:
		w.identifier(n.Ident)
	case *parse.ChainNode:
		w.chain(n, inside)
	case *parse.FieldNode:
		if !inside {
			w.dotted(n.Ident)
		}
	case *parse.DotNode:
		if !inside {
			w.mistake("{{ . }} has no value: the variables are %s", strings.Join(Names(), ", "))
		}
	}
}

func (w *walker) identifier(name string) {
	switch {
	case slices.Contains(Names(), name), slices.Contains(predefined, name):
	case slices.Contains(Names(), strings.ToLower(name)):
		w.mistake("{{ %s }}: write {{ %s }}, in small letters", name, strings.ToLower(name))
	default:
		w.mistake("{{ %s }} is not a variable: there are %s", name, strings.Join(Names(), ", "))
	}
}

// chain looks at {{ variables.KEY }}; nothing else has parts.
func (w *walker) chain(n *parse.ChainNode, inside bool) {
	of, ok := n.Node.(*parse.IdentifierNode)
	switch {
	case !ok:
		w.argument(n.Node, inside)
	case of.Ident != "variables":
		if w.identifier(of.Ident); w.wrong == "" {
			w.mistake("{{ %s.%s }}: %s is a text and has no parts", of.Ident, strings.Join(n.Field, "."), of.Ident)
		}
	case len(n.Field) != 1:
		w.mistake("{{ variables.%s }}: a variable is a text and has no parts; for a name with dots write {{ index variables %q }}",
			strings.Join(n.Field, "."), strings.Join(n.Field, "."))
	default:
		w.keys = append(w.keys, n.Field[0])
	}
}

// dotted answers {{ .Namespace }}, which other template languages have.
func (w *walker) dotted(fields []string) {
	name := strings.ToLower(fields[0])
	written := strings.Join(fields, ".")
	switch {
	case name == "variables" && len(fields) > 1:
		w.mistake("{{ .%s }}: write {{ variables.%s }}, without the dot", written, strings.Join(fields[1:], "."))
	case slices.Contains(Names(), name):
		w.mistake("{{ .%s }}: write {{ %s }}, without the dot", written, name)
	default:
		w.mistake("{{ .%s }} is not a variable: there are %s, without a dot", written, strings.Join(Names(), ", "))
	}
}

// syntax is what text/template says without its name for the text.
func syntax(err error) string {
	for _, known := range []error{errTooLong, errMade} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	var kept *notKept
	if errors.As(err, &kept) {
		return kept.Error()
	}
	var failed texttemplate.ExecError
	if errors.As(err, &failed) {
		err = failed.Err
	}
	return "query: " + strings.TrimPrefix(strings.TrimPrefix(err.Error(), "template: "), "query:")
}
