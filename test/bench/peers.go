package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/limits"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// peerStages are those in which operators are compared: all Canaries start, nothing happens, all succeed, all fail at weight 20, nothing
// happens, all succeed though the operator is killed at weight 20.
var peerStages = []string{"init", "idle", "good", "bad", "idle-failed", "restart"}

const (
	// peerNamespaces is over how many namespaces the applications are spread.
	peerNamespaces = 5
	// strikeAt is the weight at which half of all have to be for metrics to fail, or for the operator to be killed.
	strikeAt = 20
	// down is how long a killed operator is away.
	down = 5 * time.Second
)

// peer is an operator that is compared.
type peer struct {
	// process is its name in /proc.
	process string
	// binary is its program, in bin.
	binary string
	// arguments are those after the kubeconfig, with the metrics server's URL.
	arguments func(metrics string) []string
	// environment has variables of its own.
	environment []string
	// namespaced are the objects that a namespace has, and objects those of an application.
	namespaced func(namespace, metrics string) []client.Object
	objects    func(a app, interval string) []client.Object
	// workload is an empty object of the kind whose image is changed.
	workload func() client.Object
	// crds are the files with its kinds; nil for Canaries, which are there.
	crds func(ctx context.Context) ([]string, error)
	// initialized is its phase after its start.
	initialized string
	// watch is the path of its kind.
	watch string
	see   func(*state, *seen, time.Time)
}

// peers are all that are compared. Each has the settings that its own documentation names for many applications.
func peers() map[string]peer {
	canary := peer{
		namespaced: func(string, string) []client.Object { return nil },
		objects:    peerCanary, workload: func() client.Object { return &appsv1.Deployment{} },
		initialized: "Initialized", watch: "/apis/flagger.app/v1beta1/canaries", see: (*state).canary,
	}
	sluice, flagger := canary, canary
	sluice.process, sluice.binary, sluice.environment = "sluice", "sluice", []string{limits.MemoryVariable + "=536870912"}
	sluice.arguments = func(metrics string) []string {
		return []string{"-port", "8080", "-metrics-server", metrics, "-log-level", "warn", "-allowed-addresses", "127.0.0.0/8,::1"}
	}
	flagger.process, flagger.binary = "flagger", "flagger"
	flagger.arguments = func(metrics string) []string {
		return []string{"-mesh-provider", "istio", "-port", "8080", "-metrics-server", metrics, "-log-level", "error", "-kubeconfig-qps", "2000", "-kubeconfig-burst", "4000"}
	}
	rollouts := peer{
		process: "rollouts-contro", binary: "rollouts-controller",
		arguments: func(string) []string {
			return []string{"--leader-elect=false", "--qps", "2000", "--burst", "4000", "--loglevel", "error", "--healthzPort", "8081", "--metricsPort", "8090"}
		},
		namespaced: func(namespace, metrics string) []client.Object {
			return []client.Object{analysisTemplate(namespace, metrics)}
		},
		objects: peerRollout, workload: func() client.Object { return newRollout("", "", nil) },
		crds:        cluster.ArgoRolloutsCRDs,
		initialized: "Healthy", watch: "/apis/argoproj.io/v1alpha1/rollouts", see: (*state).rollout,
	}
	return map[string]peer{"sluice": sluice, "flagger": flagger, "rollouts": rollouts}
}

// comparePeer measures one operator.
func comparePeer(ctx context.Context, o options) error {
	p, ok := peers()[o.peer]
	if !ok {
		return fmt.Errorf("-peer: %q is none of sluice, flagger, rollouts", o.peer)
	}
	name = p.process
	if root, err := cluster.Root(); err != nil {
		return err
	} else if o.operator == "" {
		o.operator = filepath.Join(root, "bin", p.binary)
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	b.results = results{Canaries: b.canaries, Interval: b.interval, Machine: machine(), Began: time.Now(), Peer: o.peer}
	for _, stage := range b.stages {
		if err = b.peerStage(ctx, p, stage); err != nil {
			err = fmt.Errorf("stage %s: %w", stage, err)
			break
		}
	}
	return errors.Join(err, b.cluster.Stop())
}

func (b *bench) peerStage(ctx context.Context, p peer, name string) error {
	if name != "init" {
		if err := pause(ctx, 15*time.Second); err != nil { // what the stage before has left to do is not this one's
			return err
		}
	}
	m := b.measure(name)
	err := b.runPeer(ctx, p, m)
	row, countErr := m.end()
	b.results.Rows = append(b.results.Rows, row)
	fmt.Fprintln(os.Stderr, row.String())
	return errors.Join(err, countErr, b.results.write(b.out))
}

func (b *bench) runPeer(ctx context.Context, p peer, m *measurement) error {
	all := peerApps(b.canaries)
	m.row.Canaries = len(all)
	b.tracker.reset()
	b.metrics.fail()
	switch m.row.Stage {
	case "init":
		if err := b.startPeer(p); err != nil {
			return err
		}
		_, err := b.await(ctx, "init", len(all), func() int {
			return b.tracker.count(all, func(s *state) bool { return s.phase == p.initialized })
		})
		return err
	case "idle", "idle-failed":
		return pause(ctx, b.idle)
	}
	if err := b.releasePeer(ctx, p, all); err != nil {
		return err
	}
	if m.row.Stage != "good" {
		if _, err := b.await(ctx, m.row.Stage+": half at weight", len(all)/2, func() int {
			return b.tracker.count(all, func(s *state) bool { return s.weight >= strikeAt || !s.ended.IsZero() })
		}); err != nil {
			return err
		}
	}
	switch m.row.Stage {
	case "bad":
		b.metrics.fail(all...)
	case "restart":
		b.kill()
		if err := pause(ctx, down); err != nil {
			return err
		}
		if err := b.startPeer(p); err != nil {
			return err
		}
	}
	return b.ended(ctx, m, all)
}

func (b *bench) startPeer(p peer) (err error) {
	args := append([]string{b.options.operator, "--kubeconfig", b.kubeconfig}, p.arguments(b.metrics.url)...)
	b.operator, err = b.cluster.run(p.environment, args...)
	return err
}

// preparePeer makes all that there is before the operator.
func (b *bench) preparePeer(ctx context.Context) error {
	p := peers()[b.peer]
	programs, ok := b.cluster.(*realPlane)
	if !ok {
		return errors.New("-in-memory: others are compared on the programs of Kubernetes, whose controllers they need")
	}
	if p.crds != nil {
		crds, err := p.crds(ctx)
		if err != nil {
			return err
		}
		if err := programs.InstallCRDs(ctx, crds...); err != nil {
			return err
		}
	}
	scheme, err := rig.Scheme()
	if err != nil {
		return err
	}
	api, err := client.New(b.cluster.Config(), client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	b.fleet = &fleet{api: api, size: b.canaries, interval: b.interval}
	if b.road, err = newRoad(strings.TrimPrefix(b.cluster.Config().Host, "https://")); err != nil {
		return err
	}
	if err := b.admit(ctx, api); err != nil {
		return err
	}
	apps := peerApps(b.canaries)
	if b.metrics, err = startMetrics(apps); err != nil {
		return err
	}
	b.tracker = newTracker(b.cluster.Config(), apps)
	if err := b.tracker.follow(ctx, map[string]func(*state, *seen, time.Time){
		p.watch: p.see, "/apis/networking.istio.io/v1/virtualservices": (*state).route,
	}); err != nil {
		return err
	}
	b.progress.begin("create", len(apps))
	for i := range peerNamespaces {
		name := peerNamespace(i)
		objects := append([]client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}}, p.namespaced(name, b.metrics.url)...)
		if err := b.fleet.all(ctx, objects...); err != nil {
			return err
		}
	}
	return each(ctx, len(apps), func(ctx context.Context, i int) error {
		defer b.progress.done(1)
		return b.fleet.all(ctx, p.objects(apps[i], b.interval)...)
	})
}

func peerNamespace(i int) string { return fmt.Sprintf("peer-%d", i%peerNamespaces) }

func peerApps(n int) []app {
	out := make([]app, n)
	for i := range out {
		out[i] = app{peerNamespace(i), fmt.Sprintf("app-%04d", i)}
	}
	return out
}

// releasePeer changes the images of all at once.
func (b *bench) releasePeer(ctx context.Context, p peer, apps []app) error {
	b.fleet.image++
	patch := fmt.Appendf(nil, `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":%q}]`, image(b.fleet.image))
	return each(ctx, len(apps), func(ctx context.Context, i int) error {
		b.tracker.sent(apps[i])
		o := p.workload()
		o.SetNamespace(apps[i].namespace)
		o.SetName(apps[i].name)
		return b.fleet.api.Patch(ctx, o, client.RawPatch(types.JSONPatchType, patch))
	})
}

// peerDeployment is an application of one small container.
func peerDeployment(a app) *appsv1.Deployment {
	labels := map[string]string{"app": a.name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: a.name, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{cluster.ProcessAnnotation: "none"}},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "app", Image: image(0), Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: port}},
				}}},
			},
		},
	}
}

func peerCanary(a app, interval string) []client.Object {
	c := (&fleet{interval: interval}).canary(a)
	c.Spec.AutoscalerRef, c.Spec.Analysis.Threshold = nil, 3
	return []client.Object{peerDeployment(a), c}
}

func argo(kind, namespace, name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": kind,
		"metadata": map[string]any{"namespace": namespace, "name": name}, "spec": spec,
	}}
}

func newRollout(namespace, name string, spec map[string]any) *unstructured.Unstructured {
	return argo("Rollout", namespace, name, spec)
}

// peerRollout is the nearest to peerCanary: a Rollout with a VirtualService, the same weights, each for an interval, and the same two metrics
// in an analysis beside them.
func peerRollout(a app, interval string) []client.Object {
	template, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&peerDeployment(a).Spec.Template)
	if err != nil {
		panic(err) // it is a type of Kubernetes
	}
	delete(template["metadata"].(map[string]any), "creationTimestamp") //nolint:forcetypeassert // it is an object
	steps := []any{}
	for weight := int64(10); weight <= 50; weight += 10 {
		steps = append(steps, map[string]any{"setWeight": weight}, map[string]any{"pause": map[string]any{"duration": interval}})
	}
	stable, canary := a.name+"-stable", a.name+"-canary"
	service := func(name string) client.Object {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: name},
			Spec: corev1.ServiceSpec{
				Selector: map[string]string{"app": a.name},
				Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(port)}},
			},
		}
	}
	destination := func(host string, weight int64) map[string]any {
		return map[string]any{"destination": map[string]any{"host": host}, "weight": weight}
	}
	vs := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
		"metadata": map[string]any{"namespace": a.namespace, "name": a.name},
		"spec": map[string]any{
			"hosts": []any{a.name},
			"http":  []any{map[string]any{"name": "primary", "route": []any{destination(stable, 100), destination(canary, 0)}}},
		},
	}}
	return []client.Object{service(stable), service(canary), vs, newRollout(a.namespace, a.name, map[string]any{
		"replicas": int64(1), "progressDeadlineSeconds": int64(1800), "revisionHistoryLimit": int64(1),
		"selector": map[string]any{"matchLabels": map[string]any{"app": a.name}}, "template": template,
		"strategy": map[string]any{"canary": map[string]any{
			"canaryService": canary, "stableService": stable,
			"trafficRouting": map[string]any{"istio": map[string]any{"virtualService": map[string]any{"name": a.name, "routes": []any{"primary"}}}},
			"analysis": map[string]any{
				"startingStep": int64(1), "templates": []any{map[string]any{"templateName": "checks"}},
				"args": []any{map[string]any{"name": "app", "value": a.name}},
			},
			"steps": steps,
		}},
	})}
}

// analysisTemplate has the two metrics of Canaries, every interval, of which the third failure ends a release.
func analysisTemplate(namespace, metrics string) client.Object {
	metric := func(name, condition, query string) map[string]any {
		return map[string]any{
			"name": name, "interval": "10s", "failureLimit": int64(2), "successCondition": condition,
			"provider": map[string]any{"prometheus": map[string]any{"address": metrics, "query": query}},
		}
	}
	const selected = `{destination_workload_namespace="%s",destination_workload="{{args.app}}"%s}[1m]`
	requests := func(more string) string {
		return fmt.Sprintf("sum(rate(istio_requests_total"+selected+"))", namespace, more)
	}
	return argo("AnalysisTemplate", namespace, "checks", map[string]any{
		"args": []any{map[string]any{"name": "app"}},
		"metrics": []any{
			metric("success-rate", "result[0] >= 99", requests(`,response_code!~"5.*"`)+" / "+requests("")+" * 100"),
			metric("duration", "result[0] <= 500", fmt.Sprintf(`histogram_quantile(0.99, sum(rate(istio_request_duration_milliseconds_bucket`+selected+`)) by (le))`, namespace, "")),
		},
	})
}

// rollout reads a Rollout. Healthy with a hash that is not the stable one's is from before the change.
func (of *state) rollout(s *seen, at time.Time) {
	of.phase = s.Object.Status.Phase
	settled := s.Object.Status.Current == s.Object.Status.Stable
	switch {
	case of.sent.IsZero():
	case of.progressing.IsZero():
		if (of.phase == "Progressing" || of.phase == "Paused") && !settled {
			of.progressing = at
		}
	case of.ended.IsZero() && (of.phase == "Healthy" && settled || of.phase == "Degraded"):
		of.ended, of.failed = at, of.phase == "Degraded"
	}
}
