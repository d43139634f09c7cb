package alerts

import "github.com/sluice-delivery/sluice/api/v1beta1"

// rank orders severities; one that is not known, which the CRD's schema refuses, is told to all.
func rank(s v1beta1.AlertSeverity) int {
	switch s {
	case v1beta1.SeverityWarn:
		return 1
	case v1beta1.SeverityError:
		return 2
	case v1beta1.SeverityInfo:
	}
	return 0
}

// Wants tells whether someone who asked for alerts from a severity on gets one of another severity: info, or empty, gets
// all, warn gets warn and error, error gets error only.
func Wants(from, severity v1beta1.AlertSeverity) bool { return rank(severity) >= rank(from) }

// Select says where an alert goes: to those of a Canary's own alerts that want it, in their order. A Canary that has
// none of its own leaves it to the operator's global receivers, which get everything.
func Select(own []v1beta1.CanaryAlert, severity v1beta1.AlertSeverity) (wanted []v1beta1.CanaryAlert, global bool) {
	for _, a := range own {
		if Wants(a.Severity, severity) {
			wanted = append(wanted, a)
		}
	}
	return wanted, len(own) == 0
}
