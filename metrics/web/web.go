// Package web asks any server that answers with JSON over HTTP, and picks one
// number from it with a JSONPath.
package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	"k8s.io/client-go/util/jsonpath"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/httpjson"
)

// Provider is a metrics.Provider over a server of any kind.
type Provider struct {
	config metrics.Config
	// base is nil if the queries bring the whole URL.
	base *url.URL
	path string
}

var _ metrics.Provider = (*Provider)(nil)

// New returns a provider for the server at the address, or for whole URLs if
// there is none. The Secret may have token, or username and password. Without a
// JSONPath the whole answer is the number.
func New(c metrics.Config) (metrics.Provider, error) {
	p := &Provider{config: c, path: normalize(c.JSONPath)}
	if err := jsonpath.New("").Parse(p.path); err != nil {
		return nil, &metrics.ConfigError{Field: "jsonPath", Message: "not a JSONPath like {.data.value}: " + err.Error()}
	}
	if strings.Count(p.path, "..") > 1 {
		// Each takes all below all that the one before has found.
		return nil, &metrics.ConfigError{Field: "jsonPath", Message: "it may have .. once"}
	}
	if c.Address == "" {
		// A query has variables of the Canary in it, so it must not be what
		// decides where credentials go.
		if len(c.Secret) > 0 || len(c.Headers) > 0 {
			return nil, &metrics.ConfigError{Field: "address", Message: "a web provider with a Secret or headers needs the URL of the server that they are for"}
		}
		return p, nil
	}
	base, err := httpjson.ParseAddress(c.Type, c.Address)
	if err != nil {
		return nil, err
	}
	p.base = base
	_, err = httpjson.New(c, httpjson.Options{}) // what can never be asked is better known now
	return p, err
}

// normalize accepts the common ways to write a path: {.a.b}, .a.b, a.b and $.a.b.
func normalize(path string) string {
	path = strings.TrimSpace(path)
	switch {
	case path == "":
		return "{@}"
	case strings.HasPrefix(path, "{"):
		return path
	case strings.HasPrefix(path, "$"), strings.HasPrefix(path, "."), strings.HasPrefix(path, "["), strings.HasPrefix(path, "@"):
		return "{" + path + "}"
	default:
		return "{." + path + "}"
	}
}

// Query gets the URL q.Expr, which may be relative to the address, and gives
// the number at the JSONPath. Text that is a number counts as one. Nothing
// there, and null, are no data.
func (p *Provider) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	target, err := p.resolve(q)
	if err == nil {
		err = p.Check(q)
	}
	if err != nil {
		return metrics.Sample{}, err
	}
	config := p.config
	if p.base == nil {
		config.Address = target.Scheme + "://" + target.Host
	}
	client, err := httpjson.New(config, httpjson.Options{Auth: httpjson.OptionalAuth(config)})
	if err != nil {
		return metrics.Sample{}, err
	}
	var sample metrics.Sample
	err = client.Do(ctx, q, httpjson.Request{URL: target}, func(body io.Reader) error {
		var readErr error
		sample, readErr = p.pick(q, body)
		return readErr
	})
	return sample, err
}

// Check implements metrics.Checker.
func (p *Provider) Check(q metrics.Query) error {
	target, err := p.resolve(q)
	if err != nil {
		return err
	}
	if err := p.config.CheckURL(target.String()); err != nil {
		return &metrics.QueryError{Expr: q.Expr, Message: err.Error()}
	}
	return nil
}

// resolve makes the URL to ask. It is on the host of the address, if there is
// one: that is where the credentials belong.
func (p *Provider) resolve(q metrics.Query) (*url.URL, error) {
	ref, err := url.Parse(strings.TrimSpace(q.Expr))
	if err != nil {
		return nil, &metrics.QueryError{Expr: q.Expr, Message: "it is not a URL; allowed: a path below the address with a query, or the whole URL"}
	}
	whole := ref.Host != ""
	switch {
	case whole && ref.Scheme != "http" && ref.Scheme != "https", !whole && ref.Scheme != "":
		return nil, &metrics.QueryError{Expr: q.Expr, Message: "it is not an http or https URL"}
	case !whole && p.base == nil:
		return nil, &metrics.QueryError{Expr: q.Expr, Message: "it is not a whole URL, and the provider has no address"}
	case whole && p.base != nil && (ref.Scheme != p.base.Scheme || ref.Host != p.base.Host):
		return nil, &metrics.QueryError{Expr: q.Expr, Message: "it is on another server than the provider's address, " + p.base.Host}
	case whole:
		ref.User = nil
		return ref, nil
	}
	target := *p.base
	target.User = nil // the client sends it
	if ref.Path != "" {
		target = *target.JoinPath(ref.EscapedPath())
	}
	if ref.RawQuery != "" {
		target.RawQuery = ref.RawQuery
	}
	return &target, nil
}

func (p *Provider) pick(q metrics.Query, body io.Reader) (metrics.Sample, error) {
	raw, err := io.ReadAll(body)
	if err != nil {
		return metrics.Sample{}, err
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	var answer any
	if err := decoder.Decode(&answer); err != nil {
		return metrics.Sample{}, err
	}
	// A path is not safe for concurrent use; parsing one is nothing beside a request.
	path := jsonpath.New("").AllowMissingKeys(true)
	if err := path.Parse(p.path); err != nil {
		return metrics.Sample{}, &metrics.QueryError{Expr: q.Expr, Message: "the JSONPath: " + err.Error()}
	}
	found, err := path.FindResults(answer)
	if err != nil {
		return metrics.Sample{}, &metrics.QueryError{Expr: q.Expr, Message: fmt.Sprintf("the JSONPath %s does not fit the answer", p.path)}
	}
	var values []reflect.Value
	for _, group := range found {
		for _, v := range group {
			if v.IsValid() && v.CanInterface() && v.Interface() != nil {
				values = append(values, v)
			}
		}
	}
	if err := httpjson.One(q, len(values), "make the JSONPath select one"); err != nil {
		return metrics.Sample{}, err
	}
	return p.number(q, values[0].Interface())
}

// number does not repeat what is no number: the answer may be anything.
func (p *Provider) number(q metrics.Query, v any) (metrics.Sample, error) {
	switch v := v.(type) {
	case float64:
		return metrics.Sample{Value: v}, nil
	case string:
		if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil {
			return metrics.Sample{Value: f}, nil
		}
		return metrics.Sample{}, p.notANumber(q, "a text that is no number")
	case bool:
		return metrics.Sample{}, p.notANumber(q, "true or false")
	case []any:
		return metrics.Sample{}, p.notANumber(q, "a list")
	default:
		return metrics.Sample{}, p.notANumber(q, "an object")
	}
}

func (p *Provider) notANumber(q metrics.Query, what string) error {
	return &metrics.QueryError{Expr: q.Expr, Message: fmt.Sprintf("the JSONPath %s selects %s where a number is needed", p.path, what)}
}
