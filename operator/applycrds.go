package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"io/fs"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilversion "k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	chart "github.com/sluice-delivery/sluice/charts/sluice"
)

const (
	// applyCRDsCommand is the first argument of the command line that brings the CRDs of this version to a cluster. Helm
	// leaves CRDs that are there alone, older ones and Flagger's too.
	applyCRDsCommand = "apply-crds"
	// crdVersion is the annotation of a CRD that says of which version of Sluice it is.
	crdVersion = "sluice.dev/version"
	crdManager = "sluice-crds"
)

// applyCRDs applies the CRDs that are in the program.
func applyCRDs(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := options{}
	f := flag.NewFlagSet("sluice "+applyCRDsCommand, flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; without it $KUBECONFIG, else the service account of the pod")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	config, err := kubeConfig(o.kubeconfig, o)
	if err != nil {
		return err
	}
	api, err := client.New(config, client.Options{Scheme: runtime.NewScheme()})
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	return applyAll(ctx, api, version, stdout)
}

// applyAll is applyCRDs with what a test replaces.
func applyAll(ctx context.Context, api client.Client, version string, stdout io.Writer) error {
	files, err := fs.Glob(chart.CRDs, "crds/*.yaml")
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := chart.CRDs.ReadFile(file)
		if err != nil {
			return err
		}
		said, err := applyCRD(ctx, api, text, version)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		fmt.Fprintln(stdout, said)
	}
	return nil
}

// applyCRD applies one, and says what it did. One of a newer version stays: an older one would have the API server drop
// fields of it from the objects that are there.
func applyCRD(ctx context.Context, api client.Client, text []byte, version string) (string, error) {
	crd := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(text, &crd.Object); err != nil {
		return "", err
	}
	// The API server notes it, and refuses what is applied by hand with it.
	unstructured.RemoveNestedField(crd.Object, "metadata", "creationTimestamp")
	there := &metav1.PartialObjectMetadata{}
	there.SetGroupVersionKind(crd.GroupVersionKind())
	if err := api.Get(ctx, client.ObjectKeyFromObject(crd), there); err != nil && !errors.IsNotFound(err) {
		return "", err
	}
	if its := there.Annotations[crdVersion]; newer(its, version) {
		return fmt.Sprintf("%s stays, as it is of version %s and this is %s", crd.GetName(), its, version), nil
	}
	annotations := crd.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[crdVersion] = version
	crd.SetAnnotations(annotations)
	if err := api.Apply(ctx, client.ApplyConfigurationFromUnstructured(crd), client.FieldOwner(crdManager), client.ForceOwnership); err != nil {
		return "", err
	}
	return crd.GetName() + " is applied", nil
}

// newer tells whether version a is newer than b; what is no version is older than every one.
func newer(a, b string) bool {
	va, err := utilversion.ParseSemantic(a)
	if err != nil {
		return false
	}
	vb, err := utilversion.ParseSemantic(b)
	return err == nil && vb.LessThan(va)
}
