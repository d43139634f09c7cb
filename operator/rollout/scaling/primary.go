package scaling

import (
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
)

// Floor is how many pods the primary must have at least, 0 for no such bound. It is PrimaryFloor of what was observed.
func Floor(o *release.Observation, st *v1beta1.CanaryStatus) int32 {
	primary := Carrying(o, st)
	if !o.Primary.Exists {
		primary = max(primary, st.PrimaryReplicas)
	}
	// Who gets the requests of a primary is no reason to have more of it than people ask for.
	unused := st.CanaryWeight == 0 || o.Primary.MaxReplicas == 0
	idle := o.Target.Replicas == 0 && o.Target.Available == 0 || unused && ScaledUp(st, &o.Target)
	floor := PrimaryFloor(st.Phase, primary, o.Target.Replicas, idle)
	if o.Primary.ScalesToZero && (st.Phase == v1beta1.PhaseInitializing || st.Phase == v1beta1.PhaseProgressing) {
		return max(floor, 1) // it is started before anything is compared with it, and there for a rollback
	}
	return floor
}

// Carrying is how many pods the primary must have to carry everything. It is Needed of what was observed.
func Carrying(o *release.Observation, st *v1beta1.CanaryStatus) int32 {
	return Needed(o.Primary, o.Target, st.PrimaryReplicas, serving.Helps(st))
}

// Spare is true where nobody is led to the pods of the target, and nobody else gave it these.
func Spare(o *release.Observation, st *v1beta1.CanaryStatus) bool {
	return st.CanaryWeight == 0 && (st.Traffic == nil || st.Traffic.Mirror == 0) && !ScaledUp(st, &o.Target)
}
