package ssa

import (
	"context"
	"errors"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// world is a fake API server behind a cache that can be held back.
type world struct {
	client.Client

	applies int
	deletes int
	frozen  map[client.ObjectKey]client.Object // what the cache shows; nil value: not there
	clock   *clocktesting.FakePassiveClock
	applier *Applier
}

func newWorld(t *testing.T, objs ...client.Object) *world {
	t.Helper()
	w := &world{
		frozen: map[client.ObjectKey]client.Object{},
		clock:  clocktesting.NewFakePassiveClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)),
	}
	w.Client = fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(objs...).
		WithInterceptorFuncs(interceptor.Funcs{Apply: w.countApply, Delete: w.countDelete, Get: w.cachedGet}).Build()
	w.applier = newApplier(w.Client, w.clock)
	return w
}

func (w *world) countApply(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	w.applies++
	return c.Apply(ctx, obj, opts...)
}

func (w *world) countDelete(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
	w.deletes++
	return c.Delete(ctx, obj, opts...)
}

func (w *world) cachedGet(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	old, held := w.frozen[key]
	if !held {
		return c.Get(ctx, key, obj, opts...)
	}
	if old == nil {
		return apierrors.NewNotFound(corev1.Resource("things"), key.Name)
	}
	old.(*appsv1.Deployment).DeepCopyInto(obj.(*appsv1.Deployment))
	return nil
}

func (w *world) live(t *testing.T) *appsv1.Deployment {
	t.Helper()
	d := &appsv1.Deployment{}
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: "podinfo-primary"}, d); err != nil {
		t.Fatal(err)
	}
	return d
}

func (w *world) apply(t *testing.T, d client.Object) {
	t.Helper()
	if err := w.applier.Apply(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func (w *world) wantApplies(t *testing.T, want int) {
	t.Helper()
	if w.applies != want {
		t.Fatalf("requests sent: %d, want %d", w.applies, want)
	}
}

func (w *world) wantInSync(t *testing.T, d client.Object, want bool) {
	t.Helper()
	got, err := w.applier.InSync(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("in sync: %v, want %v", got, want)
	}
}

var primaryKey = client.ObjectKey{Namespace: "test", Name: "podinfo-primary"}

func deployment(image string) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: primaryKey.Name, Namespace: primaryKey.Namespace, Labels: map[string]string{"app": "podinfo-primary"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](2),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "podinfo-primary"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "podinfo-primary"}},
				Spec: corev1.PodSpec{
					Containers: []corev1.Container{{Name: "podinfo", Image: image, Env: []corev1.EnvVar{{Name: "A", Value: "1"}}}},
					Volumes:    []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
				},
			},
		},
	}
}

func TestApplySendsOnlyWhatDiffers(t *testing.T) {
	for name, tc := range map[string]struct {
		change  func(live *appsv1.Deployment) // by somebody else, after the first apply
		desired *appsv1.Deployment
		want    int // further requests
	}{
		"nothing changed":          {desired: deployment("podinfo:1"), want: 0},
		"new intent":               {desired: deployment("podinfo:2"), want: 1},
		"field removed":            {desired: withoutEnv(deployment("podinfo:1")), want: 1},
		"somebody changed a field": {desired: deployment("podinfo:1"), change: func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](9) }, want: 1},
		"somebody dropped a label": {desired: deployment("podinfo:1"), change: func(d *appsv1.Deployment) { d.Labels = nil }, want: 1},
		"somebody added a container": {desired: deployment("podinfo:1"), change: func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: "x", Image: "x"})
		}, want: 0},
		"somebody added fields of their own": {desired: deployment("podinfo:1"), change: func(d *appsv1.Deployment) {
			d.Annotations["theirs"] = "kept"
			d.Spec.MinReadySeconds = 3
			d.Spec.Template.Spec.Containers[0].TerminationMessagePath = "/dev/termination-log"
		}, want: 0},
		"status changed": {desired: deployment("podinfo:1"), change: func(d *appsv1.Deployment) { d.Status.Replicas = 2 }, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(t, deployment("podinfo:1"))
			w.wantApplies(t, 1)
			if tc.change != nil {
				live := w.live(t)
				tc.change(live)
				if err := w.Update(t.Context(), live); err != nil {
					t.Fatal(err)
				}
			}
			w.wantInSync(t, tc.desired, tc.want == 0)
			w.apply(t, tc.desired)
			w.wantApplies(t, 1+tc.want)
			w.apply(t, tc.desired)
			w.wantApplies(t, 1+tc.want)
			w.wantInSync(t, tc.desired, true)
			// A new process knows nothing of our writes and must come to the same view.
			w.applier = newApplier(w.Client, w.clock)
			w.wantInSync(t, tc.desired, true)
		})
	}
}

func withoutEnv(d *appsv1.Deployment) *appsv1.Deployment {
	d.Spec.Template.Spec.Containers[0].Env = nil
	return d
}

func TestApplyKeepsWhatIsOthers(t *testing.T) {
	theirs := deployment("podinfo:0")
	theirs.Labels["team"] = "a"
	theirs.Annotations = map[string]string{"note": "kept"}
	w := newWorld(t, theirs)
	w.apply(t, deployment("podinfo:1"))
	live := w.live(t)
	if live.Labels["team"] != "a" || live.Annotations["note"] != "kept" {
		t.Errorf("their metadata is lost: %v %v", live.Labels, live.Annotations)
	}
	if got := live.Spec.Template.Spec.Containers[0].Image; got != "podinfo:1" {
		t.Errorf("image %q", got)
	}
}

func TestStaleCache(t *testing.T) {
	t.Run("update not shown yet", func(t *testing.T) {
		w := newWorld(t)
		w.apply(t, deployment("podinfo:1"))
		old := w.live(t)
		w.frozen[primaryKey] = old
		w.apply(t, deployment("podinfo:2"))
		w.wantApplies(t, 2)
		w.apply(t, deployment("podinfo:2"))
		w.wantApplies(t, 2)
		w.wantInSync(t, deployment("podinfo:2"), false)
		if w.applier.Observed(old) {
			t.Error("an object older than our write counts as observed")
		}
		// Back to the first intent, which the stale cache seems to hold already.
		w.wantInSync(t, deployment("podinfo:1"), false)
		w.apply(t, deployment("podinfo:1"))
		w.wantApplies(t, 3)
		delete(w.frozen, primaryKey)
		w.wantInSync(t, deployment("podinfo:1"), true)
		if !w.applier.Observed(w.live(t)) {
			t.Error("the current object does not count as observed")
		}
	})
	t.Run("creation not shown yet", func(t *testing.T) {
		w := newWorld(t)
		w.frozen[primaryKey] = nil
		again := func() time.Duration {
			ctx, pending := WithPending(t.Context())
			if err := w.applier.Apply(ctx, deployment("podinfo:1")); err != nil {
				t.Fatal(err)
			}
			return pending.After()
		}
		if after := again(); after != 0 {
			t.Errorf("what is written just now is looked at again after %s", after)
		}
		w.clock.SetTime(w.clock.Now().Add(grace / 2))
		// It may be deleted by now, and no event tell of it.
		if after := again(); after != grace {
			t.Errorf("what nobody has seen is looked at again after %s", after)
		}
		w.wantApplies(t, 1)
		w.wantInSync(t, deployment("podinfo:1"), false)
		w.clock.SetTime(w.clock.Now().Add(grace))
		w.apply(t, deployment("podinfo:1"))
		w.wantApplies(t, 2)
		delete(w.frozen, primaryKey)
		if after := again(); after != 0 {
			t.Errorf("what is there is looked at again after %s", after)
		}
	})
	t.Run("deleted after it was seen", func(t *testing.T) {
		w := newWorld(t)
		w.apply(t, deployment("podinfo:1"))
		w.wantInSync(t, deployment("podinfo:1"), true)
		if err := w.Delete(t.Context(), w.live(t)); err != nil {
			t.Fatal(err)
		}
		w.wantInSync(t, deployment("podinfo:1"), false)
		w.apply(t, deployment("podinfo:1"))
		w.wantApplies(t, 2)
	})
	for name, tc := range map[string]struct {
		deleted func(made, before *appsv1.Deployment) // changes what the cache says of the deletion
		want    int
	}{
		"deleted before anybody has seen it": {func(_, _ *appsv1.Deployment) {}, 3},
		"one of before was deleted":          {func(d, before *appsv1.Deployment) { d.ResourceVersion = before.ResourceVersion }, 2},
		"another was deleted":                {func(d, _ *appsv1.Deployment) { d.Name = "other" }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(t, deployment("podinfo:1"))
			before := w.live(t)
			w.apply(t, deployment("podinfo:2"))
			made := w.live(t)
			w.frozen[primaryKey] = nil
			tc.deleted(made, before)
			w.applier.Deleted(made)
			w.apply(t, deployment("podinfo:2"))
			w.wantApplies(t, tc.want)
		})
	}
}

func TestApplyPartial(t *testing.T) {
	theirs := deployment("podinfo:0")
	theirs.UID = "u1"
	w := newWorld(t, theirs)
	scale := func(n int64) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": map[string]any{"name": primaryKey.Name, "namespace": primaryKey.Namespace},
			"spec":     map[string]any{"replicas": n},
		}}
	}
	apply := func(n int64, live client.Object, wantApplies int) {
		t.Helper()
		if err := w.applier.ApplyPartial(t.Context(), scale(n), live); err != nil {
			t.Fatal(err)
		}
		w.wantApplies(t, wantApplies)
	}
	old := w.live(t)
	apply(2, old, 0)
	apply(0, old, 1)
	apply(0, old, 1) // the cache is behind
	apply(2, old, 2) // another intent, although the stale object has it
	live := w.live(t)
	apply(2, live, 2)
	if live.Annotations[AppliedAnnotation] != "" {
		t.Error("the annotation was left on an object that is not ours")
	}
	if *live.Spec.Replicas != 2 || live.Spec.Template.Spec.Containers[0].Image != "podinfo:0" {
		t.Errorf("live spec is %v", live.Spec)
	}
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	theirs := deployment("podinfo:0")
	theirs.UID = "u1"
	if err := w.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	w.apply(t, deployment("podinfo:1"))
	w.wantApplies(t, 1)
	old := w.live(t)
	w.frozen[primaryKey] = old
	for range 2 { // the cache still shows it the second time
		if err := w.applier.Delete(t.Context(), old.DeepCopy()); err != nil {
			t.Fatal(err)
		}
	}
	if w.deletes != 1 {
		t.Errorf("%d requests to delete it", w.deletes)
	}
	w.wantInSync(t, deployment("podinfo:1"), false)
	w.apply(t, deployment("podinfo:1"))
	w.wantApplies(t, 2)
	delete(w.frozen, primaryKey)
	w.wantInSync(t, deployment("podinfo:1"), true)
	for range 2 { // gone already the second time
		if err := w.applier.Delete(t.Context(), deployment("")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	now := clocktesting.NewFakePassiveClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	m := newMemory(now)
	for i := range 3 {
		m.wrote(objectKey{ObjectKey: client.ObjectKey{Name: string(rune('a' + i))}}, fingerprint{}, "5")
	}
	asked := objectKey{ObjectKey: client.ObjectKey{Name: "a"}}
	for range 4 {
		now.SetTime(now.Now().Add(generation))
		m.observed(asked, "5")
	}
	if n := len(m.current) + len(m.past); n != 1 {
		t.Errorf("records kept: %d, want only the one in use", n)
	}
}

// A write that was refused as the cache shows an old version is not tried again before the cache shows another one, and not
// for ever.
func TestRefusedVersions(t *testing.T) {
	w := newWorld(t)
	w.apply(t, deployment("podinfo:1"))
	old := w.live(t)
	someone := w.live(t)
	someone.Annotations["theirs"] = "1"
	if err := w.Update(t.Context(), someone); err != nil {
		t.Fatal(err)
	}
	w.frozen[primaryKey] = old
	repeat := func(version string) error {
		return w.applier.Apply(t.Context(), deployment("podinfo:2"), Repeats(version, "spec", "replicas"))
	}
	for _, want := range []int{2, 2} {
		if err := repeat(old.ResourceVersion); !apierrors.IsConflict(err) {
			t.Fatalf("error %v", err)
		}
		w.wantApplies(t, want)
	}
	w.clock.SetTime(w.clock.Now().Add(grace))
	if err := repeat(old.ResourceVersion); !apierrors.IsConflict(err) {
		t.Fatalf("error %v", err)
	}
	w.wantApplies(t, 3)
	delete(w.frozen, primaryKey)
	if err := repeat(w.live(t).ResourceVersion); err != nil {
		t.Fatal(err)
	}
	w.wantApplies(t, 4)
}

// What is looked at before a write is looked at only then, and can stop it.
func TestBefore(t *testing.T) {
	w := newWorld(t)
	asked, answer := 0, errors.New("no")
	before := Before(func(context.Context) error { asked++; return answer })
	if err := w.applier.Apply(t.Context(), deployment("podinfo:1"), before); !errors.Is(err, answer) {
		t.Errorf("error %v", err)
	}
	w.wantApplies(t, 0)
	answer = nil
	for range 2 {
		if err := w.applier.Apply(t.Context(), deployment("podinfo:1"), before); err != nil {
			t.Error(err)
		}
	}
	w.wantApplies(t, 1)
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}
