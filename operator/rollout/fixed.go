package rollout

// unmoved is an observation as it is without a mesh, where Route.Fixed. No user's
// request reaches the canary, so that its pods can take nothing over from the
// primary, neither when that fails nor while it is without a pod.
func unmoved(o Observation) Observation {
	if !o.Route.Fixed {
		return o
	}
	o.Target.Available = 0
	o.Primary.Interrupted = false
	status := &o.Canary.Status
	if status.CanaryWeight == 0 && (status.Step == nil || !status.Step.Takeover) {
		return o
	}
	// What another mesh did is over.
	o.Canary = o.Canary.DeepCopy()
	o.Canary.Status.CanaryWeight = 0
	if step := o.Canary.Status.Step; step != nil {
		step.Takeover = false
	}
	return o
}

// halted says what becomes of a promotion that does not get on.
func (d *decider) halted() string {
	if d.Route.Fixed {
		return "promotion is halted"
	}
	return "promotion is halted and the canary goes on serving"
}
