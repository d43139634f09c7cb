// Package dashboard looks at the dashboard as people do, in a browser.
package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/dashboard/fleettest"
	"github.com/sluice-delivery/sluice/test/dashboard/browser"
	"github.com/sluice-delivery/sluice/test/dashboard/world"
)

// limit is how long anything may take to be seen.
const limit = 15 * time.Second

// site is a served dashboard and a tab of the browser.
type site struct {
	*testing.T

	world   *world.World
	handler http.Handler
	address string
	server  *http.Server
	tab     context.Context

	mu       sync.Mutex
	complain []string // what the browser complains of
	foreign  []string // what was loaded from elsewhere
}

// shared is the browser of all tests.
var (
	shared   context.Context
	startErr error
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	tab, stop, err := browser.Start(context.Background())
	shared, startErr = tab, err //nolint:fatcontext // set once, before any test
	code := m.Run()
	if stop != nil {
		stop()
	}
	os.Exit(code)
}

// Whose dashboard is looked at: everybody's, who may look, that of people who log in, and that of one who may do everything.
func everybodys(w *world.World) http.Handler { return w.Handler }
func peoples(w *world.World) http.Handler    { return w.People }
func ones(w *world.World) http.Handler       { return w.Own }

// open serves a dashboard of so many releases and opens a page of it.
func open(t *testing.T, count int, of func(*world.World) http.Handler, path string, width, height int64) *site {
	t.Helper()
	if errors.Is(startErr, browser.ErrNone) {
		t.Skip("SKIPPED, the dashboard was not looked at in a browser: ", startErr)
	}
	if startErr != nil {
		t.Fatal(startErr)
	}
	w, err := world.New(count)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	s := &site{T: t, world: w, handler: of(w), address: "127.0.0.1:0"}
	s.serve()
	tab, stop := chromedp.NewContext(shared)
	t.Cleanup(stop)
	s.tab = tab
	// The tab lives as long as the context of what is done first.
	if err := chromedp.Do(tab, chromedp.EmulateViewport(width, height)); err != nil {
		t.Fatal(err)
	}
	s.listen()
	s.do(chromedp.Navigate("http://" + s.address + "/" + path))
	t.Cleanup(s.judge)
	return s
}

func (s *site) serve() {
	s.Helper()
	listener, err := (&net.ListenConfig{}).Listen(s.Context(), "tcp", s.address)
	if err != nil {
		s.Fatal(err)
	}
	s.address = listener.Addr().String()
	s.server = &http.Server{Handler: s.handler, ReadHeaderTimeout: time.Minute}
	go func(server *http.Server) { _ = server.Serve(listener) }(s.server)
	s.Cleanup(s.stop)
}

func (s *site) stop() { _ = s.server.Close() }

// listen remembers what the browser complains of and what it loads.
func (s *site) listen() {
	console := chromedp.Console(s.tab)
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
	requests := chromedp.Events(s.tab, network.RequestWillBeSent)
	go func() {
		for e, err := range requests {
			if err != nil {
				return
			}
			if u := e.Request.URL; !strings.HasPrefix(u, "http://"+s.address+"/") && u != "about:blank" {
				s.mu.Lock()
				s.foreign = append(s.foreign, u)
				s.mu.Unlock()
			}
		}
	}()
}

// judge fails where the browser complained, as of its policy, or something was loaded from elsewhere.
func (s *site) judge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.complain {
		if !strings.Contains(c, "ERR_CONNECTION_REFUSED") && !strings.Contains(c, "ERR_INCOMPLETE_CHUNKED_ENCODING") && !strings.Contains(c, "401") && !strings.Contains(c, "409") {
			s.Errorf("the browser complains: %s", c)
		}
	}
	for _, u := range s.foreign {
		s.Errorf("loaded from elsewhere: %s", u)
	}
}

func (s *site) do(steps ...chromedp.Action[chromedp.Void]) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.tab, limit)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		s.Fatal(err)
	}
}

// value is that of an expression of the page.
func value[T any](s *site, expression string) T {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.tab, limit)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		s.Fatalf("%s: %v", expression, err)
	}
	return v
}

// await waits until an expression of the page is true.
func (s *site) await(what, expression string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.tab, limit)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](expression)); err != nil {
		text, _ := chromedp.Run(s.tab, chromedp.Evaluate[string](`document.body.innerText.slice(0, 1500)`))
		s.Fatalf("%s: %v\nthe page says:\n%s", what, err, text)
	}
}

// says waits until the page says something.
func (s *site) says(text string) {
	s.Helper()
	s.await(text, fmt.Sprintf(`document.body.innerText.includes(%q)`, text))
}

// TestFleet looks for one of 5,000 releases, with the keyboard alone.
func TestFleet(t *testing.T) {
	s := open(t, 5000, everybodys, "", 1360, 820)
	s.says("5000 releases")
	if n := value[int](s, `document.querySelectorAll('.rows .row').length`); n < 10 || n > 60 {
		t.Errorf("%d rows are drawn of 5000", n)
	}
	if first := value[string](s, `document.querySelector('.rows .row .state').innerText`); first != "Stalled" {
		t.Errorf("the first release is %s", first)
	}
	s.do(chromedp.Evaluate[chromedp.Void](`scrollTo(0, document.body.scrollHeight)`))
	s.await("the last row", `!!document.querySelector('[data-index="4999"]')`)
	if took := value[float64](s, `(() => { const from = performance.now(); for (let i = 0; i < 40; i++) { scrollTo(0, i * 6000); document.body.offsetHeight; } return performance.now() - from; })()`); took > 500 {
		t.Errorf("40 jumps through the list took %.0f ms", took)
	}
	s.do(chromedp.Evaluate[chromedp.Void](`scrollTo(0, 0); dispatchEvent(new KeyboardEvent('keydown', { key: '/' }))`))
	s.await("the focus at the search", `document.activeElement.type === 'search'`)
	s.do(chromedp.KeyEvent("checkout payments"))
	s.await("the search in the address", `location.hash === '#/?q=checkout+payments'`)
	s.await("fewer releases", `/^\d+ of 5000 releases$/.test(document.querySelector('.found').innerText)`)
	s.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('.rows a').focus()`), chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.ArrowUp))
	s.await("the focus at the second release", `document.activeElement.closest('[data-index="1"]') !== null`)
	s.do(chromedp.KeyEvent(kb.Enter))
	s.await("the page of a release with the focus at its title", `location.hash.startsWith('#/releases/') && document.activeElement.id === 'title'`)
	s.do(chromedp.Click(chromedp.CSS(".back")))
	s.await("the filters as they were", `location.hash === '#/?q=checkout+payments'`)
	s.do(chromedp.Evaluate[chromedp.Void](`history.replaceState(null, '', '#/?show=person&namespace=payments'); dispatchEvent(new HashChangeEvent('hashchange'))`))
	s.await("what needs a person in payments", `[...document.querySelectorAll('.rows .row')].every((r) => r.innerText.includes('payments') && r.innerText.includes('Rolled back'))`)
}

// TestLiveRelease follows a release while it goes on, through a reload in its midst and a restart of the server.
func TestLiveRelease(t *testing.T) {
	s := open(t, 200, everybodys, "#/releases/shop/cart", 1360, 900)
	s.says("Step 1 of 5")
	s.await("the charts of the checks", `document.querySelectorAll('.chart canvas').length === 2`)
	s.world.Step()
	s.says("Step 2 of 5: 10% of the traffic goes to the canary")
	s.await("the share in the picture", `[...document.querySelectorAll('.node.canary .share')].some((e) => e.textContent === '10%')`)
	s.do(chromedp.Reload())
	s.says("Step 2 of 5")
	s.await("the charts", `document.querySelectorAll('.chart canvas').length === 2`)
	s.stop()
	s.says("Not connected")
	s.world.Step()
	s.serve()
	s.says("Live")
	s.says("Step 3 of 5: 20% of the traffic goes to the canary")
	s.world.Change("shop", "cart", func(c *v1beta1.Canary) { fleettest.Fail(c, time.Now()) })
	s.says("Rolled back")
	s.says("kubectl sluice retry cart -n shop")
	s.await("that those who don't see it are told", `[...document.querySelectorAll('[aria-live]')].some((e) => e.textContent.includes('RolledBack'))`)
}

// TestActions has people log in, and take a hand in a release as far as they may.
func TestActions(t *testing.T) {
	s := open(t, 50, peoples, "#/releases/shop/cart", 1360, 900)
	login := func(token string) {
		s.Helper()
		s.do(chromedp.WaitVisible(chromedp.CSS("input[type=password]")), chromedp.SendKeys(chromedp.CSS("input[type=password]"), token), chromedp.Click(chromedp.CSS("form button[type=submit]")))
	}
	login("token-of-nobody")
	s.says("the API server does not accept this token")
	s.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('input[type=password]').value = ''`))
	login("token-of-bob")
	s.says("bob may look, and has no right to create canaryactions.sluice.dev in shop.")
	if n := value[int](s, `document.querySelectorAll('[data-action]').length`); n != 0 {
		t.Errorf("bob has %d buttons", n)
	}
	if cookies := value[string](s, `document.cookie`); cookies != "" {
		t.Errorf("a script can read %q", cookies)
	}
	s.do(chromedp.Click(chromedp.CSS(".top-bar button")))
	login("token-of-alice")
	s.await("the buttons", `document.querySelectorAll('[data-action]').length > 2`)
	s.do(chromedp.Click(chromedp.CSS(`[data-action="Abort"]`)), chromedp.WaitVisible(chromedp.CSS("dialog input")), chromedp.Click(chromedp.CSS(`dialog button[type=submit]`)))
	s.says("Say why")
	s.do(chromedp.KeyEvent(kb.Escape))
	s.await("that the dialog is closed", `!document.querySelector('dialog') && document.activeElement.dataset.action === 'Abort'`)
	s.do(chromedp.Click(chromedp.CSS(`[data-action="Pause"]`)), chromedp.WaitVisible(chromedp.CSS("dialog input")),
		chromedp.SendKeys(chromedp.CSS("dialog input"), "errors in the checkout"), chromedp.KeyEvent(kb.Enter))
	s.says("Pause by alice (errors in the checkout)")
	s.await("the state", `document.querySelector('.release-head .state').innerText === 'Paused'`)
	s.await("the button that ends it", `!!document.querySelector('[data-action="Resume"]') && !document.querySelector('[data-action="Pause"]')`)
	created := s.world.API.Created()
	if len(created) != 1 || created[0].Spec.RequestedBy != "alice" || created[0].Spec.Reason != "errors in the checkout" || created[0].Spec.Revision != fleettest.NewRevision {
		t.Errorf("created: %+v", created)
	}
	s.do(chromedp.Evaluate[chromedp.Void](`location.hash = '#/releases/payments/checkout'`))
	s.says("alice may look, and has no right")
}

// TestRollBack has somebody go back to what was promoted before, from the history of a release.
func TestRollBack(t *testing.T) {
	s := open(t, 50, ones, "#/releases/shop/cart", 1360, 900)
	back := fmt.Sprintf(`[data-action="Rollback"][data-to=%q]`, fleettest.EarlierRevision)
	s.await("one way back", `document.querySelectorAll('[data-action="Rollback"]').length === 1`)
	s.do(chromedp.Click(chromedp.CSS(back)), chromedp.WaitVisible(chromedp.CSS("dialog input")))
	s.says("The primary gets " + fleettest.EarlierRevision + " again, without an analysis.")
	s.do(chromedp.Click(chromedp.CSS(`dialog button[type=submit]`)))
	s.says("Say why")
	s.do(chromedp.SendKeys(chromedp.CSS("dialog input"), "the checkout fails"), chromedp.KeyEvent(kb.Enter))
	s.says("Rollback by alice@example.com (the checkout fails)")
}

// TestPhone has nothing be wider than a phone, and the pages have what screen readers go by.
func TestPhone(t *testing.T) {
	for _, path := range []string{"#/", "#/releases/shop/cart", "#/releases/payments/checkout", "#/releases/identity/ledger"} {
		t.Run(path, func(t *testing.T) {
			s := open(t, 100, everybodys, path, 360, 740)
			s.do(chromedp.WaitVisible(chromedp.CSS("main .list, main .columns")))
			if wide := value[int](s, `document.documentElement.scrollWidth`); wide > 360 {
				t.Errorf("it is %d wide: %s", wide, value[string](s, `[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > 361 && !e.closest('.scroll, pre, .command')).map((e) => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40)).slice(0, 5).join('; ')`))
			}
			for what, expression := range map[string]string{
				"one main, one h1, a header":     `document.querySelectorAll('main').length === 1 && document.querySelectorAll('h1').length === 1 && !!document.querySelector('header')`,
				"a language":                     `document.documentElement.lang === 'en'`,
				"a name for each control":        `[...document.querySelectorAll('button, a, input, select')].every((e) => (e.textContent || e.ariaLabel || e.labels?.[0]?.textContent || '').trim() !== '')`,
				"no id twice":                    `(() => { const all = [...document.querySelectorAll('[id]')].map((e) => e.id); return new Set(all).size === all.length; })()`,
				"what aria refers to":            `[...document.querySelectorAll('[aria-labelledby]')].every((e) => document.getElementById(e.getAttribute('aria-labelledby')))`,
				"a text for pictures and charts": `[...document.querySelectorAll('[role=img]')].every((e) => e.ariaLabel)`,
			} {
				if !value[bool](s, expression) {
					t.Errorf("there is not: %s", what)
				}
			}
		})
	}
}
