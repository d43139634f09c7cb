package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// TestBadInput has mistakes of users. Each is told by a condition and an event,
// harms nothing, and is over by itself once it is mended.
func TestBadInput(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		deploy func(*app) // nil: there is no application
		canary func(*v1beta1.Canary)
		reason string
		parts  []string
		mend   func(*app)
		// served is true when the mend does not touch what serves.
		served bool
	}{
		"target-missing": {
			reason: "TargetMissing",
			parts:  []string{"spec.targetRef: there is no Deployment podinfo in namespace bad-target-missing"},
			mend:   (*app).deploy,
		},
		"no-selector-label": {
			deploy: deployLabelled("component"),
			reason: "NoSelectorLabel",
			parts:  []string{"spec.selector.matchLabels has none of the labels app, name, app.kubernetes.io/name", "-selector-labels"},
			mend:   redeployWithApp,
		},
		"unknown-provider": {
			deploy: (*app).deploy,
			canary: func(c *v1beta1.Canary) { c.Spec.Provider = "isto" },
			reason: "UnknownProvider",
			parts:  []string{`spec.provider: unknown provider "isto": known are`, "istio"},
			mend:   func(a *app) { a.edit(func(c *v1beta1.Canary) { c.Spec.Provider = "istio" }) },
			served: true,
		},
		"not-served": {
			deploy: (*app).deploy,
			canary: func(c *v1beta1.Canary) { c.Spec.TargetRef.APIVersion = "serving.knative.dev/v1" },
			reason: "InvalidSpec",
			parts:  []string{"spec.targetRef.kind", `"Deployment" of Knative can't be released`, "allowed is Service"},
			mend:   func(a *app) { a.edit(func(c *v1beta1.Canary) { c.Spec.TargetRef.APIVersion = "apps/v1" }) },
			served: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newApp(t, "bad-"+name)
			var requests *caller
			if tc.deploy == nil {
				a.must(a.API.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: a.Namespace}}))
			} else {
				tc.deploy(a)
				requests = a.call(50)
			}
			before := a.objects()
			a.apply(func(c *v1beta1.Canary) {
				quick(c)
				if tc.canary != nil {
					tc.canary(c)
				}
			})
			a.wantRefused(rig.Name, tc.reason, tc.parts...)
			if diff := cmp.Diff(before, a.objects()); diff != "" {
				t.Errorf("objects were changed (-before +after):\n%s", diff)
			}
			if requests != nil {
				requests.awaitMore(50)
				requests.wantNoFailure("while the mistake stood", cluster.Report{})
			}

			tc.mend(a)
			a.awaitPhase(v1beta1.PhaseInitialized)
			a.awaitCondition(rig.Name, v1beta1.ConditionReady, corev1.ConditionTrue, "Initialized")
			if c := a.canary().Status.GetCondition(v1beta1.ConditionStalled); c != nil {
				t.Errorf("it is still stalled: %+v", *c)
			}
			if tc.served {
				a.awaitDrained()
				requests.wantNoFailure("from the beginning to after the mend", cluster.Report{})
			}
		})
	}
}

// wantRefused waits until the Canary name says, by its conditions and by an
// event, why nothing is done.
func (a *app) wantRefused(name, reason string, parts ...string) {
	a.t.Helper()
	a.awaitCondition(name, v1beta1.ConditionStalled, corev1.ConditionTrue, reason, parts...)
	a.awaitCondition(name, v1beta1.ConditionReady, corev1.ConditionFalse, reason, parts...)
	a.awaitEvent(name, reason, parts...)
}

// objects are the specs of all that an operator could have touched, by kind and
// name.
func (a *app) objects() map[string]any {
	a.t.Helper()
	out := map[string]any{}
	for _, kind := range []string{"Deployment", "Service", "VirtualService", "DestinationRule"} {
		list := &unstructured.UnstructuredList{}
		list.SetKind(kind + "List")
		list.SetAPIVersion(map[string]string{"Deployment": "apps/v1", "Service": "v1"}[kind])
		if list.GetAPIVersion() == "" {
			list.SetAPIVersion("networking.istio.io/v1")
		}
		a.must(a.API.List(a.t.Context(), list, client.InNamespace(a.Namespace)))
		for _, o := range list.Items {
			out[kind+"/"+o.GetName()] = []any{o.Object["spec"], o.GetLabels(), o.GetOwnerReferences()}
		}
	}
	return out
}

// deployLabelled deploys podinfo with another label to select its pods by.
func deployLabelled(label string) func(*app) {
	return func(a *app) {
		a.must(a.Create(a.t.Context(), "podinfo.yaml", func(u *unstructured.Unstructured) {
			labels := map[string]any{label: rig.Name}
			switch u.GetKind() {
			case "Deployment":
				a.must(unstructured.SetNestedMap(u.Object, labels, "spec", "selector", "matchLabels"))
				a.must(unstructured.SetNestedMap(u.Object, labels, "spec", "template", "metadata", "labels"))
			case "Service":
				a.must(unstructured.SetNestedMap(u.Object, labels, "spec", "selector"))
			}
		}))
		a.await("podinfo", available(a, rig.Name, 2))
	}
}

// redeployWithApp makes the Deployment anew: its selector can't be changed.
func redeployWithApp(a *app) {
	old := get[appsv1.Deployment](a, rig.Name)
	a.must(a.API.Delete(a.t.Context(), old))
	labels := map[string]string{"app": rig.Name}
	again := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: rig.Name, Namespace: a.Namespace}, Spec: old.Spec}
	again.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	again.Spec.Template.Labels = labels
	a.must(a.API.Create(a.t.Context(), again))
	service := get[corev1.Service](a, rig.Name)
	service.Spec.Selector = labels
	a.must(a.API.Update(a.t.Context(), service))
}

// TestPrometheusUnreachable has a release that can't be watched. It does not
// move, neither on nor back, and goes on when it can be watched again.
func TestPrometheusUnreachable(t *testing.T) {
	t.Parallel()
	a := newApp(t, "prometheus")
	a.deploy()
	requests := a.call(100)
	before := requests.report()
	a.apply(func(c *v1beta1.Canary) {
		c.Spec.MetricsServer = "http://127.0.0.1:9"
		c.Spec.Analysis.Interval = "2s"
		c.Spec.Analysis.StepWeight = 25
		c.Spec.DrainDelaySeconds = new(int32(2))
	})
	a.awaitPhase(v1beta1.PhaseInitialized)
	h, err := a.Watch(t.Context())
	a.must(err)
	a.release("6.0.1")
	a.awaitEvent(rig.Name, "ChecksUnavailable", "nothing moves until", "request-success-rate", "127.0.0.1:9", "connection refused")
	a.awaitCondition(rig.Name, v1beta1.ConditionReady, corev1.ConditionUnknown, "Progressing", "nothing moves until the checks give a verdict", "connection refused")
	a.holds("the weight while nothing can be measured", 6*time.Second, func(ctx context.Context) error {
		c, err := a.Canary(ctx)
		if err == nil && (c.Status.CanaryWeight != 25 || c.Status.FailedChecks != 0 || c.Status.Phase != v1beta1.PhaseProgressing) {
			err = fmt.Errorf("it is %s with weight %d and %d failed checks", c.Status.Phase, c.Status.CanaryWeight, c.Status.FailedChecks)
		}
		return err
	})
	a.edit(func(c *v1beta1.Canary) { c.Spec.MetricsServer = "" })
	a.awaitPhase(v1beta1.PhaseSucceeded)
	a.awaitDrained()
	wantWeights(t, h, 0, 25, 50, 0)
	requests.wantNoFailure("a release without Prometheus for a while", before)
}

// TestTwoCanariesForOneTarget: the older one goes on, the younger one is
// refused, and takes over when the older one is gone.
func TestTwoCanariesForOneTarget(t *testing.T) {
	t.Parallel()
	const younger = "podinfo-younger" // also by name, should both be created in one second
	a := newApp(t, "two")
	a.deploy()
	requests := a.call(100)
	before := requests.report()
	a.apply(quick)
	a.awaitPhase(v1beta1.PhaseInitialized)
	objects := a.objects()
	a.apply(func(c *v1beta1.Canary) {
		quick(c)
		c.Name = younger
	})
	a.wantRefused(younger, "TargetShared", "the target Deployment/podinfo belongs to Canary podinfo, which is older")
	a.awaitDrained()
	after := a.objects()
	delete(objects, "Deployment/"+rig.Name) // it was scaled down meanwhile
	delete(after, "Deployment/"+rig.Name)
	if diff := cmp.Diff(objects, after); diff != "" {
		t.Errorf("objects were changed (-before +after):\n%s", diff)
	}

	a.release("6.0.1")
	a.awaitPhase(v1beta1.PhaseSucceeded)
	a.awaitDrained()

	a.must(a.API.Delete(t.Context(), a.canary()))
	a.await("the younger Canary to take over", func(ctx context.Context) error {
		var c v1beta1.Canary
		if err := a.API.Get(ctx, a.key(younger), &c); err != nil {
			return err
		}
		if c.Status.Phase != v1beta1.PhaseInitialized {
			return fmt.Errorf("it is %s: %+v", c.Status.Phase, c.Status.Conditions)
		}
		return errors.Join(a.gone(ctx, &v1beta1.Canary{}, rig.Name), routed(ctx, a, 0))
	})
	a.awaitDrained()
	requests.awaitMore(200)
	requests.wantNoFailure("two Canaries", before)
	vs := get[istionetworking.VirtualService](a, rig.Name)
	if owner := ownership.CanaryOf(vs); owner != younger || len(vs.OwnerReferences) > 0 {
		t.Errorf("the route belongs to %q with owners %+v, want %s", owner, vs.OwnerReferences, younger)
	}
	a.wantPrimary("6.0.1")
}
