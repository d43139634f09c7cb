package kubernetes_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/kubernetes"
	"github.com/sluice-delivery/sluice/providers/routertest"
)

func canary() *v1beta1.Canary {
	return &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: "test", UID: "c1"},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
			Service:   v1beta1.CanaryService{Port: 9898},
			Analysis:  &v1beta1.CanaryAnalysis{Iterations: 3},
		},
	}
}

func service(name, app string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": app}},
	}
}

func TestConformance(t *testing.T) {
	routertest.Run(t, func(t *testing.T) routertest.World {
		c := fake.NewClientBuilder().Build()
		return routertest.World{
			Router: kubernetes.New(c), Canary: canary(), Writes: func() int { return 0 },
			// The Services are made by whoever calls the router.
			Mesh: func(t *testing.T) {
				for _, name := range []string{"podinfo", "podinfo-primary"} {
					if err := c.Create(t.Context(), service(name, "podinfo-primary")); client.IgnoreAlreadyExists(err) != nil {
						t.Fatal(err)
					}
				}
			},
			Mistakes: map[string]func(*v1beta1.Canary){
				"weights":             func(c *v1beta1.Canary) { c.Spec.Analysis = &v1beta1.CanaryAnalysis{StepWeight: 10} },
				"a list of weights":   func(c *v1beta1.Canary) { c.Spec.Analysis = &v1beta1.CanaryAnalysis{StepWeights: []int32{10}} },
				"a target of Service": func(c *v1beta1.Canary) { c.Spec.TargetRef.Kind = "Service" },
			},
		}
	})
}

func TestObserve(t *testing.T) {
	for name, tc := range map[string]struct {
		services   []client.Object
		traffic    providers.Traffic
		want       providers.State
		wantDetail string // a part of it
	}{
		"none":       {},
		"no primary": {services: []client.Object{service("podinfo", "podinfo")}},
		"in sync": {
			services: []client.Object{service("podinfo", "podinfo-primary"), service("podinfo-primary", "podinfo-primary")},
			want:     providers.State{Exists: true, Traffic: providers.Traffic{Primary: 100}, InSync: true},
		},
		"not taken over": {
			services:   []client.Object{service("podinfo", "podinfo"), service("podinfo-primary", "podinfo-primary")},
			wantDetail: "Service podinfo does not select the pods that podinfo-primary does",
		},
		// A status that another provider has left behind must not hold up this one.
		"weight of another provider": {
			services: []client.Object{service("podinfo", "podinfo-primary"), service("podinfo-primary", "podinfo-primary")},
			traffic:  providers.Traffic{Primary: 50, Canary: 50},
			want:     providers.State{Exists: true, Traffic: providers.Traffic{Primary: 100}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.traffic == (providers.Traffic{}) {
				tc.traffic.Primary = 100
			}
			r := kubernetes.New(fake.NewClientBuilder().WithObjects(tc.services...).Build())
			got, err := r.Observe(t.Context(), providers.Route{Canary: canary(), Traffic: tc.traffic})
			if err != nil || !strings.Contains(got.Detail, tc.wantDetail) || (got.Detail == "") != (tc.wantDetail == "") {
				t.Errorf("observed %+v, %v", got, err)
			}
			if got.Detail = ""; got != tc.want {
				t.Errorf("observed %+v, want %+v", got, tc.want)
			}
		})
	}
}

// TestWeightsAreRefusedByField names the field that asks for them.
func TestWeightsAreRefusedByField(t *testing.T) {
	for field, analysis := range map[string]*v1beta1.CanaryAnalysis{
		"spec.analysis.stepWeight":      {StepWeight: 10},
		"spec.analysis.stepWeights":     {StepWeights: []int32{10, 20}},
		"spec.analysis.match":           {Iterations: 1, Match: []v1beta1.RawObject{{}}},
		"spec.analysis.mirror":          {Iterations: 1, Mirror: true},
		"spec.analysis.sessionAffinity": {Iterations: 1, SessionAffinity: &v1beta1.SessionAffinity{CookieName: "a"}},
	} {
		c := canary()
		c.Spec.Analysis = analysis
		err := kubernetes.New(fake.NewClientBuilder().Build()).Apply(t.Context(), providers.Route{Canary: c, Traffic: providers.Traffic{Primary: 100}})
		if !providers.IsUnsupported(err) || !strings.HasPrefix(err.Error(), field+" ") {
			t.Errorf("%s: %v", field, err)
		}
	}
	skipping := canary()
	skipping.Spec.SkipAnalysis, skipping.Spec.Analysis = true, &v1beta1.CanaryAnalysis{StepWeight: 10}
	if err := kubernetes.New(fake.NewClientBuilder().Build()).Apply(t.Context(), providers.Route{Canary: skipping, Traffic: providers.Traffic{Primary: 100}}); err != nil {
		t.Errorf("weights that an analysis would have, were it not skipped: %v", err)
	}
}
