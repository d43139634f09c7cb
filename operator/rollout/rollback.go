package rollout

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/hands"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
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

// goesBack is true until the primary was seen to be of the revision that it is to have again.
func goesBack(d *decider) bool {
	return d.st.Rollback != nil && !d.primaryCarries(d.st.Rollback.Revision)
}

// noteRollback records how far the primary has come with the revision that it is to have again. What it was promoted
// with is that one from the moment at which it is a copy of it. With the primary goes what was stored of it.
func noteRollback(d *decider) {
	r := d.st.Rollback
	switch {
	case r == nil || d.Primary.Unobserved:
	case !d.Primary.Exists:
		d.st.Rollback = nil
	case d.primaryCarries(r.Revision):
		d.st.LastPromotedSpec = r.Revision
		if !d.Primary.Ready {
			return
		}
		d.st.Rollback = nil
		d.event(false, release.ReasonPrimaryRestored, d.Canary.PrimaryName()+" runs revision "+r.Revision+" again ("+d.Primary.Images+")")
	}
}

// awaitRollback tells when the primary does not become ready with the revision that it is to have again. What is left of
// its pods serves.
func awaitRollback(d *decider) {
	r := d.st.Rollback
	if r == nil {
		return
	}
	why := d.Primary.Message
	if goesBack(d) {
		why = "it is not yet of that revision"
	}
	d.unwell(why)
	if d.overdue() {
		stall(d, release.ReasonRollbackHalted, fmt.Sprintf("%s did not become ready with revision %s%s: %s; release or roll back to another one",
			d.Canary.PrimaryName(), r.Revision, within(d), d.Primary.Message))
	}
}

// storedRevision is the one that the primary must get from what is stored of it, empty for none. As with every change of
// the primary the mesh must show the present route before.
func storedRevision(d *decider) string {
	switch {
	case !goesBack(d) || !release.Analysing(d.st.Phase) && d.st.Phase != v1beta1.PhaseFailed:
		return ""
	case !d.Route.InSync || d.out.Desired.Traffic != serving.TrafficOf(d.Canary, &d.Canary.Status):
		return ""
	}
	return d.st.Rollback.Revision
}
