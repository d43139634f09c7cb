package conditions

import (
	"fmt"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
)

// Serving are the events about who serves now, where that is for another reason than before.
func Serving(o *release.Observation, was, is serving.Split) []release.Event {
	w, primary := &writer{Observation: o}, o.Canary.PrimaryName()
	switch is.Reason {
	case v1beta1.TrafficPrimaryUnavailable:
		w.event(true, release.ReasonPrimaryUnavailable, "No pod of "+primary+" is available; the canary takes all traffic")
	case v1beta1.TrafficCanaryUnavailable:
		w.event(true, release.ReasonCanaryUnavailable, "No pod of the canary is available; "+primary+" takes all traffic until it is back")
	case v1beta1.TrafficPrimaryTooSmall:
		lacks, until := fmt.Sprintf("%s has %d of %d pods", primary, o.Primary.Available, o.Primary.Replicas), "there are more"
		switch {
		case serving.Leaving(o.Primary):
			lacks, until = "The pods of "+primary+" are about to go for others", "those are there"
		case o.Primary.Unconfirmed:
			lacks, until = "Nothing is known yet of the endpoints of "+primary, "its pods are known to be reached"
		}
		w.event(true, release.ReasonPrimaryUnavailable, fmt.Sprintf("%s; the canary keeps %s of the traffic until %s", lacks, plan.Percent(is.Weight), until))
	case v1beta1.TrafficPlanned:
		if was.Reason != v1beta1.TrafficPrimaryUnavailable || o.Primary.Available == 0 || is.Weight == was.Weight && is.Matched == was.Matched {
			break
		}
		back := plan.Percent(100-is.Weight) + " of the traffic goes"
		switch {
		case is.Matched:
			back = "requests that do not match go"
		case is.Weight == 0:
			back = "all traffic goes"
		}
		w.event(false, release.ReasonPrimaryRecovered, primary+" serves again; "+back+" back to it")
	}
	return w.events
}

// Promotion says what a promotion waits for, and who serves meanwhile.
func Promotion(c *v1beta1.Canary, st *v1beta1.CanaryStatus) string {
	planned := serving.Planned(st)
	stays := plan.Percent(planned.Weight) + " of the traffic stays with the canary"
	switch {
	case planned.Weight == 100 && !planned.Matched || serving.StandsIn(st):
		stays = "all traffic stays with the canary"
	case planned.Matched:
		stays = "requests that match stay with the canary"
	}
	return "waiting for " + c.PrimaryName() + " to run the new revision, " + stays
}

// Unreleased says why the mesh has the route of a deleted Canary still.
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
