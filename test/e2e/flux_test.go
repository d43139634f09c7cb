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

	// manifests are those of the last commit, and changed the objects that each revision has otherwise than the one before.
	manifests map[string]string
	changed   map[string]map[string]bool

	mu       sync.Mutex
	commits  int
	artifact []byte
}

func startFlux(a *app) gitTool {
	a.t.Helper()
	f := &flux{app: a, changed: map[string]map[string]bool{}}
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
	f.await("Flux's kinds to be served", func(ctx context.Context) error {
		errs := make([]error, 0, 2)
		for _, gvk := range []schema.GroupVersionKind{gitRepository, kustomization} {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(gvk)
			errs = append(errs, f.API.List(ctx, list, client.InNamespace(f.Namespace)))
		}
		return errors.Join(errs...)
	})
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
	f.note(manifests)
	f.offer()
	if f.commits == 1 {
		f.must(f.API.Create(f.t.Context(), f.object(kustomization, map[string]any{
			"interval": "2s", "path": "./", "prune": true, "timeout": "30s", "sourceRef": map[string]any{"kind": gitRepository.Kind, "name": rig.Name},
		})))
	}
}

// note keeps which objects a commit has changed.
func (f *flux) note(manifests []byte) {
	f.t.Helper()
	now, changed := map[string]string{}, map[string]bool{}
	for manifest := range strings.SplitSeq(string(manifests), "---\n") {
		var o metav1.PartialObjectMetadata
		f.must(yaml.Unmarshal([]byte(manifest), &o))
		name := o.Kind + "/" + o.Name
		now[name] = manifest
		changed[name] = f.manifests[name] != manifest
	}
	f.manifests, f.changed[f.revision()] = now, changed
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

// mostEchoes is how often Flux may say that it has configured what no commit has changed: it does so where somebody else, such as an
// autoscaler, writes an object between its read of it and its comparison. In a fight it would be at every reconciliation.
const mostEchoes = 3

// writes are read from kustomize-controller's log, which has each object that it changed.
func (f *flux) writes() (out [][]string) {
	f.t.Helper()
	raw, err := os.ReadFile(f.program.Log())
	f.must(err)
	s := bufio.NewScanner(bytes.NewReader(raw))
	s.Buffer(nil, 1<<20)
	echoes := 0
	for s.Scan() {
		var l struct {
			Msg      string            `json:"msg"`
			Revision string            `json:"revision"`
			Output   map[string]string `json:"output"`
		}
		if json.Unmarshal(s.Bytes(), &l) != nil {
			continue
		}
		var written []string
		for object, how := range l.Output {
			name := f.short(object)
			switch {
			case how == "configured" && !f.changed[l.Revision][name]:
				echoes++
			case how == "created", how == "configured":
				written = append(written, name)
			}
		}
		if list, ok := strings.CutPrefix(l.Msg, "garbage collection completed: "); ok {
			for object := range strings.SplitSeq(strings.TrimSpace(list), "\n") {
				name, _ := strings.CutSuffix(object, " deleted")
				written = append(written, f.short(name)+" deleted")
			}
		}
		if len(written) > 0 {
			slices.Sort(written)
			out = append(out, written)
		}
	}
	if echoes > mostEchoes {
		f.t.Errorf("Flux has configured what no commit has changed %d times", echoes)
	}
	return out
}

// short is "Kind/name" of "Kind/namespace/name".
func (f *flux) short(object string) string {
	return strings.Replace(object, "/"+f.Namespace+"/", "/", 1)
}
