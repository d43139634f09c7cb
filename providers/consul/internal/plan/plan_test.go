package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/consultest"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/plan"
	"github.com/sluice-delivery/sluice/providers/consul/internal/services"
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
			canary: consultest.Canary(), traffic: consultest.Weights(0),
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
			canary: consultest.Canary(), traffic: consultest.Weights(30), kinds: []string{splitter, router},
			want: []string{`service-splitter podinfo {"Splits":[{"Service":"podinfo-primary","Weight":70},{"Service":"podinfo-canary","Weight":30}]}`},
		},
		"grpc": {
			canary: consultest.Canary(consultest.Serving(func(s *v1beta1.CanaryService) { s.AppProtocol = "grpc" })), traffic: consultest.Weights(0), kinds: []string{defaults},
			want: []string{`service-defaults podinfo {"Protocol":"grpc"}`, `service-defaults podinfo-primary {"Protocol":"grpc"}`, `service-defaults podinfo-canary {"Protocol":"grpc"}`},
		},
		"h2c": {
			canary: consultest.Canary(consultest.Serving(func(s *v1beta1.CanaryService) { s.AppProtocol = "kubernetes.io/h2c" })), traffic: consultest.Weights(0), kinds: []string{defaults},
			want: []string{`service-defaults podinfo {"Protocol":"http2"}`, `service-defaults podinfo-primary {"Protocol":"http2"}`, `service-defaults podinfo-canary {"Protocol":"http2"}`},
		},
		"the service says its protocol, and its settings hold for both halves": {
			canary: consultest.Canary(), traffic: consultest.Weights(0), kinds: []string{defaults},
			have: []string{`service-defaults podinfo {"Protocol":"grpc","MaxInboundConnections":7,"ExternalSNI":"x","Meta":{"external-source":"kubernetes"}}`},
			want: []string{`service-defaults podinfo-primary {"MaxInboundConnections":7,"Protocol":"grpc"}`, `service-defaults podinfo-canary {"MaxInboundConnections":7,"Protocol":"grpc"}`},
		},
		"proxy-defaults say the protocol, and ours is not needed any more": {
			canary: consultest.Canary(), traffic: consultest.Weights(0), kinds: []string{defaults},
			have: []string{`proxy-defaults global {"Config":{"protocol":"http2"}}`, "ours service-defaults podinfo " + isHTTP},
			want: []string{`service-defaults podinfo-primary {"Protocol":"http2"}`, `service-defaults podinfo-canary {"Protocol":"http2"}`, "no service-defaults podinfo"},
		},
		"settings without a protocol are completed, and kept": {
			canary: consultest.Canary(), traffic: consultest.Weights(0), kinds: []string{defaults},
			have: []string{`service-defaults podinfo {"MaxInboundConnections":7,"Meta":{"team":"a"}}`},
			want: []string{
				`service-defaults podinfo {"MaxInboundConnections":7,"Protocol":"http"} sluice.dev/original.0={"body":{"MaxInboundConnections":7},"meta":{"team":"a"}} team=a`,
				`service-defaults podinfo-primary {"MaxInboundConnections":7,"Protocol":"http"}`,
				`service-defaults podinfo-canary {"MaxInboundConnections":7,"Protocol":"http"}`,
			},
		},
		"what guards the service guards both halves, before any route": {
			canary: consultest.Canary(), traffic: consultest.Weights(0),
			have: []string{intentions + " podinfo " + guard},
			want: []string{
				"service-defaults podinfo " + isHTTP, "service-defaults podinfo-primary " + isHTTP, "service-defaults podinfo-canary " + isHTTP,
				"service-intentions podinfo-primary " + guard, "service-intentions podinfo-canary " + guard,
				"service-resolver podinfo-primary {}", "service-resolver podinfo-canary {}",
				"service-splitter podinfo " + allToStart,
			},
		},
		"what guards no longer": {
			canary: consultest.Canary(), traffic: consultest.Weights(0), kinds: []string{intentions},
			have: []string{"ours service-intentions podinfo-primary " + guard, "ours service-intentions podinfo-canary " + guard},
			want: []string{"no service-intentions podinfo-canary", "no service-intentions podinfo-primary"},
		},
		"both halves are resolved as the service is": {
			canary: consultest.Canary(), traffic: consultest.Weights(0), kinds: []string{resolver},
			have: []string{`service-resolver podinfo {"ConnectTimeout":"3s","DefaultSubset":"v1","Subsets":{"v1":{"Filter":"x"}},"LoadBalancer":{"Policy":"random"},"Failover":{"*":{"Datacenters":["dc2"]},"v1":{"Service":"x"}}}`},
			want: []string{
				`service-resolver podinfo-primary {"ConnectTimeout":"3s","Failover":{"*":{"Datacenters":["dc2"],"Service":"podinfo"}},"LoadBalancer":{"Policy":"random"}}`,
				`service-resolver podinfo-canary {"ConnectTimeout":"3s","Failover":{"*":{"Datacenters":["dc2"],"Service":"podinfo"}},"LoadBalancer":{"Policy":"random"}}`,
			},
		},
		"failover to targets": {
			canary: consultest.Canary(), traffic: consultest.Weights(0), kinds: []string{resolver}, pods: consultest.Aliased(),
			have: []string{`service-resolver podinfo {"Failover":{"*":{"Targets":[{"Datacenter":"dc2"},{"Service":"other"}]}}}`},
			want: []string{
				`service-resolver podinfo-primary {"Failover":{"*":{"Targets":[{"Datacenter":"dc2","Service":"podinfo"},{"Service":"other"}]}}}`,
				`service-resolver podinfo-canary {"Redirect":{"Service":"podinfo"}}`,
			},
		},
		"the canary's pods are the service's": {
			canary: consultest.Canary(), traffic: consultest.Weights(30), kinds: []string{resolver, splitter}, pods: consultest.Aliased(),
			want: []string{
				"service-resolver podinfo-primary {}", `service-resolver podinfo-canary {"Redirect":{"Service":"podinfo"}}`,
				`service-splitter podinfo {"Splits":[{"Service":"podinfo-primary","Weight":70},{"Service":"podinfo-canary","Weight":30}]}`,
			},
		},
		"A/B: whom nothing matches stays with the primary": {
			canary:  consultest.Canary(consultest.Matching(`{"headers":{"x-canary":{"exact":"yes"}}}`, `{"uri":{"prefix":"/beta"},"method":{"exact":"GET"}}`)),
			traffic: providers.Traffic{Canary: 100, Matched: true}, kinds: []string{splitter, router},
			want: []string{
				"service-splitter podinfo " + allToStart,
				`service-router podinfo {"Routes":[` +
					`{"Destination":{"Service":"podinfo-canary"},"Match":{"HTTP":{"Header":[{"Exact":"yes","Name":"x-canary"}]}}},` +
					`{"Destination":{"Service":"podinfo-canary"},"Match":{"HTTP":{"Methods":["GET"],"PathPrefix":"/beta"}}}]}`,
			},
		},
		"A/B with shares": {
			canary:  consultest.Canary(consultest.Matching(`{"queryParams":{"beta":{}}}`)),
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
			canary: consultest.Canary(consultest.Matching(`{"queryParams":{"beta":{}}}`)), traffic: consultest.Weights(0), kinds: []string{defaults, splitter, router},
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
			canary: consultest.Canary(consultest.Sticky), traffic: providers.Traffic{Primary: 80, Canary: 20, Sessions: consultest.Step}, kinds: []string{splitter, router},
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
			canary: consultest.Canary(consultest.Sticky), traffic: providers.Traffic{Canary: 100, Sessions: consultest.Step}, kinds: []string{splitter, router},
			want: []string{
				`service-splitter podinfo {"Splits":[` +
					`{"ResponseHeaders":{"Add":{"set-cookie":"v-primary=1.ca978112; Max-Age=86400; Path=/"}},"Service":"podinfo-primary"},` +
					`{"ResponseHeaders":{"Add":{"set-cookie":"v=a; Max-Age=86400; Path=/"}},"Service":"podinfo-canary","Weight":100}]}`,
				`service-router podinfo {"Routes":[{"Destination":{"Service":"podinfo-canary"},"Match":{"HTTP":{"Header":[{"Name":"cookie","Regex":"(.*;\\s*)?v=a\\s*(;.*)?"}]}}}]}`,
			},
		},
		"sessions, at 0 nobody goes to the canary": {
			canary: consultest.Canary(consultest.Sticky), traffic: providers.Traffic{Primary: 100, Sessions: consultest.Step}, kinds: []string{splitter, router},
			want: []string{"service-splitter podinfo " + allToStart},
		},
		"sessions have ended": {
			canary: consultest.Canary(consultest.Sticky), traffic: providers.Traffic{Primary: 100, Sessions: providers.Sessions{Ended: "a"}}, kinds: []string{splitter, router},
			want: []string{
				"service-splitter podinfo " + allToStart,
				`service-router podinfo {"Routes":[{"Destination":{"ResponseHeaders":{"Add":{"set-cookie":"v=a; Max-Age=-1; Path=/"}},"Service":"podinfo"},` +
					`"Match":{"HTTP":{"Header":[{"Name":"cookie","Regex":"(.*;\\s*)?v=a\\s*(;.*)?"}]}}}]}`,
			},
		},
		"settings of the spec": {
			canary: consultest.Canary(consultest.Serving(func(s *v1beta1.CanaryService) {
				s.Timeout, s.Rewrite = "15s", consultest.Object(`{"uri":"/v2"}`)
				s.Retries = consultest.Object(`{"attempts":3,"retryOn":"gateway-error,retriable-status-codes,503"}`)
				s.Headers = consultest.Object(`{"request":{"add":{"x-a":"1"},"remove":["x-b"]},"response":{"set":{"x-c":"2"}}}`)
			})), traffic: consultest.Weights(10), kinds: []string{router},
			want: []string{`service-router podinfo {"Routes":[{"Destination":{"NumRetries":3,"PrefixRewrite":"/v2","RequestHeaders":{"Add":{"x-a":"1"},"Remove":["x-b"]},` +
				`"RequestTimeout":"15s","ResponseHeaders":{"Set":{"x-c":"2"}},"RetryOn":["gateway-error"],"RetryOnStatusCodes":[503],"Service":"podinfo"},"Match":{"HTTP":{"PathPrefix":"/"}}}]}`},
		},
		"only some requests are shared out": {
			canary: consultest.Canary(consultest.Serving(func(s *v1beta1.CanaryService) {
				s.Match = []v1beta1.RawObject{*consultest.Object(`{"uri":{"prefix":"/api"}}`)}
			})),
			traffic: consultest.Weights(10), kinds: []string{router},
			want: []string{`service-router podinfo {"Routes":[{"Destination":{"Service":"podinfo"},"Match":{"HTTP":{"PathPrefix":"/api"}}},{"Destination":{"Service":"podinfo-primary"}}]}`},
		},
		"a user's routes are shared out, and those that lead elsewhere stay": {
			canary: consultest.Canary(consultest.Matching(`{"headers":{"x-canary":{"exact":"yes"}}}`)), traffic: providers.Traffic{Canary: 100, Matched: true}, kinds: []string{router},
			have: []string{`service-router podinfo {"Routes":[{"Match":{"HTTP":{"PathPrefix":"/admin"}},"Destination":{"Service":"admin"}},{"Match":{"HTTP":{"PathPrefix":"/slow"}},"Destination":{"RequestTimeout":"90s","ServiceSubset":"v1"}}]}`},
			want: []string{`service-router podinfo {"Routes":[` +
				`{"Destination":{"Service":"admin"},"Match":{"HTTP":{"PathPrefix":"/admin"}}},` +
				`{"Destination":{"RequestTimeout":"1m30s","Service":"podinfo-canary"},"Match":{"HTTP":{"Header":[{"Exact":"yes","Name":"x-canary"}],"PathPrefix":"/slow"}}},` +
				`{"Destination":{"RequestTimeout":"1m30s","Service":"podinfo"},"Match":{"HTTP":{"PathPrefix":"/slow"}}},` +
				`{"Destination":{"Service":"podinfo-canary"},"Match":{"HTTP":{"Header":[{"Exact":"yes","Name":"x-canary"}]}}}]}` +
				` sluice.dev/original.0={"body":{"Routes":[{"Destination":{"Service":"admin"},"Match":{"HTTP":{"PathPrefix":"/admin"}}},{"Destination":{"RequestTimeout":"90s","ServiceSubset":"v1"},"Match":{"HTTP":{"PathPrefix":"/slow"}}}]}}`},
		},
		"a user's route for everything is the last": {
			canary: consultest.Canary(consultest.Serving(func(s *v1beta1.CanaryService) { s.Timeout = "5s" })), traffic: consultest.Weights(10), kinds: []string{router},
			have: []string{`ours service-router podinfo {"Meta":{"sluice.dev/original.0":"{\"body\":{\"Routes\":[{\"Destination\":{\"NumRetries\":2}}]}}"}}`},
			want: []string{`service-router podinfo {"Routes":[{"Destination":{"NumRetries":2,"RequestTimeout":"5s","Service":"podinfo"}}]}` +
				` sluice.dev/original.0={"body":{"Routes":[{"Destination":{"NumRetries":2}}]}}`},
		},
		"a user's splits of the service are kept until they are given back": {
			canary: consultest.Canary(), traffic: consultest.Weights(0), kinds: []string{splitter},
			have: []string{`service-splitter podinfo {"Splits":[{"Weight":90,"ServiceSubset":"v1"},{"Weight":10,"Service":"podinfo","ServiceSubset":"v2"}]}`},
			want: []string{"service-splitter podinfo " + allToStart + ` sluice.dev/original.0={"body":{"Splits":[{"ServiceSubset":"v1","Weight":90},{"Service":"podinfo","ServiceSubset":"v2","Weight":10}]}}`},
		},
		"who calls others may go on doing so, where the caller has both names": {
			canary: consultest.Canary(), traffic: consultest.Weights(0), kinds: []string{intentions}, pods: consultest.Aliased(),
			have: []string{`service-intentions db {"Sources":[{"Name":"podinfo","Action":"allow"},{"Name":"podinfo-primary","Action":"allow"}]}`},
		},
		"an intention that comes later takes nothing back": {
			canary: consultest.Canary(), traffic: consultest.Weights(0), kinds: []string{intentions},
			have: []string{`service-intentions db {"Sources":[{"Name":"podinfo","Action":"allow"}]}`, "ours service-splitter podinfo {}"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			route := providers.Route{Canary: tc.canary, Traffic: tc.traffic, PodAnnotations: tc.pods}
			p, err := plan.Of(route, services.Of(tc.canary, tc.pods, entries.Scope{}), consultest.Having(t, tc.have...))
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
			consultest.Diff(t, tc.want, got)
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	service := func(change func(*v1beta1.CanaryService)) *v1beta1.Canary {
		return consultest.Canary(consultest.Serving(change))
	}
	for name, tc := range map[string]struct {
		canary *v1beta1.Canary
		have   []string
		is     func(error) bool
		want   string // in the message
	}{
		"tcp of the service":                 {consultest.Canary(), []string{`service-defaults podinfo {"Protocol":"tcp"}`}, providers.IsInvalid, `service-defaults podinfo: Protocol: invalid value "tcp"`},
		"tcp of all proxies":                 {consultest.Canary(), []string{`proxy-defaults global {"Config":{"protocol":"tcp"}}`}, providers.IsInvalid, `proxy-defaults global: Config.protocol: invalid value "tcp"`},
		"no protocol, managed by consul-k8s": {consultest.Canary(), []string{`service-defaults podinfo {"Meta":{"external-source":"kubernetes"}}`}, providers.IsInvalid, "service-defaults podinfo: Protocol"},
		"another protocol in mid-life": {service(func(s *v1beta1.CanaryService) { s.AppProtocol = "grpc" }), []string{
			"ours service-defaults podinfo " + isHTTP, "ours service-defaults podinfo-primary " + isHTTP, "ours service-splitter podinfo " + allToStart,
		}, providers.IsInvalid, "spec.service.appProtocol: invalid value \"grpc\": what stands for http"},
		"a router of consul-k8s":        {service(func(s *v1beta1.CanaryService) { s.Timeout = "1s" }), []string{`service-router podinfo {"Meta":{"external-source":"kubernetes"}}`}, providers.IsConflict, "service-router default/default/podinfo belongs to consul-k8s"},
		"a splitter of consul-k8s":      {consultest.Canary(), []string{`service-splitter podinfo {"Meta":{"external-source":"kubernetes"}}`}, providers.IsConflict, "service-splitter"},
		"another Canary's":              {consultest.Canary(), []string{`service-splitter podinfo {"Meta":{"sluice.dev/canary":"other/podinfo"}}`}, providers.IsConflict, "belongs to Canary other/podinfo"},
		"another Canary's half":         {consultest.Canary(), []string{`service-resolver podinfo-canary {"Meta":{"sluice.dev/canary":"other/x"}}`}, providers.IsConflict, "podinfo-canary"},
		"a redirect":                    {consultest.Canary(), []string{`service-resolver podinfo {"Redirect":{"Service":"other"}}`}, providers.IsInvalid, "Redirect"},
		"splits with others":            {consultest.Canary(), []string{`service-splitter podinfo {"Splits":[{"Weight":50},{"Weight":50,"Service":"other"}]}`}, providers.IsInvalid, "Splits[1].Service"},
		"a caller by name, primary":     {consultest.Canary(), []string{`service-intentions db {"Sources":[{"Name":"podinfo","Action":"allow"}]}`}, providers.IsInvalid, "podinfo-primary"},
		"a caller by name, canary":      {consultest.Canary(), []string{`service-intentions db {"Sources":[{"Name":"podinfo","Action":"allow"},{"Name":"podinfo-primary","Action":"allow"}]}`}, providers.IsInvalid, "podinfo-canary"},
		"an original that is lost":      {consultest.Canary(), []string{`ours service-splitter podinfo {"Meta":{"sluice.dev/original.0":"{"}}`}, providers.IsInvalid, "sluice.dev/original.0"},
		"an original that is too large": {consultest.Canary(), []string{`service-splitter podinfo {"Splits":[{"Weight":100,"ServiceSubset":"` + strings.Repeat("x", 33000) + `"}]}`}, providers.IsInvalid, "too large"},
		"two matches for one thing": {service(func(s *v1beta1.CanaryService) {
			s.Match = []v1beta1.RawObject{*consultest.Object(`{"uri":{"prefix":"/a"}}`)}
		}), []string{`service-router podinfo {"Routes":[{}]}`}, providers.IsInvalid, "spec.service.match"},
		"delegation":                 {service(func(s *v1beta1.CanaryService) { s.Delegation = true }), nil, providers.IsUnsupported, "spec.service.delegation"},
		"hosts":                      {service(func(s *v1beta1.CanaryService) { s.Hosts = []string{"a"} }), nil, providers.IsUnsupported, "spec.service.hosts"},
		"gateways":                   {service(func(s *v1beta1.CanaryService) { s.Gateways = []string{"a"} }), nil, providers.IsUnsupported, "spec.service.gateways"},
		"trafficPolicy":              {service(func(s *v1beta1.CanaryService) { s.TrafficPolicy = consultest.Object(`{}`) }), nil, providers.IsUnsupported, "spec.service.trafficPolicy"},
		"corsPolicy":                 {service(func(s *v1beta1.CanaryService) { s.CorsPolicy = consultest.Object(`{}`) }), nil, providers.IsUnsupported, "spec.service.corsPolicy"},
		"timeout":                    {service(func(s *v1beta1.CanaryService) { s.Timeout = "soon" }), nil, providers.IsInvalid, "spec.service.timeout"},
		"time of a try":              {service(func(s *v1beta1.CanaryService) { s.Retries = consultest.Object(`{"perTryTimeout":"1s"}`) }), nil, providers.IsUnsupported, "spec.service.retries.perTryTimeout"},
		"reason to try again":        {service(func(s *v1beta1.CanaryService) { s.Retries = consultest.Object(`{"retryOn":"moon"}`) }), nil, providers.IsInvalid, "spec.service.retries.retryOn"},
		"authority":                  {service(func(s *v1beta1.CanaryService) { s.Rewrite = consultest.Object(`{"uri":"/","authority":"a"}`) }), nil, providers.IsUnsupported, "spec.service.rewrite.authority"},
		"rewrite to what is no path": {service(func(s *v1beta1.CanaryService) { s.Rewrite = consultest.Object(`{"uri":"a"}`) }), nil, providers.IsInvalid, "spec.service.rewrite.uri"},
		"rewrite of a regex": {service(func(s *v1beta1.CanaryService) {
			s.Rewrite, s.Match = consultest.Object(`{"uri":"/"}`), []v1beta1.RawObject{*consultest.Object(`{"uri":{"regex":"/a.*"}}`)}
		}), nil, providers.IsInvalid, "spec.service.rewrite.uri"},
		"headers":           {service(func(s *v1beta1.CanaryService) { s.Headers = consultest.Object(`{"request":[]}`) }), nil, providers.IsInvalid, "spec.service.headers"},
		"labels of callers": {consultest.Canary(consultest.Matching(`{"sourceLabels":{"a":"b"}}`)), nil, providers.IsUnsupported, "spec.analysis.match[0].sourceLabels"},
		"unknown in match":  {consultest.Canary(consultest.Matching(`{"header":{}}`)), nil, providers.IsInvalid, "spec.analysis.match[0]"},
		"path in match":     {consultest.Canary(consultest.Matching(`{"uri":{"exact":"a"}}`)), nil, providers.IsInvalid, "spec.analysis.match[0].uri"},
		"method in match":   {consultest.Canary(consultest.Matching(`{"method":{"exact":"FETCH"}}`)), nil, providers.IsInvalid, "spec.analysis.match[0].method.exact"},
		"cookie":            {consultest.Canary(func(c *v1beta1.Canary) { consultest.Sticky(c); c.Spec.Analysis.SessionAffinity.CookieName = "a b" }), nil, providers.IsInvalid, "spec.analysis.sessionAffinity.cookieName"},
	} {
		t.Run(name, func(t *testing.T) {
			traffic := consultest.Weights(0)
			if tc.canary.Spec.Analysis.SessionAffinity != nil {
				traffic.Sessions = consultest.Step
			}
			p, err := plan.Of(providers.Route{Canary: tc.canary, Traffic: traffic}, services.Of(tc.canary, nil, entries.Scope{}), consultest.Having(t, tc.have...))
			if !tc.is(err) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, %v", show(p), err)
			}
		})
	}
}

// TestMatchIsNeededForMatched: a share of the requests that match cannot be said without a match.
func TestMatchIsNeededForMatched(t *testing.T) {
	route := providers.Route{Canary: consultest.Canary(), Traffic: providers.Traffic{Canary: 100, Matched: true}}
	if _, err := plan.Of(route, services.Of(route.Canary, nil, entries.Scope{}), nil); !providers.IsInvalid(err) {
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
			c := consultest.Canary()
			k := entries.Key{Kind: splitter, Name: "podinfo"}
			have := consultest.Having(t, line)
			users := have[k]
			for _, weight := range []int32{0, 30, 100} {
				p, err := plan.Of(providers.Route{Canary: c, Traffic: consultest.Weights(weight)}, services.Of(c, nil, entries.Scope{}), have)
				if err != nil {
					t.Fatal(err)
				}
				at := slices.IndexFunc(p.Wanted, func(e entries.Entry) bool { return e.Key == k })
				written := p.Wanted[at]
				written.Index = 99
				have[k] = written
				for k, v := range written.Meta {
					if len(v) > 512 {
						t.Fatalf("Meta %s has %d bytes", k, len(v))
					}
				}
			}
			back, theirs, err := have[k].Users(c)
			if err != nil || !theirs || !entries.Same(users, back) {
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
			c := consultest.Canary(consultest.Matching(`{"queryParams":{"beta":{}}}`))
			n, have := services.Of(c, tc.pods, entries.Scope{}), consultest.Having(t, tc.have...)
			full, err := plan.Of(providers.Route{Canary: c, Traffic: providers.Traffic{Canary: 100, Matched: true}}, n, have)
			if err != nil {
				t.Fatal(err)
			}
			p, err := plan.Warming(full, n, have, c, "now")
			if err != nil {
				t.Fatal(err)
			}
			consultest.Diff(t, []string{tc.want}, only(show(p), splitter, router))
		})
	}
}

// show is a plan as having reads it: what is wanted, then what is not.
func show(p plan.Plan) []string {
	var out []string
	for _, e := range p.Wanted {
		line := fmt.Sprintf("%s %s %s", e.Kind, e.Name, entries.Canonical(e.Body))
		for _, k := range slices.Sorted(func(yield func(string) bool) {
			for k := range e.Meta {
				if k != entries.CanaryMeta && !yield(k) {
					return
				}
			}
		}) {
			line += " " + k + "=" + e.Meta[k]
		}
		out = append(out, line)
	}
	for _, k := range p.Unwanted {
		out = append(out, "no "+k.Kind+" "+k.Name)
	}
	return out
}

// only are the lines of some kinds.
func only(lines []string, kinds ...string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		return !slices.ContainsFunc(kinds, func(kind string) bool { return strings.HasPrefix(strings.TrimPrefix(line, "no "), kind+" ") })
	})
}
