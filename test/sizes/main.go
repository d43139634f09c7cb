// Command sizes fails where a type has more methods, a package more lines or a function
// more lines than a reader can hold in mind.
//
//	go run ./test/sizes operator providers   looks at all packages below these folders
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// limits are what is allowed of each kind of thing. What is above has an entry of its own, by
// "package.Type", "package" or "package.function", with what is allowed of it until it is mended.
// An entry that is not needed any more is a breach too, so that nothing grows back.
type limits struct {
	methods, lines, length int

	exceptions map[string]int
}

var allowed = limits{
	methods: 20,   // of a type
	lines:   2500, // of a package, without its tests
	length:  60,   // of a function
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: sizes FOLDER...")
		os.Exit(2)
	}
	breaches, err := check(".", os.Args[1:], allowed)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sizes:", err)
		os.Exit(1)
	}
	for _, b := range breaches {
		fmt.Fprintln(os.Stderr, "sizes:", b)
	}
	if len(breaches) > 0 {
		os.Exit(1)
	}
}

// check gives what is larger than allowed in the packages below folders of a module, sorted.
func check(root string, folders []string, allow limits) ([]string, error) {
	found := sizes{methods: map[string]int{}, lines: map[string]int{}, length: map[string]int{}}
	for _, folder := range folders {
		if err := found.measure(root, folder); err != nil {
			return nil, err
		}
	}
	var out []string
	used := map[string]bool{}
	for _, kind := range []struct {
		sizes map[string]int
		most  int
		what  string
	}{
		{found.methods, allow.methods, "methods"},
		{found.lines, allow.lines, "lines"},
		{found.length, allow.length, "lines"},
	} {
		for name, n := range kind.sizes {
			if n <= kind.most {
				continue
			}
			most := kind.most
			if own, ok := allow.exceptions[name]; ok {
				most, used[name] = own, true
			}
			if n > most {
				out = append(out, fmt.Sprintf("%s has %d %s, %d are allowed", name, n, kind.what, most))
			}
		}
	}
	for name := range maps.Keys(allow.exceptions) {
		if !used[name] {
			out = append(out, fmt.Sprintf("%s needs no exception any more; remove it from test/sizes", name))
		}
	}
	slices.Sort(out)
	return out, nil
}

// sizes are those of types, packages and functions by their names.
type sizes struct{ methods, lines, length map[string]int }

// measure looks at all Go files below a folder that are neither tests nor generated.
func (s sizes) measure(root, folder string) error {
	files := 0
	err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "testdata":
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files++
		name, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		return s.add(filepath.ToSlash(name), path)
	})
	if err == nil && files == 0 {
		err = fmt.Errorf("there is no Go file in %s", folder)
	}
	return err
}

// add counts a file of a package.
func (s sizes) add(name, path string) error {
	source, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	if ast.IsGenerated(file) {
		return nil
	}
	s.lines[name] += bytes.Count(source, []byte("\n"))
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		owner := name
		if f.Recv != nil {
			owner += "." + receiver(f.Recv.List[0].Type)
			s.methods[owner]++
		}
		s.length[owner+"."+f.Name.Name] = set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1
	}
	return nil
}

// receiver is the name of the type of a receiver.
func receiver(of ast.Expr) string {
	switch t := of.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr: // with a type parameter
		return receiver(t.X)
	case *ast.IndexListExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	default:
		return "?"
	}
}
