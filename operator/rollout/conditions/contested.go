package conditions

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// contested says once that somebody writes over the route or the Services as often as they are set right.
func (w *writer) contested() {
	if !w.Route.Contested {
		w.st.RemoveCondition(v1beta1.ConditionRouteContested)
		return
	}
	const message = "Somebody else writes over the route or the Services again and again, and each time they are set right. " +
		"If they are in Git, have your tool ignore what a release changes of them (docs/gitops.md)"
	if w.st.GetCondition(v1beta1.ConditionRouteContested) == nil {
		w.event(true, release.ReasonRouteContested, message)
	}
	w.set(v1beta1.ConditionRouteContested, corev1.ConditionTrue, release.ReasonRouteContested, message)
}
