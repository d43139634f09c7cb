// Package browsertest has tests look at pages in a tab of a browser.
package browsertest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/sluice-delivery/sluice/test/dashboard/browser"
)

// limit is how long anything may take to be seen.
const limit = 15 * time.Second

// Shared is the browser of all tests of a package.
type Shared struct {
	ctx context.Context //nolint:containedctx // it is the browser
	err error
}

// Run starts a browser, runs the tests and gives their exit status.
func (s *Shared) Run(m *testing.M) int {
	var stop func()
	if s.ctx, stop, s.err = browser.Start(context.Background()); stop != nil {
		defer stop()
	}
	return m.Run()
}

// Tab is one of a browser.
type Tab struct {
	*testing.T

	ctx     context.Context //nolint:containedctx // it is the tab
	allowed []string

	mu       sync.Mutex
	complain []string // what the browser complains of
	foreign  []string // what was loaded from elsewhere
}

// Need skips a test where there is no browser, saying what was not looked at.
func (s *Shared) Need(t *testing.T, what string) {
	t.Helper()
	if errors.Is(s.err, browser.ErrNone) {
		t.Skip("SKIPPED, "+what+" was not looked at in a browser: ", s.err)
	}
	if s.err != nil {
		t.Fatal(s.err)
	}
}

// Open gives a tab of so many pixels. What belongs to the page begins with the URL root. At its end the test fails where the browser
// has complained of anything but what has one of the allowed words, or something was loaded from elsewhere.
func (s *Shared) Open(t *testing.T, root string, width, height int64, allowed ...string) *Tab {
	t.Helper()
	ctx, stop := chromedp.NewContext(s.ctx)
	t.Cleanup(stop)
	tab := &Tab{T: t, ctx: ctx, allowed: allowed}
	// The tab lives as long as the context of what is done first.
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, height)); err != nil {
		t.Fatal(err)
	}
	tab.listen(root)
	t.Cleanup(tab.judge)
	return tab
}

// listen remembers what the browser complains of and what it loads.
func (s *Tab) listen(root string) {
	console := chromedp.Console(s.ctx)
	go func() {
		for m, err := range console {
			if err != nil {
				return
			}
			s.mu.Lock()
			s.complain = append(s.complain, m.String())
			s.mu.Unlock()
		}
	}()
	requests := chromedp.Events(s.ctx, network.RequestWillBeSent)
	go func() {
		for e, err := range requests {
			if err != nil {
				return
			}
			if u := e.Request.URL; !strings.HasPrefix(u, root) && u != "about:blank" {
				s.mu.Lock()
				s.foreign = append(s.foreign, u)
				s.mu.Unlock()
			}
		}
	}()
}

// judge fails where the browser complained, as of its policy, or something was loaded from elsewhere.
func (s *Tab) judge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.complain {
		if !s.allows(c) {
			s.Errorf("the browser complains: %s", c)
		}
	}
	for _, u := range s.foreign {
		s.Errorf("loaded from elsewhere: %s", u)
	}
}

func (s *Tab) allows(complaint string) bool {
	for _, word := range s.allowed {
		if strings.Contains(complaint, word) {
			return true
		}
	}
	return false
}

// Do does one thing after the other.
func (s *Tab) Do(steps ...chromedp.Action[chromedp.Void]) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		s.Fatal(err)
	}
}

// Context is that of the tab, for what gives a value of its own.
func (s *Tab) Context() context.Context { return s.ctx }

// Value is that of an expression of the page.
func Value[T any](s *Tab, expression string) T {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		s.Fatalf("%s: %v", expression, err)
	}
	return v
}

// Await waits until an expression of the page is true.
func (s *Tab) Await(what, expression string) {
	s.Helper()
	s.AwaitWithin(limit, what, expression)
}

// AwaitWithin waits as long as it takes what the page shows, such as a release.
func (s *Tab) AwaitWithin(limit time.Duration, what, expression string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	for {
		_, err := chromedp.Run(ctx, chromedp.Poll[bool](expression))
		switch {
		case err == nil:
			return
		case ctx.Err() != nil || !strings.Contains(err.Error(), "Cannot find context"): // which is that of the page before
			text, _ := chromedp.Run(s.ctx, chromedp.Evaluate[string](`document.body.innerText.slice(0, 1500)`))
			s.Fatalf("%s: %v\nthe page says:\n%s", what, err, text)
		}
	}
}
