package autoscaling_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/autoscaling"
	"github.com/sluice-delivery/sluice/operator/workload"
)

var podinfo = autoscaling.Scaled{Kind: "Deployment", Name: "podinfo", Label: workload.Label{Key: "app.kubernetes.io/name", Target: "podinfo", Primary: "podinfo-primary"}}

// defaults are the options of an operator without flags.
var defaults = workload.Options{SelectorLabels: []string{"app", "name", "app.kubernetes.io/name"}}

// canary builds a Canary of Deployment podinfo with port 80 to 9898.
type canary struct{ *v1beta1.Canary }

func newCanary() canary {
	return canary{&v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "release", UID: "c1"},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{Kind: "Deployment", Name: "podinfo"},
			Service:   v1beta1.CanaryService{Port: 80, TargetPort: intstr.FromInt32(9898)},
		},
	}}
}

// scaledBy gives the canary an autoscaler.
func (c canary) scaledBy(kind, name string) canary {
	c.Spec.AutoscalerRef = &v1beta1.AutoscalerReference{Kind: kind, Name: name}
	return c
}

func (c canary) bounds(lower, upper *int32) canary {
	c.Spec.AutoscalerRef.PrimaryScalerReplicas = &v1beta1.ScalerReplicas{MinReplicas: lower, MaxReplicas: upper}
	return c
}

func (c canary) queries(queries map[string]string) canary {
	c.Spec.AutoscalerRef.PrimaryScalerQueries = queries
	return c
}

// hpa builds a HorizontalPodAutoscaler of podinfo between 2 and 10 pods.
type hpa struct {
	*autoscalingv2.HorizontalPodAutoscaler
}

func newHPA() hpa {
	return hpa{&autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "web"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
			MinReplicas:    new(int32(2)),
			MaxReplicas:    10,
		},
	}}
}

func (h hpa) with(change func(*autoscalingv2.HorizontalPodAutoscaler)) hpa {
	change(h.HorizontalPodAutoscaler)
	return h
}

func (h hpa) metric(m autoscalingv2.MetricSpec) hpa {
	h.Spec.Metrics = append(h.Spec.Metrics, m)
	return h
}

func TestPrimaryHPA(t *testing.T) {
	users := newHPA().with(func(h *autoscalingv2.HorizontalPodAutoscaler) {
		h.Labels = map[string]string{"team": "a", "app.kubernetes.io/instance": "shop"}
		h.Annotations = map[string]string{"team": "a", "argocd.argoproj.io/tracking-id": "shop"}
		h.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: new(int32(7))}}
		h.Status.CurrentReplicas = 4
	})
	before := users.DeepCopy()
	got := primaryAutoscalerOf(t, newCanary().scaledBy("HorizontalPodAutoscaler", "web"), users.HorizontalPodAutoscaler, 0, workload.Options{IncludeLabelPrefixes: []string{"*"}})
	want := &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta: metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "test", Name: "web-primary",
			Labels:      map[string]string{"team": "a", "app.kubernetes.io/managed-by": "sluice", "sluice.dev/canary": "release"},
			Annotations: map[string]string{"team": "a", "sluice.dev/canary": "release"},
		},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo-primary"},
			MinReplicas:    new(int32(2)),
			MaxReplicas:    10,
			Behavior:       users.Spec.Behavior,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	// The user's comes from a cache that is shared by all.
	if diff := cmp.Diff(before, users.HorizontalPodAutoscaler); diff != "" {
		t.Errorf("the user's was changed: -before +after\n%s", diff)
	}
}

func primaryAutoscalerOf(t *testing.T, c canary, users client.Object, floor int32, o workload.Options) client.Object {
	t.Helper()
	before := users.DeepCopyObject()
	got, err := autoscaling.PrimaryAutoscaler(c.Canary, podinfo, users, floor, o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, users); diff != "" {
		t.Errorf("the user's was changed: -before +after\n%s", diff)
	}
	return got
}

func TestMetricsOfThePrimary(t *testing.T) {
	selector := func(key, value string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{key: value, "team": "podinfo"}}
	}
	external := func(s *metav1.LabelSelector) autoscalingv2.MetricSpec {
		return autoscalingv2.MetricSpec{Type: "External", External: &autoscalingv2.ExternalMetricSource{Metric: autoscalingv2.MetricIdentifier{Name: "queue", Selector: s}}}
	}
	pods := func(s *metav1.LabelSelector) autoscalingv2.MetricSpec {
		return autoscalingv2.MetricSpec{Type: "Pods", Pods: &autoscalingv2.PodsMetricSource{Metric: autoscalingv2.MetricIdentifier{Name: "rps", Selector: s}}}
	}
	object := func(kind, name string, s *metav1.LabelSelector) autoscalingv2.MetricSpec {
		return autoscalingv2.MetricSpec{Type: "Object", Object: &autoscalingv2.ObjectMetricSource{
			DescribedObject: autoscalingv2.CrossVersionObjectReference{Kind: kind, Name: name},
			Metric:          autoscalingv2.MetricIdentifier{Name: "rps", Selector: s},
		}}
	}
	cpu := autoscalingv2.MetricSpec{Type: "Resource", Resource: &autoscalingv2.ResourceMetricSource{Name: "cpu"}}
	for name, tc := range map[string]struct{ metric, want autoscalingv2.MetricSpec }{
		"of resources":                    {metric: cpu, want: cpu},
		"pods without selector":           {metric: pods(nil), want: pods(nil)},
		"pods by the label":               {metric: pods(selector("app.kubernetes.io/name", "podinfo")), want: pods(selector("app.kubernetes.io/name", "podinfo-primary"))},
		"external by the label":           {metric: external(selector("app.kubernetes.io/name", "podinfo")), want: external(selector("app.kubernetes.io/name", "podinfo-primary"))},
		"external as Prometheus spells":   {metric: external(selector("app_kubernetes_io_name", "podinfo")), want: external(selector("app_kubernetes_io_name", "podinfo-primary"))},
		"external of another application": {metric: external(selector("app.kubernetes.io/name", "db")), want: external(selector("app.kubernetes.io/name", "db"))},
		"external by another label":       {metric: external(selector("queue", "podinfo")), want: external(selector("queue", "podinfo"))},
		"the target":                      {metric: object("Deployment", "podinfo", nil), want: object("Deployment", "podinfo-primary", nil)},
		"another workload":                {metric: object("Deployment", "db", nil), want: object("Deployment", "db", nil)},
		"the apex service":                {metric: object("Service", "podinfo", nil), want: object("Service", "podinfo-primary", nil)},
		"the canary's service":            {metric: object("Service", "podinfo-canary", nil), want: object("Service", "podinfo-primary", nil)},
		"another service":                 {metric: object("Service", "db", nil), want: object("Service", "db", nil)},
		"an ingress of the same name":     {metric: object("Ingress", "podinfo", nil), want: object("Ingress", "podinfo", nil)},
		"object by the label": {
			metric: object("Ingress", "web", selector("app.kubernetes.io/name", "podinfo")), want: object("Ingress", "web", selector("app.kubernetes.io/name", "podinfo-primary")),
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := primaryAutoscalerOf(t, newCanary().scaledBy("HorizontalPodAutoscaler", "web"), newHPA().metric(tc.metric).HorizontalPodAutoscaler, 0, defaults)
			if diff := cmp.Diff([]autoscalingv2.MetricSpec{tc.want}, got.(*autoscalingv2.HorizontalPodAutoscaler).Spec.Metrics); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// scaledObject builds a ScaledObject of podinfo.
type scaledObject struct{ *unstructured.Unstructured }

func newScaledObject(t *testing.T, spec string) scaledObject {
	t.Helper()
	so := &unstructured.Unstructured{Object: map[string]any{}}
	if err := so.UnmarshalJSON([]byte(`{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"namespace": "test", "name": "web"}, "spec": ` + spec + `}`)); err != nil {
		t.Fatal(err)
	}
	return scaledObject{so}
}

func TestPrimaryScaledObject(t *testing.T) {
	users := newScaledObject(t, `{
		"scaleTargetRef": {"name": "podinfo", "envSourceContainerName": "podinfod"},
		"pollingInterval": 10, "minReplicaCount": 2, "maxReplicaCount": 10, "idleReplicaCount": 0,
		"fallback": {"failureThreshold": 3, "replicas": 6},
		"advanced": {
			"restoreToOriginalReplicaCount": true,
			"scalingModifiers": {"formula": "requests + cpu", "target": "2"},
			"horizontalPodAutoscalerConfig": {"name": "web-hpa", "behavior": {"scaleDown": {"stabilizationWindowSeconds": 7}}}
		},
		"triggers": [
			{"type": "prometheus", "name": "requests", "metadata": {"query": "rate(r{app=\"podinfo\"}[1m])", "threshold": "5"}, "authenticationRef": {"name": "prom"}},
			{"type": "cpu", "name": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}}
		]
	}`)
	users.SetLabels(map[string]string{"team": "a", "scaledobject.keda.sh/name": "web", "kustomize.toolkit.fluxcd.io/name": "apps"})
	users.SetAnnotations(map[string]string{
		"team": "a", "argocd.argoproj.io/tracking-id": "shop", "scaledobject.keda.sh/transfer-hpa-ownership": "true",
		"autoscaling.keda.sh/paused-replicas": "0", "autoscaling.keda.sh/paused": "true", "autoscaling.keda.sh/paused-scale-in": "true",
		"sluice.dev/paused-by": "release",
	})
	users.SetFinalizers([]string{"finalizer.keda.sh"})
	users.Object["status"] = map[string]any{"hpaName": "web-hpa"}

	for name, tc := range map[string]struct {
		options         workload.Options
		wantLabels      map[string]string
		wantAnnotations map[string]string
	}{
		"pain 12: not its pauses, but how KEDA is to scale": {
			wantLabels:      map[string]string{"app.kubernetes.io/managed-by": "sluice"},
			wantAnnotations: map[string]string{"scaledobject.keda.sh/transfer-hpa-ownership": "true"},
		},
		"pain 11: everything but tracking": {
			options:         workload.Options{IncludeLabelPrefixes: []string{"*"}},
			wantLabels:      map[string]string{"team": "a", "app.kubernetes.io/managed-by": "sluice"},
			wantAnnotations: map[string]string{"team": "a", "scaledobject.keda.sh/transfer-hpa-ownership": "true"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := primaryAutoscalerOf(t, newCanary().scaledBy("ScaledObject", "web"), users.Unstructured, 0, tc.options).(*unstructured.Unstructured)
			tc.wantLabels["sluice.dev/canary"], tc.wantAnnotations["sluice.dev/canary"] = "release", "release"
			if diff := cmp.Diff(tc.wantLabels, got.GetLabels()); diff != "" {
				t.Errorf("labels: -want +got\n%s", diff)
			}
			if diff := cmp.Diff(tc.wantAnnotations, got.GetAnnotations()); diff != "" {
				t.Errorf("annotations: -want +got\n%s", diff)
			}
			wantSpec := newScaledObject(t, `{
				"scaleTargetRef": {"name": "podinfo-primary", "envSourceContainerName": "podinfod"},
				"pollingInterval": 10, "minReplicaCount": 2, "maxReplicaCount": 10, "idleReplicaCount": 0,
				"fallback": {"failureThreshold": 3, "replicas": 6},
				"advanced": {
					"scalingModifiers": {"formula": "requests + cpu", "target": "2"},
					"horizontalPodAutoscalerConfig": {"name": "web-hpa-primary", "behavior": {"scaleDown": {"stabilizationWindowSeconds": 7}}}
				},
				"triggers": [
					{"type": "prometheus", "name": "requests", "metadata": {"query": "rate(r{app=\"podinfo-primary\"}[1m])", "threshold": "5"}, "authenticationRef": {"name": "prom"}},
					{"type": "cpu", "name": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}}
				]
			}`).Object["spec"]
			if diff := cmp.Diff(wantSpec, got.Object["spec"]); diff != "" {
				t.Errorf("spec: -want +got\n%s", diff)
			}
			if got.GetName() != "web-primary" || got.GetNamespace() != "test" || got.GetKind() != "ScaledObject" || got.GetAPIVersion() != "keda.sh/v1alpha1" ||
				len(got.GetFinalizers()) != 0 || got.Object["status"] != nil {
				t.Errorf("%v", got.Object)
			}
			if !ownership.For(newCanary().Canary).Owns(got) || len(got.GetOwnerReferences()) > 0 {
				t.Errorf("it is not marked: %v", got.Object["metadata"])
			}
		})
	}
}

func TestQueriesOfThePrimary(t *testing.T) {
	for name, tc := range map[string]struct {
		trigger string
		queries map[string]string
		want    string // the metadata
	}{
		"by its name": {
			trigger: `{"name": "a", "metadata": {"query": "up{app=\"podinfo\"}"}}`, queries: map[string]string{"a": "mine", "b": "other"}, want: `{"query": "mine"}`,
		},
		"by the name in its metadata": {
			trigger: `{"metadata": {"name": "a", "query": "up"}}`, queries: map[string]string{"a": "mine"}, want: `{"name": "a", "query": "mine"}`,
		},
		"without an entry":      {trigger: `{"name": "a", "metadata": {"query": "podinfo"}}`, queries: map[string]string{"b": "other"}, want: `{"query": "podinfo-primary"}`},
		"without a query":       {trigger: `{"name": "a", "metadata": {"topic": "podinfo"}}`, want: `{"topic": "podinfo"}`},
		"without name or entry": {trigger: `{"metadata": {"query": "podinfo-canary"}}`, queries: map[string]string{"b": "other"}, want: `{"query": "podinfo-primary"}`},
		"without metadata":      {trigger: `{"name": "a"}`, queries: map[string]string{"a": "mine"}, want: `null`},
	} {
		t.Run(name, func(t *testing.T) {
			users := newScaledObject(t, `{"scaleTargetRef": {"name": "podinfo"}, "triggers": [`+tc.trigger+`]}`)
			got := primaryAutoscalerOf(t, newCanary().scaledBy("ScaledObject", "web").queries(tc.queries), users.Unstructured, 0, defaults).(*unstructured.Unstructured)
			triggers, _, _ := unstructured.NestedSlice(got.Object, "spec", "triggers")
			var want any
			if err := json.Unmarshal([]byte(tc.want), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, triggers[0].(map[string]any)["metadata"]); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestNamesInQueries(t *testing.T) {
	for query, want := range map[string]string{
		``:                  ``,
		`podinfo`:           `podinfo-primary`,
		`up{app="podinfo"}`: `up{app="podinfo-primary"}`,
		`up{app="podinfo-canary"} + up{app="podinfo-primary"}`:           `up{app="podinfo-primary"} + up{app="podinfo-primary"}`,
		`up{pod=~"podinfo-[0-9a-z]+-.*", service="podinfo"}`:             `up{pod=~"podinfo-primary-[0-9a-z]+-.*", service="podinfo-primary"}`,
		`up{host="podinfo.test.svc"}`:                                    `up{host="podinfo-primary.test.svc"}`,
		`up{app=~"podinfo|db"}`:                                          `up{app=~"podinfo-primary|db"}`,
		`podinfo_requests{app="my-podinfo"}`:                             `podinfo_requests{app="my-podinfo"}`,
		`up{app="podinfo-backend"}`:                                      `up{app="podinfo-backend"}`,
		`up{app="podinfo-canary2"}`:                                      `up{app="podinfo-canary2"}`,
		`up{app="podinfos"} / up{app="1podinfo"}`:                        `up{app="podinfos"} / up{app="1podinfo"}`,
		`up{namespace="podinfo", app="podinfo"}`:                         `up{namespace="podinfo", app="podinfo-primary"}`,
		`up{destination_workload_namespace=~"a|podinfo", app="podinfo"}`: `up{destination_workload_namespace=~"a|podinfo", app="podinfo-primary"}`,
	} {
		t.Run(query, func(t *testing.T) {
			raw, err := json.Marshal(query)
			if err != nil {
				t.Fatal(err)
			}
			users := newScaledObject(t, `{"scaleTargetRef": {"name": "podinfo"}, "triggers": [{"metadata": {"query": `+string(raw)+`}}]}`)
			got := primaryAutoscalerOf(t, newCanary().scaledBy("ScaledObject", "web"), users.Unstructured, 0, defaults).(*unstructured.Unstructured)
			triggers, _, _ := unstructured.NestedSlice(got.Object, "spec", "triggers")
			if q := triggers[0].(map[string]any)["metadata"].(map[string]any)["query"]; q != want {
				t.Errorf("got  %s\nwant %s", q, want)
			}
		})
	}
}

// Pain 2: both kinds keep to the floor, up to what their user allows.
func TestBoundsOfThePrimary(t *testing.T) {
	for name, tc := range map[string]struct {
		lower, upper         *int32 // primaryScalerReplicas
		floor                int32
		wantLower, wantUpper int32
		wantErr              string
	}{
		"as the user's":                  {wantLower: 2, wantUpper: 10},
		"of the primary":                 {lower: new(int32(4)), upper: new(int32(8)), wantLower: 4, wantUpper: 8},
		"minimum of the primary":         {lower: new(int32(4)), wantLower: 4, wantUpper: 10},
		"maximum of the primary":         {upper: new(int32(20)), wantLower: 2, wantUpper: 20},
		"floor above the minimum":        {floor: 7, wantLower: 7, wantUpper: 10},
		"floor below the minimum":        {floor: 1, wantLower: 2, wantUpper: 10},
		"floor above the maximum":        {floor: 70, wantLower: 10, wantUpper: 10},
		"floor above the primary's":      {upper: new(int32(5)), floor: 7, wantLower: 5, wantUpper: 5},
		"minimum above the user's limit": {lower: new(int32(11)), wantErr: "primaryScalerReplicas"},
		"maximum below the user's":       {upper: new(int32(1)), wantErr: "primaryScalerReplicas"},
	} {
		for kind, users := range map[string]client.Object{
			"HorizontalPodAutoscaler": newHPA().HorizontalPodAutoscaler,
			"ScaledObject":            newScaledObject(t, `{"scaleTargetRef": {"name": "podinfo"}, "minReplicaCount": 2, "maxReplicaCount": 10, "idleReplicaCount": 0}`).Unstructured,
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				c := newCanary().scaledBy(kind, "web").bounds(tc.lower, tc.upper)
				got, err := autoscaling.PrimaryAutoscaler(c.Canary, podinfo, users, tc.floor, defaults)
				if tc.wantErr != "" {
					if err == nil || !strings.Contains(err.Error(), tc.wantErr) || !strings.Contains(err.Error(), kind+" web") {
						t.Errorf("error %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				lower, upper, idle := boundsOf(got)
				if lower != tc.wantLower || upper != tc.wantUpper {
					t.Errorf("between %d and %d, want %d and %d", lower, upper, tc.wantLower, tc.wantUpper)
				}
				if limit, err := autoscaling.MaxReplicas(got); err != nil || limit != tc.wantUpper {
					t.Errorf("maximum %d, %v", limit, err)
				}
				if kind == "ScaledObject" && idle != (tc.floor == 0) {
					t.Errorf("idle count is there: %t; it would win over the floor %d", idle, tc.floor)
				}
			})
		}
	}
}

func boundsOf(o client.Object) (lower, upper int32, idle bool) {
	if h, ok := o.(*autoscalingv2.HorizontalPodAutoscaler); ok {
		return *h.Spec.MinReplicas, h.Spec.MaxReplicas, false
	}
	object := o.(*unstructured.Unstructured).Object
	l, _, _ := unstructured.NestedInt64(object, "spec", "minReplicaCount")
	u, _, _ := unstructured.NestedInt64(object, "spec", "maxReplicaCount")
	_, idle, _ = unstructured.NestedInt64(object, "spec", "idleReplicaCount")
	return int32(l), int32(u), idle
}

// What an autoscaler leaves out is what its API defaults it to.
func TestDefaultBounds(t *testing.T) {
	h := newHPA().with(func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Spec.MinReplicas = nil })
	if lower, upper, _ := boundsOf(primaryAutoscalerOf(t, newCanary().scaledBy("HorizontalPodAutoscaler", "web"), h.HorizontalPodAutoscaler, 0, defaults)); lower != 1 || upper != 10 {
		t.Errorf("between %d and %d", lower, upper)
	}
	so := newScaledObject(t, `{"scaleTargetRef": {"name": "podinfo"}}`)
	if lower, upper, _ := boundsOf(primaryAutoscalerOf(t, newCanary().scaledBy("ScaledObject", "web"), so.Unstructured, 0, defaults)); lower != 0 || upper != 100 {
		t.Errorf("between %d and %d", lower, upper)
	}
}

// Flagger copies an autoscaler of whatever workload for the primary. The copy scales the primary, of its kind.
func TestAutoscalerOfAnotherWorkload(t *testing.T) {
	for name, users := range map[string]client.Object{
		"another name": newHPA().with(func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Spec.ScaleTargetRef.Name = "db" }).HorizontalPodAutoscaler,
		"another kind": newHPA().with(func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Spec.ScaleTargetRef.Kind = "StatefulSet" }).HorizontalPodAutoscaler,
		"a kind of its own": newHPA().with(func(h *autoscalingv2.HorizontalPodAutoscaler) {
			h.Spec.ScaleTargetRef.APIVersion, h.Spec.ScaleTargetRef.Kind = "acme.io/v1", "Fleet"
		}).HorizontalPodAutoscaler,
		"by KEDA":                  newScaledObject(t, `{"scaleTargetRef": {"name": "db"}}`).Unstructured,
		"by KEDA, of another kind": newScaledObject(t, `{"scaleTargetRef": {"name": "podinfo", "kind": "StatefulSet"}}`).Unstructured,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := autoscaling.PrimaryAutoscaler(newCanary().scaledBy("HorizontalPodAutoscaler", "web").Canary, podinfo, users, 0, defaults)
			if err != nil {
				t.Fatal(err)
			}
			if kind, name := autoscaling.ScaleTarget(got); kind != "Deployment" || name != "podinfo-primary" {
				t.Errorf("the copy scales %s %s", kind, name)
			}
			if h, ok := got.(*autoscalingv2.HorizontalPodAutoscaler); ok && h.Spec.ScaleTargetRef.APIVersion != "apps/v1" {
				t.Errorf("the copy scales something of %s", h.Spec.ScaleTargetRef.APIVersion)
			}
		})
	}
	if _, err := autoscaling.PrimaryAutoscaler(newCanary().scaledBy("ScaledObject", "web").Canary, podinfo, newScaledObject(t, `{}`).Unstructured, 0, defaults); err == nil || !strings.Contains(err.Error(), "spec.scaleTargetRef") {
		t.Errorf("of a ScaledObject of nothing: %v", err)
	}
}

// What a CRD lets through must not stop the operator.
func TestMalformedScaledObject(t *testing.T) {
	for _, spec := range []string{
		`{"scaleTargetRef": {"name": "podinfo"}, "minReplicaCount": "two"}`,
		`{"scaleTargetRef": {"name": "podinfo"}, "triggers": "none"}`,
		`{"scaleTargetRef": {"name": "podinfo"}, "advanced": {"horizontalPodAutoscalerConfig": "none"}}`,
	} {
		_, err := autoscaling.PrimaryAutoscaler(newCanary().scaledBy("ScaledObject", "web").Canary, podinfo, newScaledObject(t, spec).Unstructured, 0, defaults)
		if err == nil || !strings.Contains(err.Error(), "spec.autoscalerRef") {
			t.Errorf("%s: error %v", spec, err)
		}
	}
}

func TestNewAutoscaler(t *testing.T) {
	for name, tc := range map[string]struct {
		ref     v1beta1.AutoscalerReference
		want    client.Object
		wantErr string
	}{
		"HPA":                      {ref: v1beta1.AutoscalerReference{Kind: "HorizontalPodAutoscaler"}, want: &autoscalingv2.HorizontalPodAutoscaler{}},
		"HPA of an older version":  {ref: v1beta1.AutoscalerReference{APIVersion: "autoscaling/v2beta2", Kind: "HorizontalPodAutoscaler"}, want: &autoscalingv2.HorizontalPodAutoscaler{}},
		"HPA of another group":     {ref: v1beta1.AutoscalerReference{APIVersion: "v1", Kind: "HorizontalPodAutoscaler"}, wantErr: `apiVersion: "v1"`},
		"ScaledObject":             {ref: v1beta1.AutoscalerReference{Kind: "ScaledObject"}, want: emptyScaledObject()},
		"ScaledObject by version":  {ref: v1beta1.AutoscalerReference{APIVersion: "keda.sh/v1alpha1", Kind: "ScaledObject"}, want: emptyScaledObject()},
		"ScaledObject of old KEDA": {ref: v1beta1.AutoscalerReference{APIVersion: "keda.k8s.io/v1alpha1", Kind: "ScaledObject"}, wantErr: "keda.sh/v1alpha1"},
		"another kind":             {ref: v1beta1.AutoscalerReference{Kind: "VerticalPodAutoscaler"}, wantErr: "HorizontalPodAutoscaler and ScaledObject"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := autoscaling.NewAutoscaler(&tc.ref)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("error %v", err)
				}
				return
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("error %v, -want +got\n%s", err, diff)
			}
		})
	}
}

func emptyScaledObject() *unstructured.Unstructured {
	so := &unstructured.Unstructured{}
	so.SetGroupVersionKind(autoscaling.ScaledObjectKind)
	return so
}
