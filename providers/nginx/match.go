package nginx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// match is which requests go to the canary, as ingress-nginx can say it: those with a header
// of a value or of a pattern, and those with a cookie whose value is "always".
type match struct {
	header, value, pattern, cookie string
}

// condition is one of spec.analysis.match: Istio's, of which only headers can be served.
type condition struct {
	Headers map[string]stringMatch `json:"headers"`
}

type stringMatch struct {
	Exact  string `json:"exact,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	Suffix string `json:"suffix,omitempty"`
	Regex  string `json:"regex,omitempty"`
}

// matchOf reads spec.analysis.match. Several entries are alternatives: one may be a header and one
// a cookie, as in Flagger, where "exact" of the header cookie is the name of the cookie.
func matchOf(a *v1beta1.CanaryAnalysis) (match, error) {
	var out match
	for i, raw := range a.Match {
		field := fmt.Sprintf("spec.analysis.match[%d]", i)
		var c condition
		d := json.NewDecoder(bytes.NewReader(raw.Raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&c); err != nil {
			return match{}, unsupported(field, fmt.Sprintf("ingress-nginx tells requests apart by one header or cookie only (%v)", err))
		}
		if len(c.Headers) != 1 {
			return match{}, unsupported(field+".headers", fmt.Sprintf("ingress-nginx needs exactly one header in each entry, and there are %d", len(c.Headers)))
		}
		for name, m := range c.Headers {
			field := field + ".headers." + name
			var err error
			if strings.EqualFold(name, "cookie") {
				err = out.addCookie(field, m)
			} else {
				err = out.addHeader(field, name, m)
			}
			if err != nil {
				return match{}, err
			}
		}
	}
	return out, nil
}

func (m *match) addCookie(field string, is stringMatch) error {
	switch {
	case is.Exact == "" || is != (stringMatch{Exact: is.Exact}) || strings.ContainsAny(is.Exact, "=; "):
		return &providers.InvalidError{
			Field: field, Value: is.Exact + is.Prefix + is.Suffix + is.Regex,
			Allowed: `exact, with the name of a cookie; users for whom its value is "always" go to the canary`,
		}
	case m.cookie != "" && m.cookie != is.Exact:
		return unsupported(field, "ingress-nginx takes one cookie, and "+m.cookie+" is another")
	}
	m.cookie = is.Exact
	return nil
}

func (m *match) addHeader(field, name string, is stringMatch) error {
	next := match{header: name}
	set := 0
	for _, how := range []struct {
		is      string
		value   string
		pattern string
	}{
		{is.Exact, is.Exact, ""},
		{is.Regex, "", is.Regex},
		{is.Prefix, "", "^" + regexp.QuoteMeta(is.Prefix)},
		{is.Suffix, "", regexp.QuoteMeta(is.Suffix) + "$"},
	} {
		if how.is != "" {
			set++
			next.value, next.pattern = how.value, how.pattern
		}
	}
	switch {
	case set != 1:
		return &providers.InvalidError{Field: field, Allowed: "one of exact, prefix, suffix and regex"}
	case m.header != "" && (m.header != name || m.value != next.value || m.pattern != next.pattern):
		return unsupported(field, "ingress-nginx takes one header, and "+m.header+" is another condition")
	}
	m.header, m.value, m.pattern = next.header, next.value, next.pattern
	return nil
}
