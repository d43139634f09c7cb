package webhooks

import (
	"net/http"
	"net/url"
)

// maxRedirects is how often a call follows.
const maxRedirects = 3

// hop is one request of a call.
type hop struct {
	url    *url.URL
	method string
	// own says that only the endpoint that the hook names has been involved: no other gets its credentials.
	own bool
}

// follow returns the hop to which an answer redirects, or nil if the answer is not to be followed but is the answer
// itself. As everywhere, 307 and 308 repeat the POST, and 301, 302 and 303 ask with GET and without the payload. These
// are not followed to another host: the page on which people log in, which says 200 to everyone, would open a gate.
// The error is of KindRedirect: what the answer leads to must not be called.
func (h *hop) follow(status int, location string) (*hop, error) {
	method := http.MethodGet
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		method = h.method
	default:
		return nil, nil
	}
	if location == "" {
		return nil, nil
	}
	to, err := h.url.Parse(location)
	if err != nil {
		return nil, h.refuse("redirects to what cannot be read as a URL", nil)
	}
	if _, err := parseURL(to.String()); err != nil || h.url.Scheme == "https" && to.Scheme != "https" {
		return nil, h.refuse("redirects to another scheme than its own or https", nil)
	}
	same := sameEndpoint(h.url, to)
	if !same && method != h.method {
		return nil, nil
	}
	own := h.own && same
	to.User = nil
	if own {
		to.User = h.url.User
	}
	return &hop{url: to, method: method, own: own}, nil
}

// refuse is an error of KindRedirect: what an endpoint says is no mistake in the hook.
func (h *hop) refuse(reason string, cause error) error {
	if cause != nil {
		reason += ": " + cause.Error()
	}
	return &Error{Kind: KindRedirect, Host: h.url.Hostname(), Reason: reason, Err: cause}
}

// sameEndpoint reports whether both URLs are served by one endpoint: the same host and port, or https in place of http,
// each at its own port.
func sameEndpoint(from, to *url.URL) bool {
	if normalHost(from.Hostname()) != normalHost(to.Hostname()) {
		return false
	}
	upgraded := from.Scheme == "http" && to.Scheme == "https" && Port(from) == "80" && Port(to) == "443"
	return upgraded || from.Scheme == to.Scheme && Port(from) == Port(to)
}

// Port is the port of a URL with the scheme http or https, which has one of its own where it names none.
func Port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	default:
		return "80"
	}
}
