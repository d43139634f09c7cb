package view

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Past is a release of the past, or the last one.
type Past struct {
	Revision string `json:"revision"`
	Images   string `json:"images,omitempty"`
	// State is how it went: that of the Canary for the last release, Serving for what the primary runs, Promoted for what it
	// ran before.
	State string `json:"state"`
	// First is when its pods were first asked for, or the release began.
	First *metav1.Time `json:"first,omitempty"`
	// Took is how long the release took, in seconds; 0 where that is not known, and while it goes on.
	Took int64 `json:"tookSeconds,omitempty"`
	// By is who took a hand in it last, and Message what there is to say.
	By      string `json:"by,omitempty"`
	Message string `json:"message,omitempty"`
}

// States of releases of the past.
const (
	// StateServing is what the primary runs.
	StateServing = "Serving"
	// StatePromoted is what the primary ran before.
	StatePromoted = "Promoted"
)

// History is the last release, where it was not promoted, and what the primary has had, the newest first.
func History(r *Release, promoted []Past) []Past {
	var out []Past
	last := lastRelease(r)
	serving := false
	for _, p := range promoted {
		p.State = StatePromoted
		if p.Revision == r.Promoted && !serving {
			p.State, serving = StateServing, true
			if r.Revision == r.Promoted {
				p.By, p.Took = last.By, last.Took
			}
		}
		out = append(out, p)
	}
	switch {
	case r.Revision != "" && r.Revision != r.Promoted:
		out = append([]Past{last}, out...)
	case !serving && r.Promoted != "":
		last.State, last.Message, last.Images = StateServing, "", r.Primary.Images
		out = append([]Past{last}, out...)
	}
	return out
}

// lastRelease is the one that is under way, or the last one.
func lastRelease(r *Release) Past {
	last := Past{Revision: r.Revision, Images: r.Canary.Images, State: string(r.State), First: r.Started, Message: r.Message}
	if done := lastOf(r.Actions); done != nil && r.Started != nil && !askedBefore(done.Time, r.Started) {
		last.By = done.By
	}
	if r.Started != nil && r.Changed != nil && !r.State.UnderWay() && r.State != AtGate && r.State != Paused {
		last.Took = int64(r.Changed.Sub(r.Started.Time).Seconds())
	}
	return last
}

// Past is a table of releases of the past.
func (s Screen) Past(all []Past) string {
	rows := [][]string{{"REVISION", "STATE", "FIRST", "TOOK", "BY", "IMAGES", "MESSAGE"}}
	for _, p := range all {
		first, took := "-", "-"
		if p.First != nil {
			first = ago(s.Now, p.First.Time)
		}
		if p.Took > 0 {
			took = span(time.Duration(p.Took) * time.Second)
		}
		rows = append(rows, []string{p.Revision, p.State, first, took, fit(clean(p.By), s.width()/4), p.Images, p.Message})
	}
	p := &page{Screen: s}
	for _, l := range s.columns(rows) {
		p.line(l[min(2, len(l)):])
	}
	return p.b.String()
}
