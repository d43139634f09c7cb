package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// blob is content of a kind, as registries store it.
type blob struct {
	kind types.MediaType
	body []byte
}

func (b blob) Digest() (v1.Hash, error) {
	hash, _, err := v1.SHA256(bytes.NewReader(b.body))
	return hash, err
}

func (b blob) Compressed() (io.ReadCloser, error)  { return io.NopCloser(bytes.NewReader(b.body)), nil }
func (b blob) Size() (int64, error)                { return int64(len(b.body)), nil }
func (b blob) MediaType() (types.MediaType, error) { return b.kind, nil }

func (b blob) descriptor() (v1.Descriptor, error) {
	digest, err := b.Digest()
	return v1.Descriptor{MediaType: b.kind, Size: int64(len(b.body)), Digest: digest}, err
}

// artifact is a manifest of the OCI image format with one layer that is no part of a file system: a chart, or what is
// attached to an image. What the manifest says already stays.
func artifact(manifest v1.Manifest, config, layer blob) (v1.Image, error) {
	configured, err := config.descriptor()
	if err != nil {
		return nil, err
	}
	content, err := layer.descriptor()
	if err != nil {
		return nil, err
	}
	manifest.SchemaVersion = 2
	manifest.MediaType = types.OCIManifestSchema1
	manifest.Config, manifest.Layers = configured, []v1.Descriptor{content}
	raw, err := json.Marshal(manifest)
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(stored{raw: raw, config: config, layer: layer})
}

// stored is an artifact as a registry has it.
type stored struct {
	raw           []byte
	config, layer blob
}

func (s stored) RawConfigFile() ([]byte, error)      { return s.config.body, nil }
func (s stored) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
func (s stored) RawManifest() ([]byte, error)        { return s.raw, nil }

func (s stored) LayerByDigest(want v1.Hash) (partial.CompressedLayer, error) {
	for _, b := range []blob{s.layer, s.config} {
		if is, err := b.Digest(); err != nil {
			return nil, err
		} else if is == want {
			return b, nil
		}
	}
	return nil, fmt.Errorf("no blob %s", want)
}
