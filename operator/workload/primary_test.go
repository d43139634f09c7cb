package workload_test

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/operator/workload"
)

func TestPrimary(t *testing.T) {
	target := newDeployment().with(func(d *appsv1.Deployment) {
		d.Spec.Paused = true // pain 12: a paused target must not make a primary that never rolls out
		d.Spec.MinReadySeconds = 7
	})
	before := target.DeepCopy()
	got := primaryOf(t, target, nil, defaults)

	wantTemplate := target.Spec.Template.DeepCopy()
	wantTemplate.Labels["app"] = "podinfo-primary"
	want := &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace:   "test",
			Name:        "podinfo-primary",
			Labels:      map[string]string{"app": "podinfo-primary", "app.kubernetes.io/managed-by": "sluice", "sluice.dev/canary": "release"},
			Annotations: map[string]string{workload.RevisionAnnotation: revisionOf(t, target), "sluice.dev/canary": "release"},
		},
		Spec: appsv1.DeploymentSpec{
			Replicas:        new(int32(2)),
			MinReadySeconds: 7,
			Selector:        &metav1.LabelSelector{MatchLabels: map[string]string{"app": "podinfo-primary"}},
			Template:        *wantTemplate,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}

	// The target comes from a cache that is shared by all.
	got.Spec.Template.Labels["app"] = "changed"
	got.Spec.Template.Annotations["changed"] = "yes"
	got.Spec.Template.Spec.Containers[0].Image = "changed"
	*got.Spec.Replicas = 99
	if diff := cmp.Diff(before, target.Deployment); diff != "" {
		t.Errorf("the target was changed: -before +after\n%s", diff)
	}
}

func TestPrimaryReplicas(t *testing.T) {
	live := func(revision string, pods int32) *appsv1.Deployment {
		d := newDeployment().pods(pods).selector(map[string]string{"app": "podinfo-primary"})
		d.Annotations = map[string]string{workload.RevisionAnnotation: revision}
		return d.Deployment
	}
	older := func(of deployment, pods int32) *appsv1.Deployment {
		d := primaryOf(t, of.pods(pods), nil, defaults)
		d.Annotations[workload.RevisionAnnotation] = "s1-old"
		return d
	}
	revision := revisionOf(t, newDeployment())
	for name, tc := range map[string]struct {
		target int32
		live   *appsv1.Deployment
		want   int32
	}{
		"first copy":                              {target: 3, want: 3},
		"first copy of a target at zero":          {target: 0, want: 1},
		"between releases it keeps its own":       {target: 0, live: live(revision, 5), want: 5},
		"somebody scales the target":              {target: 9, live: live(revision, 5), want: 5},
		"promotion takes the canary's":            {target: 4, live: live("s2-old", 2), want: 4},
		"pain 2: promotion of a smaller canary":   {target: 2, live: live("s2-old", 5), want: 5},
		"pain 2: promotion of a target at 0":      {target: 0, live: live("s2-old", 6), want: 6},
		"pain 7: an older format is no promotion": {target: 9, live: older(newDeployment(), 5), want: 5},
		"promotion from an older format":          {target: 4, live: older(newDeployment().image("podinfo:0"), 2), want: 4},
		"scaled to zero by its owner it stays":    {target: 0, live: live(revision, 0), want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := primaryOf(t, newDeployment().pods(tc.target), tc.live, defaults); *got.Spec.Replicas != tc.want {
				t.Errorf("%d pods, want %d", *got.Spec.Replicas, tc.want)
			}
		})
	}
}

// A selector can't be changed, so a primary that has another one keeps it.
func TestPrimaryKeepsItsSelector(t *testing.T) {
	live := newDeployment().selector(map[string]string{"app": "podinfo-primary", "track": "stable"})
	got := primaryOf(t, newDeployment(), live.Deployment, defaults)
	if diff := cmp.Diff(live.Spec.Selector, got.Spec.Selector); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	got.Spec.Selector.MatchLabels["app"] = "changed"
	if live.Spec.Selector.MatchLabels["app"] != "podinfo-primary" {
		t.Error("the live primary was changed")
	}
}

func TestPrimaryOfTemplateWithoutLabels(t *testing.T) {
	target := newDeployment().with(func(d *appsv1.Deployment) { d.Spec.Template.Labels = nil })
	if got := primaryOf(t, target, nil, defaults).Spec.Template.Labels; !maps.Equal(got, map[string]string{"app": "podinfo-primary"}) {
		t.Errorf("labels %v", got)
	}
}

func TestPrimaryMetadata(t *testing.T) {
	ours := []string{"app", "app.kubernetes.io/managed-by", "sluice.dev/canary"}
	tracking := map[string]string{
		"app.kubernetes.io/instance":                       "shop",
		"app.kubernetes.io/managed-by":                     "Helm",
		"applyset.kubernetes.io/part-of":                   "shop",
		"argocd.argoproj.io/instance":                      "shop",
		"argocd.argoproj.io/tracking-id":                   "shop:apps/Deployment:test/podinfo",
		"config.k8s.io/owning-inventory":                   "shop",
		"configmanagement.gke.io/managed":                  "enabled",
		"configsync.gke.io/declared-version":               "v1",
		"deployment.kubernetes.io/revision":                "4",
		"fleet.cattle.io/bundle-id":                        "shop",
		"helm.sh/chart":                                    "podinfo-6",
		"helm.toolkit.fluxcd.io/name":                      "podinfo",
		"kapp.k14s.io/app":                                 "5",
		"kubectl.kubernetes.io/last-applied-configuration": "{}",
		"kustomize.toolkit.fluxcd.io/name":                 "apps",
		"meta.helm.sh/release-name":                        "podinfo",
		"objectset.rio.cattle.io/hash":                     "5",
		"sluice.dev/applied":                               "1-5",
		"sluice.dev/canary":                                "another",
	}
	theirs := map[string]string{"team": "a", "tenant.acme.io/cost": "7", "other.io/x": "1"}
	for name, tc := range map[string]struct {
		prefixes []string
		want     []string
	}{
		"none":                                   {},
		"empty prefix means none":                {prefixes: []string{""}},
		"prefix":                                 {prefixes: []string{"tenant.acme.io/"}, want: []string{"tenant.acme.io/cost"}},
		"several":                                {prefixes: []string{"team", "other.io"}, want: []string{"other.io/x", "team"}},
		"pain 11: everything but tracking":       {prefixes: []string{"*"}, want: []string{"other.io/x", "team", "tenant.acme.io/cost"}},
		"pain 11: even if tracking is asked for": {prefixes: []string{"argocd.argoproj.io/", "app.kubernetes.io/", "helm", "kustomize"}},
	} {
		t.Run(name, func(t *testing.T) {
			target := newDeployment()
			target.Labels = maps.Clone(tracking)
			maps.Copy(target.Labels, theirs)
			target.Annotations = maps.Clone(target.Labels)
			got := primaryOf(t, target, nil, workload.Options{SelectorLabels: []string{"app"}, IncludeLabelPrefixes: tc.prefixes})

			if want := slices.Sorted(slices.Values(append(slices.Clone(ours), tc.want...))); !slices.Equal(slices.Sorted(maps.Keys(got.Labels)), want) {
				t.Errorf("labels %v, want %v", got.Labels, want)
			}
			if want := slices.Sorted(slices.Values(append([]string{workload.RevisionAnnotation, "sluice.dev/canary"}, tc.want...))); !slices.Equal(slices.Sorted(maps.Keys(got.Annotations)), want) {
				t.Errorf("annotations %v, want %v", got.Annotations, want)
			}
			if got.Labels["app"] != "podinfo-primary" || got.Labels["app.kubernetes.io/managed-by"] != "sluice" || got.Labels["sluice.dev/canary"] != "release" {
				t.Errorf("labels %v", got.Labels)
			}
		})
	}
}

func TestPrimaryWithoutSelectorLabel(t *testing.T) {
	target := newDeployment().selector(map[string]string{"component": "x"})
	_, err := workload.Primary(newCanary().Canary, target.Deployment, nil, "s1-a", defaults)
	if typed := (&workload.NoSelectorLabelError{}); !errors.As(err, &typed) {
		t.Errorf("error %v", err)
	}
}

// Pods that are kept apart from each other must not be kept apart from those of
// the other workload instead.
func TestPrimarySelectorsOfPods(t *testing.T) {
	named := func(app string) *metav1.LabelSelector {
		return &metav1.LabelSelector{
			MatchLabels: map[string]string{"app": app, "team": "podinfo"},
			MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"other", app}},
				{Key: "team", Operator: metav1.LabelSelectorOpIn, Values: []string{"podinfo"}},
				{Key: "app", Operator: metav1.LabelSelectorOpExists},
			},
		}
	}
	spec := func(app string) corev1.PodSpec {
		required := func() []corev1.PodAffinityTerm {
			return []corev1.PodAffinityTerm{{LabelSelector: named(app), TopologyKey: "zone"}, {TopologyKey: "host"}}
		}
		preferred := func() []corev1.WeightedPodAffinityTerm {
			return []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: corev1.PodAffinityTerm{LabelSelector: named(app)}}}
		}
		return corev1.PodSpec{
			TopologySpreadConstraints: []corev1.TopologySpreadConstraint{
				{LabelSelector: named(app)},
				{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "database"}}},
				{},
			},
			Affinity: &corev1.Affinity{
				PodAffinity: &corev1.PodAffinity{
					RequiredDuringSchedulingIgnoredDuringExecution: required(), PreferredDuringSchedulingIgnoredDuringExecution: preferred(),
				},
				PodAntiAffinity: &corev1.PodAntiAffinity{
					RequiredDuringSchedulingIgnoredDuringExecution: required(), PreferredDuringSchedulingIgnoredDuringExecution: preferred(),
				},
			},
		}
	}
	target := newDeployment().with(func(d *appsv1.Deployment) { d.Spec.Template.Spec = spec("podinfo") })
	got := primaryOf(t, target, nil, defaults)
	if diff := cmp.Diff(spec("podinfo-primary"), got.Spec.Template.Spec); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff(spec("podinfo"), target.Spec.Template.Spec); diff != "" {
		t.Errorf("the target was changed: -before +after\n%s", diff)
	}

	// Node affinity alone names no pods.
	target = newDeployment().with(func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{}}
	})
	primaryOf(t, target, nil, defaults)
}
