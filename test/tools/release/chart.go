package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.yaml.in/yaml/v3"
)

// charts are the folders below charts/ that are published.
var charts = []string{"sluice", "loadtester"}

// Media types of charts in registries, see https://helm.sh/docs/topics/registries/.
const (
	chartConfigType = "application/vnd.cncf.helm.config.v1+json"
	chartType       = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// chart packs a chart for the version, and makes an archive of the OCI image layout of it.
func (m *maker) chart(ctx context.Context, chart string) error {
	folder, err := os.MkdirTemp("", "release-chart-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	helm, err := m.helm()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, helm, "package", filepath.Join(m.root, "charts", chart),
		"--version", m.version, "--app-version", m.version, "--destination", folder)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("helm package: %w: %s", err, out)
	}
	packed, err := filepath.Glob(filepath.Join(folder, "*.tgz"))
	if err != nil || len(packed) != 1 {
		return errors.Join(err, fmt.Errorf("helm package made %d files", len(packed)))
	}
	body, about, err := m.repack(packed[0])
	if err != nil {
		return err
	}
	named := filepath.Base(packed[0])
	if err := os.WriteFile(m.file("%s", named), body, 0o644); err != nil {
		return err
	}
	m.say("%s  %.1f MB", named, float64(len(body))/1e6)
	name, _ := about["name"].(string)
	config, err := json.Marshal(about)
	if err != nil {
		return err
	}
	img, err := artifact(v1.Manifest{Annotations: map[string]string{
		"org.opencontainers.image.title": name, "org.opencontainers.image.version": m.version, "org.opencontainers.image.revision": m.commit,
	}}, blob{chartConfigType, config}, blob{chartType, body})
	if err != nil {
		return err
	}
	return m.publish(ctx, chartRepository+name, m.version, img, nil)
}

// chartRepository keeps charts apart from images of the same name.
const chartRepository = "charts/"

// helm is the one of the checkout, else the one in PATH.
func (m *maker) helm() (string, error) {
	if own := filepath.Join(m.root, "bin", "helm"); exists(own) {
		return filepath.Abs(own)
	}
	return exec.LookPath("helm")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// repack packs what helm packed anew, without the time at which it did so, and gives the Chart.yaml in it too.
func (m *maker) repack(file string) ([]byte, map[string]any, error) {
	packed, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, nil, err
	}
	var entries []entry
	about := map[string]any{}
	for r := tar.NewReader(unzipped); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		body, err := io.ReadAll(r)
		if err != nil {
			return nil, nil, err
		}
		entries = append(entries, entry{header.Name, 0o644, body})
		if filepath.Base(header.Name) == "Chart.yaml" {
			if err := yaml.Unmarshal(body, &about); err != nil {
				return nil, nil, err
			}
		}
	}
	// Helm reads Chart.yaml first, wherever it is.
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	packedAgain, err := tarball(m.made, entries)
	if err != nil {
		return nil, nil, err
	}
	small, err := zipped(packedAgain)
	return small, about, err
}
