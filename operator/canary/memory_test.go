package canary

import (
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/release"
)

func TestRouteInSync(t *testing.T) {
	type look struct {
		inSync bool
		weight int32
	}
	for name, tc := range map[string]struct {
		looks []look // one each second from start on
		want  int    // the look since which it is known, -1: not known
	}{
		"so at the first look":          {looks: []look{{true, 20}}, want: -1},
		"so since before":               {looks: []look{{true, 20}, {true, 20}}, want: -1},
		"not so":                        {looks: []look{{false, 20}}, want: -1},
		"comes":                         {looks: []look{{false, 20}, {true, 20}}, want: 1},
		"stays":                         {looks: []look{{false, 20}, {true, 20}, {true, 20}, {true, 20}}, want: 1},
		"goes":                          {looks: []look{{false, 20}, {true, 20}, {false, 20}}, want: -1},
		"comes back":                    {looks: []look{{true, 20}, {false, 20}, {true, 20}}, want: 2},
		"another weight is another one": {looks: []look{{true, 20}, {true, 40}}, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			var m memory
			var got time.Time
			for i, l := range tc.looks {
				got = m.routeInSync(newCanary("podinfo").Canary, l.inSync, l.weight, start.Add(time.Duration(i)*time.Second))
			}
			want := time.Time{}
			if tc.want >= 0 {
				want = start.Add(time.Duration(tc.want) * time.Second)
			}
			if !got.Equal(want) {
				t.Errorf("since %v, want %v", got, want)
			}
		})
	}
}

func TestRememberedRevision(t *testing.T) {
	var m memory
	c := newCanary("podinfo").Canary
	revision := func(image string, generation int64, uid string) string {
		target := newTarget()
		target.Generation = generation
		target.UID = newCanary(uid).UID
		target.Spec.Template.Spec.Containers[0].Image = image
		got, err := m.revision(c, target)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := revision("podinfo:1", 1, "a")
	// A generation has one template, so this image is never looked at.
	if got := revision("podinfo:2", 1, "a"); got != first {
		t.Errorf("the same generation gave %s, then %s", first, got)
	}
	if got := revision("podinfo:2", 2, "a"); got == first {
		t.Error("another generation gave the same revision")
	}
	if got := revision("podinfo:3", 2, "b"); got == first {
		t.Error("another Deployment of that name gave the same revision")
	}
}

func TestFailures(t *testing.T) {
	var m memory
	c := newCanary("podinfo").Canary
	for i, tc := range []struct {
		failures   []release.Failure
		wantTimes  int
		wantMended bool
	}{
		{},
		{failures: []release.Failure{{Object: "a"}}, wantTimes: 1},
		{failures: []release.Failure{{Object: "b"}}, wantTimes: 2},
		{wantMended: true},
		{},
		{failures: []release.Failure{{Object: "b"}}, wantTimes: 1},
	} {
		times, mended := m.failed(c, tc.failures)
		if times != tc.wantTimes || mended != tc.wantMended {
			t.Errorf("%d: failed %d times, mended %v", i, times, mended)
		}
		if got := m.failures(c); !slices.Equal(got, tc.failures) {
			t.Errorf("%d: remembered %v", i, got)
		}
	}
}

func TestForgetMemory(t *testing.T) {
	var m memory
	c := newCanary("podinfo").Canary
	m.failed(c, []release.Failure{{Object: "a"}})
	m.forget(client.ObjectKeyFromObject(c))
	if len(m.byID) != 0 || len(m.failures(c)) != 0 {
		t.Error("it is still remembered")
	}
}
