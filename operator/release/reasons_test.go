package release_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// People's tools go by reasons, so each is in the table of events.
func TestReasonsAreDocumented(t *testing.T) {
	raw, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(raw), "\n## Events\n")
	if !found {
		t.Fatal("there is no section on events")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	file, err := parser.ParseFile(token.NewFileSet(), "reasons.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	reasons := 0
	ast.Inspect(file, func(n ast.Node) bool {
		literal, ok := n.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		reason, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		reasons++
		if !strings.Contains(section, "`"+reason+"`") {
			t.Errorf("docs/compatibility.md does not say what the reason %s of an event is about", reason)
		}
		return true
	})
	if reasons < 30 {
		t.Errorf("%d reasons were found", reasons)
	}
}
