package zzreal

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"sync/atomic"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/go-logr/logr"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/ssa"
	"github.com/sluice-delivery/sluice/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

var writes atomic.Int64

func setup(t *testing.T) (live client.Client, c client.Client, cl *cluster.Cluster) {
	log.SetLogger(logr.Discard())
	cl, err := cluster.Start(t.Context(), cluster.Options{Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Stop() })
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "istio.io/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	s := runtime.NewScheme()
	clientgoscheme.AddToScheme(s)
	networkingv1.AddToScheme(s)
	v1beta1.AddToScheme(s)
	mk := func() client.Client {
		ca, err := cache.New(cl.Config(), cache.Options{Scheme: s, DefaultTransform: cache.TransformStripManagedFields()})
		if err != nil {
			t.Fatal(err)
		}
		go ca.Start(t.Context())
		ca.WaitForCacheSync(t.Context())
		cc, err := client.NewWithWatch(cl.Config(), client.Options{Scheme: s, Cache: &client.CacheOptions{Reader: ca}})
		if err != nil {
			t.Fatal(err)
		}
		return interceptor.NewClient(cc, interceptor.Funcs{
			Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
				writes.Add(1)
				return c.Apply(ctx, o, opts...)
			},
			Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
				writes.Add(1)
				return c.Delete(ctx, o, opts...)
			},
		})
	}
	c = mk()
	r := istio.New(c, ssa.New(c))
	_, err = r.Observe(t.Context(), providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 100}})
	fmt.Println("without CRDs:", providers.IsNotInstalled(err), err)
	if err := cl.InstallCRDs(t.Context(), strings.TrimSpace(string(out))+"/kubernetes/customresourcedefinitions.gen.yaml"); err != nil {
		t.Fatal(err)
	}
	live, err = client.New(cl.Config(), client.Options{Scheme: s})
	if err != nil {
		t.Fatal(err)
	}
	if err := live.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "test"}}); err != nil {
		t.Fatal(err)
	}
	st, err := r.Observe(t.Context(), providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 100}})
	fmt.Println("same client with CRDs:", st, err)
	return live, c, cl
}

func canary() *v1beta1.Canary {
	return &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: "test", UID: "c1"},
		Spec: v1beta1.CanarySpec{TargetRef: v1beta1.TargetReference{Kind: "Deployment", Name: "podinfo"},
			Service:  v1beta1.CanaryService{Port: 80, Timeout: "1m30s", TrafficPolicy: &v1beta1.RawObject{Raw: []byte(`{"tls":{"mode":"DISABLE"},"connectionPool":{"http":{"http1MaxPendingRequests":0,"maxRetries":3},"tcp":{"connectTimeout":"30ms"}}}`)},
			Match: []v1beta1.RawObject{{Raw: []byte(`{"uri":{"prefix":"/"}}`)}},
			Retries: &v1beta1.RawObject{Raw: []byte(`{"attempts":0}`)},
			CorsPolicy: &v1beta1.RawObject{Raw: []byte(`{"allowOrigins":[{"exact":"x"}],"allowCredentials":false}`)}},
			Analysis: &v1beta1.CanaryAnalysis{StepWeight: 10}},
	}
}

func TestReal(t *testing.T) {
	live, c, cl := setup(t)
	t.Run("conformance", func(t *testing.T) {
		routertest.Run(t, func(t *testing.T) routertest.World {
			live.DeleteAllOf(t.Context(), &networkingv1.VirtualService{}, client.InNamespace("test"))
			live.DeleteAllOf(t.Context(), &networkingv1.DestinationRule{}, client.InNamespace("test"))
			for {
				l := &networkingv1.VirtualServiceList{}
				l2 := &networkingv1.DestinationRuleList{}
				if c.List(t.Context(), l) == nil && c.List(t.Context(), l2) == nil && len(l.Items)+len(l2.Items) == 0 {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			base := writes.Load()
			return routertest.World{Router: istio.New(c, ssa.New(c)), Canary: canary(), Writes: func() int { return int(writes.Load() - base) },
				Drift: func(t *testing.T, tr providers.Traffic) {
					vs := &networkingv1.VirtualService{}
					if err := live.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: "podinfo"}, vs); err != nil {
						t.Fatal(err)
					}
					vs.Spec.Http[0].Route[0].Weight, vs.Spec.Http[0].Route[1].Weight = tr.Primary, tr.Canary
					if err := live.Update(t.Context(), vs); err != nil {
						t.Fatal(err)
					}
				}}
		})
	})
	t.Run("adopt delegation", func(t *testing.T) {
		live.DeleteAllOf(t.Context(), &networkingv1.VirtualService{}, client.InNamespace("test"))
		vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: "test"}}
		vs.Spec.Hosts = []string{"old"}
		vs.Spec.Gateways = []string{"old"}
		if err := live.Create(t.Context(), vs); err != nil {
			t.Fatal(err)
		}
		ca := canary()
		ca.Spec.Service.Delegation = true
		for { // cache shows it
			if c.Get(t.Context(), client.ObjectKeyFromObject(vs), vs) == nil && len(vs.Spec.Hosts) == 1 && vs.Spec.Hosts[0] == "old" {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		r := istio.New(c, ssa.New(c))
		if err := r.Apply(t.Context(), providers.Route{Canary: ca, Traffic: providers.Traffic{Primary: 100}}); err != nil {
			t.Fatal(err)
		}
		out, _ := cl.Kubectl(t.Context(), "get", "vs", "-n", "test", "podinfo", "-o", "yaml", "--show-managed-fields")
		fmt.Println(out)
	})
	t.Run("ssa", func(t *testing.T) { ssaReal(t, live, c, cl) })
}

func ssaReal(t *testing.T, live, c client.Client, cl *cluster.Cluster) {
	d := func(image string) *appsv1.Deployment {
		return &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "test", Labels: map[string]string{"app": "p"}},
			Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](1), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "p"}},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "p"}},
					Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "t", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
						Containers: []corev1.Container{{Name: "c", Image: image, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}, Env: []corev1.EnvVar{{Name: "A", Value: ""}},
							ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(80)}}}}}}}},
		}
	}
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "test"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Selector: map[string]string{"app": "p"},
		Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(80)}}}}
	a := ssa.New(c)
	settle := func(what string, o client.Object, want int64) {
		t.Helper()
		base := writes.Load()
		deadline := time.Now().Add(5 * time.Second)
		for {
			if err := a.Apply(t.Context(), o); err != nil {
				t.Fatal(what, err)
			}
			ok, err := a.InSync(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(what, "never in sync")
			}
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(500 * time.Millisecond)
		a.Apply(t.Context(), o)
		a2 := ssa.New(c)
		if ok, err := a2.InSync(t.Context(), o); !ok || err != nil {
			t.Error(what, "fresh applier not in sync", err)
		}
		if n := writes.Load() - base; n != want {
			t.Errorf("%s: %d writes, want %d", what, n, want)
		}
	}
	settle("create", d("i:1"), 1)
	settle("again", d("i:1"), 0)
	settle("image", d("i:2"), 1)
	e := d("i:2")
	e.Spec.Template.Spec.Containers[0].Env = nil
	settle("env gone", e, 1)
	settle("svc", svc, 1)
	settle("svc again", svc, 0)
	out, _ := cl.Kubectl(t.Context(), "get", "deploy", "-n", "test", "p", "-o", "jsonpath={.spec.template.spec.containers[0].env}")
	fmt.Println("env:", out)

	// partial on a user's object
	u := d("user:1")
	u.Name = "user"
	if err := live.Create(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	partial := func(n int64) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": map[string]any{"name": "user", "namespace": "test"}, "spec": map[string]any{"replicas": n}}}
	}
	base := writes.Load()
	if err := a.ApplyPartial(t.Context(), partial(0), u); err != nil {
		t.Fatal(err)
	}
	if err := a.ApplyPartial(t.Context(), partial(0), u); err != nil {
		t.Fatal(err)
	}
	now := &appsv1.Deployment{}
	live.Get(t.Context(), client.ObjectKeyFromObject(u), now)
	fmt.Println("partial writes", writes.Load()-base, "replicas", *now.Spec.Replicas, "observed old", a.Observed(u), "observed new", a.Observed(now))
	live.Delete(t.Context(), now)
	for live.Get(t.Context(), client.ObjectKeyFromObject(u), now) == nil {
		time.Sleep(20 * time.Millisecond)
	}
	err := a.ApplyPartial(t.Context(), partial(3), u)
	fmt.Println("partial on deleted:", err)
}
