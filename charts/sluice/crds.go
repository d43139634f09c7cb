// Package chart has what the chart installs, for those who judge by it without an API server.
package chart

import "embed"

// CRDs are the CustomResourceDefinitions, in the folder crds.
//
//go:embed crds/*.yaml
var CRDs embed.FS
