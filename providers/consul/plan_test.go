package consul

import (
	"slices"
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

var (
	aliased = map[string]string{ServiceAnnotation: "podinfo"}
	step    = providers.Sessions{Canary: "a", Primary: "1", Raised: 10}
)

const (
	defaults   = "service-defaults"
	intentions = "service-intentions"
	resolver   = "service-resolver"
	splitter   = "service-splitter"
	router     = "service-router"

	isHTTP     = `{"Protocol":"http"}`
	allToStart = `{"Splits":[{"Service":"podinfo-primary","Weight":100},{"Service":"podinfo-canary"}]}`
)

func TestPlan(t *testing.T) {
	guard := `{"Sources":[{"Action":"allow","Name":"web","Precedence":9,"Type":"consul"}]}`
	for name, tc := range map[string]struct {
		canary  *v1beta1.Canary
		traffic providers.Traffic
		pods    map[string]string
		have    []string
		kinds   []string // of want; none means all
		want    []string
	}{
		"nothing there": {
			canary: canary(), traffic: weights(0),
			want: []string{
				"service-defaults podinfo " + isHTTP,
				"service-defaults podinfo-primary " + isHTTP,
				"service-defaults podinfo-canary " + isHTTP,
				"service-resolver podinfo-primary {}",
				"service-resolver podinfo-canary {}",
				"service-splitter podinfo " + allToStart,
			},
		},
		"weights": {
			canary: canary(), traffic: weights(30), kinds: []string{splitter, router},
			want: []string{`service-splitter podinfo {"Splits":[{"Service":"podinfo-primary","Weight":70},{"Service":"podinfo-canary","Weight":30}]}`},
		},
		"grpc": {
			canary: canary(serving(func(s *v1beta1.CanaryService) { s.AppProtocol = "grpc" })), traffic: weights(0), kinds: []string{defaults},
			want: []string{`service-defaults podinfo {"Protocol":"grpc"}`, `service-defaults podinfo-primary {"Protocol":"grpc"}`, `service-defaults podinfo-canary {"Protocol":"grpc"}`},
		},
		"h2c": {
			canary: canary(serving(func(s *v1beta1.CanaryService) { s.AppProtocol = "kubernetes.io/h2c" })), traffic: weights(0), kinds: []string{defaults},
			want: []string{`service-defaults podinfo {"Protocol":"http2"}`, `service-defaults podinfo-primary {"Protocol":"http2"}`, `service-defaults podinfo-canary {"Protocol":"http2"}`},
		},
		"the service says its protocol, and its settings hold for both halves": {
			canary: canary(), traffic: weights(0), kinds: []string{defaults},
			have: []string{`service-defaults podinfo {"Protocol":"grpc","MaxInboundConnections":7,"ExternalSNI":"x","Meta":{"external-source":"kubernetes"}}`},
			want: []string{`service-defaults podinfo-primary {"MaxInboundConnections":7,"Protocol":"grpc"}`, `service-defaults podinfo-canary {"MaxInboundConnections":7,"Protocol":"grpc"}`},
		},
		"proxy-defaults say the protocol, and ours is not needed any more": {
			canary: canary(), traffic: weights(0), kinds: []string{defaults},
			have: []string{`proxy-defaults global {"Config":{"protocol":"http2"}}`, "ours service-defaults podinfo " + isHTTP},
			want: []string{`service-defaults podinfo-primary {"Protocol":"http2"}`, `service-defaults podinfo-canary {"Protocol":"http2"}`, "no service-defaults podinfo"},
		},
		"settings without a protocol are completed, and kept": {
			canary: canary(), traffic: weights(0), kinds: []string{defaults},
			have: []string{`service-defaults podinfo {"MaxInboundConnections":7,"Meta":{"team":"a"}}`},
			want: []string{
				`service-defaults podinfo {"MaxInboundConnections":7,"Protocol":"http"} sluice.dev/original.0={"body":{"MaxInboundConnections":7},"meta":{"team":"a"}} team=a`,
				`service-defaults podinfo-primary {"MaxInboundConnections":7,"Protocol":"http"}`,
				`service-defaults podinfo-canary {"MaxInboundConnections":7,"Protocol":"http"}`,
			},
		},
		"what guards the service guards both halves, before any route": {
			canary: canary(), traffic: weights(0),
			have: []string{intentions + " podinfo " + guard},
			want: []string{
				"service-defaults podinfo " + isHTTP, "service-defaults podinfo-primary " + isHTTP, "service-defaults podinfo-canary " + isHTTP,
				"service-intentions podinfo-primary " + guard, "service-intentions podinfo-canary " + guard,
				"service-resolver podinfo-primary {}", "service-resolver podinfo-canary {}",
				"service-splitter podinfo " + allToStart,
			},
		},
		"what guards no longer": {
			canary: canary(), traffic: weights(0), kinds: []string{intentions},
			have: []string{"ours service-intentions podinfo-primary " + guard, "ours service-intentions podinfo-canary " + guard},
			want: []string{"no service-intentions podinfo-canary", "no service-intentions podinfo-primary"},
		},
		"both halves are resolved as the service is": {
			canary: canary(), traffic: weights(0), kinds: []string{resolver},
			have: []string{`service-resolver podinfo {"ConnectTimeout":"3s","DefaultSubset":"v1","Subsets":{"v1":{"Filter":"x"}},"LoadBalancer":{"Policy":"random"},"Failover":{"*":{"Datacenters":["dc2"]},"v1":{"Service":"x"}}}`},
			want: []string{
				`service-resolver podinfo-primary {"ConnectTimeout":"3s","Failover":{"*":{"Datacenters":["dc2"],"Service":"podinfo"}},"LoadBalancer":{"Policy":"random"}}`,
				`service-resolver podinfo-canary {"ConnectTimeout":"3s","Failover":{"*":{"Datacenters":["dc2"],"Service":"podinfo"}},"LoadBalancer":{"Policy":"random"}}`,
			},
		},
		"failover to targets": {
			canary: canary(), traffic: weights(0), kinds: []string{resolver}, pods: aliased,
			have: []string{`service-resolver podinfo {"Failover":{"*":{"Targets":[{"Datacenter":"dc2"},{"Service":"other"}]}}}`},
			want: []string{
				`service-resolver podinfo-primary {"Failover":{"*":{"Targets":[{"Datacenter":"dc2","Service":"podinfo"},{"Service":"other"}]}}}`,
				`service-resolver podinfo-canary {"Redirect":{"Service":"podinfo"}}`,
			},
		},
		"the canary's pods are the service's": {
			canary: canary(), traffic: weights(30), kinds: []string{resolver, splitter}, pods: aliased,
			want: []string{
				"service-resolver podinfo-primary {}", `service-resolver podinfo-canary {"Redirect":{"Service":"podinfo"}}`,
				`service-splitter podinfo {"Splits":[{"Service":"podinfo-primary","Weight":70},{"Service":"podinfo-canary","Weight":30}]}`,
			},
		},
		"A/B: whom nothing matches stays with the primary": {
			canary:  canary(matching(`{"headers":{"x-canary":{"exact":"yes"}}}`, `{"uri":{"prefix":"/beta"},"method":{"exact":"GET"}}`)),
			traffic: providers.Traffic{Canary: 100, Matched: true}, kinds: []string{splitter, router},
			want: []string{
				"service-splitter podinfo " + allToStart,
				`service-router podinfo {"Routes":[` +
					`{"Destination":{"Service":"podinfo-canary"},"Match":{"HTTP":{"Header":[{"Exact":"yes","Name":"x-canary"}]}}},` +
					`{"Destination":{"Service":"podinfo-canary"},"Match":{"HTTP":{"Methods":["GET"],"PathPrefix":"/beta"}}}]}`,
			},
		},
		"A/B with shares": {
			canary:  canary(matching(`{"queryParams":{"beta":{}}}`)),
			traffic: providers.Traffic{Primary: 50, Canary: 50, Matched: true}, kinds: []string{defaults, splitter, router},
			have: []string{`proxy-defaults global {"Config":{"protocol":"http"}}`},
			want: []string{
				"service-defaults podinfo-primary " + isHTTP, "service-defaults podinfo-canary " + isHTTP, "service-defaults podinfo-split " + isHTTP,
				`service-splitter podinfo-split {"Splits":[{"Service":"podinfo-primary","Weight":50},{"Service":"podinfo-canary","Weight":50}]}`,
				"service-splitter podinfo " + allToStart,
				`service-router podinfo {"Routes":[{"Destination":{"Service":"podinfo-split"},"Match":{"HTTP":{"QueryParam":[{"Name":"beta","Present":true}]}}}]}`,
			},
		},
		"A/B is over: what leads goes before what is led to": {
			canary: canary(matching(`{"queryParams":{"beta":{}}}`)), traffic: weights(0), kinds: []string{defaults, splitter, router},
			have: []string{
				`proxy-defaults global {"Config":{"protocol":"http"}}`, "ours service-defaults podinfo-split " + isHTTP,
				"ours service-splitter podinfo-split {}", "ours service-router podinfo {}",
			},
			want: []string{
				"service-defaults podinfo-primary " + isHTTP, "service-defaults podinfo-canary " + isHTTP,
				"service-splitter podinfo " + allToStart,
				"no service-router podinfo", "no service-splitter podinfo-split", "no service-defaults podinfo-split",
			},
		},
		"sessions": {
			canary: canary(sticky), traffic: providers.Traffic{Primary: 80, Canary: 20, Sessions: step}, kinds: []string{splitter, router},
			want: []string{
				`service-splitter podinfo-split {"Splits":[` +
					`{"ResponseHeaders":{"Add":{"set-cookie":"v-primary=1.ca978112; Max-Age=86400; Path=/"}},"Service":"podinfo-primary","Weight":88.89},` +
					`{"ResponseHeaders":{"Add":{"set-cookie":"v=a; Max-Age=86400; Path=/"}},"Service":"podinfo-canary","Weight":11.11}]}`,
				`service-splitter podinfo {"Splits":[` +
					`{"ResponseHeaders":{"Add":{"set-cookie":"v-primary=1.ca978112; Max-Age=86400; Path=/"}},"Service":"podinfo-primary","Weight":80},` +
					`{"ResponseHeaders":{"Add":{"set-cookie":"v=a; Max-Age=86400; Path=/"}},"Service":"podinfo-canary","Weight":20}]}`,
				`service-router podinfo {"Routes":[` +
					`{"Destination":{"Service":"podinfo-canary"},"Match":{"HTTP":{"Header":[{"Name":"cookie","Regex":"(.*;\\s*)?v=a\\s*(;.*)?"}]}}},` +
					`{"Destination":{"Service":"podinfo-primary"},"Match":{"HTTP":{"Header":[{"Name":"cookie","Regex":"(.*;\\s*)?v-primary=1\\.ca978112\\s*(;.*)?"}]}}},` +
					`{"Destination":{"Service":"podinfo-split"},"Match":{"HTTP":{"Header":[{"Name":"cookie","Regex":"(.*;\\s*)?v-primary=[^;]*\\.ca978112\\s*(;.*)?"}]}}}]}`,
			},
		},
		"sessions, everybody at the canary": {
			canary: canary(sticky), traffic: providers.Traffic{Canary: 100, Sessions: step}, kinds: []string{splitter, router},
			want: []string{
				`service-splitter podinfo {"Splits":[` +
					`{"ResponseHeaders":{"Add":{"set-cookie":"v-primary=1.ca978112; Max-Age=86400; Path=/"}},"Service":"podinfo-primary"},` +
					`{"ResponseHeaders":{"Add":{"set-cookie":"v=a; Max-Age=86400; Path=/"}},"Service":"podinfo-canary","Weight":100}]}`,
				`service-router podinfo {"Routes":[{"Destination":{"Service":"podinfo-canary"},"Match":{"HTTP":{"Header":[{"Name":"cookie","Regex":"(.*;\\s*)?v=a\\s*(;.*)?"}]}}}]}`,
			},
		},
		"sessions, at 0 nobody goes to the canary": {
			canary: canary(sticky), traffic: providers.Traffic{Primary: 100, Sessions: step}, kinds: []string{splitter, router},
			want: []string{"service-splitter podinfo " + allToStart},
		},
		"sessions have ended": {
			canary: canary(sticky), traffic: providers.Traffic{Primary: 100, Sessions: providers.Sessions{Ended: "a"}}, kinds: []string{splitter, router},
			want: []string{
				"service-splitter podinfo " + allToStart,
				`service-router podinfo {"Routes":[{"Destination":{"ResponseHeaders":{"Add":{"set-cookie":"v=a; Max-Age=-1; Path=/"}},"Service":"podinfo"},` +
					`"Match":{"HTTP":{"Header":[{"Name":"cookie","Regex":"(.*;\\s*)?v=a\\s*(;.*)?"}]}}}]}`,
			},
		},
		"settings of the spec": {
			canary: canary(serving(func(s *v1beta1.CanaryService) {
				s.Timeout, s.Rewrite = "15s", object(`{"uri":"/v2"}`)
				s.Retries = object(`{"attempts":3,"retryOn":"gateway-error,retriable-status-codes,503"}`)
				s.Headers = object(`{"request":{"add":{"x-a":"1"},"remove":["x-b"]},"response":{"set":{"x-c":"2"}}}`)
			})), traffic: weights(10), kinds: []string{router},
			want: []string{`service-router podinfo {"Routes":[{"Destination":{"NumRetries":3,"PrefixRewrite":"/v2","RequestHeaders":{"Add":{"x-a":"1"},"Remove":["x-b"]},` +
				`"RequestTimeout":"15s","ResponseHeaders":{"Set":{"x-c":"2"}},"RetryOn":["gateway-error"],"RetryOnStatusCodes":[503],"Service":"podinfo"},"Match":{"HTTP":{"PathPrefix":"/"}}}]}`},
		},
		"only some requests are shared out": {
			canary:  canary(serving(func(s *v1beta1.CanaryService) { s.Match = []v1beta1.RawObject{*object(`{"uri":{"prefix":"/api"}}`)} })),
			traffic: weights(10), kinds: []string{router},
			want: []string{`service-router podinfo {"Routes":[{"Destination":{"Service":"podinfo"},"Match":{"HTTP":{"PathPrefix":"/api"}}},{"Destination":{"Service":"podinfo-primary"}}]}`},
		},
		"a user's routes are shared out, and those that lead elsewhere stay": {
			canary: canary(matching(`{"headers":{"x-canary":{"exact":"yes"}}}`)), traffic: providers.Traffic{Canary: 100, Matched: true}, kinds: []string{router},
			have: []string{`service-router podinfo {"Routes":[{"Match":{"HTTP":{"PathPrefix":"/admin"}},"Destination":{"Service":"admin"}},{"Match":{"HTTP":{"PathPrefix":"/slow"}},"Destination":{"RequestTimeout":"90s","ServiceSubset":"v1"}}]}`},
			want: []string{`service-router podinfo {"Routes":[` +
				`{"Destination":{"Service":"admin"},"Match":{"HTTP":{"PathPrefix":"/admin"}}},` +
				`{"Destination":{"RequestTimeout":"1m30s","Service":"podinfo-canary"},"Match":{"HTTP":{"Header":[{"Exact":"yes","Name":"x-canary"}],"PathPrefix":"/slow"}}},` +
				`{"Destination":{"RequestTimeout":"1m30s","Service":"podinfo"},"Match":{"HTTP":{"PathPrefix":"/slow"}}},` +
				`{"Destination":{"Service":"podinfo-canary"},"Match":{"HTTP":{"Header":[{"Exact":"yes","Name":"x-canary"}]}}}]}` +
				` sluice.dev/original.0={"body":{"Routes":[{"Destination":{"Service":"admin"},"Match":{"HTTP":{"PathPrefix":"/admin"}}},{"Destination":{"RequestTimeout":"90s","ServiceSubset":"v1"},"Match":{"HTTP":{"PathPrefix":"/slow"}}}]}}`},
		},
		"a user's route for everything is the last": {
			canary: canary(serving(func(s *v1beta1.CanaryService) { s.Timeout = "5s" })), traffic: weights(10), kinds: []string{router},
			have: []string{`ours service-router podinfo {"Meta":{"sluice.dev/original.0":"{\"body\":{\"Routes\":[{\"Destination\":{\"NumRetries\":2}}]}}"}}`},
			want: []string{`service-router podinfo {"Routes":[{"Destination":{"NumRetries":2,"RequestTimeout":"5s","Service":"podinfo"}}]}` +
				` sluice.dev/original.0={"body":{"Routes":[{"Destination":{"NumRetries":2}}]}}`},
		},
		"a user's splits of the service are kept until they are given back": {
			canary: canary(), traffic: weights(0), kinds: []string{splitter},
			have: []string{`service-splitter podinfo {"Splits":[{"Weight":90,"ServiceSubset":"v1"},{"Weight":10,"Service":"podinfo","ServiceSubset":"v2"}]}`},
			want: []string{"service-splitter podinfo " + allToStart + ` sluice.dev/original.0={"body":{"Splits":[{"ServiceSubset":"v1","Weight":90},{"Service":"podinfo","ServiceSubset":"v2","Weight":10}]}}`},
		},
		"who calls others may go on doing so, where the caller has both names": {
			canary: canary(), traffic: weights(0), kinds: []string{intentions}, pods: aliased,
			have: []string{`service-intentions db {"Sources":[{"Name":"podinfo","Action":"allow"},{"Name":"podinfo-primary","Action":"allow"}]}`},
		},
		"an intention that comes later takes nothing back": {
			canary: canary(), traffic: weights(0), kinds: []string{intentions},
			have: []string{`service-intentions db {"Sources":[{"Name":"podinfo","Action":"allow"}]}`, "ours service-splitter podinfo {}"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			route := providers.Route{Canary: tc.canary, Traffic: tc.traffic, PodAnnotations: tc.pods}
			p, err := planOf(route, namesOf(tc.canary, tc.pods, scope{}), having(t, tc.have...))
			if err != nil {
				t.Fatal(err)
			}
			got := show(p)
			if tc.kinds != nil {
				got = only(got, tc.kinds...)
			}
			if len(got) == 0 {
				got = nil
			}
			diff(t, tc.want, got)
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	service := func(change func(*v1beta1.CanaryService)) *v1beta1.Canary { return canary(serving(change)) }
	for name, tc := range map[string]struct {
		canary *v1beta1.Canary
		have   []string
		is     func(error) bool
		want   string // in the message
	}{
		"tcp of the service":                 {canary(), []string{`service-defaults podinfo {"Protocol":"tcp"}`}, providers.IsInvalid, `service-defaults podinfo: Protocol: invalid value "tcp"`},
		"tcp of all proxies":                 {canary(), []string{`proxy-defaults global {"Config":{"protocol":"tcp"}}`}, providers.IsInvalid, `proxy-defaults global: Config.protocol: invalid value "tcp"`},
		"no protocol, managed by consul-k8s": {canary(), []string{`service-defaults podinfo {"Meta":{"external-source":"kubernetes"}}`}, providers.IsInvalid, "service-defaults podinfo: Protocol"},
		"a router of consul-k8s":             {service(func(s *v1beta1.CanaryService) { s.Timeout = "1s" }), []string{`service-router podinfo {"Meta":{"external-source":"kubernetes"}}`}, providers.IsConflict, "service-router default/default/podinfo belongs to consul-k8s"},
		"a splitter of consul-k8s":           {canary(), []string{`service-splitter podinfo {"Meta":{"external-source":"kubernetes"}}`}, providers.IsConflict, "service-splitter"},
		"another Canary's":                   {canary(), []string{`service-splitter podinfo {"Meta":{"sluice.dev/canary":"other/podinfo"}}`}, providers.IsConflict, "belongs to Canary other/podinfo"},
		"another Canary's half":              {canary(), []string{`service-resolver podinfo-canary {"Meta":{"sluice.dev/canary":"other/x"}}`}, providers.IsConflict, "podinfo-canary"},
		"a redirect":                         {canary(), []string{`service-resolver podinfo {"Redirect":{"Service":"other"}}`}, providers.IsInvalid, "Redirect"},
		"splits with others":                 {canary(), []string{`service-splitter podinfo {"Splits":[{"Weight":50},{"Weight":50,"Service":"other"}]}`}, providers.IsInvalid, "Splits[1].Service"},
		"a caller by name, primary":          {canary(), []string{`service-intentions db {"Sources":[{"Name":"podinfo","Action":"allow"}]}`}, providers.IsInvalid, "podinfo-primary"},
		"a caller by name, canary":           {canary(), []string{`service-intentions db {"Sources":[{"Name":"podinfo","Action":"allow"},{"Name":"podinfo-primary","Action":"allow"}]}`}, providers.IsInvalid, "podinfo-canary"},
		"an original that is lost":           {canary(), []string{`ours service-splitter podinfo {"Meta":{"sluice.dev/original.0":"{"}}`}, providers.IsInvalid, "sluice.dev/original.0"},
		"an original that is too large":      {canary(), []string{`service-splitter podinfo {"Splits":[{"Weight":100,"ServiceSubset":"` + strings.Repeat("x", 33000) + `"}]}`}, providers.IsInvalid, "too large"},
		"two matches for one thing":          {service(func(s *v1beta1.CanaryService) { s.Match = []v1beta1.RawObject{*object(`{"uri":{"prefix":"/a"}}`)} }), []string{`service-router podinfo {"Routes":[{}]}`}, providers.IsInvalid, "spec.service.match"},
		"delegation":                         {service(func(s *v1beta1.CanaryService) { s.Delegation = true }), nil, providers.IsUnsupported, "spec.service.delegation"},
		"hosts":                              {service(func(s *v1beta1.CanaryService) { s.Hosts = []string{"a"} }), nil, providers.IsUnsupported, "spec.service.hosts"},
		"gateways":                           {service(func(s *v1beta1.CanaryService) { s.Gateways = []string{"a"} }), nil, providers.IsUnsupported, "spec.service.gateways"},
		"trafficPolicy":                      {service(func(s *v1beta1.CanaryService) { s.TrafficPolicy = object(`{}`) }), nil, providers.IsUnsupported, "spec.service.trafficPolicy"},
		"corsPolicy":                         {service(func(s *v1beta1.CanaryService) { s.CorsPolicy = object(`{}`) }), nil, providers.IsUnsupported, "spec.service.corsPolicy"},
		"timeout":                            {service(func(s *v1beta1.CanaryService) { s.Timeout = "soon" }), nil, providers.IsInvalid, "spec.service.timeout"},
		"time of a try":                      {service(func(s *v1beta1.CanaryService) { s.Retries = object(`{"perTryTimeout":"1s"}`) }), nil, providers.IsUnsupported, "spec.service.retries.perTryTimeout"},
		"reason to try again":                {service(func(s *v1beta1.CanaryService) { s.Retries = object(`{"retryOn":"moon"}`) }), nil, providers.IsInvalid, "spec.service.retries.retryOn"},
		"authority":                          {service(func(s *v1beta1.CanaryService) { s.Rewrite = object(`{"uri":"/","authority":"a"}`) }), nil, providers.IsUnsupported, "spec.service.rewrite.authority"},
		"rewrite to what is no path":         {service(func(s *v1beta1.CanaryService) { s.Rewrite = object(`{"uri":"a"}`) }), nil, providers.IsInvalid, "spec.service.rewrite.uri"},
		"rewrite of a regex": {service(func(s *v1beta1.CanaryService) {
			s.Rewrite, s.Match = object(`{"uri":"/"}`), []v1beta1.RawObject{*object(`{"uri":{"regex":"/a.*"}}`)}
		}), nil, providers.IsInvalid, "spec.service.rewrite.uri"},
		"headers":           {service(func(s *v1beta1.CanaryService) { s.Headers = object(`{"request":[]}`) }), nil, providers.IsInvalid, "spec.service.headers"},
		"labels of callers": {canary(matching(`{"sourceLabels":{"a":"b"}}`)), nil, providers.IsUnsupported, "spec.analysis.match[0].sourceLabels"},
		"unknown in match":  {canary(matching(`{"header":{}}`)), nil, providers.IsInvalid, "spec.analysis.match[0]"},
		"path in match":     {canary(matching(`{"uri":{"exact":"a"}}`)), nil, providers.IsInvalid, "spec.analysis.match[0].uri"},
		"method in match":   {canary(matching(`{"method":{"exact":"FETCH"}}`)), nil, providers.IsInvalid, "spec.analysis.match[0].method.exact"},
		"cookie":            {canary(func(c *v1beta1.Canary) { sticky(c); c.Spec.Analysis.SessionAffinity.CookieName = "a b" }), nil, providers.IsInvalid, "spec.analysis.sessionAffinity.cookieName"},
	} {
		t.Run(name, func(t *testing.T) {
			traffic := weights(0)
			if tc.canary.Spec.Analysis.SessionAffinity != nil {
				traffic.Sessions = step
			}
			p, err := planOf(providers.Route{Canary: tc.canary, Traffic: traffic}, namesOf(tc.canary, nil, scope{}), having(t, tc.have...))
			if !tc.is(err) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, %v", show(p), err)
			}
		})
	}
}

// TestMatchIsNeededForMatched: a share of the requests that match cannot be said without a match.
func TestMatchIsNeededForMatched(t *testing.T) {
	route := providers.Route{Canary: canary(), Traffic: providers.Traffic{Canary: 100, Matched: true}}
	if _, err := planOf(route, namesOf(route.Canary, nil, scope{}), nil); !providers.IsInvalid(err) {
		t.Error(err)
	}
}

// TestOriginalsComeBack keeps what a user had, however long it is, through any number
// of releases.
func TestOriginalsComeBack(t *testing.T) {
	for name, line := range map[string]string{
		"short": `service-splitter podinfo {"Splits":[{"Weight":100,"ServiceSubset":"v1"}],"Meta":{"team":"a"}}`,
		"long":  `service-splitter podinfo {"Splits":[{"Weight":100,"ServiceSubset":"` + strings.Repeat("ä€", 3000) + `"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			c := canary()
			k := key{splitter, "podinfo"}
			have := having(t, line)
			users := have[k]
			for _, weight := range []int32{0, 30, 100} {
				p, err := planOf(providers.Route{Canary: c, Traffic: weights(weight)}, namesOf(c, nil, scope{}), have)
				if err != nil {
					t.Fatal(err)
				}
				at := slices.IndexFunc(p.wanted, func(e entry) bool { return e.key == k })
				written := p.wanted[at]
				written.index = 99
				have[k] = written
				for k, v := range written.meta {
					if len(v) > metaValue {
						t.Fatalf("Meta %s has %d bytes", k, len(v))
					}
				}
			}
			back, theirs, err := have[k].users(c)
			if err != nil || !theirs || !same(users, back) {
				t.Errorf("got %v, %v, %v", back, theirs, err)
			}
		})
	}
}

func TestWarming(t *testing.T) {
	for name, tc := range map[string]struct {
		pods map[string]string
		have []string
		want string
	}{
		"the service itself": {
			want: `service-splitter podinfo {"Splits":[{"Service":"podinfo","Weight":100},{"Service":"podinfo-primary"},{"Service":"podinfo-canary"}]} sluice.dev/warming=now`,
		},
		"a user's splits": {
			have: []string{`service-splitter podinfo {"Splits":[{"Weight":90,"ServiceSubset":"v1"},{"Weight":10,"Service":"podinfo-canary"}]}`},
			want: `service-splitter podinfo {"Splits":[{"ServiceSubset":"v1","Weight":90},{"Service":"podinfo-canary","Weight":10},{"Service":"podinfo-primary"}]}` +
				` sluice.dev/original.0={"body":{"Splits":[{"ServiceSubset":"v1","Weight":90},{"Service":"podinfo-canary","Weight":10}]}} sluice.dev/warming=now`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary(matching(`{"queryParams":{"beta":{}}}`))
			n, have := namesOf(c, tc.pods, scope{}), having(t, tc.have...)
			full, err := planOf(providers.Route{Canary: c, Traffic: providers.Traffic{Canary: 100, Matched: true}}, n, have)
			if err != nil {
				t.Fatal(err)
			}
			p, err := warming(full, n, have, c, "now")
			if err != nil {
				t.Fatal(err)
			}
			diff(t, []string{tc.want}, only(show(p), splitter, router))
		})
	}
}

func TestRegistered(t *testing.T) {
	for name, tc := range map[string]struct {
		pods map[string]string
		want string // in the message, empty for none
	}{
		"not by consul-k8s":   {},
		"as the service":      {pods: map[string]string{ServiceAnnotation: "podinfo", injectAnnotation: "true"}},
		"as another service":  {map[string]string{ServiceAnnotation: "podinfo-canary"}, ServiceAnnotation},
		"as its Services say": {map[string]string{injectAnnotation: "true"}, ServiceAnnotation},
		"not in the mesh":     {pods: map[string]string{injectAnnotation: "false"}},
		"by one Service":      {map[string]string{ServiceAnnotation: "podinfo", kubernetesServiceAnnotation: "podinfo"}, kubernetesServiceAnnotation},
	} {
		t.Run(name, func(t *testing.T) {
			route := providers.Route{Canary: canary(), PodAnnotations: tc.pods}
			err := registered(route, namesOf(route.Canary, tc.pods, scope{}))
			if (err != nil) != (tc.want != "") || err != nil && (!providers.IsInvalid(err) || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v", err)
			}
		})
	}
}
