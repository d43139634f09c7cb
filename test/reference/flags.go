package main

import (
	"go/ast"
	"go/token"
	"go/types"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers/factory"
)

// flagOf is one of the operator's.
type flagOf struct{ name, kind, value, usage string }

// filesWithFlags are those of the packages that register flags of the operator.
func filesWithFlags() (all []*ast.File, err error) {
	for _, folder := range []string{"operator", "operator/tracing"} {
		files, err := parse(folder)
		if err != nil {
			return nil, err
		}
		all = append(all, files...)
	}
	return all, nil
}

// flagsPage has the flags of the operator and of its other commands, from where they are registered.
func flagsPage() (string, error) {
	files, err := filesWithFlags()
	if err != nil {
		return "", err
	}
	constants := map[string]string{"factory.IngressPrefix": factory.IngressPrefix, "time.Second": "s"}
	for _, file := range files {
		for name, value := range constantsOf(file) {
			constants[name] = value
		}
	}
	for _, folder := range []string{"operator/secrets"} {
		others, err := parse(folder)
		if err != nil {
			return "", err
		}
		for _, file := range others {
			for name, value := range constantsOf(file) {
				constants[file.Name.Name+"."+name] = value
			}
		}
	}
	var all []flagOf
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			if f, ok := n.(*ast.FuncDecl); ok && !ofOperator(f.Name.Name) {
				return false
			}
			if f, ok := flagIn(n, constants); ok {
				all = append(all, f)
			}
			return true
		})
	}
	for i := range all {
		if all[i].name == "selector-labels" { // whose value is set before it is registered
			all[i].value = strings.Join(workload.DefaultSelectorLabels(), ",")
		}
	}
	slices.SortFunc(all, func(a, b flagOf) int { return strings.Compare(a.name, b.name) })
	var out strings.Builder
	out.WriteString("# Flags\n\n" + note)
	out.WriteString(`Flags of the operator, ` + "`sluice`" + `, in the order of the alphabet. ` + "`sluice -h`" + ` prints them; an unknown one is an error. The chart sets most of
them by its [values](../../charts/sluice/README.md). Flags of Flagger's that have no effect, and what else differs:
[compatibility](../compatibility.md#flags).

`)
	head(&out, "flag", "default", "what it does")
	for _, f := range all {
		row(&out, code("-"+f.name), code(f.value), sentence(asFlags(f.usage)))
	}
	return out.String(), nil
}

// ofOperator tells whether a function registers flags of the operator itself, and not of another command.
func ofOperator(function string) bool {
	return function == "register" || function == "Register" || function == "consulFlags"
}

// flagIn is the flag that a call registers.
func flagIn(n ast.Node, constants map[string]string) (flagOf, bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return flagOf{}, false
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return flagOf{}, false
	}
	if x, ok := method.X.(*ast.Ident); !ok || x.Name != "f" {
		return flagOf{}, false
	}
	kind, isVar := strings.CutSuffix(method.Sel.Name, "Var")
	switch {
	case isVar && kind != "" && len(call.Args) == 4:
		return flagOf{text(call.Args[1], constants), kind, text(call.Args[2], constants), text(call.Args[3], constants)}, true
	case isVar && kind == "" && len(call.Args) == 3:
		return flagOf{text(call.Args[1], constants), "", "", text(call.Args[2], constants)}, true
	case method.Sel.Name == "Func" && len(call.Args) == 3:
		return flagOf{text(call.Args[0], constants), "", "", text(call.Args[1], constants)}, true
	}
	return flagOf{}, false
}

// text is what an expression is, as far as it can be said without running it.
func text(e ast.Expr, constants map[string]string) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			s, _ := strconv.Unquote(e.Value)
			return s
		}
		return e.Value
	case *ast.BinaryExpr:
		return text(e.X, constants) + text(e.Y, constants)
	case *ast.UnaryExpr:
		return e.Op.String() + text(e.X, constants)
	case *ast.Ident, *ast.SelectorExpr:
		name := types.ExprString(e)
		if value, ok := constants[name]; ok {
			return value
		}
		return name
	case *ast.CallExpr:
		if types.ExprString(e.Fun) == "os.Getenv" {
			return "$" + text(e.Args[0], constants)
		}
	}
	return types.ExprString(e)
}

// constantsOf are the constants of a file that are texts.
func constantsOf(file *ast.File) map[string]string {
	out := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		g, ok := n.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			return true
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			for i, name := range v.Names {
				if i < len(v.Values) {
					if lit, ok := v.Values[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
						out[name.Name], _ = strconv.Unquote(lit.Value)
					}
				}
			}
		}
		return true
	})
	return out
}

// marked are names of flags and variables, addresses, and templates.
var marked = regexp.MustCompile(`\S*\{\{[^}]*\}\}[^\s,;]*|\$[A-Z_]+|\B-[a-z]+(-[a-z]+)*|\S+://[^\s,;]+`)

// asFlags marks what is no word of the language.
func asFlags(usage string) string { return marked.ReplaceAllStringFunc(usage, code) }
