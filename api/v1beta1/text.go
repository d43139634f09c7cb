package v1beta1

import "github.com/sluice-delivery/sluice/api/oneline"

// MaxConditionMessage is how many bytes the message of a condition may have.
const MaxConditionMessage = 4096

// Says tells whether the condition has a message, as far as conditions hold it. No condition says nothing.
func (c *CanaryCondition) Says(message string) bool {
	return c != nil && c.Message == OneLine(message, MaxConditionMessage)
}

// OneLine makes text that was written elsewhere fit to be shown, see package oneline.
func OneLine(s string, limit int) string { return oneline.Of(s, limit) }
