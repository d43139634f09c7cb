package preflight

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Object is one that a file has.
type Object struct {
	*unstructured.Unstructured

	// Source is the file.
	Source string
}

// Read reads all objects of a file, of all files below a folder, or of in, where the path is "-". unread are the files
// of a folder, each with the reason, that can't be read, as the templates of a chart.
func Read(path string, in io.Reader) (objects []Object, unread []string, err error) {
	if path == "-" {
		objects, err = decode(in, "stdin")
		return objects, nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read manifests: %w", err)
	}
	if !info.IsDir() {
		objects, err = readFile(path)
		return objects, nil, err
	}
	err = filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file)):
			return nil
		}
		found, err := readFile(file)
		if err != nil {
			unread = append(unread, err.Error())
		}
		objects = append(objects, found...)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read manifests: %w", err)
	}
	return objects, unread, nil
}

func readFile(file string) ([]Object, error) {
	in, err := os.Open(file) //nolint:gosec // the user names it
	if err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	defer in.Close()
	return decode(in, file)
}

// decode reads the objects of a stream of YAML or JSON. What is no object of Kubernetes is passed over.
func decode(in io.Reader, source string) ([]Object, error) {
	var out []Object
	documents := utilyaml.NewYAMLReader(bufio.NewReader(in))
	for {
		raw, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		var content any
		if err == nil {
			err = yaml.Unmarshal(raw, &content)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
		object, ok := content.(map[string]any)
		if !ok {
			continue
		}
		u := &unstructured.Unstructured{Object: object}
		if u.GetAPIVersion() == "" || u.GetKind() == "" {
			continue
		}
		found, err := flatten(u, source)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
		out = append(out, found...)
	}
}

// flatten gives the objects of a list, or the object itself.
func flatten(u *unstructured.Unstructured, source string) ([]Object, error) {
	if !u.IsList() {
		if u.GetName() == "" {
			return nil, nil // a part of something, as a patch of kustomize
		}
		if u.GetNamespace() == "" {
			u.SetNamespace("default")
		}
		return []Object{{u, source}}, nil
	}
	var out []Object
	err := u.EachListItem(func(item runtime.Object) error {
		one, ok := item.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("%T in a list", item)
		}
		found, err := flatten(one, source)
		out = append(out, found...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", u.GetKind(), err)
	}
	return out, nil
}
