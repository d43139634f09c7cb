package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// PriorityAnnotation on a Canary says how early its releases have their turn where several wait for a place: a whole
// number, the larger the earlier. Without it that is 0.
const PriorityAnnotation = "sluice.dev/release-priority"

// ReleasePolicy says when releases of the Canaries of its namespace may begin. What has begun goes on, and a rollback
// never waits.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=releasepolicies,singular=releasepolicy,shortName=rp,scope=Namespaced
// +kubebuilder:printcolumn:name="Max",type=integer,JSONPath=`.spec.maxReleases`
// +kubebuilder:printcolumn:name="Freeze",type=string,JSONPath=`.spec.freeze.reason`
// +kubebuilder:printcolumn:name="Until",type=date,JSONPath=`.spec.freeze.until`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
type ReleasePolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which releases it is about and when they may begin.
	// +required
	Spec ReleasePolicySpec `json:"spec"`

	// Status has the condition Ready, which is False for a policy that is invalid: no release begins that it may be about
	// until it is mended.
	// +optional
	Status v1beta1.ObjectStatus `json:"status,omitzero"`
}

// ClusterReleasePolicy says when releases of the Canaries of several namespaces may begin. It is beside those of the
// namespaces: a release waits for all that select its Canary.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=clusterreleasepolicies,singular=clusterreleasepolicy,shortName=crp,scope=Cluster
// +kubebuilder:printcolumn:name="Max",type=integer,JSONPath=`.spec.maxReleases`
// +kubebuilder:printcolumn:name="Freeze",type=string,JSONPath=`.spec.freeze.reason`
// +kubebuilder:printcolumn:name="Until",type=date,JSONPath=`.spec.freeze.until`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
type ClusterReleasePolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which releases it is about and when they may begin.
	// +required
	Spec ClusterReleasePolicySpec `json:"spec"`

	// Status has the condition Ready, which is False for a policy that is invalid: no release begins that it may be about
	// until it is mended.
	// +optional
	Status v1beta1.ObjectStatus `json:"status,omitzero"`
}

// ClusterReleasePolicySpec is the spec of a policy for several namespaces.
type ClusterReleasePolicySpec struct {
	// Namespaces selects the namespaces by their labels; without it the policy is about all. Who may edit a Canary can't
	// change what this selects, unlike the labels that selector goes by.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'])",message="an operator of matchExpressions is one of In, NotIn, Exists and DoesNotExist"
	Namespaces *metav1.LabelSelector `json:"namespaces,omitempty"`

	ReleasePolicySpec `json:",inline"`
}

// ReleasePolicySpec says which releases a policy is about and when they may begin.
type ReleasePolicySpec struct {
	// Selector selects Canaries by their labels; without it the policy is about all.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'])",message="an operator of matchExpressions is one of In, NotIn, Exists and DoesNotExist"
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// MaxReleases is how many releases of the Canaries it selects may be under way at once; without it any number. A
	// release that is paused or waits at a gate counts until it has ended.
	// +optional
	// +kubebuilder:validation:Minimum=1
	MaxReleases *int32 `json:"maxReleases,omitempty"`

	// TimeZone is the name of the time zone of the windows in the IANA database, such as Europe/Berlin; UTC without it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z][A-Za-z0-9+_/-]*$`
	// +kubebuilder:validation:XValidation:rule="self != 'Local' && timestamp('2026-01-01T00:00:00Z').getHours(self) >= 0",message="there is no such time zone in the IANA database"
	TimeZone string `json:"timeZone,omitempty"`

	// Windows are when releases may begin; without one at any time. What has begun goes on when its window ends.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=21
	Windows []ReleaseWindow `json:"windows,omitempty"`

	// Freeze keeps all releases from beginning.
	// +optional
	Freeze *ReleaseFreeze `json:"freeze,omitempty"`
}

// Weekday is a day of the week.
//
// +kubebuilder:validation:Enum=Mon;Tue;Wed;Thu;Fri;Sat;Sun
type Weekday string

// ReleaseWindow is a time of the week in which releases may begin.
//
// +kubebuilder:validation:XValidation:rule="self.from != self.to",message="from and to are the same time; leave out the window to allow releases at any time, or give its days from 00:00 to 24:00"
type ReleaseWindow struct {
	// Days on which it begins; without one every day.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=7
	Days []Weekday `json:"days,omitempty"`

	// From is when it begins, as 09:00.
	// +required
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:Pattern=`^([01][0-9]|2[0-3]):[0-5][0-9]$`
	From string `json:"from"`

	// To is when it ends, as 17:00 or 24:00. Where that is before from it is a time of the next day.
	// +required
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:Pattern=`^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$`
	To string `json:"to"`
}

// ReleaseFreeze keeps releases from beginning for a time.
//
// +kubebuilder:validation:XValidation:rule="!has(self.from) || !has(self.until) || self.from < self.until",message="until must be after from"
type ReleaseFreeze struct {
	// Reason says why, to those whose releases wait.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=300
	Reason string `json:"reason"`

	// Author says who is to be asked about it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	Author string `json:"author"`

	// From is when it begins; without it at once.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`
	From *metav1.Time `json:"from,omitempty"`

	// Until is when it ends; without it when it is taken out of the policy.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`
	Until *metav1.Time `json:"until,omitempty"`
}

// ReleasePolicyList is a list of ReleasePolicies.
//
// +kubebuilder:object:root=true
type ReleasePolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ReleasePolicy `json:"items"`
}

// ClusterReleasePolicyList is a list of ClusterReleasePolicies.
//
// +kubebuilder:object:root=true
type ClusterReleasePolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterReleasePolicy `json:"items"`
}

// GetStatus returns where the policy's condition is.
func (p *ReleasePolicy) GetStatus() *v1beta1.ObjectStatus { return &p.Status }

// GetStatus returns where the policy's condition is.
func (p *ClusterReleasePolicy) GetStatus() *v1beta1.ObjectStatus { return &p.Status }
