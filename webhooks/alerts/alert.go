// Package alerts tells people in chats what happens to releases: an Alert says it all as a value, Compose turns it into
// a Message without a platform, a Sender puts that into the form of one platform, and the Dispatcher sends it beside
// what moves traffic, in order, bounded, rate limited and with retries.
//
// Slack's Web API is spoken by github.com/slack-go/slack. The other platforms are one POST of one JSON document; a
// library for all of them, such as shoutrrr, sends a line of text to each, and has neither threads nor cards, which are
// what makes one release one conversation.
package alerts

import (
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Alert is everything that one message says.
type Alert struct {
	// Cluster is the name of the cluster, empty where the operator was given none.
	Cluster string
	// Namespace and Name are those of the Canary.
	Namespace, Name string
	// TargetKind and TargetName name the workload that is released.
	TargetKind, TargetName string

	// Severity says who wants to hear of it.
	Severity v1beta1.AlertSeverity
	// Reason is a PascalCase word for machines, that of the Canary's event.
	Reason string
	// Title says in a few words what happened, such as "Rolled back".
	Title string
	// Text says it in a sentence.
	Text string

	// Revision identifies what is released, empty where nothing was yet.
	Revision string
	// From and To are the images before and after the release. From is empty where it is not known.
	From, To string

	// Phase of the Canary.
	Phase v1beta1.CanaryPhase
	// Weight is the canary's share in percent, 0 to 100.
	Weight int32
	// Step is the step that the release has come to, from 1, of Steps; 0 while it is at none.
	Step, Steps int32
	// FailedChecks is how many rounds of checks have failed, of Threshold at which the release is rolled back.
	FailedChecks, Threshold int32
	// Checks are the checks that speak against the release, with value and range.
	Checks []v1beta1.CheckStatus
	// Started is when the release began, zero where that is not known.
	Started time.Time
	// Time is when it happened.
	Time time.Time

	// Release identifies the release: all its messages are one conversation. Empty for what belongs to none.
	Release string
	// Final is true for the message that ends a release.
	Final bool
	// Links lead to more, such as a dashboard.
	Links []Link
	// Choices are what a person can do about it, for receivers whose buttons reach the operator.
	Choices []Choice
}

// Choice is a button by which a person acts.
type Choice struct {
	// Name is what people press.
	Name string
	// Value comes back to the operator when it is pressed. It is at most 2,000 characters.
	Value string
	// Question is what people are asked before.
	Question string
	// Dangerous is true for one that ends a release.
	Dangerous bool
}

// Link leads to more.
type Link struct {
	// Name is what people click on.
	Name string `json:"name"`
	// URL is http or https.
	URL string `json:"url"`
}
