package preflight

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/yaml"
)

// Schemas are those by which an API server takes an object or refuses it, without their rules in CEL, for which there is
// nothing but an API server.
type Schemas map[schema.GroupVersionKind]*validate.SchemaValidator

// ReadSchemas reads the CustomResourceDefinitions of a chart, in its folder crds.
func ReadSchemas(files fs.FS) (Schemas, error) {
	names, err := fs.Glob(files, "crds/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("read schemas: %w", err)
	}
	out := Schemas{}
	for _, name := range names {
		raw, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("read schemas: %w", err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(raw, crd); err != nil {
			return nil, fmt.Errorf("schema %s: %w", name, err)
		}
		for _, version := range crd.Spec.Versions {
			of, err := validatorOf(version.Schema)
			if err != nil {
				return nil, fmt.Errorf("schema %s: %w", name, err)
			}
			out[schema.GroupVersionKind{Group: crd.Spec.Group, Version: version.Name, Kind: crd.Spec.Names.Kind}] = of
		}
	}
	return out, nil
}

func validatorOf(of *apiextensionsv1.CustomResourceValidation) (*validate.SchemaValidator, error) {
	raw, err := json.Marshal(of.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	s := &spec.Schema{}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, err
	}
	return validate.NewSchemaValidator(s, nil, "", strfmt.Default), nil
}

// Refuses says why an API server does not take an object, nothing where it does. A kind without schema is taken.
func (s Schemas) Refuses(o *unstructured.Unstructured) []string {
	of := s[o.GroupVersionKind()]
	if of == nil {
		return nil
	}
	// Numbers that come from a cluster, from YAML and from Go differ in their type.
	raw, err := json.Marshal(o.Object)
	if err != nil {
		return []string{err.Error()}
	}
	var content map[string]any
	if err := json.Unmarshal(raw, &content); err != nil {
		return []string{err.Error()}
	}
	delete(content, "status")
	var out []string
	for _, wrong := range of.Validate(content).Errors {
		out = append(out, strings.TrimPrefix(strings.Replace(wrong.Error(), " in body ", " ", 1), "."))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
