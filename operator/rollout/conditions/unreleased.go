package conditions

import "github.com/sluice-delivery/sluice/operator/release"

// Unreleased says why the mesh still has the route of a Canary that is being deleted.
func Unreleased(o *release.Observation) string {
	switch {
	case o.Outage != "":
		return o.Outage
	case len(o.Failures) > 0:
		return o.Failures[0].Object + ": " + o.Failures[0].Message
	case o.Route.Detail != "":
		return o.Route.Detail
	default:
		return "the mesh still has it"
	}
}
