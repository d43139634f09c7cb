// Package world is a dashboard with releases that are made up.
package world

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

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
	http.Handler

	Fleet  *fleet.Fleet
	Client client.Client
	all    []*v1beta1.Canary
}

// New has as many Canaries as are asked for. The first ten have pods, events and actions.
func New(count int) (*World, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	now := time.Now()
	w := &World{Fleet: fleet.New(clock.RealClock{}), all: fleettest.Fleet(count, now)}
	var around []client.Object
	for i, c := range w.all {
		if i < 20 {
			around = append(around, fleettest.Surroundings(c, now)...)
		}
		if len(c.Status.Checks) > 0 {
			w.past(c, now)
		}
		w.Fleet.Changed(c)
	}
	w.Client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(around...).
		WithIndex(&corev1.Event{}, "involvedObject.kind", fleettest.KindOf).WithIndex(&corev1.Event{}, "involvedObject.name", fleettest.NameOf).Build()
	var links alerts.LinkTemplates
	for _, l := range []string{"Logs=https://logs.example.com/?ns={{ .Namespace }}", "Grafana=https://grafana.example.com/d/x?var-app={{ .Name }}"} {
		if err := links.Set(l); err != nil {
			return nil, err
		}
	}
	person := access.Anonymous(w.Client, clock.RealClock{})
	var err error
	w.Handler, err = dashboard.New(dashboard.Config{
		Fleet: w.Fleet, Who: func(*http.Request) (*access.Person, error) { return person, nil },
		Links: links, Cluster: "eu-west", Version: "dev", Clock: clock.RealClock{},
	})
	return w, err
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
	for n := 2; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.Step(n)
	}
}

// Step moves all that are under way.
func (w *World) Step(n int) {
	for i, c := range w.all {
		if c.Status.Phase != v1beta1.PhaseProgressing || c.Status.Paused || c.Status.Step == nil {
			continue
		}
		next := c.DeepCopy()
		next.ResourceVersion = strconv.Itoa(n)
		fleettest.Progress(next, next.Status.Step.Index%5+1, 99.2+rand.Float64()*0.7, time.Now())
		w.all[i] = next
		w.Fleet.Changed(next)
	}
}
