package canary

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/configs"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
	ground "github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// configScene is a scene in which configs are tracked.
type configScene struct {
	*scene
	reads  []string // requests for contents
	writes []string // of configs
	refuse error    // to creations
	frozen error    // to patches of configs
}

func newConfigScene(t *testing.T, objects ...client.Object) *configScene {
	t.Helper()
	s := &configScene{scene: newScene(t, objects...)}
	s.restart()
	return s
}

// restart has a new operator, which knows nothing.
func (s *configScene) restart() {
	live := interceptor.NewClient(s.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			s.reads = append(s.reads, fmt.Sprintf("get %T %s", o, key.Name))
			return c.Get(ctx, key, o, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, o client.ObjectList, opts ...client.ListOption) error {
			s.reads = append(s.reads, fmt.Sprintf("list %T", o))
			return c.List(ctx, o, opts...)
		},
	})
	cached := s.reconciler.Client.(client.WithWatch)
	noted := interceptor.NewClient(cached, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			switch o.(type) {
			case *corev1.ConfigMap, *corev1.Secret:
				return errors.New("contents were read through the cache")
			default:
				return c.Get(ctx, key, o, opts...)
			}
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			s.writes = append(s.writes, "create "+o.GetName())
			if s.refuse != nil {
				return s.refuse
			}
			return c.Create(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if p.Type() == types.JSONPatchType {
				s.writes = append(s.writes, "patch "+o.GetName())
				if s.frozen != nil {
					return s.frozen
				}
			}
			return c.Patch(ctx, o, p, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			s.writes = append(s.writes, "delete "+o.GetName())
			return c.Delete(ctx, o, opts...)
		},
	})
	s.reconciler.Client = noted
	s.reconciler.Applier = ssa.New(noted)
	s.restartProcess()
	s.reconciler.Configs = s.newTracker(noted, live)
}

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name, UID: types.UID("uid-of-" + name)}, Data: data}
}

func secret(name, value string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name, UID: types.UID("uid-of-" + name)},
		Type:       corev1.SecretTypeOpaque, Data: map[string][]byte{"k": []byte(value)},
	}
}

func color(value string) map[string]string { return map[string]string{"color": value} }

// using has a Deployment's pods take their environment from configs.
func using(d *appsv1.Deployment, refs ...configs.Ref) *appsv1.Deployment {
	c := &d.Spec.Template.Spec.Containers[0]
	for _, ref := range refs {
		name := corev1.LocalObjectReference{Name: ref.Name}
		if ref.Kind == configs.Secret {
			c.EnvFrom = append(c.EnvFrom, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: name}})
		} else {
			c.EnvFrom = append(c.EnvFrom, corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: name}})
		}
	}
	return d
}

var (
	appConfig = configs.Ref{Kind: configs.ConfigMap, Name: "app"}
	appSecret = configs.Ref{Kind: configs.Secret, Name: "app"}
)

// newTracking is a scene at rest whose target has a ConfigMap and a Secret,
// both named app.
func newTracking(t *testing.T, more ...client.Object) *configScene {
	t.Helper()
	s := newConfigScene(t, append(more, newCanary("podinfo").Canary, using(newTarget(), appConfig, appSecret),
		configMap("app", color("blue")), secret("app", "s1"))...)
	s.rollOut()
	s.settleFully()
	s.clear()
	return s
}

func (s *configScene) clear() {
	s.sent()
	s.scene.writes, s.writes, s.reads = nil, nil, nil
}

// settleFully settles the scene in phase Initialized or Succeeded.
func (s *configScene) settleFully() {
	s.t.Helper()
	s.scene.settleFully()
	if phase := s.now().Status.Phase; phase != v1beta1.PhaseInitialized && phase != v1beta1.PhaseSucceeded {
		s.t.Fatalf("phase %s", phase)
	}
}

func (s *configScene) configMap(name string) *corev1.ConfigMap {
	s.t.Helper()
	o := &corev1.ConfigMap{}
	s.read(name, o)
	return o
}

func (s *configScene) secret(name string) *corev1.Secret {
	s.t.Helper()
	o := &corev1.Secret{}
	s.read(name, o)
	return o
}

func (s *configScene) read(name string, into client.Object) {
	s.t.Helper()
	if err := s.api.Get(s.t.Context(), client.ObjectKey{Namespace: "test", Name: name}, into); err != nil {
		s.t.Fatal(err)
	}
}

func (s *configScene) exists(name string, o client.Object) bool {
	s.t.Helper()
	err := s.api.Get(s.t.Context(), client.ObjectKey{Namespace: "test", Name: name}, o)
	if client.IgnoreNotFound(err) != nil {
		s.t.Fatal(err)
	}
	return err == nil
}

func (s *configScene) primaryUses() []string {
	s.t.Helper()
	var out []string
	for _, ref := range configs.References(&s.deployment("podinfo-primary").Spec.Template) {
		out = append(out, ref.String())
	}
	return out
}

// quiet takes turns in which nothing may be written or read.
func (s *configScene) quiet() {
	s.t.Helper()
	for range 5 {
		if result := s.mustTurn(); result.RequeueAfter != 0 {
			s.t.Errorf("it looks again after %s", result.RequeueAfter)
		}
	}
	if len(s.scene.writes)+len(s.writes)+len(s.reads) > 0 {
		s.t.Errorf("requests: %v %v %v", s.scene.writes, s.writes, s.reads)
	}
}

// released settles the scene and returns the phases on the way.
func (s *configScene) released() string { return strings.Join(s.phases(), ",") }

const wholeRelease = "Progressing ,Progressing #,Progressing ##,Promoting ##,Finalising ,Succeeded "

func TestConfigsAreCopied(t *testing.T) {
	s := newTracking(t)
	if diff := cmp.Diff([]string{"configmap/app-primary", "secret/app-primary"}, s.primaryUses()); diff != "" {
		t.Errorf("the primary uses: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(color("blue"), s.configMap("app-primary").Data); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got := string(s.secret("app-primary").Data["k"]); got != "s1" {
		t.Errorf("the Secret's copy has %q", got)
	}
	tracked := *s.now().Status.TrackedConfigs
	if len(tracked) != 2 || !configs.KnownHash(tracked["configmap/app"]) || !configs.KnownHash(tracked["secret/app"]) {
		t.Errorf("trackedConfigs %v", tracked)
	}
	for _, uses := range s.deployment("podinfo").Spec.Template.Spec.Containers[0].EnvFrom {
		if r := uses.ConfigMapRef; r != nil && r.Name != "app" {
			t.Errorf("the target uses %s", r.Name)
		}
	}
	s.quiet()
}

// Pain 8: a change is released, whether of a ConfigMap or of a credential, and
// the copy has the new contents only after the analysis.
func TestConfigChangeIsReleased(t *testing.T) {
	s := newTracking(t)
	before := s.now().Status
	edit(s.scene, s.configMap("app"), func(c *corev1.ConfigMap) { c.Data = color("green") })
	s.settle()
	if st := s.now().Status; st.Phase != v1beta1.PhaseProgressing || st.CanaryWeight == 0 || (*st.TrackedConfigs)["configmap/app"] == (*before.TrackedConfigs)["configmap/app"] {
		t.Errorf("status %+v", st)
	}
	if got := s.configMap("app-primary").Data["color"]; got != "blue" {
		t.Errorf("in the analysis the copy is %s", got)
	}
	if diff := cmp.Diff([]string{"get *v1.ConfigMap app"}, s.reads); diff != "" {
		t.Errorf("reads: -want +got\n%s", diff)
	}
	s.settleFully()
	if got := s.configMap("app-primary").Data["color"]; got != "green" {
		t.Errorf("after the release the copy is %s", got)
	}
	if diff := cmp.Diff([]string{"patch app-primary"}, s.writes); diff != "" {
		t.Errorf("writes: -want +got\n%s", diff)
	}
	for i, value := range []string{"s2", "s3"} {
		marked := s.deployment("podinfo-primary").Spec.Template.Annotations[configs.Annotation]
		edit(s.scene, s.secret("app"), func(c *corev1.Secret) { c.Data["k"] = []byte(value) })
		if got := s.released(); got != wholeRelease {
			t.Errorf("rotation %d: %s", i, got)
		}
		if got := string(s.secret("app-primary").Data["k"]); got != value {
			t.Errorf("rotation %d: the copy has %s", i, got)
		}
		if s.deployment("podinfo-primary").Spec.Template.Annotations[configs.Annotation] == marked {
			t.Errorf("rotation %d: no pod of the primary is replaced", i)
		}
	}
	s.clear()
	s.quiet()
}

func TestBadConfigIsNotPromoted(t *testing.T) {
	s := newTracking(t)
	s.provider.value(50)
	edit(s.scene, s.configMap("app"), func(c *corev1.ConfigMap) { c.Data = color("broken") })
	if got := s.released(); !strings.HasSuffix(got, "Failed ") {
		t.Fatal(got)
	}
	if got := s.configMap("app-primary").Data["color"]; got != "blue" {
		t.Errorf("the copy is %s", got)
	}
	s.clear()
	s.quiet()
	// Set back, it is what the primary has: no analysis.
	edit(s.scene, s.configMap("app"), func(c *corev1.ConfigMap) { c.Data = color("blue") })
	if got := s.released(); got != "Finalising ,Succeeded " {
		t.Error(got)
	}
}

// Pain 8: endless restarts. What is no change of contents is no release.
func TestConfigNoise(t *testing.T) {
	for name, change := range map[string]func(s *configScene){
		"a label": func(s *configScene) {
			edit(s.scene, s.configMap("app"), func(c *corev1.ConfigMap) { c.Labels = map[string]string{"a": "b"} })
		},
		"the same bytes": func(s *configScene) {
			edit(s.scene, s.secret("app"), func(c *corev1.Secret) { c.Data["k"] = []byte("s1") })
		},
		"replaced by the same": func(s *configScene) {
			if err := s.api.Delete(s.t.Context(), s.configMap("app")); err != nil {
				s.t.Fatal(err)
			}
			s.mustTurn()
			again := configMap("app", color("blue"))
			again.UID = "another"
			if err := s.api.Create(s.t.Context(), again); err != nil {
				s.t.Fatal(err)
			}
		},
		"a config of nobody": func(s *configScene) {
			if err := s.api.Create(s.t.Context(), configMap("other", color("red"))); err != nil {
				s.t.Fatal(err)
			}
		},
		"deleted": func(s *configScene) {
			if err := s.api.Delete(s.t.Context(), s.configMap("app")); err != nil {
				s.t.Fatal(err)
			}
		},
		"pain 7: the operator is restarted": func(s *configScene) { s.restart() },
		"deleted, and then a restart": func(s *configScene) {
			if err := s.api.Delete(s.t.Context(), s.configMap("app")); err != nil {
				s.t.Fatal(err)
			}
			s.restart()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTracking(t)
			before := s.now()
			change(s)
			s.settleFully()
			if diff := cmp.Diff(before.Status, s.now().Status); diff != "" {
				t.Errorf("status: -was +is\n%s", diff)
			}
			if len(s.writes) > 0 || len(s.worldWrites()) > 0 {
				t.Errorf("writes %v %v", s.writes, s.worldWrites())
			}
		})
	}
}

// Pain 8: 44 references took minutes.
func TestFiftyReferencesCostFewReads(t *testing.T) {
	var refs []configs.Ref
	objects := []client.Object{newCanary("podinfo").Canary}
	for i := range 25 {
		name := fmt.Sprintf("c%d", i)
		refs = append(refs, configs.Ref{Kind: configs.ConfigMap, Name: name}, configs.Ref{Kind: configs.Secret, Name: name})
		objects = append(objects, configMap(name, color(name)), secret(name, name))
	}
	s := newConfigScene(t, append(objects, using(newTarget(), refs...))...)
	s.rollOut()
	s.settleFully()
	if diff := cmp.Diff([]string{"list *v1.ConfigMapList", "list *v1.SecretList"}, s.reads); diff != "" {
		t.Errorf("reads at first: -want +got\n%s", diff)
	}
	if len(s.writes) != 50 {
		t.Errorf("%d writes: %v", len(s.writes), s.writes)
	}
	s.clear()
	s.quiet()

	edit(s.scene, s.secret("c7"), func(c *corev1.Secret) { c.Data["k"] = []byte("new") })
	s.mustTurn()
	if diff := cmp.Diff([]string{"get *v1.Secret c7"}, s.reads); diff != "" {
		t.Errorf("reads after a change: -want +got\n%s", diff)
	}
	s.settleFully()
	s.clear()
	s.restart()
	s.settleFully()
	if diff := cmp.Diff([]string{"list *v1.ConfigMapList", "list *v1.SecretList"}, s.reads); diff != "" {
		t.Errorf("reads after a restart: -want +got\n%s", diff)
	}
	if len(s.writes)+len(s.scene.writes) > 0 {
		t.Errorf("writes after a restart: %v %v", s.writes, s.scene.writes)
	}
}

// A few configs among very many are not worth a list of all.
func TestFewConfigsAmongManyAreReadOneByOne(t *testing.T) {
	var objects []client.Object
	for i := range 60 {
		objects = append(objects, configMap(fmt.Sprintf("other%d", i), color("x")))
	}
	s := newConfigScene(t, append(objects, newCanary("podinfo").Canary,
		using(newTarget(), configs.Ref{Kind: configs.ConfigMap, Name: "other1"}, configs.Ref{Kind: configs.ConfigMap, Name: "other2"},
			configs.Ref{Kind: configs.ConfigMap, Name: "other3"}, configs.Ref{Kind: configs.ConfigMap, Name: "other4"}))...)
	s.rollOut()
	s.settleFully()
	if len(s.reads) != 4 || slices.ContainsFunc(s.reads, func(r string) bool { return !strings.HasPrefix(r, "get ") }) {
		t.Errorf("reads %v", s.reads)
	}
}

func TestConfigOptOut(t *testing.T) {
	untracked := configMap("app", color("blue"))
	untracked.Annotations = map[string]string{v1beta1.ConfigTrackingAnnotation: v1beta1.ConfigTrackingDisabled}
	token := secret("app", "token")
	token.Type = corev1.SecretTypeServiceAccountToken
	s := newConfigScene(t, newCanary("podinfo").Canary, using(newTarget(), appConfig, appSecret), untracked, token)
	s.rollOut()
	s.settleFully()
	if diff := cmp.Diff([]string{"configmap/app", "secret/app"}, s.primaryUses()); diff != "" {
		t.Errorf("the primary uses: -want +got\n%s", diff)
	}
	if st := s.now().Status; st.TrackedConfigs != nil || strings.Count(st.LastPromotedSpec, "-") != 1 {
		t.Errorf("trackedConfigs %v, revision %s", st.TrackedConfigs, st.LastPromotedSpec)
	}
	if diff := cmp.Diff([]string{"get *v1.Secret app"}, s.reads); diff != "" { // its type is in there
		t.Errorf("reads: -want +got\n%s", diff)
	}
	edit(s.scene, s.configMap("app"), func(c *corev1.ConfigMap) { c.Data = color("green") })
	edit(s.scene, s.secret("app"), func(c *corev1.Secret) { c.Data["k"] = []byte("renewed") })
	s.settle()
	s.clear()
	s.quiet()
	if phase := s.now().Status.Phase; phase != v1beta1.PhaseInitialized {
		t.Errorf("phase %s", phase)
	}
}

// To opt out changes what the primary's pods refer to, so it is released. The
// copy goes when no pod uses it any more.
func TestConfigOptOutLater(t *testing.T) {
	s := newTracking(t)
	edit(s.scene, s.secret("app"), func(c *corev1.Secret) {
		c.Annotations = map[string]string{v1beta1.ConfigTrackingAnnotation: v1beta1.ConfigTrackingDisabled}
	})
	if got := s.released(); got != wholeRelease {
		t.Error(got)
	}
	if diff := cmp.Diff([]string{"configmap/app-primary", "secret/app"}, s.primaryUses()); diff != "" {
		t.Errorf("the primary uses: -want +got\n%s", diff)
	}
	if s.exists("app-primary", &corev1.Secret{}) || !s.exists("app-primary", &corev1.ConfigMap{}) {
		t.Error("the copy that is not used is still there, or the other one is not")
	}
	s.clear()
	s.quiet()
}

func TestConfigThatTheTargetUsesNoMore(t *testing.T) {
	s := newTracking(t)
	edit(s.scene, s.deployment("podinfo"), func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].EnvFrom = nil })
	if got := s.released(); got != wholeRelease {
		t.Error(got)
	}
	if s.exists("app-primary", &corev1.Secret{}) || s.exists("app-primary", &corev1.ConfigMap{}) {
		t.Error("copies are left")
	}
	if tracked := s.now().Status.TrackedConfigs; tracked != nil {
		t.Errorf("trackedConfigs %v", *tracked)
	}
	s.clear()
	s.quiet()
}

// Pods of the old primary may start again until the last of them is gone.
func TestCopyStaysUntilThePrimaryIsReplaced(t *testing.T) {
	s := newTracking(t)
	edit(s.scene, s.deployment("podinfo"), func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].EnvFrom = nil })
	for range 100 {
		result := s.mustTurn()
		if len(s.primaryUses()) == 0 {
			break
		}
		if checked, changed := s.awaitChecks(), s.rollOut(); !checked && !changed && result.RequeueAfter > 0 {
			s.wait(result)
		}
	}
	s.mustTurn()
	if !s.exists("app-primary", &corev1.Secret{}) || !s.exists("app-primary", &corev1.ConfigMap{}) || len(s.primaryUses()) > 0 {
		t.Errorf("phase %s, the primary uses %v, a copy is gone", s.now().Status.Phase, s.primaryUses())
	}
	s.settleFully()
	if s.exists("app-primary", &corev1.Secret{}) {
		t.Error("the copy is left")
	}
}

func TestOptionalConfig(t *testing.T) {
	target := using(newTarget(), appConfig)
	target.Spec.Template.Spec.Containers[0].EnvFrom[0].ConfigMapRef.Optional = new(true)
	s := newConfigScene(t, newCanary("podinfo").Canary, target)
	s.rollOut()
	s.settleFully()
	// The primary must not get it, unseen, when it comes.
	if diff := cmp.Diff([]string{"configmap/app-primary"}, s.primaryUses()); diff != "" {
		t.Errorf("the primary uses: -want +got\n%s", diff)
	}
	if err := s.api.Create(t.Context(), configMap("app", color("blue"))); err != nil {
		t.Fatal(err)
	}
	if got := s.released(); got != wholeRelease {
		t.Error(got)
	}
	if got := s.configMap("app-primary").Data["color"]; got != "blue" {
		t.Errorf("the copy is %s", got)
	}
	if err := s.api.Delete(t.Context(), s.configMap("app")); err != nil {
		t.Fatal(err)
	}
	if got := s.released(); got != wholeRelease {
		t.Error(got)
	}
	if s.exists("app-primary", &corev1.ConfigMap{}) {
		t.Error("the copy is left")
	}
	s.clear()
	s.quiet()
}

func TestMissingConfig(t *testing.T) {
	s := newTracking(t)
	edit(s.scene, using(s.deployment("podinfo"), configs.Ref{Kind: configs.Secret, Name: "later"}), func(*appsv1.Deployment) {})
	s.settle()
	s.clock.SetTime(s.clock.Now().Add(time.Minute))
	s.settle()
	st := s.now().Status
	if c := st.GetCondition(v1beta1.ConditionReady); st.Phase != v1beta1.PhaseProgressing || st.CanaryWeight != 0 || !strings.Contains(c.Message, "without Secret later") {
		t.Errorf("phase %s, weight %d, %s", st.Phase, st.CanaryWeight, c.Message)
	}
	if st.GetCondition(v1beta1.ConditionStalled) != nil {
		t.Error("stalled")
	}
	if err := s.api.Create(t.Context(), secret("later", "x")); err != nil {
		t.Fatal(err)
	}
	if got := s.released(); !strings.HasSuffix(got, "Progressing #,Progressing ##,Promoting ##,Finalising ,Succeeded ") {
		t.Error(got)
	}
	if got := string(s.secret("later-primary").Data["k"]); got != "x" {
		t.Errorf("the copy has %q", got)
	}
}

func TestMissingConfigAtTheStart(t *testing.T) {
	s := newConfigScene(t, newCanary("podinfo").Canary, using(newTarget(), appConfig))
	for range 3 {
		if _, err := s.turn(); err != nil && !strings.Contains(err.Error(), "without ConfigMap app, which does not exist") {
			t.Fatal(err)
		}
		s.rollOut()
	}
	if st := s.now().Status; st.Phase != v1beta1.PhaseInitializing || !strings.Contains(st.GetCondition(v1beta1.ConditionReady).Message, "ConfigMap app") {
		t.Errorf("phase %s, %s", st.Phase, st.GetCondition(v1beta1.ConditionReady).Message)
	}
	if s.exists("podinfo-primary", &appsv1.Deployment{}) {
		t.Error("there is a primary whose pods can't start")
	}
	if err := s.api.Create(t.Context(), configMap("app", color("blue"))); err != nil {
		t.Fatal(err)
	}
	s.settleFully()
}

// A config that is replaced in mid-analysis by the same is what was analysed.
func TestConfigIsGoneInMidAnalysis(t *testing.T) {
	s := newTracking(t)
	edit(s.scene, s.configMap("app"), func(c *corev1.ConfigMap) { c.Data = color("green") })
	s.settle()
	before := s.now().Status
	if err := s.api.Delete(t.Context(), s.configMap("app")); err != nil {
		t.Fatal(err)
	}
	s.settle()
	if after := s.now().Status; after.Phase != v1beta1.PhaseProgressing || after.LastAppliedSpec != before.LastAppliedSpec || after.CanaryWeight != before.CanaryWeight {
		t.Errorf("was %+v, is %+v", before, after)
	}
	if err := s.api.Create(t.Context(), configMap("app", color("green"))); err != nil {
		t.Fatal(err)
	}
	if got := s.released(); got != "Progressing #,Progressing ##,Promoting ##,Finalising ,Succeeded " {
		t.Error(got)
	}
	if got := s.configMap("app-primary").Data["color"]; got != "green" {
		t.Errorf("the copy is %s", got)
	}
}

// A pull secret that is missing keeps nothing from running, and is no copy's
// business when it comes.
func TestMissingPullSecret(t *testing.T) {
	target := newTarget()
	target.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
	s := newConfigScene(t, newCanary("podinfo").Canary, target)
	s.rollOut()
	s.settleFully()
	registry := secret("registry", "x")
	registry.Type = corev1.SecretTypeDockerConfigJson
	if err := s.api.Create(t.Context(), registry); err != nil {
		t.Fatal(err)
	}
	s.settleFully()
	if diff := cmp.Diff([]string{"secret/registry"}, s.primaryUses()); diff != "" || s.now().Status.TrackedConfigs != nil {
		t.Errorf("tracked %v, the primary uses: -want +got\n%s", s.now().Status.TrackedConfigs, diff)
	}
	// Asked for, it is tracked like any other.
	edit(s.scene, s.secret("registry"), func(c *corev1.Secret) {
		c.Annotations = map[string]string{v1beta1.ConfigTrackingAnnotation: v1beta1.ConfigTrackingEnabled}
	})
	if got := s.released(); got != wholeRelease {
		t.Error(got)
	}
	if diff := cmp.Diff([]string{"secret/registry-primary"}, s.primaryUses()); diff != "" {
		t.Errorf("the primary uses: -want +got\n%s", diff)
	}
}

// Of a Canary that is deleted nothing depends on what its pods read.
func TestDeletionReadsNoConfig(t *testing.T) {
	s := newTracking(t)
	s.restart()
	s.delete()
	s.mustTurn()
	if len(s.reads) > 0 {
		t.Errorf("reads %v", s.reads)
	}
}

// Two Canaries with one config read it once.
func TestConfigIsReadOnce(t *testing.T) {
	other := newCanary("other")
	other.Spec.TargetRef.Name = "other"
	s := newTracking(t)
	target := s.deployment("podinfo")
	edit(s.scene, s.configMap("app"), func(c *corev1.ConfigMap) { c.Data = color("green") })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			w := &ground.World{Observation: release.Observation{Canary: other.Canary}, Objects: ground.Objects{TargetObject: target}, Owner: ownership.For(other.Canary)}
			if _, err := s.reconciler.Configs.Observe(t.Context(), w); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s.mustTurn()
	if diff := cmp.Diff([]string{"get *v1.ConfigMap app"}, s.reads); diff != "" {
		t.Errorf("reads: -want +got\n%s", diff)
	}
}

// What was analysed is what is promoted, also when the config changes in the
// very moment of the promotion.
func TestConfigChangesWhilePromoted(t *testing.T) {
	s := newTracking(t)
	edit(s.scene, s.configMap("app"), func(c *corev1.ConfigMap) { c.Data = color("green") })
	var w *world
	for range 100 {
		result := s.mustTurn()
		var err error
		if w, err = s.reconciler.observe(t.Context(), s.now()); err != nil {
			t.Fatal(err)
		}
		if s.now().Status.CanaryWeight == 40 {
			break
		}
		if checked, changed := s.awaitChecks(), s.rollOut(); !checked && !changed && result.RequeueAfter > 0 {
			s.wait(result)
		}
	}
	edit(s.scene, s.configMap("app"), func(c *corev1.ConfigMap) { c.Data = color("untested") })
	want := release.Desired{PrimaryRevision: w.Target.Revision}
	if err := w.configs.Apply(t.Context(), want); !errors.Is(err, configs.ErrChanged) {
		t.Errorf("copies: error %v", err)
	}
	var a attempts
	w.applyPrimary(t.Context(), want, &a)
	if len(a.failures)+len(a.waits) != 0 || s.deployment("podinfo-primary").Annotations[workload.RevisionAnnotation] == w.Target.Revision {
		t.Errorf("the primary is promoted, %+v", a)
	}
	if got := s.configMap("app-primary").Data["color"]; got != "blue" {
		t.Errorf("the copy is %s", got)
	}
}

// A copy that is gone is made again while the target is a revision that the primary is not to have, as new pods of the primary
// need it; but never from contents that were not released.
func TestCopyIsHealedBesideAnotherRevision(t *testing.T) {
	for name, tc := range map[string]struct {
		color string
		want  bool
	}{"of the image alone": {"blue", true}, "of the config too": {"green", false}} {
		t.Run(name, func(t *testing.T) {
			s := newTracking(t)
			edit(s.scene, s.configMap("app"), func(c *corev1.ConfigMap) { c.Data = color(tc.color) })
			s.release("podinfo:2")
			s.mustTurn()
			if phase := s.now().Status.Phase; phase != v1beta1.PhaseProgressing {
				t.Fatal(phase)
			}
			if err := s.api.Delete(t.Context(), s.configMap("app-primary")); err != nil {
				t.Fatal(err)
			}
			s.mustTurn()
			made := &corev1.ConfigMap{}
			err := s.api.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: "app-primary"}, made)
			if (err == nil) != tc.want || tc.want && made.Data["color"] != "blue" {
				t.Errorf("error %v, %v", err, made.Data)
			}
		})
	}
}

// A copy is healed from a source with the contents that were promoted, although another one has changed since; what each copy was
// is told by the hash of all.
func TestCopyIsHealedBesideAnotherChange(t *testing.T) {
	deleted := func(s *configScene, o client.Object) {
		if err := s.api.Delete(s.t.Context(), o); err != nil {
			s.t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		change                    func(s *configScene)
		configMap, secret, writes string // "" is gone
	}{
		"nothing happens":          {func(*configScene) {}, "blue", "s1", ""},
		"that of the other":        {func(s *configScene) { deleted(s, s.secret("app-primary")) }, "blue", "s1", "create app-primary"},
		"that of what has changed": {func(s *configScene) { deleted(s, s.configMap("app-primary")) }, "", "s1", ""},
		"both":                     {func(s *configScene) { deleted(s, s.secret("app-primary")); deleted(s, s.configMap("app-primary")) }, "", "", ""},
		"that of the other, by hand": {func(s *configScene) {
			edit(s.scene, s.secret("app-primary"), func(c *corev1.Secret) { c.Data["k"] = []byte("x") })
		}, "blue", "s1", "patch app-primary"},
		"that of the other, with its source": {func(s *configScene) {
			deleted(s, s.secret("app-primary"))
			edit(s.scene, s.secret("app"), func(c *corev1.Secret) { c.Data["k"] = []byte("s2") })
		}, "blue", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTracking(t)
			edit(s.scene, s.configMap("app"), func(c *corev1.ConfigMap) { c.Data = color("green") })
			s.mustTurn()
			s.clear()
			tc.change(s)
			s.mustTurn()
			if writes := strings.Join(s.writes, ", "); writes != tc.writes {
				t.Errorf("writes: %s, want %s", writes, tc.writes)
			}
			c, k := &corev1.ConfigMap{}, &corev1.Secret{}
			s.exists("app-primary", c)
			s.exists("app-primary", k)
			if is := [2]string{c.Data["color"], string(k.Data["k"])}; is != [2]string{tc.configMap, tc.secret} {
				t.Errorf("the copies are %v", is)
			}
		})
	}
}

// A copy is healed, by a new object where the old one can't be changed.
func TestCopyIsHealed(t *testing.T) {
	for name, change := range map[string]func(s *configScene){
		"edited": func(s *configScene) {
			edit(s.scene, s.configMap("app-primary"), func(c *corev1.ConfigMap) { c.Data["more"], c.BinaryData = "x", map[string][]byte{"b": {1}} })
		},
		"deleted": func(s *configScene) {
			if err := s.api.Delete(s.t.Context(), s.configMap("app-primary")); err != nil {
				s.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTracking(t)
			change(s)
			s.settleFully()
			if diff := cmp.Diff(color("blue"), s.configMap("app-primary").Data); diff != "" || s.configMap("app-primary").BinaryData != nil {
				t.Errorf("-want +got\n%s", diff)
			}
			if s.now().Status.Phase != v1beta1.PhaseInitialized || len(s.writes) != 1 {
				t.Errorf("phase %s, writes %v", s.now().Status.Phase, s.writes)
			}
		})
	}
}

// A copy that somebody made immutable, or of a Secret that got another type, is
// made anew.
func TestCopyThatCannotBeChanged(t *testing.T) {
	s := newTracking(t)
	s.frozen = apierrors.NewInvalid(schema.GroupKind{Kind: "ConfigMap"}, "app-primary", nil)
	edit(s.scene, s.configMap("app"), func(c *corev1.ConfigMap) { c.Data = color("green") })
	if got := s.released(); got != wholeRelease {
		t.Error(got)
	}
	if got := s.configMap("app-primary").Data["color"]; got != "green" {
		t.Errorf("the copy is %s", got)
	}
	if diff := cmp.Diff([]string{"patch app-primary", "delete app-primary", "create app-primary"}, s.writes); diff != "" {
		t.Errorf("writes: -want +got\n%s", diff)
	}
}

// A name that the target itself uses is not one for a copy.
func TestTargetUsesTheNameOfACopy(t *testing.T) {
	own := configs.Ref{Kind: configs.ConfigMap, Name: "app-primary"}
	s := newConfigScene(t, newCanary("podinfo").Canary, using(newTarget(), appConfig, own), configMap("app", color("blue")), configMap("app-primary", color("red")))
	s.rollOut()
	s.settleFully()
	if diff := cmp.Diff([]string{"configmap/app-podinfo-primary", "configmap/app-primary-primary"}, s.primaryUses()); diff != "" {
		t.Errorf("the primary uses: -want +got\n%s", diff)
	}
}

// Pain 8: a shared config was promoted by whoever won.
func TestSharedConfig(t *testing.T) {
	other := newCanary("other")
	other.Spec.TargetRef.Name = "other"
	theirs := configMap("app-primary", color("theirs"))
	theirs.OwnerReferences = []metav1.OwnerReference{formerOwner(other.Canary)}
	nobodys := secret("app-primary", "a user's own")
	s := newTracking(t, theirs, nobodys)
	want := []string{"configmap/app-podinfo-primary", "secret/app-podinfo-primary"}
	if diff := cmp.Diff(want, s.primaryUses()); diff != "" {
		t.Errorf("the primary uses: -want +got\n%s", diff)
	}
	// The other one goes, and the name is free: nothing changes.
	if err := s.api.Delete(t.Context(), s.configMap("app-primary")); err != nil {
		t.Fatal(err)
	}
	s.restart()
	s.settleFully()
	if diff := cmp.Diff(want, s.primaryUses()); diff != "" {
		t.Errorf("the primary uses: -want +got\n%s", diff)
	}
	if got := string(s.secret("app-primary").Data["k"]); got != "a user's own" {
		t.Errorf("a user's Secret was overwritten with %s", got)
	}
	if len(s.writes) > 0 {
		t.Errorf("writes %v", s.writes)
	}
}

func TestNoNameForACopy(t *testing.T) {
	s := newConfigScene(t, newCanary("podinfo").Canary, using(newTarget(), appConfig), configMap("app", color("blue")),
		configMap("app-primary", nil), configMap("app-podinfo-primary", nil))
	s.rollOut()
	var err error
	for range 3 {
		_, err = s.turn()
	}
	if err == nil || !strings.Contains(err.Error(), "ConfigMap app") || !strings.Contains(err.Error(), "app-podinfo-primary") {
		t.Errorf("error %v", err)
	}
}

// A write that is refused holds up the primary, not the traffic.
func TestRefusedCopy(t *testing.T) {
	s := newConfigScene(t, newCanary("podinfo").Canary, using(newTarget(), appConfig), configMap("app", color("blue")))
	s.refuse = apierrors.NewForbidden(corev1.Resource("configmaps"), "app-primary", errors.New("by a policy"))
	s.rollOut()
	var err error
	for range 3 {
		_, err = s.turn()
	}
	if err == nil || !strings.Contains(err.Error(), "by a policy") {
		t.Errorf("error %v", err)
	}
	if s.exists("podinfo-primary", &appsv1.Deployment{}) || !s.exists("podinfo-canary", &corev1.Service{}) {
		t.Errorf("writes %v", s.scene.writes)
	}
}

// Pain 7: what Flagger left is taken over as it is, with its hashes, with
// copies that lack binary data, and with init containers that use the originals.
func TestFlaggersConfigsAreAdopted(t *testing.T) {
	for name, tc := range map[string]struct {
		of            func(copied *corev1.ConfigMap)
		gone          bool // the source
		wantPhase     v1beta1.CanaryPhase
		wantUnchanged bool
	}{
		"as promoted": {of: func(*corev1.ConfigMap) {}, wantPhase: v1beta1.PhaseSucceeded, wantUnchanged: true},
		"while the source is gone": {
			of: func(*corev1.ConfigMap) {}, gone: true, wantPhase: v1beta1.PhaseSucceeded, wantUnchanged: true,
		},
		"with another copy": {of: func(c *corev1.ConfigMap) { c.Data = color("old") }, wantPhase: v1beta1.PhaseProgressing, wantUnchanged: true},
		"with the copy of another Canary": {of: func(c *corev1.ConfigMap) {
			c.OwnerReferences = []metav1.OwnerReference{formerOwner(newCanary("other").Canary)}
		}, wantPhase: v1beta1.PhaseSucceeded},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary("podinfo")
			c.Finalizers = []string{v1beta1.Finalizer}
			c.Status = v1beta1.CanaryStatus{
				Phase: v1beta1.PhaseSucceeded, LastAppliedSpec: "5d9d8b7c6f", LastPromotedSpec: "5d9d8b7c6f",
				TrackedConfigs: &map[string]string{"configmap/app": "0123456789abcdef"},
			}
			target := using(newTarget(), appConfig)
			target.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "init", EnvFrom: target.Spec.Template.Spec.Containers[0].EnvFrom}}
			source := configMap("app", color("blue"))
			source.BinaryData = map[string][]byte{"logo": {1}}
			copied := configMap("app-primary", color("blue"))
			copied.OwnerReferences = []metav1.OwnerReference{formerOwner(c.Canary)}
			tc.of(copied)
			primary := target.DeepCopy()
			primary.Name, primary.UID = "podinfo-primary", "uid-of-primary"
			primary.OwnerReferences = []metav1.OwnerReference{formerOwner(c.Canary)}
			primary.Spec.Selector.MatchLabels = map[string]string{"app": "podinfo-primary"}
			primary.Spec.Template.Labels = map[string]string{"app": "podinfo-primary"}
			primary.Spec.Template.Annotations = map[string]string{"flagger-id": "1"}
			primary.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{
				ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "app-primary"}},
			}}
			s := newConfigScene(t, c.Canary, target, primary, source, copied)
			if tc.gone {
				if err := s.api.Delete(t.Context(), source); err != nil {
					t.Fatal(err)
				}
			}
			s.rollOut()
			s.settle()
			if st := s.now().Status; st.Phase != tc.wantPhase {
				t.Fatalf("phase %s, %v", st.Phase, s.sent())
			}
			same := cmp.Equal(primary.Spec.Template.Spec, s.deployment("podinfo-primary").Spec.Template.Spec)
			if same != tc.wantUnchanged {
				t.Errorf("the primary's pods are left alone: %v", same)
			}
			if tc.wantPhase != v1beta1.PhaseSucceeded {
				return
			}
			if tracked := *s.now().Status.TrackedConfigs; !configs.KnownHash(tracked["configmap/app"]) {
				t.Errorf("trackedConfigs %v", tracked)
			}
			s.settleFully()
			s.clear()
			s.quiet()
			if tc.gone {
				return
			}
			edit(s.scene, s.configMap("app"), func(c *corev1.ConfigMap) { c.Data = color("green") })
			if got := s.released(); got != wholeRelease {
				t.Error(got)
			}
		})
	}
}
