// Package tutorials types every command of docs/tutorials as the pages have it, in their order, into a shell with a real
// Kubernetes API, kubectl, helm and kubectl sluice, and compares what comes of it with what the pages show.
package tutorials

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
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

// whole is the page whose releases the test goes through to their ends: there is nothing between client and pods that it would
// lack here.
const whole = "kubernetes.md"

// accepts is what the controller of a page's mesh says of routes, which the operator waits for.
var accepts = map[string]struct {
	kind   schema.GroupVersionKind
	status func(spec, condition map[string]any) map[string]any
}{
	"apisix.md":      {schema.GroupVersionKind{Group: "apisix.apache.org", Version: "v2", Kind: "ApisixRoute"}, isNow("Accepted")},
	"contour.md":     {schema.GroupVersionKind{Group: "projectcontour.io", Version: "v1", Kind: "HTTPProxy"}, isNow("Valid")},
	"gateway-api.md": {schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"}, isTaken},
	"linkerd.md":     {schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"}, isTaken},
}

// isNow is a status with one condition.
func isNow(kind string) func(spec, condition map[string]any) map[string]any {
	return func(_, condition map[string]any) map[string]any {
		condition["type"] = kind
		return map[string]any{"conditions": []any{condition}}
	}
}

// isTaken is the status of a route of the Gateway API that all its parents have taken.
func isTaken(spec, condition map[string]any) map[string]any {
	var conditions, parents []any
	for _, kind := range []string{"Accepted", "ResolvedRefs"} {
		c := maps.Clone(condition)
		c["type"] = kind
		conditions = append(conditions, c)
	}
	refs, _ := spec["parentRefs"].([]any)
	for _, ref := range refs {
		parents = append(parents, map[string]any{"parentRef": ref, "controllerName": "example.com/controller", "conditions": conditions})
	}
	return map[string]any{"parents": parents}
}

var typed = flag.Bool("tutorials", false, "type the commands of the tutorials")

// TestTutorials goes through each page as its reader does, several pages at once, each in a cluster that it has for itself then.
func TestTutorials(t *testing.T) {
	switch {
	case !*typed:
		listSkipped(t)
		t.Skip("it takes minutes: make test-tutorials")
	case *claims == "":
		share(t)
	default:
		goThroughUnclaimed(t)
	}
}

// goThroughUnclaimed goes through the pages that no other process has taken, in one cluster, the longest first.
func goThroughUnclaimed(t *testing.T) {
	scripts, _ := scriptsOf(t)
	r := start(t)
	names := slices.Sorted(maps.Keys(scripts))
	slices.SortStableFunc(names, func(a, b string) int { return len(scripts[b]) - len(scripts[a]) })
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			if !claim(t, name) {
				t.Skip("another process goes through it")
			}
			goThrough(t, r, name, scripts[name])
		})
	}
}

func listSkipped(t *testing.T) {
	t.Helper()
	_, skipped := scriptsOf(t)
	t.Logf("commands that are not typed:\n  %s", strings.Join(skipped, "\n  "))
}

// scriptsOf are the steps of each page that has some, by its name, and the commands that are not typed, each with the reason.
func scriptsOf(t *testing.T) (scripts map[string][]step, skipped []string) {
	t.Helper()
	pages := read(t)
	readme := steps(pages["README.md"])
	delete(pages, "README.md")
	scripts = map[string][]step{}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		page := steps(pages[name])
		for _, x := range page {
			if x.skipped != "" && x.command != "" {
				skipped = append(skipped, fmt.Sprintf("%s: %s: %s", name, x.command, x.skipped))
			}
		}
		script := slices.DeleteFunc(scriptOf(name, page, readme), func(x step) bool { return x.skipped != "" })
		if len(script) > 0 {
			scripts[name] = script
		}
	}
	return scripts, skipped
}

// read returns the text of each page by its name.
func read(t *testing.T) map[string]string {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "docs", "tutorials", "*.md"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d pages, %v", len(files), err)
	}
	pages := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // of the repository
		if err != nil {
			t.Fatal(err)
		}
		pages[filepath.Base(file)] = string(text)
	}
	return pages
}

// scriptOf are the steps of a page with those of the README that it leads to. Releases are gone through on one page only.
func scriptOf(name string, page, readme []step) []step {
	skipped := ""
	if !slices.ContainsFunc(page, func(x step) bool { return x.skipped == "" }) {
		skipped = page[0].skipped
	}
	common := func(headings ...string) []step {
		var out []step
		for _, heading := range headings {
			for _, x := range under(heading, readme) {
				x.skipped = skipped
				out = append(out, x)
			}
		}
		return out
	}
	application := common("The application")
	out := application[:1:1] // app.yaml, which the pages begin with
	after := 0
	for i, x := range page {
		if x.heading == "The Canary" {
			after = i + 1
		}
	}
	for _, x := range page[:after] {
		if name == whole && x.apply && !slices.ContainsFunc(out, func(done step) bool { return done.apply }) {
			out = append(out, application[1:]...)
		}
		out = append(out, x)
	}
	out = append(out, common("The Canary")...)
	if name == whole {
		out = append(out, common("A good release", "A bad release")...)
	}
	out = append(out, page[after:]...)
	return append(out, common("Clean up")...)
}

// start brings up a cluster with the kinds of all meshes.
func start(t *testing.T) *rig.Rig {
	t.Helper()
	c := cluster.ForTest(t, cluster.Options{Node: true, Prometheus: true, ScrapePods: true, GatewayAPI: cluster.GatewayExperimental})
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	crds := []string{filepath.Join(root, "test", "integration", "testdata", "proxies.yaml")}
	for _, of := range []func(context.Context) (string, error){cluster.IstioCRDs, cluster.ContourCRDs, cluster.KnativeCRDs, cluster.TraefikCRDs} {
		file, err := of(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		crds = append(crds, file)
	}
	crds = append(crds, filepath.Join(filepath.Dir(crds[len(crds)-1]), "traefik.io_ingressroutes.yaml")) // beside the last of these
	if err := c.InstallCRDs(t.Context(), crds...); err != nil {
		t.Fatal(err)
	}
	if out, err := c.Kubectl(t.Context(), "apply", "-f", filepath.Join(root, "test", "tutorials", "testdata")); err != nil {
		t.Fatal(out, err)
	}
	scheme, err := rig.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	api, err := client.NewWithWatch(c.Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return &rig.Rig{Cluster: c, App: rig.App{API: api, Namespace: rig.Namespace}}
}

// goThrough does all steps of a page. What the chart's Deployment would run is started when that was installed. However it ends, the
// next page finds nothing of this one.
func goThrough(t *testing.T, r *rig.Rig, page string, script []step) {
	t.Cleanup(func() { cleanUp(t, r) })
	s := open(t, r.Cluster)
	control(t, r, page)
	for _, x := range script {
		s.do(t, x)
		if t.Failed() {
			t.Logf("the rest of %s is not tried", page)
			return
		}
		switch {
		case strings.HasPrefix(x.command, "helm upgrade "):
			operate(t, r)
		case strings.HasSuffix(x.command, " delete canary podinfo"):
			if err := r.AwaitAvailable(t.Context(), rig.Name, time.Minute); err != nil {
				t.Errorf("what the Canary took was not given back: %v", err)
			}
		}
	}
}

// cleanUp removes what a page has left. Where that failed in the middle this is its Canary, with a finalizer that nobody takes away any
// more as the operator is stopped by now, and a chart that may be half installed.
func cleanUp(t *testing.T, r *rig.Rig) {
	ctx := context.WithoutCancel(t.Context())
	leftovers := []string{"edge"} // of a page that has come to its end
	if t.Failed() {
		leftovers = []string{"test", "edge", "sluice-system"}
		if err := letGo(ctx, r); err != nil {
			t.Errorf("clean up: %v", err)
		}
	}
	for _, name := range leftovers {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		err := rig.Await(ctx, "the end of namespace "+name, commandLimit, func(ctx context.Context) error {
			err := r.API.Delete(ctx, namespace)
			if apierrors.IsNotFound(err) || err == nil && !t.Failed() {
				return nil
			}
			return cmp.Or(err, errors.New("it is there"))
		})
		if err != nil {
			t.Errorf("clean up: %v", err)
		}
	}
}

// letGo takes the finalizers off all Canaries.
func letGo(ctx context.Context, r *rig.Rig) error {
	canaries := &v1beta1.CanaryList{}
	if err := r.API.List(ctx, canaries); err != nil && !meta.IsNoMatchError(err) {
		return err
	}
	for i := range canaries.Items {
		c := &canaries.Items[i]
		before := c.DeepCopy()
		c.Finalizers = nil
		if err := r.API.Patch(ctx, c, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return nil
}

// operate runs the operator as the chart's Deployment says, with the rights of its ServiceAccount, until the test ends. The
// node runs no image of Sluice, and Prometheus is not behind the Service that the page names.
func operate(t *testing.T, r *rig.Rig) {
	t.Helper()
	const namespace, name = "sluice-system", "sluice"
	var d appsv1.Deployment
	if err := r.API.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &d); err != nil {
		t.Fatal(err)
	}
	pod := d.Spec.Template.Spec
	kubeconfig, err := r.ServiceAccountKubeconfig(t.Context(), namespace, pod.ServiceAccountName)
	if err != nil {
		t.Fatal(err)
	}
	args := slices.DeleteFunc(slices.Clone(pod.Containers[0].Args), func(arg string) bool {
		return strings.Contains(arg, "leader-election") // or the next page's would wait for the lease of this one
	})
	operator, err := r.StartOperator(t.Context(), kubeconfig, append(args, "-metrics-server="+r.PrometheusURL())...)
	if operator != nil {
		t.Cleanup(func() { operator.Stop(0) })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// control says of routes what the controller of a page's mesh would, until the test ends.
func control(t *testing.T, r *rig.Rig, page string) {
	of, ok := accepts[page]
	if !ok {
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-done
	})
	go func() {
		defer close(done)
		_ = rig.Await(ctx, "the end of the test", time.Hour, func(ctx context.Context) error {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(of.kind)
			if err := r.API.List(ctx, list, client.InNamespace(rig.Namespace)); err != nil {
				return err
			}
			for i := range list.Items {
				u := &list.Items[i]
				before := u.DeepCopy()
				spec, _ := u.Object["spec"].(map[string]any)
				u.Object["status"] = of.status(spec, map[string]any{
					"status": "True", "reason": "Reason", "message": "message", "observedGeneration": u.GetGeneration(), "lastTransitionTime": "2026-01-01T00:00:00Z",
				})
				_ = r.API.Status().Patch(ctx, u, client.MergeFrom(before)) // what fails is tried again
			}
			return errors.New("it goes on")
		})
	}()
}
