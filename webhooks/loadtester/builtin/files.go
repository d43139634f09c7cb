package builtin

import (
	"os"
	"path/filepath"
	"strings"
)

// file is the path of a file that a command line names. Who may write a Canary writes command lines, and the requests
// that a load generator makes may carry a file anywhere: so it must be in the data folder, which holds what is meant
// for this. Links count as what they lead to.
func file(dataDir, name string) (string, error) {
	if dataDir == "" {
		return "", usagef("%s: the load tester has no data folder to read files from (-data-dir)", name)
	}
	root, err := filepath.EvalSymlinks(dataDir)
	if err != nil {
		return "", usagef("the data folder: %v", err)
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(dataDir, path)
	}
	path, err = filepath.EvalSymlinks(path)
	if err == nil && !strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/") {
		err = os.ErrPermission
	}
	if err != nil { // nothing is told about what is elsewhere
		return "", usagef("%s: no file in the data folder %s", name, dataDir)
	}
	return path, nil
}
