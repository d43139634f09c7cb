package e2e

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

var (
	gitRepository = schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: "GitRepository"}
	kustomization = schema.GroupVersionKind{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Kind: "Kustomization"}
)

// flux is Flux's own kustomize-controller, which reconciles every two seconds. In the place of source-controller, the test offers what
// it would have made of a repository.
type flux struct {
	*app

	url     string
	program *cluster.Program

	mu       sync.Mutex
	commits  int
	artifact []byte
}

func startFlux(a *app) gitTool {
	a.t.Helper()
	f := &flux{app: a}
	f.url = serve(a.t, f)
	f.kinds()
	binary, err := cluster.Binary("kustomize-controller")
	a.must(err)
	f.program, err = a.StartProgram("flux-"+a.Namespace, []string{"KUBECONFIG=" + a.Rig.Kubeconfig(), "RUNTIME_NAMESPACE=" + a.Namespace}, binary,
		"--watch-all-namespaces=false", "--metrics-addr=10.244.255.1:0", "--health-addr=10.244.255.1:0", "--interval-jitter-percentage=0")
	a.must(err)
	a.t.Cleanup(func() {
		if a.t.Failed() {
			raw, err := os.ReadFile(f.program.Log())
			a.t.Logf("what Flux did (%v)\n%s", err, raw)
		}
		f.program.Stop(time.Second)
	})
	return f
}

// kinds has the API server serve what kustomize-controller reads, with no schema: nobody else writes them here.
func (f *flux) kinds() {
	f.t.Helper()
	var crds bytes.Buffer
	for _, gvk := range []schema.GroupVersionKind{
		gitRepository, kustomization, gitRepository.GroupVersion().WithKind("OCIRepository"), gitRepository.GroupVersion().WithKind("Bucket"),
		gitRepository.GroupVersion().WithKind("ExternalArtifact"),
	} {
		kind := strings.ToLower(gvk.Kind)
		plural := kind + "s"
		if stem, ok := strings.CutSuffix(kind, "y"); ok {
			plural = stem + "ies"
		}
		crd := &apiextensionsv1.CustomResourceDefinition{
			TypeMeta:   metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"},
			ObjectMeta: metav1.ObjectMeta{Name: plural + "." + gvk.Group},
			Spec: apiextensionsv1.CustomResourceDefinitionSpec{
				Group: gvk.Group, Scope: apiextensionsv1.NamespaceScoped,
				Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: gvk.Kind, ListKind: gvk.Kind + "List", Plural: plural, Singular: kind},
				Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
					Name: gvk.Version, Served: true, Storage: true, Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
					Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
						Type: "object", XPreserveUnknownFields: new(true),
					}},
				}},
			},
		}
		raw, err := yaml.Marshal(crd)
		f.must(err)
		fmt.Fprintf(&crds, "---\n%s", raw)
	}
	file := f.t.TempDir() + "/crds.yaml"
	f.must(errors.Join(os.WriteFile(file, crds.Bytes(), 0o600), f.InstallCRDs(f.t.Context(), file)))
}

// ServeHTTP gives kustomize-controller the last commit.
func (f *flux) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _ = w.Write(f.artifact)
}

func (f *flux) commit(manifests []byte) {
	f.t.Helper()
	var archive bytes.Buffer
	z := gzip.NewWriter(&archive)
	files := tar.NewWriter(z)
	f.must(files.WriteHeader(&tar.Header{Name: "app.yaml", Mode: 0o644, Size: int64(len(manifests))}))
	_, err := files.Write(manifests)
	f.must(errors.Join(err, files.Close(), z.Close()))
	f.mu.Lock()
	f.commits++
	f.artifact = archive.Bytes()
	f.mu.Unlock()
	f.offer()
	if f.commits == 1 {
		f.must(f.API.Create(f.t.Context(), f.object(kustomization, map[string]any{
			"interval": "2s", "path": "./", "prune": true, "timeout": "30s", "sourceRef": map[string]any{"kind": gitRepository.Kind, "name": rig.Name},
		})))
	}
}

// offer has the GitRepository say that there is another revision.
func (f *flux) offer() {
	f.t.Helper()
	sum := sha256.Sum256(f.artifact)
	ctx := f.t.Context()
	repository := f.object(gitRepository, map[string]any{"interval": "1h", "url": "https://git.example.com/shop"})
	if f.commits == 1 {
		f.must(f.API.Create(ctx, repository))
	}
	f.must(f.API.Get(ctx, f.key(rig.Name), repository))
	now := time.Now().UTC().Format(time.RFC3339)
	repository.Object["status"] = map[string]any{
		"observedGeneration": repository.GetGeneration(),
		"artifact": map[string]any{
			"url": f.url + "/app.tar.gz", "path": "app.tar.gz", "digest": "sha256:" + hex.EncodeToString(sum[:]),
			"revision": f.revision(), "lastUpdateTime": now, "size": int64(len(f.artifact)),
		},
		"conditions": []any{map[string]any{"type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored", "lastTransitionTime": now}},
	}
	f.must(f.API.Status().Update(ctx, repository))
}

func (f *flux) revision() string { return fmt.Sprintf("main@sha1:%040d", f.commits) }

func (f *flux) object(gvk schema.GroupVersionKind, spec map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(gvk)
	u.SetNamespace(f.Namespace)
	u.SetName(rig.Name)
	return u
}

// inSync objects until the last commit is applied.
func (f *flux) inSync(ctx context.Context) error {
	if err := f.program.Err(); err != nil {
		return err
	}
	u := f.object(kustomization, nil)
	if err := f.API.Get(ctx, client.ObjectKeyFromObject(u), u); err != nil {
		return err
	}
	if applied, _, _ := unstructured.NestedString(u.Object, "status", "lastAppliedRevision"); applied != f.revision() {
		return fmt.Errorf("revision %q is applied, not %q: %v", applied, f.revision(), u.Object["status"])
	}
	return nil
}

// writes are read from kustomize-controller's log, which has each object that it changed.
func (f *flux) writes() (out [][]string) {
	f.t.Helper()
	raw, err := os.ReadFile(f.program.Log())
	f.must(err)
	s := bufio.NewScanner(bytes.NewReader(raw))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var l struct {
			Msg    string            `json:"msg"`
			Output map[string]string `json:"output"`
		}
		if json.Unmarshal(s.Bytes(), &l) != nil {
			continue
		}
		var written []string
		for object, how := range l.Output {
			if how == "created" || how == "configured" {
				written = append(written, f.short(object))
			}
		}
		if list, ok := strings.CutPrefix(l.Msg, "garbage collection completed: "); ok {
			for _, object := range strings.Split(strings.TrimSpace(list), "\n") {
				name, _ := strings.CutSuffix(object, " deleted")
				written = append(written, f.short(name)+" deleted")
			}
		}
		if len(written) > 0 {
			slices.Sort(written)
			out = append(out, written)
		}
	}
	return out
}

// short is "Kind/name" of "Kind/namespace/name".
func (f *flux) short(object string) string {
	return strings.Replace(object, "/"+f.Namespace+"/", "/", 1)
}
