package istio

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	networking "istio.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

const (
	cookieHeader    = "cookie"
	setCookieHeader = "set-cookie"

	defaultCookieAge = 86400 // seconds
)

var (
	cookieToken     = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
	cookieAttribute = regexp.MustCompile("^[ -:<-~]*$")
)

// cookies makes what routes say about the cookies of session affinity.
type cookies struct {
	affinity *v1beta1.SessionAffinity
	sessions providers.Sessions
}

func cookiesOf(c *v1beta1.Canary, sessions providers.Sessions) (cookies, error) {
	k := cookies{affinity: c.GetAnalysis().SessionAffinity, sessions: sessions}
	if sessions.Canary == "" && sessions.Ended == "" {
		return k, nil
	}
	const field = "spec.analysis.sessionAffinity"
	if k.affinity == nil {
		return k, &providers.InvalidError{Field: field, Value: "", Allowed: "the route keeps sessions: it must be set"}
	}
	for _, f := range []struct {
		name, value string
		allowed     *regexp.Regexp
	}{
		{"cookieName", k.affinity.CookieName, cookieToken},
		{"primaryCookieName", k.primaryName(), cookieToken},
		{"domain", k.affinity.Domain, cookieAttribute},
		{"path", k.affinity.Path, cookieAttribute},
	} {
		if !f.allowed.MatchString(f.value) {
			return k, &providers.InvalidError{Field: field + "." + f.name, Value: shorten(f.value), Allowed: "it must match " + f.allowed.String()}
		}
	}
	if k.affinity.CookieName == k.primaryName() {
		return k, &providers.InvalidError{Field: field + ".primaryCookieName", Value: k.primaryName(), Allowed: "it must differ from cookieName"}
	}
	return k, nil
}

// primaryName is always a name: were users of the primary not marked, each step would
// draw from all of them again, and the canary's share of users would grow above the weight.
func (k cookies) primaryName() string {
	if k.affinity.PrimaryCookieName != "" {
		return k.affinity.PrimaryCookieName
	}
	return k.affinity.CookieName + "-primary"
}

// primaryValue ends in what tells this release from others, of whose cookies
// browsers may still have some.
func (k cookies) primaryValue() string { return k.sessions.Primary + "." + k.release() }

func (k cookies) release() string {
	sum := sha256.Sum256([]byte(k.sessions.Canary))
	return hex.EncodeToString(sum[:4])
}

func (k cookies) isCanary() *networking.StringMatch {
	return hasCookie(k.affinity.CookieName, regexp.QuoteMeta(k.sessions.Canary))
}

func (k cookies) isEnded() *networking.StringMatch {
	return hasCookie(k.affinity.CookieName, regexp.QuoteMeta(k.sessions.Ended))
}

// isPrimary fits users who were sent to the primary at this step, wasPrimary those
// who were at any step of this release.
func (k cookies) isPrimary() *networking.StringMatch {
	return hasCookie(k.primaryName(), regexp.QuoteMeta(k.primaryValue()))
}

func (k cookies) wasPrimary() *networking.StringMatch {
	return hasCookie(k.primaryName(), `[^;]*\.`+k.release())
}

func (k cookies) markCanary() string {
	return k.set(k.affinity.CookieName, k.sessions.Canary, k.age())
}
func (k cookies) markPrimary() string { return k.set(k.primaryName(), k.primaryValue(), k.age()) }
func (k cookies) drop() string        { return k.set(k.affinity.CookieName, k.sessions.Ended, 0) }

func (k cookies) age() int32 {
	if k.affinity.MaxAge == 0 {
		return defaultCookieAge
	}
	return k.affinity.MaxAge
}

// set is the value of the Set-Cookie header. Without a path a browser would send
// the cookie only below the path of the page that it got it with, and the user
// would lose his version on the next one.
func (k cookies) set(name, value string, age int32) string {
	a := k.affinity
	parts := []string{name + "=" + value}
	if a.Domain != "" {
		parts = append(parts, "Domain="+a.Domain)
	}
	if a.HTTPOnly {
		parts = append(parts, "HttpOnly")
	}
	parts = append(parts, fmt.Sprintf("Max-Age=%d", age))
	if a.Partitioned {
		parts = append(parts, "Partitioned")
	}
	parts = append(parts, "Path="+either(a.Path, "/"))
	if a.SameSite != "" {
		parts = append(parts, "SameSite="+a.SameSite)
	}
	if a.Secure {
		parts = append(parts, "Secure")
	}
	// Envoy expands what stands between percent signs.
	return strings.ReplaceAll(strings.Join(parts, "; "), "%", "%%")
}

// hasCookie fits the Cookie header that has exactly this cookie among others.
// Envoy matches the whole header.
func hasCookie(name, value string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Regex{
		Regex: `(.*;\s*)?` + regexp.QuoteMeta(name) + `=` + value + `\s*(;.*)?`,
	}}
}
