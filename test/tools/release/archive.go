package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// entry is a file of an archive.
type entry struct {
	name string
	mode fs.FileMode
	body []byte
}

// tarball is a tar of entries in which nothing depends on the machine: no owner, no time but the given one. A name that
// ends with a slash is a folder.
func tarball(made time.Time, entries []entry) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		header := &tar.Header{
			Name: e.name, Mode: int64(e.mode.Perm()), Size: int64(len(e.body)), ModTime: made, Format: tar.FormatPAX, Typeflag: tar.TypeReg,
		}
		if strings.HasSuffix(e.name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.body); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// zipped is body compressed by gzip, without a name and a time.
func zipped(body []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// archive writes a .tar.gz with a program and the licence for one system.
func (m *maker) archive(ctx context.Context, p program, scratch, system, arch string) error {
	binary, err := m.build(ctx, p, scratch, system, arch)
	if err != nil {
		return err
	}
	body, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	licence, err := os.ReadFile(filepath.Join(m.root, "LICENSE"))
	if err != nil {
		return err
	}
	packed, err := tarball(m.made, []entry{{"LICENSE", 0o644, licence}, {filepath.Base(binary), 0o755, body}})
	if err != nil {
		return err
	}
	small, err := zipped(packed)
	if err != nil {
		return err
	}
	file := m.archiveOf(p, system, arch)
	if err := os.WriteFile(file, small, 0o644); err != nil {
		return err
	}
	m.say("%s  %.1f MB", filepath.Base(file), float64(len(small))/1e6)
	return nil
}

// archiveOf is the file of an archive.
func (m *maker) archiveOf(p program, system, arch string) string {
	return m.file("%s_%s_%s_%s.tar.gz", p.name, m.version, system, arch)
}

// checksums writes what sha256sum -c reads.
func (m *maker) checksums() error {
	entries, err := os.ReadDir(m.out)
	if err != nil {
		return err
	}
	var lines []string
	for _, e := range entries {
		if e.IsDir() || e.Name() == marker {
			continue
		}
		body, err := os.ReadFile(filepath.Join(m.out, e.Name()))
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%x  %s\n", sha256.Sum256(body), e.Name()))
	}
	slices.Sort(lines)
	return os.WriteFile(m.file("checksums.txt"), []byte(strings.Join(lines, "")), 0o644)
}
