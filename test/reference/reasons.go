package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
)

// reason is one of an event or a condition.
type reason struct {
	name, value, meaning string
	severity             string // of the alert about it, empty for none
}

// quiet are the reasons of conditions alone that say that all is well.
var quiet = []string{"Valid"}

// troubles is the page that says what to do about each reason.
const troubles = "docs/troubleshooting.md"

// reasonsPage has the types of conditions and all reasons.
func reasonsPage() (string, error) {
	conditions, err := conditionsOf("api/v1beta1")
	if err != nil {
		return "", err
	}
	all, err := reasonsOf("operator")
	if err != nil {
		return "", err
	}
	page, err := os.ReadFile(troubles)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	out.WriteString("# Conditions and events\n\n" + note)
	out.WriteString(`What a Canary says of itself. Conditions are in its status and say what is; events say what happened. A condition has a reason, an event too, from
one list, and a reason never changes its meaning. When a condition is True, False or absent is in [how a release goes](../rollout.md#conditions).

## Conditions

`)
	head(&out, "type", "what it says")
	for _, c := range conditions {
		row(&out, code(c.value), c.meaning)
	}
	out.WriteString("\n## Reasons\n\nIn the ordinary course a condition's reason is the phase. The severity is that of the [alert](../alerts.md) about an event with it, where there is one; " +
		"while a release is under way, or where it ends one, it may be higher. A reason that somebody may have to do something about leads to what.\n\n")
	head(&out, "reason", "severity", "what it means")
	var lacks error
	for _, r := range all {
		name := code(r.value)
		if strings.Contains(string(page), "\n### "+r.value+"\n") {
			name = fmt.Sprintf("[%s](../troubleshooting.md#%s)", name, anchor(r.value))
		} else if r.severity == "warn" || r.severity == "error" {
			lacks = errors.Join(lacks, fmt.Errorf("%s has no section ### %s", troubles, r.value))
		}
		row(&out, name, r.severity, r.meaning)
	}
	return out.String(), lacks
}

// conditionsOf are the types of conditions, in their order.
func conditionsOf(folder string) ([]reason, error) {
	files, err := parse(folder)
	if err != nil {
		return nil, err
	}
	var out []reason
	for _, file := range files {
		out = append(out, constants(file, "Condition")...)
	}
	for i := range out {
		out[i].meaning = strings.TrimPrefix(out[i].meaning, out[i].name+" ")
		out[i].meaning = strings.ToUpper(out[i].meaning[:1]) + out[i].meaning[1:]
	}
	return out, nil
}

// reasonsOf are the reasons of all packages below a folder, sorted, and how severe alerts about them are.
func reasonsOf(folder string) ([]reason, error) {
	folders, err := below(folder)
	if err != nil {
		return nil, err
	}
	severities, err := severitiesOf("operator/alerting")
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var out []reason
	for _, folder := range folders {
		files, err := parse(folder)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			for _, r := range append(constants(file, "Reason"), constants(file, "reason")...) {
				if r.meaning == "" {
					return nil, fmt.Errorf("%s.%s has no comment that says what it means", file.Name.Name, r.name)
				}
				if seen[r.value] {
					continue
				}
				seen[r.value] = true
				severity, known := severities[r.name]
				if !known {
					severity, known = severities[r.value]
				}
				if !known && !slices.Contains(quiet, r.value) {
					severity = "warn" // a mistake that has no rule of its own
				}
				r.severity = severity
				out = append(out, r)
			}
		}
	}
	slices.SortFunc(out, func(a, b reason) int { return strings.Compare(a.value, b.value) })
	return out, nil
}

// constants are the constants of a file whose names begin so and that are texts, with their comments.
func constants(file *ast.File, prefix string) []reason {
	var out []reason
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			if !strings.HasPrefix(v.Names[0].Name, prefix) || len(v.Values) != 1 {
				continue
			}
			lit, ok := v.Values[0].(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				continue
			}
			value, _ := strconv.Unquote(lit.Value)
			doc := v.Doc
			if doc == nil && len(g.Specs) == 1 {
				doc = g.Doc
			}
			text := strings.Join(strings.Fields(doc.Text()), " ")
			text = strings.TrimPrefix(strings.TrimPrefix(text, v.Names[0].Name+": "), v.Names[0].Name+" is the reason ")
			if text != "" {
				text = strings.ToUpper(text[:1]) + text[1:]
			}
			out = append(out, reason{name: v.Names[0].Name, value: value, meaning: text})
		}
	}
	return out
}

// severitiesOf are those that the rules of alerts give to reasons, by the names of their constants or by their values.
func severitiesOf(folder string) (map[string]string, error) {
	files, err := parse(folder)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			kv, ok := n.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			key := name(kv.Key)
			if lit, ok := kv.Key.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				key, _ = strconv.Unquote(lit.Value)
			} else if !strings.HasPrefix(key, "Reason") {
				return true
			}
			out[key] = severity(kv.Value)
			return true
		})
	}
	if len(out) < 50 {
		return nil, fmt.Errorf("only %d rules of alerts were found in %s", len(out), folder)
	}
	return out, nil
}

// severity is that of a rule: that of its field, a warning for a mistake, and none for what is quiet.
func severity(rule ast.Expr) string {
	if name(rule) == "mistake" {
		return "warn"
	}
	literal, ok := rule.(*ast.CompositeLit)
	if !ok {
		return ""
	}
	for _, e := range literal.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok && name(kv.Key) == "severity" {
			return strings.ToLower(strings.TrimPrefix(name(kv.Value), "Severity"))
		}
	}
	return ""
}

// name is that of an identifier, without its package.
func name(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}
