package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// InstallCRDs installs or updates the CustomResourceDefinitions in the given
// YAML files, or in all YAML files of given folders, and waits until the API
// server serves them. Other objects in the files are an error.
func (c *Cluster) InstallCRDs(ctx context.Context, paths ...string) error {
	crds, err := readCRDs(paths)
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		return err
	}
	api, err := c.Client(scheme)
	if err != nil {
		return err
	}
	jobs := make([]func() error, 0, len(crds))
	for _, crd := range crds {
		jobs = append(jobs, func() error { return installCRD(ctx, api, crd) })
	}
	return parallel(jobs...)
}

func installCRD(ctx context.Context, api client.Client, crd *apiextensionsv1.CustomResourceDefinition) error {
	key := client.ObjectKeyFromObject(crd)
	what := "CustomResourceDefinition " + key.Name
	err := api.Create(ctx, crd)
	if apierrors.IsAlreadyExists(err) {
		old := &apiextensionsv1.CustomResourceDefinition{}
		if err = api.Get(ctx, key, old); err == nil {
			crd.ResourceVersion = old.ResourceVersion
			err = api.Update(ctx, crd)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return waitFor(ctx, what, 30*time.Second, nil, func(ctx context.Context) error {
		if err := api.Get(ctx, key, crd); err != nil {
			return err
		}
		for _, condition := range crd.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return nil
			}
		}
		return errors.New("not established")
	})
}

func readCRDs(paths []string) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	var crds []*apiextensionsv1.CustomResourceDefinition
	for _, path := range paths {
		files := []string{path}
		if info, err := os.Stat(path); err != nil {
			return nil, err
		} else if info.IsDir() {
			if files, err = filepath.Glob(filepath.Join(path, "*.y*ml")); err != nil {
				return nil, err
			}
		}
		for _, file := range files {
			found, err := readCRDFile(file)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			crds = append(crds, found...)
		}
	}
	return crds, nil
}

func readCRDFile(file string) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var crds []*apiextensionsv1.CustomResourceDefinition
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		err := documents.Decode(crd)
		switch {
		case errors.Is(err, io.EOF):
			return crds, nil
		case err != nil:
			return nil, err
		case crd.Kind == "": // an empty document
		case crd.Kind != "CustomResourceDefinition":
			return nil, fmt.Errorf("%s %s is not a CustomResourceDefinition", crd.Kind, crd.Name)
		default:
			crds = append(crds, crd)
		}
	}
}
