package workload_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/operator/workload"
)

// Pain 7: a revision that another build of the operator computes differently
// would release every application again. Whoever changes this value must change
// the format too.
func TestRevisionIsTheSameInEveryBuild(t *testing.T) {
	if got, want := revisionOf(t, newDeployment()), "s2-1fe8cd197919"; got != want {
		t.Errorf("revision %s, want %s", got, want)
	}
}

func TestRevision(t *testing.T) {
	base := revisionOf(t, newDeployment())
	for name, tc := range map[string]struct {
		of       deployment
		wantSame bool
	}{
		"the same again": {of: newDeployment(), wantSame: true},
		"outside of the template": {of: newDeployment().pods(7).with(func(d *appsv1.Deployment) {
			d.Labels, d.ResourceVersion, d.Spec.Paused = map[string]string{"x": "y"}, "9", true
		}), wantSame: true},
		"labels in another order": {of: newDeployment().with(func(d *appsv1.Deployment) {
			labels := map[string]string{}
			for _, key := range []string{"team", "app.kubernetes.io/instance", "app"} {
				labels[key] = d.Spec.Template.Labels[key]
			}
			d.Spec.Template.Labels = labels
		}), wantSame: true},
		"empty instead of absent": {of: newDeployment().with(func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Volumes, d.Spec.Template.Spec.NodeSelector = []corev1.Volume{}, map[string]string{}
		}), wantSame: true},
		"image": {of: newDeployment().image("ghcr.io/acme/podinfo:2")},
		"restart by annotation": {of: newDeployment().with(func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "now"}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			if got := revisionOf(t, tc.of); (got == base) != tc.wantSame {
				t.Errorf("revision %s, was %s", got, base)
			}
		})
	}
}

// What comes from the API server was decoded; that must not be another revision
// than what a test or a client built.
func TestRevisionSurvivesTheWire(t *testing.T) {
	target := newDeployment()
	raw, err := yaml.Marshal(target.Deployment)
	if err != nil {
		t.Fatal(err)
	}
	read := deployment{&appsv1.Deployment{}}
	if err := yaml.UnmarshalStrict(raw, read.Deployment); err != nil {
		t.Fatal(err)
	}
	if got, want := revisionOf(t, read), revisionOf(t, target); got != want {
		t.Errorf("revision %s, was %s", got, want)
	}
}

func TestPrimaryRevision(t *testing.T) {
	target := newDeployment()
	revision := revisionOf(t, target)
	// flaggers is a primary as Flagger leaves it: with an annotation of its own on
	// the pods, and nothing of ours.
	flaggers := func(change func(*appsv1.Deployment)) *appsv1.Deployment {
		primary := primaryOf(t, target, nil, defaults)
		primary.Annotations = nil
		primary.Spec.Template.Annotations["flagger-id"] = "1f0e"
		if change != nil {
			change(primary)
		}
		return primary
	}
	older := func(of deployment) *appsv1.Deployment {
		primary := primaryOf(t, of, nil, defaults)
		primary.Annotations[workload.RevisionAnnotation] = "s1-1fe8cd197919"
		return primary
	}
	for name, tc := range map[string]struct {
		primary *appsv1.Deployment
		want    string
	}{
		"annotated": {
			primary: primaryOf(t, target, nil, defaults), want: revision,
		},
		"annotated with another one": {
			primary: primaryOf(t, newDeployment().image("podinfo:0"), nil, defaults), want: revisionOf(t, newDeployment().image("podinfo:0")),
		},
		"pain 7: of an older format, and the same": {primary: older(target), want: revision},
		"of an older format, and another":          {primary: older(newDeployment().image("podinfo:0"))},
		"restarted since": {primary: flaggers(func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] = "now"
		})},
		"pain 7: Flagger's copy of the target":     {primary: flaggers(nil), want: revision},
		"Flagger's copy of something else":         {primary: flaggers(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "podinfo:0" })},
		"Flagger's copy with other number of pods": {primary: flaggers(func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(9)) }), want: revision},
	} {
		t.Run(name, func(t *testing.T) {
			got := workload.PrimaryRevision(newCanary().Canary, target.Deployment, tc.primary, revision, defaults)
			if got != tc.want {
				t.Errorf("revision %q, want %q", got, tc.want)
			}
		})
	}
	t.Run("target without selector label", func(t *testing.T) {
		odd := newDeployment().selector(map[string]string{"component": "x"})
		if got := workload.PrimaryRevision(newCanary().Canary, odd.Deployment, flaggers(nil), revision, defaults); got != "" {
			t.Errorf("revision %q of a target that can't be copied", got)
		}
	})
}

func TestImages(t *testing.T) {
	for name, tc := range map[string]struct {
		images []string
		want   string
	}{
		"none":              {},
		"no registry":       {images: []string{"podinfo:1"}, want: "podinfo:1"},
		"registry and path": {images: []string{"ghcr.io/acme/podinfo:1"}, want: "podinfo:1"},
		"port of registry":  {images: []string{"localhost:5000/podinfo"}, want: "podinfo"},
		"digest":            {images: []string{"ghcr.io/acme/podinfo@sha256:0f"}, want: "podinfo@sha256:0f"},
		"several":           {images: []string{"a/app:1", "b/proxy:2"}, want: "app:1, proxy:2"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &appsv1.Deployment{}
			for _, image := range tc.images {
				d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Image: image})
			}
			if got := workload.Images(d); got != tc.want {
				t.Errorf("images %q, want %q", got, tc.want)
			}
		})
	}
}
