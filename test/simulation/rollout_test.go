package simulation

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
)

// The controller of Deployments takes former pods that are not available no faster than Kubernetes' own does: what it leaves, and what
// becomes available of that, is all that serves where the new pods never start.
func TestRollOut(t *testing.T) {
	for name, tc := range map[string]struct {
		pods      int32
		strategy  string
		available int // of the former pods, when the template changes
		starts    bool
		want      string // pods that serve, of those that there are
	}{
		"all are available":                       {pods: 10, available: 10, want: "8 of 13"},
		"half are":                                {pods: 10, available: 5, want: "8 of 13"},
		"none is":                                 {pods: 10, available: 0, want: "8 of 13"},
		"none is, and the new ones start":         {pods: 10, available: 0, starts: true, want: "10 of 10"},
		"two pods, one is available":              {pods: 2, available: 1, want: "2 of 3"},
		"all go first, and the new ones start":    {pods: 4, strategy: "recreate", available: 2, starts: true, want: "4 of 4"},
		"all go first":                            {pods: 4, strategy: "recreate", available: 4, want: "0 of 4"},
		"a quarter at a time, without more":       {pods: 4, strategy: "no surge", available: 4, want: "3 of 4"},
		"a quarter at a time, one was not there":  {pods: 4, strategy: "no surge", available: 3, want: "3 of 4"},
		"a quarter at a time, and they all start": {pods: 4, strategy: "no surge", available: 3, starts: true, want: "4 of 4"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(plan{Pods: tc.pods}, rand.New(rand.NewPCG(1, 1)))
				c.startup = func(image string, _ bool) bool { return image == "app:good-0" || tc.starts }
				c.endpointsLag = time.Second
				d := newTarget(plan{Pods: tc.pods, Strategy: tc.strategy})
				if err := c.create(d); err != nil {
					t.Fatal(err)
				}
				c.tick()
				for i, p := range c.pods { // the others are a moment later
					p.readyAt = time.Now()
					if i >= tc.available {
						p.readyAt = time.Now().Add(10 * time.Second)
					}
				}
				edit(c.store, "Deployment", d.Name, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "app:good-1" })
				for range 120 {
					time.Sleep(time.Second) // on the clock of the bubble
					c.tick()
				}
				serve := 0
				for _, p := range c.pods {
					if p.serves(time.Now()) {
						serve++
					}
				}
				if got := fmt.Sprintf("%d of %d", serve, len(c.pods)); got != tc.want {
					t.Errorf("%s pods serve, want %s", got, tc.want)
				}
			})
		})
	}
}
