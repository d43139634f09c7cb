package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// TestConfigs releases changes of a ConfigMap and a Secret, which the pods
// really run with: a bad one is found by its failed requests.
func TestConfigs(t *testing.T) {
	s := &configStory{app: newApp(t, "configs")}
	s.deployWithConfigs()
	s.caller = s.call(100)
	for _, chapter := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"the primary gets copies", s.initialization},
		{"pain 8: a changed ConfigMap is released", s.good},
		{"a ConfigMap that breaks the application is rolled back", s.bad},
		{"pain 8: a credential is rotated twice", s.rotated},
		{"pain 8: two Canaries share a ConfigMap", s.shared},
		{"pains 7 and 8: nothing else is a release", s.noise},
		{"the copies go with the Canary", s.deleted},
	} {
		if !t.Run(chapter.name, chapter.run) {
			return // the rest would make no sense
		}
	}
}

type configStory struct {
	*app
	caller *caller
}

func (s *configStory) use(t *testing.T) { s.t, s.caller.t = t, t }

// deployWithConfigs is deploy with a ConfigMap and a Secret as environment.
func (s *configStory) deployWithConfigs() {
	s.t.Helper()
	s.deploy()
	for _, o := range []client.Object{
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"SLUICE_ERROR_PERCENT": "0"}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "credentials"}, StringData: map[string]string{"PASSWORD": "first"}},
	} {
		o.SetNamespace(s.Namespace)
		s.must(s.API.Create(s.t.Context(), o))
	}
	d := get[appsv1.Deployment](s.app, rig.Name)
	d.Spec.Template.Spec.Containers[0].EnvFrom = configEnv("settings", "credentials")
	s.must(s.API.Update(s.t.Context(), d))
	s.await("podinfo with its configs", func(ctx context.Context) error {
		var d appsv1.Deployment
		if err := s.API.Get(ctx, s.key(rig.Name), &d); err != nil {
			return err
		}
		if d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas != 2 || d.Status.AvailableReplicas != 2 || d.Status.Replicas != 2 {
			return fmt.Errorf("its status is %+v", d.Status)
		}
		return nil
	})
}

func configEnv(configMap, secret string) []corev1.EnvFromSource {
	return []corev1.EnvFromSource{
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: configMap}}},
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}},
	}
}

func (s *configStory) initialization(t *testing.T) {
	s.use(t)
	before := s.caller.report()
	s.apply(func(c *v1beta1.Canary) {
		c.Spec.Analysis.Interval = "3s"
		c.Spec.Analysis.StepWeight = 25
		c.Spec.DrainDelaySeconds = new(int32(2))
	})
	s.awaitPhase(v1beta1.PhaseInitialized)
	s.wantPrimaryUses("settings-primary", "credentials-primary")
	s.wantCopies("0", "first")
	if tracked := s.canary().Status.TrackedConfigs; tracked == nil || len(*tracked) != 2 || (*tracked)["configmap/settings"] == "" || (*tracked)["secret/credentials"] == "" {
		t.Errorf("trackedConfigs %v", tracked)
	}
	s.awaitDrained()
	s.caller.wantNoFailure("the takeover", before)
}

func (s *configStory) good(t *testing.T) {
	s.use(t)
	before := s.caller.report()
	h, err := s.Watch(t.Context())
	s.must(err)
	s.set("settings", "COLOR", "green")
	s.awaitWeight(25)
	if _, early := get[corev1.ConfigMap](s.app, "settings-primary").Data["COLOR"]; early {
		t.Error("the copy was changed before the analysis was over")
	}
	s.awaitPhase(v1beta1.PhaseSucceeded)
	wantWeights(t, h, 0, 25, 50, 0)
	if got := get[corev1.ConfigMap](s.app, "settings-primary").Data["COLOR"]; got != "green" {
		t.Errorf("the copy has %q", got)
	}
	s.awaitDrained()
	s.caller.wantNoFailure("a release by a ConfigMap", before)
}

func (s *configStory) bad(t *testing.T) {
	s.use(t)
	before := s.caller.report()
	s.set("settings", "SLUICE_ERROR_PERCENT", "50")
	s.awaitPhase(v1beta1.PhaseFailed)
	s.wantCopies("0", "first")
	if seen := s.caller.report().Sub(before); seen.Failed == 0 {
		t.Error("no request failed: the canary ran without the change")
	}
	// Set back, nothing is left to be analysed.
	h, err := s.Watch(t.Context())
	s.must(err)
	s.set("settings", "SLUICE_ERROR_PERCENT", "0")
	s.awaitPhase(v1beta1.PhaseSucceeded)
	wantWeights(t, h, 0)
	s.awaitDrained()
}

func (s *configStory) rotated(t *testing.T) {
	s.use(t)
	for _, password := range []string{"second", "third"} {
		h, err := s.Watch(t.Context())
		s.must(err)
		pods := s.primaryPods()
		secret := get[corev1.Secret](s.app, "credentials")
		secret.Data["PASSWORD"] = []byte(password)
		s.must(s.API.Update(t.Context(), secret))
		s.awaitWeight(25)
		s.awaitPhase(v1beta1.PhaseSucceeded)
		wantWeights(t, h, 0, 25, 50, 0)
		s.wantCopies("0", password)
		for name := range s.primaryPods() {
			if pods[name] {
				t.Errorf("pod %s of the primary still has the old password", name)
			}
		}
		s.awaitDrained()
	}
}

// shared adds a second application that uses the same ConfigMap. Its pods do
// nothing, and it is released without an analysis.
func (s *configStory) shared(t *testing.T) {
	s.use(t)
	s.must(s.API.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "unrelated"}, Data: map[string]string{"a": "b"},
	}))
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "second"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "second"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "second"}, Annotations: map[string]string{cluster.ProcessAnnotation: "none"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:1", EnvFrom: configEnv("settings", "credentials")}}},
			},
		},
	}
	s.must(s.API.Create(t.Context(), d))
	c := s.canary()
	second := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "second"}, Spec: *c.Spec.DeepCopy()}
	second.Spec.TargetRef.Name = "second"
	second.SetGroupVersionKind(v1beta1.GroupVersion.WithKind("Canary"))
	second.Spec.SkipAnalysis = true
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(second)
	s.must(err)
	delete(object, "status")
	s.must(s.API.Create(t.Context(), &unstructured.Unstructured{Object: object}))
	s.awaitPhaseOf("second", v1beta1.PhaseInitialized)
	if got, want := uses(get[appsv1.Deployment](s.app, "second-primary")), "settings-second-primary credentials-second-primary"; got != want {
		t.Errorf("the second primary uses %s", got)
	}
	s.wantPrimaryUses("settings-primary", "credentials-primary")

	s.set("settings", "COLOR", "red")
	s.awaitPhaseOf("second", v1beta1.PhaseSucceeded)
	s.await("the second one's copy", func(ctx context.Context) error {
		return s.wantData(ctx, "settings-second-primary", "COLOR", "red")
	})
	// The first one is not done with its analysis.
	s.must(s.wantData(t.Context(), "settings-primary", "COLOR", "green"))
	s.awaitPhase(v1beta1.PhaseSucceeded)
	s.must(s.wantData(t.Context(), "settings-primary", "COLOR", "red"))
	s.awaitDrained()
}

// noise is all that leaves the contents as they are, an operator that starts
// anew included.
func (s *configStory) noise(t *testing.T) {
	s.use(t)
	before := s.caller.report()
	h, err := s.Watch(t.Context())
	s.must(err)
	c, second := s.canary(), s.canaryNamed("second")
	copies := s.versions()
	secret := get[corev1.Secret](s.app, "credentials")
	secret.Labels = map[string]string{"rotated": "to-the-same"}
	s.must(s.API.Update(t.Context(), secret))
	unrelated := get[corev1.ConfigMap](s.app, "unrelated")
	unrelated.Data = map[string]string{"a": "c"}
	s.must(s.API.Update(t.Context(), unrelated))
	settings := get[corev1.ConfigMap](s.app, "settings")
	s.must(s.API.Delete(t.Context(), settings))
	settings.ResourceVersion, settings.UID = "", ""
	s.must(s.API.Create(t.Context(), settings))
	s.killOperator()
	s.must(s.startOperator(t.Context()))
	s.holds("rest", 3*time.Second, func(ctx context.Context) error {
		now, err := s.Canary(ctx)
		if err == nil && now.ResourceVersion != c.ResourceVersion {
			err = fmt.Errorf("the Canary was written: %s", cmp.Diff(c.Status, now.Status))
		}
		return err
	})
	wantWeights(t, h, 0)
	if now := s.canaryNamed("second"); now.ResourceVersion != second.ResourceVersion {
		t.Errorf("the second Canary was written: %s", cmp.Diff(second.Status, now.Status))
	}
	if diff := cmp.Diff(copies, s.versions()); diff != "" {
		t.Errorf("copies were written: -was +is\n%s", diff)
	}
	s.caller.wantNoFailure("noise", before)
}

func (s *configStory) deleted(t *testing.T) {
	s.use(t)
	s.must(s.API.Delete(t.Context(), s.canaryNamed("second")))
	s.await("the end of the second one's copies", func(ctx context.Context) error {
		return errors.Join(s.gone(ctx, &corev1.ConfigMap{}, "settings-second-primary"), s.gone(ctx, &corev1.Secret{}, "credentials-second-primary"))
	})
	get[corev1.ConfigMap](s.app, "settings")
	get[corev1.ConfigMap](s.app, "settings-primary")
}

// set changes one value of a ConfigMap.
func (s *configStory) set(name, key, value string) {
	s.t.Helper()
	config := get[corev1.ConfigMap](s.app, name)
	config.Data[key] = value
	s.must(s.API.Update(s.t.Context(), config))
}

func (s *configStory) wantData(ctx context.Context, name, key, want string) error {
	var config corev1.ConfigMap
	err := s.API.Get(ctx, s.key(name), &config)
	if err == nil && config.Data[key] != want {
		err = fmt.Errorf("%s has %s=%s, want %s", name, key, config.Data[key], want)
	}
	return err
}

// wantCopies makes sure that the copies have these values.
func (s *configStory) wantCopies(errorPercent, password string) {
	s.t.Helper()
	s.must(s.wantData(s.t.Context(), "settings-primary", "SLUICE_ERROR_PERCENT", errorPercent))
	if got := string(get[corev1.Secret](s.app, "credentials-primary").Data["PASSWORD"]); got != password {
		s.t.Errorf("the copy of the Secret has %s, want %s", got, password)
	}
}

func (s *configStory) wantPrimaryUses(names ...string) {
	s.t.Helper()
	if got, want := uses(get[appsv1.Deployment](s.app, primaryName)), strings.Join(names, " "); got != want {
		s.t.Errorf("the primary uses %s, want %s", got, want)
	}
	for _, e := range get[appsv1.Deployment](s.app, rig.Name).Spec.Template.Spec.Containers[0].EnvFrom {
		if e.ConfigMapRef != nil && e.ConfigMapRef.Name != "settings" {
			s.t.Errorf("the target uses %s", e.ConfigMapRef.Name)
		}
	}
}

func uses(d *appsv1.Deployment) string {
	var names []string
	for _, e := range d.Spec.Template.Spec.Containers[0].EnvFrom {
		switch {
		case e.ConfigMapRef != nil:
			names = append(names, e.ConfigMapRef.Name)
		case e.SecretRef != nil:
			names = append(names, e.SecretRef.Name)
		}
	}
	return strings.Join(names, " ")
}

func (s *configStory) primaryPods() map[string]bool {
	s.t.Helper()
	var pods corev1.PodList
	s.must(s.API.List(s.t.Context(), &pods, client.InNamespace(s.Namespace), client.MatchingLabels{"app": primaryName}))
	names := map[string]bool{}
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil {
			names[p.Name] = true
		}
	}
	return names
}

// versions are those of all copies.
func (s *configStory) versions() map[string]string {
	s.t.Helper()
	out := map[string]string{}
	for _, o := range []client.Object{
		get[corev1.ConfigMap](s.app, "settings-primary"), get[corev1.Secret](s.app, "credentials-primary"),
		get[corev1.ConfigMap](s.app, "settings-second-primary"), get[corev1.Secret](s.app, "credentials-second-primary"),
		get[appsv1.Deployment](s.app, primaryName),
	} {
		out[fmt.Sprintf("%T %s", o, o.GetName())] = fmt.Sprint(o.GetGeneration())
		if o.GetGeneration() == 0 { // configs have none
			out[fmt.Sprintf("%T %s", o, o.GetName())] = o.GetResourceVersion()
		}
	}
	return out
}

func (s *configStory) canaryNamed(name string) *v1beta1.Canary {
	s.t.Helper()
	return get[v1beta1.Canary](s.app, name)
}

func (s *configStory) awaitPhaseOf(name string, phase v1beta1.CanaryPhase) {
	s.t.Helper()
	s.await(fmt.Sprintf("phase %s of %s", phase, name), func(ctx context.Context) error {
		var c v1beta1.Canary
		err := s.API.Get(ctx, s.key(name), &c)
		if err == nil && c.Status.Phase != phase {
			err = fmt.Errorf("it is %s", c.Status.Phase)
		}
		return err
	})
}
