package preflight

import (
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/canary"
	"github.com/sluice-delivery/sluice/operator/release"
)

// takeover says what the first turns of an operator do to what is there: to what another operator has made for a Canary,
// or to what served before there was one.
func takeover(was *v1beta1.Canary, p canary.Preview, writes []Write) []string {
	if was.Status.Identity != nil {
		return nil // it is Sluice's already
	}
	var out []string
	if was.Status.Phase != "" {
		out = append(out, goesOn(was, p), primaryStays(was, p))
		if controllerutil.ContainsFinalizer(was, v1beta1.Finalizer) {
			out = append(out, "the finalizer "+v1beta1.Finalizer+" is there and stays")
		} else {
			out = append(out, "the Canary gets the finalizer "+v1beta1.Finalizer)
		}
	}
	return append(out, written(writes)...)
}

// goesOn says where a release stands, and what becomes of it.
func goesOn(was *v1beta1.Canary, p canary.Preview) string {
	from, st := was.Status, p.Decision.Status
	switch {
	case begins(was, p.Decision):
		return fmt.Sprintf("it is %s, and a release begins: the target is not what the primary was made from", from.Phase)
	case from.Phase == v1beta1.PhaseFailed && st.Phase == v1beta1.PhaseFailed:
		return "it is Failed and stays so until there is another revision"
	case !release.Running(st.Phase):
		return fmt.Sprintf("it is %s, and nothing is released", from.Phase)
	default:
		line := fmt.Sprintf("it is %s and goes on in %s", from.Phase, st.Phase)
		if has := p.Observation.Route.Has; has != nil {
			line += fmt.Sprintf(", with %d %% of the requests at the canary, as the mesh has it", st.CanaryWeight)
		}
		if st.Step != nil && st.Step.Index > 0 {
			line += fmt.Sprintf(", at step %d", st.Step.Index)
		}
		return line
	}
}

// primaryStays says whether the pods that serve stay.
func primaryStays(was *v1beta1.Canary, p canary.Preview) string {
	primary := was.Spec.TargetRef.Kind + " " + was.PrimaryName()
	switch is := p.Observation.Primary; {
	case !is.Exists:
		return primary + " is not there and is made"
	case p.Decision.Desired.PrimaryRevision != "" && p.Decision.Desired.PrimaryRevision != is.Revision:
		return primary + " gets the target's pod template"
	default:
		return primary + " is taken over, and its pods stay"
	}
}

// written says what is written and what is made.
func written(writes []Write) []string {
	var taken, made, deleted []string
	for _, w := range writes {
		name := w.Kind + " " + w.Name
		switch {
		case w.Kind == "Canary":
		case w.Deletes:
			deleted = append(deleted, name)
		case w.Exists:
			taken = append(taken, name)
		default:
			made = append(made, name)
		}
	}
	var out []string
	for _, x := range []struct {
		names []string
		what  string
	}{{taken, "is written"}, {made, "is made"}, {deleted, "is deleted"}} {
		slices.Sort(x.names)
		for _, name := range slices.Compact(x.names) {
			out = append(out, name+" "+x.what)
		}
	}
	return out
}
