package wake

import (
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// An update of the route wakes a Canary once at most, and not if its own turn made it.
func TestEchoes(t *testing.T) {
	c := newCanary("podinfo")
	type step struct {
		begin, complete, end bool
		update               string
	}
	for name, tc := range map[string]struct {
		steps []step
		want  int
	}{
		"nothing is known of the Canary":        {steps: []step{{update: "8"}}, want: 1},
		"after a turn that is complete":         {steps: []step{{begin: true}, {end: true, complete: true}, {update: "8"}}},
		"after one that is not":                 {steps: []step{{begin: true}, {end: true}, {update: "8"}}, want: 1},
		"in a turn that is complete":            {steps: []step{{begin: true}, {update: "8"}, {end: true, complete: true}}},
		"in one that is not":                    {steps: []step{{begin: true}, {update: "8"}, {end: true}}, want: 1},
		"somebody else's, after":                {steps: []step{{begin: true}, {end: true, complete: true}, {update: "9"}}, want: 1},
		"somebody else's, in a turn":            {steps: []step{{begin: true}, {update: "9"}, {update: "8"}, {end: true, complete: true}}, want: 1},
		"the turn after the complete one began": {steps: []step{{begin: true}, {end: true, complete: true}, {begin: true}, {update: "8"}, {end: true}}, want: 1},
		"what came in a turn is not for ever":   {steps: []step{{begin: true}, {update: "9"}, {end: true}, {begin: true}, {end: true}}, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			var m Turns
			echoes := func(version string) func(Outcome) bool {
				return func(last Outcome) bool { return last.Complete && version == "8" }
			}
			woken := 0
			for _, s := range tc.steps {
				switch {
				case s.begin:
					m.Begin(c)
				case s.end:
					m.End(c, Outcome{Complete: s.complete})
				default:
					m.updated(types.NamespacedName{Namespace: c.Namespace, Name: c.Name}, update{echoes: echoes(s.update), wake: func() { woken++ }})
				}
			}
			if woken != tc.want {
				t.Errorf("woken %d times", woken)
			}
		})
	}
}

func TestStale(t *testing.T) {
	for name, tc := range map[string]struct {
		wrote []string
		read  string
		uid   bool // whether the Canary was made anew meanwhile
		want  bool
	}{
		"never written":                {read: "5"},
		"the version that was written": {wrote: []string{"5"}, read: "5"},
		"a newer one":                  {wrote: []string{"5"}, read: "6"},
		"an older one":                 {wrote: []string{"5"}, read: "4", want: true},
		"older by number, not by text": {wrote: []string{"10"}, read: "9", want: true},
		"the last write counts":        {wrote: []string{"5", "8"}, read: "6", want: true},
		"another Canary of that name":  {wrote: []string{"5"}, read: "4", uid: true},
		"not to be compared":           {wrote: []string{"5"}, read: "abc"}, // better to go on than to wait for ever
	} {
		t.Run(name, func(t *testing.T) {
			var m Turns
			for _, v := range tc.wrote {
				m.Wrote(versioned(v))
			}
			read := versioned(tc.read)
			if tc.uid {
				read.UID = "another"
			}
			if got := m.Stale(read); got != tc.want {
				t.Errorf("stale: %v", got)
			}
		})
	}
}

func TestOutdated(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, tc := range map[string]struct {
		refused []string // versions that writes were based on, one a second
		read    string
		uid     bool // whether the Canary was made anew meanwhile
		want    time.Duration
	}{
		"never refused":                  {read: "5"},
		"once":                           {refused: []string{"5"}, read: "5", want: EchoDelay},
		"again":                          {refused: []string{"5", "5"}, read: "5", want: 2 * EchoDelay},
		"for the fifth time":             {refused: []string{"5", "5", "5", "5", "5"}, read: "5", want: 16 * EchoDelay},
		"for long":                       {refused: slices.Repeat([]string{"5"}, 100), read: "5", want: 15 * time.Second},
		"the newer one is read":          {refused: []string{"5", "5", "5"}, read: "6"},
		"the newer one was refused, too": {refused: []string{"5", "5", "5", "6"}, read: "6", want: EchoDelay},
		"another Canary of that name":    {refused: []string{"5", "5"}, read: "5", uid: true},
	} {
		t.Run(name, func(t *testing.T) {
			var m Turns
			last := now
			for _, v := range tc.refused {
				last = last.Add(time.Second)
				m.Writing(versioned(v))
				m.Conflicted(versioned(v), last)
			}
			read := versioned(tc.read)
			if tc.uid {
				read.UID = "another"
			}
			if got := m.Outdated(read, last); got != tc.want {
				t.Errorf("it waits %s, want %s", got, tc.want)
			}
			if got := m.Outdated(read, last.Add(tc.want)); got > 0 {
				t.Errorf("after that it waits %s more", got)
			}
			if m.own(versioned("7")) {
				t.Error("a version of somebody else is taken for our own")
			}
		})
	}
}

// versioned is a Canary in a version.
func versioned(v string) *v1beta1.Canary {
	c := newCanary("podinfo")
	c.ResourceVersion = v
	return c
}

func TestForget(t *testing.T) {
	var m Turns
	c := versioned("5")
	m.Begin(c)
	m.Wrote(c)
	m.End(c, Outcome{Reached: true})
	key := client.ObjectKeyFromObject(c)
	if !m.Stale(versioned("4")) || !m.Last(key).Reached || m.Size() != 1 {
		t.Error("nothing is remembered")
	}
	m.Forget(key)
	if m.Size() != 0 || m.Last(key).Reached || m.Stale(versioned("4")) {
		t.Error("it is still remembered")
	}
}

func TestReleased(t *testing.T) {
	var m Turns
	c, again := versioned("5"), versioned("9")
	again.UID = "another of its name"
	if m.WasReleased(c) {
		t.Error("it was not let go yet")
	}
	m.Released(c)
	if !m.WasReleased(versioned("4")) || !m.WasReleased(versioned("6")) || m.WasReleased(again) {
		t.Error("it was let go, in whatever version, and another was not")
	}
	m.Forget(client.ObjectKeyFromObject(c))
	if m.WasReleased(c) {
		t.Error("it is remembered for ever")
	}
}
