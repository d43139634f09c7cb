package rules

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

func canary(change ...func(*v1beta1.Canary)) *v1beta1.Canary {
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: "test", UID: "c1"},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{Kind: "Deployment", Name: "podinfo"},
			Service:   v1beta1.CanaryService{Port: 80},
			Analysis:  &v1beta1.CanaryAnalysis{StepWeight: 10},
		},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func service(change func(*v1beta1.CanaryService)) func(*v1beta1.Canary) {
	return func(c *v1beta1.Canary) { change(&c.Spec.Service) }
}

func raw(s string) *v1beta1.RawObject { return &v1beta1.RawObject{Raw: json.RawMessage(s)} }

func raws(list ...string) (out []v1beta1.RawObject) {
	for _, s := range list {
		out = append(out, *raw(s))
	}
	return out
}

// rulesIn is the JSON of rules in which P, C and A stand for the references to the
// Services of the two sides and the apex, and /... for a path prefix.
func rulesIn(t *testing.T, text string) []gatewayv1.HTTPRouteRule {
	t.Helper()
	for short, long := range map[string]string{
		"P81:": `group: "", kind: Service, name: podinfo-primary, port: 81, weight: `,
		"C81:": `group: "", kind: Service, name: podinfo-canary, port: 81, weight: `,
		"P:":   `group: "", kind: Service, name: podinfo-primary, port: 80, weight: `,
		"C:":   `group: "", kind: Service, name: podinfo-canary, port: 80, weight: `,
		"ANY":  `{path: {type: PathPrefix, value: /}}`,
	} {
		text = strings.ReplaceAll(text, short, long)
	}
	var out []gatewayv1.HTTPRouteRule
	if err := yaml.UnmarshalStrict([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRules(t *testing.T) {
	insiders := func(c *v1beta1.Canary) {
		c.Spec.Analysis.Match = raws(`{"headers":{"x-insider":{"exact":"yes"}}}`, `{"headers":{"cookie":{"regex":"^(.*;)?(canary=always)(;.*)?$"}}}`)
	}
	for name, tc := range map[string]struct {
		change  func(*v1beta1.Canary)
		traffic providers.Traffic
		want    string
	}{
		"plain": {
			traffic: providers.Traffic{Primary: 100},
			want:    `[{matches: [ANY], backendRefs: [{P: 100}, {C: 0}]}]`,
		},
		"weighted": {
			traffic: providers.Traffic{Primary: 65, Canary: 35},
			want:    `[{matches: [ANY], backendRefs: [{P: 65}, {C: 35}]}]`,
		},
		"everything in the spec": {
			change: service(func(s *v1beta1.CanaryService) {
				s.Match = raws(`{"uri":{"prefix":"/api"},"method":{"exact":"GET"},"queryParams":{"v":{"regex":"[0-9]+"}}}`, `{"uri":{"exact":"/x"}}`, `{"uri":{"regex":"/y.*"}}`)
				s.Timeout, s.BackendTimeout = "1m30.5s", "15s"
				s.Headers = raw(`{"request":{"add":{"x-b":"2","x-a":"1"},"remove":["x-c"]},"response":{"set":{"x-d":"3"}}}`)
				s.CorsPolicy = raw(`{"allowOrigins":[{"exact":"https://example.com"}],"allowMethods":["GET"],"allowHeaders":["x"],"exposeHeaders":["x-y"],"maxAge":"24h","allowCredentials":true}`)
				s.Rewrite = raw(`{"uri":"/v2","authority":"b.example.com"}`)
				s.Mirror = raws(`{"backendRef":{"name":"shadow","port":81}}`)
			}),
			traffic: providers.Traffic{Primary: 90, Canary: 10},
			want: `[{
				matches: [
					{path: {type: PathPrefix, value: /api}, method: GET, queryParams: [{type: RegularExpression, name: v, value: "[0-9]+"}]},
					{path: {type: Exact, value: /x}}, {path: {type: RegularExpression, value: "/y.*"}}],
				filters: [
					{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: x-a, value: "1"}, {name: x-b, value: "2"}], remove: [x-c]}},
					{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-d, value: "3"}]}},
					{type: CORS, cors: {allowOrigins: ["https://example.com"], allowMethods: [GET], allowHeaders: [x], exposeHeaders: [x-y], maxAge: 86400, allowCredentials: true}},
					{type: URLRewrite, urlRewrite: {hostname: b.example.com, path: {type: ReplaceFullPath, replaceFullPath: /v2}}},
					{type: RequestMirror, requestMirror: {backendRef: {group: "", kind: Service, name: shadow, port: 81}}}],
				backendRefs: [{P: 90}, {C: 10}], timeouts: {request: 1m30s500ms, backendRequest: 15s}}]`,
		},
		"full path": {
			change:  service(func(s *v1beta1.CanaryService) { s.Rewrite = raw(`{"uri":"/v2","type":"ReplaceFullPath"}`) }),
			traffic: providers.Traffic{Primary: 100},
			want: `[{matches: [ANY], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /v2}}}],
				backendRefs: [{P: 100}, {C: 0}]}]`,
		},
		"A/B": {
			change: insiders, traffic: providers.Traffic{Canary: 100, Matched: true},
			want: `[
				{matches: [
					{path: {type: PathPrefix, value: /}, headers: [{type: Exact, name: x-insider, value: "yes"}]},
					{path: {type: PathPrefix, value: /}, headers: [{type: RegularExpression, name: cookie, value: "^(.*;)?(canary=always)(;.*)?$"}]}],
				 backendRefs: [{P: 0}, {C: 100}]},
				{matches: [ANY], backendRefs: [{P: 100}]}]`,
		},
		"A/B within the service's match": {
			change: func(c *v1beta1.Canary) {
				c.Spec.Service.Match = raws(`{"uri":{"prefix":"/a"}}`, `{"uri":{"prefix":"/b"},"headers":{"x-insider":{"exact":"no"}}}`)
				c.Spec.Analysis.Match = raws(`{"headers":{"X-Insider":{"regex":"y.*"}}}`, `{"uri":{"prefix":"/a/c"}}`)
			},
			traffic: providers.Traffic{Primary: 50, Canary: 50, Matched: true},
			want: `[
				{matches: [
					{path: {type: PathPrefix, value: /a}, headers: [{type: RegularExpression, name: X-Insider, value: y.*}]},
					{path: {type: PathPrefix, value: /a/c}}],
				 backendRefs: [{P: 50}, {C: 50}]},
				{matches: [
					{path: {type: PathPrefix, value: /a}},
					{path: {type: PathPrefix, value: /b}, headers: [{type: Exact, name: x-insider, value: "no"}]}],
				 backendRefs: [{P: 100}]}]`,
		},
		"all copied": {
			traffic: providers.Traffic{Primary: 100, Mirror: 100},
			want: `[{matches: [ANY], filters: [{type: RequestMirror, requestMirror: {backendRef: {group: "", kind: Service, name: podinfo-canary, port: 80}}}],
				backendRefs: [{P: 100}, {C: 0}]}]`,
		},
		"some copied": {
			traffic: providers.Traffic{Primary: 100, Mirror: 30},
			want: `[{matches: [ANY], filters: [{type: RequestMirror, requestMirror: {percent: 30, backendRef: {group: "", kind: Service, name: podinfo-canary, port: 80}}}],
				backendRefs: [{P: 100}, {C: 0}]}]`,
		},
		"a discovered port": {
			change:  service(func(s *v1beta1.CanaryService) { s.PortDiscovery = true }),
			traffic: providers.Traffic{Primary: 100},
			want:    `[{matches: [ANY], backendRefs: [{P: 100}, {C: 0}]}]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary()
			if tc.change != nil {
				tc.change(c)
			}
			got, err := rulesOf(c, tc.traffic, nil)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(rulesIn(t, tc.want), got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if read, ok := TrafficOf(got, c, nil); !ok || read != tc.traffic {
				t.Errorf("read back as %+v", read)
			}
		})
	}
}

func TestSessionRules(t *testing.T) {
	const (
		isCanary   = `'(.*;\s*)?v=c1\s*(;.*)?'`
		isPrimary  = `'(.*;\s*)?v-primary=s3\.TAG\s*(;.*)?'`
		wasPrimary = `'(.*;\s*)?v-primary=[^;]*\.TAG\s*(;.*)?'`
		cookie     = `[{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: set-cookie, value: `
		inCanary   = cookie + `v=c1; Max-Age=86400; Path=/}]}}]`
		inPrimary  = cookie + `v-primary=s3.TAG; Max-Age=86400; Path=/}]}}]`
		drop       = cookie + `v=c0; Max-Age=-1; Path=/}]}}]`
		with       = `{path: {type: PathPrefix, value: /}, headers: [{type: RegularExpression, name: cookie, value: `
		tag        = "d0f631ca" // of c1
	)
	sessions := providers.Sessions{Canary: "c1", Primary: "s3", Raised: 10}
	for name, tc := range map[string]struct {
		traffic providers.Traffic
		want    string
	}{
		"a step": {
			traffic: providers.Traffic{Primary: 70, Canary: 30, Sessions: sessions},
			want: `[
				{matches: [` + with + isCanary + `}]}], backendRefs: [{C: 100}]},
				{matches: [` + with + isPrimary + `}]}], backendRefs: [{P: 100}]},
				{matches: [` + with + wasPrimary + `}]}], backendRefs: [{P: 70, filters: ` + inPrimary + `}, {C: 10, filters: ` + inCanary + `}]},
				{matches: [ANY], backendRefs: [{P: 70, filters: ` + inPrimary + `}, {C: 30, filters: ` + inCanary + `}]}]`,
		},
		"all": {
			traffic: providers.Traffic{Canary: 100, Sessions: sessions},
			want: `[
				{matches: [` + with + isCanary + `}]}], backendRefs: [{C: 100}]},
				{matches: [ANY], backendRefs: [{P: 0, filters: ` + inPrimary + `}, {C: 100, filters: ` + inCanary + `}]}]`,
		},
		"at 0 nobody goes to the canary": {
			traffic: providers.Traffic{Primary: 100, Sessions: sessions},
			want:    `[{matches: [ANY], backendRefs: [{P: 100}, {C: 0}]}]`,
		},
		"ended": {
			traffic: providers.Traffic{Primary: 100, Sessions: providers.Sessions{Ended: "c0"}},
			want: `[
				{matches: [` + with + `'(.*;\s*)?v=c0\s*(;.*)?'}]}], backendRefs: [{P: 100, filters: ` + drop + `}, {C: 0, filters: ` + drop + `}]},
				{matches: [ANY], backendRefs: [{P: 100}, {C: 0}]}]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary(func(c *v1beta1.Canary) { c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "v"} })
			got, err := rulesOf(c, tc.traffic, nil)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(rulesIn(t, strings.ReplaceAll(tc.want, "TAG", tag)), got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			read, _ := TrafficOf(got, c, nil)
			read.Sessions = tc.traffic.Sessions // they are not read
			if read != tc.traffic {
				t.Errorf("read back as %+v", read)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	for name, tc := range map[string]struct {
		change    func(*v1beta1.Canary)
		traffic   providers.Traffic
		wantField string
	}{
		"timeout":          {change: service(func(s *v1beta1.CanaryService) { s.Timeout = "soon" }), wantField: "spec.service.timeout"},
		"too fine":         {change: service(func(s *v1beta1.CanaryService) { s.BackendTimeout = "1.5ms" }), wantField: "spec.service.backendTimeout"},
		"rewrite":          {change: service(func(s *v1beta1.CanaryService) { s.Rewrite = raw(`{"uri":1}`) }), wantField: "spec.service.rewrite"},
		"type of rewrite":  {change: service(func(s *v1beta1.CanaryService) { s.Rewrite = raw(`{"uri":"/","type":"Some"}`) }), wantField: "spec.service.rewrite.type"},
		"headers":          {change: service(func(s *v1beta1.CanaryService) { s.Headers = raw(`{"requests":{}}`) }), wantField: "spec.service.headers"},
		"origin":           {change: service(func(s *v1beta1.CanaryService) { s.CorsPolicy = raw(`{"allowOrigins":[{"regex":".*"}]}`) }), wantField: "spec.service.corsPolicy.allowOrigins[0]"},
		"age":              {change: service(func(s *v1beta1.CanaryService) { s.CorsPolicy = raw(`{"maxAge":"1"}`) }), wantField: "spec.service.corsPolicy.maxAge"},
		"mirror":           {change: service(func(s *v1beta1.CanaryService) { s.Mirror = raws(`{}`) }), wantField: "spec.service.mirror[0].backendRef.name"},
		"label":            {change: service(func(s *v1beta1.CanaryService) { s.Match = raws(`{"sourceLabels":{"a":"b"}}`) }), wantField: "spec.service.match[0].sourceLabels"},
		"without":          {change: service(func(s *v1beta1.CanaryService) { s.Match = raws(`{}`, `{"withoutHeaders":{"a":{}}}`) }), wantField: "spec.service.match[1].withoutHeaders"},
		"case":             {change: service(func(s *v1beta1.CanaryService) { s.Match = raws(`{"ignoreUriCase":true}`) }), wantField: "spec.service.match[0].ignoreUriCase"},
		"misspelled":       {change: service(func(s *v1beta1.CanaryService) { s.Match = raws(`{"header":{}}`) }), wantField: "spec.service.match[0]"},
		"relative path":    {change: service(func(s *v1beta1.CanaryService) { s.Match = raws(`{"uri":{"prefix":"a"}}`) }), wantField: "spec.service.match[0].uri"},
		"two ways":         {change: service(func(s *v1beta1.CanaryService) { s.Match = raws(`{"headers":{"a":{"exact":"b","prefix":"c"}}}`) }), wantField: "spec.service.match[0].headers.a"},
		"method":           {change: service(func(s *v1beta1.CanaryService) { s.Match = raws(`{"method":{"prefix":"P"}}`) }), wantField: "spec.service.match[0].method"},
		"pseudo header":    {change: service(func(s *v1beta1.CanaryService) { s.Match = raws(`{"headers":{":authority":{"exact":"b"}}}`) }), wantField: "spec.service.match[0].headers"},
		"no match":         {traffic: providers.Traffic{Canary: 100, Matched: true}, wantField: "spec.analysis.match"},
		"no sessions":      {traffic: providers.Traffic{Primary: 90, Canary: 10, Sessions: providers.Sessions{Canary: "a"}}, wantField: "spec.analysis.sessionAffinity"},
		"matches exclude":  {traffic: providers.Traffic{Canary: 100, Matched: true}, change: both2(`{"uri":{"prefix":"/a"}}`, `{"uri":{"prefix":"/b"}}`), wantField: "spec.analysis.match"},
		"matches of regex": {traffic: providers.Traffic{Canary: 100, Matched: true}, change: both2(`{"uri":{"regex":"/a.*"}}`, `{"uri":{"prefix":"/b"}}`), wantField: "spec.analysis.match"},
		"cookie is matched": {traffic: providers.Traffic{Primary: 90, Canary: 10, Sessions: providers.Sessions{Canary: "a", Primary: "b"}}, change: func(c *v1beta1.Canary) {
			c.Spec.Service.Match = raws(`{"headers":{"Cookie":{"regex":"a.*"}}}`)
			c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "v"}
		}, wantField: "spec.analysis.sessionAffinity"},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary()
			if tc.change != nil {
				tc.change(c)
			}
			_, err := rulesOf(c, tc.traffic, nil)
			if !providers.IsInvalid(err) || !strings.HasPrefix(err.Error(), tc.wantField+": ") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// both2 sets the service's match and the analysis'.
func both2(service, analysis string) func(*v1beta1.Canary) {
	return func(c *v1beta1.Canary) {
		c.Spec.Service.Match, c.Spec.Analysis.Match = raws(service), raws(analysis)
	}
}

func TestDuration(t *testing.T) {
	for in, want := range map[string]string{
		"0s": "0s", "1s": "1s", "90s": "1m30s", "1.5s": "1s500ms", "26h": "26h", "1h0m0.001s": "1h1ms",
		"-1s": "", "1us": "", "": "", "1": "", "100000h": "",
	} {
		if got, err := Duration(in); string(got) != want || (err != nil) != (want == "") {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
}

func TestUsersRules(t *testing.T) {
	const users = `[
		{name: admin, matches: [{path: {type: PathPrefix, value: /admin}}], backendRefs: [{name: admin, port: 80}]},
		{name: slow, matches: [{path: {type: PathPrefix, value: /slow}}], timeouts: {request: 60s},
		 filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: x-a, value: "1"}]}}],
		 backendRefs: [{name: podinfo, port: 81, filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-b, value: "2"}]}}]}]},
		{name: main, matches: [ANY], backendRefs: [{name: podinfo, port: 80}, {name: podinfo-canary, port: 80}]}]`
	const modified = `filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-b, value: "2"}]}}]`
	for name, tc := range map[string]struct {
		change  func(*v1beta1.Canary)
		users   string
		traffic providers.Traffic
		want    string
		wantErr string
	}{
		"in their places": {
			users: users, traffic: providers.Traffic{Primary: 90, Canary: 10},
			want: `[
				{name: admin, matches: [{path: {type: PathPrefix, value: /admin}}], backendRefs: [{name: admin, port: 80}]},
				{name: slow, matches: [{path: {type: PathPrefix, value: /slow}}], timeouts: {request: 60s},
				 filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: x-a, value: "1"}]}}],
				 backendRefs: [{P81: 90, ` + modified + `}, {C81: 10, ` + modified + `}]},
				{name: main, matches: [ANY], backendRefs: [{P: 90}, {C: 10}]}]`,
		},
		"with what the spec sets": {
			users: users, traffic: providers.Traffic{Primary: 90, Canary: 10},
			change: service(func(s *v1beta1.CanaryService) {
				s.Match, s.Timeout = raws(`{"uri":{"prefix":"/only"}}`), "5s"
			}),
			want: `[
				{name: admin, matches: [{path: {type: PathPrefix, value: /admin}}], backendRefs: [{name: admin, port: 80}]},
				{name: main, matches: [{path: {type: PathPrefix, value: /only}}], timeouts: {request: 5s}, backendRefs: [{P: 90}, {C: 10}]}]`,
		},
		"A/B": {
			users: `[{name: main, matches: [ANY], backendRefs: [{name: podinfo, port: 80}]}]`, traffic: providers.Traffic{Canary: 100, Matched: true},
			change: func(c *v1beta1.Canary) { c.Spec.Analysis.Match = raws(`{"headers":{"x":{"exact":"y"}}}`) },
			want: `[
				{matches: [{path: {type: PathPrefix, value: /}, headers: [{type: Exact, name: x, value: "y"}]}], backendRefs: [{P: 0}, {C: 100}]},
				{name: main, matches: [ANY], backendRefs: [{P: 100}]}]`,
		},
		"none of them to us": {
			users:   `[{name: admin, matches: [{path: {type: PathPrefix, value: /admin}}], backendRefs: [{name: admin, port: 80}]}]`,
			traffic: providers.Traffic{Primary: 100},
			want: `[
				{name: admin, matches: [{path: {type: PathPrefix, value: /admin}}], backendRefs: [{name: admin, port: 80}]},
				{matches: [ANY], backendRefs: [{P: 100}, {C: 0}]}]`,
		},
		"shared between two ports": {
			users: `[{matches: [ANY], backendRefs: [{name: podinfo, port: 80}, {name: podinfo, port: 81}]}]`, traffic: providers.Traffic{Primary: 100},
			wantErr: "HTTPRoute test/podinfo: spec.rules[0].backendRefs",
		},
		"shared between two ways": {
			users: `[{matches: [ANY], backendRefs: [{name: podinfo, port: 80}, {name: podinfo, port: 80, ` + modified + `}]}]`, traffic: providers.Traffic{Primary: 100},
			wantErr: "HTTPRoute test/podinfo: spec.rules[0].backendRefs",
		},
		"shared with another": {
			users: `[{matches: [ANY], backendRefs: [{name: podinfo, port: 80}, {name: other, port: 80}]}]`, traffic: providers.Traffic{Primary: 100},
			wantErr: "HTTPRoute test/podinfo: spec.rules[0].backendRefs",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary()
			if tc.change != nil {
				tc.change(c)
			}
			before := &gatewayv1.HTTPRouteSpec{Rules: rulesIn(t, tc.users)}
			untouched := before.DeepCopy()
			got, err := rulesOf(c, tc.traffic, before)
			if tc.wantErr != "" {
				if !providers.IsInvalid(err) || !strings.HasPrefix(err.Error(), tc.wantErr+": ") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(rulesIn(t, tc.want), got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if d := cmp.Diff(untouched, before); d != "" {
				t.Errorf("the original was changed\n%s", d)
			}
		})
	}
}

// rulesOf are the rules that share out the traffic.
func rulesOf(c *v1beta1.Canary, traffic providers.Traffic, users *gatewayv1.HTTPRouteSpec) ([]gatewayv1.HTTPRouteRule, error) {
	all, err := Plan(c, traffic, users)
	return Written(all), err
}
