package wake

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// queue notes what is added to it.
type queue struct {
	priorityqueue.PriorityQueue[reconcile.Request]

	now   int
	waits []time.Duration
}

func (q *queue) Add(reconcile.Request) { q.now++ }

func (q *queue) AddAfter(_ reconcile.Request, wait time.Duration) {
	q.waits = append(q.waits, wait)
}

// AddWithOpts is what handlers of events make of both, and what is urgent comes by.
func (q *queue) AddWithOpts(o priorityqueue.AddOpts, of ...reconcile.Request) {
	switch {
	case o.Priority != nil && *o.Priority == Urgent:
		q.waits = append(q.waits, lost)
	default:
		q.waits = append(q.waits, o.After)
		if o.After == 0 {
			q.now += len(of)
		}
	}
}

func TestCanaryEvents(t *testing.T) {
	before := func() *v1beta1.Canary {
		return &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "u1", ResourceVersion: "7", Generation: 1}}
	}
	ours := func(m *Turns) {
		c := before()
		c.ResourceVersion = "8"
		m.Wrote(c)
	}
	for name, tc := range map[string]struct {
		change     func(c *v1beta1.Canary)
		remember   func(m *Turns)
		wantAtOnce bool
	}{
		"status by somebody else": {change: func(c *v1beta1.Canary) { c.Status.CanaryWeight = 5 }, wantAtOnce: true},
		"status by us":            {change: func(c *v1beta1.Canary) { c.Status.CanaryWeight = 5 }, remember: ours},
		"status by us, not answered yet": {
			change:   func(c *v1beta1.Canary) { c.Status.CanaryWeight = 5 },
			remember: func(m *Turns) { m.Writing(before()) },
		},
		"status by somebody else after a failed write": {
			change:     func(c *v1beta1.Canary) { c.Status.CanaryWeight = 5 },
			remember:   func(m *Turns) { m.Writing(before()); m.Failed(before()) },
			wantAtOnce: true,
		},
		"status by us of another object of this name": {
			change: func(c *v1beta1.Canary) { c.UID = "u2" }, remember: ours, wantAtOnce: true,
		},
		"spec":       {change: func(c *v1beta1.Canary) { c.Generation = 2 }, remember: ours, wantAtOnce: true},
		"annotation": {change: func(c *v1beta1.Canary) { c.Annotations = map[string]string{"a": "b"} }, remember: ours, wantAtOnce: true},
		"label":      {change: func(c *v1beta1.Canary) { c.Labels = map[string]string{"a": "b"} }, remember: ours, wantAtOnce: true},
		"finalizer":  {change: func(c *v1beta1.Canary) { c.Finalizers = []string{"x"} }, remember: ours, wantAtOnce: true},
		"deletion":   {change: func(c *v1beta1.Canary) { c.DeletionTimestamp = new(metav1.Now()) }, remember: ours, wantAtOnce: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Events{Turns: &Turns{}}
			if tc.remember != nil {
				tc.remember(r.Turns)
			}
			after := before()
			after.ResourceVersion = "8"
			tc.change(after)
			e := event.UpdateEvent{ObjectOld: before(), ObjectNew: after}
			q := &queue{}
			if BeyondStatus().Update(e) {
				q.now++ // the handler of all other events adds it
			}
			r.OfStatus().Update(t.Context(), e, q)
			q.waits = slices.DeleteFunc(q.waits, func(wait time.Duration) bool { return wait == 0 }) // which is at once
			if atOnce := q.now == 1; atOnce != tc.wantAtOnce || q.now > 1 || len(q.waits) > 0 {
				t.Errorf("at once %d, later %d", q.now, len(q.waits))
			}
		})
	}
}

func TestWorkloadEvents(t *testing.T) {
	before := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "u1", ResourceVersion: "7", Generation: 2},
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(2))},
		Status:     appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 1},
	}
	progressing := func(d *appsv1.Deployment, status corev1.ConditionStatus, message string) {
		d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: status, Message: message}}
	}
	available := func(n int32) func(d *appsv1.Deployment) {
		return func(d *appsv1.Deployment) { d.Status.AvailableReplicas = n }
	}
	starting := func(d *appsv1.Deployment) { d.Status.UpdatedReplicas, d.Status.Replicas = 1, 3 }
	for name, tc := range map[string]struct {
		before, change func(d *appsv1.Deployment)
		want           time.Duration
		dropped        bool
	}{
		"nothing that is read": {dropped: true, change: func(d *appsv1.Deployment) {
			d.Status.ReadyReplicas = 1
			progressing(d, corev1.ConditionTrue, "ReplicaSet is progressing")
		}},
		"one more is available":    {before: func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(3)) }, change: available(2), want: readyDelay},
		"all are available":        {change: available(2)},
		"one is gone":              {change: available(0), want: lost},
		"a rollout begins":         {change: starting, want: readyDelay},
		"it goes on":               {before: starting, change: func(d *appsv1.Deployment) { d.Status.UpdatedReplicas = 2 }, want: progressDelay},
		"pods on the way":          {before: starting, change: available(2), want: readyDelay},
		"pods lost on the way":     {before: starting, change: available(0), want: lost},
		"it ends":                  {before: starting, change: func(d *appsv1.Deployment) { d.Status.UpdatedReplicas, d.Status.Replicas = 2, 2 }, want: readyDelay},
		"acted on":                 {before: func(d *appsv1.Deployment) { d.Status.ObservedGeneration = 1 }, change: func(d *appsv1.Deployment) { d.Status.ObservedGeneration = 2; starting(d) }, want: progressDelay},
		"no more acted on":         {change: func(d *appsv1.Deployment) { d.Status.ObservedGeneration = 1 }, want: readyDelay},
		"trouble":                  {before: starting, change: func(d *appsv1.Deployment) { progressing(d, corev1.ConditionFalse, "stuck") }, want: progressDelay},
		"spec":                     {change: func(d *appsv1.Deployment) { d.Generation = 3 }},
		"label":                    {change: func(d *appsv1.Deployment) { d.Labels = map[string]string{"a": "b"} }},
		"owner":                    {change: func(d *appsv1.Deployment) { d.OwnerReferences = []metav1.OwnerReference{{UID: "u9"}} }},
		"another of this name":     {change: func(d *appsv1.Deployment) { d.UID = "u2" }},
		"is deleted":               {change: func(d *appsv1.Deployment) { d.DeletionTimestamp = new(metav1.Now()) }},
		"nobody's Canary is woken": {change: func(d *appsv1.Deployment) { d.Name = "other"; d.Generation = 3 }, dropped: true},
	} {
		t.Run(name, func(t *testing.T) {
			events := newEvents(newServer(t, newCanary("podinfo")))
			old := before.DeepCopy()
			if tc.before != nil {
				tc.before(old)
			}
			after := old.DeepCopy()
			after.ResourceVersion = "8"
			tc.change(after)
			q := &queue{}
			events.OfWorkloads().Update(t.Context(), event.UpdateEvent{ObjectOld: old, ObjectNew: after}, q)
			var want []time.Duration
			if !tc.dropped {
				want = append(want, tc.want)
			}
			if diff := cmp.Diff(want, q.waits); diff != "" {
				t.Errorf("waits (-want +got)\n%s", diff)
			}
		})
	}
	t.Run("our write is shown", func(t *testing.T) {
		api := newServer(t)
		r := newEvents(api)
		intent := before.DeepCopy()
		intent.Status = appsv1.DeploymentStatus{}
		intent.ResourceVersion = ""
		for _, replicas := range []int32{1, 2} {
			intent.Spec.Replicas = &replicas
			if err := r.Applier.Apply(t.Context(), intent); err != nil {
				t.Fatal(err)
			}
		}
		after := &appsv1.Deployment{}
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(intent), after); err != nil {
			t.Fatal(err)
		}
		old := after.DeepCopy()
		old.ResourceVersion = "1" // what the first one wrote
		if wait, matters := r.urgency(event.UpdateEvent{ObjectOld: old, ObjectNew: after}); !matters || wait > 0 {
			t.Errorf("matters %t, waits %v", matters, wait)
		}
	})
}

// Checks that may take a release back come before those of all other releases.
func TestCheckEvents(t *testing.T) {
	for _, urgent := range []bool{false, true} {
		q := &queue{}
		OfChecks(func(*v1beta1.Canary) bool { return urgent }).Generic(t.Context(), event.GenericEvent{Object: newCanary("podinfo")}, q)
		if isUrgent := slices.Equal(q.waits, []time.Duration{lost}); isUrgent != urgent || isUrgent == (q.now == 1) {
			t.Errorf("urgent %t: it waits %v, and %d come at once", urgent, q.waits, q.now)
		}
	}
}

// The state that a turn made of a workload, and waits for more of, wakes nobody.
func TestEchoOfWorkload(t *testing.T) {
	complete := &Outcome{Complete: true}
	for name, tc := range map[string]struct {
		last   *Outcome // nil where there was no turn
		change func(d *appsv1.Deployment)
		woken  bool
	}{
		"of a complete turn":        {last: complete},
		"of another turn":           {last: &Outcome{}, woken: true},
		"of another process":        {woken: true},
		"changed by somebody since": {last: complete, change: func(d *appsv1.Deployment) { d.ResourceVersion = "1000" }, woken: true},
		"with pods that are new":    {last: complete, change: func(d *appsv1.Deployment) { d.Status.AvailableReplicas = 1 }, woken: true},
		"with trouble that is new":  {last: complete, change: func(d *appsv1.Deployment) { d.Spec.Paused = true }, woken: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary("podinfo")
			api := newServer(t, c)
			r := newEvents(api)
			intent := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: "podinfo"}}
			if err := r.Applier.Apply(t.Context(), intent); err != nil {
				t.Fatal(err)
			}
			after := &appsv1.Deployment{}
			if err := api.Get(t.Context(), client.ObjectKeyFromObject(intent), after); err != nil {
				t.Fatal(err)
			}
			before := after.DeepCopy()
			before.ResourceVersion = "0"
			after.Generation = 2
			if tc.change != nil {
				tc.change(after)
			}
			if tc.last != nil {
				r.Turns.Begin(c)
				r.Turns.End(c, *tc.last)
			}
			q := &queue{}
			r.OfWorkloads().Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: after}, q)
			if woken := len(q.waits) > 0; woken != tc.woken {
				t.Errorf("woken %t", woken)
			}
		})
	}
}

// TestDeletions has what was made a moment ago made again when it is deleted, before a turn has seen it.
func TestDeletions(t *testing.T) {
	for name, of := range map[string]func(*Events) handler.EventHandler{
		"workload": func(v *Events) handler.EventHandler { return v.OfWorkloads() },
		"route":    func(v *Events) handler.EventHandler { v.Routes = v.Applier; return v.OfRoutes(nil, nil) },
		"Service":  func(v *Events) handler.EventHandler { return Deleted(handler.Funcs{}, v.Applier) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary("podinfo")
			api := newServer(t, c)
			events := newEvents(api)
			intent := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: "podinfo"}}
			made := &appsv1.Deployment{}
			if err := errors.Join(
				events.Applier.Apply(t.Context(), intent), api.Get(t.Context(), client.ObjectKeyFromObject(intent), made), api.Delete(t.Context(), made),
			); err != nil {
				t.Fatal(err)
			}
			of(events).Delete(t.Context(), event.DeleteEvent{Object: made}, &queue{})
			if err := events.Applier.Apply(t.Context(), intent); err != nil {
				t.Fatal(err)
			}
			if err := api.Get(t.Context(), client.ObjectKeyFromObject(intent), made); err != nil {
				t.Errorf("it is not made again: %v", err)
			}
		})
	}
}

func TestEndpointEvents(t *testing.T) {
	slice := func(ready int) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
			Namespace: "test", Name: "podinfo-canary-x", Labels: map[string]string{discoveryv1.LabelServiceName: "podinfo-canary"},
		}}
		for range ready {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{})
		}
		return s
	}
	for name, tc := range map[string]struct {
		before, after int
		last          Outcome
		want          []time.Duration
	}{
		"one more that was missed":     {before: 1, after: 2, want: []time.Duration{readyDelay}},
		"one more that nobody missed":  {before: 1, after: 2, last: Outcome{Reached: true}},
		"one less":                     {before: 2, after: 1, want: []time.Duration{readyDelay}},
		"one less that nobody missed":  {before: 2, after: 1, last: Outcome{Reached: true}, want: []time.Duration{readyDelay}},
		"none is left":                 {before: 2, after: 0, want: []time.Duration{lost}},
		"none is left of all there is": {before: 2, after: 0, last: Outcome{Reached: true, Complete: true}, want: []time.Duration{lost}},
		"as many":                      {before: 2, after: 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary("podinfo")
			events := newEvents(newServer(t, c))
			events.Turns.Begin(c)
			events.Turns.End(c, tc.last)
			q := &queue{}
			events.OfEndpoints().Update(t.Context(), event.UpdateEvent{ObjectOld: slice(tc.before), ObjectNew: slice(tc.after)}, q)
			if diff := cmp.Diff(tc.want, q.waits); diff != "" {
				t.Errorf("waits (-want +got)\n%s", diff)
			}
		})
	}
}

// An object of another name wakes whom it is about when it comes, goes or changes what matters to
// them. A change of nothing else wakes those whose name it has.
func TestRivalsWakeCanaries(t *testing.T) {
	service := func(name, host string) *corev1.Service { // stands for any kind of a mesh
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name}, Spec: corev1.ServiceSpec{ExternalName: host}}
	}
	host := func(o client.Object) string { return o.(*corev1.Service).Spec.ExternalName }
	about := &providers.About{
		Services: func(_ context.Context, reader client.Reader, o client.Object) []types.NamespacedName {
			if reader == nil {
				t.Error("it has no cache to look into")
			}
			return []types.NamespacedName{{Namespace: "test", Name: host(o)}}
		},
		Alike: func(before, after client.Object) bool { return host(before) == host(after) },
	}
	web := newCanary("web")
	web.Spec.TargetRef.Name = "web"
	server := newServer(t, newCanary("podinfo"), web)
	for name, tc := range map[string]struct {
		about         *providers.About
		before, after *corev1.Service
		want          int
	}{
		"comes":                   {about: about, after: service("rival", "podinfo"), want: 1},
		"goes":                    {about: about, before: service("rival", "podinfo"), want: 1},
		"changes nothing":         {about: about, before: service("rival", "podinfo"), after: service("rival", "podinfo")},
		"turns away":              {about: about, before: service("rival", "podinfo"), after: service("rival", "other"), want: 1},
		"turns to another":        {about: about, before: service("rival", "podinfo"), after: service("rival", "web"), want: 2},
		"of its name":             {about: about, before: service("podinfo", "other"), after: service("podinfo", "other"), want: 1},
		"of its name and about":   {about: about, after: service("podinfo", "podinfo"), want: 1},
		"nothing is known of it":  {before: service("rival", "podinfo")},
		"of a name with a suffix": {before: service("podinfo.mesh", ""), want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			events, q := newEvents(server), &queue{}
			handle := events.OfRoutes(server, tc.about)
			switch {
			case tc.before == nil:
				handle.Create(t.Context(), event.CreateEvent{Object: tc.after}, q)
			case tc.after == nil:
				handle.Delete(t.Context(), event.DeleteEvent{Object: tc.before}, q)
			default:
				handle.Update(t.Context(), event.UpdateEvent{ObjectOld: tc.before, ObjectNew: tc.after}, q)
			}
			if q.now != tc.want {
				t.Errorf("%d were woken, want %d", q.now, tc.want)
			}
		})
	}
}
