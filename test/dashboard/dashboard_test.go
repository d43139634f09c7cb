// Package dashboard looks at the dashboard as people do, in a browser.
package dashboard

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/dashboard/fleettest"
	"github.com/sluice-delivery/sluice/test/dashboard/browser/browsertest"
	"github.com/sluice-delivery/sluice/test/dashboard/world"
)

// site is a served dashboard and a tab of the browser.
type site struct {
	*browsertest.Tab

	world   *world.World
	handler http.Handler
	address string
	server  *http.Server
}

// shared is the browser of all tests.
var shared browsertest.Shared

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	os.Exit(shared.Run(m))
}

// Whose dashboard is looked at: everybody's, who may look, that of people who log in, and that of one who may do everything.
func everybodys(w *world.World) http.Handler { return w.Handler }
func peoples(w *world.World) http.Handler    { return w.People }
func ones(w *world.World) http.Handler       { return w.Own }

// open serves a dashboard of so many releases and opens a page of it.
func open(t *testing.T, count int, of func(*world.World) http.Handler, path string, width, height int64) *site {
	t.Helper()
	shared.Need(t, "the dashboard")
	w, err := world.New(count)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	s := &site{world: w, handler: of(w), address: "127.0.0.1:0"}
	s.serve(t)
	// What the browser says of a server that is stopped on purpose, and of requests that are refused.
	s.Tab = shared.Open(t, "http://"+s.address+"/", width, height, "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "401", "409")
	s.Do(chromedp.Navigate("http://" + s.address + "/" + path))
	return s
}

func (s *site) serve(t *testing.T) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	s.server = &http.Server{Handler: s.handler, ReadHeaderTimeout: time.Minute}
	go func(server *http.Server) { _ = server.Serve(listener) }(s.server)
	t.Cleanup(s.stop)
}

func (s *site) stop() { _ = s.server.Close() }

// says waits until the page says something.
func (s *site) says(text string) {
	s.Helper()
	s.Await(text, fmt.Sprintf(`document.body.innerText.includes(%q)`, text))
}

// TestFleet looks for one of 5,000 releases, with the keyboard alone.
func TestFleet(t *testing.T) {
	s := open(t, 5000, everybodys, "", 1360, 820)
	s.says("5000 releases")
	if n := browsertest.Value[int](s.Tab, `document.querySelectorAll('.rows .row').length`); n < 10 || n > 60 {
		t.Errorf("%d rows are drawn of 5000", n)
	}
	if first := browsertest.Value[string](s.Tab, `document.querySelector('.rows .row .state').innerText`); first != "Stalled" {
		t.Errorf("the first release is %s", first)
	}
	s.Do(chromedp.Evaluate[chromedp.Void](`scrollTo(0, document.body.scrollHeight)`))
	s.Await("the last row", `!!document.querySelector('[data-index="4999"]')`)
	if took := browsertest.Value[float64](s.Tab, `(() => { const from = performance.now(); for (let i = 0; i < 40; i++) { scrollTo(0, i * 6000); document.body.offsetHeight; } return performance.now() - from; })()`); took > 500 {
		t.Errorf("40 jumps through the list took %.0f ms", took)
	}
	s.Do(chromedp.Evaluate[chromedp.Void](`scrollTo(0, 0); dispatchEvent(new KeyboardEvent('keydown', { key: '/' }))`))
	s.Await("the focus at the search", `document.activeElement.type === 'search'`)
	s.Do(chromedp.KeyEvent("checkout payments"))
	s.Await("the search in the address", `location.hash === '#/?q=checkout+payments'`)
	s.Await("fewer releases", `/^\d+ of 5000 releases$/.test(document.querySelector('.found').innerText)`)
	s.Do(chromedp.Evaluate[chromedp.Void](`document.querySelector('.rows a').focus()`), chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.ArrowUp))
	s.Await("the focus at the second release", `document.activeElement.closest('[data-index="1"]') !== null`)
	s.Do(chromedp.KeyEvent(kb.Enter))
	s.Await("the page of a release with the focus at its title", `location.hash.startsWith('#/releases/') && document.activeElement.id === 'title'`)
	s.Do(chromedp.Click(chromedp.CSS(".back")))
	s.Await("the filters as they were", `location.hash === '#/?q=checkout+payments'`)
	s.Do(chromedp.Evaluate[chromedp.Void](`history.replaceState(null, '', '#/?show=person&namespace=payments'); dispatchEvent(new HashChangeEvent('hashchange'))`))
	s.Await("what needs a person in payments", `[...document.querySelectorAll('.rows .row')].every((r) => r.innerText.includes('payments') && r.innerText.includes('Rolled back'))`)
}

// TestLiveRelease follows a release while it goes on, through a reload in its midst and a restart of the server.
func TestLiveRelease(t *testing.T) {
	s := open(t, 200, everybodys, "#/releases/shop/cart", 1360, 900)
	s.says("Step 1 of 5")
	s.Await("the charts of the checks", `document.querySelectorAll('.chart canvas').length === 2`)
	s.world.Step()
	s.says("Step 2 of 5: 10% of the traffic goes to the canary")
	s.Await("the share in the picture", `[...document.querySelectorAll('.node.canary .share')].some((e) => e.textContent === '10%')`)
	wide := func() float64 {
		s.Helper()
		return browsertest.Value[float64](s.Tab, `parseFloat(document.querySelector('.stream.canary .bed').style.strokeWidth)`)
	}
	if got := wide(); got < 9.5 || got > 9.7 {
		t.Errorf("the stream of 10%% is %.2f wide of 96", got)
	}
	s.world.Change("shop", "cart", func(c *v1beta1.Canary) { fleettest.Count(c, 25) })
	s.Await("the measured share", `document.querySelector('.node.canary .measured')?.textContent === 'measured 25%' && document.querySelector('.node.canary .share').textContent === '10%'`)
	if got := wide(); got != 24 {
		t.Errorf("the stream of a measured 25%% is %.2f wide of 96", got)
	}
	s.Do(chromedp.Reload())
	s.says("Step 2 of 5")
	s.Await("the charts", `document.querySelectorAll('.chart canvas').length === 2`)
	s.stop()
	s.says("Not connected")
	s.world.Step()
	s.serve(t)
	s.says("Live")
	s.says("Step 3 of 5: 20% of the traffic goes to the canary")
	s.world.Change("shop", "cart", func(c *v1beta1.Canary) { fleettest.Fail(c, time.Now()) })
	s.says("Rolled back")
	s.says("kubectl sluice retry cart -n shop")
	s.Await("that those who don't see it are told", `[...document.querySelectorAll('[aria-live]')].some((e) => e.textContent.includes('RolledBack'))`)
}

// TestActions has people log in, and take a hand in a release as far as they may.
func TestActions(t *testing.T) {
	s := open(t, 50, peoples, "#/releases/shop/cart", 1360, 900)
	login := func(token string) {
		s.Helper()
		s.Do(chromedp.WaitVisible(chromedp.CSS("input[type=password]")), chromedp.SendKeys(chromedp.CSS("input[type=password]"), token), chromedp.Click(chromedp.CSS("form button[type=submit]")))
	}
	login("token-of-nobody")
	s.says("the API server does not accept this token")
	s.Do(chromedp.Evaluate[chromedp.Void](`document.querySelector('input[type=password]').value = ''`))
	login("token-of-bob")
	s.says("bob may look, and has no right to create canaryactions.sluice.dev in shop.")
	if n := browsertest.Value[int](s.Tab, `document.querySelectorAll('[data-action]').length`); n != 0 {
		t.Errorf("bob has %d buttons", n)
	}
	if cookies := browsertest.Value[string](s.Tab, `document.cookie`); cookies != "" {
		t.Errorf("a script can read %q", cookies)
	}
	s.Do(chromedp.Click(chromedp.CSS(".top-bar button")))
	login("token-of-alice")
	s.Await("the buttons", `document.querySelectorAll('[data-action]').length > 2`)
	s.Do(chromedp.Click(chromedp.CSS(`[data-action="Abort"]`)), chromedp.WaitVisible(chromedp.CSS("dialog input")), chromedp.Click(chromedp.CSS(`dialog button[type=submit]`)))
	s.says("Say why")
	s.Do(chromedp.KeyEvent(kb.Escape))
	s.Await("that the dialog is closed", `!document.querySelector('dialog') && document.activeElement.dataset.action === 'Abort'`)
	s.Do(chromedp.Click(chromedp.CSS(`[data-action="Pause"]`)), chromedp.WaitVisible(chromedp.CSS("dialog input")),
		chromedp.SendKeys(chromedp.CSS("dialog input"), "errors in the checkout"), chromedp.KeyEvent(kb.Enter))
	s.says("Pause by alice (errors in the checkout)")
	s.Await("the state", `document.querySelector('.release-head .state').innerText === 'Paused'`)
	s.Await("the button that ends it", `!!document.querySelector('[data-action="Resume"]') && !document.querySelector('[data-action="Pause"]')`)
	created := s.world.API.Created()
	if len(created) != 1 || created[0].Spec.RequestedBy != "alice" || created[0].Spec.Reason != "errors in the checkout" || created[0].Spec.Revision != fleettest.NewRevision {
		t.Errorf("created: %+v", created)
	}
	s.Do(chromedp.Evaluate[chromedp.Void](`location.hash = '#/releases/payments/checkout'`))
	s.says("alice may look, and has no right")
}

// TestRollBack has somebody go back to what was promoted before, from the history of a release.
func TestRollBack(t *testing.T) {
	s := open(t, 50, ones, "#/releases/shop/cart", 1360, 900)
	back := fmt.Sprintf(`[data-action="Rollback"][data-to=%q]`, fleettest.EarlierRevision)
	s.Await("one way back", `document.querySelectorAll('[data-action="Rollback"]').length === 1`)
	s.Do(chromedp.Click(chromedp.CSS(back)), chromedp.WaitVisible(chromedp.CSS("dialog input")))
	s.says("The primary gets " + fleettest.EarlierRevision + " again, without an analysis.")
	s.Do(chromedp.Click(chromedp.CSS(`dialog button[type=submit]`)))
	s.says("Say why")
	s.Do(chromedp.SendKeys(chromedp.CSS("dialog input"), "the checkout fails"), chromedp.KeyEvent(kb.Enter))
	s.says("Rollback by alice@example.com (the checkout fails)")
}

// TestPhone has nothing be wider than a phone, and the pages have what screen readers go by.
func TestPhone(t *testing.T) {
	for _, path := range []string{"#/", "#/releases/shop/cart", "#/releases/payments/checkout", "#/releases/identity/ledger"} {
		t.Run(path, func(t *testing.T) {
			s := open(t, 100, everybodys, path, 360, 740)
			s.Do(chromedp.WaitVisible(chromedp.CSS("main .list, main .columns")))
			if wide := browsertest.Value[int](s.Tab, `document.documentElement.scrollWidth`); wide > 360 {
				t.Errorf("it is %d wide: %s", wide, browsertest.Value[string](s.Tab, `[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > 361 && !e.closest('.scroll, pre, .command')).map((e) => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40)).slice(0, 5).join('; ')`))
			}
			for what, expression := range map[string]string{
				"one main, one h1, a header":     `document.querySelectorAll('main').length === 1 && document.querySelectorAll('h1').length === 1 && !!document.querySelector('header')`,
				"a language":                     `document.documentElement.lang === 'en'`,
				"a name for each control":        `[...document.querySelectorAll('button, a, input, select')].every((e) => (e.textContent || e.ariaLabel || e.labels?.[0]?.textContent || '').trim() !== '')`,
				"no id twice":                    `(() => { const all = [...document.querySelectorAll('[id]')].map((e) => e.id); return new Set(all).size === all.length; })()`,
				"what aria refers to":            `[...document.querySelectorAll('[aria-labelledby]')].every((e) => document.getElementById(e.getAttribute('aria-labelledby')))`,
				"a text for pictures and charts": `[...document.querySelectorAll('[role=img]')].every((e) => e.ariaLabel)`,
			} {
				if !browsertest.Value[bool](s.Tab, expression) {
					t.Errorf("there is not: %s", what)
				}
			}
		})
	}
}
