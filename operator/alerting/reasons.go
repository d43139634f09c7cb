// Package alerting turns what the reconciler tells into alerts and finds out who wants them.
package alerting

import (
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// rule says what becomes of an event.
type rule struct {
	// title says it in a few words. Empty: no alert.
	title string
	// severity of the alert.
	severity v1beta1.AlertSeverity
	// rolledBack is the severity where the event ended the release by a rollback, and where it is none, severity.
	rolledBack v1beta1.AlertSeverity
	// inRelease is the severity while a release is under way, and where it is none, severity.
	inRelease v1beta1.AlertSeverity
	// ends is true for what ends a release without a rollback.
	ends bool
}

// quiet is for what is told elsewhere, and needs nobody.
var quiet = rule{}

// mistake is for what only the user can mend: while a release is under way it holds that up.
var mistake = rule{title: "Mistake in the Canary", severity: v1beta1.SeverityWarn, inRelease: v1beta1.SeverityError}

// rules has an entry for every reason: error for a release that failed or halted, or users who may be without service;
// warn for what waits for a person or speaks against a release; info for a release that begins, ends well, or goes on.
var rules = map[string]rule{
	release.ReasonInitializing: quiet,
	release.ReasonInitialized:  {title: "Initialized", severity: v1beta1.SeverityInfo},

	release.ReasonNewRevision:   {title: "New revision", severity: v1beta1.SeverityInfo},
	release.ReasonRetried:       {title: "Tried again", severity: v1beta1.SeverityInfo},
	release.ReasonStepStarted:   quiet,
	release.ReasonWeightRaised:  quiet,
	release.ReasonWeightLowered: quiet,
	release.ReasonPlanChanged:   {title: "Analysis begins anew", severity: v1beta1.SeverityWarn},
	release.ReasonPromoting:     quiet,
	release.ReasonPromoted:      {title: "Promoted", severity: v1beta1.SeverityInfo, ends: true},
	release.ReasonReverted:      {title: "Called off", severity: v1beta1.SeverityInfo, ends: true},

	release.ReasonGateClosed: {title: "Waiting at a gate", severity: v1beta1.SeverityWarn},
	release.ReasonGateOpened: {title: "Gate open", severity: v1beta1.SeverityInfo},
	release.ReasonStepEnded:  {title: "Step ended by hand", severity: v1beta1.SeverityInfo},
	release.ReasonPaused:     {title: "Paused", severity: v1beta1.SeverityInfo},
	release.ReasonResumed:    {title: "Resumed", severity: v1beta1.SeverityInfo},
	release.ReasonSuspended:  {title: "Suspended", severity: v1beta1.SeverityInfo},

	release.ReasonAdmitted:         quiet,
	release.ReasonAdmissionRevoked: {title: "Waiting for its turn again", severity: v1beta1.SeverityInfo},
	release.ReasonApproved:         {title: "Begins by approval", severity: v1beta1.SeverityInfo},
	release.ReasonFrozen:           {title: "Waiting: releases are frozen", severity: v1beta1.SeverityInfo},
	release.ReasonWindowClosed:     {title: "Waiting for a window", severity: v1beta1.SeverityInfo},
	release.ReasonMaximumReached:   {title: "Waiting for its turn", severity: v1beta1.SeverityInfo},
	release.ReasonPolicyInvalid:    {title: "Release policy invalid", severity: v1beta1.SeverityWarn},
	release.ReasonPoliciesUnread:   quiet,

	release.ReasonCheckFailed:       {title: "Check failed", severity: v1beta1.SeverityWarn},
	release.ReasonNotMeasured:       {title: "Not measured", severity: v1beta1.SeverityWarn, rolledBack: v1beta1.SeverityError},
	release.ReasonChecksUnavailable: {title: "Checks unavailable", severity: v1beta1.SeverityWarn, rolledBack: v1beta1.SeverityError},
	release.ReasonHookFailed:        {title: "Hook failed", severity: v1beta1.SeverityWarn},
	release.ReasonAnalysisFailed:    {title: "Analysis failed", severity: v1beta1.SeverityError},
	release.ReasonComparing:         quiet,
	release.ReasonCanaryWorse:       {title: "Canary worse than the primary", severity: v1beta1.SeverityError},
	release.ReasonNoEvidence:        {title: "Too little evidence", severity: v1beta1.SeverityWarn, rolledBack: v1beta1.SeverityError},
	release.ReasonRouteRefused:      {title: "Route refused", severity: v1beta1.SeverityError},
	release.ReasonDeadlineExceeded:  {title: "Deadline exceeded", severity: v1beta1.SeverityError},
	release.ReasonGateDeadline:      {title: "Gate not opened", severity: v1beta1.SeverityError},
	release.ReasonAborted:           {title: "Aborted", severity: v1beta1.SeverityWarn},
	release.ReasonRollbackAsked:     {title: "Rollback asked for", severity: v1beta1.SeverityWarn},
	release.ReasonRolledBack:        {title: "Primary set back", severity: v1beta1.SeverityWarn},
	release.ReasonPrimaryRestored:   {title: "Primary as before", severity: v1beta1.SeverityInfo},
	release.ReasonRollbackHalted:    {title: "Rollback halted", severity: v1beta1.SeverityError},
	release.ReasonActionRefused:     {title: "Action refused", severity: v1beta1.SeverityWarn},

	release.ReasonPromotionHalted:    {title: "Promotion halted", severity: v1beta1.SeverityError},
	release.ReasonMeshUnreachable:    {title: "Mesh unreachable", severity: v1beta1.SeverityWarn, inRelease: v1beta1.SeverityError},
	release.ReasonPrimaryMissing:     {title: "Primary missing", severity: v1beta1.SeverityError},
	release.ReasonPrimaryUnavailable: {title: "Primary unavailable", severity: v1beta1.SeverityError},
	release.ReasonPrimaryRecovered:   {title: "Primary recovered", severity: v1beta1.SeverityInfo},
	release.ReasonCanaryUnavailable:  {title: "Canary unavailable", severity: v1beta1.SeverityWarn},
	release.ReasonApplyFailed:        {title: "Can't be carried out", severity: v1beta1.SeverityWarn, inRelease: v1beta1.SeverityError},

	release.ReasonNotCovered:     {title: "Primary not covered", severity: v1beta1.SeverityWarn},
	release.ReasonCovered:        quiet,
	release.ReasonTargetScaledUp: {title: "Target scaled up", severity: v1beta1.SeverityWarn},
	release.ReasonRouteContested: {title: "Route contested", severity: v1beta1.SeverityWarn},
	release.ReasonFieldsIgnored:  quiet,
	release.ReasonMeasured:       quiet,
	release.ReasonTerminating:    quiet,
	release.ReasonRemoved:        {title: "Removed with its target", severity: v1beta1.SeverityInfo},
	release.ReasonLeftBehind:     {title: "Left behind by a deletion", severity: v1beta1.SeverityError},

	"InvalidSpec":       mistake,
	"UnknownProvider":   mistake,
	"MeshNotInstalled":  mistake,
	"TargetMissing":     mistake,
	"TargetUnsupported": mistake,
	"TargetShared":      mistake,
	"NoSelectorLabel":   mistake,
	"ObjectConflict":    mistake,
	"AutoscalerMissing": mistake,
	"AutoscalerInvalid": mistake,
	"KEDANotInstalled":  mistake,
	"ImmutableField":    mistake,
	"ConfigsUnreadable": mistake,
}

// unknown is for a warning with a reason that has no rule, as that of a mistake which is newer than the table: better
// one alert too many.
var unknown = rule{title: "Warning", severity: v1beta1.SeverityWarn, rolledBack: v1beta1.SeverityError, inRelease: v1beta1.SeverityError}

// ruleOf is what becomes of an event.
func ruleOf(e release.Event) rule {
	if r, ok := rules[e.Reason]; ok {
		return r
	}
	if e.Warning {
		return unknown
	}
	return quiet
}

// severityOf is how bad an event is at this point of a release.
func (r rule) severityOf(rolledBack, inRelease bool) v1beta1.AlertSeverity {
	switch {
	case rolledBack && r.rolledBack != "":
		return r.rolledBack
	case inRelease && r.inRelease != "":
		return r.inRelease
	default:
		return r.severity
	}
}
