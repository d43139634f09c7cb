package main

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// What a tenant gets for a manifest.
const (
	refusedAtApply = "refused"         // by the schema
	works          = "works"           // it is released, or can be used
	notApplied     = "Applied"         // it can't be carried out yet, and a condition says why
	unreachable    = "MeshUnreachable" // neither is it at fault nor can anything be done
	waits          = "waits"           // it is for what is not there
)

// hostile is a manifest that a tenant applies. NAME stands for a name of its own in a namespace that all share.
type hostile struct {
	name string
	// spec is merged into that of a Canary of a Deployment, or is that of another kind.
	spec, kind string
	// beside are objects that there are before, as documents.
	beside string
	// want is refusedAtApply, works, or the reason of the condition that says what is wrong.
	want string
	// says is a part of the message.
	says string
	// target and canary are the names of the Deployment and of the Canary if they are not NAME.
	target, canary string
	// workload changes the Deployment.
	workload func(*appsv1.Deployment)
	// annotations are those of the object, and status is what its manifest says of it.
	annotations map[string]string
	status      string
	// apart has an operator answer that keeps namespaces apart.
	apart bool
}

const (
	template = "MetricTemplate"
	provider = "AlertProvider"
	action   = "CanaryAction"
)

func istio(service string) string {
	return "provider: istio\nanalysis: {iterations: null, stepWeight: 50}\nservice: " + service
}

func metric(m string) string { return "analysis: {metrics: [" + m + "]}" }

func hook(h string) string { return "analysis: {webhooks: [" + h + "]}" }

func long(n int) string { return strings.Repeat("x", n) }

// hostiles are by what they try.
func hostiles() []hostile {
	var out []hostile
	for _, group := range [][]hostile{
		names, addresses, secretsOfOthers, takings, work, mistakes, templates, values, harmless,
		targeted, routing, steps, checked, queries, actings,
	} {
		out = append(out, group...)
	}
	return out
}

// names that would become paths, queries, headers or other objects.
var names = []hostile{
	{name: "service name as a path", spec: "service: {name: ../../kube-system/services/x}", want: refusedAtApply, says: "spec.service.name"},
	{name: "service name in capitals", spec: "service: {name: Web_Front}", want: refusedAtApply, says: "spec.service.name"},
	{name: "service name in other letters", spec: "service: {name: вебъ}", want: refusedAtApply, says: "spec.service.name"},
	{name: "service name with a namespace", spec: "service: {name: orders.shop}", want: refusedAtApply, says: "spec.service.name"},
	{name: "service name that leaves no room", spec: "service: {name: " + long(60) + "}", want: "InvalidSpec", says: "-primary"},
	{name: "target name as a path", spec: "targetRef: {name: ../x}", want: "TargetMissing", says: "../x"},
	{name: "target name as a query", spec: `targetRef: {name: 'a"}) or vector(0) #'}`, want: "TargetMissing"},
	{name: "target in another namespace", spec: "targetRef: {namespace: kube-system}", want: refusedAtApply, says: "targetRef.namespace"},
	{name: "port name in capitals", spec: "service: {portName: Web}", want: refusedAtApply, says: "portName"},
	{name: "port that is none", spec: "service: {targetPort: 65536}", want: refusedAtApply, says: "targetPort must be"},
	{name: "port name that no container has", spec: "service: {targetPort: longer-than-fifteen}", want: refusedAtApply, says: "targetPort must be"},
	{name: "protocol with blanks", spec: "service: {appProtocol: http and more}", want: refusedAtApply, says: "appProtocol"},
	{name: "ingress name as a query", spec: `ingressRef: {name: 'a"} or on() vector(1) #'}`, want: refusedAtApply, says: "ingressRef.name"},
	{name: "host with a line break", spec: istio(`{hosts: ["a.example.com\nb"]}`), want: refusedAtApply, says: "hosts"},
	{name: "gateway as a path", spec: istio("{gateways: [a/b/c]}"), want: refusedAtApply, says: "gateways"},
	{name: "10,000 hosts", spec: istio("{hosts: [" + strings.Repeat("a.example.com,", 10_000) + "]}"), want: refusedAtApply, says: "at most 500"},
	{name: "3,000 matches", spec: istio("{match: [" + strings.Repeat(`{uri: {exact: /a}},`, 3000) + "]}"), want: refusedAtApply, says: "at most 256"},
	{name: "cookie with attributes", spec: "analysis: {sessionAffinity: {cookieName: 'a; Secure'}}", want: refusedAtApply, says: "cookieName"},
	{name: "cookie domain with attributes", spec: "analysis: {sessionAffinity: {cookieName: a, domain: 'b; HttpOnly'}}", want: refusedAtApply, says: "domain"},
	{name: "cookie path with attributes", spec: "analysis: {sessionAffinity: {cookieName: a, path: '/;Secure'}}", want: refusedAtApply, says: "path"},
	{name: "one cookie for both", spec: "provider: istio\nanalysis: {iterations: null, stepWeight: 50, sessionAffinity: {cookieName: a, primaryCookieName: a}}", want: "InvalidSpec", says: "primaryCookieName"},
	{name: "metric without a name", spec: metric("{name: '', query: up}"), want: refusedAtApply, says: "name"},
	{name: "metric with a long name", spec: metric("{name: " + long(300) + ", query: up}"), want: refusedAtApply, says: "name"},
	{name: "metric with a name of two lines", spec: metric(`{name: "a\nb\u202e", query: up}`), want: works},
	{name: "provider of two lines", spec: `provider: "linkerd\nReady"`, want: "UnknownProvider"},
	{name: "label that is none", spec: "service: {apex: {labels: {a: 'b c'}}}", want: "InvalidSpec", says: "spec.service.apex.labels"},
	{name: "annotations of 300 KB", spec: "service: {apex: {annotations: {a: " + long(300_000) + "}}}", want: "InvalidSpec", says: "spec.service.apex.annotations"},
	{name: "template by a path", spec: metric("{name: m, templateRef: {name: a/../b}}"), want: "TemplateMissing"},
	{name: "header of two lines", kind: template, spec: `{provider: {type: prometheus, address: 'http://p/', headers: {X-A: ["a\r\nX-B: c"]}}, query: up}`, want: "ProviderInvalid", says: "headers"},
	{name: "header name with blanks", kind: template, spec: `{provider: {type: web, address: 'http://p/', headers: {'a b': [c]}}, query: up}`, want: "ProviderInvalid", says: "headers"},
	{name: "Keptn's objects elsewhere", kind: template, spec: "{provider: {type: keptn}, query: keptnmetric/kube-system/latency}", want: "TemplateInvalid", says: "it is for the namespace kube-system; allowed: tenants"},
	{name: "Keptn's objects by a path", kind: template, spec: "{provider: {type: keptn}, query: keptnmetric/tenants/..}", want: "TemplateInvalid", says: "no name of an object"},
	{name: "external metrics elsewhere", kind: template, spec: "{provider: {type: externalmetrics}, query: kube-system/queue}", want: "TemplateInvalid", says: "it is for the namespace kube-system"},
	{name: "external metrics by a path", kind: template, spec: "{provider: {type: externalmetrics}, query: tenants/..}", want: "TemplateInvalid", says: "no name of a metric"},
}

// addresses that the operator reaches and tenants do not.
var addresses = []hostile{
	{name: "hook to the loopback", spec: hook("{name: h, url: 'http://127.9.9.9/'}"), want: "InvalidSpec", says: "a loopback address"},
	{name: "hook to the loopback of IPv6", spec: hook("{name: h, url: 'http://[::1]:8080/'}"), want: "InvalidSpec", says: "a loopback address"},
	{name: "hook to localhost", spec: hook("{name: h, url: 'http://LocalHost/'}"), want: "InvalidSpec", says: "a loopback address"},
	{name: "hook to metadata, mapped", spec: hook("{name: h, url: 'http://[::ffff:a9fe:a9fe]/'}"), want: "InvalidSpec", says: "metadata"},
	{name: "hook to metadata, translated", spec: hook("{name: h, url: 'http://[::ffff:0:a9fe:a9fe]/'}"), want: "InvalidSpec", says: "metadata"},
	{name: "hook to metadata, NAT64", spec: hook("{name: h, url: 'http://[64:ff9b::169.254.169.254]/'}"), want: "InvalidSpec", says: "metadata"},
	{name: "hook to a number", spec: hook("{name: h, url: 'http://2130706433/'}"), want: "InvalidSpec", says: "written like"},
	{name: "hook to zero", spec: hook("{name: h, url: 'http://0/'}"), want: "InvalidSpec", says: "written like"},
	{name: "hook to the API server", spec: hook("{name: h, url: 'https://kubernetes.default.svc/'}"), want: "InvalidSpec", says: "the API server"},
	{name: "hook to a socket", spec: hook("{name: h, url: 'unix:///run/docker.sock'}"), want: "InvalidSpec", says: "http://"},
	{name: "hook without a scheme", spec: hook("{name: h, url: '//a/b'}"), want: "InvalidSpec", says: "http://"},
	{name: "hook with a second request", spec: hook(`{name: h, url: "http://a/\r\nHost: b"}`), want: "InvalidSpec", says: "url"},
	{name: "metrics server at the loopback", spec: "metricsServer: http://127.0.0.1:8080/\n" + metric("{name: m, query: up}"), want: "ProviderInvalid", says: "a loopback address"},
	{name: "metrics server at metadata", spec: "metricsServer: http://169.254.169.254/latest\n" + metric("{name: m, query: up}"), want: "ProviderInvalid", says: "metadata"},
	{name: "metrics server in a file", spec: "metricsServer: file:///etc/passwd\n" + metric("{name: m, query: up}"), want: "ProviderInvalid", says: "not a URL"},
	{name: "template at the loopback", kind: template, spec: "{provider: {type: web, address: 'http://127.0.0.1:8080'}, query: /metrics}", want: "ProviderInvalid", says: "a loopback address"},
	{name: "template at metadata, by its query", kind: template, spec: "{provider: {type: web}, query: 'http://169.254.169.254/latest/meta-data'}", want: "TemplateInvalid", says: "metadata"},
	{name: "template at metadata, by its name", kind: template, spec: "{provider: {type: web, address: 'http://metadata.google.internal', headers: {Metadata-Flavor: [Google]}}, query: /token}", want: "ProviderInvalid", says: "metadata"},
	{name: "template in a file", kind: template, spec: "{provider: {type: prometheus, address: 'file:///etc/passwd'}, query: up}", want: "ProviderInvalid", says: "not a URL"},
	{name: "CloudWatch at a customer's host", kind: template, spec: "{provider: {type: cloudwatch, region: eu-west-1, address: 'https://x.execute-api.eu-west-1.amazonaws.com'}, query: '[]'}", want: "ProviderInvalid", says: "not the address of CloudWatch"},
	{name: "CloudWatch with an identity that is not lent", kind: template, apart: true, spec: "{provider: {type: cloudwatch, region: eu-west-1}, query: '[]'}", want: "ProviderInvalid", says: "-cloud-identity-namespaces"},
	{name: "alert to metadata", kind: provider, spec: "{type: webhook, address: 'http://169.254.169.254/'}", want: "ProviderInvalid", says: "metadata"},
	{name: "alert to a script", kind: provider, spec: "{type: webhook, address: 'javascript:alert(1)'}", want: "ProviderInvalid", says: "allowed: https://"},
	{name: "alert to nowhere", kind: provider, spec: "{type: webhook, address: ''}", want: refusedAtApply, says: "one of address and secretRef"},
	{name: "alert through a proxy at the loopback", kind: provider, spec: "{type: slack, address: 'https://a/', proxy: 'http://127.0.0.1:3128'}", want: "ProviderInvalid", says: "proxy"},
	{name: "alert through another proxy", kind: provider, spec: "{type: slack, address: 'https://a/', proxy: 'socks5://a:1080'}", want: "ProviderInvalid", says: "proxy"},
	{name: "alert with a long channel", kind: provider, spec: "{type: slack, address: 'https://a/', channel: " + long(5000) + "}", want: refusedAtApply, says: "channel"},
}

const (
	token = "apiVersion: v1\nkind: Secret\nmetadata: {name: NAME, annotations: {kubernetes.io/service-account.name: tenant}}\ntype: kubernetes.io/service-account-token\n"
	plain = "apiVersion: v1\nkind: Secret\nmetadata: {name: NAME}\nstringData: {token: t}\n"
	ours  = "apiVersion: v1\nkind: Secret\nmetadata: {name: NAME, annotations: {sluice.dev/used-for: 'metrics, hooks, alerts', sluice.dev/hosts: '*.example.com'}}\nstringData: {token: t, authorization: a}\n"
)

// secretsOfOthers would go to whoever a tenant names.
var secretsOfOthers = []hostile{
	{name: "token to a metrics server", beside: token, spec: "metricsServer: http://evil.test/\nmetricsServerSecretRef: {name: NAME}\n" + metric("{name: m, query: up}"), want: "SecretRefused", says: "service-account-token"},
	{name: "token to a template", kind: template, beside: token, spec: "{provider: {type: prometheus, address: 'http://evil.test', secretRef: {name: NAME}}, query: up}", want: "SecretRefused", says: "service-account-token"},
	{name: "token to a chat", kind: provider, beside: token, spec: "{type: slack, address: 'https://evil.test', secretRef: {name: NAME}}", want: "SecretRefused", says: "service-account-token"},
	{name: "token to a hook", beside: token, spec: hook("{name: h, url: 'http://evil.test/', secretRef: {name: NAME}}"), want: "SecretRefused", says: "service-account-token"},
	{name: "Secret to another host", beside: ours, spec: "metricsServer: http://evil.test/\nmetricsServerSecretRef: {name: NAME}\n" + metric("{name: m, query: up}"), want: "SecretRefused", says: "may not be sent to evil.test"},
	{name: "Secret to its host", beside: ours, spec: "metricsServer: http://p.example.com/\nmetricsServerSecretRef: {name: NAME}\n" + metric("{name: m, query: up}"), want: works, apart: true},
	{name: "Secret to a hook elsewhere", beside: ours, spec: hook("{name: h, url: 'http://evil.test/', secretRef: {name: NAME}}"), want: "SecretRefused", says: "may not be sent to evil.test"},
	{name: "Secret that says nothing", kind: template, beside: plain, spec: "{provider: {type: prometheus, address: 'http://p.test', secretRef: {name: NAME}}, query: up}", want: works},
	{name: "Secret that says nothing, apart", kind: template, beside: plain, apart: true, spec: "{provider: {type: prometheus, address: 'http://p.test', secretRef: {name: NAME}}, query: up}", want: "SecretRefused", says: "sluice.dev/hosts: p.test"},
	{name: "Secret by a path", kind: template, spec: "{provider: {type: prometheus, address: 'http://p.test', secretRef: {name: ../kube-system/x}}, query: up}", want: "SecretMissing"},
	{name: "Secret without a name", kind: template, spec: "{provider: {type: prometheus, address: 'http://p.test', secretRef: {name: ''}}, query: up}", want: refusedAtApply, says: "secretRef must have a name"},
}

const database = "apiVersion: v1\nkind: Service\nmetadata: {name: NAME-db}\nspec: {selector: {app: postgres}, ports: [{port: 5432}]}\n"

// takings are of what is somebody else's.
var takings = []hostile{
	{name: "somebody's Service", beside: database, spec: "service: {name: NAME-db}", want: "ObjectConflict", says: `by the selector "app=postgres"`},
	{name: "Service without a selector", beside: "apiVersion: v1\nkind: Service\nmetadata: {name: NAME-db}\nspec: {ports: [{port: 443}]}\n", spec: "service: {name: NAME-db}", want: "ObjectConflict", says: "sluice.dev/adoptable"},
	{name: "Service that may be taken", beside: strings.Replace(database, "NAME-db}", "NAME-db, annotations: {sluice.dev/adoptable: 'true'}}", 1), spec: "service: {name: NAME-db}", want: works},
	{name: "Service of the target", beside: "apiVersion: v1\nkind: Service\nmetadata: {name: NAME-db}\nspec: {selector: {app: NAME}, ports: [{port: 9898}]}\n", spec: "service: {name: NAME-db}", want: works},
	{name: "host of another namespace", spec: istio("{hosts: [orders.shop.svc.cluster.local]}"), want: "InvalidSpec", says: "is a Service of the namespace shop"},
	{name: "the API server's host", spec: istio("{hosts: [kubernetes.default.svc]}"), want: "InvalidSpec", says: "is a Service of the namespace default"},
	{name: "host of its own namespace", spec: istio("{hosts: [NAME.tenants.svc]}"), want: works},
	{name: "gateway of another namespace", spec: istio("{gateways: [istio-system/public], hosts: [a.example.com]}"), want: works},
	{name: "gateway of another namespace, apart", apart: true, spec: istio("{gateways: [istio-system/public], hosts: [a.example.com]}"), want: "CrossNamespaceRef", says: "spec.service.gateways"},
	{name: "every host, apart", apart: true, spec: istio("{hosts: ['*']}"), want: "InvalidSpec", says: "every application's"},
	{name: "chat of another namespace, apart", apart: true, spec: "analysis: {alerts: [{name: a, providerRef: {name: on-call, namespace: ops}}]}", want: "CrossNamespaceRef", says: "providerRef"},
	{name: "template of another namespace, apart", apart: true, spec: metric("{name: m, templateRef: {name: t, namespace: ops}}"), want: "CrossNamespaceRef", says: "templateRef"},
}

// work that would keep the operator from that of others.
var work = []hostile{
	{name: "interval of a nanosecond", spec: "analysis: {interval: 0.000001ms}", want: refusedAtApply, says: "interval"},
	{name: "interval of a millisecond", spec: "analysis: {interval: 1ms, threshold: 2147483647, iterations: 2147483647}", want: refusedAtApply, says: "100ms at the least"},
	{name: "two billion rounds", spec: "analysis: {threshold: 2147483647, iterations: 2147483647}", want: works},
	{name: "warm-up of centuries", spec: metric("{name: m, query: up, warmUp: 2562047h}"), want: refusedAtApply, says: "168h at the most"},
	{name: "warm-up above what a duration holds", spec: metric("{name: m, query: up, warmUp: 99999999999h}"), want: refusedAtApply, says: "warmUp"},
	{name: "interval above what Prometheus holds", spec: metric("{name: request-duration, interval: 99999999999999d}"), want: refusedAtApply, says: "interval"},
	{name: "query of 900 KB", spec: metric("{name: m, query: " + long(900_000) + "}"), want: refusedAtApply, says: "query"},
	{name: "payload of 900 KB", spec: hook("{name: h, url: 'http://a/', metadata: {a: " + long(900_000) + "}}"), want: refusedAtApply, says: "metadata"},
	{name: "template of 1 MB", kind: template, spec: "{provider: {type: prometheus, address: 'http://p'}, query: " + long(1_000_000) + "}", want: refusedAtApply, says: "query"},
	{name: "template that loops", kind: template, spec: "{provider: {type: prometheus, address: 'http://p'}, query: '{{ range or 9000000000000000000 variables }}{{ end }}up'}", want: "TemplateInvalid", says: "only {{ range variables }}"},
	{name: "template that loops in a loop", kind: template, spec: "{provider: {type: prometheus, address: 'http://p'}, query: '{{ range variables }}{{ range variables }}x{{ end }}{{ end }}'}", want: "TemplateInvalid", says: "only {{ range variables }}"},
	{name: "template that calls itself", kind: template, spec: `{provider: {type: prometheus, address: 'http://p'}, query: '{{ define "x" }}{{ template "x" }}{{ end }}{{ template "x" }}'}`, want: "TemplateInvalid"},
	{name: "template that is wide", kind: template, spec: `{provider: {type: prometheus, address: 'http://p'}, query: '{{ len (printf "%2000000d%2000000d" 1 2) }}'}`, want: "TemplateInvalid", says: "3 digits"},
	{name: "template that doubles", kind: template, spec: "{provider: {type: prometheus, address: 'http://p'}, query: '{{ $x := name }}" + strings.Repeat("{{ $x = print $x $x }}", 40) + "'}", want: "TemplateInvalid", says: "bytes of text"},
	{name: "path that multiplies", kind: template, spec: "{provider: {type: web, address: 'http://p', jsonPath: '{..a..a..a}'}, query: /}", want: "ProviderInvalid", says: "jsonPath"},
}

// mistakes that no release would get over.
var mistakes = []hostile{
	{name: "interval of Graphite in a built-in check", spec: metric("{name: request-duration, interval: 1min}"), want: "InvalidSpec", says: "metrics[0].interval"},
	{name: "interval with a fraction in a built-in check", spec: metric("{name: request-duration, interval: 1.5m}"), want: "InvalidSpec", says: "metrics[0].interval"},
	{name: "unit twice in a built-in check", spec: metric("{name: request-duration, interval: 1m1m}"), want: "InvalidSpec", says: "metrics[0].interval"},
	{name: "retries that are none", spec: istio("{retries: {attempts: -5, perTryTimeout: never}}"), want: "InvalidSpec", says: "spec.service.retries"},
	{name: "regex that is none", spec: istio(`{match: [{headers: {cookie: {regex: "((("}}}]}`), want: "InvalidSpec", says: `spec.service.match[0].headers["cookie"].regex`},
	{name: "regex of 60 KB", spec: istio("{match: [{uri: {regex: '" + strings.Repeat("(a?){1000}", 6000) + "'}}]}"), want: "InvalidSpec", says: "allowed: 1024"},
	{name: "two conditions in one", spec: istio("{match: [{uri: {prefix: /, exact: /a}}]}"), want: "InvalidSpec", says: "exact and prefix at once"},
	{name: "response header of two lines", spec: istio(`{headers: {response: {set: {a: "b\r\nset-cookie: c=d"}}}}`), want: "InvalidSpec", says: "spec.service.headers.response.set"},
	{name: "one Gateway twice", spec: "provider: gatewayapi:v1\nservice: {gatewayRefs: [{name: g}, {name: g}]}\nanalysis: {iterations: null, stepWeight: 50}", want: "InvalidSpec", says: "gatewayRefs[1]"},
	{name: "a try longer than its request", spec: "provider: gatewayapi:v1\nservice: {timeout: 1s, backendTimeout: 1h, gatewayRefs: [{name: g}]}\nanalysis: {iterations: null, stepWeight: 50}", want: "InvalidSpec", says: "backendTimeout"},
	{name: "17 mirrors", spec: "provider: gatewayapi:v1\nservice: {gatewayRefs: [{name: g}], mirror: [" + strings.Repeat("{backendRef: {name: a, port: 80}},", 17) + "]}\nanalysis: {iterations: null, stepWeight: 50}", want: "InvalidSpec", says: "spec.service.mirror"},
	{name: "port that the target Service lacks", beside: database, spec: "provider: istio\ntargetRef: {apiVersion: v1, kind: Service, name: NAME-db}\nanalysis: {iterations: null, stepWeight: 50}", want: "InvalidSpec", says: "5432"},
	{name: "autoscaler that is missing", spec: "autoscalerRef: {kind: HorizontalPodAutoscaler, name: nope}", want: "AutoscalerMissing"},
	{name: "coverage that is not allowed", spec: "coverage: {mode: Copy}", want: "InvalidSpec", says: "spec.coverage.mode"},
	{name: "bounds the wrong way round", spec: metric("{name: m, query: up, thresholdRange: {min: 2, max: 1}}"), want: refusedAtApply, says: "min must not be above max"},
}

// templates that no provider answers.
var templates = []hostile{
	{name: "path for Prometheus", kind: template, spec: "{provider: {type: prometheus, address: 'http://p', jsonPath: '{.a}'}, query: up}", want: "ProviderInvalid", says: "jsonPath"},
	{name: "path that is none", kind: template, spec: "{provider: {type: web, address: 'http://p', jsonPath: '{.a'}, query: /}", want: "ProviderInvalid", says: "jsonPath"},
	{name: "InfluxQL that changes something", kind: template, spec: "{provider: {type: influxdb, address: 'http://p'}, query: DROP DATABASE shop}", want: "TemplateInvalid", says: "one SELECT"},
	{name: "InfluxQL that writes", kind: template, spec: `{provider: {type: influxdb, address: 'http://p'}, query: 'select*into"x"from y'}`, want: "TemplateInvalid", says: "one SELECT"},
	{name: "Flux that writes", kind: template, spec: `{provider: {type: influxdb, address: 'http://p'}, query: 'from(bucket: "a") |> to(bucket: "b")'}`, want: "TemplateInvalid", says: "only read"},
	{name: "CloudWatch without JSON", kind: template, spec: "{provider: {type: cloudwatch, region: eu-west-1}, query: avg(x)}", want: "TemplateInvalid", says: "JSON"},
	{name: "nonsense", kind: template, spec: "{provider: {type: prometheus, address: 'http://p'}, query: '{{ call variables }}'}", want: "TemplateInvalid"},
	{name: "variable without a value", beside: "apiVersion: flagger.app/v1beta1\nkind: MetricTemplate\nmetadata: {name: NAME}\nspec: {provider: {type: prometheus, address: 'http://p'}, query: 'x{{ variables.a }}'}\n", spec: metric("{name: m, templateRef: {name: NAME}}"), want: "TemplateInvalid", says: "no value for a"},
}

// valued is a template with a variable in quotes and one without.
const valued = "apiVersion: flagger.app/v1beta1\nkind: MetricTemplate\nmetadata: {name: NAME}\nspec: {provider: {type: prometheus, address: 'http://p'}, query: 'x{a=\"{{ variables.a }}\"} > {{ variables.b }}'}\n"

// values of variables that would become a part of a query that somebody else has written.
var values = []hostile{
	{name: "value that is an expression", beside: valued, apart: true, spec: metric(`{name: m, templateRef: {name: NAME}, templateVariables: {a: x, b: "1 or vector(1)"}}`), want: "TemplateInvalid", says: "{{ variables.b }} is not in quotes"},
	{name: "value that is an expression of its own", beside: valued, spec: metric(`{name: m, templateRef: {name: NAME}, templateVariables: {a: x, b: "1 or vector(1)"}}`), want: works},
	{name: "value that ends its quotes", beside: valued, apart: true, spec: metric(`{name: m, templateRef: {name: NAME}, templateVariables: {a: 'x"} or vector(1) #', b: "1"}}`), want: works},
	{name: "value that ends quotes that know no escapes", beside: strings.Replace(strings.Replace(valued, "type: prometheus", "type: web", 1), "x{a=", "/?q=", 1), apart: true, spec: metric(`{name: m, templateRef: {name: NAME}, templateVariables: {a: 'x&y=z', b: "1"}}`), want: "TemplateInvalid", says: "{{ variables.a }}"},
}

// harmless is odd, and what Flagger runs.
var harmless = []hostile{
	{name: "ports and variables twice", spec: "service: {portDiscovery: true, portName: grpc}", want: works, workload: twice},
	{name: "weights without a mesh", spec: "analysis: {iterations: null, stepWeight: 10}", want: works},
	{name: "empty names", spec: "service: {name: '', portName: '', appProtocol: ''}", want: works},
	{name: "long port name", spec: "service: {portName: of-more-than-fifteen-letters}", want: works},
	{name: "interval with a unit twice", spec: "analysis: {interval: 1h1h}", want: works},
	{name: "interval below what is done", spec: "analysis: {interval: 200ms}", want: works},
	{name: "no timeout", spec: istio("{timeout: 0s}"), want: works},
	{name: "no deadline", spec: "progressDeadlineSeconds: 0", want: works},
	{name: "long hook", spec: hook("{name: h, url: 'http://a.test/', timeout: 9999h, retries: 2147483647}"), want: works},
	{name: "hooks of one name", spec: hook("{name: g, type: confirm-rollout, url: 'http://a.test/'}, {name: g, type: confirm-rollout, url: 'http://b.test/'}"), want: works},
	{name: "user in a URL", spec: hook("{name: h, url: 'http://u:p@a.test/'}"), want: works},
	{name: "headless with a preference", spec: "service: {headless: true, trafficDistribution: PreferSameNode}", want: works},
	{name: "labels of ours", spec: "service: {primary: {labels: {app.kubernetes.io/managed-by: Helm}, annotations: {sluice.dev/original: '{}'}}}", want: works},
	{name: "all strategies", spec: "skipAnalysis: true\nanalysis: {stepWeight: 10, iterations: 3, stepWeights: [1, 2], maxWeight: 50}", want: works},
	{name: "AlertProvider that is missing", spec: "analysis: {alerts: [{name: a, providerRef: {name: nope}}]}", want: works},
	{name: "AlertProvider that can be used", kind: provider, spec: "{type: slack, address: 'https://hooks.example.com/x'}", want: works},
	{name: "reference of another kind", beside: "apiVersion: flagger.app/v1beta1\nkind: MetricTemplate\nmetadata: {name: NAME}\nspec: {provider: {type: prometheus, address: 'http://p'}, query: up}\n", spec: metric("{name: m, templateRef: {apiVersion: v1, kind: Secret, name: NAME}}"), want: works},
}

// twice has what Kubernetes accepts more than once in a pod, and server-side apply does not.
func twice(d *appsv1.Deployment) {
	pod := &d.Spec.Template.Spec
	c := &pod.Containers[0]
	c.Ports = []corev1.ContainerPort{
		{Name: "http", ContainerPort: 9898}, {Name: "grpc", ContainerPort: 9898, Protocol: corev1.ProtocolUDP}, {Name: "http-metrics", ContainerPort: 9898},
	}
	c.Env = []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "A", Value: "2"}}
	pod.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "a"}, {Name: "a"}}
}

// testTenants applies each manifest with the rights of a tenant, and waits for the answer of an operator that is at work
// in the whole cluster. No answer is a promise for later: each is there before the first release. Meanwhile the Canary of
// another namespace does not wait for its turn, but for the API server and the processors, which make a Deployment wait for
// its controller, too; and memory stays within bounds.
func testTenants(t *testing.T, c *cluster.Cluster, api client.Client) {
	t.Run("apart", func(t *testing.T) {
		operate(t, c, "-namespace", "tenants-apart", "-allowed-addresses", "", "-no-cross-namespace-refs")
		applyHostiles(t, c, api, "tenants-apart", true)
	})
	t.Run("together", func(t *testing.T) {
		operate(t, c, "-allowed-addresses", "")
		if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "tenants-else"}}); err != nil {
			t.Fatal(err)
		}
		bystander := &stage{t: t, api: api, namespace: "tenants-else"}
		bystander.fairCanary(app, "{interval: 1s, threshold: 2, iterations: 2}")
		bystander.awaitPhase(v1beta1.PhaseInitialized)
		bystander.create(bystander.fairDeployment("idle", "app:0"))
		memory := watchMemory(t)
		turns, turnsOfKubernetes := bystander.watchTurns(bystander.turn), bystander.watchTurns(bystander.turnOfKubernetes)
		applyHostiles(t, c, api, "tenants", false)
		waits, control := turns(), turnsOfKubernetes()
		most := memory()
		t.Logf("%d turns of another Canary, half of them within %s, all within %s; of a Deployment within %s and %s; %d MiB of memory at most",
			len(waits), waits[len(waits)/2], waits[len(waits)-1], control[len(control)/2], control[len(control)-1], most>>20)
		// A turn has about twice the requests of a Deployment's.
		if longest, requests := waits[len(waits)-1], 2*control[len(control)-1]; longest > longestWait+requests {
			t.Errorf("another Canary's turn waits %s, of which %s may be the API server's", longest, requests)
		}
		if most > mostMemory {
			t.Errorf("%d MiB of memory", most>>20)
		}
	})
}

// applyHostiles has a tenant of a namespace apply the manifests that are for an operator that keeps namespaces apart, or for
// one that does not.
func applyHostiles(t *testing.T, c *cluster.Cluster, api client.Client, namespace string, apart bool) {
	tenant := &stage{t: t, api: asTenant(t, c, api, namespace), namespace: namespace}
	t.Run("manifests", func(t *testing.T) {
		for i, x := range hostiles() {
			if x.apart != apart {
				continue
			}
			t.Run(x.name, func(t *testing.T) {
				t.Parallel()
				s := *tenant
				s.t = t
				x.check(t, &s, api, fmt.Sprintf("t%d", i))
			})
		}
	})
}

// asTenant gives a client with the rights of somebody who releases in a namespace, and may neither read Secrets nor write
// Services.
func asTenant(t *testing.T, c *cluster.Cluster, api client.Client, namespace string) client.Client {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "tenant"}
	every := []string{"*"}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&corev1.ServiceAccount{ObjectMeta: meta},
		&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"flagger.app", "sluice.dev"}, Resources: every, Verbs: every},
			{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: every},
		}},
		&rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "tenant"},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "tenant"}},
		},
	} {
		if err := api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	config := c.Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + namespace + ":tenant"}
	scheme, err := rig.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	tenant, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return tenant
}

func (x hostile) check(t *testing.T, s *stage, admin client.Client, name string) {
	for doc := range strings.SplitSeq(x.beside, "---\n") {
		if doc = strings.TrimSpace(doc); doc == "" {
			continue
		}
		o, by := s.parse(doc, name), s.api
		if group := o.GroupVersionKind().Group; group == "" || group == "autoscaling" { // a tenant may write neither Services nor Secrets
			by = admin
		}
		if err := by.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if o.GetKind() == v1beta1.CanaryKind { // it is there first
			s.await("the other Canary", func(ctx context.Context) error {
				var c v1beta1.Canary
				if err := s.api.Get(ctx, s.key(o.GetName()), &c); err != nil || c.Status.Identity != nil {
					return err
				}
				return fmt.Errorf("it is %q and has no identity", c.Status.Phase)
			})
		}
	}
	o := x.object(s, name)
	if o.GetKind() == v1beta1.CanaryKind {
		s.create(x.deployment(s, name))
	}
	err := s.api.Create(t.Context(), o, client.FieldValidation(metav1.FieldValidationStrict))
	if x.want == refusedAtApply {
		if err == nil || !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), x.says) {
			t.Errorf("the API server says %v, want a refusal with %q", err, x.says)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	x.says = strings.ReplaceAll(x.says, "NAME", name)
	s.await("the answer", func(ctx context.Context) error { return x.answered(ctx, s, o.GetName()) })
}

// deployment is the target.
func (x hostile) deployment(s *stage, name string) *appsv1.Deployment {
	if x.target != "" {
		name = x.target
	}
	label := map[string]string{"app": strings.ReplaceAll(name, ".", "-")}
	d := (&trial{namespace: s.namespace}).deployment(oldImage)
	d.Name, d.Spec.Selector.MatchLabels, d.Spec.Template.Labels = name, label, label
	d.Spec.Replicas = new(int32(0))
	if x.workload != nil {
		x.workload(d)
	}
	return d
}

// parse reads a document that is about a name in the namespace.
func (s *stage) parse(doc, name string) *unstructured.Unstructured {
	s.t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(doc, "NAME", name)), &u.Object); err != nil {
		s.t.Fatal(err)
	}
	u.SetNamespace(s.namespace)
	return u
}

func (x hostile) object(s *stage, name string) *unstructured.Unstructured {
	u := s.parse("spec:\n  "+strings.ReplaceAll(x.spec, "\n", "\n  "), name)
	u.SetAPIVersion(v1beta1.GroupVersion.String())
	u.SetName(name)
	u.SetKind(x.kind)
	u.SetAnnotations(x.annotations)
	switch x.kind {
	case "":
	case action:
		u.SetAPIVersion(v1alpha1.GroupVersion.String())
		return u
	default:
		return u
	}
	if x.canary != "" {
		u.SetName(x.canary)
	}
	if x.status != "" {
		u.Object["status"] = s.parse("status: "+x.status, name).Object["status"]
	}
	u.SetKind(v1beta1.CanaryKind)
	base := s.parse("spec:\n  provider: kubernetes\n  targetRef: {apiVersion: apps/v1, kind: Deployment, name: NAME}\n  service: {port: 9898}\n  analysis: {interval: 1s, threshold: 2, iterations: 2}", name)
	spec, _ := u.Object["spec"].(map[string]any)
	u.Object["spec"] = merged(base.Object["spec"].(map[string]any), spec)
	return u
}

// merged is a JSON merge patch.
func merged(into, patch map[string]any) map[string]any {
	out := maps.Clone(into)
	for key, value := range patch {
		inner, isMap := value.(map[string]any)
		was, wasMap := out[key].(map[string]any)
		switch {
		case value == nil:
			delete(out, key)
		case isMap && wasMap:
			out[key] = merged(was, inner)
		default:
			out[key] = value
		}
	}
	return out
}

// answered tells what is missing of the answer.
func (x hostile) answered(ctx context.Context, s *stage, name string) error {
	var conditions []v1beta1.CanaryCondition
	bad := corev1.ConditionFalse
	kind := v1beta1.ConditionReady
	switch x.kind {
	case template:
		var o v1beta1.MetricTemplate
		if err := s.api.Get(ctx, s.key(name), &o); err != nil {
			return err
		}
		conditions = o.Status.Conditions
	case provider:
		var o v1beta1.AlertProvider
		if err := s.api.Get(ctx, s.key(name), &o); err != nil {
			return err
		}
		conditions = o.Status.Conditions
	case action:
		return x.acted(ctx, s, name)
	default:
		var o v1beta1.Canary
		if err := s.api.Get(ctx, s.key(name), &o); err != nil {
			return err
		}
		conditions, bad, kind = o.Status.Conditions, corev1.ConditionTrue, v1beta1.ConditionStalled
		switch x.want {
		case works:
			return x.released(ctx, s, &o)
		case notApplied:
			is := o.Status.GetCondition(v1beta1.ConditionApplied)
			if is == nil || is.Status != corev1.ConditionFalse || !strings.Contains(is.Message, x.says) {
				return fmt.Errorf("the condition is %+v, want one with %q", is, x.says)
			}
			return nil
		case unreachable:
			is := o.Status.GetCondition(v1beta1.ConditionReady)
			if is == nil || is.Reason != unreachable || !strings.Contains(is.Message, x.says) {
				return fmt.Errorf("the condition is %+v, want one with %q", is, x.says)
			}
			return nil
		}
	}
	is := (&v1beta1.CanaryStatus{Conditions: conditions}).GetCondition(kind)
	switch {
	case is == nil:
		return fmt.Errorf("there is no condition %s: %+v", kind, conditions)
	case x.want == works && is.Status == bad, x.want != works && (is.Status != bad || is.Reason != x.want || !strings.Contains(is.Message, x.says)):
		return fmt.Errorf("it says %s=%s %s: %s; want %s with %q", kind, is.Status, is.Reason, is.Message, x.want, x.says)
	case strings.ContainsAny(is.Message, "\n\u202e"):
		return fmt.Errorf("the message has more than one line or direction: %q", is.Message)
	}
	return nil
}

// released tells why what a Canary asks for is not carried out.
func (x hostile) released(ctx context.Context, s *stage, c *v1beta1.Canary) error {
	if is := c.Status.GetCondition(v1beta1.ConditionStalled); is != nil && is.Status == corev1.ConditionTrue {
		return fmt.Errorf("it is stalled: %s: %s", is.Reason, is.Message)
	}
	if is := c.Status.GetCondition(v1beta1.ConditionApplied); is != nil && is.Status == corev1.ConditionFalse {
		return fmt.Errorf("it is not applied: %s", is.Message)
	}
	if c.Status.Phase == "" {
		return fmt.Errorf("nothing is done")
	}
	if c.Spec.TargetRef.Kind == "Service" {
		return nil
	}
	return s.api.Get(ctx, s.key(c.PrimaryName()), (&trial{namespace: s.namespace}).deployment(oldImage))
}

// acted tells what is missing of the answer to an action.
func (x hostile) acted(ctx context.Context, s *stage, name string) error {
	var o v1alpha1.CanaryAction
	if err := s.api.Get(ctx, s.key(name), &o); err != nil {
		return err
	}
	want := map[string]v1alpha1.CanaryActionPhase{works: v1alpha1.ActionDone, waits: v1alpha1.ActionPending, "Refused": v1alpha1.ActionRefused}[x.want]
	if o.Status.Phase != want || !strings.Contains(o.Status.Message, x.says) {
		return fmt.Errorf("it is %s: %s; want %s with %q", o.Status.Phase, o.Status.Message, want, x.says)
	}
	if strings.ContainsAny(o.Status.Message, "\n\u202e") {
		return fmt.Errorf("the message has more than one line or direction: %q", o.Status.Message)
	}
	return nil
}
