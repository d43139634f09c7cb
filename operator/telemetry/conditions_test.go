package telemetry_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// A condition that tells of trouble has a series for as long as it does, before a Canary ever began too.
func TestConditions(t *testing.T) {
	d := newDesk()
	c := newCanary()
	with := func(version string, conditions ...v1beta1.CanaryCondition) {
		c.ResourceVersion, c.Status.Conditions = version, conditions
		d.Observe(c.Canary)
	}
	with("1",
		v1beta1.CanaryCondition{Type: v1beta1.ConditionStalled, Status: corev1.ConditionTrue, Reason: "InvalidSpec"},
		v1beta1.CanaryCondition{Type: v1beta1.ConditionApplied, Status: corev1.ConditionTrue, Reason: "Applied"},
		v1beta1.CanaryCondition{Type: v1beta1.ConditionMeasured, Status: corev1.ConditionFalse, Reason: "NoSeries"},
		v1beta1.CanaryCondition{Type: v1beta1.ConditionPromoted, Status: corev1.ConditionFalse, Reason: "Failed"},
	)
	d.want(t, `
# TYPE sluice_canary_condition gauge
sluice_canary_condition{canary="release",namespace="test",reason="InvalidSpec",type="Stalled"} 1
sluice_canary_condition{canary="release",namespace="test",reason="NoSeries",type="Measured"} 1`, "sluice_canary_condition")
	with("2", v1beta1.CanaryCondition{Type: v1beta1.ConditionStalled, Status: corev1.ConditionTrue, Reason: "TargetMissing"})
	d.want(t, `
# TYPE sluice_canary_condition gauge
sluice_canary_condition{canary="release",namespace="test",reason="TargetMissing",type="Stalled"} 1`, "sluice_canary_condition")
	d.Forget(client.ObjectKeyFromObject(c.Canary))
	if left := d.scrape(t, "sluice_canary_condition"); len(left) > 0 {
		t.Errorf("of a Canary that is gone there is %q", left)
	}
	with("4",
		v1beta1.CanaryCondition{Type: v1beta1.ConditionAdmitted, Status: corev1.ConditionFalse, Reason: "Frozen"},
		v1beta1.CanaryCondition{Type: v1beta1.ConditionRouteContested, Status: corev1.ConditionTrue, Reason: "RouteContested"},
	)
	d.want(t, `
# TYPE sluice_canary_condition gauge
sluice_canary_condition{canary="release",namespace="test",reason="Frozen",type="Admitted"} 1
sluice_canary_condition{canary="release",namespace="test",reason="RouteContested",type="RouteContested"} 1`, "sluice_canary_condition")
	with("5", v1beta1.CanaryCondition{Type: v1beta1.ConditionAdmitted, Status: corev1.ConditionTrue, Reason: "Admitted"})
	with("6", v1beta1.CanaryCondition{Type: v1beta1.ConditionCovered, Status: corev1.ConditionFalse, Reason: "NotCovered"})
	with("7", v1beta1.CanaryCondition{Type: v1beta1.ConditionCovered, Status: corev1.ConditionTrue, Reason: "Covered"})
	if left := d.scrape(t, "sluice_canary_condition"); len(left) > 0 {
		t.Errorf("of a Canary that is well there is %q", left)
	}
}

// A release that waits at a gate has a series for as long as it does.
func TestGates(t *testing.T) {
	d := newDesk()
	c := newCanary()
	with := func(version string, gate *v1beta1.GateStatus) {
		c.ResourceVersion, c.Status.Gate = version, gate
		d.Observe(c.Canary)
	}
	with("1", &v1beta1.GateStatus{Type: v1beta1.ConfirmPromotionHook})
	d.want(t, `
# TYPE sluice_gate_closed gauge
sluice_gate_closed{canary="release",namespace="test",type="confirm-promotion"} 1`, "sluice_gate_closed")
	with("2", nil)
	if left := d.scrape(t, "sluice_gate_closed"); len(left) > 0 {
		t.Errorf("of a gate that is open there is %q", left)
	}
	with("3", &v1beta1.GateStatus{Type: v1beta1.ConfirmRolloutHook})
	d.Forget(client.ObjectKeyFromObject(c.Canary))
	if left := d.scrape(t, "sluice_gate_closed"); len(left) > 0 {
		t.Errorf("of a Canary that is gone there is %q", left)
	}
}
