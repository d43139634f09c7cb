package rollout

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/hands"
	"github.com/sluice-delivery/sluice/operator/rollout/restore"
)

// goBack has the primary become what it was at an earlier revision, as a person asks. What the target is counts as a
// release that has failed: nothing promotes it until it changes or somebody has it tried again.
func goBack(d *decider, a release.Action) (refused string) {
	if refused := hands.RefuseRollback(&d.Observation, d.st, a); refused != "" {
		return refused
	}
	d.st.Rollback = &v1beta1.RollbackStatus{Revision: a.To, Since: metav1.NewMicroTime(d.Now)}
	rollBack(d, release.ReasonRolledBack, d.Canary.PrimaryName()+" is set back to revision "+a.To+hands.By(a))
	return ""
}

// awaitRollback tells when the primary does not become ready with the revision that it is to have again. What is left of
// its pods serves.
func awaitRollback(d *decider) {
	r := d.st.Rollback
	if r == nil {
		return
	}
	why := d.Primary.Message
	if restore.Goes(&d.Observation, d.st) {
		why = "it is not yet of that revision"
	}
	d.unwell(why)
	if d.overdue() {
		stall(d, release.ReasonRollbackHalted, fmt.Sprintf("%s did not become ready with revision %s%s: %s; release or roll back to another one",
			d.Canary.PrimaryName(), r.Revision, within(d), d.Primary.Message))
	}
}
