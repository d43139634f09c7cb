package prometheus

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/sluice-delivery/sluice/metrics"
)

// maxDetail is how much of an error page is worth repeating.
const maxDetail = 200

// statusTransport turns those statuses into errors that the API's client
// reports without their number. 400 and 422 carry Prometheus's own explanation
// and are left to that client, as are the three that make it try GET.
type statusTransport struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t *statusTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if passed(req.Method, resp.StatusCode) {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	detail, _ := io.ReadAll(io.LimitReader(resp.Body, maxDetail))
	return nil, &statusError{status: resp.StatusCode, detail: strings.TrimSpace(string(detail))}
}

func passed(method string, status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return true
	case http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return method == http.MethodPost
	}
	return status < 300
}

// statusError is an answer with an error status.
type statusError struct {
	status int
	detail string
}

// Error implements error.
func (e *statusError) Error() string {
	s := fmt.Sprintf("HTTP %d %s", e.status, http.StatusText(e.status))
	if e.detail != "" {
		s += ": " + e.detail
	}
	return s
}

// sort says what the status means. redact makes the server's words fit to be
// repeated.
func (e *statusError) sort(redact func(string) string) error {
	redacted := &statusError{status: e.status, detail: redact(e.detail)}
	switch {
	case e.status == http.StatusUnauthorized || e.status == http.StatusForbidden:
		return fmt.Errorf("%w: %w", metrics.ErrCredentials, redacted)
	case e.status == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %w", metrics.ErrRateLimited, redacted)
	case e.status < 400:
		return fmt.Errorf("it redirects (%d): set the address that it redirects to", e.status)
	default:
		return redacted
	}
}

// aboutQuery reports whether it is the query that is at fault. Any other
// status (a wrong path, missing credentials, overload) is no answer to it.
func (e *statusError) aboutQuery() bool {
	return e.status == http.StatusRequestEntityTooLarge || e.status == http.StatusRequestURITooLong
}
