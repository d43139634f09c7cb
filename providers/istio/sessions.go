package istio

import (
	"strings"

	networking "istio.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/providers/internal/affinity"
)

const (
	cookieHeader    = affinity.CookieHeader
	setCookieHeader = affinity.SetCookieHeader
)

// fitsHeader matches headers of which the regular expression fits the whole.
func fitsHeader(regex string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: regex}}
}

// literal is a header's value as Envoy has to be told it: it expands what stands
// between percent signs.
func literal(value string) string { return strings.ReplaceAll(value, "%", "%%") }
