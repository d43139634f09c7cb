package httpjson

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"sort"
	"strings"

	"github.com/sluice-delivery/sluice/metrics"
)

// secrets are texts that must not be repeated, longest first.
type secrets []string

// minSecret is the shortest text that is taken for a credential: shorter ones
// are names of projects, schemes and the like, and occur in any sentence.
const minSecret = 6

// secretsOf collects what may be a credential: the values of the Secret and
// the words in headers.
func secretsOf(c metrics.Config, headers http.Header) secrets {
	var s secrets
	for _, v := range c.Secret {
		s = append(s, strings.TrimSpace(string(v)))
	}
	for name, values := range headers {
		switch name {
		case "Accept", "Content-Type", "User-Agent", "Host":
			continue
		}
		for _, v := range values {
			s = append(s, strings.Fields(v)...)
			s = append(s, basicAuth(v)...)
		}
	}
	for _, v := range s {
		s = append(s, url.QueryEscape(v))
	}
	kept := s[:0]
	for _, v := range s {
		if len(v) >= minSecret {
			kept = append(kept, v)
		}
	}
	sort.Slice(kept, func(i, j int) bool { return len(kept[i]) > len(kept[j]) })
	return kept
}

func (s secrets) redact(text string) string {
	for _, v := range s {
		text = strings.ReplaceAll(text, v, "***")
	}
	return text
}

func (s secrets) in(text string) bool { return s.redact(text) != text }

func setBasicAuth(h http.Header, user, password string) {
	h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

// basicAuth returns the password in the value of an Authorization header.
func basicAuth(header string) []string {
	encoded, ok := strings.CutPrefix(header, "Basic ")
	if !ok {
		return nil
	}
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil
	}
	_, password, _ := strings.Cut(string(decoded), ":")
	return []string{password}
}
