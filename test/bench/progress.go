package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress says how far a stage has come and how long it may still take.
type progress struct {
	out io.Writer

	mu            sync.Mutex
	stage         string
	began, seen   time.Time
	finished, all int
}

// tellEvery is how often it is said how far a stage has come.
const tellEvery = 10 * time.Second

func (p *progress) begin(stage string, all int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stage, p.began, p.seen, p.finished, p.all = stage, time.Now(), time.Now(), 0, all
	fmt.Fprintf(p.out, "%s  %s: %d\n", p.began.Format(time.TimeOnly), stage, all)
}

// done says that so many more are done.
func (p *progress) done(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at(p.finished + n)
}

// reached says that so many are done.
func (p *progress) reached(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at(n)
}

func (p *progress) at(n int) {
	p.finished = n
	now := time.Now()
	if now.Sub(p.seen) < tellEvery && n < p.all {
		return
	}
	p.seen = now
	took := now.Sub(p.began)
	left := "?"
	if n > 0 {
		left = (took * time.Duration(p.all-n) / time.Duration(n)).Round(time.Second).String()
	}
	fmt.Fprintf(p.out, "%s  %s: %d of %d after %s, about %s left\n", now.Format(time.TimeOnly), p.stage, n, p.all, took.Round(time.Second), left)
}
