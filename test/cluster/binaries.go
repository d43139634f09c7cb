package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

const modulePath = "github.com/sluice-delivery/sluice"

// Root returns the folder of this module, found upwards from the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if line, _, _ := bytes.Cut(content, []byte("\n")); string(bytes.TrimSpace(line)) == "module "+modulePath {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod of %s in the working directory or above it", modulePath)
		}
		dir = parent
	}
}

// Binary returns the path of a server or tool: the one in the folder that KUBEBUILDER_ASSETS names, else the one that
// was built to the bin folder of the repository, whose version is pinned, else the one in PATH.
func Binary(name string) (string, error) {
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		if path := filepath.Join(assets, name); isFile(path) {
			return path, nil
		}
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "bin", name)
	if isFile(path) {
		return path, nil
	}
	if installed, err := exec.LookPath(name); err == nil {
		return installed, nil
	}
	return "", fmt.Errorf("%s is missing: build the servers with: make servers", path)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
