package main

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// weighted is a Canary whose requests Istio or the Gateway API share out, with more of its service or analysis.
func weighted(provider, service, analysis string) string {
	return fmt.Sprintf("provider: %s\nservice: {%s}\nanalysis: {iterations: null, stepWeight: 50, %s}", provider, service, analysis)
}

// prom is a template for Prometheus with a query.
func prom(query string) string {
	return fmt.Sprintf("{provider: {type: prometheus, address: 'http://p'}, query: %q}", query)
}

// second is a Canary that was there before, of a Deployment NAME-b.
func second(service string) string {
	return `apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME-b}
spec: {replicas: 0, selector: {matchLabels: {app: NAME-b}}, template: {metadata: {labels: {app: NAME-b}}, spec: {containers: [{name: c, image: app}]}}}
---
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: NAME-first}
spec: {provider: kubernetes, targetRef: {apiVersion: apps/v1, kind: Deployment, name: NAME-b}, service: ` + service + `, analysis: {interval: 1s, threshold: 2, iterations: 2}}
`
}

// scaler is the target's autoscaler.
const scaler = `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: NAME}
spec: {minReplicas: 1, maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: NAME}, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]}
`

func service(spec string) string {
	return "apiVersion: v1\nkind: Service\nmetadata: {name: NAME-svc}\nspec: " + spec + "\n"
}

func labelled(labels map[string]string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) {
		d.Spec.Selector.MatchLabels, d.Spec.Template.Labels = labels, labels
	}
}

func environment(source *corev1.EnvVarSource) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", ValueFrom: source}}
	}
}

// refusedPods has the API server refuse all pods of the workload, as a quota does: what a hundred thousand pods would do to
// this cluster shows nothing of the operator.
func refusedPods(d *appsv1.Deployment) { d.Spec.Template.Spec.PriorityClassName = "nobody-has-it" }

// targeted are workloads and Services that Canaries share, take from each other, or that are none.
var targeted = []hostile{
	{name: "target name of which a Service can be made", target: long(55), spec: "targetRef: {name: " + long(55) + "}", want: works},
	{name: "target name that leaves no room for -primary", target: long(56), spec: "targetRef: {name: " + long(56) + "}", want: "InvalidSpec", says: "-primary"},
	{name: "target name of 63 letters", target: long(63), spec: "targetRef: {name: " + long(63) + "}", want: "InvalidSpec", says: "-primary"},
	{name: "target name with dots", target: "dots.in.it", spec: "targetRef: {name: dots.in.it}", want: "InvalidSpec", says: "dots.in.it"},
	{name: "target name with dots and a Service's", target: "dots.in.another", spec: "targetRef: {name: dots.in.another}\nservice: {name: NAME}", want: works},
	{name: "Canary's name of 253 letters", canary: long(253), want: works},
	{name: "target of no kind", spec: "targetRef: {kind: Job}", want: refusedAtApply, says: "kind must be"},
	{name: "target of no API", spec: "targetRef: {apiVersion: batch/v9000}", want: works},
	{name: "target without a name", spec: "targetRef: {name: ''}", want: refusedAtApply, says: "name must not be empty"},
	{name: "target with a long name", spec: "targetRef: {name: " + long(254) + "}", want: refusedAtApply, says: "name"},
	{name: "primary of another Canary as target", beside: second("{port: 9898}"), spec: "targetRef: {name: NAME-b-primary}\nservice: {name: NAME}", want: "TargetShared", says: "NAME-first"},
	{name: "primary of a primary of another as target", beside: second("{port: 9898}"), spec: "targetRef: {name: NAME-b-primary-primary}", want: "TargetMissing", says: "NAME-b-primary-primary"},
	{name: "Service of another Canary", beside: second("{port: 9898, name: NAME-shop}"), spec: "service: {name: NAME-shop}", want: "TargetShared", says: "NAME-first"},
	{name: "target of another Canary", beside: second("{port: 9898}"), spec: "targetRef: {name: NAME-b}\nservice: {name: NAME-other}", want: "TargetShared", says: "NAME-first"},
	{name: "canary's Service of another as apex", beside: second("{port: 9898}"), spec: "service: {name: NAME-b-canary}", want: "TargetShared", says: "NAME-first"},
	{name: "primary's Service of another as apex", beside: second("{port: 9898}"), spec: "service: {name: NAME-b-primary}", want: "TargetShared", says: "NAME-first"},
	{name: "its own primary's name as apex", spec: "service: {name: NAME-primary}", want: works},
	{name: "name of the API server's Service", spec: "service: {name: kubernetes}", want: works},
	{name: "target Service without a selector", beside: service("{ports: [{name: http, port: 443}]}"), spec: weighted("istio", "port: 443", "") + "\ntargetRef: {apiVersion: v1, kind: Service, name: NAME-svc}", want: works},
	{name: "target Service that leads elsewhere", beside: service("{type: ExternalName, externalName: metadata.google.internal}"), spec: weighted("istio", "port: 80", "") + "\ntargetRef: {apiVersion: v1, kind: Service, name: NAME-svc}", want: works},
	{name: "target Service that is missing", spec: weighted("istio", "port: 80", "") + "\ntargetRef: {apiVersion: v1, kind: Service, name: NAME-svc}", want: "TargetMissing", says: "NAME-svc"},
	{name: "label that no Service selects by", workload: labelled(map[string]string{"x": "NAME"}), want: "NoSelectorLabel", says: "app"},
	{name: "paused Deployment", workload: func(d *appsv1.Deployment) { d.Spec.Paused = true }, want: works},
	{name: "selector of expressions alone", workload: func(d *appsv1.Deployment) {
		d.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpExists}}}
	}, want: "NoSelectorLabel"},
	{name: "label value that leaves no room for -primary", workload: labelled(map[string]string{"app": long(60)}), want: "InvalidSpec", says: "-primary"},
	{name: "somebody's pods have the primary's label", beside: strings.ReplaceAll(deploymentOf("NAME-x"), "app: NAME-x", "app: NAME-primary"), want: works},
	{name: "two workloads with one label", beside: strings.ReplaceAll(deploymentOf("NAME-x"), "app: NAME-x", "app: NAME"), want: works},
	{name: "long name of a ConfigMap", beside: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + long(250) + "}\ndata: {a: b}\n", workload: environment(&corev1.EnvVarSource{
		ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: long(250)}, Key: "a"},
	}), want: works},
	{name: "Secret of pods that is missing", workload: environment(&corev1.EnvVarSource{
		SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "nope"}, Key: "a"},
	}), want: notApplied, says: "Secret nope, which does not exist"},
	{name: "two billion pods at most", beside: scaler, workload: refusedPods, spec: "autoscalerRef: {kind: HorizontalPodAutoscaler, name: NAME, primaryScalerReplicas: {maxReplicas: 2147483647, minReplicas: 1}}", want: works},
	{name: "a hundred thousand pods at once", beside: scaler, workload: refusedPods, spec: "autoscalerRef: {kind: HorizontalPodAutoscaler, name: NAME, primaryScalerReplicas: {maxReplicas: 100000, minReplicas: 100000}}", want: works},
	{name: "more pods at least than at most", beside: scaler, spec: "autoscalerRef: {kind: HorizontalPodAutoscaler, name: NAME, primaryScalerReplicas: {minReplicas: 10}}", want: "AutoscalerInvalid", says: "the minimum, 10, is above the maximum, 3"},
	{name: "more pods at least than at most, both said", beside: scaler, spec: "autoscalerRef: {kind: HorizontalPodAutoscaler, name: NAME, primaryScalerReplicas: {minReplicas: 10, maxReplicas: 2}}", want: refusedAtApply, says: "minReplicas must not be above"},
	{name: "autoscaler of no API", beside: scaler, spec: "autoscalerRef: {apiVersion: evil/v1, kind: HorizontalPodAutoscaler, name: NAME}", want: "InvalidSpec", says: "evil/v1"},
	{name: "autoscaler of no kind", spec: "autoscalerRef: {kind: Pod, name: NAME}", want: refusedAtApply, says: "kind must be"},
	{name: "autoscaler by a path", spec: "autoscalerRef: {kind: HorizontalPodAutoscaler, name: ../x}", want: "AutoscalerMissing", says: "../x"},
	{name: "autoscaler of what is not installed", spec: "autoscalerRef: {apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: NAME}", want: "KEDANotInstalled"},
	{name: "autoscaler of another workload", beside: strings.Replace(scaler, "Deployment, name: NAME}", "Deployment, name: NAME-else}", 1), spec: "autoscalerRef: {kind: HorizontalPodAutoscaler, name: NAME}", want: works},
	{name: "a hundred queries of an autoscaler", spec: "autoscalerRef: {apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: NAME, primaryScalerQueries: {" + many(101, "q%d: up") + "}}", want: refusedAtApply, says: "primaryScalerQueries"},
}

func deploymentOf(name string) string {
	return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + name + "}\nspec: {replicas: 0, selector: {matchLabels: {app: " + name + "}}, template: {metadata: {labels: {app: " + name + "}}, spec: {containers: [{name: c, image: app}]}}}\n"
}

// many are n items of a list.
func many(n int, item string) string {
	var items []string
	for i := range n {
		if strings.Contains(item, "%d") {
			items = append(items, fmt.Sprintf(item, i))
		} else {
			items = append(items, item)
		}
	}
	return strings.Join(items, ", ")
}

// routing would have the mesh do what it can't, or what is another's.
var routing = []hostile{
	{name: "regex in the analysis that is none", spec: weighted("istio", "port: 9898", `match: [{headers: {cookie: {regex: "((((("}}}]`), want: "InvalidSpec", says: "spec.analysis.match[0]"},
	{name: "regex in the analysis of 60 KB", spec: weighted("istio", "port: 9898", "match: [{uri: {regex: '"+strings.Repeat("(a?){1000}", 6000)+"'}}]"), want: "InvalidSpec", says: "allowed: 1024"},
	{name: "two conditions in one of the analysis", spec: "provider: istio\nanalysis: {match: [{headers: {a: {exact: b, prefix: c}}}]}", want: "InvalidSpec", says: "exact and prefix at once"},
	{name: "condition of no kind", spec: "provider: istio\nanalysis: {match: [{headers: {a: {like: b}}}]}", want: "InvalidSpec", says: "spec.analysis.match[0]"},
	{name: "condition that is a number", spec: "provider: istio\nanalysis: {match: [{headers: {a: {exact: 1}}}]}", want: "InvalidSpec", says: "spec.analysis.match[0]"},
	{name: "3,000 matches of the analysis", spec: "provider: istio\nanalysis: {match: [" + many(3000, "{uri: {exact: /%d}}") + "]}", want: refusedAtApply, says: "at most 256"},
	{name: "header name with a colon", spec: "provider: istio\nanalysis: {match: [{headers: {'a: b': {exact: c}}}]}", want: "InvalidSpec", says: "spec.analysis.match[0]"},
	{name: "path of two lines", spec: istio(`{match: [{uri: {exact: "/a\r\n/b"}}]}`), want: "InvalidSpec", says: "spec.service.match[0]"},
	{name: "rewrite to two lines", spec: istio(`{rewrite: {uri: "/a\r\nHost: b"}}`), want: "InvalidSpec", says: "spec.service.rewrite"},
	{name: "CORS for an expression that is none", spec: istio(`{corsPolicy: {allowOrigins: [{regex: "((("}]}}`), want: "InvalidSpec", says: "spec.service.corsPolicy"},
	{name: "CORS for no time", spec: istio(`{corsPolicy: {maxAge: never}}`), want: "InvalidSpec", says: "spec.service.corsPolicy"},
	{name: "CORS with a header of two lines", spec: istio(`{corsPolicy: {allowHeaders: ["a\r\nb"]}}`), want: "InvalidSpec", says: "spec.service.corsPolicy"},
	{name: "request header of two lines", spec: istio(`{headers: {request: {add: {a: "b\r\nc: d"}}}}`), want: "InvalidSpec", says: "spec.service.headers.request.add"},
	{name: "header name with blanks in a route", spec: istio(`{headers: {response: {set: {"bad name": x}}}}`), want: "InvalidSpec", says: "spec.service.headers.response.set"},
	{name: "files of the clients' proxies", spec: istio("{trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: /var/run/secrets/kubernetes.io/serviceaccount/token, privateKey: /etc/shadow, caCertificates: /proc/self/environ}}}"), want: works},
	{name: "policy of no kind", spec: istio("{trafficPolicy: {tls: 1}}"), want: "InvalidSpec", says: "spec.service.trafficPolicy"},
	{name: "timeout with a unit twice", spec: istio("{timeout: 1h1h}"), want: works},
	{name: "timeout that is none", spec: istio("{timeout: soon}"), want: refusedAtApply, says: "timeout must be"},
	{name: "timeout below nothing", spec: istio("{timeout: -1s}"), want: refusedAtApply, says: "timeout must be"},
	{name: "timeout of centuries", spec: istio("{timeout: 99999999999999999999h}"), want: "InvalidSpec", says: "spec.service.timeout"},
	{name: "delegation with parents", spec: istio("{delegation: true, gatewayRefs: [{name: g}]}"), want: works},
	{name: "Gateway that is none", spec: weighted("gatewayapi:v1", "port: 9898", ""), want: "MeshNotInstalled", says: "HTTPRoute"},
	{name: "33 Gateways", spec: weighted("gatewayapi:v1", "gatewayRefs: ["+many(33, "{name: g%d}")+"]", ""), want: refusedAtApply, says: "at most 32"},
	{name: "Gateway without a name", spec: weighted("gatewayapi:v1", "gatewayRefs: [{name: ''}]", ""), want: refusedAtApply, says: "gatewayRefs[0].name"},
	{name: "port of a Gateway that is none", spec: weighted("gatewayapi:v1", "gatewayRefs: [{name: g, port: 70000}]", ""), want: refusedAtApply, says: "gatewayRefs[0].port"},
	{name: "101 gateways", spec: istio("{gateways: [" + many(101, "g%d") + "]}"), want: refusedAtApply, says: "at most 100"},
	{name: "host with a blank", spec: istio("{hosts: ['a b']}"), want: refusedAtApply, says: "hosts"},
	{name: "host of 254 letters", spec: istio("{hosts: [" + long(254) + "]}"), want: refusedAtApply, says: "hosts"},
	{name: "no port", spec: "service: {port: 0}", want: refusedAtApply, says: "port must be"},
	{name: "port above all", spec: "service: {port: 65536}", want: refusedAtApply, says: "port must be"},
	{name: "preference of no kind", spec: "service: {trafficDistribution: PreferMine}", want: refusedAtApply, says: "trafficDistribution"},
	{name: "annotation key that is none", spec: "service: {apex: {annotations: {'a b/c d': x}}}", want: "InvalidSpec", says: "spec.service.apex.annotations"},
	{name: "257 labels", spec: "service: {canary: {labels: {" + many(257, "l%d: a") + "}}}", want: refusedAtApply, says: "at most 256"},
	{name: "cookie that browsers refuse", spec: weighted("istio", "port: 9898", "sessionAffinity: {cookieName: a, partitioned: true, sameSite: None}"), want: works},
	{name: "cookie without a name", spec: weighted("istio", "port: 9898", "sessionAffinity: {cookieName: ''}"), want: refusedAtApply, says: "cookieName"},
	{name: "cookie for nobody's site", spec: weighted("istio", "port: 9898", "sessionAffinity: {cookieName: a, sameSite: Anywhere}"), want: refusedAtApply, says: "sameSite"},
	{name: "cookie of no age", spec: weighted("istio", "port: 9898", "sessionAffinity: {cookieName: a, maxAge: -1}"), want: refusedAtApply, says: "maxAge"},
	{name: "names of Consul with another's partition", spec: "provider: consul\nanalysis: {iterations: null, stepWeight: 50}", annotations: map[string]string{"sluice.dev/consul-partition": "p;x"}, want: "InvalidSpec", says: "sluice.dev/consul-partition"},
	{name: "Consul that is not there", spec: "provider: consul\nanalysis: {iterations: null, stepWeight: 50}", annotations: map[string]string{"sluice.dev/consul-primary-service-account": "admin"}, want: unreachable, says: "Consul"},
	{name: "primary with another's account, apart", apart: true, spec: "provider: consul\nanalysis: {iterations: null, stepWeight: 50}", annotations: map[string]string{"sluice.dev/consul-namespace": "other"}, want: "InvalidSpec", says: "sluice.dev/consul-namespace"},
}

// steps are plans that no release could go by.
var steps = []hostile{
	{name: "one step to everything at once", spec: weighted("istio", "port: 9898", "stepWeight: 100, maxWeight: 1"), want: works},
	{name: "all at once by a list", spec: "provider: istio\nanalysis: {iterations: null, stepWeights: [100]}", want: works},
	{name: "promotion by hundredths", spec: weighted("istio", "port: 9898", "stepWeightPromotion: 1"), want: works},
	{name: "list that is not read", spec: "analysis: {stepWeights: [50, 10, 10]}", want: works},
	{name: "list that does not grow", spec: "provider: istio\nanalysis: {iterations: null, stepWeights: [50, 10]}", want: refusedAtApply, says: "stepWeights"},
	{name: "weight above all", spec: weighted("istio", "port: 9898", "maxWeight: 101"), want: refusedAtApply, says: "maxWeight must be"},
	{name: "weight below nothing", spec: weighted("istio", "port: 9898", "mirrorWeight: -1"), want: refusedAtApply, says: "mirrorWeight must be"},
	{name: "step above all", spec: "provider: istio\nanalysis: {iterations: null, stepWeights: [101]}", want: refusedAtApply, says: "stepWeights must be 1 to 100"},
	{name: "101 steps", spec: "provider: istio\nanalysis: {iterations: null, stepWeights: [" + many(101, "1") + "]}", want: refusedAtApply, says: "at most 100"},
	{name: "rounds below nothing", spec: "analysis: {iterations: -1}", want: refusedAtApply, says: "iterations must be"},
	{name: "threshold below nothing", spec: "analysis: {threshold: -1}", want: refusedAtApply, says: "threshold must be"},
	{name: "share of pods above all", spec: "analysis: {primaryReadyThreshold: 101}", want: refusedAtApply, says: "primaryReadyThreshold must be"},
	{name: "no analysis at all", spec: "analysis: null", want: refusedAtApply, says: "analysis is required"},
	{name: "no strategy", spec: "analysis: {iterations: null}", want: refusedAtApply, says: "one of"},
	{name: "every strategy and no analysis", spec: "provider: istio\nskipAnalysis: true\nanalysis: {stepWeight: 10, stepWeights: [1, 2], maxWeight: 50, iterations: 3, mirror: true, mirrorWeight: 100, stepWeightPromotion: 5, match: [{headers: {x: {exact: 'y'}}}], sessionAffinity: {cookieName: c}}", want: works},
	{name: "gate without an analysis", spec: "skipAnalysis: true\n" + hook("{name: g, type: confirm-promotion, url: 'http://a.test/'}"), want: works},
	{name: "analysis by both names", spec: "canaryAnalysis: {interval: 200ms, stepWeight: 100, threshold: 0}", want: works},
	{name: "status of its own", spec: "suspend: false", status: `{phase: Succeeded, canaryWeight: 100, lastAppliedSpec: x, failedChecks: 0, iterations: 0}`, want: works},
	{name: "deadline of 68 years", spec: "progressDeadlineSeconds: 2147483647", want: works},
	{name: "deadline below nothing", spec: "progressDeadlineSeconds: -1", want: refusedAtApply, says: "progressDeadlineSeconds"},
	{name: "drain of two hours", spec: "drainDelaySeconds: 7200", want: refusedAtApply, says: "drainDelaySeconds"},
	{name: "interval below a nanosecond", spec: "analysis: {interval: 0.0000000001s}", want: refusedAtApply, says: "interval"},
	{name: "interval in other digits", spec: "analysis: {interval: １m}", want: refusedAtApply, says: "interval"},
	{name: "interval below nothing", spec: "analysis: {interval: -1m}", want: refusedAtApply, says: "interval"},
	{name: "interval without a unit", spec: "analysis: {interval: '60'}", want: refusedAtApply, says: "interval"},
	{name: "interval of 33 letters", spec: "analysis: {interval: " + strings.Repeat("1", 32) + "s}", want: refusedAtApply, says: "interval"},
}

// checked are metrics, hooks and alerts.
var checked = []hostile{
	{name: "template of another namespace that is missing", spec: metric("{name: m, templateRef: {name: nope, namespace: kube-system}}"), want: "TemplateMissing", says: "kube-system"},
	{name: "template by two paths", spec: metric("{name: m, templateRef: {name: b/../c, namespace: a/b}}"), want: "TemplateMissing"},
	{name: "a hundred large queries", beside: "apiVersion: flagger.app/v1beta1\nkind: MetricTemplate\nmetadata: {name: NAME}\nspec: {provider: {type: prometheus, address: 'http://p'}, query: 'up" + strings.Repeat(" ", 64_000) + "'}\n", spec: metric(many(100, "{name: m%d, templateRef: {name: NAME}}")), want: works},
	{name: "a hundred queries of 9 KB", spec: metric(many(100, "{name: m%d, query: "+long(9000)+"}")), want: "InvalidSpec", says: "allowed: 524288"},
	{name: "no check decides", spec: metric("{name: m, query: up, dryRun: true}"), want: works},
	{name: "101 metrics", spec: metric(many(101, "{name: m%d, query: up}")), want: refusedAtApply, says: "at most 100"},
	{name: "101 hooks", spec: hook(many(101, "{name: h%d, url: 'http://a/'}")), want: refusedAtApply, says: "at most 100"},
	{name: "101 alerts", spec: "analysis: {alerts: [" + many(101, "{name: a%d, providerRef: {name: a}}") + "]}", want: refusedAtApply, says: "at most 100"},
	{name: "101 variables", spec: metric("{name: m, templateRef: {name: t}, templateVariables: {" + many(101, "v%d: a") + "}}"), want: refusedAtApply, says: "at most 100"},
	{name: "long variable", spec: metric("{name: m, templateRef: {name: t}, templateVariables: {a: " + long(5000) + "}}"), want: refusedAtApply, says: "templateVariables"},
	{name: "interval of a metric below nothing", spec: metric("{name: m, query: up, interval: -1m}"), want: refusedAtApply, says: "interval"},
	{name: "no interval of a metric", spec: metric("{name: m, query: up, interval: 0s}"), want: refusedAtApply, says: "interval"},
	{name: "failures below nothing", spec: metric("{name: m, query: up, failureLimit: -1}"), want: refusedAtApply, says: "failureLimit"},
	{name: "policy of no kind for metrics", spec: metric("{name: m, query: up, policy: {noData: Ignore}}"), want: refusedAtApply, says: "noData"},
	{name: "metric that nobody knows", spec: metric("{name: nobody-knows-it}"), want: works},
	{name: "hook to what has percents", spec: hook("{name: h, url: 'http://x%00y/'}"), want: "InvalidSpec", says: "url"},
	{name: "hook with a name of two lines", spec: hook(`{name: "a\nb\u202e", type: confirm-rollout, url: 'http://a.test/'}`), want: works},
	{name: "hook of no kind", spec: hook("{name: h, type: pre-everything, url: 'http://a/'}"), want: refusedAtApply, says: "type"},
	{name: "hook to nowhere", spec: hook("{name: h, url: ''}"), want: refusedAtApply, says: "url must not be empty"},
	{name: "hook to a long address", spec: hook("{name: h, url: 'http://a/" + long(5000) + "'}"), want: refusedAtApply, says: "url"},
	{name: "hook with another host's header", spec: hook("{name: h, url: 'http://a/', headers: {Host: kubernetes.default}}"), want: refusedAtApply, says: "headers"},
	{name: "hook with a forged signature", spec: hook("{name: h, url: 'http://a/', headers: {sluice-signature: x}}"), want: refusedAtApply, says: "headers"},
	{name: "hook with a header of two lines", spec: hook(`{name: h, url: 'http://a/', headers: {a: "b\r\nc: d"}}`), want: "InvalidSpec", says: "headers"},
	{name: "hook without patience", spec: hook("{name: h, url: 'http://a/', timeout: 0s}"), want: refusedAtApply, says: "timeout must be"},
	{name: "hook with retries below nothing", spec: hook("{name: h, url: 'http://a/', retries: -1}"), want: refusedAtApply, says: "retries must be"},
	{name: "hook to a port that is none", spec: hook("{name: h, url: 'http://a:99999/'}"), want: "InvalidSpec", says: "url"},
	{name: "hook to octal numbers", spec: hook("{name: h, url: 'http://0177.0.0.1/'}"), want: "InvalidSpec", says: "written like"},
	{name: "hook to metadata of Azure", spec: hook("{name: h, url: 'http://168.63.129.16/'}"), want: "InvalidSpec", says: "metadata"},
	{name: "hook to metadata, 6to4", spec: hook("{name: h, url: 'http://[2002:a9fe:a9fe::]/'}"), want: "InvalidSpec", says: "metadata"},
	{name: "hook to other letters", spec: hook("{name: h, url: 'http://ⓛocalhost/'}"), want: "InvalidSpec", says: "url"},
	{name: "alert of no weight", spec: "analysis: {alerts: [{name: a, severity: fatal, providerRef: {name: a}}]}", want: refusedAtApply, says: "severity"},
	{name: "chat of another namespace", spec: "analysis: {alerts: [{name: a, providerRef: {name: on-call, namespace: ops}}]}", want: works},
	{name: "provider of the metrics with a user", spec: "metricsServer: http://u:p@127.0.0.1/\n" + metric("{name: m, query: up}"), want: "ProviderInvalid", says: "a loopback address"},
	{name: "long metrics server", spec: "metricsServer: http://a/" + long(3000), want: refusedAtApply, says: "metricsServer"},
	{name: "Secret of the metrics server by a path", spec: "metricsServer: http://a.test/\nmetricsServerSecretRef: {name: ../x}\n" + metric("{name: m, query: up}"), want: "SecretMissing", says: "../x"},
}

// queries are MetricTemplates and AlertProviders.
var queries = []hostile{
	{name: "template with calls and indexes", kind: template, spec: prom(`{{ call variables }}{{ index variables "x" 1 }}`), want: "TemplateInvalid"},
	{name: "template that is as deep as it is long", kind: template, spec: prom("{{ " + strings.Repeat("(", 20_000) + "name" + strings.Repeat(")", 20_000) + " }}"), want: "TemplateInvalid"},
	{name: "template of ten thousand blocks", kind: template, spec: prom("up" + strings.Repeat("{{if 1}}", 4000) + strings.Repeat("{{end}}", 4000)), want: works},
	{name: "template that ends in the middle", kind: template, spec: prom("{{ if true }}"), want: "TemplateInvalid"},
	{name: "template of what is not there", kind: template, spec: prom(`{{ template "x" }}`), want: "TemplateInvalid"},
	{name: "template that names methods", kind: template, spec: prom("{{ name.String }}"), want: "TemplateInvalid"},
	{name: "template that is wide by a value", kind: template, spec: prom(`{{ printf "%*d" 100000000 1 }}`), want: "TemplateInvalid"},
	{name: "template that is exact by a value", kind: template, spec: prom(`{{ printf "%.*f" 100000000 1.0 }}`), want: "TemplateInvalid"},
	{name: "template that is wide by an index", kind: template, spec: prom(`{{ printf "%[2]*[1]d" 1 100000000 }}`), want: "TemplateInvalid"},
	{name: "template that ranges over a text", kind: template, spec: prom(`{{ range name }}{{ end }}`), want: "TemplateInvalid", says: "only {{ range variables }}"},
	{name: "template that ranges over a number", kind: template, spec: prom(`{{ range 9000000000000000000 }}{{ end }}`), want: "TemplateInvalid", says: "only {{ range variables }}"},
	{name: "template without a query", kind: template, spec: prom(""), want: "TemplateInvalid"},
	{name: "provider that nobody knows", kind: template, spec: "{provider: {type: oracle, address: 'http://p'}, query: up}", want: refusedAtApply, says: "type"},
	{name: "33 headers", kind: template, spec: "{provider: {type: prometheus, address: 'http://p', headers: {" + many(33, "h%d: [a]") + "}}, query: up}", want: refusedAtApply, says: "at most 32"},
	{name: "region that is another host", kind: template, spec: "{provider: {type: cloudwatch, region: 'evil.test/#'}, query: '[]'}", want: "ProviderInvalid", says: "region"},
	{name: "region with a second request", kind: template, spec: `{provider: {type: cloudwatch, region: "a\r\nb"}, query: '[]'}`, want: "ProviderInvalid", says: "region"},
	{name: "CloudWatch with answers of no query", kind: template, spec: "{provider: {type: cloudwatch, region: eu-west-1}, query: '{\"a\": 1}'}", want: "TemplateInvalid"},
	{name: "Keptn's analysis elsewhere", kind: template, spec: "{provider: {type: keptn}, query: analysis/kube-system/slo/5m/a=b}", want: "TemplateInvalid", says: "it is for the namespace kube-system"},
	{name: "Keptn's secrets", kind: template, spec: "{provider: {type: keptn}, query: secrets/tenants/x}", want: "TemplateInvalid"},
	{name: "external metrics with a selector's end", kind: template, spec: "{provider: {type: externalmetrics}, query: 'tenants/queue?labelSelector=a&limit=1#'}", want: works},
	{name: "Graphite in a file", kind: template, spec: "{provider: {type: graphite, address: 'file:///etc/passwd'}, query: a}", want: "ProviderInvalid"},
	{name: "Graphite at metadata", kind: template, spec: "{provider: {type: graphite, address: 'http://169.254.169.254'}, query: a}", want: "ProviderInvalid", says: "metadata"},
	{name: "InfluxQL of two statements", kind: template, spec: "{provider: {type: influxdb, address: 'http://p'}, query: 'SELECT 1; DROP DATABASE shop'}", want: "TemplateInvalid", says: "one SELECT"},
	{name: "Flux from another server", kind: template, spec: `{provider: {type: influxdb, address: 'http://p'}, query: 'import "http" from(bucket: "a") |> map(fn: (r) => ({r with x: http.post(url: "http://evil/")}))'}`, want: "TemplateInvalid", says: "only read"},
	{name: "path of 2 KB", kind: template, spec: "{provider: {type: web, address: 'http://p', jsonPath: '{" + long(2000) + "}'}, query: /}", want: refusedAtApply, says: "jsonPath"},
	{name: "path with two descents", kind: template, spec: "{provider: {type: web, address: 'http://p', jsonPath: '{..a[*]..b}'}, query: /}", want: "ProviderInvalid", says: "jsonPath"},
	{name: "path to another host", kind: template, spec: "{provider: {type: web, address: 'http://p', jsonPath: '{.a}'}, query: '//169.254.169.254/latest'}", want: "TemplateInvalid"},
	{name: "template with no address", kind: template, spec: "{provider: {type: prometheus}, query: up}", want: "ProviderInvalid", says: "address"},
	{name: "template with half an address", kind: template, spec: "{provider: {type: prometheus, address: 'http://'}, query: up}", want: "ProviderInvalid"},
	{name: "alert of no kind", kind: provider, spec: "{type: pager, address: 'https://a/'}", want: refusedAtApply, says: "type"},
	{name: "alert to the loopback, mapped", kind: provider, spec: "{type: webhook, address: 'http://[::ffff:0:7f00:1]/'}", want: "ProviderInvalid", says: "a loopback address"},
	{name: "alert to the API server", kind: provider, spec: "{type: webhook, address: 'https://kubernetes.default.svc.cluster.local/'}", want: "ProviderInvalid", says: "the API server"},
	{name: "alert as two lines", kind: provider, spec: `{type: slack, address: 'https://a/', username: "a\r\nb"}`, want: works},
	{name: "alert with a proxy of metadata", kind: provider, spec: "{type: slack, address: 'https://a/', proxy: 'http://169.254.169.254/'}", want: "ProviderInvalid", says: "proxy"},
	{name: "alert with an address and a Secret", kind: provider, beside: ours, spec: "{type: slack, address: 'https://a.example.com/', secretRef: {name: NAME}}", want: works},
	{name: "alert with a Secret without a name", kind: provider, spec: "{type: slack, secretRef: {name: ''}}", want: refusedAtApply, says: "secretRef"},
}

// actings are CanaryActions.
var actings = []hostile{
	{name: "action in small letters", kind: action, spec: "{action: pause, canary: NAME}", want: refusedAtApply, says: "action"},
	{name: "action without an object", kind: action, spec: "{action: Pause, canary: ''}", want: refusedAtApply, says: "canary"},
	{name: "action for what is not there", kind: action, spec: "{action: Pause, canary: nope}", want: waits},
	{name: "action by a path", kind: action, spec: "{action: Abort, canary: ../fair-shop/podinfo}", want: refusedAtApply, says: "spec.canary"},
	{name: "reason of 301 letters", kind: action, spec: "{action: Pause, canary: NAME, reason: " + long(301) + "}", want: refusedAtApply, says: "reason"},
	{name: "reason that forges another", kind: action, beside: second("{port: 9898}"), spec: `{action: Pause, canary: NAME-first, reason: "ok)\nResumed by root (all is well\u202e", requestedBy: "system:admin) and by bob ("}`, want: works},
	{name: "requester of 513 letters", kind: action, spec: "{action: Pause, canary: NAME, requestedBy: " + long(513) + "}", want: refusedAtApply, says: "requestedBy"},
	{name: "promotion and its end at once", kind: action, beside: second("{port: 9898}") + "---\n" + acting("promote", "Promote") + "---\n" + acting("abort", "Abort") + "---\n" + acting("retry", "Retry"), spec: "{action: Resume, canary: NAME-first}", want: "Refused"},
	{name: "revision that is none", kind: action, beside: second("{port: 9898}"), spec: `{action: Promote, canary: NAME-first, revision: "a\nb"}`, want: "Refused"},
}

func acting(name, what string) string {
	return "apiVersion: sluice.dev/v1alpha1\nkind: CanaryAction\nmetadata: {name: NAME-" + name + "}\nspec: {action: " + what + ", canary: NAME-first}\n"
}
