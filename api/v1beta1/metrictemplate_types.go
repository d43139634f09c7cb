package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MetricTemplate is a query that Canaries can share, and the metric provider that answers it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=metrictemplates,singular=metrictemplate,scope=Namespaced,categories=all
// +kubebuilder:printcolumn:name="Provider",type=string,JSONPath=`.spec.provider.type`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
type MetricTemplate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the query and who answers it.
	// +required
	Spec MetricTemplateSpec `json:"spec"`

	// Status says in the condition Ready whether Canaries can use the template.
	// +optional
	Status ObjectStatus `json:"status,omitzero"`
}

// MetricTemplateList is a list of MetricTemplates.
//
// +kubebuilder:object:root=true
type MetricTemplateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []MetricTemplate `json:"items"`
}

// MetricTemplateSpec is a query and who answers it.
type MetricTemplateSpec struct {
	// Provider answers the query.
	// +required
	Provider MetricTemplateProvider `json:"provider"`

	// Query with template variables: {{ name }}, {{ namespace }}, {{ target }}, {{ service }}, {{ ingress }},
	// {{ route }}, {{ interval }} and {{ variables.NAME }}.
	// +required
	// +kubebuilder:validation:MaxLength=65536
	Query string `json:"query"`

	// Counts are how many requests a version has had, for metrics that compare canary and primary.
	// +optional
	Counts *MetricTemplateCounts `json:"counts,omitempty"`
}

// MetricTemplateCounts are two queries, each of a number of requests of one version in the last {{ interval }}, which is
// the time since the last look. Beside the variables of query they have {{ workload }}, the name of the version's workload,
// and {{ version }}, canary or primary.
type MetricTemplateCounts struct {
	// Requests is the query of how many requests the version has had.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Requests string `json:"requests"`

	// Bad is the query of how many of them were bad. No value means none.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Bad string `json:"bad"`
}

// MetricTemplateProvider is a metric provider and how to reach it.
type MetricTemplateProvider struct {
	// Type of the metric provider.
	// +required
	// +kubebuilder:validation:Enum=prometheus;influxdb;datadog;externalmetrics;stackdriver;cloudwatch;newrelic;graphite;dynatrace;keptn;splunk;skywalking;web
	Type string `json:"type"`

	// Address is the URL of the provider.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Address string `json:"address,omitempty"`

	// Headers to send with each request.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Headers map[string][]string `json:"headers,omitempty"`

	// SecretRef names the Secret with the credentials, in the template's namespace.
	// +optional
	// +kubebuilder:validation:XValidation:rule="has(self.name) && size(self.name) > 0 && size(self.name) <= 253",message="secretRef must have a name"
	SecretRef *corev1.LocalObjectReference `json:"secretRef,omitempty"`

	// Region of the provider.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Region string `json:"region,omitempty"`

	// InsecureSkipVerify accepts any certificate of the provider.
	// +optional
	InsecureSkipVerify bool `json:"insecureSkipVerify,omitempty"`

	// JSONPath picks the number in the answer, for the type web: {.data.rate}. The whole answer without it.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	JSONPath string `json:"jsonPath,omitempty"`
}

// ObjectStatus is the status of objects that Canaries refer to.
type ObjectStatus struct {
	// Conditions of the object.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []CanaryCondition `json:"conditions,omitempty"`
}

// GetStatus returns where the template's condition is.
func (t *MetricTemplate) GetStatus() *ObjectStatus { return &t.Status }

// GetSecretName returns the name of the Secret with the template's credentials, empty for none.
func (t *MetricTemplate) GetSecretName() string {
	if t.Spec.Provider.SecretRef == nil {
		return ""
	}
	return t.Spec.Provider.SecretRef.Name
}
