package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// private are words that say something only to who wrote the code. Names are the field's, so that a newcomer has nothing
// to learn.
var private = []string{"unmoved", "unseen", "unfit", "keptup", "hear", "told", "ask", "relax", "frugal", "lean"}

// rest is what is left of a text, as elsewhere, and no state of a release: nothing but variables has that name.
const rest = "rest"

// wordsOf takes a name in camel case apart.
var wordsOf = regexp.MustCompile(`[A-Z]?[a-z0-9]+|[A-Z]+`)

// isPrivate tells whether a name is one of the words, or begins with one. "At rest" and the like are no words of ours.
func isPrivate(name string) bool {
	words := wordsOf.FindAllString(name, -1)
	return slices.Contains(private, strings.ToLower(name)) || len(words) > 0 && slices.Contains(private, strings.ToLower(words[0]))
}

func TestIsPrivate(t *testing.T) {
	for name, want := range map[string]bool{
		"told": true, "Ask": true, "askAgain": true, "keptUp": true, "AtRest": false, "restored": false, "_": false, "asks": false, "TestAsks": false,
	} {
		if got := isPrivate(name); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestNoPrivateWords reads all names in the repository, tests too.
func TestNoPrivateWords(t *testing.T) {
	const root = "../.."
	files := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "bin" || len(entry.Name()) > 2 && entry.Name()[0] == '.'):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		files++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		imported := importedBy(file)
		ast.Inspect(file, func(n ast.Node) bool {
			switch d := n.(type) {
			case *ast.FuncDecl:
				if strings.EqualFold(d.Name.Name, rest) {
					t.Errorf("%s: %s", set.Position(d.Pos()), d.Name.Name)
				}
			case *ast.TypeSpec:
				if strings.EqualFold(d.Name.Name, rest) {
					t.Errorf("%s: %s", set.Position(d.Pos()), d.Name.Name)
				}
			}
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && imported[x.Name] {
					n = s.Sel // what a package of others is called is up to them
				}
			}
			id, ok := n.(*ast.Ident)
			if ok && isPrivate(id.Name) {
				t.Errorf("%s: %s", set.Position(id.Pos()), id.Name)
			}
			return !ok
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("%d files were read", files)
	}
}

// importedBy are the last words of the paths that a file imports.
func importedBy(file *ast.File) map[string]bool {
	out := map[string]bool{}
	for _, i := range file.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil {
			out[p[strings.LastIndex(p, "/")+1:]] = true
		}
	}
	return out
}
