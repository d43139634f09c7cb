// Package sources gives what answers the metrics of analyses: the Prometheus of
// the built-in checks, and the providers of MetricTemplates, each with the
// credentials that are for it.
package sources

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/operator/secrets"
	"github.com/sluice-delivery/sluice/webhooks"
)

// Problem is what only a person can mend: in a Canary, in a MetricTemplate or in
// a Secret.
type Problem struct {
	// Reason is a PascalCase word for conditions and events.
	Reason string
	// Message names the object and field, and what is allowed.
	Message string
}

// Missing tells whether nothing is wrong but that an object is not there.
func (p *Problem) Missing() bool {
	return p.Reason == ReasonTemplateMissing || p.Reason == ReasonSecretMissing
}

// Error implements error.
func (p *Problem) Error() string { return p.Message }

// Reasons of problems.
const (
	// ReasonTemplateMissing: there is no MetricTemplate of the name that the Canary refers to.
	ReasonTemplateMissing = "TemplateMissing"
	// ReasonTemplateInvalid: the query of a template or of the Canary can't be rendered; the message says where.
	ReasonTemplateInvalid = "TemplateInvalid"
	// ReasonCrossNamespace: the Canary refers to another namespace, and the operator has -no-cross-namespace-refs.
	ReasonCrossNamespace = "CrossNamespaceRef"
	// ReasonSecretMissing: there is no Secret of the name that is referred to, or it lacks a key; the message names both.
	ReasonSecretMissing = "SecretMissing"
	// ReasonSecretRefused: a Secret may not be used for this, as its annotations or its type say.
	ReasonSecretRefused = "SecretRefused"
	// ReasonProviderInvalid: a metrics server or a receiver of alerts can't be asked as it is described; the message says why.
	ReasonProviderInvalid = "ProviderInvalid"
)

// AsProblem gives the Problem that err is, or nil.
func AsProblem(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	return nil
}

// Operator is the operator's own Prometheus.
type Operator struct {
	// Address is its URL.
	Address string
	// Secret gives what it asks for: username, password, token, ca.crt, tls.crt and tls.key; nil for nothing.
	Secret func() (map[string][]byte, error)
	// InsecureSkipVerify accepts any certificate of it.
	InsecureSkipVerify bool
}

// Sources gives what answers metrics. It may be used by many at once.
type Sources struct {
	// Reader reads MetricTemplates from the cache.
	Reader client.Reader
	// Secrets has the credentials.
	Secrets *secrets.Reader
	// New makes a provider, as metrics/factory does.
	New func(metrics.Config) (metrics.Provider, error)
	// Operator is asked for Canaries that name no server.
	Operator Operator
	// NoCrossNamespace refuses MetricTemplates of other namespaces than the Canary's.
	NoCrossNamespace bool
	// Namespaces are those that can be read; none are all.
	Namespaces []string
	// Guard says which servers may be asked for users.
	Guard *webhooks.Guard
	// CloudIdentity are the namespaces for which the identity may be used that a cloud gives to the operator; * is all.
	CloudIdentity []string
	// Kubernetes reaches the API server, for the providers that ask it.
	Kubernetes *rest.Config
	// OwnTokenHosts are the hosts beside its own API server that may get the operator's token.
	OwnTokenHosts []string
	// Clock tells the time; nil is the real one.
	Clock clock.PassiveClock

	providers kept[metrics.Provider]
	templates kept[*parsed]
}

// Server gives the Prometheus of a Canary's built-in checks and inline queries.
// What its user must mend is a [*Problem].
func (s *Sources) Server(ctx context.Context, c *v1beta1.Canary) (metrics.Provider, error) {
	config := metrics.Config{Type: typePrometheus, Address: c.Spec.MetricsServer, InsecureSkipVerify: c.Spec.InsecureSkipVerify}
	// The operator's credentials are for its own server: an address that anybody may write into a Canary must not get them.
	own := c.Spec.MetricsServer == "" || c.Spec.MetricsServer == s.Operator.Address
	if own {
		config.Address, config.InsecureSkipVerify = s.Operator.Address, s.Operator.InsecureSkipVerify
	} else {
		config.Guard = s.guard()
	}
	switch ref := c.Spec.MetricsServerSecretRef; {
	case ref != nil:
		data, err := s.secret(ctx, "spec.metricsServerSecretRef", c.Namespace, ref.Name, config.Address)
		if err != nil {
			return nil, err
		}
		config.Secret = data
	case own && s.Operator.Secret != nil:
		data, err := s.Operator.Secret()
		if err != nil {
			return nil, &metrics.UnavailableError{Provider: "of the operator", Err: err}
		}
		config.Secret = data
	}
	provider, err := s.provider(config)
	if wrong := configError(err); wrong != nil {
		return nil, &Problem{ReasonProviderInvalid, "spec.metricsServer: " + wrong.Error()}
	}
	return provider, err
}

const typePrometheus = "prometheus"

// Place names the server that answers a metric, so that one that is slow can be
// kept from taking every place.
func (s *Sources) Place(ctx context.Context, c *v1beta1.Canary, metric v1beta1.CanaryMetric) string {
	if metric.TemplateRef == nil {
		if c.Spec.MetricsServer != "" {
			return c.Spec.MetricsServer
		}
		return s.Operator.Address
	}
	t, err := s.template(ctx, c.Namespace, metric.TemplateRef)
	if err != nil {
		return ""
	}
	return t.Spec.Provider.Type + " " + t.Spec.Provider.Address
}

// guard is nil for none.
func (s *Sources) guard() metrics.Guard {
	if s.Guard == nil {
		return nil
	}
	return s.Guard
}

// secret reads credentials for the server at an address, empty for the provider's own public one. A Secret that is not
// there, or not for it, is a Problem of the field that names it.
func (s *Sources) secret(ctx context.Context, field, namespace, name, address string) (map[string][]byte, error) {
	use := secrets.Use{Purpose: secrets.Metrics}
	if u, err := url.Parse(address); err == nil {
		use.Host = u.Hostname()
	}
	data, err := s.Secrets.Data(ctx, namespace, name, use)
	refused := secrets.AsRefused(err)
	switch {
	case errors.Is(err, secrets.ErrNotFound):
		return nil, &Problem{ReasonSecretMissing, fmt.Sprintf("%s: there is no Secret %s in the namespace %s", field, name, namespace)}
	case refused != nil:
		return nil, &Problem{ReasonSecretRefused, field + ": " + refused.Error()}
	}
	return data, err
}

// provider makes a provider, or gives the one that was made from the same.
func (s *Sources) provider(c metrics.Config) (metrics.Provider, error) {
	content, err := json.Marshal(struct {
		Type, Address, Region, JSONPath string
		Headers                         http.Header
		Insecure, Guarded, NoIdentity   bool
		Secret                          map[string][]byte
		Namespaces                      []string
	}{c.Type, c.Address, c.Region, c.JSONPath, c.Headers, c.InsecureSkipVerify, c.Guard != nil, c.NoOwnIdentity, c.Secret, c.Namespaces})
	if err != nil {
		return nil, fmt.Errorf("metric provider: %w", err)
	}
	c.Clock, c.Kubernetes, c.OwnTokenHosts = s.Clock, s.Kubernetes, s.OwnTokenHosts
	return s.providers.get(sha256.Sum256(content), func() (metrics.Provider, error) { return s.New(c) })
}

func configError(err error) *metrics.ConfigError {
	var wrong *metrics.ConfigError
	if errors.As(err, &wrong) {
		return wrong
	}
	return nil
}

// most is how many things are kept at once.
const most = 1024

// kept keeps what was made from something. Errors are not kept.
type kept[T any] struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]T
}

func (k *kept[T]) get(of [sha256.Size]byte, construct func() (T, error)) (T, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v, ok := k.known[of]; ok {
		return v, nil
	}
	v, err := construct()
	if err != nil {
		return v, err
	}
	if k.known == nil {
		k.known = map[[sha256.Size]byte]T{}
	}
	if len(k.known) >= most {
		for other := range k.known { // any: it is made again when it is asked for
			delete(k.known, other)
			break
		}
	}
	k.known[of] = v
	return v, nil
}
