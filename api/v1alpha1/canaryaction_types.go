package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// CanaryAction asks for something to be done with the releases of a Canary in its namespace. It is acted on once.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=canaryactions,singular=canaryaction,shortName=ca,scope=Namespaced
// +kubebuilder:printcolumn:name="Canary",type=string,JSONPath=`.spec.canary`
// +kubebuilder:printcolumn:name="Action",type=string,JSONPath=`.spec.action`
// +kubebuilder:printcolumn:name="By",type=string,JSONPath=`.spec.requestedBy`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.spec.reason`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`,priority=1
type CanaryAction struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for. It can't be changed.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="an action can't be changed; create another one"
	Spec CanaryActionSpec `json:"spec"`

	// Status is what came of it.
	// +optional
	// +kubebuilder:default={phase: Pending}
	Status CanaryActionStatus `json:"status,omitzero"`
}

// CanaryActionSpec is what is asked for.
//
// +kubebuilder:validation:XValidation:rule="(self.action == 'Rollback') == (has(self.toRevision) && size(self.toRevision) > 0)",message="spec.toRevision is needed for Rollback, and for no other action"
type CanaryActionSpec struct {
	// Canary is the name of the Canary, in the same namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Canary string `json:"canary"`

	// Action is what is to be done with its release.
	// +required
	Action v1beta1.ActionType `json:"action"`

	// Reason says why, for people to read in the events of the Canary.
	// +optional
	// +kubebuilder:validation:MaxLength=300
	Reason string `json:"reason,omitempty"`

	// Revision, where it is set, is the only one that is meant, as in status.lastAppliedSpec of the Canary. While that is
	// another one the action is refused.
	// +optional
	// +kubebuilder:validation:MaxLength=100
	Revision string `json:"revision,omitempty"`

	// ToRevision, for a Rollback, is the revision that the primary is to have again, as kubectl sluice history shows it.
	// +optional
	// +kubebuilder:validation:MaxLength=100
	ToRevision string `json:"toRevision,omitempty"`

	// RequestedBy is the name of the user who asks. The chart's admission policies fill it in where the API server has
	// such policies, and refuse any other name than that of who creates the object.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	RequestedBy string `json:"requestedBy,omitempty"`
}

// CanaryActionPhase is how far an action has come.
//
// +kubebuilder:validation:Enum=Pending;Done;Refused
type CanaryActionPhase string

// Phases of a CanaryAction.
const (
	// ActionPending: it was not looked at yet. The same is meant by no phase at all.
	ActionPending CanaryActionPhase = "Pending"
	// ActionDone: it was done.
	ActionDone CanaryActionPhase = "Done"
	// ActionRefused: it could not be done, and won't be.
	ActionRefused CanaryActionPhase = "Refused"
)

// CanaryActionStatus is what came of an action.
type CanaryActionStatus struct {
	// Phase is how far the action has come. Done and Refused are final.
	// +optional
	Phase CanaryActionPhase `json:"phase,omitempty"`

	// Message says what was done, or why nothing was.
	// +optional
	Message string `json:"message,omitempty"`

	// Time at which it was decided.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]+T[0-9:]+[.][0-9]{6}Z$`
	Time *metav1.MicroTime `json:"time,omitempty"`

	// Revision is the one that the Canary was about then.
	// +optional
	Revision string `json:"revision,omitempty"`

	// Checks are what each metric of the analysis has answered, for a Check.
	// +optional
	Checks []v1beta1.CheckStatus `json:"checks,omitempty"`
}

// Finished tells whether the action was done or refused.
func (a *CanaryAction) Finished() bool {
	return a.Status.Phase == ActionDone || a.Status.Phase == ActionRefused
}

// longestBeginning is how much of a name the API server keeps of what it makes a name from, with some to spare.
const longestBeginning = 200

// NewCanaryAction makes an action on a Canary with a name that the API server makes up. The spec needs not name the Canary.
func NewCanaryAction(c *v1beta1.Canary, spec CanaryActionSpec) *CanaryAction {
	spec.Canary = c.Name
	return &CanaryAction{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, GenerateName: c.Name[:min(len(c.Name), longestBeginning)] + "-"},
		Spec:       spec,
	}
}

// Identity tells the action from another of the same name, before or after it. It is the name of an action in the status of
// a Canary.
func (a *CanaryAction) Identity() string { return a.Name + "/" + string(a.UID) }

// Outcome is what came of the action, as the status of its Canary says; nil where it was not taken yet, or another one was
// since.
func (a *CanaryAction) Outcome(c *v1beta1.Canary) *v1beta1.ActionStatus {
	if last := c.Status.LastAction; last != nil && last.Name == a.Identity() {
		return last
	}
	return nil
}

// CanaryActionList is a list of CanaryActions.
//
// +kubebuilder:object:root=true
type CanaryActionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []CanaryAction `json:"items"`
}
