package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	istiov1 "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
)

const (
	// mostNamespaces bounds over how many namespaces a fleet is spread.
	mostNamespaces = 500
	// shared is the ConfigMap that all applications of a namespace read, and ownConfigs how many each has for itself.
	shared     = "shared"
	ownConfigs = 4
	// templateBytes is about how large the template of a workload is.
	templateBytes = 8 << 10
	// port is that of the applications.
	port = 8080
)

// fleet is a cluster's worth of applications, each with a Canary, and of other workloads.
type fleet struct {
	api      client.Client
	size     int // of each copy
	others   int
	interval string
	image    int // the last one that was released
}

// app is the name of an application.
type app struct{ namespace, name string }

func (f *fleet) namespaces() int { return min(max(f.size/10, 2), mostNamespaces) }

// inTenant is how many applications are in the first namespace; all others are spread over the rest.
func (f *fleet) inTenant() int { return max(f.size/10, 1) }

func (f *fleet) namespace(i int) string { return fmt.Sprintf("%s-%03d", copyName(0), i) }

// copyName is what the namespaces of a copy of the fleet begin with.
func copyName(i int) string {
	if i == 0 {
		return "fleet"
	}
	return fmt.Sprintf("copy%d", i)
}

// app is the i-th of the fleet, whose first copy comes first.
func (f *fleet) app(i int) app {
	copied := i / f.size
	i %= f.size
	in := 0
	if i >= f.inTenant() {
		in = 1 + i%(f.namespaces()-1)
	}
	return app{fmt.Sprintf("%s-%03d", copyName(copied), in), fmt.Sprintf("app-%05d", i)}
}

// apps are the first n of the fleet, n at most its size.
func (f *fleet) apps(n int) []app {
	out := make([]app, n)
	for i := range out {
		out[i] = f.app(i)
	}
	return out
}

// create makes all objects of the fleet.
func (f *fleet) create(ctx context.Context, p *progress) error {
	p.begin("create", f.namespaces()+f.size+f.others)
	if err := each(ctx, f.namespaces(), func(ctx context.Context, i int) error {
		defer p.done(1)
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: f.namespace(i)}}
		return f.all(ctx, ns, config(f.namespace(i), shared))
	}); err != nil {
		return err
	}
	return each(ctx, f.size+f.others, func(ctx context.Context, i int) error {
		defer p.done(1)
		if i >= f.size {
			return f.all(ctx, other(f.namespace(i%f.namespaces()), fmt.Sprintf("other-%05d", i-f.size))...)
		}
		return f.all(ctx, f.objects(f.app(i))...)
	})
}

// objects are those of an application.
func (f *fleet) objects(a app) []client.Object {
	out := []client.Object{}
	for i := range ownConfigs {
		out = append(out, config(a.namespace, fmt.Sprintf("%s-%d", a.name, i)))
	}
	return append(out, deployment(a, 1), autoscaler(a), virtualService(a), f.canary(a))
}

// all creates objects, in their order. What is there stays as it is.
func (f *fleet) all(ctx context.Context, objects ...client.Object) error {
	for _, o := range objects {
		if err := f.api.Create(ctx, o); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create %T %s/%s: %w", o, o.GetNamespace(), o.GetName(), err)
		}
	}
	return nil
}

func config(namespace, name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Data:       map[string]string{"application.yaml": strings.Repeat("key: value\n", 50)},
	}
}

// other is a workload that no Canary names, with its Service. It has no pods, as those are nothing to the operator.
func other(namespace, name string) []client.Object {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
	return []client.Object{deployment(app{namespace, name}, 0), service}
}

func deployment(a app, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": a.name}
	container := corev1.Container{
		Name: "app", Image: image(0),
		Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: port}},
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
		}},
	}
	const value = 64
	for i := range templateBytes / (value + 40) {
		container.Env = append(container.Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%03d", i), Value: fmt.Sprintf("%-*s", value, a.name)})
	}
	spec := corev1.PodSpec{}
	names := []string{shared}
	for i := range ownConfigs {
		names = append(names, fmt.Sprintf("%s-%d", a.name, i))
	}
	for i, name := range names {
		volume := fmt.Sprint("config-", i)
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}},
		}})
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: "/etc/" + volume})
	}
	spec.Containers = []corev1.Container{container}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: a.name, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, RevisionHistoryLimit: new(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{cluster.ProcessAnnotation: "none"}},
				Spec:       spec,
			},
		},
	}
}

func image(n int) string { return fmt.Sprint("registry.invalid/app:", n) }

func autoscaler(a app) *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: a.name},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			MinReplicas: new(int32(1)), MaxReplicas: 4,
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: a.name},
		},
	}
}

func virtualService(a app) *networkingv1.VirtualService {
	return &networkingv1.VirtualService{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: a.name},
		Spec: istiov1.VirtualService{
			Hosts: []string{a.name},
			Http:  []*istiov1.HTTPRoute{{Route: []*istiov1.HTTPRouteDestination{{Destination: &istiov1.Destination{Host: a.name}}}}},
		},
	}
}

func (f *fleet) canary(a app) *v1beta1.Canary {
	return &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: a.name},
		Spec: v1beta1.CanarySpec{
			Provider:                "istio",
			TargetRef:               v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: a.name},
			AutoscalerRef:           &v1beta1.AutoscalerReference{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler", Name: a.name},
			ProgressDeadlineSeconds: new(int32(1800)),
			Service:                 v1beta1.CanaryService{Port: port},
			Analysis: &v1beta1.CanaryAnalysis{
				Interval: f.interval, Threshold: 1, StepWeight: 10, MaxWeight: 50,
				Metrics: []v1beta1.CanaryMetric{
					{Name: v1beta1.MetricRequestSuccessRate, Interval: "1m", ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(99.0)}},
					{Name: v1beta1.MetricRequestDuration, Interval: "1m", ThresholdRange: &v1beta1.CanaryThresholdRange{Max: new(500.0)}},
				},
			},
		},
	}
}

// release gives applications another image, all at once.
func (f *fleet) release(ctx context.Context, apps []app, sent func(app)) error {
	f.image++
	patch := fmt.Appendf(nil, `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":%q}]`, image(f.image))
	return each(ctx, len(apps), func(ctx context.Context, i int) error {
		sent(apps[i])
		o := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: apps[i].namespace, Name: apps[i].name}}
		return f.api.Patch(ctx, o, client.RawPatch(types.JSONPatchType, patch))
	})
}

// changeShared changes the ConfigMap that all applications of the first namespace read.
func (f *fleet) changeShared(ctx context.Context, sent func(app)) error {
	f.image++
	for _, a := range f.apps(f.inTenant()) {
		sent(a)
	}
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace(0), Name: shared}}
	return f.api.Patch(ctx, o, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"data":{"changed":"%d"}}`, f.image)))
}

// atOnce is how many objects are written at once.
const atOnce = 24

// each calls a function for 0 to n-1 from several goroutines, and returns the first error.
func each(ctx context.Context, n int, do func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(atOnce, n) {
		wg.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range n {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}
