package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
)

// comments are the doc comments of types, as pkg.Type, and of their fields, as pkg.Type.Field.
type comments map[string]string

func readComments(folders ...string) (comments, error) {
	out := comments{}
	for _, folder := range folders {
		files, err := parse(folder)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			for _, d := range file.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.TYPE {
					continue
				}
				for _, spec := range g.Specs {
					out.add(filepath.Base(folder), g, spec.(*ast.TypeSpec))
				}
			}
		}
	}
	return out, nil
}

func (c comments) add(pkg string, g *ast.GenDecl, t *ast.TypeSpec) {
	name := pkg + "." + t.Name.Name
	c[name] = words(g.Doc)
	s, ok := t.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range s.Fields.List {
		for _, n := range f.Names {
			c[name+"."+n.Name] = words(f.Doc)
		}
	}
}

// words are those of a comment, without marks for tools.
func words(g *ast.CommentGroup) string {
	var lines []string
	for line := range strings.SplitSeq(g.Text(), "\n") {
		if !strings.HasPrefix(line, "+") {
			lines = append(lines, line)
		}
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

func (c comments) of(t reflect.Type) string {
	return asCode(c[filepath.Base(t.PkgPath())+"."+t.Name()])
}

// field is what is said of a field, with its name as in JSON.
func (c comments) field(t reflect.Type, name, json string) string {
	text := c[filepath.Base(t.PkgPath())+"."+t.Name()+"."+name]
	if rest, ok := strings.CutPrefix(text, name+" "); ok {
		text = code(json) + " " + rest
	}
	return asCode(strings.ReplaceAll(text, "Deprecated:", "**Deprecated**:"))
}

var braces = regexp.MustCompile(`\{+[^{}]*\}+|NAME-[a-z]+|\B-[a-z]+(-[a-z]+)+`)

// asCode marks what Markdown or Hugo would take for something else.
func asCode(text string) string {
	return braces.ReplaceAllStringFunc(text, code)
}

// parse reads the Go files of a folder, but for tests.
func parse(folder string) ([]*ast.File, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return nil, err
	}
	var out []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		out = append(out, file)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no Go files", folder)
	}
	return out, nil
}

// below are all folders with Go files below one.
func below(folder string) ([]string, error) {
	seen := map[string]bool{}
	var out []string
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if dir := filepath.Dir(path); strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") && !seen[dir] {
			seen[dir] = true
			out = append(out, dir)
		}
		return nil
	})
	return out, err
}
