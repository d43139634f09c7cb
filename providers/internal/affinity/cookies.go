// Package affinity has the cookies by which users stay on a version, for every
// router that can match and set them.
package affinity

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// Names of the headers that carry cookies, in lower case.
const (
	CookieHeader    = "cookie"
	SetCookieHeader = "set-cookie"
)

const (
	defaultCookieAge = 86400 // seconds

	field = "spec.analysis.sessionAffinity"
)

var (
	cookieToken     = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
	cookieAttribute = regexp.MustCompile("^[ -:<-~]*$")
)

// Cookies makes what routes say about the cookies of session affinity.
type Cookies struct {
	// Sessions are the values; the zero value keeps nobody anywhere.
	Sessions providers.Sessions

	affinity *v1beta1.SessionAffinity
}

// New returns the cookies of a Canary. The error is a *providers.InvalidError
// for a name or an attribute that no cookie can have.
func New(c *v1beta1.Canary, sessions providers.Sessions) (Cookies, error) {
	k := Cookies{affinity: c.GetAnalysis().SessionAffinity, Sessions: sessions}
	if sessions.Canary == "" && sessions.Ended == "" {
		return k, nil
	}
	if k.affinity == nil {
		return k, &providers.InvalidError{Field: field, Value: "", Allowed: "the route keeps sessions: it must be set"}
	}
	for _, f := range []struct {
		name, value string
		allowed     *regexp.Regexp
	}{
		{"cookieName", k.affinity.CookieName, cookieToken},
		{"primaryCookieName", k.affinity.GetPrimaryCookieName(), cookieToken},
		{"domain", k.affinity.Domain, cookieAttribute},
		{"path", k.affinity.Path, cookieAttribute},
	} {
		if !f.allowed.MatchString(f.value) {
			return k, &providers.InvalidError{Field: field + "." + f.name, Value: shorten(f.value), Allowed: "it must match " + f.allowed.String()}
		}
	}
	if k.affinity.CookieName == k.affinity.GetPrimaryCookieName() {
		return k, &providers.InvalidError{Field: field + ".primaryCookieName", Value: k.affinity.CookieName, Allowed: "it must differ from cookieName"}
	}
	return k, nil
}

// IsCanary is a regular expression that fits the whole Cookie header of a user of
// the canary, as the others do of other users.
func (k Cookies) IsCanary() string {
	return hasCookie(k.affinity.CookieName, regexp.QuoteMeta(k.Sessions.Canary))
}

// IsEnded fits users of the canary of an earlier release.
func (k Cookies) IsEnded() string {
	return hasCookie(k.affinity.CookieName, regexp.QuoteMeta(k.Sessions.Ended))
}

// IsPrimary fits users who were sent to the primary at this step.
func (k Cookies) IsPrimary() string {
	return hasCookie(k.affinity.GetPrimaryCookieName(), regexp.QuoteMeta(k.primaryValue()))
}

// WasPrimary fits users who were sent to the primary at any step of this release.
func (k Cookies) WasPrimary() string {
	return hasCookie(k.affinity.GetPrimaryCookieName(), `[^;]*\.`+k.release())
}

// MarkCanary is the value of a Set-Cookie header that makes a user one of the canary.
func (k Cookies) MarkCanary() string {
	return k.set(k.affinity.CookieName, k.Sessions.Canary, k.age())
}

// MarkPrimary is the value of a Set-Cookie header that makes a user one of the
// primary at this step.
func (k Cookies) MarkPrimary() string {
	return k.set(k.affinity.GetPrimaryCookieName(), k.primaryValue(), k.age())
}

// Drop is the value of a Set-Cookie header by which a browser forgets an earlier release.
func (k Cookies) Drop() string { return k.set(k.affinity.CookieName, k.Sessions.Ended, -1) }

// primaryValue ends in what tells this release from others, of whose cookies
// browsers may still have some.
func (k Cookies) primaryValue() string { return k.Sessions.Primary + "." + k.release() }

func (k Cookies) release() string {
	sum := sha256.Sum256([]byte(k.Sessions.Canary))
	return hex.EncodeToString(sum[:4])
}

func (k Cookies) age() int32 {
	if k.affinity.MaxAge == 0 {
		return defaultCookieAge
	}
	return k.affinity.MaxAge
}

// set is the value of the Set-Cookie header. Without a path a browser would send
// the cookie only below the path of the page that it got it with, and the user
// would lose his version on the next one.
func (k Cookies) set(name, value string, age int32) string {
	a := k.affinity
	path := a.Path
	if path == "" {
		path = "/"
	}
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
	parts = append(parts, "Path="+path)
	if a.SameSite != "" {
		parts = append(parts, "SameSite="+a.SameSite)
	}
	if a.Secure {
		parts = append(parts, "Secure")
	}
	return strings.Join(parts, "; ")
}

// hasCookie fits the Cookie header that has exactly this cookie among others.
// Proxies match the whole header.
func hasCookie(name, value string) string {
	return `(.*;\s*)?` + regexp.QuoteMeta(name) + `=` + value + `\s*(;.*)?`
}

func shorten(s string) string {
	const limit = 80
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}
