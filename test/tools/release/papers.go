package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Media types of what is attached to an image.
const (
	billType       = "application/spdx+json"
	provenanceType = "application/vnd.in-toto+json"
)

// spdxPackage is a package of a bill of materials, see https://spdx.github.io/spdx-spec/v2.3/package-information/.
type spdxPackage struct {
	ID               string    `json:"SPDXID"`
	Name             string    `json:"name"`
	Version          string    `json:"versionInfo,omitempty"`
	DownloadLocation string    `json:"downloadLocation"`
	FilesAnalyzed    bool      `json:"filesAnalyzed"`
	References       []spdxRef `json:"externalRefs,omitempty"`
}

type spdxRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxRelation struct {
	Element string `json:"spdxElementId"`
	Related string `json:"relatedSpdxElement"`
	Type    string `json:"relationshipType"`
}

// bill is the bill of materials of a program, in SPDX 2.3, from what the Go compiler noted in it: each module with its version.
func (m *maker) bill(p program, binary string) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	main := spdxPackage{ID: "SPDXRef-Main", Name: p.name, Version: m.version, DownloadLocation: "https://github.com/sluice-delivery/sluice"}
	packages := []spdxPackage{main}
	relations := []spdxRelation{{"SPDXRef-DOCUMENT", main.ID, "DESCRIBES"}}
	add := func(path, version string) {
		id := fmt.Sprintf("SPDXRef-%d", len(packages))
		packages = append(packages, spdxPackage{
			ID: id, Name: path, Version: version, DownloadLocation: "NOASSERTION",
			References: []spdxRef{{"PACKAGE-MANAGER", "purl", purl(path, version)}},
		})
		relations = append(relations, spdxRelation{main.ID, id, "DEPENDS_ON"})
	}
	add("std", strings.TrimPrefix(info.GoVersion, "go"))
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		add(d.Path, d.Version)
	}
	return json.MarshalIndent(map[string]any{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": p.name + " " + m.version,
		"documentNamespace": fmt.Sprintf("https://github.com/sluice-delivery/sluice/spdx/%s/%s/%s", p.name, m.version, m.commit),
		"creationInfo":      map[string]any{"created": m.made.Format("2006-01-02T15:04:05Z"), "creators": []string{"Organization: The Sluice Authors", "Tool: test/tools/release"}},
		"packages":          packages,
		"relationships":     relations,
	}, "", " ")
}

// purl is the name of a Go module for those who look up what is known of it, see https://github.com/package-url/purl-spec.
func purl(path, version string) string {
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return "pkg:golang/" + strings.Join(parts, "/") + "@" + url.PathEscape(version)
}

// provenance says from which commit and how an image was built, as a statement of in-toto with the predicate of SLSA 1.0, see
// https://slsa.dev/spec/v1.0/provenance. It is not signed: whoever publishes signs it.
func (m *maker) provenance(p program, arch string, image v1.Hash) ([]byte, error) {
	return json.Marshal(map[string]any{
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       []any{map[string]any{"name": p.name, "digest": map[string]string{image.Algorithm: image.Hex}}},
		"predicateType": "https://slsa.dev/provenance/v1",
		"predicate": map[string]any{
			"buildDefinition": map[string]any{
				"buildType":          "https://github.com/sluice-delivery/sluice/blob/main/docs/releases.md",
				"externalParameters": map[string]any{"version": m.version, "program": p.name, "platform": "linux/" + arch},
				"resolvedDependencies": []any{map[string]any{
					"uri": "git+https://github.com/sluice-delivery/sluice", "digest": map[string]string{"gitCommit": m.commit},
				}},
			},
			"runDetails": map[string]any{"builder": map[string]string{"id": "https://github.com/sluice-delivery/sluice/tree/main/test/tools/release"}},
		},
	})
}
