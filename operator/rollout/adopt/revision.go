package adopt

import (
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/hands"
)

// Revision takes over a status whose revisions were computed in another
// way than ours, as an older Sluice or Flagger did, so that an upgrade of the
// operator starts no rollout.
//
// A target of the same generation as the status is about is the same target,
// whatever the hash says, unless the configs that it uses have changed, which
// no generation counts. Else a revision of another format is compared by
// what target and primary are.
func Revision(o *release.Observation, st *v1beta1.CanaryStatus) {
	was, is := st.LastAppliedSpec, o.Target.Revision
	switch {
	case was == "" || is == "" || was == is:
	case SameTarget(o.Target, st) && hands.Configs(was) == hands.Configs(is):
		st.LastAppliedSpec = is
		if st.LastPromotedSpec == was {
			st.LastPromotedSpec = is
		}
	case format(was) == format(is):
	case o.Primary.Exists && o.Primary.Revision == is:
		st.LastAppliedSpec = is
		st.LastPromotedSpec = is
	case release.Running(st.Phase) || st.Phase == v1beta1.PhaseFailed:
		// What was under way, or has failed, is what the target is now.
		st.LastAppliedSpec = is
	}
}

// SameTarget tells whether the target is the object, of the generation, that
// LastAppliedSpec was computed from, or that one after the removal of its pods,
// which was our own change.
func SameTarget(target release.Workload, st *v1beta1.CanaryStatus) bool {
	known, is := st.AppliedTarget, target
	if known == nil || known.UID == "" || known.UID != is.UID {
		return false
	}
	// Somebody else's change may be in the place of a removal that was lost: that has another
	// Hash in the same format.
	drained := st.DrainedGeneration > 0 && known.Generation == st.DrainedGeneration && is.Generation == known.Generation+1 && is.Replicas == 0 &&
		(st.LastAppliedSpec == is.Revision || format(st.LastAppliedSpec) != format(is.Revision))
	return known.Generation == is.Generation || drained
}

// format is the version prefix of a revision.
func format(revision string) string {
	prefix, _, found := strings.Cut(revision, "-")
	if !found {
		return ""
	}
	return prefix
}
