package main

import (
	"crypto/rand"
	"log/slog"
	"net"
	"os"
	"path/filepath"
)

// localKeyPath is where a load tester leaves the key of those who may run programs beside it.
func localKeyPath(port string) string {
	return filepath.Join(os.TempDir(), "sluice-loadtester-"+port+".key")
}

// localKey makes a key for people in the pod, whose right to be there is what opens gates. They have none if it can't be
// written.
func localKey(log *slog.Logger, address net.Addr) (key []byte, forget func()) {
	_, port, err := net.SplitHostPort(address.String())
	if err != nil {
		return nil, func() {}
	}
	path := localKeyPath(port)
	key = []byte(rand.Text())
	_ = os.Remove(path) // of one that ended without a word
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = file.Write(key)
		if closeErr := file.Close(); err == nil {
			err = closeErr
		}
	}
	if err != nil {
		log.Warn("Gates can be opened only by calls that are signed, not by the command beside the load tester", "error", err)
		return nil, func() {}
	}
	return key, func() { _ = os.Remove(path) }
}
