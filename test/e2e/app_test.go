package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// limit is how long anything may take that is not paced by an interval. It is
// generous: the machine may be busy with other things.
const limit = time.Minute

const (
	primaryName = rig.Name + "-primary"
	canaryName  = rig.Name + "-canary"
)

// app is podinfo in a namespace of its own and what a test does with it. Its
// methods end the test when something can't be done.
type app struct {
	*suite
	*rig.Rig
	t *testing.T
}

// newApp gives the app of a test. When the test fails, it tells what happened.
func newApp(t *testing.T, namespace string) *app {
	t.Helper()
	s := setUp(t)
	a := &app{suite: s, Rig: s.In(namespace), t: t}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if t.Failed() {
			a.tellAll(ctx)
		}
		// Its pods would only slow down the tests that follow.
		if _, err := a.Kubectl(ctx, "delete", "namespace", namespace, "--wait=false", "--ignore-not-found"); err != nil {
			t.Log(err)
		}
	})
	return a
}

// Kubectl runs kubectl in the app's namespace.
func (a *app) Kubectl(ctx context.Context, args ...string) (string, error) {
	return a.Rig.Kubectl(ctx, append([]string{"-n", a.Namespace}, args...)...)
}

// tellAll prints what a person would look at to find out what went wrong.
func (a *app) tellAll(ctx context.Context) {
	for _, args := range [][]string{
		{"get", "canaries", "-o", "yaml"},
		{"get", "deployments,services,pods", "-o", "wide"},
		{"get", "virtualservices,httproutes.gateway.networking.k8s.io", "-o", "yaml"},
		{"get", "events", "--field-selector", "involvedObject.kind=Canary", "--sort-by=.metadata.creationTimestamp",
			"-o", "custom-columns=TIME:.metadata.creationTimestamp,TYPE:.type,REASON:.reason,MESSAGE:.message"},
	} {
		out, err := a.Kubectl(ctx, args...)
		if err != nil {
			out += err.Error()
		}
		a.t.Logf("kubectl %s\n%s", strings.Join(args, " "), out)
	}
	lines, err := a.operatorLog(`"namespace":"` + a.Namespace + `"`)
	if err != nil {
		a.t.Log(err)
	}
	a.t.Logf("the end of the operator's log\n%s", strings.Join(lines[max(0, len(lines)-40):], "\n"))
}

func (a *app) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// deploy brings up podinfo 6.0.0 with a Service.
func (a *app) deploy() {
	a.t.Helper()
	a.deployAs(func(*appsv1.Deployment) {})
}

// deployAs is deploy with the Deployment as edit has it.
func (a *app) deployAs(edit func(*appsv1.Deployment)) {
	a.t.Helper()
	a.must(a.DeployPodinfo(a.t.Context(), func(u *unstructured.Unstructured) {
		if u.GetKind() != "Deployment" {
			return
		}
		var d appsv1.Deployment
		a.must(runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &d))
		edit(&d)
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&d)
		a.must(err)
		u.Object = object
	}))
}

// apply creates the Canary of the manifest as edit has it.
func (a *app) apply(edit func(*v1beta1.Canary)) {
	a.t.Helper()
	a.must(a.Create(a.t.Context(), "canary.yaml", func(u *unstructured.Unstructured) {
		var c v1beta1.Canary
		a.must(runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &c))
		edit(&c)
		c.Status = v1beta1.CanaryStatus{}
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&c)
		a.must(err)
		delete(object, "status")
		u.Object = object
	}))
}

// edit changes the Canary as a user does.
func (a *app) edit(change func(*v1beta1.Canary)) {
	a.t.Helper()
	c := a.canary()
	before := c.DeepCopy()
	change(c)
	a.must(a.API.Patch(a.t.Context(), c, client.MergeFrom(before)))
}

func (a *app) canary() *v1beta1.Canary {
	a.t.Helper()
	c, err := a.Canary(a.t.Context())
	a.must(err)
	return c
}

// release gives podinfo another version and environment.
func (a *app) release(version string, env ...corev1.EnvVar) {
	a.t.Helper()
	a.must(a.Release(a.t.Context(), version, env...))
}

// await waits until check has no objection.
func (a *app) await(what string, check func(context.Context) error) {
	a.t.Helper()
	a.must(rig.Await(a.t.Context(), what, limit, check))
}

// awaitPhase waits until the Canary is in a phase.
func (a *app) awaitPhase(phase v1beta1.CanaryPhase) {
	a.t.Helper()
	a.must(a.AwaitPhase(a.t.Context(), phase, limit))
}

// awaitWeight waits until the Canary has a weight.
func (a *app) awaitWeight(weight int32) {
	a.t.Helper()
	a.await(fmt.Sprintf("weight %d", weight), func(ctx context.Context) error {
		c, err := a.Canary(ctx)
		if err == nil && c.Status.CanaryWeight != weight {
			err = fmt.Errorf("it is %s with weight %d", c.Status.Phase, c.Status.CanaryWeight)
		}
		return err
	})
}

// awaitDrained waits until the canary's pods are gone.
func (a *app) awaitDrained() {
	a.t.Helper()
	a.await("the end of the canary's pods", func(ctx context.Context) error { return a.noPods(ctx, rig.Name) })
}

// awaitEvent waits for an event of the Canary name with a reason and every part
// in its message.
func (a *app) awaitEvent(name, reason string, parts ...string) {
	a.t.Helper()
	a.await("event "+reason, func(ctx context.Context) error {
		var list corev1.EventList
		if err := a.API.List(ctx, &list, client.InNamespace(a.Namespace)); err != nil {
			return err
		}
		var others []string
		for _, e := range list.Items {
			if e.InvolvedObject.Kind != "Canary" || e.InvolvedObject.Name != name {
				continue
			}
			if e.Reason == reason && containsAll(e.Message, parts) {
				return nil
			}
			others = append(others, e.Reason+": "+e.Message)
		}
		return fmt.Errorf("none with %q among\n%s", parts, strings.Join(others, "\n"))
	})
}

func containsAll(s string, parts []string) bool {
	return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(s, part) })
}

// awaitCondition waits until the Canary name has a condition with this status
// and reason and every part in its message.
func (a *app) awaitCondition(name string, kind v1beta1.CanaryConditionType, status corev1.ConditionStatus, reason string, parts ...string) {
	a.t.Helper()
	a.await(fmt.Sprintf("condition %s %s of %s", kind, status, name), func(ctx context.Context) error {
		var c v1beta1.Canary
		if err := a.API.Get(ctx, a.key(name), &c); err != nil {
			return err
		}
		got := c.Status.GetCondition(kind)
		if got == nil {
			return fmt.Errorf("it has no such condition: %+v", c.Status.Conditions)
		}
		if got.Status != status || got.Reason != reason || !containsAll(got.Message, parts) {
			return fmt.Errorf("want reason %s and %q, got %s, %s: %s", reason, parts, got.Status, got.Reason, got.Message)
		}
		return nil
	})
}

// holds makes sure that check has no objection for a while.
func (a *app) holds(what string, during time.Duration, check func(context.Context) error) {
	a.t.Helper()
	end := time.Now().Add(during)
	a.await(what, func(ctx context.Context) error {
		if err := check(ctx); err != nil {
			a.t.Fatalf("%s: %v", what, err)
		}
		if time.Now().Before(end) {
			return errors.New("not long enough yet")
		}
		return nil
	})
}

func (a *app) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: a.Namespace, Name: name}
}

// get reads an object of the app's namespace.
func get[T any, P interface {
	*T
	client.Object
}](a *app, name string) P {
	a.t.Helper()
	o := P(new(T))
	a.must(a.API.Get(a.t.Context(), a.key(name), o))
	return o
}

// gone objects to an object that is there.
func (a *app) gone(ctx context.Context, o client.Object, name string) error {
	err := a.API.Get(ctx, a.key(name), o)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err == nil:
		return fmt.Errorf("%T %s is still there", o, name)
	default:
		return err
	}
}

func image(d *appsv1.Deployment) string {
	image := d.Spec.Template.Spec.Containers[0].Image
	return image[strings.LastIndex(image, ":")+1:]
}

func replicas(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

// route is where the VirtualService sends requests: weights by host.
func route(vs *istionetworking.VirtualService) map[string]int32 {
	out := map[string]int32{}
	for _, http := range vs.Spec.Http {
		for _, d := range http.Route {
			out[d.Destination.Host] += d.Weight
		}
	}
	return out
}

// call starts a client that calls the app until the end of the test.
func (a *app) call(rate float64, edits ...func(*cluster.ClientOptions)) *caller {
	a.t.Helper()
	c, err := a.Call(a.t.Context(), rate, edits...)
	a.must(err)
	a.t.Cleanup(c.Stop)
	return &caller{Client: c, t: a.t}
}

// caller is a client whose report is had or the test ends.
type caller struct {
	*cluster.Client
	t *testing.T
}

func (c *caller) report() cluster.Report {
	c.t.Helper()
	r, err := c.Report(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// wantNoFailure makes sure that requests were made since then and none failed.
// It returns what was seen.
func (c *caller) wantNoFailure(during string, since cluster.Report) cluster.Report {
	c.t.Helper()
	seen := c.report().Sub(since)
	if seen.Total == 0 {
		c.t.Errorf("%s: there were no requests", during)
	}
	if seen.Failed > 0 {
		c.t.Errorf("%s: %d of %d requests failed: %s", during, seen.Failed, seen.Total, strings.Join(seen.Errors, "; "))
	}
	c.t.Logf("%s: %d requests, %d failed, %.1f%% by the target's pods", during, seen.Total, seen.Failed, 100*seen.Share(rig.Name))
	return seen
}

// awaitWell waits until n requests in a row have not failed, and returns what was seen up to then: a mesh on a
// busy machine takes seconds to know a route.
func (c *caller) awaitWell(n int64) cluster.Report {
	c.t.Helper()
	from := c.report()
	err := rig.Await(c.t.Context(), "requests that do not fail", limit, func(ctx context.Context) error {
		r, err := c.Report(ctx)
		switch {
		case err != nil:
			return err
		case r.Failed > from.Failed:
			from = r
			return fmt.Errorf("%d have failed", r.Failed)
		case r.Total-from.Total < n:
			return fmt.Errorf("%d of %d", r.Total-from.Total, n)
		}
		from = r
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return from
}

// awaitMore waits until the client has made n more requests.
func (c *caller) awaitMore(n int64) {
	c.t.Helper()
	from := c.report().Total
	err := rig.Await(c.t.Context(), "more requests", limit, func(ctx context.Context) error {
		r, err := c.Report(ctx)
		if err == nil && r.Total-from < n {
			err = fmt.Errorf("%d of %d", r.Total-from, n)
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// quick has steps follow each other in a second with nothing to measure. The drain delay stays what it is by default:
// one istiod serves all tests and collects changes for up to 10 s while they come fast, and requests are counted.
func quick(c *v1beta1.Canary) {
	c.Spec.Analysis.Interval = "1s"
	c.Spec.Analysis.Metrics = nil
}
