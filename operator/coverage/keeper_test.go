package coverage

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

var budgets = policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget")

// newKeeper looks at budgets, on an API server that has these objects.
func newKeeper(t *testing.T, objects ...client.Object) (*Keeper, client.Client) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	b := fakeclient.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithIndex(&policyv1.PodDisruptionBudget{}, ReachIndex, func(o client.Object) []string { return []string{o.GetNamespace()} })
	for _, x := range Indexes() {
		b.WithIndex(x.Of, x.Name, x.Values)
	}
	api := b.Build()
	k := &Keeper{
		Reports: true, Copies: true, RootNamespace: "istio-system",
		Client: api, Reader: api, Applier: ssa.New(api), Options: workload.Options{SelectorLabels: []string{"app"}},
	}
	k.Watched(budgets, func() bool { return true })
	return k, api
}

// TestServicesAreFound: whatever a Service selects by, it is found where it leads to pods of a target, and one that leads
// elsewhere is not read for each target of its namespace.
func TestServicesAreFound(t *testing.T) {
	subject := Subject{
		Namespace: "test", Label: "app", Target: "web", Primary: "web-primary",
		Pods: []map[string]string{{"app": "web", "tier": "front", "a": "b"}, {"app": "web-primary", "tier": "back"}},
	}
	var objects []client.Object
	want := 0
	for _, a := range []string{"", "b", "c"} {
		for _, app := range []string{"", "web", "web-primary", "other"} {
			for _, tier := range []string{"", "front", "back", "other"} {
				selector := map[string]string{}
				for key, value := range map[string]string{"a": a, "app": app, "tier": tier} {
					if value != "" {
						selector[key] = value
					}
				}
				if subject.Leads(selector) {
					want++
				}
				objects = append(objects, &corev1.Service{
					ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: fmt.Sprintf("s-%d", len(objects))},
					Spec:       corev1.ServiceSpec{Selector: selector},
				})
			}
		}
	}
	k, api := newKeeper(t, objects...)
	read := 0
	k.Client = interceptor.NewClient(api.(client.WithWatch), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			err := c.List(ctx, list, options...)
			read += len(list.(*corev1.ServiceList).Items)
			return err
		},
	})
	found, err := k.services(t.Context(), subject)
	if err != nil || len(found) != want || want < 5 {
		t.Errorf("of %d Services %d are found: %v", want, len(found), err)
	}
	if read >= len(objects)*3/4 {
		t.Errorf("%d of %d Services are read for %d", read, len(objects), want)
	}
}

func newCanary(name, target string) *v1beta1.Canary {
	return &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name, UID: types.UID("uid-of-" + name), Generation: 1},
		Spec:       v1beta1.CanarySpec{TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: target}},
	}
}

func newTarget(name string) *appsv1.Deployment {
	labels := func() map[string]string { return map[string]string{"app": name} }
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name, UID: "uid-of-target", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels()},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels()}},
		},
	}
}

// newBudget is one for the pods with a value of the label app.
func newBudget(name, app string) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: new(intstr.FromInt32(1)),
			Selector:     &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}},
		},
	}
}

// state is what an assessment depends on.
type state struct {
	keeper          *Keeper
	api             client.Client
	canary          *v1beta1.Canary
	target, primary client.Object
	apex            *corev1.Service
}

// What covers the pods is found once for each state of what it depends on.
func TestAssessedAgain(t *testing.T) {
	unstructuredOf := func(o any, gvk schema.GroupVersionKind) *unstructured.Unstructured {
		m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{Object: m}
		u.SetGroupVersionKind(gvk)
		return u
	}
	nothing := func(*state) {}
	budget := unstructuredOf(newBudget("web", "podinfo"), budgets)
	elsewhere := budget.DeepCopy()
	elsewhere.SetNamespace("other")
	everywhere := unstructuredOf(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "all"}},
		schema.GroupVersionKind{Group: "security.istio.io", Version: "v1", Kind: "AuthorizationPolicy"})
	for name, tc := range map[string]struct {
		change func(s *state)
		want   bool
	}{
		"nothing":                  {change: nothing},
		"status of the target":     {change: func(s *state) { s.target.SetResourceVersion("99") }},
		"an object that selects":   {change: func(s *state) { s.keeper.changed(budget) }, want: true},
		"one of another namespace": {change: func(s *state) { s.keeper.changed(elsewhere) }},
		"one for all namespaces":   {change: func(s *state) { s.keeper.changed(everywhere) }, want: true},
		"another kind was read": {change: func(s *state) {
			s.keeper.Watched(budgets, func() bool { return true })
		}, want: true},
		"the Canary's spec":  {change: func(s *state) { s.canary.Generation++ }, want: true},
		"the target's image": {change: func(s *state) { s.target.SetGeneration(9) }},
		"its labels": {change: func(s *state) {
			workload.Template(s.target).Labels = map[string]string{"app": "podinfo", "a": "b"}
		}, want: true},
		"the primary came": {change: func(s *state) {
			s.primary = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{UID: "p", Generation: 1}}
		}, want: true},
		"the apex Service": {change: func(s *state) {
			s.apex.Labels = map[string]string{"a": "b"}
			if err := s.api.Update(t.Context(), s.apex); err != nil {
				t.Fatal(err)
			}
		}, want: true},
		"another Canary of its name": {change: func(s *state) { s.canary.UID = "other" }, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &state{
				canary: newCanary("podinfo", "podinfo"), target: newTarget("podinfo"),
				apex: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"}},
			}
			s.keeper, s.api = newKeeper(t, newBudget("web", "podinfo"), s.apex)
			s.keeper.changes.counted()
			gaps := func() int {
				t.Helper()
				found, err := s.keeper.assess(t.Context(), s.world(), workload.Label{Key: "app", Target: "podinfo", Primary: "podinfo-primary"})
				if err != nil {
					t.Fatal(err)
				}
				return len(found.Gaps)
			}
			if gaps() != 1 {
				t.Fatal("the gap is not found")
			}
			// This is not counted, so what comes of it shows whether it was looked at.
			if err := s.api.Delete(t.Context(), newBudget("web", "podinfo")); err != nil {
				t.Fatal(err)
			}
			tc.change(s)
			if again := gaps() == 0; again != tc.want {
				t.Errorf("assessed again: %t", again)
			}
		})
	}
}

// world is what is known of it in a turn.
func (s *state) world() *world.World {
	return &world.World{
		Observation: release.Observation{Canary: s.canary},
		Objects:     world.Objects{TargetObject: s.target, PrimaryObject: s.primary},
		Owner:       ownership.For(s.canary),
	}
}

func TestForget(t *testing.T) {
	k, _ := newKeeper(t)
	c := newCanary("podinfo", "podinfo")
	key := assessedKey{generation: 1}
	k.memory.Set(c, assessed{key: key})
	if _, ok := k.recall(c, key); !ok {
		t.Error("nothing is remembered")
	}
	k.Forget(client.ObjectKeyFromObject(c))
	if _, ok := k.recall(c, key); ok || k.memory.Size() > 0 {
		t.Error("it is still remembered")
	}
}

// TestConcerned has Canaries found without reading any of them, as their last turns have left them.
func TestConcerned(t *testing.T) {
	k, _ := newKeeper(t)
	known := func(namespace, name, app string) *v1beta1.Canary {
		c, target := newCanary(name, name), newTarget(name)
		c.Namespace, target.Namespace = namespace, namespace
		target.Spec.Selector.MatchLabels["app"], target.Spec.Template.Labels["app"] = app, app
		if _, err := k.Observe(t.Context(), (&state{canary: c, target: target}).world()); err != nil {
			t.Fatal(err)
		}
		return c
	}
	known("test", "podinfo", "podinfo")
	known("test", "other", "other")
	known("shop", "podinfo", "podinfo")
	gone := known("test", "gone", "podinfo")
	k.Forget(client.ObjectKeyFromObject(gone))
	if _, err := k.Observe(t.Context(), (&state{canary: newCanary("no-target", "missing")}).world()); err != nil {
		t.Fatal(err)
	}
	k.Client, k.Reader = nil, nil // whoever reads panics
	for name, tc := range map[string]struct {
		object *unstructured.Unstructured
		want   []string
	}{
		"pods of one":    {selecting(serviceObject(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "web"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "podinfo"}}})), []string{"test/podinfo"}},
		"pods of nobody": {selecting(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "web"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "x"}}}), nil},
		"pods everywhere": {&unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor", "metadata": map[string]any{"namespace": "mon", "name": "web"},
			"spec": map[string]any{"namespaceSelector": map[string]any{"any": true}, "selector": map[string]any{"matchLabels": map[string]any{"app": "podinfo"}}},
		}}, []string{"shop/podinfo", "test/podinfo"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, k := range k.concerned(tc.object) {
				got = append(got, k.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A copy that is deleted before a turn has seen it is made again at once.
func TestDeletedAtOnce(t *testing.T) {
	k, api := newKeeper(t)
	made := func() *unstructured.Unstructured {
		t.Helper()
		o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"minAvailable": int64(1)}}}
		o.SetGroupVersionKind(budgets)
		o.SetNamespace("test")
		o.SetName("web-primary")
		if err := k.Applier.Apply(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(budgets)
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(o), live); err != nil {
			t.Fatal(err)
		}
		return live
	}
	first := made()
	if err := api.Delete(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	(&eventSource{keeper: k}).handler().OnDelete(first)
	made()
}

// BenchmarkConcerned is one event in a namespace of 1,000 Canaries, in a cluster of 5,000.
func BenchmarkConcerned(b *testing.B) {
	var all subjects
	for i := range 5000 {
		c := newCanary(fmt.Sprint("app-", i), "web")
		if c.Namespace = "test"; i >= 1000 {
			c.Namespace = fmt.Sprint("test-", i%500)
		}
		pods := map[string]string{"app": c.Name, "team": "shop", "tier": "web"}
		all.put(c, Subject{
			Namespace: c.Namespace, Label: "app", Target: c.Name, Primary: c.Name + "-primary", Apex: c.Name, ApexLabels: map[string]string{"app": c.Name},
			Pods: []map[string]string{pods, pods}, Services: []string{c.Name, c.Name + "-primary", c.Name + "-canary"}, RootNamespace: "istio-system",
		})
	}
	service := serviceObject(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "web"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "app-7"}}})
	b.ReportAllocs()
	for b.Loop() {
		if n := len(all.concerned(service, []string{"test"})); n != 1 {
			b.Fatal(n)
		}
	}
}

func TestChanged(t *testing.T) {
	of := func(change func(*unstructured.Unstructured)) *unstructured.Unstructured {
		u := serviceObject(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "web"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "x"}}})
		change(u)
		return u
	}
	for name, tc := range map[string]struct {
		after *unstructured.Unstructured
		want  bool
	}{
		"nothing": {of(func(*unstructured.Unstructured) {}), false},
		"status":  {of(func(u *unstructured.Unstructured) { u.SetResourceVersion("5"); u.Object["status"] = "x" }), false},
		"spec":    {of(func(u *unstructured.Unstructured) { u.Object["spec"] = "x" }), true},
		"label":   {of(func(u *unstructured.Unstructured) { u.SetLabels(map[string]string{"a": "b"}) }), true},
		"annotation": {of(func(u *unstructured.Unstructured) {
			u.SetAnnotations(map[string]string{Annotation: Disabled})
		}), true},
		"owner":   {of(func(u *unstructured.Unstructured) { u.SetOwnerReferences([]metav1.OwnerReference{{Name: "a"}}) }), true},
		"unknown": {selecting(&appsv1.Deployment{}), false},
	} {
		if got := changed(of(func(*unstructured.Unstructured) {}), tc.after); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}

// Only a route of the Gateway API has rules that requests are taken from.
func TestNarrowed(t *testing.T) {
	match := v1beta1.CanaryAnalysis{Match: []v1beta1.RawObject{{Raw: []byte(`{}`)}}}
	sessions := v1beta1.CanaryAnalysis{SessionAffinity: &v1beta1.SessionAffinity{CookieName: "c"}}
	for name, tc := range map[string]struct {
		provider string
		analysis v1beta1.CanaryAnalysis
		want     string
	}{
		"A/B":                      {"gatewayapi:v1", match, "spec.analysis.match"},
		"A/B by the default":       {"", match, "spec.analysis.match"},
		"sessions":                 {"gatewayapi", sessions, "spec.analysis.sessionAffinity"},
		"weights":                  {"gatewayapi:v1", v1beta1.CanaryAnalysis{StepWeight: 10}, ""},
		"A/B of another provider":  {"istio", match, ""},
		"sessions without routes":  {"kubernetes", sessions, ""},
		"sessions of A/B, as both": {"gatewayapi:v1", v1beta1.CanaryAnalysis{Match: match.Match, SessionAffinity: sessions.SessionAffinity}, "spec.analysis.match"},
	} {
		t.Run(name, func(t *testing.T) {
			k, _ := newKeeper(t)
			k.Options.MeshProvider = "gatewayapi:v1"
			c := newCanary("podinfo", "podinfo")
			c.Spec.Provider, c.Spec.Analysis = tc.provider, &tc.analysis
			s, err := k.subject(c, world.Objects{TargetObject: newTarget("podinfo")})
			if err != nil || s.Narrowed != tc.want {
				t.Errorf("%q, %v, want %q", s.Narrowed, err, tc.want)
			}
		})
	}
}

// TestCopiesConcernTheirCanary: whoever changes a copy wakes the Canary that it was made for, whatever it selects.
func TestCopiesConcernTheirCanary(t *testing.T) {
	k, _ := newKeeper(t)
	for _, name := range []string{"a", "b"} {
		k.subjects.put(newCanary(name, name), Subject{Namespace: "test", Label: "app", Target: name, Primary: name + "-primary", Pods: []map[string]string{{"app": name}}})
	}
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(newBudget("copy", "nobody"))
	if err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{Object: raw}
	o.SetGroupVersionKind(budgets)
	if found := k.subjects.concerned(o, []string{"test"}); len(found) != 0 {
		t.Errorf("what selects nobody's pods concerns %v", found)
	}
	o.SetAnnotations(map[string]string{CopyOfAnnotation: "of"})
	ownership.For(newCanary("b", "b")).Mark(o)
	if found := k.subjects.concerned(o, []string{"test"}); len(found) != 1 || found[0].Name != "b" {
		t.Errorf("the copy of b concerns %v", found)
	}
}
