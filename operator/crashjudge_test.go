package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// judge compares what was seen with what the release must look like.
func (x *trial) judge(t *testing.T) {
	if x.fuse.at > 0 && !x.fuse.blown {
		t.Errorf("there was no write %d; the writes:\n%s", x.fuse.at, strings.Join(x.fuse.writes, "\n"))
	}
	seen := x.lab.seen(x.namespace)
	if x.release.statuses == nil {
		x.judgeByLike(t, seen)
	} else {
		if diff := cmp.Diff(slices.Concat(initialization, x.release.statuses), statuses(seen)); diff != "" {
			t.Errorf("statuses (-want +got)\n%s", diff)
		}
		if diff := cmp.Diff(x.release.weights, weights(seen)); diff != "" {
			t.Errorf("weights of the route (-want +got)\n%s", diff)
		}
		if err := safe(seen); err != nil {
			t.Error(err)
		}
	}
	if x.fuse.how == stoppedAfter || x.fuse.how == stoppedBefore {
		// The next operator goes on where the last one was, and does nothing again that is done.
		if diff := cmp.Diff(moves(x.fuse.expected), moves(x.fuse.writes)); diff != "" {
			t.Errorf("writes (-undisturbed +got)\n%s", diff)
		}
	}
	if x.err != nil {
		t.Error(x.err)
	}
	if t.Failed() {
		t.Logf("the writes:\n%s", strings.Join(x.fuse.writes, "\n"))
	}
}

// judgeByLike compares what was seen with what there was in the undisturbed release: the same statuses, and the same routes in
// the same order. At no moment are requests led where nobody is.
func (x *trial) judgeByLike(t *testing.T, seen []client.Object) {
	if err := served(seen); err != nil {
		t.Error(err)
	}
	if x.like == nil {
		t.Logf("statuses:\n%s\nroutes:\n%s", strings.Join(statuses(seen), "\n"), strings.Join(routesOf(seen), "\n"))
		return
	}
	like := x.lab.seen(x.like.namespace)
	if diff := cmp.Diff(statuses(like), statuses(seen)); diff != "" {
		t.Errorf("statuses (-undisturbed +got)\n%s", diff)
	}
	if diff := cmp.Diff(routesOf(like), routesOf(seen)); diff != "" {
		t.Errorf("routes (-undisturbed +got)\n%s", diff)
	}
	if n := len(moves(x.like.fuse.writes)); x.lives < n {
		t.Errorf("there were %d operators for %d writes", x.lives, n)
	}
}

// routesOf are those that there were without repetitions.
func routesOf(seen []client.Object) []string {
	var out []string
	for _, o := range seen {
		if vs, ok := o.(*istionetworking.VirtualService); ok {
			out = append(out, routeOf(vs))
		}
	}
	return slices.Compact(out)
}

// routeOf says where the requests of each rule go, and their copies.
func routeOf(vs *istionetworking.VirtualService) string {
	var rules []string
	for _, rule := range vs.Spec.Http {
		out := fmt.Sprintf("%d conditions:", len(rule.Match))
		for _, d := range rule.Route {
			out += fmt.Sprintf(" %s %d", d.Destination.Host, d.Weight)
		}
		if rule.Mirror != nil {
			out += fmt.Sprintf(", copies to %s %.0f", rule.Mirror.Host, rule.MirrorPercentage.GetValue())
		}
		rules = append(rules, out)
	}
	return strings.Join(rules, "; ")
}

// served checks that whoever gets requests has pods for them at every moment.
func served(seen []client.Object) error {
	available := map[string]int32{}
	for _, o := range seen {
		switch o := o.(type) {
		case *appsv1.Deployment:
			available[o.Name] = o.Status.AvailableReplicas
		case *istionetworking.VirtualService:
			for _, rule := range o.Spec.Http {
				for _, d := range rule.Route {
					to := strings.TrimSuffix(d.Destination.Host, "-canary")
					if (d.Weight > 0 || len(rule.Route) == 1) && available[to] == 0 {
						return fmt.Errorf("route %s to pods %v", routeOf(o), available)
					}
				}
			}
		}
	}
	return nil
}

// moves are writes without those that do nothing new: one that is repeated, and a
// status that only says in other words what is waited for, as on a machine that is
// slower than the operator's patience.
func moves(writes []string) []string {
	var out []string
	status := ""
	for _, w := range slices.Compact(slices.Clone(writes)) {
		if strings.HasPrefix(w, "update status") {
			if w == status {
				continue
			}
			status = w
		}
		out = append(out, w)
	}
	return slices.Compact(out) // a write that came to nothing may have had a status between it and the next try
}

// latest is the last state of an object, nil before the first.
func latest[T client.Object](seen []client.Object, name string) (last T) {
	for _, o := range seen {
		if typed, ok := o.(T); ok && o.GetName() == name {
			last = typed
		}
	}
	return last
}

// statuses are the statuses of the Canary without repetitions.
func statuses(seen []client.Object) []string {
	var out []string
	for _, o := range seen {
		if c, ok := o.(*v1beta1.Canary); ok {
			out = append(out, status(c))
		}
	}
	return slices.Compact(out)
}

func status(c *v1beta1.Canary) string {
	s := c.Status
	if s.Phase == "" {
		return "-"
	}
	out := fmt.Sprintf("%s %d%%", s.Phase, s.CanaryWeight)
	if s.Step != nil {
		out += fmt.Sprintf(" step %d/%d", s.Step.Index, s.Step.Checks)
	}
	return out + fmt.Sprintf(" failed %d", s.FailedChecks)
}

// weights are the canary's shares of the route without repetitions.
func weights(seen []client.Object) []int32 {
	var out []int32
	for _, o := range seen {
		if vs, ok := o.(*istionetworking.VirtualService); ok {
			_, canary := shares(vs)
			out = append(out, canary)
		}
	}
	return slices.Compact(out)
}

func shares(vs *istionetworking.VirtualService) (primary, canary int32) {
	for _, d := range vs.Spec.Http[0].Route {
		if d.Destination.Host == app+"-primary" {
			primary = d.Weight
		} else {
			canary = d.Weight
		}
	}
	return primary, canary
}

// safe checks every moment: weights sum to 100, the route follows the status
// and never runs ahead of it, who gets requests has pods for them, and a step
// with weight lasts its interval.
func safe(seen []client.Object) error {
	var asked int32 = -1
	var began time.Time
	available := map[string]int32{}
	for _, o := range seen {
		switch o := o.(type) {
		case *v1beta1.Canary:
			asked = o.Status.CanaryWeight
			step := o.Status.Step
			if step == nil || step.Since.Time.Equal(began) {
				continue
			}
			if lasted := step.Since.Sub(began); step.Index != 1 && lasted < interval {
				return fmt.Errorf("after %s follows %s", lasted, status(o))
			}
			began = step.Since.Time
		case *appsv1.Deployment:
			available[o.Name] = o.Status.AvailableReplicas
		case *istionetworking.VirtualService:
			primary, canary := shares(o)
			switch {
			case primary+canary != 100:
				return fmt.Errorf("weights %d and %d", primary, canary)
			case canary != asked:
				return fmt.Errorf("the route has %d%% while the status has %d%%", canary, asked)
			case primary > 0 && available[app+"-primary"] == 0, canary > 0 && available[app] == 0:
				return fmt.Errorf("route %d/%d to pods %v", primary, canary, available)
			}
		}
	}
	return nil
}
