// Package site looks at the documentation as it is built by make docs, in a browser and without one.
package site

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/sluice-delivery/sluice/test/dashboard/browser"
)

var (
	shots = flag.String("shots", "", "folder that pictures of some pages are left in, light and dark, on a screen and on a phone")
	only  = flag.String("only", "index.html,concepts.html,strategies.html,troubleshooting.html,reference/canary.html", "pages that pictures are taken of")
)

// limit is how long anything may take to be seen.
const limit = 15 * time.Second

// shared is the browser of all tests.
var (
	shared   context.Context
	startErr error
)

func TestMain(m *testing.M) {
	tab, stop, err := browser.Start(context.Background())
	shared, startErr = tab, err //nolint:fatcontext // set once, before any test
	code := m.Run()
	if stop != nil {
		stop()
	}
	os.Exit(code)
}

// tab is one of the browser, with the site as it is served below some path.
type tab struct {
	*testing.T

	ctx  context.Context
	root string

	mu       sync.Mutex
	complain []string // what the browser complains of
	foreign  []string // what was loaded from elsewhere
}

// open serves the site below a path.
func open(t *testing.T, below string, width, height int64) *tab {
	t.Helper()
	if errors.Is(startErr, browser.ErrNone) {
		t.Skip("SKIPPED, the site was not looked at in a browser: ", startErr)
	}
	if startErr != nil {
		t.Fatal(startErr)
	}
	pages(t)
	mux := http.NewServeMux()
	mux.Handle(below, http.StripPrefix(below, http.FileServer(http.Dir(folder))))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	ctx, stop := chromedp.NewContext(shared)
	t.Cleanup(stop)
	s := &tab{T: t, ctx: ctx, root: server.URL + below}
	// The tab lives as long as the context of what is done first.
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, height)); err != nil {
		t.Fatal(err)
	}
	s.listen()
	t.Cleanup(s.judge)
	return s
}

// listen remembers what the browser complains of and what it loads.
func (s *tab) listen() {
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
			if u := e.Request.URL; !strings.HasPrefix(u, s.root) && u != "about:blank" {
				s.mu.Lock()
				s.foreign = append(s.foreign, u)
				s.mu.Unlock()
			}
		}
	}()
}

// judge fails where the browser complained or something was loaded from elsewhere.
func (s *tab) judge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.complain {
		s.Errorf("the browser complains: %s", c)
	}
	for _, u := range s.foreign {
		s.Errorf("loaded from elsewhere: %s", u)
	}
}

func (s *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		s.Fatal(err)
	}
}

// value is that of an expression of the page.
func value[T any](s *tab, expression string) T {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		s.Fatalf("%s: %v", expression, err)
	}
	return v
}

// await waits until an expression of the page is true.
func (s *tab) await(what, expression string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	for {
		_, err := chromedp.Run(ctx, chromedp.Poll[bool](expression))
		switch {
		case err == nil:
			return
		case ctx.Err() != nil || !strings.Contains(err.Error(), "Cannot find context"): // which is that of the page before
			s.Fatalf("%s: %v", what, err)
		}
	}
}

// expected is what each page has, and by which expression that is seen.
var expected = map[string]string{
	"a size of each picture":         `[...document.images].every((i) => i.naturalWidth > 0)`,
	"something in each drawing":      `[...document.querySelectorAll('.drawing')].every((d) => d.querySelector('svg')?.getBoundingClientRect().height > 80)`,
	"one main, one h1, a header":     `document.querySelectorAll('main').length === 1 && document.querySelectorAll('h1').length === 1 && !!document.querySelector('header')`,
	"a language":                     `document.documentElement.lang === 'en'`,
	"a title of its own":             `document.title.length > 8`,
	"a name for each control":        `[...document.querySelectorAll('button, a, input, select')].every((e) => e.textContent.trim() || e.ariaLabel || e.labels?.[0]?.textContent.trim() || e.querySelector('img')?.alt)`,
	"a text for each picture":        `[...document.querySelectorAll('article img')].every((e) => e.alt)`,
	"a text for each drawing":        `[...document.querySelectorAll('.drawing svg')].every((e) => e.role === 'img' && e.querySelector('title'))`,
	"the page in the list of all":    `document.title.startsWith('There is no such page') || location.pathname === '/' || document.querySelectorAll('#nav [aria-current]').length === 1`,
	"nothing that is beside the way": `document.documentElement.scrollWidth <= 360`,
}

// lacks gives what of that a page has not, in one expression: that it is wider than a phone, with what is.
func lacks() string {
	var out strings.Builder
	out.WriteString("(() => { const lacks = [];\n")
	for _, what := range slices.Sorted(maps.Keys(expected)) {
		fmt.Fprintf(&out, "if (!(%s)) lacks.push(%q);\n", expected[what], what)
	}
	out.WriteString("if (document.documentElement.scrollWidth > 360) lacks.push(...[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > 361 && !e.closest('pre, .drawing')).map((e) => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 60)).slice(0, 3));\n")
	out.WriteString("return lacks; })()")
	return out.String()
}

// loaded is true once each picture of a page is there.
const loaded = `(() => { const all = [...document.images]; all.forEach((i) => { i.loading = 'eager'; }); return document.readyState === 'complete' && all.every((i) => i.complete); })()`

// TestPages opens each page: each picture of it is there, nothing comes from elsewhere, the browser has nothing to
// complain of, nothing is wider than a phone, and there is what screen readers go by.
func TestPages(t *testing.T) {
	s := open(t, "/", 360, 740)
	pictures := 0
	for _, p := range slices.Sorted(maps.Keys(pages(t))) {
		s.do(chromedp.Navigate(s.root + p))
		s.await("the pictures of "+p, loaded)
		for _, lack := range value[[]string](s, lacks()) {
			s.Errorf("%s has not: %s", p, lack)
		}
		pictures += value[int](s, `document.querySelectorAll('article img, .drawing').length`)
	}
	if pictures < 10 {
		t.Errorf("only %d pictures were seen", pictures)
	}
}

// TestSearch looks for what people look for, below a path as that of a project's pages.
func TestSearch(t *testing.T) {
	s := open(t, "/some/path/", 1360, 860)
	s.do(chromedp.Navigate(s.root + "security.html"))
	s.await("the page", loaded)
	for query, want := range map[string]string{
		"PromotionHalted":     "troubleshooting.html#promotionhalted",
		"stepWeightPromotion": "reference/canary.html",
		"halted promotion":    "troubleshooting.html#promotionhalted",
		"argo rollouts":       "argo-rollouts.html",
		"linkerd tutorial":    "tutorials/linkerd.html",
		"sluice_alerts_total": "reference/metrics.html",
		"threadiness":         "reference/flags.html",
		"NoSelectorLabel":     "troubleshooting.html#noselectorlabel",
		"confirm-promotion":   "hooks.html",
		"sesion affinity":     "strategies.html#session-affinity",
	} {
		s.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('dialog').close(); document.querySelector('dialog input').value = ''; document.body.focus(); dispatchEvent(new KeyboardEvent('keydown', { key: '/', bubbles: true }))`))
		s.await("the focus at the search", `document.activeElement.type === 'search'`)
		s.do(chromedp.KeyEvent(query))
		s.await("results for "+query, `document.querySelectorAll('#results a').length > 0`)
		time := `[...document.querySelectorAll('#results a')].slice(0, 5).map((a) => a.href.replace(/^.*\/some\/path\//, '')).join(' ')`
		if got := value[string](s, time); !strings.Contains(got, want) {
			t.Errorf("the first results for %q are %s, and not %s", query, got, want)
		}
	}
	s.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('dialog input').value = ''`), chromedp.KeyEvent("xyzzyplugh"))
	s.await("that nothing was found", `document.querySelector('dialog .note').textContent === 'Nothing was found.'`)
	s.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('dialog input').value = ''`), chromedp.KeyEvent("runbook"), chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.ArrowUp))
	s.await("the first result is chosen", `document.querySelector('#results a')?.getAttribute('aria-selected') === 'true' && document.querySelector('#results a').href.includes('runbook')`)
	s.do(chromedp.KeyEvent(kb.Enter))
	s.await("the page that was found", `location.pathname === '/some/path/runbook.html' && document.querySelector('dialog')?.open === false`)
}

// TestPhone opens the menu of a phone, and chooses colours that are kept.
func TestPhone(t *testing.T) {
	s := open(t, "/", 390, 844)
	s.do(chromedp.Navigate(s.root+"index.html"), chromedp.Click(chromedp.CSS(".menu-button")))
	s.await("the menu", `document.querySelector('#nav').getBoundingClientRect().height > 400`)
	s.do(chromedp.KeyEvent(kb.Escape))
	s.await("that it is closed", `document.querySelector('#nav').getBoundingClientRect().height === 0`)
	s.do(chromedp.Evaluate[chromedp.Void](`const select = document.querySelector('.theme select'); select.value = 'dark'; select.dispatchEvent(new Event('change'))`))
	s.do(chromedp.Navigate(s.root + "rollout.html"))
	s.await("dark colours on the next page", `getComputedStyle(document.body).backgroundColor === 'rgb(13, 17, 23)' && document.querySelector('.theme select').value === 'dark'`)
}

// TestShots leaves pictures for people to look at; it is no test of anything.
func TestShots(t *testing.T) {
	if *shots == "" {
		t.Skip("no -shots")
	}
	s := open(t, "/", 1360, 900)
	for _, p := range strings.Split(*only, ",") {
		p, section, _ := strings.Cut(p, "#")
		for _, width := range []int64{1360, 390} {
			for _, scheme := range []string{"light", "dark"} {
				if _, err := chromedp.Call(s.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
				}); err != nil {
					t.Fatal(err)
				}
				s.do(chromedp.EmulateViewport(width, map[int64]int64{1360: 900, 390: 844}[width]), chromedp.Navigate("about:blank"), chromedp.Navigate(s.root+p+"#"+section))
				s.await("the page", loaded)
				picture, err := chromedp.Run(s.ctx, chromedp.CaptureScreenshot())
				if err != nil {
					t.Fatal(err)
				}
				name := fmt.Sprintf("%s-%s-%d-%s.png", strings.ReplaceAll(strings.TrimSuffix(p, ".html"), "/", "-"), section, width, scheme)
				if err := os.WriteFile(filepath.Join(*shots, name), picture, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
