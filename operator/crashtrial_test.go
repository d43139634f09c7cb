package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// limit is for what takes seconds on an idle machine.
const limit = 3 * time.Minute

// interval is that of the analyses.
const interval = time.Second

// The application of every trial.
const (
	app      = "podinfo"
	oldImage = "podinfo:6.0.0"
	newImage = "podinfo:6.0.1"
)

// trial is one release in a namespace of its own.
type trial struct {
	lab       *lab
	t         *testing.T
	release   trialled
	fuse      fuse
	namespace string
	like      *trial // the undisturbed one, where nothing else says what must come of it

	initWrites int
	lives      int // operators that there were
	err        error
}

// run runs operators, one after the other, until the release has ended.
func (x *trial) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	operators := make(chan error, 1)
	go func() { operators <- x.operate(ctx) }()
	err := x.drive(ctx)
	cancel()
	return errors.Join(err, <-operators)
}

// operate has an operator at work until ctx ends: where one stops, the next
// is started.
func (x *trial) operate(ctx context.Context) error {
	for ctx.Err() == nil {
		life, end := context.WithCancel(ctx)
		x.lives++
		o, err := parseFlags([]string{"-namespace", x.namespace, "-port", "0", "-allowed-addresses", loopback, "-threadiness", "1", "-coverage", "none"}, io.Discard)
		if err == nil {
			err = start(life, x.lab.config, o, wiring{wrap: x.fuse.client(end), registry: prometheus.NewRegistry(), oneOfMany: true})
		}
		end()
		if err != nil {
			return fmt.Errorf("operator: %w", err)
		}
	}
	return nil
}

func start(ctx context.Context, config *rest.Config, o options, w wiring) error {
	mgr, err := newManager(ctx, audited(config), o, w)
	if err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// drive does what people do, and waits for what they wait for.
func (x *trial) drive(ctx context.Context) error {
	if x.release.pods != nil {
		x.release.pods(newPods(&stage{t: x.t, api: x.lab.api, namespace: x.namespace}, x.lab.api)) //nolint:contextcheck // they live as long as the test
	}
	for _, o := range x.objects() {
		if err := x.lab.api.Create(ctx, o); err != nil {
			return err
		}
	}
	if err := x.await(ctx, "initialization", oldImage, v1beta1.PhaseInitialized); err != nil {
		return err
	}
	x.initWrites = x.fuse.count()
	if err := x.lab.api.Patch(ctx, x.deployment(oldImage), client.RawPatch("application/json-patch+json",
		[]byte(`[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "`+newImage+`"}]`))); err != nil {
		return err
	}
	if x.release.then != nil {
		if err := x.release.then(ctx, x); err != nil {
			return err
		}
	}
	if x.release.ended != nil {
		return x.release.ended(ctx, x)
	}
	if err := x.await(ctx, "the end of the release", x.release.image, v1beta1.PhaseSucceeded, v1beta1.PhaseFailed); err != nil {
		return err
	}
	// The watches bring the kinds apart from each other; wait for the last route.
	var vs istionetworking.VirtualService
	if err := x.lab.api.Get(ctx, client.ObjectKey{Namespace: x.namespace, Name: app}, &vs); err != nil {
		return client.IgnoreNotFound(err) // there is no mesh
	}
	return rig.Await(ctx, "the watch of routes", limit, func(context.Context) error {
		if seen := latest[*istionetworking.VirtualService](x.lab.seen(x.namespace), app); seen == nil || seen.ResourceVersion != vs.ResourceVersion {
			return errors.New("it is behind")
		}
		return nil
	})
}

// await waits until the Canary rests in one of the phases, with the target's
// pods gone and the primary complete.
func (x *trial) await(ctx context.Context, what, primaryImage string, phases ...v1beta1.CanaryPhase) error {
	return rig.Await(ctx, what, limit, func(context.Context) error {
		seen := x.lab.seen(x.namespace)
		c := latest[*v1beta1.Canary](seen, app)
		target := latest[*appsv1.Deployment](seen, app)
		primary := latest[*appsv1.Deployment](seen, app+"-primary")
		switch {
		case c == nil || !slices.Contains(phases, c.Status.Phase):
			return fmt.Errorf("phase: %s", strings.Join(statuses(seen), ", "))
		case target == nil || *target.Spec.Replicas != 0 || target.Status.Replicas != 0:
			return errors.New("the target has pods")
		case primary == nil || primary.Spec.Template.Spec.Containers[0].Image != primaryImage || primary.Status.AvailableReplicas != *primary.Spec.Replicas:
			return fmt.Errorf("the primary is not complete with %s", primaryImage)
		case c.Status.GetCondition(v1beta1.ConditionReconciling) != nil:
			return errors.New("it is not at rest")
		}
		return nil
	})
}

func (x *trial) objects() []client.Object {
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: x.namespace, Name: app},
		Spec: v1beta1.CanarySpec{
			MetricsServer:     x.lab.metricsServer(x.release.bad),
			TargetRef:         v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: app},
			DrainDelaySeconds: new(int32(1)),
			Service:           v1beta1.CanaryService{Port: 9898},
			Analysis: &v1beta1.CanaryAnalysis{
				Interval: interval.String(), Threshold: 2, StepWeight: 20, MaxWeight: 60,
				Metrics: []v1beta1.CanaryMetric{{Name: "health", Query: x.namespace, ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(1.0)}}},
			},
		},
	}
	d := x.deployment(oldImage)
	if x.release.canary != nil {
		x.release.canary(c)
	}
	if x.release.pods != nil {
		gated(d)
	}
	return []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: x.namespace}}, d, c}
}

func (x *trial) deployment(image string) *appsv1.Deployment {
	labels := map[string]string{"app": app}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: x.namespace, Name: app},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{cluster.ProcessAnnotation: "none"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: app, Image: image}}, TerminationGracePeriodSeconds: new(int64(0))},
			},
		},
	}
}
