package workload_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
)

func TestSelectorLabel(t *testing.T) {
	selects := func(l map[string]string) deployment { return newDeployment().selector(l) }
	for name, tc := range map[string]struct {
		target     deployment
		primary    map[string]string // its selector; nil: there is none
		labels     []string
		want       workload.Label
		wantErrHas []string
	}{
		"app":                       {target: newDeployment(), labels: defaults.SelectorLabels, want: workload.Label{"app", "podinfo", "podinfo-primary"}},
		"the first of several":      {target: selects(map[string]string{"name": "n", "app.kubernetes.io/name": "a"}), labels: defaults.SelectorLabels, want: workload.Label{"name", "n", "n-primary"}},
		"order is the operator's":   {target: selects(map[string]string{"app": "a", "name": "n"}), labels: []string{"name", "app"}, want: workload.Label{"name", "n", "n-primary"}},
		"none of them":              {target: selects(map[string]string{"component": "x"}), labels: []string{"app", "name"}, wantErrHas: []string{"Deployment/podinfo", "app, name", "-selector-labels"}},
		"only on the pods":          {target: selects(map[string]string{"team": "a"}), labels: []string{"app"}, wantErrHas: []string{"app"}},
		"selector is missing":       {target: newDeployment().with(func(d *appsv1.Deployment) { d.Spec.Selector = nil }), labels: []string{"app"}, wantErrHas: []string{"app"}},
		"an empty value is a value": {target: selects(map[string]string{"app": ""}), labels: []string{"app"}, want: workload.Label{"app", "", "-primary"}},

		"a primary keeps its label when the setting has another": {
			target:  selects(map[string]string{"app": "podinfo", "deploy": "podinfo"}),
			primary: map[string]string{"app": "podinfo-primary", "deploy": "podinfo"}, labels: []string{"deploy", "app"},
			want: workload.Label{"app", "podinfo", "podinfo-primary"},
		},
		"and when the setting has it no more": {
			target: newDeployment(), primary: map[string]string{"app": "podinfo-primary"}, labels: []string{"deploy"},
			want: workload.Label{"app", "podinfo", "podinfo-primary"},
		},
		"a target of another value": {
			target: selects(map[string]string{"app": "web"}), primary: map[string]string{"app": "podinfo-primary"}, labels: []string{"app"},
			want: workload.Label{"app", "web", "podinfo-primary"},
		},
		"a target of another label": {
			target: selects(map[string]string{"name": "podinfo"}), primary: map[string]string{"app": "podinfo-primary"}, labels: []string{"app", "name"},
			want: workload.Label{"name", "podinfo", "podinfo-primary"},
		},
		"a label that both must have does not tell them apart": {
			target:  selects(map[string]string{"deploy": "podinfo", "name": "podinfo"}),
			primary: map[string]string{"app": "podinfo-primary", "deploy": "podinfo"}, labels: []string{"deploy", "name"},
			want: workload.Label{"name", "podinfo", "podinfo-primary"},
		},
		"nothing tells them apart": {
			target:  selects(map[string]string{"deploy": "podinfo"}),
			primary: map[string]string{"app": "podinfo-primary", "deploy": "podinfo"}, labels: []string{"deploy", "app"},
			wantErrHas: []string{"Deployment/podinfo", "podinfo-primary", "deploy, app"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var living client.Object
			if tc.primary != nil {
				living = withPods(selects(tc.primary), tc.primary).Deployment
				living.SetName("podinfo-primary")
			}
			got, err := workload.SelectorLabel(tc.target.Deployment, living, workload.Options{SelectorLabels: tc.labels})
			if (err != nil) != (tc.wantErrHas != nil) {
				t.Fatalf("error %v", err)
			}
			if got != tc.want {
				t.Errorf("label %v, want %v", got, tc.want)
			}
			if err == nil {
				return
			}
			if typed := (&workload.NoSelectorLabelError{}); !errors.As(err, &typed) {
				t.Errorf("error of type %T", err)
			}
			for _, want := range tc.wantErrHas {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
		})
	}
}

// withPods gives the pods of a Deployment these labels.
func withPods(d deployment, labels map[string]string) deployment {
	d.Spec.Template.Labels = labels
	return d
}

// A selector can't be changed: a target with another one is another target, and the primary
// serves on as it is until that is released.
func TestTargetOfAnotherSelector(t *testing.T) {
	for name, tc := range map[string]struct {
		first, next map[string]string // labels of the target's selector and pods
		expression  *metav1.LabelSelectorRequirement
		options     []string
		wantPods    map[string]string // of the primary that is promoted
		wantLabel   string
	}{
		"one label more": {
			first: map[string]string{"app": "podinfo"}, next: map[string]string{"app": "podinfo", "tier": "web"}, options: []string{"app"},
			wantPods: map[string]string{"app": "podinfo-primary", "tier": "web"}, wantLabel: "app",
		},
		"one label less": {
			first: map[string]string{"app": "podinfo", "tier": "web"}, next: map[string]string{"app": "podinfo"}, options: []string{"app"},
			wantPods: map[string]string{"app": "podinfo-primary", "tier": "web"}, wantLabel: "app",
		},
		"another value": {
			first: map[string]string{"app": "podinfo"}, next: map[string]string{"app": "shop"}, options: []string{"app"},
			wantPods: map[string]string{"app": "podinfo-primary"}, wantLabel: "app",
		},
		"another key": {
			first: map[string]string{"app": "podinfo"}, next: map[string]string{"name": "podinfo"}, options: []string{"app", "name"},
			wantPods: map[string]string{"app": "podinfo-primary", "name": "podinfo-primary"}, wantLabel: "name",
		},
		"a key that the primary's pods have already": {
			first: map[string]string{"app": "podinfo", "deploy": "podinfo"}, next: map[string]string{"app": "podinfo", "deploy": "podinfo"}, options: []string{"deploy", "app"},
			wantPods: map[string]string{"app": "podinfo-primary", "deploy": "podinfo"}, wantLabel: "app",
		},
		"an expression that the pods must meet": {
			first: map[string]string{"app": "podinfo", "tier": "web"}, next: map[string]string{"app": "podinfo", "tier": "api", "zone": "a"}, options: []string{"app"},
			expression: &metav1.LabelSelectorRequirement{Key: "zone", Operator: metav1.LabelSelectorOpDoesNotExist},
			wantPods:   map[string]string{"app": "podinfo-primary", "tier": "web"}, wantLabel: "app",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := workload.Options{SelectorLabels: []string{"app"}}
			first := withPods(newDeployment().selector(tc.first), tc.first)
			if tc.expression != nil {
				first.Spec.Selector.MatchExpressions = append(first.Spec.Selector.MatchExpressions, *tc.expression)
			}
			living := primaryOf(t, first, nil, o)
			target := withPods(newDeployment().selector(tc.next).image("podinfo:2"), tc.next)
			o.SelectorLabels = tc.options
			label, selector := workload.Identity(target.Deployment, living, o)
			if label != tc.wantLabel || !cmp.Equal(selector, living.Spec.Selector.MatchLabels) {
				t.Errorf("identity %s %v, want %s %v", label, selector, tc.wantLabel, living.Spec.Selector.MatchLabels)
			}
			promoted := primaryOf(t, target, living, o)
			if diff := cmp.Diff(living.Spec.Selector, promoted.Spec.Selector); diff != "" {
				t.Errorf("the selector, which can't be changed: -want +got\n%s", diff)
			}
			if diff := cmp.Diff(tc.wantPods, promoted.Spec.Template.Labels); diff != "" {
				t.Errorf("the primary's pods: -want +got\n%s", diff)
			}
			if s, err := metav1.LabelSelectorAsSelector(promoted.Spec.Selector); err != nil || !s.Matches(labels.Set(promoted.Spec.Template.Labels)) {
				t.Errorf("the API server refuses a primary that selects %v for pods with %v", s, promoted.Spec.Template.Labels)
			}
			for _, primary := range []*appsv1.Deployment{living, promoted} {
				services, err := workload.BuildServices(newCanary().Canary, target.Deployment, primary, o)
				if err != nil {
					t.Fatal(err)
				}
				pods := labels.Set(primary.Spec.Template.Labels)
				for _, s := range services.All() {
					if got, want := labels.SelectorFromSet(s.Spec.Selector).Matches(pods), s != services.Canary; got != want {
						t.Errorf("Service %s selects %v; of the primary's pods, which have %v, that is %v", s.Name, s.Spec.Selector, pods, got)
					}
				}
				if !labels.SelectorFromSet(services.Canary.Spec.Selector).Matches(labels.Set(tc.next)) {
					t.Errorf("the canary Service selects %v, the target's pods have %v", services.Canary.Spec.Selector, tc.next)
				}
			}
		})
	}
}

// A target that selects by a label which the primary's pods have as well, though they are not
// selected by it, is told apart by another label until they have been replaced.
func TestCanaryServiceSelectsNoPrimary(t *testing.T) {
	pods := map[string]string{"app": "podinfo", "tier": "web"}
	living := primaryOf(t, withPods(newDeployment().selector(map[string]string{"app": "podinfo"}), pods), nil, defaults)
	o := workload.Options{SelectorLabels: []string{"tier"}}
	target := withPods(newDeployment().selector(map[string]string{"tier": "web"}).image("podinfo:2"), pods)
	promoted := primaryOf(t, target, living, o)
	for primary, want := range map[*appsv1.Deployment]map[string]string{living: pods, promoted: {"tier": "web"}} {
		services, err := workload.BuildServices(newCanary().Canary, target.Deployment, primary, o)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, services.Canary.Spec.Selector); diff != "" {
			t.Errorf("the canary Service selects, beside pods with %v: -want +got\n%s", primary.Spec.Template.Labels, diff)
		}
	}
}

func TestIdentityOfWhatIsNotThere(t *testing.T) {
	if label, selector := workload.Identity(nil, nil, defaults); label != "" || selector != nil {
		t.Errorf("identity of nothing: %s %v", label, selector)
	}
	living := primaryOf(t, newDeployment(), nil, defaults)
	if label, selector := workload.Identity(nil, living, defaults); label != "" || selector["app"] != "podinfo-primary" {
		t.Errorf("identity of a primary without target: %s %v", label, selector)
	}
}

// The pods of a primary that was deleted without them serve on: Services lead to them until another is there, and never
// to those of the target.
func TestServicesOfDeletedPrimary(t *testing.T) {
	for name, tc := range map[string]struct {
		recorded, labels, want map[string]string
	}{
		"nothing is recorded": {nil, map[string]string{"app": "shop"}, map[string]string{"app": "shop-primary"}},
		"a target of another label": {
			map[string]string{"app": "podinfo-primary"}, map[string]string{"app": "shop"}, map[string]string{"app": "podinfo-primary"},
		},
		"a target that has these labels": {
			map[string]string{"app": "podinfo-primary"}, map[string]string{"app": "podinfo-primary"}, map[string]string{"app": "podinfo-primary-primary"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary()
			if tc.recorded != nil {
				c.Status.Identity = &v1beta1.IdentityStatus{Selector: tc.recorded}
			}
			target := withPods(newDeployment().selector(tc.labels), tc.labels)
			services, err := workload.BuildServices(c.Canary, target.Deployment, nil, workload.Options{SelectorLabels: []string{"app"}})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []*corev1.Service{services.Apex, services.Primary} {
				if diff := cmp.Diff(tc.want, s.Spec.Selector); diff != "" {
					t.Errorf("Service %s: -want +got\n%s", s.Name, diff)
				}
			}
		})
	}
}
