package dashboard

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/dashboard/access"
	"github.com/sluice-delivery/sluice/operator/dashboard/fleet"
	"github.com/sluice-delivery/sluice/operator/dashboard/fleettest"
)

// rig is a dashboard with some releases.
type rig struct {
	*httptest.Server

	api    *fleettest.API
	fleet  *fleet.Fleet
	people *access.People
}

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func newRig(t *testing.T, canaries ...*v1beta1.Canary) *rig {
	t.Helper()
	return newRigAt(t, clock.RealClock{}, canaries...)
}

// newRigAt has one by a clock.
func newRigAt(t *testing.T, clock clock.WithTicker, canaries ...*v1beta1.Canary) *rig {
	t.Helper()
	scheme := k8sruntime.NewScheme()
	for _, add := range []func(*k8sruntime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	g := &rig{api: fleettest.NewAPI(), fleet: fleet.New(clock)}
	t.Cleanup(g.api.Close)
	g.people = &access.People{Config: g.api.Config(), Scheme: scheme, Clock: clock}
	if len(canaries) == 0 {
		for _, at := range []string{"shop/cart", "shop/checkout", "payments/ledger"} {
			namespace, name, _ := strings.Cut(at, "/")
			canaries = append(canaries, fleettest.Canary(namespace, name, now))
		}
		fleettest.Progress(canaries[0], 3, 99.7, now)
	}
	for _, c := range canaries {
		g.fleet.Changed(c)
	}
	handler, err := New(Config{Fleet: g.fleet, Who: g.people.Of, Login: g.people, Version: "test", Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	g.Server = httptest.NewServer(handler)
	t.Cleanup(g.Close)
	return g
}

// request sends a request as the page does, with a token in a cookie where there is one.
func (g *rig) request(t *testing.T, method, path, token, body string, edit ...func(*http.Request)) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, g.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.AddCookie(&http.Cookie{Name: "sluice-token-0", Value: token})
	}
	if method != http.MethodGet {
		r.Header.Set("X-Sluice-Dashboard", "1")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for _, e := range edit {
		e(r)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(raw), answer.Header
}

// frames reads a stream.
type frames struct {
	in   *bufio.Scanner
	stop func()
}

func (g *rig) stream(t *testing.T, token string) *frames {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.URL+"/api/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.AddCookie(&http.Cookie{Name: "sluice-token-0", Value: token})
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	stop := func() {
		cancel()
		_ = answer.Body.Close()
	}
	t.Cleanup(stop)
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("stream: %s", answer.Status)
	}
	in := bufio.NewScanner(answer.Body)
	in.Buffer(nil, 16<<20)
	return &frames{in, stop}
}

// next is the next event of a stream; ok is false at its end.
func (f *frames) next() (event, data string, ok bool) {
	for f.in.Scan() {
		line := f.in.Text()
		if name, is := strings.CutPrefix(line, "event: "); is {
			event = name
		}
		if text, is := strings.CutPrefix(line, "data: "); is {
			data = text
		}
		if line == "" && event != "" {
			return event, data, true
		}
	}
	return "", "", false
}

func (f *frames) mustNext(t *testing.T, event string) string {
	t.Helper()
	got, data, ok := f.next()
	if !ok || got != event {
		t.Fatalf("got event %q, %v, want %q: %v", got, ok, event, f.in.Err())
	}
	return data
}

func namesOf(t *testing.T, data string) []string {
	t.Helper()
	var rows []fleet.Row
	if err := json.Unmarshal([]byte(data), &rows); err != nil {
		t.Fatalf("%v: %.200s", err, data)
	}
	var out []string
	for _, r := range rows {
		out = append(out, r.Namespace+"/"+r.Name)
	}
	return out
}

// TestHeaders has every answer be of a page that loads nothing from elsewhere and that no other page can show or use.
func TestHeaders(t *testing.T) {
	g := newRig(t)
	for _, path := range []string{"/", "/app.js", "/vendor/preact.mjs", "/api/session", "/api/stream", "/nothing"} {
		code, body, h := g.request(t, http.MethodGet, path, "", "")
		policy := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; script-src 'self' 'sha256-") || !strings.Contains(policy, "frame-ancestors 'none'") ||
			strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || strings.Contains(policy, "http") {
			t.Errorf("%s: policy %q", path, policy)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", path, h)
		}
		if path == "/nothing" && (code != http.StatusNotFound || strings.Contains(body, "nothing")) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	code, _, h := g.request(t, http.MethodGet, "/app.js", "", "")
	if code != http.StatusOK || !strings.HasPrefix(h.Get("Content-Type"), "text/javascript") || h.Get("ETag") == "" {
		t.Errorf("app.js: %d %v", code, h)
	}
	code, _, _ = g.request(t, http.MethodGet, "/app.js", "", "", func(r *http.Request) { r.Header.Set("If-None-Match", h.Get("ETag")) })
	if code != http.StatusNotModified {
		t.Errorf("app.js again: %d", code)
	}
}

// TestFilesLoadNothingFromElsewhere reads the files of the page: what they import is here, and none has an address.
func TestFilesLoadNothingFromElsewhere(t *testing.T) {
	p, err := loadPages()
	if err != nil {
		t.Fatal(err)
	}
	imports := regexp.MustCompile(`(?:from|import|src=|href=)\s*['"]([^'"]+)['"]`)
	mapped := map[string]bool{"preact": true, "preact/hooks": true, "htm": true, "uplot": true}
	for name, f := range p.files {
		if strings.HasPrefix(name, "/vendor/") || strings.HasSuffix(name, ".svg") {
			continue
		}
		if strings.Contains(string(f.raw), "http://") || strings.Contains(string(f.raw), "https://") || strings.Contains(string(f.raw), "@import") {
			t.Errorf("%s has an address", name)
		}
		for _, m := range imports.FindAllStringSubmatch(string(f.raw), -1) {
			path := strings.TrimPrefix(m[1], ".")
			if _, ok := p.files[path]; !ok && !mapped[m[1]] && !strings.HasPrefix(m[1], "#") {
				t.Errorf("%s loads %q, which is not there", name, m[1])
			}
		}
	}
}

// TestVendored holds the vendored files against the table of them.
func TestVendored(t *testing.T) {
	folder := filepath.Join("static", "vendor")
	table, err := os.ReadFile(filepath.Join(folder, "VENDORED.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\S+) \\| (\\d+\\.\\d+\\.\\d+) \\| `[^`]+` \\| (MIT|Apache-2.0) \\| `([0-9a-f]{64})` \\|$").FindAllStringSubmatch(string(table), -1) {
		listed[row[1]] = row[5]
	}
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() == "VENDORED.md" {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(folder, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(raw)
		if got := hex.EncodeToString(sum[:]); listed[f.Name()] != got {
			t.Errorf("%s has sha256 %s, and VENDORED.md says %q", f.Name(), got, listed[f.Name()])
		}
		delete(listed, f.Name())
	}
	for name := range listed {
		t.Errorf("VENDORED.md lists %s, which is not there", name)
	}
}

// TestWhoSeesWhat is about rights to look: by the list, the stream and the page of a release.
func TestWhoSeesWhat(t *testing.T) {
	g := newRig(t)
	for token, want := range map[string][]string{
		"token-of-alice": {"payments/ledger", "shop/cart", "shop/checkout"}, "token-of-bob": {"shop/cart", "shop/checkout"}, "token-of-eve": nil,
	} {
		t.Run(token, func(t *testing.T) {
			s := g.stream(t, token)
			if got := namesOf(t, s.mustNext(t, "fleet")); !slices.Equal(got, want) {
				t.Errorf("the stream has %v, want %v", got, want)
			}
			for _, at := range []string{"shop/cart", "payments/ledger"} {
				code, body, _ := g.request(t, http.MethodGet, "/api/releases/"+at, token, "")
				if sees := slices.Contains(want, at); sees != (code == http.StatusOK) {
					t.Errorf("%s: %d %.200s", at, code, body)
				}
			}
		})
	}
	missing, first, _ := g.request(t, http.MethodGet, "/api/releases/shop/nothing", "token-of-bob", "")
	hidden, second, _ := g.request(t, http.MethodGet, "/api/releases/payments/ledger", "token-of-bob", "")
	if missing != http.StatusNotFound || hidden != missing || first != second {
		t.Errorf("what is not there can be told from what is hidden: %d %s, %d %s", missing, first, hidden, second)
	}
}

// TestNobody has who has not logged in see nothing, whatever is asked for.
func TestNobody(t *testing.T) {
	g := newRig(t)
	for _, token := range []string{"", "token-of-nobody"} {
		for _, at := range []string{"GET /api/stream", "GET /api/releases/shop/cart", "POST /api/releases/shop/cart/actions"} {
			method, path, _ := strings.Cut(at, " ")
			if code, body, _ := g.request(t, method, path, token, "{}"); code != http.StatusUnauthorized {
				t.Errorf("%s with %q: %d %s", at, token, code, body)
			}
		}
		if _, body, _ := g.request(t, http.MethodGet, "/api/session", token, ""); !strings.Contains(body, `"seesReleases":false`) || !strings.Contains(body, `"login":true`) {
			t.Errorf("session with %q: %s", token, body)
		}
	}
}

// TestAnonymous may look at everything and do nothing.
func TestAnonymous(t *testing.T) {
	g := newRig(t)
	own, err := access.NewClient(g.people.Config, g.people.Scheme)
	if err != nil {
		t.Fatal(err)
	}
	g.people.Anonymous = access.Anonymous(own, clock.RealClock{})
	if got := namesOf(t, g.stream(t, "").mustNext(t, "fleet")); len(got) != 3 {
		t.Errorf("it sees %v", got)
	}
	code, body, _ := g.request(t, http.MethodPost, "/api/releases/shop/cart/actions", "", `{"action":"Pause","revision":"`+fleettest.NewRevision+`"}`)
	if code != http.StatusForbidden || len(g.api.Created()) > 0 {
		t.Errorf("an action: %d %s, %v", code, body, g.api.Created())
	}
	if _, body, _ := g.request(t, http.MethodGet, "/api/session", "token-of-alice", ""); !strings.Contains(body, `"user":"alice"`) {
		t.Errorf("who has logged in is not anonymous: %s", body)
	}
}

// TestLogin has a browser keep a token that the API server accepts, over HTTPS or on the same machine alone.
func TestLogin(t *testing.T) {
	g := newRig(t)
	https := func(r *http.Request) { r.Host = "sluice.example.com"; r.Header.Set("X-Forwarded-Proto", "https") }
	long := strings.Repeat("x", 5000)
	g.api.Set(long, fleettest.User{Name: "carol", Sees: []string{"*"}})
	for name, tc := range map[string]struct {
		token   string
		edit    func(*http.Request)
		want    int
		cookies int // with a part of the token
		secure  bool
	}{
		"over HTTPS":           {"token-of-alice", https, 200, 1, true},
		"on the same machine":  {"token-of-alice", func(*http.Request) {}, 200, 1, false},
		"over HTTP":            {"token-of-alice", func(r *http.Request) { r.Host = "sluice.example.com" }, 401, 0, false},
		"longer than a cookie": {long, https, 200, 2, true},
		"of nobody":            {"token-of-nobody", https, 401, 0, false},
		"not a token":          {"a b", https, 401, 0, false},
		"none":                 {"", https, 401, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			code, body, h := g.request(t, http.MethodPost, "/api/login", "", `{"token":"`+tc.token+`"}`, tc.edit)
			if code != tc.want {
				t.Fatalf("%d %s", code, body)
			}
			set := (&http.Response{Header: h}).Cookies()
			kept := ""
			for _, c := range set {
				kept += c.Value
				if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure != tc.secure || (c.Value == "") != (c.MaxAge < 0) {
					t.Errorf("cookie %v", c)
				}
			}
			if tc.want == http.StatusOK && kept != tc.token || tc.want != http.StatusOK && len(set) > 0 {
				t.Errorf("the browser keeps %.40q", kept)
			}
			if tc.want != http.StatusOK {
				return
			}
			_, body, _ = g.request(t, http.MethodGet, "/api/session", "", "", func(r *http.Request) {
				for _, c := range set {
					if c.MaxAge >= 0 {
						r.AddCookie(c)
					}
				}
			})
			if want := map[string]string{"token-of-alice": "alice", long: "carol"}[tc.token]; !strings.Contains(body, `"user":"`+want+`"`) {
				t.Errorf("after it: %s, want %s", body, want)
			}
		})
	}
	_, _, h := g.request(t, http.MethodPost, "/api/logout", "token-of-alice", `{}`)
	for _, c := range (&http.Response{Header: h}).Cookies() {
		if c.MaxAge >= 0 {
			t.Errorf("after logging out there is %v", c)
		}
	}
}

// TestProxy has headers count from those who are trusted alone, and never for those of Kubernetes' own.
func TestProxy(t *testing.T) {
	for name, tc := range map[string]struct {
		from, user string
		want       string // user
		code       int
	}{
		"a trusted one":              {"127.0.0.0/8", "bob", "bob", 200},
		"elsewhere":                  {"10.0.0.0/8", "bob", "", 200},
		"system":                     {"127.0.0.0/8", "system:serviceaccount:kube-system:root", "", 200},
		"of whom nothing is known":   {"127.0.0.0/8", "mallory", "mallory", 200},
		"it says nothing":            {"127.0.0.0/8", "", "", 200},
		"a group of Kubernetes' own": {"127.0.0.0/8", "bob system:masters", "", 200},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.people.Proxies = &access.Proxies{Addresses: []netip.Prefix{netip.MustParsePrefix(tc.from)}, UserHeader: "X-Forwarded-User", GroupHeader: "X-Forwarded-Groups"}
			said := func(r *http.Request) {
				name, groups, _ := strings.Cut(tc.user, " ")
				r.Header.Set("X-Forwarded-User", name)
				r.Header.Set("X-Forwarded-Groups", "dev, "+groups)
			}
			code, body, _ := g.request(t, http.MethodGet, "/api/session", "", "", said)
			var got sessionAnswer
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatal(err)
			}
			if code != tc.code || got.User != tc.want || got.SeesReleases != (tc.want != "") {
				t.Errorf("%d %s", code, body)
			}
		})
	}
}

// TestForeignPages can't have a browser do anything.
func TestForeignPages(t *testing.T) {
	g := newRig(t)
	body := `{"action":"Abort","reason":"x","revision":"` + fleettest.NewRevision + `"}`
	for name, edit := range map[string]func(*http.Request){
		"without the header": func(r *http.Request) { r.Header.Del("X-Sluice-Dashboard") },
		"of another site":    func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"of a sibling":       func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
		"of another origin, by an old browser": func(r *http.Request) {
			r.Header.Del("Sec-Fetch-Site")
			r.Header.Set("Origin", "https://evil.example.com")
		},
	} {
		for _, path := range []string{"/api/releases/shop/cart/actions", "/api/login", "/api/logout"} {
			if code, answer, _ := g.request(t, http.MethodPost, path, "token-of-alice", body, edit); code != http.StatusForbidden {
				t.Errorf("%s, %s: %d %s", path, name, code, answer)
			}
		}
	}
	if len(g.api.Created()) > 0 {
		t.Errorf("it did: %v", g.api.Created())
	}
}

// TestActions has people do what they may, and nothing else.
func TestActions(t *testing.T) {
	body := func(action v1beta1.ActionType, revision string) string {
		return fmt.Sprintf(`{"action":%q,"reason":"errors in the checkout","revision":%q}`, action, revision)
	}
	done := func(g *rig, ok bool, message string) func(*v1alpha1.CanaryAction) {
		return func(a *v1alpha1.CanaryAction) {
			c, _ := g.fleet.Get(a.Namespace, a.Spec.Canary)
			c = c.DeepCopy()
			c.ResourceVersion = "2"
			c.Status.LastAction = &v1beta1.ActionStatus{Name: a.Name + "/" + string(a.UID), Action: a.Spec.Action, By: a.Spec.RequestedBy, Done: ok, Message: message}
			g.fleet.Changed(c)
		}
	}
	for name, tc := range map[string]struct {
		token, at, body string
		refused         bool
		want            int
		says            string
	}{
		"done":                      {"token-of-alice", "shop/cart", body(v1beta1.ActionPause, fleettest.NewRevision), false, 200, "Paused by alice"},
		"refused by the operator":   {"token-of-alice", "shop/cart", body(v1beta1.ActionPause, fleettest.NewRevision), true, 409, "Refused: "},
		"without the right":         {"token-of-bob", "shop/cart", body(v1beta1.ActionPause, fleettest.NewRevision), false, 403, "bob has no right to create canaryactions.sluice.dev in shop"},
		"where it may only look":    {"token-of-alice", "payments/ledger", body(v1beta1.ActionPause, fleettest.OldRevision), false, 403, "no right"},
		"where it sees nothing":     {"token-of-bob", "payments/ledger", body(v1beta1.ActionPause, fleettest.OldRevision), false, 404, "no such release"},
		"of a revision before":      {"token-of-alice", "shop/cart", body(v1beta1.ActionPause, fleettest.OldRevision), false, 409, "Another revision"},
		"of no revision":            {"token-of-alice", "shop/cart", body(v1beta1.ActionPause, ""), false, 400, "no revision"},
		"that is not possible":      {"token-of-alice", "shop/cart", body(v1beta1.ActionRetry, fleettest.NewRevision), false, 409, "not possible"},
		"that does not exist":       {"token-of-alice", "shop/cart", body("Explode", fleettest.NewRevision), false, 409, "not possible"},
		"back to no revision":       {"token-of-alice", "shop/cart", body(v1beta1.ActionRollback, fleettest.NewRevision), false, 400, "to which revision"},
		"back to a long revision":   {"token-of-alice", "shop/cart", fmt.Sprintf(`{"action":"Rollback","revision":%q,"toRevision":%q}`, fleettest.NewRevision, strings.Repeat("x", 101)), false, 400, "100"},
		"that is no JSON":           {"token-of-alice", "shop/cart", "x", false, 400, "can't be read"},
		"with a field of its own":   {"token-of-alice", "shop/cart", `{"action":"Pause","requestedBy":"root"}`, false, 400, "can't be read"},
		"with too long a reason":    {"token-of-alice", "shop/cart", fmt.Sprintf(`{"action":"Pause","revision":%q,"reason":%q}`, fleettest.NewRevision, strings.Repeat("x", 301)), false, 400, "300"},
		"larger than anything that": {"token-of-alice", "shop/cart", `{"reason":"` + strings.Repeat("x", 100_000) + `"}`, false, 400, "can't be read"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.api.OnAction = done(g, !tc.refused, "Paused by alice (errors in the checkout)")
			code, answer, _ := g.request(t, http.MethodPost, "/api/releases/"+tc.at+"/actions", tc.token, tc.body)
			if code != tc.want || !strings.Contains(answer, tc.says) {
				t.Errorf("%d %s, want %d %s", code, answer, tc.want, tc.says)
			}
			if (len(g.api.Created()) > 0) != (tc.want == http.StatusOK || tc.refused) {
				t.Errorf("created: %v", g.api.Created())
			}
			for _, a := range g.api.Created() {
				if s := a.Spec; s.RequestedBy != "alice" || s.Revision != fleettest.NewRevision || s.Reason != "errors in the checkout" || a.GenerateName != "cart-" || a.Namespace != "shop" {
					t.Errorf("created: %+v", a)
				}
			}
		})
	}
}

// TestButtons has the page offer what a person may do, and say why where there is nothing.
func TestButtons(t *testing.T) {
	g := newRig(t)
	for token, want := range map[string]string{
		"token-of-alice": `"may":{"actions":["Pause","Promote","Abort","Advance"]}`,
		"token-of-bob":   `"may":{"why":"bob may look, and has no right to create canaryactions.sluice.dev in shop."}`,
	} {
		if _, body, _ := g.request(t, http.MethodGet, "/api/releases/shop/cart", token, ""); !strings.Contains(body, want) {
			t.Errorf("%s: %s", token, body)
		}
	}
}

// TestLocal lets nobody in who does not know the path.
func TestLocal(t *testing.T) {
	h, path := Local(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) }))
	other, otherPath := Local(http.NotFoundHandler())
	if path == otherPath || len(path) < 22 || other == nil {
		t.Errorf("the paths are %s and %s", path, otherPath)
	}
	for at, want := range map[string]string{
		path: "/", path + "app.js": "/app.js", path + "api/stream": "/api/stream",
		"/": "", "/app.js": "", strings.TrimSuffix(path, "/"): "", "/x" + path: "", otherPath + "app.js": "", path[:8] + "/": "",
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, at, nil))
		if want == "" && w.Code != http.StatusNotFound || want != "" && w.Body.String() != want {
			t.Errorf("%s: %d %s", at, w.Code, w.Body)
		}
	}
}

// TestStream has changes come, each once, and none of what may not be seen.
func TestStream(t *testing.T) {
	g := newRig(t)
	alice, bob := g.stream(t, "token-of-alice"), g.stream(t, "token-of-bob")
	alice.mustNext(t, "fleet")
	bob.mustNext(t, "fleet")
	before := g.fleet.Encoded()
	for i := range 5 { // within the time that changes are gathered
		c := fleettest.Canary("payments", "ledger", now)
		fleettest.Progress(c, 1, 99, now)
		c.ResourceVersion = fmt.Sprint(i + 2)
		g.fleet.Changed(c)
	}
	if data := alice.mustNext(t, "row"); !strings.Contains(data, `"name":"ledger"`) || !strings.Contains(data, `"weight":5`) {
		t.Errorf("alice got %s", data)
	}
	g.fleet.Gone("shop", "checkout")
	if data := alice.mustNext(t, "gone"); data != `{"namespace":"shop","name":"checkout"}` {
		t.Errorf("alice got %s", data)
	}
	if data := bob.mustNext(t, "gone"); data != `{"namespace":"shop","name":"checkout"}` {
		t.Errorf("bob, who may not see the ledger, got %s", data)
	}
	if n := g.fleet.Encoded() - before; n > 5 {
		t.Errorf("%d encodings of at most 5 changes, for two browsers", n)
	}
}

// TestLostRights ends the stream of who may see less than before, when there is something to tell.
func TestLostRights(t *testing.T) {
	g := newRig(t)
	person, err := g.people.Of(&http.Request{Header: http.Header{"Authorization": {"Bearer token-of-bob"}}})
	if err != nil {
		t.Fatal(err)
	}
	bob := g.stream(t, "token-of-bob")
	bob.mustNext(t, "fleet")
	g.api.Set("token-of-bob", fleettest.User{Name: "bob"})
	person.Forget()
	c := fleettest.Canary("shop", "cart", now)
	c.ResourceVersion = "2"
	g.fleet.Changed(c)
	if event, data, ok := bob.next(); ok {
		t.Errorf("it goes on with %s %s", event, data)
	}
	if got := namesOf(t, g.stream(t, "token-of-bob").mustNext(t, "fleet")); got != nil {
		t.Errorf("it begins anew with %v", got)
	}
}

// TestIdle has browsers that look while nothing happens cost nothing.
func TestIdle(t *testing.T) {
	g := newRig(t, fleettest.Fleet(1000, now)...)
	var open []*frames
	for range 20 {
		s := g.stream(t, "token-of-alice")
		if got := namesOf(t, s.mustNext(t, "fleet")); len(got) != 1000 {
			t.Fatalf("got %d releases", len(got))
		}
		open = append(open, s)
	}
	if n := g.fleet.Encoded(); n != 1000 {
		t.Errorf("%d encodings for 20 browsers and 1000 releases", n)
	}
	requests := g.api.Requests()
	if requests > 4 {
		t.Errorf("20 browsers of one person cost %d requests", requests)
	}
	c := fleettest.Canary("shop", "cart", now)
	c.ResourceVersion = "2"
	g.fleet.Changed(c)
	for _, s := range open {
		s.mustNext(t, "row")
	}
	if n := g.fleet.Encoded(); n != 1001 {
		t.Errorf("%d encodings of one change for 20 browsers", n-1000)
	}
	if n := g.api.Requests() - requests; n != 0 {
		t.Errorf("a change cost %d requests", n)
	}
}

// TestHourOfNothing has twenty browsers look at a thousand releases while nothing happens for an hour. All that there is is a sign of
// life every thirty seconds, of a few bytes: no request to the API server, and nothing encoded.
func TestHourOfNothing(t *testing.T) {
	const browsers = 20
	hour := clocktesting.NewFakeClock(time.Now())
	g := newRigAt(t, hour, fleettest.Fleet(1000, now)...)
	var open []*frames
	for range browsers {
		s := g.stream(t, "token-of-alice")
		s.mustNext(t, "fleet")
		open = append(open, s)
	}
	for deadline := time.Now().Add(20 * time.Second); hour.Waiters() < browsers; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d streams wait for their time", hour.Waiters(), browsers)
		}
	}
	requests, encoded := g.api.Requests(), g.fleet.Encoded()
	for beat := range int(time.Hour / beatEvery) {
		hour.Step(beatEvery)
		for _, s := range open {
			if !s.in.Scan() || s.in.Text() != ": still here" || !s.in.Scan() || s.in.Text() != "" {
				t.Fatalf("beat %d: %q, %v", beat, s.in.Text(), s.in.Err())
			}
		}
	}
	if r, e := g.api.Requests()-requests, g.fleet.Encoded()-encoded; r != 0 || e != 0 {
		t.Errorf("an hour in which nothing happens costs %d requests and %d encodings", r, e)
	}
	c := fleettest.Canary("shop", "cart", now)
	c.ResourceVersion = "2"
	g.fleet.Changed(c)
	for hour.Waiters() < 2*browsers { // changes are gathered for a moment
		runtime.Gosched()
	}
	hour.Step(gatherFor)
	for _, s := range open {
		s.mustNext(t, "row") // the next line of each is what has changed: there was nothing else before it
	}
}

// TestMemory bounds what 5,000 releases cost: nothing beyond a pointer each while nobody looks, and a row each for all who
// look.
func TestMemory(t *testing.T) {
	all := fleettest.Fleet(5000, now)
	heap := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := heap()
	f := fleet.New(clock.RealClock{})
	for _, c := range all {
		f.Changed(c)
	}
	idle := heap() - before
	var watchers []*fleet.Watcher
	rows := 0
	for range 20 {
		w := f.Watch()
		for _, frame := range w.Take() {
			rows += len(frame.Row)
		}
		watchers = append(watchers, w)
	}
	watched := heap() - before
	if f.Encoded() != len(all) {
		t.Errorf("%d encodings", f.Encoded())
	}
	t.Logf("5000 releases: %d KiB while nobody looks, %d KiB with 20 browsers, each of which gets %d KiB at first", idle>>10, watched>>10, rows/20>>10)
	if idle > 3<<20 || watched > 8<<20 {
		t.Errorf("it costs %d KiB, and %d KiB with 20 browsers", idle>>10, watched>>10)
	}
	for _, w := range watchers {
		w.Close()
	}
	if left := heap() - before; left > idle+1<<20 {
		t.Errorf("when all have gone %d KiB are left of %d KiB", left>>10, watched>>10)
	}
	runtime.KeepAlive(all)
	runtime.KeepAlive(f)
}
