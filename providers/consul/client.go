package consul

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/providers"
)

// Config says how to reach Consul. What is empty comes from Consul's standard
// environment: CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN, CONSUL_HTTP_TOKEN_FILE,
// CONSUL_HTTP_SSL, CONSUL_CACERT, CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY,
// CONSUL_TLS_SERVER_NAME, CONSUL_NAMESPACE, CONSUL_PARTITION.
type Config struct {
	// Address is host:port or a URL; https:// in front turns TLS on.
	Address string
	// Datacenter is where services run; empty for that of the server that is asked.
	Datacenter string
	// Partition and Namespace are where services are, both empty where Consul has none.
	Partition, Namespace string
	// TokenFile has the ACL token. CAFile, CertFile and KeyFile are for TLS; the
	// last two for servers that ask for a client's certificate. All of them are read
	// again when they change.
	TokenFile, CAFile, CertFile, KeyFile string
	// Wrap sees every request, for who counts or delays them; nil for nobody.
	Wrap func(http.RoundTripper) http.RoundTripper
}

// requestLimit bounds a request that Consul answers at once; blockFor is how long
// it may wait for a change in one that asks for that.
const (
	requestLimit = 10 * time.Second
	blockFor     = 45 * time.Second
	dialLimit    = 5 * time.Second
)

// backend is Consul as the router needs it.
type backend interface {
	// list gives the entries of a kind in a scope once their index is above after, or
	// blockFor has passed, and their index.
	list(ctx context.Context, in scope, kind string, after uint64) (entries, uint64, error)
	// put writes an entry if its index is still the given one, 0 for none there. It
	// returns false if it is not.
	put(ctx context.Context, in scope, e entry, index uint64) (bool, error)
	// remove deletes an entry on the same condition.
	remove(ctx context.Context, in scope, k key, index uint64) (bool, error)
	// chain is the compiled discovery chain of a service.
	chain(ctx context.Context, in scope, service string) (*api.CompiledDiscoveryChain, error)
	catalog
}

// catalog is who and what stands for services.
type catalog interface {
	// instances are those of a service in the mesh, healthy or not.
	instances(ctx context.Context, in scope, service string) ([]instance, error)
	// manual are the addresses that stand for a service whatever instances it has, as far as
	// Consul itself holds them.
	manual(ctx context.Context, in scope, service string) ([]string, error)
	// assign has an address stand for a service whatever instances that has.
	assign(ctx context.Context, in scope, a address) error
	// unassign takes away what is registered for the address of a service.
	unassign(ctx context.Context, in scope, service string) error
}

// server is a real Consul.
type server struct {
	api        *api.Client
	datacenter string
}

// newServer returns a client that has not sent anything yet. The error is about the
// address; what is wrong with the files is told by every call until it is mended.
func newServer(c Config) (*server, error) {
	config := api.DefaultConfig() // reads the environment
	config.Address = cmp.Or(c.Address, config.Address)
	if scheme, _, found := strings.Cut(config.Address, "://"); found && scheme != "http" && scheme != "https" {
		return nil, fmt.Errorf("address of Consul: %q is neither http nor https", scheme)
	}
	config.TLSConfig.CAFile = cmp.Or(c.CAFile, config.TLSConfig.CAFile)
	config.TLSConfig.CertFile = cmp.Or(c.CertFile, config.TLSConfig.CertFile)
	config.TLSConfig.KeyFile = cmp.Or(c.KeyFile, config.TLSConfig.KeyFile)
	t := &transport{
		tls:       config.TLSConfig,
		tokenFile: cmp.Or(c.TokenFile, config.TokenFile),
		token:     config.Token,
	}
	config.Token, config.TokenFile = "", "" // the transport sends the token, which changes
	var sends http.RoundTripper = t
	if c.Wrap != nil {
		sends = c.Wrap(t)
	}
	config.HttpClient = &http.Client{
		Transport: sends,
		// A redirect would take the token to another server.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	client, err := api.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("client of Consul: %w", withoutURL(err))
	}
	return &server{api: client, datacenter: c.Datacenter}, nil
}

// transport sends each request with what the files hold then.
type transport struct {
	tls              api.TLSConfig
	tokenFile, token string

	mu    sync.Mutex
	seen  string // the state of the files that inner was made from
	inner *http.Transport
	sends string // the token
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	inner, err := t.current()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	token := t.sends
	t.mu.Unlock()
	if token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("X-Consul-Token", token)
	}
	return inner.RoundTrip(r)
}

// current reads the files if they have changed. A set of files that does not
// fit together, as in the middle of a rotation, leaves what worked before.
func (t *transport) current() (*http.Transport, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	state := filesState(t.tokenFile, t.tls.CAFile, t.tls.CertFile, t.tls.KeyFile)
	if t.inner != nil && state == t.seen {
		return t.inner, nil
	}
	inner, token, err := t.load()
	switch {
	case err == nil:
		if t.inner != nil {
			t.inner.CloseIdleConnections()
		}
		t.inner, t.sends, t.seen = inner, token, state
	case t.inner == nil:
		return nil, err
	}
	return t.inner, nil
}

func (t *transport) load() (*http.Transport, string, error) {
	token := t.token
	if t.tokenFile != "" {
		content, err := os.ReadFile(t.tokenFile)
		if err != nil {
			return nil, "", fmt.Errorf("token of Consul: %w", err)
		}
		token = strings.TrimSpace(string(content))
		if token == "" || strings.ContainsAny(token, "\r\n") {
			return nil, "", fmt.Errorf("token of Consul: %s does not hold one line with a token", t.tokenFile)
		}
	}
	config, err := api.SetupTLSConfig(&t.tls)
	if err != nil {
		return nil, "", fmt.Errorf("TLS for Consul: %w", err)
	}
	config.MinVersion = tls.VersionTLS12
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialLimit, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: dialLimit,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     90 * time.Second,
	}, token, nil
}

// filesState changes when one of the files does; mounted Secrets change by a link.
func filesState(names ...string) string {
	var out strings.Builder
	for _, name := range names {
		if name == "" {
			continue
		}
		to, err := filepath.EvalSymlinks(name)
		if err != nil {
			fmt.Fprintf(&out, "%s gone;", name)
			continue
		}
		info, err := os.Stat(to)
		if err != nil {
			fmt.Fprintf(&out, "%s gone;", name)
			continue
		}
		fmt.Fprintf(&out, "%s %d %d;", to, info.Size(), info.ModTime().UnixNano())
	}
	return out.String()
}

func (s *server) query(ctx context.Context, in scope) *api.QueryOptions {
	// A server that was just started answers other queries while it still reads its log, with entries as they
	// once were. A deletion must not take that for a Consul without any of ours.
	q := &api.QueryOptions{Datacenter: s.datacenter, Partition: in.partition, Namespace: in.namespace, RequireConsistent: true}
	return q.WithContext(ctx)
}

func (s *server) write(ctx context.Context, in scope) *api.WriteOptions {
	w := &api.WriteOptions{Datacenter: s.datacenter, Partition: in.partition, Namespace: in.namespace}
	return w.WithContext(ctx)
}

func (s *server) list(ctx context.Context, in scope, kind string, after uint64) (entries, uint64, error) {
	limit := requestLimit
	if after > 0 {
		limit += blockFor + blockFor/16 // servers add up to that
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	q := s.query(ctx, in)
	q.WaitIndex, q.WaitTime = after, blockFor
	var raw []json.RawMessage
	meta, err := s.api.Raw().Query("/v1/config/"+kind, &raw, q)
	if err != nil {
		return nil, 0, explain(ctx, err)
	}
	out := entries{}
	for _, r := range raw {
		fields, err := decode(r)
		if err != nil {
			return nil, 0, err
		}
		e, err := read(fields)
		if err != nil {
			return nil, 0, err
		}
		out[e.key] = e
	}
	return out, meta.LastIndex, nil
}

func (s *server) put(ctx context.Context, in scope, e entry, index uint64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	done, _, err := s.api.ConfigEntries().CAS(wire{entry: e, scope: in}, index, s.write(ctx, in))
	return done, explain(ctx, err)
}

func (s *server) remove(ctx context.Context, in scope, k key, index uint64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	done, _, err := s.api.ConfigEntries().DeleteCAS(k.kind, k.name, index, s.write(ctx, in))
	return done, explain(ctx, err)
}

func (s *server) chain(ctx context.Context, in scope, service string) (*api.CompiledDiscoveryChain, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	out, _, err := s.api.DiscoveryChain().Get(service, nil, s.query(ctx, in))
	if err != nil {
		return nil, explain(ctx, err)
	}
	return out.Chain, nil
}

// isNotFound tells a Consul that does not have what was asked for.
func isNotFound(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == http.StatusNotFound
}

// explain marks errors that mean that nothing is known, and drops URLs, which may
// hold what is nobody's business.
func explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var status api.StatusError
	if errors.As(err, &status) {
		body := strings.TrimSpace(status.Body)
		switch {
		case status.Code == http.StatusForbidden || status.Code == http.StatusUnauthorized:
			return &providers.UnreachableError{System: "Consul", Err: fmt.Errorf("it refuses the token: %s", body)}
		case status.Code == http.StatusTooManyRequests || status.Code > http.StatusInternalServerError,
			status.Code == http.StatusInternalServerError && transient(body):
			return &providers.UnreachableError{System: "Consul", Err: fmt.Errorf("it answers %d: %s", status.Code, body)}
		}
		return fmt.Errorf("answer of Consul: %d: %s", status.Code, body)
	}
	err = withoutURL(err)
	if ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("no answer in time")
	}
	return &providers.UnreachableError{System: "Consul", Err: err}
}

// transient tells a server that has no leader from one that refuses what is asked,
// which both have one status.
func transient(body string) bool {
	for _, sign := range []string{"No cluster leader", "leadership lost", "Not ready to serve consistent reads", "rpc error", "raft", "ACL not found", "Permission denied", "No path to datacenter", "connection"} {
		if strings.Contains(body, sign) {
			return true
		}
	}
	return false
}

func withoutURL(err error) error {
	var with *url.Error
	if errors.As(err, &with) {
		return with.Err
	}
	return err
}
