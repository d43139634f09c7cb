package server

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
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
	// Apart refuses Canaries that name another namespace or partition of Consul than these, or than the namespace
	// that is called as theirs in Kubernetes.
	Apart bool
	// Wrap sees every request, for who counts or delays them; nil for nobody.
	Wrap func(http.RoundTripper) http.RoundTripper
}

// Scope is where services are whose Canaries don't say so.
func (c Config) Scope() entries.Scope {
	environment := api.DefaultConfig()
	return entries.Scope{Partition: cmp.Or(c.Partition, environment.Partition), Namespace: cmp.Or(c.Namespace, environment.Namespace)}
}

// New returns a client that has not sent anything yet. The error is about the
// address; what is wrong with the files is told by every call until it is mended.
func New(c Config) (*Server, error) {
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
	return &Server{api: client, datacenter: c.Datacenter}, nil
}
