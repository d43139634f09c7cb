package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is nobody's, as the charts and the restricted pod security standard ask for.
const user = "65532:65532"

// certificates is where Go looks for the authorities that it trusts.
const certificates = "etc/ssl/certs/ca-certificates.crt"

// image makes a program's image for all architectures, with its bill of materials and its provenance attached, as an
// archive of the OCI image layout.
func (m *maker) image(ctx context.Context, p program, scratch string) error {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	index = mutate.Annotations(index, m.annotations(p)).(v1.ImageIndex)
	var attached []mutate.IndexAddendum
	for _, arch := range m.arches {
		binary, err := m.build(ctx, p, scratch, "linux", arch)
		if err != nil {
			return err
		}
		img, err := m.imageOf(p, binary, arch)
		if err != nil {
			return err
		}
		if arch == runtime.GOARCH {
			if err := m.try(ctx, p, img); err != nil {
				return fmt.Errorf("the image does not run: %w", err)
			}
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
		papers, err := m.papers(p, binary, arch, img)
		if err != nil {
			return err
		}
		attached = append(attached, papers...)
	}
	return m.publish(ctx, p.name, m.version, index, attached)
}

// annotations are what registries show.
func (m *maker) annotations(p program) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       p.name,
		"org.opencontainers.image.description": p.title,
		"org.opencontainers.image.version":     m.version,
		"org.opencontainers.image.revision":    m.commit,
		"org.opencontainers.image.created":     m.made.Format("2006-01-02T15:04:05Z"),
		"org.opencontainers.image.source":      "https://github.com/sluice-delivery/sluice",
		"org.opencontainers.image.licenses":    "Apache-2.0",
	}
}

// imageOf has one layer: the program, and the certificates of the authorities that it trusts.
func (m *maker) imageOf(p program, binary, arch string) (v1.Image, error) {
	body, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	files, err := tarball(m.made, []entry{
		{"etc/", 0o755, nil},
		{"etc/ssl/", 0o755, nil},
		{"etc/ssl/certs/", 0o755, nil},
		{certificates, 0o644, authorities()},
		{p.name, 0o755, body},
		// Where the root file system is not read-only, Go programs want a place for temporary files.
		{"tmp/", 0o777, nil},
	})
	if err != nil {
		return nil, err
	}
	small, err := zipped(files)
	if err != nil {
		return nil, err
	}
	img, err := mutate.ConfigFile(mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1), &v1.ConfigFile{
		OS: "linux", Architecture: arch, Created: v1.Time{Time: m.made}, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint: []string{"/" + p.name}, User: user, WorkingDir: "/", Labels: m.annotations(p),
			Env: []string{"SSL_CERT_FILE=/" + certificates},
		},
	})
	if err != nil {
		return nil, err
	}
	layer, err := partial.CompressedToLayer(blob{types.OCILayer, small})
	if err != nil {
		return nil, err
	}
	return mutate.Append(img, mutate.Addendum{
		Layer: layer, History: v1.History{Created: v1.Time{Time: m.made}, CreatedBy: "test/tools/release", Comment: m.commit},
	})
}

// authorities is Mozilla's list, as the Go project keeps it. Those that are trusted with conditions, which a file of
// certificates can't tell, are left out.
func authorities() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return out.Bytes()
}

// papers are the bill of materials and the provenance of an image, which refer to it.
func (m *maker) papers(p program, binary, arch string, img v1.Image) ([]mutate.IndexAddendum, error) {
	bill, err := m.bill(p, binary)
	if err != nil {
		return nil, fmt.Errorf("bill of materials: %w", err)
	}
	if err := os.WriteFile(m.file("%s_%s_linux_%s.spdx.json", p.name, m.version, arch), bill, 0o644); err != nil {
		return nil, err
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	provenance, err := m.provenance(p, arch, digest)
	if err != nil {
		return nil, fmt.Errorf("provenance: %w", err)
	}
	subject, err := partial.Descriptor(img)
	if err != nil {
		return nil, err
	}
	var out []mutate.IndexAddendum
	for _, p := range []blob{{billType, bill}, {provenanceType, provenance}} {
		// Registries older than artifactType tell what an artifact is by its configuration.
		paper, err := artifact(v1.Manifest{ArtifactType: string(p.kind), Subject: subject}, blob{p.kind, []byte("{}")}, p)
		if err != nil {
			return nil, err
		}
		out = append(out, mutate.IndexAddendum{Add: paper})
	}
	return out, nil
}

// publish writes an archive NAME_VERSION.oci.tar, and pushes the same where that was asked for.
func (m *maker) publish(ctx context.Context, image, tag string, what mutate.Appendable, attached []mutate.IndexAddendum) error {
	file := m.file("%s_%s.oci.tar", strings.ReplaceAll(image, "/", "-"), tag)
	if err := m.writeLayout(file, tag, what, attached); err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	digest, err := what.Digest()
	if err != nil {
		return err
	}
	m.say("%s  %.1f MB  %s", filepath.Base(file), float64(info.Size())/1e6, digest)
	if m.push == "" {
		return nil
	}
	ref, err := name.ParseReference(m.push + "/" + image + ":" + tag)
	if err != nil {
		return fmt.Errorf("-push: %w", err)
	}
	if err := push(ctx, ref, what, attached); err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	m.say("pushed %s", ref)
	return nil
}

func push(ctx context.Context, ref name.Reference, what mutate.Appendable, attached []mutate.IndexAddendum) error {
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	switch what := what.(type) {
	case v1.ImageIndex:
		if err := remote.WriteIndex(ref, what, options...); err != nil {
			return err
		}
	case v1.Image:
		if err := remote.Write(ref, what, options...); err != nil {
			return err
		}
	}
	for _, a := range attached {
		digest, err := a.Add.Digest()
		if err != nil {
			return err
		}
		if err := remote.Write(ref.Context().Digest(digest.String()), a.Add.(v1.Image), options...); err != nil {
			return err
		}
	}
	return nil
}

// writeLayout writes an archive of the OCI image layout, whose files are in the order of their names.
func (m *maker) writeLayout(file, tag string, what mutate.Appendable, attached []mutate.IndexAddendum) error {
	folder, err := os.MkdirTemp("", "release-layout-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	path, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	named := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag})
	switch what := what.(type) {
	case v1.ImageIndex:
		err = path.AppendIndex(what, named)
	case v1.Image:
		err = path.AppendImage(what, named)
	}
	if err != nil {
		return err
	}
	for _, a := range attached {
		if err := path.AppendImage(a.Add.(v1.Image)); err != nil {
			return err
		}
	}
	files := map[string][]byte{}
	err = filepath.WalkDir(folder, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		inside, err := filepath.Rel(folder, p)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(inside)], err = os.ReadFile(p)
		return err
	})
	if err != nil {
		return err
	}
	var entries []entry
	for _, inside := range slices.Sorted(maps.Keys(files)) {
		entries = append(entries, entry{inside, 0o644, files[inside]})
	}
	body, err := tarball(m.made, entries)
	if err != nil {
		return err
	}
	return os.WriteFile(file, body, 0o644)
}

// try unpacks an image and runs its program with nothing but what is in it, as an empty root.
func (m *maker) try(ctx context.Context, p program, img v1.Image) error {
	folder, err := os.MkdirTemp("", "release-try-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	files := mutate.Extract(img)
	defer files.Close()
	if err := unpack(files, folder); err != nil {
		return err
	}
	out, err := runAlone(ctx, folder, "/"+p.name, "-version")
	if err != nil {
		return err
	}
	if !bytes.Contains(out, []byte(m.version)) {
		return fmt.Errorf("-version prints %q, which is not %s", bytes.TrimSpace(out), m.version)
	}
	return nil
}
