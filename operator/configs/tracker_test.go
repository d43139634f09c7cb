package configs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

var (
	start     = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	appConfig = Ref{Kind: ConfigMap, Name: "app"}
)

// newTracker tracks configs on an API server that has these objects.
func newTracker(t *testing.T, objects ...client.Object) *Tracker {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	b := fakeclient.NewClientBuilder().WithScheme(scheme).WithObjects(objects...)
	for _, x := range Indexes() {
		b.WithIndex(x.Of, x.Name, x.Values)
	}
	api := b.Build()
	return New(Config{Client: api, Live: api, Applier: ssa.New(api), Clock: clocktesting.NewFakePassiveClock(start)})
}

// newCanary is a Canary of Deployment podinfo.
func newCanary(name string) *v1beta1.Canary {
	return &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name, UID: types.UID("uid-of-" + name)},
		Spec:       v1beta1.CanarySpec{TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"}},
	}
}

func configMap(name, color string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name, UID: types.UID("uid-of-" + name)}, Data: map[string]string{"color": color},
	}
}

// using is the template of pods that take their environment from a ConfigMap app.
func using() *corev1.PodTemplateSpec {
	return &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "podinfod",
		EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: appConfig.Name},
		}}},
	}}}}
}

// observe looks at a target with this pod template.
func observe(t *testing.T, tracker *Tracker, c *v1beta1.Canary, template *corev1.PodTemplateSpec) *Share {
	t.Helper()
	w := &world.World{Observation: release.Observation{Canary: c, Target: release.Workload{Revision: "s2-a", Ready: true}}}
	w.TargetObject, w.Owner = &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: *template}}, ownership.For(c)
	s, err := tracker.Observe(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// users is how many Canaries an event of an object wakes.
func (t *Tracker) usersOf(ctx context.Context, kind Kind, name string) int {
	return len(t.users(kind)(ctx, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name}}))
}

// Pain 7: a resync of the cache wakes nobody, and neither does what nobody uses.
func TestEvents(t *testing.T) {
	tracker, c := newTracker(t, configMap("app", "blue")), newCanary("podinfo")
	expect := func(want map[Ref]int) {
		t.Helper()
		for ref, n := range want {
			if got := tracker.usersOf(t.Context(), ref.Kind, ref.Name); got != n {
				t.Errorf("%s: %d Canaries", ref, got)
			}
		}
	}
	theCopy := Ref{Kind: ConfigMap, Name: "app-primary"}
	observe(t, tracker, c, using())
	expect(map[Ref]int{
		appConfig: 1, theCopy: 1,
		{Kind: ConfigMap, Name: "other"}: 0,
		{Kind: Secret, Name: "app"}:      0,
	})
	observe(t, tracker, c, &corev1.PodTemplateSpec{})
	expect(map[Ref]int{appConfig: 0, theCopy: 0})
	observe(t, tracker, c, using())
	tracker.Forget(client.ObjectKeyFromObject(c))
	expect(map[Ref]int{appConfig: 0, theCopy: 0})
	if left := len(tracker.facts.byNamespace) + len(tracker.index.byNamespace); left != 0 {
		t.Errorf("%d things are remembered for nobody", left)
	}
	same := event.UpdateEvent{ObjectOld: configMap("app", "blue"), ObjectNew: configMap("app", "blue")}
	if changes().Update(same) {
		t.Error("a resync passes")
	}
}

// Of two Canaries that want one name at the same moment, one gets it.
func TestRaceForACopy(t *testing.T) {
	tracker, c := newTracker(t, configMap("app", "blue")), newCanary("podinfo")
	s := observe(t, tracker, c, using())
	copies, err := s.copies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	theirs := configMap("app-primary", "theirs")
	theirs.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(newCanary("other"), v1beta1.GroupVersion.WithKind(v1beta1.CanaryKind))}
	if err := tracker.Client.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	name, err := s.apply(t.Context(), s.list[0], copies)
	if err != nil || name != "app-podinfo-primary" {
		t.Errorf("copy %q, %v", name, err)
	}
	// Our own copy, which the cache does not show yet.
	if name, err = s.apply(t.Context(), s.list[0], copies); err != nil || name != "app-podinfo-primary" {
		t.Errorf("again: copy %q, %v", name, err)
	}
	now := &corev1.ConfigMap{}
	if err := tracker.Client.Get(t.Context(), client.ObjectKeyFromObject(theirs), now); err != nil || now.Data["color"] != "theirs" {
		t.Errorf("the other's copy is %v, %v", now.Data, err)
	}
}

// What the target's pods read is part of its revision, and in the status once it is released.
func TestObserve(t *testing.T) {
	for name, tc := range map[string]struct {
		objects     []client.Object
		change      func(*Tracker, *world.World)
		wantTracked bool
		wantReady   bool
	}{
		"tracked":        {objects: []client.Object{configMap("app", "blue")}, wantTracked: true, wantReady: true},
		"missing":        {wantTracked: true},
		"off":            {change: func(k *Tracker, _ *world.World) { k.Off = true }, wantReady: true},
		"without target": {change: func(_ *Tracker, w *world.World) { w.TargetObject = nil }, wantReady: true},
		"deleted":        {change: func(_ *Tracker, w *world.World) { w.Canary.DeletionTimestamp = &metav1.Time{Time: start} }, wantReady: true},
	} {
		t.Run(name, func(t *testing.T) {
			tracker := newTracker(t, tc.objects...)
			w := &world.World{Observation: release.Observation{Canary: newCanary("podinfo"), Target: release.Workload{Revision: "s2-a", Ready: true}}}
			w.TargetObject, w.Owner = &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: *using()}}, ownership.For(w.Canary)
			if tc.change != nil {
				tc.change(tracker, w)
			}
			s, err := tracker.Observe(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			if tracked := w.Target.Revision != "s2-a"; tracked != tc.wantTracked || w.Target.Ready != tc.wantReady {
				t.Errorf("revision %s, ready %t", w.Target.Revision, w.Target.Ready)
			}
			of := func(revision string) string {
				status := v1beta1.CanaryStatus{LastAppliedSpec: revision, TrackedConfigs: &map[string]string{"configmap/old": "x"}}
				s.Record(&status)
				return strings.Join(slices.Sorted(maps.Keys(*status.TrackedConfigs)), " ")
			}
			want := map[bool]string{true: "configmap/app", false: "configmap/old"}[tc.wantTracked]
			if got := of(w.Target.Revision); got != want {
				t.Errorf("the status has %s", got)
			}
			if got := of("s2-before"); got != "configmap/old" {
				t.Errorf("while another revision is released the status has %s", got)
			}
		})
	}
}

func TestIndex(t *testing.T) {
	ref := func(name string) Ref { return Ref{Kind: ConfigMap, Name: name} }
	key := func(name string) objectKey { return objectKey{"test", ref(name)} }
	a, b := types.NamespacedName{Namespace: "test", Name: "a"}, types.NamespacedName{Namespace: "test", Name: "b"}
	var x index
	x.set(a, []Ref{ref("1"), ref("2")})
	x.set(b, []Ref{ref("2")})
	users := func(name string) string {
		var out []string
		for _, c := range x.canaries(key(name)) {
			out = append(out, c.Name)
		}
		slices.Sort(out)
		return strings.Join(out, "")
	}
	if users("1") != "a" || users("2") != "ab" || users("3") != "" || !x.matters(key("2")) || x.matters(key("3")) {
		t.Errorf("users %q %q %q", users("1"), users("2"), users("3"))
	}
	if dropped := x.set(a, []Ref{ref("2"), ref("3")}); !slices.Equal(dropped, []digest{digestOf(ref("1"))}) {
		t.Errorf("dropped %v", dropped)
	}
	if users("1") != "" || users("2") != "ab" || users("3") != "a" {
		t.Errorf("users %q %q %q", users("1"), users("2"), users("3"))
	}
	if dropped := x.set(a, nil); !slices.Equal(dropped, []digest{digestOf(ref("3"))}) {
		t.Errorf("dropped %v", dropped)
	}
	if dropped := x.set(b, nil); len(dropped) != 1 || len(x.byNamespace) != 0 {
		t.Errorf("dropped %v, left %v", dropped, x.byNamespace)
	}
	x.set(types.NamespacedName{Namespace: "elsewhere", Name: "a"}, []Ref{ref("1")})
	if x.matters(key("1")) || x.matters(objectKey{"elsewhere", Ref{Kind: Secret, Name: "1"}}) || !x.matters(objectKey{"elsewhere", ref("1")}) {
		t.Error("a config of another namespace or kind matters")
	}
}

func TestFacts(t *testing.T) {
	clk := clocktesting.NewFakePassiveClock(start)
	key := objectKey{"test", appConfig}
	cached := func(version string) *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ResourceVersion: version}}
	}
	f := records{clock: clk}
	expect := func(what string, o *metav1.PartialObjectMetadata, wantHash string, wantExists, wantOK bool) {
		t.Helper()
		if fact, exists, ok := f.get(key, o); fact.hash != wantHash || exists != wantExists || ok != wantOK {
			t.Errorf("%s: hash %q, exists %v, known %v", what, fact.hash, exists, ok)
		}
	}
	expect("nothing there", nil, "", false, true)
	expect("never read", cached("5"), "", true, false)
	f.put(key, record{version: "5", hash: "five"})
	expect("read", cached("5"), "five", true, true)
	expect("the cache is older", cached("4"), "five", true, true)
	expect("the cache is newer", cached("10"), "", true, false)
	f.put(key, record{version: "10", hash: "ten"})
	f.put(key, record{version: "9", hash: "nine"})
	expect("an older answer came later", cached("10"), "ten", true, true)
	expect("deleted", nil, "", false, true)
	f.put(key, record{version: "11", hash: "made"})
	expect("made, and not in the cache yet", nil, "made", true, true)
	clk.SetTime(clk.Now().Add(writeGrace))
	expect("made, and never shown", nil, "", false, true)
	f.put(key, record{version: "12", hash: "a"})
	clk.SetTime(clk.Now().Add(unusedFact))
	f.sweep(func(objectKey) bool { return true })
	expect("of use", cached("12"), "a", true, true)
	f.sweep(func(objectKey) bool { return false })
	expect("swept a moment ago", cached("12"), "a", true, true)
	clk.SetTime(clk.Now().Add(sweepEvery))
	f.sweep(func(objectKey) bool { return false })
	expect("of no use", cached("12"), "", true, false)
	f.put(key, record{version: "13", hash: "b"})
	f.drop("test", digestOf(Ref{Kind: Secret, Name: appConfig.Name}))
	expect("another is dropped", cached("13"), "b", true, true)
	f.drop("test", digestOf(appConfig))
	expect("dropped", cached("13"), "", true, false)
	if len(f.byNamespace) != 0 {
		t.Errorf("what is left is %v", f.byNamespace)
	}
}

// TestReadsOfANamespace: what Canaries of one namespace read at a start grows with their number, and not with its square.
func TestReadsOfANamespace(t *testing.T) {
	const canaries, each = 40, 4
	var objects []client.Object
	for i := range canaries * each {
		objects = append(objects, configMap(fmt.Sprintf("config-%03d", i), "blue"))
	}
	tracker := newTracker(t, objects...)
	lists := 0
	tracker.cached = interceptor.NewClient(tracker.Client.(client.WithWatch), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			lists++
			return c.List(ctx, list, options...)
		},
	})
	for c := range canaries {
		var refs []Ref
		for i := range each {
			refs = append(refs, Ref{ConfigMap, fmt.Sprintf("config-%03d", c*each+i)})
		}
		read, err := tracker.read(t.Context(), "test", refs)
		if err != nil || len(read) != each {
			t.Fatalf("%d of %d are read: %v", len(read), each, err)
		}
	}
	if lists != 1 {
		t.Errorf("%d Canaries list the configs of their namespace %d times", canaries, lists)
	}
	tracker.Clock.(*clocktesting.FakePassiveClock).SetTime(start.Add(sizeHolds + time.Second))
	if _, err := tracker.size(t.Context(), "test", ConfigMap); err != nil || lists != 2 {
		t.Errorf("how many there are is counted %d times a while later: %v", lists, err)
	}
}

func TestCacheHoldsNoContents(t *testing.T) {
	for kind, settings := range Caches() {
		got, err := settings.Transform(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Name: "a", UID: "u", ResourceVersion: "1", Labels: map[string]string{"a": "b"},
			Annotations: map[string]string{
				"kubectl.kubernetes.io/last-applied-configuration": "all of it", v1beta1.ConfigTrackingAnnotation: "disabled",
			},
			OwnerReferences: []metav1.OwnerReference{{Name: "x"}},
			ManagedFields:   []metav1.ManagedFieldsEntry{{}},
		}})
		want := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Name: "a", UID: "u", ResourceVersion: "1", Annotations: map[string]string{v1beta1.ConfigTrackingAnnotation: "disabled"},
			OwnerReferences: []metav1.OwnerReference{{Name: "x"}},
		}}
		if diff := cmp.Diff(any(want), got); diff != "" || err != nil {
			t.Errorf("%T: %v, -want +got\n%s", kind, err, diff)
		}
	}
}
