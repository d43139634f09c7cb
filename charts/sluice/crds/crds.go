// Package crds has the CustomResourceDefinitions as they are installed, for those who judge by them without an API server.
package crds

import "embed"

// Files are the definitions, one a file.
//
//go:embed *.yaml
var Files embed.FS
