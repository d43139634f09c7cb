package integration

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

func testWorkloads(t *testing.T, e *environment) {
	t.Run("defaults of the server are no revision", func(t *testing.T) { testRevisions(t, e) })
	t.Run("a primary settles", func(t *testing.T) { testPrimaries(t, e) })
	t.Run("a DaemonSet sleeps and wakes", func(t *testing.T) { testSleep(t, e) })
	t.Run("a Service is taken over and given back", func(t *testing.T) { testAdoptedPorts(t, e) })
}

// everything is a pod with fields that the server completes in every way that
// it has.
const everything = `
metadata: {labels: {app: app}}
spec:
  serviceAccount: app
  hostNetwork: true
  initContainers:
    - {name: proxy, image: proxy, restartPolicy: Always, startupProbe: {grpc: {port: 15000}}}
  containers:
    - name: app
      image: app:1
      ports: [{name: http, containerPort: 80}]
      env: [{name: EMPTY}, {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
      livenessProbe: {grpc: {port: 81}}
      readinessProbe: {httpGet: {port: http}}
      lifecycle: {preStop: {httpGet: {port: http}}}
      resources: {limits: {cpu: 1000m, memory: 1024Mi}}
      securityContext: {}
    - {name: latest, image: "registry:5000/app:latest"}
    - {name: digest, image: "app@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}
  topologySpreadConstraints:
    - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: app}}}
  volumes:
    - {name: config, configMap: {name: config}}
    - {name: secret, secret: {secretName: secret}}
    - {name: host, hostPath: {path: /tmp}}
    - {name: cache, emptyDir: {}}
    - {name: fields, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
    - name: all
      projected:
        sources:
          - {serviceAccountToken: {path: token}}
          - {downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
    - {name: scratch, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}}
    - {name: disk, iscsi: {targetPortal: "a:1", iqn: "iqn.2026-01.io.acme:disk", lun: 0}}
    - {name: azure, azureDisk: {diskName: a, diskURI: "https://a.blob.core.windows.net/b/c.vhd"}}
    - {name: ceph, rbd: {monitors: [a], image: b}}
    - {name: model, image: {reference: "model:latest"}}
`

// workloads is one of each kind, as a person writes it.
func workloads(t *testing.T, namespace string) []client.Object {
	t.Helper()
	var template corev1.PodTemplateSpec
	if err := yaml.UnmarshalStrict([]byte(everything), &template); err != nil {
		t.Fatal(err)
	}
	selector := &metav1.LabelSelector{MatchLabels: template.Labels}
	meta := metav1.ObjectMeta{Namespace: namespace, Name: app}
	claim := corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1024Mi")}},
	}}
	return []client.Object{
		&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Selector: selector, Template: *template.DeepCopy()}},
		&appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: *template.DeepCopy()}},
		&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{
			Selector: selector, Template: *template.DeepCopy(), ServiceName: app, VolumeClaimTemplates: []corev1.PersistentVolumeClaim{claim},
		}},
		&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Selector: map[string]string{"app": app},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}},
		}},
	}
}

// Pain 7: what a user wrote and what the server has made of it is the same
// revision, so that another version's defaults release nothing.
func testRevisions(t *testing.T, e *environment) {
	for _, o := range workloads(t, e.namespace(t)) {
		before, err := workload.Revision(o)
		if err != nil {
			t.Fatal(err)
		}
		e.create(t, o)
		after, err := workload.Revision(o)
		if err != nil || after != before {
			t.Errorf("%s: revision %s as the server has it, %s as it was written (%v)", workload.Kind(o), after, before, err)
		}
	}
}

// testPrimaries makes the primary of each kind, and makes sure that it is then
// in sync, also for a new operator, and that its template is known again
// without the annotation.
func testPrimaries(t *testing.T, e *environment) {
	namespace := e.namespace(t)
	options := workload.Options{SelectorLabels: []string{"app"}}
	c, writes := e.counting()
	applier := ssa.New(c)
	for _, target := range workloads(t, namespace) {
		kind := workload.Kind(target)
		e.create(t, target)
		canary := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: app, UID: "c1"}}
		canary.Spec.TargetRef = v1beta1.TargetReference{Kind: kind, Name: app}
		revision, err := workload.Revision(target)
		if err != nil {
			t.Fatal(err)
		}
		build := func(live client.Object) client.Object {
			t.Helper()
			primary, err := workload.Primary(canary, target, live, revision, options)
			if err != nil {
				t.Fatal(err)
			}
			return primary
		}
		before := writes.Load()
		await(t, "the primary "+kind, func(ctx context.Context) error {
			intent := build(nil)
			if err := applier.Apply(ctx, intent); err != nil {
				return err
			}
			same, err := applier.InSync(ctx, intent)
			if err == nil && !same {
				err = errors.New("not in sync")
			}
			return err
		})
		live := workload.New(kind)
		e.read(t, namespace, canary.PrimaryName(), live)
		if err := ssa.New(c).Apply(t.Context(), build(live)); err != nil {
			t.Errorf("%s again: %v", kind, err)
		}
		if n := writes.Load() - before; n != 1 {
			t.Errorf("%s: %d writes, want 1", kind, n)
		}
		if err := workload.Check(canary, target, live); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		live.SetAnnotations(nil)
		if got := workload.PrimaryRevision(canary, target, live, revision, options); got != revision {
			t.Errorf("%s: revision %q by its template, want %s", kind, got, revision)
		}
	}
}

// testSleep scales a DaemonSet to zero and back, as its controller is told to.
func testSleep(t *testing.T, e *environment) {
	target := workloads(t, e.namespace(t))[1]
	e.create(t, target)
	c, _ := e.counting()
	applier := ssa.New(c)
	scale := func(to int32) error {
		return applier.Merge(t.Context(), map[string]any{"spec": workload.Scale(target, to)}, target)
	}
	for _, want := range []int32{0, 1} {
		if err := scale(want); err != nil {
			t.Fatal(err)
		}
		if applier.Observed(target) {
			t.Error("the object from before counts as observed")
		}
		live := &appsv1.DaemonSet{}
		e.read(t, target.GetNamespace(), app, live)
		if got := workload.Replicas(live); got != want {
			t.Errorf("it asks for %d pods, want %d", got, want)
		}
		target = live
	}
	anew := target.DeepCopyObject().(client.Object)
	anew.SetUID("another")
	if err := applier.Merge(t.Context(), map[string]any{"spec": workload.Scale(target, 0)}, anew); !apierrors.IsInvalid(err) {
		t.Errorf("merge into an object that was made anew: %v", err)
	}
}

// testAdoptedPorts takes Services over that a person wrote, changes what the Canary says of their ports, and gives
// them back: the server accepts each state, and in the end it has what was written.
func testAdoptedPorts(t *testing.T, e *environment) {
	number, named := intstr.FromInt32, intstr.FromString
	for name, tc := range map[string]struct {
		users    []corev1.ServicePort
		canaries []v1beta1.CanaryService // one after the other
	}{
		"a single port without a name": {
			users:    []corev1.ServicePort{{Port: 80, TargetPort: named("http")}},
			canaries: []v1beta1.CanaryService{{Port: 80}, {Port: 80, TargetPort: number(1), PortName: "web"}, {Port: 80}},
		},
		"a single port without a name, and another one of the Canary": {
			users:    []corev1.ServicePort{{Port: 80, TargetPort: number(9898)}},
			canaries: []v1beta1.CanaryService{{Port: 9898}, {Port: 9898, PortDiscovery: true}, {Port: 80, PortDiscovery: true}},
		},
		"all that ports may say": {
			users: []corev1.ServicePort{
				{Name: "admin", Port: 9797, TargetPort: named("admin"), AppProtocol: new("http")},
				{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "dns-tcp", Port: 53},
				{Name: "grpc", Port: 9999, TargetPort: number(9999), AppProtocol: new("kubernetes.io/h2c")},
			},
			canaries: []v1beta1.CanaryService{{Port: 9999, AppProtocol: "grpc"}, {Port: 9999, PortDiscovery: true}, {Port: 53}, {Port: 7000, PortName: "grpc"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			ns := e.namespace(t)
			target := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: app}, Spec: appsv1.DeploymentSpec{
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: app, Image: app, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 9898}, {Name: "grpc", ContainerPort: 9999}, {ContainerPort: 7000}},
				}}}},
			}}
			live := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: app}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": app}, Ports: tc.users}}
			e.create(t, live)
			want := live.DeepCopy()
			applier := ssa.New(e.cached)
			var services workload.Services
			for _, service := range tc.canaries {
				c := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: app, UID: "c1"}, Spec: v1beta1.CanarySpec{
					TargetRef: v1beta1.TargetReference{Kind: workload.KindDeployment, Name: app}, Service: service,
				}}
				var err error
				if services, err = workload.BuildServices(c, target, nil, workload.Options{SelectorLabels: []string{"app"}}); err != nil {
					t.Fatal(err)
				}
				services.KeepPorts(c, []*corev1.Service{nil, nil, live})
				if err := services.Adopt(c, services.Apex, live); err != nil {
					t.Fatal(err)
				}
				for _, s := range services.All() {
					if err := applier.Apply(t.Context(), s); err != nil {
						t.Errorf("%s with %+v: %v", s.Name, service, err)
					}
				}
				e.read(t, ns, app, live)
				e.cachedAs(t, live)
				for _, half := range []*corev1.Service{services.Primary, services.Canary} {
					wantSamePorts(t, live, half)
				}
			}
			if err := applier.Merge(t.Context(), services.GiveBack(live, ssa.AppliedAnnotation), live); err != nil {
				t.Fatal(err)
			}
			e.read(t, ns, app, live)
			if d := cmp.Diff(want.Spec, live.Spec); d != "" || len(live.Annotations) > 0 {
				t.Errorf("given back (-was +is)\n%s\nannotations %v", d, live.Annotations)
			}
		})
	}
}

// wantSamePorts has an objection for each port of a Service that another one has not, as it has it.
func wantSamePorts(t *testing.T, apex, half *corev1.Service) {
	t.Helper()
	for _, p := range apex.Spec.Ports {
		if !slices.ContainsFunc(half.Spec.Ports, func(h corev1.ServicePort) bool { return cmp.Equal(p, h) }) {
			t.Errorf("%s has the port %+v, and %s has only %+v", apex.Name, p, half.Name, half.Spec.Ports)
		}
	}
}
