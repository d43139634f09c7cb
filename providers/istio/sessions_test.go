package istio

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/affinity"
)

func sticky(change ...func(*v1beta1.SessionAffinity)) *v1beta1.Canary {
	c := canary()
	c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "sluice"}
	for _, f := range change {
		f(c.Spec.Analysis.SessionAffinity)
	}
	return c
}

func routesOf(t *testing.T, c *v1beta1.Canary, traffic providers.Traffic) []*networking.HTTPRoute {
	t.Helper()
	intents, err := virtualServices(providers.Route{Canary: c, Traffic: traffic}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return intents[0].object.(*networkingv1.VirtualService).Spec.Http
}

// primaryValue is the value of the cookie that marks users of the primary.
func primaryValue(t *testing.T, c *v1beta1.Canary, sessions providers.Sessions) string {
	t.Helper()
	k, err := affinity.New(c, sessions)
	if err != nil {
		t.Fatal(err)
	}
	cookie, err := http.ParseSetCookie(k.MarkPrimary())
	if err != nil {
		t.Fatal(err)
	}
	return cookie.Value
}

// TestSessionRoutes checks the shapes; TestSessionsKeepTheShare what they do.
func TestSessionRoutes(t *testing.T) {
	const (
		isCanary   = `(.*;\s*)?sluice=c1\s*(;.*)?`
		isPrimary  = `(.*;\s*)?sluice-primary=s3\.cecb2a34\s*(;.*)?`
		wasPrimary = `(.*;\s*)?sluice-primary=[^;]*\.cecb2a34\s*(;.*)?`
		toCanary   = `{host: podinfo-canary}`
		toPrimary  = `{host: podinfo-primary}`
		marks      = `, headers: {response: {add: {set-cookie: `
	)
	_, tag, _ := strings.Cut(primaryValue(t, sticky(), providers.Sessions{Canary: "c1"}), ".")
	spell := func(s string) string { return strings.ReplaceAll(s, "cecb2a34", tag) }
	inCanary := marks + `"sluice=c1; Max-Age=86400; Path=/"}}}`
	inPrimary := spell(marks + `"sluice-primary=s3.cecb2a34; Max-Age=86400; Path=/"}}}`)
	drop := marks + `"sluice=c0; Max-Age=-1; Path=/"}}}`
	grown := providers.Sessions{Canary: "c1", Primary: "s3", Raised: 10}
	for name, tc := range map[string]struct {
		traffic providers.Traffic
		match   string // of the service
		want    string
	}{
		"a step": {
			traffic: providers.Traffic{Primary: 70, Canary: 30, Sessions: grown},
			want: `[
				{match: [{headers: {cookie: {regex: '` + isCanary + `'}}}], route: [{destination: ` + toCanary + `, weight: 100}]},
				{match: [{headers: {cookie: {regex: '` + isPrimary + `'}}}], route: [{destination: ` + toPrimary + `, weight: 100}]},
				{match: [{headers: {cookie: {regex: '` + wasPrimary + `'}}}], route: [
					{destination: ` + toPrimary + `, weight: 70` + inPrimary + `}, {destination: ` + toCanary + `, weight: 10` + inCanary + `}]},
				{route: [{destination: ` + toPrimary + `, weight: 70` + inPrimary + `}, {destination: ` + toCanary + `, weight: 30` + inCanary + `}]}]`,
		},
		"within the service's match": {
			traffic: providers.Traffic{Canary: 100, Sessions: grown}, match: `{"uri":{"prefix":"/a"},"headers":{"cookie":{"regex":".*x.*"}}}`,
			want: `[
				{match: [{uri: {prefix: /a}, headers: {cookie: {regex: .*x.*}, Cookie: {regex: '` + isCanary + `'}}}], route: [{destination: ` + toCanary + `, weight: 100}]},
				{match: [{uri: {prefix: /a}, headers: {cookie: {regex: .*x.*}}}], route: [
					{destination: ` + toPrimary + `, weight: 0` + inPrimary + `}, {destination: ` + toCanary + `, weight: 100` + inCanary + `}]}]`,
		},
		"at 0 nobody goes to the canary": {
			traffic: providers.Traffic{Primary: 100, Sessions: grown},
			want:    `[{route: [{destination: ` + toPrimary + `, weight: 100}, {destination: ` + toCanary + `, weight: 0}]}]`,
		},
		"ended": {
			traffic: providers.Traffic{Primary: 100, Sessions: providers.Sessions{Ended: "c0"}},
			want: `[{match: [{headers: {cookie: {regex: '(.*;\s*)?sluice=c0\s*(;.*)?'}}}], route: [
					{destination: ` + toPrimary + `, weight: 100` + drop + `}, {destination: ` + toCanary + `, weight: 0` + drop + `}]},
				{route: [{destination: ` + toPrimary + `, weight: 100}, {destination: ` + toCanary + `, weight: 0}]}]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := sticky()
			if tc.match != "" {
				c.Spec.Service.Match = []v1beta1.RawObject{*raw(tc.match)}
			}
			got, err := written(t, providers.Route{Canary: c, Traffic: tc.traffic}, "", "http")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(list(t, spell(tc.want)), got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			readBack(t, c, tc.traffic, got, "http")
		})
	}
}

// TestPercentSigns has Envoy, which expands what stands between them, set them as they are.
func TestPercentSigns(t *testing.T) {
	c := sticky(func(a *v1beta1.SessionAffinity) { a.Path = "/a%20b" })
	routes := routesOf(t, c, providers.Traffic{Primary: 90, Canary: 10, Sessions: providers.Sessions{Canary: "c1", Primary: "s1", Raised: 10}})
	got := routes[len(routes)-1].Route[1].Headers.Response.Add["set-cookie"]
	if want := "sluice=c1; Max-Age=86400; Path=/a%%20b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Session affinity neither inflates nor deflates the canary's share, and nobody
// goes back (pain 19). Users walk the routes as browsers do: with jars that
// hold cookies of an earlier release too, some coming late, some keeping none.
func TestSessionsKeepTheShare(t *testing.T) {
	const population, newcomers = 20000, 4000
	w := &walk{random: rand.New(rand.NewPCG(1, 2))} //nolint:gosec // repeatable on purpose
	c := sticky()
	last := primaryValue(t, c, providers.Sessions{Canary: "c0", Primary: "s9"})
	join := func(n int) {
		for i := range n {
			u := &user{jar: map[string]string{}}
			switch i % 4 { // half of them have been there before
			case 0:
				u.jar["sluice"] = "c0"
			case 1:
				u.jar["sluice-primary"] = last
			}
			w.users = append(w.users, u)
		}
	}
	join(population)
	for step := range 5 {
		weight := int32(10 * (step + 1)) //nolint:gosec // 10 to 50
		routes := routesOf(t, c, providers.Traffic{
			Primary: 100 - weight, Canary: weight,
			Sessions: providers.Sessions{Canary: "c1", Primary: fmt.Sprintf("s%d", step), Raised: 10},
		})
		w.turn(t, routes, w.users, true)
		w.checkShare(t, weight, "before newcomers")
		join(newcomers)
		w.turn(t, routes, w.users[len(w.users)-newcomers:], true)
		w.checkShare(t, weight, "with newcomers")
		w.checkWithoutJar(t, routes, weight)
	}

	ended := routesOf(t, c, providers.Traffic{Primary: 100, Sessions: providers.Sessions{Ended: "c1"}})
	w.turn(t, ended, w.users, false)
	for _, u := range w.users {
		if u.onCanary || u.jar["sluice"] == "c1" {
			t.Fatalf("after the release a user is on the canary (%v) or keeps %v", u.onCanary, u.jar)
		}
	}
}

type user struct {
	jar      map[string]string
	onCanary bool
}

type walk struct {
	random *rand.Rand
	users  []*user
}

// turn has each user make several requests, which all go to one version.
func (w *walk) turn(t *testing.T, routes []*networking.HTTPRoute, users []*user, growing bool) {
	t.Helper()
	for _, u := range users {
		before := u.onCanary
		for request := range 3 {
			on := w.request(t, routes, u.jar)
			if growing && before && !on {
				t.Fatal("a user went back from the canary to the primary")
			}
			if request > 0 && on != u.onCanary {
				t.Fatal("a user changed versions between two requests of a step")
			}
			u.onCanary = on
		}
	}
}

func (w *walk) checkShare(t *testing.T, weight int32, when string) {
	t.Helper()
	on := 0
	for _, u := range w.users {
		if u.onCanary {
			on++
		}
	}
	within(t, fmt.Sprintf("users of the canary at %d%% %s", weight, when), on, len(w.users), weight)
}

// checkWithoutJar has clients that keep no cookies share out like requests without affinity.
func (w *walk) checkWithoutJar(t *testing.T, routes []*networking.HTTPRoute, weight int32) {
	t.Helper()
	const n = 5000
	on := 0
	for range n {
		if w.request(t, routes, map[string]string{}) {
			on++
		}
	}
	within(t, fmt.Sprintf("requests without cookies to the canary at %d%%", weight), on, n, weight)
}

// within checks a count against a binomial distribution, at 4.5 standard deviations.
func within(t *testing.T, what string, got, n int, percent int32) {
	t.Helper()
	p := float64(percent) / 100
	if d := math.Abs(float64(got) - p*float64(n)); d > 4.5*math.Sqrt(p*(1-p)*float64(n)) {
		t.Errorf("%s: %d of %d, %.2f%%", what, got, n, 100*float64(got)/float64(n))
	}
}

// request walks the routes as Envoy would, changes the jar as the answer says, and
// tells whether it went to the canary.
func (w *walk) request(t *testing.T, routes []*networking.HTTPRoute, jar map[string]string) bool {
	t.Helper()
	cookie := "theme=dark"
	for name, value := range jar {
		cookie += "; " + name + "=" + value
	}
	i := slices.IndexFunc(routes, func(r *networking.HTTPRoute) bool { return evaluate(r.Match, http.Header{"Cookie": {cookie}}) })
	if i < 0 {
		t.Fatal("no route for a request")
	}
	d := w.pick(routes[i].Route)
	for name, value := range d.GetHeaders().GetResponse().GetAdd() {
		if !strings.EqualFold(name, "set-cookie") {
			continue
		}
		set, err := http.ParseSetCookie(value)
		if err != nil {
			t.Fatal(err)
		}
		jar[set.Name] = set.Value
		if set.MaxAge < 0 {
			delete(jar, set.Name)
		}
	}
	return d.Destination.Host == "podinfo-canary"
}

func (w *walk) pick(destinations []*networking.HTTPRouteDestination) *networking.HTTPRouteDestination {
	total := int32(0)
	for _, d := range destinations {
		total += d.Weight
	}
	n := w.random.Int32N(total)
	for _, d := range destinations {
		if n < d.Weight {
			return d
		}
		n -= d.Weight
	}
	return nil
}

// evaluate knows headers only.
func evaluate(ms matches, headers http.Header) bool {
	return len(ms) == 0 || slices.ContainsFunc(ms, func(m *networking.HTTPMatchRequest) bool {
		for name, want := range m.Headers {
			if !matchString(want, headers.Get(name)) {
				return false
			}
		}
		return true
	})
}

var compiled = map[string]*regexp.Regexp{}

// matchString takes a regex for the whole string, as Envoy does.
func matchString(m *networking.StringMatch, s string) bool {
	expr, ok := m.GetMatchType().(*networking.StringMatch_Regex)
	if !ok {
		return fits(s, m)
	}
	re := compiled[expr.Regex]
	if re == nil {
		re = regexp.MustCompile("^(?:" + expr.Regex + ")$")
		compiled[expr.Regex] = re
	}
	return re.MatchString(s)
}
