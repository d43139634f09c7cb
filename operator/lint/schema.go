package lint

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	chart "github.com/sluice-delivery/sluice/charts/sluice"
	"github.com/sluice-delivery/sluice/operator/preflight"
)

// schemas are those of the chart's kinds, with their rules in CEL.
type schemas struct {
	preflight.Schemas

	rules map[schema.GroupVersionKind]*ruled
}

// ruled is a schema with rules.
type ruled struct {
	structural *structuralschema.Structural
	validator  *cel.Validator
}

func readSchemas(_ context.Context) (*schemas, error) {
	plain, err := preflight.ReadSchemas(chart.CRDs)
	if err != nil {
		return nil, err
	}
	out := &schemas{Schemas: plain, rules: map[schema.GroupVersionKind]*ruled{}}
	names, err := fs.Glob(chart.CRDs, "crds/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("read schemas: %w", err)
	}
	for _, name := range names {
		raw, err := fs.ReadFile(chart.CRDs, name)
		if err != nil {
			return nil, fmt.Errorf("read schemas: %w", err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(raw, crd); err != nil {
			return nil, fmt.Errorf("schema %s: %w", name, err)
		}
		for _, version := range crd.Spec.Versions {
			of, err := rulesOf(version.Schema.OpenAPIV3Schema)
			if err != nil {
				return nil, fmt.Errorf("schema %s: %w", name, err)
			}
			out.rules[schema.GroupVersionKind{Group: crd.Spec.Group, Version: version.Name, Kind: crd.Spec.Names.Kind}] = of
		}
	}
	return out, nil
}

func rulesOf(of *apiextensionsv1.JSONSchemaProps) (*ruled, error) {
	internal := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(of, internal, nil); err != nil {
		return nil, fmt.Errorf("convert: %w", err)
	}
	structural, err := structuralschema.NewStructural(internal)
	if err != nil {
		return nil, fmt.Errorf("structural schema: %w", err)
	}
	return &ruled{structural, cel.NewValidator(structural, true, celconfig.PerCallLimit)}, nil
}

// Refuses says why an API server does not take an object, nothing where it does. A kind without schema is taken. Rules
// are looked at only where the schema has nothing against the object, as the API server does.
func (s *schemas) Refuses(ctx context.Context, o *unstructured.Unstructured) []string {
	if wrong := s.Schemas.Refuses(o); len(wrong) > 0 {
		return wrong
	}
	of := s.rules[o.GroupVersionKind()]
	if of == nil || of.validator == nil {
		return nil
	}
	content, err := plainContent(o)
	if err != nil {
		return []string{err.Error()}
	}
	defaulting.Default(content, of.structural)
	wrong, _ := of.validator.Validate(ctx, nil, of.structural, content, nil, celconfig.RuntimeCELCostBudget)
	out := make([]string, 0, len(wrong))
	for _, w := range wrong {
		out = append(out, w.Field+": "+w.Detail)
	}
	return out
}

// plainContent is an object as it comes out of JSON, with whole numbers as int64, without its status.
func plainContent(o *unstructured.Unstructured) (map[string]any, error) {
	raw, err := json.Marshal(o.Object)
	if err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	out := &unstructured.Unstructured{}
	if err := out.UnmarshalJSON(raw); err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	delete(out.Object, "status")
	return out.Object, nil
}
