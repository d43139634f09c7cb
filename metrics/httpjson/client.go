// Package httpjson asks metric providers that speak JSON over HTTP, and sorts
// what comes back into the errors of package metrics. It is for the
// implementations of metrics.Provider; it keeps their keys out of every error.
package httpjson

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/metrics"
)

// DefaultTimeout bounds a query that has no time-out of its own.
const DefaultTimeout = 10 * time.Second

// Options are what a provider adds to its configuration. The zero value is good.
type Options struct {
	// DefaultAddress is used where the configuration has none.
	DefaultAddress string
	// Auth are headers with credentials. They win over the configured headers.
	Auth map[string]string
}

// Client asks one server.
type Client struct {
	base    *url.URL
	headers http.Header
	http    *http.Client
	secrets secrets
	name    string
}

// New returns a client for the configured address. A wrong address is a
// [*metrics.ConfigError]; the server is not asked.
func New(c metrics.Config, o Options) (*Client, error) {
	address := c.Address
	if address == "" {
		address = o.DefaultAddress
	}
	base, err := ParseAddress(c.Type, address)
	if err != nil {
		return nil, err
	}
	if err := c.CheckURL(address); err != nil {
		return nil, err
	}
	headers, err := Headers(c)
	if err != nil {
		return nil, err
	}
	if user := base.User; user != nil {
		password, _ := user.Password()
		setBasicAuth(headers, user.Username(), password)
		base.User = nil
	}
	for k, v := range o.Auth {
		headers.Set(k, v)
	}
	return &Client{
		base:    base,
		headers: headers,
		http:    HTTPClient(c),
		secrets: secretsOf(c, headers),
		name:    base.Scheme + "://" + base.Host,
	}, nil
}

// Headers are those of the configuration. One that no request can have is a [*metrics.ConfigError].
func Headers(c metrics.Config) (http.Header, error) {
	out := http.Header{}
	for name, values := range c.Headers {
		for _, v := range values {
			if name == "" || strings.ContainsFunc(name, notInName) || strings.ContainsFunc(v, isControl) {
				return nil, &metrics.ConfigError{Field: "headers", Message: fmt.Sprintf("%q is no header: a name has letters, digits and - and the like, and a value no line breaks and control characters", name)}
			}
			out.Add(name, v)
		}
	}
	return out, nil
}

// notInName tells of a character that no name of a header has (RFC 9110, 5.6.2).
func notInName(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// ParseAddress parses the base URL of a provider's API. Its errors are
// [*metrics.ConfigError] and do not repeat the address, which may hold a password.
func ParseAddress(provider, address string) (*url.URL, error) {
	if address == "" {
		return nil, &metrics.ConfigError{Field: "address", Message: "a " + provider + " provider needs the URL of its API"}
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, &metrics.ConfigError{Field: "address", Message: "not a URL that can be asked; allowed: http://HOST:PORT/PREFIX or https://"}
	}
	return u, nil
}

// Name is the server for people: its address without credentials and path.
func (c *Client) Name() string { return c.name }

// Request is one request to the API.
type Request struct {
	// Method is GET if empty.
	Method string
	// Path is below the path of the address. Its special characters are escaped already.
	Path string
	// URL is used instead of the address and Path, if set.
	URL *url.URL
	// Parameters go into the query, beside those of the address.
	Parameters url.Values
	// Body is sent with ContentType, application/json if that is empty.
	Body        []byte
	ContentType string
	// Accept is application/json if empty.
	Accept string
	// Refused may explain an answer with a status of 400 or more; nil is left to
	// the client, which knows what the statuses mean in general.
	Refused func(status int, body []byte) error
}

// JSON sends r and decodes the answer into target.
func (c *Client) JSON(ctx context.Context, q metrics.Query, r Request, target any) error {
	return c.Do(ctx, q, r, func(body io.Reader) error {
		return json.NewDecoder(body).Decode(target)
	})
}

// Do sends r and has read take the answer, if it is one: of a status of the 2xx
// class, with at most 1 MiB. What read returns counts as an answer that cannot
// be understood, unless it is an error of package metrics. Everything is done
// within q.Timeout, or [DefaultTimeout].
func (c *Client) Do(ctx context.Context, q metrics.Query, r Request, read func(body io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeoutOf(q))
	defer cancel()
	req, err := c.request(ctx, r)
	if err != nil {
		return &metrics.QueryError{Expr: q.Expr, Message: "it cannot be put into a request"}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.Unavailable(ctx, q, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return c.refused(q, r, resp)
	}
	if err := read(resp.Body); err != nil {
		return c.unreadable(ctx, q, resp.Header.Get("Content-Type"), err)
	}
	return nil
}

func timeoutOf(q metrics.Query) time.Duration {
	if q.Timeout <= 0 {
		return DefaultTimeout
	}
	return q.Timeout
}

func (c *Client) request(ctx context.Context, r Request) (*http.Request, error) {
	u := r.URL
	if u == nil {
		u = c.base.JoinPath(r.Path)
		u.RawQuery = c.base.RawQuery
	}
	if len(r.Parameters) > 0 {
		u = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath, RawQuery: merge(u.Query(), r.Parameters).Encode()}
	}
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	var body io.Reader
	if r.Body != nil {
		body = bytes.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	req.Header = c.headers.Clone()
	setDefault(req.Header, "Accept", r.Accept, "application/json")
	if r.Body != nil {
		setDefault(req.Header, "Content-Type", r.ContentType, "application/json")
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	return req, nil
}

func merge(a, b url.Values) url.Values {
	for k, v := range b {
		a[k] = v
	}
	return a
}

func setDefault(h http.Header, key, value, otherwise string) {
	switch {
	case value != "":
		h.Set(key, value)
	case h.Get(key) == "":
		h.Set(key, otherwise)
	}
}

// Unavailable is the error of a request that failed with err: it says the
// time-out, and nothing of the URL, which may hold a key.
func (c *Client) Unavailable(ctx context.Context, q metrics.Query, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &metrics.UnavailableError{Provider: c.name, Err: fmt.Errorf("no answer within %s: %w", timeoutOf(q), context.DeadlineExceeded)}
	}
	var transport *url.Error
	if errors.As(err, &transport) {
		err = transport.Err
	}
	if c.secrets.in(err.Error()) {
		err = errors.New(c.secrets.redact(err.Error()))
	}
	return &metrics.UnavailableError{Provider: c.name, Err: err}
}

func (c *Client) unreadable(ctx context.Context, q metrics.Query, contentType string, err error) error {
	switch {
	case errors.Is(err, metrics.ErrNoData), metrics.IsQueryError(err), metrics.IsUnavailable(err):
		return err
	case errors.Is(err, ErrTooLarge):
		return &metrics.QueryError{Expr: q.Expr, Message: ErrTooLarge.Error() + ": aggregate the series"}
	case ctx.Err() != nil:
		return c.Unavailable(ctx, q, err)
	}
	// Not what came: an address of somebody else's server may have been given
	// to read from it.
	message := "the answer is not what its API sends"
	if media, _, err := mime.ParseMediaType(contentType); err == nil && !strings.Contains(media, "json") {
		message += " (it is " + cut(c.secrets.redact(media)) + ")"
	}
	return &metrics.UnavailableError{Provider: c.name, Err: errors.New(message)}
}
