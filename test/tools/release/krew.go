package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// downloads is where the archives of a version are published.
const downloads = "https://github.com/sluice-delivery/sluice/releases/download/"

// krewManifest is what krew installs a plugin of kubectl by.
var krewManifest = template.Must(template.New("krew").Parse(`apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: {{.Plugin}}
spec:
  version: v{{.Version}}
  homepage: https://github.com/sluice-delivery/sluice
  shortDescription: {{.Title}}
  description: |
    Lists the releases of Canaries (flagger.app) that the operator Sluice runs, shows each as a picture, says why one
    failed or waits, takes a hand in it (promote, pause, resume, abort, retry, approve, advance), waits for it in
    pipelines with an exit status that says how it ended, and judges manifests without a cluster.
  platforms:
{{- range .Archives}}
    - selector:
        matchLabels: {os: {{.System}}, arch: {{.Arch}}}
      uri: {{.URI}}
      sha256: {{.Sum}}
      bin: {{.Binary}}
{{- end}}
`))

// krewArchive is a platform of a plugin.
type krewArchive struct{ System, Arch, URI, Sum, Binary string }

// krew writes the manifest of a plugin, with the checksums of its archives.
func (m *maker) krew(p program) error {
	content := struct {
		Plugin, Version, Title string
		Archives               []krewArchive
	}{Plugin: strings.TrimPrefix(p.name, "kubectl-"), Version: m.version, Title: p.title}
	for _, system := range p.systems {
		for _, arch := range m.arches {
			file := m.archiveOf(p, system, arch)
			body, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			content.Archives = append(content.Archives, krewArchive{
				System: system, Arch: arch, URI: downloads + "v" + m.version + "/" + filepath.Base(file),
				Sum: fmt.Sprintf("%x", sha256.Sum256(body)), Binary: p.binary(system),
			})
		}
	}
	var out bytes.Buffer
	if err := krewManifest.Execute(&out, content); err != nil {
		return err
	}
	return os.WriteFile(m.file("%s.krew.yaml", p.name), out.Bytes(), 0o644)
}
