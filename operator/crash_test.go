package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// trialsAtOnce is how many operators work at the same time, each with a
// namespace of its own.
const trialsAtOnce = 20

// disturbance is what happens to the operator at one of its writes.
type disturbance string

const (
	undisturbed   disturbance = "undisturbed"
	stoppedAfter  disturbance = "stopped after write"  // the write is done, nobody heard of it
	stoppedBefore disturbance = "stopped before write" // the write is not done
	unanswered    disturbance = "no answer to write"   // it is done and reported as an error; the operator lives on
	// Each operator gets as far as one write: one in two is stopped after it, and the others before the next one.
	stoppedAtEach disturbance = "stopped at each write"
	stoppedInTurn disturbance = "stopped at each write in turn" // the others first
)

// testCrashes lets a release of each kind pass undisturbed, and then good and bad ones once for each of the writes that they took, and
// each way in which that can go wrong; in those of the other kinds the operator is stopped at each of its writes.
func testCrashes(t *testing.T, l *lab) {
	first := make([]*trial, 0, len(releases)+len(kinds))
	for _, r := range slices.Concat(releases, kinds) {
		first = append(first, &trial{lab: l, t: t, release: r, fuse: fuse{how: undisturbed}})
	}
	conduct(t, first)
	if t.Failed() {
		return
	}
	ofKinds := stoppedAtEachWrite(t, l, first[len(releases):])
	// They take longest, as many operators start one after the other.
	all := slices.Concat(ofKinds, disturbedOnce(t, l, first[:len(releases)]))
	t.Logf("%d disturbed releases", len(all))
	conduct(t, all)
	for _, x := range ofKinds {
		t.Logf("the release %s took %d writes, and %d operators %s", x.release.name, len(x.like.fuse.writes), x.lives, x.fuse.how)
	}
}

// disturbedOnce are good and bad releases with one disturbance each. The good one is the first.
func disturbedOnce(t *testing.T, l *lab, first []*trial) []*trial {
	t.Helper()
	var all []*trial
	for _, u := range first {
		t.Logf("the %s release takes %d writes, %d of them to initialize:\n%s",
			u.release.name, len(u.fuse.writes), u.initWrites, strings.Join(u.fuse.writes, "\n"))
		for at := 1; at <= len(u.fuse.writes); at++ {
			for _, how := range []disturbance{stoppedAfter, stoppedBefore, unanswered} {
				if u.release.bad && shownBefore(how, at, u, first[0]) {
					continue
				}
				all = append(all, &trial{lab: l, release: u.release, fuse: fuse{how: how, at: at, expected: u.fuse.writes}})
			}
		}
	}
	return all
}

// stoppedAtEachWrite are releases of the other kinds, like those that went by undisturbed.
func stoppedAtEachWrite(t *testing.T, l *lab, first []*trial) []*trial {
	t.Helper()
	var all []*trial
	for _, u := range first {
		for _, how := range []disturbance{stoppedAtEach, stoppedInTurn} {
			all = append(all, &trial{lab: l, t: t, release: u.release, like: u, fuse: fuse{how: how, expected: u.fuse.writes}})
		}
	}
	return all
}

// shownBefore tells whether a disturbance of the bad release would show nothing
// that one of the good release has not: all of the initialization and, but for
// the stop after every single write, all that both have in common.
func shownBefore(how disturbance, at int, bad, good *trial) bool {
	if how == stoppedAfter {
		return at <= bad.initWrites
	}
	return at <= len(good.fuse.writes) && slices.Equal(bad.fuse.writes[:at], good.fuse.writes[:at])
}

// conduct runs trials, some at once and the first ones first, and reports on each as a test.
func conduct(t *testing.T, trials []*trial) {
	slots := make(chan struct{}, trialsAtOnce)
	var wg sync.WaitGroup
	for i, x := range trials {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			x.namespace = fmt.Sprintf("%s-%s-%d", x.release.name, strings.ReplaceAll(string(x.fuse.how), " ", "-"), i)
			x.err = x.run(t.Context())
		})
	}
	wg.Wait()
	for _, x := range trials {
		name := x.release.name + " " + string(x.fuse.how)
		if x.fuse.at > 0 {
			name += fmt.Sprintf(" %d %s", x.fuse.at, x.fuse.expected[x.fuse.at-1])
		}
		t.Run(name, x.judge)
	}
}
