package integration

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/odd"
)

// settings are kinds with many fields that nobody reads but Contour.
var settings = []string{"ContourConfiguration", "ContourDeployment"}

// testOdd has a tenant write odd objects, as many as the API server takes, of all kinds that are served, and then the Canary of
// another one be served as ever: by an operator that was there before, and by one that starts with all of them.
func testOdd(t *testing.T, e *environment) {
	if err := e.live.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "odd"}}); err != nil {
		t.Fatal(err)
	}
	before := startOperator(t, e)
	for _, crd := range definitions(t, e) {
		if crd.Spec.Scope != apiextensionsv1.NamespaceScoped || slices.Contains(settings, crd.Spec.Names.Kind) {
			continue
		}
		for _, version := range crd.Spec.Versions {
			if version.Storage {
				kind := schema.GroupVersionKind{Group: crd.Spec.Group, Version: version.Name, Kind: crd.Spec.Names.Kind}
				writeOdd(t, e.live, kind, version.Schema.OpenAPIV3Schema)
			}
		}
	}
	wantServed(t, e, before, "beside-odd")
	before.stop()
	wantServed(t, e, startOperator(t, e), "after-odd")
}

// writeOdd writes odd objects of a kind.
func writeOdd(t *testing.T, api client.Client, kind schema.GroupVersionKind, of *apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	var (
		wg           sync.WaitGroup
		mu           sync.Mutex
		tried, taken int
		atOnce       = make(chan struct{}, 8)
	)
	create := func(part string, v any) {
		tried++
		u := &unstructured.Unstructured{Object: map[string]any{}}
		if spec, ok := of.Properties["spec"]; ok && part != "spec" {
			u.Object["spec"] = odd.Least(spec)
		}
		u.Object[part] = v
		u.SetGroupVersionKind(kind)
		u.SetNamespace("odd")
		u.SetName(fmt.Sprintf("odd-%d", tried))
		atOnce <- struct{}{}
		wg.Go(func() {
			defer func() { <-atOnce }()
			if api.Create(context.WithoutCancel(t.Context()), u) == nil {
				mu.Lock()
				defer mu.Unlock()
				taken++
			}
		})
	}
	for part, properties := range of.Properties {
		var base any
		switch part {
		case "apiVersion", "kind", "metadata", "status":
			continue
		case "spec":
			if spec := odd.Spec(kind.Kind); spec != nil {
				base = spec
			}
		}
		odd.Few.Values(part, properties, base, func(_ string, v any) { create(part, v) })
	}
	wg.Wait()
	t.Logf("%s: %d of %d were taken", kind.GroupKind(), taken, tried)
}

// process is an operator as it is shipped.
type process struct {
	command *exec.Cmd
	ended   chan error
	log     bytes.Buffer
}

func startOperator(t *testing.T, e *environment) *process {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{ended: make(chan error, 1)}
	p.command = exec.CommandContext(t.Context(), filepath.Join(root, "bin", "sluice"), "-kubeconfig", e.Kubeconfig(), "-port", "0", "-mesh-provider", "istio", "-coverage", "copy")
	p.command.Stderr = &p.log
	if err := p.command.Start(); err != nil {
		t.Fatalf("%v: build it with: make build", err)
	}
	go func() { p.ended <- p.command.Wait() }()
	t.Cleanup(p.stop)
	return p
}

func (p *process) stop() {
	if p.command.Process.Kill() == nil {
		p.ended <- <-p.ended
	}
}

// wantServed makes a Canary, and waits for what an operator makes of it before it has pods.
func wantServed(t *testing.T, e *environment, by *process, namespace string) {
	t.Helper()
	labels := map[string]string{"app": "web"}
	target := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}}},
		},
	}
	canary := &unstructured.Unstructured{Object: map[string]any{"spec": odd.Spec("Canary")}}
	canary.SetGroupVersionKind(v1beta1.GroupVersion.WithKind("Canary"))
	canary.SetNamespace(namespace)
	canary.SetName("web")
	for _, o := range []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, target, canary} {
		if err := e.live.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		select {
		case err := <-by.ended:
			by.ended <- err
			return false, fmt.Errorf("the operator ended: %w", err)
		default:
		}
		err := e.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "web-primary"}, &appsv1.Deployment{})
		return err == nil, client.IgnoreNotFound(err)
	})
	if err != nil {
		lines := strings.Split(by.log.String(), "\n")
		t.Errorf("the primary is not made: %v; the end of the log:\n%s", err, strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
}
