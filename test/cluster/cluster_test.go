package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestMain(m *testing.M) { Main(m) }

const (
	testNamespace = "test"
	testLimit     = 60 * time.Second
)

// TestCluster runs its parts one after the other in one cluster, which takes
// longer to come up than any of them.
func TestCluster(t *testing.T) {
	ctx := t.Context()
	var progress strings.Builder
	c, err := Start(ctx, Options{Node: true, Istio: true, Prometheus: true, Progress: &progress})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Log("\n" + progress.String())
	api := newAPI(t, c)
	create(t, api, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testNamespace}})

	t.Run("a second cluster is refused", func(t *testing.T) {
		if _, err := Start(ctx, Options{}); err == nil {
			t.Fatal("Start succeeded while a cluster runs")
		}
	})
	t.Run("service accounts have their own rights", func(t *testing.T) { testServiceAccount(t, c, api) })
	t.Run("kubectl", func(t *testing.T) { testKubectl(t, c) })
	t.Run("pods", func(t *testing.T) { testPods(t, api) })
	t.Run("scripts of containers", func(t *testing.T) { testScripts(t, c, api) })
	t.Run("many pods", func(t *testing.T) { testManyPods(t, api) })
	t.Run("traffic", func(t *testing.T) { testTraffic(t, c, api) })
	t.Run("stop leaves nothing", func(t *testing.T) {
		if others := processesInNamespace(t); len(others) < 6 {
			t.Fatalf("want the servers and pods to run before Stop, got only %q", others)
		}
		if err := c.Stop(); err != nil {
			t.Fatal(err)
		}
		if others := processesInNamespace(t); len(others) > 0 {
			t.Errorf("still running after Stop: %q", others)
		}
		if _, err := os.Stat(c.Dir()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the temporary folder is still there (%v)", err)
		}
	})
}

func testServiceAccount(t *testing.T, c *Cluster, api client.Client) {
	meta := metav1.ObjectMeta{Name: "reader", Namespace: testNamespace}
	create(t, api, &corev1.ServiceAccount{ObjectMeta: meta})
	create(t, api, &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list"}},
	}})
	create(t, api, &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "reader", Namespace: testNamespace}},
	})
	config, err := c.ConfigFor(t.Context(), testNamespace, "reader")
	if err != nil {
		t.Fatal(err)
	}
	reader, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the role is in force", func(ctx context.Context) error {
		return reader.List(ctx, &corev1.ConfigMapList{}, client.InNamespace(testNamespace))
	})
	if err := reader.List(t.Context(), &corev1.SecretList{}, client.InNamespace(testNamespace)); !apierrors.IsForbidden(err) {
		t.Errorf("listing Secrets without the right: want forbidden, got %v", err)
	}
}

func testKubectl(t *testing.T, c *Cluster) {
	out, err := c.Kubectl(t.Context(), "get", "nodes", "--no-headers")
	if err != nil || !strings.Contains(out, "Ready") {
		t.Errorf("kubectl get nodes: %q, %v", out, err)
	}
	if _, err := c.Kubectl(t.Context(), "get", "nosuchthing"); err == nil || !strings.Contains(err.Error(), "nosuchthing") {
		t.Errorf("kubectl of an unknown kind: want an error that names it, got %v", err)
	}
}

func newAPI(t *testing.T, c *Cluster) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, networkingv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	api, err := c.Client(scheme)
	if err != nil {
		t.Fatal(err)
	}
	return api
}

func create(t *testing.T, api client.Client, object client.Object) {
	t.Helper()
	if err := api.Create(t.Context(), object); err != nil {
		t.Fatalf("create %T %s: %v", object, object.GetName(), err)
	}
}

// eventually waits until check returns nil, and fails the test with its last
// error when it does not.
func eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	if err := waitFor(t.Context(), what, testLimit, nil, check); err != nil {
		t.Fatal(err)
	}
}

// deployment is podinfo in a version, named name, with change applied.
func deployment(name, version string, replicas int32, change func(*corev1.PodTemplateSpec)) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: testNamespace},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "podinfod", Image: "ghcr.io/stefanprodan/podinfo:" + version,
					Command: []string{"./podinfo", "--port=9898", "--grpc-port=9999"},
					Ports:   []corev1.ContainerPort{{Name: "http", ContainerPort: 9898}, {Name: "grpc", ContainerPort: 9999}},
				}}},
			},
		},
	}
	if change != nil {
		change(&d.Spec.Template)
	}
	return d
}

func podsOf(ctx context.Context, api client.Client, name string) ([]corev1.Pod, error) {
	var pods corev1.PodList
	err := api.List(ctx, &pods, client.InNamespace(testNamespace), client.MatchingLabels{"app": name})
	return pods.Items, err
}

func waitReady(t *testing.T, api client.Client, name string) {
	t.Helper()
	eventually(t, "deployment "+name, func(ctx context.Context) error {
		var d appsv1.Deployment
		if err := api.Get(ctx, client.ObjectKey{Namespace: testNamespace, Name: name}, &d); err != nil {
			return err
		}
		if d.Status.ObservedGeneration < d.Generation || d.Status.ReadyReplicas != *d.Spec.Replicas {
			return fmt.Errorf("%d of %d pods are ready", d.Status.ReadyReplicas, *d.Spec.Replicas)
		}
		return nil
	})
}

// get returns the status code and body of a request to a pod.
func get(ctx context.Context, method, ip, path string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+net.JoinHostPort(ip, "9898")+path, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := probeTransport.RoundTrip(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// processesInNamespace lists the other programs in this test's network namespace.
func processesInNamespace(t *testing.T) []string {
	t.Helper()
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, link := range links {
		dir := filepath.Dir(filepath.Dir(link))
		if namespace, err := os.Readlink(link); err != nil || namespace != own || filepath.Base(dir) == fmt.Sprint(os.Getpid()) {
			continue
		}
		if name, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
			names = append(names, strings.TrimSpace(string(name)))
		}
	}
	return names
}

// TestStartSaysWhatWentWrong needs the namespace for itself, as TestCluster does.
func TestStartSaysWhatWentWrong(t *testing.T) {
	_, err := Start(t.Context(), Options{APIServerArgs: []string{"--no-such-flag"}})
	if err == nil || !strings.Contains(err.Error(), "kube-apiserver ended early") || !strings.Contains(err.Error(), "unknown flag: --no-such-flag") {
		t.Errorf("want an error with the end of the server's log, got %v", err)
	}
	if others := processesInNamespace(t); len(others) > 0 {
		t.Errorf("still running after Start failed: %q", others)
	}
	t.Chdir(t.TempDir())
	t.Setenv("KUBEBUILDER_ASSETS", "")
	if _, err := Start(t.Context(), Options{}); err == nil {
		t.Error("Start succeeded outside of the repository")
	}
}
