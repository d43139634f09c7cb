package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AlertProvider is a place where alerts about releases are sent.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=alertproviders,singular=alertprovider,scope=Namespaced,categories=all
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
type AlertProvider struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says where alerts go.
	// +required
	Spec AlertProviderSpec `json:"spec"`

	// Status says in the condition Ready whether Canaries can use the provider.
	// +optional
	Status ObjectStatus `json:"status,omitzero"`
}

// AlertProviderList is a list of AlertProviders.
//
// +kubebuilder:object:root=true
type AlertProviderList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []AlertProvider `json:"items"`
}

// AlertProviderSpec says where alerts go.
//
// +kubebuilder:validation:XValidation:rule="(has(self.address) && size(self.address) > 0) || has(self.secretRef)",message="one of address and secretRef must be set"
// +kubebuilder:validation:XValidation:rule="!has(self.approvals) || !self.approvals || self.type == 'slack'",message="approvals is for type slack"
type AlertProviderSpec struct {
	// Type of the receiver; webhook is any HTTP endpoint.
	// +required
	// +kubebuilder:validation:Enum=slack;msteams;discord;rocket;gchat;webhook
	Type string `json:"type"`

	// Channel to write to.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Channel string `json:"channel,omitempty"`

	// Username to write as.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Username string `json:"username,omitempty"`

	// Address is the URL to send to.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Address string `json:"address,omitempty"`

	// Proxy is the URL of an HTTP proxy to send through.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Proxy string `json:"proxy,omitempty"`

	// SecretRef names a Secret in the provider's namespace with the address (key address), a token (key token) or, for
	// type webhook, the key that messages are signed with (key hmac-key). They come before what is set here.
	// +optional
	// +kubebuilder:validation:XValidation:rule="has(self.name) && size(self.name) > 0 && size(self.name) <= 253",message="secretRef must have a name"
	SecretRef *corev1.LocalObjectReference `json:"secretRef,omitempty"`

	// Approvals gives messages of the Slack app whose presses the operator takes buttons to approve or abort at a gate.
	// +optional
	Approvals bool `json:"approvals,omitempty"`
}

// GetStatus returns where the provider's condition is.
func (p *AlertProvider) GetStatus() *ObjectStatus { return &p.Status }

// GetSecretName returns the name of the Secret with the provider's address or token, empty for none.
func (p *AlertProvider) GetSecretName() string {
	if p.Spec.SecretRef == nil {
		return ""
	}
	return p.Spec.SecretRef.Name
}
