package sources

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// lasting is how long what was read from files is used before a look whether it
// has changed.
const lasting = 5 * time.Second

// maxFile is how many bytes of a file are read at most. No certificate has more.
const maxFile = 1 << 20

// Files reads credentials from a directory in which each file is a key, as a
// Secret is mounted into a pod. A Secret that is rotated is there without a restart.
type Files struct {
	// Directory of the files.
	Directory string
	// Keys are the names of the files that are read. Empty means those that a Prometheus may ask for.
	Keys []string
	// Clock tells when to look again.
	Clock clock.PassiveClock

	mu   sync.Mutex
	read time.Time
	data map[string][]byte
}

// Keys that a Prometheus may ask for.
func keys() []string {
	return []string{"username", "password", "token", "ca.crt", "tls.crt", "tls.key"}
}

// Data gives the content of the files. It must not be changed.
func (f *Files) Data() (map[string][]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.Clock.Now()
	if f.data != nil && now.Sub(f.read) < lasting {
		return f.data, nil
	}
	data := map[string][]byte{}
	wanted := f.Keys
	if len(wanted) == 0 {
		wanted = keys()
	}
	for _, key := range wanted {
		content, err := readFile(filepath.Join(f.Directory, key))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("credentials: %w", err)
		default:
			data[key] = content
		}
	}
	f.data, f.read = data, now
	return data, nil
}

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", filepath.Base(name), maxFile)
	}
	return os.ReadFile(name) //nolint:gosec // its directory is the operator's own setting
}
