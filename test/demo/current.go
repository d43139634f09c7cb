package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// currentOptions are what is wanted of a demo in a cluster of the user's.
type currentOptions struct {
	yes   bool // without a question
	keep  bool // until the user ends it
	clean bool // nothing but remove what an earlier one left
	// edit changes the Canary, for a test that can't wait; nil leaves it as it is.
	edit func(*unstructured.Unstructured)
}

// demo is one that runs in a cluster of the user's.
type demo struct {
	*target
	app        rig.App
	found      *findings
	out        io.Writer
	dir        string // of this machine, for logs and data
	kubeconfig string
	programs   []*cluster.Program
}

// runInCurrent is the show in the cluster of the current context of the user's kubeconfig.
func runInCurrent(ctx context.Context, in io.Reader, out io.Writer, o currentOptions) (err error) {
	t, err := connect()
	if err != nil {
		return err
	}
	d := &demo{target: t, app: rig.App{API: t.api, Namespace: demoNamespace}, out: out}
	if o.clean {
		return d.cleanUp(ctx)
	}
	if d.found, err = t.look(ctx); err != nil {
		return err
	}
	plan(out, t, d.found)
	if len(d.found.obstacles) > 0 {
		for _, o := range d.found.obstacles {
			err = errors.Join(err, errors.New(o))
		}
		return fmt.Errorf("the demo can't run in this cluster; nothing was made: %w", err)
	}
	if !o.yes {
		agreed, err := confirm(in, out)
		if err != nil || !agreed {
			fmt.Fprintln(out, "Nothing was made.")
			return err
		}
	}
	if d.dir, err = os.MkdirTemp("", "sluice-demo-"); err != nil {
		return err
	}
	defer func() {
		if cleaning := d.cleanUp(ctx); cleaning != nil {
			err = errors.Join(withoutInterrupt(err), cleaning)
		}
	}()
	return d.show(ctx, o)
}

// withoutInterrupt is an error that is not that the user has ended the demo.
func withoutInterrupt(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// show makes everything and has the stages performed.
func (d *demo) show(ctx context.Context, o currentOptions) error {
	if err := d.install(ctx); err != nil {
		return err
	}
	if err := d.deploy(ctx); err != nil {
		return err
	}
	dashboard, err := d.operate(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\nWatch it in the dashboard:\n\n  %s\n", dashboard)
	caller, err := startedClient(ctx, d.clients, time.Minute)
	if err != nil {
		return err
	}
	fmt.Fprintln(d.out, "\npodinfo 6.0.0 serves, and a client in a pod calls it some ten times a second.")
	for _, s := range d.stages(o.edit) {
		got, err := perform(ctx, d.out, &d.app, caller, s)
		if ctx.Err() != nil {
			return ctx.Err() // the user has ended it
		}
		got.print(d.out)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", s.title, err), summary(ctx, d.out, d.kubeconfig, demoNamespace))
		}
	}
	if err := summary(ctx, d.out, d.kubeconfig, demoNamespace); err != nil {
		return err
	}
	if o.keep {
		fmt.Fprintf(d.out, "\nEverything stays until you press Ctrl-C. The dashboard is at\n\n  %s\n\nIn another terminal:\n\n  kubectl --context %s -n %s get canaries\n",
			dashboard, d.context, demoNamespace)
		<-ctx.Done()
	}
	return nil
}

// install makes the namespace and the kinds that the cluster lacks, each with the mark by which it is removed.
func (d *demo) install(ctx context.Context) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: demoNamespace, Labels: map[string]string{managedBy: managedByDemo}}}
	for name, value := range d.found.injection {
		namespace.Labels[name] = value
	}
	if err := d.api.Create(ctx, namespace); err != nil {
		return fmt.Errorf("make namespace %s: %w", demoNamespace, err)
	}
	for _, crd := range d.found.missing {
		crd.Labels = map[string]string{managedBy: managedByDemo}
		if err := d.api.Create(ctx, crd); err != nil {
			return fmt.Errorf("make CustomResourceDefinition %s: %w", crd.Name, err)
		}
	}
	return rig.Await(ctx, "the kinds of Sluice", time.Minute, func(ctx context.Context) error {
		for _, crd := range d.found.missing {
			now := &apiextensionsv1.CustomResourceDefinition{}
			if err := d.api.Get(ctx, client.ObjectKeyFromObject(crd), now); err != nil {
				return err
			}
			if !established(now) {
				return fmt.Errorf("%s is not served yet", crd.Name)
			}
		}
		return nil
	})
}

func established(crd *apiextensionsv1.CustomResourceDefinition) bool {
	for _, c := range crd.Status.Conditions {
		if c.Type == apiextensionsv1.Established {
			return c.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}

// deploy makes the application and its client, and waits until they run.
func (d *demo) deploy(ctx context.Context) error {
	fmt.Fprintln(d.out, "\nWaiting for the pods, whose image may have to be pulled.")
	if err := d.app.Create(ctx, "http.yaml", d.forProvider); err != nil {
		return err
	}
	for _, name := range []string{rig.Name, "client"} {
		if err := d.app.AwaitAvailable(ctx, name, 5*time.Minute); err != nil {
			return err
		}
	}
	if d.found.provider != "istio" {
		return nil
	}
	pods, err := d.clients.CoreV1().Pods(demoNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range pods.Items {
		if !hasSidecar(&pods.Items[i]) {
			return fmt.Errorf("pod %s got no sidecar of Istio's by the label %s of its namespace", pods.Items[i].Name, d.found.injection)
		}
	}
	return nil
}

// forProvider leaves out of the manifests what is for clusters without a mesh only: the test of a canary without users.
func (d *demo) forProvider(u *unstructured.Unstructured) {
	if d.found.provider == "istio" && u.GetKind() == "Deployment" && u.GetName() == "client" {
		containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
		_ = unstructured.SetNestedSlice(u.Object, containers[:1], "spec", "template", "spec", "containers") // it is ours
	}
}

// hasSidecar tells whether a pod has Istio's proxy, which is an init container where Kubernetes has sidecars.
func hasSidecar(pod *corev1.Pod) bool {
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		if c.Name == "istio-proxy" {
			return true
		}
	}
	return false
}

// operate starts the operator and what it asks, on this machine, and returns the address of the dashboard.
func (d *demo) operate(ctx context.Context) (string, error) {
	d.kubeconfig = filepath.Join(d.dir, "kubeconfig")
	if err := d.write(d.kubeconfig); err != nil {
		return "", err
	}
	prometheus, err := d.measure(ctx)
	if err != nil {
		return "", err
	}
	binary, err := cluster.Binary("sluice")
	if err != nil {
		return "", err
	}
	address, err := freeAddress()
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	operator, err := d.launch("sluice", binary, "-kubeconfig", d.kubeconfig, "-namespace", demoNamespace, "-port", port,
		"-mesh-provider", d.found.provider, "-providers", d.found.provider, "-metrics-server", prometheus, "-allowed-addresses", "127.0.0.0/8,::1")
	if err != nil {
		return "", err
	}
	if err := awaitReady(ctx, operator, "the operator", "http://"+address+"/readyz"); err != nil {
		return "", err
	}
	dashboard, err := openDashboard(ctx, d.kubeconfig)
	if err != nil {
		return "", err
	}
	return dashboard.String(), nil
}

// launch starts a program on this machine, which ends with the demo.
func (d *demo) launch(name string, argv ...string) (*cluster.Program, error) {
	p, err := cluster.Launch(name, filepath.Join(d.dir, name+".log"), nil, argv...)
	if err == nil {
		d.programs = append(d.programs, p)
	}
	return p, err
}

// slow is the environment in which podinfo takes its time with each request.
var slow = []corev1.EnvVar{
	{Name: "PODINFO_RANDOM_DELAY", Value: "true"}, {Name: "PODINFO_RANDOM_DELAY_UNIT", Value: "ms"},
	{Name: "PODINFO_RANDOM_DELAY_MIN", Value: "700"}, {Name: "PODINFO_RANDOM_DELAY_MAX", Value: "800"},
}

// stages are the show in a cluster of the user's: the first three of that in one of its own.
func (d *demo) stages(edit func(*unstructured.Unstructured)) []stage {
	var edits []func(*unstructured.Unstructured)
	if edit != nil {
		edits = append(edits, edit)
	}
	manifest := "canary-bluegreen.yaml"
	if d.found.provider == "istio" {
		manifest = "canary-weights.yaml"
	}
	return []stage{
		{
			title: "A Canary is applied: the running application is taken over",
			begin: func(ctx context.Context) error { return d.app.Create(ctx, manifest, edits...) },
			phase: v1beta1.PhaseInitialized, limit: 3 * time.Minute,
		},
		{
			title: "Release 6.0.1, which is good",
			begin: func(ctx context.Context) error { return d.app.Release(ctx, "6.0.1") },
			phase: v1beta1.PhaseSucceeded, limit: 5 * time.Minute,
		},
		{
			title: "Release 6.0.2, which takes 0.7 s for a request",
			begin: func(ctx context.Context) error { return d.app.Release(ctx, "6.0.2", slow...) },
			phase: v1beta1.PhaseFailed, limit: 5 * time.Minute,
		},
	}
}
