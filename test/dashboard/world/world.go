// Package world is a dashboard with releases that are made up.
package world

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/dashboard"
	"github.com/sluice-delivery/sluice/operator/dashboard/access"
	"github.com/sluice-delivery/sluice/operator/dashboard/fleet"
	"github.com/sluice-delivery/sluice/operator/dashboard/fleettest"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

// World is a dashboard and what it shows.
type World struct {
	// Handler is a dashboard for everybody, who may look.
	Handler http.Handler
	// People is one for those whom API knows.
	People http.Handler
	// Own is one for a user who may do everything, as kubectl sluice dashboard serves it.
	Own   http.Handler
	API   *fleettest.API
	Fleet *fleet.Fleet

	mu      sync.Mutex
	all     []*v1beta1.Canary
	version int
}

// New has as many Canaries as are asked for. The first sixty have pods, events and actions. Close has to be called.
func New(count int) (*World, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	now := time.Now()
	w := &World{Fleet: fleet.New(clock.RealClock{}), all: fleettest.Fleet(count, now), API: fleettest.NewAPI(), version: 1}
	var around []client.Object
	for i, c := range w.all {
		if i < 60 {
			around = append(around, fleettest.Surroundings(c, now)...)
		}
		if len(c.Status.Checks) > 0 {
			w.past(c, now)
		}
		w.Fleet.Changed(c)
	}
	own := fake.NewClientBuilder().WithScheme(scheme).WithObjects(around...).
		WithIndex(&corev1.Event{}, "involvedObject.kind", fleettest.KindOf).WithIndex(&corev1.Event{}, "involvedObject.name", fleettest.NameOf).Build()
	var links alerts.LinkTemplates
	for _, l := range []string{"Logs=https://logs.example.com/?ns={{ .Namespace }}", "Grafana=https://grafana.example.com/d/x?var-app={{ .Name }}"} {
		if err := links.Set(l); err != nil {
			return nil, err
		}
	}
	w.API.OnAction = w.act
	config := dashboard.Config{Fleet: w.Fleet, Links: links, Cluster: "eu-west", Version: "dev", Clock: clock.RealClock{}}
	person := access.Anonymous(own, clock.RealClock{})
	config.Who = func(*http.Request) (*access.Person, error) { return person, nil }
	var err error
	if w.Handler, err = dashboard.New(config); err != nil {
		return nil, err
	}
	user, err := access.NewPerson(context.Background(), interceptor.NewClient(own, interceptor.Funcs{Create: w.create}), clock.RealClock{})
	if err != nil {
		return nil, err
	}
	config.Who = func(*http.Request) (*access.Person, error) { return user, nil }
	if w.Own, err = dashboard.New(config); err != nil {
		return nil, err
	}
	people := &access.People{Config: w.API.Config(), Scheme: scheme, Clock: clock.RealClock{}}
	config.Who, config.Login = people.Of, people
	w.People, err = dashboard.New(config)
	return w, err
}

// Close ends it.
func (w *World) Close() { w.API.Close() }

// create has a user who may do everything do so.
func (w *World) create(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
	switch o := o.(type) {
	case *authenticationv1.SelfSubjectReview:
		o.Status.UserInfo.Username = "alice@example.com"
		return nil
	case *authorizationv1.SelfSubjectAccessReview:
		o.Status.Allowed = true
		return nil
	}
	if err := c.Create(ctx, o, options...); err != nil {
		return err
	}
	if a, ok := o.(*v1alpha1.CanaryAction); ok {
		w.act(a)
	}
	return nil
}

// act does what somebody asks for, as the operator would.
func (w *World) act(a *v1alpha1.CanaryAction) {
	w.Change(a.Namespace, a.Spec.Canary, func(c *v1beta1.Canary) {
		message := fmt.Sprintf("%s by %s (%s)", a.Spec.Action, a.Spec.RequestedBy, a.Spec.Reason)
		c.Status.LastAction = &v1beta1.ActionStatus{Name: a.Name + "/" + string(a.UID), Action: a.Spec.Action, By: a.Spec.RequestedBy, Done: true, Message: message, Time: metav1.NowMicro()}
		if a.Spec.Action == v1beta1.ActionPause {
			fleettest.Pause(c, time.Now())
			return
		}
		if a.Spec.Action == v1beta1.ActionAbort {
			fleettest.Fail(c, time.Now())
			return
		}
		fleettest.Progress(c, 2, 99.8, time.Now())
		c.Status.Paused = false
	})
}

// Change edits a Canary.
func (w *World) Change(namespace, name string, edit func(*v1beta1.Canary)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, c := range w.all {
		if c.Namespace == namespace && c.Name == name {
			w.set(i, edit)
		}
	}
}

func (w *World) set(i int, edit func(*v1beta1.Canary)) {
	next := w.all[i].DeepCopy()
	w.version++
	next.ResourceVersion = strconv.Itoa(w.version)
	edit(next)
	w.all[i] = next
	w.Fleet.Changed(next)
}

// past has a Canary's checks have had values before.
func (w *World) past(c *v1beta1.Canary, now time.Time) {
	last, err := strconv.ParseFloat(c.Status.Checks[0].Value, 64)
	if err != nil {
		return
	}
	for i := 24; i > 0; i-- {
		was := c.DeepCopy()
		was.ResourceVersion = fmt.Sprintf("0%d", i)
		value := 99.6 + rand.Float64()*0.38
		if i < 4 {
			value += (last - value) * float64(4-i) / 4
		}
		fleettest.Check(was, value, now.Add(-time.Duration(i)*30*time.Second))
		w.Fleet.Changed(was)
	}
}

// Move has the releases that are under way go on, each time.
func (w *World) Move(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.Step()
	}
}

// Step moves all that are under way.
func (w *World) Step() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, c := range w.all {
		if c.Status.Phase != v1beta1.PhaseProgressing || c.Status.Paused || c.Status.Step == nil {
			continue
		}
		w.set(i, func(c *v1beta1.Canary) {
			fleettest.Progress(c, c.Status.Step.Index%5+1, 99.2+rand.Float64()*0.7, time.Now())
		})
	}
}
