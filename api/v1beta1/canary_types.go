package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Names that other tools know and that must not change.
const (
	// Finalizer is on every Canary whose deletion has something to give back.
	Finalizer = "finalizer.flagger.app"
	// ConfigTrackingAnnotation set to "disabled" on a ConfigMap or Secret leaves it untracked.
	ConfigTrackingAnnotation = "flagger.app/config-tracking"
	// ConfigTrackingDisabled is how each value of ConfigTrackingAnnotation begins that turns tracking off: people write
	// disable, disabled and disabled for some reason, and Flagger takes all of them.
	ConfigTrackingDisabled = "disable"
	// ConfigTrackingEnabled is the value of ConfigTrackingAnnotation that turns tracking on for a Secret of a type
	// that is not tracked by itself, such as credentials for a registry.
	ConfigTrackingEnabled = "enabled"
)

// Routing providers served, as written in spec.provider.
const (
	ProviderIstio             = "istio"
	ProviderLinkerd           = "linkerd"
	ProviderConsul            = "consul"
	ProviderGatewayAPI        = "gatewayapi:v1"
	ProviderGatewayAPIV1Beta1 = "gatewayapi:v1beta1"
	ProviderGatewayAPIAny     = "gatewayapi"
	ProviderKubernetes        = "kubernetes"
	ProviderNGINX             = "nginx"
	ProviderTraefik           = "traefik"
	ProviderContour           = "contour"
	ProviderAPISIX            = "apisix"
	ProviderKuma              = "kuma"
	ProviderSkipper           = "skipper"
	ProviderKnative           = "knative"
)

// Canary says how new versions of one workload are released: which workload, how its traffic is routed, and
// what has to hold at each step on the way from the old version to the new one.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=canaries,singular=canary,scope=Namespaced,categories=all
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Weight",type=string,JSONPath=`.status.canaryWeight`
// +kubebuilder:printcolumn:name="Suspended",type=boolean,JSONPath=`.spec.suspend`,priority=1
// +kubebuilder:printcolumn:name="FailedChecks",type=string,JSONPath=`.status.failedChecks`,priority=1
// +kubebuilder:printcolumn:name="Interval",type=string,JSONPath=`.spec.analysis.interval`,priority=1
// +kubebuilder:printcolumn:name="Mirror",type=boolean,JSONPath=`.spec.analysis.mirror`,priority=1
// +kubebuilder:printcolumn:name="StepWeight",type=string,JSONPath=`.spec.analysis.stepWeight`,priority=1
// +kubebuilder:printcolumn:name="StepWeights",type=string,JSONPath=`.spec.analysis.stepWeights`,priority=1
// +kubebuilder:printcolumn:name="MaxWeight",type=string,JSONPath=`.spec.analysis.maxWeight`,priority=1
// +kubebuilder:printcolumn:name="LastTransitionTime",type=string,JSONPath=`.status.lastTransitionTime`
type Canary struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the user asks for.
	// +required
	Spec CanarySpec `json:"spec"`

	// Status is what the operator has seen and done.
	// +optional
	Status CanaryStatus `json:"status,omitzero"`
}

// CanaryList is a list of Canaries.
//
// +kubebuilder:object:root=true
type CanaryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Canary `json:"items"`
}

// CanarySpec is what the user asks for.
//
// +kubebuilder:validation:XValidation:rule="has(self.analysis) || has(self.canaryAnalysis) || (has(self.skipAnalysis) && self.skipAnalysis)",message="analysis is required unless skipAnalysis is true"
// +kubebuilder:validation:XValidation:rule="has(self.service) || (has(self.targetRef.apiVersion) && self.targetRef.apiVersion.startsWith('serving.knative.dev/'))",message="service is required: it needs at least a port"
type CanarySpec struct {
	// Provider names the router that moves traffic for this Canary: istio, linkerd, consul, gatewayapi:v1,
	// gatewayapi:v1beta1, gatewayapi, nginx, traefik, contour, apisix, kuma, skipper, knative or kubernetes. Empty means the operator's -mesh-provider.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Provider string `json:"provider,omitempty"`

	// MetricsServer is the URL of the Prometheus that the built-in checks and inline queries of this Canary ask.
	// Empty means the operator's -metrics-server.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	MetricsServer string `json:"metricsServer,omitempty"`

	// MetricsServerSecretRef names a Secret in the Canary's namespace with what that Prometheus asks for. Its keys, all
	// optional: username and password, or token; ca.crt is whose certificates are accepted, tls.crt and tls.key are shown
	// to it. Without it the operator's own credentials go to the operator's own -metrics-server, and nowhere else.
	// +optional
	// +kubebuilder:validation:XValidation:rule="has(self.name) && size(self.name) > 0 && size(self.name) <= 253",message="metricsServerSecretRef must have a name"
	MetricsServerSecretRef *corev1.LocalObjectReference `json:"metricsServerSecretRef,omitempty"`

	// InsecureSkipVerify accepts any certificate of metricsServer.
	// +optional
	InsecureSkipVerify bool `json:"insecureSkipVerify,omitempty"`

	// TargetRef is the workload to release, in the Canary's namespace.
	// +required
	TargetRef TargetReference `json:"targetRef"`

	// AutoscalerRef is the target's HorizontalPodAutoscaler or KEDA ScaledObject, of which the primary gets a copy.
	// +optional
	AutoscalerRef *AutoscalerReference `json:"autoscalerRef,omitempty"`

	// IngressRef is the Ingress that leads to the apex Service; needed by providers nginx and skipper, of no effect with others.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.name.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$')",message="ingressRef.name must be the name of an object: small letters, digits, - and ."
	IngressRef *LocalObjectReference `json:"ingressRef,omitempty"`

	// RouteRef is the ApisixRoute that leads to the apex Service; needed by provider apisix, of no effect with others.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.name.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$')",message="routeRef.name must be the name of an object: small letters, digits, - and ."
	RouteRef *LocalObjectReference `json:"routeRef,omitempty"`

	// UpstreamRef is an upstream of Gloo, which is not served.
	// +optional
	UpstreamRef *CrossNamespaceObjectReference `json:"upstreamRef,omitempty"`

	// Service describes the Services made for the target and how its requests are routed.
	// +optional
	Service CanaryService `json:"service,omitzero"`

	// Analysis says how a new version is brought in and checked.
	// +optional
	Analysis *CanaryAnalysis `json:"analysis,omitempty"`

	// CanaryAnalysis is the old name of analysis. Analysis wins if both are there.
	//
	// Deprecated: write analysis.
	// +optional
	CanaryAnalysis *CanaryAnalysis `json:"canaryAnalysis,omitempty"`

	// ProgressDeadlineSeconds is how long, in seconds, the canary or the primary may take to become ready
	// before the release is given up. Unset means 600.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`

	// DrainDelaySeconds is how long, in seconds, canary pods stay after the route was seen with weight 0, so that
	// proxies that have not heard of it yet, and requests under way, still find them. Unset means 10.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	DrainDelaySeconds *int32 `json:"drainDelaySeconds,omitempty"`

	// SkipAnalysis promotes every new version at once, without analysis.
	// +optional
	SkipAnalysis bool `json:"skipAnalysis,omitempty"`

	// RevertOnDeletion gives the target its replicas and traffic back when the Canary is deleted.
	// +optional
	RevertOnDeletion bool `json:"revertOnDeletion,omitempty"`

	// Coverage says what happens to objects that select the target's pods by label and not the primary's.
	// +optional
	Coverage *CoverageSpec `json:"coverage,omitempty"`

	// Suspend starts no release, and holds one that is under way where it is, until it is false again.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// CoverageMode says what happens to objects that select the target's pods by label and not the primary's.
//
// +kubebuilder:validation:Enum=Report;Copy
type CoverageMode string

// Modes of coverage.
const (
	// CoverageReport names them in the condition Covered and in an event.
	CoverageReport CoverageMode = "Report"
	// CoverageCopy keeps a copy of each that selects the primary's pods, and names those that can't be copied.
	CoverageCopy CoverageMode = "Copy"
)

// CoverageSpec is about objects that select pods by label, such as PodDisruptionBudgets, NetworkPolicies and
// Istio's policies. The primary's pods have another value of the selector label than the target's, so what selects
// the target's by that label does not cover them.
type CoverageSpec struct {
	// Mode is Report or Copy. Empty means Report: such objects are named in the condition Covered and in an event.
	// Copy also keeps a copy of each, NAME-primary, that selects the primary's pods and goes with the Canary.
	// +optional
	Mode CoverageMode `json:"mode,omitempty"`
}

// TargetReference names the workload to release, in the Canary's namespace.
type TargetReference struct {
	// APIVersion of the workload, such as apps/v1.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind of the workload.
	// +required
	// +kubebuilder:validation:XValidation:rule="self in ['Deployment', 'DaemonSet', 'StatefulSet', 'Service']",message="kind must be Deployment, DaemonSet, StatefulSet or Service"
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`

	// Name of the workload.
	// +required
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="name must not be empty"
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// AutoscalerReference names an autoscaler in the Canary's namespace and what differs in the primary's copy of it.
type AutoscalerReference struct {
	// APIVersion of the autoscaler, such as autoscaling/v2 or keda.sh/v1alpha1.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind of the autoscaler.
	// +required
	// +kubebuilder:validation:XValidation:rule="self in ['HorizontalPodAutoscaler', 'ScaledObject']",message="kind must be HorizontalPodAutoscaler or ScaledObject"
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`

	// Name of the autoscaler.
	// +required
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="name must not be empty"
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// PrimaryScalerQueries are the queries of the primary's ScaledObject, by the name of the trigger.
	// +optional
	// +kubebuilder:validation:MaxProperties=100
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(self[k]) <= 16384)",message="queries must be up to 16384 characters"
	PrimaryScalerQueries map[string]string `json:"primaryScalerQueries,omitempty"`

	// PrimaryScalerReplicas are the primary autoscaler's bounds where they differ from the target's.
	// +optional
	PrimaryScalerReplicas *ScalerReplicas `json:"primaryScalerReplicas,omitempty"`
}

// ScalerReplicas are an autoscaler's bounds; an unset one is left as it is.
//
// +kubebuilder:validation:XValidation:rule="!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",message="minReplicas must not be above maxReplicas"
type ScalerReplicas struct {
	// MinReplicas is the lower bound.
	// +optional
	// +kubebuilder:validation:Minimum=1
	MinReplicas *int32 `json:"minReplicas,omitempty"`

	// MaxReplicas is the upper bound.
	// +optional
	// +kubebuilder:validation:Minimum=1
	MaxReplicas *int32 `json:"maxReplicas,omitempty"`
}

// LocalObjectReference names an object in the Canary's namespace.
type LocalObjectReference struct {
	// APIVersion of the object.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind of the object.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`

	// Name of the object.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// CrossNamespaceObjectReference names an object, in the Canary's namespace unless another is given.
type CrossNamespaceObjectReference struct {
	// APIVersion of the object.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind of the object.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`

	// Name of the object.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Namespace of the object. Empty means the Canary's.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// CanaryService describes the apex, primary and canary Services and how requests to the apex are routed.
type CanaryService struct {
	// Name of the apex Service; with -primary and -canary appended, of the other two. Empty means the target's name.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$`
	Name string `json:"name,omitempty"`

	// Port of the Services, 1 to 65535.
	// +required
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 65535",message="port must be 1 to 65535"
	Port int32 `json:"port"`

	// PortName is the name of that port. Empty means http, or as it is in a Service that
	// was there before.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$`
	PortName string `json:"portName,omitempty"`

	// TargetPort is the number or name of the container's port. Unset means port, or as it
	// is in a Service that was there before.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 && self <= 65535 : size(self) <= 15 && self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$')",message="targetPort must be 1 to 65535, or the name of a port, up to 15 letters in small, digits and -"
	TargetPort intstr.IntOrString `json:"targetPort,omitempty,omitzero"`

	// AppProtocol of the port, such as http, https, grpc or kubernetes.io/h2c. Empty means
	// none, or as it is in a Service that was there before.
	// +optional
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:Pattern=`^(([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`
	AppProtocol string `json:"appProtocol,omitempty"`

	// PortDiscovery adds the other ports of the target's containers to the Services.
	// +optional
	PortDiscovery bool `json:"portDiscovery,omitempty"`

	// Headless makes Services without a cluster IP.
	// +optional
	Headless bool `json:"headless,omitempty"`

	// TrafficDistribution is the Services' preference for near endpoints.
	// +optional
	// +kubebuilder:validation:Enum=PreferClose;PreferSameZone;PreferSameNode
	TrafficDistribution string `json:"trafficDistribution,omitempty"`

	// Timeout of a request, such as 15s. Empty means the mesh's own.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')",message="timeout must be a duration such as 500ms, 30s, 1m or 1m30s"
	Timeout string `json:"timeout,omitempty"`

	// BackendTimeout is the timeout of one try of a request (Gateway API).
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')",message="backendTimeout must be a duration such as 500ms, 30s, 1m or 1m30s"
	BackendTimeout string `json:"backendTimeout,omitempty"`

	// Gateways of the VirtualService (Istio). Empty means mesh.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MaxLength=507
	// +kubebuilder:validation:items:Pattern=`^[-a-z0-9.]+(/[-a-z0-9.]+)?$`
	Gateways []string `json:"gateways,omitempty"`

	// GatewayRefs are the parents of the HTTPRoute (Gateway API, Linkerd).
	// +optional
	// +kubebuilder:validation:MaxItems=32
	GatewayRefs []ParentReference `json:"gatewayRefs,omitempty"`

	// Hosts of the VirtualService or HTTPRoute. The apex Service is always among them.
	// +optional
	// +kubebuilder:validation:MaxItems=500
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[-A-Za-z0-9*._:/]+$`
	Hosts []string `json:"hosts,omitempty"`

	// Delegation makes a VirtualService without hosts and gateways, to be delegated to by another one (Istio).
	// +optional
	Delegation bool `json:"delegation,omitempty"`

	// TrafficPolicy of the DestinationRules: Istio's TrafficPolicy.
	// +optional
	TrafficPolicy *RawObject `json:"trafficPolicy,omitempty"`

	// Match says which requests the route is for: Istio's HTTPMatchRequest. Empty means all.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Match []RawObject `json:"match,omitempty"`

	// Rewrite of the URI or authority: Istio's HTTPRewrite.
	// +optional
	Rewrite *RawObject `json:"rewrite,omitempty"`

	// Retries of failed requests: Istio's HTTPRetry.
	// +optional
	Retries *RawObject `json:"retries,omitempty"`

	// Headers to add, set or remove: Istio's Headers.
	// +optional
	Headers *RawObject `json:"headers,omitempty"`

	// CorsPolicy is the cross-origin policy: Istio's CorsPolicy.
	// +optional
	CorsPolicy *RawObject `json:"corsPolicy,omitempty"`

	// Mirror sends copies of all requests elsewhere: Gateway API's HTTPRequestMirrorFilter.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Mirror []RawObject `json:"mirror,omitempty"`

	// MeshName is the mesh of App Mesh, which is not served.
	// +optional
	MeshName string `json:"meshName,omitempty"`

	// Backends are backends of App Mesh, which is not served.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Backends []string `json:"backends,omitempty"`

	// Apex has labels and annotations for the apex Service and the route.
	// +optional
	Apex *CustomMetadata `json:"apex,omitempty"`

	// Primary has labels and annotations for the primary Service.
	// +optional
	Primary *CustomMetadata `json:"primary,omitempty"`

	// Canary has labels and annotations for the canary Service.
	// +optional
	Canary *CustomMetadata `json:"canary,omitempty"`

	// UnmanagedMetadata are keys of labels and annotations of the generated objects that are left to others.
	// +optional
	UnmanagedMetadata *UnmanagedMetadata `json:"unmanagedMetadata,omitempty"`
}

// ParentReference names the parent of an HTTPRoute, as in Gateway API.
type ParentReference struct {
	// Group of the parent.
	// +optional
	// +kubebuilder:default="gateway.networking.k8s.io"
	// +kubebuilder:validation:MaxLength=253
	Group *string `json:"group,omitempty"`

	// Kind of the parent.
	// +optional
	// +kubebuilder:default=Gateway
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind *string `json:"kind,omitempty"`

	// Namespace of the parent. Unset means the Canary's.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace *string `json:"namespace,omitempty"`

	// Name of the parent.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// SectionName is the listener of a Gateway or the port name of a Service.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SectionName *string `json:"sectionName,omitempty"`

	// Port of the parent.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port *int32 `json:"port,omitempty"`
}

// CustomMetadata are labels and annotations to put on a generated object.
type CustomMetadata struct {
	// Labels to put on the object.
	// +optional
	// +kubebuilder:validation:MaxProperties=256
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations to put on the object.
	// +optional
	// +kubebuilder:validation:MaxProperties=256
	Annotations map[string]string `json:"annotations,omitempty"`
}

// UnmanagedMetadata are keys of labels and annotations that others set and that are neither overwritten nor removed.
type UnmanagedMetadata struct {
	// Labels are keys of labels.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Labels []string `json:"labels,omitempty"`

	// Annotations are keys of annotations.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Annotations []string `json:"annotations,omitempty"`
}
