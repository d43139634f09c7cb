// Package spec says what of a Canary's spec can't be carried out, from the spec and from the objects that it names. What
// the CRD's schema refuses does not come here.
package spec

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

const (
	// maxRegex is how long a regular expression may be. Proxies refuse much shorter ones that need many steps.
	maxRegex = 1024
	// maxFilters is how many filters the Gateway API has a rule carry.
	maxFilters = 16
)

// InvalidRequests says what in the description of requests no mesh takes, empty if nothing is: an error of the mesh would come
// when the route is first written, or in the proxies.
func InvalidRequests(c *v1beta1.Canary, provider string) string {
	s := &c.Spec.Service
	for _, x := range []struct {
		field string
		all   []v1beta1.RawObject
	}{{"spec.service.match", s.Match}, {"spec.analysis.match", c.GetAnalysis().Match}} {
		for i := range x.all {
			if message := invalidMatch(&x.all[i], conditionsOf(provider)); message != "" {
				return fmt.Sprintf("%s[%d].%s", x.field, i, message)
			}
		}
	}
	if message := invalidHeaders(s.Headers); message != "" {
		return "spec.service.headers." + message
	}
	for _, x := range []struct {
		field string
		raw   *v1beta1.RawObject
	}{{"rewrite", s.Rewrite}, {"retries", s.Retries}, {"corsPolicy", s.CorsPolicy}, {"trafficPolicy", s.TrafficPolicy}} {
		var all any
		if x.raw.Decode(&all) != nil {
			continue // its router tells what it must be
		}
		if message := invalidTexts(all); message != "" {
			return "spec.service." + x.field + message
		}
	}
	if strings.HasPrefix(provider, v1beta1.ProviderGatewayAPIAny) {
		return invalidForGateways(s)
	}
	return ""
}

// conditionsOf are what the requests of a provider may be told apart by: Istio's, which has none for the end of a text, and
// for the meshes that have one and that Flagger gives it to, also that.
func conditionsOf(provider string) []string {
	switch provider {
	case v1beta1.ProviderContour, v1beta1.ProviderAPISIX, v1beta1.ProviderKuma, v1beta1.ProviderSkipper:
		return []string{"exact", "prefix", "suffix", "regex"}
	default:
		return []string{"exact", "prefix", "regex"}
	}
}

// invalidMatch looks at all conditions of an HTTPMatchRequest.
func invalidMatch(raw *v1beta1.RawObject, known []string) string {
	var match map[string]json.RawMessage
	if raw.Decode(&match) != nil {
		return "" // its router tells what it must be
	}
	for _, name := range slices.Sorted(maps.Keys(match)) {
		switch name {
		case "uri", "scheme", "method", "authority":
			if message := invalidCondition(match[name], known); message != "" {
				return name + message
			}
		case "headers", "withoutHeaders", "queryParams":
			var all map[string]json.RawMessage
			_ = json.Unmarshal(match[name], &all)
			for _, key := range slices.Sorted(maps.Keys(all)) {
				if name != "queryParams" && !headerName.MatchString(key) {
					return fmt.Sprintf("%s: %q is no name of a header", name, key)
				}
				if message := invalidCondition(all[key], known); message != "" {
					return fmt.Sprintf("%s[%q]%s", name, key, message)
				}
			}
		}
	}
	return ""
}

func invalidCondition(raw json.RawMessage, known []string) string {
	var condition map[string]any
	if json.Unmarshal(raw, &condition) != nil {
		return ""
	}
	last := len(known) - 1
	allowed := strings.Join(known[:last], ", ") + " and " + known[last]
	kinds := slices.DeleteFunc(slices.Clone(known), func(kind string) bool { return condition[kind] == nil })
	if len(kinds) > 1 {
		return ": " + strings.Join(kinds, " and ") + " at once; allowed: one of " + allowed
	}
	for _, kind := range slices.Sorted(maps.Keys(condition)) {
		if !slices.Contains(known, kind) {
			return fmt.Sprintf(": there is no condition %q; allowed: %s", kind, allowed)
		}
	}
	return invalidTexts(condition)
}

// invalidTexts looks for what no text may have, in all that JSON has: several lines, and, by the name regex, what is no
// regular expression. The message begins with where it is.
func invalidTexts(of any) string {
	switch of := of.(type) {
	case string:
		if strings.ContainsFunc(of, unicode.IsControl) {
			return fmt.Sprintf(": %q has a line break or another control character; allowed: text in one line", shortened(of))
		}
	case []any:
		for i, item := range of {
			if message := invalidTexts(item); message != "" {
				return fmt.Sprintf("[%d]%s", i, message)
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(of)) {
			message := invalidTexts(of[key])
			if expr, ok := of[key].(string); ok && message == "" && key == "regex" {
				message = invalidRegex(expr)
			}
			if message != "" {
				return "." + key + message
			}
		}
	}
	return ""
}

func invalidRegex(expr string) string {
	if len(expr) > maxRegex {
		return fmt.Sprintf(": it has %d characters; allowed: %d", len(expr), maxRegex)
	}
	if _, err := regexp.Compile(expr); err != nil {
		return fmt.Sprintf(": %v; allowed: a regular expression of RE2", err)
	}
	return ""
}

// shortened is the beginning of a text that a message quotes.
func shortened(s string) string { return v1beta1.OneLine(s, 80) }

// invalidHeaders looks at Istio's Headers.
func invalidHeaders(raw *v1beta1.RawObject) string {
	var all map[string]struct {
		Set, Add map[string]string
		Remove   []string
	}
	if raw.Decode(&all) != nil {
		return ""
	}
	for _, of := range slices.Sorted(maps.Keys(all)) {
		h := all[of]
		for _, x := range []struct {
			name string
			of   map[string]string
		}{{"set", h.Set}, {"add", h.Add}} {
			for _, name := range slices.Sorted(maps.Keys(x.of)) {
				if !headerName.MatchString(name) || strings.ContainsFunc(x.of[name], unicode.IsControl) {
					return fmt.Sprintf("%s.%s[%q]: no header; allowed: a name of letters, digits and - and the like, and a value in one line", of, x.name, name)
				}
			}
		}
		for _, name := range h.Remove {
			if !headerName.MatchString(name) {
				return fmt.Sprintf("%s.remove: %q is no name of a header", of, name)
			}
		}
	}
	return ""
}

// headerName is that of RFC 9110, 5.6.2, with what HTTP/2 and Envoy have beside it.
var headerName = regexp.MustCompile("^:?[-!#$%&'*+.^_`|~0-9A-Za-z]+$")

// invalidForGateways looks for what the Gateway API's own rules refuse.
func invalidForGateways(s *v1beta1.CanaryService) string {
	request, requestErr := time.ParseDuration(s.Timeout)
	backend, backendErr := time.ParseDuration(s.BackendTimeout)
	if requestErr == nil && backendErr == nil && request > 0 && backend > request {
		return fmt.Sprintf("spec.service.backendTimeout: %s is above spec.service.timeout, %s; a try is a part of the request", s.BackendTimeout, s.Timeout)
	}
	if len(s.Mirror) > maxFilters {
		return fmt.Sprintf("spec.service.mirror: %d mirrors; allowed: %d", len(s.Mirror), maxFilters)
	}
	for i, a := range s.GatewayRefs {
		for _, b := range s.GatewayRefs[:i] {
			if sameObject(a, b) && !apartFrom(a.SectionName, b.SectionName) && !apartFrom(a.Port, b.Port) {
				return fmt.Sprintf("spec.service.gatewayRefs[%d]: %s is there already; allowed once, or with another sectionName or port each time", i, a.Name)
			}
		}
	}
	return ""
}

func sameObject(a, b v1beta1.ParentReference) bool {
	return a.Name == b.Name && same(a.Kind, b.Kind) && same(a.Group, b.Group) && same(a.Namespace, b.Namespace)
}

// apartFrom tells of two parts of one object that they are not the same: each says which it is.
func apartFrom[T comparable](a, b *T) bool { return a != nil && b != nil && *a != *b }

func same(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
