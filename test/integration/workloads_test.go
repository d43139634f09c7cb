package integration

import (
	"context"
	"errors"
	"testing"

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
