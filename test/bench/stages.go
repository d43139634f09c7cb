package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// all runs the stages, each of which is written down as soon as it has ended.
func (b *bench) all(ctx context.Context) error {
	b.results = results{Canaries: b.canaries, Others: b.others, Interval: b.interval, Machine: machine(), Began: time.Now()}
	for _, name := range b.stages {
		m := b.measure(name)
		err := b.stage(ctx, m)
		row, countErr := m.end()
		if err == nil {
			err = countErr
		}
		b.results.Rows = append(b.results.Rows, row)
		fmt.Fprintln(os.Stderr, row.String())
		if writeErr := b.results.write(b.out); err == nil {
			err = writeErr
		}
		if err != nil {
			return fmt.Errorf("stage %s: %w", name, err)
		}
	}
	return nil
}

func (b *bench) stage(ctx context.Context, m *measurement) error {
	all := b.fleet.apps(b.canaries)
	b.tracker.reset()
	b.metrics.fail()
	switch m.row.Stage {
	case "start":
		return b.initialize(ctx, m)
	case "idle":
		return b.watchIdle(ctx, m)
	case "one":
		return b.release(ctx, m, all[len(all)-max(len(all)/100, 1):])
	case "ten":
		return b.release(ctx, m, all[len(all)-len(all)/10:])
	case "all":
		return b.release(ctx, m, all)
	case "shared":
		m.row.Canaries = b.fleet.inTenant()
		if err := b.fleet.changeShared(ctx, b.tracker.sent); err != nil {
			return err
		}
		return b.ended(ctx, m, all[:b.fleet.inTenant()])
	case "rollback":
		var failing []app
		for i := b.fleet.inTenant(); i < len(all); i += 10 {
			failing = append(failing, all[i])
		}
		b.metrics.fail(failing...)
		return b.release(ctx, m, all)
	case "tenant":
		b.metrics.fail(all[:b.fleet.inTenant()]...)
		return b.release(ctx, m, all)
	case "restart", "away":
		return b.interrupt(ctx, m, all)
	default:
		return fmt.Errorf("there is no such stage")
	}
}

func (b *bench) initialize(ctx context.Context, m *measurement) error {
	all := b.fleet.apps(b.canaries)
	m.row.Canaries = len(all)
	if err := b.start(); err != nil {
		return err
	}
	profiled := make(chan error, 1)
	go func() { profiled <- b.profileStart(ctx) }()
	if _, err := b.await(ctx, "start", len(all), func() int {
		return b.tracker.count(all, func(s *state) bool { return s.phase == "Initialized" })
	}); err != nil {
		return err
	}
	if b.load != "" { // they were before the operator was there
		if err := b.read(ctx); err != nil {
			return err
		}
	}
	if err := <-profiled; err != nil || b.save == "" {
		return err
	}
	if err := b.read(ctx); err != nil {
		return err
	}
	if err := b.quiet(ctx); err != nil {
		return err
	}
	return b.cluster.(*memoryPlane).Save(b.save, b.options.copies) //nolint:forcetypeassert // the flags are for nothing else
}

// profileStart keeps a profile of what the operator does first, if one is wanted.
func (b *bench) profileStart(ctx context.Context) error {
	if b.startProfile <= 0 {
		return nil
	}
	path := fmt.Sprintf("profile?seconds=%d", int(b.startProfile.Seconds()))
	for range 100 { // until it listens
		if err := b.profile(ctx, path, "start.cpu"); err == nil {
			return nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("the operator answers no request for a profile")
}

// watchIdle watches an operator that has nothing to do, once it has nothing to do.
func (b *bench) watchIdle(ctx context.Context, m *measurement) error {
	if err := b.read(ctx); err != nil {
		return err
	}
	if err := b.quiet(ctx); err != nil {
		return err
	}
	m.begin()
	b.progress.begin("idle", int(b.idle.Seconds()))
	if err := pause(ctx, b.idle); err != nil {
		return err
	}
	return b.profile(ctx, "heap?gc=1", "idle.heap")
}

// read waits until the operator has looked at every Canary once: those of a fleet that was loaded are Initialized before that.
func (b *bench) read(ctx context.Context) error {
	asked, last := time.Time{}, 0
	_, err := b.await(ctx, "all are looked at", b.canaries, func() int {
		if time.Since(asked) < 3*time.Second { // to be asked has the operator do something
			return last
		}
		asked = time.Now()
		response, err := http.Get("http://127.0.0.1:8080/metrics")
		if err != nil {
			return 0
		}
		defer response.Body.Close()
		turns, waiting := 0., 0.
		lines := bufio.NewScanner(response.Body)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), " ")
			n, err := strconv.ParseFloat(value, 64)
			switch {
			case err != nil || !strings.Contains(name, `controller="canary"`):
			case strings.HasPrefix(name, "controller_runtime_reconcile_total{"):
				turns += n
			case strings.HasPrefix(name, "sluice_queue_length{"):
				waiting += n
			}
		}
		if waiting > 0 {
			turns = min(turns, float64(b.canaries)-waiting)
		}
		last = int(max(turns, 0))
		return last
	})
	return err
}

// quiet waits until the operator's requests have ended for a while.
func (b *bench) quiet(ctx context.Context) error {
	const still = 40 * time.Second // longer than the drain of what has been released
	deadline := time.Now().Add(b.limit)
	for last := -1; ; {
		counts, err := b.cluster.requests()
		if err != nil {
			return err
		}
		n := total(counts)
		if n == last || time.Now().After(deadline) {
			return nil
		}
		last = n
		if err := pause(ctx, still); err != nil {
			return err
		}
	}
}

// pause lets time pass in which the operator is measured.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// release has applications released, and waits for their ends.
func (b *bench) release(ctx context.Context, m *measurement, apps []app) error {
	m.row.Canaries = len(apps)
	patched := make(chan error, 1)
	go func() { patched <- b.fleet.release(ctx, apps, b.tracker.sent) }()
	profiled := make(chan error, 1)
	go func() {
		if m.row.Stage != "all" {
			profiled <- nil
			return
		}
		profiled <- b.profile(ctx, "profile?seconds=30", "all.cpu")
	}()
	if err := <-patched; err != nil {
		return err
	}
	if err := b.ended(ctx, m, apps); err != nil {
		return err
	}
	return <-profiled
}

// ended waits for the ends of releases, and says how long they took.
func (b *bench) ended(ctx context.Context, m *measurement, apps []app) error {
	if _, err := b.await(ctx, m.row.Stage, len(apps), func() int {
		return b.tracker.count(apps, func(s *state) bool { return !s.ended.IsZero() })
	}); err != nil {
		return err
	}
	m.row.Failed = b.tracker.count(apps, func(s *state) bool { return s.failed })
	m.row.Begins = b.tracker.durations(apps, func(_ app, s *state) (time.Duration, bool) {
		return s.progressing.Sub(s.sent), !s.progressing.IsZero()
	})
	m.row.Ends = b.tracker.durations(apps, func(_ app, s *state) (time.Duration, bool) {
		return s.ended.Sub(s.sent), !s.ended.IsZero() && !s.failed
	})
	m.row.Rollbacks = b.tracker.durations(apps, func(a app, s *state) (time.Duration, bool) {
		verdict := b.metrics.verdict(a)
		return s.zero.Sub(verdict), s.failed && !verdict.IsZero() && !s.zero.IsZero()
	})
	return nil
}

// interrupt has all released, and takes the operator, or the API server, away when half of them have requests.
func (b *bench) interrupt(ctx context.Context, m *measurement, all []app) error {
	m.row.Canaries = len(all)
	if err := b.fleet.release(ctx, all, b.tracker.sent); err != nil {
		return err
	}
	if _, err := b.await(ctx, m.row.Stage+": half of all have requests", len(all)/2, func() int {
		return b.tracker.count(all, func(s *state) bool { return s.weight > 0 || !s.ended.IsZero() })
	}); err != nil {
		return err
	}
	if m.row.Stage == "away" {
		b.road.set(true)
		if err := pause(ctx, b.away); err != nil {
			return err
		}
		b.road.set(false)
	} else {
		b.kill()
		if err := b.start(); err != nil {
			return err
		}
	}
	back := time.Now()
	again := map[app]time.Duration{}
	concerned := slices.DeleteFunc(slices.Clone(all), func(a app) bool {
		return b.tracker.count([]app{a}, func(s *state) bool { return s.ended.IsZero() }) == 0
	})
	if _, err := b.await(ctx, m.row.Stage+": judged again", len(concerned), func() int {
		for _, a := range concerned {
			if again[a] == 0 && b.tracker.count([]app{a}, func(s *state) bool { return s.judged.After(back) || !s.ended.IsZero() }) > 0 {
				again[a] = time.Since(back)
			}
		}
		return len(again)
	}); err != nil {
		return err
	}
	for _, d := range again {
		m.row.Again = append(m.row.Again, d)
	}
	return b.ended(ctx, m, all)
}
