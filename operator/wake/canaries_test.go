package wake

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func TestReferrers(t *testing.T) {
	named := func(name string, minute int) *v1beta1.Canary {
		c := newCanary(name)
		c.CreationTimestamp = metav1.NewTime(start.Add(time.Duration(minute) * time.Minute))
		return c
	}
	first, second := named("b", 0), named("a", 1)
	api := newServer(t, first)
	lists := 0
	m := NewCanaries(interceptor.NewClient(api, interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
		lists++
		return c.List(ctx, list, opts...)
	}}))
	look := func(wantNames, wantLists int) []Referrer {
		t.Helper()
		found, err := m.Of(t.Context(), TargetIndex, "test", "podinfo")
		if err != nil {
			t.Fatal(err)
		}
		if len(found) != wantNames || lists != wantLists {
			t.Fatalf("%d referrers after %d lists, want %d after %d", len(found), lists, wantNames, wantLists)
		}
		return found
	}
	look(1, 1)
	look(1, 2) // nobody tells of changes, so nothing is remembered
	m.Watched()
	look(1, 3)
	look(1, 3)
	if err := api.Create(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	look(1, 3)
	m.Siblings(t.Context(), second) // the event
	before := lists
	found := look(2, before)
	if older := found[0].Name == "b" && found[0].Precedes(found[1]) || found[1].Name == "b" && found[1].Precedes(found[0]); !older {
		t.Errorf("the older is not the one created first: %v", found)
	}
	t.Run("what was read before a change is not kept", func(t *testing.T) {
		key := keyOf(TargetIndex, "test", "other")
		_, _, epoch := m.recall(key)
		m.Changed()
		m.remember(key, nil, epoch)
		if _, known, _ := m.recall(key); known {
			t.Error("it is")
		}
	})
}

// A Canary is found by each name that it refers to, those of its status too, and by no other.
func TestNamesThatAreReferredTo(t *testing.T) {
	of := func(name, target, apex, heldTarget, heldApex string) *v1beta1.Canary {
		c := newCanary(name)
		c.Spec.TargetRef.Name, c.Spec.Service.Name = target, apex
		if heldTarget != "" {
			c.Status.Identity = &v1beta1.IdentityStatus{TargetName: heldTarget, Apex: heldApex}
		}
		return c
	}
	all := []*v1beta1.Canary{
		of("plain", "web", "", "", ""),
		of("served", "api", "front", "", ""),
		of("moved", "new", "", "old", "old"),
		of("tail", "web-primary", "", "", ""), // of whose target another's primary has the name
		of("short", "-primary", "", "", ""),
	}
	var objects []client.Object
	for _, c := range all {
		objects = append(objects, c)
	}
	m := NewCanaries(newServer(t, objects...))
	for index, want := range map[string]map[string]string{
		TargetIndex: {
			"web": "[plain]", "web-primary": "[plain tail]", "web-primary-primary": "[tail]", "web-canary": "[]", "api": "[served]", "api-primary": "[served]",
			"front": "[]", "new": "[moved]", "new-primary": "[moved]", "old": "[moved]", "old-primary": "[moved]", "-primary": "[short]", "": "[]", "we": "[]",
		},
		ApexIndex: {
			"web": "[plain]", "web-primary": "[plain tail]", "web-canary": "[plain]", "web-primary-canary": "[tail]", "front": "[served]",
			"front-primary": "[served]", "front-canary": "[served]", "api": "[]", "api-canary": "[]", "old": "[moved]", "old-canary": "[moved]",
			"new-canary": "[moved]", "web-canary-primary": "[]", "other": "[]",
		},
	} {
		for name, want := range want {
			found, err := m.Of(t.Context(), index, "test", name)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range found {
				got = append(got, r.Name)
			}
			if slices.Sort(got); fmt.Sprint(got) != want {
				t.Errorf("by %s %q: %v, want %s", index, name, got, want)
			}
		}
	}
}

func TestComesOrGoes(t *testing.T) {
	before := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{UID: "u1", Generation: 1}}
	for name, tc := range map[string]struct {
		after metav1.ObjectMeta
		want  bool
	}{
		"status":      {after: metav1.ObjectMeta{UID: "u1", Generation: 1}},
		"spec":        {after: metav1.ObjectMeta{UID: "u1", Generation: 2}, want: true},
		"made anew":   {after: metav1.ObjectMeta{UID: "u2", Generation: 1}, want: true},
		"annotations": {after: metav1.ObjectMeta{UID: "u1", Generation: 1, Annotations: map[string]string{"a": "b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ComesOrGoes().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: &v1beta1.Canary{ObjectMeta: tc.after}}); got != tc.want {
				t.Errorf("passes: %t", got)
			}
		})
	}
}

// Whether a kind is needed is looked at again only when the Canaries have changed.
func TestNeed(t *testing.T) {
	canaries := NewCanaries(newServer(t, newCanary("podinfo")))
	looked, wanted := 0, false
	w := &kindsWatch{canaries: canaries, Kinds: Kinds{Wanted: func(*v1beta1.Canary) bool { looked++; return wanted }}}
	var n need
	for _, tc := range []struct {
		changed, wanted, want bool
		looked                int
	}{
		{looked: 1},
		{wanted: true, looked: 1},
		{changed: true, wanted: true, want: true, looked: 2},
		{wanted: false, want: true, looked: 2},
		{changed: true, looked: 3},
	} {
		if tc.changed {
			canaries.Changed()
		}
		wanted = tc.wanted
		if got := n.look(t.Context(), w); got != tc.want || looked != tc.looked {
			t.Errorf("%+v: %t after looking %d times", tc, got, looked)
		}
	}
}

// An Ingress wakes whoever names it, and the canary's of it too. Its name says nothing of Services.
func TestIngressesWakeCanaries(t *testing.T) {
	c, other := newCanary("podinfo"), newCanary("web")
	c.Spec.IngressRef = &v1beta1.LocalObjectReference{Name: "web"}
	other.Spec.Service.Name = "web"
	events := newEvents(newServer(t, c, other))
	for name, want := range map[string]int{"web": 1, "web-canary": 1, "podinfo": 0} {
		found := events.byRoute(t.Context(), &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name}})
		if len(found) != want || want > 0 && found[0].Name != "podinfo" {
			t.Errorf("Ingress %s wakes %v", name, found)
		}
	}
}
