package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	cluster.Main(m)
}

// quick has the Canary's steps last no longer than a test has to wait. A step looks back no further than it lasts, or it would
// judge what ran before.
func quick(u *unstructured.Unstructured) {
	analysis := u.Object["spec"].(map[string]any)["analysis"].(map[string]any)
	analysis["interval"] = "3s"
	for _, m := range analysis["metrics"].([]any) {
		m.(map[string]any)["interval"] = "3s"
	}
	u.Object["spec"].(map[string]any)["drainDelaySeconds"] = int64(1)
}

// screen is what the user sees, and does at what he sees.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
	at   string
	do   func()
}

// Write implements io.Writer.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.text.Write(p)
	if s.do != nil && strings.Contains(s.text.String(), s.at) {
		s.do()
		s.do = nil
	}
	return n, err
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// place is a cluster that a user may have.
type place struct {
	*cluster.Cluster
	api client.Client
}

// TestInCurrentCluster runs the demo in the embedded cluster as in a user's: by a kubeconfig, and with an operator beside it. Its
// node is what has the images.
func TestInCurrentCluster(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Node: true})
	t.Setenv("KUBECONFIG", c.Kubeconfig())
	scheme, err := rig.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	api, err := c.Client(scheme)
	if err != nil {
		t.Fatal(err)
	}
	p := place{c, api}
	t.Run("the user says no", p.testRefused)
	t.Run("nobody can be asked", p.testNoTerminal)
	t.Run("obstacles", p.testObstacles)
	t.Run("without the rights", p.testRights)
	t.Run("a demo that was killed", p.testClean)
	t.Run("to its end", p.testShow)
	t.Run("interrupted, where the kinds were before", p.testInterrupted)
}

// unchanged fails where something is left at the end of a test: in the cluster, beyond what a namespace of its own takes with
// it, or on this machine.
func (p place) unchanged(t *testing.T) {
	t.Helper()
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	before := p.names(t)
	t.Cleanup(func() {
		if after := p.names(t); !slices.Equal(before, after) {
			t.Errorf("the cluster had\n%q, and now\n%q", before, after)
		}
		if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
			t.Errorf("on this machine %d files are left, %v", len(left), err)
		}
	})
}

// names are those of the objects of the whole cluster.
func (p place) names(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, list := range []client.ObjectList{
		&corev1.NamespaceList{}, &apiextensionsv1.CustomResourceDefinitionList{}, &rbacv1.ClusterRoleList{}, &rbacv1.ClusterRoleBindingList{}, &corev1.PersistentVolumeList{},
	} {
		if err := p.api.List(context.WithoutCancel(t.Context()), list); err != nil {
			t.Fatal(err)
		}
		if err := meta.EachListItem(list, func(o runtime.Object) error {
			out = append(out, fmt.Sprintf("%T %s", o, o.(client.Object).GetName()))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(out)
	return out
}

func (p place) testRefused(t *testing.T) {
	p.unchanged(t)
	var s screen
	if err := runInCurrent(t.Context(), strings.NewReader("n\n"), &s, currentOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"context  sluice\n", "server   https://127.0.0.1:6443, Kubernetes v1.", "Namespace sluice-demo", "canaries.flagger.app", "Istio is not there", "Go on? [y/N]", "Nothing was made."} {
		if !strings.Contains(s.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &s)
		}
	}
}

func (p place) testNoTerminal(t *testing.T) {
	p.unchanged(t)
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := runInCurrent(t.Context(), file, io.Discard, currentOptions{}); !errors.Is(err, errNoTerminal) {
		t.Errorf("got error %v", err)
	}
}

func (p place) testObstacles(t *testing.T) {
	for _, tc := range []struct {
		name   string
		object client.Object
		want   string
	}{
		{"a namespace of somebody else's", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: demoNamespace}}, "none of the demo's"},
		{"an operator", &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "flagger", Namespace: "kube-system", Labels: map[string]string{"app.kubernetes.io/name": "flagger"}},
			Spec: appsv1.DeploymentSpec{
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "flagger"}},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "flagger"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "flagger", Image: "flagger"}}}},
			},
		}, "Deployment kube-system/flagger serves Canaries there"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p.unchanged(t)
			if err := p.api.Create(t.Context(), tc.object); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { p.remove(t, tc.object) })
			err := runInCurrent(t.Context(), strings.NewReader(""), io.Discard, currentOptions{yes: true})
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "nothing was made") {
				t.Errorf("got error %v, want %q", err, tc.want)
			}
		})
	}
}

// remove deletes an object and waits until it has gone.
func (p place) remove(t *testing.T, o client.Object) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := p.api.Delete(ctx, o, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		t.Error(err)
	}
	if err := rig.Await(ctx, "the end of "+o.GetName(), canaryLimit, func(ctx context.Context) error {
		err := p.api.Get(ctx, client.ObjectKeyFromObject(o), o)
		if err == nil {
			return errors.New("it is there")
		}
		return client.IgnoreNotFound(err)
	}); err != nil {
		t.Error(err)
	}
}

func (p place) testRights(t *testing.T) {
	p.unchanged(t)
	config, err := p.ConfigFor(t.Context(), "default", "default")
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["c"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	kubeconfig.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: config.BearerToken}
	kubeconfig.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	kubeconfig.CurrentContext = "x"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*kubeconfig, path); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", path)
	err = runInCurrent(t.Context(), strings.NewReader(""), io.Discard, currentOptions{yes: true})
	if err == nil || !strings.Contains(err.Error(), "forbidden") && !strings.Contains(err.Error(), "you may not create namespaces") {
		t.Errorf("got error %v", err)
	}
}

func (p place) testClean(t *testing.T) {
	p.unchanged(t)
	target, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	d := &demo{target: target, app: rig.App{API: target.api, Namespace: demoNamespace}, out: io.Discard}
	if d.found, err = target.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.install(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: demoNamespace, Name: rig.Name, Finalizers: []string{"finalizer.flagger.app"}}}
	if err := d.app.Create(t.Context(), "canary-bluegreen.yaml", func(u *unstructured.Unstructured) { u.SetFinalizers(c.Finalizers) }); err != nil {
		t.Fatal(err)
	}
	err = runInCurrent(t.Context(), strings.NewReader(""), io.Discard, currentOptions{yes: true})
	if err == nil || !strings.Contains(err.Error(), "CLEAN=1 CLUSTER=current make demo") {
		t.Errorf("got error %v", err)
	}
	if err := runInCurrent(t.Context(), strings.NewReader(""), io.Discard, currentOptions{clean: true}); err != nil {
		t.Error(err)
	}
}

func (p place) testShow(t *testing.T) {
	p.unchanged(t)
	var s screen
	err := runInCurrent(t.Context(), strings.NewReader("yes\n"), &s, currentOptions{edit: quick})
	if err != nil {
		t.Errorf("%v\n%s", err, &s)
	}
	for _, want := range []string{"Initialized after", "Succeeded after", "Failed after", "RolledBack", "request-duration", "podinfo:6.0.2", "Nothing of it is left."} {
		if !strings.Contains(s.String(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
	t.Logf("%s", &s)
}

func (p place) testInterrupted(t *testing.T) {
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.InstallCRDs(t.Context(), filepath.Join(root, "charts", "sluice", "crds")); err != nil {
		t.Fatal(err)
	}
	p.unchanged(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := screen{at: "Progressing", do: cancel}
	if err := runInCurrent(ctx, strings.NewReader(""), &s, currentOptions{yes: true, edit: quick}); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("%v\n%s", err, &s)
	}
	if !strings.Contains(s.String(), "no CustomResourceDefinitions: they are there, and stay as they are") {
		t.Errorf("it says\n%s", &s)
	}
}
