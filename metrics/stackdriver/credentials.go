package stackdriver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/httpjson"
)

const scope = "https://www.googleapis.com/auth/monitoring.read"

// tokens gives the bearer token of a request.
type tokens interface {
	token(ctx context.Context, q metrics.Query) (string, error)
}

// key signs tokens itself (https://google.aip.dev/auth/4111), so no other
// server is asked for them.
type key struct {
	source  oauth2.TokenSource
	project string
}

// parseKey does not repeat what is wrong: the message of a parser may.
func parseKey(raw []byte) (*key, error) {
	wrong := &metrics.ConfigError{Field: "secret." + serviceAccountKey, Message: "not the JSON key of a service account"}
	var file struct {
		Type    string `json:"type"`
		Project string `json:"project_id"`
	}
	if json.Unmarshal(raw, &file) != nil || file.Type != "service_account" {
		return nil, wrong
	}
	source, err := google.JWTAccessTokenSourceWithScope(raw, scope)
	if err != nil {
		return nil, wrong
	}
	return &key{source: oauth2.ReuseTokenSource(nil, source), project: file.Project}, nil
}

func (k *key) token(context.Context, metrics.Query) (string, error) {
	t, err := k.source.Token()
	if err != nil {
		return "", refused(errors.New("the service account key cannot sign"))
	}
	return t.AccessToken, nil
}

// ambient is the identity that the operator runs with. It is looked up when it
// is first needed, and again as long as there is none.
type ambient struct {
	mu     sync.Mutex
	source oauth2.TokenSource
}

func (a *ambient) token(ctx context.Context, q metrics.Query) (string, error) {
	timeout := q.Timeout
	if timeout <= 0 {
		timeout = httpjson.DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	type result struct {
		token *oauth2.Token
		err   error
	}
	done := make(chan result, 1)
	// Neither finding an identity nor asking for its token takes a context.
	go func() {
		t, err := a.fetch(ctx)
		done <- result{t, err}
	}()
	select {
	case <-ctx.Done():
		return "", &metrics.UnavailableError{Provider: DefaultAddress, Err: fmt.Errorf("no token of the operator's identity: %w", ctx.Err())}
	case r := <-done:
		if r.err != nil {
			return "", refused(errors.New("the operator has no identity of Google Cloud and the Secret no " + serviceAccountKey))
		}
		return r.token.AccessToken, nil
	}
}

func (a *ambient) fetch(ctx context.Context) (*oauth2.Token, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.source == nil {
		// The source asks for further tokens after this query.
		found, err := google.FindDefaultCredentials(context.WithoutCancel(ctx), scope)
		if err != nil {
			return nil, err
		}
		a.source = found.TokenSource
	}
	return a.source.Token()
}

func refused(err error) error {
	return &metrics.UnavailableError{Provider: DefaultAddress, Err: fmt.Errorf("%w: %w", metrics.ErrCredentials, err)}
}
