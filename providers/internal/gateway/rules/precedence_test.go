package rules

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/routertest"
)

// drawRelease draws a kind of release and what is asked for in it.
func drawRelease(t *rapid.T) (c *v1beta1.Canary, traffic providers.Traffic, matched []gatewayv1.HTTPRouteMatch) {
	c = canary()
	weight := rapid.SampledFrom([]int32{0, 10, 50, 100}).Draw(t, "weight")
	traffic = providers.Traffic{Primary: 100 - weight, Canary: weight}
	switch rapid.SampledFrom([]string{"weights", "A/B", "A/B", "sessions", "mirror"}).Draw(t, "kind") {
	case "A/B":
		for range rapid.IntRange(1, 2).Draw(t, "alternatives") {
			m := routertest.DrawMatch(t)
			matched = append(matched, m)
			c.Spec.Analysis.Match = append(c.Spec.Analysis.Match, specOf(m))
		}
		traffic.Matched = true
	case "sessions":
		c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "v"}
		traffic.Sessions = providers.Sessions{Canary: "c1", Primary: "s1", Raised: 10}
	case "mirror":
		traffic = providers.Traffic{Primary: 100, Mirror: 100}
	}
	return c, traffic, matched
}

// specOf writes a match as specs do.
func specOf(m gatewayv1.HTTPRouteMatch) v1beta1.RawObject {
	kind := map[string]string{"Exact": "exact", "PathPrefix": "prefix", "RegularExpression": "regex"}
	out := map[string]any{"uri": map[string]string{kind[string(*m.Path.Type)]: *m.Path.Value}}
	if m.Method != nil {
		out["method"] = map[string]string{"exact": string(*m.Method)}
	}
	headers := map[string]any{}
	for _, h := range m.Headers {
		headers[string(h.Name)] = map[string]string{kind[string(*h.Type)]: h.Value}
	}
	params := map[string]any{}
	for _, q := range m.QueryParams {
		params[string(q.Name)] = map[string]string{kind[string(*q.Type)]: q.Value}
	}
	out["headers"], out["queryParams"] = headers, params
	raw, err := json.Marshal(out)
	if err != nil {
		panic(err) // nothing in it can't be written
	}
	return v1beta1.RawObject{Raw: raw}
}

// ruleToApex tells whether a user's rule leads there.
func ruleToApex(rule *gatewayv1.HTTPRouteRule) bool { return rule.BackendRefs[0].Name == "podinfo" }

// TestUsersObjects draws routes of users and releases. What did not lead to the apex Service
// is served as before, whatever the order of the rules and whichever paths a proxy prefers, and
// what led there is shared out, and nothing else becomes of it.
func TestUsersObjects(t *testing.T) {
	routertest.FixSeed(t)
	cases, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		for range 10 {
			cases++
			if !usersObjects(t) {
				refused++
			}
		}
	})
	if refused*3 > cases {
		t.Errorf("of %d cases %d were refused", cases, refused)
	}
}

func usersObjects(t *rapid.T) bool {
	users := &gatewayv1.HTTPRouteSpec{Rules: routertest.DrawRules(t, "podinfo")}
	c, traffic, matched := drawRelease(t)
	rules, err := rulesOf(c, traffic, users)
	if err != nil {
		if !providers.IsInvalid(err) {
			t.Fatal(err)
		}
		return false
	}
	for range 15 {
		r := routertest.DrawRequest(t, "v=c1", "v-primary=s1.d0f631ca", "v-primary=s0.d0f631ca", "a=b")
		for _, proxy := range []routertest.Proxy{{}, {RegexLast: true}} {
			before, match := proxy.Serve(users.Rules, r)
			after, matchAfter := proxy.Serve(rules, r)
			toOurs := after != nil && (readRule(*after, c).ToPrimary || readRule(*after, c).ToCanary)
			if before == nil {
				if after != nil && !toOurs { // a rule of ours is there where none of the user's leads to the apex
					t.Fatalf("%+v was for nobody", r)
				}
				continue
			}
			if after == nil {
				t.Fatalf("%+v is for nobody\n%s", r, show(users.Rules, rules))
			}
			want, got := routertest.Treatment(before, match, r.Path), routertest.Treatment(after, matchAfter, r.Path)
			if want != got {
				t.Fatalf("%+v was treated as %q and is as %q\n%s", r, want, got, show(users.Rules, rules))
			}
			shares := routertest.Backends(after)
			if !ruleToApex(before) {
				if !maps.Equal(shares, routertest.Backends(before)) {
					t.Fatalf("%+v was for %v and is for %v\n%s", r, routertest.Backends(before), shares, show(users.Rules, rules))
				}
				continue
			}
			checkShares(t, r, *before.BackendRefs[0].Port, traffic, matched, shares, func() string { return show(users.Rules, rules) })
		}
	}
	return true
}

// checkShares compares what becomes of a request for the apex Service with what is asked for.
func checkShares(t *rapid.T, r routertest.Request, port int32, traffic providers.Traffic, matched []gatewayv1.HTTPRouteMatch, got map[string]int32, all func() string) {
	primary, canary := "podinfo-primary:9898", "podinfo-canary:9898"
	if port == 9797 {
		primary, canary = "podinfo-primary:9797", "podinfo-canary:9797"
	}
	toCanary := traffic.Canary
	if traffic.Matched {
		fits := false
		for _, m := range matched {
			fits = fits || r.Fits(m)
		}
		if !fits {
			toCanary = 0
		}
	}
	want := map[string]int32{primary: 100 - toCanary, canary: toCanary}
	if traffic.Sessions.Canary != "" && toCanary > 0 {
		switch cookie := r.Headers["cookie"]; {
		case cookie == "v=c1":
			want = map[string]int32{canary: 100}
		case toCanary == 100:
		case cookie == "v-primary=s1.d0f631ca":
			want = map[string]int32{primary: 100}
		case cookie == "v-primary=s0.d0f631ca":
			want = map[string]int32{primary: 100 - toCanary, canary: traffic.Sessions.Raised}
		}
	}
	maps.DeleteFunc(want, func(_ string, weight int32) bool { return weight == 0 })
	if !maps.Equal(want, got) {
		t.Fatalf("%+v is for %v, want %v\n%s", r, got, want, all())
	}
}

func show(lists ...[]gatewayv1.HTTPRouteRule) string {
	var out []string
	for _, rules := range lists {
		text, err := yaml.Marshal(rules)
		if err != nil {
			return err.Error()
		}
		out = append(out, string(text))
	}
	return strings.Join(out, "--- becomes\n")
}

// Of two paths by regular expressions a proxy prefers the one with more conditions beside it, if nothing else. A release
// that adds such a condition, and takes requests of another service by it, is refused: no rule can be made that is for
// what fits both paths. One that changes nothing between them is not.
func TestTwoPathsByExpressions(t *testing.T) {
	users := &gatewayv1.HTTPRouteSpec{}
	if err := yaml.Unmarshal([]byte(`
rules:
- matches: [{path: {type: RegularExpression, value: /a.*}, headers: [{name: x-c, value: "yes"}]}]
  backendRefs: [{name: podinfo, port: 9898}]
- matches: [{path: {type: RegularExpression, value: .*/b.*}, headers: [{name: x-a, value: "yes"}], queryParams: [{name: q, value: "1"}]}]
  backendRefs: [{name: billing, port: 9898}]
`), users); err != nil {
		t.Fatal(err)
	}
	sessions := providers.Traffic{Primary: 90, Canary: 10, Sessions: providers.Sessions{Canary: "c1", Primary: "s1", Raised: 10}}
	for name, tc := range map[string]struct {
		traffic providers.Traffic
		refused bool
	}{"cookies of sessions": {sessions, true}, "weights": {providers.Traffic{Primary: 90, Canary: 10}, false}} {
		t.Run(name, func(t *testing.T) {
			c := canary()
			if tc.refused {
				c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "v"}
			}
			if _, err := rulesOf(c, tc.traffic, users); providers.IsInvalid(err) != tc.refused || err != nil && !tc.refused {
				t.Errorf("refused: %v", err)
			}
		})
	}
}
