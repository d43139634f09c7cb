// Package site looks at the documentation as it is built by make docs, in a browser and without one.
package site

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/sluice-delivery/sluice/test/dashboard/browser/browsertest"
)

var (
	shots = flag.String("shots", "", "folder that pictures of some pages are left in, light and dark, on a screen and on a phone")
	only  = flag.String("only", "index.html,concepts.html,strategies.html,troubleshooting.html,reference/canary.html", "pages that pictures are taken of")
)

// shared is the browser of all tests.
var shared browsertest.Shared

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// site is the site as it is served below some path, in a tab of the browser.
type site struct {
	*browsertest.Tab

	root string
}

// open serves the site below a path.
func open(t *testing.T, below string, width, height int64) *site {
	t.Helper()
	shared.Need(t, "the site")
	pages(t)
	mux := http.NewServeMux()
	mux.Handle(below, http.StripPrefix(below, http.FileServer(http.Dir(folder))))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	root := server.URL + below
	return &site{Tab: shared.Open(t, root, width, height), root: root}
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
		s.Do(chromedp.Navigate(s.root + p))
		s.Await("the pictures of "+p, loaded)
		for _, lack := range browsertest.Value[[]string](s.Tab, lacks()) {
			s.Errorf("%s has not: %s", p, lack)
		}
		pictures += browsertest.Value[int](s.Tab, `document.querySelectorAll('article img, .drawing').length`)
	}
	if pictures < 10 {
		t.Errorf("only %d pictures were seen", pictures)
	}
}

// TestSearch looks for what people look for, below a path as that of a project's pages.
func TestSearch(t *testing.T) {
	s := open(t, "/some/path/", 1360, 860)
	s.Do(chromedp.Navigate(s.root + "security.html"))
	s.Await("the page", loaded)
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
		s.Do(chromedp.Evaluate[chromedp.Void](`document.querySelector('dialog').close(); document.querySelector('dialog input').value = ''; document.body.focus(); dispatchEvent(new KeyboardEvent('keydown', { key: '/', bubbles: true }))`))
		s.Await("the focus at the search", `document.activeElement.type === 'search'`)
		s.Do(chromedp.KeyEvent(query))
		s.Await("results for "+query, `document.querySelectorAll('#results a').length > 0`)
		time := `[...document.querySelectorAll('#results a')].slice(0, 5).map((a) => a.href.replace(/^.*\/some\/path\//, '')).join(' ')`
		if got := browsertest.Value[string](s.Tab, time); !strings.Contains(got, want) {
			t.Errorf("the first results for %q are %s, and not %s", query, got, want)
		}
	}
	s.Do(chromedp.Evaluate[chromedp.Void](`document.querySelector('dialog input').value = ''`), chromedp.KeyEvent("xyzzyplugh"))
	s.Await("that nothing was found", `document.querySelector('dialog .note').textContent === 'Nothing was found.'`)
	s.Do(chromedp.Evaluate[chromedp.Void](`document.querySelector('dialog input').value = ''`), chromedp.KeyEvent("runbook"), chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.ArrowUp))
	s.Await("the first result is chosen", `document.querySelector('#results a')?.getAttribute('aria-selected') === 'true' && document.querySelector('#results a').href.includes('runbook')`)
	s.Do(chromedp.KeyEvent(kb.Enter))
	s.Await("the page that was found", `location.pathname === '/some/path/runbook.html' && document.querySelector('dialog')?.open === false`)
}

// TestPhone opens the menu of a phone, and chooses colours that are kept.
func TestPhone(t *testing.T) {
	s := open(t, "/", 390, 844)
	s.Do(chromedp.Navigate(s.root+"index.html"), chromedp.Click(chromedp.CSS(".menu-button")))
	s.Await("the menu", `document.querySelector('#nav').getBoundingClientRect().height > 400`)
	s.Do(chromedp.KeyEvent(kb.Escape))
	s.Await("that it is closed", `document.querySelector('#nav').getBoundingClientRect().height === 0`)
	s.Do(chromedp.Evaluate[chromedp.Void](`const select = document.querySelector('.theme select'); select.value = 'dark'; select.dispatchEvent(new Event('change'))`))
	s.Do(chromedp.Navigate(s.root + "rollout.html"))
	s.Await("dark colours on the next page", `getComputedStyle(document.body).backgroundColor === 'rgb(13, 17, 23)' && document.querySelector('.theme select').value === 'dark'`)
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
				if _, err := chromedp.Call(s.Context(), emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
				}); err != nil {
					t.Fatal(err)
				}
				s.Do(chromedp.EmulateViewport(width, map[int64]int64{1360: 900, 390: 844}[width]), chromedp.Navigate("about:blank"), chromedp.Navigate(s.root+p+"#"+section))
				s.Await("the page", loaded)
				picture, err := chromedp.Run(s.Context(), chromedp.CaptureScreenshot())
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
