package istio

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// written returns the part of the VirtualService's spec that route writes for a
// protocol, as YAML would say it, over what the user had (YAML, empty for nothing).
func written(t *testing.T, route providers.Route, users, protocol string) ([]any, error) {
	t.Helper()
	var o *original
	if users != "" {
		var err error
		raw, convertErr := yaml.YAMLToJSON([]byte("spec: " + users))
		if convertErr != nil {
			t.Fatal(convertErr)
		}
		if o, err = parse(string(raw), route.Canary); err != nil {
			t.Fatal(err)
		}
	}
	i, err := virtualServices(route, o.base())
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(i[0].object)
	if err != nil {
		t.Fatal(err)
	}
	m := decodeYAML(t, string(b))
	spellOut(m)
	list, _ := m["spec"].(map[string]any)[protocol].([]any)
	return normal(t, list), nil
}

func normal(t *testing.T, v any) []any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out []any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func list(t *testing.T, s string) []any {
	t.Helper()
	var out []any
	if err := yaml.Unmarshal([]byte(s), &out); err != nil {
		t.Fatal(err)
	}
	return normal(t, out)
}

// expand writes destinations the short way: "90:10" is the primary's and the
// canary's weight, "P" and "C" is one of them alone.
func expand(s string) string {
	to := func(host string, weight any) string {
		return fmt.Sprintf("{destination: {host: podinfo-%s}, weight: %v}", host, weight)
	}
	for _, weights := range [][2]int{{100, 0}, {0, 100}, {50, 50}, {90, 10}} {
		s = strings.ReplaceAll(s, fmt.Sprintf("<%d:%d>", weights[0], weights[1]),
			"route: ["+to("primary", weights[0])+", "+to("canary", weights[1])+"]")
	}
	s = strings.ReplaceAll(s, "<P>", "route: ["+to("primary", 100)+"]")
	return strings.ReplaceAll(s, "<C>", "route: ["+to("canary", 100)+"]")
}

func TestRoutes(t *testing.T) {
	ab := func(matches ...string) func(*v1beta1.Canary) {
		return func(c *v1beta1.Canary) {
			for _, m := range matches {
				c.Spec.Analysis.Match = append(c.Spec.Analysis.Match, *raw(m))
			}
		}
	}
	service := func(matches ...string) func(*v1beta1.Canary) {
		return func(c *v1beta1.Canary) {
			for _, m := range matches {
				c.Spec.Service.Match = append(c.Spec.Service.Match, *raw(m))
			}
		}
	}
	toCanary := providers.Traffic{Canary: 100, Matched: true}
	for name, tc := range map[string]struct {
		change  []func(*v1beta1.Canary)
		traffic providers.Traffic
		users   string // spec of the user's VirtualService
		want    string // http
		tcp     string // tcp
	}{
		"not matched: the match is not written": {
			change: []func(*v1beta1.Canary){ab(`{"headers":{"x-a":{"exact":"1"}}}`)}, traffic: providers.Traffic{Primary: 90, Canary: 10},
			want: `[{<90:10>}]`,
		},
		"matched by header, cookie, label": {
			change: []func(*v1beta1.Canary){ab(
				`{"headers":{"x-a":{"exact":"1"}}}`, `{"headers":{"x-b":{"prefix":"2"},"cookie":{"regex":"^(.*?;)?(canary=always)(;.*)?$"}}}`,
				`{"sourceLabels":{"app":"loadtester"}, "gateways":["mesh"]}`, `{"queryParams":{"v":{"exact":"2"}}}`,
			)}, traffic: toCanary,
			want: `[{match: [{headers: {x-a: {exact: "1"}}}, {headers: {x-b: {prefix: "2"}, cookie: {regex: '^(.*?;)?(canary=always)(;.*)?$'}}},
				{sourceLabels: {app: loadtester}}, {queryParams: {v: {exact: "2"}}}], <0:100>}, {<P>}]`,
		},
		"matched by namespace, of a gateway's requests too": {
			change: []func(*v1beta1.Canary){
				ab(`{"sourceNamespace":"a"}`, `{"headers":{"x-a":{"exact":"1"}},"gateways":["public"]}`),
				func(c *v1beta1.Canary) { c.Spec.Service.Gateways = []string{"public", "mesh"} },
			}, traffic: toCanary,
			want: `[{match: [{sourceNamespace: a}, {headers: {x-a: {exact: "1"}}, gateways: [public]}], <0:100>}, {<P>}]`,
		},
		"matched by label, delegated to": {
			change: []func(*v1beta1.Canary){
				ab(`{"sourceLabels":{"app":"b"}}`), func(c *v1beta1.Canary) { c.Spec.Service.Delegation = true },
			}, traffic: toCanary,
			want: `[{match: [{sourceLabels: {app: b}}], <0:100>}, {<P>}]`,
		},
		"matched at 50": {
			change: []func(*v1beta1.Canary){ab(`{"headers":{"x-a":{"exact":"1"}}}`)}, traffic: providers.Traffic{Primary: 50, Canary: 50, Matched: true},
			want: `[{match: [{headers: {x-a: {exact: "1"}}}], <50:50>}, {<P>}]`,
		},
		"matched within the service's match": {
			change: []func(*v1beta1.Canary){
				ab(`{"headers":{"x-a":{"exact":"1"}}}`, `{"sourceLabels":{"app":"b"},"uri":{"prefix":"/api/v2"}}`),
				service(`{"uri":{"prefix":"/api"}}`, `{"uri":{"exact":"/"},"headers":{"x-a":{"regex":".+"}}}`),
			}, traffic: toCanary,
			want: `[{match: [{uri: {prefix: /api}, headers: {x-a: {exact: "1"}}}, {uri: {exact: /}, headers: {x-a: {exact: "1"}, X-A: {regex: .+}}},
				{uri: {prefix: /api/v2}, sourceLabels: {app: b}}], <0:100>},
				{match: [{uri: {prefix: /api}}, {uri: {exact: /}, headers: {x-a: {regex: .+}}}], <P>}]`,
		},
		"mirrored": {
			traffic: providers.Traffic{Primary: 100, Mirror: 25},
			want:    `[{mirror: {host: podinfo-canary}, mirrorPercentage: {value: 25}, <100:0>}]`,
		},
		"mirrored beside a mirror of the user's": {
			traffic: providers.Traffic{Primary: 100, Mirror: 100},
			users:   `{http: [{mirror: {host: shadow}, mirrorPercentage: {value: 5}, route: [{destination: {host: podinfo}}]}]}`,
			want:    `[{mirrors: [{destination: {host: shadow}, percentage: {value: 5}}, {destination: {host: podinfo-canary}, percentage: {value: 100}}], <100:0>}]`,
		},
		"nothing of the primary's to mirror": {traffic: providers.Traffic{Canary: 100, Mirror: 10}, want: `[{<0:100>}]`},
		"the user's routes elsewhere and settings hold": {
			traffic: providers.Traffic{Primary: 90, Canary: 10},
			change:  []func(*v1beta1.Canary){func(c *v1beta1.Canary) { c.Spec.Service.Timeout = "5s" }},
			users: `{http: [
				{match: [{uri: {prefix: /admin}}], route: [{destination: {host: admin}}]},
				{match: [{port: 80}], redirect: {scheme: https}},
				{match: [{uri: {prefix: /slow}}], timeout: 90s, retries: {attempts: 7}, route: [{destination: {host: podinfo.test.svc.cluster.local, port: {number: 9898}}}]},
				{match: [{uri: {prefix: /old}}], directResponse: {status: 410}},
				{fault: {abort: {httpStatus: 500, percentage: {value: 1}}}, headers: {request: {set: {x-a: "1"}}}, corsPolicy: {allowMethods: [GET]},
				 rewrite: {authority: a}, route: [{destination: {host: podinfo, subset: v1}, weight: 80, headers: {response: {add: {x-v: "1"}}}}, {destination: {host: podinfo, subset: v2}, weight: 20}]},
				{route: [{destination: {host: fallback}}]}]}`,
			want: `[
				{match: [{uri: {prefix: /admin}}], route: [{destination: {host: admin}, weight: 0}]},
				{match: [{port: 80}], redirect: {scheme: https}},
				{match: [{uri: {prefix: /slow}}], timeout: 5s, retries: {attempts: 7},
				 route: [{destination: {host: podinfo-primary, port: {number: 9898}}, weight: 90}, {destination: {host: podinfo-canary, port: {number: 9898}}, weight: 10}]},
				{match: [{uri: {prefix: /old}}], directResponse: {status: 410}},
				{fault: {abort: {httpStatus: 500, percentage: {value: 1}}}, headers: {request: {set: {x-a: "1"}}}, corsPolicy: {allowMethods: [GET]},
				 rewrite: {authority: a}, timeout: 5s, route: [
					{destination: {host: podinfo-primary}, weight: 7200, headers: {response: {add: {x-v: "1"}}}},
					{destination: {host: podinfo-canary}, weight: 800, headers: {response: {add: {x-v: "1"}}}},
					{destination: {host: podinfo-primary}, weight: 1800}, {destination: {host: podinfo-canary}, weight: 200}]},
				{route: [{destination: {host: fallback}, weight: 0}]}]`,
		},
		"a match in the spec takes the place of the user's": {
			traffic: providers.Traffic{Primary: 90, Canary: 10}, change: []func(*v1beta1.Canary){service(`{"uri":{"prefix":"/new"}}`)},
			users: `{http: [{match: [{uri: {prefix: /a}}], timeout: 1s, route: [{destination: {host: podinfo}}]}, {timeout: 2s, route: [{destination: {host: podinfo}}]}]}`,
			want:  `[{match: [{uri: {prefix: /new}}], timeout: 2s, <90:10>}]`,
		},
		"matched in each of the user's routes": {
			traffic: toCanary, change: []func(*v1beta1.Canary){ab(`{"headers":{"x-a":{"exact":"1"}},"uri":{"exact":"/b/c"}}`)},
			users: `{http: [{match: [{uri: {exact: /a}}], route: [{destination: {host: podinfo}}]}, {match: [{uri: {prefix: /b}}], timeout: 2s, route: [{destination: {host: podinfo}}]}]}`,
			want: `[{match: [{uri: {exact: /a}}], <P>},
				{match: [{uri: {exact: /b/c}, headers: {x-a: {exact: "1"}}}], timeout: 2s, <0:100>}, {match: [{uri: {prefix: /b}}], timeout: 2s, <P>}]`,
		},
		"no route of the user's to us": {
			traffic: providers.Traffic{Primary: 100},
			users:   `{http: [{match: [{uri: {prefix: /admin}}], route: [{destination: {host: admin}}]}]}`,
			want:    `[{match: [{uri: {prefix: /admin}}], route: [{destination: {host: admin}, weight: 0}]}, {<100:0>}]`,
		},
		"tcp": {
			traffic: providers.Traffic{Primary: 90, Canary: 10},
			change:  []func(*v1beta1.Canary){func(c *v1beta1.Canary) { c.Spec.Service.AppProtocol = "TCP" }, service(`{"port":9898}`)},
			tcp:     `[{match: [{port: 9898}], <90:10>}]`,
		},
		"tcp over the user's": {
			traffic: providers.Traffic{Canary: 100}, change: []func(*v1beta1.Canary){func(c *v1beta1.Canary) { c.Spec.Service.AppProtocol = "tcp" }},
			users: `{tcp: [{match: [{port: 1}], route: [{destination: {host: other}}]}, {match: [{port: 2}], route: [{destination: {host: podinfo}}]}]}`,
			tcp:   `[{match: [{port: 1}], route: [{destination: {host: other}, weight: 0}]}, {match: [{port: 2}], <0:100>}]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary()
			for _, change := range tc.change {
				change(c)
			}
			for protocol, want := range map[string]string{"http": tc.want, "tcp": tc.tcp} {
				got, err := written(t, providers.Route{Canary: c, Traffic: tc.traffic}, tc.users, protocol)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(list(t, expand(want)), got); d != "" {
					t.Errorf("%s (-want +got)\n%s", protocol, d)
				}
				readBack(t, c, tc.traffic, got, protocol)
			}
		})
	}
}

// readBack checks that the shares can be read from what was written.
func readBack(t *testing.T, c *v1beta1.Canary, want providers.Traffic, routes []any, protocol string) {
	t.Helper()
	if len(routes) == 0 {
		return
	}
	b, err := json.Marshal(map[string]any{protocol: routes})
	if err != nil {
		t.Fatal(err)
	}
	vs := &networkingv1.VirtualService{}
	if err := json.Unmarshal(b, &vs.Spec); err != nil {
		t.Fatal(err)
	}
	want.Sessions = providers.Sessions{}
	if want.Primary == 0 {
		want.Mirror = 0
	}
	if got, ok := readTraffic(&vs.Spec, nil, c); !ok || got != want {
		t.Errorf("read back %+v, want %+v", got, want)
	}
}

func TestRouteMistakes(t *testing.T) {
	for name, tc := range map[string]struct {
		change  func(*v1beta1.Canary)
		traffic providers.Traffic
		users   string
		want    string
	}{
		"no match": {traffic: providers.Traffic{Canary: 100, Matched: true}, want: "spec.analysis.match"},
		"bad match": {
			change:  func(c *v1beta1.Canary) { c.Spec.Analysis.Match = []v1beta1.RawObject{*raw(`{"uri":3}`)} },
			traffic: providers.Traffic{Canary: 100, Matched: true}, want: "spec.analysis.match[0]",
		},
		"a label that no gateway knows": {
			change: func(c *v1beta1.Canary) {
				c.Spec.Analysis.Match = []v1beta1.RawObject{*raw(`{"sourceLabels":{"app":"b"}}`)}
				c.Spec.Service.Gateways = []string{"public"}
			},
			traffic: providers.Traffic{Canary: 100, Matched: true}, want: "spec.service.gateways",
		},
		"a label and a gateway": {
			change: func(c *v1beta1.Canary) {
				c.Spec.Analysis.Match = []v1beta1.RawObject{*raw(`{"sourceNamespace":"b","gateways":["public"]}`)}
				c.Spec.Service.Gateways = []string{"public", "mesh"}
			},
			traffic: providers.Traffic{Canary: 100, Matched: true}, want: "spec.analysis.match[0].gateways",
		},
		"a mistake before the release": {
			change: func(c *v1beta1.Canary) {
				c.Spec.Analysis.Iterations, c.Spec.Analysis.Match = 2, []v1beta1.RawObject{*raw(`{"uri":3}`)}
			},
			traffic: providers.Traffic{Primary: 100}, want: "spec.analysis.match[0]",
		},
		"matches that cannot be joined": {
			change: func(c *v1beta1.Canary) {
				c.Spec.Analysis.Match = []v1beta1.RawObject{*raw(`{"uri":{"regex":"/a.*"}}`)}
				c.Spec.Service.Match = []v1beta1.RawObject{*raw(`{"uri":{"prefix":"/b"}}`)}
			},
			traffic: providers.Traffic{Canary: 100, Matched: true}, want: "uri",
		},
		"matches that exclude each other": {
			change: func(c *v1beta1.Canary) {
				c.Spec.Analysis.Match = []v1beta1.RawObject{*raw(`{"uri":{"prefix":"/a"}}`)}
				c.Spec.Service.Match = []v1beta1.RawObject{*raw(`{"uri":{"prefix":"/b"}}`)}
			},
			traffic: providers.Traffic{Canary: 100, Matched: true}, want: "spec.analysis.match",
		},
		"unreachable": {
			traffic: providers.Traffic{Primary: 100}, users: `{http: [{match: [{uri: {prefix: /}}], route: [{destination: {host: other}}]}]}`,
			want: "http[0]",
		},
		"tcp and mirror": {
			change:  func(c *v1beta1.Canary) { c.Spec.Service.AppProtocol = "tcp" },
			traffic: providers.Traffic{Primary: 100, Mirror: 1}, want: "spec.service.appProtocol",
		},
		"sessions without affinity": {
			traffic: providers.Traffic{Primary: 100, Sessions: providers.Sessions{Canary: "a"}}, want: "spec.analysis.sessionAffinity",
		},
		"bad cookie name": {
			change:  func(c *v1beta1.Canary) { c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "a b"} },
			traffic: providers.Traffic{Primary: 100, Sessions: providers.Sessions{Canary: "a"}}, want: "cookieName",
		},
		"two attributes in one": {
			change: func(c *v1beta1.Canary) {
				c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "a", Path: "/; HttpOnly"}
			},
			traffic: providers.Traffic{Primary: 100, Sessions: providers.Sessions{Canary: "a"}}, want: "path",
		},
		"one name for both": {
			change: func(c *v1beta1.Canary) {
				c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "a", PrimaryCookieName: "a"}
			},
			traffic: providers.Traffic{Primary: 100, Sessions: providers.Sessions{Canary: "a"}}, want: "primaryCookieName",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary()
			if tc.change != nil {
				tc.change(c)
			}
			_, err := written(t, providers.Route{Canary: c, Traffic: tc.traffic}, tc.users, "http")
			if !providers.IsInvalid(err) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}
