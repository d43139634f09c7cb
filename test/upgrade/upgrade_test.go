// Package upgrade takes the chart through its life in a cluster: from an older version to this one, back, forth again, and
// away, each in mid-release and under requests, with the rights that the chart gives and no others.
package upgrade

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// older is the chart of an earlier version, as a user has it installed. Its operator is not here: that of this version stands for
// it where one is to be at work, which is before the upgrade never.
const older = "testdata/sluice-0dd6c8c.tgz"

const (
	releaseName = "sluice"
	namespace   = "sluice-system"
	limit       = 2 * time.Minute
)

func TestMain(m *testing.M) { cluster.Main(m) }

// installation is the chart in a cluster, and the operator that its Deployment would run.
type installation struct {
	*rig.Rig

	t        *testing.T
	chart    string
	operator *cluster.Program
	refused  []string
}

func TestUpgrade(t *testing.T) {
	r, err := rig.StartWithoutCRDs(t.Context(), "", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	chart, err := rig.Chart()
	if err != nil {
		t.Fatal(err)
	}
	x := &installation{Rig: r, t: t, chart: chart}
	values := []string{"--namespace", namespace, "--no-hooks", "--set", "leaderElection.enabled=false"}

	x.helm(append([]string{"install", releaseName, older, "--create-namespace"}, values...)...)
	x.must(r.DeployPodinfo(t.Context()))
	x.must(r.Create(t.Context(), "canary.yaml", slowly)) // as it was accepted then
	requests, err := r.Call(t.Context(), 50)
	x.must(err)
	before := x.report(requests)

	x.hook("crd-upgrade.yaml")
	x.helm(append([]string{"upgrade", releaseName, chart}, values...)...)
	x.wantCRDs()
	x.start()
	x.must(r.AwaitPhase(t.Context(), v1beta1.PhaseInitialized, limit))
	x.must(r.Release(t.Context(), "6.0.1"))
	x.awaitWeight(20)
	began := x.canary().Status.StartedAt

	// Back to the chart before: its operator can't be run here, and until somebody upgrades again nobody is at work.
	x.stop()
	x.helm("rollback", releaseName, "1", "--namespace", namespace, "--no-hooks")
	x.wantCRDs() // Helm leaves them alone, so that no field of a status is lost
	x.keepsWeight(20)

	x.hook("crd-upgrade.yaml")
	x.helm(append([]string{"upgrade", releaseName, chart, "--set", "logLevel=debug"}, values...)...)
	x.start()
	x.awaitWeight(30)
	if now := x.canary().Status.StartedAt; !began.Equal(now) {
		t.Errorf("the release that began at %s began again at %s", began, now)
	}
	x.must(r.AwaitPhase(t.Context(), v1beta1.PhaseSucceeded, limit))

	x.must(r.Release(t.Context(), "6.0.2"))
	x.awaitWeight(20)
	x.stop()
	uninstall := x.templated("uninstall.yaml")
	x.helm("uninstall", releaseName, "--namespace", namespace, "--no-hooks")
	x.run(uninstall)
	x.keepsWeight(20)
	x.gone()
	x.must(rig.Await(t.Context(), "some requests after it", limit, func(context.Context) error {
		if n := x.report(requests).Total - before.Total; n < 1000 { //nolint:contextcheck // it reads for as long as the test runs
			return fmt.Errorf("%d requests", n)
		}
		return nil
	}))
	if sent := x.report(requests).Sub(before); sent.Failed > 0 {
		t.Errorf("%d of %d requests have failed: %s", sent.Failed, sent.Total, strings.Join(sent.Errors, "; "))
	}
	if len(x.refused) > 0 {
		t.Errorf("the chart's rights were too narrow:\n%s", strings.Join(x.refused, "\n"))
	}
}

// slowly has steps last long enough to do something in one of them.
func slowly(u *unstructured.Unstructured) {
	if u.GetKind() == "Canary" {
		_ = unstructured.SetNestedField(u.Object, "3s", "spec", "analysis", "interval")
	}
}

func (x *installation) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

func (x *installation) helm(args ...string) string {
	x.t.Helper()
	out, err := x.Helm(x.t.Context(), args...)
	x.must(err)
	return out
}

func (x *installation) canary() *v1beta1.Canary {
	x.t.Helper()
	c, err := x.Canary(x.t.Context())
	x.must(err)
	return c
}

func (x *installation) report(of *cluster.Client) cluster.Report {
	x.t.Helper()
	out, err := of.Report(x.t.Context())
	x.must(err)
	return out
}

// start runs what the chart's Deployment would, as its ServiceAccount.
func (x *installation) start() {
	x.t.Helper()
	var d appsv1.Deployment
	x.must(x.API.Get(x.t.Context(), client.ObjectKey{Namespace: namespace, Name: releaseName}, &d))
	pod := d.Spec.Template.Spec
	kubeconfig, err := x.ServiceAccountKubeconfig(x.t.Context(), namespace, pod.ServiceAccountName)
	x.must(err)
	x.operator, err = x.StartOperator(x.t.Context(), kubeconfig, append(pod.Containers[0].Args, "-metrics-server="+x.PrometheusURL())...)
	x.must(err)
}

// stop ends it, as the end of its pod does.
func (x *installation) stop() {
	x.t.Helper()
	x.operator.Stop(20 * time.Second)
	log, err := os.ReadFile(x.operator.Log())
	x.must(err)
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "forbidden") {
			x.refused = append(x.refused, line)
		}
	}
}

// templated is a template of this version's chart.
func (x *installation) templated(template string) string {
	x.t.Helper()
	return x.helm("template", releaseName, x.chart, "--namespace", namespace, "--show-only", "templates/"+template)
}

// hook does what a hook of the chart does.
func (x *installation) hook(template string) {
	x.t.Helper()
	x.run(x.templated(template))
}

// run does the Job of a hook, which no node of this cluster does: it runs its container as its ServiceAccount, with the rights
// that are made for it, and takes these away.
func (x *installation) run(manifest string) {
	x.t.Helper()
	ctx := x.t.Context()
	var job *batchv1.Job
	var made []*unstructured.Unstructured
	for documents := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096); ; {
		u := &unstructured.Unstructured{}
		if err := documents.Decode(&u.Object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			x.t.Fatal(err)
		}
		if u.GetKind() == "Job" {
			job = &batchv1.Job{}
			text, err := u.MarshalJSON()
			x.must(err)
			x.must(json.Unmarshal(text, job))
			continue
		}
		x.must(x.API.Create(ctx, u))
		made = append(made, u)
	}
	pod := job.Spec.Template.Spec
	kubeconfig, err := x.ServiceAccountKubeconfig(ctx, namespace, pod.ServiceAccountName)
	x.must(err)
	binary, err := cluster.Binary("sluice")
	x.must(err)
	// A Job is tried again, as what it may do is known to the API server a moment after it is said.
	x.must(rig.Await(ctx, job.Name, limit, func(ctx context.Context) error {
		args := append(slices.Clone(pod.Containers[0].Args), "-kubeconfig", kubeconfig)
		if out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
		}
		return nil
	}))
	for _, u := range made {
		x.must(x.API.Delete(ctx, u))
	}
}

// wantCRDs finds the fields of this version in the API server's schema.
func (x *installation) wantCRDs() {
	x.t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	for _, name := range []string{"canaries.flagger.app", "releasepolicies.sluice.dev"} {
		if err := x.API.Get(x.t.Context(), client.ObjectKey{Name: name}, u); err != nil {
			x.t.Fatalf("%s, which is newer than the chart before: %v", name, err)
		}
		if u.GetAnnotations()["sluice.dev/version"] == "" {
			x.t.Errorf("%s was not brought to this version", name)
		}
	}
}

// awaitWeight waits for a step of the release.
func (x *installation) awaitWeight(weight int32) {
	x.t.Helper()
	x.must(rig.Await(x.t.Context(), fmt.Sprintf("weight %d", weight), limit, func(ctx context.Context) error {
		c, err := x.Canary(ctx)
		if err == nil && c.Status.CanaryWeight < weight {
			err = fmt.Errorf("it is %s with weight %d", c.Status.Phase, c.Status.CanaryWeight)
		}
		return err
	}))
}

// keepsWeight finds the release where it was while no operator is there.
func (x *installation) keepsWeight(least int32) {
	x.t.Helper()
	if st := x.canary().Status; st.Phase != v1beta1.PhaseProgressing || st.CanaryWeight < least {
		x.t.Errorf("it is %s with weight %d, and no operator is there", st.Phase, st.CanaryWeight)
	}
}

// gone deletes the Canary after the operator: the deletion waits for nobody, and what serves goes on.
func (x *installation) gone() {
	x.t.Helper()
	c := x.canary()
	x.must(x.API.Delete(x.t.Context(), c))
	x.must(rig.Await(x.t.Context(), "the deletion of the Canary", 10*time.Second, func(ctx context.Context) error {
		if err := x.API.Get(ctx, client.ObjectKeyFromObject(c), c); !apierrors.IsNotFound(err) {
			return errors.Join(err, fmt.Errorf("it has the finalizers %v", c.Finalizers))
		}
		return nil
	}))
	var primary appsv1.Deployment
	x.must(x.API.Get(x.t.Context(), client.ObjectKey{Namespace: x.Namespace, Name: rig.Name + "-primary"}, &primary))
	if primary.Status.AvailableReplicas == 0 {
		x.t.Error("no pod of the primary serves")
	}
}
