package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Channels of the Gateway API, by the names of their folders.
const (
	GatewayStandard     = "standard"
	GatewayExperimental = "experimental"
)

// GatewayCRDs returns the files with the CRDs of routes and Gateways, of one channel of the
// Gateway API, from the module that this module is built with. InstallCRDs takes them.
func GatewayCRDs(ctx context.Context, channel string) (files []string, err error) {
	for _, kind := range []string{"gatewayclasses", "gateways", "httproutes", "grpcroutes", "referencegrants"} {
		file, err := inModule(ctx, "sigs.k8s.io/gateway-api", "config", "crd", channel, "gateway.networking.k8s.io_"+kind+".yaml")
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// ContourCRDs returns the file with the CRDs of Contour, from the module that its tool is built with. InstallCRDs takes it.
func ContourCRDs(ctx context.Context) (string, error) {
	return inModuleOf(ctx, filepath.Join("test", "tools", "contour"), "github.com/projectcontour/contour", "examples", "contour", "01-crds.yaml")
}

// KnativeCRDs returns the file with the CRD of Knative's Services, from the module that its tool is built with. InstallCRDs takes it.
func KnativeCRDs(ctx context.Context) (string, error) {
	return inModuleOf(ctx, filepath.Join("test", "tools", "knative"), "knative.dev/serving", "config", "core", "300-resources", "service.yaml")
}

// TraefikCRDs returns the file with the CRD of TraefikServices, from Traefik's module. InstallCRDs takes it.
func TraefikCRDs(ctx context.Context) (string, error) {
	return inModuleOf(ctx, filepath.Join("test", "tools", "traefik"), "github.com/traefik/traefik/v3",
		"docs", "content", "reference", "dynamic-configuration", "traefik.io_traefikservices.yaml")
}

// ArgoRolloutsCRDs are the files with the kinds of Argo Rollouts, of the release that bin/rollouts-controller is.
func ArgoRolloutsCRDs(ctx context.Context) ([]string, error) {
	var out []string
	for _, kind := range []string{"rollout", "analysis-run", "analysis-template", "cluster-analysis-template", "experiment"} {
		file, err := inModuleOf(ctx, filepath.Join("test", "tools", "argorollouts"), "github.com/argoproj/argo-rollouts", "manifests", "crds", kind+"-crd.yaml")
		if err != nil {
			return nil, err
		}
		out = append(out, file)
	}
	return out, nil
}

// inModule is the path of a file of a module that this one is built with, in the
// module cache.
func inModule(ctx context.Context, module string, path ...string) (string, error) {
	return inModuleOf(ctx, ".", module, path...)
}

// inModuleOf is the path of a file of a module that the one in a folder is built with, in the module cache.
func inModuleOf(ctx context.Context, folder, module string, path ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module)
	cmd.Dir = filepath.Join(root, folder)
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOWORK=off") // the namespace has no way out
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
		}
		return "", fmt.Errorf("find module %s: %w", module, err)
	}
	file := filepath.Join(append([]string{string(bytes.TrimSpace(out))}, path...)...)
	if !isFile(file) {
		return "", fmt.Errorf("%s is not in the module cache: run: go mod download %s", filepath.Join(path...), module)
	}
	return file, nil
}

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
	return waitFor(ctx, what, readyLimit, nil, func(ctx context.Context) error {
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
