package docs

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/test/cluster"
)

// testTime is some time.
var testTime = time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // what is judged is what is returned
	cluster.Main(m)
}

// others are groups of which pages show parts of objects, or kinds that nobody here has a CRD of: their manifests are
// read, and not judged.
var others = []string{"argoproj.io", "kustomize.toolkit.fluxcd.io", "traefik.io"}

// TestOnCluster has a real API server judge what the pages say.
func TestOnCluster(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{GatewayAPI: cluster.GatewayExperimental})
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	crds := []string{filepath.Join(root, "charts", "sluice", "crds"), filepath.Join(root, "test", "integration", "testdata", "proxies.yaml")}
	for _, of := range []func(context.Context) (string, error){cluster.IstioCRDs, cluster.ContourCRDs, cluster.KnativeCRDs} {
		file, err := of(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		crds = append(crds, file)
	}
	if err := c.InstallCRDs(t.Context(), crds...); err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	api, err := c.Client(scheme)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"argocd", "delivery", "edge", "istio-system", "monitoring", "shop", "sluice-system", "test"} {
		if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("manifests", func(t *testing.T) { testManifests(t, api) })
	t.Run("examples", func(t *testing.T) { testExamples(t, api, filepath.Join(root, "docs", "reference", "examples")) })
	t.Run("commands", func(t *testing.T) {
		for _, doc := range things {
			if err := api.Create(t.Context(), read(t, doc)); err != nil && !apierrors.IsAlreadyExists(err) {
				t.Fatal(err)
			}
		}
		testCommands(t, c)
	})
}

// things are what commands of pages are about.
var things = []string{
	bases["Canary"],
	`{apiVersion: v1, kind: Service, metadata: {name: podinfo, namespace: test}, spec: {selector: {app: podinfo, rollouts-pod-template-hash: x}, ports: [{port: 9898}]}}`,
	deployment("podinfo", "podinfod"), deployment("podinfo-primary", "podinfod"), deployment("client", "curl"), deployment("loadtester", "loadtester"),
	`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: podinfo, namespace: test}, spec: {hosts: [podinfo], http: [{route: [{destination: {host: podinfo}}]}]}}`,
	`{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: podinfo, namespace: test}, spec: {rules: [{backendRefs: [{name: podinfo, port: 9898}]}]}}`,
	`{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: public, namespace: edge}, spec: {gatewayClassName: x, listeners: [{name: http, port: 80, protocol: HTTP}]}}`,
	`{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: podinfo, namespace: test}, spec: {template: {spec: {containers: [{image: x}]}}}}`,
	`{apiVersion: kuma.io/v1alpha1, kind: TrafficRoute, metadata: {name: podinfo}, mesh: default}`,
	strings.Replace(deployment("istiod", "x"), "namespace: test", "namespace: istio-system", 1), strings.Replace(deployment("prometheus", "x"), "namespace: test", "namespace: istio-system", 1),
}

func deployment(name, container string) string {
	return `{apiVersion: apps/v1, kind: Deployment, metadata: {name: ` + name + `, namespace: test}, spec: {replicas: 0, selector: {matchLabels: {app: ` + name +
		`}}, template: {metadata: {labels: {app: ` + name + `}}, spec: {containers: [{name: ` + container + `, image: x}]}}}}`
}

func read(t *testing.T, doc string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

// try has the API server judge an object, and write nothing.
func try(ctx context.Context, api client.Client, object map[string]any) error {
	u := &unstructured.Unstructured{Object: object}
	if u.GetNamespace() == "" && u.GetKind() != "ClusterReleasePolicy" && u.GetKind() != "Namespace" {
		u.SetNamespace("test")
	}
	if u.GetName() == "" && u.GetGenerateName() == "" {
		u.SetGenerateName("docs-")
	}
	return api.Create(ctx, u, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
}

// testManifests tries each manifest of each page, and each fragment of one of ours in what it can be a part of.
func testManifests(t *testing.T, api client.Client) {
	root, all := pages(t)
	tried, passed := 0, map[string]int{}
	for path, text := range all {
		for _, match := range yamlBlock.FindAllStringSubmatch(text, -1) {
			for document := range strings.SplitSeq(strings.ReplaceAll("\n"+match[2], "\n"+match[1], "\n"), "\n---\n") {
				var block any
				if err := yaml.Unmarshal([]byte(document), &block); err != nil || strings.HasPrefix(document, "\n# kustomization.yaml") {
					continue // TestManifests tells of what is no YAML
				}
				object, _ := block.(map[string]any)
				version, _ := object["apiVersion"].(string)
				group, _, _ := strings.Cut(version, "/")
				switch {
				case slices.Contains(others, group):
					passed[group]++
				case version == "" && !ours(block):
				case version == "":
					if anyTaken(t.Context(), api, block) {
						tried++
					}
				default:
					tried++
					if object["spec"] == nil && object["stringData"] == nil && object["data"] == nil {
						continue // a part of one, about its metadata
					}
					if err := try(t.Context(), api, complete(object)); err != nil {
						t.Errorf("%s has what is refused: %v\n%s", strings.TrimPrefix(path, root+"/"), err, document)
					}
				}
			}
		}
	}
	t.Logf("%d manifests were tried; without a CRD: %v", tried, passed)
	if tried < 70 {
		t.Errorf("only %d manifests were tried", tried)
	}
}

// complete lays a manifest of ours over the least of its kind.
func complete(object map[string]any) map[string]any {
	kind, _ := object["kind"].(string)
	base := map[string]any{}
	if err := yaml.Unmarshal([]byte(bases[kind]), &base); err != nil {
		panic(err) // they are above
	}
	return merge(base, object)
}

// anyTaken tells whether one of the readings of a fragment is taken. That one is valid by the schema is TestManifests' to
// tell; here it is the API server that says so.
func anyTaken(ctx context.Context, api client.Client, block any) bool {
	for _, object := range readings(block) {
		if try(ctx, api, object) == nil {
			return true
		}
	}
	return false
}

// testExamples creates the examples of the reference, and writes their status.
func testExamples(t *testing.T, api client.Client, folder string) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) < 6 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		for _, doc := range documents(t, file) {
			u := &unstructured.Unstructured{Object: doc}
			t.Run(filepath.Base(file)+"/"+u.GetName(), func(t *testing.T) {
				status, has := u.Object["status"]
				if err := api.Create(t.Context(), u, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := api.Delete(context.WithoutCancel(t.Context()), u); err != nil {
						t.Error(err)
					}
				})
				if !has {
					return
				}
				u.Object["status"] = status
				if err := api.Status().Update(t.Context(), u, &client.SubResourceUpdateOptions{UpdateOptions: client.UpdateOptions{FieldValidation: metav1.FieldValidationStrict}}); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// documents are those of a file.
func documents(t *testing.T, file string) []map[string]any {
	t.Helper()
	f, err := os.Open(file) //nolint:gosec // of the repository
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var out []map[string]any
	for decoder := utilyaml.NewYAMLOrJSONDecoder(f, 4096); ; {
		var doc map[string]any
		if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if doc != nil {
			out = append(out, doc)
		}
	}
}
