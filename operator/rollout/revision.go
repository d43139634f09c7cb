package rollout

import (
	"reflect"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// adoptRevision takes over a status whose revisions were computed in another
// way than ours, as an older Sluice or Flagger did, so that an upgrade of the
// operator starts no rollout.
//
// A target of the same generation as the status is about is the same target,
// whatever the hash says, unless the configs that it uses have changed, which
// no generation counts. Else a revision of another format is compared by
// what target and primary are.
func adoptRevision(d *decider) {
	was, is := d.st.LastAppliedSpec, d.Target.Revision
	switch {
	case was == "" || was == is:
	case sameTarget(d) && configs(was) == configs(is):
		d.st.LastAppliedSpec = is
		if d.st.LastPromotedSpec == was {
			d.st.LastPromotedSpec = is
		}
	case format(was) == format(is):
	case d.primaryCarries(is):
		d.st.LastAppliedSpec = is
		d.st.LastPromotedSpec = is
	case d.running() || d.st.Phase == v1beta1.PhaseFailed:
		// What was under way, or has failed, is what the target is now.
		d.st.LastAppliedSpec = is
	}
}

// sameTarget tells whether the target is the object, of the generation, that
// LastAppliedSpec was computed from, or that one after the removal of its pods,
// which was our own change.
func sameTarget(d *decider) bool {
	known, is := d.st.AppliedTarget, d.Target
	if known == nil || known.UID == "" || known.UID != is.UID {
		return false
	}
	// Somebody else's change may be in the place of a removal that was lost: that has another
	// hash in the same format.
	drained := d.st.DrainedGeneration > 0 && known.Generation == d.st.DrainedGeneration && is.Generation == known.Generation+1 && is.Replicas == 0 &&
		(d.st.LastAppliedSpec == is.Revision || format(d.st.LastAppliedSpec) != format(is.Revision))
	return known.Generation == is.Generation || drained
}

// rememberTarget notes which object LastAppliedSpec was computed from. A new
// generation of the same target is only noted along with something else: scaling
// and annotations give it one after the other, and each would be a write.
func rememberTarget(d *decider) {
	of, known := d.Target, d.st.AppliedTarget
	if !of.Exists || of.UID == "" || d.st.LastAppliedSpec != of.Revision || sameTarget(d) {
		return
	}
	if known != nil && known.UID == of.UID && reflect.DeepEqual(*d.st, d.Canary.Status) {
		return
	}
	d.st.AppliedTarget = &v1beta1.AppliedTarget{UID: of.UID, Generation: of.Generation}
}

// configs is the part of a revision that stands for the tracked configs, FORMAT-HASH-CONFIGS,
// empty where there are none.
func configs(revision string) string {
	if parts := strings.SplitN(revision, "-", 3); len(parts) == 3 {
		return parts[2]
	}
	return ""
}

// format is the version prefix of a revision.
func format(revision string) string {
	prefix, _, found := strings.Cut(revision, "-")
	if !found {
		return ""
	}
	return prefix
}
