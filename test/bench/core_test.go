package main

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics/template"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// The benchmarks of the core have the fleet's own objects, templates of 8 KB and all.
var (
	anApp     = app{"fleet-000", "app-00000"}
	aTarget   = deployment(anApp, 3)
	aFleet    = &fleet{interval: "10s"}
	objectsOf = workload.Options{SelectorLabels: workload.DefaultSelectorLabels()}
)

// released is a Canary at its second step, whose last checks have passed.
func released() release.Observation {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	c := aFleet.canary(anApp)
	c.UID, c.Generation = "u", 1
	c.Status = v1beta1.CanaryStatus{
		Phase: v1beta1.PhaseProgressing, CanaryWeight: 20, LastAppliedSpec: "s2-new", LastPromotedSpec: "s2-old",
		LastTransitionTime: metav1.NewTime(now.Add(-10 * time.Second)),
		Step:               &v1beta1.StepStatus{Index: 2, Since: metav1.NewMicroTime(now.Add(-10 * time.Second))},
	}
	side := release.Workload{Exists: true, Replicas: 3, Available: 3, Ready: true, Generation: 1}
	o := release.Observation{Now: now, Canary: c, Target: side, Primary: side, HasServices: true}
	o.Target.Revision, o.Primary.Revision = "s2-new", "s2-old"
	o.Route.InSync, o.Route.Since = true, now.Add(-10*time.Second)
	return o
}

func BenchmarkDecide(b *testing.B) {
	o := released()
	b.ReportAllocs()
	for b.Loop() {
		if d := rollout.Decide(o); d.Status.Phase == "" {
			b.Fatal("nothing is decided")
		}
	}
}

func BenchmarkEffective(b *testing.B) {
	o := released()
	s := serving.Situation{Planned: serving.Planned(&o.Canary.Status), Before: serving.Current(&o.Canary.Status), Primary: o.Primary, Canary: o.Target}
	b.ReportAllocs()
	for b.Loop() {
		s.Effective()
	}
}

func BenchmarkRevision(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := workload.Revision(aTarget); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrimary(b *testing.B) {
	c := aFleet.canary(anApp)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := workload.Primary(c, aTarget, nil, "s2-new", objectsOf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkServices(b *testing.B) {
	c := aFleet.canary(anApp)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := workload.BuildServices(c, aTarget, nil, objectsOf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTemplate(b *testing.B) {
	t, err := template.Parse(`100 - sum(rate(http_requests_total{namespace="{{ namespace }}",pod=~"{{ target }}-[0-9a-z]+-[0-9a-z]+",code!~"5.."}[{{ interval }}]))`)
	if err != nil {
		b.Fatal(err)
	}
	v := template.Vars{Name: anApp.name, Namespace: anApp.namespace, Target: anApp.name, Service: anApp.name, Interval: "1m"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := t.Render(v); err != nil {
			b.Fatal(err)
		}
	}
}
