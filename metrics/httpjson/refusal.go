package httpjson

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode"

	"github.com/sluice-delivery/sluice/metrics"
)

// maxDetail is how many characters of a provider's message are worth repeating.
const maxDetail = 200

// refused says what an answer means whose status is not of the 2xx class.
func (c *Client) refused(q metrics.Query, r Request, resp *http.Response) error {
	// A longer explanation helps nobody.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	if r.Refused != nil && resp.StatusCode >= 400 {
		if err := r.Refused(resp.StatusCode, body); err != nil {
			return err
		}
	}
	detail := c.Detail(message(body, resp.Header.Get("Content-Type")))
	switch status := resp.StatusCode; {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return c.Refused(status, detail)
	case status == http.StatusTooManyRequests:
		return c.RateLimited(resp.Header.Get("Retry-After"))
	case status == http.StatusRequestTimeout || status == http.StatusTooEarly || status >= 500:
		return &metrics.UnavailableError{Provider: c.name, Err: fmt.Errorf("%s", described(status, detail))}
	case status < 400:
		return &metrics.QueryError{Expr: q.Expr, Message: fmt.Sprintf("the provider redirects (%d): set the address that it redirects to", status)}
	default:
		return &metrics.QueryError{Expr: q.Expr, Message: "the provider refused it: " + described(status, detail)}
	}
}

// Refused is the error for credentials that the provider did not accept.
func (c *Client) Refused(status int, detail string) error {
	err := fmt.Errorf("%w (%d)", metrics.ErrCredentials, status)
	if detail = c.Detail(detail); detail != "" {
		err = fmt.Errorf("%w: %s", err, detail)
	}
	return &metrics.UnavailableError{Provider: c.name, Err: err}
}

// RateLimited is the error for being asked too often. retryAfter is the header
// of that name, used if it is a number of seconds.
func (c *Client) RateLimited(retryAfter string) error {
	err := fmt.Errorf("%w (429)", metrics.ErrRateLimited)
	if seconds, e := strconv.Atoi(retryAfter); e == nil && seconds > 0 {
		err = fmt.Errorf("%w; it wants to be asked again in %ds", err, seconds)
	}
	return &metrics.UnavailableError{Provider: c.name, Err: err}
}

// Detail makes a provider's message fit to be repeated: cut to 200 characters,
// on one line, without control characters and without any credential.
func (c *Client) Detail(message string) string { return cut(c.secrets.redact(message)) }

func described(status int, detail string) string {
	s := fmt.Sprintf("HTTP %d %s", status, http.StatusText(status))
	if detail != "" {
		s += ": " + detail
	}
	return s
}

func cut(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if runes := []rune(s); len(runes) > maxDetail {
		return string(runes[:maxDetail]) + "..."
	}
	return s
}

// message finds the explanation in the body of an error answer, in the forms
// that providers use; a page for a browser is none.
func message(body []byte, contentType string) string {
	var answer any
	if json.Unmarshal(body, &answer) == nil {
		return find(answer)
	}
	if strings.Contains(contentType, "html") || strings.HasPrefix(strings.TrimSpace(string(body)), "<") {
		return ""
	}
	return string(body)
}

// find looks for the first text under the names that errors have.
func find(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []any:
		for _, e := range v {
			if s := find(e); s != "" {
				return s
			}
		}
	case map[string]any:
		for _, key := range []string{"message", "error", "errors", "detail", "details", "error_description"} {
			if s := find(v[key]); s != "" {
				return s
			}
		}
	}
	return ""
}
