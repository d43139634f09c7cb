{{/* Name of the chart, for labels. */}}
{{- define "sluice.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of the objects: the release's, with the chart's unless it is in there already. */}}
{{- define "sluice.fullname" -}}
{{- $name := include "sluice.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What values of Flagger's chart may ask for, as its own affinity does. */}}
{{- define "flagger.name" -}}{{ include "sluice.name" . }}{{- end -}}
{{- define "flagger.fullname" -}}{{ include "sluice.fullname" . }}{{- end -}}

{{/* true for values of Flagger's chart that name its image: that is no image of this operator. */}}
{{- define "sluice.flaggersImage" -}}
{{- if or (hasSuffix "fluxcd/flagger" .Values.image.repository) (hasSuffix "weaveworks/flagger" .Values.image.repository) -}}true{{- end -}}
{{- end -}}

{{- define "sluice.image" -}}
{{- if include "sluice.flaggersImage" . -}}
ghcr.io/sluice-delivery/sluice:{{ .Chart.AppVersion }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The Prometheus that answers the built-in checks. */}}
{{- define "sluice.metricsServer" -}}
{{- if .Values.prometheus.install -}}
http://{{ include "sluice.prometheus" . }}.{{ .Release.Namespace }}:9090
{{- else -}}
{{ .Values.metricsServer }}
{{- end -}}
{{- end -}}

{{- define "sluice.prometheus" -}}
{{ include "sluice.fullname" . | trunc 52 | trimSuffix "-" }}-prometheus
{{- end -}}

{{- define "sluice.prometheusSelector" -}}
app.kubernetes.io/name: {{ include "sluice.name" . }}-prometheus
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The namespaces whose Canaries are watched, joined by commas; empty for all. */}}
{{- define "sluice.namespaces" -}}
{{- $all := .Values.namespace | default list -}}
{{- if kindIs "string" $all -}}{{- $all = splitList "," $all -}}{{- end -}}
{{- join "," (uniq (compact $all)) -}}
{{- end -}}

{{/* What the names of objects in no namespace end with, where some namespaces are watched: that of the one, or a hash of several. */}}
{{- define "sluice.namespacesSuffix" -}}
{{- $all := include "sluice.namespaces" . -}}
{{- if contains "," $all -}}.{{ sha256sum $all | trunc 8 }}{{- else -}}{{- with $all -}}.{{ . }}{{- end -}}{{- end -}}
{{- end -}}

{{/* Has policies match in the namespaces that are watched. */}}
{{- define "sluice.namespaceSelector" -}}
{{- $all := include "sluice.namespaces" . -}}
namespaceSelector:
  {{- if contains "," $all }}
  matchExpressions:
    - {key: kubernetes.io/metadata.name, operator: In, values: {{ splitList "," $all | toJson }}}
  {{- else }}
  matchLabels:
    kubernetes.io/metadata.name: {{ $all }}
  {{- end }}
{{- end -}}

{{/* Name of the policies about actions, which are in no namespace. */}}
{{- define "sluice.actionPolicy" -}}
{{ include "sluice.fullname" . }}-actions{{ include "sluice.namespacesSuffix" . }}
{{- end -}}

{{/* Name of the policies that warn, which are in no namespace. */}}
{{- define "sluice.warningPolicy" -}}
{{ include "sluice.fullname" . }}{{ include "sluice.namespacesSuffix" . }}-warnings
{{- end -}}

{{- define "sluice.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sluice.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "sluice.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sluice.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sluice.labels" -}}
{{ include "sluice.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The one ServiceAccount that every binding binds. */}}
{{- define "sluice.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "sluice.serviceAccountName" . }}
    namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* true where the dashboard has proxies say who people are. */}}
{{- define "sluice.dashboardProxies" -}}
{{- if and .Values.dashboard.enabled (or .Values.dashboard.proxy.addresses .Values.dashboard.proxy.caSecret) -}}true{{- end -}}
{{- end -}}

{{/* true where Canaries may have one of the providers in the list, by the value providers; empty there is all. */}}
{{- define "sluice.serves" -}}
{{- $all := .root.Values.providers -}}
{{- $serves := empty $all -}}
{{- range .of -}}{{- if has . $all -}}{{- $serves = true -}}{{- end -}}{{- end -}}
{{- if $serves -}}true{{- end -}}
{{- end -}}

{{/*
The providers that Canaries may have, joined by commas; empty means all. Kuma's objects are in no namespace: with the namespace value there are
rights on them only where Kuma is asked for by its name.
*/}}
{{- define "sluice.providers" -}}
{{- if and (empty .Values.providers) (include "sluice.namespaces" .) (ne .Values.meshProvider "kuma") -}}
apisix,consul,contour,gatewayapi,gatewayapi:v1,gatewayapi:v1beta1,istio,knative,kubernetes,linkerd,nginx,skipper,traefik
{{- else -}}
{{- join "," .Values.providers -}}
{{- end -}}
{{- end -}}

{{/* The rule for Kuma's objects, where Canaries may have that provider. */}}
{{- define "sluice.kumaRule" -}}
{{- $all := include "sluice.providers" . -}}
{{- if or (empty $all) (has "kuma" (splitList "," $all)) -}}
- apiGroups: [kuma.io]
  resources: [trafficroutes]
  verbs: [list, watch, create, patch, delete]
{{- end -}}
{{- end -}}

{{/*
Reads are watches; get is for what the cache has not all of. What the operator may do where Canaries are: in every namespace or, with the namespace value, in those.
It deletes what it made for a Canary, at the end of the Canary's deletion or when it is of no use any more, and finished actions. The right to delete
is also what lets it take away the owner references of earlier versions where OwnerReferencesPermissionEnforcement is on, as on OpenShift.
*/}}
{{- define "sluice.rules" -}}
rules:
  - apiGroups: [flagger.app]
    resources: [canaries]
    verbs: [list, watch, patch]
  - apiGroups: [flagger.app]
    resources: [alertproviders, metrictemplates]
    verbs: [list, watch]
  - apiGroups: [flagger.app]
    resources: [canaries/status, metrictemplates/status, alertproviders/status]
    verbs: [update]
  - apiGroups: [sluice.dev]
    resources: [canaryactions]
    verbs: [get, list, watch, patch, delete]
  - apiGroups: [sluice.dev]
    resources: [canaryactions/status]
    verbs: [patch]
  - apiGroups: [sluice.dev]
    resources: [releasepolicies{{ if not (include "sluice.namespaces" .) }}, clusterreleasepolicies{{ end }}]
    verbs: [list, watch]
  - apiGroups: [sluice.dev]
    resources: [releasepolicies/status{{ if not (include "sluice.namespaces" .) }}, clusterreleasepolicies/status{{ end }}]
    verbs: [update]
  {{- if not (include "sluice.namespaces" .) }}
  # Their labels, by which ClusterReleasePolicies select them.
  - apiGroups: [""]
    resources: [namespaces]
    verbs: [list, watch]
  {{- end }}
  - apiGroups: [apps]
    resources: [daemonsets, deployments, statefulsets]
    verbs: [get, list, watch, create, patch, delete]
  # What Kubernetes keeps of earlier pod templates of primaries, for the action Rollback.
  - apiGroups: [apps]
    resources: [controllerrevisions, replicasets]
    verbs: [list]
  - apiGroups: [""]
    resources: [services]
    verbs: [list, watch, create, patch, delete]
  - apiGroups: [discovery.k8s.io]
    resources: [endpointslices]
    verbs: [list, watch]
  - apiGroups: [autoscaling]
    resources: [horizontalpodautoscalers]
    verbs: [list, watch, create, patch, delete]
  - apiGroups: [keda.sh]
    resources: [scaledobjects]
    verbs: [list, watch, create, patch, delete]
  {{- if .Values.configTracking.enabled }}
  - apiGroups: [""]
    resources: [configmaps, secrets]
    verbs: [get, list, watch, create, patch, delete]
  {{- else if not .Values.secretNamespaces }}
  {{- include "sluice.secretRule" . | nindent 2 }}
  {{- end }}
  {{- if include "sluice.serves" (dict "root" . "of" (list "istio")) }}
  - apiGroups: [networking.istio.io]
    resources: [destinationrules, virtualservices]
    verbs: [list, watch, create, patch, delete]
  # What is given back of a user's VirtualService has fields, too, that the cache does not know.
  - apiGroups: [networking.istio.io]
    resources: [virtualservices]
    verbs: [get]
  {{- end }}
  {{- if include "sluice.serves" (dict "root" . "of" (list "nginx" "skipper")) }}
  # The canary Ingresses.
  - apiGroups: [networking.k8s.io]
    resources: [ingresses]
    verbs: [list, watch, create, patch, delete]
  {{- end }}
  {{- if include "sluice.serves" (dict "root" . "of" (list "traefik")) }}
  - apiGroups: [traefik.io]
    resources: [traefikservices]
    verbs: [list, watch, create, patch, delete]
  {{- end }}
  {{- if include "sluice.serves" (dict "root" . "of" (list "apisix")) }}
  - apiGroups: [apisix.apache.org]
    resources: [apisixroutes]
    verbs: [list, watch, create, patch, delete]
  {{- end }}
  {{- with and (not (include "sluice.namespaces" .)) (include "sluice.kumaRule" .) }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if include "sluice.serves" (dict "root" . "of" (list "knative")) }}
  - apiGroups: [serving.knative.dev]
    resources: [services]
    verbs: [list, watch, patch]
  # What a Rollback by hand goes back to.
  - apiGroups: [serving.knative.dev]
    resources: [revisions]
    verbs: [get]
  {{- end }}
  {{- if include "sluice.serves" (dict "root" . "of" (list "contour")) }}
  - apiGroups: [projectcontour.io]
    resources: [httpproxies]
    verbs: [list, watch, create, patch, delete]
  {{- end }}
  {{- if include "sluice.serves" (dict "root" . "of" (list "gatewayapi" "gatewayapi:v1" "gatewayapi:v1beta1" "linkerd")) }}
  - apiGroups: [gateway.networking.k8s.io]
    resources: [httproutes, grpcroutes]
    verbs: [list, watch, create, patch, delete]
  # What a Gateway can do with routes. A class belongs to no namespace.
  - apiGroups: [gateway.networking.k8s.io]
    resources: [gateways, gatewayclasses]
    verbs: [get]
  {{- end }}
  {{- if include "sluice.serves" (dict "root" . "of" (list "linkerd")) }}
  - apiGroups: [policy.linkerd.io]
    resources: [httproutes]
    verbs: [list, watch, create, patch, delete]
  - apiGroups: [linkerd.io]
    resources: [serviceprofiles]
    verbs: [list, watch, create, patch, delete]
  {{- end }}
  {{- include "sluice.coverageRules" . | nindent 2 }}
  {{- if .Values.metricProviders.externalMetrics }}
  - apiGroups: [external.metrics.k8s.io]
    resources: ["*"]
    verbs: [list]
  {{- end }}
  {{- if .Values.metricProviders.keptn }}
  - apiGroups: [metrics.keptn.sh]
    resources: [keptnmetrics]
    verbs: [get]
  - apiGroups: [metrics.keptn.sh]
    resources: [analyses]
    verbs: [get, create, delete]
  {{- end }}
  {{- if and .Values.dashboard.enabled .Values.dashboard.anonymous }}
  # What the dashboard shows to everybody.
  - apiGroups: [""]
    resources: [events, pods]
    verbs: [list]
  - apiGroups: [apps]
    resources: [replicasets]
    verbs: [list]
  {{- end }}
  # A look at whether Flagger is at work.
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    resourceNames: [flagger-leader-election]
    verbs: [list]
  {{- include "sluice.eventRule" . | nindent 2 }}
{{- end -}}

{{/* The credentials of hooks, AlertProviders, MetricTemplates and metrics servers. */}}
{{- define "sluice.secretRule" -}}
# The credentials of hooks, AlertProviders, MetricTemplates and metrics servers.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
{{- end -}}

{{/* What selects pods by label: to be read, and to be copied for primaries where the coverage value says so. */}}
{{- define "sluice.coverageRules" -}}
{{- if ne .Values.coverage "none" -}}
{{- $verbs := ternary "[list, watch, create, patch, delete]" "[list, watch]" (eq .Values.coverage "copy") -}}
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: {{ $verbs }}
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: {{ $verbs }}
- apiGroups: [security.istio.io]
  resources: [authorizationpolicies, peerauthentications, requestauthentications]
  verbs: {{ $verbs }}
- apiGroups: [networking.istio.io]
  resources: [destinationrules, envoyfilters, proxyconfigs, sidecars]
  verbs: {{ $verbs }}
- apiGroups: [networking.istio.io]
  resources: [serviceentries]
  verbs: [list, watch]
- apiGroups: [extensions.istio.io]
  resources: [wasmplugins]
  verbs: {{ $verbs }}
- apiGroups: [telemetry.istio.io]
  resources: [telemetries]
  verbs: {{ $verbs }}
- apiGroups: [policy.linkerd.io]
  resources: [servers]
  verbs: [list, watch]
- apiGroups: [cilium.io]
  resources: [ciliumnetworkpolicies]
  verbs: {{ $verbs }}
- apiGroups: [projectcalico.org]
  resources: [networkpolicies]
  verbs: {{ $verbs }}
- apiGroups: [crd.projectcalico.org]
  resources: [networkpolicies]
  verbs: [list, watch]
# Policies for Services, of the Gateway API and of its implementations.
- apiGroups: [gateway.networking.k8s.io]
  resources: [backendtlspolicies]
  verbs: {{ $verbs }}
- apiGroups: [gateway.networking.x-k8s.io]
  resources: [xbackendtrafficpolicies]
  verbs: {{ $verbs }}
- apiGroups: [gateway.nginx.org]
  resources: [upstreamsettingspolicies]
  verbs: {{ $verbs }}
- apiGroups: [gateway.kgateway.dev]
  resources: [backendconfigpolicies]
  verbs: {{ $verbs }}
# Policies for rules of routes.
- apiGroups: [gateway.envoyproxy.io]
  resources: [backendtrafficpolicies, envoyextensionpolicies, securitypolicies]
  verbs: [list, watch]
- apiGroups: [gateway.kgateway.dev]
  resources: [trafficpolicies]
  verbs: [list, watch]
- apiGroups: [kuadrant.io]
  resources: [authpolicies, ratelimitpolicies]
  verbs: [list, watch]
- apiGroups: [networking.gke.io]
  resources: [gcpbackendpolicies, healthcheckpolicies]
  verbs: [list, watch]
- apiGroups: [application-networking.k8s.aws]
  resources: [targetgrouppolicies]
  verbs: [list, watch]
- apiGroups: [gateway.k8s.aws]
  resources: [targetgroupconfigurations]
  verbs: [list, watch]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors, podmonitors]
  verbs: {{ $verbs }}
{{- end -}}
{{- end -}}

{{- define "sluice.eventRule" -}}
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
